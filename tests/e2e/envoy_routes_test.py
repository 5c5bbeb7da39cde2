"""Requests through the real Envoy and weir-epp: bodies of all sizes, streamed answers, headers that
clients must not set, errors, model names, usage."""

import json

import envoy_fleet
import fleet
import wire
from envoy_fleet import PICKED, Events, Upstream
from fleet import MODEL, until

KIB = 1024
CHAT = "/v1/chat/completions"
# Of the picker, or of parts that only the picker may steer.
ROUTING_HEADERS = ("x-gateway-destination-endpoint", "x-gateway-destination-endpoint-subset",
                   "x-gateway-destination-endpoint-served", "x-prefiller-host-port",
                   "x-encoder-hosts-ports", "x-data-parallel-host-port",
                   "x-kv-cache-source-host-port")
USAGE = {"prompt_tokens": 7, "completion_tokens": 10, "total_tokens": 17}


def chat_body(size=0, **members):
    """A chat request; with a prompt that makes it that long."""
    members = {"model": MODEL, **members, "messages": [{"role": "user", "content": ""}]}
    empty = len(json.dumps(members))
    members["messages"][0]["content"] = ("ab c" * (size // 4 + 1))[:max(0, size - empty)]
    return json.dumps(members).encode()


class RoutesTest(fleet.FleetTest):
    @classmethod
    def start(cls, programs):
        cls.servers = [Upstream() for _ in range(3)]
        cls.picker = envoy_fleet.start_picker(programs, cls.servers)
        cls.envoy = envoy_fleet.start_envoy(programs, [cls.picker], cls.servers)

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        for server in cls.servers:
            server.close()

    def setUp(self):
        for server in self.servers:
            server.requests.clear()
            server.script = lambda sock, request: (sock.sendall(wire.whole()), True)[1]

    def script(self, answer):
        """All servers answer with these bytes."""
        for server in self.servers:
            server.script = lambda sock, _: (sock.sendall(answer), True)[1]

    def seen(self):
        """The one request that reached a server, and that server."""
        found = [(r, s) for s in self.servers for r in s.requests]
        self.assertEqual(len(found), 1, found)
        return found[0]

    def assert_body(self, request, body):
        self.assertEqual(len(request.body), len(body))
        self.assertTrue(request.body == body, "the body is another one")
        # Envoy drops a length where a picker may change bodies, and sends chunks.
        self.assertIn(request.headers.get("content-length"), (None, [str(len(body))]))

    def counted(self, name, count, **labels):
        until(lambda: self.picker.metric(name, **labels) == count,
              f"{name} {labels} to be {count}, it is {self.picker.metric(name, **labels)}", 20)


class RequestTest(RoutesTest):
    def test_requests_take_turns(self):
        served = [self.envoy.chat().headers[PICKED] for _ in range(6)]
        self.assertEqual(sorted(served[:3]), sorted(s.address for s in self.servers))
        self.assertEqual(served[:3], served[3:])

    def test_bodies_of_all_sizes_arrive_unchanged(self):
        # 62,000: the largest piece of the picker. 32 KiB: Envoy's buffers. 64 KiB: the window.
        for size in (1 * KIB, 32 * KIB, 61_999, 62_001, 64 * KIB + 1, 220 * KIB, 1024 * KIB,
                     4096 * KIB):
            with self.subTest(size=size):
                self.setUp()
                body = chat_body(size)
                answer = self.envoy.fetch("POST", CHAT, body,
                                          {"content-type": "application/json"})
                self.assertEqual(answer.status, 200, answer.body)
                request, server = self.seen()
                self.assertEqual(answer.headers[PICKED], server.address)
                self.assert_body(request, body)

    def test_a_body_in_chunks(self):
        body = chat_body(100 * KIB)
        with wire.Client(self.envoy.port) as client:
            client.send(f"POST {CHAT} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
                        .encode())
            for at in range(0, len(body), 7000):
                client.send(wire.chunk(body[at:at + 7000]))
            client.send(b"0\r\n\r\n")
            self.assertEqual(client.answer().status, 200)
        self.assert_body(self.seen()[0], body)

    def test_a_body_with_trailers(self):
        body = chat_body(100 * KIB)
        with wire.Client(self.envoy.port) as client:
            client.send(f"POST {CHAT} HTTP/1.1\r\nHost: test\r\nTrailer: x-sum\r\n"
                        "Transfer-Encoding: chunked\r\n\r\n".encode())
            client.send(wire.chunk(body) + b"0\r\nx-sum: 1\r\n\r\n")
            self.assertEqual(client.answer().status, 200)
        self.assert_body(self.seen()[0], body)

    def test_clients_of_http_2(self):
        curl = fleet.need_program("curl")
        for size in (KIB, 2 * KIB * KIB):
            with self.subTest(size=size):
                self.setUp()
                body = chat_body(size)
                file = self.fleet.folder / "body"
                file.write_bytes(body)
                done = fleet.run([curl, "-sS", "--http2-prior-knowledge", "-w", "%{http_code}",
                                  "--data-binary", f"@{file}", self.envoy.url + CHAT])
                self.assertEqual(done.stdout[-3:], "200", done)
                self.assert_body(self.seen()[0], body)

    def test_a_request_without_a_body(self):
        answer = self.envoy.fetch("GET", "/v1/models")
        self.assertEqual(answer.status, 200)
        request, server = self.seen()
        self.assertEqual((request.method, request.target), ("GET", "/v1/models"))
        self.assertEqual(answer.headers[PICKED], server.address)

    def test_routing_headers_of_clients_neither_steer_nor_pass(self):
        trap = Upstream()
        self.addCleanup(trap.close)
        for method, path, body in (("POST", CHAT, chat_body()), ("GET", "/v1/models", None)):
            with self.subTest(method):
                self.setUp()
                answer = self.envoy.fetch(method, path, body, {
                    "x-custom": "stays", **{name: trap.address for name in ROUTING_HEADERS}})
                self.assertEqual(answer.status, 200)
                request, server = self.seen()
                self.assertEqual(answer.headers[PICKED], server.address)
                self.assertEqual(request.headers["x-custom"], ["stays"])
                for name in ROUTING_HEADERS:
                    for value in request.headers.get(name, []):
                        self.assertNotIn(str(trap.port), value, name)
                self.assertEqual(trap.connections, 0)

    def test_control_headers_stay_with_the_picker(self):
        self.envoy.fetch("POST", CHAT, chat_body(), {
            "x-llm-d-inference-fairness-id": "a", "x-llm-d-inference-objective": "b",
            "x-llm-d-slo-ttft-ms": "100", "x-request-id": "id-1"})
        request, _ = self.seen()
        self.assertEqual([n for n in request.headers if n.startswith("x-llm-d")], [])
        self.assertIn("x-request-id", request.headers)

    def test_the_model_name_can_be_rewritten(self):
        body = chat_body(100)
        for name in ("x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite"):
            with self.subTest(name):
                self.setUp()
                answer = json.dumps({"model": "a-longer-name", "choices": []}).encode()
                self.script(wire.whole(answer))
                got = self.envoy.fetch("POST", CHAT, body, {name: "a-longer-name"})
                self.assertEqual(got.json()["model"], MODEL, "the client's name comes back")
                request, _ = self.seen()
                wanted = {**json.loads(body), "model": "a-longer-name"}
                self.assertEqual(json.loads(request.body), wanted)
                self.assert_body(request, request.body)

    def test_bad_requests_are_answered_by_the_picker(self):
        prefix = "inference error: BadRequest - "
        for name, body, text in (
                ("no JSON", b"no healthy upstream", "error unmarshaling request bodyMap: "),
                ("no model", b'{"messages":[{"role":"user","content":"hi"}]}',
                 "model not found in request body"),
                ("no messages", b'{"model":"m"}',
                 "invalid chat completions request: must have valid messages field")):
            with self.subTest(name):
                self.setUp()
                answer = self.envoy.fetch("POST", CHAT, body)
                self.assertEqual(answer.status, 400, answer.body)
                self.assertTrue(answer.body.decode().startswith(prefix + text), answer.body)
                self.assertEqual([r for s in self.servers for r in s.requests], [])

    def test_other_bodies_pass_through(self):
        body = bytes(range(256)) * 300
        answer = self.envoy.fetch("POST", "/upload", body,
                                  {"content-type": "application/octet-stream"})
        self.assertEqual(answer.status, 200, answer.body)
        self.assert_body(self.seen()[0], body)


class ResponseTest(RoutesTest):
    def ask(self, **members):
        return wire.exchange(self.envoy.port, wire.post(chat_body(**members)))

    def test_answers_arrive_unchanged(self):
        plain = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        noise = bytes(range(256)) * 4096  # 1 MiB
        for name, sent, body in (
                ("a length", plain + b"Content-Length: 5\r\n\r\nhello", b"hello"),
                ("nothing", plain + b"Content-Length: 0\r\n\r\n", b""),
                ("1 MiB", wire.whole(noise), noise),
                ("1 MiB in chunks", plain + b"Transfer-Encoding: chunked\r\n\r\n" +
                 wire.chunk(noise) + b"0\r\n\r\n", noise),
                ("JSON cut short", wire.whole(b'{"usage": {"prompt_tok'), b'{"usage": {"prompt_tok')):
            with self.subTest(name):
                self.script(sent)
                answer = self.ask()
                self.assertEqual((answer.status, answer.complete), (200, True))
                self.assertTrue(answer.body == body)
        self.script(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.assertEqual(self.ask().status, 204)
        self.script(wire.whole(b'{"error":{}}', "Retry-After: 3", status="429 Too Many"))
        answer = self.ask()
        self.assertEqual((answer.status, answer.body, answer.header("retry-after")),
                         (429, b'{"error":{}}', "3"))

    def test_events_arrive_one_by_one(self):
        streams = [Events(server) for server in self.servers]
        events = [b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % i for i in range(20)]
        events += [b"data: " + b"x" * 100_000 + b"\n\n", b": comment\r\n\r\n", b"data: [DONE]\n\n"]
        with wire.Client(self.envoy.port) as client:
            client.send(wire.post(chat_body(stream=True)))
            head = client.reader.until(b"\r\n\r\n")
            self.assertIn(b"200 OK", head)
            got = b""
            for event in events:
                for stream in streams:
                    stream.send(event)
                while len(got) < sum(map(len, events[:events.index(event) + 1])):
                    size = int(client.reader.until(b"\r\n"), 16)
                    got += client.reader.exactly(size)
                    client.reader.exactly(2)
            for stream in streams:
                stream.end()
            self.assertEqual(client.reader.until(b"\r\n"), b"0\r\n")
        self.assertTrue(got == b"".join(events))
        self.picker.wait_idle()

    def test_usage_is_counted(self):
        before = {name: self.picker.metric(f"request_{name}_tokens_sum", model_name="usage")
                  for name in ("input", "output")}
        self.assertEqual(set(before.values()), {0})
        self.script(wire.whole(json.dumps({"choices": [], "usage": USAGE}).encode()))
        self.ask(model="usage")
        self.counted("request_input_tokens_sum", 7, model_name="usage")
        self.counted("request_output_tokens_sum", 10, model_name="usage")
        event = b"data: " + json.dumps({"usage": USAGE}).encode() + b"\n\n"
        self.script(wire.EVENT_HEAD + wire.chunk(b"data: {}\n\n") + wire.chunk(event[:30]) +
                    wire.chunk(event[30:] + b"data: [DONE]\n\n") + b"0\r\n\r\n")
        self.ask(model="usage", stream=True)
        self.counted("request_input_tokens_sum", 14, model_name="usage")
        self.counted("request_output_tokens_count", 2, model_name="usage")
        self.counted("request_total", 2, model_name="usage", target_model_name="usage")
        self.picker.wait_idle()


if __name__ == "__main__":
    envoy_fleet.need_envoy()
    fleet.main()
