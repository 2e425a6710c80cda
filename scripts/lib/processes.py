"""Processes a measuring script starts, and private servers for them: nothing outlives the script."""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

# How long a server may take until it is ready.
READY_PATIENCE_S = 20


class Failure(Exception):
    """A server or a measurement that did not work."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def die_with_parent(cores=None):
    """In the child: whatever ends us ends it too, even where no handler can run. It keeps to these cores, or runs anywhere."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if cores:
        os.sched_setaffinity(0, cores)


def halves():
    """The cores of servers and those of clients, as `lastmile run --cores apart` shares them out; both all where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    return (cores[:half], cores[half:]) if half else (cores, cores)


class Processes:
    """Everything started here, so that nothing outlives us."""

    def __init__(self):
        self.running = []

    def start(self, command, log, stdout=subprocess.PIPE, cores=None, **options):
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=log,
            preexec_fn=lambda: die_with_parent(cores),
            **options,
        )
        self.running.append(process)
        return process

    def end(self, process):
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout:
            process.stdout.close()
        self.running.remove(process)

    def end_all(self):
        for process in list(self.running):
            process.kill()
        for process in list(self.running):
            self.end(process)


def first_line(process):
    """The line a server prints when it is ready."""
    line = b""
    until = time.monotonic() + READY_PATIENCE_S
    while not line.endswith(b"\n"):
        left = until - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise Failure("it was not ready in time")
        byte = os.read(process.stdout.fileno(), 1)
        if not byte:
            raise Failure("it ended before it was ready")
        line += byte
    return json.loads(line)


def start_redis(processes, folder):
    """A private Redis; gives the path of its socket."""
    address = f"{folder}/redis.sock"
    program = os.environ.get("LASTMILE_REDIS_SERVER") or "redis-server"
    command = [program, "--port", "0", "--unixsocket", address, "--save", "", "--appendonly", "no"]
    command += ["--client-output-buffer-limit", "pubsub 0 0 0", "--dir", folder]
    process = processes.start(command, subprocess.DEVNULL, subprocess.DEVNULL)
    until = time.monotonic() + READY_PATIENCE_S
    while not Path(address).exists():
        if process.poll() is not None or time.monotonic() > until:
            raise Failure("redis-server did not start")
        time.sleep(0.01)
    return address
