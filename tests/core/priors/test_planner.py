import itertools

import pytest

from loopllm.priors.planner import Stopping, make_plan
from loopllm.priors.run_state import FIRST_GAIN, PERFECT, next_momentum
from loopllm.priors.score_grid import score_grid
from loopllm.priors.worth import Worth


def priced(cost, *ways):
    return {way: lambda *_state: cost for way in ways or ("last",)}


def binary(success):
    """Outlook of a verifier whose hazard depends on the cell only through `success`."""
    return lambda cell: [1.0 - success(cell)] + [0.0] * 10 + [success(cell)]


def by_hand(success, cost, horizon, best=0.0, depth=1):
    if depth == horizon or best == 1.0:
        return best
    on = -cost + success * 1.0 + (1 - success) * by_hand(success, cost, horizon, best, depth + 1)
    return max(best, on)


@pytest.mark.parametrize(("success", "cost"), list(itertools.product([0.05, 0.3, 0.7], [0.01, 0.1, 0.4])))
def test_the_value_of_going_on_is_that_of_backward_induction_by_hand(success, cost):
    for objective in ("quality", "threshold"):
        plan = make_plan(
            {"last": binary(lambda _: success)},
            Stopping(Worth(objective, 0.8), score_grid(0.8)),
            priced(cost),
            6,
        )
        expected = -cost + success + (1 - success) * by_hand(success, cost, 6, 0.0, 2)
        assert plan.going_on(1, 0, 0.0) == pytest.approx(expected, abs=1e-9)


def test_a_gain_is_worth_the_mean_over_where_it_lands():
    row = [0.0] * 12
    row[FIRST_GAIN + 7] = 1.0  # closes 65 % to 100 % of the gap
    plan = make_plan(
        {"last": lambda _: row}, Stopping(Worth("quality", 1.0), score_grid(None)), priced(0.0), 2
    )
    assert plan.going_on(1, 0, 0.2) == pytest.approx(0.2 + 0.825 * 0.8, abs=1e-6)
    passing = make_plan(
        {"last": lambda _: row}, Stopping(Worth("threshold", 0.8), score_grid(0.8)), priced(0.0), 2
    )
    # from .2 the gain lands in [.72, 1]: above .8 with probability .2 / .28
    assert passing.going_on(1, 0, 0.2) == pytest.approx(0.2 / 0.28, abs=0.01)


def test_the_way_that_is_worth_more_is_chosen():
    ways = {"last": binary(lambda _: 0.1), "fresh": binary(lambda _: 0.5)}
    plan = make_plan(ways, Stopping(Worth("threshold", 0.8), score_grid(0.8)), priced(0.05, *ways), 4)
    alone = make_plan(
        {"last": ways["last"]}, Stopping(Worth("threshold", 0.8), score_grid(0.8)), priced(0.05), 4
    )
    assert plan.next_way(1, 0, 0.0) == "fresh"
    assert plan.going_on(1, 0, 0.0) > alone.going_on(1, 0, 0.0)


def test_a_dearer_call_is_never_worth_more():
    values = [
        make_plan(
            {"last": binary(lambda _: 0.3)},
            Stopping(Worth("quality", 1.0), score_grid(None)),
            priced(cost),
            8,
        ).going_on(1, 0, 0.0)
        for cost in (0.0, 0.02, 0.1, 0.5)
    ]
    assert values == sorted(values, reverse=True)


def test_a_perfect_outcome_leads_to_a_big_gain():
    assert next_momentum(0, PERFECT) == 4
