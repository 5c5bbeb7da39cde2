"""Scorers, filters and pickers written in Python: what they see, what they may return, what happens when they fail."""

import array
import gc
import logging
import math
import os
import threading
import time
import unittest

import weir

try:
    import numpy
except ImportError:
    numpy = None


def pipeline(*plugins, picker="max-score-picker"):
    """A router of these (type, parameters) plugins, over endpoints a, b, c with 0, 2, 4 requests waiting."""
    names = [name for name, _ in plugins]
    router = weir.Router.from_config({
        "plugins": [{"type": name, "parameters": parameters} for name, parameters in plugins] + [{"type": picker}],
        "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": name} for name in [*names, picker]]}],
    }, seed=1, clock=weir.ManualClock(50))
    for index, name in enumerate("abc"):
        router.pool.upsert(name, address=f"10.0.0.{index}:8000", waiting_requests=2 * index, running_requests=index,
                           kv_used_ratio=index / 4, labels={"zone": "x" if index else "y"})
    return router


def scores(router, name, **request):
    return [row[f"{name}.raw"] for row in router.decide(**(request or {"prompt": "hi"})).explain()]


class Logged:
    """The records that the logger "weir" got."""

    def __enter__(self):
        self.records = []
        self.handler = logging.Handler()
        self.handler.emit = self.records.append
        logging.getLogger("weir").addHandler(self.handler)
        logging.getLogger("weir").propagate = False
        return self.records

    def __exit__(self, *_):
        logging.getLogger("weir").removeHandler(self.handler)
        logging.getLogger("weir").propagate = True


def counters(router, name):
    return next(plugin for plugin in router.stats()["plugins"] if plugin["name"] == name)


class ScorerTest(unittest.TestCase):
    def test_sees_columns_and_request(self):
        seen = {}

        @weir.scorer("t-sees", reads=["in_flight", "prefix_match", "uncached_tokens"])
        def sees(request, endpoints):
            seen.update(
                count=len(endpoints), names=endpoints.names, addresses=endpoints.addresses,
                waiting=list(endpoints.waiting_requests), running=list(endpoints.running_requests),
                kv=list(endpoints.kv_used_ratio), age=list(endpoints.sample_age_s), slots=list(endpoints.slots),
                in_flight=list(endpoints.in_flight), in_flight_tokens=list(endpoints.in_flight_tokens),
                match=list(endpoints.prefix_match), uncached=list(endpoints.uncached_tokens),
                same_zone=[zone == endpoints.intern("x") for zone in endpoints.labels("zone")],
                unknown=endpoints.intern("nobody has it"), absent=list(endpoints.labels("no-such-label")),
                id=request.id, model=request.model, priority=request.priority, stream=request.stream,
                headers=request.headers, tokens=list(request.tokens), token_count=request.token_count,
                text=request.text, size=request.size_bytes, max_output=request.max_output_tokens,
                salt=request.cache_salt, fairness=request.fairness_id, now=request.now_s)
            return [0, 1, 0]

        router = pipeline(("t-sees", {}))
        tokens = list(range(64))
        decision = router.decide(tokens=tokens, request_id="r", model="m", priority=3, headers={"X-A": "1"},
                                 max_output_tokens=9, cache_salt="s", fairness_id="f")
        self.assertEqual(decision.endpoint, "b")
        self.assertEqual({key: seen[key] for key in ("count", "names", "waiting", "running", "kv", "age")}, {
            "count": 3, "names": ["a", "b", "c"], "waiting": [0, 2, 4], "running": [0, 1, 2], "kv": [0, 0.25, 0.5],
            "age": [0, 0, 0]})
        self.assertEqual(seen["addresses"][2], "10.0.0.2:8000")
        self.assertEqual(len(set(seen["slots"])), 3)
        self.assertEqual((seen["same_zone"], seen["unknown"], seen["absent"]), ([False, True, True], 2**32 - 1, [0] * 3))
        self.assertEqual((seen["id"], seen["model"], seen["priority"], seen["headers"]), ("r", "m", 3, {"x-a": "1"}))
        self.assertEqual((seen["tokens"], seen["token_count"], seen["text"]), (tokens, 64, ""))
        self.assertEqual((seen["max_output"], seen["salt"], seen["fairness"], seen["now"], seen["stream"]),
                         (9, "s", "f", 50.0, False))
        self.assertEqual((seen["in_flight"], seen["match"], seen["uncached"]), ([0] * 3, [0] * 3, [64] * 3))
        with router.begin(decision):
            router.decide(tokens=tokens, model="m", cache_salt="s")
            self.assertEqual((seen["in_flight"], seen["in_flight_tokens"], seen["match"], seen["uncached"]),
                             ([0, 1, 0], [0, 64, 0], [0, 1, 0], [64, 0, 64]))
        router.decide(prompt="text")
        self.assertEqual((seen["text"], seen["max_output"]), ("text", None))

    def test_parameters_reach_function_and_class(self):
        @weir.scorer("t-function")
        def function(request, endpoints, *, base=1.0):
            return [base] * len(endpoints)

        @weir.register("t-class")
        class Class(weir.Scorer):
            def __init__(self, base, deep=None):
                self.base, self.deep = base, deep

            def score(self, request, endpoints):
                return [self.base + len(self.deep["list"]) / 10] * len(endpoints)

        self.assertEqual(scores(pipeline(("t-function", {"base": 0.25})), "t-function"), [0.25] * 3)
        router = pipeline(("t-class", {"base": 0.5, "deep": {"list": [1, None]}}))
        self.assertEqual(scores(router, "t-class"), [0.7] * 3)

    def test_wrong_parameters_are_a_config_error_with_their_cause(self):
        @weir.register("t-strict")
        class Strict(weir.Scorer):
            def __init__(self, *, weight=1):
                if weight < 0:
                    raise ValueError(f"weight: {weight}, expected >= 0")

            def score(self, request, endpoints):
                return [0] * len(endpoints)

        with self.assertRaisesRegex(weir.ConfigError, "unexpected keyword argument 'wieght'") as caught:
            pipeline(("t-strict", {"wieght": 1}))
        self.assertIsInstance(caught.exception.__cause__, TypeError)
        with self.assertRaisesRegex(weir.ConfigError, "weight: -1, expected >= 0") as caught:
            pipeline(("t-strict", {"weight": -1}))
        self.assertIsInstance(caught.exception.__cause__, ValueError)
        with self.assertRaises(weir.ConfigError) as caught:
            weir.Router.from_text("x: 1")
        self.assertIsNone(caught.exception.__cause__)

    def test_all_kinds_of_results(self):
        results = {
            "list": [0, 0.5, 1], "tuple": (0, 0.5, 1), "doubles": array.array("d", [0, 0.5, 1]),
            "floats": array.array("f", [0, 0.5, 1]), "integers": array.array("q", [0, 1, 1]),
            "bytes of numbers": array.array("B", [0, 1, 1]), "strided": memoryview(array.array("d", range(5)))[::2],
            "generator": None, "bools": [False, True, True],
        }
        if numpy is not None:
            results |= {"numpy": numpy.array([0, 0.5, 1]), "numpy bool": numpy.array([False, True, True]),
                        "numpy reversed": numpy.array([1, 0.5, 0])[::-1], "numpy int": numpy.array([0, 1, 1])}
        for name, result in results.items():
            type_name = "t-result-" + name.replace(" ", "-")
            weir.scorer(type_name)(lambda request, endpoints, result=result:
                                   (x / 2 for x in range(3)) if result is None else result)
            with self.subTest(name):
                expected = [0, 0.5, 1] if result is None else [float(number) for number in result]
                self.assertEqual(scores(pipeline((type_name, {})), type_name), expected)

    def test_scores_out_of_range_are_clamped_and_nan_counts_as_0(self):
        weir.scorer("t-wild")(lambda request, endpoints: [math.nan, 5, -math.inf])
        router = pipeline(("t-wild", {}))
        self.assertEqual([row["t-wild"] for row in router.decide(prompt="x").explain()], [0, 1, 0])
        self.assertEqual(counters(router, "t-wild")["invalid_results"], 1)

    def test_wrong_results_fall_back(self):
        for name, result, text in (
                ("short", [1, 2], "returned 2 values for 3 endpoints"),
                ("short-array", array.array("d", [1]), "returned 1 values for 3 endpoints"),
                ("none", None, "NoneType"), ("text", "abc", "returned a: str"), ("bytes", b"abc", "returned a: bytes"),
                ("texts", ["a", "b", "c"], "must be real number"),
                ("square", memoryview(bytes(9)).cast("B", (3, 3)), "3 dimensions|2 dimensions"),
                ("letters", memoryview(b"abc").cast("c"), "format 'c'")):
            weir.scorer("t-wrong-" + name)(lambda request, endpoints, result=result: result)
            router = pipeline(("t-wrong-" + name, {}))
            with self.subTest(name), Logged() as records:
                router.decide(prompt="x")
                router.decide(prompt="x")
                self.assertEqual(counters(router, "t-wrong-" + name)["counters"][0], 2)
                self.assertRegex(records[0].getMessage(), text)

    def test_an_exception_is_logged_once_with_its_cause(self):
        @weir.scorer("t-raises")
        def raises(request, endpoints):
            return {}["missing"]

        router = pipeline(("t-raises", {}))
        with Logged() as records:
            for _ in range(3):
                self.assertEqual(router.decide(prompt="x").explain()[0]["t-raises"], 0)
        errors = [record for record in records if record.exc_info]
        self.assertEqual(len(errors), 1)
        self.assertIn("KeyError: 'missing'; later failures are only counted", errors[0].getMessage())
        self.assertIsInstance(errors[0].exc_info[1], weir.PluginError)
        self.assertIsInstance(errors[0].exc_info[1].__cause__, KeyError)
        self.assertIn("raises", errors[0].exc_info[1].__cause__.__traceback__.tb_frame.f_code.co_name)
        self.assertEqual((counters(router, "t-raises")["failures"], counters(router, "t-raises")["counters"][0]), (3, 3))

    def test_interrupts_reach_the_caller(self):
        for error in (KeyboardInterrupt, SystemExit):
            def stop(request, endpoints, error=error):
                raise error

            weir.scorer("t-stops")(stop)
            router = pipeline(("t-stops", {}))
            with self.assertRaises(error):
                router.decide(prompt="x")
            with self.assertRaises(error):
                router.decide_batch([{"prompt": "x"}] * 3)

    def test_an_undeclared_column_says_how_to_declare_it(self):
        @weir.scorer("t-undeclared")
        def undeclared(request, endpoints):
            return endpoints.prefix_match

        with Logged() as records:
            pipeline(("t-undeclared", {})).decide(prompt="x")
        self.assertIn('reads=["prefix_match"', records[0].getMessage())

    @unittest.skipIf(numpy is None, "NumPy is not installed")
    def test_columns_are_read_only_numpy_arrays(self):
        @weir.scorer("t-numpy")
        def columns(request, endpoints):
            for column in (endpoints.waiting_requests, endpoints.kv_used_ratio, endpoints.labels("zone")):
                assert isinstance(column, numpy.ndarray) and not column.flags.writeable
            assert endpoints.waiting_requests is endpoints.waiting_requests
            return 1.0 / (1.0 + endpoints.waiting_requests)

        self.assertEqual(scores(pipeline(("t-numpy", {})), "t-numpy"), [1, 1 / 3, 1 / 5])

    def test_views_end_with_the_call_and_arrays_stay(self):
        kept = []

        @weir.scorer("t-keeps")
        def keeps(request, endpoints):
            kept.extend((request, endpoints, endpoints.waiting_requests))
            return [0] * len(endpoints)

        router = pipeline(("t-keeps", {}))
        router.decide(prompt="x")
        router.close()
        request, endpoints, waiting = kept
        self.assertEqual((list(waiting), list(endpoints.waiting_requests), len(endpoints)), ([0, 2, 4], [0, 2, 4], 3))
        for use in (lambda: request.model, lambda: request.headers, request.uniform, lambda: endpoints.names,
                    lambda: endpoints.running_requests, lambda: endpoints.labels("zone"), lambda: endpoints.intern("x")):
            with self.assertRaisesRegex(weir.ClosedError, "valid during the call only"):
                use()


class OtherKindsTest(unittest.TestCase):
    def test_a_filter_keeps_what_it_says(self):
        @weir.register("t-filter")
        class Few(weir.Filter):
            def keep(self, request, endpoints):
                return [waiting >= 2 for waiting in endpoints.waiting_requests]

        decision = pipeline(("t-filter", {})).decide(prompt="x")
        self.assertEqual([row["dropped_by"] for row in decision.explain()], ["t-filter", None, None])
        weir.filter("t-filter-none")(lambda request, endpoints: [0] * len(endpoints))
        with self.assertRaises(weir.ExhaustedError):
            pipeline(("t-filter-none", {})).decide(prompt="x")

    def test_a_failing_filter_keeps_all(self):
        @weir.filter("t-filter-raises")
        def raises(request, endpoints):
            raise ValueError("no")

        with Logged():
            self.assertEqual(len(pipeline(("t-filter-raises", {})).decide(prompt="x").explain()), 3)

    def test_a_picker_picks(self):
        for name, result, expected in (("one", 2, ["c"]), ("several", [1, 0], ["b", "a"]),
                                       ("array", array.array("q", [2, 1]), ["c", "b"])):
            weir.picker("t-picker-" + name)(lambda request, endpoints, scores, result=result: result)
            with self.subTest(name):
                targets = pipeline(picker="t-picker-" + name).decide(prompt="x").targets
                self.assertEqual([target.name for target in targets], expected)

        @weir.register("t-picker-class")
        class Last(weir.Picker):
            def pick(self, request, endpoints, scores):
                return max(range(len(scores)), key=lambda i: (scores[i], i))

        weir.scorer("t-equal")(lambda request, endpoints: [1] * len(endpoints))
        self.assertEqual(pipeline(("t-equal", {}), picker="t-picker-class").decide(prompt="x").endpoint, "c")

    def test_draws_are_of_the_decisions_seed(self):
        weir.picker("t-draws")(lambda request, endpoints, scores: int(request.uniform() * len(endpoints)))
        sequences = [[router.decide(prompt="x").endpoint for _ in range(20)]
                     for router in (pipeline(picker="t-draws"), pipeline(picker="t-draws"))]
        self.assertEqual(sequences[0], sequences[1])
        self.assertEqual(set(sequences[0]), {"a", "b", "c"})

    def test_a_picker_that_fails_gives_way_to_the_highest_score(self):
        weir.scorer("t-likes-c")(lambda request, endpoints: [0, 0.5, 1])
        for name, result in (("t-bad-text", "abc"), ("t-bad-index", 3), ("t-bad-negative", -1), ("t-bad-none", None)):
            weir.picker(name)(lambda request, endpoints, scores, result=result: result)
            with self.subTest(name), Logged():
                self.assertEqual(pipeline(("t-likes-c", {}), picker=name).decide(prompt="x").endpoint, "c")
        weir.picker("t-refuses")(lambda request, endpoints, scores: [])
        with self.assertRaises(weir.Error):
            pipeline(picker="t-refuses").decide(prompt="x")


class BudgetTest(unittest.TestCase):
    def test_overruns_are_counted_and_disable(self):
        called = []

        @weir.scorer("t-slow", time_budget_s=1e-9, overruns_max=3)
        def slow(request, endpoints):
            called.append(1)
            return [1] * len(endpoints)

        router = pipeline(("t-slow", {}))
        with Logged() as records:
            for _ in range(5):
                router.decide(prompt="x")
        self.assertEqual(len(called), 3)
        self.assertEqual(counters(router, "t-slow")["counters"][:3], [0, 3, 2])
        self.assertIn("later overruns are only counted", records[0].getMessage())
        self.assertIn("3 times in a row; it is not called any more", records[1].getMessage())
        router = pipeline(("t-slow", {}))
        with Logged():
            router.decide(prompt="x")
        self.assertEqual(len(called), 4)

    def test_a_hanging_scorer_is_interrupted(self):
        def forever(request, endpoints):
            while True:
                pass

        def stubborn(request, endpoints):
            end = time.monotonic() + 30
            while time.monotonic() < end:
                try:
                    while time.monotonic() < end:
                        pass
                except weir.DeadlineExceededError:
                    return [1] * len(endpoints)

        for name, function in (("t-hangs", forever), ("t-hangs-stubborn", stubborn)):
            weir.scorer(name, hang_s=0.05)(function)
            router = pipeline((name, {}))
            with self.subTest(name), Logged() as records:
                router.decide(prompt="x")
                router.decide_batch([{"prompt": "x"}] * 2)
                self.assertTrue(any("it is not called any more" in record.getMessage() for record in records))
                self.assertEqual(counters(router, name)["counters"][2], 2)

    def test_wrong_options(self):
        for options, text in (({"time_budget_s": 0}, "time_budget_s"), ({"hang_s": -1}, "hang_s"),
                              ({"reads": ["nothing"]}, "reads: 'nothing'"), ({"budget": 1}, "'budget'")):
            with self.subTest(text), self.assertRaisesRegex((TypeError, ValueError), text):
                weir.scorer("t-options", **options)(lambda request, endpoints: [])


class RegistrationTest(unittest.TestCase):
    def test_built_in_names_and_wrong_classes_are_refused(self):
        with self.assertRaisesRegex(weir.AlreadyExistsError, "queue-scorer"):
            weir.scorer("queue-scorer")(lambda request, endpoints: [])
        with self.assertRaises(weir.InvalidArgumentError):
            weir.scorer("")(lambda request, endpoints: [])
        with self.assertRaisesRegex(TypeError, "expected a subclass"):
            weir.register("t-int")(int)
        with self.assertRaisesRegex(TypeError, "expected a function"):
            weir.scorer("t-five")(5)
        with self.assertRaisesRegex(TypeError, "abstract"):
            weir.register("t-abstract")(type("Abstract", (weir.Scorer,), {}))()

    def test_the_last_registration_counts_for_new_routers(self):
        weir.scorer("t-again")(lambda request, endpoints: [0.25] * 3)
        old = pipeline(("t-again", {}))
        weir.scorer("t-again", reads=["prefix_match"])(lambda request, endpoints: [0.75] * 3)
        self.assertEqual(scores(old, "t-again"), [0.25] * 3)
        self.assertEqual(scores(pipeline(("t-again", {})), "t-again"), [0.75] * 3)

    def test_the_limits_of_a_registration_are_those_of_its_routers(self):
        slow = {"time_budget_s": 1e-9, "overruns_max": 1}
        weir.scorer("t-limits", time_budget_s=10)(lambda request, endpoints: [0.25] * 3)
        old = pipeline(("t-limits", {}))
        with Logged() as records:
            weir.scorer("t-limits", **slow)(lambda request, endpoints: [0.75] * 3)
            self.assertEqual([scores(old, "t-limits") for _ in range(3)], [[0.25] * 3] * 3)
            self.assertEqual(records, [])
            self.assertEqual(scores(pipeline(("t-limits", {})), "t-limits"), [0.75] * 3)
            self.assertEqual(len(records), 2)  # over budget, disabled

    def test_an_instance_lives_as_long_as_its_router(self):
        alive = []

        class Tracked(weir.Scorer):
            def __init__(self):
                alive.append(self)

            def __del__(self):
                dead.append(1)

            def score(self, request, endpoints):
                return [0, 1, 0]

        dead = []
        weir.register("t-tracked")(Tracked)
        router = pipeline(("t-tracked", {}))
        alive.clear()
        gc.collect()
        self.assertEqual((dead, router.decide(prompt="x").endpoint), ([], "b"))
        decision = router.decide(prompt="x")
        router.close()
        self.assertEqual(dead, [])
        del decision, router
        gc.collect()
        self.assertEqual(dead, [1])


class SharedObjectTest(unittest.TestCase):
    LIBRARY = os.path.join(os.environ.get("WEIR_BIN_DIR", ""), "libbad_plugins.so")

    @unittest.skipIf(not os.path.exists(LIBRARY), "built with the unit tests")
    def test_plugins_in_c_and_python_run_side_by_side(self):
        weir.scorer("t-beside")(lambda request, endpoints: [0, 1, 0.5])
        config = {"plugins": [{"type": "t-beside"}, {"type": "nan-scorer"}, {"type": "max-score-picker"}],
                  "schedulingProfiles": [{"name": "default", "plugins": [
                      {"pluginRef": "t-beside", "weight": 1}, {"pluginRef": "nan-scorer", "weight": 1}]}]}
        router = weir.Router.from_config(config, plugins=[self.LIBRARY])
        for name in "abc":
            router.pool.upsert(name, address="h:1")
        self.assertIn("nan-scorer", router.decide(prompt="x").explain()[0])
        self.assertGreater(counters(router, "nan-scorer")["invalid_results"], 0)
        with self.assertRaisesRegex(weir.ConfigError, "nan-scorer"):
            weir.Router.from_config(config)


class ThreadsTest(unittest.TestCase):
    def test_called_from_many_threads_and_batches(self):
        calls = []
        weir.scorer("t-threads")(lambda request, endpoints: calls.append(1) or [0, 1, 0])
        router = pipeline(("t-threads", {}))
        names = []

        def work():
            for _ in range(50):
                names.append(router.decide(prompt="x").endpoint)
                names.extend(decision.endpoint for decision in router.decide_batch([{"prompt": "y"}] * 4))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((len(calls), set(names)), (1000, {"b"}))

    def test_a_scorer_may_use_the_router(self):
        @weir.scorer("t-nested")
        def nested(request, endpoints):
            return [0, 1, 0] if request.id == "inner" else [1.0 if name == router.decide(request_id="inner").endpoint
                                                            else 0.0 for name in endpoints.names]

        router = pipeline(("t-nested", {}))
        self.assertEqual(router.decide(prompt="x").endpoint, "b")

    def test_endless_recursion_is_a_failure_like_others(self):
        weir.scorer("t-endless")(lambda request, endpoints: router.decide(prompt="x") and [0, 1, 0])
        router = pipeline(("t-endless", {}))
        with Logged():
            self.assertEqual(len(router.decide(prompt="x").explain()), 3)


if __name__ == "__main__":
    unittest.main()
