"""weir.ray in real Ray Serve: replicas whose answers take the time of what they do not hold."""

import asyncio
import os
import sys
import unittest

import fleet

fleet.use_hosts()
sys.path.insert(1, str(fleet.ROOT / "examples/ray_serve"))
sys.path.insert(1, str(fleet.ROOT / "tests/docs"))
os.environ["PYTHONPATH"] += f":{fleet.ROOT / 'examples/ray_serve'}"
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_memory_monitor_refresh_ms="0")

import demo  # noqa: E402
import docs_check  # noqa: E402
import model  # noqa: E402
import ray  # noqa: E402
import weir.ray  # noqa: E402
from fleet import until  # noqa: E402
from ray import serve  # noqa: E402
from ray.serve.config import RequestRouterConfig  # noqa: E402
from ray.serve.request_router import FIFOMixin  # noqa: E402

PIPELINE = """apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: prefix-cache-scorer
- type: active-request-scorer
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: prefix-cache-scorer
    weight: 3
  - pluginRef: active-request-scorer
    weight: 1
"""


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Ingress:
    """An application's front, whose handle routes in a process of its own."""

    def __init__(self, handle):
        self._handle = handle.options(stream=True)

    async def ask(self, prompt, adapter=""):
        handle = self._handle.options(multiplexed_model_id=adapter)
        return [token async for token in handle.generate.remote(prompt)][0]

    async def ask_all(self, prompts):
        return await asyncio.gather(*(self.ask(prompt) for prompt in prompts))

    async def stats(self):
        (engine,) = weir.ray.routers().values()
        return engine.stats()


def texts(count, name="text", tokens=600):
    sentence = "part {} of " + name + " {}, which nobody else has; "
    return ["".join(sentence.format(i, number) for i in range(tokens // 8))
            for number in range(count)]


class RayServeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.files = fleet.Fleet()
        cls.addClassCleanup(cls.files.stop)
        cls.enterClassContext(demo.cluster())

    def deploy(self, name, replicas, router=None, **options):
        deployment = model.Model.options(
            num_replicas=replicas, request_router_config=router or weir.ray.request_router_config(
                stats_period_s=0.2), **options)
        handle = serve.run(deployment.bind(prefill_s_per_token=1e-6), name=name, route_prefix=None)
        self.addCleanup(serve.delete, name)
        return handle.options(stream=True)

    def ask(self, handle, prompts, concurrency=1):
        return asyncio.run(demo.ask_all(handle, prompts, concurrency))

    @staticmethod
    def call(handle, method, *arguments):
        return getattr(handle.options(stream=False), method).remote(*arguments).result()

    def replicas_of(self, answers):
        return [answer["replica"] for answer in answers]

    @staticmethod
    def pool(name):
        """Rows of the pool that this process's handles share."""
        return weir.ray.routers()[name, "Model"].pool.rows()

    def test_the_pages(self):
        for page, body in docs_check.python_blocks(fleet.ROOT, "tests/e2e/ray_serve_test.py"):
            names = {"serve": serve, "weir": weir}
            exec(body, names)
            if "StatsMixin" in body:
                replica = names["Model"]()
                replica.step()
                self.assertEqual(replica.record_routing_stats()["num_running_reqs"], 16)
                continue
            config = names["Model"]._deployment_config.request_router_config
            self.assertEqual(config.request_router_class, "weir.ray.WeirRequestRouter", page)

    def test_a_prompt_goes_where_its_start_lies(self):
        given = demo.flags().parse_args(["--documents", "6", "--questions", "5", "--replicas", "3",
                                         "--document-tokens", "1000"])
        blind = demo.measure("power-of-two", demo.POWER_OF_TWO, given)
        aware = demo.measure("weir", weir.ray.request_router_config(), given)
        # Four of five questions find their document, none of it is computed twice.
        self.assertGreater(aware["hit_ratio"], 0.7)
        self.assertLess(blind["hit_ratio"], aware["hit_ratio"] - 0.1)
        self.assertEqual(sum(aware["requests"]), 30)
        self.assertEqual(len(aware["requests"]), 3, "a replica got nothing")

    def test_requests_are_not_swapped(self):
        # With this mixin a replica goes to the oldest request, not to the one it was chosen for.
        self.assertFalse(issubclass(weir.ray.WeirRequestRouter, FIFOMixin))

    def test_configured_by_path_and_file(self):
        router = RequestRouterConfig(
            request_router_class="weir.ray.WeirRequestRouter",
            request_router_kwargs={"config_file": str(self.files.file("pipeline.yaml", PIPELINE)),
                                   "seed": 3})
        handle = self.deploy("configured", 3, router)
        for prompt in texts(4):
            self.assertEqual(len(set(self.replicas_of(self.ask(handle, [prompt] * 4)))), 1)
        self.assertIn("prefix-cache-scorer", weir.ray.routers()["configured", "Model"].describe())
        self.assertNotIn("queue-scorer", weir.ray.routers()["configured", "Model"].describe())

    def test_a_configuration_that_is_refused_still_routes(self):
        router = RequestRouterConfig(request_router_class="weir.ray.WeirRequestRouter",
                                     request_router_kwargs={"config_file": "/no/such/file"})
        handle = self.deploy("refused", 2, router)
        self.assertEqual(len(self.ask(handle, texts(4), concurrency=2)), 4)
        self.assertNotIn(("refused", "Model"), weir.ray.routers())

    def test_handles_share_what_they_know(self):
        self.deploy("shared", 3)
        handles = [serve.get_deployment_handle("Model", "shared").options(stream=True)
                   for _ in range(2)]
        for prompt in texts(4):
            answers = [self.ask(handle, [prompt])[0] for handle in (*handles, *handles)]
            self.assertEqual(len(set(self.replicas_of(answers))), 1)
        stats = weir.ray.routers()["shared", "Model"].stats()
        self.assertGreaterEqual(stats["decisions"], 16)
        until(lambda: weir.ray.routers()["shared", "Model"].stats()["flights_ended"] >= 16,
              "the ends of all requests")

    def test_a_handle_inside_a_replica(self):
        router = weir.ray.request_router_config(text_extractor="weir.ray:prompt_of")
        app = Ingress.bind(model.Model.options(num_replicas=3, request_router_config=router)
                           .bind(prefill_s_per_token=1e-6))
        handle = serve.run(app, name="inside", route_prefix=None)
        self.addCleanup(serve.delete, "inside")
        for prompt in texts(4):
            answers = [handle.ask.remote(prompt, adapter).result() for adapter in ("", "", "a")]
            self.assertEqual(len(set(self.replicas_of(answers[:2]))), 1)
        self.assertGreaterEqual(handle.stats.remote().result()["decisions"], 12)
        # At once, and Serve gives all calls of one ingress request one internal id.
        prompts = texts(8, "together")
        answers = handle.ask_all.remote(prompts).result(timeout_s=fleet.WAIT_S)
        self.assertEqual(len(answers), 8)
        until(lambda: handle.stats.remote().result()["flights_ended"] >= 20, "the ends of all")

    def test_a_replica_dies_and_another_comes(self):
        handle = self.deploy("mortal", 2)
        prompt, = texts(1)
        home, = set(self.replicas_of(self.ask(handle, [prompt] * 3)))
        with self.assertRaises(ray.exceptions.ActorDiedError):
            self.call(handle, "crash", prompt)  # which finds its way as the prompt does
        until(lambda: home not in str(self.pool("mortal")), "the dead replica to leave")
        survivors = self.replicas_of(self.ask(handle, [prompt] * 3))
        self.assertEqual(len(set(survivors)), 1)
        until(lambda: len(self.pool("mortal")) == 2, "a new replica")
        self.assertEqual(len(set(self.replicas_of(self.ask(handle, texts(8, "new"), 8)))), 2)

    def test_a_new_replica_gets_its_share(self):
        handle = self.deploy("growing", 1)
        self.ask(handle, texts(3), concurrency=3)
        self.deploy("growing", 3)
        until(lambda: len(self.pool("growing")) == 3, "two new replicas")
        answers = self.ask(handle, texts(9, "later"), concurrency=3)
        self.assertEqual(len(set(self.replicas_of(answers))), 3)

    def test_full_replicas_are_passed_over_and_waited_for(self):
        deployment = model.Model.options(
            num_replicas=2, max_ongoing_requests=2,
            request_router_config=weir.ray.request_router_config(stats_period_s=0.2))
        handle = serve.run(deployment.bind(prefill_s_per_token=1e-4), name="full",
                           route_prefix=None).options(stream=True)
        self.addCleanup(serve.delete, "full")
        prompt, = texts(1)
        answers = self.ask(handle, [prompt] * 16, concurrency=16)
        self.assertEqual(len(answers), 16)
        self.assertEqual(len(set(self.replicas_of(answers))), 2)
        self.assertEqual(self.call(handle, "running_most"), 2)
        until(lambda: not any(row["in_flight"] for row in self.pool("full")), "all to end")

    def test_the_benchmark_runs(self):
        bench = fleet.run([sys.executable, fleet.ROOT / "tests/bench/ray_bench.py", "--requests",
                           "20", "--replicas", "2", "--prompt-tokens", "100"])
        self.assertEqual(bench.returncode, 0, bench.stderr)
        self.assertRegex(bench.stdout, r"\| 2 \| 100 \| \d+ \| \d+ \| -?\d+ \|")

    def test_routing_stats_reach_the_pool(self):
        handle = self.deploy("reporting", 2)
        self.ask(handle, texts(4), concurrency=2)
        self.assertTrue(until(lambda: all(row["kv_used_ratio"] > 0 for row in
                                          self.pool("reporting")), "reports of both replicas"))
        for row in self.pool("reporting"):
            self.assertEqual((row["kv_block_tokens"], row["running_requests"]), (64, 0))


if __name__ == "__main__":
    fleet.main()
