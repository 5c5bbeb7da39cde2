"""Conversations through a litellm.Router whose deployments weir chooses. See README.md."""

import argparse
import asyncio
import collections
import json
import pathlib

import litellm
import weir.litellm

HERE = pathlib.Path(__file__).resolve().parent


def make_router(servers, model, **options):
    """A LiteLLM router over OpenAI-compatible servers, and the strategy that chooses for it."""
    deployments = [{"model_name": model, "model_info": {"id": url},
                    "litellm_params": {"model": f"openai/{model}", "api_base": f"{url}/v1",
                                       "api_key": "none"}} for url in servers]
    router = litellm.Router(model_list=deployments, **options)
    strategy = weir.litellm.WeirStrategy(router, weir.Router.from_file(HERE / "pipeline.yaml"))
    router.set_custom_routing_strategy(strategy)
    return router, strategy


async def talk(router, model, number, turns):
    """One conversation; returns, for each turn, the server and the prompt tokens it held."""
    system = f"You answer customer {number}. " + f"Rule for {number}: be brief. " * 100
    messages, told = [{"role": "system", "content": system}], []
    for turn in range(turns):
        messages.append({"role": "user", "content": f"Question {turn}?"})
        answer = await router.acompletion(model=model, messages=messages, max_tokens=8)
        messages.append({"role": "assistant", "content": answer.choices[0].message.content})
        details = answer.usage.prompt_tokens_details
        told.append({"server": answer._hidden_params["model_id"],
                     "prompt_tokens": answer.usage.prompt_tokens,
                     "cached_tokens": details.cached_tokens if details else 0})
    return told


async def run(given):
    router, strategy = make_router(given.server, given.model, num_retries=2)
    conversations = await asyncio.gather(*(talk(router, given.model, number, given.turns)
                                           for number in range(given.conversations)))
    for _ in range(100):  # LiteLLM reports ends from a queue of its own
        if not any(row["in_flight"] for row in strategy.router.pool.rows()):
            break
        await asyncio.sleep(0.05)
    return conversations, strategy


def main():
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--server", action="append", required=True, help="URL, once for each")
    flags.add_argument("--model", default="test-model")
    flags.add_argument("--conversations", type=int, default=6)
    flags.add_argument("--turns", type=int, default=4)
    flags.add_argument("--json", action="store_true", help="the turns as one line of JSON")
    given = flags.parse_args()
    conversations, strategy = asyncio.run(run(given))
    stats = strategy.router.stats()
    if given.json:
        print(json.dumps({"conversations": conversations, "failures": strategy.failures,
                          "begun": stats["flights_begun"], "ended": stats["flights_ended"]}))
        return
    for number, turns in enumerate(conversations):
        servers = collections.Counter(turn["server"] for turn in turns)
        held = sum(turn["cached_tokens"] for turn in turns)
        all_tokens = sum(turn["prompt_tokens"] for turn in turns)
        print(f"  conversation {number}: {100 * held / all_tokens:4.0f} % of its prompts held, on "
              + ", ".join(f"{url} ({count})" for url, count in servers.items()))


if __name__ == "__main__":
    main()
