"""weir-load against weir-gateway and four simulated servers: prefix-aware routing beats round
robin in cache hits and in time to first token."""

import json

import fleet
from fleet import BIN, MODEL, until

SERVERS = 4
CONVERSATIONS, TURNS = 48, 4
ROUND_ROBIN = """apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: round-robin-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: round-robin-picker
"""


class LoadGatewayTest(fleet.unittest.TestCase):
    def setUp(self):
        self.programs = fleet.Fleet()
        self.addCleanup(lambda: self.assertEqual(self.programs.stop(), []))

    def measure(self, name, *gateway_flags):
        """weir-load's result, and what the servers themselves counted."""
        # Caches that hold some of the conversations, not all: placement matters.
        servers = self.programs.sim(SERVERS, "--hardware", "l40s", "--num-gpu-blocks-override", 4000,
                                    "--seed", 1)
        gateway = self.programs.gateway(servers, *gateway_flags)
        if not gateway_flags:
            gateway.wait_scraped(SERVERS)
        result = self.programs.folder / f"{name}.json"
        done = fleet.run([
            BIN / "weir-load", "run", "--target", gateway.url, "--name", name, "--json", result,
            "--quiet", "--model", MODEL, "--seed", 5, "--conversations", CONVERSATIONS,
            "--groups", 12, "--system-tokens", 4000, "--turns", TURNS, "--input-tokens", 100,
            "--output-tokens", 8, "--ignore-eos", "--concurrency", 8, "--active", 24])
        self.assertEqual(done.returncode, 0, done.stderr)
        summary = json.loads(result.read_text())
        self.check_counts(summary, servers, gateway)
        return result, summary

    def check_counts(self, summary, servers, gateway):
        """The client's, the gateway's and the servers' figures are the same."""
        count = CONVERSATIONS * TURNS
        self.assertEqual((summary["requests"], summary["errors"]), (count, 0))
        by_server = {s["name"]: s["requests"] for s in summary["servers"]}
        self.assertEqual(sum(by_server.values()), count)
        for server in servers:
            self.assertEqual(server.metric("vllm:request_success_total"),
                             by_server.get(server.name, 0), server.name)
        # A request is counted after its last byte is on its way.
        until(lambda: gateway.metric("weir_gateway_requests_total", outcome="complete") == count,
              f"{count} requests to be counted")
        metrics = gateway.metrics()
        for kind in ("prompt", "cached", "output"):
            self.assertEqual(metrics.value("weir_gateway_tokens_total", kind=kind),
                             summary[f"{kind}_tokens"], kind)
        self.assertEqual(metrics.value("weir_decision_seconds_count"), count)

    def test_prefix_aware_beats_round_robin(self):
        plain_file, plain = self.measure(
            "round robin", "--config", self.programs.file("round-robin.yaml", ROUND_ROBIN))
        aware_file, aware = self.measure("prefix aware")
        print(f"prefix hits {plain['prefix_hit_ratio']:.3f} -> {aware['prefix_hit_ratio']:.3f}, "
              f"TTFT p50 {plain['ttft_ms']['p50']:.1f} -> {aware['ttft_ms']['p50']:.1f} ms")
        self.assertGreater(aware["prefix_hit_ratio"], plain["prefix_hit_ratio"] + 0.05)
        self.assertLess(aware["ttft_ms"]["p50"], plain["ttft_ms"]["p50"])
        self.assertLessEqual(
            max(s["requests"] for s in plain["servers"])
            - min(s["requests"] for s in plain["servers"]), 2)

        report = self.programs.folder / "report.json"
        done = fleet.run([BIN / "weir-load", "compare", plain_file, aware_file, "--json", report])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("prefix aware", done.stdout)
        policies = json.loads(report.read_text())["policies"]
        self.assertEqual([p["name"] for p in policies], ["round robin", "prefix aware"])
        for policy, summary in zip(policies, (plain, aware)):
            self.assertEqual(set(policy), {"name", "requests", "errors", "ttft_ms",
                                           "output_tokens_per_s", "prefix_hit_ratio",
                                           "requests_per_server"})
            self.assertEqual(sum(policy["requests_per_server"]), summary["requests"])


if __name__ == "__main__":
    fleet.main()
