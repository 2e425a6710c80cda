"""scripts/faults: what it says of what it measured, and that its own clients do what they are there for."""
import http.server
import json
import socket
import threading
import unittest

import faults
import inject


def pair(alone_us, fault_us, counters=None):
    side = {"lost": 0, "resident_bytes": 1, "descriptors": 2, "counters": {}}
    return {"alone": {**side, "p99_us": alone_us}, "fault": {**side, "p99_us": fault_us, "counters": counters or {}}}


class Told(unittest.TestCase):
    def test_only_a_median_above_the_aim_is_told(self):
        text = faults.told({"slow": [pair(1000, 1200)] * 3, "limit": [pair(1000, 1210)] * 2 + [pair(1000, 900)]})
        slow, limit = text.splitlines()[2:]
        self.assertIn("1.20 (1.20–1.20) |", slow)
        self.assertIn("1.21 (0.90–1.21) **above 1.20** |", limit)

    def test_counters_that_tell_of_the_fault_are_named(self):
        text = faults.told({"gigabyte": [pair(1, 1, {'lastmile_drops_total{reason="too_big"}': 3.0})]})
        self.assertIn('`lastmile_drops_total{reason="too_big"}` 3', text)


class FullServer(http.server.BaseHTTPRequestHandler):
    """Refuses twice, then lets in."""

    asked = 0

    def do_GET(self):
        FullServer.asked += 1
        self.send_response(503 if FullServer.asked <= 2 else 200)
        self.end_headers()
        self.wfile.write(b"# HELP\nlastmile_open_connections 7\n")

    def log_message(self, *_):
        pass


class Clients(unittest.TestCase):
    def test_a_server_that_was_full_is_asked_until_it_lets_in(self):
        server = http.server.HTTPServer(("127.0.0.1", 0), FullServer)
        self.addCleanup(server.server_close)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        counters = faults.scrape_once_let_in("{}:{}".format(*server.server_address))
        self.assertEqual((counters, FullServer.asked), ({"lastmile_open_connections": 7.0}, 3))

    def test_an_idle_subscriber_comes_from_the_address_it_is_given(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = inject.connected("127.0.0.1:{}".format(listener.getsockname()[1]), source="127.0.0.3")
            self.addCleanup(client.close)
            accepted, peer = listener.accept()
            accepted.close()
        self.assertEqual(peer[0], "127.0.0.3")

    def test_large_rounds_differ_in_their_number_alone(self):
        message = inject.LargeRound(1000)
        first, second = bytes(message.numbered(1_000_000)), bytes(message.numbered(1_000_017))
        self.assertEqual(len(first), len(second))
        self.assertEqual(first.replace(b"1000000", b"1000017"), second)
        head, payload = second.split(b"stream:double\r\n", 1)
        length, payload = payload.split(b"\r\n", 1)
        self.assertEqual(head, b"*3\r\n$7\r\nPUBLISH\r\n$13\r\n")
        self.assertEqual(length, b"$%d" % (len(payload) - 2))
        self.assertEqual(json.loads(payload)["round_id"], 1_000_017)


if __name__ == "__main__":
    unittest.main()
