"""Pictures of decisions and simulated runs. Needs matplotlib, imported at the first call.

Every function draws into ``ax``, or into a new figure, and returns the Axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ._native import Decision
    from .sim import Run

    Runs = Union[Run, Iterable[Run], Mapping[str, Run]]

__all__ = ["balance", "cache_map", "load", "scores", "ttft_curves"]

# Okabe and Ito's colours, told apart by everyone; then they come round again, dashed.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
_STYLES = ("-", "--", ":", "-.")

_LOAD_LABELS = {
    "waiting_requests": "requests waiting",
    "running_requests": "requests running",
    "kv_used_ratio": "KV cache in use",
}
_ENDPOINTS_MAX = 50


def scores(decision: Decision, *, ax: Axes | None = None) -> Axes:
    """Weighted scores of each endpoint, one bar of parts per endpoint, the pick on top.

    Shows the first profile; of more than 50 endpoints, the 50 with the highest scores.
    """
    rows = _explained(decision)
    names = list(dict.fromkeys(scorer for row in rows for scorer in row["scores"]))
    ax = _axes(ax, height=0.6 + 0.35 * len(rows))
    for number, scorer in enumerate(names):
        lefts = [sum(_weighted(row, one) for one in names[:number]) for row in rows]
        widths = [_weighted(row, scorer) for row in rows]
        ax.barh(range(len(rows)), widths, left=lefts, color=_colour(number), label=scorer)
    ax.set_yticks(range(len(rows)), [_endpoint_label(row) for row in rows])
    ax.invert_yaxis()
    ax.set_xlabel("weighted score")
    if names:
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def ttft_curves(runs: Runs, *, ax: Axes | None = None) -> Axes:
    """Share of requests whose first token came within a time, one curve per run."""
    from matplotlib import ticker

    ax = _axes(ax)
    for number, (name, run) in enumerate(_named(runs).items()):
        values = sorted(value for value in run.ttft_s if value == value)
        shares = [(i + 1) / len(values) for i in range(len(values))]
        ax.step([1e3 * value for value in values], shares, where="post", label=name, **_line(number))
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(ticker.NullFormatter())
    ax.set_xlabel("time to first token (ms)")
    ax.set_ylabel("share of requests")
    ax.set_ylim(0, 1)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    return ax


def load(run: Run, *, column: str = "running_requests", ax: Axes | None = None) -> Axes:
    """The servers' load over time, one line per server.

    Args:
        column: "running_requests", "waiting_requests" or "kv_used_ratio".
    """
    if column not in _LOAD_LABELS:
        raise ValueError(f"column: {column!r}, expected one of {', '.join(_LOAD_LABELS)}")
    ax = _axes(ax)
    samples = run.load_columns()
    times: list[list[float]] = [[] for _ in range(run.server_count)]
    values: list[list[float]] = [[] for _ in range(run.server_count)]
    for time_s, server, value in zip(samples["time_s"], samples["server"], samples[column]):
        times[server].append(time_s)
        values[server].append(value)
    for server in range(run.server_count):
        label = f"s{server}" if run.server_count <= len(_COLOURS) else None
        ax.plot(times[server], values[server], label=label, linewidth=1, **_line(server))
    ax.set_xlabel("time (s)")
    ax.set_ylabel(_LOAD_LABELS[column])
    ax.set_title(run.name)
    ax.grid(alpha=0.3)
    if run.server_count <= len(_COLOURS):
        ax.legend(frameon=False, ncols=2)
    return ax


def balance(runs: Runs, *, ax: Axes | None = None) -> Axes:
    """Tokens that each server had to compute, prompts without cached ones; bars by run."""
    ax = _axes(ax)
    named = _named(runs)
    for number, (name, run) in enumerate(named.items()):
        work = [0] * run.server_count
        for server, prompt, cached, output in zip(
            run.server, run.prompt_tokens, run.cached_tokens, run.output_tokens
        ):
            if server >= 0 and output > 0:
                work[server] += prompt - cached + output
        width = 0.8 / len(named)
        left = [server - 0.4 + width * (number + 0.5) for server in range(run.server_count)]
        ax.bar(left, [tokens / 1e3 for tokens in work], width, color=_colour(number), label=name)
    servers = max(run.server_count for run in named.values())
    ax.set_xticks(range(servers), [f"s{server}" for server in range(servers)])
    ax.set_ylabel("tokens computed (thousands)")
    ax.legend(frameon=False, ncols=len(named), loc="lower center", bbox_to_anchor=(0.5, 1), columnspacing=1)
    return ax


def cache_map(run: Run, *, ax: Axes | None = None) -> Axes:
    """Which server holds how much of which group's prompts, at the end of the run."""
    ax = _axes(ax, height=0.8 + 0.3 * run.server_count)
    rows: Any = run.cache_map.tolist()  # typeshed knows memoryviews of one dimension
    tokens = [[cell / 1e3 for cell in row] for row in rows]
    image = ax.imshow(tokens, aspect="auto", cmap="Blues", vmin=0)
    ax.set_yticks(range(run.server_count), [f"s{server}" for server in range(run.server_count)])
    ax.set_xlabel("group (one system prompt each)")
    ax.set_title(run.name)
    ax.figure.colorbar(image, ax=ax, label="tokens cached (thousands)")
    return ax


def _axes(ax: Axes | None, *, height: float = 3.2) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(6.4, min(height, 12)), layout="constrained")[1]


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _line(number: int) -> dict[str, Any]:
    return {"color": _colour(number), "linestyle": _STYLES[number // len(_COLOURS) % len(_STYLES)]}


def _named(runs: Runs) -> dict[str, Run]:
    """Runs by name; equal names get their number."""
    from .sim import Run

    if isinstance(runs, Mapping):
        named = dict(runs)
    else:
        named = {}
        for run in [runs] if isinstance(runs, Run) else runs:
            named[run.name if run.name not in named else f"{run.name} ({len(named) + 1})"] = run
    if not named:
        raise ValueError("runs: none, expected one or more")
    return named


def _explained(decision: Decision) -> list[dict[str, Any]]:
    """The first profile's endpoints with their scores, the picked ones first."""
    rows = decision.explanation["profiles"][0]["endpoints"]
    return sorted(rows, key=_place)[:_ENDPOINTS_MAX]


def _place(row: Mapping[str, Any]) -> tuple[bool, int, float]:
    return (row["rank"] is None, row["rank"] or 0, -row["total"])


def _weighted(row: Mapping[str, Any], scorer: str) -> float:
    return float(row["scores"].get(scorer, (0.0, 0.0))[1])


def _endpoint_label(row: Mapping[str, Any]) -> str:
    if row["dropped_by"] is not None:
        return f"{row['endpoint']} (dropped by {row['dropped_by']})"
    return f"{row['endpoint']} (picked)" if row["rank"] == 0 else row["endpoint"]
