// Bun's native publish and subscribe (uWebSockets), fed by Redis: bun bun-server.mjs REDIS_SOCKET
import { subscribe } from "./redis-subscription.mjs";

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    return server.upgrade(request) ? undefined : new Response("a WebSocket is wanted", { status: 426 });
  },
  websocket: {
    idleTimeout: 0,
    perMessageDeflate: false,
    open: (socket) => socket.subscribe("stream:crash"),
    message() {},
  },
});
subscribe(
  process.argv[2],
  "stream:crash",
  () => console.log(JSON.stringify({ ready: true, pid: process.pid, http: `127.0.0.1:${server.port}` })),
  // A string is published as a text frame.
  (payload) => server.publish("stream:crash", payload.toString("latin1"), false),
);
