"""weir.litellm: LiteLLM's router before simulated servers, with weir choosing."""

import asyncio
import contextlib
import gc
import json
import os
import sys

import fleet

fleet.use_hosts()
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # not from the network
sys.path.insert(1, str(fleet.ROOT / "examples/litellm"))
sys.path.insert(1, str(fleet.ROOT / "tests/docs"))

import demo  # noqa: E402
import docs_check  # noqa: E402
import litellm  # noqa: E402
from fleet import MODEL, until  # noqa: E402

LONG = "A rule that all of them share. " * 100


class LiteLlmTest(fleet.FleetTest):
    @classmethod
    def start(cls, programs):
        cls.servers = programs.sim(3)

    def make(self, servers=None, **options):
        urls = [server.url for server in servers or self.servers]
        router, strategy = demo.make_router(urls, MODEL, **options)
        self.addCleanup(litellm.logging_callback_manager._reset_all_callbacks)
        self.addCleanup(router.discard)
        return router, strategy

    @staticmethod
    def ask(router, text, **options):
        return router.acompletion(model=MODEL, max_tokens=4, **options,
                                  messages=[{"role": "user", "content": text}])

    @staticmethod
    def in_flight(strategy):
        return sum(row["in_flight"] for row in strategy.router.pool.rows())

    @staticmethod
    async def ends(strategy):
        """Waits until LiteLLM has reported all ends."""
        for _ in range(1000):
            stats = strategy.router.stats()
            if stats["flights_begun"] == stats["flights_ended"]:
                return stats["flights_ended"]
            await asyncio.sleep(0.01)
        raise AssertionError(stats)

    def test_the_example(self):
        argv = [sys.executable, fleet.ROOT / "examples/litellm/demo.py", "--json"]
        done = fleet.run([*argv, *sum((["--server", one.url] for one in self.servers), [])])
        self.assertEqual(done.returncode, 0, done.stderr)
        told = json.loads(done.stdout)
        self.assertEqual(told["failures"], 0)
        self.assertEqual((told["begun"], told["ended"]), (24, 24))
        for turns in told["conversations"]:
            self.assertEqual(len({turn["server"] for turn in turns}), 1)
            self.assertTrue(all(turn["cached_tokens"] > turn["prompt_tokens"] / 2
                                for turn in turns[1:]), turns)
        self.assertEqual(len({turns[0]["server"] for turns in told["conversations"]}), 3)

    def test_the_page(self):
        (_, body), = docs_check.python_blocks(fleet.ROOT, "tests/e2e/litellm_test.py")
        with contextlib.chdir(fleet.ROOT / "examples/litellm"):
            names = {}
            exec(body.replace("10.0.0.1:8000", f"127.0.0.1:{self.servers[0].port}")
                 .replace("openai/m", f"openai/{MODEL}"), names)
        self.addCleanup(litellm.logging_callback_manager._reset_all_callbacks)
        names["host"].completion(model="m", messages=[{"role": "user", "content": "hi"}])
        until(lambda: names["strategy"].router.stats()["flights_ended"] == 1, "the request to end")
        self.assertEqual(list(names["strategy"].router.pool), ["a"])

    def test_a_stream_ends_with_its_last_piece(self):
        router, strategy = self.make()

        async def talk():
            stream = await self.ask(router, LONG, stream=True)
            self.assertEqual(self.in_flight(strategy), 1)
            pieces = [piece async for piece in stream]
            self.assertEqual(await self.ends(strategy), 1)
            return pieces

        self.assertGreater(len(asyncio.run(talk())), 1)

    def test_a_server_that_fails_is_retried_elsewhere_and_cools_down(self):
        with fleet.Fleet() as programs:
            broken, = programs.sim(1)
            router, strategy = self.make([*self.servers[:1], broken], num_retries=3,
                                         cooldown_time=60, allowed_fails=0)
            broken.program.kill()

            async def talk():
                answers = [await self.ask(router, f"{i} {LONG}") for i in range(8)]
                await self.ends(strategy)
                return {answer._hidden_params["model_id"] for answer in answers}

            self.assertEqual(asyncio.run(talk()), {self.servers[0].url})
            # It failed, and then it was left alone, although it had nothing to do.
            self.assertLess(strategy.router.stats()["flights_begun"], 12)
            self.assertEqual(strategy.failures, 0)

    def test_blocking_calls(self):
        router, strategy = self.make()
        answers = [router.completion(model=MODEL, max_tokens=4, messages=[
            {"role": "user", "content": LONG}]) for _ in range(3)]
        self.assertEqual(len({answer._hidden_params["model_id"] for answer in answers}), 1)
        until(lambda: strategy.router.stats()["flights_ended"] == 3, "the ends of all requests")

    def test_other_interfaces(self):
        router, strategy = self.make()

        async def talk():
            await router.atext_completion(model=MODEL, prompt=LONG, max_tokens=4)
            await router.aembedding(model=MODEL, input=["one text", "another"])
            return await self.ends(strategy)

        self.assertEqual(asyncio.run(talk()), 2)
        self.assertEqual(strategy.failures, 0)

    def test_deployments_come_and_go(self):
        router, strategy = self.make(self.servers[:1])
        self.assertEqual(len(strategy.router.pool), 0)  # until the first request

        async def talk():
            await self.ask(router, LONG)
            router.upsert_deployment(litellm.Deployment(
                model_name=MODEL, model_info={"id": self.servers[1].url},
                litellm_params={"model": f"openai/{MODEL}", "api_key": "none",
                                "api_base": f"{self.servers[1].url}/v1"}))
            answers = await asyncio.gather(*(self.ask(router, f"{i} {LONG}") for i in range(6)))
            self.assertEqual(len({a._hidden_params["model_id"] for a in answers}), 2)
            router.delete_deployment(self.servers[0].url)
            answer = await self.ask(router, LONG)
            self.assertEqual(answer._hidden_params["model_id"], self.servers[1].url)

        asyncio.run(talk())
        self.assertEqual(list(strategy.router.pool), [self.servers[1].url])

    def test_what_weir_cannot_decide_goes_round_robin(self):
        router, strategy = self.make()
        strategy.router.close()

        async def talk():
            return [await self.ask(router, LONG) for _ in range(6)]

        with self.assertLogs("weir.litellm", "ERROR") as logged:
            answers = asyncio.run(talk())
        self.assertEqual(len({answer._hidden_params["model_id"] for answer in answers}), 3)
        self.assertEqual(strategy.failures, 6)
        self.assertEqual(len(logged.output), 1)

    def test_a_call_that_is_cancelled_ends(self):
        with fleet.Fleet() as programs:
            slow, = programs.sim(1, "--time-to-first-token", "60s")
            router, strategy = self.make([slow])

            async def with_timeout():
                async with asyncio.timeout(0.2):
                    await self.ask(router, LONG)

            async def cancelled():
                task = asyncio.create_task(self.ask(router, LONG, stream=True))
                while not self.in_flight(strategy):
                    await asyncio.sleep(0.01)
                task.cancel()
                await task

            async def talk():
                for count, call in enumerate((asyncio.wait_for(self.ask(router, LONG), 0.2),
                                              with_timeout(), cancelled()), 1):
                    with self.assertRaises((TimeoutError, asyncio.CancelledError)):
                        await call
                    self.assertEqual(await self.ends(strategy), count)

            asyncio.run(talk())

    def test_a_stream_that_is_abandoned_ends(self):
        router, strategy = self.make()

        async def talk():
            for count in range(1, 4):
                stream = await self.ask(router, LONG, stream=True)
                self.assertEqual(self.in_flight(strategy), 1)
                await anext(stream)
                del stream
                gc.collect()
                self.assertEqual(await self.ends(strategy), count)

        asyncio.run(talk())


if __name__ == "__main__":
    fleet.main()
