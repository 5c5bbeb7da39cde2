"""Decisions and pools as rows, data frames, Arrow streams and HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from . import _native

if TYPE_CHECKING:
    import pandas

T = TypeVar("T")
Row = dict[str, Any]

HTML_ROWS_MAX = 50

# The columns that every decision has, in order, with their Arrow types; one for each scorer's weighted and raw score
# follows.
_DECISION_COLUMNS = {
    "profile": "str", "endpoint": "str", "namespace": "str", "address": "str", "rank": "int", "total": "float",
    "dropped_by": "str", "waiting_requests": "int", "running_requests": "int", "kv_used_ratio": "float",
    "sent_since_sample": "int", "sample_age_s": "float",
}
_POOL_COLUMNS = {
    "name": "str", "namespace": "str", "address": "str", "waiting_requests": "int", "running_requests": "int",
    "kv_used_ratio": "float", "in_flight": "int", "kv_block_tokens": "int", "kv_block_count": "int",
    "sample_age_s": "float",
}


async def ready(value: T) -> T:
    """An awaitable that has the value already."""
    return value


def explain(decision: _native.Decision) -> list[Row]:
    """The rows of Decision.explain()."""
    rows = []
    for profile in decision.explanation["profiles"]:
        for endpoint in profile["endpoints"]:
            row = {"profile": profile["name"]} | {key: value for key, value in endpoint.items() if key != "scores"}
            for name, (raw, weighted) in endpoint["scores"].items():
                row[name] = weighted
                row[f"{name}.raw"] = raw
            rows.append(row)
    return rows


def _columns(rows: Sequence[Mapping[str, Any]], known: Mapping[str, str]) -> list[tuple[str, str, list[Any]]]:
    names = dict(known)
    for row in rows:
        for name, value in row.items():
            if name not in names and isinstance(value, float):
                names[name] = "float"
    return [(name, kind, [row.get(name) for row in rows]) for name, kind in names.items()]


def _frame(rows: Sequence[Mapping[str, Any]], known: Mapping[str, str]) -> pandas.DataFrame:
    import pandas

    return pandas.DataFrame({name: values for name, _, values in _columns(rows, known)})


def decision_to_pandas(decision: _native.Decision) -> pandas.DataFrame:
    return _frame(explain(decision), _DECISION_COLUMNS)


def decision_to_arrow(decision: _native.Decision, requested_schema: object = None) -> object:
    return _native.arrow_stream(_columns(explain(decision), _DECISION_COLUMNS))


def pool_to_pandas(pool: _native.Pool) -> pandas.DataFrame:
    return _frame(pool.rows(), _POOL_COLUMNS)


def pool_to_arrow(pool: _native.Pool, requested_schema: object = None) -> object:
    return _native.arrow_stream(_columns(pool.rows(), _POOL_COLUMNS))


def _cell(value: object) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, float):
        return f'<td style="text-align:right">{value:.4g}</td>'
    if isinstance(value, int):
        return f'<td style="text-align:right">{value}</td>'
    return f'<td style="text-align:left">{html.escape(str(value))}</td>'


def _html(caption: str, rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> str:
    names = list(columns)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(_cell(row.get(name)) for name in names) + "</tr>" for row in rows[:HTML_ROWS_MAX])
    more = len(rows) - HTML_ROWS_MAX
    foot = f"<p>and {more} more</p>" if more > 0 else ""
    return f"<table><caption>{html.escape(caption)}</caption><tr>{head}</tr>{body}</table>{foot}"


def decision_to_html(decision: _native.Decision) -> str:
    explanation = decision.explanation
    rows = sorted(explain(decision), key=lambda row: (row["rank"] is None, row["rank"] or 0, -row["total"]))
    scorers = [scorer["name"] for profile in explanation["profiles"] for scorer in profile["scorers"]]
    columns = ["rank", "endpoint", *dict.fromkeys(scorers), "total", "dropped_by", "waiting_requests",
               "running_requests", "kv_used_ratio"]
    caption = f"{decision.endpoint} ({decision.address}), model {explanation['model'] or 'not named'}"
    return _html(caption, rows, columns)


def pool_to_html(pool: _native.Pool) -> str:
    rows = pool.rows()
    return _html(f"{len(rows)} endpoints", rows, _POOL_COLUMNS)


def router_to_html(router: _native.Router) -> str:
    if router.closed:
        return "<p>closed</p>"
    return f"{pool_to_html(router.pool)}<pre>{html.escape(router.describe())}</pre>"
