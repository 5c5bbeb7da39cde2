"""The gateway of examples/custom_gateway, which embeds the library, before simulated servers."""

import json
import os
import pathlib
import re

import fleet
import wire
from fleet import MODEL, ROOT, until

BUILT = pathlib.Path(os.environ.get("WEIR_EXAMPLES_DIR", ROOT / "build/dev/tests/install"))
PROGRAM = BUILT / "custom_gateway/custom_gateway"
if not PROGRAM.exists():
    fleet.skip(f"{PROGRAM} is not built")

PIPELINE = ROOT / "examples/custom_gateway/pipeline.yaml"
STREAM = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
ENDLESS = json.dumps({**STREAM, "max_tokens": 20000, "ignore_eos": True}).encode()


class Gateway:
    def __init__(self, programs, servers):
        self.program = programs.start("custom_gateway", [
            PROGRAM, 0, PIPELINE, *[f"127.0.0.1:{server.port}" for server in servers]])
        self.port = int(self.program.wait_for_line(r"listening on 127\.0\.0\.1:(\d+)")[1])

    def fetch(self, method, path, body=None, headers=None):
        return fleet.fetch(self.port, method, path, body, headers)

    def chat(self, text, **members):
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], **members}
        return self.fetch("POST", "/v1/chat/completions", body)


class CustomGatewayTest(fleet.FleetTest):
    @classmethod
    def start(cls, programs):
        cls.servers = programs.sim(2, "--seed", 1)
        cls.gateway = Gateway(programs, cls.servers)

    def served(self):
        return [int(server.metric("vllm:prompt_tokens_total")) for server in self.servers]

    def test_conversations_stay_where_their_prefix_is(self):
        for talk in range(4):
            text = f"conversation {talk}: " + "the same long beginning " * 60
            before = self.served()
            for turn in range(3):
                answer = self.gateway.chat(text + " more" * turn, max_tokens=4)
                self.assertEqual(answer.status, 200, answer.body)
                self.assertGreater(answer.json()["usage"]["completion_tokens"], 0)
            moved = [after > then for after, then in zip(self.served(), before)]
            self.assertEqual(sum(moved), 1, "one server for a conversation")

    def test_streams_run_and_are_counted_until_they_end(self):
        clients = [wire.Client(self.gateway.port) for _ in range(4)]
        try:
            for client in clients:
                client.send(wire.post(ENDLESS))
                self.assertIn(b"data: ", client.reader.until(b"data: ") or b"")
            until(lambda: [s.running_requests() for s in self.servers] == [2, 2],
                  "two streams on each server")
        finally:
            for client in clients:
                client.sock.close()
        until(lambda: [s.running_requests() for s in self.servers] == [0, 0], "no streams")
        answer = self.gateway.chat("after them", max_tokens=4, stream=True)
        self.assertIn(b"data: [DONE]", answer.body)

    def test_one_connection_serves_many_requests(self):
        body = json.dumps({**STREAM, "stream": False, "max_tokens": 2}).encode()
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


class CustomGatewayFaultTest(fleet.unittest.TestCase):
    def setUp(self):
        self.programs = fleet.Fleet()
        self.addCleanup(lambda: self.assertEqual(self.programs.stop(), []))

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

    def test_bad_arguments_are_named(self):
        done = fleet.run([PROGRAM, 0, "missing.yaml", "127.0.0.1:1"])
        self.assertEqual(done.returncode, 1)
        self.assertIn("missing.yaml: cannot be read", done.stderr)
        done = fleet.run([PROGRAM, 0, PIPELINE, "127.0.0.1:70000"])
        self.assertEqual(done.returncode, 1)
        self.assertTrue(re.search("127.0.0.1:70000: .*port", done.stderr), done.stderr)


if __name__ == "__main__":
    fleet.main()
