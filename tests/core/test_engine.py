"""The front door: every way to run the loop, on scripted models."""

import asyncio
import json
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from loopllm import (
    AdaptivePriors,
    CallTimeoutError,
    CompositeEvaluator,
    EvaluationResult,
    EvaluatorError,
    LoopConfig,
    LoopedLLM,
    MisuseError,
    ProviderError,
    StoreError,
)
from loopllm.events import DraftReceived, DraftScored, Finished, LoopEvent, RoundStarted
from loopllm.exits import after_iterations
from loopllm.providers.mock import MockLLMProvider
from loopllm.stores import MemoryStore


def by_number(output: str) -> float:
    """Score a draft that is its own score."""
    return float(output)


def scripted(*responses: Any) -> MockLLMProvider:
    return MockLLMProvider(responses=list(responses))


def test_the_quick_start_works_as_it_stands() -> None:
    from loopllm import LoopConfig, LoopedLLM
    from loopllm.evaluators import JSONSchemaEvaluator
    from loopllm.providers.mock import MockLLMProvider

    provider = MockLLMProvider(
        responses=[
            "not json",
            '{"name": "Alice"}',
            '{"name": "Alice", "age": 30, "email": "alice@example.com"}',
        ]
    )
    config = LoopConfig(max_iterations=5, quality_threshold=0.8)
    loop = LoopedLLM(provider=provider, config=config)
    evaluator = JSONSchemaEvaluator(
        required_fields=["name", "age", "email"], field_types={"age": int, "name": str}
    )
    result = loop.refine("Generate a JSON user profile.", evaluator)
    assert result.metrics.total_iterations == 3
    assert result.metrics.best_score == 1.0
    assert json.loads(result.output)["name"] == "Alice"
    assert result.metrics.exit_reason.condition == "quality_threshold"


def test_the_model_sees_its_previous_answer_and_what_was_wrong() -> None:
    provider = scripted("0.3", "0.9")
    LoopedLLM(provider).refine(
        "the task", lambda output: EvaluationResult(float(output), deficiencies=["too vague"])
    )
    assert provider.calls[0] == "the task"
    assert "0.3" in provider.calls[1]
    assert "too vague" in provider.calls[1]


def test_a_plain_function_is_a_provider() -> None:
    result = LoopedLLM(lambda prompt: "0.9").refine("the task", by_number)
    assert result.output == "0.9"


async def test_an_async_function_is_a_provider() -> None:
    async def answer(prompt: str) -> str:
        return "0.9"

    result = await LoopedLLM(answer).arefine("the task", by_number)
    assert result.output == "0.9"


def test_an_async_function_in_a_blocking_run_is_refused_naming_arefine() -> None:
    async def answer(prompt: str) -> str:
        return "0.9"

    with pytest.raises(MisuseError, match="arefine"):
        LoopedLLM(answer).refine("the task", by_number)


async def test_the_blocking_run_works_inside_a_running_event_loop() -> None:
    assert LoopedLLM(scripted("0.9")).refine("the task", by_number).output == "0.9"


async def test_an_async_evaluator_is_awaited() -> None:
    async def judge(output: str, context: Any = None) -> float:
        await asyncio.sleep(0)
        return float(output)

    result = await LoopedLLM(scripted("0.2", "0.9")).arefine("the task", judge)
    assert result.metrics.score_trajectory == (0.2, 0.9)


async def test_a_blocking_evaluator_does_not_stop_the_event_loop() -> None:
    asked, ticked = threading.Event(), threading.Event()

    def slow_judge(output: str, context: Any = None) -> float:
        asked.set()
        assert ticked.wait(5), "the event loop stood still"
        return 0.9

    async def tick() -> None:
        while not asked.is_set():
            await asyncio.sleep(0)
        ticked.set()

    await asyncio.gather(LoopedLLM(scripted("x")).arefine("the task", slow_judge), tick())


async def test_a_blocking_provider_does_not_stop_the_event_loop() -> None:
    asked, ticked = threading.Event(), threading.Event()

    def slow_model(prompt: str) -> str:
        asked.set()
        assert ticked.wait(5), "the event loop stood still"
        return "0.9"

    async def tick() -> None:
        while not asked.is_set():
            await asyncio.sleep(0)
        ticked.set()

    await asyncio.gather(LoopedLLM(slow_model).arefine("the task", by_number), tick())


def test_the_evaluator_is_told_the_task_the_iteration_and_the_callers_facts() -> None:
    seen: list[Any] = []

    def judge(output: str, context: Any) -> float:
        seen.append(dict(context))
        return float(output)

    LoopedLLM(scripted("0.1", "0.9")).refine("the task", judge, {"audience": "children"})
    assert seen == [
        {"prompt": "the task", "iteration": 1, "audience": "children"},
        {"prompt": "the task", "iteration": 2, "audience": "children"},
    ]


FIFTY_MS = LoopConfig(timeout_ms=50)


def test_a_time_limit_of_50_ms_interrupts_a_function_that_sleeps_5_s(within: Any) -> None:
    released = threading.Event()
    loop = LoopedLLM(lambda prompt: str(released.wait(5)), FIFTY_MS)
    for attempt in within(0.5):
        with attempt:
            result = loop.refine("the task", by_number)
        assert result.metrics.exit_reason.condition == "timeout_ms"
        assert result.iterations == ()
    released.set()


async def test_a_time_limit_of_50_ms_cancels_an_awaited_call_of_5_s(within: Any) -> None:
    cancelled = asyncio.Event()

    async def sleeps(prompt: str) -> str:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return ""

    for attempt in within(0.5):
        with attempt:
            result = await LoopedLLM(sleeps, FIFTY_MS).arefine("the task", by_number)
        assert result.metrics.exit_reason.condition == "timeout_ms"
        assert cancelled.is_set()


class WaitingJudge:
    """Waits for somebody; says by its two methods that it is one that waits."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def evaluate(self, output: str, context: Any = None) -> float:
        assert self.release.wait(60), "nobody gave up"
        return 0.9

    async def aevaluate(self, output: str, context: Any = None) -> float:
        await asyncio.Event().wait()
        return 0.9


class WaitingSilently:
    """A blocking judge only, that says so itself."""

    waits = True

    def __init__(self) -> None:
        self.release = threading.Event()

    def evaluate(self, output: str, context: Any = None) -> float:
        assert self.release.wait(60), "nobody gave up"
        return 0.9


@pytest.mark.parametrize("kind", [WaitingJudge, WaitingSilently])
@pytest.mark.parametrize(
    "wrapped", [lambda judge: judge, lambda judge: CompositeEvaluator([judge, by_number])]
)
def test_a_time_limit_interrupts_a_judge_that_waits(kind: Any, wrapped: Any) -> None:
    judge = kind()
    loop = LoopedLLM(scripted("0.4"), FIFTY_MS)
    for result in (
        loop.refine("the task", wrapped(judge)),
        asyncio.run(loop.arefine("the task", wrapped(judge))),  # and no thread holds up the end of its loop
    ):
        assert not judge.release.is_set()
        assert result.metrics.exit_reason.condition == "timeout_ms"
        assert (result.output, result.iterations[0].score, result.iterations[0].error) == (
            "0.4",
            None,
            "the time ran out",
        )
    judge.release.set()


def test_any_other_judge_of_a_blocking_run_is_called_where_its_connection_belongs() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:  # which refuses every other thread

        def judge(output: str) -> float:
            return float(connection.execute("select ?", [output]).fetchone()[0])

        assert LoopedLLM(scripted("0.2", "0.9")).refine("the task", judge).metrics.best_score == 0.9


def test_a_time_limit_keeps_the_best_draft_so_far() -> None:
    released = threading.Event()
    answers = iter(["0.4", "0.2"])

    def model(prompt: str, timeout: float) -> str:
        if (answer := next(answers, None)) is not None:
            return answer
        released.wait(timeout)
        raise CallTimeoutError("the time is up")

    result = LoopedLLM(model, LoopConfig(timeout_ms=1000)).refine("the task", by_number)
    assert (result.output, result.metrics.exit_reason.condition) == ("0.4", "timeout_ms")


def test_a_failure_before_any_draft_is_raised_with_its_cause() -> None:
    with pytest.raises(ProviderError) as caught:
        LoopedLLM(scripted(ZeroDivisionError("oops"))).refine("the task", by_number)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.result.iterations == ()


def test_a_failure_after_a_draft_returns_the_best_draft() -> None:
    provider = scripted("0.6", "0.2", ProviderError("down"))
    result = LoopedLLM(provider).refine("the task", by_number)
    assert (result.output, result.metrics.exit_reason.condition) == ("0.6", "provider_error")


def test_a_busy_server_is_asked_again_within_the_run() -> None:
    provider = scripted(ProviderError("busy", transient=True, retry_after=0.0), "0.9")
    result = LoopedLLM(provider, LoopConfig(retry_base_s=0.0)).refine("the task", by_number)
    assert (result.metrics.total_iterations, result.metrics.retries) == (1, 1)


def test_an_evaluator_that_always_fails_is_an_error_that_carries_the_drafts() -> None:
    def broken(output: str) -> float:
        raise KeyError("rubric")

    with pytest.raises(EvaluatorError, match="rubric") as caught:
        LoopedLLM(scripted("a draft")).refine("the task", broken)
    assert caught.value.result.output == "a draft"


def test_an_interrupt_from_the_keyboard_passes_through() -> None:
    def interrupted(prompt: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LoopedLLM(interrupted, LoopConfig(timeout_ms=None)).refine("the task", by_number)


async def test_cancelling_the_task_passes_through() -> None:
    started = asyncio.Event()

    async def never(prompt: str) -> str:
        started.set()
        await asyncio.Event().wait()
        return ""

    task = asyncio.create_task(LoopedLLM(never).arefine("the task", by_number))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_caller_may_cancel_between_steps_and_keeps_the_best_draft() -> None:
    stop = threading.Event()

    def judge(output: str) -> float:
        stop.set()
        return float(output)

    result = LoopedLLM(scripted("0.4", "0.9")).refine("the task", judge, cancellation=stop)
    assert (result.output, result.metrics.exit_reason.condition) == ("0.4", "cancelled")


def test_a_condition_of_ones_own_ends_the_run() -> None:
    loop = LoopedLLM(scripted("0.1", "0.2", "0.3"))
    loop.add_exit_condition(after_iterations(2))
    result = loop.refine("the task", by_number)
    assert result.metrics.exit_reason.condition == "after_iterations(2)"


def kinds(events: list[LoopEvent[Any, Any]]) -> list[type]:
    return [type(event) for event in events]


ONE_ROUND = [RoundStarted, DraftReceived, DraftScored]


def test_a_stream_tells_each_round_and_ends_with_the_result() -> None:
    events = list(LoopedLLM(scripted("0.1", "0.9")).stream("the task", by_number))
    assert kinds(events) == [*ONE_ROUND, *ONE_ROUND, Finished]
    assert isinstance(events[-1], Finished)
    assert events[-1].result.output == "0.9"


async def test_an_awaited_stream_tells_the_same() -> None:
    events = [event async for event in LoopedLLM(scripted("0.1", "0.9")).astream("the task", by_number)]
    assert kinds(events) == [*ONE_ROUND, *ONE_ROUND, Finished]


def test_a_stream_says_when_a_draft_is_superseded() -> None:
    events = LoopedLLM(scripted("0.5", "0.1", "0.9")).stream("the task", by_number)
    assert [event.superseded for event in events if isinstance(event, DraftScored)] == [False, True, False]


def test_observers_hear_everything_and_cannot_break_the_run(caplog: pytest.LogCaptureFixture) -> None:
    class Listener:
        def __init__(self) -> None:
            self.heard: list[LoopEvent[Any, Any]] = []

        def on_event(self, event: LoopEvent[Any, Any]) -> None:
            self.heard.append(event)
            raise ZeroDivisionError

    listener = Listener()
    LoopedLLM(scripted("0.9"), observers=[listener]).refine("the task", by_number)
    assert kinds(listener.heard) == [*ONE_ROUND, Finished]
    assert "Listener" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"config": {"max_iterations": 3}}, r"config must be a LoopConfig.*LoopConfig\(max_iterations"),
        ({"priors": "priors.json"}, r"priors must be AdaptivePriors.*store_path"),
        ({"observers": [print]}, r"observers.*on_event"),
        ({"observers": print}, r"observers.*on_event"),
    ],
)
def test_a_loop_of_wrong_parts_is_refused_when_built(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(MisuseError, match=words):
        LoopedLLM(scripted("x"), **arguments)


async def test_a_run_with_wrong_arguments_is_refused_before_the_model_is_asked() -> None:
    provider = scripted("0.9")
    loop = LoopedLLM(provider)
    with pytest.raises(MisuseError, match="context must be a dict"):
        loop.refine("the task", by_number, "facts")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(MisuseError, match="cancellation must have is_set"):
        loop.refine("the task", by_number, cancellation=lambda: True)  # type: ignore[arg-type]  # same
    with pytest.raises(MisuseError, match="list of prompts, got the single string 'the task'"):
        loop.batch("the task", by_number)
    with pytest.raises(MisuseError, match="list of prompts"):
        await loop.abatch("the task", by_number)
    with pytest.raises(MisuseError, match="list of prompts, got the single message"):
        loop.batch({"role": "user", "content": "the task"}, by_number)
    assert provider.call_count == 0


def test_a_run_is_continued_by_another_loop_where_it_was_left() -> None:
    first = LoopedLLM(scripted("0.3"))
    run = first.begin("the task")
    for event in first.stream(run, by_number):
        if isinstance(event, DraftScored):
            break
    written = json.dumps(run.to_dict())
    second = LoopedLLM(scripted("0.9"))
    result = second.refine(second.restore(json.loads(written)), by_number)
    assert result.metrics.score_trajectory == (0.3, 0.9)


@pytest.fixture
def priors() -> Iterator[AdaptivePriors]:
    with AdaptivePriors() as priors:
        yield priors


def test_a_loop_with_priors_learns_by_itself(priors: AdaptivePriors) -> None:
    loop = LoopedLLM(scripted("0.3", "0.9"), priors=priors)
    loop.refine("the task", by_number, task_type="sums")
    report = priors.report("sums", "mock")
    assert report["total_calls"] == 1
    assert report["converge_rate"] > 0.5


async def test_an_awaited_loop_with_priors_learns_by_itself(priors: AdaptivePriors, tmp_path: Path) -> None:
    with AdaptivePriors(store_path=tmp_path / "priors.json") as stored:
        await LoopedLLM(scripted("0.3", "0.9"), priors=stored).arefine(
            "the task", by_number, task_type="sums"
        )
        assert stored.report("sums", "mock")["total_calls"] == 1


def test_leaving_a_stream_early_keeps_what_was_learned(priors: AdaptivePriors) -> None:
    loop = LoopedLLM(scripted("0.3", "0.4", "0.5"), priors=priors)
    before = priors.report("sums", "mock")
    for event in loop.stream("the task", by_number, task_type="sums"):
        if isinstance(event, DraftScored) and event.record.iteration == 2:
            break
    after = priors.report("sums", "mock")
    assert after["iterations"] != before["iterations"]


def test_learning_is_switched_off_by_the_configuration(priors: AdaptivePriors) -> None:
    loop = LoopedLLM(scripted("0.9"), LoopConfig(learning="off"), priors=priors)
    loop.refine("the task", by_number, task_type="sums")
    assert priors.report("sums", "mock")["total_calls"] == 0


def test_a_model_without_a_name_is_not_learned_from_in_silence(priors: AdaptivePriors) -> None:
    loop = LoopedLLM(lambda prompt: "0.9", priors=priors)
    with pytest.raises(MisuseError, match="model="):
        loop.refine("the task", by_number)
    assert loop.refine("the task", by_number, model="mine").output == "0.9"


def test_what_was_learned_ends_hopeless_runs_early(priors: AdaptivePriors) -> None:
    config = LoopConfig(max_iterations=6, convergence_delta=0.0, explore=False, call_cost=0.1)
    hopeless = LoopedLLM(scripted("0.2"), config, priors=priors)
    calls = [hopeless.refine("the task", by_number, task_type="hopeless") for _ in range(40)]
    assert calls[-1].metrics.exit_reason.condition == "bayesian_exit"
    assert calls[-1].metrics.total_iterations < 6
    assert calls[-1].metrics.exit_reason.message


async def test_a_run_begun_for_a_model_asks_that_model() -> None:
    asked: list[str | None] = []

    def complete(prompt: str, model: str | None) -> str:
        asked.append(model)
        return "0.9"

    loop = LoopedLLM(complete)
    loop.refine(loop.begin("the task", model="large"), by_number)
    await loop.arefine(loop.restore(loop.begin("the task").to_dict(), model="large"), by_number)
    loop.refine(loop.begin("the task", model="large"), by_number, model="small")
    loop.refine(loop.begin("the task"), by_number)
    assert asked == ["large", "large", "small", None]


def test_an_evaluator_that_has_to_be_awaited_is_refused_before_the_model_is_paid_for() -> None:
    async def judge(output: str) -> float:
        return 0.9

    provider = scripted("a draft")
    with pytest.raises(MisuseError, match=r"'judge' is async; use `arefine`"):
        LoopedLLM(provider).refine("the task", judge)
    assert provider.call_count == 0


async def test_a_model_that_says_nothing_once_does_not_cost_the_best_draft() -> None:
    left = ["0.6", None, "0.6", None]
    loop = LoopedLLM(lambda prompt: left.pop(0), LoopConfig(convergence_delta=0.0))
    for result in (loop.refine("the task", by_number), await loop.arefine("the task", by_number)):
        assert (result.output, result.metrics.exit_reason.condition) == ("0.6", "provider_error")
        assert "returned None" in result.metrics.exit_reason.message


class FullDisk(MemoryStore):
    """Takes one merge."""

    def merge(self, deltas: Any) -> None:
        if self.revision():
            raise StoreError("no space left")
        super().merge(deltas)


@pytest.mark.parametrize("is_awaited", [False, True])
async def test_a_store_that_fails_in_the_middle_of_a_run_does_not_cost_its_drafts(is_awaited: bool) -> None:
    loop = LoopedLLM(scripted("0.6", "0.4"), priors=AdaptivePriors(store=FullDisk()))

    async def refine() -> None:
        if is_awaited:
            await loop.arefine("the task", by_number)
        else:
            loop.refine("the task", by_number)

    with pytest.raises(StoreError, match="no space left") as caught:
        await refine()
    result = caught.value.result
    assert (result.output, result.metrics.score_trajectory) == ("0.6", (0.6, 0.4))
    assert result.metrics.exit_reason.condition == "store_error"


class SlowDisk(MemoryStore):
    """Its first merge begins, and waits until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def merge(self, deltas: Any) -> None:
        if not self.begun.is_set():
            self.begun.set()
            self.may_go_on.wait(30)
        super().merge(deltas)


async def test_a_run_cancelled_while_it_is_remembered_and_continued_is_learned_once() -> None:
    store = SlowDisk()
    with AdaptivePriors(store=store) as priors:
        loop = LoopedLLM(scripted("0.6"), LoopConfig(max_iterations=1), priors=priors)
        run = loop.begin("the task", task_type="sums")
        task = asyncio.create_task(loop.arefine(run, by_number))
        await asyncio.to_thread(store.begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        store.may_go_on.set()
        result = await loop.arefine(run, by_number)
        assert result.output == "0.6"
        assert priors.report("sums", "mock").total_calls == 1


class SlowToBegin(ThreadPoolExecutor):
    """Has taken a call, which is then too late to be cancelled, and waits before it begins with it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits, self.taken, self.may_begin = False, threading.Event(), threading.Event()

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Any:
        def begin() -> Any:
            if self.waits:
                self.taken.set()
                self.may_begin.wait(30)
            return function(*arguments, **named)

        return super().submit(begin)


async def test_a_run_cancelled_just_before_it_is_remembered_and_continued_is_learned_once(
    tmp_path: Path,
) -> None:
    pool = SlowToBegin()
    asyncio.get_running_loop().set_default_executor(pool)
    priors = AdaptivePriors(store_path=tmp_path / "priors.json")

    def judge(output: str) -> float:
        pool.waits = True  # from now on: what comes next is remembering
        return by_number(output)

    loop = LoopedLLM(scripted("0.6"), LoopConfig(max_iterations=1), priors=priors)
    run = loop.begin("the task", task_type="sums")
    task = asyncio.create_task(loop.arefine(run, judge))
    while not pool.taken.is_set():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    pool.waits = False
    pool.may_begin.set()
    await loop.arefine(run, judge)
    pool.shutdown()
    assert priors.report("sums", "mock").total_calls == 1
