"""The programs of tests/bench against each other: everything they count comes out right. No times
are compared."""

import json
import urllib.request

import fleet
from fleet import BIN, ROOT, until

REQUESTS = 200


class BenchToolsTest(fleet.unittest.TestCase):
    def setUp(self):
        self.programs = fleet.Fleet()
        self.addCleanup(lambda: self.assertEqual(self.programs.stop(), []))

    def echo(self, *flags):
        """Port and process of an echo server."""
        program = self.programs.start("ext_proc_echo", [BIN / "ext_proc_echo", *flags])
        return int(program.wait_for_line(r"listening on 127\.0\.0\.1:(\d+)")[1]), program

    def load(self, port, program, *flags, exit_code=0):
        result = self.programs.folder / "load.json"
        result.unlink(missing_ok=True)
        done = fleet.run([
            BIN / "ext_proc_load", "--target", f"127.0.0.1:{port}", "--requests", REQUESTS,
            "--duration", 0, "--warmup", 0, "--server-pid", program.pid, "--json", result, *flags])
        self.assertEqual(done.returncode, exit_code, done.stdout + done.stderr)
        return json.loads(result.read_text())

    def check(self, run):
        self.assertEqual((run["requests"], run["errors"], run["unsent"]), (REQUESTS, 0, 0))
        self.assertGreater(run["server_cpu_ms_per_request"], 0)
        self.assertGreater(run["server_rss_mib_max"], 0)

    def test_bodies_and_events(self):
        port, program = self.echo()
        for flags in ((), ("--body-bytes", 225280), ("--events", 128), ("--distinct",),
                      ("--connections", 5, "--concurrency", 50), ("--rate", 500)):
            with self.subTest(flags=flags):
                self.check(self.load(port, program, "--compare", *flags))

    def test_tls(self):
        port, program = self.echo("--tls")
        self.check(self.load(port, program, "--tls", "--compare", "--body-bytes", 70000))

    def test_mode_override(self):
        port, program = self.echo("--mode-override")
        self.check(self.load(port, program, "--obey-mode-override"))

    def test_idle(self):
        _, program = self.echo()
        result = self.programs.folder / "idle.json"
        done = fleet.run([BIN / "ext_proc_load", "--idle", "--duration", 0.05, "--server-pid",
                          program.pid, "--json", result])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(result.read_text())["requests"], 0)

    def test_errors_are_counted_by_kind(self):
        port, program = self.echo("--destination", "")
        run = self.load(port, program, exit_code=1)
        self.assertEqual(run["errors_by_kind"], {"no destination": REQUESTS})

    def test_no_server(self):
        done = fleet.run([BIN / "ext_proc_load", "--target", "127.0.0.1:1"])
        self.assertEqual(done.returncode, 1)
        self.assertIn("127.0.0.1:1: Connection refused", done.stderr)

    def test_metric_pages(self):
        listed = self.programs.folder / "endpoints.yaml"
        self.programs.start("metric_pages", [
            BIN / "metric_pages", "--endpoints", 260, "--page-bytes", 5000, "--endpoints-file", listed,
            "--page", ROOT / "tests/golden/scrape/vllm_small.prom"])
        until(listed.exists, "the list of endpoints")
        lines = listed.read_text().splitlines()[1:]
        self.assertEqual(len(lines), 260)
        host, port = lines[-1].split("address: ")[1].rstrip("}").split(", port: ")
        pages = [urllib.request.urlopen(f"http://{host}:{port}/metrics").read() for _ in range(3)]
        self.assertEqual(len(set(pages)), 3)
        self.assertGreaterEqual(len(pages[0]), 5000)


if __name__ == "__main__":
    fleet.main()
