"""How the generations of a pair fade."""

import pytest

from loopllm.priors.forgetting import KEPT, OLDEST, constancy, faded, fading, first_scores, folding
from loopllm.priors.statistics import Statistics

CELL, NO, YES, BIN = 40, 0, 11, 3


def lived(generations):
    made = Statistics()
    for generation in generations:
        made.transition(generation, "last", CELL, YES, 4.0)
        made.transition(generation, "last", CELL, NO, 6.0)
        made.first_score(generation, BIN, 10.0)
    return made


def test_without_weights_all_counts():
    steady = lived(range(1, 9))
    assert faded(steady).total(CELL) == 80.0
    assert first_scores(steady)[BIN] == 80.0


def test_trust_and_age_weigh_transitions_and_first_scores_alike():
    weights = fading(21.0, 20.0, {1: 0.5, 2: 1.0, 3: 1.0})
    assert weights == pytest.approx({1: 0.25, 2: 0.5**0.5, 3: 1.0})
    steady = lived((1, 2, 3))
    assert faded(steady, weights).total(CELL) == pytest.approx(10.0 * sum(weights.values()))
    assert first_scores(steady, weights)[BIN] == pytest.approx(10.0 * sum(weights.values()))


def test_the_oldest_generation_is_older_than_all_that_are_kept_apart():
    weights = fading(10.0 * (KEPT + 5), 100.0, dict.fromkeys((OLDEST, 5, 6), 1.0))
    assert weights[OLDEST] < weights[5] < weights[6]


def test_only_the_ways_that_are_asked_for_are_read():
    both = lived((1,))
    both.transition(1, "fresh", CELL, YES)
    assert faded(both, None, ["fresh"]).total(CELL) == 1.0


def test_a_process_is_as_constant_as_its_least_believed_generation():
    assert constancy({1: 0.25, 2: 1.0}) == 0.25
    assert constancy({}) == 1.0


def test_folding_moves_what_is_old_and_changes_no_sum():
    old = lived(range(1, KEPT + 4))
    old.merge(folding(old, KEPT + 3))
    assert {g for g, _ in old.layers} == set(old.firsts) == {OLDEST, *range(4, KEPT + 4)}
    assert faded(old).total(CELL) == first_scores(old)[BIN] == 10.0 * (KEPT + 3)


def test_folding_twice_at_once_heals_at_the_next_reading():
    one = lived(range(1, KEPT + 2))
    fold = folding(one, KEPT + 1)
    one.merge(fold)
    one.merge(fold)  # another process did the same
    assert faded(one).total(CELL) == first_scores(one)[BIN] == 10.0 * (KEPT + 1)
