"""weir-epp as a process: its ports, TLS, health, pages, flags, drain, and what kill -9 leaves."""

import signal
import socket
import ssl
import unittest

import envoy_fleet
import fleet

fleet.use_packages()

import decision_log_reader
import ext_proc_client
import grpc
from envoy_fleet import Upstream
from fleet import BIN, fetch, until

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
EXT_PROC = "envoy.service.ext_proc.v3.ExternalProcessor"
REQUEST = [{"request_headers": {"headers": [[":path", "/v1/completions"], [":method", "POST"]]}},
           {"request_body": {"body": '{"model": "m", "prompt": "hi"}', "end_of_stream": True}}]
DESTINATION = "x-gateway-destination-endpoint"
COMPLETED, CLIENT_GONE, FAILED = 0, 1, 2  # outcomes in a decision log


class ProcessTest(unittest.TestCase):
    def setUp(self):
        self.programs = fleet.Fleet()
        self.addCleanup(lambda: self.assertEqual(self.programs.stop(), []))
        self.servers = [Upstream(), Upstream()]
        for server in self.servers:
            self.addCleanup(server.close)

    def start(self, *flags, **options):
        self.picker = envoy_fleet.start_picker(self.programs, self.servers, *flags, **options)
        return self.picker

    def client(self, certificate=None, port=None):
        client = ext_proc_client.Client(port or self.picker.port, certificate)
        self.addCleanup(client.channel.close)
        return client

    def route(self, client):
        """Sends a request; returns its open stream."""
        stream = client.open()
        stream.send(*REQUEST)
        head = stream.answer()
        value = dict(head["request_headers"]["set"])[DESTINATION]
        self.assertIn(value, [server.address for server in self.servers])
        self.assertTrue(stream.answer()["request_body"]["end_of_stream"])
        return stream

    def route_whole(self, client):
        stream = self.route(client)
        stream.send({"response_headers": {"headers": [[":status", "200"]]}})
        self.assertIn("response_headers", stream.answer())
        stream.half_close()
        self.assertIsNone(stream.answer())

    def run_epp(self, *flags):
        return fleet.run([BIN / "weir-epp", *flags], timeout=60)

    def certificates(self, name):
        """A directory as --cert-path wants it."""
        folder = self.programs.folder / name
        folder.mkdir()
        cert, key = fleet.make_certificate(folder)
        cert.rename(folder / "tls.crt")
        key.rename(folder / "tls.key")
        return folder

    def shown_certificate(self, port):
        return ssl.get_server_certificate(("127.0.0.1", port))

    def test_plaintext(self):
        self.start()
        self.route_whole(self.client())
        self.picker.wait_idle()
        self.assertEqual(self.picker.metric("request_total", model_name="m"), 1)

    def test_tls_by_default(self):
        self.start(tls=True)
        certificate = self.shown_certificate(self.picker.port).encode()
        self.route_whole(self.client(certificate))
        # Plaintext is refused, and nothing breaks.
        with socket.create_connection(("127.0.0.1", self.picker.port), 10) as plain:
            plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            until(lambda: envoy_fleet.gone(plain), "the connection to end")
        self.route_whole(self.client(certificate))

    def test_tls_versions(self):
        self.start("--tls-min-version=VersionTLS13", tls=True)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        with socket.create_connection(("127.0.0.1", self.picker.port), 10) as sock:
            with context.wrap_socket(sock) as tls:
                self.assertEqual((tls.version(), tls.selected_alpn_protocol()), ("TLSv1.3", "h2"))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(("127.0.0.1", self.picker.port), 10) as sock:
            with self.assertRaises(ssl.SSLError):
                context.wrap_socket(sock)

    def test_certificates_are_read_again(self):
        folder, other = self.certificates("first"), self.certificates("second")
        self.start("--cert-path", folder, "--enable-cert-reload", tls=True)
        self.assertEqual(self.shown_certificate(self.picker.port), (folder / "tls.crt").read_text())
        old = self.client((folder / "tls.crt").read_bytes())
        stream = self.route(old)
        for name in ("tls.key", "tls.crt"):
            (other / name).rename(folder / name)
        new = (folder / "tls.crt").read_text()
        until(lambda: self.shown_certificate(self.picker.port) == new, "the new certificate")
        self.route_whole(self.client(new.encode()))
        # A connection of before goes on.
        stream.half_close()
        self.assertIsNone(stream.answer())
        self.route_whole(old)

    def test_health(self):
        self.start()
        for port in (self.picker.health_port, self.picker.port):
            client = self.client(port=port)
            for service in ("", EXT_PROC, "readiness", "liveness", "inference-extension"):
                with self.subTest(port=port, service=service):
                    self.assertEqual(client.health(service), SERVING)

    def test_health_with_leader_election(self):
        self.start("--ha-enable-leader-election")
        client = self.client(port=self.picker.health_port)
        self.assertEqual(client.health("readiness"), SERVING)
        self.assertEqual(client.health("liveness"), SERVING)
        self.assertEqual(client.health("inference-extension"), SERVICE_UNKNOWN)
        self.assertIn("--ha-enable-leader-election has no effect", self.picker.program.log())

    def test_drain(self):
        self.start("--drain-timeout", "3s", "--stream-end-timeout=20s")
        health = self.client(port=self.picker.health_port)
        client = self.client()
        stream = self.route(client)
        self.picker.program.signal(signal.SIGTERM)
        until(lambda: health.health("readiness") == NOT_SERVING, "not to be ready")
        self.assertEqual(health.health("liveness"), SERVING)
        self.assertEqual(fetch(self.picker.metrics_port, "GET", "/readyz").status, 503)
        # Not ready, and still serving, also on new connections.
        self.route_whole(self.client())
        # Then new streams are not taken any more, and the old one ends in peace.
        def refused():
            try:
                self.route_whole(client)
                return False
            except grpc.RpcError:
                return True
        until(refused, "the end of the time to drain")
        self.assertIsNone(self.picker.program.process.poll())
        stream.send({"response_headers": {"headers": [[":status", "200"]]}})
        self.assertIn("response_headers", stream.answer())
        stream.half_close()
        self.assertIsNone(stream.answer())
        self.assertEqual(self.picker.program.wait(), 0)

    def test_a_second_signal_ends_at_once(self):
        self.start("--drain-timeout", "1h")
        stream = self.route(self.client())
        self.picker.program.signal(signal.SIGTERM)
        self.picker.program.wait_for_line("draining")
        self.assertIsNone(self.picker.program.process.poll())
        self.picker.program.signal(signal.SIGTERM)
        self.assertEqual(self.picker.program.wait(), 0)
        with self.assertRaises(grpc.RpcError):
            stream.answer()

    def test_killed_and_started_again(self):
        self.start()
        stream = self.route(self.client())
        self.picker.program.kill()
        with self.assertRaises(grpc.RpcError):
            stream.answer()
        self.picker.start()
        self.route_whole(self.client())
        self.picker.wait_idle()

    def test_pages(self):
        self.start()
        port = self.picker.metrics_port
        self.route_whole(self.client())
        self.picker.wait_idle()
        page = fetch(port, "GET", "/metrics")
        self.assertTrue(page.headers["content-type"].startswith("text/plain; version=0.0.4"))
        metrics = fleet.Metrics(page.body.decode())
        for name in ("llm_d_epp_request_total", "inference_objective_request_total",
                     "llm_d_epp_scheduler_e2e_duration_seconds_count", "llm_d_epp_info",
                     "llm_d_epp_request_size_bytes_count", "weir_epp_connections"):
            self.assertEqual(metrics.value(name), 1, name)
        self.assertEqual(metrics.value("weir_endpoints"), 2)
        self.assertEqual(fetch(port, "GET", "/debug/decisions?format=json").json()[0]["model"], "m")
        state = fetch(port, "GET", "/debug/plugins/state").json()
        self.assertEqual(state["plugins"]["file-discovery"]["state"]["endpoints"],
                         ["default/server-0", "default/server-1"])
        refused = fetch(port, "POST", "/debug/plugins/state")
        self.assertEqual((refused.status, refused.headers["allow"]), (405, "GET"))
        self.assertEqual(fetch(port, "GET", "/healthz").status, 200)
        self.assertEqual(fetch(port, "GET", "/debug/pprof/").status, 404)

    def test_the_pages_may_have_tls_and_ask_for_certificates(self):
        server, client = self.certificates("server"), self.certificates("client")
        self.programs.file("endpoints.yaml", "endpoints:\n- {name: a, address: h, port: 1}\n")
        ports = envoy_fleet.free_ports(3)
        flags = ["--bind-address", "127.0.0.1", "--endpoint", "127.0.0.1:1", "--no-scrape",
                 "--grpc-port", ports[0], "--grpc-health-port", ports[1],
                 "--metrics-port", ports[2], "--metrics-cert-dir", server,
                 "--metrics-client-ca-file", client / "tls.crt"]
        program = self.programs.start("weir-epp", [BIN / "weir-epp", *flags])
        program.wait_for_line(r"metrics on https://127\.0\.0\.1:\d+")
        context = fleet.client_tls(server / "tls.crt")
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            fetch(ports[2], "GET", "/healthz", tls=context)
        context.load_cert_chain(client / "tls.crt", client / "tls.key")
        self.assertEqual(fetch(ports[2], "GET", "/healthz", tls=context).status, 200)
        program.signal(signal.SIGTERM)
        program.signal(signal.SIGTERM)

    def test_flags_without_effect_say_so(self):
        self.start("--tracing", "--pool-namespace=n", "--zap-encoder=console")
        log = self.picker.program.log()
        for name in ("--tracing", "--pool-namespace"):
            self.assertEqual(log.count(f"{name} has no effect in this version"), 1, log)

    def test_recorded_decisions(self):
        log = self.programs.folder / "decisions.log"
        picker = self.start("--secure-serving=false", "--record", str(log))
        with self.client() as client:
            for _ in range(3):
                stream = self.route(client)
                stream.send({"response_headers": {"headers": [[":status", "200"]], "end_of_stream": True}})
                self.assertIn("response_headers", stream.answer())
                stream.half_close()
                self.assertIsNone(stream.answer())
            self.route_whole(client)  # the response has no end
            self.route(client).cancel()
            picker.wait_idle()
        picker.program.signal(signal.SIGTERM)
        picker.program.signal(signal.SIGTERM)
        self.assertEqual(picker.program.wait(), 0)
        found = list(decision_log_reader.records(log.read_bytes()))
        kinds = [kind for kind, _ in found]
        self.assertEqual((kinds[0], kinds[-1]), (decision_log_reader.HEADER, decision_log_reader.LOG_END))
        self.assertIn("kind: EndpointPickerConfig", decision_log_reader.header(found[0][1])[2])
        self.assertEqual(kinds.count(decision_log_reader.DECISION), 5)
        self.assertEqual(kinds.count(decision_log_reader.BEGIN), 5)
        ends = [decision_log_reader.outcome(body)[0] for kind, body in found
                if kind == decision_log_reader.END]
        self.assertEqual(sorted(ends), [COMPLETED, COMPLETED, COMPLETED, CLIENT_GONE, FAILED])
        self.assertEqual(decision_log_reader.log_end(found[-1][1]), (0, 5, 0))

    def test_what_cannot_be(self):
        config = self.programs.file("bad.yaml", "kind: Nothing\n")
        for name, flags, says in (
                ("no endpoints", [], "either pool-name or endpoint-selector must be set"),
                ("endpoints of Kubernetes", ["--pool-name=p"], "Kubernetes"),
                ("no such flag", ["--no-such"], "--no-such"),
                ("no such file", ["--config-file=/nonexistent.yaml"], "/nonexistent.yaml"),
                ("a bad file", ["--config-file", config], "bad.yaml"),
                ("both", ["--config-file=a", "--config-text=b"], "cannot be set at the same time"),
                ("a refused flag", ["--lora-info-metric=x"], "is deprecated and cannot be used"),
                ("no certificate", ["--endpoint=127.0.0.1:1", "--cert-path=/nonexistent"],
                 "/nonexistent/tls.crt")):
            with self.subTest(name):
                done = self.run_epp(*flags)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn(says, done.stderr)

    def test_validate_and_help(self):
        done = self.run_epp("--validate")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("prefix-cache-scorer", done.stdout)
        self.assertIn("--config-file", self.run_epp("--help").stdout)

    def test_an_experimental_plugin_must_be_allowed(self):
        config = self.programs.file("alpha.yaml", """apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: multicluster-approx-prefix-cache-producer
- type: multicluster-prefix-cache-scorer
schedulingProfiles:
- {name: default, plugins: [{pluginRef: multicluster-prefix-cache-scorer}]}
""")
        refused = self.run_epp("--validate", "--config-file", config)
        self.assertEqual(refused.returncode, 1, refused.stdout)
        self.assertIn("multicluster-approx-prefix-cache-producer", refused.stderr)
        allowed = self.run_epp("--validate", "--config-file", config, "--allow-experimental-plugins")
        self.assertEqual(allowed.returncode, 0, allowed.stderr)


if __name__ == "__main__":
    fleet.main()
