"""Two steps of reinforcement learning without the learning: groups of rollouts over the servers, a
second turn in the same sessions, then new weights. See README.md."""

import argparse
import asyncio
import json
import pathlib

import httpx
import weir
import weir.rollout

HERE = pathlib.Path(__file__).resolve().parent
OUTPUT_TOKENS = 8


async def generate(client, rollout, model, tokens):
    """One rollout on its server: the tokens it found in its cache, and those that it made."""
    with rollout:
        answer = await client.post(f"http://{rollout.address}/inference/v1/generate", json={
            "model": model, "token_ids": tokens,
            "sampling_params": {"max_tokens": OUTPUT_TOKENS, "ignore_eos": True}})
        answer.raise_for_status()
        made = answer.json()
        usage = made.get("usage") or {}
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        rollout.complete(prompt_tokens=len(tokens), cached_tokens=cached,
                         output_tokens=OUTPUT_TOKENS)
        return {"server": rollout.address, "cached_tokens": cached,
                "token_ids": made["choices"][0]["token_ids"]}


async def step(client, rollouts, given, number):
    """One training step: a group for each prompt, then a second turn for each of its rollouts."""
    prompts = [[p * 1000 + i % 997 for i in range(given.prompt_tokens)]
               for p in range(1, given.prompts + 1)]
    sessions = [[f"step-{number}-{p}-{i}" for i in range(given.group)] for p in range(len(prompts))]
    groups = [rollouts.begin_group(given.group, sessions=names, model=given.model, tokens=prompt)
              for prompt, names in zip(prompts, sessions)]
    first = await asyncio.gather(*(
        generate(client, rollout, given.model, prompt)
        for prompt, group in zip(prompts, groups) for rollout in group))
    # The second turn of a session goes where the first one went.
    names = [name for group in sessions for name in group]
    turns = [prompts[i // given.group] + one["token_ids"] + [7] * 64
             for i, one in enumerate(first)]
    second = await asyncio.gather(*(
        generate(client, rollouts.begin(session=name, model=given.model, tokens=turn),
                 given.model, turn) for name, turn in zip(names, turns)))
    for name in names:
        rollouts.end_session(name)
    return {"moved": sum(one["server"] != two["server"] for one, two in zip(first, second)),
            "servers": len({one["server"] for one in first}),
            "servers_per_group": [len({rollout.address for rollout in group}) for group in groups],
            "first_cached": sum(one["cached_tokens"] for one in first),
            "second_cached": sum(one["cached_tokens"] for one in second),
            "prompt_tokens": len(first) * given.prompt_tokens}


async def run(given):
    router = weir.Router.from_file(HERE / "pipeline.yaml", seed=1)
    for server in given.server:
        router.pool.upsert(server, address=server)
    rollouts, steps = weir.rollout.Rollouts(router), []
    async with httpx.AsyncClient(timeout=60) as client:
        for number in range(given.steps):
            steps.append(await step(client, rollouts, given, number))
            # New weights: what the servers hold is worth nothing, and weir is told.
            for server in given.server:
                (await client.post(f"http://{server}/reset_prefix_cache")).raise_for_status()
            rollouts.weights_updated()
    return steps, router.stats()


def main():
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--server", action="append", required=True, help="host:port, once for each")
    flags.add_argument("--model", default="test-model")
    flags.add_argument("--prompts", type=int, default=6)
    flags.add_argument("--prompt-tokens", type=int, default=1024)
    flags.add_argument("--group", type=int, default=8)
    flags.add_argument("--steps", type=int, default=2)
    flags.add_argument("--json", action="store_true", help="the steps as one line of JSON")
    given = flags.parse_args()
    steps, stats = asyncio.run(run(given))
    if given.json:
        print(json.dumps({"steps": steps, "begun": stats["flights_begun"],
                          "ended": stats["flights_ended"]}))
        return
    for number, one in enumerate(steps):
        print(f"  step {number}: each group on {max(one['servers_per_group'])} server(s); held of "
              f"{one['prompt_tokens']} prompt tokens: {one['first_cached']} in the first turn, "
              f"{one['second_cached']} in the second")


if __name__ == "__main__":
    main()
