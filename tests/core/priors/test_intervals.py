import importlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.priors.intervals import mean_interval

stats = importlib.import_module("scipy.stats")


def interval_of(values, low, high):
    return mean_interval(len(values), sum(values), sum(v * v for v in values), low, high)


@given(st.integers(1, 60), st.data())
def test_of_values_at_the_ends_it_is_the_beta_posterior_with_jeffreys_prior(n, data):
    hits = data.draw(st.integers(0, n))
    low, high = interval_of([0.0] * (n - hits) + [4.0] * hits, 0.0, 4.0)
    exact = stats.beta(hits + 0.5, n - hits + 0.5)
    assert low == pytest.approx(min(4 * exact.ppf(0.1), 4 * hits / n), abs=1e-6)
    assert high == pytest.approx(max(4 * exact.ppf(0.9), 4 * hits / n), abs=1e-6)


@given(st.lists(st.floats(0.0, 7.0), max_size=40))
def test_it_holds_the_mean_and_stays_in_the_range(values):
    low, high = interval_of(values, 0.0, 7.0)
    assert -1e-9 <= low <= high <= 7.0 + 1e-9
    if values:
        assert low <= sum(values) / len(values) <= high


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0], [0.0] * 5])
def test_a_few_equal_values_are_not_taken_for_certainty(values):
    low, high = interval_of(values, 0.0, 7.0)
    assert high - low > 0.5


SAVED = {
    "usually nothing, at times four": ([0, 4], [0.85, 0.15]),
    "nearly always two": ([2, 0], [0.95, 0.05]),
    "anything": ([0, 1, 2, 3, 4], [0.2, 0.2, 0.2, 0.2, 0.2]),
    "rarely one": ([0, 1], [0.9, 0.1]),
}


def held(n, samples=150):
    """Share of samples of n values whose interval holds the mean they were drawn around, by kind."""
    draw, found = random.Random(17), {}
    for kind, (values, weights) in SAVED.items():
        truth = sum(v * w for v, w in zip(values, weights, strict=True))
        intervals = (interval_of(draw.choices(values, weights, k=n), 0.0, 4.0) for _ in range(samples))
        found[kind] = sum(low <= truth <= high for low, high in intervals) / samples
    return found


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
def test_an_80_percent_interval_holds_the_truth_in_80_percent_of_samples(n):
    shares = held(n)
    assert sum(shares.values()) / len(shares) >= 0.78
    assert (
        min(shares.values()) >= 0.6
    )  # few values of two kinds leave few intervals, which hold it more or less often
