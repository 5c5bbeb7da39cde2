"""A fleet of simulated model servers and a router, in virtual time.

Nothing sleeps and nothing listens: minutes of traffic run in a fraction of a second, and equal
inputs give equal results, bit by bit.

>>> from weir import sim
>>> workload = sim.Workload.conversations(conversations=10, groups=2, seed=1)
>>> fleet = sim.Fleet(servers=2)                  # the default pipeline
>>> run = fleet.run(workload)
>>> run.summary()["requests"]
40

Times are seconds since the start of a run. Columns are read-only memoryviews over native memory:
``numpy.asarray(run.ttft_s)`` copies nothing.
"""

from __future__ import annotations

import array
import math
import operator
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

from . import _native
from ._native import ManualClock
from .router import Router

if TYPE_CHECKING:
    import pandas

    from ._native import Decision

__all__ = ["EXPLAIN_MAX", "HARDWARE", "MODELS", "Fleet", "Run", "Workload"]

HARDWARE: tuple[str, ...] = tuple(_native.sim.hardware)
"""Names that ``Fleet(hardware=...)`` takes."""

MODELS: tuple[str, ...] = tuple(_native.sim.shapes)
"""Names that ``Fleet(model=...)`` takes."""

EXPLAIN_MAX = 1024
"""How many decisions of a run ``Fleet.run(explain=...)`` keeps at most."""

Config = Union[str, "os.PathLike[str]", Mapping[str, Any], Router, None]

_COUNT_MAX = 2**32 - 1
_SEED_MAX = 2**64 - 1
_QUANTILES = ((50, 0.5), (90, 0.9), (99, 0.99))
_OUTCOMES = ("served", "refused", "rejected")


class Workload:
    """Requests with their tokens and times; made by a classmethod, then constant.

    A request of a session arrives when its time has come *and* the session's request before has
    its whole answer and the pause after it is over, as a person would.
    """

    def __init__(self, native: _native.sim.Workload) -> None:
        self._native = native

    @classmethod
    def conversations(
        cls,
        *,
        conversations: int = 120,
        turns: int = 4,
        groups: int = 12,
        group_skew: float = 0.0,
        system_tokens: int = 1500,
        input_tokens: int = 120,
        output_tokens: int = 80,
        pause_s: float = 2.0,
        spread: float = 0.5,
        conversations_per_s: float = 4.0,
        seed: int = 1,
    ) -> Workload:
        """Conversations of several turns with shared system prompts.

        Args:
            conversations: how many; each is a session.
            turns: requests of each. A prompt holds all questions and answers before it.
            groups: conversations of a group begin with the same system prompt.
            group_skew: 0: groups are equally popular; s: group g counts 1 / (g + 1)**s.
            system_tokens: length of a system prompt.
            input_tokens: mean length of a question.
            output_tokens: mean length of an answer.
            pause_s: mean time between an answer and the next question.
            spread: lengths and pauses are uniform in mean * (1 -+ spread), 0..1.
            conversations_per_s: first turns arrive at random (Poisson) at this rate.
            seed: equal seeds give equal workloads.

        Raises:
            weir.InvalidArgumentError: a value out of range, named in the text.
            weir.ExhaustedError: more than 2**28 tokens in all.
        """
        return cls(
            _native.sim.Workload.conversations(
                conversations=_count("conversations", conversations),
                turns=_count("turns", turns),
                groups=_count("groups", groups),
                group_skew=group_skew,
                system_tokens=_count("system_tokens", system_tokens),
                input_tokens=_count("input_tokens", input_tokens),
                output_tokens=_count("output_tokens", output_tokens),
                pause_s=pause_s,
                spread=spread,
                conversations_per_s=conversations_per_s,
                seed=_count("seed", seed, _SEED_MAX),
            )
        )

    @classmethod
    def from_records(cls, records: Iterable[Mapping[str, Any]]) -> Workload:
        """A workload of your own, one mapping per request.

        Args:
            records: mappings with ``tokens`` (token ids: a uint32 buffer or a sequence of int) and
                ``output_tokens`` (how many the answer has) or ``answer`` (its token ids), and
                optionally ``arrival_s``, ``pause_s``, ``session`` and ``group`` (any hashable).
                Lines of a Mooncake trace fit too: ``timestamp`` (ms), ``input_length``,
                ``output_length``, ``hash_ids`` (one per 512 tokens).

        Raises:
            TypeError: tokens that are no integers; an unknown or a missing key.
            ValueError: a value out of range. Texts begin with the record's number.
            weir.ExhaustedError: more than 2**20 requests or 2**28 tokens.

        >>> Workload.from_records([{"tokens": [1, 2, 3], "output_tokens": 5, "arrival_s": 0.5}])
        <weir.sim.Workload 1 requests, 1 groups>
        """
        native = _native.sim.Workload()
        sessions: dict[Hashable, int] = {}
        groups: dict[Hashable, int] = {}
        for number, record in enumerate(records):
            try:
                native.add(**_arguments_of(record, sessions, groups))
            except KeyError as error:
                raise TypeError(f"records[{number}]: no {error}") from None
            except (OverflowError, TypeError, ValueError) as error:
                raise type(error)(f"records[{number}]: {error}") from error
        return cls(native)

    def prompt(self, index: int) -> memoryview:
        """The token ids of a request's prompt: uint32, read-only, no copy."""
        return self._native.prompt(index)

    def answer(self, index: int) -> memoryview:
        """The token ids that the model will answer: uint32, read-only, no copy."""
        return self._native.answer(index)

    @property
    def group_count(self) -> int:
        """Groups are 0..group_count - 1, in the order in which they first appear."""
        return self._native.group_count

    def __len__(self) -> int:
        return len(self._native)

    def __repr__(self) -> str:
        return f"<weir.sim.Workload {len(self)} requests, {self.group_count} groups>"


_RECORD_KEYS = frozenset(
    ("tokens", "output_tokens", "answer", "arrival_s", "pause_s", "session", "group")
)
_TRACE_KEYS = frozenset(("timestamp", "input_length", "output_length", "hash_ids"))


def _arguments_of(
    record: Mapping[str, Any], sessions: dict[Hashable, int], groups: dict[Hashable, int]
) -> dict[str, Any]:
    """A record as the native module takes it."""
    trace = "hash_ids" in record
    known = _RECORD_KEYS | _TRACE_KEYS if trace else _RECORD_KEYS
    for key in record:
        if key not in known:
            raise TypeError(f"unknown key {key!r}, expected some of {', '.join(sorted(known))}")
    session, group = record.get("session"), record.get("group")
    if trace:
        arrival_s = record.get("timestamp", 0) / 1e3
        ids = [_count("hash_ids", one, _SEED_MAX) for one in record["hash_ids"]]
        prompt = _native.sim.trace_tokens(ids, _count("input_length", record["input_length"]))
        output_tokens = record["output_length"]
    else:
        arrival_s = record.get("arrival_s", 0.0)
        prompt = _tokens(record["tokens"])
        output_tokens = record.get("output_tokens", 0)
    return {
        "arrival_s": arrival_s,
        "pause_s": record.get("pause_s", 0.0),
        "session": None if session is None else sessions.setdefault(session, len(sessions)),
        "group": 0 if group is None else groups.setdefault(group, len(groups)),
        "prompt": prompt,
        "answer": _tokens(record.get("answer", ())),
        "output_tokens": _count("output_tokens", output_tokens),
    }


def _count(name: str, value: int, limit: int = _COUNT_MAX) -> int:
    """The value as an int that the native module takes."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: {type(value).__name__}, expected int") from None
    if not 0 <= number <= limit:
        raise ValueError(f"{name}: {number}, expected 0..{limit}")
    return number


def _tokens(values: Any) -> Any:
    """Something with a buffer of uint32."""
    try:
        view = memoryview(values)
    except TypeError:
        pass
    else:
        if view.format in ("I", "L") and view.itemsize == 4 and view.c_contiguous:
            return view
    if isinstance(values, (str, bytes)):
        raise TypeError(f"tokens: {type(values).__name__}, expected token ids")
    return array.array("I", values)


class Fleet:
    """Equal model servers behind one router, in virtual time.

    Args:
        config: a pipeline as ``Router.from_file``, ``from_text`` or ``from_config`` takes it: a
            path, YAML text (a str with a line feed) or a mapping; None: the default pipeline.
            Each run then has a router of its own, as new. Or a Router made with
            ``clock=weir.ManualClock()``: it keeps its plugins' memory from run to run, and its
            pool is replaced by the fleet's servers s0, s1, ...
        name: what plots and tables call it; default: the file's name, or "fleet".
        servers: how many, 1..4096.
        hardware: one of ``weir.sim.HARDWARE``.
        model: one of ``weir.sim.MODELS``.
        engine: "vllm" or "sglang": whose scheduler the servers follow.
        tensor_parallel: devices per server.
        kv_blocks: KV blocks of each server; 0: what fits on the hardware.
        block_tokens: tokens of a block; 0: the engine's default.
        running_requests_max: batch size; 0: the engine's default.
        jitter: steps take a little more or less than the formula says, from the seed.
        scrape_interval_s: how often the router sees each server's load.
        seed: of the router and of the servers.
        **options: of ``Router.from_config``, such as ``plugins``.
    """

    def __init__(
        self,
        config: Config = None,
        *,
        name: str | None = None,
        servers: int = 4,
        hardware: str = "l40s",
        model: str = "llama-3.1-8b",
        engine: str = "vllm",
        tensor_parallel: int = 1,
        kv_blocks: int = 0,
        block_tokens: int = 0,
        running_requests_max: int = 0,
        jitter: bool = False,
        scrape_interval_s: float = 0.05,
        seed: int = 1,
        **options: Any,
    ) -> None:
        if isinstance(config, Router) and options:
            raise TypeError(f"{', '.join(options)}: the router was made already")
        self._config = config
        self._options = options
        self._seed = seed
        self.name = _name_of(config) if name is None else name
        self._servers = {
            "servers": _count("servers", servers),
            "hardware": hardware,
            "shape": model,
            "engine": engine,
            "tensor_parallel": _count("tensor_parallel", tensor_parallel),
            "kv_blocks": _count("kv_blocks", kv_blocks),
            "block_tokens": _count("block_tokens", block_tokens),
            "running_requests_max": _count("running_requests_max", running_requests_max),
            "jitter": jitter,
            "scrape_interval_s": scrape_interval_s,
            "seed": _count("seed", seed, _SEED_MAX),
            "model": model,
        }

    def run(
        self, workload: Workload, *, name: str | None = None, explain: Iterable[int] = ()
    ) -> Run:
        """Lets the workload's requests arrive, and returns what became of them.

        Runs without the GIL but for Python scorers; Ctrl-C interrupts it.

        Args:
            workload: the requests.
            name: what plots and tables call the run; default: the fleet's name.
            explain: numbers of requests whose decisions ``Run.decisions`` keeps, at most
                ``EXPLAIN_MAX``.

        Raises:
            weir.InvalidArgumentError: an option out of range, an empty workload.
            weir.ConfigError: a pipeline with errors.
            weir.FailedPreconditionError: another run uses the fleet's router.
        """
        wanted = sorted({_count("explain", request) for request in explain})
        if len(wanted) > EXPLAIN_MAX:
            raise ValueError(f"explain: {len(wanted)} requests, expected at most {EXPLAIN_MAX}")
        router = self._router()
        native = _native.sim.run(router, workload._native, explain=wanted, **self._servers)
        return Run(native, name=self.name if name is None else name, router=router)

    def _router(self) -> Router:
        config = self._config
        if isinstance(config, Router):
            return config
        options = {"seed": self._seed, **self._options, "clock": ManualClock()}
        if config is None:
            return Router.default(**options)
        if isinstance(config, Mapping):
            return Router.from_config(config, **options)
        if isinstance(config, str) and "\n" in config:
            return Router.from_text(config, **options)
        return Router.from_file(os.fspath(config), **options)

    def __repr__(self) -> str:
        servers = self._servers
        return f"<weir.sim.Fleet {self.name!r}: {servers['servers']} x {servers['hardware']}>"


def _name_of(config: Config) -> str:
    if isinstance(config, os.PathLike) or (isinstance(config, str) and "\n" not in config):
        return os.path.splitext(os.path.basename(os.fspath(config)))[0]
    return "default" if config is None else "fleet"


class Run:
    """What became of each request of a workload, as columns in the order of its requests.

    Each column is a read-only memoryview; NaN or -1 stands for "none".
    """

    def __init__(self, native: _native.sim.Run, *, name: str, router: Router) -> None:
        self._native = native
        self.name = name
        self.router = router
        """The router of the run, with the fleet in its pool as it was at the end."""

    @property
    def decisions(self) -> dict[int, Decision]:
        """The decisions of the requests that ``explain=`` named, by request."""
        return self._native.decisions

    @property
    def server_count(self) -> int:
        """Servers are 0..server_count - 1; the router calls them s0, s1, ..."""
        return self._native.server_count

    @property
    def group_count(self) -> int:
        """Groups are 0..group_count - 1."""
        return self._native.group_count

    @property
    def duration_s(self) -> float:
        """When the last request ended."""
        return self._native.duration_s

    @property
    def first_failure(self) -> str:
        """Why the first request that was not served was not; empty if all were."""
        return self._native.first_failure

    @property
    def outcome(self) -> memoryview:
        """uint8: 0 served, 1 refused by the router, 2 rejected by the server."""
        return self._native.outcome

    @property
    def server(self) -> memoryview:
        """int32: where each request was sent, -1 if it was refused."""
        return self._native.server

    @property
    def arrival_s(self) -> memoryview:
        """float64: when each request arrived and was decided."""
        return self._native.arrival_s

    @property
    def ttft_s(self) -> memoryview:
        """float64: seconds to the first token, NaN if there was none."""
        return self._native.ttft_s

    @property
    def tpot_s(self) -> memoryview:
        """float64: mean seconds per further token, NaN for answers of one token."""
        return self._native.tpot_s

    @property
    def end_s(self) -> memoryview:
        """float64: when each request ended."""
        return self._native.end_s

    @property
    def prompt_tokens(self) -> memoryview:
        """uint32: length of each prompt."""
        return self._native.prompt_tokens

    @property
    def cached_tokens(self) -> memoryview:
        """uint32: of each prompt, found in the server's prefix cache."""
        return self._native.cached_tokens

    @property
    def output_tokens(self) -> memoryview:
        """uint32: length of each answer."""
        return self._native.output_tokens

    @property
    def session(self) -> memoryview:
        """int64: the conversation, -1 for a request of none."""
        return self._native.session

    @property
    def group(self) -> memoryview:
        """uint32: the group."""
        return self._native.group

    @property
    def turn(self) -> memoryview:
        """uint32: place of each request in its session, from 0."""
        return self._native.turn

    @property
    def cache_map(self) -> memoryview:
        """uint64[servers, groups]: tokens of each group in each server's cache at the end."""
        return self._native.cache_map

    def columns(self) -> dict[str, memoryview]:
        """All columns of requests by name."""
        return {name: getattr(self._native, name) for name in _REQUEST_COLUMNS}

    def load_columns(self) -> dict[str, memoryview]:
        """The servers' load when it was scraped: time_s, server, waiting_requests,
        running_requests, kv_used_ratio. At most 65,536 samples; longer runs keep fewer per second.
        """
        return {name: getattr(self._native, "sample_" + name) for name in _LOAD_COLUMNS}

    def to_pandas(self) -> pandas.DataFrame:
        """The requests as a pandas.DataFrame, one row each."""
        return _frame(self.columns())

    def load_to_pandas(self) -> pandas.DataFrame:
        """``load_columns()`` as a pandas.DataFrame."""
        return _frame(self.load_columns())

    def summary(self) -> dict[str, Any]:
        """One row for a table of runs: counts, quantiles in seconds, rates, hits and balance.

        ``imbalance`` is the busiest server's prompt and output tokens, without cached ones, over
        the mean of all servers; 1 is even.
        """
        outcomes = self.outcome.tolist()
        ttft = sorted(value for value in self.ttft_s if not math.isnan(value))
        tpot = sorted(value for value in self.tpot_s if not math.isnan(value))
        requests = [0] * self.server_count
        work = [0] * self.server_count
        hits = prompts = 0
        for outcome, server, prompt, cached, output in zip(
            outcomes, self.server, self.prompt_tokens, self.cached_tokens, self.output_tokens
        ):
            if outcome != 0:
                continue
            requests[server] += 1
            work[server] += prompt - cached + output
            prompts += prompt
            hits += cached
        row: dict[str, Any] = {"name": self.name, "requests": len(outcomes)}
        for code, outcome_name in enumerate(_OUTCOMES):
            row[outcome_name] = outcomes.count(code)
        row["duration_s"] = self.duration_s
        row["ttft_mean_s"] = sum(ttft) / len(ttft) if ttft else math.nan
        for percent, quantile in _QUANTILES:
            row[f"ttft_p{percent}_s"] = _quantile(ttft, quantile)
        row["tpot_p50_s"] = _quantile(tpot, 0.5)
        output_tokens = sum(self.output_tokens)
        row["output_tokens_per_s"] = output_tokens / self.duration_s if self.duration_s else 0.0
        row["prefix_hit_ratio"] = hits / prompts if prompts else 0.0
        row["imbalance"] = max(work) * len(work) / sum(work) if sum(work) else 1.0
        row["requests_per_server"] = tuple(requests)
        return row

    def __len__(self) -> int:
        return len(self.outcome)

    def __repr__(self) -> str:
        return f"<weir.sim.Run {self.name!r}: {len(self)} requests, {self.duration_s:.1f} s>"

    def _repr_html_(self) -> str:
        from html import escape

        cells = "".join(
            f"<tr><th>{escape(key)}</th><td>{escape(_text(value))}</td></tr>"
            for key, value in self.summary().items()
        )
        return f"<table>{cells}</table>"


_REQUEST_COLUMNS = (
    "outcome",
    "server",
    "arrival_s",
    "ttft_s",
    "tpot_s",
    "end_s",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "session",
    "group",
    "turn",
)
_LOAD_COLUMNS = ("time_s", "server", "waiting_requests", "running_requests", "kv_used_ratio")


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _quantile(ordered: Sequence[float], quantile: float) -> float:
    """The smallest value that at least this share of all does not exceed."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(quantile * len(ordered)) - 1)]


def _frame(columns: Mapping[str, memoryview]) -> pandas.DataFrame:
    import numpy
    import pandas

    return pandas.DataFrame({name: numpy.asarray(column) for name, column in columns.items()})
