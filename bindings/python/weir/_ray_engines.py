"""What the Ray Serve routers of a process share. Apart from weir.ray, because Serve pickles the
module of a router class by value: each handle has a copy of that, and of this there is one."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import numbers
import threading
import weakref
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import weir
from weir._prompts import prompt_of

# Runs where no configuration is given. Replicas that report nothing are equal to the two scorers of
# scraped load, so that prefix and requests in flight decide. Three ranks, then all replicas.
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
REPORTS_KEY = "reports"  # a number that changes whenever the stats are measured anew
_RATIOS = {"kv_used_ratio"}
_COUNT_MAX = 2**32 - 1

# One engine per deployment and configuration in a process, so that its handles share what they
# know. An engine lives as long as a router uses it.
_shared: weakref.WeakValueDictionary[tuple[str, str, str], Engine] = weakref.WeakValueDictionary()
_shared_lock = threading.Lock()


class Engine:
    """A weir router that the routers of one deployment may share."""

    def __init__(self, router: weir.Router) -> None:
        self.router = router
        self.news: dict[str, News] = {}  # what each replica last reported, by its name


class News(NamedTuple):
    """What a replica reports. Only what differs from the last is applied: applied again, a sample
    would hide what was sent since it was taken."""

    columns: dict[str, Any]  # of the pool
    reports: float  # changes with each sample, so that a sample may equal the last
    adapters: frozenset[str]


NO_NEWS = News({}, 0, frozenset())


def routers() -> dict[tuple[str, str], weir.Router]:
    """The shared engines of this process by (application, deployment): their stats(), metrics() and
    recent_decisions() tell what happens to requests that are routed here."""
    with _shared_lock:
        return {key[:2]: engine.router for key, engine in _shared.items()}


def make_router(config: Mapping[str, Any] | None = None, config_file: str | None = None,
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


class Settings(NamedTuple):
    """Options of a router, checked."""

    pipeline: dict[str, Any]  # of make_router()
    shared: bool
    prompt_of: Callable[..., dict[str, Any]]
    stats_keys: Mapping[str, str]


def settings_of(*, config: Mapping[str, Any] | None = None, config_file: str | None = None,
                config_text: str | None = None, share: str = "process", seed: int | None = None,
                text_extractor: str | None = None, stats_keys: Mapping[str, str] | None = None,
                **unknown: Any) -> Settings:
    """Raises weir.ConfigError, which names the option."""
    for name in unknown:
        raise weir.ConfigError(f"{name}: not an option of weir.ray.WeirRequestRouter")
    if share not in ("process", "router"):
        raise weir.ConfigError(f'share: "{share}", expected "process" or "router"')
    columns = set(DEFAULT_STATS_KEYS.values())
    for column in set((stats_keys or {}).values()) - columns:
        raise weir.ConfigError(f'stats_keys: "{column}", expected one of {sorted(columns)}')
    extractor = prompt_of
    if text_extractor is not None:
        module, _, function = text_extractor.partition(":")
        try:
            extractor = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            raise weir.ConfigError(f'text_extractor: "{text_extractor}", expected '
                                   f"module:function: {error}") from error
    pipeline = {"config": config, "config_file": config_file, "config_text": config_text,
                "seed": seed}
    return Settings(pipeline, share == "process", extractor, stats_keys or DEFAULT_STATS_KEYS)


def find_engine(app: str, deployment: str, settings: Settings) -> Engine:
    """An engine for a deployment; if shared, the one of all who ask for the same pipeline."""
    if not settings.shared:
        return Engine(make_router(**settings.pipeline))
    digest = hashlib.sha256(json.dumps(settings.pipeline, sort_keys=True).encode()).hexdigest()
    with _shared_lock:
        engine = _shared.get((app, deployment, digest))
        if engine is None:
            engine = _shared[app, deployment, digest] = Engine(make_router(**settings.pipeline))
        return engine


def news_of(stats: Any, adapters: Collection[str], keys: Mapping[str, str]) -> News:
    """Routing stats as columns of the pool. What is missing or no sensible number stays unknown."""
    if not isinstance(stats, Mapping):
        stats = {}
    if not len(stats) and not adapters:
        return NO_NEWS
    found: dict[str, Any] = {}
    for key, column in keys.items():
        value = _number(stats.get(key))
        if column not in _RATIOS:
            if 0 <= value <= _COUNT_MAX:
                found[column] = int(value)
        elif 0 <= value <= 1:
            found[column] = float(value)
    reports = _number(stats.get(REPORTS_KEY))
    # NaN would differ from itself, so that each sample were news.
    return News(found, reports if reports == reports else 0, frozenset(adapters))


def _number(value: Any) -> float:
    """NaN, which is in no range, where it is none."""
    if type(value) is int or type(value) is float:  # nearly all
        return value
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan
