"""Values: usage that adds up, scores that are refused when they are none."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.errors import MisuseError
from loopllm.results import EvaluationResult, Usage

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


def test_feedback_is_made_from_the_deficiencies_when_not_given() -> None:
    assert EvaluationResult(0.1, deficiencies=["short", "rude"]).feedback == "short; rude"
    assert EvaluationResult(0.1, deficiencies=["short"], feedback="write more").feedback == "write more"
