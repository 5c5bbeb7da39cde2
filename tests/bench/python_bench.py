#!/usr/bin/env python3
"""Decisions from Python beside the same from C++, in turn.

  python_bench.py --baseline build/bench/bin/python_baseline [--rounds 5] [--seconds 0.3]

100 endpoints. Each round runs everything once; shown are medians (least..most) over the rounds, and differences and
ratios within rounds.
"""

import argparse
import array
import pathlib
import statistics
import subprocess
import tempfile
import threading
import time

import weir

ENDPOINTS = 100
CHUNK = 100
THREADS = 4

HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
PIPELINE = HEAD + """
plugins:
- {type: prefix-cache-scorer}
- {type: queue-scorer}
- {type: kv-cache-utilization-scorer}
- {type: active-request-scorer}
- {type: max-score-picker}
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: prefix-cache-scorer, weight: 6}
  - {pluginRef: queue-scorer, weight: 1}
  - {pluginRef: kv-cache-utilization-scorer, weight: 1}
  - {pluginRef: active-request-scorer, weight: 1}
"""
SCORER = PIPELINE.replace("- {type: max", "- {type: spread}\n- {type: max") + "  - {pluginRef: spread, weight: 1}\n"


@weir.scorer("spread", time_budget_s=1.0)
def spread(request, endpoints):
    return 1.0 / (1.0 + endpoints.waiting_requests)


def make(text, **options):
    router = weir.Router.from_text(text, seed=1, **options)
    for i in range(ENDPOINTS):
        router.pool.upsert(f"server-{i}", address=f"10.0.0.{i}:8000", waiting_requests=i % 8, running_requests=i % 64,
                           kv_used_ratio=i / 100)
    return router


def prompt(count):
    return array.array("I", range(1000, 1000 + count))


def ns_per_call(call, seconds, calls=1):
    """Median over chunks; `call` makes `calls` decisions."""
    chunks = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        repeat = max(1, CHUNK // calls)
        start = time.perf_counter_ns()
        for _ in range(repeat):
            call()
        chunks.append((time.perf_counter_ns() - start) / repeat / calls)
    return statistics.median(chunks)


def decisions_per_s(call, calls, threads, seconds):
    """All threads together."""
    counts = [0] * threads
    stop = threading.Event()

    def work(index):
        while not stop.is_set():
            call()
            counts[index] += calls

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    time.sleep(seconds)
    stop.set()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - start)


def one_round(routers, baseline, seconds):
    plain, scored, releasing = routers
    row = {}
    for tokens in (64, 32768):
        ids = prompt(tokens)
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(PIPELINE)
            file.flush()
            row[f"C++ {tokens}"] = float(subprocess.run([baseline, file.name, str(tokens), str(seconds)], check=True,
                                                        capture_output=True, text=True).stdout)
        row[f"Python {tokens}"] = ns_per_call(lambda ids=ids: plain.decide(model="m", tokens=ids), seconds)
    ids = prompt(64)
    row["Python scorer"] = ns_per_call(lambda: scored.decide(model="m", tokens=ids), seconds)
    batch = [{"model": "m", "tokens": ids}] * 256
    row["batch of 256"] = ns_per_call(lambda: plain.decide_batch(batch), seconds, calls=256)
    long_ids = prompt(32768)
    long_batch = [{"model": "m", "tokens": long_ids}] * 64
    for name, call, calls in (
        ("decide, 64 tokens, GIL kept", lambda: plain.decide(model="m", tokens=ids), 1),
        ("decide, 32k tokens, GIL kept", lambda: plain.decide(model="m", tokens=long_ids), 1),
        ("decide, 64 tokens, GIL released", lambda: releasing.decide(model="m", tokens=ids), 1),
        ("decide, 32k tokens, GIL released", lambda: releasing.decide(model="m", tokens=long_ids), 1),
        ("decide_batch, 32k tokens", lambda: plain.decide_batch(long_batch), 64),
    ):
        alone = decisions_per_s(call, calls, 1, seconds)
        row[f"{name}: {THREADS} threads over 1"] = decisions_per_s(call, calls, THREADS, seconds) / alone
    return row


def show(name, values, unit):
    print(f"{name:48} {statistics.median(values):9.2f} ({min(values):.2f}..{max(values):.2f}) {unit}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", required=True, type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3)
    arguments = parser.parse_args()
    routers = make(PIPELINE), make(SCORER), make(PIPELINE, release_gil=True)
    rounds = [one_round(routers, arguments.baseline, arguments.seconds) for _ in range(arguments.rounds)]
    for name in rounds[0]:
        unit = "times as many" if "over" in name else "us"
        show(name, [row[name] / (1 if "over" in name else 1000) for row in rounds], unit)
    added = {tokens: [(row[f"Python {tokens}"] - row[f"C++ {tokens}"]) / 1000 for row in rounds] for tokens in (64, 32768)}
    show("added by Python, 64 tokens", added[64], "us")
    show("added by Python, 32,768 tokens", added[32768], "us")
    show("the buffer of 32,768 tokens adds", [long - short for long, short in zip(added[32768], added[64])], "us")
    show("a Python scorer adds", [(row["Python scorer"] - row["Python 64"]) / 1000 for row in rounds], "us")
    print(weir.build_info())


if __name__ == "__main__":
    main()
