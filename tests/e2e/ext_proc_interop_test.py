"""weir-epp and grpcio, another implementation of gRPC: what a well-behaved client may do, and what a
hostile one tries."""

import json
import signal

import envoy_fleet
import fleet

fleet.use_packages()

import ext_proc_client
import grpc
from envoy_fleet import Upstream
from fleet import until

MIB = 1 << 20
PATH = {"request_headers": {"headers": [[":path", "/v1/completions"], [":method", "POST"]]}}
OK = {"response_headers": {"headers": [[":status", "200"], ["content-type", "application/json"]]}}


def body(text=None, end_of_stream=True):
    if text is None:
        text = json.dumps({"model": "m", "prompt": "hi"})
    return {"request_body": {"body": text, "end_of_stream": end_of_stream}}


class InteropTest(fleet.FleetTest):
    @classmethod
    def start(cls, programs):
        cls.servers = [Upstream(), Upstream()]
        cls.picker = envoy_fleet.start_picker(programs, cls.servers)

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        for server in cls.servers:
            server.close()

    def setUp(self):
        self.client = ext_proc_client.Client(self.picker.port)
        self.addCleanup(self.picker.wait_idle)
        self.addCleanup(self.client.channel.close)

    def stream(self, *requests, **options):
        stream = self.client.open(**options)
        stream.send(*requests)
        return stream

    def assert_routed(self, stream, text=None):
        head = stream.answer()
        value = dict(head["request_headers"]["set"])["x-gateway-destination-endpoint"]
        self.assertIn(value, [s.address for s in self.servers])
        self.assertEqual(head["dynamic_metadata"]["envoy.lb"]["x-gateway-destination-endpoint"],
                         value)
        got, end = "", False
        while not end:
            part = stream.answer()["request_body"]
            got, end = got + part["streamed"], part.get("end_of_stream", False)
        self.assertTrue(got == (text or body()["request_body"]["body"]))

    def assert_refused(self, stream):
        """A gRPC error or an answer for the client; never silence."""
        try:
            answers = []
            while (answer := stream.answer()) is not None:
                answers.append(answer)
            self.assertIn("immediate_response", answers[-1])
        except grpc.RpcError as error:
            self.assertNotEqual(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
            self.assertNotEqual(error.details(), "")


class ClientTest(InteropTest):
    def test_a_request_and_its_response(self):
        stream = self.stream(PATH, body())
        self.assert_routed(stream)
        until(lambda: self.picker.metric("request_running") == 1, "it to be counted")
        stream.send(OK, {"response_body": {"body": "{}", "end_of_stream": True}})
        self.assertIn("response_headers", stream.answer())
        self.assertEqual(stream.answer(),
                         {"response_body": {"streamed": "{}", "end_of_stream": True}})
        stream.half_close()
        self.assertIsNone(stream.answer())
        self.assertEqual(stream.end()[0], "OK")

    def test_many_streams_on_one_connection(self):
        streams = [self.stream(PATH) for _ in range(300)]
        for stream in streams:
            stream.send(body(end_of_stream=False))
        for stream in reversed(streams):
            stream.send(body("", True))
        for stream in streams:
            self.assert_routed(stream)
        for stream in streams:
            stream.cancel()

    def test_large_bodies(self):
        text = json.dumps({"model": "m", "prompt": "y" * 3 * MIB})
        pieces = [text[at:at + 65536] for at in range(0, len(text), 65536)]
        stream = self.stream(PATH, *(body(p, p is pieces[-1]) for p in pieces))
        self.assert_routed(stream, text)
        with self.subTest("in one message"):
            self.assert_routed(self.stream(PATH, body(text)), text)

    def test_compressed_messages(self):
        stream = self.stream(PATH, body(), compression=grpc.Compression.Gzip)
        try:
            self.assert_routed(stream)
        except grpc.RpcError as error:
            self.assertEqual(error.code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_a_message_above_the_limit(self):
        text = json.dumps({"model": "m", "prompt": "y" * 5 * MIB})
        with self.assertRaises(grpc.RpcError) as caught:
            self.stream(PATH, body(text)).answer()
        self.assertIn(caught.exception.code(),
                      (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNKNOWN))
        self.assert_routed(self.stream(PATH, body()))
        other = envoy_fleet.start_picker(self.fleet, self.servers, "--grpc-max-recv-msg-size",
                                         "8MiB")
        with ext_proc_client.Client(other.port) as client:
            stream = client.open()
            stream.send(PATH, body(text))
            self.assert_routed(stream, text)

    def test_health(self):
        for service in ("", "envoy.service.ext_proc.v3.ExternalProcessor"):
            self.assertEqual(self.client.health(service), 1, service)
        with ext_proc_client.Client(self.picker.health_port) as client:
            for service in ("", "liveness", "readiness", "inference-extension",
                            "envoy.service.ext_proc.v3.ExternalProcessor"):
                self.assertEqual(client.health(service), 1, service)

    def test_an_unknown_method(self):
        call = self.client.channel.unary_unary("/envoy.service.ext_proc.v3.ExternalProcessor/Nope")
        with self.assertRaises(grpc.RpcError) as caught:
            call(b"", timeout=ext_proc_client.WAIT_S)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_a_client_that_cancels(self):
        for requests in ([PATH], [PATH, body(end_of_stream=False)], [PATH, body()],
                         [PATH, body(), OK]):
            with self.subTest(len(requests)):
                self.stream(*requests).cancel()
                self.picker.wait_idle()

    def test_tls(self):
        folder = self.fleet.folder / "tls"
        folder.mkdir()
        cert, key = fleet.make_certificate(folder)
        cert.rename(folder / "tls.crt")
        key.rename(folder / "tls.key")
        picker = envoy_fleet.start_picker(self.fleet, self.servers, "--cert-path", folder, tls=True)
        certificate = (folder / "tls.crt").read_bytes()
        with ext_proc_client.Client(picker.port, certificate) as client:
            stream = client.open()
            stream.send(PATH, body())
            self.assert_routed(stream)

    def test_a_drain_lets_streams_end(self):
        picker = envoy_fleet.start_picker(self.fleet, self.servers, "--drain-timeout", "30s")
        with ext_proc_client.Client(picker.port) as client:
            stream = client.open()
            stream.send(PATH, body())
            self.assert_routed(stream)
            picker.program.signal(signal.SIGTERM)
            until(lambda: client.health() == 2, "the drain to show")
            stream.send(OK, {"response_body": {"body": "{}", "end_of_stream": True}})
            self.assertIn("response_headers", stream.answer())
            self.assertIn("response_body", stream.answer())
            stream.half_close()
            self.assertIsNone(stream.answer())
        picker.program.signal(signal.SIGTERM)
        self.assertEqual(picker.program.wait(), 0)


class HostileTest(InteropTest):
    def test_messages_out_of_order(self):
        end = {"response_body": {"body": "x", "end_of_stream": True}}
        trailers = {"request_trailers": {"headers": [["a", "b"]]}}
        for name, requests in (
                ("a body first", [body()]),
                ("trailers first", [trailers]),
                ("an empty message", [{}]),
                ("headers twice", [PATH, PATH, body()]),
                ("a response's body before its headers", [PATH, body(), end])):
            with self.subTest(name):
                stream = self.stream(*requests)
                stream.half_close()
                self.assert_refused(stream)
        with self.subTest("a response of the proxy's own before the request ended"):
            stream = self.stream(PATH, OK)
            self.assertIn("response_headers", stream.answer())
            stream.cancel()
        self.assert_routed(self.stream(PATH, body()))

    def test_a_last_chunk_that_comes_twice(self):
        stream = self.stream(PATH, body(), body())
        self.assert_routed(stream)
        stream.send(OK)
        self.assertIn("response_headers", stream.answer())
        stream.cancel()

    def test_streams_cut_after_every_message(self):
        end = {"response_body": {"body": "x", "end_of_stream": True}}
        whole = [PATH, body(end_of_stream=False), body("", True), OK, end]
        for count in range(len(whole) + 1):
            with self.subTest(count):
                stream = self.stream(*whole[:count])
                stream.half_close()
                while stream.answer() is not None:
                    pass
                self.assertEqual(stream.end()[0], "OK")

    def test_metadata_of_wrong_types(self):
        key = "x-gateway-destination-endpoint-subset"
        for value in (1.5, True, None, {"a": 1}, [1, None, True, {"b": [2]}]):
            with self.subTest(value=value):
                stream = self.stream(PATH, {**body(), "metadata": {
                    "envoy.lb.subset_hint": {key: value}, "other": {"x": {"y": [value]}}}})
                if value == [1, None, True, {"b": [2]}]:
                    self.assertEqual(stream.answer()["immediate_response"]["status"], 503)
                else:
                    self.assert_routed(stream)
                stream.cancel()

    def test_headers_of_all_kinds(self):
        values = ["", " ", "a" * 60_000, "\u00fc", "a,b", "x" * 100 + ":" + "y"]
        for name in (":path", "x-request-id", "content-length", "x-llm-d-slo-ttft-ms",
                     "x-llm-d-inference-fairness-id", "prefer"):
            for value in values:
                with self.subTest(name=name, value=value[:20]):
                    stream = self.stream(
                        {"request_headers": {"headers": [[":method", "POST"], [name, value]]}},
                        body())
                    answer = stream.answer()
                    self.assertTrue({"request_headers", "immediate_response"} & set(answer), answer)
                    stream.cancel()

    def test_bytes_that_are_no_message(self):
        raw = self.client.channel.stream_stream(ext_proc_client.METHOD, bytes, bytes)
        for data in (b"\xff" * 10, b"\x12\xff\xff\xff\xff\x0f", b"\x00", b"\x12\x05ab"):
            with self.subTest(data=data):
                with self.assertRaises(grpc.RpcError):
                    next(raw(iter([data]), timeout=ext_proc_client.WAIT_S))
        self.assert_routed(self.stream(PATH, body()))


if __name__ == "__main__":
    fleet.main()
