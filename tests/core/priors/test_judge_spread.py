"""How much a judge's scores vary: pooled over drafts, additive, shrunk while little was seen."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.adaptive_priors import AdaptivePriors
from loopllm.errors import MisuseError
from loopllm.priors.chi_square import chi_square_cdf, chi_square_quantile
from loopllm.priors.judge_spread import USUAL_SD, JudgeSpread
from loopllm.priors.observation import CallObservation
from loopllm.stores.memory import MemoryStore

DRAFTS = st.lists(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4), max_size=6)


@given(st.floats(0.01, 0.99), st.floats(1.0, 200.0))
def test_a_quantile_is_exceeded_as_often_as_it_says(q: float, freedom: float) -> None:
    assert chi_square_cdf(chi_square_quantile(q, freedom), freedom) == pytest.approx(q, abs=1e-6)


@given(DRAFTS, DRAFTS)
def test_pooling_is_adding(one: Any, two: Any) -> None:
    together, pooled = JudgeSpread.of([*one, *two]), JudgeSpread.of(one) + JudgeSpread.of(two)
    assert together.repeats == pooled.repeats
    assert together.squares == pytest.approx(pooled.squares)


def test_the_interval_holds_the_spread_in_eight_of_ten_measurements() -> None:
    rng, held = random.Random(3), 0
    for _ in range(400):
        drafts = [[quality + rng.gauss(0.0, 0.06) for _ in range(2)] for quality in (0.2, 0.5, 0.6, 0.9)]
        low, high = JudgeSpread.of(drafts).interval
        held += low < 0.06 < high
    assert 0.75 < held / 400 < 0.85


def test_a_spread_is_shrunk_to_the_usual_one_and_less_the_more_was_seen() -> None:
    few, many = JudgeSpread(5.0, 5 * 0.2**2), JudgeSpread(500.0, 500 * 0.2**2)
    assert JudgeSpread().shrunk == USUAL_SD
    assert USUAL_SD < few.shrunk < many.shrunk < 0.2


def test_nothing_is_said_of_a_judge_that_was_never_asked_twice() -> None:
    with pytest.raises(MisuseError, match="judged twice"):
        _ = JudgeSpread.of([[0.4], [0.6]]).sd
    assert JudgeSpread().learned is None


def seen(model: str = "m", pair: tuple[float, float] = (0.5, 0.7)) -> CallObservation:
    return CallObservation("essay", model, [pair[0], 0.6], judgements=[pair])


def test_repeats_are_learned_for_the_task_whatever_the_model() -> None:
    priors = AdaptivePriors(store=MemoryStore())
    for model in ("one", "two") * 4:
        priors.observe(seen(model))
    spread = priors.judge_spread("essay", "three")
    assert spread.repeats == 8
    assert spread.sd == pytest.approx(0.2 / 2**0.5)
    assert priors.judge_spread("poem", "one").repeats == 0


def test_repeats_do_not_change_what_is_learned_of_transitions() -> None:
    with_repeats, without = AdaptivePriors(), AdaptivePriors()
    with_repeats.observe(seen())
    without.observe(CallObservation("essay", "m", [0.5, 0.6]))
    told = [priors._pair("essay", "m").counters() for priors in (with_repeats, without)]
    assert {name: n for name, n in told[0].items() if not name.startswith("s/judge")} == told[1]


def test_the_rule_goes_by_repeats_once_there_are_enough() -> None:
    exact, wild, silent = AdaptivePriors(), AdaptivePriors(), AdaptivePriors()
    for _ in range(6):
        exact.observe(seen(pair=(0.5, 0.5)))
        wild.observe(seen(pair=(0.5, 0.9)))
        silent.observe(CallObservation("essay", "m", [0.5, 0.6]))

    def value(priors: AdaptivePriors, judge_sd: float | None = None) -> float:
        policy = priors.policy("essay", "m", objective="quality", judge_sd=judge_sd)
        return policy.worth(policy.decide([0.5, 0.9])._state.cell, 0.9)

    assert value(exact) == value(exact, 0.0) == 0.9
    assert value(wild) < value(silent) <= 0.9


def test_an_impossible_judgement_is_refused() -> None:
    with pytest.raises(MisuseError, match="must be a number"):
        seen(pair=(0.5, 1.5))
