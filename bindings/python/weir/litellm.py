"""LiteLLM: weir chooses among the deployments of a litellm.Router.

    strategy = weir.litellm.WeirStrategy(litellm_router, weir.Router.from_file("weir.yaml"))
    litellm_router.set_custom_routing_strategy(strategy)

LiteLLM goes on to do what it does: retries, fallbacks, cooldowns, health checks, order. What is
left of a model's deployments after those is what weir chooses from. See docs/python_hosts.md.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from typing import Any

import litellm
from litellm.integrations.custom_logger import CustomLogger
from litellm.types.router import CustomRoutingStrategyBase

import weir
from weir._prompts import prompt_of

__all__ = ["WeirStrategy"]

log = logging.getLogger("weir.litellm")

LOG_PERIOD_S = 60.0
_CALL = "weir_request"  # in the metadata of a LiteLLM call


class WeirStrategy(CustomRoutingStrategyBase):
    """For litellm.Router.set_custom_routing_strategy(). Safe for concurrent use. A request that
    weir cannot decide goes round robin; `failures` counts those."""

    def __init__(self, litellm_router: litellm.Router, router: weir.Router) -> None:
        """`router`: its pool will hold the deployments by model_info["id"], nothing else."""
        self.litellm_router, self.router = litellm_router, router
        self.failures = 0
        self._known: dict[str, Any] = {}  # deployment id to the address that names it in a subset
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._log_after_s = 0.0
        litellm.logging_callback_manager.add_litellm_callback(_Feedback(self))

    async def async_get_available_deployment(
            self, model: str, messages: list[dict[str, Any]] | None = None,
            input: str | list[Any] | None = None, specific_deployment: bool | None = False,
            request_kwargs: dict[str, Any] | None = None) -> dict[str, Any]:
        """One element of the router's model_list. Raises as LiteLLM does if none is healthy."""
        request = {} if request_kwargs is None else request_kwargs
        healthy = await self.litellm_router.async_get_healthy_deployments(
            model=model, request_kwargs=request, messages=messages, input=input,
            specific_deployment=specific_deployment)
        return self._choose(model, healthy, messages, input, request)

    def get_available_deployment(
            self, model: str, messages: list[dict[str, Any]] | None = None,
            input: str | list[Any] | None = None, specific_deployment: bool | None = False,
            request_kwargs: dict[str, Any] | None = None) -> dict[str, Any]:
        """The same for LiteLLM's blocking calls, which know no health checks and no order."""
        from litellm.router_utils.cooldown_handlers import _get_cooldown_deployments

        # LiteLLM has no public way to these; of 1.106.
        model, healthy = self.litellm_router._common_checks_available_deployment(
            model=model, messages=messages, input=input, specific_deployment=specific_deployment,
            request_kwargs=request_kwargs)
        if not isinstance(healthy, dict):
            cooling = set(_get_cooldown_deployments(self.litellm_router, None))
            healthy = [one for one in healthy if one["model_info"]["id"] not in cooling] or healthy
        return self._choose(model, healthy, messages, input,
                            {} if request_kwargs is None else request_kwargs)

    def _choose(self, model: str, healthy: dict[str, Any] | list[dict[str, Any]],
                messages: list[Any] | None, input: str | list[Any] | None,
                request: dict[str, Any]) -> dict[str, Any]:
        if isinstance(healthy, dict):  # the caller named this one
            return healthy
        if not healthy:
            raise ValueError(f"{model}: no deployment is available")
        by_id = {one["model_info"]["id"]: one for one in healthy}
        try:
            self._follow_model_list()
            asked = prompt_of((messages, input, request.get("prompt")), {})
            subset = [self._known[name] for name in by_id]
            decision = self._decide({**asked, "model": model}, subset)
            chosen = by_id[decision.endpoint]
            _call_of(request).flights[decision.endpoint] = self.router.begin(decision)
            return chosen
        except Exception as error:
            return healthy[self._failed(error) % len(healthy)]

    def _decide(self, asked: dict[str, Any], subset: list[Any]) -> weir.Decision:
        try:
            return self.router.decide(**asked, subset=subset)
        except (TypeError, ValueError):  # a prompt that weir cannot read: load alone decides
            return self.router.decide(model=asked["model"], subset=subset)

    def _follow_model_list(self) -> None:
        ids = [one["model_info"]["id"] for one in self.litellm_router.model_list]
        if len(ids) == len(self._known) and all(name in self._known for name in ids):
            return
        with self._lock:
            known = {name: self._known.get(name) or f"deployment-{next(self._numbers)}:1"
                     for name in ids}
            self.router.pool.replace([{"name": name, "address": address}
                                      for name, address in known.items()])
            self._known = known

    def _failed(self, error: Exception) -> int:
        self.failures += 1
        now = time.monotonic()
        if now >= self._log_after_s:
            self._log_after_s = now + LOG_PERIOD_S
            log.error("weir places requests round robin (%d so far): %s: %s", self.failures,
                      type(error).__name__, error)
        return self.failures

    def ended(self, kwargs: dict[str, Any], response: Any) -> None:
        """Called by LiteLLM's logging when a request succeeded, or failed (response None)."""
        params = kwargs.get("litellm_params") or {}
        call = next((held[_CALL] for field in ("metadata", "litellm_metadata")
                     if _CALL in (held := params.get(field) or {})), None)
        if not isinstance(call, _Call):
            return
        flight = call.flights.pop(str((params.get("model_info") or {}).get("id")), None)
        if flight is None:
            return
        if response is None:
            flight.finish(end="failed")
            return
        usage = getattr(response, "usage", None)
        details = getattr(usage, "prompt_tokens_details", None)
        flight.finish(prompt_tokens=_count(usage, "prompt_tokens"),
                      cached_tokens=_count(details, "cached_tokens"),
                      output_tokens=_count(usage, "completion_tokens"))


class _Call(str):
    """What is in flight for one LiteLLM call, by deployment: its retries share its metadata.
    LiteLLM reports no end of a call that is cancelled, nor of a stream that is abandoned, but it
    lets go of their metadata, and this dies with them. A str, for loggers that write them down."""

    def __init__(self) -> None:
        self.flights: dict[str, weir.Flight] = {}

    def __deepcopy__(self, memo: Any) -> _Call:
        return self

    def __reduce__(self) -> tuple[type[str], tuple[()]]:
        return str, ()

    def __del__(self) -> None:
        for flight in self.flights.values():
            with contextlib.suppress(weir.ForkedError):
                flight.finish(end="client_gone")


def _call_of(request: dict[str, Any]) -> _Call:
    # Where an interface has metadata of its own for the provider, LiteLLM's are elsewhere.
    field = "litellm_metadata" if request.get("litellm_metadata") is not None else "metadata"
    metadata = request.get(field)
    if metadata is None:
        metadata = request[field] = {}
    call = metadata.get(_CALL)
    if not isinstance(call, _Call):
        call = metadata[_CALL] = _Call()
    return call


def _count(holder: Any, field: str) -> int:
    value = getattr(holder, field, None)
    return value if isinstance(value, int) else -1


class _Feedback(CustomLogger):
    """Tells the strategy how requests ended."""

    def __init__(self, strategy: WeirStrategy) -> None:
        super().__init__()
        self._strategy = strategy

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any,
                          end_time: Any) -> None:
        self._strategy.ended(kwargs, response_obj)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any,
                          end_time: Any) -> None:
        self._strategy.ended(kwargs, None)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any,
                                      end_time: Any) -> None:
        self._strategy.ended(kwargs, response_obj)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any,
                                      end_time: Any) -> None:
        self._strategy.ended(kwargs, None)
