"""A run as a state machine: what it asks for next, given what came of the last step."""

from typing import Any

import pytest

from loopllm.config import LoopConfig, Prices
from loopllm.errors import EvaluatorError, MisuseError, ProviderError
from loopllm.exits import Condition
from loopllm.feedback import TextFormat
from loopllm.refinement import Refinement
from loopllm.results import EvaluationResult, RefinementResult, Usage
from loopllm.steps import (
    CallFailed,
    CallModel,
    Evaluate,
    Evaluated,
    EvaluationFailed,
    Finish,
    ModelReplied,
    Pause,
    Paused,
    Remember,
    Remembered,
)
from loopllm.terms import Terms


def begin(*, conditions: tuple[Any, ...] = (), learns: bool = False, **settings: Any) -> Refinement[Any, str]:
    config = LoopConfig(**settings)
    terms = Terms(
        config,
        TextFormat(),
        config.ways(),
        tuple(Condition.of(condition) for condition in conditions),
        None,
        "task",
        "model",
        learns,
    )
    return Refinement("the task", terms)


def score(run: Refinement[Any, str], *scores: float, usage: Usage | None = None) -> None:
    """Let the model answer and the evaluator score, once for each of `scores`."""
    for value in scores:
        run.receive(ModelReplied(f"draft worth {value}", usage or Usage(), seconds=0.1))
        run.receive(Evaluated(EvaluationResult(value)))


def result(run: Refinement[Any, str]) -> RefinementResult[Any, str]:
    step = run.next_step()
    assert isinstance(step, Finish)
    return step.result


def exit_of(run: Refinement[Any, str]) -> str:
    return result(run).metrics.exit_reason.condition


def test_a_run_begins_by_sending_the_task_with_all_the_time_there_is() -> None:
    assert begin(timeout_ms=2000).next_step() == CallModel("the task", 1, "first", 2.0)


def test_a_reply_is_evaluated_with_the_time_that_is_left() -> None:
    run = begin(timeout_ms=2000)
    run.receive(ModelReplied("draft"), elapsed_s=0.5)
    assert run.next_step() == Evaluate("draft", "the task", 1, 1.5)


def test_asking_for_the_next_step_again_changes_nothing() -> None:
    run = begin()
    assert run.next_step() is run.next_step()


def test_a_score_at_the_threshold_ends_the_run() -> None:
    run = begin(quality_threshold=0.7)
    score(run, 0.3, 0.7)
    assert exit_of(run) == "quality_threshold"
    assert result(run).metrics.converged


def test_a_draft_that_its_evaluator_refuses_is_not_accepted_whatever_its_score() -> None:
    run = begin(quality_threshold=0.7, max_iterations=1)
    run.receive(ModelReplied("draft"))
    run.receive(Evaluated(EvaluationResult(0.95, passed=False)))
    assert exit_of(run) == "max_iterations"
    assert not result(run).metrics.converged


def test_the_score_alone_decides_when_a_pass_is_not_required() -> None:
    run = begin(quality_threshold=0.7, require_pass=False)
    run.receive(ModelReplied("draft"))
    run.receive(Evaluated(EvaluationResult(0.95, passed=False)))
    assert exit_of(run) == "quality_threshold"


def test_two_small_changes_in_a_row_end_the_run() -> None:
    run = begin(convergence_delta=0.01)
    score(run, 0.4, 0.405, 0.41)
    assert exit_of(run) == "convergence_delta"


def test_one_small_change_does_not_end_the_run() -> None:
    run = begin(convergence_delta=0.01)
    score(run, 0.2, 0.4, 0.405)
    assert isinstance(run.next_step(), CallModel)


def test_a_convergence_delta_of_zero_turns_the_plateau_exit_off() -> None:
    run = begin(convergence_delta=0.0)
    score(run, 0.4, 0.4, 0.4)
    assert isinstance(run.next_step(), CallModel)


def test_the_last_allowed_call_ends_the_run_with_the_best_draft() -> None:
    run = begin(max_iterations=3)
    score(run, 0.5, 0.1, 0.3)
    assert exit_of(run) == "max_iterations"
    assert result(run).output == "draft worth 0.5"
    assert result(run).metrics.best_iteration == 1
    assert result(run).metrics.final_score == 0.3


def test_without_best_of_the_last_draft_is_returned() -> None:
    run = begin(max_iterations=3, best_of=False)
    score(run, 0.5, 0.1, 0.3)
    assert result(run).output == "draft worth 0.3"


def test_of_equal_drafts_the_earliest_is_returned() -> None:
    run = begin(max_iterations=2, convergence_delta=0.0)
    run.receive(ModelReplied("early"))
    run.receive(Evaluated(EvaluationResult(0.5)))
    run.receive(ModelReplied("late"))
    run.receive(Evaluated(EvaluationResult(0.5)))
    assert result(run).output == "early"


def test_a_draft_that_passed_before_the_least_number_of_calls_ends_the_run_when_that_is_reached() -> None:
    run = begin(min_iterations=2, max_iterations=5)
    score(run, 0.9, 0.3)
    assert exit_of(run) == "quality_threshold"
    assert result(run).output == "draft worth 0.9"


def test_where_the_last_draft_is_returned_an_earlier_one_that_passed_ends_nothing() -> None:
    run = begin(min_iterations=2, max_iterations=5, best_of=False)
    score(run, 0.9, 0.3)
    assert isinstance(run.next_step(), CallModel)


def test_an_accepted_draft_is_better_than_a_refused_one_with_a_higher_score() -> None:
    run = begin(quality_threshold=0.5, min_iterations=2, max_iterations=2)
    for value, passed in ((0.6, True), (0.9, False)):
        run.receive(ModelReplied(f"draft worth {value}"))
        run.receive(Evaluated(EvaluationResult(value, passed=passed)))
    assert result(run).output == "draft worth 0.6"
    assert result(run).metrics.converged


def test_nothing_but_limits_ends_a_run_before_min_iterations() -> None:
    run = begin(min_iterations=3, conditions=(lambda view: True,))
    score(run, 0.9, 0.9)
    assert isinstance(run.next_step(), CallModel)
    score(run, 0.9)
    assert exit_of(run) == "quality_threshold"


def test_the_exits_are_asked_in_the_documented_order() -> None:
    everything_at_once: dict[str, Any] = {
        "max_iterations": 3,
        "timeout_ms": 1.0,
        "token_budget": 1,
        "cost_budget": 0.1,
    }
    spent = Usage(5, 5, 1.0)
    run = begin(**everything_at_once, conditions=(lambda view: "mine",))
    score(run, 0.4, usage=spent)
    assert exit_of(run) == "<lambda>"  # the caller's own before the limits
    run = begin(max_iterations=3, conditions=(lambda view: view.iteration == 3 and "mine",))
    score(run, 0.4, 0.4, 0.4)
    assert exit_of(run) == "convergence_delta"  # the plateau before the caller's own
    run = begin(**everything_at_once | {"max_iterations": 1})
    run.receive(ModelReplied("draft", spent), elapsed_s=9.0)
    run.receive(Evaluated(EvaluationResult(0.4)))
    assert exit_of(run) == "max_iterations"
    run = begin(**everything_at_once)
    run.receive(ModelReplied("draft", spent), elapsed_s=9.0)
    run.receive(Evaluated(EvaluationResult(0.4)))
    assert exit_of(run) == "timeout_ms"


def test_a_token_budget_ends_the_run_before_another_call_would_exceed_it() -> None:
    run = begin(token_budget=250)
    score(run, 0.1, usage=Usage(80, 20))
    assert isinstance(run.next_step(), CallModel)
    score(run, 0.2, usage=Usage(80, 20))
    assert exit_of(run) == "token_budget"
    assert result(run).metrics.usage.total_tokens == 200


def test_a_cost_budget_is_kept_with_stated_prices() -> None:
    run = begin(cost_budget=0.0025, prices=Prices(prompt_per_million=1.0, completion_per_million=2.0))
    score(run, 0.1, usage=Usage(600, 200))
    assert result_cost(run) == pytest.approx(0.001)
    score(run, 0.2, usage=Usage(600, 200))
    assert exit_of(run) == "cost_budget"


def result_cost(run: Refinement[Any, str]) -> float | None:
    return run.records[-1].usage.cost


def test_a_budget_that_cannot_be_kept_ends_the_run_and_says_how_to_mend_it() -> None:
    run = begin(cost_budget=0.01)
    score(run, 0.1, usage=Usage(600, 200))
    assert exit_of(run) == "cost_budget"
    assert "prices" in result(run).metrics.exit_reason.message


def test_a_transient_failure_is_repeated_after_a_growing_pause() -> None:
    run = begin(max_retries=2, retry_base_s=1.0)
    run.receive(CallFailed(ProviderError("busy"), transient=True, jitter=1.0))
    assert run.next_step() == Pause(1.0, "ProviderError: busy")
    run.receive(Paused())
    assert isinstance(run.next_step(), CallModel)
    run.receive(CallFailed(ProviderError("busy"), transient=True, jitter=1.0))
    assert run.next_step() == Pause(2.0, "ProviderError: busy")


def test_jitter_shortens_the_pause_by_up_to_half() -> None:
    run = begin(retry_base_s=1.0)
    run.receive(CallFailed(ProviderError("busy"), transient=True, jitter=0.0))
    assert run.next_step() == Pause(0.5, "ProviderError: busy")


def test_a_server_that_names_a_waiting_time_is_believed() -> None:
    run = begin(retry_base_s=0.1)
    run.receive(CallFailed(ProviderError("busy"), transient=True, retry_after=7.0))
    assert run.next_step() == Pause(7.0, "ProviderError: busy")


def test_no_pause_outlives_the_run() -> None:
    run = begin(timeout_ms=5000)
    run.receive(CallFailed(ProviderError("busy"), transient=True, retry_after=7.0))
    step = run.next_step()
    assert isinstance(step, Finish)
    assert isinstance(step.error, ProviderError)


def test_a_failure_before_any_draft_is_raised_with_the_history() -> None:
    run = begin()
    cause = ValueError("bad model name")
    run.receive(CallFailed(cause))
    step = run.next_step()
    assert isinstance(step, Finish)
    assert isinstance(step.error, ProviderError)
    assert step.error.__cause__ is cause
    assert step.error.result is step.result


def test_a_failure_after_a_draft_ends_the_run_with_the_best_draft() -> None:
    run = begin(max_retries=0)
    score(run, 0.4, 0.2)
    run.receive(CallFailed(ProviderError("down"), transient=True))
    assert exit_of(run) == "provider_error"
    assert result(run).output == "draft worth 0.4"
    assert "down" in result(run).metrics.exit_reason.message


def test_a_call_interrupted_by_the_time_limit_keeps_the_best_draft() -> None:
    run = begin(timeout_ms=1000)
    score(run, 0.4)
    run.receive(CallFailed(TimeoutError(), transient=True, timed_out=True), elapsed_s=1.0)
    assert exit_of(run) == "timeout_ms"
    assert result(run).output == "draft worth 0.4"


def test_a_first_call_interrupted_by_the_time_limit_gives_an_empty_result() -> None:
    run = begin(timeout_ms=1000)
    run.receive(CallFailed(TimeoutError(), timed_out=True), elapsed_s=1.0)
    assert exit_of(run) == "timeout_ms"
    assert (result(run).output, result(run).iterations) == ("", ())


def test_an_evaluator_that_fails_leaves_the_draft_without_a_score() -> None:
    run = begin()
    run.receive(ModelReplied("draft"))
    run.receive(EvaluationFailed(KeyError("rubric")))
    assert run.records[0].score is None
    assert "rubric" in run.records[0].error
    assert run.next_step() == CallModel("the task", 2, "fresh", 30.0)


def test_an_evaluator_that_fails_twice_in_a_row_ends_the_run_with_the_best_scored_draft() -> None:
    run = begin()
    score(run, 0.4)
    for _ in range(2):
        run.receive(ModelReplied("unscored"))
        run.receive(EvaluationFailed(KeyError("rubric")))
    assert exit_of(run) == "evaluator_error"
    assert result(run).output == "draft worth 0.4"
    assert result(run).metrics.score_trajectory == (0.4,)


def test_an_evaluator_that_never_worked_is_an_error_that_carries_the_drafts() -> None:
    run = begin()
    for _ in range(2):
        run.receive(ModelReplied("unscored"))
        run.receive(EvaluationFailed(KeyError("rubric")))
    step = run.next_step()
    assert isinstance(step, Finish)
    assert isinstance(step.error, EvaluatorError)
    assert step.error.result.output == "unscored"


def test_a_busy_judge_is_asked_again_about_the_same_draft() -> None:
    run = begin(retry_base_s=0.0)
    run.receive(ModelReplied("draft"))
    run.receive(EvaluationFailed(EvaluatorError("busy", transient=True), transient=True))
    assert isinstance(run.next_step(), Pause)
    run.receive(Paused())
    assert run.next_step() == Evaluate("draft", "the task", 1, 30.0)


def test_a_cancelled_run_returns_the_best_draft() -> None:
    run = begin()
    score(run, 0.4)
    run.cancel()
    assert exit_of(run) == "cancelled"
    assert result(run).output == "draft worth 0.4"


def test_cancelling_a_finished_run_changes_nothing() -> None:
    run = begin()
    score(run, 0.9)
    run.cancel()
    assert exit_of(run) == "quality_threshold"


def test_the_time_it_takes_to_remember_a_round_is_not_given_to_the_next_call() -> None:
    run = begin(learns=True, timeout_ms=1000.0)
    run.receive(ModelReplied("draft"), elapsed_s=0.1)
    run.receive(Evaluated(EvaluationResult(0.4)), elapsed_s=0.25)
    run.receive(Remembered(), elapsed_s=0.75)
    step = run.next_step()
    assert isinstance(step, CallModel)
    assert step.timeout_s == 0.25


def test_a_run_whose_time_ran_out_while_a_round_was_remembered_ends_without_another_call() -> None:
    run = begin(learns=True, timeout_ms=1000.0)
    score(run, 0.4)
    run.receive(Remembered(), elapsed_s=1.5)
    step = run.next_step()
    assert isinstance(step, Remember)
    assert (step.round is None, step.end is None) == (True, False)
    run.receive(Remembered())
    assert (exit_of(run), result(run).output) == ("timeout_ms", "draft worth 0.4")


def test_a_run_cancelled_before_its_draft_was_scored_keeps_the_draft_and_what_it_cost() -> None:
    run = begin()
    run.receive(ModelReplied("draft", Usage(7, 2, 0.5)))
    run.cancel()
    ended = result(run)
    assert (ended.output, ended.metrics.usage, exit_of(run)) == ("draft", Usage(7, 2, 0.5), "cancelled")
    assert [(each.score, each.error) for each in ended.iterations] == [(None, "the caller cancelled the run")]


def test_a_round_scored_when_the_run_was_cancelled_is_still_remembered() -> None:
    run = begin(learns=True)
    score(run, 0.4)
    run.cancel()
    step = run.next_step()
    assert isinstance(step, Remember)
    assert step.round is not None
    assert step.end is not None
    assert (step.round.scores, step.end.scores) == ((0.4,), (0.4,))
    run.receive(Remembered())
    assert exit_of(run) == "cancelled"


def test_cancelling_a_run_whose_end_is_decided_changes_nothing() -> None:
    run = begin(learns=True)
    score(run, 0.9)
    decided = run.next_step()
    run.cancel()
    assert run.next_step() is decided
    run.receive(Remembered())
    assert exit_of(run) == "quality_threshold"


def test_what_a_judge_was_repeated_is_not_counted_against_the_next_call_of_the_model() -> None:
    run = begin(max_retries=1, convergence_delta=0.0)
    run.receive(ModelReplied("draft"))
    run.receive(EvaluationFailed(EvaluatorError("busy", transient=True), transient=True))
    run.receive(Paused())
    run.receive(Evaluated(EvaluationResult(0.4)))
    run.receive(CallFailed(ProviderError("busy", transient=True), transient=True))
    assert isinstance(run.next_step(), Pause)


@pytest.mark.parametrize("seconds", [1e9, 1e300])
def test_nobody_waits_for_longer_than_a_clock_can_count_and_the_best_draft_is_kept(seconds: float) -> None:
    run = begin(timeout_ms=None)
    score(run, 0.4)
    run.receive(CallFailed(ProviderError("busy", transient=True), transient=True, retry_after=seconds))
    assert (exit_of(run), result(run).output) == ("provider_error", "draft worth 0.4")


def test_a_call_may_be_repeated_more_often_than_a_float_can_double() -> None:
    run = begin(max_retries=1_100, retry_cap_s=20.0, timeout_ms=None)
    pauses = []
    for _ in range(1_100):
        run.receive(CallFailed(ProviderError("busy", transient=True), transient=True, jitter=1.0))
        step = run.next_step()
        assert isinstance(step, Pause)
        pauses.append(step.seconds)
        run.receive(Paused())
    assert (pauses[0], pauses[-1]) == (0.5, 20.0)


def test_every_scored_round_is_remembered_before_the_run_goes_on() -> None:
    run = begin(learns=True)
    score(run, 0.4)
    step = run.next_step()
    assert isinstance(step, Remember)
    assert step.round is not None
    assert step.end is None
    assert tuple(step.round.scores) == (0.4,)
    run.receive(Remembered())
    assert isinstance(run.next_step(), CallModel)


def test_the_last_round_is_remembered_together_with_the_end() -> None:
    run = begin(learns=True)
    score(run, 0.9)
    step = run.next_step()
    assert isinstance(step, Remember)
    assert step.round is not None
    assert step.end is not None
    assert step.end.converged
    run.receive(Remembered())
    assert exit_of(run) == "quality_threshold"


@pytest.mark.parametrize(("objective", "learned"), [("threshold", 0.48), ("quality", 0.8)])
def test_a_refused_draft_is_remembered_as_no_success_and_where_only_success_counts_not_as_near(
    objective: Any, learned: float
) -> None:
    run = begin(learns=True, quality_threshold=0.8, objective=objective)
    run.receive(ModelReplied("draft"))
    run.receive(Evaluated(EvaluationResult(0.95, passed=False)))
    step = run.next_step()
    assert isinstance(step, Remember)
    assert step.round is not None
    assert step.round.scores[0] < 0.8
    assert step.round.scores[0] == pytest.approx(learned)


def test_a_draft_without_a_score_teaches_nothing() -> None:
    run = begin(learns=True)
    run.receive(ModelReplied("draft"))
    run.receive(EvaluationFailed(KeyError("rubric")))
    assert isinstance(run.next_step(), CallModel)


@pytest.mark.parametrize(
    "outcome", [Evaluated(EvaluationResult(1.0)), Paused(), Remembered(), EvaluationFailed(KeyError())]
)
def test_an_outcome_that_does_not_answer_the_step_is_refused(outcome: Any) -> None:
    with pytest.raises(MisuseError, match="does not answer CallModel"):
        begin().receive(outcome)


def test_each_round_records_how_it_was_asked_for() -> None:
    run = begin(feedback="deficiencies")
    score(run, 0.1, 0.2, 0.3)
    assert [record.action for record in run.records] == ["first", "deficiencies", "deficiencies"]


def test_a_condition_of_ones_own_ends_the_run_under_its_own_name() -> None:
    def repeated(view: Any) -> str:
        return "said it before" if view.iteration == 2 else ""

    run = begin(conditions=(repeated,))
    score(run, 0.1, 0.2)
    assert exit_of(run) == "repeated"
    assert result(run).metrics.exit_reason.message == "said it before"
