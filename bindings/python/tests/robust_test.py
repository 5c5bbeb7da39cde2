"""What must never crash, hang or leak: fork, exit with threads, interrupts, interpreters, copies of the module."""

import array
import gc
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest

import weir
from weir import _native

SETUP = """
import array, asyncio, logging, os, signal, sys, threading, time
import weir

logging.getLogger("weir").addHandler(logging.NullHandler())

def make(*plugins, **options):
    names = [*plugins, "max-score-picker"]
    router = weir.Router.from_config({
        "plugins": [{"type": name} for name in names] + [{"type": "prefix-cache-scorer"}],
        "schedulingProfiles": [{"name": "default", "plugins": [
            {"pluginRef": name} for name in [*plugins, "prefix-cache-scorer", "max-score-picker"]]}],
    }, seed=1, **options)
    for index in range(20):
        router.pool.upsert(f"e{index}", address=f"10.0.0.{index}:8000", waiting_requests=index)
    return router
"""


def run(program, timeout_s=60):
    """Runs a program of its own; returns its exit status, output and errors."""
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-W", "ignore::DeprecationWarning", "-c", SETUP + textwrap.dedent(program)],
                          capture_output=True, text=True, check=False, timeout=timeout_s)
    return done.returncode, done.stdout, done.stderr


class ProcessTest(unittest.TestCase):
    def expect(self, program, output="", errors=""):
        self.assertEqual(run(program), (0, output, errors))

    def test_a_child_is_refused_and_can_start_anew(self):
        self.expect("""
            @weir.scorer("likes-last")
            def likes_last(request, endpoints):
                return [float(name == "e19") for name in endpoints.names]

            router = make("likes-last")
            pool, decision = router.pool, router.decide(prompt="x")
            flight = router.begin(decision)
            if os.fork() == 0:
                for use in (lambda: router.decide(prompt="x"), lambda: router.pool, lambda: len(pool),
                            lambda: router.begin(decision), flight.finish, flight.first_token, router.stats,
                            lambda: router.decide_batch([{}])):
                    try:
                        use()
                    except weir.ForkedError as error:
                        assert "fork()" in str(error)
                    else:
                        os._exit(1)
                assert decision.endpoint == "e19"
                assert make("likes-last").decide(prompt="x").endpoint == "e19"
                del flight
                router.close()
                sys.exit(0)
            assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
            flight.finish()
            assert router.stats()["flights_ended"] == 1
            """)

    def test_exit_with_threads_that_decide(self):
        for _ in range(3):
            self.expect("""
                @weir.scorer("slowish")
                def slowish(request, endpoints):
                    return [sum(range(100)) and 0.5 for _ in range(len(endpoints))]

                router = make("slowish")

                def work(step):
                    while True:
                        try:
                            step()
                        except weir.ClosedError:
                            return

                for step in (lambda: router.decide(prompt="x"), lambda: router.decide_batch([{"prompt": "y"}] * 50),
                             lambda: router.decide(messages=[{"role": "user", "content": "x"}])):
                    for _ in range(2):
                        threading.Thread(target=work, args=(step,), daemon=True).start()
                while router.stats()["decisions"] < 500:
                    time.sleep(0.001)
                """)

    def test_exit_while_a_plugin_hangs_in_a_thread(self):
        self.expect("""
            started = threading.Event()

            @weir.scorer("hangs", hang_s=0.2)
            def hangs(request, endpoints):
                started.set()
                while True:
                    pass

            router = make("hangs")
            threading.Thread(target=lambda: router.decide(prompt="x"), daemon=True).start()
            started.wait()
            """)

    def test_exit_ends_calls_that_would_take_minutes(self):
        for call in ("batch", "fleet"):
            self.expect("""
                from weir import sim

                def batch():
                    router, tokens = make(), array.array("I", range(131072))
                    begun.set()
                    router.decide_batch([{"tokens": tokens}] * 200_000)

                def fleet():
                    workload = sim.Workload.conversations(conversations=4000, turns=1, groups=2,
                                                          output_tokens=20_000, seed=1)
                    pipeline = {"plugins": [{"type": "random-picker"}], "schedulingProfiles": [
                        {"name": "default", "plugins": [{"pluginRef": "random-picker"}]}]}
                    begun.set()
                    sim.Fleet(pipeline, servers=2).run(workload)

                threading.excepthook = lambda error: None  # ClosedError, CancelledError
                begun = threading.Event()
                threading.Thread(target=%s, daemon=True).start()
                begun.wait()
                """ % call)

    def test_ctrl_c_interrupts_a_batch(self):
        self.expect("""
            router = make()
            tokens = array.array("I", range(131072))
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            try:
                router.decide_batch([{"tokens": tokens}] * 3000)
            except KeyboardInterrupt:
                assert router.stats()["decisions"] < 3000
                print("interrupted")
            """, "interrupted\n")

    def test_ctrl_c_interrupts_a_plugin(self):
        self.expect("""
            @weir.scorer("hangs", hang_s=30)
            def hangs(request, endpoints):
                while True:
                    pass

            router = make("hangs")
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            from weir import sim
            config = {"plugins": [{"type": "hangs"}, {"type": "max-score-picker"}],
                      "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "hangs"}]}]}
            workload = sim.Workload.conversations(conversations=10, groups=2, seed=1)
            for call in (lambda: router.decide(prompt="x"), lambda: router.decide_batch([{}, {}]),
                         lambda: sim.Fleet(config, servers=2).run(workload)):
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                try:
                    call()
                except KeyboardInterrupt:
                    print("interrupted")
            """, 3 * "interrupted\n")

    def test_ctrl_c_interrupts_what_asks_a_clock(self):
        self.expect("""
            def clock():
                if pressed:
                    signal.setitimer(signal.ITIMER_REAL, pressed.pop())
                    while time.monotonic():
                        pass
                return 1.0

            pressed = []
            router = make(clock=clock)
            pool = router.pool
            signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
            for call in (lambda: router.decide(prompt="x"), lambda: router.decide_batch([{}]), pool.rows,
                         lambda: pool.update("e1", waiting_requests=1)):
                pressed.append(0.05)
                try:
                    call()
                    time.sleep(5)
                except KeyboardInterrupt:
                    print("interrupted")
            """, 4 * "interrupted\n")

    def test_ctrl_c_interrupts_admit(self):
        self.expect("""

            @weir.scorer("hangs", hang_s=0.3)
            def hangs(request, endpoints):
                threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGINT)).start()
                while True:
                    pass

            try:
                asyncio.run(make("hangs").admit(prompt="x"))
            except KeyboardInterrupt:
                print("interrupted")
            """, "interrupted\n")

    def test_import_is_quick_and_brings_no_numpy(self):
        self.expect("""
            assert not {"numpy", "pandas", "ray", "asyncio.base_events", "concurrent.futures"} & (
                set(sys.modules) - before_asyncio), sorted(sys.modules)
            """.replace("before_asyncio", "{'asyncio.base_events', 'concurrent.futures'}"))
        program = "import time; start = time.perf_counter(); import weir; print(time.perf_counter() - start)"
        times = [float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                                      check=True).stdout) for _ in range(5)]
        print(f"import weir: {1000 * min(times):.0f} ms")

    def test_subinterpreters_are_refused(self):
        try:
            import _xxsubinterpreters  # noqa: F401
        except ImportError:
            self.skipTest("this Python has no _xxsubinterpreters")
        for first in ("", "import weir\n"):
            done = subprocess.run([sys.executable, "-c", first + textwrap.dedent("""
                import _xxsubinterpreters as interpreters
                try:
                    interpreters.run_string(interpreters.create(), "import weir")
                except Exception as error:
                    print("ImportError" in str(error) and "subinterpreters" in str(error))
                """)], capture_output=True, text=True, check=False, timeout=60)
            self.assertEqual((done.returncode, done.stdout), (0, "True\n"), done.stderr)

    def test_a_logging_handler_that_raises_harms_nobody(self):
        status, output, _ = run("""
            class Broken(logging.Handler):
                def handle(self, record):
                    raise ValueError("broken")

            logging.getLogger("weir").addHandler(Broken())
            weir.scorer("raises")(lambda request, endpoints: 1 / 0)
            print(len(make("raises").decide(prompt="x").explain()))
            """)
        self.assertEqual((status, output), (0, "20\n"))

    def test_a_clock_that_raises_stands_still(self):
        status, output, errors = run("""
            router = weir.Router.default(clock=lambda: 1 / 0)
            router.pool.upsert("a", address="h:1")
            print(router.decide().endpoint)
            """)
        self.assertEqual((status, output), (0, "a\n"))
        self.assertIn("ZeroDivisionError", errors)

    def test_a_clock_that_yields_holds_up_nobody(self):
        self.expect("""
            def clock():
                time.sleep(0.001)
                return time.monotonic()

            router = weir.Router.default(clock=clock, seed=1)
            router.pool.upsert("a", address="h:1", waiting_requests=1)
            done = threading.Event()

            def update():
                while not done.is_set():
                    router.pool.update("a", waiting_requests=2)

            thread = threading.Thread(target=update)
            thread.start()
            for _ in range(200):
                assert router.decide(prompt="x").endpoint == "a"
            done.set()
            thread.join()
            """)

    def test_a_clock_may_close_the_router_that_asks_it(self):
        self.expect("""
            to_close = []

            def clock():
                if to_close:
                    to_close.pop().close()
                return 1.0

            for use in (lambda router, pool: pool.update("e1", waiting_requests=3),
                        lambda router, pool: pool.upsert("e1", address="h:1", waiting_requests=3),
                        lambda router, pool: pool.replace([{"name": "a", "address": "h:1", "waiting_requests": 1}]),
                        lambda router, pool: pool.invalidate("e1"), lambda router, pool: pool.rows(),
                        lambda router, pool: router.metrics(), lambda router, pool: router.decide(prompt="x"),
                        lambda router, pool: router.decide_batch([{}])):
                router = make(clock=clock)
                pool = router.pool
                to_close.append(router)
                use(router, pool)
                assert router.closed
                router = pool = None
            """)

    def test_exit_while_a_clock_sleeps(self):
        self.expect("""
            started = threading.Event()

            def clock():
                started.set()
                time.sleep(0.05)
                return 1.0

            pool = make(clock=clock).pool
            started.clear()

            def work():
                while True:
                    pool.update("e1", waiting_requests=1)

            class Slow:  # threads go on meanwhile, and Python ends those that ask for the GIL
                def flush(self):
                    time.sleep(0.2)

            sys.stdout = Slow()
            threading.excepthook = lambda error: None  # ClosedError
            threading.Thread(target=work, daemon=True).start()
            started.wait()
            """)


class CopiesTest(unittest.TestCase):
    def test_two_copies_of_the_module_do_not_mix(self):
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder) / pathlib.Path(_native.__file__).name
            shutil.copyfile(_native.__file__, copy)
            spec = importlib.util.spec_from_file_location("other._native", copy)
            other = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(other)
            routers = [_native.Router(None), other.Router(None)]
            for router in routers:
                router.pool.upsert("a", address="h:1")
            decisions = [router.decide(prompt="x") for router in routers]
            self.assertIsNot(type(decisions[0]), type(decisions[1]))
            with self.assertRaises((TypeError, weir.Error)):
                routers[0].begin(decisions[1])
            with self.assertRaises(weir.Error):
                other.Router("x: 1")


@unittest.skipIf("ASAN_OPTIONS" in os.environ, "AddressSanitizer keeps what was freed")
class LeakTest(unittest.TestCase):
    @staticmethod
    def resident_bytes():
        gc.collect()
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096

    def grown(self, step, warm_up, count):
        for _ in range(warm_up):
            step()
        before = self.resident_bytes()
        for _ in range(count):
            step()
        return self.resident_bytes() - before

    def test_routers(self):
        weir.scorer("t-leak")(lambda request, endpoints: [0.5] * len(endpoints))
        config = {"plugins": [{"type": "t-leak"}, {"type": "max-score-picker"}],
                  "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "t-leak"}]}]}

        def step():
            with weir.Router.from_config(config) as router:
                router.pool.upsert("a", address="h:1")
                router.begin(router.decide(prompt="x")).finish()

        self.assertLess(self.grown(step, 200, 10_000), 4 << 20)

    def test_refused_routers_and_wrong_arguments(self):
        router = weir.Router.default()
        router.pool.upsert("a", address="h:1")

        def step():
            for wrong in (lambda: weir.Router.from_text("x: 1"), lambda: router.decide(tokens=[1] * 50 + [-1]),
                          lambda: router.decide(body=b"{"), lambda: router.decide(prompt=1, model="m"),
                          lambda: router.pool.remove("b"), lambda: router.decide(tokens=b"123")):
                try:
                    wrong()
                except (TypeError, ValueError, weir.Error):
                    continue
                raise AssertionError

        self.assertLess(self.grown(step, 200, 3000), 4 << 20)

    def test_many_decisions(self):
        tokens = array.array("I", range(1000))
        for release_gil in (False, True):
            router = weir.Router.default(release_gil=release_gil)
            for i in range(10):
                router.pool.upsert(f"e{i}", address="h:1")

            def step():
                with router.begin(router.decide(tokens=tokens, headers={"A": "b"}, request_id="r")) as flight:
                    flight.first_token()

            self.assertLess(self.grown(step, 1000, 100_000), 4 << 20)

    def test_decisions_and_tables(self):
        router = weir.Router.default()
        for i in range(10):
            router.pool.upsert(f"e{i}", address="h:1", labels={"a": "b"})

        def step():
            for decision in router.decide_batch([{"prompt": "x", "headers": {"A": "b"}}, {"tokens": [1, 2]}]):
                decision.explain()
                decision.__arrow_c_stream__()
                decision.__getstate__()
                router.pool.rows()

        self.assertLess(self.grown(step, 200, 3000), 4 << 20)


if __name__ == "__main__":
    unittest.main()
