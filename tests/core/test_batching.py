"""Many runs at once: bounded, in order, and none paid for that nobody wants."""

import asyncio
import contextvars
import threading

import pytest

from loopllm import LoopConfig, LoopedLLM, MisuseError, ProviderError
from loopllm.batching import run_in_threads
from loopllm.providers.mock import MockLLMProvider


def by_number(output: str) -> float:
    """Score a draft that is its own score."""
    return float(output)


def test_a_batch_keeps_the_order_of_its_prompts() -> None:
    loop = LoopedLLM(lambda prompt: prompt)
    results = loop.batch(["0.81", "0.95", "0.88"], by_number, max_concurrency=2)
    assert [result.output for result in results] == ["0.81", "0.95", "0.88"]


def fail_on_b(prompt: str) -> str:
    if prompt == "b":
        raise ProviderError("no b today")
    return "0.9"


def test_one_failure_in_a_batch_does_not_lose_the_others() -> None:
    a, b, c = LoopedLLM(fail_on_b).batch(["a", "b", "c"], by_number, return_exceptions=True)
    assert isinstance(b, ProviderError)
    assert not isinstance(a, Exception)
    assert not isinstance(c, Exception)


def test_a_batch_raises_its_first_failure_when_not_told_otherwise() -> None:
    with pytest.raises(ProviderError, match="no b today"):
        LoopedLLM(fail_on_b).batch(["a", "b", "c"], by_number)


def test_a_batch_runs_in_a_copy_of_the_callers_context() -> None:
    who = contextvars.ContextVar("who", default="nobody")
    who.set("me")
    seen: list[str] = []

    def model(prompt: str) -> str:
        seen.append(who.get())
        return "0.9"

    LoopedLLM(model).batch(["a", "b"], by_number)
    assert seen == ["me", "me"]


async def test_an_awaited_batch_keeps_the_order_and_bounds_what_runs_at_once() -> None:
    running = most = 0

    async def model(prompt: str) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return prompt

    prompts = [f"0.{number}" for number in range(80, 100)]
    results = await LoopedLLM(model).abatch(prompts, by_number, max_concurrency=4)
    assert [result.output for result in results] == prompts
    assert most == 4


async def test_one_failure_in_an_awaited_batch_does_not_lose_the_others() -> None:
    async def model(prompt: str) -> str:
        return fail_on_b(prompt)

    loop = LoopedLLM(model)
    a, b, c = await loop.abatch(["a", "b", "c"], by_number, return_exceptions=True)
    assert isinstance(b, ProviderError)
    assert not isinstance(a, Exception)
    assert not isinstance(c, Exception)
    with pytest.raises(ProviderError, match="no b today"):
        await loop.abatch(["a", "b", "c"], by_number)


def test_a_concurrency_below_one_is_refused() -> None:
    with pytest.raises(MisuseError, match="max_concurrency"):
        LoopedLLM(MockLLMProvider(responses=["x"])).batch(["a"], by_number, max_concurrency=0)


def test_a_failed_batch_starts_no_further_run_though_an_earlier_one_is_still_under_way() -> None:
    begun = []

    def run(prompt: str, unwanted: threading.Event) -> str:
        begun.append(prompt)
        if prompt == "fails":
            raise ProviderError("no luck")
        assert unwanted.wait(30), "nobody said that the batch had failed"
        return prompt

    with pytest.raises(ProviderError, match="no luck"):
        run_in_threads(run, ["slow", "fails", *["later"] * 20], 2, return_exceptions=False)
    assert begun.count("later") <= 1  # a free thread may take one before the failure is seen


def test_a_failed_batch_ends_the_runs_under_way_after_their_step() -> None:
    slow_calls = 0
    slow_began = threading.Event()

    def model(prompt: str) -> str:
        nonlocal slow_calls
        if prompt == "fails":
            assert slow_began.wait(30)
            raise ProviderError("no luck")
        slow_began.set()
        slow_calls += 1
        return "0.1"

    endless = LoopConfig(max_iterations=200_000, convergence_delta=0.0, timeout_ms=None, feedback="fresh")
    with pytest.raises(ProviderError, match="no luck"):
        LoopedLLM(model, endless).batch(["slow", "fails"], by_number, max_concurrency=2)
    assert slow_calls < 200_000


async def test_a_batch_of_nothing_is_an_empty_list() -> None:
    loop = LoopedLLM(MockLLMProvider(responses=["x"]))
    assert loop.batch([], by_number) == []
    assert await loop.abatch([], by_number) == []


async def test_a_failed_awaited_batch_cancels_the_other_runs() -> None:
    cancelled = asyncio.Event()

    async def model(prompt: str) -> str:
        if prompt == "fails":
            raise ProviderError("no luck")
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return ""

    with pytest.raises(ProviderError, match="no luck"):
        await LoopedLLM(model).abatch(["waits", "fails"], by_number)
    assert cancelled.is_set()


async def test_a_run_that_cancels_itself_is_not_left_out_in_silence() -> None:
    async def model(prompt: str) -> str:
        if prompt == "b":
            raise asyncio.CancelledError
        return "0.9"

    with pytest.raises(asyncio.CancelledError):
        await LoopedLLM(model).abatch(["a", "b", "c"], by_number, return_exceptions=True)
