"""CompositeEvaluator: several evaluators as one."""

import asyncio
import math
import pickle
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.errors import EvaluatorError, MisuseError
from loopllm.evaluators import CompositeEvaluator, JSONSchemaEvaluator, LengthEvaluator, RegexEvaluator
from loopllm.results import EvaluationResult


def saying(score: float, passed: bool | None = None, *problems: str, **parts: float) -> Any:
    return lambda output: EvaluationResult(score, passed, problems, parts)


def test_the_score_is_the_weighted_mean() -> None:
    assert CompositeEvaluator([saying(1.0), saying(0.5)]).evaluate("x").score == 0.75
    assert CompositeEvaluator([saying(1.0), saying(0.5)], weights=[3, 1]).evaluate("x").score == 0.875


@pytest.mark.parametrize("score", [0.35, 0.49, 0.7, 0.95])
def test_children_that_agree_on_a_score_give_that_score(score: float) -> None:
    for number in range(1, 8):
        assert CompositeEvaluator([saying(score)] * number).evaluate("x").score == score


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e6)), min_size=1).filter(
        lambda pairs: sum(w for _, w in pairs) > 0
    )
)
def test_the_score_lies_between_the_lowest_and_the_highest(pairs: list[tuple[float, float]]) -> None:
    scores = [score for score, _ in pairs]
    evaluator = CompositeEvaluator(
        [saying(score) for score in scores], weights=[weight for _, weight in pairs]
    )
    assert min(scores) - 1e-9 <= evaluator.evaluate("x").score <= min(1.0, max(scores) + 1e-9)


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        ((True, True), True),
        ((True, False), False),
        ((None, True), True),
        ((None, False), False),
        ((None, None), None),
    ],
)
def test_passed_says_what_the_children_say(verdicts: tuple[bool | None, ...], together: bool | None) -> None:
    evaluator = CompositeEvaluator([saying(0.5, verdict) for verdict in verdicts])
    assert evaluator.evaluate("x").passed is together


def test_a_child_of_weight_zero_does_not_score_but_can_object() -> None:
    result = CompositeEvaluator([saying(1.0, True), saying(0.0, False, "rude")], weights=[1, 0]).evaluate("x")
    assert (result.score, result.passed, tuple(result.deficiencies)) == (1.0, False, ("rude",))


def test_parts_are_kept_under_the_name_of_the_child() -> None:
    result = CompositeEvaluator([JSONSchemaEvaluator(["a"]), LengthEvaluator(max_chars=5)]).evaluate(
        '{"a": 1}'
    )
    assert result.sub_scores["json_schema.fields_present"] == 1.0
    assert result.sub_scores["length.chars"] == result.sub_scores["length"] < 1


def test_children_of_the_same_name_do_not_overwrite_each_other() -> None:
    evaluator = CompositeEvaluator(
        [
            LengthEvaluator(max_chars=1),
            LengthEvaluator(min_chars=3, name="length_2"),
            LengthEvaluator(),
            LengthEvaluator(name="length.chars"),
        ]
    )
    sub_scores = evaluator.evaluate("xy").sub_scores
    assert set(sub_scores) == {
        f"{child}{part}"
        for child in ("length", "length_2", "length_3", "length_chars")
        for part in ("", ".chars", ".words")
    }
    assert sub_scores["length_2"] == pytest.approx(2 / 3)
    assert sub_scores["length_3"] == 1.0


def test_feedback_without_deficiencies_is_not_lost() -> None:
    judge = lambda output: EvaluationResult(0.5, feedback="Warmer, please.")  # noqa: E731  a judge in one line
    result = CompositeEvaluator([saying(0.5, False, "too short"), judge]).evaluate("x")
    assert result.feedback == "too short; Warmer, please."


@pytest.mark.parametrize(
    "weights",
    [[1], [1, 2, 3], [1, -1], [1, math.nan], [1, math.inf], [0, 0], [1, "2"], [1, True], [1e308, 1e308]],
)
def test_weights_that_do_not_fit_are_refused(weights: Any) -> None:
    with pytest.raises(MisuseError, match="weights"):
        CompositeEvaluator([saying(1.0), saying(1.0)], weights=weights)


@pytest.mark.parametrize("evaluators", [[], "length", None, LengthEvaluator()])
def test_no_evaluators_are_refused(evaluators: Any) -> None:
    with pytest.raises(MisuseError, match="evaluators"):
        CompositeEvaluator(evaluators)


async def test_children_are_asked_concurrently() -> None:
    async_arrived, thread_arrived = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    async def awaiting(output: str) -> float:
        await asyncio.wait_for(async_arrived.wait(), 10)  # set by the other child only
        thread_arrived.set()
        return 1.0

    def blocking(output: str) -> float:
        loop.call_soon_threadsafe(async_arrived.set)
        return 1.0 if thread_arrived.wait(10) else 0.0

    evaluator = CompositeEvaluator([awaiting, blocking, LengthEvaluator()])
    assert (await evaluator.aevaluate("x")).score == 1.0


async def test_a_child_that_raises_cancels_the_others_and_its_error_comes_through() -> None:
    cancelled = asyncio.Event()

    async def waits(output: str) -> float:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return 1.0

    async def raises(output: str) -> float:
        await asyncio.sleep(0)
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        await CompositeEvaluator([waits, raises]).aevaluate("x")
    assert cancelled.is_set()


def test_a_blocking_call_with_an_async_child_is_misuse_before_any_child_is_paid_for() -> None:
    asked: list[str] = []

    async def judge(output: str) -> float:
        return 1.0

    def paid(output: str) -> float:
        asked.append(output)
        return 1.0

    evaluator = CompositeEvaluator([paid, judge])
    with pytest.raises(MisuseError, match=r"'judge' is async.*arefine.*aevaluate"):
        evaluator.evaluate("x")
    assert (asked, evaluator.is_async) == ([], True)


def test_composites_nest() -> None:
    inner = CompositeEvaluator([saying(0.0, False, "a"), saying(1.0)], name="inner")
    result = CompositeEvaluator([inner, saying(1.0)]).evaluate("x")
    assert (result.score, result.passed) == (0.75, False)
    assert result.sub_scores["inner.lambda_2"] == 1.0


def test_a_child_that_gives_no_score_gives_no_score_to_the_whole() -> None:
    with pytest.raises(EvaluatorError):
        CompositeEvaluator([saying(1.0), lambda output: math.nan]).evaluate("x")


def test_only_cheap_children_make_it_cheap() -> None:
    assert CompositeEvaluator([LengthEvaluator(), JSONSchemaEvaluator(["a"])]).inline
    assert not CompositeEvaluator([LengthEvaluator(), RegexEvaluator(required=["a"])]).inline


def test_it_pickles_when_its_children_do() -> None:
    evaluator = CompositeEvaluator(
        [LengthEvaluator(max_words=1), RegexEvaluator(required=["a"])], [1, 3], name="both"
    )
    copy = pickle.loads(pickle.dumps(evaluator))
    assert copy.evaluate("b c") == evaluator.evaluate("b c")
    assert repr(copy) == "CompositeEvaluator([length, regex], weights=[1.0, 3.0], name='both')"
