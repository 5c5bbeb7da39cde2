"""Round robin against prefix-aware routing, before three real engines. See README.md."""

import argparse
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ENGINES = 3
START_S = 60
# Six conversations with a private context each, four turns, two at a time: what the engines can
# keep (two conversations each) is just what is needed, if a conversation stays where it is.
WORKLOAD = ["--groups", "0", "--conversations", "6", "--system-tokens", "0", "--context-tokens",
            "240", "--turns", "4", "--input-tokens", "20", "--output-tokens", "8",
            "--concurrency", "2", "--active", "6", "--history", "planned",
            "--extra-body", '{"temperature": 0}', "--seed", "1"]
POLICIES = [("round robin", "round-robin.yaml"), ("prefix aware", "prefix-aware.yaml")]


class Programs:
    """Started programs, each with a log; all end with the block."""

    def __init__(self, folder):
        self.folder, self.running = folder, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self, name, argv, pattern):
        """Returns what the first group of `pattern` matches in the program's output."""
        log = self.folder / f"{name}.log"
        with open(log, "wb") as out:
            process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=subprocess.STDOUT)
        self.running.append(process)
        deadline = time.monotonic() + START_S
        while not (match := re.search(pattern, log.read_text(errors="replace"))):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.02)
        return match[1]

    def stop(self):
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running = []


def start_engines(programs, name):
    return [programs.start(f"{name}-engine-{i}", [sys.executable, HERE / "engine.py", 0, 1],
                           r"listening on (http://\S+)\n") for i in range(ENGINES)]


def start_gateway(programs, name, binaries, engines, pipeline):
    argv = [binaries / "weir-gateway", "--listen", "127.0.0.1:0", "--no-scrape",
            "--config", pipeline]
    for url in engines:
        argv += ["--endpoint", url]
    return programs.start(f"{name}-gateway", argv, r"listening on (http://\S+)\n")


def measure(folder, binaries, policy, pipeline, quiet):
    """One policy before engines with empty caches; returns weir-load's result."""
    name = policy.replace(" ", "-")
    result = folder / f"{name}.json"
    with Programs(folder) as programs:
        url = start_gateway(programs, name, binaries, start_engines(programs, name), pipeline)
        argv = [binaries / "weir-load", "run", "--target", url, "--name", policy, "--json", result,
                *WORKLOAD] + (["--quiet"] if quiet else [])
        subprocess.run([str(a) for a in argv], check=True,
                       stdout=subprocess.DEVNULL, stderr=None)
    return result


def main():
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--bin", type=pathlib.Path, required=True, help="folder of weir's programs")
    flags.add_argument("--out", type=pathlib.Path, help="folder for logs and the report")
    flags.add_argument("--quiet", action="store_true", help="no progress, no table")
    given = flags.parse_args()
    folder = given.out or pathlib.Path(tempfile.mkdtemp(prefix="weir-real-engine-"))
    folder.mkdir(parents=True, exist_ok=True)
    results = [measure(folder, given.bin, policy, HERE / pipeline, given.quiet)
               for policy, pipeline in POLICIES]
    compare = subprocess.run([str(given.bin / "weir-load"), "compare", *map(str, results),
                              "--title", f"{ENGINES} llama.cpp servers, SmolLM2-135M, one machine",
                              "--html", str(folder / "report.html"),
                              "--json", str(folder / "report.json")],
                             check=True, capture_output=True, text=True)
    if given.quiet:
        return
    print(f"weir real engine: {ENGINES} llama.cpp servers with SmolLM2-135M, on this machine's cores\n"
          "  6 conversations of 4 turns, each with a context of its own, 2 requests at a time\n")
    print(compare.stdout, end="")
    cached = {name: json.loads(result.read_text())["cached_tokens"]
              for (name, _), result in zip(POLICIES, results)}
    print("  prompt tokens the engines found in their caches: "
          + ", ".join(f"{name} {count}" for name, count in cached.items()))


if __name__ == "__main__":
    main()
