"""What peers.py makes of values that were measured. Run with: python3 -m unittest discover -s scripts/peers.d"""

import json
import tempfile
import types
import unittest
from unittest import mock
from pathlib import Path

import peers


def options(out, append=False):
    return types.SimpleNamespace(out=out, quick=True, seed=7, rounds=2, append=append)


class Values(unittest.TestCase):
    def test_a_summary_leaves_out_what_failed(self):
        self.assertEqual(peers.summary([3, None, 1, 2]), {"median": 2, "min": 1, "max": 3})
        self.assertEqual(peers.summary([None]), {"median": None, "min": None, "max": None})

    def test_ratios_are_made_round_by_round(self):
        self.assertEqual(peers.ratios([2, None, 9, 1], [1, 1, 3, None]), [2, None, 3, None])

    def test_a_spread_of_one_value_is_that_value(self):
        self.assertEqual(peers.spread(peers.summary([1234.4]), 0), "1,234")
        self.assertEqual(peers.spread(peers.summary([1, 2, 4]), 1), "2.0 (1.0–4.0)")
        self.assertEqual(peers.spread(peers.summary([]), 1), "—")


class Outputs(unittest.TestCase):
    def test_figures_and_faults_are_taken_from_a_result(self):
        saturated = peers.measurements(True)[0]
        books = {"lost": 0, "duplicated": 2, "reordered": 0, "corrupt": 0}
        cost = {"cpu_us_per_delivery": 1.5}
        case = {"deliveries_per_s": 10.0, "server": cost, "generator": cost, "accounting": books, "errors": [["gone", 3]]}
        figures, faults = saturated.take(json.dumps({"cases": [case]}))
        self.assertEqual(figures["deliveries/s, saturated, 1 in flight"], 10.0)
        self.assertEqual(faults, ["2 duplicated", "gone (3×)"])

    def test_no_two_figures_share_a_name(self):
        for quick in (True, False):
            names = [figure.name for measurement in peers.measurements(quick) for figure in measurement.figures]
            self.assertEqual(len(names), len(set(names)))

    def test_the_table_has_every_figure_with_ratios_to_what_was_measured(self):
        chosen = [server for server in peers.servers() if server.name in ("ours", "bun")]
        with tempfile.TemporaryDirectory() as folder:
            work = peers.Peers(options(folder), chosen, peers.measurements(True))
            for measurement in work.measurements:
                for figure in measurement.figures:
                    work.values[figure.name] = {"ours": [2.0, 6.0], "bun": [1.0, 2.0]}
            work.faults = [{"round": 1, "server": "bun", "measurement": "idle", "fault": "1 lost"}]
            work.write(2)
            work.clean()
            text = (Path(folder) / "peers.md").read_text(encoding="utf-8")
            result = json.loads((Path(folder) / "peers.json").read_text(encoding="utf-8"))
        figure = result["figures"][0]["servers"]["ours"]
        self.assertEqual(figure["values"], [2.0, 6.0])
        self.assertEqual(figure["to_bun"], {"median": 2.5, "min": 2.0, "max": 3.0})
        self.assertNotIn("to_floor", figure)
        self.assertIn("| ours ÷ bun |", text)
        self.assertIn("2.50 (2.00–3.00)", text)
        self.assertIn("round 1, bun, idle: 1 lost", text)
        self.assertEqual(text.count("\n| "), 2 + len(result["figures"]))

    def test_rounds_are_added_to_those_of_an_earlier_call_with_the_same_flags(self):
        chosen = [server for server in peers.servers() if server.name in ("ours", "bun")]
        with tempfile.TemporaryDirectory() as folder:
            first = peers.Peers(options(folder), chosen, peers.measurements(True))
            for own in first.values.values():
                own["ours"], own["bun"] = [1.0, None], [2.0, 3.0]
            first.write(2)
            first.clean()
            second = peers.Peers(options(folder, append=True), chosen, peers.measurements(True))
            second.clean()
            self.assertEqual((second.rounds_before, second.started), (2, first.started))
            self.assertEqual(second.values, first.values)
            with mock.patch.object(tempfile, "tempdir", folder), self.assertRaises(peers.Failure):
                peers.Peers(options(folder, append=True), chosen[:1], peers.measurements(True))
            self.assertEqual(list(Path(folder).glob("lastmile-peers-*")), [], "what is refused leaves nothing")


if __name__ == "__main__":
    unittest.main()
