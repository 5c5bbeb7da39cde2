"""A fleet in virtual time, from the user's side."""

import doctest
import json
import math
import os
import signal
import tempfile
import threading
import unittest

import weir
from weir import sim

ROUND_ROBIN = {
    "plugins": [{"type": "round-robin-picker"}],
    "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "round-robin-picker"}]}],
}
NOBODY = {"plugins": [{"type": "label-selector-filter", "parameters": {"matchLabels": {"no": "one"}}}]}


def chats(**options):
    return sim.Workload.conversations(**{"conversations": 30, "groups": 5, **options})


def columns_of(run):
    return {name: column.tobytes() for name, column in (run.columns() | run.load_columns()).items()}


class WorkloadTest(unittest.TestCase):
    def test_a_turn_holds_what_was_said_before(self):
        workload = chats(turns=2)
        self.assertEqual(len(workload), 60)
        before = workload.prompt(0).tolist() + workload.answer(0).tolist()
        self.assertEqual(workload.prompt(1).tolist()[:len(before)], before)
        self.assertEqual(workload.prompt(-1).tolist(), workload.prompt(59).tolist())
        for index in (60, -61):
            with self.assertRaises(IndexError):
                workload.prompt(index)

    def test_prompts_are_read_only_and_outlive_the_workload(self):
        prompt = chats(seed=3).prompt(0)
        self.assertTrue(prompt.readonly)
        self.assertEqual((prompt.format, prompt.itemsize), ("I", 4))
        self.assertEqual(prompt.tolist(), chats(seed=3).prompt(0).tolist())
        with self.assertRaises(TypeError):
            prompt[0] = 1

    def test_records_in_all_their_forms(self):
        workload = sim.Workload.from_records(iter([
            {"tokens": [1, 2, 3], "output_tokens": 2, "session": "x", "group": "g"},
            {"tokens": sim.Workload.from_records([{"tokens": [7], "output_tokens": 1}]).prompt(0), "answer": [9]},
            {"timestamp": 500, "input_length": 600, "output_length": 4, "hash_ids": [5, 6]},
            {"tokens": (4,), "output_tokens": 1, "arrival_s": 1, "pause_s": 0.5, "session": "x", "group": "h"},
        ]))
        self.assertEqual([len(workload.prompt(i)) for i in range(4)], [3, 1, 600, 1])
        self.assertEqual(workload.answer(1).tolist(), [9])
        self.assertEqual(workload.group_count, 2)
        run = sim.Fleet(servers=1).run(workload)
        self.assertEqual(run.session.tolist(), [0, -1, -1, 0])
        self.assertEqual(run.turn.tolist(), [0, 0, 0, 1])
        self.assertEqual(run.arrival_s[2], 0.5)
        self.assertAlmostEqual(run.arrival_s[3], max(1, run.end_s[0] + 0.5))

    def test_bad_records_are_named(self):
        for error, text, record in (
            (TypeError, r"tokens: str", {"tokens": "abc", "output_tokens": 1}),
            (TypeError, r"float", {"tokens": [1.5], "output_tokens": 1}),
            (OverflowError, r"negative", {"tokens": [-1], "output_tokens": 1}),
            (OverflowError, r"", {"tokens": [2**32], "output_tokens": 1}),
            (ValueError, r"prompt tokens: 0", {"tokens": [], "output_tokens": 1}),
            (ValueError, r"output_tokens: 0", {"tokens": [1]}),
            (ValueError, r"output_tokens: -1", {"tokens": [1], "output_tokens": -1}),
            (ValueError, r"arrival_s: nan", {"tokens": [1], "output_tokens": 1, "arrival_s": math.nan}),
            (ValueError, r"pause_s", {"tokens": [1], "output_tokens": 1, "pause_s": -2}),
            (TypeError, r"unknown key 'token'", {"token": [1]}),
            (TypeError, r"no 'tokens'", {"output_tokens": 1}),
            (ValueError, r"hash_ids", {"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": []}),
            (ValueError, r"at most", {"timestamp": 0, "input_length": 2**31, "output_length": 1, "hash_ids": [1]}),
        ):
            with self.subTest(record), self.assertRaisesRegex(error, r"^records\[1\]: .*" + text):
                sim.Workload.from_records([{"tokens": [1], "output_tokens": 1}, record])

    def test_bad_options_are_named(self):
        for name, value, error in (("turns", 0, ValueError), ("groups", -1, ValueError), ("spread", 2.0, ValueError),
                                   ("seed", 2**64, ValueError), ("input_tokens", "9", TypeError),
                                   ("conversations_per_s", math.nan, ValueError)):
            with self.subTest(name), self.assertRaisesRegex(error, name):
                chats(**{name: value})
        with self.assertRaises(weir.ExhaustedError):
            chats(conversations=1000, turns=1, system_tokens=1_000_000)


class FleetTest(unittest.TestCase):
    def test_equal_inputs_give_equal_bytes(self):
        for options in ({}, {"config": ROUND_ROBIN, "jitter": True, "engine": "sglang"}):
            fleet = sim.Fleet(servers=3, **options)
            first = columns_of(fleet.run(chats()))
            self.assertEqual(first, columns_of(fleet.run(chats())))
            self.assertNotEqual(first, columns_of(fleet.run(chats(seed=2))))

    def test_columns_are_arrays_over_native_memory(self):
        run = sim.Fleet(servers=2).run(chats())
        for name, column in run.columns().items():
            self.assertEqual((name, len(column), column.readonly), (name, 120, True))
        self.assertEqual((run.ttft_s.format, run.server.format), ("d", "i"))
        self.assertEqual(run.cache_map.shape, (2, run.group_count))
        self.assertGreater(sum(sum(row) for row in run.cache_map.tolist()), 0)
        column = run.ttft_s
        values = column.tolist()
        del run
        self.assertEqual(column.tolist(), values)
        self.assertTrue(all(0 < value < 60 for value in values))

    def test_prefix_aware_routing_beats_round_robin(self):
        workload = chats(conversations=100, groups=20)
        blind = sim.Fleet(ROUND_ROBIN, kv_blocks=3000).run(workload).summary()
        aware = sim.Fleet(kv_blocks=3000).run(workload).summary()
        self.assertGreater(aware["prefix_hit_ratio"], blind["prefix_hit_ratio"])
        self.assertLess(aware["ttft_mean_s"], blind["ttft_mean_s"])
        self.assertEqual(blind["requests_per_server"], (100, 100, 100, 100))
        self.assertEqual((blind["served"], blind["refused"], blind["rejected"]), (400, 0, 0))

    def test_a_pipeline_may_be_a_path_or_text(self):
        text = json.dumps({"apiVersion": "llm-d.ai/v1alpha1", "kind": "EndpointPickerConfig", **ROUND_ROBIN}, indent=1)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "turns.yaml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            from_path = sim.Fleet(path, servers=2).run(chats())
        self.assertEqual(from_path.name, "turns")
        self.assertEqual(columns_of(from_path), columns_of(sim.Fleet(text, servers=2).run(chats())))
        with self.assertRaises(weir.NotFoundError):
            sim.Fleet("none.yaml").run(chats())
        with self.assertRaises(weir.ConfigError):
            sim.Fleet({"plugins": [{"type": "no-such"}]}).run(chats())

    def test_a_router_of_ones_own(self):
        router = weir.Router.from_config(ROUND_ROBIN, seed=1, clock=weir.ManualClock())
        run = sim.Fleet(router, servers=3).run(chats())
        self.assertIs(run.router, router)
        self.assertEqual(list(router.pool), ["s0", "s1", "s2"])
        self.assertEqual(router.stats()["flights_ended"], 120)
        self.assertEqual(columns_of(run), columns_of(sim.Fleet(ROUND_ROBIN, servers=3).run(chats())))
        with self.assertRaisesRegex(TypeError, "ManualClock"):
            sim.Fleet(weir.Router.default()).run(chats())
        with self.assertRaisesRegex(TypeError, "plugins"):
            sim.Fleet(router, plugins=[])
        router.close()
        with self.assertRaises(weir.ClosedError):
            sim.Fleet(router).run(chats())

    def test_decisions_are_kept_when_asked_for(self):
        run = sim.Fleet(servers=2).run(chats(), explain=[3, 70, 3, 5000])
        self.assertEqual(sorted(run.decisions), [3, 70])
        decision = run.decisions[70]
        self.assertEqual(decision.endpoint, f"s{run.server[70]}")
        self.assertEqual(decision.explanation["request_id"], "70")
        self.assertEqual(len(decision.explain()), 2)
        with self.assertRaisesRegex(ValueError, "1024"):
            sim.Fleet().run(chats(), explain=range(1025))

    def test_requests_that_nobody_serves(self):
        run = sim.Fleet(NOBODY, servers=2).run(chats())
        summary = run.summary()
        self.assertEqual((summary["served"], summary["refused"]), (0, 120))
        self.assertTrue(math.isnan(summary["ttft_p50_s"]))
        self.assertEqual(set(run.server), {-1})
        self.assertTrue(all(math.isnan(value) for value in run.ttft_s))
        self.assertNotEqual(run.first_failure, "")
        rejected = sim.Fleet(servers=2, kv_blocks=5).run(chats())
        self.assertEqual(rejected.summary()["rejected"], 120)
        self.assertIn("KV blocks", rejected.first_failure)

    def test_bad_options_are_named(self):
        for name, value, error in (("servers", 0, "engine_count"), ("servers", -1, "servers"), ("hardware", "h1", "h100"),
                                   ("model", "gpt", "llama-3.1-8b"), ("engine", "tgi", "engine"),
                                   ("kv_blocks", 2**25, "block_count"), ("scrape_interval_s", 0.0, "scrape_interval"),
                                   ("scrape_interval_s", math.inf, "scrape_interval"), ("seed", -1, "seed")):
            with self.subTest(name), self.assertRaisesRegex((ValueError, weir.Error), error):
                sim.Fleet(**{name: value}).run(chats())
        with self.assertRaisesRegex(weir.Error, "no requests"):
            sim.Fleet().run(sim.Workload.from_records([]))
        self.assertIn("l40s", sim.HARDWARE)
        self.assertIn("qwen3-32b", sim.MODELS)

    def test_other_threads_go_on(self):
        turns = 0
        stop = threading.Event()

        def count():
            nonlocal turns
            while not stop.is_set():
                turns += 1

        thread = threading.Thread(target=count)
        thread.start()
        before = turns
        sim.Fleet().run(chats(conversations=500))
        after = turns
        stop.set()
        thread.join()
        self.assertGreater(after, before)

    def test_a_router_has_one_run_at_a_time(self):
        inner = []

        def again(_request, endpoints):
            if not inner:
                try:
                    sim.Fleet(router, servers=2).run(chats())
                except weir.FailedPreconditionError as error:
                    inner.append(str(error))
            return [1.0] * len(endpoints)

        weir.scorer("run-again", time_budget_s=10, hang_s=30)(again)
        router = weir.Router.from_config({"plugins": [{"type": "run-again"}]}, seed=1, clock=weir.ManualClock())
        self.assertEqual(sim.Fleet(router, servers=2).run(chats()).summary()["served"], 120)
        self.assertRegex(inner[0], "another run")
        self.assertEqual(sim.Fleet(router, servers=2).run(chats()).summary()["served"], 120)

    def test_ctrl_c_ends_a_run(self):
        # Ten days of silence between two requests: a billion scrapes.
        workload = sim.Workload.from_records(
            [{"tokens": [1], "output_tokens": 1, "arrival_s": at} for at in (0, 900_000)])
        previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            with self.assertRaises(KeyboardInterrupt):
                sim.Fleet(servers=64).run(workload)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)


def load_tests(_loader, tests, _pattern):
    tests.addTests(doctest.DocTestSuite(sim))
    return tests


if __name__ == "__main__":
    unittest.main()
