"""Judging again as a move: one more judgement of the best draft, no call of the model."""

import json
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopllm import AdaptivePriors, EvaluationResult, LoopConfig, LoopedLLM
from loopllm.errors import EvaluatorError
from loopllm.events import DraftJudgedAgain, DraftScored
from loopllm.feedback import TextFormat
from loopllm.judging import together
from loopllm.lessons import learned_scores
from loopllm.preparing import make_terms
from loopllm.refinement import Refinement
from loopllm.standings import standings
from loopllm.steps import (
    CallModel,
    Evaluate,
    Evaluated,
    EvaluationFailed,
    Finish,
    ModelReplied,
    Outcome,
    Pause,
    Paused,
    Remember,
    Remembered,
    Step,
)
from loopllm.terms import Terms

PRIORS = AdaptivePriors()


def terms(**given: Any) -> Terms[Any, str]:
    wanted: dict[str, Any] = {"judge_sd": 0.1, "judge_cost": 0.0, "convergence_delta": 0.0, "explore": False}
    return make_terms(LoopConfig(**{**wanted, **given}), TextFormat(), (), PRIORS, "essay", "m")


def begin(**given: Any) -> Refinement[Any, str]:
    return Refinement("the task", terms(**given))


def after(run: Refinement[Any, str], *scores: float, passed: bool | None = None) -> Step[Any, str]:
    """Answer each evaluation with the next of `scores`, and everything else as it comes; return the next step."""
    left = list(scores)
    while True:
        match step := run.next_step():
            case CallModel() if left:
                run.receive(ModelReplied(f"draft {step.iteration}"))
            case Evaluate() if left:
                run.receive(Evaluated(EvaluationResult(left.pop(0), passed)))
            case Remember() if left or step.end is None:
                run.receive(Remembered())
            case _:
                return step


def result_of(step: Step[Any, str]) -> Any:
    assert isinstance(step, Finish)
    return step.result


def ended(run: Refinement[Any, str]) -> Any:
    if isinstance(run.next_step(), Remember):
        run.receive(Remembered())
    return result_of(run.next_step())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_a_mean_of_judgements_lies_between_them_and_is_what_all_of_them_said(scores: list[float]) -> None:
    assert min(scores) <= together([EvaluationResult(each) for each in scores]).score <= max(scores)
    assert together([EvaluationResult(0.7)] * 3).score == 0.7


def test_a_draft_just_above_the_threshold_is_judged_again_before_it_is_accepted() -> None:
    run = begin()
    assert after(run, 0.82) == Evaluate("draft 1", "the task", 1, 30.0, judgement=2)
    step = after(run, 0.98)
    record = run.records[0]
    assert record.score == pytest.approx(0.9)
    assert record.passed
    assert [each.score for each in record.judgements] == [0.82, 0.98]
    while isinstance(step, Evaluate):
        step = after(run, 0.98)
    result = ended(run)
    assert result.metrics.exit_reason.condition == "quality_threshold"
    assert "judgements" in result.metrics.exit_reason.message
    assert result.metrics.total_iterations == 1
    assert len(result.metrics.score_trajectory) == 1


def test_a_draft_whose_second_judgement_disappoints_is_drafted_again() -> None:
    run = begin()
    assert isinstance(after(run, 0.82), Evaluate)
    step = after(run, 0.5)
    assert isinstance(step, CallModel)
    assert step.iteration == 2
    assert run.best is not None
    assert run.best.score == pytest.approx(0.66)


def test_the_runner_up_is_returned_when_the_best_falls_below_it() -> None:
    run = begin(objective="quality", judge_sd=0.2, max_iterations=2, quality_threshold=1.0, call_cost=0.0)
    step = after(run, 0.7)
    while isinstance(step, Evaluate):  # the first draft confirmed as often as the rule likes
        step = after(run, 0.7)
    assert isinstance(after(run, 0.75), Evaluate)
    after(run, 0.2)
    while isinstance(run.next_step(), Evaluate):
        after(run, 0.7)
    result = ended(run)
    assert result.output == "draft 1"
    assert result.metrics.best_iteration == 1


def test_nothing_is_judged_again_unless_the_cost_of_a_judgement_was_given() -> None:
    assert isinstance(after(begin(judge_cost=None), 0.82), Remember)


def test_an_exact_judge_is_never_asked_twice() -> None:
    assert not isinstance(after(begin(judge_sd=0.0), 0.82), Evaluate)


def test_an_objection_that_is_not_about_the_score_is_final() -> None:
    assert isinstance(after(begin(), 0.82, passed=False), CallModel)


def test_nothing_is_judged_again_when_the_time_is_over() -> None:
    run = begin()
    run.receive(ModelReplied("draft 1"), elapsed_s=29.0)
    run.receive(Evaluated(EvaluationResult(0.82)), elapsed_s=31.0)
    run.receive(Remembered())
    assert not isinstance(run.next_step(), Evaluate)


def test_nothing_is_judged_again_before_the_least_number_of_calls() -> None:
    assert isinstance(after(begin(min_iterations=2), 0.82), CallModel)


def test_a_judge_that_fails_the_second_time_leaves_the_first_score() -> None:
    run = begin()
    after(run, 0.82)
    run.receive(EvaluationFailed(EvaluatorError("down")))
    result = ended(run)
    assert result.metrics.exit_reason.condition == "quality_threshold"
    assert result.iterations[0].score == 0.82
    assert result.iterations[0].judgements == ()


def test_a_judge_that_is_busy_the_second_time_is_asked_after_a_pause() -> None:
    run = begin()
    after(run, 0.82)
    run.receive(EvaluationFailed(EvaluatorError("busy"), transient=True, jitter=0.0))
    assert isinstance(run.next_step(), Pause)
    run.receive(Paused())
    assert run.next_step() == Evaluate("draft 1", "the task", 1, 30.0, judgement=2)


def test_a_second_judgement_that_runs_out_of_time_ends_the_run_with_the_draft() -> None:
    run = begin()
    after(run, 0.82)
    run.receive(EvaluationFailed(TimeoutError(), timed_out=True), elapsed_s=30.0)
    result = ended(run)
    assert result.metrics.exit_reason.condition == "timeout_ms"
    assert result.output == "draft 1"


def test_what_is_learned_of_a_draft_is_its_first_score_and_its_repeats_beside_it() -> None:
    run = begin()
    after(run, 0.82, 0.98)
    while isinstance(run.next_step(), Evaluate):
        after(run, 0.98)
    step = run.next_step()
    assert isinstance(step, Remember)
    assert step.end is not None
    assert step.end.scores == (0.82,)
    assert step.end.judgements[0][:2] == (0.82, 0.98)


FATES = st.lists(st.sampled_from([0.3, 0.7, 0.79, 0.82, 0.9, -1.0]), min_size=1, max_size=20)


def answer(step: Step[Any, str], fate: float) -> Outcome[str]:
    match step:
        case CallModel():
            return ModelReplied(f"draft {step.iteration}")
        case Evaluate():
            failed = EvaluationFailed(EvaluatorError("busy"), transient=fate > -0.5)
            return failed if fate < 0.0 else Evaluated(EvaluationResult(fate, deficiencies=[f"only {fate}"]))
        case Remember():
            return Remembered()
        case _:
            return Paused()


def play(fates: Sequence[float], *, moves: bool, **given: Any) -> Refinement[Any, str]:
    held_to = terms(**given)
    run: Refinement[Any, str] = Refinement("the task", held_to)
    for fate in fates:
        for _ in range(2):  # what must be scored, and what must be remembered
            if moves:
                run = Refinement.from_dict(json.loads(json.dumps(run.to_dict())), held_to)
            if not isinstance(step := run.next_step(), Finish):
                run.receive(answer(step, fate))
    return run


@given(FATES, st.sampled_from(["threshold", "quality"]))
@settings(deadline=None, max_examples=40)
def test_a_run_that_judges_again_survives_a_move_after_any_step(fates: list[float], goal: str) -> None:
    stayed, moved = (play(fates, moves=moves, objective=goal) for moves in (False, True))
    assert moved.to_dict() == stayed.to_dict()
    assert (moved.best and moved.best.iteration) == (stayed.best and stayed.best.iteration)
    there, here = moved.next_step(), stayed.next_step()
    if isinstance(here, Finish):
        assert isinstance(there, Finish)
        assert there.result.metrics == here.result.metrics
        assert there.result.output == here.result.output
    elif not isinstance(here, Remember):  # what is remembered is in `to_dict` already
        assert there == here


@given(FATES, st.sampled_from(["threshold", "quality"]), st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_calls_stay_within_their_limit_and_judgements_within_theirs(
    fates: list[float], goal: str, most: int
) -> None:
    run = play(fates * 3, moves=False, objective=goal, max_iterations=most)
    assert len(run.records) <= most
    assert all(len(record.judgements) in {0, 2, 3} for record in run.records)


class Wavering:
    """A judge whose scores of the same draft differ."""

    def __init__(self, *scores: float, **stated: float) -> None:
        self._scores = cycle(scores)
        self.seen: list[int] = []
        self.__dict__ |= stated

    def evaluate(self, output: str, context: Any = None) -> float:
        self.seen.append((context or {}).get("judgement", 1))
        return next(self._scores)


def test_a_loop_judges_again_by_the_spread_that_its_evaluator_states_and_tells_of_it() -> None:
    judge = Wavering(0.82, 0.95, test_retest_sd=0.1)
    config = LoopConfig(judge_cost=0.0, explore=False)
    loop = LoopedLLM(lambda prompt: "a draft", config, priors=AdaptivePriors())
    events = list(loop.stream("Write.", judge, model="m"))
    assert judge.seen[:2] == [1, 2]
    assert [type(event) for event in events if isinstance(event, DraftScored | DraftJudgedAgain)][:2] == [
        DraftScored,
        DraftJudgedAgain,
    ]
    told = next(event for event in events if isinstance(event, DraftJudgedAgain))
    assert told.record.score == pytest.approx(0.885)
    assert not told.superseded


def test_a_loop_learns_the_spread_by_itself_and_then_leaves_an_exact_judge_alone() -> None:
    priors, judge = AdaptivePriors(), Wavering(0.6)
    loop = LoopedLLM(lambda prompt: "a draft", LoopConfig(judge_cost=0.01, max_iterations=2), priors=priors)
    for _ in range(5):
        loop.refine("Write.", judge, model="m")
    assert priors.judge_spread("default", "m").repeats == 5
    judge.seen.clear()
    loop.refine("Write.", judge, model="m")
    assert set(judge.seen) == {1}
    assert priors.judge_spread("default", "m").learned == 0.0


def test_priors_that_only_observe_judge_nothing_again() -> None:
    judge = Wavering(0.82, test_retest_sd=0.1)
    loop = LoopedLLM(
        lambda prompt: "a draft", LoopConfig(judge_cost=0.0), priors=AdaptivePriors(mode="observe")
    )
    loop.refine("Write.", judge, model="m")
    assert judge.seen == [1]


def test_a_refused_draft_is_not_looked_up_as_nearly_good_enough_either() -> None:
    run = begin()
    after(run, 0.82, passed=False)
    ledger, policy = run._ledger, run.terms.policy
    assert policy is not None
    assert list(standings(ledger, run.terms, policy)) == list(learned_scores(ledger, run.terms.config))
