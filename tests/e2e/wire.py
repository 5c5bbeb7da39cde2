"""HTTP at the level of bytes: a client that sends anything, and a model server that answers with
anything."""

import json
import socket
import threading

TIMEOUT_S = 30


class Answer:
    """One response as it came: `head` with its last empty line, `body` without chunk framing."""

    def __init__(self, head, body, complete):
        self.head, self.body, self.complete = head, body, complete
        lines = head.decode("latin-1").split("\r\n")
        self.version, self.status = lines[0].split(" ")[0], int(lines[0].split(" ")[1])
        self.headers = {}
        for line in lines[1:]:
            if line:
                name, _, value = line.partition(":")
                self.headers.setdefault(name.lower(), []).append(value.strip())

    def header(self, name):
        return ", ".join(self.headers.get(name, [])) or None

    def json(self):
        return json.loads(self.body)


class Reader:
    """Takes messages from a socket."""

    def __init__(self, sock):
        self.sock, self.buffer, self.at_end = sock, b"", False

    def more(self):
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            data = b""
        self.at_end = self.at_end or not data
        self.buffer += data
        return bool(data)

    def until(self, mark):
        """Bytes up to and with `mark`, None at the end of the stream."""
        while mark not in self.buffer:
            if not self.more():
                return None
        at = self.buffer.index(mark) + len(mark)
        taken, self.buffer = self.buffer[:at], self.buffer[at:]
        return taken

    def exactly(self, count):
        """That many bytes, fewer at the end of the stream."""
        while len(self.buffer) < count and self.more():
            pass
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def chunks(self):
        """A chunked body: (bytes, whether it was complete)."""
        body = b""
        while True:
            line = self.until(b"\r\n")
            if line is None:
                return body, False
            size = int(line.split(b";")[0], 16)
            data = self.exactly(size)
            body += data
            if len(data) < size or self.exactly(2) != b"\r\n":
                return body, False
            if size == 0:
                return body, True

    def rest(self):
        while self.more():
            pass
        taken, self.buffer = self.buffer, b""
        return taken

    def answer(self, method="POST"):
        """The next response with its body; None at the end of the stream."""
        head = self.until(b"\r\n\r\n")
        if head is None:
            return None
        answer = Answer(head, b"", True)
        length = answer.header("content-length")
        if method == "HEAD" or answer.status < 200 or answer.status in (204, 304):
            return answer
        if answer.header("transfer-encoding") == "chunked":
            answer.body, answer.complete = self.chunks()
        elif length is not None:
            answer.body = self.exactly(int(length))
            answer.complete = len(answer.body) == int(length)
        else:
            answer.body = self.rest()
        return answer


class Client:
    """A connection to a server. Use as a context manager."""

    def __init__(self, port, tls=None):
        self.sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.reader = Reader(self.sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def answer(self, method="POST"):
        return self.reader.answer(method)

    def closed(self):
        """Waits for the other side's end; returns what came before it."""
        return self.reader.rest()


def post(body, *headers, path="/v1/chat/completions", version="1.1"):
    """The bytes of a POST with a content-length."""
    lines = [f"POST {path} HTTP/{version}", "Host: test", "Content-Type: application/json",
             f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def exchange(port, data, method="POST", tls=None):
    """Sends bytes on a connection of its own and reads one answer."""
    with Client(port, tls) as client:
        client.send(data)
        return client.answer(method)


class Request:
    """What a scripted server was sent."""

    def __init__(self, head, body):
        self.head, self.body = head, body
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target = lines[0].split(" ")[:2]
        self.headers = {}
        for line in lines[1:]:
            if line:
                name, _, value = line.partition(":")
                self.headers.setdefault(name.lower(), []).append(value.strip())


def whole(body=b'{"id":"x","object":"chat.completion"}', *headers, status="200 OK"):
    """The bytes of a response with a content-length."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json",
             f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


EVENT_HEAD = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
              b"Transfer-Encoding: chunked\r\n\r\n")


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


class ScriptedServer:
    """A model server that answers as `answer` says: answer(socket, request) writes what it likes
    and returns whether the connection stays. `read_bodies` off: it is called after the head."""

    def __init__(self, tls=None, host="127.0.0.1"):
        self.answer = lambda sock, request: (sock.sendall(whole()), True)[1]
        self.read_bodies = True
        self.requests, self.connections = [], 0
        self.tls = tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, 0), family=family, backlog=128)
        self.port = self.listener.getsockname()[1]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.url = f"http{'s' if tls else ''}://{self.address}"
        self.name = f"default/{self.address}"
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        # shutdown() wakes the thread that waits in accept().
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            sock.settimeout(TIMEOUT_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            reader = Reader(sock)
            while True:
                head = reader.until(b"\r\n\r\n")
                if head is None:
                    break
                request = Request(head, b"")
                if self.read_bodies:
                    if "transfer-encoding" in request.headers:
                        request.body, _ = reader.chunks()
                    else:
                        request.body = reader.exactly(
                            int(request.headers.get("content-length", ["0"])[0]))
                self.requests.append(request)
                if not self.answer(sock, request):
                    break
        except OSError:
            pass
        finally:
            sock.close()
