// npm ws on Node, fed by Redis: node ws-server.mjs REDIS_SOCKET NODE_MODULES
import { createRequire } from "node:module";
import { subscribe } from "./redis-subscription.mjs";

const require = createRequire(`${process.argv[3]}/`);
const { WebSocketServer } = require("ws");

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  backlog: 4096,
  perMessageDeflate: false,
  clientTracking: true,
});
server.on("connection", (socket) => socket.on("error", () => {}));
server.on("listening", () =>
  subscribe(
    process.argv[2],
    "stream:crash",
    () => console.log(JSON.stringify({ ready: true, pid: process.pid, http: `127.0.0.1:${server.address().port}` })),
    // What ws documents as broadcasting.
    (payload) => {
      for (const socket of server.clients) if (socket.readyState === 1) socket.send(payload, { binary: false });
    },
  ),
);
