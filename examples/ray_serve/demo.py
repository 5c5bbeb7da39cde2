"""The same prompts under Ray Serve's power of two choices and under weir. See README.md."""

import argparse
import asyncio
import collections
import contextlib
import json
import statistics
import sys
import tempfile
import time

import model
import ray
import weir.ray
from ray import serve
from ray.serve.config import RequestRouterConfig

POWER_OF_TWO = RequestRouterConfig()  # Serve's default


def prompts(documents, questions, document_tokens):
    """Questions about documents in turns: each prompt is a long document and a short question."""
    sentence = "number {} of document {}, which nobody else has; "
    for question in range(questions):
        for document in range(documents):
            text = "".join(sentence.format(i, document) for i in range(document_tokens // 10))
            yield f"{text[:document_tokens * model.CHARACTERS_PER_TOKEN]} Question {question}?"


async def ask(handle, prompt, answers):
    start = time.monotonic()
    first = None
    async for token in handle.generate.remote(prompt):
        if first is None:
            first = token | {"ttft_s": time.monotonic() - start}
    answers.append(first)


async def ask_all(handle, texts, concurrency):
    """First tokens of all answers, in order of arrival, `concurrency` at a time."""
    waiting, answers = collections.deque(texts), []

    async def worker():
        while waiting:
            await ask(handle, waiting.popleft(), answers)

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return answers


def measure(name, router, given):
    """One policy before replicas with empty caches."""
    app = model.Model.options(num_replicas=given.replicas, request_router_config=router)
    handle = serve.run(app.bind(cache_tokens=given.cache_tokens), name=name, route_prefix=None)
    texts = list(prompts(given.documents, given.questions, given.document_tokens))
    answers = asyncio.run(ask_all(handle.options(stream=True), texts, given.concurrency))
    serve.delete(name)
    ttft_ms = [1000 * answer["ttft_s"] for answer in answers]
    return {"policy": name, "ttft_ms_mean": statistics.mean(ttft_ms),
            "ttft_ms_p50": statistics.median(ttft_ms),
            "hit_ratio": sum(a["cached_tokens"] for a in answers)
            / sum(a["prompt_tokens"] for a in answers),
            "requests": sorted(collections.Counter(a["replica"] for a in answers).values())}


def flags():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--documents", type=int, default=12)
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--document-tokens", type=int, default=4000)
    parser.add_argument("--cache-tokens", type=int, default=20000, help="of a replica")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="results as one line of JSON")
    return parser


@contextlib.contextmanager
def cluster():
    """A cluster of this machine alone: on loopback, no dashboard, no port for requests."""
    with tempfile.TemporaryDirectory(prefix="weir-ray-", ignore_cleanup_errors=True) as folder:
        ray.init(num_cpus=1, object_store_memory=100 << 20, include_dashboard=False,
                 log_to_driver=False, logging_level="ERROR", _temp_dir=folder,
                 _node_ip_address="127.0.0.1")
        try:
            serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
            yield
        finally:
            serve.shutdown()
            ray.shutdown()


def main():
    given = flags().parse_args()
    with cluster():
        results = [measure("power-of-two", POWER_OF_TWO, given),
                   measure("weir", weir.ray.request_router_config(), given)]
    if given.json:
        json.dump(results, sys.stdout)
        return
    print("  policy         TTFT mean   TTFT p50   prefix hits   requests per replica")
    for one in results:
        print(f"  {one['policy']:<14} {one['ttft_ms_mean']:6.0f} ms  {one['ttft_ms_p50']:6.0f} ms"
              f"   {100 * one['hit_ratio']:9.1f} %   {' '.join(map(str, one['requests']))}")


if __name__ == "__main__":
    main()
