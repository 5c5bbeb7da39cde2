"""weir.rollout: sessions, groups, batches, weight updates."""

import collections
import unittest

import weir
import weir.rollout

PIPELINE = {
    "plugins": [{"type": "prefix-cache-scorer"}, {"type": "active-request-scorer"},
                {"type": "max-score-picker"}],
    "schedulingProfiles": [{"name": "default", "plugins": [
        {"pluginRef": "prefix-cache-scorer", "weight": 3},
        {"pluginRef": "active-request-scorer", "weight": 1},
        {"pluginRef": "max-score-picker"}]}],
}


def tokens(start, count=512):
    return [start * 10000 + i for i in range(count)]


class RolloutTest(unittest.TestCase):
    def setUp(self):
        self.router = weir.Router.from_config(PIPELINE, seed=1)
        for i in range(4):
            self.router.pool.upsert(f"s{i}", address=f"10.0.0.{i}:8000")
        self.rollouts = weir.rollout.Rollouts(self.router)

    def in_flight(self):
        return {row["name"]: row["in_flight"] for row in self.router.pool.rows()}

    def held(self, prompt):
        """Servers that weir thinks hold the prompt."""
        rows = self.router.decide(model="m", tokens=prompt).explain()
        return {row["endpoint"] for row in rows if row["prefix-cache-scorer"] > 0}

    def test_a_rollout_counts_until_it_is_complete(self):
        rollout = self.rollouts.begin(model="m", tokens=tokens(1))
        self.assertEqual(self.in_flight()[rollout.endpoint], 1)
        self.assertEqual(rollout.address, f"10.0.0.{rollout.endpoint[1:]}:8000")
        rollout.first_token()
        rollout.complete(prompt_tokens=512, cached_tokens=0, output_tokens=9)
        self.assertEqual(sum(self.in_flight().values()), 0)
        self.assertEqual(self.held(tokens(1)), {rollout.endpoint})

    def test_a_failed_one_left_nothing(self):
        with self.assertRaises(KeyError), self.rollouts.begin(model="m", tokens=tokens(1)):
            raise KeyError
        self.rollouts.begin(model="m", tokens=tokens(2)).fail()
        with self.rollouts.begin(model="m", tokens=tokens(3)) as complete:
            complete.complete()
        self.assertEqual(sum(self.in_flight().values()), 0)
        self.assertEqual([len(self.held(tokens(i))) for i in (1, 2, 3)], [0, 0, 1])

    def test_a_session_stays_whatever_the_load(self):
        first = self.rollouts.begin(session="a", model="m", tokens=tokens(1))
        homes = {self.rollouts.begin(session="a", model="m", tokens=tokens(i)).endpoint
                 for i in range(2, 20)}
        self.assertEqual(homes, {first.endpoint})
        self.assertEqual(first.session, "a")

    def test_an_ended_session_starts_anew(self):
        first = self.rollouts.begin(session="a", model="m", tokens=tokens(1))
        self.rollouts.end_session("a")
        self.rollouts.end_session("never begun")
        self.assertEqual(len(self.rollouts), 0)
        again = self.rollouts.begin(session="a", model="m", tokens=tokens(2))
        self.assertNotEqual(again.endpoint, first.endpoint)

    def test_a_session_whose_server_left_moves_for_good(self):
        first = self.rollouts.begin(session="a", model="m", tokens=tokens(1))
        self.router.pool.remove(first.endpoint)
        second = self.rollouts.begin(session="a", model="m", tokens=tokens(1))
        third = self.rollouts.begin(session="a", model="m", tokens=tokens(9))
        self.assertNotEqual(second.endpoint, first.endpoint)
        self.assertEqual(third.endpoint, second.endpoint)

    def test_sessions_are_bounded(self):
        rollouts = weir.rollout.Rollouts(self.router, sessions_max=2)
        for name in "abac":
            rollouts.begin(session=name, model="m", tokens=tokens(1)).complete()
        self.assertEqual(len(rollouts), 2)
        self.assertEqual(list(rollouts._sessions), ["a", "c"])
        with self.assertRaisesRegex(ValueError, "sessions_max 0: expected 1 or more"):
            weir.rollout.Rollouts(self.router, sessions_max=0)

    def test_a_group_shares_a_prefill(self):
        group = self.rollouts.begin_group(8, model="m", tokens=tokens(1))
        self.assertEqual(len({rollout.endpoint for rollout in group}), 1)
        self.assertEqual(sorted(self.in_flight().values()), [0, 0, 0, 8])

    def test_groups_spread(self):
        groups = [self.rollouts.begin_group(4, model="m", tokens=tokens(i)) for i in range(8)]
        self.assertEqual(set(self.in_flight().values()), {8})
        for group in groups:
            self.assertEqual(len({rollout.endpoint for rollout in group}), 1)

    def test_a_group_in_sessions(self):
        names = ["x", "y", "z"]
        group = self.rollouts.begin_group(3, sessions=names, per_endpoint=1, model="m",
                                          tokens=tokens(1))
        for name, rollout in zip(names, group):
            again = self.rollouts.begin(session=name, model="m", tokens=tokens(2))
            self.assertEqual(again.endpoint, rollout.endpoint)
        with self.assertRaisesRegex(ValueError, "sessions: 1 names, expected 2"):
            self.rollouts.begin_group(2, sessions=["x"], model="m", tokens=tokens(1))

    def test_groups_without_rollouts_or_servers(self):
        self.assertEqual(self.rollouts.begin_group(0, model="m", tokens=tokens(1)), [])
        for count, per_endpoint in ((-1, 1), (1, 0)):
            with self.assertRaises(ValueError):
                self.rollouts.begin_group(count, per_endpoint=per_endpoint, tokens=tokens(1))
        self.router.pool.replace([])
        with self.assertRaises(weir.UnavailableError):
            self.rollouts.begin_group(2, model="m", tokens=tokens(1))

    def test_a_batch_spreads(self):
        requests = [{"model": "m", "tokens": tokens(i)} for i in range(40)]
        begun = self.rollouts.begin_batch(requests)
        counts = collections.Counter(rollout.endpoint for rollout in begun)
        self.assertEqual(sum(counts.values()), 40)
        self.assertLessEqual(max(counts.values()) - min(counts.values()), 4)

    def test_a_batch_with_a_mistake_places_none(self):
        requests = [{"model": "m", "tokens": tokens(i)} for i in range(9)]
        requests[8]["tokens"] = [-1]
        with self.assertRaises(ValueError):
            self.rollouts.begin_batch(requests)
        self.assertEqual(sum(self.in_flight().values()), 0)
        self.assertEqual(self.rollouts.begin_batch([]), [])

    def test_new_weights_empty_the_caches(self):
        rollout = self.rollouts.begin(session="a", model="m", tokens=tokens(1))
        rollout.complete()
        other = next(name for name in self.router.pool if name != rollout.endpoint)
        self.rollouts.weights_updated([other])
        self.assertEqual(self.held(tokens(1)), {rollout.endpoint})
        self.rollouts.weights_updated()
        self.assertEqual(self.held(tokens(1)), set())
        self.assertEqual(len(self.router.pool), 4)
        again = self.rollouts.begin(session="a", model="m", tokens=tokens(2))
        self.assertEqual(again.endpoint, rollout.endpoint)
        with self.assertRaises(weir.NotFoundError):
            self.rollouts.weights_updated(["nobody"])

    def test_repr(self):
        rollout = self.rollouts.begin(session="a", model="m", tokens=tokens(1))
        self.assertEqual(repr(rollout), f"Rollout({rollout.endpoint!r}, session='a')")


if __name__ == "__main__":
    unittest.main()
