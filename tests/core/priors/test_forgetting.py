import pytest

from loopllm.priors.change import belief_in_generations
from loopllm.priors.counts import TransitionCounts
from loopllm.priors.forgetting import KEPT, OLDEST, constancy, faded, folding, trust_of
from loopllm.priors.statistics import Statistics

CELL, NO, YES = 40, 0, 11


def lived(generations, *, runs=None):
    made = Statistics()
    for generation, (yes, no) in generations.items():
        made.transition(generation, "last", CELL, YES, yes)
        made.transition(generation, "last", CELL, NO, no)
    made.bump("s/runs", runs if runs is not None else 20 * max(generations))
    return made


def test_a_steady_process_keeps_its_past():
    steady = lived(dict.fromkeys(range(1, 9), (8.0, 12.0)))
    assert constancy(trust_of(steady, 400.0)) > 0.95
    assert faded(steady, 1e9).total(CELL) == pytest.approx(160, rel=0.05)


def test_after_a_change_the_past_is_hardly_believed():
    changed = lived({**dict.fromkeys(range(1, 7), (18.0, 2.0)), 7: (2.0, 18.0), 8: (2.0, 18.0)})
    assert constancy(trust_of(changed, 400.0)) < 0.05
    row = faded(changed, 1e9).cells[CELL]
    assert row[YES] / sum(row) < 0.2


def test_one_generation_alone_is_believed():
    assert belief_in_generations({1: TransitionCounts({CELL: [3.0] + [0.0] * 10 + [1.0]})}) == {1: 1.0}


def test_a_half_life_halves_the_weight_of_old_runs():
    steady = lived(dict.fromkeys((1, 3), (8.0, 12.0)), runs=60)
    assert faded(steady, 40.0).total(CELL) == pytest.approx(20 + 10, rel=0.1)


def test_folding_moves_what_is_old_and_changes_no_sum():
    old = lived(dict.fromkeys(range(1, KEPT + 4), (5.0, 5.0)))
    before = faded(old, float("inf")).total(CELL)
    old.merge(folding(old, KEPT + 3))
    assert {g for g, _ in old.layers} == {OLDEST, *range(4, KEPT + 4)}
    assert faded(old, float("inf")).total(CELL) == pytest.approx(before)


def test_folding_twice_at_once_heals_at_the_next_reading():
    one = lived(dict.fromkeys(range(1, KEPT + 2), (5.0, 5.0)))
    fold = folding(one, KEPT + 1)
    one.merge(fold)
    one.merge(fold)  # another process did the same
    assert faded(one, float("inf")).total(CELL) == pytest.approx(10.0 * (KEPT + 1))
