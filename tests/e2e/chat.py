"""Chat requests, and the proxies of examples/ that are sent them."""

import json

import fleet
import wire
from fleet import MODEL

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
BODY = json.dumps(CHAT).encode()
ENDLESS = json.dumps({**CHAT, "stream": True, "max_tokens": 20000, "ignore_eos": True}).encode()
TALKS = 20      # as many begin at each of two servers, but for a chance of 2**-19
TURNS_MAX = 40  # of a talk whose server is drawn anew each time: all at one server, 2**-40


class Proxy:
    """A proxy under test; its class sets `port`."""

    def fetch(self, method, path, body=None, headers=None):
        return fleet.fetch(self.port, method, path, body, headers)

    def chat(self, text, headers=None, **members):
        body = {**CHAT, "messages": [{"role": "user", "content": text}], **members}
        return self.fetch("POST", "/v1/chat/completions", body, headers)

    def talk(self, name, turns, **members):
        """The answers of a conversation that grows from a long beginning."""
        for turn in range(turns):
            yield self.chat(f"conversation {name}: " + "the same long beginning " * 60 +
                            " more" * turn, **members)

    def stream(self):
        """A client whose endless answer has begun."""
        client = wire.Client(self.port)
        client.send(wire.post(ENDLESS))
        if client.reader.until(b"data: ") is None:
            raise AssertionError("closed without a stream")
        return client


class FaultTest(fleet.unittest.TestCase):
    """Every test has its own programs and servers."""

    def setUp(self):
        self.programs = fleet.Fleet()
        self.addCleanup(lambda: self.assertEqual(self.programs.stop(), []))

    def scripted(self, answer=None, **options):
        server = wire.ScriptedServer(**options)
        self.addCleanup(server.close)
        if answer:
            server.answer = answer
        return server

    def leaves_a_server_that(self, fails, proxy):
        """Talks that begin at such a server find the other one; proxy(servers) starts the proxy."""
        bad = self.scripted(fails)
        running = proxy([self.scripted(), bad])
        for talk in range(TALKS):
            statuses = []
            for answer in running.talk(talk, TURNS_MAX):
                statuses.append(answer and answer.status)
                if statuses[-1] == 200:
                    break
            self.assertEqual(statuses[-1], 200, statuses)
        self.assertGreater(len(bad.requests), 0)
        return running
