"""What an exception means for a run."""

import asyncio
from types import SimpleNamespace

import pytest

from loopllm.drivers.faults import is_transient, must_pass, parse_retry_after, retry_after
from loopllm.errors import CallTimeoutError, EvaluatorError, MissingExtraError, MisuseError, ProviderError


class RateLimitError(Exception):
    """Shaped like the errors of the usual clients: a status and a response with headers."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__("limit")
        self.status_code = status
        self.response = SimpleNamespace(
            headers={name.replace("_", "-"): value for name, value in headers.items()}
        )


class GraphBubbleUp(Exception):  # noqa: N818 - the framework's name
    pass


class GraphInterrupt(GraphBubbleUp):
    pass


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (ProviderError("busy", transient=True), True),
        (ProviderError("forbidden"), False),
        (EvaluatorError("judge busy", transient=True), True),
        (RateLimitError(429), True),
        (RateLimitError(503), True),
        (RateLimitError(401), False),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (ZeroDivisionError(), False),
    ],
)
def test_only_failures_that_may_pass_are_transient(error: Exception, transient: bool) -> None:
    assert is_transient(error) == transient


def test_a_frameworks_control_flow_and_the_callers_mistakes_are_passed_on() -> None:
    assert must_pass(GraphInterrupt())
    assert must_pass(MisuseError("wrong"))
    assert must_pass(MissingExtraError("cli", "rich"))
    assert not must_pass(ValueError())


def test_a_waiting_time_is_read_from_the_response() -> None:
    assert retry_after(RateLimitError(429, retry_after="3"), now=0.0) == 3.0
    assert retry_after(ProviderError("busy", retry_after=4.0), now=0.0) == 4.0
    assert retry_after(ValueError(), now=0.0) is None


@pytest.mark.parametrize("value", ["soon", "", "nan-ish", "Thu, 01 Jan 99999999999 00:00:00 GMT"])
def test_a_waiting_time_that_cannot_be_read_is_none(value: str) -> None:
    assert parse_retry_after(value, now=0.0) is None


def test_cancellation_is_never_taken_for_a_failure() -> None:
    assert not issubclass(asyncio.CancelledError, Exception)
    assert not issubclass(KeyboardInterrupt, Exception)
    assert isinstance(CallTimeoutError("late"), ProviderError)
