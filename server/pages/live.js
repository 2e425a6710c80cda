// A page of one or several streams: what they received, how late, and how they fared.

import { Comparison, Meter, drawBars } from "./meter.js";
import { STREAMS, element, follow, topics } from "./streams.js";

const SHOWN_ROUNDS = 50;
const REDRAW_MS = 500;

// One stream on the page: its status, its figures and the newest rounds.
class Panel {
  constructor(key, comparison) {
    this.key = key;
    this.stream = STREAMS[key];
    this.comparison = comparison;
    this.section = element("section", "", { id: key });
    this.status = element("p", "", { class: "status", role: "status" });
    this.problem = element("p", "", { class: "problem", hidden: "" });
    this.section.append(element("h2", this.stream.name), this.status, this.figures(), this.problem, this.table());
    this.reset();
  }

  figures() {
    const list = element("dl", "", { class: "figures" });
    this.values = {};
    const names = { count: "Rounds", rate: "Per second", latency: "Latency", reconnects: "Reconnects" };
    if (this.comparison) Object.assign(names, { behind: "After first", missed: "Missed" });
    for (const [name, title] of Object.entries(names)) {
      const pair = element("div");
      this.values[name] = element("dd", "–", { class: name });
      pair.append(element("dt", title), this.values[name]);
      list.append(pair);
    }
    this.bars = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [name, value] of Object.entries({
      viewBox: "0 0 60 20", preserveAspectRatio: "none", class: "bars", "aria-hidden": "true",
    })) {
      this.bars.setAttribute(name, value);
    }
    this.scale = element("figcaption");
    const chart = element("figure");
    chart.append(this.bars, this.scale);
    const figures = element("div");
    figures.append(list, chart);
    return figures;
  }

  table() {
    const heads = this.comparison ? ["Round", "Game", "After first"] : ["Round", "Game", "Latency", "Extras"];
    const row = element("tr");
    row.append(...heads.map((head) => element("th", head, { scope: "col" })));
    const head = element("thead");
    head.append(row);
    this.body = element("tbody");
    const table = element("table");
    table.append(head, this.body);
    const rounds = element("div", "", { class: "rounds", tabindex: "0", role: "region", "aria-label": "Rounds" });
    rounds.append(table);
    return rounds;
  }

  reset() {
    this.meter = new Meter();
    this.behind = null;
    this.opened = 0;
    this.body.replaceChildren();
    this.problem.hidden = true;
    this.draw();
  }

  async follow(topic, signal) {
    this.reset();
    await follow(this.stream, topic, {
      state: (name, text, wait) => this.say(name, text, wait),
      round: (text) => this.show(text),
      signal,
    });
  }

  say(state, text, wait) {
    if (state === "open") {
      this.opened += 1;
      this.comparison?.joins(this.key);
    } else if (state === "failed") {
      this.problem.textContent = `Last problem, ${new Date().toLocaleTimeString()}: ${text}`;
      this.problem.hidden = false;
    }
    this.status.dataset.state = state;
    this.status.textContent = wait ? `reconnecting in ${(wait / 1000).toFixed(1)} s`
      : state === "failed" ? "the browser is reconnecting" : text;
    this.draw();
  }

  show(text) {
    const round = JSON.parse(text);
    const latency = this.meter.arrived(round.timestamp);
    const cells = [round.round_id, round.game_slug];
    if (this.comparison) {
      this.behind = this.comparison.arrived(this.key, `${round.game_slug} ${round.round_id}`);
      cells.push(`+${this.behind.toFixed(1)} ms`);
    } else {
      cells.push(latency === null ? "–" : `${latency} ms`, round.extras);
    }
    const row = element("tr");
    row.append(...cells.map((cell) => element("td", String(cell))));
    this.body.prepend(row);
    if (this.body.childElementCount > SHOWN_ROUNDS) this.body.lastElementChild.remove();
  }

  draw() {
    const median = this.meter.median();
    const figures = {
      count: this.meter.count.toLocaleString(),
      rate: this.meter.perSecond().toFixed(1),
      latency: median === null ? "–" : `${median} ms`,
      reconnects: Math.max(0, this.opened - 1),
      behind: this.behind === null ? "–" : `+${this.behind.toFixed(1)} ms`,
      missed: this.comparison?.missed(this.key),
    };
    for (const [name, value] of Object.entries(this.values)) value.textContent = figures[name];
  }

  // All panels of a page have the same scale.
  drawLatencies(highest) {
    drawBars(this.bars, this.meter.latencies, highest);
    const count = this.meter.latencies.length;
    const own = Math.max(...this.meter.latencies);
    this.scale.textContent = count === 0 ? "no latencies yet" : `last ${count}, at most ${own} ms`;
  }
}

// What can be subscribed to; the address of the page remembers it, so that the overview can lead to a game.
async function offerTopics(select) {
  const { games, types } = await topics();
  select.append(
    ...games.map((game) => element("option", game.name, { value: encodeURIComponent(game.slug) })),
    ...types.map((type) => element("option", `all of type ${type}`, { value: `type/${encodeURIComponent(type)}` })),
  );
  const asked = new URLSearchParams(location.search).get("topic");
  if ([...select.options].some((option) => option.value === asked)) select.value = asked;
  select.addEventListener("change", () => {
    history.replaceState(null, "", `?topic=${encodeURIComponent(select.value)}`);
  });
}

async function start() {
  const place = document.getElementById("panels");
  const keys = place.dataset.streams.split(" ");
  const topic = document.getElementById("topic");
  await offerTopics(topic);

  let control = null;
  let panels = [];
  const toggle = document.getElementById("toggle");
  const connect = () => {
    control?.abort();
    control = new AbortController();
    const comparison = keys.length > 1 ? new Comparison() : null;
    panels = keys.map((key) => new Panel(key, comparison));
    place.replaceChildren(...panels.map((panel) => panel.section));
    for (const panel of panels) panel.follow(topic.value, control.signal);
    toggle.textContent = "Disconnect";
  };
  topic.addEventListener("change", connect);
  toggle.addEventListener("click", () => {
    if (!control) return connect();
    control.abort();
    control = null;
    toggle.textContent = "Connect";
  });
  setInterval(() => {
    const highest = Math.max(1, ...panels.flatMap((panel) => panel.meter.latencies));
    for (const panel of panels) {
      panel.draw();
      panel.drawLatencies(highest);
    }
  }, REDRAW_MS);
  connect();
}

start().catch((error) => {
  const text = `This page could not start: ${error.message}`;
  document.querySelector("main").append(element("p", text, { class: "status", "data-state": "failed" }));
});
