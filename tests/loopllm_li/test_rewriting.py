"""What the rewriter is asked, and what of its answer is a query."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm_li.rewriting import Wording, query_in, same_words


@pytest.mark.parametrize(
    ("answer", "query"),
    [
        ("moon tides", "moon tides"),
        ('Search query: "moon tides"', "moon tides"),
        ("**New search query:** moon tides", "moon tides"),
        ("- moon tides\n- sun tides", "moon tides"),
        ("\n\n  `moon   tides`  \nBecause ...", "moon tides"),
        ("<think>what is a tide?</think>\nmoon tides", "moon tides"),
        ("<think>never ends", ""),
        ("", ""),
        ("\n ?? \n", ""),
        ("C++ templates", "C++ templates"),
    ],
)
def test_the_query_is_the_first_line_that_says_something(answer: Any, query: Any) -> None:
    assert query_in(answer) == query


@given(st.text())
def test_whatever_is_answered_the_query_is_one_line(answer: Any) -> None:
    assert len(query_in(answer).splitlines()) <= 1


def test_an_answer_that_is_too_long_is_no_query() -> None:
    assert Wording(longest=20).read("tide", "x" * 21) is None


def test_expanding_keeps_the_callers_words_in_front() -> None:
    assert Wording(mode="expand").read("why tides", "moon gravity") == "why tides moon gravity"


FEEDBACK = "That answer scored 0.20 out of 1. Problems to fix:\n- no passage mentions: moon\nWrite the complete answer again."


def test_the_prompt_shows_the_question_the_earlier_query_and_its_faults_only() -> None:
    prompt = Wording().ask(1, "why tides", "tides reason", FEEDBACK)
    assert "why tides" in prompt
    assert "tides reason" in prompt
    assert "no passage mentions: moon" in prompt
    assert "answer again" not in prompt


def test_the_callers_own_query_is_not_shown_twice() -> None:
    assert Wording().ask(0, "why tides", "why tides", FEEDBACK).count("why tides") == 1


def test_without_feedback_the_question_stands_alone() -> None:
    assert Wording().ask(0, "why tides", None, None).endswith("Question: why tides\nAnswer:")


def test_each_rewrite_of_a_run_is_asked_for_in_another_way_and_then_from_the_start() -> None:
    asked = [Wording().ask(turn, "why tides", None, None) for turn in range(4)]
    assert len(set(asked)) == 3
    assert asked[3] == asked[0]


@given(st.text())
def test_comparing_queries_ignores_case_spaces_and_outer_punctuation(text: Any) -> None:
    assert same_words(f"  {text.upper()} ") == same_words(text.upper())


def test_queries_of_other_words_differ() -> None:
    assert same_words("moon tides") != same_words("sun tides")
