"""A deployment of Ray Serve that takes the time of a model server with a prefix cache, and computes
nothing: prompts cost time for the tokens that the replica does not hold, one prompt after another."""

import asyncio
import collections
import os

import weir.ray
from ray import serve

BLOCK_CHARACTERS = 256
CHARACTERS_PER_TOKEN = 4


@serve.deployment(ray_actor_options={"num_cpus": 0}, max_ongoing_requests=8,
                  graceful_shutdown_wait_loop_s=0.1)
class Model(weir.ray.StatsMixin):
    def __init__(self, prefill_s_per_token=50e-6, decode_s_per_token=1e-3, cache_tokens=20000):
        self._prefill_s, self._decode_s = prefill_s_per_token, decode_s_per_token
        self._blocks_max = cache_tokens * CHARACTERS_PER_TOKEN // BLOCK_CHARACTERS
        self._blocks = collections.OrderedDict()  # prompts that end at a block, newest last
        self._one_prefill = asyncio.Lock()
        self._waiting = self._running = self._running_most = 0

    async def generate(self, prompt, output_tokens=4):
        """Streams a dict per token; the first says who answers and what it held of the prompt."""
        self._count(waiting=1)
        try:
            async with self._one_prefill:
                self._count(waiting=-1, running=1)
                cached = self._look_up(prompt)
                tokens = len(prompt) // CHARACTERS_PER_TOKEN
                await asyncio.sleep((tokens - cached) * self._prefill_s)
            yield {"replica": serve.get_replica_context().replica_id.unique_id,
                   "prompt_tokens": tokens, "cached_tokens": cached}
            for number in range(1, output_tokens):
                await asyncio.sleep(self._decode_s)
                yield {"token": number}
        finally:
            self._count(running=-1)

    async def running_most(self):
        """Most requests that were ever here at once."""
        return self._running_most

    async def crash(self, prompt):
        os._exit(1)

    def _look_up(self, prompt):
        """Tokens of the prompt that are held; afterwards all are."""
        ends = range(BLOCK_CHARACTERS, len(prompt) + 1, BLOCK_CHARACTERS)
        names = [hash(prompt[:end]) for end in ends]
        held = 0
        while held < len(names) and names[held] in self._blocks:
            held += 1
        for name in names:
            self._blocks[name] = True
            self._blocks.move_to_end(name)
        while len(self._blocks) > self._blocks_max:
            self._blocks.popitem(last=False)
        return held * BLOCK_CHARACTERS // CHARACTERS_PER_TOKEN

    def _count(self, waiting=0, running=0):
        self._waiting += waiting
        self._running += running
        self._running_most = max(self._running_most, self._waiting + self._running)
        self.report(num_waiting_reqs=self._waiting, num_running_reqs=self._running,
                    kv=len(self._blocks) / self._blocks_max,
                    block_size=BLOCK_CHARACTERS // CHARACTERS_PER_TOKEN,
                    num_blocks=self._blocks_max)
