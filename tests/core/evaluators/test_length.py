"""LengthEvaluator: in bounds is 1, and every step towards the bounds counts."""

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.errors import EvaluatorError, MisuseError
from loopllm.evaluators import LengthEvaluator


def words(count: int) -> str:
    return " ".join(["word"] * count)


def test_a_text_within_all_bounds_scores_one_and_passes() -> None:
    result = LengthEvaluator(min_chars=3, max_chars=20, min_words=1, max_words=3).evaluate("two words")
    assert (result.score, result.passed, tuple(result.deficiencies)) == (1.0, True, ())


def test_five_words_too_long_is_better_than_five_hundred_too_long() -> None:
    evaluator = LengthEvaluator(max_words=100)
    near, far = evaluator.evaluate(words(105)).score, evaluator.evaluate(words(600)).score
    assert 0 < far < near < 1


@given(limit=st.integers(0, 300), over=st.integers(1, 2000))
def test_each_word_cut_from_a_text_that_is_too_long_raises_the_score(limit: int, over: int) -> None:
    evaluator = LengthEvaluator(max_words=limit)
    longer, shorter = evaluator.evaluate(words(limit + over)), evaluator.evaluate(words(limit + over - 1))
    assert longer.score < shorter.score <= 1
    assert longer.passed is False
    assert shorter.passed is (over == 1)


@given(minimum=st.integers(1, 500), data=st.data())
def test_each_character_added_to_a_text_that_is_too_short_raises_the_score(
    minimum: int, data: st.DataObject
) -> None:
    length = data.draw(st.integers(0, minimum - 1))
    evaluator = LengthEvaluator(min_chars=minimum)
    assert evaluator.evaluate("x" * length).score < evaluator.evaluate("x" * (length + 1)).score


@given(st.text(), st.integers(0, 20), st.integers(0, 20), st.integers(0, 5), st.integers(0, 5))
def test_the_score_is_one_exactly_when_the_text_passes(
    text: str, low: int, room: int, few: int, more: int
) -> None:
    evaluator = LengthEvaluator(min_chars=low, max_chars=low + room, min_words=few, max_words=few + more)
    result = evaluator.evaluate(text)
    assert (result.score == 1.0) is result.passed is (not result.deficiencies)


def test_the_deficiency_says_by_how_much_to_cut_or_to_add() -> None:
    result = LengthEvaluator(max_words=2, min_chars=20).evaluate("one two three")
    assert tuple(result.deficiencies) == (
        "Too short: 13 characters, at least 20 are needed; add at least 7 more.",
        "Too long: 3 words, at most 2 are allowed; cut at least 1.",
    )


@pytest.mark.parametrize("field", ["min_chars", "max_chars", "min_words", "max_words"])
@pytest.mark.parametrize("value", [-1, 1.5, True, "3", None])
def test_a_bound_that_is_no_whole_number_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(MisuseError, match=field):
        LengthEvaluator(**{field: value})


def test_bounds_that_nothing_can_meet_are_refused() -> None:
    with pytest.raises(MisuseError, match="min_words=5 is above max_words=2"):
        LengthEvaluator(min_words=5, max_words=2)


def test_an_output_that_is_not_text_is_no_score() -> None:
    with pytest.raises(EvaluatorError, match="'length' scores text, but the output is a dict"):
        LengthEvaluator().evaluate({"a": 1})


def test_it_pickles_and_its_repr_can_be_read() -> None:
    evaluator = LengthEvaluator(max_words=7, name="brevity")
    assert pickle.loads(pickle.dumps(evaluator)) == evaluator
    assert "max_words=7" in repr(evaluator)
    assert "brevity" in repr(evaluator)
