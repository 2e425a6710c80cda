"""Measures what a delivery and a connection cost the server along each axis of load, and checks the curves.

Started by scripts/cost-model. One `lastmile run` a point: one protocol, a fresh server, a private Redis. The points
of all protocols and axes are measured in turn, the whole list again for each repeat, so that a slow minute of the
machine does not fall on one curve alone.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import time

from cost_model_report import check_rows, markdown

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROTOCOLS = ["ws", "sse", "wt-datagram", "wt-stream", "wt-streams"]
AXES = ["subscribers", "rate", "payload", "channels"]

# 1,000 subscribers at 40 messages a second of 256 bytes are a point of the axis subscribers and of the axis rate: the
# same load measured twice, whose difference is the noise of everything here.
DELIVERIES_PER_SECOND = 40_000
SUBSCRIBERS = [100, 1000, 5000, 15_000]
# A QUIC handshake takes both sides a millisecond of processor time: more sessions would be half a minute a point.
MOST_SESSIONS = 3000
RATE_SUBSCRIBERS = 1000
RATES = [5, 20, 40, 80, 160]
PAYLOAD_SUBSCRIBERS = 100
PAYLOAD_RATE = 40
PAYLOADS_BYTES = [64, 256, 1024, 4096, 16_384]
# Each game has the same share of 1,000 subscribers and its own messages, so that deliveries a second are kept.
CHANNELS = [1, 10, 100, 1000]
CHANNELS_SUBSCRIBERS = 1000
CHANNEL_RATE = 10


def listed(text):
    return [part for part in text.split(",") if part]


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/cost-model", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few small points, 2 s each; not for quoting")
    parser.add_argument("--axes", type=listed, default=AXES, help="of " + ",".join(AXES))
    parser.add_argument("--protocols", type=listed, default=PROTOCOLS, help="of " + ",".join(PROTOCOLS))
    parser.add_argument("--subscribers", type=listed, help="points of the axis subscribers")
    parser.add_argument("--deliveries-per-second", type=int, default=DELIVERIES_PER_SECOND,
                        help="kept along the axis subscribers: the rate is this divided by the subscribers")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured at each point [default: 2]")
    parser.add_argument("--repeats", type=int, default=3, help="of each point; medians are told")
    parser.add_argument("--append", action="store_true", help="add points and repeats to those of an earlier call")
    parser.add_argument("--strict", action="store_true", help="exit code 1 where the check flags something")
    parser.add_argument("--lastmile", default=ROOT / "target/release/lastmile", metavar="PATH",
                        help="the program to run [default: that of target/release]")
    parser.add_argument("--out", default=ROOT / "results/cost-model", type=pathlib.Path, metavar="FOLDER",
                        help="gets the tables [default: results/cost-model]")
    # Only for scripts/cost-model itself, which looks for it before this is started.
    parser.add_argument("--no-build", action="store_true", help="use target/release as it is")
    options = parser.parse_args()
    for given, known in [(options.axes, AXES), (options.protocols, PROTOCOLS)]:
        for name in given:
            if name not in known:
                parser.error(f"{name}: choose from {', '.join(known)}")
    if not os.access(options.lastmile, os.X_OK):
        parser.error(f"{options.lastmile} is missing: leave out --no-build")
    return options


def points(options, least_bytes):
    """Every point: the axis it belongs to, its value there, and the load that makes it."""
    quick = options.quick
    subscribers = [int(count) for count in options.subscribers or ([100, 1000] if quick else SUBSCRIBERS)]
    payloads = [max(size, least_bytes) for size in ([256, 4096] if quick else PAYLOADS_BYTES)]
    along = {
        # Deliveries a second are kept, so that the curve shows what a subscriber costs and not what load costs.
        "subscribers": [(count, count, options.deliveries_per_second / count, 256) for count in subscribers],
        "rate": [(rate, RATE_SUBSCRIBERS, rate, 256) for rate in ([10, 40] if quick else RATES)],
        "payload": [(size, PAYLOAD_SUBSCRIBERS, PAYLOAD_RATE, size) for size in payloads],
        "channels": [(games, CHANNELS_SUBSCRIBERS, CHANNEL_RATE * games, 256) for games in ([1, 10] if quick else CHANNELS)],
    }
    return [
        {"axis": axis, "value": value, "protocol": protocol, "connections": connections, "rate": round(rate, 3),
         "payload_bytes": payload_bytes, "games": value if axis == "channels" else 1}
        for axis in options.axes
        for value, connections, rate, payload_bytes in along[axis]
        for protocol in options.protocols
        if connections <= MOST_SESSIONS or not protocol.startswith("wt-")
    ]


def run(options, point, seconds):
    """One run of a point: the result, or a sentence on why there is none."""
    with tempfile.TemporaryDirectory(prefix="cost-model-") as folder:
        command = [
            str(options.lastmile), "run", "--json", "--slices", "1", "--protocols", point["protocol"],
            "--connections", str(point["connections"]), "--rate", str(point["rate"]),
            "--payload", str(point["payload_bytes"]), "--duration", f"{seconds:g}s",
            "--warmup", f"{max(0.7, seconds / 5):g}s", "--out", folder,
        ]
        if point.get("games", 1) > 1:
            command += ["--games", str(point["games"])]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sentences = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return None, sentences[-1]
    return json.loads(done.stdout), None


def least_payload(options):
    """The shortest round there always is, which `lastmile run` tells where less is asked for. It holds the time with
    as many digits as that moment has, nine of ten times all nine: asked often enough, the most is the answer."""
    point = {"protocol": "ws", "connections": 1, "rate": 1, "payload_bytes": 1}
    told = []
    for _ in range(6):
        _, refusal = run(options, point, 1.0)
        found = re.search(r"at least (\d+) bytes", refusal or "")
        if not found:
            sys.exit(f"could not find out how short a round can be: {refusal or 'a round of 1 byte was measured'}")
        told.append(int(found.group(1)))
    return max(told)


def measured(case):
    """What is kept of a run."""
    accounting, server, generator = case["accounting"], case["server"] or {}, case["generator"] or {}
    return {
        "server_cpu_us_per_delivery": server.get("cpu_us_per_delivery"),
        "server_rss_bytes_per_connection": server.get("rss_bytes_per_connection"),
        "generator_cpu_us_per_delivery": generator.get("cpu_us_per_delivery"),
        "deliveries_per_s": case["deliveries_per_s"],
        "achieved_rate": case["achieved_rate"],
        "service_p50_us": case["service_latency_us"]["p50"],
        "lost": accounting["lost"],
        "expected": accounting["expected"],
    }


def measure(options, row, seconds):
    """Measures a point once more; gives what to tell of it, and what the run says of the machine."""
    # The slow points publish seldom: they get the time for at least 20 messages, or their cost would be that of a
    # handful.
    lasting = seconds if options.quick else max(seconds, 20 / row["rate"])
    result, failure = run(options, row, lasting)
    if failure:
        row["failures"].append(failure)
        return failure, None
    row["runs"].append(measured(result["cases"][0]))
    cost = row["runs"][-1]["server_cpu_us_per_delivery"]
    return "no CPU time observed" if cost is None else f"{cost:.2f} µs a delivery", result["environment"]


LOAD = ("axis", "value", "protocol", "connections", "rate", "payload_bytes")


def taken_up(path, todo):
    """The rows of an earlier call: those of `todo` that it has go on, its others stay; and what it was."""
    if path is None or not path.exists():
        return [{**point, "runs": [], "failures": []} for point in todo], [], None
    earlier = json.loads(path.read_text(encoding="utf-8"))
    rows = {tuple(row[name] for name in LOAD): row for row in earlier["rows"]}
    going_on = [rows.pop(tuple(point[name] for name in LOAD), {**point, "runs": [], "failures": []}) for point in todo]
    return going_on, list(rows.values()), earlier


def measure_all(options, rows):
    """Runs every point as often as asked, or until Ctrl-C; gives the points with their runs, and the conditions."""
    seconds = 2.0 if options.quick else options.seconds
    repeats = 1 if options.quick else options.repeats
    environment = None
    conditions = {"seconds": seconds, "repeats": repeats, "interrupted": False}
    total = len(rows) * repeats
    try:
        for number in range(total):
            row = rows[number % len(rows)]
            said, seen = measure(options, row, seconds)
            environment = environment or seen
            where = f"[{number + 1}/{total}] {row['protocol']}, {row['axis']} {row['value']:g}"
            print(f"{where}: {said}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        conditions["interrupted"] = True
        rows = [row for row in rows if row["runs"] or row["failures"]]
    return rows, environment, conditions


def write(path, text):
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def main():
    options = arguments()
    least_bytes = least_payload(options)
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    # A try must not take the place of hours of measuring.
    name = "cost-model-quick" if options.quick else "cost-model"
    path = options.out / f"{name}.json"
    todo, others, earlier = taken_up(path if options.append else None, points(options, least_bytes))
    rows, environment, conditions = measure_all(options, todo)
    rows = [*others, *rows]
    if earlier:
        began, conditions["repeats"] = earlier["started_at"], max(len(row["runs"]) for row in rows)
    checks = check_rows(rows)
    model = {
        "schema": "lastmile.cost-model/1",
        "started_at": began,
        "command": ["scripts/cost-model", *sys.argv[1:]],
        "quick": options.quick,
        "environment": environment or {"kernel": platform.release()},
        "conditions": {**conditions, "least_payload_bytes": least_bytes,
                       "deliveries_per_second": options.deliveries_per_second},
        "rows": rows,
        "checks": checks,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    write(path, json.dumps(model, indent=1) + "\n")
    write(options.out / f"{name}.md", markdown(model))
    print(options.out / f"{name}.md")
    if conditions["interrupted"]:
        sys.exit(130)
    if any(row["failures"] for row in rows):
        sys.exit(3)
    if options.strict and any(check["flagged"] for check in checks):
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
