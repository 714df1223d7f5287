"""One event loop in a thread of its own, for blocking calls of what LlamaIndex offers only as coroutines.

Rule 1: the loop lives as long as the process. A loop made for each call would leave behind async clients that
are tied to a closed one ("Event loop is closed").
Rule 2: a coroutine on it that blocks on another one gets that one run on a second such loop, since the first one would
wait for itself for ever.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")

_lock = threading.Lock()
_loops: dict[tuple[int, int], asyncio.AbstractEventLoop] = {}
_here = threading.local()
"""`depth`: how many such loops wait for the one that runs in this thread, itself included."""


def run_blocking(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run a coroutine to its end on the background loop, in a copy of the caller's context; errors come as they are.

    It works inside a running event loop too, which it blocks, as any blocking call does. When the wait is interrupted,
    by Ctrl-C for example, the coroutine is cancelled.
    """
    loop, context = _loop(), contextvars.copy_context()
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


def on_background_loop() -> bool:
    """Say whether the caller is a coroutine on such a loop, which only blocking callers wait for."""
    return getattr(_here, "depth", 0) > 0


def _hand_over(task: asyncio.Task[ResultT], outcome: Future[ResultT]) -> None:
    if task.cancelled():
        outcome.set_exception(asyncio.CancelledError())
        return
    error = task.exception()
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


def _loop() -> asyncio.AbstractEventLoop:
    depth: int = getattr(_here, "depth", 0)
    key = (os.getpid(), depth)  # a forked child has the object but not the thread
    with _lock:
        loop = _loops.get(key)
        if loop is None:
            loop = _loops[key] = asyncio.new_event_loop()
            threading.Thread(target=_serve, args=(loop, depth + 1), name="loopllm-loop", daemon=True).start()
        return loop


def _serve(loop: asyncio.AbstractEventLoop, depth: int) -> None:
    _here.depth = depth
    loop.run_forever()
