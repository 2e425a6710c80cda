"""Tests of the cost model's check on made-up rows: python3 -m unittest discover scripts/lib"""

import json
import pathlib
import tempfile
import unittest

import cost_model
from cost_model_report import check_rows, markdown


def row(axis, value, costs, rate=40.0, lost=0):
    payload_bytes = value if axis == "payload" else 256
    connections = value if axis == "subscribers" else 1000
    runs = [
        {"server_cpu_us_per_delivery": cost, "server_rss_bytes_per_connection": 800, "service_p50_us": 100,
         "generator_cpu_us_per_delivery": 1.0, "deliveries_per_s": rate * connections, "achieved_rate": rate, "lost": lost,
         "expected": 1000}
        for cost in costs
    ]
    return {"axis": axis, "value": value, "protocol": "ws", "connections": connections, "rate": rate,
            "payload_bytes": payload_bytes, "runs": runs, "failures": []}


def flagged(rows):
    return [(check["value"], check["noise"]) for check in check_rows(rows) if check["flagged"]]


class Check(unittest.TestCase):
    def test_growth_is_measured_against_a_thousand_subscribers(self):
        rows = [row("subscribers", 100, [3]), row("subscribers", 1000, [4]), row("subscribers", 15_000, [4.5])]
        self.assertEqual(flagged(rows), [])
        rows[2] = row("subscribers", 15_000, [4.7])
        self.assertEqual(flagged(rows), [(15_000, None)])
        rows = [row("subscribers", 1000, [4, 4.1]), row("subscribers", 15_000, [4.7, 4.8])]
        self.assertEqual(flagged(rows), [(15_000, False)])

    def test_overlapping_runs_are_told_as_possible_noise(self):
        rows = [row("subscribers", 1000, [3, 4, 6]), row("subscribers", 3000, [4, 5, 6])]
        self.assertEqual(flagged(rows), [(3000, True)])

    def test_a_bend_is_where_a_further_byte_costs_more(self):
        straight = [row("payload", size, [1 + size / 1000]) for size in (200, 400, 800, 1600)]
        self.assertEqual(flagged(straight), [])
        self.assertEqual(flagged([*straight, row("payload", 3200, [8])]), [(3200, None)])

    def test_a_cost_that_falls_with_the_payload_is_flagged_unless_it_is_noise(self):
        self.assertEqual(flagged([row("payload", 200, [4]), row("payload", 400, [3])]), [(400, None)])
        self.assertEqual(flagged([row("payload", 200, [3, 5, 4]), row("payload", 400, [3, 3, 4])]), [])

    def test_a_delivery_may_get_cheaper_with_the_rate(self):
        self.assertEqual(flagged([row("rate", 10, [4], 10), row("rate", 40, [2], 40)]), [])
        self.assertEqual(flagged([row("rate", 10, [4], 10), row("rate", 40, [5], 40)]), [(40, None)])

    def test_a_channel_more_may_cost_but_not_save(self):
        self.assertEqual(flagged([row("channels", 1, [4]), row("channels", 10, [5])]), [])
        self.assertEqual(flagged([row("channels", 1, [5]), row("channels", 10, [4])]), [(10, None)])

    def test_losses_are_flagged(self):
        self.assertEqual(flagged([row("payload", 200, [4], lost=3)]), [(200, False)])

    def test_deliveries_that_fall_behind_are_flagged(self):
        late = row("rate", 40, [4])
        late["runs"][0]["deliveries_per_s"] = 37_000
        self.assertEqual(flagged([late]), [(40, False)])

    def test_a_message_reaches_the_subscribers_of_its_channel_only(self):
        spread = {**row("channels", 10, [4], 100), "games": 10}
        spread["runs"][0]["deliveries_per_s"] = 10_000
        self.assertEqual(flagged([spread]), [])
        spread["runs"][0]["deliveries_per_s"] = 9_000
        self.assertEqual(flagged([spread]), [(10, False)])

    def test_the_same_load_on_two_axes_tells_the_noise(self):
        first, second = row("subscribers", 1000, [4]), row("rate", 40, [4.4])
        noise = [check["ratio"] for check in check_rows([first, second]) if "noise" in check["what"]]
        self.assertEqual([round(ratio, 3) for ratio in noise], [1.1])
        self.assertEqual(flagged([first, row("rate", 40, [5])]), [(40, True)])

    def test_points_that_failed_stand_in_the_report(self):
        failed = {**row("rate", 10, []), "failures": ["too few file descriptors"]}
        model = {"rows": [failed, row("rate", 40, [4])], "checks": [], "quick": True, "environment": {},
                 "started_at": "2026-01-01T00:00:00Z", "command": ["scripts/cost-model"],
                 "conditions": {"interrupted": False, "repeats": 1, "seconds": 2.0, "least_payload_bytes": 190}}
        text = markdown(model)
        self.assertIn("too few file descriptors", text)
        self.assertIn("| ws | 40 | 1000 | 40 | 256 | 4.00 | 0.80 | 100 | 40000 | 0 |", text)


class Appending(unittest.TestCase):
    def test_points_measured_before_go_on_and_others_stay(self):
        old, other = row("rate", 40, [4.0]), row("payload", 256, [3.0])
        point = {name: old[name] for name in cost_model.LOAD}
        new = {**point, "value": 80, "rate": 80.0}
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "cost-model.json"
            self.assertEqual(cost_model.taken_up(path, [point])[0], [{**point, "runs": [], "failures": []}])
            path.write_text(json.dumps({"rows": [old, other]}))
            rows, others, _ = cost_model.taken_up(path, [point, new])
        self.assertEqual([len(one["runs"]) for one in rows], [1, 0])
        self.assertEqual(others, [other])


if __name__ == "__main__":
    unittest.main()
