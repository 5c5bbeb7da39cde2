"""What the Ray Serve routers of a process share. Apart from weir.ray, because Serve pickles the module
of a router class by value: each handle has a copy of that, and of this there is one."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import weakref
from collections.abc import Mapping
from typing import Any

import weir

# Runs where no configuration is given. Replicas that report nothing are equal to the two scorers of
# scraped load, so that prefix and requests in flight decide. Three ranks, then all other replicas.
DEFAULT_PIPELINE = """apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: prefix-cache-scorer
- type: active-request-scorer
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: max-score-picker
  parameters:
    maxNumOfEndpoints: 3
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: prefix-cache-scorer
    weight: 3
  - pluginRef: active-request-scorer
    weight: 1
  - pluginRef: queue-scorer
    weight: 1
  - pluginRef: kv-cache-utilization-scorer
    weight: 1
  - pluginRef: max-score-picker
"""

# What a replica's record_routing_stats() may say, and the column of weir's pool that it is.
DEFAULT_STATS_KEYS = {
    "num_waiting_reqs": "waiting_requests",
    "num_running_reqs": "running_requests",
    "kv": "kv_used_ratio",
    "block_size": "kv_block_tokens",
    "num_blocks": "kv_block_count",
}
_RATIOS = {"kv_used_ratio"}
_COUNT_MAX = 2**32 - 1

# One engine per deployment and configuration in a process, so that its handles share what they
# know. An engine lives as long as a router uses it.
_shared: weakref.WeakValueDictionary[tuple, Engine] = weakref.WeakValueDictionary()
_shared_lock = threading.Lock()


class Engine:
    """A weir router that the routers of one deployment may share."""

    def __init__(self, router: weir.Router) -> None:
        self.router = router
        self.news: dict = {}  # what each replica last reported, by its name


def routers() -> dict[tuple[str, str], weir.Router]:
    """The shared engines of this process by (application, deployment): their stats(), metrics() and
    recent_decisions() tell what happens to requests that are routed here."""
    with _shared_lock:
        return {key[:2]: engine.router for key, engine in _shared.items()}


def make_router(config: Mapping | None = None, config_file: str | None = None,
                config_text: str | None = None, seed: int | None = None) -> weir.Router:
    if sum(given is not None for given in (config, config_file, config_text)) > 1:
        raise weir.ConfigError("config, config_file, config_text: expected at most one of them")
    options = {} if seed is None else {"seed": seed}
    if config is not None:
        return weir.Router.from_config(dict(config), **options)
    if config_file is not None:
        return weir.Router.from_file(config_file, **options)
    if config_text is not None:
        return weir.Router.from_text(config_text, name="config_text", **options)
    return weir.Router.from_text(DEFAULT_PIPELINE, name="weir.ray.DEFAULT_PIPELINE", **options)


def find_engine(app: str, deployment: str, pipeline: dict, shared: bool) -> Engine:
    """The engine of make_router(**pipeline); `shared`: the one of all who ask for the same."""
    if not shared:
        return Engine(make_router(**pipeline))
    digest = hashlib.sha256(json.dumps(pipeline, sort_keys=True).encode()).hexdigest()
    with _shared_lock:
        engine = _shared.get((app, deployment, digest))
        if engine is None:
            engine = _shared[app, deployment, digest] = Engine(make_router(**pipeline))
        return engine


def columns_of(stats: Mapping, keys: Mapping[str, str]) -> dict:
    """Routing stats as columns of the pool. What is missing or no sensible number stays unknown."""
    found = {}
    for key, column in keys.items():
        value = stats.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            continue
        if column in _RATIOS and 0 <= value <= 1:
            found[column] = float(value)
        elif column not in _RATIOS and 0 <= value <= _COUNT_MAX:
            found[column] = int(value)
    return found
