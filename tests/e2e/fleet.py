"""Programs under test on loopback: starts them on free ports, waits with deadlines, stops them by
process id, and shows their logs when a test fails."""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("WEIR_BIN_DIR", ROOT / "build/dev/bin")).resolve()
SKIPPED = 77  # the exit code that ctest calls skipped
WAIT_S = 60.0  # for anything that should happen soon, on a machine that is busy
POLL_S = 0.01
LOG_TAIL_BYTES = 4000
MODEL = "test-model"  # what sim() serves unless told otherwise


def skip(why):
    """Ends the program as skipped."""
    print(f"skipped: {why}", flush=True)
    sys.exit(SKIPPED)


def use_packages(name="venv", requirements="requirements.txt"):
    """Goes on in a virtual environment of tests/python_packages.sh; skips where there is none."""
    venv = ROOT / "build" / name
    wanted = (ROOT / "tests/e2e" / requirements).read_bytes()
    ready = venv / "ready.txt"
    if not ready.exists() or ready.read_bytes() != wanted:
        skip(f"build/{name} is not ready; tests/python_packages.sh makes it from the package index")
    if pathlib.Path(sys.prefix).resolve() != venv.resolve():
        python = str(venv / "bin/python")
        os.execv(python, [python, *sys.argv])


def use_weir(name, requirements):
    """use_packages() with weir for Python out of the build tree, there for programs that are
    started, too. Skips without either."""
    package = BIN.parent / "python"
    if not list(package.glob("weir/_native*.so")):
        skip("weir for Python is not built")
    os.environ["PYTHONPATH"] = str(package)
    if str(package) not in sys.path:
        sys.path.insert(1, str(package))
    use_packages(name, requirements)


def use_hosts():
    """Goes on where Ray Serve, LiteLLM and FastAPI are."""
    use_weir("venv_hosts", "requirements_hosts.txt")


def need_program(*names):
    """Path of the first program that is installed; skips if none is."""
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    skip(f"{names[0]} is not installed")


def until(condition, what, wait_s=WAIT_S):
    """Polls until condition() is true, and returns what it gave."""
    deadline = time.monotonic() + wait_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {wait_s:g} s for {what}")
        time.sleep(POLL_S)


class Reply:
    """An HTTP answer: status, headers (names in lower case) and body."""

    def __init__(self, status, headers, body):
        self.status, self.body = status, body
        self.headers = {name.lower(): value for name, value in headers}

    def json(self):
        return json.loads(self.body)


def fetch(port, method, path, body=None, headers=None, tls=None, timeout_s=WAIT_S):
    """One request on a connection of its own; `body` may be bytes or something to send as JSON."""
    headers = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    if tls:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout_s, context=tls)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Reply(answer.status, answer.getheaders(), answer.read())
    finally:
        connection.close()


class Metrics:
    """A page of the Prometheus text format."""

    LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?$")
    LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

    def __init__(self, text):
        self.samples = []
        for line in text.splitlines():
            match = self.LINE.match(line)
            if match and not line.startswith("#"):
                labels = dict(self.LABEL.findall(match[2] or ""))
                self.samples.append((match[1], labels, float(match[3])))

    def value(self, name, **labels):
        """Sum of the samples with that name and at least these labels."""
        found = [v for n, have, v in self.samples
                 if n == name and all(have.get(k) == w for k, w in labels.items())]
        if not found:
            raise AssertionError(f"no metric {name} {labels}")
        return sum(found)


class Program:
    """A running process with its log."""

    def __init__(self, name, argv, log_file, env=None, cwd=None):
        self.name, self.log_file = name, log_file
        with open(log_file, "wb") as log:
            self.process = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}, cwd=cwd)
        self.expected_to_end = False

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_file.read_text(errors="replace")

    def wait_for_line(self, pattern):
        """The match of a regular expression in the log; fails as soon as the program ends."""
        def look():
            match = re.search(pattern, self.log())
            if not match and self.process.poll() is not None:
                raise AssertionError(
                    f"{self.name} ended with {self.process.returncode}:\n{self.log()}")
            return match
        return until(look, f"{self.name} to print {pattern}")

    def signal(self, number):
        self.expected_to_end = True
        self.process.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait(WAIT_S)

    def wait(self, wait_s=WAIT_S):
        self.expected_to_end = True
        return self.process.wait(wait_s)

    def stop(self):
        """Ends it if it runs. Returns a complaint if it had ended by itself, or badly."""
        code = self.process.poll()
        if code is None:
            # Two signals: the second one does not wait for what is in flight.
            for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
                self.process.send_signal(number)
                try:
                    code = self.process.wait(5)
                    break
                except subprocess.TimeoutExpired:
                    continue
            bad = code not in (0, -signal.SIGTERM)
        else:
            bad = not self.expected_to_end
        return f"{self.name} ended with {code}:\n{self.log()[-LOG_TAIL_BYTES:]}" if bad else None


class Server:
    """A simulated model server."""

    def __init__(self, program, port):
        self.program, self.port = program, port
        self.name = f"default/127.0.0.1:{port}"  # in the gateway's pool
        self.url = f"http://127.0.0.1:{port}"

    def fetch(self, method, path, body=None, headers=None):
        return fetch(self.port, method, path, body, headers)

    def metric(self, name, **labels):
        return Metrics(self.fetch("GET", "/metrics").body.decode()).value(name, **labels)

    def running_requests(self):
        return self.metric("vllm:num_requests_running") + self.metric("vllm:num_requests_waiting")


class Gateway:
    """A running weir-gateway."""

    def __init__(self, program, port, admin_port, tls):
        self.program, self.port, self.admin_port, self.tls = program, port, admin_port, tls
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{port}"

    def fetch(self, method, path, body=None, headers=None):
        return fetch(self.port, method, path, body, headers, self.tls)

    def chat(self, text="hello there", headers=None, **members):
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], **members}
        return self.fetch("POST", "/v1/chat/completions", body, headers)

    def admin(self, path, headers=None):
        tls = self.tls if self.admin_port == self.port else None
        return fetch(self.admin_port, "GET", path, headers=headers, tls=tls)

    def metrics(self):
        return Metrics(self.admin("/metrics").body.decode())

    def metric(self, name, **labels):
        return self.metrics().value(name, **labels)

    def decisions(self):
        return self.admin("/debug/decisions?format=json").json()

    def wait_scraped(self, count):
        """Until that many servers have given a sample: before, they are not attractive."""
        until(lambda: self.metric("weir_scrapes_total") >= 2 * count
              and self.metric("weir_endpoints") == count, "metrics of all servers")


class Fleet:
    """The programs of one test, and a folder for their files. Use as a context manager."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="weir-e2e-"))
        self.programs = []

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        complaints = self.stop()
        if complaints and kind is None:
            raise AssertionError("\n".join(complaints))

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def start(self, name, argv, env=None, cwd=None):
        program = Program(f"{name} ({len(self.programs)})", argv,
                          self.folder / f"{name}-{len(self.programs)}.log", env, cwd)
        self.programs.append(program)
        return program

    def sim(self, instances=1, *flags, model=MODEL):
        """Simulated servers in one process, which answer at once unless flags say otherwise."""
        ports = self.folder / f"ports-{len(self.programs)}"
        program = self.start("weir-sim", [
            BIN / "weir-sim", "--model", model, "--host", "127.0.0.1", "--port", 0,
            "--instances", instances, "--ports-file", ports, "--cpu-costs", "none", *flags])
        program.wait_for_line(r'"instance":%d,.*\n' % (instances - 1))
        until(ports.exists, f"{ports}")
        return [Server(program, json.loads(line)["port"])
                for line in ports.read_text().splitlines()]

    def gateway(self, servers, *flags, tls=None, admin=False, wrapper=()):
        """`servers`: of sim(), or URLs. `tls`: an ssl context if flags make it serve TLS.
        `wrapper`: a command that starts it."""
        argv = [*wrapper, BIN / "weir-gateway", "--listen", "127.0.0.1:0"]
        for server in servers:
            argv += ["--endpoint", getattr(server, "url", server)]
        if admin:
            argv += ["--admin-listen", "127.0.0.1:0"]
        program = self.start("weir-gateway", [*argv, *flags])
        port = int(program.wait_for_line(r"listening on https?://127\.0\.0\.1:(\d+)")[1])
        admin_port = port
        if admin:
            admin_port = int(program.wait_for_line(r"admin pages on http://127\.0\.0\.1:(\d+)")[1])
        return Gateway(program, port, admin_port, tls)

    def logs(self):
        return "\n".join(f"---- {p.name}\n{p.log()[-LOG_TAIL_BYTES:]}" for p in self.programs)

    def stop(self):
        """Ends all programs, newest first; returns complaints about those that ended badly."""
        complaints = [c for p in reversed(self.programs) if (c := p.stop())]
        self.programs = []
        shutil.rmtree(self.folder, ignore_errors=True)
        return complaints


class FleetTest(unittest.TestCase):
    """A test whose programs live as long as its class: start them in start(fleet)."""

    fleet = None

    @classmethod
    def start(cls, fleet):
        raise NotImplementedError

    @classmethod
    def setUpClass(cls):
        cls.fleet = Fleet()
        try:
            cls.start(cls.fleet)
        except BaseException:
            print(cls.fleet.logs(), file=sys.stderr)
            cls.fleet.stop()
            raise

    @classmethod
    def tearDownClass(cls):
        complaints = cls.fleet.stop()
        if complaints:
            raise AssertionError("\n".join(complaints))

    def moved(self, metric, **labels):
        """A context in which a counter of self.gateway must grow."""
        return _Moved(self, self.gateway, metric, labels)


class _Moved:
    def __init__(self, test, gateway, metric, labels):
        self.test, self.gateway, self.metric, self.labels = test, gateway, metric, labels

    def __enter__(self):
        self.before = self.gateway.metric(self.metric, **self.labels)

    def __exit__(self, kind, error, trace):
        if kind is None:
            until(lambda: self.gateway.metric(self.metric, **self.labels) > self.before,
                  f"{self.metric} {self.labels} to grow beyond {self.before:g}", 20)


def run(argv, **options):
    """Runs a program to its end; its output is text."""
    return subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=options.pop("timeout", 300), **options)


def client_tls(ca_file):
    context = ssl.create_default_context(cafile=str(ca_file))
    context.check_hostname = False
    return context


def make_certificate(folder, names="DNS:localhost,IP:127.0.0.1"):
    """A self-signed certificate for `names`: (certificate file, key file)."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    made = run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                "-subj", "/CN=localhost", "-addext", f"subjectAltName={names}",
                "-keyout", key, "-out", cert])
    if made.returncode != 0:
        raise AssertionError(made.stderr)
    return cert, key


def main():
    unittest.main(verbosity=2)
