"""What a pair's own runs say, and how far back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopllm.priors.beliefs import start_weights
from loopllm.priors.first_scores import first_bin
from loopllm.priors.forgetting import GENERATION, generation_of
from loopllm.priors.learning import events_of, learn_events
from loopllm.priors.own_runs import OwnRunsReader
from loopllm.priors.statistics import Statistics
from loopllm.shipped_prior import shipped_arithmetic

ARITHMETIC = shipped_arithmetic()
START = start_weights(ARITHMETIC.archetypes, None)

runs_of_scores = st.lists(st.lists(st.sampled_from([0.2, 0.5, 0.9]), min_size=1, max_size=3), max_size=35)


def learn(pair, runs):
    for scores in runs:
        pair.bump("s/runs")
        generation = generation_of(pair.runs)
        pair.first_score(generation, first_bin(scores[0]))
        learn_events(pair, generation, events_of(scores, []))


def read(*runs, half_life=400.0):
    pair = Statistics()
    learn(pair, [scores for some in runs for scores in some])
    return OwnRunsReader(ARITHMETIC, half_life).read("pair", pair, START)


def test_of_a_steady_process_all_is_believed():
    steady = read(80 * [[0.3, 0.6, 0.9]], half_life=1e9)
    assert steady.constancy > 0.95
    assert steady.counts.size == pytest.approx(160.0, rel=0.05)


def test_after_a_change_of_what_a_call_gains_the_past_is_hardly_believed():
    changed = read(80 * [[0.3, 0.9]], 30 * [[0.3, 0.3]])
    assert changed.constancy < 0.05
    assert changed.counts.size == pytest.approx(30.0, rel=0.1)


def test_a_change_shows_in_first_drafts_where_no_run_goes_on():
    changed = read(60 * [[0.9]], 30 * [[0.1]])
    assert changed.constancy < 0.05
    assert changed.first_scores[first_bin(0.9)] < 1.0


def test_a_change_is_still_known_long_after():
    changed = read(40 * [[0.3, 0.9]], 15 * GENERATION * [[0.3, 0.3]])
    assert changed.constancy < 0.05


def test_what_was_before_a_change_does_not_say_which_kind_of_loop_it_is():
    before, after = 80 * [[0.0, 0.0, 1.0]], 40 * [[0.4, 0.7, 0.9]]
    changed, alone = read(before, after).weights(START), read(after).weights(START)
    assert sum(abs(a - b) for a, b in zip(changed, alone, strict=True)) < 0.1


def test_nothing_is_forgotten_with_an_infinite_half_life():
    assert read(80 * [[0.3, 0.9]], 20 * [[0.3, 0.3]], half_life=float("inf")).counts.size == 100.0


def test_a_half_life_halves_what_runs_count():
    steady = read(3 * GENERATION * [[0.3, 0.6]], half_life=2.0 * GENERATION)
    assert steady.counts.size == pytest.approx(GENERATION * (1.0 + 2**-0.5 + 0.5), rel=0.02)


@settings(max_examples=15, deadline=None)
@given(runs_of_scores, runs_of_scores)
def test_what_was_heard_before_changes_nothing(earlier, later):
    pair, reader = Statistics(), OwnRunsReader(ARITHMETIC, 400.0)
    learn(pair, earlier)
    reader.read("pair", pair, START)
    learn(pair, later)
    assert reader.read("pair", pair, START) == OwnRunsReader(ARITHMETIC, 400.0).read("pair", pair, START)
