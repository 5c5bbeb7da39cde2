"""Model servers that vanish, stall, reset, lie or talk nonsense behind weir-gateway, and a gateway
that is told to stop while streams run."""

import json
import signal
import socket
import threading

import fleet
import wire
from chat import ENDLESS
from fleet import MODEL, until

OUTCOMES = "weir_gateway_requests_total"
CHAT = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
BODY = json.dumps(CHAT).encode()
# The fallbacks are in the order of the servers.
IN_TURN = """apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: round-robin-picker
  parameters: {maxNumOfEndpoints: 3}
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: round-robin-picker
"""


class FaultTest(fleet.unittest.TestCase):
    """Every test has its own programs."""

    def setUp(self):
        self.programs = fleet.Fleet()
        self.addCleanup(lambda: self.assertEqual(self.programs.stop(), []))

    def start_gateway(self, servers, *flags):
        self.gateway = self.programs.gateway(
            servers, "--no-scrape", "--config", self.programs.file("in_turn.yaml", IN_TURN), *flags)
        return self.gateway

    def scripted(self, answer, **options):
        server = wire.ScriptedServer(**options)
        self.addCleanup(server.close)
        server.answer = answer
        return server

    def assert_error(self, answer, status):
        self.assertIsNotNone(answer, "closed without an answer")
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(set(answer.json()["error"]), {"message", "type", "param", "code"})

    def wait_outcome(self, outcome, count=1):
        until(lambda: self.gateway.metric(OUTCOMES, outcome=outcome) == count,
              f"{count} x {outcome} in:\n{self.gateway.admin('/metrics').body.decode()[:3000]}", 20)


class VanishTest(FaultTest):
    def test_the_fallback_serves_while_a_server_is_down(self):
        first, second = self.programs.sim()[0], self.programs.sim()[0]
        self.start_gateway([first, second])
        first.program.kill()
        for _ in range(6):
            answer = self.gateway.chat(max_tokens=4)
            self.assertEqual((answer.status, answer.headers["x-weir-endpoint"]), (200, second.name))
        self.assertGreaterEqual(self.gateway.metric("weir_gateway_retries_total"), 2)
        self.wait_outcome("complete", 6)
        second.program.kill()
        with self.subTest("none is left"):
            self.assert_error(wire.exchange(self.gateway.port, wire.post(BODY)), 502)
            self.wait_outcome("upstream_connect_failed")

    def test_a_server_dies_inside_its_answer(self):
        server = self.programs.sim()[0]
        self.start_gateway([server])
        with wire.Client(self.gateway.port) as client:
            client.send(wire.post(ENDLESS))
            self.assertIn(b"data: ", client.reader.until(b"data: ") or b"")
            server.program.kill()
            self.assertNotIn(b"\r\n0\r\n\r\n", client.closed(), "the cut must show")
        self.wait_outcome("upstream_truncated")

    def test_a_pooled_connection_that_went_away_is_replaced(self):
        closing = []

        def answer(sock, _):
            sock.sendall(wire.whole())
            closing.append(sock)
            return len(closing) > 1  # keep-alive was promised, then the server closes

        self.start_gateway([self.scripted(answer)])
        for _ in range(3):
            self.assertEqual(wire.exchange(self.gateway.port, wire.post(BODY)).status, 200)


class SimulatedFaultsTest(FaultTest):
    def ask(self, fault, body=BODY):
        return wire.exchange(self.gateway.port, wire.post(body, f"X-Sim-Fault: {fault}"))

    def test_faults(self):
        server = self.programs.sim()[0]
        self.start_gateway([server], "--first-byte-timeout-s", 1)
        with self.subTest("hang"):
            self.assert_error(self.ask("hang"), 504)
            self.wait_outcome("upstream_timeout")
            until(lambda: server.running_requests() == 0, "the server to be rid of it")
        with self.subTest("reset inside the answer"):
            answer = self.ask("reset:40")
            self.assertEqual((answer.status, answer.complete), (200, False))
            self.wait_outcome("upstream_truncated")
        with self.subTest("an answer without its last event passes as it is"):
            answer = self.ask("truncate:3", ENDLESS)
            self.assertEqual(answer.status, 200)
            self.assertIn(b"data: ", answer.body)
            self.assertNotIn(b"[DONE]", answer.body)
        with self.subTest("errors of the server pass as they are"):
            for fault, status in (("rate_limit", 429), ("server_error", 503)):
                direct = wire.exchange(server.port, wire.post(BODY, f"X-Sim-Fault: {fault}"))
                answer = self.ask(fault)
                self.assertEqual((answer.status, answer.body), (status, direct.body))
        with self.subTest("slow"):
            slow = fleet.fetch(server.port, "POST", "/admin/config", {"slow": 3})
            self.assertEqual(slow.status, 200, slow.body)
            self.assertEqual(wire.exchange(self.gateway.port, wire.post(BODY)).status, 200)


class LyingServersTest(FaultTest):
    """Each answer is wrong in one way; the gateway says so or cuts, and goes on."""

    def check(self, name, sent, status, outcome, complete=True, close=False, **flags):
        with self.subTest(name):
            def answer(sock, _):
                sock.sendall(sent)
                return not close

            server = self.scripted(answer)
            gateway = self.start_gateway([server], *flags.get("flags", []))
            got = wire.exchange(gateway.port, wire.post(BODY))
            if status >= 500:
                self.assert_error(got, status)
            else:
                self.assertEqual((got.status, got.complete), (status, complete))
            self.wait_outcome(outcome)
            server.answer = lambda sock, _: (sock.sendall(wire.whole(b"{}")), True)[1]
            again = wire.exchange(gateway.port, wire.post(BODY))
            self.assertEqual((again.status, again.body), (200, b"{}"), "it should go on")
            return got

    def test_heads(self):
        self.check("nothing", b"", 502, "upstream_reset", close=True)
        self.check("no HTTP", b"hello\r\n\r\n", 502, "upstream_protocol")
        self.check("half a head", b"HTTP/1.1 200 OK\r\nX:", 502, "upstream_reset", close=True)
        self.check("an endless head", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 30000, 502,
                   "upstream_protocol")
        self.check("a large header", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200000, 502,
                   "upstream_protocol")
        self.check("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n"
                   b"\r\n{}x", 502, "upstream_protocol")
        self.check("length and chunked", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
                   b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 502,
                   "upstream_protocol")
        self.check("endless 1xx", b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + wire.whole(), 502,
                   "upstream_protocol")

    def test_bodies(self):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        self.check("shorter than its length", head + b"Content-Length: 100\r\n\r\nabc", 200,
                   "upstream_truncated", complete=False, close=True)
        got = self.check("longer than its length", head + b"Content-Length: 2\r\n\r\nok" +
                         wire.whole(b"evil"), 200, "complete")
        self.assertEqual(got.body, b"ok")
        self.check("chunks that end early", wire.EVENT_HEAD + wire.chunk(b"data: x\n\n"), 200,
                   "upstream_truncated", complete=False, close=True)
        self.check("a chunk size that is none", wire.EVENT_HEAD + wire.chunk(b"data: x\n\n") +
                   b"zz\r\n", 200, "upstream_protocol", complete=False)
        self.check("a stall", wire.EVENT_HEAD + wire.chunk(b"data: x\n\n"), 200,
                   "upstream_timeout", complete=False, flags=["--idle-timeout-s", 1])

    def test_an_answer_before_the_request_is_read(self):
        def answer(sock, _):
            sock.sendall(wire.whole(b'{"error":"too large"}', "Connection: close",
                                    status="413 Payload Too Large"))
            sock.shutdown(socket.SHUT_WR)
            return False

        server = self.scripted(answer)
        server.read_bodies = False
        self.start_gateway([server])
        large = json.dumps({**CHAT, "x": "y" * (8 << 20)}).encode()
        got = wire.exchange(self.gateway.port, wire.post(large))
        self.assertIsNotNone(got)
        if got.status != 413:  # the server's reset may overtake its answer
            self.assert_error(got, 502)

    def test_a_slow_reader_does_not_fill_the_gateway(self):
        total = 64 << 20
        sent = [0]

        def answer(sock, _):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
            piece = bytes(1 << 16)
            while sent[0] < total:
                sock.sendall(piece)
                sent[0] += len(piece)
            return True

        self.start_gateway([self.scripted(answer)])
        with wire.Client(self.gateway.port) as client:
            client.send(wire.post(BODY))
            client.reader.until(b"\r\n\r\n")
            until(lambda: sent[0] > 0, "the first bytes")
            seen = [-1]

            def stands_still():
                still, seen[0] = sent[0] == seen[0], sent[0]
                threading.Event().wait(0.3)
                return still

            until(stands_still, "the server to be held back")
            self.assertLess(sent[0], total // 2)
            self.assertEqual(sum(len(client.reader.exactly(1 << 20)) for _ in range(64)), total)
        self.wait_outcome("complete")


class DrainTest(FaultTest):
    def stream(self, *flags, tokens):
        server = self.programs.sim()[0]
        self.start_gateway([server], *flags)
        client = wire.Client(self.gateway.port)
        self.addCleanup(client.sock.close)
        client.send(wire.post(json.dumps(
            {**CHAT, "max_tokens": tokens, "ignore_eos": True}).encode()))
        head = client.reader.until(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 200 "), head)
        return server, client

    def test_a_stream_ends_whole(self):
        _, client = self.stream(tokens=200)
        client.reader.until(b"data: ")
        self.gateway.program.signal(signal.SIGTERM)

        def refused():
            try:
                wire.Client(self.gateway.port).sock.close()
                return False
            except (ConnectionRefusedError, ConnectionResetError):
                return True

        until(refused, "new connections to be refused")
        rest = client.closed()
        self.assertIn(b"data: [DONE]", rest)
        self.assertTrue(rest.endswith(b"0\r\n\r\n"))
        self.assertEqual(self.gateway.program.wait(), 0)

    def test_a_stream_that_does_not_end_is_cut(self):
        server, client = self.stream("--drain-timeout-s", 1, tokens=20000)
        self.gateway.program.signal(signal.SIGTERM)
        rest = client.closed()
        self.assertNotIn(b"[DONE]", rest)
        self.assertEqual(self.gateway.program.wait(), 0)
        until(lambda: server.running_requests() == 0, "the server to stop the request")

    def test_a_second_signal_ends_at_once(self):
        _, client = self.stream(tokens=20000)
        self.gateway.program.signal(signal.SIGTERM)
        self.gateway.program.signal(signal.SIGINT)
        self.assertEqual(self.gateway.program.wait(20), 0)


if __name__ == "__main__":
    fleet.main()
