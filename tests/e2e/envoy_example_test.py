"""examples/envoy/run.sh as a reader runs it, with the programs that are built already."""

import os
import re

import envoy_fleet
import fleet
from fleet import BIN, ROOT


class ExampleTest(fleet.unittest.TestCase):
    def test_it_shows_that_turns_stick(self):
        done = fleet.run([ROOT / "examples/envoy/run.sh"],
                         env={**os.environ, "WEIR_BIN_DIR": str(BIN)})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("data: [DONE]", done.stdout)
        turns = re.findall(r"conversation \w: ((?: server-[012]){4})", done.stdout)
        self.assertEqual(len(turns), 4, done.stdout)
        for line in turns:
            self.assertEqual(len(set(line.split())), 1, done.stdout)
        row = re.search(r"weir-epp .* ([\d.]+) %  +(\d+) (\d+) (\d+)", done.stdout)
        self.assertGreater(float(row[1]), 50, "prefix hits of the load")
        self.assertEqual(sum(int(count) for count in row.groups()[1:]), 180)


if __name__ == "__main__":
    envoy_fleet.need_envoy()
    fleet.main()
