"""A loop over real HTTP: busy servers, dead servers, slow servers, and what the calls cost."""

import asyncio
import os
import threading
from contextlib import suppress
from typing import Any

import pytest

from loopllm import LoopConfig, LoopedLLM, ProviderError
from loopllm.providers.http import HttpClient
from loopllm.providers.openai_compatible import OpenAICompatibleProvider
from loopllm.results import Usage


def reply(text: str) -> dict[str, Any]:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "cost": 0.25}
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}


def in_turn(server: Any, *answers: tuple[int, Any, dict[str, str]]) -> None:
    """Answer each request with the next of `answers`, the last one for ever."""
    left = list(answers)

    def answer(handler: Any) -> None:
        status, body, headers = left.pop(0) if len(left) > 1 else left[0]
        handler.send(body, status, **headers)

    server.answer = answer


def ok(text: str) -> tuple[int, Any, dict[str, str]]:
    return 200, reply(text), {}


def by_number(output: str) -> float:
    return float(output)


def loop_over(server: Any, **settings: Any) -> LoopedLLM[Any, str]:
    settings = {"retry_base_s": 0.0, "convergence_delta": 0.0, **settings}
    return LoopedLLM(OpenAICompatibleProvider(f"{server.url}/v1", model="m"), LoopConfig(**settings))


async def refined_both_ways(
    server: Any, *answers: tuple[int, Any, dict[str, str]], **settings: Any
) -> list[Any]:
    """Results of a blocking and of an awaited run, each with the same answers."""
    results = []
    for is_async in (False, True):
        loop = loop_over(server, **settings)
        in_turn(server, *answers)
        if is_async:
            results.append(await loop.arefine("the task", by_number))
        else:
            results.append(await asyncio.to_thread(loop.refine, "the task", by_number))
        await loop.provider.aclose()  # type: ignore[attr-defined]  # an HTTP provider has it
    return results


async def test_a_busy_server_is_asked_again_as_it_says(server: Any) -> None:
    busy = (429, {"error": "slow down"}, {"retry_after": "0"})
    for result in await refined_both_ways(server, busy, (503, {}, {}), ok("0.9")):
        assert (result.output, result.metrics.total_iterations, result.metrics.retries) == ("0.9", 1, 2)


async def test_nobody_waits_for_a_server_that_asks_for_more_time_than_there_is(server: Any) -> None:
    server.reply({"error": "come back tomorrow"}, 429, retry_after="86400")
    with pytest.raises(ProviderError, match="come back tomorrow") as caught:
        await loop_over(server).arefine("the task", by_number)
    assert (caught.value.status, caught.value.retry_after) == (429, 86400.0)
    assert caught.value.result.iterations == ()
    assert len(server.requests) == 1


async def test_a_server_that_breaks_down_leaves_the_best_draft(server: Any) -> None:
    refuses = (401, {"error": "the key was revoked"}, {})
    for result in await refined_both_ways(server, ok("0.6"), ok("0.2"), refuses):
        assert (result.output, result.metrics.exit_reason.condition) == ("0.6", "provider_error")
        assert "check the API key" in result.metrics.exit_reason.message
        assert "the key was revoked" in result.metrics.exit_reason.message


async def test_tokens_and_money_of_all_calls_are_summed_and_budgets_kept(server: Any) -> None:
    for result in await refined_both_ways(server, ok("0.1"), token_budget=20):
        assert result.metrics.usage == Usage(14, 4, 0.5)
        assert result.metrics.exit_reason.condition == "token_budget"
    for result in await refined_both_ways(server, ok("0.1"), cost_budget=0.6):
        assert (result.metrics.usage.cost, result.metrics.exit_reason.condition) == (0.5, "cost_budget")


@pytest.mark.parametrize("odd", ["many", float("nan"), float("inf"), -1, {"all": 7}, [7], True])
async def test_a_server_that_tells_no_number_of_tokens_costs_no_draft_and_counts_as_unknown(
    server: Any, odd: Any
) -> None:
    body = reply("0.1") | {"usage": {"prompt_tokens": odd, "completion_tokens": "2", "cost": odd}}
    for result in await refined_both_ways(server, (200, body, {}), max_iterations=3, token_budget=1_000):
        assert (result.output, result.metrics.usage) == ("0.1", Usage(None, 6, None))
    for result in await refined_both_ways(server, (200, body, {}), cost_budget=1.0):
        assert "did not report usage" in result.metrics.exit_reason.message


async def test_a_limit_of_50_ms_ends_a_run_on_a_server_that_never_answers(server: Any, within: Any) -> None:
    server.sleep()
    loop = loop_over(server, timeout_ms=50)
    for attempt in within(0.5):
        with attempt:
            result = await asyncio.to_thread(loop.refine, "the task", by_number)
        assert result.metrics.exit_reason.condition == "timeout_ms"
    for attempt in within(0.5):
        with attempt:
            result = await loop.arefine("the task", by_number)
        assert result.metrics.exit_reason.condition == "timeout_ms"


async def test_many_awaited_runs_share_the_connections_of_one_provider(server: Any) -> None:
    server.reply(reply("0.9"))
    loop = loop_over(server)
    for _ in range(3):
        await loop.abatch(["a", "b", "c", "d"], by_number, max_concurrency=2)
    assert len(server.requests) == 12
    assert len(server.connections) <= 2


def test_a_child_forked_while_another_thread_connects_makes_calls_of_its_own(server: Any) -> None:
    server.reply({"answer": 42})
    connecting, may_go_on, parent = threading.Event(), threading.Event(), os.getpid()

    def headers() -> dict[str, str]:
        if os.getpid() == parent:
            connecting.set()
            may_go_on.wait(30)
        return {}

    client = HttpClient(headers, extra="openrouter", remedy="start it")
    thread = threading.Thread(target=client.post, args=(server.url, {}))
    thread.start()
    assert connecting.wait(30)
    child = os.fork()
    if child == 0:
        answer = 1
        with suppress(Exception):  # a child must never go on with the tests
            answer = client.post(server.url, {}, timeout=10)["answer"]
        os._exit(answer)
    may_go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    client.close()
