"""Values: usage that adds up, scores that are refused when they are none."""

import json
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.lib.pretty import pretty

from loopllm.errors import MisuseError
from loopllm.results import (
    EvaluationResult,
    ExitReason,
    IterationRecord,
    LoopMetrics,
    RefinementResult,
    Usage,
)

COUNTS = st.none() | st.integers(0, 10**6)
USAGES = st.builds(Usage, COUNTS, COUNTS, st.none() | st.integers(0, 100).map(float))


@given(USAGES, USAGES, USAGES)
def test_usage_adds_in_any_order_and_nothing_is_its_identity(one: Usage, two: Usage, three: Usage) -> None:
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + Usage() == one


def test_unknown_usage_stays_unknown() -> None:
    assert (Usage() + Usage()).total_tokens is None


@pytest.mark.parametrize("score", [math.nan, math.inf, -0.1, 1.1])
def test_a_score_that_is_no_number_between_zero_and_one_is_refused(score: float) -> None:
    with pytest.raises(MisuseError, match="score"):
        EvaluationResult(score)


def test_a_score_that_rounding_left_a_hair_beside_the_end_is_the_end() -> None:
    assert EvaluationResult(0.7 + 0.2 + 0.1 + 2.0e-16).score == 1.0
    assert EvaluationResult(0.3 - 0.1 * 3).score == 0.0
    assert EvaluationResult(math.nextafter(1.0, 2.0)).score == 1.0


def test_a_verdict_of_numpy_is_an_objection_like_any_other_and_can_be_written_to_json() -> None:
    verdict: Any = np.bool_(False)
    assert EvaluationResult(0.9, passed=verdict).passed is False


@pytest.mark.parametrize(
    "said", ["too short", iter(["too short"]), np.array(["too short"]), {"too short": 1}.keys()]
)
def test_deficiencies_of_any_kind_are_sentences_and_never_letters(said: Any) -> None:
    result = EvaluationResult(0.4, deficiencies=said)
    assert (list(result.deficiencies), result.feedback) == (["too short"], "too short")


def test_a_deficiency_that_is_no_text_is_told_in_its_words() -> None:
    said: Any = [ValueError("no date")]
    assert EvaluationResult(0.4, deficiencies=said).feedback == "no date"


def test_no_parts_of_a_score_are_an_empty_mapping() -> None:
    assert EvaluationResult(0.4, sub_scores=None).sub_scores == {}  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize("nothing", ["", None])
def test_no_deficiency_is_an_empty_sequence(nothing: Any) -> None:
    assert list(EvaluationResult(0.4, deficiencies=nothing).deficiencies) == []


@pytest.mark.parametrize("score", ["0.5", None, [0.5], object()])
def test_a_score_that_is_no_number_is_refused(score: Any) -> None:
    with pytest.raises(MisuseError, match="score must be a number"):
        EvaluationResult(score)


@pytest.mark.parametrize("score", [np.float32(0.5), np.float64(0.5), Fraction(1, 2), Decimal("0.5")])
def test_a_number_of_any_kind_becomes_a_plain_float(score: Any) -> None:
    assert type(EvaluationResult(score).score) is float
    assert json.dumps(EvaluationResult(score).score) == "0.5"


def test_feedback_is_made_from_the_deficiencies_when_not_given() -> None:
    assert EvaluationResult(0.1, deficiencies=["short", "rude"]).feedback == "short; rude"
    assert EvaluationResult(0.1, deficiencies=["short"], feedback="write more").feedback == "write more"


def a_result() -> RefinementResult[str, str]:
    poor = IterationRecord(1, "task", "<b>poor</b>", 0.2, passed=False, deficiencies=["too short"])
    good = IterationRecord(2, "task", "good", 0.9, passed=True, action="last")
    metrics = LoopMetrics(
        2, 0.9, 0.9, True, ExitReason("quality_threshold", "enough"), 1500.0, best_iteration=2
    )
    return RefinementResult("good", metrics, (poor, good))


def test_a_result_prints_as_a_table_of_its_calls_with_the_chosen_one_marked() -> None:
    printed = str(a_result())
    assert "quality_threshold: enough" in printed
    assert "too short" in printed
    assert "2*" in printed


def test_a_prompt_of_ipython_shows_the_same_table() -> None:
    assert pretty(a_result()) == str(a_result())


def test_a_notebook_shows_the_same_with_the_models_words_escaped() -> None:
    shown = a_result()._repr_html_()
    assert "&lt;b&gt;poor" in shown
    assert "<b>" not in shown
