"""What a run has paid for is kept when something of the caller's own ends it."""

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from loopllm import AdaptivePriors, LoopConfig, LoopedLLM, MisuseError
from loopllm.drivers.faults import keep_drafts
from loopllm.exits import RunView
from loopllm.feedback import FeedbackRequest, TextFormat
from loopllm.priors import RoundObservation
from loopllm.providers.mock import MockLLMProvider
from loopllm.refinement import Refinement
from loopllm.results import EvaluationResult, RefinementResult, Usage
from loopllm.steps import Evaluated, ModelReplied
from loopllm.terms import Terms


def by_number(output: str) -> float:
    """Score a draft that is its own score."""
    return float(output)


def scripted(*responses: Any) -> MockLLMProvider:
    return MockLLMProvider(responses=list(responses), usage=Usage(3, 4, 0.5))


def build(request: FeedbackRequest[Any, str]) -> str:
    """Fail on the third call."""
    return {2: "again"}[request.iteration]


def lacking_a_return(request: FeedbackRequest[Any, str]) -> None:
    request.format.compose(request.task, None, "again")


def is_late(_view: Any) -> bool:
    raise LookupError("no calendar")


async def raised(loop: LoopedLLM[Any, str], evaluator: Any, is_awaited: bool) -> Any:
    try:
        if is_awaited:
            await loop.arefine("the task", evaluator)
        else:
            loop.refine("the task", evaluator)
    except (LookupError, MisuseError) as error:
        return error
    pytest.fail("nothing was raised")


@pytest.mark.parametrize("is_awaited", [False, True])
async def test_a_feedback_builder_that_raises_costs_no_draft(is_awaited: bool) -> None:
    loop = LoopedLLM(scripted("0.6", "0.4"), LoopConfig(feedback=build))
    error = await raised(loop, by_number, is_awaited)
    assert repr(error) == "KeyError(3)"
    assert (error.result.output, error.result.metrics.score_trajectory) == ("0.6", (0.6, 0.4))
    assert error.result.metrics.usage == Usage(6, 8, 1.0)
    reason = error.result.metrics.exit_reason
    assert (reason.condition, reason.message) == ("caller_error", "KeyError: 3")
    assert ["`result`" in note for note in error.__notes__] == [True]
    assert pickle.loads(pickle.dumps(error)).result == error.result


@pytest.mark.parametrize("is_awaited", [False, True])
async def test_an_exit_condition_that_raises_costs_no_draft(is_awaited: bool) -> None:
    loop = LoopedLLM(scripted("0.6"))
    loop.add_exit_condition(is_late)
    error = await raised(loop, by_number, is_awaited)
    assert (str(error), error.result.output) == ("no calendar", "0.6")


@pytest.mark.parametrize("is_awaited", [False, True])
async def test_a_feedback_builder_without_a_prompt_is_refused_by_name_and_costs_no_draft(
    is_awaited: bool,
) -> None:
    provider = scripted("0.6")
    error = await raised(LoopedLLM(provider, LoopConfig(feedback=lacking_a_return)), by_number, is_awaited)
    assert "lacking_a_return returned None" in str(error)
    assert (provider.call_count, error.result.output) == (1, "0.6")


def test_an_own_mistake_in_the_first_prompt_carries_nothing() -> None:
    async def judge(_output: str) -> float:
        return 1.0

    with pytest.raises(MisuseError) as caught:
        LoopedLLM(scripted("0.6")).refine("the task", judge)
    assert caught.value.result is None


def told(condition: Callable[[Any], bool]) -> tuple[LoopedLLM[Any, str], AdaptivePriors]:
    priors = AdaptivePriors()
    loop = LoopedLLM(scripted("0.6", "0.9"), priors=priors)
    loop.add_exit_condition(condition)
    return loop, priors


def test_a_run_that_was_broken_off_goes_on_and_counts_no_draft_twice() -> None:
    faults = [LookupError("once"), LookupError("twice")]

    def fails_at_first(_view: Any) -> bool:
        if faults:
            raise faults.pop()
        return False

    loop, priors = told(fails_at_first)
    run = loop.begin("the task")
    for _ in range(2):
        with pytest.raises(LookupError) as caught:
            loop.refine(run, by_number)
        held: RefinementResult[Any, str] = caught.value.result  # type: ignore[attr-defined]
        assert held.metrics.usage == Usage(3, 4, 0.5)
        run = loop.restore(json.loads(json.dumps(run.to_dict())))
    result = loop.refine(run, by_number)
    assert [record.iteration for record in result.iterations] == [1, 2]
    assert (result.metrics.usage, result.metrics.score_trajectory) == (Usage(6, 8, 1.0), (0.6, 0.9))
    assert priors.report("default", "mock").total_calls == 1


def test_a_run_that_was_broken_off_after_its_draft_was_judged_again_teaches_no_round_twice() -> None:
    faults = [LookupError("once")]

    def fails_once_it_was_judged_again(view: RunView) -> bool:
        if view.records[-1].judgements and faults:
            raise faults.pop()
        return False

    told: list[int] = []

    class Listening(AdaptivePriors):
        def observe_round(self, observation: RoundObservation) -> None:
            told.append(len(observation.scores))
            super().observe_round(observation)

    scores = iter([0.82, 0.7, 0.71, 0.1, 0.1])
    config = LoopConfig(judge_sd=0.1, judge_cost=0.001, convergence_delta=0.0, max_iterations=2)
    loop = LoopedLLM(scripted("a draft"), config, priors=Listening())
    loop.add_exit_condition(fails_once_it_was_judged_again)
    run = loop.begin("the task")
    with pytest.raises(LookupError):
        loop.refine(run, lambda output: next(scores))
    result = loop.refine(loop.restore(json.loads(json.dumps(run.to_dict()))), lambda output: next(scores))
    assert [each.score for each in result.iterations[0].judgements] == [0.82, 0.7, 0.71]
    assert told == [1, 2]


def begun() -> Refinement[Any, str]:
    run: Refinement[Any, str] = Refinement("the task", Terms(LoopConfig(), TextFormat(), LoopConfig().ways()))
    run.receive(ModelReplied("a draft"))
    return run


def test_a_draft_without_a_verdict_is_kept_and_judged_when_the_run_goes_on() -> None:
    run, error = begun(), MisuseError("no rules")
    keep_drafts(error, run)
    assert (error.result.output, error.result.iterations[0].score) == ("a draft", None)
    run.receive(Evaluated(EvaluationResult(0.9)))
    assert [record.score for record in run.records] == [0.9]


class GraphInterrupt(Exception):  # noqa: N818 - shaped like the framework's
    pass


class GraphBubbleUp(GraphInterrupt):
    pass


def test_a_frameworks_control_flow_stays_as_it_is() -> None:
    error = GraphBubbleUp()
    keep_drafts(error, begun())
    assert vars(error) == {}


def test_what_an_error_of_another_library_keeps_as_its_result_is_left_to_it() -> None:
    error = LookupError()
    vars(error)["result"] = "rows"
    keep_drafts(error, begun())
    assert vars(error) == {"result": "rows"}


def test_an_error_that_is_raised_again_and_again_carries_the_drafts_of_the_last_run_and_one_note() -> None:
    error = LookupError()
    for _ in range(2):
        keep_drafts(error, run := begun())
    assert vars(error)["result"].iterations == run.records
    assert len(error.__notes__) == 1
