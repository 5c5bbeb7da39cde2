"""Pickers and model servers that die, stop and come back behind the real Envoy."""

import json
import signal

import envoy_fleet
import fleet
import wire
from chat import ENDLESS
from envoy_fleet import FAIL_OPEN, PICKED, WATCHFUL, Events, Upstream
from fleet import BIN, MODEL, until

CHAT = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
BODY = json.dumps(CHAT).encode()


class FaultTest(fleet.unittest.TestCase):
    """Every test has its own programs."""

    def setUp(self):
        self.programs = fleet.Fleet()
        self.addCleanup(lambda: self.assertEqual(self.programs.stop(), []))

    def start(self, servers, *picker_flags, edits=(), pickers=1, **options):
        self.pickers = [envoy_fleet.start_picker(self.programs, servers, *picker_flags, **options)
                        for _ in range(pickers)]
        self.picker = self.pickers[0]
        self.envoy = envoy_fleet.start_envoy(self.programs, self.pickers, servers, edits)

    def upstream(self):
        server = Upstream()
        self.addCleanup(server.close)
        return server

    def open_stream(self, events):
        """A client that has seen the first event of a streamed answer."""
        client = wire.Client(self.envoy.port)
        self.addCleanup(client.sock.close)
        client.send(wire.post(BODY))
        self.assertIn(b" 200 ", client.reader.until(b"\r\n\r\n"))
        events.send(b"data: 1\n\n")
        client.reader.until(b"data: 1\n\n")
        return client


class PickerTest(FaultTest):
    def test_without_a_picker_requests_fail_or_go_on(self):
        server, other = self.upstream(), self.upstream()
        for name, edits in (("fail closed", []), ("fail open", FAIL_OPEN)):
            with self.subTest(name):
                picker = envoy_fleet.start_picker(self.programs, [server])
                envoy = envoy_fleet.start_envoy(self.programs, [picker], [other],
                                                [WATCHFUL, *edits])
                self.assertEqual(envoy.chat().headers[PICKED], server.address)
                picker.program.kill()
                if edits:  # before Envoy knows, requests with a body fail
                    until(lambda e=envoy: e.picker_health() == ["unhealthy"], "Envoy to know")
                for size in (1, 200_000):
                    answer = envoy.chat("x" * size)
                    if edits:
                        self.assertEqual((answer.status, answer.headers.get(PICKED)),
                                         (200, other.address))
                    else:
                        self.assertEqual(answer.status, 503, answer.body)
                picker.start()
                until(lambda e=envoy: e.chat().headers.get(PICKED) == server.address,
                      "traffic to go through the picker again")

    def test_a_picker_takes_its_streams_along(self):
        # Envoy keeps no copy of what it sent in full duplex, so it cannot go on alone.
        server = self.upstream()
        for name, edits in (("fail closed", []), ("fail open", FAIL_OPEN)):
            with self.subTest(name):
                self.start([server], edits=edits)
                events = Events(server)
                client = self.open_stream(events)
                self.picker.program.kill()
                self.assertFalse(client.closed().endswith(b"0\r\n\r\n"), "the cut must show")
                self.assertTrue(events.left.wait(fleet.WAIT_S), "Envoy should leave the server")

    def test_a_picker_drains_without_a_failed_request(self):
        servers = self.programs.sim(2, "--seed", 1)
        self.start(servers, "--drain-timeout", "3s", edits=[WATCHFUL], pickers=2)
        result = self.programs.folder / "load.json"
        load = self.programs.start("weir-load", [
            BIN / "weir-load", "run", "--target", self.envoy.url, "--json", result, "--quiet",
            "--model", MODEL, "--seed", 3, "--conversations", 400, "--turns", 1, "--input-tokens",
            50, "--output-tokens", 20, "--ignore-eos", "--rate", 100])
        for picker in self.pickers:
            until(lambda: picker.metric("request_total") > 20, "both pickers to be asked")
        self.picker.program.signal(signal.SIGTERM)
        until(lambda: self.envoy.picker_health() == ["unhealthy", "healthy"],
              "Envoy to leave the draining picker")
        self.assertEqual(self.picker.program.wait(), 0)
        self.assertEqual(load.wait(), 0, load.log())
        summary = json.loads(result.read_text())
        self.assertEqual((summary["requests"], summary["errors"], summary["errors_by_kind"]),
                         (400, 0, []))


class ServerTest(FaultTest):
    def test_a_server_dies_inside_its_answer(self):
        servers = [self.programs.sim()[0] for _ in range(2)]
        self.start(servers)
        with wire.Client(self.envoy.port) as client:
            client.send(wire.post(ENDLESS))
            self.assertIn(b"data: ", client.reader.until(b"data: ") or b"")
            busy, idle = sorted(servers, key=lambda s: -s.running_requests())
            self.assertEqual((busy.running_requests(), idle.running_requests()), (1, 0))
            busy.program.kill()
            self.assertNotIn(b"\r\n0\r\n\r\n", client.closed(), "the cut must show")
        self.picker.wait_idle()
        self.picker.endpoints([idle])
        until(lambda: all(self.envoy.chat(max_tokens=2).status == 200 for _ in range(4)),
              "the other server to get all requests")

    def test_the_endpoints_file_changes(self):
        first, second = self.upstream(), self.upstream()
        self.start([first])
        self.assertEqual(self.envoy.chat().headers[PICKED], first.address)
        self.picker.endpoints([second])
        until(lambda: self.envoy.chat().headers[PICKED] == second.address, "the new server")
        self.assertEqual(self.envoy.chat().headers[PICKED], second.address)
        self.picker.endpoints([])
        answer = until(lambda: (a := self.envoy.chat()).status != 200 and a, "no server")
        self.assertEqual(answer.status, 503)
        self.assertEqual(answer.headers["x-llm-d-request-dropped-reason"], "rejected-no-endpoints")
        self.assertEqual(answer.body, b"inference error: ServiceUnavailable - failed to find "
                         b"endpoint candidates for serving the request")
        self.picker.endpoints([first, second])
        until(lambda: self.envoy.chat().status == 200, "servers again")

    def test_a_client_leaves(self):
        server = self.upstream()
        self.start([server])
        events = Events(server)
        client = self.open_stream(events)
        self.assertEqual(self.picker.metric("request_running"), 1)
        client.sock.close()
        self.assertTrue(events.left.wait(fleet.WAIT_S), "Envoy should leave the server")
        self.picker.wait_idle()

    def test_a_server_that_is_not_there(self):
        server = self.upstream()
        server.close()
        self.start([server])
        self.assertEqual(self.envoy.chat().status, 503)
        self.picker.wait_idle()


class ManyTest(FaultTest):
    def test_500_at_once(self):
        servers = self.programs.sim(3, "--seed", 1)
        self.start(servers)
        result = self.programs.folder / "load.json"
        done = fleet.run([
            BIN / "weir-load", "run", "--target", self.envoy.url, "--json", result, "--quiet",
            "--model", MODEL, "--seed", 3, "--conversations", 1000, "--turns", 1,
            "--input-tokens", 300, "--output-tokens", 20, "--ignore-eos", "--concurrency", 500,
            "--active", 500])
        self.assertEqual(done.returncode, 0, done.stderr)
        summary = json.loads(result.read_text())
        self.assertEqual((summary["requests"], summary["errors"]), (1000, 0))
        until(lambda: self.picker.metric("request_total") == 1000, "all to be counted")
        self.picker.wait_idle()
        for server in servers:
            self.assertGreater(server.metric("vllm:request_success_total"), 250)

    def test_clients_that_stop_in_their_bodies(self):
        self.start([self.upstream()])
        clients = [wire.Client(self.envoy.port) for _ in range(100)]
        for client in clients:
            client.send(wire.post(BODY)[:-10])
        until(lambda: self.envoy.stat("http.clients.downstream_rq_active") == 100, "100 requests")
        self.assertEqual(self.envoy.chat().status, 200, "others are served")
        for client in clients:
            client.sock.close()
        until(lambda: self.envoy.stat("cluster.picker.upstream_rq_active") == 0, "streams to end")
        self.picker.wait_idle()
        self.assertEqual(self.picker.metric("request_total"), 1)


if __name__ == "__main__":
    envoy_fleet.need_envoy()
    fleet.main()
