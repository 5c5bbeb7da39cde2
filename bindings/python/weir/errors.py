"""What weir raises: one class per status code of the engine, all of them weir.Error."""

from __future__ import annotations


class Error(RuntimeError):
    """Everything that weir refuses or that fails inside it. `code` is its status as text."""

    code: str = "unknown"


class CancelledError(Error):
    """The operation was given up before its end."""

    code = "cancelled"


class InvalidArgumentError(Error, ValueError):
    """A value that weir does not take; the text names field, value and what was expected."""

    code = "invalid_argument"


class ConfigError(InvalidArgumentError):
    """A pipeline that cannot run; one line per problem: file, line, field, value, expectation."""


class DeadlineExceededError(Error, TimeoutError):
    """Time was up."""

    code = "deadline_exceeded"


class NotFoundError(Error, LookupError):
    """No such endpoint, or no such file."""

    code = "not_found"


class AlreadyExistsError(Error):
    """There is one of this name already."""

    code = "already_exists"


class PermissionDeniedError(Error):
    """Not allowed."""

    code = "permission_denied"


class ExhaustedError(Error):
    """A limit is reached, or the filters left no endpoint for this request."""

    code = "resource_exhausted"


class FailedPreconditionError(Error):
    """Not in this state: for `if_available`, no endpoint holds a part of the prompt."""

    code = "failed_precondition"


class AbortedError(Error):
    """Somebody else was faster; try again."""

    code = "aborted"


class OutOfRangeError(Error, ValueError):
    """Larger than a limit, such as that of a request's body."""

    code = "out_of_range"


class UnimplementedError(Error, NotImplementedError):
    """Not built in this version."""

    code = "unimplemented"


class InternalError(Error):
    """A plugin failed in a way that leaves no answer."""

    code = "internal"


class UnavailableError(Error):
    """No endpoint: the pool, or the subset that may serve the request, is empty."""

    code = "unavailable"


class DataLossError(Error):
    """Data are damaged."""

    code = "data_loss"


class UnauthenticatedError(Error):
    """Nobody said who asks."""

    code = "unauthenticated"


class PluginError(Error):
    """A plugin written in Python failed; `__cause__` is what it raised."""

    code = "internal"


class ClosedError(Error):
    """Used after close(), or outside of the call that it was made for."""

    code = "failed_precondition"


class ForkedError(Error):
    """Made before fork() and used in the child: make a new router there."""

    code = "failed_precondition"


_BY_CODE: dict[int, type[Error]] = {
    1: CancelledError,
    3: InvalidArgumentError,
    4: DeadlineExceededError,
    5: NotFoundError,
    6: AlreadyExistsError,
    7: PermissionDeniedError,
    8: ExhaustedError,
    9: FailedPreconditionError,
    10: AbortedError,
    11: OutOfRangeError,
    12: UnimplementedError,
    13: InternalError,
    14: UnavailableError,
    15: DataLossError,
    16: UnauthenticatedError,
}


def from_code(code: int, text: str) -> Error:
    """The exception of a status of the engine, not raised.

    >>> from_code(14, "no endpoints")
    UnavailableError('no endpoints')
    """
    return _BY_CODE.get(code, Error)(text)
