"""Whether older runs may still be believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.priors.change import belief_in_generations

EVEN = [0.5, 0.5]
ONE, OTHER = [0.0, -30.0], [-30.0, 0.0]

log_likelihoods = st.lists(st.floats(-200.0, 0.0), min_size=3, max_size=3)
weights = st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3)


def test_one_generation_alone_is_believed():
    assert belief_in_generations({4: ONE}, EVEN) == {4: 1.0}


def test_nothing_seen_is_nothing_doubted():
    assert belief_in_generations({}, EVEN) == {}


def test_a_steady_process_keeps_its_past():
    assert min(belief_in_generations(dict.fromkeys(range(9), ONE), EVEN).values()) > 0.95


def test_only_what_came_before_a_change_is_doubted():
    told = {**dict.fromkeys(range(5), ONE), **dict.fromkeys(range(5, 8), OTHER)}
    belief = belief_in_generations(told, EVEN)
    assert max(belief[age] for age in range(5)) < 0.01
    assert min(belief[age] for age in range(5, 8)) > 0.99


def test_a_change_is_noticed_however_long_ago_it_was():
    told = {0: ONE, **dict.fromkeys(range(1, 20), OTHER)}
    assert belief_in_generations(told, EVEN)[0] < 0.01


def test_a_kind_that_is_ruled_out_explains_nothing():
    told = {1: ONE, 2: OTHER}
    assert belief_in_generations(told, [1.0, 0.0])[1] == pytest.approx(1.0, abs=0.01)


@given(st.dictionaries(st.integers(0, 20), log_likelihoods, max_size=8), weights)
def test_later_generations_are_believed_no_less(told, prior):
    beliefs = [belief for _, belief in sorted(belief_in_generations(told, prior).items())]
    assert beliefs == sorted(beliefs)
    assert all(0.0 <= belief <= 1.0 for belief in beliefs)
    assert beliefs[-1:] in ([], [1.0])
