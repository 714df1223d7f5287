from hypothesis import given
from hypothesis import strategies as st

from loopllm.priors.run_state import (
    CELLS,
    FIRST_GAIN,
    MOMENTA,
    OUTCOMES,
    advance,
    outcome_of,
    split_cell,
    start,
    state_of,
    transitions,
)

SCORES = st.lists(st.floats(0.0, 1.0) | st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=12)


@given(SCORES)
def test_stepping_call_by_call_and_reading_a_whole_run_agree(scores):
    state = start(scores[0])
    for score in scores[1:]:
        state = advance(state, score)
    assert state == state_of(scores)


@given(SCORES)
def test_every_call_after_the_first_is_one_transition_from_the_cell_before_it(scores):
    seen = list(transitions(scores))
    assert [cell for cell, _ in seen] == [state_of(scores[:k]).cell for k in range(1, len(scores))]
    assert all(0 <= cell < CELLS and 0 <= outcome < len(OUTCOMES) for cell, outcome in seen)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_an_outcome_is_a_gain_exactly_when_the_score_is_a_new_best(best, score):
    assert (outcome_of(best, score) >= FIRST_GAIN) == (score > best)


def test_the_first_call_is_depth_one():
    assert split_cell(state_of([0.4]).cell) == (0, 2, 0)
    assert state_of([0.4]).depth == 1


def test_momentum_remembers_how_long_and_how_far_a_run_has_stalled():
    assert MOMENTA[state_of([0.5, 0.5, 0.5]).momentum] == "2 equal"
    assert MOMENTA[state_of([0.5, 0.5, 0.5, 0.5, 0.2]).momentum] == "3+ far lower, 1+ near"
    assert MOMENTA[state_of([0.5, 0.1, 0.3, 0.2]).momentum] == "3+ far lower"
    assert MOMENTA[state_of([0.5, 0.2, 0.6]).momentum] == "gain"
