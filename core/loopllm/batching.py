"""Many runs at once, a bounded number of them at a time, results in the order of the inputs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TypeVar

from loopllm.errors import MisuseError

InputT = TypeVar("InputT")
ResultT = TypeVar("ResultT")

_AT_ONCE = 32  # when nobody says: enough to hide latency, few enough for most rate limits


def _checked(limit: int | None) -> int:
    if limit is None:
        return _AT_ONCE
    if limit < 1:
        raise MisuseError(f"max_concurrency must be at least 1, got {limit}")
    return limit


def run_in_threads(
    function: Callable[[InputT, threading.Event], ResultT],
    inputs: Sequence[InputT],
    limit: int | None,
    *,
    return_exceptions: bool,
) -> list[ResultT | Exception]:
    """Apply `function` to all inputs in at most `limit` threads, each in a copy of the caller's context.

    `function` also gets an event that is set once nobody wants its result any more.

    Raises:
        Exception: The first failure, unless `return_exceptions`; inputs not begun by then are left.
    """
    unwanted = threading.Event()

    def attempt(value: InputT) -> ResultT | Exception:
        try:
            return function(value, unwanted)
        except Exception as error:
            if not return_exceptions:
                raise
            return error

    workers = max(1, min(_checked(limit), len(inputs)))
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="loopllm")
    try:
        futures = [pool.submit(copy_context().run, attempt, value) for value in inputs]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()  # raises the failure that came first, wherever its input stands
        return [future.result() for future in futures]
    finally:
        unwanted.set()
        pool.shutdown(cancel_futures=True)


async def run_in_tasks(
    function: Callable[[InputT], Awaitable[ResultT]],
    inputs: Sequence[InputT],
    limit: int | None,
    *,
    return_exceptions: bool,
) -> list[ResultT | Exception]:
    """Apply `function` to all inputs in at most `limit` tasks.

    Raises:
        Exception: The first failure, unless `return_exceptions`; the other runs are cancelled.
        asyncio.CancelledError: A run cancelled itself.
    """
    results: list[ResultT | Exception | None] = [None] * len(inputs)
    queue = iter(enumerate(inputs))

    async def work() -> None:
        # A few tasks that take inputs one after another cost less than one task and a semaphore for each input.
        for index, value in queue:
            try:
                results[index] = await function(value)
            except Exception as error:
                if not return_exceptions:
                    raise
                results[index] = error

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_checked(limit), len(inputs))):
                group.create_task(work())
    except* Exception as failures:  # noqa: BLE001 - whatever a run raised is raised to the caller
        raise _first(failures) from None
    finished = [result for result in results if result is not None]
    if len(finished) < len(inputs):  # a task group takes no notice of a task that ends by cancelling itself
        raise asyncio.CancelledError("a run of the batch cancelled itself")
    return finished


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
