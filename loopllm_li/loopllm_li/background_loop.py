"""One event loop in a thread of its own, for blocking calls of what LlamaIndex offers only as coroutines.

Rule: the loop lives as long as the process. A loop made for each call would leave behind async clients that
are tied to a closed one ("Event loop is closed").
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
_loops: dict[int, asyncio.AbstractEventLoop] = {}


def run_blocking(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run a coroutine to its end on the background loop, in a copy of the caller's context; errors come as they are.

    It works inside a running event loop too, which it blocks, as any blocking call does.
    """
    loop, context = _loop(), contextvars.copy_context()
    outcome: Future[ResultT] = Future()

    def start() -> None:
        task = loop.create_task(coroutine, context=context)
        task.add_done_callback(lambda done: _hand_over(done, outcome))

    loop.call_soon_threadsafe(start)
    return outcome.result()


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
    with _lock:
        loop = _loops.get(os.getpid())  # a forked child has the object but not the thread
        if loop is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="loopllm-loop", daemon=True).start()
        return loop
