"""A run written down after any step and continued elsewhere comes to the same result."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.config import LoopConfig
from loopllm.errors import EvaluatorError, MisuseError, ProviderError
from loopllm.feedback import TextFormat
from loopllm.refinement import Refinement
from loopllm.results import EvaluationResult, Usage
from loopllm.steps import (
    CallFailed,
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

CONFIG = LoopConfig(max_iterations=4, max_retries=1, retry_base_s=0.1, convergence_delta=0.0)


def terms(learns: bool) -> Terms[Any, str]:
    return Terms(CONFIG, TextFormat(), CONFIG.ways(), task_type="t", model_id="m", learns=learns)


def answer(step: Step[Any, str], fate: tuple[str, float]) -> Outcome[str]:
    kind, value = fate
    match step:
        case CallModel():
            if kind == "call fails":
                return CallFailed(ProviderError("down"), transient=value > 0.5, jitter=value)
            return ModelReplied(f"draft {value}", Usage(3, 4, 0.5), 0.25, "stop")
        case Evaluate():
            if kind == "evaluation fails":
                return EvaluationFailed(EvaluatorError("broken"), transient=value > 0.5, jitter=value)
            return Evaluated(
                EvaluationResult(value, deficiencies=["a fault"], sub_scores={"part": value}), 0.1
            )
        case Remember():
            return Remembered()
        case Pause():
            return Paused()
        case Finish():
            raise AssertionError


def play(script: list[tuple[str, float]], *, learns: bool, moves_after: int | None) -> Refinement[Any, str]:
    """Play a script; with `moves_after`, write the run down and read it back after that many steps."""
    run: Refinement[Any, str] = Refinement("the task", terms(learns))
    for number, fate in enumerate(script):
        if number == moves_after:
            run = Refinement.from_dict(json.loads(json.dumps(run.to_dict())), terms(learns))
        if isinstance(step := run.next_step(), Finish):
            break
        run.receive(answer(step, fate), elapsed_s=number * 0.5)
    return run


FATES = st.tuples(
    st.sampled_from(["fine", "fine", "fine", "call fails", "evaluation fails"]),
    st.sampled_from([0.0, 0.2, 0.5, 0.7, 0.79]),
)


@given(st.lists(FATES, min_size=1, max_size=24), st.booleans(), st.integers(0, 24))
def test_a_run_that_moves_to_another_process_comes_to_the_same_end(
    script: list[tuple[str, float]], learns: bool, moves_after: int
) -> None:
    stayed = play(script, learns=learns, moves_after=None)
    moved = play(script, learns=learns, moves_after=moves_after)
    assert moved.to_dict() == stayed.to_dict()
    assert _comparable(moved.next_step()) == _comparable(stayed.next_step())


def _comparable(step: Step[Any, str]) -> Any:
    if isinstance(step, Finish):
        return step.result, type(step.error)  # the message is kept as text
    return step


def test_a_failed_run_still_raises_after_it_was_moved() -> None:
    run: Refinement[Any, str] = Refinement("the task", terms(learns=False))
    run.receive(CallFailed(ProviderError("down")))
    step = Refinement.from_dict(run.to_dict(), terms(learns=False)).next_step()
    assert isinstance(step, Finish)
    assert isinstance(step.error, ProviderError)


def test_data_of_another_kind_is_refused() -> None:
    with pytest.raises(MisuseError, match="not a run"):
        Refinement.from_dict({"loopllm_run": 99}, terms(learns=False))


def test_chat_prompts_survive_the_move() -> None:
    messages = [{"role": "user", "content": "the task"}]
    run: Refinement[Any, str] = Refinement(messages, terms(learns=False))
    run.receive(ModelReplied("draft"))
    run.receive(Evaluated(EvaluationResult(0.2, deficiencies=["short"])))
    moved = Refinement.from_dict(json.loads(json.dumps(run.to_dict())), terms(learns=False))
    assert moved.next_step() == run.next_step()
