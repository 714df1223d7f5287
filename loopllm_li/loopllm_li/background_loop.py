"""One event loop in a thread of its own, for blocking calls of what LlamaIndex offers only as coroutines.

Rule 1: the loop lives as long as the process. A loop made for each call would leave behind async clients that
are tied to a closed one ("Event loop is closed").
Rule 2: a coroutine on it that blocks on another one gets that one, and whatever it begins, run on a second such loop,
since the first one would wait for itself for ever.
Rule 3: what is known to block its loop runs on none of these.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from loopllm.providers.deadline import call_in_thread

ResultT = TypeVar("ResultT")

_lock = threading.Lock()
_loops: dict[int, list[asyncio.AbstractEventLoop]] = {}
_here = threading.local()
"""`loop`: the one of these that runs in this thread."""
_waiting: contextvars.ContextVar[tuple[asyncio.AbstractEventLoop, ...]] = contextvars.ContextVar(
    "_waiting", default=()
)
"""The loops that wait for what runs here; a context variable, since it may go on in a thread."""


def run_blocking(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run a coroutine to its end on the background loop, in a copy of the caller's context; errors come as they are.

    It works inside a running event loop too, which it blocks, as any blocking call does. When the wait is interrupted,
    by Ctrl-C for example, the coroutine is cancelled.
    """
    waiting, context = _waiting_here(), contextvars.copy_context()
    loop = _loop_beside(waiting)
    context.run(_waiting.set, waiting)
    outcome: Future[ResultT] = Future()
    tasks: list[asyncio.Task[ResultT]] = []

    def start() -> None:
        tasks.append(loop.create_task(coroutine, context=context))
        tasks[0].add_done_callback(lambda done: _hand_over(done, outcome))

    def stop() -> None:
        for task in tasks:
            task.cancel()

    try:
        loop.call_soon_threadsafe(start)
        return outcome.result()
    finally:
        if not outcome.done():
            loop.call_soon_threadsafe(stop)


async def run_apart(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Await a coroutine that blocks its event loop, on a loop of its own in a thread that may be left behind.

    On a background loop all others would wait for it, and for ever where it hangs.
    """
    return await call_in_thread(_run_alone, coroutine)


def _run_alone(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    with asyncio.Runner() as runner:  # nest_asyncio's `asyncio.run` wants a loop that this thread has not
        return runner.run(coroutine)


def _hand_over(task: asyncio.Task[ResultT], outcome: Future[ResultT]) -> None:
    if task.cancelled():
        outcome.set_exception(asyncio.CancelledError())
        return
    error = task.exception()
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


def _waiting_here() -> tuple[asyncio.AbstractEventLoop, ...]:
    """Return the loops that will wait for what is begun here and now: those that do already, and this thread's own."""
    own: asyncio.AbstractEventLoop | None = getattr(_here, "loop", None)
    return _waiting.get() if own is None else (*_waiting.get(), own)


def _loop_beside(waiting: Sequence[asyncio.AbstractEventLoop]) -> asyncio.AbstractEventLoop:
    with _lock:
        loops = _loops.setdefault(os.getpid(), [])  # a forked child has the objects but not the threads
        loop = next((each for each in loops if each not in waiting), None)
        if loop is None:
            loop = asyncio.new_event_loop()
            loops.append(loop)
            threading.Thread(target=_serve, args=(loop,), name="loopllm-loop", daemon=True).start()
        return loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    _here.loop = loop
    loop.run_forever()
