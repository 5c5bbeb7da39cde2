"""examples/rl_rollout before simulated servers."""

import json
import sys

import fleet

fleet.use_hosts()


class RlRolloutTest(fleet.FleetTest):
    @classmethod
    def start(cls, programs):
        cls.servers = programs.sim(3)

    def test_the_example(self):
        argv = [sys.executable, fleet.ROOT / "examples/rl_rollout/rollout.py", "--json"]
        for server in self.servers:
            argv += ["--server", f"127.0.0.1:{server.port}"]
        done = fleet.run(argv)
        self.assertEqual(done.returncode, 0, done.stderr)
        told = json.loads(done.stdout)
        self.assertEqual((told["begun"], told["ended"]), (2 * 2 * 48,) * 2)
        for step in told["steps"]:
            self.assertEqual(step["servers_per_group"], [1] * 6)
            self.assertEqual(step["servers"], 3)
            self.assertEqual(step["moved"], 0)
            # All but the last, partial block of each first turn.
            self.assertGreater(step["second_cached"], 0.9 * step["prompt_tokens"])
            # The caches were emptied between the steps: somebody computed each prompt again.
            self.assertLess(step["first_cached"], step["prompt_tokens"] * 7 / 8)


if __name__ == "__main__":
    fleet.main()
