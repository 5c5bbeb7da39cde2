"""Chat requests, and the proxies of examples/ that are sent them."""

import http.client
import json

import fleet
import wire
from fleet import MODEL

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
BODY = json.dumps(CHAT).encode()
ENDLESS = json.dumps({**CHAT, "stream": True, "max_tokens": 20000, "ignore_eos": True}).encode()
TALKS = 20      # as many begin at each of two servers, but for a chance of 2**-19
TURNS_MAX = 40  # of a talk whose server is drawn anew each time: all at one server, 2**-40


def body(text, **members):
    return {**CHAT, "messages": [{"role": "user", "content": text}], **members}


def prompt(talk, turn):
    """Of a conversation, which grows from a long beginning of its own."""
    return f"conversation {talk}: " + "the same long beginning " * 60 + " more" * turn


class Proxy:
    """A proxy under test; its class sets `port`."""

    def fetch(self, method, path, body=None, headers=None):
        return fleet.fetch(self.port, method, path, body, headers)

    def chat(self, text, headers=None, **members):
        return self.fetch("POST", "/v1/chat/completions", body(text, **members), headers)

    def talk(self, talk, turns, **members):
        """The answers of a conversation."""
        return [self.chat(prompt(talk, turn), **members) for turn in range(turns)]

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
            while 200 not in statuses and len(statuses) < TURNS_MAX:
                try:
                    statuses.append(running.chat(prompt(talk, len(statuses))).status)
                except (http.client.HTTPException, OSError) as error:
                    statuses.append(repr(error))
            self.assertIn(200, statuses)
        self.assertGreater(len(bad.requests), 0)
        return running
