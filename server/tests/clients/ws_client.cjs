// Prints what arrives on a WebSocket of npm's `ws`, a message a line, and at the end how it was closed.
//
// Usage: ws_client.cjs URL

const WebSocket = require("ws");

// The server's certificate is self-signed; what is tested is the protocol.
const socket = new WebSocket(process.argv[2], { rejectUnauthorized: false });
socket.on("open", () => console.log(`open, extensions: ${socket.extensions || "none"}`));
socket.on("message", (data, isBinary) => console.log(isBinary ? `binary ${data.toString("hex")}` : data.toString()));
socket.on("ping", () => console.log("ping"));
socket.on("close", (code) => console.log(`closed ${code}`));
socket.on("error", (error) => console.log(`error ${error.message}`));
