import itertools

import pytest

from loopllm.priors.planner import LOOKAHEAD, Stopping, make_plan
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


def test_a_limit_of_very_many_calls_is_planned_as_fast_as_one_of_some_twenty_and_as_well():
    outlooks, stopping = {"last": binary(lambda _: 0.3)}, Stopping(Worth("quality", 0.8), score_grid(None))
    short, long = (make_plan(outlooks, stopping, priced(0.1), horizon) for horizon in (LOOKAHEAD, 5000))
    assert len(long.ahead) == len(short.ahead)
    for depth in (1, 2, 6, 40, 4000):
        assert long.going_on(depth, 0 if depth == 1 else 5, 0.0) == pytest.approx(
            by_hand(0.3, 0.1, 60), abs=2e-3
        )


def test_the_last_calls_of_a_long_run_are_planned_as_the_last_of_a_short_one():
    outlooks, stopping = {"last": binary(lambda _: 0.3)}, Stopping(Worth("quality", 0.8), score_grid(None))
    short, long = (make_plan(outlooks, stopping, priced(0.1), horizon) for horizon in (LOOKAHEAD, 100))
    for left in (1, 2, 5):
        assert long.going_on(100 - left, 12, 0.0) == short.going_on(LOOKAHEAD - left, 12, 0.0)
