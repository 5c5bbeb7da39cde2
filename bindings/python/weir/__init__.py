"""weir picks the right model server for every LLM request.

>>> import weir
>>> router = weir.Router.default(seed=1)
>>> _ = router.pool.upsert("a", address="10.0.0.1:8000", waiting_requests=2, kv_used_ratio=0.4)
>>> _ = router.pool.upsert("b", address="10.0.0.2:8000", waiting_requests=0, kv_used_ratio=0.1)
>>> decision = router.decide(model="qwen3", prompt="hello world")
>>> decision.endpoint
'b'
>>> with router.begin(decision) as flight:
...     flight.first_token()
...     flight.finish(prompt_tokens=2, output_tokens=1)

Start at Router. Errors are subclasses of weir.Error.
"""

from __future__ import annotations

import atexit
import os

from . import _interpreter as _interpreter  # first: it may refuse
from . import errors as errors
from ._native import (
    Decision,
    EndpointId,
    Flight,
    ManualClock,
    PluginEndpoints,
    PluginRequest,
    Pool,
    Target,
    abi_version,
    build_info,
)
from ._native import after_fork_in_child as _after_fork_in_child
from ._native import at_exit as _at_exit
from ._native import version as __version__
from .errors import (
    AbortedError,
    AlreadyExistsError,
    CancelledError,
    ClosedError,
    ConfigError,
    DataLossError,
    DeadlineExceededError,
    Error,
    ExhaustedError,
    FailedPreconditionError,
    ForkedError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    PermissionDeniedError,
    PluginError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from .plugins import Filter, Picker, Scorer, filter, picker, register, scorer
from .router import Router

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "CancelledError",
    "ClosedError",
    "ConfigError",
    "DataLossError",
    "DeadlineExceededError",
    "Decision",
    "EndpointId",
    "Error",
    "ExhaustedError",
    "FailedPreconditionError",
    "Filter",
    "Flight",
    "ForkedError",
    "InternalError",
    "InvalidArgumentError",
    "ManualClock",
    "NotFoundError",
    "OutOfRangeError",
    "PermissionDeniedError",
    "Picker",
    "PluginEndpoints",
    "PluginError",
    "PluginRequest",
    "Pool",
    "Router",
    "Scorer",
    "Target",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "__version__",
    "abi_version",
    "build_info",
    "errors",
    "filter",
    "picker",
    "register",
    "scorer",
]

atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)
