// Figures of a stream: how many rounds, how late, how many missed.

const RATE_WINDOW_MS = 10_000;
const SAMPLES = 60;
// A round that another stream had so long ago and this one has not is missed, until it comes after all.
const GRACE_MS = 2_000;
const REMEMBERED_ROUNDS = 2000;

export class Meter {
  constructor() {
    this.count = 0;
    this.arrivals = [];
    this.latencies = [];
    this.startedAt = Date.now();
  }

  // `finished` is the round's own time in Unix milliseconds, by the clock of who published it.
  arrived(finished) {
    const now = Date.now();
    this.count += 1;
    this.arrivals.push(now);
    // The latest round, which comes first, may be as old as it likes.
    if (finished < this.startedAt) return null;
    const latency = now - finished;
    this.latencies.push(latency);
    if (this.latencies.length > SAMPLES) this.latencies.shift();
    return latency;
  }

  perSecond() {
    const now = Date.now();
    const from = now - RATE_WINDOW_MS;
    while (this.arrivals.length > 0 && this.arrivals[0] < from) this.arrivals.shift();
    const seconds = Math.min(RATE_WINDOW_MS, Math.max(now - this.startedAt, 1000)) / 1000;
    return this.arrivals.length / seconds;
  }

  median() {
    if (this.latencies.length === 0) return null;
    const sorted = [...this.latencies].sort((one, other) => one - other);
    return sorted[Math.floor(sorted.length / 2)];
  }
}

// What several streams of the same topic got, each compared to all.
export class Comparison {
  constructor() {
    this.streams = new Map();
    this.rounds = new Map();
  }

  // The stream is connected for the first time: from now on it can miss something.
  joins(stream) {
    if (!this.streams.has(stream)) this.streams.set(stream, { since: performance.now(), missed: 0 });
  }

  // Tells how many milliseconds after the first a stream has a round.
  arrived(stream, key) {
    const now = performance.now();
    let round = this.rounds.get(key);
    if (!round) {
      round = { first: now, seen: new Set(), settled: false };
      this.rounds.set(key, round);
      if (this.rounds.size > REMEMBERED_ROUNDS) this.rounds.delete(this.rounds.keys().next().value);
    }
    const state = this.streams.get(stream);
    if (round.settled && state && !round.seen.has(stream) && round.first > state.since) state.missed -= 1;
    round.seen.add(stream);
    return now - round.first;
  }

  missed(stream) {
    const due = performance.now() - GRACE_MS;
    for (const round of this.rounds.values()) {
      if (round.settled || round.first > due) continue;
      round.settled = true;
      for (const [other, state] of this.streams) {
        if (round.first > state.since && !round.seen.has(other)) state.missed += 1;
      }
    }
    return this.streams.get(stream)?.missed ?? 0;
  }
}

// The last latencies as bars; `highest` milliseconds fill the height.
export function drawBars(svg, latencies, highest) {
  const bars = latencies.map((latency, index) => {
    const height = Math.max(0.5, (20 * Math.max(latency, 0)) / highest);
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const x = SAMPLES - latencies.length + index;
    for (const [name, value] of Object.entries({ x: x + 0.1, y: 20 - height, width: 0.8, height })) {
      bar.setAttribute(name, value);
    }
    return bar;
  });
  svg.replaceChildren(...bars);
}
