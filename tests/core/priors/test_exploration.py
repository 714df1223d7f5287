"""What is paid in order to learn: enough to see bad luck for what it is, and no more than its bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm import AdaptivePriors, CallObservation
from loopllm.priors.counts import TransitionCounts
from loopllm.priors.exploration import GRADED, YES_NO, Curiosity, curiosity, discounted_price

curious = st.builds(Curiosity, st.floats(0.0, 1.0), st.floats(0.5, 50.0))


def after(refusals: int, *, explore: bool) -> float:
    """By how much a second call is worth more than stopping, after so many that a verifier refused."""
    priors = AdaptivePriors()
    for _ in range(refusals):
        priors.observe(CallObservation("t", "m", [0.0, 0.0], max_iterations=2))
        priors.observe(CallObservation("t", "m", [1.0], max_iterations=2))
    policy = priors.policy("t", "m", call_cost=0.08, max_iterations=2, explore=explore)
    return policy.decide([0.0]).advantage


@pytest.mark.parametrize(("refusals", "tried"), [(10, True), (40, False)])
def test_ten_refusals_in_a_row_may_be_bad_luck_and_forty_may_not(refusals, tried):
    assert after(refusals, explore=False) < 0.0
    assert (after(refusals, explore=True) > 0.0) is tried


@given(curious, st.floats(0.0, 0.99), st.lists(st.integers(0, 200), min_size=2, max_size=5))
def test_a_call_is_reckoned_cheaper_the_less_was_seen_and_never_by_more_than_the_discount(kind, cost, seen):
    prices = []
    for n in sorted(seen):
        counts = TransitionCounts()
        counts.add(0, 0, float(n))
        prices.append(discounted_price(counts, cost, kind)(0, 1))
    assert prices == sorted(prices)
    assert all(cost * (1.0 - kind.discount) - 1e-12 <= price <= cost for price in prices)


@given(st.lists(st.floats(0.0, 100.0), min_size=21, max_size=21))
def test_how_curious_it_is_lies_between_that_of_graded_scores_and_that_of_yes_or_no(first_scores):
    found = curiosity(first_scores)
    assert GRADED.discount <= found.discount <= YES_NO.discount
    assert YES_NO.familiar <= found.familiar <= GRADED.familiar
