"""How is a call that cannot be interrupted kept within its deadline?

Rule 1: the caller gets control back when the time is up, whatever the call is doing.
Rule 2: an abandoned call runs on in a daemon thread of its own, so it fills no pool and holds up no exit.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from loopllm.errors import CallTimeoutError

if TYPE_CHECKING:
    import asyncio

ResultT = TypeVar("ResultT")
ArgTs = TypeVarTuple("ArgTs")
Outcome = tuple[Any, BaseException | None]


def too_late(seconds: float) -> CallTimeoutError:
    """Build the error of a call given up after `seconds`."""
    return CallTimeoutError(
        f"no complete reply within {seconds:.3g} s; allow more time or ask for fewer tokens"
    )


class _Worker:
    """A daemon thread that makes one call at a time; between calls it waits to be used again.

    A new thread for every call would cost about 100 microseconds of CPU, a waiting one costs a tenth of that.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="loopllm-call", daemon=True).start()

    def take(self, call: _Call) -> None:
        """Make a call; nobody waits for this thread."""
        self._calls.put(call)

    def _serve(self) -> None:
        while True:
            context, function, hand_over = self._calls.get()
            outcome = _outcome(context, function)
            is_spare = len(_idle) < _MOST_IDLE
            if is_spare:  # before the result is handed over, so that the caller's next call finds this thread
                _idle.append(self)
            with contextlib.suppress(RuntimeError):  # an event loop that closed meanwhile waits for nothing
                hand_over(outcome)
            del context, function, hand_over, outcome  # or they would live until the next call
            if not is_spare:
                return


_Call = tuple[contextvars.Context, Callable[[], Any], Callable[[Outcome], object]]
_MOST_IDLE = 32
_idle: list[_Worker] = []
if hasattr(os, "register_at_fork"):  # a child process has the list, but not the threads; Windows has no forks
    os.register_at_fork(after_in_child=_idle.clear)


def _outcome(context: contextvars.Context, function: Callable[[], Any]) -> Outcome:
    try:
        return context.run(function), None
    except BaseException as error:  # noqa: BLE001 - handed to the waiting caller, which raises it
        return None, error


def _start(function: Callable[[], Any], hand_over: Callable[[Outcome], object]) -> None:
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
    worker.take((contextvars.copy_context(), function, hand_over))


def call_within(timeout: float | None, function: Callable[[*ArgTs], ResultT], *args: *ArgTs) -> ResultT:
    """Return `function(*args)`, or give up on it after `timeout` seconds.

    Without a timeout the call is direct; with one it runs in a thread that sees the caller's context
    variables.

    >>> call_within(1.0, max, 2, 3)
    3

    Raises:
        CallTimeoutError: The time is up; the function runs on unwatched.
    """
    if timeout is None:
        return function(*args)
    if timeout <= 0:
        raise too_late(timeout)
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    _start(lambda: function(*args), outcomes.put)
    try:
        result, error = outcomes.get(timeout=timeout)
    except queue.Empty:
        raise too_late(timeout) from None
    if error is not None:
        try:
            raise error
        finally:
            del error  # or the traceback and this frame would keep each other alive
    answer: ResultT = result
    return answer


def _settle(future: asyncio.Future[Any], outcome: Outcome) -> None:
    if future.done():
        return
    result, error = outcome
    if isinstance(error, StopIteration):  # a future cannot carry it
        error = RuntimeError("the function raised StopIteration")
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


async def call_in_thread(function: Callable[[*ArgTs], ResultT], *args: *ArgTs) -> ResultT:
    """Await blocking `function(*args)` in a daemon thread of its own.

    Unlike `asyncio.to_thread`, any number run at once, and one that was cancelled does not hold up the
    loop's end.
    """
    import asyncio  # noqa: PLC0415 - `import loopllm` must not load asyncio

    loop = asyncio.get_running_loop()
    future: asyncio.Future[ResultT] = loop.create_future()

    def hand_over(outcome: Outcome) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, future, outcome)

    _start(lambda: function(*args), hand_over)
    return await future


async def await_within(timeout: float | None, awaitable: Awaitable[ResultT]) -> ResultT:
    """Return the awaited value, cancelling it after `timeout` seconds.

    Raises:
        CallTimeoutError: The time is up. A `TimeoutError` of the awaitable's own passes through unchanged.
    """
    if timeout is None:
        return await awaitable
    import asyncio  # noqa: PLC0415 - `import loopllm` must not load asyncio

    scope = asyncio.timeout(timeout)
    try:
        async with scope:
            return await awaitable
    except TimeoutError as error:
        if scope.expired():
            raise too_late(timeout) from error
        raise
