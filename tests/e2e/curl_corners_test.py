"""Corners of HTTP and of the API, as clients meet them at weir-gateway: curl and bare sockets."""

import json
import subprocess
import time

import fleet
import wire
from fleet import MODEL

CURL = fleet.need_program("curl")
CHAT = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}).encode()
BAD_HEAD = ("weir_gateway_requests_refused_total", {"reason": "bad_head"})
BAD_BODY = ("weir_gateway_requests_refused_total", {"reason": "bad_body"})
TOO_LARGE = ("weir_gateway_requests_refused_total", {"reason": "body_too_large"})


class CornersTest(fleet.FleetTest):
    """One gateway before one scripted server; each test says what that answers."""

    @classmethod
    def start(cls, programs):
        cls.server = wire.ScriptedServer()
        cls.gateway = programs.gateway([cls.server], "--no-scrape", "--body-mib-max", 1)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()
        super().tearDownClass()

    def setUp(self):
        self.server.answer = lambda sock, request: (sock.sendall(wire.whole()), True)[1]
        self.server.read_bodies = True
        self.server.requests.clear()

    def curl(self, path, *arguments, data=None):
        argv = [CURL, "-sS", "--max-time", "60", self.gateway.url + path, *arguments]
        if data is not None:
            argv += ["-H", "Content-Type: application/json", "--data-binary", "@-"]
        done = subprocess.run(argv, input=data or b"", capture_output=True, timeout=90)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def assert_error(self, answer, status, says=""):
        """An error of the OpenAI form."""
        self.assertIsNotNone(answer, "closed without an answer")
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(answer.header("content-type"), "application/json")
        error = answer.json()["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertIn(says, error["message"])
        self.assertIsInstance(error["type"], str)

    def refused(self, data, status, metric, says="", closes=True):
        """The gateway refuses these bytes by itself, and counts that."""
        name, labels = metric
        with self.moved(name, **labels), wire.Client(self.gateway.port) as client:
            client.send(data)
            self.assert_error(client.answer(), status, says)
            if closes:
                self.assertEqual(client.closed(), b"", "a second answer")
        self.assertEqual(self.server.requests, [], "the server was asked")

    # What passes.

    def test_events_pass_byte_for_byte(self):
        pieces = [b": a comment\n\n", b"data: {\"choices\":[", b"]}\n\nevent: x\r\ndata: y\r\n\r\n",
                  b"data: \xff\xfe no utf-8\n\n", b"d", b"ata: late\n\ndata: [DONE]", b"\n\n",
                  b"data: after the end " + bytes(range(256)) * 300 + b"\n\n"]

        def answer(sock, _):
            sock.sendall(wire.EVENT_HEAD)
            for piece in pieces:
                sock.sendall(wire.chunk(piece))
                time.sleep(0.002)  # so that they are read one by one
            sock.sendall(b"0\r\n\r\n")
            return True

        self.server.answer = answer
        self.assertEqual(self.curl("/v1/chat/completions", "-N", data=CHAT), b"".join(pieces))

        def answer_until_close(sock, _):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            for piece in pieces:
                sock.sendall(piece)
            return False

        self.server.answer = answer_until_close
        self.assertEqual(self.curl("/v1/chat/completions", "-N", data=CHAT), b"".join(pieces))

    def test_keep_alive_and_pipelining(self):
        self.server.answer = lambda sock, request: (
            sock.sendall(wire.whole(b'"%s"' % request.body[-3:-1])), True)[1]
        bodies = [b'{"model":"m","prompt":"%02d"}' % i for i in range(20)]
        with wire.Client(self.gateway.port) as client:
            for body in bodies:
                client.send(wire.post(body, path="/v1/completions"))
                self.assertEqual(client.answer().body, b'"%s"' % body[-3:-1])
            client.send(b"".join(wire.post(body, path="/v1/completions") for body in bodies))
            for body in bodies:
                self.assertEqual(client.answer().body, b'"%s"' % body[-3:-1])
        self.assertLess(self.server.connections, 40)
        self.assertGreater(self.gateway.metric("weir_gateway_upstream_reuses_total"), 0)

    def test_a_chunked_request_body_arrives_whole(self):
        head = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n")
        with wire.Client(self.gateway.port) as client:
            client.send(head)
            for i in range(0, len(CHAT), 7):
                client.send(wire.chunk(CHAT[i:i + 7]))
            client.send(b"0\r\nTrailer: x\r\n\r\n")
            self.assertEqual(client.answer().status, 200)
        self.assertEqual(self.server.requests[0].body, CHAT)

    def test_expect_100_continue(self):
        head, body = wire.post(CHAT, "Expect: 100-continue").split(b"\r\n\r\n")
        with wire.Client(self.gateway.port) as client:
            client.send(head + b"\r\n\r\n")
            self.assertEqual(client.answer().status, 100)
            client.send(body)
            self.assertEqual(client.answer().status, 200)
        self.assertNotIn("expect", self.server.requests[0].headers)
        self.server.requests.clear()
        self.refused(wire.post(CHAT, "Expect: the-unexpected"), 417, BAD_HEAD)

    def test_head(self):
        with wire.Client(self.gateway.port) as client:
            client.send(b"HEAD /healthz HTTP/1.1\r\nHost: test\r\n\r\n"
                        b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")
            head, page = client.answer("HEAD"), client.answer("GET")
        self.assertEqual((head.status, page.status), (200, 200))
        self.assertEqual(head.header("content-length"), page.header("content-length"))

        self.server.answer = lambda sock, _: (
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), True)[1]
        with wire.Client(self.gateway.port) as client:
            for _ in range(2):
                client.send(b"HEAD /v1/models HTTP/1.1\r\nHost: test\r\n\r\n")
                self.assertEqual(client.answer("HEAD").header("content-length"), "5")

    def test_http_1_0(self):
        pieces = [b"data: 1\n\n", b"data: [DONE]\n\n"]
        self.server.answer = lambda sock, _: (sock.sendall(
            wire.EVENT_HEAD + b"".join(map(wire.chunk, pieces)) + b"0\r\n\r\n"), True)[1]
        answer = wire.exchange(self.gateway.port, wire.post(CHAT, version="1.0"))
        self.assertEqual(answer.status, 200)
        self.assertIsNone(answer.header("transfer-encoding"), "HTTP/1.0 knows no chunks")
        self.assertEqual(answer.body, b"".join(pieces))

    def test_headers_of_the_way(self):
        answer = wire.exchange(self.gateway.port, wire.post(
            CHAT, "X-Gateway-Destination-Endpoint: 10.1.2.3:80", "X-Prefiller-Host-Port: 10.1.2.3",
            "X-Secret-Hop: 1", "Connection: X-Secret-Hop", "Authorization: Bearer k",
            "X-Request-Id: r-1"))
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.header("x-weir-endpoint"), self.server.name)
        sent = self.server.requests[0].headers
        self.assertEqual(sent["x-gateway-destination-endpoint"], [f"127.0.0.1:{self.server.port}"])
        self.assertNotIn("x-prefiller-host-port", sent)
        self.assertNotIn("x-secret-hop", sent)
        self.assertEqual(sent["authorization"], ["Bearer k"])
        self.assertEqual(sent["x-request-id"], ["r-1"])
        self.assertEqual(self.gateway.decisions()[0]["request_id"], "r-1")
        self.server.answer = lambda sock, _: (
            sock.sendall(wire.whole(b"{}", "X-Weir-Endpoint: somebody")), True)[1]
        answer = wire.exchange(self.gateway.port, wire.post(CHAT))
        self.assertEqual(answer.headers["x-weir-endpoint"], [self.server.name])

    def test_what_is_no_generation_passes_through(self):
        self.server.answer = lambda sock, request: (
            sock.sendall(wire.whole(request.target.encode())), True)[1]
        self.assertEqual(self.curl("/v1/models?a=b"), b"/v1/models?a=b")
        self.assertEqual(self.curl("/tokenize", data=b"not JSON"), b"/tokenize")
        absolute = wire.exchange(self.gateway.port,
                                 b"GET http://test/v1/models HTTP/1.1\r\nHost: test\r\n\r\n")
        self.assertEqual(absolute.body, b"/v1/models")

    # What is refused: the protocol.

    def test_smuggling(self):
        post = b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\n"
        inner = b"GET /secret HTTP/1.1\r\nHost: test\r\n\r\n"
        attempts = {
            "length and chunked": (400, b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
            "two lengths": (400, b"Content-Length: 0\r\nContent-Length: 40\r\n"),
            "a list of lengths": (400, b"Content-Length: 0, 40\r\n"),
            "a signed length": (400, b"Content-Length: +4\r\n"),
            "a length in hex": (400, b"Content-Length: 0x4\r\n"),
            "a length beyond 64 bits": (400, b"Content-Length: 18446744073709551617\r\n"),
            "chunked twice": (400, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            "chunked, then identity": (501, b"Transfer-Encoding: chunked, identity\r\n"),
            "another coding": (501, b"Transfer-Encoding: xchunked\r\n"),
            "a vertical tab": (400, b"Transfer-Encoding: \x0bchunked\r\n"),
            "a space before the colon": (400, b"Transfer-Encoding : chunked\r\n"),
            "a folded header": (400, b"X: 1\r\n Transfer-Encoding: chunked\r\n"),
            "a bare line feed": (400, b"X: 1\nTransfer-Encoding: chunked\r\n"),
            "a bare carriage return": (400, b"X: 1\rTransfer-Encoding: chunked\r\n"),
            "a NUL": (400, b"X: a\x00b\r\n"),
            "a control byte": (400, b"X: a\x01b\r\n"),
            "two hosts": (400, b"Host: other\r\n"),
            "a hop named Content-Length": (400, b"Connection: Content-Length\r\n"),
            "a name with a space": (400, b"X Y: 1\r\n"),
            "no colon": (400, b"nothing\r\n"),
        }
        for name, (status, lines) in attempts.items():
            with self.subTest(name):
                self.refused(post + lines + b"\r\n0\r\n\r\n" + inner, status, BAD_HEAD)
        with self.subTest("chunked in HTTP/1.0"):
            self.refused(post.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
                         b"\r\n" + inner, 400, BAD_HEAD)
        bad_chunk = ("weir_gateway_requests_refused_total", {"reason": "bad_chunk"})
        for size in (b"-1", b"0x2", b"fffffffffffffffff", b"2 2", b"\n", b"g"):
            with self.subTest(f"chunk size {size}"):
                self.refused(post + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\n{}\r\n0"
                             b"\r\n\r\n" + inner, 400, bad_chunk)

    def test_what_is_not_our_http(self):
        for name, data, status in (
                ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
                ("HTTP/3.1", b"GET / HTTP/3.1\r\nHost: test\r\n\r\n", 505),
                ("CONNECT", b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
                ("no host", b"GET /v1/models HTTP/1.1\r\n\r\n", 400),
                ("a long target", b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: test\r\n\r\n", 414),
                ("many headers", b"GET / HTTP/1.1\r\nHost: test\r\n" + b"X: 1\r\n" * 200 + b"\r\n",
                 431),
                ("a large head", b"GET / HTTP/1.1\r\nHost: test\r\nX: " + b"a" * 70000 + b"\r\n\r\n",
                 431)):
            with self.subTest(name):
                self.refused(data, status, BAD_HEAD)
        with self.moved(BAD_HEAD[0], **BAD_HEAD[1]), wire.Client(self.gateway.port) as client:
            client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100))
            client.closed()  # a TLS hello to a plain port: any answer, then the end

    def test_body_over_the_limit(self):
        large = b" " * (1 << 20) + CHAT
        self.refused(wire.post(large), 413, TOO_LARGE)
        self.refused(b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\n"
                     b"Content-Length: 99999999999\r\n\r\n", 413, TOO_LARGE)
        self.refused(b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n" + wire.chunk(b" " * (1 << 19)) * 3, 413,
                     TOO_LARGE)
        # curl waits for "100 Continue" with large bodies, and is told 413 instead.
        with self.moved(TOO_LARGE[0], **TOO_LARGE[1]):
            status = self.curl("/v1/chat/completions", "-o", "/dev/null", "-w", "%{http_code}",
                               "-H", "Expect: 100-continue", data=b" " * (2 << 20))
        self.assertEqual(status, b"413")

    def test_a_slow_client_is_told_to_hurry(self):
        with self.moved("weir_gateway_requests_refused_total", reason="head_timeout"), \
                wire.Client(self.gateway.port) as client:
            client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost:")
            self.assert_error(client.answer(), 408)
            self.assertEqual(client.closed(), b"")

    def test_a_slow_but_living_client_is_served(self):
        with wire.Client(self.gateway.port) as client:
            data = wire.post(CHAT)
            for i in range(0, len(data), 9):
                client.send(data[i:i + 9])
                time.sleep(0.002)
            self.assertEqual(client.answer().status, 200)

    # What is refused: bodies. The connection lives on.

    def refused_body(self, body, says, path="/v1/chat/completions"):
        self.server.requests.clear()
        with self.moved(BAD_BODY[0], **BAD_BODY[1]), wire.Client(self.gateway.port) as client:
            client.send(wire.post(body, path=path))
            self.assert_error(client.answer(), 400, says)
            client.send(wire.post(CHAT))
            self.assertEqual(client.answer().status, 200, "the connection should live on")
        self.assertEqual([r.body for r in self.server.requests], [CHAT])

    def test_bodies(self):
        user = b'"messages":[{"role":"user","content":"hi"}]'
        for name, body, says in (
                ("nothing", b"", ""),
                ("no JSON", b"hello", ""),
                ("cut off", CHAT[:-1], ""),
                ("more after it", CHAT + b"{}", ""),
                ("an array", b"[1]", ""),
                ("a number as model", b'{"model":1,' + user + b"}", "model"),
                ("text as messages", b'{"model":"m","messages":"hi"}', "messages"),
                ("a message of wrong type", b'{"model":"m","messages":[7]}', "messages"),
                ("no messages", b'{"model":"m"}', "messages"),
                ("two models", b'{"model":"a","model":"b",' + user + b"}", "model"),
                ("invalid UTF-8", b'{"model":"\xff\xfe",' + user + b"}", ""),
                ("half a surrogate", b'{"model":"m","messages":[{"role":"user","content":'
                 b'"\\ud800"}]}', "")):
            with self.subTest(name):
                self.refused_body(body, says)
        with self.subTest("nested deeply"):
            self.refused_body(b'{"model":"m","messages":' + b"[" * 5000 + b"]" * 5000 + b"}", "")
        with self.subTest("completions"):
            self.refused_body(b'{"model":"m","prompt":{}}', "prompt", "/v1/completions")
        with self.subTest("embeddings"):
            self.refused_body(b'{"model":"m","input":1.5}', "input", "/v1/embeddings")

    def test_numbers_and_names_are_the_servers_business(self):
        user = b'"messages":[{"role":"user","content":"hi"}]}'
        for name, members in (
                ("64 bits", b'"model":"m","seed":18446744073709551615,"max_tokens":9007199254740993'),
                ("65 bits", b'"model":"m","max_tokens":36893488147419103232'),
                ("negative", b'"model":"m","max_tokens":-1'),
                ("huge", b'"model":"m","temperature":1e400'),
                ("a name twice that nobody reads", b'"model":"m","x":1,"x":2'),
                ("text as stream", b'"model":"m","stream":"yes"'),
                ("no model", b'"stream":false')):
            with self.subTest(name):
                self.server.requests.clear()
                body = b"{" + members + b"," + user
                self.assertEqual(wire.exchange(self.gateway.port, wire.post(body)).status, 200)
                self.assertEqual(self.server.requests[0].body, body)


if __name__ == "__main__":
    fleet.main()
