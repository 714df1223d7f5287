import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopllm.adaptive_exit import BayesianExitCondition
from loopllm.adaptive_priors import AdaptivePriors
from loopllm.priors import CallObservation
from loopllm.priors.evidence import Evidence
from loopllm.priors.objective import Objective
from loopllm.priors.score_grid import score_grid
from loopllm.results import Usage

SENTENCE = re.compile(
    r"^(stopped|goes on|goes on in order to learn): another call(, asked for with '\w+',)? is expected to gain "
    r"\d\.\d{3} \(80 % interval -?\d\.\d{2,3} to \d\.\d{2,3}\), costs 0\.05"
)


def taught(**counts):
    """Priors with some runs of the pair itself, of its task, of its model and of others."""
    priors = AdaptivePriors()
    pairs = {"own": ("t", "m"), "task": ("t", "x"), "model": ("x", "m"), "others": ("x", "x")}
    for kind, count in counts.items():
        for _ in range(count):
            priors.observe(CallObservation(*pairs[kind], [0.5, 0.5, 0.5]))
    return priors


def test_the_sentence_says_what_was_expected_at_what_cost_from_how_many_runs():
    message = taught(own=50).policy("t", "m").decide([0.5, 0.5]).message
    assert SENTENCE.match(message)
    assert message.startswith("stopped")
    assert message.endswith("; 50 runs of 1 kind behind this")


def test_runs_are_told_apart_by_how_near_they_are():
    decision = taught(own=5, task=7, model=11, others=13).policy("t", "m").decide([0.5])
    assert decision.evidence == Evidence(5, 7, 11, 13)
    assert decision.message.endswith(
        "; 36 runs of 4 kinds behind this (5 of its own, 7 of the task, 11 of the model, 13 of others)"
    )


def test_only_kinds_of_which_there_are_runs_are_counted():
    assert (
        "; 18 runs of 2 kinds behind this" in taught(own=5, others=13).policy("t", "m").decide([0.5]).message
    )
    assert "; 0 runs behind this, only the prior" in AdaptivePriors().policy("t", "m").decide([0.5]).message


def test_with_several_ways_the_sentence_names_the_one_that_would_have_been_used():
    priors = AdaptivePriors()
    for _ in range(30):
        priors.observe(CallObservation("t", "m", [0.2, 0.2], actions=["last"]))
        priors.observe(CallObservation("t", "m", [0.2, 0.3], actions=["fresh"]))
    stopped = priors.policy("t", "m", ways=("last", "fresh"), objective="quality", call_cost=0.5).decide(
        [0.2]
    )
    assert stopped.stop
    assert stopped.way == "fresh"
    assert "another call, asked for with 'fresh', is expected" in stopped.message
    going = priors.policy("t", "m", ways=("last", "fresh"), objective="quality", call_cost=0.05).decide([0.2])
    assert going.move == going.way == "fresh"
    assert "asked for" not in priors.policy("t", "m").decide([0.2]).message


def test_going_on_for_what_later_calls_may_bring_is_said():
    priors = AdaptivePriors()
    for _ in range(40):
        priors.observe(CallObservation("t", "m", [0.0, 0.0, 1.0]))
    decision = priors.policy("t", "m").decide([0.0])
    assert decision.expected_gain < decision.call_cost
    assert f"with the calls that may follow is worth {decision.advantage:.3f} more" in decision.message


def test_a_run_that_has_made_all_its_calls_says_so():
    assert (
        "and all 3 calls are made"
        in taught(own=9).policy("t", "m", max_iterations=3).decide([0.5] * 3).message
    )


def test_priors_that_only_observe_say_what_acting_would_have_done():
    policy = taught(own=50).policy("t", "m", acts=False)
    decision = policy.decide([0.5, 0.5])
    assert not decision.stop
    assert decision.message.startswith(
        "goes on, as the priors only observe; acting would have stopped: another"
    )


def test_a_demanded_probability_is_named_when_it_ends_the_run():
    rule = BayesianExitCondition(
        AdaptivePriors(), "t", "m", call_cost=0.0, continue_probability_threshold=0.99
    )
    reason = rule.should_exit(1, 0.2, [0.2])
    assert reason is not None
    assert "below the 0.99 asked for" in reason.message
    assert "costs 0" in reason.message
    assert "runs behind this" in reason.message


some_runs = st.lists(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5), max_size=8)
goals = st.sampled_from(["quality", "threshold"])


def decided(runs, scores, objective):
    priors = AdaptivePriors()
    for seen in runs:
        priors.observe(CallObservation("t", "m", seen))
    return priors.policy("t", "m", objective=objective).decide(scores)


@settings(deadline=None, max_examples=50)
@given(some_runs, st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4), goals)
def test_the_interval_holds_the_expected_gain(runs, scores, objective):
    decision = decided(runs, scores, objective)
    low, high = decision.interval
    assert low <= decision.expected_gain <= high


# Between two nodes of its grid the plan takes values to be linear; on them it is exact.
@settings(deadline=None, max_examples=50)
@given(some_runs, st.lists(st.sampled_from(score_grid(0.8).nodes), min_size=1, max_size=4), goals)
def test_a_run_never_stops_though_the_next_call_alone_is_expected_to_pay(runs, scores, objective):
    decision = decided(runs, scores, objective)
    on_a_node = objective == "threshold" or max(scores) in score_grid(None).nodes
    if decision.stop and on_a_node:
        assert decision.expected_gain <= decision.call_cost + 1e-9


def test_the_gain_of_the_next_call_is_the_one_that_the_plan_reckons_with():
    priors = taught(own=8)
    policy = priors.policy("t", "m", objective="quality", max_iterations=2, judge_sd=0.0)
    for best in (0.25, 0.5, 0.75):  # nodes of the grid
        decision = policy.decide([best])
        assert decision.expected_gain - decision.call_cost == pytest.approx(decision.advantage, abs=1e-9)


def test_the_reservation_score_is_where_going_on_and_stopping_are_worth_the_same():
    policy = taught(own=8).policy("t", "m", objective="quality", judge_sd=0.0)
    for depth, momentum in ((1, 0), (2, 6), (3, 9)):
        at = policy.reservation_score(depth, momentum)
        assert 0.0 < at < 1.0
        assert policy.plan.going_on(depth, momentum, at) == pytest.approx(at, abs=1e-9)
        assert policy.plan.going_on(depth, momentum, at - 0.01) > at - 0.01


def test_the_printed_interval_holds_the_printed_gain():
    priors = AdaptivePriors()
    for _ in range(120):
        priors.observe(CallObservation("t", "m", [0.5, 0.505, 0.506]))
    policy = priors.policy("t", "m", objective="quality", call_cost=0.02)
    for best in range(100):
        said = policy.decide([best / 100, best / 100]).message
        gain, low, high = re.findall(r"gain (\S+) \(80 % interval (\S+) to (\S+)\)", said)[0]
        assert float(low) <= float(gain) <= float(high), said


def test_a_run_of_one_call_is_spoken_of_in_the_singular():
    said = AdaptivePriors().policy("t", "m", max_iterations=1).decide([0.3]).message
    assert said.endswith(
        "and the only call is made; 0 runs behind this, only the prior that ships with the package"
    )


def test_large_amounts_are_written_out():
    priors = AdaptivePriors()
    usages = [Usage(1500, 200, cost=971.0), Usage(2500, 200, cost=971.0)]
    priors.observe(CallObservation("t", "m", [0.3, 0.9], usages=usages, latencies_ms=[120e3, 120e3]))
    aim = Objective(value_of_success=25000.0, cost_per_second=1.0, currency="JPY")
    said = priors.policy("t", "m", objective=aim).decide([0.3]).message
    assert re.search(r"worth \d+ JPY, costs \d+ JPY \(\d+ to \d+; \d+ JPY and \d+ s\)", said), said
    costs = priors.report("t", "m").call_costs["last"]
    assert re.search(
        r"\d+ in money \(\d+ to \d+\), \d+ s \(.*\), \d+ tokens \(\d+ to \d+\); 1 call$", str(costs)
    )
