"""The engine: give it endpoints and requests, get decisions."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from . import _native
from .errors import NotFoundError

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class Router(_native.Router):
    """Chooses a model server for each request.

    Make one with `from_file`, `from_text`, `from_config` or `default`. All take the same options, by keyword:

    - `seed`: of its random draws; 0 draws one from the clock.
    - `plugins`: paths of shared objects with plugins, see docs/write-a-plugin.md.
    - `allow_experimental_plugins`: also those of stability alpha.
    - `decisions_kept`: for `recent_decisions()`, 0..1024.
    - `clock`: a callable that returns seconds, or a `ManualClock`; None is the machine's monotonic clock.
    - `unscraped`: how endpoints without metrics look, "worst" (as the worst of the others) or "idle" (as all zero).
    - `count_unscraped_requests`: add to the load what was sent since the last metrics.
    - `sample_age_s_max`: older metrics count as never read; 0 is no limit.
    - `release_gil`: `decide` gives up the GIL while the engine works. For programs whose threads do little but decide
      on long prompts; beside a thread that computes in Python, each call may then wait 5 ms to get it back.

    A pipeline that cannot run raises `ConfigError`, one line per problem.

    All methods may be called from several threads. `decide` keeps the GIL unless told to release it, because it takes
    microseconds; `decide_batch` always releases it.
    """

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **options: Any) -> Self:
        """Loads an EndpointPickerConfig file (YAML or JSON)."""
        name = os.fspath(path)
        try:
            with open(name, encoding="utf-8") as file:
                text = file.read()
        except FileNotFoundError as error:
            raise NotFoundError(f"{name}: {error.strerror}") from error
        return cls(text, name, **options)

    @classmethod
    def from_text(cls, text: str, name: str = "config", **options: Any) -> Self:
        """Loads a pipeline from text; `name` stands for the file in errors."""
        return cls(text, name, **options)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **options: Any) -> Self:
        """Loads a pipeline from a dict of the same shape as the file.

        `apiVersion` and `kind` may be left out.

        >>> import weir
        >>> router = weir.Router.from_config({
        ...     "plugins": [{"type": "queue-scorer"}, {"type": "max-score-picker"}],
        ...     "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "queue-scorer", "weight": 1}]}],
        ... })
        >>> "queue-scorer" in router.describe()
        True
        """
        whole = {"apiVersion": "llm-d.ai/v1alpha1", "kind": "EndpointPickerConfig"} | dict(config)
        return cls(json.dumps(whole), "config", **options)

    @classmethod
    def default(cls, **options: Any) -> Self:
        """The default pipeline: queue length 2, KV cache use 2, cached prefix 3, highest sum wins."""
        return cls(None, **options)

    async def admit(self, **request: Unpack[_native.RequestFields]) -> _native.Decision:
        """Waits until the request may go, then decides; takes what `decide` takes.

        This version has no queue in front of the engine: it never waits.
        """
        return self.decide(**request)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle a weir.Router: it holds live state; pickle its configuration and make one there")

    def __repr__(self) -> str:
        return "<weir.Router, closed>" if self.closed else f"<weir.Router of {len(self.pool)} endpoints>"

    def _repr_html_(self) -> str:
        from . import _tables

        return _tables.router_to_html(self)
