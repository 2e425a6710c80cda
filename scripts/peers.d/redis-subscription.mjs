// As much of a Redis client as a subscriber needs: no library stands between Redis and what is measured.
import { createConnection } from "node:net";

// Calls back with every payload published on a channel, as a Buffer. Ends the process when Redis goes.
export function subscribe(path, channel, ready, receive) {
  const socket = createConnection({ path });
  let rest = Buffer.alloc(0);
  socket.on("connect", () =>
    socket.write(`*2\r\n$9\r\nSUBSCRIBE\r\n$${Buffer.byteLength(channel)}\r\n${channel}\r\n`),
  );
  socket.on("data", (piece) => {
    rest = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    for (;;) {
      const reply = readArray(rest);
      if (reply === null) return;
      rest = rest.subarray(reply.used);
      if (reply.items[0].toString() === "message") receive(reply.items[2]);
      else ready();
    }
  });
  socket.on("error", (error) => fail(error.message));
  socket.on("close", () => fail("Redis closed the connection"));
}

function fail(reason) {
  console.error(reason);
  process.exit(1);
}

// The array of bulk strings or integers at the start of the bytes; null where it is not complete.
function readArray(bytes) {
  let at = 0;
  const line = () => {
    const end = bytes.indexOf("\r\n", at);
    if (end < 0) return null;
    const text = bytes.toString("latin1", at, end);
    at = end + 2;
    return text;
  };
  const head = line();
  if (head === null) return null;
  const items = [];
  for (let left = Number(head.slice(1)); left > 0; left--) {
    const item = line();
    if (item === null) return null;
    if (item[0] === ":") {
      items.push(Buffer.from(item.slice(1)));
      continue;
    }
    const length = Number(item.slice(1));
    if (bytes.length < at + length + 2) return null;
    items.push(bytes.subarray(at, at + length));
    at += length + 2;
  }
  return { items, used: at };
}
