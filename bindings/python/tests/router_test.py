"""Routers, pools, decisions and flights, from the user's side."""

import array
import asyncio
import copy
import ctypes
import json
import pickle
import sys
import threading
import unittest

import weir

try:
    import numpy
except ImportError:
    numpy = None

BODY = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'


def make(**options):
    router = weir.Router.default(seed=1, clock=weir.ManualClock(100), **options)
    router.pool.upsert("a", address="10.0.0.1:8000", waiting_requests=2, kv_used_ratio=0.5, labels={"zone": "x"})
    router.pool.upsert("b", address="10.0.0.2:8000", waiting_requests=0, kv_used_ratio=0.25)
    return router


class PoolTest(unittest.TestCase):
    def test_rows_show_what_was_given(self):
        pool = make().pool
        self.assertEqual((len(pool), list(pool), "a" in pool, "c" in pool), (2, ["a", "b"], True, False))
        self.assertEqual(pool.rows()[0], {
            "name": "a", "namespace": "default", "address": "10.0.0.1:8000", "labels": {"zone": "x"},
            "waiting_requests": 2, "running_requests": 0, "kv_used_ratio": 0.5, "kv_block_tokens": 0,
            "kv_block_count": 0, "active_adapters": [], "in_flight": 0, "sample_age_s": 0.0})

    def test_update_changes_what_it_names(self):
        pool = make().pool
        pool.update("a", running_requests=7, active_adapters=["x"])
        row = pool.rows()[0]
        self.assertEqual((row["waiting_requests"], row["running_requests"], row["active_adapters"]), (2, 7, ["x"]))
        with self.assertRaisesRegex(weir.NotFoundError, "default/c"):
            pool.update("c", running_requests=1)
        with self.assertRaisesRegex(ValueError, "kv_used_ratio"):
            pool.update("a", kv_used_ratio=float("nan"))

    def test_remove_and_replace(self):
        pool = make().pool
        pool.remove("a")
        self.assertEqual(list(pool), ["b"])
        with self.assertRaises(weir.NotFoundError):
            pool.remove("a")
        pool.replace([{"name": "c", "address": "h:1"}, {"name": "d", "address": "h:2", "namespace": "n"}])
        self.assertEqual([(row["namespace"], row["name"]) for row in pool.rows()], [("default", "c"), ("n", "d")])
        with self.assertRaisesRegex(weir.InvalidArgumentError, "address"):
            pool.replace([{"name": "e", "address": ""}, {"name": "f", "address": "h:3"}])
        self.assertEqual(list(pool), ["f"])

    def test_invalidate_makes_a_new_incarnation(self):
        router = make()
        prompt = "a long prompt that both could hold " * 20
        before = router.decide(prompt=prompt)
        router.begin(before).finish()
        self.assertGreater(router.decide(prompt=prompt).explain()[1]["prefix-cache-scorer.raw"], 0.5)
        self.assertNotEqual(router.pool.invalidate("b"), before.targets[0].id)
        rows = {row["endpoint"]: row for row in router.decide(prompt=prompt).explain()}
        self.assertEqual(rows["b"]["prefix-cache-scorer.raw"], 0)
        self.assertEqual(rows["b"]["kv_used_ratio"], 0.25)

    def test_wrong_values_are_named(self):
        pool = make().pool
        for error, text, fields in (
                (TypeError, "waiting_requests: str, expected int", {"waiting_requests": "2"}),
                (ValueError, "waiting_requests: -1", {"waiting_requests": -1}),
                (ValueError, "running_requests: 4294967296", {"running_requests": 2**32}),
                (TypeError, "kv_used_ratio: str", {"kv_used_ratio": "x"}),
                (ValueError, "kv_used_ratio: 1.5", {"kv_used_ratio": 1.5}),
                (TypeError, "labels: list", {"labels": []}),
                (TypeError, "value of a label: int", {"labels": {"a": 1}}),
                (TypeError, "active_adapters: str", {"active_adapters": "x"}),
                (TypeError, "unexpected keyword argument 'wating'", {"wating": 1}),
                (weir.InvalidArgumentError, "address", {"address": ""})):
            with self.subTest(text), self.assertRaisesRegex(error, text):
                pool.upsert("a", **({"address": "h:1"} | fields))


class DecideTest(unittest.TestCase):
    def test_every_kind_of_prompt(self):
        router = make()
        for request in ({}, {"prompt": "text"}, {"tokens": [1, 2, 3]}, {"tokens": (1, 2)},
                        {"tokens": array.array("I", [1, 2])}, {"tokens": array.array("i", [1, 2])},
                        {"tokens": array.array("q", [1, 2])}, {"tokens": array.array("Q", [1, 2])},
                        {"tokens": memoryview(array.array("L", [1]))}, {"tokens": (ctypes.c_uint32 * 4)(1, 2, 3, 4)},
                        {"tokens": []}, {"tokens": array.array("I")},
                        {"messages": [{"role": "user", "content": "hi"}]}, {"body": BODY}, {"body": bytearray(BODY)},
                        {"body": memoryview(BODY)}):
            with self.subTest(str(request)):
                self.assertEqual(router.decide(**request).endpoint, "b")

    def test_tokens_of_all_kinds_are_the_same_prompt(self):
        router = make()
        tokens = list(range(1000, 1512))
        router.begin(router.decide(tokens=tokens)).finish()
        for same in (tuple(tokens), *(array.array(kind, tokens) for kind in "IiLlQq"),
                     memoryview(array.array("I", [0, *tokens, 0]))[1:-1], memoryview(array.array("I", tokens)).toreadonly(),
                     (ctypes.c_uint32 * 512)(*tokens)):
            score = router.decide(tokens=same).explain()[1]["prefix-cache-scorer.raw"]
            self.assertEqual(score, 1.0)

    def test_no_tokens_are_a_prompt(self):
        for empty in ([], (), *(array.array(kind) for kind in "IiLlQq"), memoryview(array.array("I", [1]))[1:]):
            self.assertEqual(make().decide(tokens=empty).explain()[1]["prefix-cache-scorer.raw"], 0.0)

    @unittest.skipIf(numpy is None, "NumPy is not installed")
    def test_arrays_of_numpy_are_tokens_or_refused(self):
        router = make()
        tokens = numpy.arange(1000, 1512)
        router.begin(router.decide(tokens=tokens)).finish()
        for kind in ("u4", "i4", "u8", "i8", "intp", "uintp"):
            for same in (tokens.astype(kind), numpy.repeat(tokens.astype(kind), 2)[::2].copy(),
                         numpy.frombuffer(tokens.astype(kind).tobytes(), kind), list(tokens.astype(kind))):
                score = router.decide(tokens=same).explain()[1]["prefix-cache-scorer.raw"]
                self.assertEqual(score, 1.0, kind)
        self.assertEqual(router.decide(tokens=numpy.array([], "u4")).explain()[1]["prefix-cache-scorer.raw"], 0.0)
        for kind in ("u1", "i1", "u2", "i2", "f2", "f4", "f8", "?", "c8", "S4", "U1", "O", ">u4", ">i8", "M8[s]"):
            with self.subTest(kind), self.assertRaises((TypeError, ValueError)):
                router.decide(tokens=numpy.zeros(4, kind))
        unaligned = numpy.frombuffer(bytes(17), "u4", 4, 1)
        for refused in (numpy.zeros((2, 2), "u4"), numpy.zeros(8, "u4")[::2], numpy.zeros(8, "u4")[::-1],
                        numpy.zeros((), "u4"), numpy.zeros(4, [("a", "u4")]), unaligned):
            with self.subTest(repr(refused)), self.assertRaises(TypeError):
                router.decide(tokens=refused)

    def test_messages_are_the_prompt_of_the_same_body(self):
        router = make()
        messages = [{"role": "user", "content": "an opening that is long enough for some blocks " * 10}]
        router.begin(router.decide(body=json.dumps({"model": "m", "messages": messages}).encode())).finish()
        self.assertEqual(router.decide(model="m", messages=messages).explain()[1]["prefix-cache-scorer.raw"], 1.0)

    def test_what_is_refused_and_how(self):
        router = make()
        gaps = memoryview(array.array("I", [1, 2, 3, 4]))[::2]
        square = memoryview(bytes(16)).cast("I", (2, 2))
        dead = memoryview(array.array("I", [1]))
        dead.release()
        for error, text, request in (
                (TypeError, "tokens: str", {"tokens": "abc"}),
                (TypeError, "format 'B'", {"tokens": b"abc"}),
                (TypeError, "format 'd'", {"tokens": array.array("d", [1.0])}),
                (TypeError, "format 'H'", {"tokens": array.array("H", [1])}),
                (TypeError, "gaps", {"tokens": gaps}),
                (TypeError, "2 dimensions", {"tokens": square}),
                (ValueError, "released", {"tokens": dead}),
                (ValueError, r"tokens\[1\]: -1, expected 0..4294967295", {"tokens": [1, -1]}),
                (ValueError, r"tokens\[1\]: -5", {"tokens": array.array("i", [1, -5])}),
                (ValueError, r"tokens\[0\]: -1", {"tokens": array.array("q", [-1])}),
                (ValueError, r"tokens\[0\]: 4294967296", {"tokens": array.array("Q", [2**32])}),
                (ValueError, r"tokens\[0\]: 4294967296", {"tokens": [2**32]}),
                (ValueError, r"tokens\[0\]: 1267650600228229401496703205376", {"tokens": [2**100]}),
                (TypeError, r"tokens\[0\]: float", {"tokens": [1.0]}),
                (TypeError, r"tokens\[0\]: str", {"tokens": ["a"]}),
                (TypeError, "tokens: set", {"tokens": {1}}),
                (TypeError, "prompt: bytes", {"prompt": b"abc"}),
                (TypeError, "prompt: list", {"prompt": ["abc"]}),
                (UnicodeEncodeError, "surrogates", {"prompt": "\ud800"}),
                (TypeError, "messages: str", {"messages": "hi"}),
                (TypeError, "serializable", {"messages": [{1, 2}]}),
                (TypeError, "body: str", {"body": "{}"}),
                (TypeError, "body: a buffer", {"body": array.array("I", [1])}),
                (weir.InvalidArgumentError, "JSON", {"body": b"{"}),
                (TypeError, "tokens and prompt were both given", {"tokens": [1], "prompt": "a"}),
                (TypeError, "model: int", {"model": 1}),
                (TypeError, "headers: list", {"headers": []}),
                (TypeError, "value of a header: int", {"headers": {"a": 1}}),
                (ValueError, "headers: 129, expected at most 128", {"headers": {str(i): "" for i in range(129)}}),
                (ValueError, "priority: 2147483648", {"priority": 2**31}),
                (TypeError, "priority: str", {"priority": "1"}),
                (TypeError, "stream: int", {"stream": 1}),
                (TypeError, "subset: str", {"subset": "10.0.0.1"}),
                (TypeError, "unexpected keyword argument 'token'", {"token": [1]})):
            with self.subTest(text), self.assertRaisesRegex(error, text):
                router.decide(**request)
        with self.assertRaises(TypeError):
            router.decide("prompt")

    def test_no_endpoint_is_unavailable(self):
        with self.assertRaises(weir.UnavailableError) as caught:
            weir.Router.default().decide(prompt="x")
        self.assertEqual(caught.exception.code, "unavailable")
        with self.assertRaises(weir.UnavailableError):
            make().decide(prompt="x", subset=[])
        with self.assertRaises(weir.FailedPreconditionError):
            make().decide(prompt="x", if_available=True)

    def test_a_subset_limits_the_choice(self):
        router = make()
        self.assertEqual(router.decide(prompt="x", subset=["10.0.0.1:8000"]).endpoint, "a")
        self.assertEqual(router.decide(body=BODY, subset=("10.0.0.1",)).endpoint, "a")

    def test_a_rewrite_changes_the_body(self):
        config = {
            "plugins": [{"type": "max-score-picker"}],
            "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "max-score-picker"}]}],
            "resources": {"modelRewrites": [{"name": "r", "rules": [
                {"matches": [{"model": {"value": "m"}}], "targets": [{"modelRewrite": "other", "weight": 1}]}]}]},
        }
        router = weir.Router.from_config(config)
        router.pool.upsert("a", address="h:1")
        self.assertIsNone(router.decide(body=BODY.replace(b'"m"', b'"n"')).body)
        changed = router.decide(body=BODY)
        self.assertEqual(json.loads(changed.body)["model"], "other")

    def test_arguments_count_beside_every_kind_of_prompt(self):
        seen = {}
        fields = ("id", "model", "cache_salt", "fairness_id", "priority", "stream", "max_output_tokens")

        @weir.scorer("t-arguments")
        def scorer(request, endpoints):
            seen.update({field: getattr(request, field) for field in fields})
            return [0.5] * len(endpoints)

        router = weir.Router.from_config({
            "plugins": [{"type": "t-arguments"}, {"type": "prefix-cache-scorer"}, {"type": "max-score-picker"}],
            "schedulingProfiles": [{"name": "default", "plugins": [
                {"pluginRef": name} for name in ("t-arguments", "prefix-cache-scorer", "max-score-picker")]}]})
        router.pool.upsert("a", address="h:1")
        messages = [{"role": "user", "content": "hi"}]
        body = json.dumps({"model": "of the body", "messages": messages, "cache_salt": "of the body",
                           "max_tokens": 1, "stream": False}).encode()
        of_headers = {"x-request-id": "of a header", "x-llm-d-inference-fairness-id": "of a header"}
        prompts = {"prompt": "hi", "tokens": [1, 2, 3], "messages": messages, "body": body}
        given = (("request_id", "id", "r"), ("model", "model", "m"), ("adapter", "model", "lora"),
                 ("cache_salt", "cache_salt", "tenant"), ("fairness_id", "fairness_id", "f"),
                 ("priority", "priority", -7), ("stream", "stream", True),
                 ("max_output_tokens", "max_output_tokens", 99))
        for kind, prompt in prompts.items():
            for argument, field, value in given:
                with self.subTest(prompt=kind, argument=argument):
                    router.decide(**{kind: prompt, argument: value}, headers=of_headers)
                    self.assertEqual(seen[field], value)
            with self.subTest(prompt=kind, argument="adapter and model"):
                for both in ({"adapter": "lora", "model": "m"}, {"model": "m", "adapter": "lora"}):
                    router.decide(**{kind: prompt}, **both)
                    self.assertEqual(seen["model"], "lora")
            with self.subTest(prompt=kind, argument="if_available"):
                with self.assertRaises(weir.FailedPreconditionError):
                    router.decide(**{kind: prompt}, if_available=True)
                router.decide(**{kind: prompt}, if_available=False, headers={"prefer": "if-available"})
        router.decide(body=body, headers=of_headers)
        self.assertEqual(seen, dict(zip(fields, ("of a header", "of the body", "of the body", "of a header", 0,
                                                 False, 1))))

    def test_salts_keep_the_prefixes_of_tenants_apart(self):
        for prompt in ({"prompt": "a prompt of some blocks " * 20},
                       {"messages": [{"role": "user", "content": "a prompt of some blocks " * 20}]}):
            router = make()
            router.begin(router.decide(**prompt, cache_salt="one")).finish()
            scores = [router.decide(**prompt, cache_salt=salt).explain()[1]["prefix-cache-scorer.raw"]
                      for salt in ("one", "two")]
            self.assertEqual(scores, [1.0, 0.0])

    def test_a_batch_is_its_decisions_or_their_errors(self):
        router = make()
        results = router.decide_batch([{"prompt": "x"}, {"body": b"{"}, {"tokens": [1]}])
        self.assertEqual([type(result) for result in results],
                         [weir.Decision, weir.InvalidArgumentError, weir.Decision])
        self.assertEqual(router.decide_batch([]), [])
        with self.assertRaisesRegex(TypeError, r"requests\[1\]: str"):
            router.decide_batch([{}, "x"])

    def test_equal_seeds_give_equal_decisions(self):
        config = {"plugins": [{"type": "random-picker"}],
                  "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "random-picker"}]}]}

        def draws(seed):
            router = weir.Router.from_config(config, seed=seed)
            for name in "abcdef":
                router.pool.upsert(name, address=f"{name}:1")
            return [router.decide().endpoint for _ in range(20)]

        self.assertEqual(draws(7), draws(7))
        self.assertNotEqual(draws(7), draws(8))

    def test_decide_gives_up_the_gil_only_if_told_to(self):
        # No thread is ever asked to give the GIL up: another one runs only while the engine decides without it.
        prompt = array.array("I", range(65536))
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1000)
        try:
            for release_gil, decisions_max in ((True, 100_000), (False, 200)):
                router = make(release_gil=release_gil)
                others_turn = threading.Event()

                def work():
                    while not others_turn.is_set() and router.stats()["decisions"] < decisions_max:
                        router.decide(tokens=prompt)

                worker = threading.Thread(target=work)
                worker.start()  # waits for the thread, which then has the GIL
                others_turn.set()
                worker.join()
                self.assertEqual(router.stats()["decisions"] < decisions_max, release_gil)
        finally:
            sys.setswitchinterval(interval)

    def test_admit_resolves_at_once(self):
        router = make()
        self.assertEqual(asyncio.run(router.admit(prompt="x")).endpoint, "b")


class DecisionTest(unittest.TestCase):
    def test_explains_itself(self):
        decision = make().decide(prompt="x", request_id="r1", model="m")
        rows = decision.explain()
        self.assertEqual([row["rank"] for row in rows], [None, 0])
        self.assertAlmostEqual(rows[1]["total"], 2 * 1.0 + 2 * 0.75)
        self.assertEqual((decision.address, decision.targets[0].namespace), ("10.0.0.2:8000", "default"))
        self.assertEqual(decision.headers, {"x-gateway-destination-endpoint": "10.0.0.2:8000"})
        self.assertEqual(json.loads(decision.to_json())["request_id"], "r1")
        self.assertIn("queue-scorer*2", decision.text())
        self.assertEqual(decision.explanation["time_s"], 100.0)
        self.assertIn("<table>", decision._repr_html_())
        self.assertEqual(repr(decision), "<weir.Decision b (10.0.0.2:8000), 1 targets>")

    def test_html_is_escaped_and_bounded(self):
        router = make()
        for i in range(200):
            router.pool.upsert(f"e{i}", address="h:1", waiting_requests=9)
        html = router.decide(prompt="x", model="<script>")._repr_html_()
        self.assertNotIn("<script>", html)
        self.assertIn("and 152 more", html)

    def test_a_pickle_says_the_same(self):
        decision = make().decide(prompt="x")
        for again in (pickle.loads(pickle.dumps(decision)), copy.deepcopy(decision)):
            for what in ("endpoint", "address", "headers", "body", "explanation"):
                self.assertEqual(getattr(again, what), getattr(decision, what))
            self.assertEqual([again.text(), again.to_json(), again.explain(), again.targets[0].id],
                             [decision.text(), decision.to_json(), decision.explain(), decision.targets[0].id])
            with self.assertRaisesRegex(weir.InvalidArgumentError, "pickle"):
                make().begin(again)
        with self.assertRaisesRegex(ValueError, "another version"):
            decision.__class__.__new__(weir.Decision).__setstate__((2,))

    def test_outlives_its_router(self):
        router = make()
        decision = router.decide(prompt="x")
        router.close()
        self.assertEqual(decision.endpoint, "b")
        self.assertIn("b", decision.text())

    def test_recent_decisions_are_the_newest_first(self):
        router = make(decisions_kept=2)
        last = [router.decide(prompt="x") for _ in range(3)]
        self.assertEqual(router.recent_decisions(), [last[2], last[1]])
        self.assertEqual(make(decisions_kept=0).recent_decisions(), [])
        with self.assertRaisesRegex(ValueError, "decisions_kept: 1025, expected 0..1024"):
            make(decisions_kept=1025)


class FlightTest(unittest.TestCase):
    def test_counts_until_it_ends(self):
        router = make()
        decision = router.decide(prompt="x")
        with router.begin(decision) as flight:
            self.assertEqual((router.pool.in_flight("b"), flight.active), (1, True))
            flight.first_token()
            flight.finish(prompt_tokens=3, cached_tokens=0, output_tokens=1)
            self.assertEqual((router.pool.in_flight("b"), flight.active), (0, False))
            flight.finish()
        self.assertEqual(router.stats()["flights_ended"], 1)

    def test_ends_on_every_path(self):
        router = make()
        decision = router.decide(prompt="x")
        with self.assertRaises(KeyError), router.begin(decision):
            raise KeyError
        flight = router.begin(decision)
        del flight

        async def cancelled():
            async with router.begin(decision):
                raise asyncio.CancelledError

        with self.assertRaises(asyncio.CancelledError):
            asyncio.run(cancelled())
        self.assertEqual((router.pool.in_flight("b"), router.stats()["flights_ended"]), (0, 3))

    def test_wrong_arguments(self):
        router = make()
        decision = router.decide(prompt="x")
        with self.assertRaises(IndexError):
            router.begin(decision, target=1)
        with self.assertRaisesRegex(weir.InvalidArgumentError, "another router"):
            make().begin(decision)
        flight = router.begin(decision)
        with self.assertRaisesRegex(ValueError, "end: 'gone'"):
            flight.finish(end="gone")
        with self.assertRaisesRegex(ValueError, "output_tokens: -2"):
            flight.finish(output_tokens=-2)
        self.assertTrue(flight.active)


class RouterTest(unittest.TestCase):
    def test_close_shuts_router_and_pool(self):
        router = make()
        pool = router.pool
        flight = router.begin(router.decide(prompt="x"))
        router.close()
        router.close()
        for use in (lambda: router.pool, lambda: router.decide(), lambda: len(pool), lambda: pool.remove("a"),
                    router.stats, router.metrics, router.recent_decisions, lambda: router.decide_batch([])):
            with self.assertRaises(weir.ClosedError):
                use()
        flight.finish()
        self.assertEqual(repr(router), "<weir.Router, closed>")
        with make() as inside:
            self.assertFalse(inside.closed)
        self.assertTrue(inside.closed)

    def test_configuration_errors_name_file_and_line(self):
        with self.assertRaises(weir.ConfigError) as caught:
            weir.Router.from_text("a: 1\n", "pipeline.yaml")
        self.assertIn("pipeline.yaml:1: a: unknown field", str(caught.exception))
        self.assertIsInstance(caught.exception, ValueError)
        with self.assertRaises(weir.NotFoundError):
            weir.Router.from_file("/no/such/file.yaml")
        with self.assertRaisesRegex(weir.Error, "libno.so"):
            weir.Router.default(plugins=["/no/libno.so"])
        with self.assertRaisesRegex(ValueError, "unscraped: 'x'"):
            weir.Router.default(unscraped="x")
        with self.assertRaises(TypeError):
            weir.Router.default(sed=1)

    def test_a_clock_of_its_own(self):
        now = [5.0]
        router = weir.Router.default(clock=lambda: now[0])
        router.pool.upsert("a", address="h:1", waiting_requests=1)
        now[0] = 7.5
        self.assertEqual(router.pool.rows()[0]["sample_age_s"], 2.5)
        self.assertEqual(router.decide().explanation["time_s"], 7.5)
        with self.assertRaisesRegex(TypeError, "clock: int"):
            weir.Router.default(clock=5)

    def test_pages_and_pickles(self):
        router = make()
        router.decide(prompt="x")
        self.assertIn("weir_decisions_total 1\n", router.metrics())
        self.assertEqual(router.stats()["decisions"], 1)
        self.assertIn("max-score-picker", router.describe())
        self.assertIn("10.0.0.1:8000", router._repr_html_())
        with self.assertRaisesRegex(TypeError, "configuration"):
            pickle.dumps(router)


if __name__ == "__main__":
    unittest.main()
