"""The gRPC server of weir and grpcio, another implementation of gRPC: calls of all kinds, large and
compressed messages, statuses, deadlines, health, drain."""

import signal
import tempfile
import threading

import fleet

fleet.use_packages()

import grpc
from fleet import until

MIB = 1 << 20
CALLS = 500
STREAM = "/weir.test.Echo/Stream"
UNARY = "/weir.test.Echo/Unary"
HEALTH = "/grpc.health.v1.Health/"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


def health_request(service):
    name = service.encode()
    return b"\x0a" + bytes([len(name)]) + name if name else b""


class GrpcInteropTest(fleet.FleetTest):
    FLAGS = ()

    @classmethod
    def start(cls, programs):
        cls.program = programs.start("echo", [str(fleet.BIN / "grpc_echo_server"), *cls.FLAGS])
        cls.address = cls.program.wait_for_line(r"listening on (\S+)").group(1)

    def setUp(self):
        self.channel = self.connect()
        self.addCleanup(self.channel.close)

    def connect(self, **options):
        options = [(name, value) for name, value in {"grpc.max_receive_message_length": 8 * MIB,
                                                     "grpc.use_local_subchannel_pool": 1, **options}.items()]
        return grpc.insecure_channel(self.address, options=options)

    def unary(self, message=b"hello", channel=None, path=UNARY, **arguments):
        return (channel or self.channel).unary_unary(path)(message, timeout=fleet.WAIT_S, **arguments)

    def stream(self, messages, **arguments):
        arguments.setdefault("timeout", fleet.WAIT_S)
        return self.channel.stream_stream(STREAM)(messages, **arguments)

    def refused(self, code, call):
        with self.assertRaises(grpc.RpcError) as raised:
            call()
        self.assertEqual(raised.exception.code(), code, raised.exception)
        return raised.exception.details()

    def test_unary(self):
        for size in (0, 1, 5, 16 * 1024, 64 * 1024, 4 * MIB):
            message = bytes(size)
            self.assertEqual(self.unary(message), message)

    def test_message_over_the_limit(self):
        text = self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: self.unary(bytes(4 * MIB + 1)))
        self.assertIn("larger", text)
        self.assertEqual(self.unary(), b"hello")

    def test_streams(self):
        messages = [b"m%d" % i * i for i in range(300)]
        self.assertEqual(list(self.stream(iter(messages))), messages)

    def test_large_stream_with_a_slow_reader(self):
        count = 64
        replies = self.stream(bytes(MIB) for _ in range(count))
        self.assertEqual(sum(len(reply) for reply in replies), count * MIB)

    def test_ping_pong(self):
        turn = threading.Semaphore(1)

        def ask():
            for i in range(200):
                turn.acquire()
                yield b"%d" % i

        for i, reply in enumerate(self.stream(ask())):
            self.assertEqual(reply, b"%d" % i)
            turn.release()

    def test_many_calls_at_once(self):
        futures = [self.channel.unary_unary(UNARY).future(b"%d" % i, timeout=fleet.WAIT_S) for i in range(CALLS)]
        self.assertEqual([future.result() for future in futures], [b"%d" % i for i in range(CALLS)])

    def test_gzip(self):
        message = b"weir " * 100_000
        self.assertEqual(self.unary(message, compression=grpc.Compression.Gzip), message)

    def test_deflate_is_not_spoken(self):
        text = self.refused(grpc.StatusCode.UNIMPLEMENTED,
                            lambda: self.unary(b"x" * 1000, compression=grpc.Compression.Deflate))
        self.assertIn("deflate", text)

    def test_unknown_method(self):
        text = self.refused(grpc.StatusCode.UNIMPLEMENTED, lambda: self.unary(path="/weir.test.Echo/No"))
        self.assertIn("/weir.test.Echo/No", text)

    def test_statuses_and_their_texts(self):
        for code in grpc.StatusCode:
            if code == grpc.StatusCode.OK:
                continue
            text = self.refused(code, lambda: self.unary(
                metadata=[("x-fail", f"{code.value[0]} why: 100% \"quoted\"")]))
            self.assertEqual(text, 'why: 100% "quoted"')

    def test_deadline(self):
        self.refused(grpc.StatusCode.DEADLINE_EXCEEDED,
                     lambda: list(self.stream(iter([b"x"]), timeout=0.2, metadata=[("x-silent", "1")])))
        until(lambda: "end deadline" in self.program.log() or "end reset" in self.program.log(), "the call's end")

    def test_cancel(self):
        never = threading.Event()
        self.addCleanup(never.set)

        def ask():
            yield b"first"
            never.wait()

        replies = self.stream(ask())
        self.assertEqual(next(replies), b"first")
        before = self.program.log().count("end reset")
        replies.cancel()
        until(lambda: self.program.log().count("end reset") > before, "the handler to hear of it")

    def test_health_check_and_list(self):
        self.assertEqual(self.unary(b"", path=HEALTH + "Check"), SERVING)
        self.assertEqual(self.unary(health_request("weir.test.Echo"), path=HEALTH + "Check"), SERVING)
        self.refused(grpc.StatusCode.NOT_FOUND,
                     lambda: self.unary(health_request("other"), path=HEALTH + "Check"))
        self.refused(grpc.StatusCode.INVALID_ARGUMENT,
                     lambda: self.unary(b"\x0a\x7f", path=HEALTH + "Check"))
        listed = self.unary(b"", path=HEALTH + "List")
        self.assertIn(b"weir.test.Echo\x12\x02" + SERVING, listed)

    def test_health_watch(self):
        watch = self.channel.unary_stream(HEALTH + "Watch")
        named = watch(health_request("weir.test.Echo"), timeout=fleet.WAIT_S)
        other = watch(health_request("other"), timeout=fleet.WAIT_S)
        self.assertEqual(next(named), SERVING)
        self.assertEqual(next(other), SERVICE_UNKNOWN)
        self.program.signal(signal.SIGUSR1)
        self.assertEqual(next(named), NOT_SERVING)
        self.program.signal(signal.SIGUSR1)
        self.assertEqual(next(named), SERVING)
        named.cancel()
        other.cancel()

    def test_other_clients(self):
        for name in ("grpc_cpp_client", "grpc_go_client"):
            with self.subTest(name):
                if not (fleet.BIN / name).exists():
                    self.skipTest(f"{name} could not be built: its library is not installed")
                done = fleet.run([fleet.BIN / name, self.address, *self.certificate_file()])
                self.assertEqual((done.returncode, done.stdout), (0, "ok\n"), done.stderr)

    def certificate_file(self):
        return []


class GrpcTlsInteropTest(GrpcInteropTest):
    FLAGS = ("--tls",)

    def connect(self, **options):
        options["grpc.ssl_target_name_override"] = "localhost"
        options["grpc.max_receive_message_length"] = 8 * MIB
        options["grpc.use_local_subchannel_pool"] = 1
        return grpc.secure_channel(self.address, grpc.ssl_channel_credentials(self.certificate().encode()),
                                   options=list(options.items()))

    def certificate(self):
        host, port = self.address.rsplit(":", 1)
        return fleet.ssl.get_server_certificate((host, int(port)))

    def certificate_file(self):
        file = self.enterContext(tempfile.NamedTemporaryFile("w", suffix=".pem"))
        file.write(self.certificate())
        file.flush()
        return [file.name]


class GrpcDrainTest(fleet.unittest.TestCase):
    def test_calls_under_way_end_well(self):
        with fleet.Fleet() as programs:
            program = programs.start("drain", [str(fleet.BIN / "grpc_echo_server")])
            address = program.wait_for_line(r"listening on (\S+)").group(1)
            with grpc.insecure_channel(address) as channel:
                go_on = threading.Event()

                def ask():
                    yield b"before"
                    go_on.wait()
                    yield b"after"

                replies = channel.stream_stream(STREAM)(ask(), timeout=fleet.WAIT_S)
                self.assertEqual(next(replies), b"before")
                watch = channel.unary_stream(HEALTH + "Watch")(b"", timeout=fleet.WAIT_S)
                self.assertEqual(next(watch), SERVING)
                program.signal(signal.SIGTERM)
                with self.assertRaises(grpc.RpcError) as raised:
                    next(watch)
                self.assertEqual(raised.exception.code(), grpc.StatusCode.UNAVAILABLE)
                go_on.set()
                self.assertEqual(list(replies), [b"after"])
                program.wait_for_line("drained")
                self.assertEqual(program.wait(), 0)


if __name__ == "__main__":
    fleet.unittest.main()
