import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.priors.learning import events_of, learn_end, learn_round, learn_run
from loopllm.priors.observation import CallObservation, RoundObservation
from loopllm.priors.statistics import Statistics

# Halves add exactly, so that the laws can be checked with ==.
HALVES = st.integers(-8, 8).map(lambda n: n / 2)
NAMES = st.sampled_from(["s/runs", "s/calls", "d/2/best", "s/threshold/0.8"])
TRANSITIONS = st.tuples(
    st.integers(0, 3),
    st.sampled_from(["last", "fresh", "my/own way"]),
    st.integers(0, 559),
    st.integers(0, 11),
    HALVES,
)


@st.composite
def statistics(draw):
    made = Statistics()
    for name, value in draw(st.lists(st.tuples(NAMES, HALVES), max_size=6)):
        made.bump(name, value)
    for entry in draw(st.lists(TRANSITIONS, max_size=6)):
        made.transition(*entry)
    return made


def merged(*parts):
    total = Statistics()
    for part in parts:
        total.merge(part)
    return total


@given(statistics(), statistics(), statistics())
def test_merging_is_associative_and_commutative(a, b, c):
    assert merged(merged(a, b), c) == merged(a, merged(b, c)) == merged(c, b, a)


@given(statistics())
def test_the_empty_statistics_are_the_identity_of_merging(a):
    assert merged(a, Statistics()) == a == merged(Statistics(), a)


@given(statistics(), statistics())
def test_merging_statistics_is_adding_their_counters(a, b):
    added = dict(a.counters())
    for name, value in b.counters().items():
        added[name] = added.get(name, 0.0) + value
    assert Statistics.from_counters(added) == merged(a, b)


@given(statistics())
def test_counters_read_back_are_the_same_statistics(a):
    assert Statistics.from_counters(a.counters()) == a


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=8))
def test_a_run_teaches_the_sum_of_its_rounds_and_its_end(scores):
    whole, by_round = Statistics(), Statistics()
    run = CallObservation("t", "m", scores, actions=["fresh"] * (len(scores) - 1))
    learn_run(whole, 1, events_of(run.scores, run.actions), run)
    learn_end(whole, run)
    for k in range(1, len(scores) + 1):
        seen = RoundObservation("t", "m", scores[:k], actions=["fresh"] * (k - 1))
        learn_round(by_round, 1, events_of(seen.scores, seen.actions)[-1:], seen)
    learn_end(by_round, run)
    assert whole == by_round


def test_the_statistics_of_a_pair_are_of_bounded_size():
    made = Statistics()
    for n in range(400):
        scores = [((7 * n + 3 * k) % 11) / 10 for k in range(1 + n % 9)]
        run = CallObservation("t", "m", scores)
        learn_run(made, 1, events_of(scores, ()), run)
        learn_end(made, run)
    before = len(made.counters())
    for n in range(400):
        scores = [((7 * n + 3 * k) % 11) / 10 for k in range(1 + n % 9)]
        learn_run(made, 1, events_of(scores, ()), CallObservation("t", "m", scores))
    assert len(made.counters()) == before


@given(st.lists(st.lists(st.sampled_from([0.0, 0.3, 0.7, 1.0]), min_size=1, max_size=6), max_size=6))
def test_every_call_after_the_first_counts_exactly_once(runs):
    made = Statistics()
    for scores in runs:
        learn_run(made, 1, events_of(scores, ()), CallObservation("t", "m", scores))
    counted = sum(count for table in made.layers.values() for _, _, count in table.items())
    assert counted == sum(len(scores) - 1 for scores in runs)
    assert made.runs == len(runs)


@pytest.mark.parametrize(
    "name",
    ["t/0/8/12/last", "t/0/640/11/last", "t/0/-1/3/last", "t/new/8/11/last", "t/0/8/11", "f/0/21", "f/new/3",
     "f/0/-1", "c", "c/0", "c/0/money/n", "c/new/money/n/last", "c/0/joules/n/last"],
)  # fmt: skip
def test_a_counter_that_this_version_has_no_place_for_is_kept_as_it_came(name):
    counters = {"s/runs": 3.0, "t/0/8/11/last": 2.0, name: 4.0}
    read = Statistics.from_counters(counters)
    assert read.counters() == counters
    assert {layer: table.size for layer, table in read.layers.items()} == {(0, "last"): 2.0}
    assert not read.firsts
    assert not read.costs
