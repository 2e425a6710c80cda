"""Measures what one client's misbehaviour costs all others. Started by scripts/faults.

200 subscribers hear 100 messages a second from a fresh server, once by themselves and once beside the fault, in
turn and in random order; ratios are made round by round.
"""

import argparse
import json
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/lib"))
from inject import FAULTS  # noqa: E402
from processes import Failure, Processes, first_line, halves, say, start_redis  # noqa: E402

BINARIES = ROOT / "target/release"
# What the bystanders' p99 may move by.
TOLERANCE = 1.20
# The payload fills a slow reader's buffers within the warm-up.
PAYLOAD_BYTES = {"slow": 4096}
# Tells of connections that are nobody's subscriber yet.
OPEN = "lastmile_open_connections"
# A reader that is slow has its rounds sent until its buffers are full: without it, others stand in its place.
ALONE_SUBSCRIBERS = {"slow": 300}
# Filling the server takes its time, and must be over before anything counts.
WARMUP_S = {"limit": 15}
# What a run costs beyond its own length, at most.
PATIENCE_S = 90
# Until a server that was full lets somebody in again, at most.
ROOM_PATIENCE_S = 10


def scrape(address):
    """The server's counters and gauges, summed over shards."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^(lastmile_\w+(?:\{[^}]*\})?) ([0-9.e+-]+)$", text, re.M)}


def scrape_once_let_in(address):
    """The same of a server that was full: until it has seen that clients have gone, it refuses this one too."""
    until = time.monotonic() + ROOM_PATIENCE_S
    while True:
        try:
            return scrape(address)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def resident_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) * 1024


class Measuring:
    """One server, its bystanders, and perhaps a fault."""

    def __init__(self, processes, options, folder):
        self.processes, self.options, self.folder = processes, options, folder

    def measure(self, fault, with_fault):
        redis = start_redis(self.processes, self.folder)
        with open(f"{self.folder}/log", "w+b") as log:
            server = self.processes.start(
                [BINARIES / "lastmile-server", "--listen", "127.0.0.1:0", "--redis", f"redis+unix://{redis}",
                 "--database", f"sqlite://{self.folder}/rounds.db"], log, cores=halves()[0])
            address = first_line(server)["http"]
            warmup_s = WARMUP_S.get(fault, 4)
            subscribers = 200 if with_fault else ALONE_SUBSCRIBERS.get(fault, 200)
            client = self.processes.start(
                [BINARIES / "lastmile", "run", "--json", "--cores", "apart", "--slices", "1", "--protocols", self.options.protocol, "--connections", subscribers, "--rate", "100",
                 "--payload", PAYLOAD_BYTES.get(fault, 256), "--duration", f"{self.options.seconds:g}s",
                 "--warmup", f"{warmup_s}s", "--target", f"http://{address}", "--redis", f"redis+unix://{redis}",
                 "--target-pid", server.pid, "--out", f"{self.folder}/result"],
                subprocess.PIPE)
            injector = None
            if with_fault:
                # Behind the bystanders: a full server would not take them either.
                while scrape(address).get("lastmile_connections{protocol=\"ws\"}", 200) < 200 and client.poll() is None:
                    pass
                injector = self.processes.start([sys.executable, "-B", Path(__file__).parent / "inject.py", fault, address, redis], log)
            output, errors = client.communicate(timeout=warmup_s + self.options.seconds + PATIENCE_S)
            if client.returncode not in (0, 3):
                raise Failure(errors.decode(errors="replace").strip()[-300:])
            if injector and injector.poll() is not None:
                log.seek(0)
                raise Failure(f"the fault ended by itself: {log.read().decode(errors='replace')[-300:]}")
            case = json.loads(output)["cases"][0]
            descriptors = len(list(Path(f"/proc/{server.pid}/fd").iterdir()))
            grown_bytes = resident_bytes(server.pid)
            counters = {}
            if injector:
                try:
                    counters = scrape(address)
                except OSError:
                    # A full server has no descriptor left to tell its counters with.
                    pass
                self.processes.end(injector)
            counters = counters or scrape_once_let_in(address)
            return {
                "descriptors": descriptors,
                "p50_us": case["latency_us"]["p50"],
                "p99_us": case["latency_us"]["p99"],
                "lost": case["accounting"]["lost"],
                "resident_bytes": grown_bytes,
                "counters": {name: value for name, value in counters.items() if value and ("_total" in name or name == OPEN)},
            }

    def clean(self):
        self.processes.end_all()


def is_news(name, value, before):
    """Whether a counter tells of the fault: one that stands still without it, or one of what there is more of then."""
    return name not in before or (name in (OPEN, "lastmile_ingest_bytes_total") and value > 1.5 * before[name])


def told(rows):
    """Markdown of everything measured."""
    lines = [
        "| fault | others' p99 alone, µs | beside the fault, µs | ratio by round | others lost | server's memory, MB | its descriptors | counters that tell it |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | --- |",
    ]
    for fault, pairs in rows.items():
        ratios = sorted(pair["fault"]["p99_us"] / pair["alone"]["p99_us"] for pair in pairs)
        median = statistics.median(ratios)
        middle = {side: statistics.median(pair[side]["p99_us"] for pair in pairs) for side in ("alone", "fault")}
        memory = max(pair["fault"]["resident_bytes"] for pair in pairs) / 1e6
        descriptors = max(pair["fault"]["descriptors"] for pair in pairs)
        before, after = pairs[-1]["alone"]["counters"], pairs[-1]["fault"]["counters"]
        news = [f"`{name}` {value:,.0f}" for name, value in sorted(after.items()) if is_news(name, value, before)]
        lines.append(
            f"| {fault} | {middle['alone']:,.0f} | {middle['fault']:,.0f} | {median:.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"
            f"{'' if median <= TOLERANCE else ' **above 1.20**'} | {sum(pair['fault']['lost'] for pair in pairs)} "
            f"| {memory:.0f} | {descriptors:,} | {'<br>'.join(news) or '—'} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.5, help="measured each time; p99 takes 3 s at least [default: 3.5]")
    parser.add_argument("--append", action="store_true", help="add rounds to those of an earlier call")
    parser.add_argument("--only", default=",".join(FAULTS), metavar="LIST", help="of " + ",".join(FAULTS))
    parser.add_argument("--protocol", default="ws", help="of the bystanders")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=ROOT / "results/faults")
    parser.add_argument("--no-build", action="store_true", help="measure the programs as they were last built")
    options = parser.parse_args()
    chosen = options.only.split(",")
    for name in chosen:
        if name not in FAULTS:
            parser.error(f"{name}: choose from {', '.join(FAULTS)}")
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(130))
    earlier = options.out / "faults.json"
    rows = json.loads(earlier.read_text(encoding="utf-8")) if options.append and earlier.exists() else {}
    order, failures = random.Random(options.seed + sum(map(len, rows.values()))), 0
    for number in range(1, options.rounds + 1):
        for fault in chosen:
            pair = {}
            for side in order.sample(["alone", "fault"], 2):
                processes = Processes()
                with tempfile.TemporaryDirectory(prefix="lastmile-faults-") as folder:
                    measuring = Measuring(processes, options, folder)
                    try:
                        pair[side] = measuring.measure(fault, side == "fault")
                    except (Failure, OSError, subprocess.TimeoutExpired, ValueError) as failure:
                        failures += 1
                        say(f"round {number}, {fault}, {side}: {failure}")
                    finally:
                        measuring.clean()
            if len(pair) == 2 and all(one["p99_us"] for one in pair.values()):
                rows.setdefault(fault, []).append(pair)
                say(f"round {number}, {fault}: p99 {pair['alone']['p99_us']:,.0f} → {pair['fault']['p99_us']:,.0f} µs")
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "faults.md").write_text(told(rows), encoding="utf-8")
        (options.out / "faults.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(told(rows), end="")
    return 3 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
