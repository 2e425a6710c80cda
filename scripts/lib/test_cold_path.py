import pathlib
import tempfile
import unittest

from cold_path import on_the_way

# Function 1 has two instructions in one line of 64 bytes and one in the next; the second of them ran half as often.
# It calls function 2, whose cost stands in the row behind `calls=`, at an address of the caller.
DUMP = """\
positions: instr line
events: Ir
fn=(1) first
0x1000 3 100
+4 4 50
calls=100 0x5000 9
+4 5 100000
+56 6 100
fn=(2) second
0x5000 9 100
* 10 100
fn=(1)
0x1080 7 100
cfn=(2)
"""


class OnTheWay(unittest.TestCase):
    def counted(self, least):
        with tempfile.TemporaryDirectory() as folder:
            dumped = pathlib.Path(folder) / "callgrind.1"
            dumped.write_text(DUMP)
            return on_the_way(dumped, least)

    def test_lines_and_pages_are_counted_once_and_without_what_calls_cost(self):
        lines, pages = self.counted(90)
        self.assertEqual(lines, {"first": {0x40, 0x41, 0x42}, "second": {0x140}})
        self.assertEqual(pages, {1, 5})

    def test_what_ran_less_often_is_not_on_the_way(self):
        lines, _ = self.counted(101)
        self.assertEqual(lines, {})


if __name__ == "__main__":
    unittest.main()
