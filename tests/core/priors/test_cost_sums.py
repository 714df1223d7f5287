"""The power sums of costs add up in any order, keep their size, and fade."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm import AdaptivePriors, CallObservation, Usage
from loopllm.priors.cost_sums import KEPT_ERAS, add_call, empty_row, faded_rows, fold_rows, totals
from loopllm.priors.learning import costs_of
from loopllm.priors.observation import RoundObservation
from loopllm.priors.statistics import Statistics

# Halves add exactly, so that the laws can be checked with ==.
AMOUNT = st.one_of(st.none(), st.integers(0, 8).map(lambda n: n / 2))
WAY = st.sampled_from(["first", "last", "my/own way"])
CALL = st.tuples(st.integers(0, 3), WAY, st.integers(0, 4), AMOUNT, AMOUNT, AMOUNT)


@st.composite
def statistics(draw):
    made = Statistics()
    for era, way, k, money, ms, tokens in draw(st.lists(CALL, max_size=6)):
        add_call(made.cost_row(era, way), k, money, ms, tokens)
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
def test_nothing_is_the_identity_and_counters_read_back_are_the_same(a):
    assert merged(a, Statistics()) == a == merged(Statistics(), a)
    assert Statistics.from_counters(a.counters()) == a


def test_counters_of_a_newer_version_are_kept():
    counters = {"c/1/money/x/last": 0.5, "c/1/joules/x/last": 3.0}
    assert Statistics.from_counters(counters).counters() == counters


@given(st.lists(st.tuples(AMOUNT, AMOUNT), min_size=1, max_size=6))
def test_a_run_teaches_what_its_rounds_teach(paid):
    scores, actions = [0.5] * len(paid), ["fresh"] * (len(paid) - 1)
    usages = [Usage(3, 2, cost) for cost, _ in paid]
    latencies = [ms or 0.5 for _, ms in paid]
    whole = costs_of(
        CallObservation(
            "t", "m", scores, latencies, actions=actions, usages=usages, evaluations_ms=[1.5] * len(paid)
        )
    )
    rounds = Statistics()
    for k in range(1, len(paid) + 1):
        seen = RoundObservation(
            "t", "m", scores[:k], actions[: k - 1], latencies[k - 1], usages[k - 1], evaluation_ms=1.5
        )
        for way, row in costs_of(seen).items():
            rounds.merge(_only(way, row))
    assert whole == totals(rounds.costs)


def _only(way, row):
    made = Statistics()
    made.costs[1, way] = row
    return made


def test_who_waits_for_a_call_waits_for_its_verdict_too():
    seen = CallObservation("t", "m", [0.5], latencies_ms=[100.0], evaluations_ms=[30.0])
    assert costs_of(seen)["first"][6:10] == [1.0, 0.0, 0.0, 130.0]


def eras(*amounts):
    rows = {}
    for era, amount in enumerate(amounts, start=1):
        add_call(rows.setdefault((era, "last"), empty_row()), 0, amount, None, None)
    return rows


def test_folding_changes_no_sum_and_keeps_few_eras():
    made = Statistics()
    made.costs = eras(*range(1, 10))
    before = totals(made.costs)
    fold = Statistics()
    fold.costs = fold_rows(made.costs, 9)
    made.merge(fold)
    assert {era for era, _ in made.costs} == {0, *range(10 - KEPT_ERAS, 10)}
    assert totals(made.costs) == before


def test_a_cost_fades_ten_times_as_fast_as_an_outcome():
    weights = faded_rows(eras(1.0, 1.0), 2, half_life=400.0)["last"][0]
    assert weights == pytest.approx(1.0 + 0.5)
    assert faded_rows(eras(1.0, 1.0), 2, half_life=float("inf"))["last"][0] == 2.0


def test_the_statistics_of_a_pair_stay_of_bounded_size():
    priors = AdaptivePriors()
    usages, ways = [Usage(10, 5, 0.001)] * 4, ["last", "fresh", "best"]

    def size_after(runs):
        for _ in range(runs):
            priors.observe(CallObservation("t", "m", [0.5] * 4, [10.0] * 4, actions=ways, usages=usages))
        return len([name for name in priors._pair("t", "m").counters() if name.startswith("c/")])

    size_after(300)
    most = max(size_after(10) for _ in range(8))
    assert max(size_after(10) for _ in range(40)) <= most


def test_what_an_older_version_stored_still_loads():
    old = {
        "s/runs": 3.0, "s/ended": 3.0, "s/calls": 6.0, "s/ms/n": 6.0, "s/ms/sum": 600.0, "s/ms/square": 60000.0,
        "s/tokens/n": 6.0, "s/tokens/sum": 90.0, "s/tokens/square": 1350.0, "s/money/n": 6.0, "s/money/sum": 0.06,
        "d/1/n": 3.0, "d/1/score": 0.9, "d/1/best": 0.9, "t/1/40/0/last": 3.0,
    }  # fmt: skip
    priors = AdaptivePriors()
    priors._known[priors._keys("t", "m")[0]] = Statistics.from_counters(old)
    report = priors.report("t", "m")
    assert (report.total_calls, report.mean_latency_ms, report.call_costs) == (3, 100.0, {})
