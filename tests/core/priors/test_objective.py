"""What an answer is worth, stated in money; nonsense is refused where it is stated."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm import LoopConfig, MisuseError, Objective, Prices

AMOUNTS = st.floats(1e-6, 1e6)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "value_of_success and value_of_quality"),
        ({"value_of_success": 0.02, "value_of_quality": 0.1}, "value_of_success and value_of_quality"),
        ({"value_of_success": 0.0}, "value_of_success"),
        ({"value_of_success": -1.0}, "value_of_success"),
        ({"value_of_success": float("nan")}, "value_of_success"),
        ({"value_of_success": float("inf")}, "value_of_success"),
        ({"value_of_success": "0.02"}, "value_of_success"),
        ({"value_of_success": True}, "value_of_success"),
        ({"value_of_quality": 0.0}, "value_of_quality"),
        ({"value_of_success": 0.02, "cost_per_second": -0.1}, "cost_per_second"),
        ({"value_of_success": 0.02, "cost_per_second": float("nan")}, "cost_per_second"),
        ({"value_of_success": 0.02, "cost_per_second": None}, "cost_per_second"),
        ({"value_of_success": 0.02, "currency": ""}, "currency"),
        ({"value_of_success": 0.02, "currency": None}, "currency"),
    ],
)
def test_nonsense_is_refused_naming_the_field(fields, named):
    with pytest.raises(MisuseError, match=named):
        Objective(**fields)


def test_the_value_that_is_given_says_which_goal_is_meant():
    assert Objective(value_of_success=0.02).goal == "threshold"
    assert Objective(value_of_quality=0.02).goal == "quality"


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS)
def test_a_cost_is_a_part_of_the_value_and_money_and_time_add_up(value, rate, money, seconds):
    aim = Objective(value_of_success=value, cost_per_second=rate)
    both = aim.call_cost(money=money, seconds=seconds)
    apart = aim.call_cost(money=money, seconds=0.0) + aim.call_cost(money=0.0, seconds=seconds)
    assert both == pytest.approx(apart)
    assert both * value == pytest.approx(money + seconds * rate)


@given(AMOUNTS, st.floats(0.01, 100.0))
def test_another_unit_of_money_changes_nothing(money, rate):
    cents, dollars = (
        Objective(value_of_success=2.0, currency="cent"),
        Objective(value_of_success=2.0 * rate, currency="other"),
    )
    assert cents.call_cost(money=money, seconds=0.0) == pytest.approx(
        dollars.call_cost(money=money * rate, seconds=0.0)
    )


def test_it_is_a_value_that_pickles_copies_and_compares():
    aim = Objective(value_of_quality=0.5, cost_per_second=0.001, currency="EUR")
    assert pickle.loads(pickle.dumps(aim)) == aim == copy.deepcopy(aim)
    assert len({aim, copy.copy(aim)}) == 1


def test_it_may_be_read_from_a_settings_file():
    text = LoopConfig(objective=Objective(value_of_success=0.02)).model_dump_json(include={"objective"})
    assert LoopConfig.model_validate_json(text).objective == Objective(value_of_success=0.02)
    with pytest.raises(ValueError, match="value_of_success"):
        LoopConfig.model_validate_json('{"objective": {"value_of_success": -1}}')


def test_prices_in_another_currency_are_refused_naming_both():
    prices = Prices(prompt_per_million=1.0, completion_per_million=1.0, currency="USD")
    with pytest.raises(ValueError, match="objective is in EUR and prices are in USD"):
        LoopConfig(objective=Objective(value_of_success=0.02, currency="EUR"), prices=prices)
