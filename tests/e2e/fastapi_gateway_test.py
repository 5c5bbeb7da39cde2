"""examples/fastapi_gateway before simulated servers."""

import asyncio
import contextlib
import json
import sys
import tempfile

import fleet

fleet.use_hosts()

sys.path.insert(1, str(fleet.ROOT / "tests/docs"))

import docs_check  # noqa: E402
import httpx  # noqa: E402
from fleet import MODEL, Metrics, until  # noqa: E402

GATEWAY = fleet.ROOT / "examples/fastapi_gateway/gateway.py"
LONG = "A system prompt of many words. " * 100


class FastApiGatewayTest(fleet.FleetTest):
    @classmethod
    def start(cls, programs):
        cls.servers = programs.sim(3)
        cls.url = cls.gateway_before(programs, cls.servers)

    @staticmethod
    def gateway_before(programs, servers, *flags):
        argv = [sys.executable, GATEWAY, "--port", 0, *flags]
        for server in servers:
            argv += ["--server", f"127.0.0.1:{server.port}"]
        program = programs.start("gateway.py", argv)
        return program.wait_for_line(r"running on (http://127\.0\.0\.1:\d+)")[1]

    def chat(self, text, url=None, **members):
        return httpx.post(f"{url or self.url}/v1/chat/completions", timeout=60, json={
            "model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 8,
            **members})

    def metric(self, name, url=None, **labels):
        page = httpx.get(f"{url or self.url}/metrics", timeout=60).text
        return Metrics(page).value(name, **labels)

    def test_a_conversation_stays_on_its_server(self):
        answers = [self.chat(LONG) for _ in range(4)]
        self.assertEqual([answer.status_code for answer in answers], [200] * 4)
        self.assertEqual(len({answer.headers["x-weir-endpoint"] for answer in answers}), 1)
        usage = answers[-1].json()["usage"]
        self.assertGreater(usage["prompt_tokens_details"]["cached_tokens"],
                           usage["prompt_tokens"] / 2)

    def test_the_page(self):
        (_, body), = docs_check.python_blocks(fleet.ROOT, "tests/e2e/fastapi_gateway_test.py")
        names = {}
        exec(body.replace("10.0.0.1:8000", f"127.0.0.1:{self.servers[0].port}"), names)
        app = names["app"]

        async def ask():
            async with (app.router.lifespan_context(app),
                        httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client):
                answer = await client.post("http://page/v1/completions", json={
                    "model": MODEL, "prompt": LONG, "max_tokens": 3})
                return answer.json(), app.state.router.pool.rows(), app.state.router.stats()

        with contextlib.chdir(GATEWAY.parent):
            answer, rows, stats = asyncio.run(ask())
        self.assertEqual(answer["usage"]["completion_tokens"], 3)
        self.assertEqual((rows[0]["in_flight"], stats["flights_ended"]), (0, 1))

    def test_conversations_spread(self):
        servers = {self.chat(f"{i} {LONG}").headers["x-weir-endpoint"] for i in range(40)}
        self.assertEqual(servers, {f"127.0.0.1:{server.port}" for server in self.servers})

    def test_streams_come_in_pieces(self):
        with httpx.stream("POST", f"{self.url}/v1/completions", timeout=60, json={
                "model": MODEL, "prompt": LONG, "stream": True, "max_tokens": 6,
                "ignore_eos": True, "stream_options": {"include_usage": True}}) as answer:
            self.assertEqual(answer.headers["content-type"].split(";")[0], "text/event-stream")
            events = [line[len("data: "):] for line in answer.iter_lines() if line]
        self.assertEqual(events[-1], "[DONE]")
        self.assertEqual(json.loads(events[-2])["usage"]["completion_tokens"], 6)

    def test_requests_count_while_they_last(self):
        def in_flight():
            return self.metric("weir_flights")

        until(lambda: in_flight() == 0, "earlier requests to end")
        with httpx.stream("POST", f"{self.url}/v1/completions", timeout=60, json={
                "model": MODEL, "prompt": "Go on for long.", "stream": True,
                "max_tokens": 20000, "ignore_eos": True}) as answer:
            pieces = answer.iter_bytes()  # to let go of it is to leave
            next(pieces)
            self.assertEqual(in_flight(), 1)
            self.assertEqual(sum(s.running_requests() for s in self.servers), 1)
            del pieces
        until(lambda: in_flight() == 0, "the request of a client that left to end")
        until(lambda: sum(s.running_requests() for s in self.servers) == 0,
              "its server to stop")

    def test_a_client_that_leaves_before_the_answer_begins(self):
        with fleet.Fleet() as programs:
            slow, = programs.sim(1, "--time-to-first-token", "60s")
            url = self.gateway_before(programs, [slow])
            for stream in (False, True):
                with self.assertRaises(httpx.ReadTimeout):
                    httpx.post(f"{url}/v1/completions", timeout=0.5, json={
                        "model": MODEL, "prompt": LONG, "stream": stream})
                until(lambda: self.metric("weir_flights", url) == 0,
                      "the request of a client that left to end", 10)
                until(lambda: slow.running_requests() == 0, "its server to stop", 10)

    def test_a_server_that_says_nothing_is_given_up(self):
        with fleet.Fleet() as programs:
            slow, = programs.sim(1, "--time-to-first-token", "60s")
            answer = self.chat("hi", self.gateway_before(programs, [slow], "--silence-s", 0.2))
        self.assertEqual(answer.status_code, 502)
        self.assertIn("ReadTimeout", answer.json()["error"]["message"])

    def test_a_rewritten_body_is_what_is_sent(self):
        rewrites = {"resources": {"modelRewrites": [{"name": "r", "rules": [
            {"matches": [{"model": {"value": "alias"}}],
             "targets": [{"modelRewrite": MODEL, "weight": 1}]}]}]}}
        with fleet.Fleet() as programs, tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write((GATEWAY.parent / "pipeline.yaml").read_text() + json.dumps(rewrites)[1:-1])
            file.flush()
            url = self.gateway_before(programs, self.servers, "--pipeline", file.name)
            answer = self.chat("hi", url, model="alias")
        self.assertEqual((answer.status_code, answer.json()["model"]), (200, MODEL), answer.text)

    def test_what_weir_refuses(self):
        answer = httpx.post(f"{self.url}/v1/chat/completions", content=b"no JSON", timeout=60)
        self.assertEqual(answer.status_code, 400)
        self.assertEqual(answer.json()["error"]["type"], "invalid_argument")
        with fleet.Fleet() as programs:
            answer = self.chat("hi", self.gateway_before(programs, []))
        self.assertEqual(answer.status_code, 503)
        self.assertEqual(answer.json()["error"]["type"], "unavailable")

    def test_what_a_server_refuses_passes_through(self):
        answer = self.chat("hi", model="other")
        self.assertEqual(answer.status_code, 404)
        self.assertIn("`other`", answer.text)

    def test_a_dead_server_is_passed_over(self):
        with fleet.Fleet() as programs:
            dead, = programs.sim(1)
            url = self.gateway_before(programs, [dead, self.servers[0]])
            dead.program.kill()
            answers = [self.chat(f"{i} {LONG}", url) for i in range(4)]
            self.assertEqual({answer.status_code for answer in answers}, {200})
            self.assertEqual({answer.headers["x-weir-endpoint"] for answer in answers},
                             {f"127.0.0.1:{self.servers[0].port}"})


if __name__ == "__main__":
    fleet.main()
