"""Ray Serve: weir as the request router of a deployment.

    @serve.deployment(request_router_config=weir.ray.request_router_config(seed=1))
    class Model: ...

Written for Ray 2.49 and newer, tested with 2.60. weir must be installed wherever a handle of the
deployment lives. Routing never raises into Serve: whatever goes wrong is counted, logged once a
minute, and the replica is chosen by queue length, as Serve does without a router. See docs/ray.md.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
import weakref
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from ray.serve.request_router import LocalityMixin, MultiplexMixin, RequestRouter

import weir
from weir._prompts import prompt_of
from weir._ray_engines import (DEFAULT_PIPELINE, DEFAULT_STATS_KEYS, NO_NEWS, REPORTS_KEY,
                               Engine, News, find_engine, make_router, news_of, routers,
                               settings_of)

if TYPE_CHECKING:
    from weir._native import NamedEndpointFields

__all__ = ["DEFAULT_PIPELINE", "StatsMixin", "WeirRequestRouter", "prompt_of",
           "request_router_config", "routers"]

log = logging.getLogger("weir.ray")

LOG_PERIOD_S = 60.0  # between two log lines about failed decisions of one router
RUNNING_MAX = 1 << 16  # requests that a router without refusals counts; the oldest go first


def request_router_config(*, stats_period_s: float = 1.0,
                          serve_options: dict[str, Any] | None = None, **options: Any) -> Any:
    """A `RequestRouterConfig` that selects WeirRequestRouter with these options of its
    initialize_state(). Raises weir.ConfigError here, on the driver, for a pipeline that each proxy
    would otherwise refuse for itself (and then route by queue length). `stats_period_s`: how often
    replicas are asked for routing stats; `serve_options`: other fields of RequestRouterConfig."""
    from ray.serve.config import RequestRouterConfig

    make_router(**settings_of(**options).pipeline).close()
    return RequestRouterConfig(
        request_router_class="weir.ray.WeirRequestRouter", request_router_kwargs=options,
        request_routing_stats_period_s=stats_period_s, **(serve_options or {}))


class StatsMixin:
    """For a deployment's class: what report() was last told becomes the replica's routing stats."""

    def report(self, **stats: float) -> None:
        """Keys of weir.ray.DEFAULT_STATS_KEYS: num_waiting_reqs, num_running_reqs, kv (0 to 1),
        block_size (tokens), num_blocks. A key stays as it is until it is given again. Each call
        says that all of them are what is now, and is counted in what Serve is told."""
        unknown = sorted(set(stats) - set(DEFAULT_STATS_KEYS))
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: expected {', '.join(DEFAULT_STATS_KEYS)}")
        told = self.__dict__.setdefault("_weir_stats", {})
        told.update(stats)
        told[REPORTS_KEY] = told.get(REPORTS_KEY, 0) + 1

    def record_routing_stats(self) -> dict[str, Any]:
        """Called by Serve's controller every request_routing_stats_period_s."""
        return dict(self.__dict__.get("_weir_stats", ()))


class WeirRequestRouter(LocalityMixin, MultiplexMixin, RequestRouter):
    """Ranks replicas by a weir pipeline: each target of a decision is a rank of its own, all
    replicas are the last. Select it by path: "weir.ray.WeirRequestRouter"."""

    def initialize_state(self, **options: Any) -> None:
        """Called by Serve with request_router_kwargs.

        config, config_file, config_text: a pipeline, at most one; none: DEFAULT_PIPELINE.
        share: "process" (default): all handles of the deployment in a process share prefixes and
            counts; "router": each handle is alone.
        seed: of random draws; none: drawn.
        text_extractor: "module:function", called as function(args, kwargs) instead of prompt_of().
        stats_keys: instead of DEFAULT_STATS_KEYS.

        A mistake is logged and then everything is routed by queue length: Serve would let each
        request wait for ever if this raised. request_router_config() raises on the driver.
        """
        self.fallbacks = 0  # decisions that failed: the replica was chosen by queue length
        self.unread = 0  # prompts that weir could not read: load alone decided
        self._engine: Engine | None = None
        self._replica_by_name: dict[str, Any] = {}
        # Weak: a request is Serve's, and goes when Serve drops it. The first by the identity of
        # its metadata, the second by internal id and name of the replica.
        self._pending: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._unaccepted: weakref.WeakValueDictionary[tuple[str, str], _Held] = (
            weakref.WeakValueDictionary())
        self._running: dict[_Held, None] = {}  # in order of their start; see _kept()
        self._log_after_s = -math.inf
        try:
            self._settings = settings_of(**options)
            self._engine = find_engine(self._deployment_id.app_name, self._deployment_id.name,
                                       self._settings)
        except Exception as error:  # the configuration may name anybody's code
            self._failed(error)

    @property
    def router(self) -> weir.Router | None:
        """The engine; None if its configuration was refused."""
        return self._engine.router if self._engine else None

    def _failed(self, error: Exception) -> None:
        self.fallbacks += 1
        self._complain(error)

    def _complain(self, error: Exception) -> None:
        now = time.monotonic()
        if now >= self._log_after_s:
            self._log_after_s = now + LOG_PERIOD_S
            log.error("weir routed %s %d times by queue length, %d times by load without the "
                      "prompt: %s: %s", self._deployment_id, self.fallbacks, self.unread,
                      type(error).__name__, error)

    # Replicas come, change and go.

    def update_replicas(self, replicas: list[Any]) -> None:
        super().update_replicas(replicas)
        self._replica_by_name = {r.replica_id.to_full_id_str(): r for r in replicas}
        engine = self._engine
        if engine is None:
            return
        try:
            keys = self._settings.stats_keys
            news = {name: news_of(replica.routing_stats, replica.multiplexed_model_ids, keys)
                    for name, replica in self._replica_by_name.items()}
            engine.router.pool.replace(
                self._endpoint(name, replica, engine.news.get(name, NO_NEWS), news[name])
                for name, replica in self._replica_by_name.items())
            engine.news = news
        except Exception as error:
            self._failed(error)

    @staticmethod
    def _endpoint(name: str, replica: Any, old: News, news: News) -> NamedEndpointFields:
        labels = {}
        if replica.node_id:
            labels["node"] = replica.node_id
        if replica.availability_zone:
            labels["zone"] = replica.availability_zone
        endpoint = {"name": name, "address": _address(replica.replica_id), "labels": labels}
        # Applied again, a sample would hide what was sent since it was taken.
        if old != news:
            endpoint.update(news.columns)
            if old.adapters != news.adapters:
                endpoint["active_adapters"] = sorted(news.adapters)
        return cast("NamedEndpointFields", endpoint)

    def on_replica_actor_died(self, replica_id: Any) -> None:
        super().on_replica_actor_died(replica_id)
        name = replica_id.to_full_id_str()
        if self._replica_by_name.pop(name, None) is None or self._engine is None:
            return
        self._engine.news.pop(name, None)
        try:
            self._engine.router.pool.remove(name)
        except weir.NotFoundError:
            pass  # another handle of this process heard it first
        except Exception as error:
            self._failed(error)

    # A request is routed, perhaps several times, and ends.

    async def choose_replicas(self, candidate_replicas: list[Any],
                              pending_request: Any = None) -> list[list[Any]]:
        if pending_request is None:
            return [candidate_replicas]
        # Otherwise a round in which all replicas are full is followed by the next at once.
        pending_request.routing_context.should_backoff = True
        self._pending[id(pending_request.metadata)] = pending_request
        if self._engine is None:
            return [candidate_replicas]
        try:
            return self._ranks(self._engine, candidate_replicas, pending_request)
        except Exception as error:
            self._failed(error)
            return [candidate_replicas]

    def _get_pending_request_matching_internal_request_id(self, request_metadata: Any = None) -> Any:
        """Whom Serve gives the replica that was chosen for a request. Its own index has one request
        per id, and calls made for one request of an ingress share that: all but one would wait for
        ever."""
        request = self._pending.get(id(request_metadata))
        return None if request is None or request.future.done() else request

    def _ranks(self, engine: Engine, candidates: list[Any], request: Any) -> list[list[Any]]:
        held = self._held(engine, request)
        if not candidates:
            return []
        asked = self._settings.prompt_of(request.args, request.kwargs)
        asked.setdefault("request_id", request.metadata.request_id)
        usable = candidates if len(candidates) < len(self._replica_by_name) else None
        adapter = request.metadata.multiplexed_model_id
        if adapter:
            asked["adapter"] = adapter
            usable = [replica for replica in candidates
                      if adapter in replica.multiplexed_model_ids] or usable
        decision = self._decide(engine, asked, usable and [one.replica_id for one in usable])
        chosen = self._targets_of(decision)
        if not chosen or not self._has_room(chosen[0].replica):
            chosen.sort(key=lambda one: not self._has_room(one.replica))  # else in weir's order
            if not chosen or not self._has_room(chosen[0].replica):
                room = ([replica for replica in usable or () if self._has_room(replica)]
                        or [replica for replica in candidates if self._has_room(replica)])
                if room:
                    decision = self._decide(engine, asked, [one.replica_id for one in room])
                    chosen = self._targets_of(decision)
        held.begin(decision, asked, chosen[0].index if chosen else 0)
        ranks = [[one.replica] for one in chosen]
        if len(chosen) < len(candidates):
            ranks.append(candidates)  # Serve's own list: to walk it costs more than to decide
        return ranks

    def _has_room(self, replica: Any) -> bool:
        queue_len = self.replica_queue_len_cache.get(replica.replica_id)
        return queue_len is None or queue_len < replica.max_ongoing_requests

    def _decide(self, engine: Engine, asked: dict[str, Any],
                usable_ids: list[Any] | None) -> weir.Decision:
        subset = None if usable_ids is None else [_address(one) for one in usable_ids]
        try:
            return engine.router.decide(**asked, subset=subset)
        except (TypeError, ValueError) as error:
            self.unread += 1
            self._complain(error)
            rest = {key: asked[key] for key in ("model", "adapter", "request_id") if key in asked}
            return engine.router.decide(**rest, subset=subset)

    def _targets_of(self, decision: weir.Decision) -> list[_Target]:
        """Those that Serve knows, too."""
        found = (_Target(index, self._replica_by_name.get(target.name))
                 for index, target in enumerate(decision.targets))
        return [one for one in found if one.replica is not None]

    def _held(self, engine: Engine, request: Any) -> _Held:
        """What weir holds for a pending request. What an earlier round decided counts no longer."""
        held = getattr(request, "weir", None)
        if held is None:
            held = request.weir = _Held(self, engine, request)
        held.end("failed")
        request.future.remove_done_callback(held.picked)  # of an earlier round
        request.future.add_done_callback(held.picked)
        return held

    def _kept(self, held: _Held) -> None:
        """Without its protocol of refusal Serve drops a request once it is sent, and then says only
        that it ended."""
        if self._use_replica_queue_len_cache or not hasattr(RequestRouter, "on_request_completed"):
            return
        if len(self._running) >= RUNNING_MAX:
            next(iter(self._running)).end("completed")
        self._running[held] = None

    def on_request_routed(self, pending_request: Any, replica_id: Any, result: Any) -> None:
        super().on_request_routed(pending_request, replica_id, result)
        held = getattr(pending_request, "weir", None)
        if held is None:
            return
        try:
            pending_request.weir = None
            held.move(replica_id)
            flight, held.flight = held.flight, None
            if flight is None:
                return  # nothing could be decided
            # on_request_completed does not tell this call from others of one ingress request, nor
            # from an earlier attempt that was refused.
            result.add_done_callback(functools.partial(self._answered, flight))
        except Exception as error:
            self._failed(error)

    def _answered(self, flight: weir.Flight, _: Any) -> None:
        """Called in a thread of Ray's."""
        try:
            flight.finish()
        except Exception as error:
            self._failed(error)

    def on_request_completed(self, replica_id: Any, internal_request_id: str) -> None:
        """The end of any attempt. Answers have ended before; this ends what no replica accepted: a
        request cancelled meanwhile, a replica that was reserved, or all where Serve has no protocol
        of refusal. A request that was refused is about to be decided again, or is already."""
        super().on_request_completed(replica_id, internal_request_id)
        name = replica_id.to_full_id_str()
        held = self._unaccepted.get((internal_request_id, name))
        if held is not None and held.name == name and held.is_sent():
            held.end("completed")


class _Target(NamedTuple):
    index: int  # type: ignore[assignment]  # in the decision; no search, as a tuple's is
    replica: Any


class _Held:
    """A request from its first decision until a replica accepts it, in flight on its first choice
    and, once Serve has picked a replica, on that one. It hangs on the pending request."""

    __slots__ = ("__weakref__", "_asked", "_decision", "_engine", "_internal_request_id",
                 "_request", "_router", "flight", "name")

    def __init__(self, router: WeirRequestRouter, engine: Engine, request: Any) -> None:
        self._router, self._engine = router, engine
        self._request = weakref.ref(request)
        self._internal_request_id = request.metadata.internal_request_id
        self._decision: weir.Decision | None = None
        self.flight: weir.Flight | None = None

    def begin(self, decision: weir.Decision, asked: dict[str, Any], target: int) -> None:
        self._decision, self._asked = decision, asked
        self._fly(decision, target)

    def _fly(self, decision: weir.Decision, target: int) -> None:
        self.flight = self._engine.router.begin(decision, target)
        self.name = decision.targets[target].name
        self._router._unaccepted[self._internal_request_id, self.name] = self

    def move(self, replica_id: Any) -> None:
        """The flight to the replica that Serve picked, mostly the first choice."""
        name = replica_id.to_full_id_str()
        if self._decision is None or (self.flight is not None and self.name == name):
            return
        self.end("failed")  # the first choice does not hold the prompt
        names = [target.name for target in self._decision.targets]
        if name in names:
            self._fly(self._decision, names.index(name))
        else:
            self._fly(self._router._decide(self._engine, self._asked, [replica_id]), 0)

    def picked(self, future: asyncio.Future[Any]) -> None:
        """Called when the request has its replica or is cancelled."""
        if self.flight is None:
            return
        try:
            if future.cancelled():
                self.end("failed")
            else:
                self.move(future.result().replica_id)
                self._router._kept(self)
        except Exception as error:
            self._router._failed(error)

    def is_sent(self) -> bool:
        """Whether a replica has it, or has refused it and Serve does not know yet."""
        request = self._request()
        return request is None or request.future.done()

    def end(self, how: Literal["completed", "failed"]) -> None:
        self._router._running.pop(self, None)
        if self.flight is not None:
            self.flight.finish(end=how)
            self.flight = None

    def __del__(self) -> None:
        # A caller of choose_replica() only wanted to know where, and sends by other ways.
        try:
            self.end("completed")
        except weir.ForkedError:
            pass  # the parent counts it


def _address(replica_id: Any) -> str:
    """Names the replica in the subset of a request. Serve sends; nobody connects to it."""
    return f"{replica_id.unique_id}:1"
