"""What weir-gateway's flags promise: TLS on both sides, pages and their own port, a plugin from
outside, a list of servers in a file, and --validate."""

import os
import ssl
import unittest

import fleet
import wire
from fleet import BIN, MODEL, ROOT, until

ZONES = """apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: zone-scorer
- type: max-score-picker
- name: servers
  type: file-discovery
  parameters: {path: %s, watchFile: true}
dataLayer:
  discovery: {pluginRef: servers}
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: zone-scorer
  - pluginRef: max-score-picker
"""
HELLO = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'


def endpoints_yaml(servers):
    """`servers`: (server, zone) pairs."""
    lines = ["endpoints:"]
    for i, (server, zone) in enumerate(servers):
        lines += [f"- name: server-{i}", "  address: 127.0.0.1", f"  port: '{server.port}'",
                  "  labels:", f"    zone: {zone}"]
    return "\n".join(lines) + "\n"


class FlagsTest(unittest.TestCase):
    def setUp(self):
        self.programs = fleet.Fleet()
        self.addCleanup(lambda: self.assertEqual(self.programs.stop(), []))

    def validate(self, *flags):
        return fleet.run([BIN / "weir-gateway", "--validate", *flags], timeout=60)

    def test_tls_on_both_sides(self):
        cert, key = fleet.make_certificate(self.programs.folder)
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_side.load_cert_chain(cert, key)
        server = wire.ScriptedServer(tls=server_side)
        self.addCleanup(server.close)
        client_side = fleet.client_tls(cert)
        tls = ["--tls-cert", cert, "--tls-key", key, "--no-scrape"]

        with self.subTest("a server whose certificate is signed by --upstream-ca"):
            gateway = self.programs.gateway([server], *tls, "--upstream-ca", cert, tls=client_side)
            answer = gateway.chat()
            self.assertEqual((answer.status, len(server.requests)), (200, 1), answer.body)
            until(lambda: gateway.metric("weir_gateway_requests_total", outcome="complete") == 1,
                  "the request to be counted")
        with self.subTest("HTTP on the port of TLS"), wire.Client(gateway.port) as client:
            client.send(wire.post(b"{}"))
            self.assertNotIn(b" 200 ", client.closed())
        with self.subTest("a server whose certificate nobody signed"):
            strict = self.programs.gateway([server], "--no-scrape")
            answer = strict.chat()
            self.assertEqual((answer.status, len(server.requests)), (502, 1), answer.body)
            until(lambda: strict.metric("weir_gateway_requests_total",
                                        outcome="upstream_connect_failed") == 1,
                  "the failure to be counted")
        with self.subTest("a signed certificate for another host"):
            folder = self.programs.folder / "other"
            folder.mkdir()
            other_cert, other_key = fleet.make_certificate(folder, "DNS:other.example")
            other_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            other_side.load_cert_chain(other_cert, other_key)
            other = wire.ScriptedServer(tls=other_side)
            self.addCleanup(other.close)
            careful = self.programs.gateway([other], "--no-scrape", "--upstream-ca", other_cert)
            answer = careful.chat()
            self.assertEqual((answer.status, len(other.requests)), (502, 0), answer.body)
        with self.subTest("--upstream-insecure"):
            lax = self.programs.gateway([server], "--no-scrape", "--upstream-insecure")
            self.assertEqual(lax.chat().status, 200)
        with self.subTest("a certificate without its key"):
            done = fleet.run([BIN / "weir-gateway", "--listen", "127.0.0.1:0", "--tls-cert", cert])
            self.assertEqual(done.returncode, 1)
            self.assertIn("--tls-key", done.stderr)

    def test_pages(self):
        servers = self.programs.sim(2)
        gateway = self.programs.gateway(servers)
        gateway.wait_scraped(2)
        self.assertEqual(gateway.fetch("GET", "/healthz").body, b"ok\n")
        self.assertEqual(gateway.fetch("GET", "/readyz").status, 200)
        for _ in range(3):
            self.assertEqual(gateway.chat(max_tokens=2).status, 200)
        page = gateway.fetch("GET", "/metrics")
        self.assertTrue(page.headers["content-type"].startswith("text/plain; version=0.0.4"))
        self.assertEqual(gateway.metric("weir_decisions_total"), 3)
        self.assertEqual(gateway.metric("weir_scrape_errors_total"), 0)
        names = {line.split()[2] for line in page.body.decode().splitlines()
                 if line.startswith("# TYPE ")}
        self.assertEqual({n for n in names if not n.startswith("weir_")}, set())
        decision = gateway.decisions()[0]
        self.assertEqual(decision["model"], MODEL)
        endpoints = decision["profiles"][0]["endpoints"]
        self.assertEqual({e["name"] for e in endpoints}, {s.name for s in servers})
        self.assertTrue(all(0 <= e["sample_age_ms"] < 60000 for e in endpoints))

    def test_idle_clients_leave_descriptors_for_servers(self):
        server = wire.ScriptedServer()
        self.addCleanup(server.close)
        gateway = self.programs.gateway([server], "--no-scrape", "--threads", "1",
                                        wrapper=["prlimit", "--nofile=100:100"])
        gateway.program.wait_for_line(r"at most \d+ clients per thread, not 20000")
        clients = [wire.Client(gateway.port) for _ in range(110)]
        for client in clients:
            self.addCleanup(client.sock.close)
        self.assertIn(b" 503 ", clients[-1].closed())
        clients[0].send(wire.post(HELLO))
        self.assertEqual(clients[0].answer().status, 200)

    def test_a_port_for_the_pages(self):
        server = wire.ScriptedServer()
        self.addCleanup(server.close)
        gateway = self.programs.gateway([server], "--no-scrape", admin=True)
        self.assertNotEqual(gateway.port, gateway.admin_port)
        self.assertEqual(gateway.fetch("GET", "/healthz").status, 200)
        self.assertEqual(server.requests, [])
        for path in ("/metrics", "/debug/decisions"):
            self.assertEqual(gateway.admin(path).status, 200)
            # The clients' port does not have them: they are the servers' business.
            server.requests.clear()
            gateway.fetch("GET", path)
            self.assertEqual([r.target for r in server.requests], [path])
        self.assertEqual(gateway.admin("/v1/models").status, 404)

    def test_a_plugin_and_a_file_of_servers(self):
        library = self.programs.folder / "libzone.so"
        built = fleet.run([os.environ.get("CXX", "c++"), "-std=c++17", "-O1", "-shared", "-fPIC",
                           "-fvisibility=hidden", "-I", ROOT / "sdk/include", "-o", library,
                           ROOT / "examples/plugin_cpp/zone_scorer.cc"])
        self.assertEqual(built.returncode, 0, built.stderr)
        near, far = self.programs.sim(2)
        # One bad entry does not take the others out.
        listed = self.programs.file("endpoints.yaml", endpoints_yaml([(near, "a"), (far, "b")]) +
                                    "- {name: bad, address: 127.0.0.1, port: '70000'}\n")
        pipeline = self.programs.file("pipeline.yaml", ZONES % listed)
        flags = ["--config", pipeline, "--plugin", library]
        valid = self.validate(*flags)
        self.assertEqual(valid.returncode, 0, valid.stderr)
        self.assertIn("zone-scorer", valid.stdout)

        gateway = self.programs.gateway([], *flags)
        self.assertIn("70000", gateway.program.log())
        self.assertEqual(gateway.metric("weir_endpoints"), 2)
        self.assertEqual(gateway.metric("weir_endpoints_rejected_total"), 1)
        for zone, server in (("a", near), ("b", far), ("a", near)):
            before = server.metric("vllm:request_success_total")
            self.assertEqual(gateway.chat(headers={"X-Zone": zone}, max_tokens=2).status, 200)
            self.assertEqual(server.metric("vllm:request_success_total"), before + 1)
        self.assertEqual(gateway.metric("weir_plugin_failures_total", plugin_name="zone-scorer"), 0)

        # The list changes under a running gateway.
        new = self.programs.file("new.yaml", endpoints_yaml([(far, "b")]))
        new.rename(listed)
        until(lambda: gateway.metric("weir_endpoints") == 1, "the new list")
        before = far.metric("vllm:request_success_total")
        self.assertEqual(gateway.chat(headers={"X-Zone": "a"}, max_tokens=2).status, 200)
        self.assertEqual(far.metric("vllm:request_success_total"), before + 1)

    def test_validate(self):
        valid = self.validate()
        self.assertEqual(valid.returncode, 0, valid.stderr)
        self.assertIn("prefix-cache-scorer", valid.stdout)
        empty = self.validate("--config", self.programs.file("empty.yaml", ""))
        self.assertEqual(empty.returncode, 0, "an empty file means the default pipeline")
        self.assertIn("prefix-cache-scorer weight 3", empty.stdout)
        good = (ZONES % "x").replace("zone-scorer", "queue-scorer")
        for name, text, says in (
                ("a name with a slip", good.replace("pluginRef: queue", "pluginRef: queu"),
                 'did you mean "queue-scorer"?'),
                ("a type nobody knows", good.replace("type: queue-scorer", "type: queue-scorre"),
                 "queue-scorre"),
                ("no YAML", "{", ""),
                ("a field nobody knows", good + "extra: 1\n", "extra"),
                ("another kind", good.replace("EndpointPickerConfig", "Deployment"), "Deployment")):
            with self.subTest(name):
                file = self.programs.file("bad.yaml", text)
                done = self.validate("--config", file)
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertIn("bad.yaml", done.stderr)
                self.assertIn(says, done.stderr)
        for name, flags, says in (
                ("no such file", ["--config", "/nonexistent.yaml"], "/nonexistent.yaml"),
                ("no such plugin", ["--plugin", "/nonexistent.so"], "/nonexistent.so")):
            with self.subTest(name):
                done = self.validate(*flags)
                self.assertEqual(done.returncode, 1)
                self.assertIn(says, done.stderr)

    def test_flags_that_cannot_be(self):
        for name, flags, says in (
                ("a URL with a path", ["--endpoint", "http://127.0.0.1:1/v1"], "no path"),
                ("a port beyond", ["--endpoint", "http://127.0.0.1:70000"], "70000"),
                ("twice", ["--endpoint", "127.0.0.1:1", "--endpoint", "http://127.0.0.1:1"],
                 "twice"),
                ("no address", ["--listen", "nowhere"], "--listen nowhere"),
                ("threads", ["--threads", "100000"], "--threads"),
                ("no such flag", ["--endpoints", "x"], "--endpoints")):
            with self.subTest(name):
                base = [] if "--listen" in flags else ["--listen", "127.0.0.1:0"]
                done = fleet.run([BIN / "weir-gateway", *base, *flags], timeout=60)
                self.assertNotEqual(done.returncode, 0)
                self.assertGreater(done.returncode, 0, "killed by a signal")
                self.assertIn(says, done.stderr)


if __name__ == "__main__":
    fleet.main()
