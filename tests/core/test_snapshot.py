"""A run written down after any step and continued elsewhere comes to the same result."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.config import LoopConfig
from loopllm.errors import CallTimeoutError, EvaluatorError, MisuseError, ProviderError
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
        return step.result, type(step.error), str(step.error), vars(step.error) if step.error else None
    return step


def test_a_failed_run_still_raises_the_same_after_it_was_moved() -> None:
    run: Refinement[Any, str] = Refinement("the task", terms(learns=False))
    run.receive(CallFailed(CallTimeoutError("down", retry_after=3.0, status=503)))
    step = Refinement.from_dict(json.loads(json.dumps(run.to_dict())), terms(learns=False)).next_step()
    assert isinstance(step, Finish)
    assert isinstance(step.error, CallTimeoutError)
    assert (str(step.error), step.error.retry_after, step.error.status) == ("down", 3.0, 503)


ELSEWHERE = """
import json, sys
from test_snapshot import go_on
print(json.dumps([go_on(**case) for case in json.load(sys.stdin)]))
"""
STORIES = [
    [("fine", 0.2), ("fine", 0.5), ("fine", 0.79), ("fine", 0.7)],
    [("fine", 0.2), ("call fails", 0.7), ("call fails", 0.0), ("fine", 0.9)],
    [("call fails", 0.0), ("fine", 0.9)],
    [("evaluation fails", 0.7), ("evaluation fails", 0.2), ("evaluation fails", 0.0), ("fine", 0.5)],
    [("fine", 0.5), ("evaluation fails", 0.0), ("fine", 0.9)],
]


def go_on(run: dict[str, Any], script: list[tuple[str, float]], learns: bool, done: int) -> Any:
    """Read a run back, play the rest of its script, and write it down again."""
    moved: Refinement[Any, str] = Refinement.from_dict(run, terms(learns))
    for number in range(done, len(script)):
        if isinstance(step := moved.next_step(), Finish):
            break
        moved.receive(answer(step, script[number]), elapsed_s=number * 0.5)
    return json.loads(json.dumps(moved.to_dict()))


def test_after_any_step_another_process_can_take_a_run_to_the_same_end() -> None:
    cases, ends = [], []
    for story, learns in itertools.product(STORIES, (False, True)):
        script = [fate for fate in story for _ in range(6)]
        for done in range(len(script)):
            begun = play(script[:done], learns=learns, moves_after=None)
            cases.append({"run": begun.to_dict(), "script": script, "learns": learns, "done": done})
            ends.append(play(script, learns=learns, moves_after=None).to_dict())
    program = [sys.executable, "-c", ELSEWHERE]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    other = subprocess.run(
        program, input=json.dumps(cases), capture_output=True, text=True, env=here, check=False
    )
    assert other.returncode == 0, other.stderr
    assert json.loads(other.stdout) == json.loads(json.dumps(ends))
    assert {end["step"]["kind"] for end in ends} == {"finish"}


@pytest.mark.parametrize("data", [{"loopllm_run": 99}, {}, [], None, "text"])
def test_data_of_another_kind_is_refused(data: Any) -> None:
    with pytest.raises(MisuseError, match="not a run"):
        Refinement.from_dict(data, terms(learns=False))


def test_a_damaged_run_is_refused_saying_so() -> None:
    data: dict[str, Any] = Refinement("the task", terms(learns=False)).to_dict()
    for name in sorted(data.keys() - {"loopllm_run"}):
        with pytest.raises(MisuseError, match="damaged"):
            Refinement.from_dict(
                {key: value for key, value in data.items() if key != name}, terms(learns=False)
            )


def test_an_evaluation_goes_on_with_the_time_that_is_left_not_with_all_of_it() -> None:
    run: Refinement[Any, str] = Refinement("the task", terms(learns=False))
    run.receive(ModelReplied("draft"), elapsed_s=20.0)
    step = Refinement.from_dict(run.to_dict(), terms(learns=False)).next_step()
    assert isinstance(step, Evaluate)
    assert step.timeout_s == 10.0


def test_chat_prompts_survive_the_move() -> None:
    messages = [{"role": "user", "content": "the task"}]
    run: Refinement[Any, str] = Refinement(messages, terms(learns=False))
    run.receive(ModelReplied("draft"))
    run.receive(Evaluated(EvaluationResult(0.2, deficiencies=["short"])))
    moved = Refinement.from_dict(json.loads(json.dumps(run.to_dict())), terms(learns=False))
    assert moved.next_step() == run.next_step()
