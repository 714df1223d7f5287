"""Processes that write to a store while a contract test watches; fresh interpreters import it: no pytest."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.synchronize import Barrier

from loopllm.stores.base import Counters, PriorStore

Reopen = Callable[[], PriorStore]
"""Opens a further handle on the same store; picklable, since other processes call it."""

LEFT, RIGHT = "written together: left", "written together: right"

_MERGES_PER_HANDLE = 7


def write_at_once(reopen: Reopen, processes: int, merges: int) -> list[int | None]:
    """Run several writers that start together, and return their exit codes."""
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(processes)
    writers = [spawn.Process(target=_write, args=(reopen, start, merges)) for _ in range(processes)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    return [writer.exitcode for writer in writers]


def start_acknowledging(reopen: Reopen) -> tuple[SpawnProcess, Connection]:
    """Start a writer that merges for ever and sends a byte after each merge that returned."""
    spawn: SpawnContext = multiprocessing.get_context("spawn")
    receiving, sending = spawn.Pipe(duplex=False)
    writer = spawn.Process(target=_write_and_acknowledge, args=(reopen, sending), daemon=True)
    writer.start()
    sending.close()
    return writer, receiving


def acknowledged(receiving: Connection) -> int:
    """Count the acknowledgements that are still in the pipe of a writer that is gone."""
    count = 0
    try:
        while True:
            receiving.recv_bytes()
            count += 1
    except EOFError:
        return count


def paired_delta() -> dict[str, Counters]:
    """Return a delta over two keys, of which only one being there would show a merge that is not atomic."""
    return {LEFT: {"n": 1.0, "twice": 2.0}, RIGHT: {"n": 1.0, "twice": 2.0}}


def _write(reopen: Reopen, start: Barrier, merges: int) -> None:
    store = reopen()
    start.wait(timeout=60)  # a writer that failed to start must not keep the others for ever
    for _ in range(merges):
        store.merge(paired_delta())
    store.close()


def _write_and_acknowledge(reopen: Reopen, sending: Connection) -> None:
    """Close and reopen now and then, since tidying up is where a crash hurts most."""
    while True:
        store = reopen()
        for _ in range(_MERGES_PER_HANDLE):
            store.merge(paired_delta())
            sending.send_bytes(b"+")
        store.close()
