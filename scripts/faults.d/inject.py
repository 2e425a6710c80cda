"""Clients and publishers that misbehave, each a process of its own: inject.py FAULT HOST:PORT REDIS_SOCKET.

Prints one line when the fault stands, and goes on with it until it is killed.
"""

import json
import multiprocessing
import os
import select
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
from processes import die_with_parent  # noqa: E402

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


# Not in Python's own list: the port is chosen by connect, among those that are free towards this server.
IP_BIND_ADDRESS_NO_PORT = 24


def connected(address, receive_buffer=None, source=None):
    host, port = address.rsplit(":", 1)
    client = socket.socket()
    if source:
        client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        client.bind((source, 0))
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(10)
    client.connect((host, int(port)))
    return client


def subscriber(address, path, receive_buffer=None, source=None):
    """A WebSocket subscriber that has read the head of the answer and nothing else."""
    client = connected(address, receive_buffer, source)
    client.sendall(HANDSHAKE.format(path=path, host=address).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        part = client.recv(4096)
        if not part:
            raise ConnectionError("refused")
        head += part
    if b" 101 " not in head:
        raise ConnectionError(head.split(b"\r\n")[0].decode())
    return client


def frame(payload, opcode=1):
    """A client's frame, masked with zeroes: what it says is the payload itself."""
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, length)
    return head + bytes(4) + payload


def published_round(round_id, slug, payload_bytes):
    """A round of about so many bytes, as the wire contract has it."""
    extras = json.dumps({"point": "x" * payload_bytes})
    return json.dumps(
        {
            "round_id": round_id, "game_id": 2, "game_slug": slug, "game_type": "color",
            "finished_at": "2026-01-17T00:45:42.735266-03:00", "extras": extras, "timestamp": 1768621542123,
        },
        separators=(",", ":"),
    ).encode()


def stands(text="ready"):
    print(text, flush=True)


def rest():
    while True:
        time.sleep(60)


# --- The faults ---


def slow(address, _redis):
    """100 subscribers that never read, with the smallest receive buffers there are; again when cut off."""
    kept = [subscriber(address, "/ws/crash", 1024) for _ in range(100)]
    stands()
    hung_up = select.poll()
    by_descriptor = {}
    for client in kept:
        hung_up.register(client, select.POLLRDHUP)
        by_descriptor[client.fileno()] = client
    while True:
        for descriptor, _ in hung_up.poll():
            hung_up.unregister(descriptor)
            by_descriptor.pop(descriptor).close()
            try:
                client = subscriber(address, "/ws/crash", 1024)
            except OSError:
                continue
            hung_up.register(client, select.POLLRDHUP)
            by_descriptor[client.fileno()] = client


def still_open(client):
    """Whether the server has kept this connection; what it said is thrown away."""
    try:
        while client.recv(4096):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    client.close()
    return False


def half_open(address, _redis):
    """500 connections that never say anything, 500 that stop in the middle of their request; again when refused."""
    kept = []
    stands()
    while True:
        while len(kept) < 1000:
            client = connected(address)
            if len(kept) % 2:
                client.sendall(b"GET /ws/crash HTTP/1.1\r\nHost: half")
            client.setblocking(False)
            kept.append(client)
            time.sleep(0.001)
        time.sleep(0.5)
        kept = [client for client in kept if still_open(client)]


def fill(address, source, count, ready):
    """Connects until refused or so many stand, then tries again ten times a second.

    From an address of its own: with most ports of one address taken, the kernel looks for a free one for over 2 ms at
    each attempt, and nothing else runs on that core meanwhile. That would be our cost, not the server's.
    """
    die_with_parent()
    kept = []
    while True:
        try:
            kept.append(subscriber(address, "/ws/slot", source=source))
            if len(kept) < count:
                continue
        except OSError:
            pass
        ready.set()
        time.sleep(0.1)
        if len(kept) >= count:
            rest()


def limit(address, _redis):
    """Idle subscribers from three processes until the server takes no more, which go on trying."""
    events = []
    for number in range(3):
        event = multiprocessing.Event()
        arguments = (address, f"127.0.0.{2 + number}", 7000, event)
        multiprocessing.Process(target=fill, args=arguments, daemon=True).start()
        events.append(event)
    for event in events:
        event.wait()
    stands()
    rest()


class LargeRound:
    """The command that publishes a round of about so many bytes."""

    FIRST = 1_000_000

    def __init__(self, payload_bytes):
        payload = published_round(self.FIRST, "double", payload_bytes)
        head = f"*3\r\n$7\r\nPUBLISH\r\n$13\r\nstream:double\r\n${len(payload)}\r\n".encode()
        number_at = len(head) + payload.index(b"%d" % self.FIRST)
        self._command = bytearray(head + payload + b"\r\n")
        self._number = slice(number_at, number_at + len(b"%d" % self.FIRST))

    def numbered(self, round_id):
        """With this number, of as many digits as the first: only it is written anew."""
        self._command[self._number] = b"%d" % round_id
        return self._command


def large_rounds(address, redis):
    """A round of nearly 1 MiB on another game twice a second, with five subscribers that read it.

    Rounds differ in their number alone and what is read is thrown away by the kernel: what this process spends itself
    would be taken from the bystanders' cores.
    """
    by_descriptor, readable = {}, select.poll()
    for _ in range(5):
        reader = subscriber(address, "/ws/double")
        reader.setblocking(False)
        readable.register(reader, select.POLLIN)
        by_descriptor[reader.fileno()] = reader
    publisher = socket.socket(socket.AF_UNIX)
    publisher.connect(redis)
    message = LargeRound((1 << 20) - 400)
    round_id, next_s = LargeRound.FIRST, time.monotonic()
    thrown_away = bytearray(1 << 20)
    stands()
    while True:
        publisher.sendall(message.numbered(round_id))
        publisher.recv(64)
        round_id, next_s = round_id + 1, next_s + 0.5
        while (left_s := next_s - time.monotonic()) > 0:
            for descriptor, _ in readable.poll(1 + left_s * 1000):
                if not by_descriptor[descriptor].recv_into(thrown_away, 0, socket.MSG_TRUNC):
                    raise ConnectionError("a reader was cut off")


def gigabyte(address, _redis):
    """A client that sends a gigabyte of text messages of 64 KiB without reading; again from the beginning when cut off."""
    stands()
    message = frame(b"x" * 65_000)
    while True:
        try:
            client = subscriber(address, "/ws/slot")
            for _ in range((1 << 30) // len(message)):
                client.sendall(message)
        except OSError:
            # Cut off: that is what should happen to it.
            pass
        time.sleep(0.02)


def subscribes(address, _redis):
    """10,000 subscribe commands at once on one socket; again from the beginning when cut off."""
    stands()
    burst = frame(b'{"subscribe":["double"]}') * 10_000
    while True:
        try:
            client = subscriber(address, "/ws/slot")
            client.sendall(burst)
            until = time.monotonic() + 1
            client.settimeout(1)
            while time.monotonic() < until and client.recv(1 << 16):
                pass
        except OSError:
            pass
        time.sleep(0.02)


FAULTS = {
    function.__name__.replace("_", "-"): function
    for function in (slow, half_open, limit, large_rounds, gigabyte, subscribes)
}

if __name__ == "__main__":
    try:
        FAULTS[sys.argv[1]](sys.argv[2], sys.argv[3])
    except KeyboardInterrupt:
        os._exit(130)
