// The protocols as a page uses them, and how it comes back when one ends.

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
// A connection that ended sooner counts as a failure: its server is not to be asked again at once.
const STABLE_MS = 5_000;

// A server that asks for tokens gets the one that a page was opened with, `?token=…`. It is taken off the address, where
// somebody might read it, and kept until the tab is closed.
function takeToken() {
  const parameters = new URLSearchParams(location.search);
  const given = parameters.get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    parameters.delete("token");
    const rest = parameters.toString();
    history.replaceState(null, "", rest ? `?${rest}` : location.pathname);
  }
  return sessionStorage.getItem("token");
}

const TOKEN = takeToken();

// Streams can't have headers of a page's choice, so theirs stands in the address.
function withToken(address) {
  if (!TOKEN) return address;
  return `${address}${address.includes("?") ? "&" : "?"}token=${encodeURIComponent(TOKEN)}`;
}

// Each stream connects once and calls `round(text)` for every round. It resolves to nothing when the server
// closed, and rejects when it could not connect; `signal` ends it.

function webSocket(topic, { opened, round, signal }) {
  return new Promise((resolve, reject) => {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(withToken(`${scheme}//${location.host}/ws/${topic}`));
    let wasOpen = false;
    socket.onopen = () => { wasOpen = true; opened(); };
    socket.onmessage = (event) => round(event.data);
    socket.onclose = (event) => {
      const reason = `closed with ${event.code}${event.reason ? `: ${event.reason}` : ""}`;
      if (wasOpen) resolve(reason); else reject(new Error(reason));
    };
    signal.addEventListener("abort", () => socket.close(1000));
  });
}

function serverSentEvents(topic, { opened, round, failed, signal }) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(withToken(`/sse/${topic}`));
    source.onopen = opened;
    source.addEventListener("initial", (event) => round(event.data));
    source.addEventListener("message", (event) => round(event.data));
    source.onerror = () => {
      // The browser connects again by itself, unless it was refused.
      if (source.readyState === EventSource.CLOSED) reject(new Error("refused"));
      else failed("the connection broke");
    };
    signal.addEventListener("abort", () => { source.close(); resolve("closed"); });
  });
}

const webTransport = (delivery) => async (topic, { opened, round, signal }) => {
  if (!("WebTransport" in window)) throw new Error("this browser has no WebTransport");
  const port = document.body.dataset.webtransportPort;
  // localhost may mean ::1 first, where the server need not listen.
  const host = location.hostname === "localhost" ? "127.0.0.1" : location.hostname;
  const url = withToken(`https://${host}:${port}/wt/${topic}?delivery=${delivery}`);
  const session = new WebTransport(url, await certificateOptions());
  signal.addEventListener("abort", () => session.close());
  await session.ready;
  opened();
  const reading = [
    eachOf(session.incomingUnidirectionalStreams, (stream) =>
      delivery === "stream" ? readPrefixed(stream, round) : readWhole(stream, round)),
    eachOf(session.datagrams.readable, (datagram) => round(new TextDecoder().decode(datagram))),
  ];
  const closed = await session.closed;
  await Promise.allSettled(reading);
  return `closed with ${closed.closeCode}${closed.reason ? `: ${closed.reason}` : ""}`;
};

export const STREAMS = {
  "ws": { name: "WebSocket", connect: webSocket },
  "sse": { name: "Server-Sent Events", connect: serverSentEvents },
  "wt-stream": { name: "WebTransport: stream", connect: webTransport("stream") },
  "wt-streams": { name: "WebTransport: streams", connect: webTransport("streams") },
  "wt-datagram": { name: "WebTransport: datagrams", connect: webTransport("datagram") },
};

// A self-signed certificate is trusted by its hash; any other one as on every page.
async function certificateOptions() {
  const response = await fetch("/api/certificate");
  if (!response.ok) return {};
  const { algorithm, value } = await response.json();
  const bytes = Uint8Array.from(value.match(/../g), (digits) => parseInt(digits, 16));
  return { serverCertificateHashes: [{ algorithm, value: bytes }] };
}

async function eachOf(readable, handle) {
  const reader = readable.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    // Not awaited: streams arrive beside each other.
    Promise.resolve(handle(value)).catch(() => {});
  }
}

async function readWhole(stream, round) {
  const text = await new Response(stream).text();
  if (text) round(text);
}

// Rounds behind their length as a QUIC variable-length integer.
async function readPrefixed(stream, round) {
  let pending = new Uint8Array();
  await eachOf(stream, (chunk) => {
    const joined = new Uint8Array(pending.length + chunk.length);
    joined.set(pending);
    joined.set(chunk, pending.length);
    pending = joined;
    for (;;) {
      const length = readVarint(pending);
      if (!length || pending.length < length.size + length.value) return;
      round(new TextDecoder().decode(pending.subarray(length.size, length.size + length.value)));
      pending = pending.slice(length.size + length.value);
    }
  });
}

function readVarint(bytes) {
  if (bytes.length === 0) return null;
  const size = 1 << (bytes[0] >> 6);
  if (bytes.length < size) return null;
  let value = bytes[0] & 0x3f;
  for (let index = 1; index < size; index += 1) value = value * 256 + bytes[index];
  return { value, size };
}

// Connects again and again until `signal` says stop. Hands every round to `round`, and every change to
// `state(name, text)`: connecting, open, failed (the text says why) and closed.
export async function follow(stream, topic, { state, round, signal }) {
  let delay = FIRST_DELAY_MS;
  while (!signal.aborted) {
    state("connecting", "connecting …");
    let openedAt = null;
    let ended;
    try {
      ended = await stream.connect(topic, {
        opened: () => { openedAt = performance.now(); state("open", "connected"); },
        round,
        failed: (reason) => state("failed", reason),
        signal,
      });
    } catch (error) {
      ended = error.message || String(error);
    }
    if (signal.aborted) break;
    const wasStable = openedAt !== null && performance.now() - openedAt > STABLE_MS;
    delay = wasStable ? FIRST_DELAY_MS : delay;
    // Spread out, so that a restarted server is not met by everybody at the same moment.
    const wait = delay * (0.5 + Math.random() / 2);
    state("failed", ended, wait);
    delay = Math.min(2 * delay, LONGEST_DELAY_MS);
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
    });
  }
  state("closed", "disconnected");
}

// All games there are, and their types.
export async function topics() {
  const headers = TOKEN ? { authorization: `Bearer ${TOKEN}` } : {};
  const response = await fetch("/api/games", { headers });
  if (response.status === 401) throw new Error("this server asks for a token: open the page with ?token=TOKEN");
  if (!response.ok) throw new Error(`/api/games answered ${response.status}`);
  const games = await response.json();
  return { games, types: [...new Set(games.map((game) => game.type))] };
}

export function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
