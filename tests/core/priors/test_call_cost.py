"""One rule weighs money, time and quality."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopllm import AdaptivePriors, BayesianExitCondition, CallObservation, Objective, Usage

SCORES = [0.2, 0.35, 0.45, 0.5, 0.53, 0.55]
"""A run whose gains shrink from call to call."""


def taught(money=0.002, seconds=1.0, runs=25, **priors):
    made = AdaptivePriors(**priors)
    for _ in range(runs):
        made.observe(
            CallObservation(
                "t",
                "m",
                SCORES,
                latencies_ms=[1000.0 * seconds] * len(SCORES),
                usages=[Usage(100, 50, money)] * len(SCORES),
            )
        )
    return made


def depth(priors, objective, **settings):
    """Calls that the rule makes of such a run."""
    policy = priors.policy("t", "m", objective=objective, max_iterations=6, **settings)
    return next(k for k in range(1, 7) if policy.decide(SCORES[:k]).stop)


def worth(value=0.05, **fields):
    return Objective(value_of_quality=value, **fields)


def test_a_dearer_model_stops_earlier():
    depths = [depth(taught(money), worth()) for money in (0.00005, 0.003, 0.02)]
    assert depths[0] > depths[1] > depths[2] == 1


def test_a_slower_model_stops_earlier_when_waiting_costs_and_only_then():
    fast, slow = taught(money=0.0001, seconds=0.5), taught(money=0.0001, seconds=20.0)
    assert depth(slow, worth(cost_per_second=0.001)) < depth(fast, worth(cost_per_second=0.001))
    assert depth(slow, worth()) == depth(fast, worth())


def test_what_is_worth_more_is_tried_for_longer():
    priors = taught(money=0.001)
    depths = [depth(priors, worth(value)) for value in (0.002, 0.02, 10.0)]
    assert depths[0] < depths[1] < depths[2]


def test_an_objective_whose_costs_are_known_decides_as_the_same_plain_number_does():
    priors = taught(money=0.002, runs=60)
    policy = priors.policy("t", "m", objective=worth(0.05), max_iterations=6)
    plain = priors.policy("t", "m", objective="quality", call_cost=policy.call_cost, max_iterations=6)
    assert policy.call_cost == pytest.approx(0.002 / 0.05, rel=0.02)
    for k in range(1, 7):
        assert policy.decide(SCORES[:k]).stop == plain.decide(SCORES[:k]).stop


def test_of_two_ways_that_are_equally_good_the_cheaper_is_asked():
    def asked(last, fresh):
        priors = AdaptivePriors()
        for n in range(60):
            way, money = ("last", last) if n % 2 else ("fresh", fresh)
            usages = [Usage(cost=0.001), Usage(cost=money)]
            priors.observe(CallObservation("t", "m", [0.2, 0.9], actions=[way], usages=usages))
        policy = priors.policy("t", "m", objective=Objective(value_of_success=0.1), ways=("last", "fresh"))
        return policy.decide([0.2]).move

    assert asked(last=0.004, fresh=0.001) == "fresh"
    assert asked(last=0.001, fresh=0.004) == "last"


def test_a_way_that_is_better_by_more_than_it_costs_is_asked_though_it_is_dearer():
    priors = AdaptivePriors()
    for n in range(80):
        way, then, money = ("last", 0.9, 0.004) if n % 2 else ("fresh", 0.2, 0.001)
        usages = [Usage(cost=0.001), Usage(cost=money)]
        priors.observe(CallObservation("t", "m", [0.2, then], actions=[way], usages=usages))
    policy = priors.policy("t", "m", objective=Objective(value_of_success=0.1), ways=("last", "fresh"))
    assert policy.decide([0.2]).move == "last"


@settings(max_examples=15, deadline=None)
@given(st.floats(1e-5, 0.05), st.floats(1.2, 20.0))
def test_no_call_more_is_made_when_all_calls_grow_dearer(money, times):
    assert depth(taught(money * times, runs=12), worth()) <= depth(taught(money, runs=12), worth())


@settings(max_examples=15, deadline=None)
@given(st.floats(0.001, 1.0), st.floats(1.2, 20.0), st.floats(0.0, 0.001))
def test_no_call_less_is_made_when_the_answer_is_worth_more(value, times, rate):
    priors = taught(runs=12)
    less, more = worth(value, cost_per_second=rate), worth(value * times, cost_per_second=rate)
    assert depth(priors, less) <= depth(priors, more)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.0, 0.01), st.floats(0.0, 0.01))
def test_no_call_more_is_made_when_waiting_costs_more(one, other):
    priors, (less, more) = taught(runs=12), sorted((one, other))
    assert depth(priors, worth(cost_per_second=more)) <= depth(priors, worth(cost_per_second=less))


def test_a_new_price_is_followed_within_a_hundred_runs():
    priors = taught(money=0.001, runs=200)
    for _ in range(100):
        priors.observe(CallObservation("t", "m", [0.2, 0.3], usages=[Usage(cost=0.004)] * 2))
    cost = priors.report("t", "m").call_costs["first"].money
    assert cost[0] == pytest.approx(0.004, rel=0.25)


def test_a_new_task_of_a_known_model_starts_from_what_its_calls_cost_elsewhere():
    priors = taught(money=0.002)
    policy = priors.policy("new", "m", objective=worth())
    assert not policy.costs.guessed
    assert policy.call_cost * 0.05 == pytest.approx(0.002, rel=1.0)


def test_until_a_call_told_its_price_the_cost_is_said_to_be_a_guess():
    priors = AdaptivePriors()
    for _ in range(30):
        priors.observe(CallObservation("t", "m", [0.5, 0.5, 0.5]))
    rule = BayesianExitCondition(
        priors, "t", "m", objective=Objective(value_of_success=0.02), call_cost=0.05, max_iterations=4
    )
    reason = rule.should_exit(2, 0.5, [0.5, 0.5])
    assert reason is not None
    assert "costs 0.001 USD (a guess from call_cost" in reason.message
    assert "LoopConfig(prices=...)" in reason.message


def test_where_nobody_told_a_price_time_alone_is_weighed_and_that_is_said():
    priors = AdaptivePriors()
    for _ in range(30):
        priors.observe(CallObservation("t", "m", [0.5, 0.5, 0.5], latencies_ms=[2000.0] * 3))
    aim = Objective(value_of_success=0.02, cost_per_second=0.005, currency="EUR")
    reason = BayesianExitCondition(priors, "t", "m", objective=aim).should_exit(2, 0.5, [0.5, 0.5])
    assert reason is not None
    assert "costs 0.01 EUR" in reason.message
    assert "no call has told its price and 2 s" in reason.message


def test_the_sentence_says_what_the_gain_is_worth_and_what_the_call_costs_with_its_interval():
    decision = taught().policy("t", "m", objective=worth(cost_per_second=0.001)).decide(SCORES)
    low, high = decision.cost_interval
    assert low < decision.call_cost < high
    assert (
        f"costs {decision.call_cost * 0.05:.2g} USD ({low * 0.05:.2g} to {high * 0.05:.2g}; "
        in decision.message
    )
    assert "0.002 USD and 1 s" in decision.message
    assert "80 % interval" in decision.message


def test_a_plain_number_is_the_cost_whatever_was_paid():
    policy = taught(money=5.0).policy("t", "m", call_cost=0.03)
    assert policy.call_cost == policy.decide([0.2]).call_cost == 0.03
    assert "costs 0.03;" in policy.decide([0.2]).message


def test_the_report_gives_money_time_and_tokens_by_way_with_intervals():
    report = taught().report("t", "m")
    first, last = report.call_costs["first"], report.call_costs["last"]
    for cost in (first, last):
        for mean, low, high in (cost.money, cost.seconds, cost.tokens):
            assert low < mean < high
    assert last.money[0] == pytest.approx(0.002, rel=0.02)
    assert last.seconds[0] == pytest.approx(1.0, rel=0.02)
    assert last.tokens[0] == pytest.approx(150.0, rel=0.02)
    assert "cost of last: 0.002 in money" in str(report)


def test_a_cost_that_only_relatives_taught_is_said_to_come_from_them():
    priors = taught()
    priors.observe(CallObservation("u", "m", [0.2]))
    assert str(priors.report("u", "m").call_costs["last"]).endswith("; from relatives only")


def test_two_learners_on_one_store_share_what_calls_cost(tmp_path):
    path = tmp_path / "priors.json"
    with AdaptivePriors(store_path=path) as one:
        one.observe(CallObservation("t", "m", [0.2, 0.3], usages=[Usage(cost=0.002)] * 2))
    with AdaptivePriors(store_path=path) as other:
        last = other.report("t", "m").call_costs["last"]
        assert last.money is not None
        assert last.money[0] == pytest.approx(0.002, rel=0.2)
        assert not other.policy("elsewhere", "m", objective=worth()).costs.guessed


def test_impossible_costs_are_refused_naming_them():
    with pytest.raises(ValueError, match="cost must be a number >= 0"):
        CallObservation("t", "m", [0.2], usages=[Usage(cost=-1.0)])
    with pytest.raises(ValueError, match=r"evaluations_ms\[0\]"):
        CallObservation("t", "m", [0.2], evaluations_ms=[float("nan")])
