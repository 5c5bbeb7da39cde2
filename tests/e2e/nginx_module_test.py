"""Debian's nginx with the module of examples/nginx, before simulated servers."""

import os
import pathlib
import signal
import threading

import chat
import fleet
import wire
from envoy_fleet import free_ports
from fleet import MODEL, ROOT, until

NGINX = fleet.need_program("nginx", "/usr/sbin/nginx")
BUILT = pathlib.Path(os.environ.get("WEIR_EXAMPLES_DIR", ROOT / "build/dev/tests/install")) / "nginx"
MODULE = BUILT / "ngx_http_weir_module.so"
if not MODULE.exists():
    fleet.skip(f"{MODULE} is not built; it needs the package nginx-dev")

PIPELINE = ROOT / "examples/nginx/pipeline.yaml"
CONF = """load_module {module};
{user}
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log stderr info;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_body_buffer_size 64k;
  upstream models {{
{servers}
    {method}
    keepalive 4;
  }}
  server {{
    listen 127.0.0.1:{port} reuseport;
    location / {{
      proxy_pass http://models;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering {buffering};
      proxy_next_upstream error timeout non_idempotent;
      add_header X-Server $upstream_addr always;
      add_header X-Worker $pid always;
    }}
    location /tls/ {{ proxy_pass https://models; }}
    location = /weir {{ weir_status models; }}
    location = /weir/none {{ weir_status nobody; }}
  }}
}}
"""


class Nginx(chat.Proxy):
    """A running nginx. `option`: of each `server` line."""

    def __init__(self, programs, servers, method=f"weir {PIPELINE};", option="", buffering="off",
                 workers=1):
        (self.port,) = free_ports(1)
        self.conf = programs.file("nginx.conf", CONF.format(
            module=MODULE, folder=programs.folder, method=method, port=self.port,
            buffering=buffering, workers=workers,
            user="user root;" if os.geteuid() == 0 else "",  # who reads the test's folder
            servers="\n".join(f"    server 127.0.0.1:{s.port} {option};" for s in servers)))
        self.argv = [NGINX, "-e", "stderr", "-c", self.conf]
        self.program = None
        self.programs = programs

    def start(self):
        self.program = self.programs.start("nginx", self.argv)
        self.program.wait_for_line("start worker process ")
        return self

    def metric(self, name, **labels):
        return fleet.Metrics(self.fetch("GET", "/weir").body.decode()).value(name, **labels)


class ClosesTheSecondTime:
    """Answers of a server that serves one request of a connection and closes it at the next one,
    as if its time to be kept had just run out. The first ones are answered `together`."""

    def __init__(self, together=1):
        self.served = set()
        self.together = threading.Barrier(together)

    def __call__(self, sock, request):
        if sock in self.served:
            return False
        self.served.add(sock)
        if len(self.served) <= self.together.parties:
            self.together.wait(fleet.WAIT_S)
        sock.sendall(wire.whole())
        return True


class NginxTest(fleet.FleetTest):
    @classmethod
    def start(cls, programs):
        cls.servers = programs.sim(2, "--seed", 1)
        cls.nginx = Nginx(programs, cls.servers).start()
        cls.names = {f"127.0.0.1:{server.port}": server for server in cls.servers}

    def idle(self):
        until(lambda: self.nginx.metric("weir_flights") == 0, "no request in flight")

    def test_conversations_stay_where_their_prefix_is(self):
        homes = set()
        for talk in range(6):
            answers = self.nginx.talk(talk, 4, max_tokens=4)
            self.assertEqual([a.status for a in answers], [200] * 4)
            seen = {a.headers["x-server"] for a in answers}
            self.assertEqual(len(seen), 1, "one server for a conversation")
            homes |= seen
        self.assertLessEqual(homes, set(self.names))
        self.idle()

    def test_requests_in_flight_are_counted_until_they_end(self):
        clients = []
        try:
            for _ in range(4):
                clients.append(self.nginx.stream())
            self.assertEqual(self.nginx.metric("weir_flights"), 4)
            until(lambda: [s.running_requests() for s in self.servers] == [2, 2],
                  "two streams on each server")
        finally:
            for client in clients:
                client.sock.close()
        self.idle()

    def test_a_preference_is_no_reason_to_refuse(self):
        answer = self.nginx.chat("not seen yet " * 100, {"Prefer": "if-available"}, max_tokens=2)
        self.assertEqual(answer.status, 200)

    def test_what_weir_cannot_read_goes_to_a_server(self):
        models = self.nginx.fetch("GET", "/v1/models")
        self.assertEqual(models.json()["data"][0]["id"], MODEL)
        broken = self.nginx.fetch("POST", "/v1/chat/completions", b"{")
        self.assertEqual(broken.status, 400)
        self.assertIn(broken.headers["x-server"], self.names)
        large = self.nginx.chat("x" * 200_000, max_tokens=1)  # its body lies in a file
        self.assertIn(large.headers["x-server"], self.names)
        many = {f"X-Header-{i}": "v" for i in range(200)}
        answer = self.nginx.fetch("GET", "/v1/models", headers=many)  # more than weir takes
        self.assertIn(answer.headers["x-server"], self.names)
        self.idle()

    def test_servers_that_do_not_speak_tls_are_an_error(self):
        self.assertEqual(self.nginx.fetch("GET", "/tls/v1/models").status, 502)
        self.assertEqual(self.nginx.fetch("GET", "/weir/none").status, 404)
        self.assertEqual(self.nginx.fetch("HEAD", "/weir").status, 200)
        self.assertEqual(self.nginx.fetch("POST", "/weir", b"x").status, 200)
        self.idle()

    def test_reload_keeps_streams_and_serves_on(self):
        with self.nginx.stream() as client:
            done = fleet.run([*self.nginx.argv, "-s", "reload"])
            self.assertEqual(done.returncode, 0, done.stderr)
            until(lambda: self.nginx.metric("weir_flights") == 0, "a new worker")
            self.assertIn(b"data: ", client.reader.until(b"data: ") or b"", "the old one goes on")
            self.assertEqual(self.nginx.chat("hi", max_tokens=2).status, 200)
        # Until then it may have taken new connections.
        self.nginx.program.wait_for_line(r"worker process \d+ exited with code 0")


class NginxFaultTest(chat.FaultTest):
    def nginx(self, servers, **options):
        return Nginx(self.programs, servers, **options).start()

    def test_the_next_server_takes_over(self):
        first, second = self.programs.sim()[0], self.programs.sim()[0]
        nginx = Nginx(self.programs, [first, second]).start()
        first.program.kill()
        for turn in range(6):
            answer = nginx.chat(f"prompt {turn}", max_tokens=2)
            self.assertEqual(answer.status, 200)
            self.assertTrue(answer.headers["x-server"].endswith(f"127.0.0.1:{second.port}"))
        second.program.kill()
        self.assertEqual(nginx.chat("nobody", max_tokens=2).status, 502)
        self.assertEqual(nginx.metric("weir_flights"), 0)
        self.assertGreaterEqual(nginx.metric("weir_decisions_total"), 7)

    def test_workers_draw_apart(self):
        nginx = self.nginx([self.scripted(), self.scripted()], workers=4)
        drawn = {}

        def enough():
            answer = nginx.fetch("GET", "/v1/models")
            drawn.setdefault(answer.headers["x-worker"], []).append(answer.headers["x-server"])
            return sum(len(servers) >= 32 for servers in drawn.values()) >= 2
        until(enough, "32 requests of two workers")
        full = [servers[:32] for servers in drawn.values() if len(servers) >= 32]
        self.assertNotEqual(full[0], full[1])

    def test_a_worker_that_starts_later_needs_no_file(self):
        pipeline = self.programs.file("pipeline.yaml", PIPELINE.read_text())
        nginx = self.nginx([self.scripted()], method=f"weir {pipeline};")
        pipeline.unlink()
        first = nginx.chat("hi").headers["x-worker"]
        os.kill(int(first), signal.SIGKILL)
        nginx.program.wait_for_line(rf"worker process {first} exited on signal 9")
        answer = nginx.chat("hi")  # waits in the listening socket for the next worker
        self.assertEqual(answer.status, 200)
        self.assertNotEqual(answer.headers["x-worker"], first)

    def test_mistakes_stop_the_start(self):
        servers = self.programs.sim()
        wrong = self.programs.file("wrong.yaml", PIPELINE.read_text().replace(
            "type: active-request-scorer", "type: active-requests-scorer"))
        large = self.programs.file("large.yaml", "#" * ((1 << 20) + 1))
        for method, says in ((f"weir {wrong};", "did you mean"),
                             ("weir missing.yaml;", 'missing.yaml" failed (2: No such file'),
                             ("weir /;", "Is a directory"),
                             (f"weir {large};", "1048577"),
                             ("least_conn; weir;", "weir\" directive follows another"),
                             ("weir a b;", "invalid number of arguments")):
            nginx = Nginx(self.programs, servers, method)
            done = fleet.run([*nginx.argv, "-t"])
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(says, done.stderr)
        for option in ("backup", "weight=5", "max_conns=9", "max_fails=0", "fail_timeout=30"):
            done = fleet.run([*Nginx(self.programs, servers, option=option).argv, "-t"])
            self.assertNotEqual(done.returncode, 0, option)
            self.assertIn(f'server "127.0.0.1:{servers[0].port}": takes no parameter', done.stderr)
        done = fleet.run([*Nginx(self.programs, servers, "weir;", "down").argv, "-t"])
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_kept_connection_that_was_closed_is_no_failure(self):
        nginx = self.nginx([self.scripted(ClosesTheSecondTime(together=3))])
        clients = [wire.Client(nginx.port) for _ in range(3)]  # nginx keeps three connections
        for client in clients:
            client.send(wire.post(chat.BODY))
        for client in clients:
            self.assertEqual(client.answer().status, 200)
            client.sock.close()
        for turn in range(4):
            self.assertEqual(nginx.chat("hi").status, 200, turn)
        self.assertEqual(nginx.metric("weir_flights"), 0)

    def test_a_kept_connection_that_was_closed_moves_no_conversation(self):
        nginx = self.nginx([self.scripted(ClosesTheSecondTime()) for _ in range(2)])
        for talk in range(4):
            answers = nginx.talk(talk, 6)
            self.assertEqual([a.status for a in answers], [200] * 6)
            seen = {server for a in answers for server in a.headers["x-server"].split(", ")}
            self.assertEqual(len(seen), 1, seen)

    def test_conversations_leave_a_server_that_fails(self):
        def refuses(sock, _):
            sock.sendall(wire.whole(b"full", status="503 Service Unavailable"))
            return True
        self.leaves_a_server_that(refuses, self.nginx)

    def test_conversations_leave_a_server_that_dies_after_its_headers(self):
        def dies(sock, _):
            sock.sendall(wire.whole(b"0123456789")[:-10])
            return False
        for buffering in ("off", "on"):
            nginx = self.leaves_a_server_that(
                dies, lambda servers: self.nginx(servers, buffering=buffering))
            self.assertEqual(nginx.metric("weir_flights"), 0)


if __name__ == "__main__":
    fleet.main()
