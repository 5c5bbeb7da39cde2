"""The cases of tests/golden/ext_proc over a real channel: grpcio as the proxy, weir-epp as a process,
endpoints with metric pages. What only a program can see from inside (events, bytes held) is checked
by the unit test of the same cases."""

import json
import re

import envoy_fleet
import fleet

fleet.use_packages()

import ext_proc_client
import grpc
from envoy_fleet import Upstream
from fleet import ROOT, until

CASES = ROOT / "tests/golden/ext_proc"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
FLAGS = {"emit_scores": "--emit-endpoint-scores", "echo_headers": "--echo-headers",
         "ignore_subset": "--disable-endpoint-subset-filter", "mark_responses": "--mark-responses",
         "skip_response_bodies": "--skip-response-bodies",
         "buffer_responses": "--buffer-responses",
         "empty_pool_internal_error": "--empty-pool-internal-error"}
SCORERS = ("queue-scorer", "kv-cache-utilization-scorer", "prefix-cache-scorer",
           "lora-affinity-scorer")
# Besides the scorers: (plugins, what the profile refers to, parsers).
PIPELINES = {
    "scorers": ([], [], []),
    "passthrough": (["{type: passthrough-parser}"], [], ["passthrough-parser"]),
    "openai_only": (["{type: openai-parser}"], [], ["openai-parser"]),
    "vllmgrpc": (["{type: vllmgrpc-parser}"], [], ["vllmgrpc-parser"]),
    "fallbacks": (["{type: max-score-picker, parameters: {maxNumOfEndpoints: 3}}"],
                  ["max-score-picker"], []),
    "drained": (["{type: by-label, parameters: {label: zone, validValues: [none]}}"],
                ["by-label"], []),
    "conformance": (["{type: header-based-testing-filter}", "{type: destination-endpoint-served-verifier}"],
                    ["header-based-testing-filter"], []),
}
RESOURCES = """resources:
  objectives:
  - {name: my-model, priority: 2}
  - {name: sql-lora, priority: 2}
  - {name: sql-lora-sheddable}
  - {name: direct-model, priority: 2}
  - {name: inference-objective-with-priority-4, priority: 4}
  modelRewrites:
  - name: rewrite-test
    rules:
    - matches: [{model: {value: model-to-be-rewritten}}]
      targets: [{modelRewrite: rewritten-model}]
"""


def pipeline_of(name):
    plugins, refs, parsers = PIPELINES[name]
    lines = ["apiVersion: llm-d.ai/v1alpha1", "kind: EndpointPickerConfig", "plugins:",
             "- type: file-discovery", "  parameters: {path: endpoints.yaml}",
             *(f"- type: {name}" for name in SCORERS), *(f"- {plugin}" for plugin in plugins),
             "schedulingProfiles:", "- name: default", "  plugins:",
             *(f"  - pluginRef: {ref}" for ref in [*SCORERS, *refs]),
             "dataLayer:", "  discovery: {pluginRef: file-discovery}"]
    if parsers:
        lines += ["requestHandler:", f"  parsers: [{{pluginRef: {parsers[0]}}}]"]
    return "\n".join(lines) + "\n" + RESOURCES


def metrics_page(endpoint):
    page = (f"vllm:num_requests_waiting {endpoint.get('waiting', 0)}\n"
            "vllm:num_requests_running 0\n"
            f"vllm:kv_cache_usage_perc {endpoint.get('kv', 0)}\n")
    if "adapters" in endpoint:  # as many as there is room for
        page += (f'vllm:lora_requests_info{{max_lora="{len(endpoint["adapters"])}",'
                 f'running_lora_adapters="{", ".join(endpoint["adapters"])}",'
                 'waiting_lora_adapters=""} 1.0\n')
    return page.encode()


def normal(value):
    """Numbers to four places, lists of headers in order of their names."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, list):
        return [normal(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: sorted(normal(one)) if name in ("set", "remove") else normal(one)
            for name, one in value.items()}


def align(expected, actual):
    """Puts what `expected` leaves open into the form in which it says so."""
    for name, part in actual.items():
        wanted = expected.get(name)
        if not isinstance(wanted, dict) or not isinstance(part, dict):
            continue
        if "streamed_bytes" in wanted and "streamed" in part:
            part["streamed_bytes"] = len(part.pop("streamed").encode())
        text = wanted.get("body", "")
        if text.startswith("<prefix>"):
            part["body"] = "<prefix>" + part.get("body", "")[:len(text) - len("<prefix>")]
        for header in part.get("set", []):
            if header[0] == "x-request-id" and UUID.fullmatch(header[1]):
                header[1] = "<uuid>"
    return actual


class GoldenTest(fleet.unittest.TestCase):
    def run_group(self, pipeline, options, endpoints, cases):
        """Cases that one process can answer."""
        flags = [FLAGS[name] for name, on in options.items() if on]
        with fleet.Fleet() as programs:
            pages = []
            for endpoint in endpoints:
                server = Upstream()
                server.page = metrics_page(endpoint)
                pages.append(server)
            picker = envoy_fleet.start_picker(
                programs, [{"address": e["address"].rpartition(":")[0],
                            "port": int(e["address"].rpartition(":")[2]),
                            "metricsAddress": "127.0.0.1", "metricsPort": s.port}
                           for e, s in zip(endpoints, pages)],
                *flags, pipeline=pipeline_of(pipeline))
            picker.wait_endpoints(len(endpoints))
            with ext_proc_client.Client(picker.port) as client:
                for case in cases:
                    with self.subTest(case["name"], source=case["source"]):
                        self.converse(case, client.open(), picker)
            picker.wait_idle()
            for server in pages:
                server.close()

    def converse(self, case, stream, picker):
        for step in case["steps"]:
            if "send" in step:
                stream.send(step["send"])
            elif "expect" in step:
                self.assertEqual(normal(align(step["expect"], stream.answer())),
                                 normal(step["expect"]), step)
            elif "end" in step:
                self.check_end(stream, step["end"])
            elif "half_close" in step:
                stream.half_close()
            elif "cancel" in step:
                stream.cancel()
                break
            elif "in_flight" in step:
                wanted = sum(step["in_flight"].values())
                until(lambda w=wanted: picker.metric("request_running") == w, f"{wanted} running")
            else:
                self.fail(f"no step is {step}")
        stream.cancel()
        picker.wait_idle()

    def check_end(self, stream, wanted):
        try:
            self.assertIsNone(stream.answer())
        except grpc.RpcError:
            pass
        code, text = stream.end()
        self.assertEqual((code.lower(), text), (wanted["code"], wanted.get("text", "")))

    def test_cases(self):
        groups, count = {}, 0
        for file in sorted(CASES.glob("*.json")):
            for case in json.loads(file.read_text())["cases"]:
                options = case.get("options", {})
                if set(options) - set(FLAGS):
                    continue  # a limit below what flags can say
                key = json.dumps([case.get("pipeline", "scorers"), options, case["endpoints"]])
                groups.setdefault(key, []).append(case)
                count += 1
        print(f"{count} cases in {len(groups)} processes", flush=True)
        self.assertGreater(count, 100)
        for key, cases in groups.items():
            self.run_group(*json.loads(key), cases)


if __name__ == "__main__":
    fleet.main()
