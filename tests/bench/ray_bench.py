#!/usr/bin/env python3
"""What weir.ray.WeirRequestRouter adds to Ray Serve's routing of one request, beside Serve's power of
two choices, in one run. Real routers of Ray, replicas that only say their queue length.

  PYTHONPATH=build/release/python build/venv_hosts/bin/python tests/bench/ray_bench.py
"""

import argparse
import asyncio
import itertools
import statistics
import time

from ray.serve._private.common import (DeploymentHandleSource, DeploymentID, ReplicaID,
                                       RequestMetadata)
from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.request_router import PendingRequest

import weir.ray

DEPLOYMENT = DeploymentID(name="model", app_name="bench")
CHARACTERS_PER_TOKEN = 4
WARM_UP = 200  # requests that are not counted


class Replica:
    def __init__(self, number):
        self.replica_id = ReplicaID(f"r{number:05}", DEPLOYMENT)
        self.node_id, self.availability_zone = "node", None
        self.multiplexed_model_ids, self.routing_stats = set(), {}
        self.max_ongoing_requests = 100

    async def get_queue_len(self, *, deadline_s):
        return 0


class Answer:
    """What Ray hands a router for an accepted request."""

    def __init__(self):
        self._callbacks = []

    def add_done_callback(self, callback):
        self._callbacks.append(callback)

    def end(self):
        for callback in self._callbacks:
            callback(self)


def make(kind, count):
    router = kind(deployment_id=DEPLOYMENT, handle_source=DeploymentHandleSource.REPLICA,
                  self_node_id="node", use_replica_queue_len_cache=True)
    router.initialize_state(**({"seed": 1} if kind is weir.ray.WeirRequestRouter else {}))
    router.update_replicas([Replica(number) for number in range(count)])
    return router


async def route(router, number, prompt):
    """Microseconds of what Serve does with a router for one request, from its arrival to its end."""
    metadata = RequestMetadata(request_id=str(number), internal_request_id=str(number))
    pending = PendingRequest(args=[prompt], kwargs={}, metadata=metadata)
    start = time.perf_counter_ns()
    replica = await router._choose_replica_for_request(pending)
    router.on_send_request(replica.replica_id)
    router.on_request_routed(pending, replica.replica_id, answer := Answer())
    answer.end()
    router.on_request_completed(replica.replica_id, metadata.internal_request_id)
    router.decrement_queue_len_cache(replica.replica_id)
    return (time.perf_counter_ns() - start) / 1000


async def measure(count, prompt_tokens, requests):
    """Times of both routers, one request of each in turn."""
    routers = {"power-of-two": make(PowerOfTwoChoicesRequestRouter, count),
               "weir": make(weir.ray.WeirRequestRouter, count)}
    await asyncio.sleep(0.2)  # the queue lengths of the new replicas
    times_us = {name: [] for name in routers}
    numbers = itertools.count()
    text = "".join(f"word {i} of a prompt " for i in range(prompt_tokens))
    for turn in range(WARM_UP + requests):
        prompt = f"{turn % 50} {text[:prompt_tokens * CHARACTERS_PER_TOKEN]}"
        for name, router in routers.items():
            took_us = await route(router, next(numbers), prompt)
            if turn >= WARM_UP:
                times_us[name].append(took_us)
    assert routers["weir"].fallbacks == 0
    return times_us


def main():
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--requests", type=int, default=3000)
    flags.add_argument("--replicas", type=int, nargs="+", default=[4, 64])
    flags.add_argument("--prompt-tokens", type=int, nargs="+", default=[100, 4000])
    given = flags.parse_args()
    print("| replicas | prompt tokens | power of two p50, us | weir p50, us | added p50, us"
          " | power of two p90, us | weir p90, us |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for count in given.replicas:
        for tokens in given.prompt_tokens:
            times_us = asyncio.run(measure(count, tokens, given.requests))
            p50 = [statistics.median(values) for values in times_us.values()]
            p90 = [statistics.quantiles(values, n=10)[8] for values in times_us.values()]
            print(f"| {count} | {tokens} | {p50[0]:.0f} | {p50[1]:.0f} | {p50[1] - p50[0]:.0f}"
                  f" | {p90[0]:.0f} | {p90[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
