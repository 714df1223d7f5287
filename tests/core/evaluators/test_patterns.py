"""RegexEvaluator: what must be there is, what must not is not, and no pattern takes for ever."""

import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.errors import EvaluatorError, MisuseError
from loopllm.evaluators import RegexEvaluator

SLOW = r"(a|a)+$"  # 2^n ways to match n letters, and the regex library does not see through it


def test_search_ignores_case_unless_told_otherwise() -> None:
    assert RegexEvaluator(required=["python"]).evaluate("I like Python").passed
    assert not RegexEvaluator(required=["python"], flags=0).evaluate("I like Python").passed


def test_the_score_is_the_mean_over_all_patterns() -> None:
    evaluator = RegexEvaluator(required=["alpha", "beta", "gamma"], forbidden=["sorry"])
    result = evaluator.evaluate("Alpha and beta, sorry")
    assert result.score == pytest.approx(2.5 / 4)
    assert result.sub_scores == {"required": pytest.approx(2 / 3), "forbidden": 0.5}
    assert result.passed is False


@given(st.sets(st.sampled_from("abcdefgh"), min_size=1), st.text("abcdefgh "), st.data())
def test_each_required_word_that_is_added_raises_the_score(
    required: set[str], text: str, data: st.DataObject
) -> None:
    evaluator = RegexEvaluator(required=sorted(required))
    added = data.draw(st.sampled_from(sorted(required)))
    before, after = evaluator.evaluate(text), evaluator.evaluate(text + added)
    assert (before.score < after.score) is (added not in text)
    assert 0 <= before.score <= after.score <= 1
    assert before.passed is (before.score == 1.0)


@given(st.integers(0, 20), st.text("abc ", max_size=20))
def test_each_occurrence_of_a_forbidden_word_that_is_removed_raises_the_score(count: int, text: str) -> None:
    evaluator = RegexEvaluator(required=["a"], forbidden=["sorry"])
    worse, better = (evaluator.evaluate(text + " sorry" * times) for times in (count + 1, count))
    assert worse.score < better.score <= 1
    assert worse.passed is False


def test_a_forbidden_word_is_named_with_how_often_it_occurs() -> None:
    (sentence,) = RegexEvaluator(forbidden=["sorry"]).evaluate("Sorry, so sorry, sorry").deficiencies
    assert sentence == 'The answer must not contain "sorry"; remove "Sorry", 3 times in all.'


@pytest.mark.parametrize("side", ["required", "forbidden"])
@given(text=st.text(), pattern=st.sampled_from(["a*", "", "^", r"\b", "(?=x)", ".+"]))
def test_a_pattern_that_matches_nothing_at_all_is_counted_too(side: str, text: str, pattern: str) -> None:
    result = RegexEvaluator(**{side: [pattern]}).evaluate(text)  # type: ignore[arg-type]  # by name
    assert 0.0 <= result.score <= 1.0
    assert result.passed is (result.score == 1.0)


def test_deficiencies_tell_the_model_what_to_write_and_what_to_remove() -> None:
    evaluator = RegexEvaluator(required=["total", r"\d{4}"], forbidden=[r"as an \w+ model", r"^\s"])
    result = evaluator.evaluate(" As an AI model, no")
    assert tuple(result.deficiencies) == (
        'The answer must contain "total", and it does not.',
        r"The answer must contain text that matches the pattern `\d{4}`, and it does not.",
        r'The answer must not contain text that matches the pattern `as an \w+ model`; remove "As an AI model".',
        r"The answer must not contain text that matches the pattern `^\s`; remove it.",
    )


def test_descriptions_stand_in_for_patterns() -> None:
    evaluator = RegexEvaluator(required=[r"\d{4}"], descriptions={r"\d{4}": "a year"})
    assert evaluator.evaluate("none").feedback == "The answer must contain a year, and it does not."


def test_a_description_of_an_unknown_pattern_is_refused() -> None:
    with pytest.raises(MisuseError, match="descriptions has 'y'"):
        RegexEvaluator(required=["x"], descriptions={"y": "a why"})


@pytest.mark.parametrize("side", ["required", "forbidden"])
def test_a_slow_pattern_is_no_score_and_stops_at_the_limit(side: str, within: Any) -> None:
    evaluator = RegexEvaluator(**{side: [SLOW]}, time_limit=0.05)  # type: ignore[arg-type]  # by name
    for attempt in within(2.0):  # without a limit it takes years
        with attempt, pytest.raises(EvaluatorError, match="too slow on this output"):
            evaluator.evaluate("a" * 60 + "!")


def test_one_string_is_one_pattern_not_its_letters() -> None:
    assert RegexEvaluator(required="abc").required == ("abc",)


def test_without_patterns_everything_passes() -> None:
    assert RegexEvaluator().evaluate("anything").score == 1.0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"required": ["("]}, "required"),
        ({"forbidden": [3]}, "forbidden"),
        ({"required": 3}, "required"),
        ({"time_limit": 0}, "time_limit"),
        ({"time_limit": float("nan")}, "time_limit"),
        ({"flags": 1 << 20}, "flags"),
        ({"name": ""}, "name"),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(MisuseError, match=named):
        RegexEvaluator(**arguments)


def test_flags_mean_what_they_mean_in_the_standard_library() -> None:
    assert RegexEvaluator(required=["^b"], flags=re.MULTILINE).evaluate("a\nb").passed
    assert not RegexEvaluator(required=[r"^\w$"], flags=re.ASCII).evaluate("é").passed
    assert RegexEvaluator(required=[r"^\w$"], flags=0).evaluate("é").passed


def test_it_pickles_and_compares_by_its_arguments() -> None:
    evaluator = RegexEvaluator(required=["x"], forbidden=["y"])
    copy = pickle.loads(pickle.dumps(evaluator))
    assert copy == evaluator
    assert copy.evaluate("x").passed
    assert "required=('x',)" in repr(copy)
