"""What a call is expected to cost: relatives say it at first, the pair's own calls soon, and each way in the end."""

import random
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.priors.cost_estimate import USUAL_RELATION, Source, expected_costs, shrunk
from loopllm.priors.cost_sums import add_call, empty_row

NOTHING = Source({}, same_model=True)
MONEY = st.floats(1e-6, 1e3)


def seen(*, same_model=True, **amounts):
    """Calls by way of asking, as (number, money each)."""
    rows = {}
    for way, (n, each) in amounts.items():
        row = rows[way] = empty_row()
        for _ in range(n):
            add_call(row, 0, each, None, None)
    return Source(rows, same_model=same_model)


def expected(*sources, ways=("last", "fresh")):
    return expected_costs(sources, ways, "money")


def test_nothing_is_known_before_a_call_told():
    assert expected(NOTHING, NOTHING) == {}
    assert expected_costs([seen(first=(3, 0.5))], ("last",), "ms") == {}


@given(MONEY)
def test_one_first_call_sets_the_scale_of_all_ways(money):
    found = expected(seen(first=(1, money)))
    for way in ("first", "last", "fresh"):
        assert found[way].median == pytest.approx(money * USUAL_RELATION[way], rel=1e-6)


@given(MONEY, st.floats(0.01, 100.0))
def test_costs_keep_their_proportions_in_another_unit_of_money(money, rate):
    one, other = (expected(seen(first=(4, unit), last=(3, 2 * unit))) for unit in (money, money * rate))
    for way in one:
        assert other[way].mean == pytest.approx(one[way].mean * rate, rel=1e-6)


def test_many_calls_say_exactly_what_they_cost():
    found = expected(seen(first=(300, 1.0), last=(400, 3.0), fresh=(400, 0.8)))
    assert found["last"].mean == pytest.approx(3.0, rel=0.01)
    assert found["fresh"].mean == pytest.approx(0.8, rel=0.01)
    assert found["last"].interval == pytest.approx((3.0, 3.0), rel=0.03)


def test_a_new_task_starts_from_what_the_model_cost_elsewhere_and_soon_speaks_for_itself():
    model = seen(first=(50, 1.0), last=(50, 1.0))
    means = [expected(model, seen(first=(n, 10.0)))["first"].median for n in (0, 1, 3, 10)]
    assert means[0] == pytest.approx(1.0, rel=0.05)
    assert means == sorted(means)
    assert means[1] > 3.0
    assert means[3] > 9.0


def test_how_ways_relate_is_taken_from_the_same_model_only():
    strangers = seen(first=(50, 1.0), last=(50, 40.0), same_model=False)
    pair = seen(first=(20, 2.0))
    assert expected(strangers, pair)["last"].median < 5.0
    assert expected(seen(first=(50, 1.0), last=(50, 40.0)), pair)["last"].median > 50.0


def test_a_first_call_that_asked_no_model_says_nothing_of_those_that_do():
    assert expected(seen(first=(5, 0.0))) == {}
    found = expected(seen(first=(5, 0.0), last=(1, 2.0)))
    assert found["first"].mean == 0.0
    assert found["fresh"].median == pytest.approx(2.0 / USUAL_RELATION["last"], rel=0.3)


def test_a_model_that_is_free_costs_nothing():
    found = expected(seen(first=(2, 0.0), last=(2, 0.0)))
    assert {cost.mean for cost in found.values()} == {0.0}


def test_free_relatives_do_not_make_a_model_free():
    found = expected(seen(last=(30, 0.0)), seen(first=(1, 1.0), last=(1, 2.0)))
    assert found["last"].mean > 1.0


@given(MONEY, MONEY, st.integers(0, 50), st.floats(0.01, 100.0))
def test_shrinking_stays_between_the_belief_and_the_data(belief, mean, n, strength):
    low, high = sorted((belief, mean))
    assert low * 0.999 <= shrunk(belief, n, mean, strength) <= high * 1.001


@given(st.lists(MONEY, min_size=1, max_size=8), st.integers(0, 7))
def test_a_dearer_call_never_lowers_what_is_expected_of_its_way(amounts, which):
    def mean_of(costs):
        row = empty_row()
        for money in costs:
            add_call(row, 0, money, None, None)
        return expected_costs([Source({"last": row}, same_model=True)], (), "money")["last"].median

    dearer = list(amounts)
    dearer[which % len(amounts)] *= 2.0
    assert mean_of(dearer) >= mean_of(amounts) * (1.0 - 1e-9)


def test_a_prompt_that_keeps_its_history_grows_dearer_from_call_to_call():
    row = empty_row()
    for _ in range(20):
        for k in range(5):
            add_call(row, k, 1.0 + 0.5 * k, None, None)
    found = expected_costs([Source({"last": row}, same_model=True)], (), "money")["last"]
    assert [found.of_call(call) for call in (2, 4, 6, 8)] == pytest.approx([1.0, 2.0, 3.0, 4.0], rel=0.05)


def test_a_prompt_of_the_same_size_does_not_grow_dearer_by_chance():
    draw, row = random.Random(3), empty_row()
    for _ in range(40):
        for k in range(4):
            add_call(row, k, exp(draw.gauss(0.0, 0.4)), None, None)
    found = expected_costs([Source({"last": row}, same_model=True)], (), "money")["last"]
    assert found.of_call(6) == pytest.approx(found.of_call(2), rel=0.25)


def test_the_interval_holds_the_true_mean_about_as_often_as_it_says():
    draw, hits, trials = random.Random(11), 0, 400
    for _ in range(trials):
        truth = exp(draw.gauss(0.0, 1.0))
        rows = {way: empty_row() for way in ("first", "last")}
        for way, relation in (("first", 1.0), ("last", exp(draw.gauss(log(1.3), 0.3)))):
            for _ in range(draw.randint(2, 12)):
                add_call(rows[way], 0, truth * relation * exp(draw.gauss(-0.125, 0.5)), None, None)
        low, high = expected_costs([Source(rows, same_model=True)], (), "money")["first"].interval
        hits += low <= truth <= high
    assert 0.72 <= hits / trials <= 0.88
