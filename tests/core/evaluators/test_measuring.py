"""A judge is measured by its repeats, and what evaluators state of themselves reaches whoever asks."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from loopllm.errors import MisuseError
from loopllm.evaluators import (
    CompositeEvaluator,
    JSONSchemaEvaluator,
    LengthEvaluator,
    RegexEvaluator,
    ThresholdEvaluator,
    ameasure_judge,
    as_evaluator,
    measure_judge,
)


def noisy(sd: float, seed: int = 1) -> Callable[[str], float]:
    rng = random.Random(seed)
    return lambda output: min(1.0, max(0.0, len(output) / 20 + rng.gauss(0.0, sd)))


class Stating:
    test_retest_sd = 0.06

    def evaluate(self, output: Any, context: Any = None) -> float:
        return 0.5


def test_the_measured_spread_is_that_of_the_judge_whatever_the_drafts_are_worth() -> None:
    drafts = ["x" * length for length in range(6, 15)] * 10
    spread = measure_judge(noisy(0.05), drafts, times=3)
    assert spread.repeats == 180
    assert spread.interval[0] < 0.05 < spread.interval[1]
    assert spread.sd == pytest.approx(0.05, rel=0.1)


def test_a_judge_that_never_varies_is_measured_as_exact() -> None:
    assert measure_judge(LengthEvaluator(max_words=3), ["a", "a b c d", "a b c d e"], times=3).shrunk == 0.0


async def test_a_judge_that_can_only_be_awaited_is_measured_too() -> None:
    sync = noisy(0.05)

    async def judge(output: str) -> float:
        return sync(output)

    assert (await ameasure_judge(judge, ["x" * 9] * 10, times=2)).repeats == 10


@pytest.mark.parametrize(("outputs", "times"), [([], 2), (["x"], 1), ("text", 2)])
def test_what_cannot_tell_a_spread_is_refused(outputs: Any, times: int) -> None:
    with pytest.raises(MisuseError, match=r"outputs must|times must"):
        measure_judge(noisy(0.1), outputs, times)


def test_deterministic_evaluators_state_that_they_never_vary() -> None:
    for evaluator in (LengthEvaluator(), RegexEvaluator(required="x"), JSONSchemaEvaluator(["name"])):
        assert as_evaluator(evaluator).test_retest_sd == 0.0


def test_a_plain_callable_states_nothing_and_an_evaluator_what_it_says() -> None:
    assert as_evaluator(lambda output: 0.5).test_retest_sd is None
    assert as_evaluator(Stating()).test_retest_sd == 0.06
    assert as_evaluator(as_evaluator(Stating()), "renamed").test_retest_sd == 0.06
    assert ThresholdEvaluator(Stating()).test_retest_sd == 0.06
    assert ThresholdEvaluator(lambda output: 0.5).test_retest_sd is None


def test_a_composite_varies_as_the_weighted_sum_of_its_parts() -> None:
    assert CompositeEvaluator([Stating(), LengthEvaluator()], [3, 1]).test_retest_sd == pytest.approx(0.045)
    assert CompositeEvaluator([Stating(), Stating()]).test_retest_sd == pytest.approx(0.06 / 2**0.5)
    assert CompositeEvaluator([Stating(), lambda output: 0.5]).test_retest_sd is None
    assert CompositeEvaluator([Stating(), lambda output: 0.5], [1, 0]).test_retest_sd == pytest.approx(0.06)


def test_a_spread_that_no_score_can_have_is_refused() -> None:
    class Wrong(Stating):
        test_retest_sd = 7.0

    with pytest.raises(MisuseError, match="test_retest_sd must be a number from 0 to 1"):
        as_evaluator(Wrong())
