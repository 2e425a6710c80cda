// The games with their newest rounds, live.

import { Meter } from "./meter.js";
import { STREAMS, element, follow, topics } from "./streams.js";

const REDRAW_MS = 500;
const PAGES = { "WebSocket": "websocket", "SSE": "sse", "WebTransport": "webtransport", "Side by side": "test" };

// A row of the table.
class Game {
  constructor({ slug, name, type }) {
    this.meter = new Meter();
    this.row = element("tr", "", { id: `game-${slug}` });
    const links = element("td", "", { class: "links" });
    for (const [title, page] of Object.entries(PAGES)) {
      const topic = encodeURIComponent(encodeURIComponent(slug));
      links.append(element("a", title, { href: `/${page}.html?topic=${topic}` }), " ");
    }
    const cell = (title) => element("td", "–", { "data-title": title });
    this.cells = { round: cell("Round"), extras: cell("Result"), rate: cell("Per second"), latency: cell("Latency") };
    this.row.append(element("th", name, { scope: "row" }), element("td", type, { "data-title": "Type" }),
      ...Object.values(this.cells), links);
  }

  show(round) {
    this.meter.arrived(round.timestamp);
    this.cells.round.textContent = round.round_id;
    this.cells.extras.textContent = round.extras;
  }

  draw() {
    const median = this.meter.median();
    this.cells.rate.textContent = this.meter.perSecond().toFixed(1);
    this.cells.latency.textContent = median === null ? "–" : `${median} ms`;
  }
}

async function start() {
  const { games, types } = await topics();
  const rows = new Map(games.map((game) => [game.slug, new Game(game)]));
  document.querySelector("#games tbody").replaceChildren(...[...rows.values()].map((game) => game.row));
  const status = document.getElementById("status");
  // A socket for each type brings all games; a browser opens few connections for anything else.
  const open = new Set();
  for (const type of types) {
    follow(STREAMS.ws, `type/${encodeURIComponent(type)}`, {
      state: (name, text, wait) => {
        if (name === "open") open.add(type); else open.delete(type);
        const all = open.size === types.length;
        status.dataset.state = all ? "open" : name;
        status.textContent = all ? "live" : wait ? `${text}; reconnecting in ${(wait / 1000).toFixed(1)} s` : text;
      },
      round: (text) => {
        const round = JSON.parse(text);
        rows.get(round.game_slug)?.show(round);
      },
      signal: new AbortController().signal,
    });
  }
  setInterval(() => rows.forEach((game) => game.draw()), REDRAW_MS);
}

start().catch((error) => {
  const status = document.getElementById("status");
  status.dataset.state = "failed";
  status.textContent = `This page could not start: ${error.message}`;
});
