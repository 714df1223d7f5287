"""Calls that cannot be interrupted, kept within their deadline."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loopllm.deadline import call_in_thread, call_within
from loopllm.errors import CallTimeoutError

where: contextvars.ContextVar[str] = contextvars.ContextVar("where", default="nowhere")


def test_the_next_call_uses_the_thread_of_the_last_one() -> None:
    threads = {call_within(60.0, threading.get_ident) for _ in range(20)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_each_call_sees_its_own_callers_context() -> None:
    for place in ("here", "there"):
        where.set(place)
        assert call_within(60.0, where.get) == place


def test_an_abandoned_call_holds_up_no_other() -> None:
    release = threading.Event()
    with pytest.raises(CallTimeoutError):
        call_within(0.05, release.wait)
    assert call_within(60.0, max, 2, 3) == 3
    assert not release.is_set()
    release.set()


def test_what_a_call_raises_is_raised_and_the_thread_serves_on() -> None:
    with pytest.raises(ZeroDivisionError):
        call_within(60.0, lambda: 1 / 0)
    assert call_within(60.0, max, 2, 3) == 3


def test_any_number_of_calls_run_at_once() -> None:
    everyone = threading.Barrier(64)
    with ThreadPoolExecutor(64) as pool:
        list(pool.map(lambda _: call_within(60.0, everyone.wait), range(64)))


def test_a_forked_child_makes_calls_of_its_own() -> None:
    call_within(60.0, max, 2, 3)
    child = os.fork()
    if child == 0:
        os._exit(0 if call_within(60.0, max, 2, 3) == 3 else 1)
    assert os.waitpid(child, 0)[1] == 0


_WITHOUT_FORKS = """
import os
for name in ("register_at_fork", "fork", "sched_getaffinity", "O_DIRECTORY"):
    if hasattr(os, name):
        delattr(os, name)
from loopllm import AdaptivePriors, LoopedLLM
with AdaptivePriors(store_path="priors.json") as priors:
    print(LoopedLLM(lambda prompt: "done", priors=priors).refine("x", lambda output: 0.9, model="m").output)
"""


def test_a_system_that_has_no_forks_runs_the_loop(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", _WITHOUT_FORKS], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (child.stdout, child.stderr) == ("done\n", "")


def test_a_call_whose_event_loop_closed_spoils_no_thread() -> None:
    release = threading.Event()

    async def leave() -> None:
        task = asyncio.ensure_future(call_in_thread(release.wait))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    release.set()
    assert [call_within(60.0, max, n, 0) for n in range(5)] == [0, 1, 2, 3, 4]
