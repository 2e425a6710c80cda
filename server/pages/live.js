// Subscribes to rounds on every protocol a page asks for, shows them, and reconnects.

const SHOWN_ROUNDS = 50;
const REMEMBERED_ROUNDS = 1000;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;

// Each stream connects once and calls `round(text)` for every round. It resolves to nothing when the server
// closed, and rejects when it could not connect; `signal` ends it.

function webSocket(topic, { opened, round, signal }) {
  return new Promise((resolve, reject) => {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/ws/${topic}`);
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
    const source = new EventSource(`/sse/${topic}`);
    source.onopen = opened;
    source.addEventListener("initial", (event) => round(event.data));
    source.addEventListener("message", (event) => round(event.data));
    source.onerror = () => {
      // The browser connects again by itself, unless it was refused.
      if (source.readyState === EventSource.CLOSED) reject(new Error("refused"));
      else failed("the browser is connecting again");
    };
    signal.addEventListener("abort", () => { source.close(); resolve("closed"); });
  });
}

const webTransport = (delivery) => async (topic, { opened, round, signal }) => {
  if (!("WebTransport" in window)) throw new Error("this browser has no WebTransport");
  const port = document.body.dataset.webtransportPort;
  // localhost may mean ::1 first, where the server need not listen.
  const host = location.hostname === "localhost" ? "127.0.0.1" : location.hostname;
  const url = `https://${host}:${port}/wt/${topic}?delivery=${delivery}`;
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

const STREAMS = {
  "ws": { name: "WebSocket", connect: webSocket },
  "sse": { name: "Server-Sent Events", connect: serverSentEvents },
  "wt-stream": { name: "WebTransport, one stream", connect: webTransport("stream") },
  "wt-streams": { name: "WebTransport, a stream a round", connect: webTransport("streams") },
  "wt-datagram": { name: "WebTransport, datagrams", connect: webTransport("datagram") },
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

// When each round arrived first, on whichever stream, to show how far behind the others are.
const firstArrivals = new Map();

function afterFirst(id) {
  const now = performance.now();
  if (!firstArrivals.has(id)) {
    firstArrivals.set(id, now);
    if (firstArrivals.size > REMEMBERED_ROUNDS) firstArrivals.delete(firstArrivals.keys().next().value);
  }
  return now - firstArrivals.get(id);
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// One stream on the page: a status, a counter and the newest rounds.
class Panel {
  constructor(key, showsDelay) {
    this.stream = STREAMS[key];
    this.showsDelay = showsDelay;
    this.section = element("section", "", { id: key });
    this.status = element("p", "", { class: "status", role: "status" });
    this.count = 0;
    const table = element("table");
    const heads = ["Round", "Game", ...(showsDelay ? ["After first"] : ["Finished", "Extras"])];
    const row = element("tr");
    row.append(...heads.map((head) => element("th", head, { scope: "col" })));
    const head = element("thead");
    head.append(row);
    this.body = element("tbody");
    table.append(head, this.body);
    const rounds = element("div", "", { class: "rounds" });
    rounds.append(table);
    this.section.append(element("h2", this.stream.name), this.status, rounds);
  }

  // Connects again and again until `signal` says stop.
  async follow(topic, signal) {
    this.count = 0;
    this.body.replaceChildren();
    for (let delay = FIRST_DELAY_MS; !signal.aborted; delay = Math.min(2 * delay, LONGEST_DELAY_MS)) {
      this.say("connecting", "connecting …");
      let ended;
      try {
        ended = await this.stream.connect(topic, {
          opened: () => { delay = FIRST_DELAY_MS; this.say("open", "connected"); },
          round: (text) => this.show(text),
          failed: (reason) => this.say("failed", reason),
          signal,
        });
      } catch (error) {
        ended = error.message || String(error);
      }
      if (signal.aborted) break;
      // Spread out, so that a restarted server is not met by everybody at the same moment.
      const wait = delay * (0.5 + Math.random() / 2);
      this.say("failed", `${ended}; again in ${(wait / 1000).toFixed(1)} s`);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, wait);
        signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); });
      });
    }
    this.say("closed", "disconnected");
  }

  say(state, text) {
    this.status.dataset.state = state;
    this.status.textContent = state === "open" ? `${text}, ${this.count} rounds` : text;
  }

  show(text) {
    const round = JSON.parse(text);
    this.count += 1;
    const delay = afterFirst(round.round_id);
    const rest = this.showsDelay ? [`+${delay.toFixed(1)} ms`] : [round.finished_at, round.extras];
    const cells = [round.round_id, round.game_slug, ...rest];
    const row = element("tr");
    row.append(...cells.map((cell) => element("td", String(cell))));
    this.body.prepend(row);
    if (this.body.childElementCount > SHOWN_ROUNDS) this.body.lastElementChild.remove();
    this.say("open", "connected");
  }
}

async function start() {
  const place = document.getElementById("panels");
  const keys = place.dataset.streams.split(" ");
  const panels = keys.map((key) => new Panel(key, keys.length > 1));
  place.append(...panels.map((panel) => panel.section));

  const topic = document.getElementById("topic");
  const games = await (await fetch("/api/games")).json();
  const types = [...new Set(games.map((game) => game.type))];
  topic.append(
    ...games.map((game) => element("option", game.name, { value: encodeURIComponent(game.slug) })),
    ...types.map((type) => element("option", `all of type ${type}`, { value: `type/${encodeURIComponent(type)}` })),
  );

  let control = null;
  const toggle = document.getElementById("toggle");
  const connect = () => {
    control?.abort();
    control = new AbortController();
    panels.forEach((panel) => panel.follow(topic.value, control.signal));
    toggle.textContent = "Disconnect";
  };
  topic.addEventListener("change", connect);
  toggle.addEventListener("click", () => {
    if (!control) return connect();
    control.abort();
    control = null;
    toggle.textContent = "Connect";
  });
  connect();
}

start().catch((error) => {
  document.querySelector("main").append(element("p", `This page could not start: ${error.message}`, { class: "status" }));
});
