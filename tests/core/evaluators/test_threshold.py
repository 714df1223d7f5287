"""ThresholdEvaluator: a scorer of one's own, passed from a threshold on."""

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.errors import EvaluatorError, MisuseError
from loopllm.evaluators import ThresholdEvaluator
from loopllm.results import EvaluationResult


def tenth(output: str) -> float:
    return len(output) / 10


@given(st.floats(0, 1), st.floats(0, 1))
def test_what_reaches_the_threshold_passes(score: float, threshold: float) -> None:
    result = ThresholdEvaluator(lambda output: score, threshold).evaluate("x")
    assert result.score == score
    assert result.passed is (score >= threshold)
    assert bool(result.deficiencies) is not result.passed


def test_the_defaults_are_a_threshold_of_seven_tenths_and_the_name_threshold() -> None:
    evaluator = ThresholdEvaluator(tenth)
    assert (evaluator.threshold, evaluator.name) == (0.7, "threshold")


def test_the_scorer_may_want_the_context() -> None:
    evaluator = ThresholdEvaluator(lambda output, context: 1.0 if context["prompt"] in output else 0.0)
    assert evaluator.evaluate("a task done", {"prompt": "task"}).passed


def test_what_the_scorer_says_is_kept() -> None:
    evaluator = ThresholdEvaluator(
        lambda output: EvaluationResult(0.2, deficiencies=["no date"], sub_scores={"d": 0.0})
    )
    result = evaluator.evaluate("x")
    assert (tuple(result.deficiencies), result.sub_scores, result.passed) == (("no date",), {"d": 0.0}, False)


@pytest.mark.parametrize("score", [7.0, -0.1, math.nan, math.inf, 7, "0.5", None])
def test_a_score_that_is_none_is_refused_not_clamped(score: object) -> None:
    with pytest.raises(EvaluatorError, match="evaluator 'grade'"):
        ThresholdEvaluator(lambda output: score, name="grade").evaluate("x")


def test_the_refusal_tells_how_to_scale() -> None:
    with pytest.raises(EvaluatorError, match="7 / 10"):
        ThresholdEvaluator(lambda output: 7.0).evaluate("x")


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan, "0.5", True, None])
def test_a_threshold_outside_zero_to_one_is_refused(threshold: object) -> None:
    with pytest.raises(MisuseError, match="threshold"):
        ThresholdEvaluator(tenth, threshold)  # type: ignore[arg-type]  # the wrong type is the test


async def test_an_async_scorer_is_awaited_and_refused_when_blocking() -> None:
    async def scorer(output: str) -> float:
        return 0.9

    evaluator = ThresholdEvaluator(scorer)
    assert evaluator.is_async
    assert (await evaluator.aevaluate("x")).passed
    with pytest.raises(MisuseError, match="arefine"):
        evaluator.evaluate("x")


def test_it_pickles_when_its_scorer_does() -> None:
    copy = pickle.loads(pickle.dumps(ThresholdEvaluator(math.cos, 0.5)))
    assert copy.evaluate(0.0).score == 1.0
    assert "threshold=0.5" in repr(copy)
