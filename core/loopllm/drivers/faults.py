"""What an exception means for a run: pass it on, try again, or give up.

No framework is imported here, so its exceptions are known by what they carry (`status_code`, a `response`) and by name.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, TypeVar

from loopllm.drivers.world import World
from loopllm.errors import CallTimeoutError, EvaluatorError, MissingExtraError, MisuseError, ProviderError
from loopllm.refinement import Refinement
from loopllm.results import RefinementResult
from loopllm.steps import CallFailed, EvaluationFailed

FailureT = TypeVar("FailureT", CallFailed, EvaluationFailed)

_CONTROL_FLOW = frozenset({"GraphBubbleUp", "WorkflowCancelledByUser"})
_TRANSIENT_NAMES = frozenset(
    {
        "APIConnectionError",
        "APITimeoutError",
        "ConnectError",
        "ReadError",
        "RemoteProtocolError",
        "ServiceUnavailable",
        "TransportError",
    }
)
_TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})

_NOTE = "The drafts of the run that this ended are in the `result` of this error."
_CLOSE_TO_DEADLINE = 0.95  # a server or a timer may give up a moment before our own clock says so


def failure(
    kind: type[FailureT], error: Exception, began: float, timeout_s: float | None, world: World[Any, Any]
) -> FailureT:
    """Return what `error` means for the run, or raise it again when it is none of the run's business.

    Args:
        kind: `CallFailed` or `EvaluationFailed`.
        error: What was raised.
        began: `time.perf_counter()` when the step began.
        timeout_s: Seconds the step was given, or None.
        world: Draws the jitter.
    """
    if must_pass(error):
        raise error
    late = timeout_s is not None and time.perf_counter() - began >= timeout_s * _CLOSE_TO_DEADLINE
    return kind(
        error,
        transient=is_transient(error),
        retry_after=retry_after(error, time.time()),
        timed_out=late and is_timeout(error),
        jitter=world.draw(),
    )


def must_pass(error: Exception) -> bool:
    """Return True for exceptions that are not failures: a framework's control flow, and the caller's own mistakes."""
    return isinstance(error, MisuseError | MissingExtraError) or _is_control_flow(error)


def keep_drafts(error: Exception, run: Refinement[Any, Any]) -> None:
    """Let an error that ends a run carry what was paid for as its `result`, and say so where it is shown.

    It may be of any kind: the caller's own feedback builder or exit condition raised it.
    """
    held = vars(error).get("result")  # that of another library's error may be something of its own
    if _is_control_flow(error) or not (held is None or isinstance(held, RefinementResult)):
        return
    result = run.cut_short(error)
    if result is not None:
        vars(error)["result"] = result
        if _NOTE not in getattr(error, "__notes__", ()):
            error.add_note(_NOTE)


def _is_control_flow(error: Exception) -> bool:
    return any(base.__name__ in _CONTROL_FLOW for base in type(error).__mro__)


def is_timeout(error: Exception) -> bool:
    """Return True when a call was given up because of a deadline."""
    return isinstance(error, CallTimeoutError | TimeoutError) or type(error).__name__ == "APITimeoutError"


def is_transient(error: Exception) -> bool:
    """Return True when the same call may succeed a little later."""
    if isinstance(error, ProviderError | EvaluatorError):
        return error.transient
    status = _status(error)
    if status is not None:
        return status in _TRANSIENT_STATUS
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    return any(base.__name__ in _TRANSIENT_NAMES for base in type(error).__mro__)


def retry_after(error: Exception, now: float) -> float | None:
    """Return the seconds a server asked to wait, or None.

    Args:
        error: What the call raised.
        now: Seconds since the epoch, for servers that answer with a date.
    """
    if isinstance(error, ProviderError):
        return error.retry_after
    headers = getattr(getattr(error, "response", None), "headers", None)
    value = None if headers is None else headers.get("retry-after")
    return None if value is None else parse_retry_after(str(value), now)


def parse_retry_after(value: str, now: float) -> float | None:
    """Return the seconds a `Retry-After` header means, or None when it cannot be read (RFC 9110, 10.2.3).

    >>> parse_retry_after("2", now=0.0)
    2.0
    >>> parse_retry_after("Thu, 01 Jan 1970 00:00:10 GMT", now=4.0)
    6.0
    """
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):  # the latter for a year of too many digits
            return None
    return max(0.0, seconds) if isfinite(seconds) else None


def _status(error: Any) -> int | None:
    for source in (error, getattr(error, "response", None)):
        status = getattr(source, "status_code", None)
        if isinstance(status, int):
            return status
    return None
