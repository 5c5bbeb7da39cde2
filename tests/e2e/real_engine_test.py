"""Three real llama.cpp servers behind weir-gateway: answers pass unchanged, and prefix-aware
routing makes the engines find more in their caches and answer sooner."""

import json
import re
import sys

import fleet

fleet.use_packages()

sys.path.insert(0, str(fleet.ROOT / "examples/real_engine"))

import demo  # noqa: E402, from the example
import wire  # noqa: E402

QUESTIONS = ["Name three colours.", "What is a cache?", "Count to five in French, please."]


def stream(port, question):
    """The events of an answer, without what differs between two equal ones."""
    # Without the engine's cache equal prompts take equal steps, so equal answers.
    body = {"model": "smollm2", "stream": True, "stream_options": {"include_usage": True},
            "temperature": 0, "seed": 1, "max_tokens": 24, "cache_prompt": False,
            "messages": [{"role": "user", "content": question}]}
    answer = wire.exchange(port, wire.post(json.dumps(body).encode()))
    assert answer.status == 200 and answer.complete, answer.body
    events = answer.body.decode()
    events = re.sub(r'"id":"[^"]*"', '"id":""', events)
    events = re.sub(r'"created":\d+', '"created":0', events)
    return re.sub(r',"timings":\{[^}]*\}', "", events)


def port_of(url):
    return int(url.rsplit(":", 1)[1])


class RealEngineTest(fleet.unittest.TestCase):
    def setUp(self):
        self.files = fleet.Fleet()  # for its folder
        self.addCleanup(self.files.stop)

    def test_streamed_answers_arrive_unchanged(self):
        with demo.Programs(self.files.folder) as programs:
            engines = demo.start_engines(programs, "same")
            gateway = demo.start_gateway(programs, "same", fleet.BIN, engines,
                                         demo.HERE / "round-robin.yaml")
            for question in QUESTIONS:  # round robin: each from another engine
                direct = stream(port_of(engines[0]), question)
                self.assertGreater(direct.count("data: "), 10)
                self.assertTrue(direct.endswith("data: [DONE]\n\n"))
                self.assertEqual(stream(port_of(gateway), question), direct)

            def metric(name, **labels):
                page = fleet.fetch(port_of(gateway), "GET", "/metrics").body.decode()
                return fleet.Metrics(page).value(name, **labels)

            # A request is counted after its last byte is on its way.
            fleet.until(lambda: metric("weir_gateway_requests_total", outcome="complete") == 3,
                        "three requests to be counted")
            self.assertGreater(metric("weir_gateway_tokens_total", kind="output"), 30)

    def test_prefix_aware_routing_gains(self):
        results = {}
        for policy, pipeline in demo.POLICIES:
            results[policy] = json.loads(demo.measure(
                self.files.folder, fleet.BIN, policy, demo.HERE / pipeline, True).read_text())
        plain, aware = results["round robin"], results["prefix aware"]
        for result in (plain, aware):
            self.assertEqual((result["requests"], result["errors"]), (24, 0))
            self.assertEqual(sum(s["requests"] for s in result["servers"]), 24)
        print(f"cached tokens {plain['cached_tokens']} -> {aware['cached_tokens']}, TTFT p50 "
              f"{plain['ttft_ms']['p50']:.0f} -> {aware['ttft_ms']['p50']:.0f} ms")
        # How much more depends on how fast the engines are: a slow one sees more requests at once.
        self.assertGreater(aware["cached_tokens"], 1.5 * plain["cached_tokens"])
        self.assertLess(aware["ttft_ms"]["p50"], plain["ttft_ms"]["p50"])


if __name__ == "__main__":
    fleet.main()
