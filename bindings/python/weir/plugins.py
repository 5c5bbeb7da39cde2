"""Scorers, filters and pickers written in Python.

A plugin is called once per decision, with all candidates as arrays: NumPy arrays if NumPy is installed, else
memoryviews, read-only. Register it under a name, then name it in the pipeline:

>>> import weir
>>> @weir.scorer("spread")
... def spread(request, endpoints, *, base=1.0):
...     return [base / (1 + waiting) for waiting in endpoints.waiting_requests]
>>> router = weir.Router.from_config({
...     "plugins": [{"type": "spread", "parameters": {"base": 0.5}}, {"type": "max-score-picker"}],
...     "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "spread", "weight": 1}]}],
... })
>>> _ = router.pool.upsert("a", address="10.0.0.1:8000", waiting_requests=3)
>>> _ = router.pool.upsert("b", address="10.0.0.2:8000", waiting_requests=1)
>>> router.decide(prompt="hello").endpoint
'b'

A call may take its time budget. What goes wrong is counted in `Router.stats()` and logged once to
`logging.getLogger("weir")`, and the decision goes on without the plugin: a scorer gives 0 to all, a filter keeps all, a
picker is replaced by the highest score.
"""

from __future__ import annotations

import abc
import functools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar, Union

from . import _native
from ._native import PluginEndpoints, PluginRequest
from .errors import PluginError

#: What a plugin may return: an array (any one-dimensional buffer of numbers), or a sequence.
Numbers = Union[Sequence[float], Sequence[bool], Any]

Function = TypeVar("Function", bound=Callable[..., Any])
Class = TypeVar("Class", bound="type[Plugin]")


class Plugin(abc.ABC):
    """What Scorer, Filter and Picker have in common. The parameters of the pipeline reach `__init__` by keyword."""

    #: Columns to be produced for it: any of "in_flight", "prefix_match", "uncached_tokens".
    reads: ClassVar[Iterable[str]] = ("in_flight",)
    #: A call that takes longer counts as an overrun. The clock is the machine's.
    time_budget_s: ClassVar[float] = 0.002
    #: So many overruns in a row disable the instance.
    overruns_max: ClassVar[int] = 100
    #: A call that takes longer is interrupted by DeadlineExceededError, and the instance disabled.
    hang_s: ClassVar[float] = 1.0

    _kind: ClassVar[str]
    _method: ClassVar[str]


class Scorer(Plugin):
    """Prefers some endpoints over others."""

    _kind = "scorer"
    _method = "score"

    @abc.abstractmethod
    def score(self, request: PluginRequest, endpoints: PluginEndpoints) -> Numbers:
        """One number per endpoint, 0..1, higher is better; others are clamped, NaN counts as 0."""


class Filter(Plugin):
    """Drops endpoints that must not serve a request."""

    _kind = "filter"
    _method = "keep"

    @abc.abstractmethod
    def keep(self, request: PluginRequest, endpoints: PluginEndpoints) -> Numbers:
        """One truth value per endpoint: whether it may serve the request."""


class Picker(Plugin):
    """Chooses among scored endpoints."""

    _kind = "picker"
    _method = "pick"

    @abc.abstractmethod
    def pick(self, request: PluginRequest, endpoints: PluginEndpoints, scores: Any) -> int | Sequence[int] | Any:
        """The index of the endpoint that serves the request, or several, best first; none refuses the request.

        `scores` is the weighted sum per endpoint. Draw from `request.uniform()`, which the decision's seed decides.
        """


def register(name: str) -> Callable[[Class], Class]:
    """Makes a subclass of Scorer, Filter or Picker a type of pipelines, under this name.

    A name that is registered again means the new class for routers made from then on; those of weir itself are refused
    with AlreadyExistsError.

    >>> @register("idle-only")
    ... class IdleOnly(Filter):
    ...     def __init__(self, waiting_max=0):
    ...         self.waiting_max = waiting_max
    ...     def keep(self, request, endpoints):
    ...         return [waiting <= self.waiting_max for waiting in endpoints.waiting_requests]
    """

    def decorate(plugin: Class) -> Class:
        if not (isinstance(plugin, type) and issubclass(plugin, (Scorer, Filter, Picker))):
            raise TypeError(f"{plugin!r}: expected a subclass of weir.Scorer, weir.Filter or weir.Picker")

        def make(parameters: str, instance_name: str) -> Callable[..., Any]:
            method: Callable[..., Any] = getattr(plugin(**json.loads(parameters)), plugin._method)
            return method

        _native.register_plugin(
            name, plugin._kind, make, list(plugin.reads), plugin.time_budget_s, plugin.hang_s, plugin.overruns_max
        )
        return plugin

    return decorate


def _function(kind: str, name: str, options: dict[str, Any]) -> Callable[[Function], Function]:
    unknown = options.keys() - {"reads", "time_budget_s", "hang_s", "overruns_max"}
    if unknown:
        raise TypeError(f"{kind}() got an unexpected keyword argument {min(unknown)!r}")

    def decorate(function: Function) -> Function:
        if not callable(function):
            raise TypeError(f"{function!r}: expected a function of request and endpoints")

        def make(parameters: str, instance_name: str) -> Callable[..., Any]:
            given = json.loads(parameters)
            return functools.partial(function, **given) if given else function

        _native.register_plugin(
            name,
            kind,
            make,
            list(options.get("reads", Plugin.reads)),
            options.get("time_budget_s", Plugin.time_budget_s),
            options.get("hang_s", Plugin.hang_s),
            options.get("overruns_max", Plugin.overruns_max),
        )
        return function

    return decorate


def scorer(name: str, **options: Any) -> Callable[[Function], Function]:
    """Makes a function of (request, endpoints) a scorer; see Scorer.score for what it returns.

    Parameters of the pipeline reach it by keyword. Options are the class attributes of Plugin.
    """
    return _function("scorer", name, options)


def filter(name: str, **options: Any) -> Callable[[Function], Function]:  # noqa: A001
    """Makes a function of (request, endpoints) a filter; see Filter.keep for what it returns."""
    return _function("filter", name, options)


def picker(name: str, **options: Any) -> Callable[[Function], Function]:
    """Makes a function of (request, endpoints, scores) a picker; see Picker.pick for what it returns."""
    return _function("picker", name, options)


def report(name: str, text: str, cause: BaseException | None) -> None:
    """Logs what went wrong with a plugin, as a PluginError with its cause."""
    import logging  # takes as long as the rest of weir

    error = PluginError(f'plugin "{name}": {text}')
    error.__cause__ = cause
    logging.getLogger("weir").error("%s", error, exc_info=None if cause is None else error)
