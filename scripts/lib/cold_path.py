"""Counts the lines of machine code that a message passes in a server with one subscriber.

Started by scripts/cold-path. The server runs under callgrind, which writes down every instruction that ran and how
often. While it writes, a hundred messages come, one after the other: what ran for each of them lies on the way of a
message, what ran now and then (timers, the database) does not.
"""

import argparse
import collections
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from processes import Failure, Processes, first_line, say, start_redis

ROOT = pathlib.Path(__file__).resolve().parents[2]
MESSAGES = 100
RATE = 20
# Long enough for a server under callgrind to have its subscriber and to have warmed up.
BEFORE_S = 5
LINE_BYTES = 64
PAGE_BYTES = 4096
# Of the messages that come while counting is switched on and off one or two may be half seen.
SEEN_BY = 0.9


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/cold-path", description=__doc__.split("\n")[0])
    parser.add_argument("--functions", type=int, default=20, help="of each program, those that take most [default: 20]")
    parser.add_argument("--server-bin", type=pathlib.Path, help="another build of our server")
    parser.add_argument("--no-build", action="store_true", help="count the programs as they were last built")
    return parser.parse_args()


def programs(options):
    release = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    ours = [options.server_bin or release / "lastmile-server", "--listen", "127.0.0.1:0", "--wt-listen", "127.0.0.1:0"]
    ours += ["--database", "sqlite::memory:", "--shards", "1"]
    return release / "bare-client", {"ours": ours, "floor": [release / "floor-websocket"]}


def count(client, name, command, folder):
    """Runs a server under callgrind; gives the file that says what ran."""
    processes = Processes()
    out = pathlib.Path(folder) / f"callgrind.{name}"
    try:
        socket = start_redis(processes, folder)
        redis = f"redis+unix://{socket}" if name == "ours" else socket
        valgrind = ["valgrind", "--tool=callgrind", "--dump-instr=yes", "--instr-atstart=no"]
        valgrind += [f"--callgrind-out-file={out}", *command, "--redis", redis]
        server = processes.start(valgrind, subprocess.DEVNULL)
        http = first_line(server)["http"]
        seconds = BEFORE_S + MESSAGES / RATE
        load = ["--connections", "1", "--rate", str(RATE), "--seconds", str(seconds + 2)]
        subscriber = processes.start(
            [client, "--server", http, "--redis", socket, "--pid", str(server.pid), *load], sys.stderr
        )
        time.sleep(BEFORE_S)
        control(server.pid, "-i", "on")
        time.sleep(MESSAGES / RATE)
        control(server.pid, "-i", "off")
        control(server.pid, "-d")
        if subscriber.poll() not in (None, 0):
            raise Failure("the subscriber ended early")
        # A dump asked for is the first of several files.
        dumped = out.with_name(out.name + ".1")
        if not dumped.exists():
            raise Failure("callgrind wrote nothing down")
        return dumped
    finally:
        processes.end_all()


def control(pid, *flags):
    subprocess.run(["callgrind_control", *flags, str(pid)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def on_the_way(dumped, least):
    """Lines and pages of code that ran `least` times, all and by function (format: Callgrind Format Specification)."""
    names, function, address, is_call = {}, "?", 0, False
    lines, pages = collections.defaultdict(set), set()
    for row in dumped.read_text().splitlines():
        named = re.match(r"(c?fn)=\((\d+)\)(?: (.*))?$", row)
        if named:
            kind, number, name = named.groups()
            if name:
                names[number] = name
            if kind == "fn":
                function = names.get(number, "?")
        elif row.startswith("calls="):
            # The next row is what the called function cost, not an instruction of this one.
            is_call = True
        elif re.match(r"(0x[0-9a-f]+|[+-]\d+|\*) ", row):
            where, *_, ran = row.split()
            address = int(where, 16) if where.startswith("0x") else address + (0 if where == "*" else int(where))
            if not is_call and int(ran) >= least:
                lines[function].add(address // LINE_BYTES)
                pages.add(address // PAGE_BYTES)
            is_call = False
    return lines, pages


def main():
    options = arguments()
    client, chosen = programs(options)
    print("| program | lines of 64 bytes | pages | functions |")
    print("| --- | ---: | ---: | ---: |")
    most = []
    with tempfile.TemporaryDirectory(prefix="lastmile-cold-") as folder:
        for name, command in chosen.items():
            say(f"{name}: {BEFORE_S + MESSAGES // RATE} s under callgrind")
            home = pathlib.Path(folder) / name
            home.mkdir()
            lines, pages = on_the_way(count(client, name, command, str(home)), int(MESSAGES * SEEN_BY))
            all_lines = set().union(*lines.values())
            if not all_lines:
                raise Failure("no message came while callgrind counted")
            print(f"| {name} | {len(all_lines)} | {len(pages)} | {len(lines)} |", flush=True)
            ranked = sorted(lines.items(), key=lambda item: -len(item[1]))
            most += [f"{name} {len(found):4} {function}" for function, found in ranked[: options.functions]]
    print("\nLines of each function, most first:\n")
    print("\n".join(most))


if __name__ == "__main__":
    try:
        main()
    except (Failure, OSError, subprocess.CalledProcessError) as problem:
        say(f"cold-path: {problem}")
        sys.exit(2)
