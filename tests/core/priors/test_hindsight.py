import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopllm.adaptive_priors import AdaptivePriors
from loopllm.priors import CallObservation, Statistics
from loopllm.priors.hindsight import learn_hindsight, look_back, saved_report


def stuck(call_cost=0.05, ways=None):
    """A policy that has learned that nothing is gained after call 2, and would stop there."""
    priors = AdaptivePriors()
    for _ in range(60):
        priors.observe(CallObservation("t", "m", [0.2, 0.6, 0.6, 0.6, 0.6], actions=["fresh"] * 4))
    return priors.policy(
        "t", "m", objective="quality", call_cost=call_cost, max_iterations=5, ways=ways, acts=False
    )


def test_a_run_that_went_on_too_long_shows_what_is_saved_and_lost():
    seen = look_back(stuck(), [0.2, 0.6, 0.6, 0.65, 0.6])
    assert seen.stop == 2
    assert seen.calls_saved == (3.0, 3.0)
    assert seen.value_lost == pytest.approx(0.05)
    assert seen.net_gain[0] == seen.net_gain[1] == pytest.approx(3 * 0.05 - 0.05)


def test_a_run_that_ended_first_is_unknown_and_no_run_without_savings():
    seen = look_back(stuck(), [0.2])
    assert (seen.stop, seen.unknown_since) == (None, "ended")
    least, most = seen.calls_saved
    assert (least, most) == (-4.0, 0.0)  # nothing changes, or all that is left is called
    assert seen.net_gain[0] == pytest.approx(-4 * 0.05)
    assert seen.net_gain[1] == pytest.approx(0.8 - 0.05)


def test_a_run_that_would_have_been_asked_otherwise_is_unknown_from_there_on():
    policy = stuck(ways=("last", "fresh"), call_cost=0.2)
    assert policy.acting().decide([0.2]).move == "fresh"
    asked_alike = look_back(policy, [0.2, 0.6, 0.6], ["fresh", "fresh"])
    assert asked_alike.stop == 2
    otherwise = look_back(policy, [0.2, 0.6, 0.6], ["last", "last"])
    assert (otherwise.stop, otherwise.unknown_since) == (None, "asked")
    assert otherwise.calls_saved == (-2.0, 1.0)


def test_nothing_is_saved_before_the_first_call_at_which_the_rule_is_asked():
    assert look_back(stuck(), [0.2, 0.6, 0.6, 0.6, 0.6], first=4).stop == 4


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0.0, 1.0), min_size=5, max_size=5), st.integers(1, 5))
def test_the_bounds_of_a_run_hold_what_acting_would_really_have_done(scores, ended):
    policy = stuck()
    whole = look_back(policy, scores)
    assert whole.stop is not None  # the budget is used at call 5
    seen = look_back(policy, scores[:ended])
    truth = float(ended - whole.stop)  # the rule alone, on the calls that were never seen
    assert seen.calls_saved[0] - 1e-9 <= truth <= seen.calls_saved[1] + 1e-9
    lost = max(scores[:ended]) - max(scores[: whole.stop])
    assert seen.net_gain[0] - 1e-9 <= 0.05 * truth - lost <= seen.net_gain[1] + 1e-9


def reported(policy, runs):
    statistics = Statistics()
    for scores in runs:
        learn_hindsight(statistics, look_back(policy, scores))
    report = saved_report(statistics)
    assert report is not None
    return report


def test_known_and_unknown_runs_are_told_apart_and_both_are_counted():
    report = reported(stuck(), [[0.2, 0.6, 0.6, 0.6]] * 30 + [[0.2]] * 10)
    assert (report.runs, report.unknown, report.ended_first, report.asked_otherwise) == (30, 10, 10, 0)
    assert report.calls_saved[0] == pytest.approx(2.0)
    assert report.calls_made == pytest.approx(3.25)
    low, high = report.calls_saved_bounds
    assert low <= (30 * 2 - 10 * 4) / 40 < 30 * 2 / 40 <= high
    assert "10 runs are unknown (10 ended first, 0 would have been asked in another way)" in "\n".join(
        report.sentences()
    )


def test_with_no_known_run_nothing_is_claimed_but_bounds():
    report = reported(stuck(), [[0.2]] * 5)
    assert report.runs == 0
    assert "acting would have saved" not in "\n".join(report.sentences())
    assert report.calls_saved_bounds[0] < 0.0 <= report.calls_saved_bounds[1]


def test_the_interval_of_what_is_saved_keeps_its_promise_for_small_samples():
    policy, draw, inside = stuck(), random.Random(3), 0
    kinds = ([0.2, 0.6, 0.6, 0.6, 0.6], [0.2, 0.6], [0.2, 0.6, 0.6])
    weights = (0.2, 0.5, 0.3)
    truth = 0.2 * 3 + 0.3 * 1
    for _ in range(200):
        _, low, high = reported(policy, draw.choices(kinds, weights, k=8)).calls_saved
        inside += low <= truth <= high
    assert inside / 200 >= 0.72


def test_when_no_run_was_only_observed_nothing_is_reported():
    assert saved_report(Statistics()) is None
