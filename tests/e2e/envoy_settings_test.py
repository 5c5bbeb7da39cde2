"""Settings of Envoy and of weir-epp that belong together: TLS, health checks, processing modes,
hints in metadata, fallbacks."""

import base64
import json
import signal

import envoy_fleet
import fleet
import wire
from envoy_fleet import FAIL_OPEN, IN_TURN, PICKED, WATCHFUL, Events, Upstream, replaced
from fleet import until

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
# The modes at the filter itself, as other configurations have them.
AT_THE_FILTER = ("processing_mode: {request_body_mode: NONE, response_body_mode: NONE}",
                 "processing_mode: {request_body_mode: FULL_DUPLEX_STREAMED, request_trailer_mode: "
                 "SEND, response_body_mode: FULL_DUPLEX_STREAMED, response_trailer_mode: SEND}")
SKIP = ["--skip-response-bodies"]
SENT = "http.clients.ext_proc.stream_msgs_sent"  # messages that Envoy sent to the picker
FILTERS = "          - name: envoy.filters.http.ext_proc\n"
# Turns a header of the test into the hint's metadata: as text, and as a protobuf list.
HINT = """          - name: envoy.filters.http.header_to_metadata
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config
              request_rules:
              - header: test-hint
                remove: true
                on_header_present:
                  metadata_namespace: envoy.lb.subset_hint
                  key: x-gateway-destination-endpoint-subset
              - header: test-hint-list
                remove: true
                on_header_present:
                  metadata_namespace: envoy.lb.subset_hint
                  key: x-gateway-destination-endpoint-subset
                  type: PROTOBUF_VALUE
                  encode: BASE64
"""
# Endpoints that Envoy knows; the picker's list is tried in order.
OVERRIDE_HOST = """    type: STATIC
    load_balancing_policy:
      policies:
      - typed_extension_config:
          name: envoy.load_balancing_policies.override_host
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost
            override_host_sources: [{header: x-gateway-destination-endpoint}]
            fallback_policy:
              policies:
              - typed_extension_config:
                  name: envoy.load_balancing_policies.round_robin
                  typed_config:
                    "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin
    load_assignment:
      cluster_name: picked
      endpoints:
      - lb_endpoints:
"""


def list_value(items):
    """A google.protobuf.Value with a list of strings, as bytes."""
    def field(number, data):
        assert len(data) < 128
        return bytes([number << 3 | 2, len(data)]) + data

    return field(6, b"".join(field(1, field(3, item.encode())) for item in items))


class SettingsTest(fleet.unittest.TestCase):
    def setUp(self):
        self.programs = fleet.Fleet()
        self.addCleanup(lambda: self.assertEqual(self.programs.stop(), []))
        self.servers = [Upstream() for _ in range(3)]
        for server in self.servers:
            self.addCleanup(server.close)

    def start(self, *flags, edits=(), keep_strip=False, **options):
        self.picker = envoy_fleet.start_picker(self.programs, self.servers, *flags, **options)
        self.envoy = envoy_fleet.start_envoy(self.programs, [self.picker], self.servers, edits,
                                             keep_strip)

    def served(self, headers=None):
        answer = self.envoy.fetch("POST", "/v1/chat/completions", BODY, headers)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.headers[PICKED]

    def test_tls_with_the_pickers_own_certificate(self):
        self.start(tls=True, edits=[WATCHFUL])
        self.assertEqual({self.served() for _ in range(3)}, {s.address for s in self.servers})
        until(lambda: self.envoy.stat("cluster.picker.health_check.success") > 2, "checks over TLS")
        self.assertGreater(self.envoy.stat("cluster.picker.ssl.handshake"), 0)
        large = wire.post(BODY[:-1] + b',"x":"' + b"y" * (1 << 20) + b'"}')
        self.assertEqual(wire.exchange(self.envoy.port, large).status, 200)

    def test_tls_with_a_given_certificate(self):
        folder = self.programs.folder / "certificates"
        folder.mkdir()
        cert, key = fleet.make_certificate(folder)
        cert.rename(folder / "tls.crt")
        key.rename(folder / "tls.key")
        self.start("--cert-path", folder, tls=True, edits=[
            ("{trust_chain_verification: ACCEPT_UNTRUSTED}",
             f"{{trusted_ca: {{filename: {folder / 'tls.crt'}}}}}")])
        self.served()

    def test_health_follows_the_picker(self):
        self.start("--drain-timeout", "20s", edits=[WATCHFUL])
        until(lambda: self.envoy.stat("cluster.picker.health_check.success") > 2, "checks")
        self.assertEqual(self.envoy.picker_health(), ["healthy"])
        self.picker.program.signal(signal.SIGTERM)
        until(lambda: self.envoy.picker_health() == ["unhealthy"], "the drain to show")
        self.served()  # Envoy has no other, and the picker still answers
        self.picker.program.signal(signal.SIGTERM)
        self.assertEqual(self.picker.program.wait(), 0)

    def messages_of_a_stream(self):
        """How many messages Envoy sends to the picker for an answer of ten events."""
        events = [b"data: {}\n\n"] * 9 + [b"data: [DONE]\n\n"]
        before = self.envoy.stat(SENT)
        for server in self.servers:
            stream = Events(server)
            for event in events:
                stream.send(event)
            stream.end()
        with wire.Client(self.envoy.port) as client:
            client.send(wire.post(BODY))
            self.assertEqual(client.answer().body, b"".join(events))
        self.picker.wait_idle()
        return self.envoy.stat(SENT) - before

    def test_answers_that_nobody_reads_stay_in_envoy(self):
        for flags, edits, fewest, most in (
                ([], [], 5, 16), ([], [AT_THE_FILTER], 5, 16),
                (SKIP, [AT_THE_FILTER], 5, 16),  # Envoy does not listen
                (SKIP, [], 4, 4)):  # headers, body, its end, response headers
            with self.subTest(flags=flags, edits=edits):
                self.start(*flags, edits=edits)
                count = self.messages_of_a_stream()
                self.assertTrue(fewest <= count <= most, count)

    def test_the_example_strips_before_it_routes(self):
        trap = Upstream()
        self.addCleanup(trap.close)
        self.start(keep_strip=True, edits=[WATCHFUL, *FAIL_OPEN])
        self.picker.program.kill()
        until(lambda: self.envoy.picker_health() == ["unhealthy"], "Envoy to know")
        self.assertIn(self.served({"x-gateway-destination-endpoint": trap.address}),
                      [s.address for s in self.servers])
        self.assertEqual(trap.connections, 0)

    def test_hints_in_metadata(self):
        self.start(edits=[(FILTERS, HINT + FILTERS)])
        first, second, third = self.servers
        for headers, allowed in (
                ({"test-hint": first.address}, [first]),
                ({"test-hint": f"{first.address},{third.address}"}, [first, third]),
                ({"test-hint-list": [second.address]}, [second]),
                ({"test-hint-list": [second.address, third.address]}, [second, third]),
                ({"test-hint-list": ["127.0.0.1"]}, self.servers),
                ({}, self.servers)):
            with self.subTest(headers=headers):
                headers = {name: base64.b64encode(list_value(value)).decode()
                           if isinstance(value, list) else value
                           for name, value in headers.items()}
                self.assertEqual({self.served(headers) for _ in range(4)},
                                 {s.address for s in allowed})
        with self.subTest("none of the pool"):
            answer = self.envoy.chat(headers={"test-hint": "10.1.2.3:80"})
            self.assertEqual(answer.status, 503)
            self.assertEqual(answer.headers["x-llm-d-request-dropped-reason"],
                             "rejected-no-endpoints")

    def test_fallbacks_are_tried_in_order(self):
        hosts = "".join(envoy_fleet.host_line(s.port) for s in self.servers)
        policy = ("retry_policy: {retry_on: 'connect-failure,reset', num_retries: 3}")
        three = replaced(IN_TURN, [("- type: round-robin-picker\n", "- type: round-robin-picker\n"
                                    "  parameters: {maxNumOfEndpoints: 3}\n")])
        self.start(pipeline=three, edits=[
            ("    type: ORIGINAL_DST\n    lb_policy: CLUSTER_PROVIDED\n", OVERRIDE_HOST + hosts),
            ("    original_dst_lb_config: {use_http_header: true, http_header_name: "
             "x-gateway-destination-endpoint}\n", ""),
            ("cluster: picked, timeout", f"cluster: picked, {policy}, timeout")])
        self.assertEqual({self.served() for _ in range(3)}, {s.address for s in self.servers})
        self.servers[0].close()
        self.servers[2].close()
        self.assertEqual({self.served() for _ in range(3)}, {self.servers[1].address})


if __name__ == "__main__":
    envoy_fleet.need_envoy()
    fleet.main()
