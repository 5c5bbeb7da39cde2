"""The gateway of examples/custom_gateway, which embeds the library, before simulated servers."""

import json
import os
import pathlib
import re
import threading

import chat
import fleet
import wire
from fleet import MODEL, ROOT, until

BUILT = pathlib.Path(os.environ.get("WEIR_EXAMPLES_DIR", ROOT / "build/dev/tests/install"))
PROGRAM = BUILT / "custom_gateway/custom_gateway"
if not PROGRAM.exists():
    fleet.skip(f"{PROGRAM} is not built")

PIPELINE = ROOT / "examples/custom_gateway/pipeline.yaml"
CONNECTIONS_MAX = 256  # the gateway's
CONNECT_TIMEOUT_S = 5


class Gateway(chat.Proxy):
    def __init__(self, programs, servers, under=()):
        self.program = programs.start("custom_gateway", [
            *under, PROGRAM, 0, PIPELINE,
            *[getattr(server, "address", f"127.0.0.1:{server.port}") for server in servers]])
        self.port = int(self.program.wait_for_line(r"listening on 127\.0\.0\.1:(\d+)")[1])

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.program.pid}/fd"))


class LateServer(wire.ScriptedServer):
    """Reads nothing until it may, or for that many seconds."""

    def __init__(self, late_s):
        self.may_read, self.late_s = threading.Event(), late_s
        super().__init__()

    def serve(self, sock):
        self.may_read.wait(self.late_s)
        super().serve(sock)


class CustomGatewayTest(fleet.FleetTest):
    @classmethod
    def start(cls, programs):
        cls.servers = programs.sim(2, "--seed", 1)
        cls.gateway = Gateway(programs, cls.servers)

    def served(self):
        return [int(server.metric("vllm:prompt_tokens_total")) for server in self.servers]

    def test_conversations_stay_where_their_prefix_is(self):
        for talk in range(4):
            before = self.served()
            for answer in self.gateway.talk(talk, 3, max_tokens=4):
                self.assertEqual(answer.status, 200, answer.body)
                self.assertGreater(answer.json()["usage"]["completion_tokens"], 0)
            moved = [after > then for after, then in zip(self.served(), before)]
            self.assertEqual(sum(moved), 1, "one server for a conversation")

    def test_streams_run_and_are_counted_until_they_end(self):
        clients = []
        try:
            for _ in range(4):
                clients.append(self.gateway.stream())
            until(lambda: [s.running_requests() for s in self.servers] == [2, 2],
                  "two streams on each server")
        finally:
            for client in clients:
                client.sock.close()
        until(lambda: [s.running_requests() for s in self.servers] == [0, 0], "no streams")
        answer = self.gateway.chat("after them", max_tokens=4, stream=True)
        self.assertIn(b"data: [DONE]", answer.body)

    def test_one_connection_serves_many_requests(self):
        body = json.dumps({**chat.CHAT, "max_tokens": 2}).encode()
        with wire.Client(self.gateway.port) as client:
            for _ in range(3):
                client.send(wire.post(body))
                answer = client.answer()
                self.assertEqual((answer.status, answer.complete), (200, True))

    def test_says_what_is_wrong(self):
        broken = self.gateway.fetch("POST", "/v1/chat/completions", b"{")
        self.assertEqual(broken.status, 400)
        self.assertTrue(broken.json()["error"]["message"])
        with wire.Client(self.gateway.port) as client:
            client.send(b"nonsense\r\n\r\n")
            self.assertEqual(client.closed(), b"")
        self.assertEqual(self.gateway.chat("it lives", max_tokens=2).status, 200)

    def test_shows_its_decisions(self):
        self.assertEqual(self.gateway.fetch("GET", "/v1/models").json()["data"][0]["id"], MODEL)
        self.gateway.chat("explain me", max_tokens=2)
        page = self.gateway.fetch("GET", "/decisions").body.decode()
        self.assertIn("active-request-scorer*2", page)
        self.assertRegex(page, r"default/127\.0\.0\.1:\d+ +0 ")


class CustomGatewayFaultTest(chat.FaultTest):
    def test_the_next_server_takes_over(self):
        first, second = self.programs.sim()[0], self.programs.sim()[0]
        gateway = Gateway(self.programs, [first, second])
        first.program.kill()
        for turn in range(4):
            self.assertEqual(gateway.chat(f"prompt {turn}", max_tokens=2).status, 200)
        second.program.kill()
        answer = gateway.chat("nobody", max_tokens=2)
        self.assertEqual(answer.status, 502)
        self.assertIn("reached", answer.json()["error"]["message"])

    def gateway(self, servers):
        return Gateway(self.programs, servers)

    def test_bad_arguments_are_named(self):
        taken = self.scripted().port
        for port, pipeline, server, says in (
                (0, "missing.yaml", "127.0.0.1:1", "missing.yaml: cannot be read"),
                (0, PIPELINE, "127.0.0.1:70000", "127.0.0.1:70000: .*port"),
                (0, PIPELINE, "localhost:8000", "localhost:8000: expected an IP address"),
                (70000, PIPELINE, "127.0.0.1:1", "PORT: 70000, expected 0..65535"),
                ("8080x", PIPELINE, "127.0.0.1:1", "PORT: 8080x, expected"),
                (taken, PIPELINE, "127.0.0.1:1", f"127.0.0.1:{taken}: Address already in use")):
            with self.subTest(says):
                done = fleet.run([PROGRAM, port, pipeline, server], timeout=20)
                self.assertIn(done.returncode, (1, 2))
                self.assertTrue(re.search(says, done.stderr), done.stderr)

    def test_accepts_again_after_it_was_out_of_file_descriptors(self):
        few = Gateway(self.programs, [self.scripted()], ["prlimit", "--nofile=16"])
        clients = [wire.Client(few.port) for _ in range(30)]
        until(lambda: few.descriptors() == 16, "no file descriptor to be left")
        for client in clients:
            client.sock.close()

        def serves():
            try:
                return few.chat("hi").status == 200
            except OSError:
                return False
        until(serves, "an answer")

    def test_connections_are_limited(self):
        gateway = self.gateway([self.scripted()])
        body = wire.post(chat.BODY)
        clients = [wire.Client(gateway.port) for _ in range(CONNECTIONS_MAX)]
        try:
            for client in clients:
                client.send(body)
                self.assertEqual(client.answer().status, 200)
            with wire.Client(gateway.port) as above:
                self.assertEqual(above.closed(), b"")
        finally:
            for client in clients:
                client.sock.close()

        def answer():
            try:
                return wire.exchange(gateway.port, body)
            except OSError:
                return None
        self.assertEqual(until(answer, "an answer").status, 200)

    def test_what_comes_before_an_answer_is_not_the_answer(self):
        def answer(sock, _):
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n")
            sock.sendall(wire.whole())
            return False
        server = self.scripted(answer)
        with wire.Client(self.gateway([server]).port) as client:
            head, body = wire.post(chat.BODY, "Expect: 100-continue").split(b"\r\n\r\n", 1)
            client.send(head + b"\r\n\r\n")
            self.assertEqual(client.answer().status, 100)
            self.assertEqual(server.requests, [])
            client.send(body)
            self.assertEqual(client.answer().status, 200)
        self.assertNotIn("expect", server.requests[0].headers)
        self.assertEqual(server.requests[0].body, chat.BODY)

    def test_only_the_request_goes_upstream(self):
        server = self.scripted()
        gateway = self.gateway([server])
        head = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Mine: 1\r\nX-Kept: 1\r\n"
                b"Connection: x-mine, keep-alive\r\nTE: trailers\r\nTransfer-Encoding: %s\r\n\r\n")
        body = wire.chunk(chat.BODY) + wire.chunk(b"")
        with wire.Client(gateway.port) as client:
            for _ in range(2):
                client.send(head % b"Chunked" + body)
                self.assertEqual(client.answer().status, 200)
        self.assertEqual(server.requests[0].body, chat.BODY)
        self.assertIn("x-kept", server.requests[0].headers)
        for name in ("transfer-encoding", "x-mine", "te"):
            self.assertNotIn(name, server.requests[0].headers)
        for coding in (b"gzip, chunked", b"chunked, identity", b"gzip",
                       b"gzip\r\nTransfer-Encoding: chunked"):
            with wire.Client(gateway.port) as client:
                client.send(head % coding + body)
                self.assertEqual(client.answer().status, 400)
                self.assertEqual(client.closed(), b"")
        self.assertEqual(len(server.requests), 2)

    def test_an_answer_to_head_has_no_body(self):
        def answer(sock, request):
            sock.sendall(wire.EVENT_HEAD if request.method == "HEAD" else wire.whole())
            return False
        gateway = self.gateway([self.scripted(answer)])
        with wire.Client(gateway.port) as client:
            for method in ("HEAD", "GET"):
                client.send(b"%s /v1/models HTTP/1.1\r\nHost: x\r\n\r\n" % method.encode())
                self.assertEqual(client.answer(method).status, 200)
            client.send(b"HEAD /decisions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            self.assertEqual(client.answer("HEAD").status, 200)
            self.assertEqual(client.closed(), b"")

    def test_reaches_servers_by_ipv6(self):
        try:
            server = self.scripted(host="::1")
        except OSError as error:
            self.skipTest(f"::1: {error}")
        self.assertEqual(self.gateway([server]).chat("hi").status, 200)

    def test_a_client_that_leaves_early_is_noticed(self):
        left = []

        def waits(sock, _):
            left.append(sock.recv(1))
            return False
        servers = [self.scripted(waits), self.scripted(waits)]
        gateway = self.gateway(servers)

        def served():
            return [len(server.requests) for server in servers]
        for talk in range(6):  # they stay all the same: their prompts are being computed
            before = served()
            for turn in range(3):
                with wire.Client(gateway.port) as client:
                    client.send(wire.post(json.dumps(chat.body(chat.prompt(talk, turn))).encode()))
                    until(lambda: sum(served()) > sum(before) + turn, "a request")
                until(lambda: len(left) == sum(served()), "the end of the server's connection")
            self.assertIn(0, [after - then for after, then in zip(served(), before)])
        self.assertEqual(left, [b""] * 18)

    def test_a_client_that_leaves_while_its_body_goes_up_is_noticed(self):
        server = LateServer(fleet.WAIT_S)
        self.addCleanup(server.close)
        self.addCleanup(server.may_read.set)
        gateway = self.gateway([server])
        before = gateway.descriptors()
        with wire.Client(gateway.port) as client:
            client.send(wire.post(json.dumps(chat.body("x" * 15_000_000)).encode()))
            until(lambda: gateway.descriptors() == before + 2, "a connection to the server")
        until(lambda: gateway.descriptors() == before, "no connection", fleet.WAIT_S / 2)

    def test_a_large_body_may_take_longer_than_connecting(self):
        server = LateServer(CONNECT_TIMEOUT_S + 0.5)
        self.addCleanup(server.close)
        self.assertEqual(self.gateway([server]).chat("x" * 15_000_000).status, 200)

    def test_a_server_that_does_not_answer_is_an_error(self):
        gateway = self.gateway([self.scripted(lambda sock, request: False)])
        answer = gateway.chat("hi")
        self.assertEqual(answer.status, 502)
        self.assertIn("did not answer", answer.json()["error"]["message"])

    def test_conversations_leave_a_server_that_fails(self):
        def refuses(sock, _):
            sock.sendall(wire.whole(b"full", status="503 Service Unavailable"))
            return False
        self.leaves_a_server_that(refuses, self.gateway)

    def test_conversations_leave_a_server_that_dies_after_its_headers(self):
        def dies(sock, _):
            sock.sendall(wire.whole(b"0123456789")[:-10])
            return False
        self.leaves_a_server_that(dies, self.gateway)


if __name__ == "__main__":
    fleet.main()
