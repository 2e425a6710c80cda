"""Measures servers that fan a Redis channel out to WebSocket subscribers beside each other. Started by scripts/peers.

For each round, every figure of every server is measured once, in random order, each time on a fresh process of that
server. All share one private Redis, except nchan, which does not subscribe to Redis and is published to by POST.
"""

import argparse
import datetime
import json
import os
import platform
import random
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
from processes import READY_PATIENCE_S, Failure, Processes, first_line, halves, say, start_redis  # noqa: E402

ROOT = Path(os.environ.get("LASTMILE_ROOT", Path(__file__).resolve().parents[2]))
BINARIES = Path(os.environ.get("LASTMILE_BINARIES", ROOT / "target/release"))
HERE = Path(__file__).resolve().parent
# Else the scheduler sets clients behind the server they hear, on its own core, and decides the figures by luck.
SERVER_CORES, CLIENT_CORES = halves()
# What ratios are made against.
REFERENCES = ["bun", "floor", "floor-joined"]
# How long a measurement may take beyond its own length.
RUN_PATIENCE_S = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- Servers ---


class Server:
    """A program under test: how to start it and how lastmile reaches it."""

    protocol = "ws"
    path = "/ws/crash"

    def __init__(self, name, title, command, lacks=None):
        self.name, self.title, self.command, self.lacks = name, title, command, lacks

    def start(self, processes, folder, redis, log):
        """Process and HOST:PORT of a fresh server."""
        command, environment = self.command(redis)
        process = processes.start(command, log, cores=SERVER_CORES, env={**os.environ, **environment})
        return process, first_line(process)["http"]

    def feed(self, redis, _address):
        return ["--redis", f"redis+unix://{redis}"]


class OursOverSse(Server):
    protocol = "sse"
    path = "/sse/crash"


class Nchan(Server):
    def __init__(self, name, title, lacks):
        super().__init__(name, title, None, lacks)

    def start(self, processes, folder, redis, log):
        port = free_port()
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        text = (HERE / "nchan.conf").read_text()
        values = {"MODULES": nchan_modules(), "FOLDER": folder, "PORT": port, "FILES": limit}
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        configuration = Path(folder) / "nchan.conf"
        configuration.write_text(text)
        process = processes.start([nginx(), "-p", folder, "-e", Path(folder) / "error.log", "-c", configuration], log, cores=SERVER_CORES)
        until = time.monotonic() + READY_PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return process, f"127.0.0.1:{port}"
            except OSError as error:
                if process.poll() is not None or time.monotonic() > until:
                    raise Failure(f"nginx is not ready: {error}") from error
                time.sleep(0.02)

    def feed(self, _redis, address):
        return ["--publish-http", f"http://{address}/publish"]


def nginx():
    return shutil.which("nginx") or "/usr/sbin/nginx"


def nchan_modules():
    told = os.environ.get("LASTMILE_NCHAN_MODULES")
    return Path(told if told and told != "." else "/usr/lib/nginx/modules")


def servers():
    """All of them, with what is missing where one can't run here."""
    bun = os.environ.get("LASTMILE_BUN") or ""
    modules = os.environ.get("LASTMILE_WS_MODULES") or ""

    def ours(redis):
        arguments = ["--listen", "127.0.0.1:0", "--wt-listen", "127.0.0.1:0", "--database", "sqlite::memory:"]
        return [BINARIES / "lastmile-server", *arguments], {"LASTMILE_REDIS": f"redis+unix://{redis}"}

    def floor(redis):
        return [BINARIES / "floor-websocket", "--redis", redis], {}

    def missing(path):
        return None if Path(path).is_file() else f"{path} is missing"

    return [
        Server("ours", "lastmile-server", ours, missing(BINARIES / "lastmile-server")),
        OursOverSse("ours-sse", "lastmile-server over SSE", ours, missing(BINARIES / "lastmile-server")),
        Server("bun", "Bun publish/subscribe", lambda redis: ([bun, HERE / "bun-server.mjs", redis], {}), missing(bun or "bun")),
        Server(
            "ws",
            "npm ws on Node",
            lambda redis: (["node", HERE / "ws-server.mjs", redis, modules], {}),
            missing(Path(modules) / "ws/package.json"),
        ),
        Nchan("nchan", "nginx with nchan", missing(nchan_modules() / "ngx_nchan_module.so") or missing(nginx())),
        Server("floor", "bare loop of send", floor, missing(BINARIES / "floor-websocket")),
        Server(
            "floor-joined",
            "bare loop that joins pending frames",
            lambda redis: ([*floor(redis)[0], "--join"], {}),
            missing(BINARIES / "floor-websocket"),
        ),
    ]


# --- Measurements ---


class Figure:
    """A figure of a measurement: `pick` takes it out of the result, None where it is not there."""

    def __init__(self, name, unit, better, pick, digits=0):
        self.name, self.unit, self.better, self.pick, self.digits = name, unit, better, pick, digits


class Measurement:
    """One run of lastmile and the figures taken from it."""

    def __init__(self, name, group, flags, seconds, figures):
        self.name, self.group, self.flags, self.seconds, self.figures = name, group, flags, seconds, figures

    # Where it runs; `lastmile run` knows itself.
    cores = None

    def command(self, server, address, redis, pid, folder):
        command = [BINARIES / "lastmile", "run", "--json", "--cores", "apart", "--slices", "1", "--out", folder, "--target", f"http://{address}"]
        command += ["--target-pid", pid, "--protocols", server.protocol, f"--{server.protocol}-path", server.path]
        return [*command, *server.feed(redis, address), *self.flags]

    def applies_to(self, _server):
        return True

    def take(self, output):
        """Figures and faults of the program's output."""
        result = json.loads(output)
        case = result["cases"][0]
        books = case["accounting"]
        faults = [f"{books[kind]} {kind}" for kind in ("lost", "duplicated", "reordered", "corrupt") if books[kind]]
        faults += [f"{text} ({count}×)" for text, count in case["errors"]]
        return {figure.name: figure.pick(case) for figure in self.figures}, faults


class Independent(Measurement):
    """The same load by a client that shares no code with lastmile and knows when the last subscriber was reached."""

    cores = CLIENT_CORES

    def command(self, server, address, redis, pid, _folder):
        command = [BINARIES / "bare-client", "--server", address, "--redis", redis, "--pid", pid]
        return [*command, "--path", server.path, *self.flags]

    def applies_to(self, server):
        return not isinstance(server, Nchan) and (BINARIES / "bare-client").is_file()

    def take(self, output):
        line = json.loads(output)
        return {figure.name: figure.pick(line) for figure in self.figures}, []


def measurements(quick, seconds=5.0):
    """What is measured of every server; a saturated window takes `seconds`, a steady one half as long again."""
    window, warmup = (1, 0.4) if quick else (seconds, min(1.5, seconds / 3))

    def length(seconds, before=warmup):
        return ["--duration", f"{seconds:.3g}s", "--warmup", f"{before:.3g}s"]

    def cpu(name="CPU per delivery"):
        return Figure(name, "µs", "lower", lambda case: case["server"]["cpu_us_per_delivery"], 3)

    def saturated(in_flight):
        name = f"saturated, {in_flight} in flight"
        figures = [
            Figure(f"deliveries/s, {name}", "/s", "higher", lambda case: case["deliveries_per_s"]),
            cpu(f"CPU per delivery, {name}"),
            # Where this is above the server's, the client bounds what the server can show.
            Figure(f"client's CPU per receipt, {name}", "µs", "lower", lambda case: case["generator"]["cpu_us_per_delivery"], 3),
        ]
        flags = ["--connections", "1000", "--in-flight", str(in_flight), *length(window)]
        return Measurement(f"saturated-{in_flight}", "saturated", flags, window + warmup, figures)

    def saturated_independently(in_flight):
        name = f"saturated by the independent client, {in_flight} in flight"
        figures = [
            Figure(f"deliveries/s, {name}", "/s", "higher", lambda line: line["deliveries_per_s"]),
            Figure(f"CPU per delivery, {name}", "µs", "lower", lambda line: line["server_cpu_us_per_delivery"], 3),
        ]
        flags = ["--connections", "1000", "--in-flight", str(in_flight), "--seconds", f"{window:.3g}"]
        return Independent(f"saturated-independent-{in_flight}", "saturated", flags, window * 1.25, figures)

    # p99 takes 299 messages at least.
    steady_s, single_s, rate = (1, 1, "320") if quick else (max(3.8, 1.5 * seconds), max(3.2, 1.5 * seconds), "100")
    connections = "2000" if quick else "8000"
    steady = "80 msg/s, 1,000 subscribers"
    return [
        saturated(1),
        saturated(8),
        saturated(32),
        saturated_independently(8),
        saturated_independently(32),
        Measurement(
            "steady",
            "steady",
            ["--connections", "1000", "--rate", "80", *length(steady_s)],
            steady_s + warmup,
            [
                cpu(f"CPU per delivery, {steady}"),
                Figure(f"p50, {steady}", "µs", "lower", lambda case: case["latency_us"]["p50"]),
                Figure(f"p99, {steady}", "µs", "lower", lambda case: case["latency_us"]["p99"]),
            ],
        ),
        Independent(
            "complete",
            "steady",
            ["--connections", "1000", "--rate", "80", "--seconds", str(steady_s)],
            steady_s * 1.25,
            [
                Figure(f"last subscriber reached, p50, {steady}", "µs", "lower", lambda line: line["complete_p50_us"]),
                Figure(f"p50 by the independent client, {steady}", "µs", "lower", lambda line: line["p50_us"]),
            ],
        ),
        Measurement(
            "single",
            "single",
            ["--connections", "1", "--rate", rate, *length(single_s)],
            single_s + warmup,
            [
                Figure("p50, one subscriber", "µs", "lower", lambda case: case["latency_us"]["p50"], 1),
                Figure("p99, one subscriber", "µs", "lower", lambda case: case["latency_us"]["p99"], 1),
            ],
        ),
        Measurement(
            "idle",
            "idle",
            ["--connections", connections, "--rate", "1", *length(1, 0)],
            1,
            [
                Figure(
                    f"memory per subscriber, {int(connections):,} idle",
                    "B",
                    "lower",
                    lambda case: case["server"]["rss_bytes_per_connection"],
                ),
                Figure(
                    f"CPU per handshake, {int(connections):,} connections",
                    "µs",
                    "lower",
                    lambda case: case["server"]["attaching_cpu_s"] * 1e6 / case["connections"],
                    1,
                ),
                # The client connects on one thread: where servers are equal here, it was the client that was busy.
                Figure(
                    f"client's CPU per handshake, {int(connections):,} connections",
                    "µs",
                    "lower",
                    lambda case: case["generator"]["attaching_cpu_s"] * 1e6 / case["connections"],
                    1,
                ),
                Figure(
                    f"handshakes/s, {int(connections):,} connections",
                    "/s",
                    "higher",
                    lambda case: case["connections"] / case["attaching_s"],
                ),
            ],
        ),
    ]


class Peers:
    """A whole comparison."""

    def __init__(self, options, chosen, planned):
        self.options, self.servers, self.measurements = options, chosen, planned
        self.processes = Processes()
        self.redis = None
        # values[figure][server] = one value a round, None where it failed.
        self.values = {figure.name: {server.name: [] for server in chosen} for m in planned for figure in m.figures}
        self.faults = []
        self.commands = {}
        self.started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        self.rounds_before = 0
        if options.append:
            self.take_up(Path(options.out) / "peers.json")
        # The last: what is refused before leaves none.
        self.folder = tempfile.mkdtemp(prefix="lastmile-peers-")

    def take_up(self, path):
        """Goes on where an earlier call has ended: its rounds count as ours."""
        if not path.exists():
            return
        earlier = json.loads(path.read_text(encoding="utf-8"))
        figures = {figure["name"]: figure["servers"] for figure in earlier["figures"]}
        same = figures.keys() == self.values.keys() and all(
            own.keys() == self.values[name].keys() for name, own in figures.items()
        )
        if not same:
            raise Failure(f"{path} holds other servers or figures; give the same flags, or another --out")
        for name, own in figures.items():
            self.values[name] = {server: list(told["values"]) for server, told in own.items()}
        self.rounds_before, self.faults = earlier["rounds"], earlier["faults"]
        self.commands, self.started = earlier["commands"], earlier["started_at"]

    def run(self):
        self.redis = start_redis(self.processes, self.folder)
        order = random.Random(self.options.seed + self.rounds_before)
        for number in range(self.rounds_before + 1, self.rounds_before + self.options.rounds + 1):
            pairs = [(s, m) for s in self.servers for m in self.measurements if m.applies_to(s)]
            order.shuffle(pairs)
            for position, (server, measurement) in enumerate(pairs, 1):
                where = f"round {number}/{self.rounds_before + self.options.rounds}, {position}/{len(pairs)}: {server.name}, {measurement.name}"
                try:
                    taken, faults = self.measure(server, measurement)
                except Failure as failure:
                    taken, faults = {}, [str(failure)]
                for figure in measurement.figures:
                    self.values[figure.name][server.name].append(taken.get(figure.name))
                self.faults += [{"round": number, "server": server.name, "measurement": measurement.name, "fault": fault} for fault in faults]
                shown = [f"{shorten(figure, taken.get(figure.name))} {figure.unit}" for figure in measurement.figures]
                say(f"{where}: {', '.join(shown)}{''.join('; ' + fault for fault in faults)}")
            self.write(number)

    def measure(self, server, measurement):
        """Figures and faults of one measurement on a fresh server."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder, open(f"{folder}/log", "w+b") as log:
            process = None
            try:
                process, address = server.start(self.processes, folder, self.redis, log)
                command = measurement.command(server, address, self.redis, process.pid, f"{folder}/result")
                command = [str(part) for part in command]
                self.commands.setdefault(measurement.name, {})[server.name] = " ".join(command)
                client = self.processes.start(command, subprocess.PIPE, cores=measurement.cores)
                try:
                    output, errors = client.communicate(timeout=measurement.seconds + RUN_PATIENCE_S)
                except subprocess.TimeoutExpired:
                    raise Failure("the measurement does not end") from None
                finally:
                    self.processes.end(client)
                if client.returncode != 0:
                    raise Failure(errors.decode(errors="replace").strip()[-400:] or f"exit code {client.returncode}")
                return measurement.take(output)
            except (Failure, OSError, ValueError, KeyError, TypeError) as error:
                log.seek(0)
                end = log.read().decode(errors="replace").strip()[-300:]
                raise Failure(f"{error}{'; its log ends: ' + end if end else ''}") from error
            finally:
                # Starting may have failed after the process was made.
                for other in self.processes.running[1:]:
                    self.processes.end(other)

    def clean(self):
        self.processes.end_all()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- Results ---

    def write(self, rounds):
        """After every round, so that an interrupt loses at most one."""
        result = self.result(rounds)
        folder = Path(self.options.out)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("peers.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n"), ("peers.md", markdown(result))):
            beside = folder / f".{name}.part"
            beside.write_text(text, encoding="utf-8")
            beside.replace(folder / name)

    def result(self, rounds):
        figures = []
        for measurement in self.measurements:
            for figure in measurement.figures:
                values = self.values[figure.name]
                entry = {"name": figure.name, "measurement": measurement.name, "unit": figure.unit}
                entry |= {"better": figure.better, "digits": figure.digits, "servers": {}}
                for name, own in values.items():
                    told = summary(own) | {"values": own}
                    for reference in REFERENCES:
                        if reference in values and reference != name:
                            told[f"to_{reference}"] = summary(ratios(own, values[reference]))
                    entry["servers"][name] = told
                figures.append(entry)
        return {
            "schema": "lastmile.peers/1",
            "started_at": self.started,
            "command": " ".join(["scripts/peers", *sys.argv[1:]]),
            "quick": self.options.quick,
            "rounds": rounds,
            "seed": self.options.seed,
            "payload_bytes": 256,
            "machine": machine(),
            "versions": versions(),
            "servers": {server.name: server.title for server in self.servers},
            "figures": figures,
            "faults": self.faults,
            "commands": self.commands,
        }


def summary(values):
    there = [value for value in values if value is not None]
    if not there:
        return {"median": None, "min": None, "max": None}
    return {"median": statistics.median(there), "min": min(there), "max": max(there)}


def ratios(values, references):
    """Round by round: what was slow in a round was slow for both."""
    pairs = zip(values, references)
    return [value / reference if value is not None and reference else None for value, reference in pairs]


def shorten(figure, value):
    return "—" if value is None else f"{value:,.{figure.digits}f}"


def markdown(result):
    names = list(result["servers"])
    compared = [r for r in REFERENCES if r in names and "ours" in names]
    lines = ["# Fan-out beside other servers", ""]
    if result["quick"]:
        lines += ["**A quick run that only proves that everything works: its figures mean little.**", ""]
    machine_told = result["machine"]
    lines += [
        f"{result['payload_bytes']}-byte rounds; median (least–most) of {result['rounds']} round(s), interleaved in random order, a fresh "
        "process for each figure. Saturated: closed loop with 1,000 subscribers, throughput without latency. "
        "Servers and clients have a half of the cores each. All are fed by one private Redis, nchan by POST. Ratios are made round by round.",
        "",
        f"{machine_told['cpu']}, {machine_told['cores']} cores, {machine_told['kernel']}; "
        + ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        + f". `{result['command']}`, seed {result['seed']}, {result['started_at']}.",
        "",
    ]
    heads = ["figure", "unit", "better", *names, *(f"ours ÷ {reference}" for reference in compared)]
    lines.append("| " + " | ".join(heads) + " |")
    lines.append("| --- | --- | --- |" + " ---: |" * (len(heads) - 3))
    for figure in result["figures"]:
        cells = [figure["name"], figure["unit"], figure["better"]]
        cells += [spread(figure["servers"][name], figure["digits"]) for name in names]
        cells += [spread(figure["servers"]["ours"][f"to_{reference}"], 2) for reference in compared]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Servers: " + "; ".join(f"{name}: {title}" for name, title in result["servers"].items()) + ".", ""]
    if result["faults"]:
        lines += ["## What went wrong", ""]
        lines += [f"- round {f['round']}, {f['server']}, {f['measurement']}: {' '.join(f['fault'].split())}" for f in result["faults"]]
        lines.append("")
    return "\n".join(lines)


def spread(told, digits):
    if told["median"] is None:
        return "—"
    median, least, most = (f"{told[key]:,.{digits}f}" for key in ("median", "min", "max"))
    return median if least == most else f"{median} ({least}–{most})"


def machine():
    cpu = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "kernel": f"{platform.system()} {platform.release()}"}


def versions():
    def said(*command):
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        except OSError:
            return None
        return (answer.stdout + answer.stderr).strip().splitlines()[0] if answer.stdout + answer.stderr else None

    told = {
        "lastmile-server": said(str(BINARIES / "lastmile-server"), "--version"),
        "revision": said("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "Bun": said(os.environ.get("LASTMILE_BUN") or "bun", "--version"),
        "Node": said("node", "--version"),
        "nginx": said(nginx(), "-v"),
        "redis-server": said(os.environ.get("LASTMILE_REDIS_SERVER") or "redis-server", "--version"),
    }
    package = Path(os.environ.get("LASTMILE_WS_MODULES") or "") / "ws/package.json"
    if package.is_file():
        told["ws"] = json.loads(package.read_text())["version"]
    names = {"lastmile-server": "lastmile-server ", "nginx": "nginx version: ", "redis-server": "Redis server v="}
    return {
        name: version.removeprefix(names.get(name, "")).split(" sha=")[0] for name, version in told.items() if version
    }


def list_of(known):
    def parse(text):
        wanted = text.split(",")
        for name in wanted:
            if name not in known:
                raise argparse.ArgumentTypeError(f"unknown {name!r}; known are {', '.join(known)}")
        return wanted

    return parse


def main():
    all_servers = servers()
    groups = list(dict.fromkeys(measurement.group for measurement in measurements(False)))
    parser = argparse.ArgumentParser(prog="scripts/peers", description="Measures our server beside others, and the floor.")
    parser.add_argument("--rounds", type=int, help="how often everything is measured [default: 5; 1 with --quick]")
    parser.add_argument("--only", type=list_of(groups), default=groups, metavar="LIST", help=", ".join(groups))
    names = [server.name for server in all_servers]
    parser.add_argument("--servers", type=list_of(names), default=names, metavar="LIST", help=", ".join(names))
    parser.add_argument("--seconds", type=float, default=5.0, help="of a saturated window; a steady one takes half as long again [default: 5]")
    parser.add_argument("--append", action="store_true", help="add rounds to those of an earlier call with the same flags")
    parser.add_argument("--quick", action="store_true", help="a second each, to prove that everything works")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the order [default: drawn]")
    parser.add_argument("--out", default=str(ROOT / "results/peers"), metavar="DIR", help="[default: results/peers]")
    parser.add_argument("--no-build", action="store_true", help="measure the programs as they were last built")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)

    chosen = [server for server in all_servers if server.name in options.servers]
    for server in [server for server in chosen if server.lacks]:
        say(f"warning: {server.name} is left out: {server.lacks}")
        chosen.remove(server)
    if not chosen:
        say("error: there is nothing to measure")
        return 2
    planned = [one for one in measurements(options.quick, options.seconds) if one.group in options.only]
    # An ordinary way out, so that everything is ended.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(130))
    try:
        peers = Peers(options, chosen, planned)
    except Failure as failure:
        say(f"error: {failure}")
        return 2
    try:
        peers.run()
    except Failure as failure:
        say(f"error: {failure}")
        return 2
    finally:
        peers.clean()
    say(f"{options.out}/peers.md and peers.json")
    print((Path(options.out) / "peers.md").read_text(encoding="utf-8"), end="")
    return 3 if peers.faults else 0


if __name__ == "__main__":
    sys.exit(main())
