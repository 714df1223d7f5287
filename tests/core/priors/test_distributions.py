import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.priors.beta import beta_cdf, beta_quantile
from loopllm.priors.moments import Moments
from loopllm.priors.tilting import tilt, tilted

special = importlib.import_module("scipy.special")

SHAPE = st.floats(0.05, 500.0)
VALUES = st.lists(st.floats(-1e3, 1e3), max_size=12)


@given(st.floats(0.0, 1.0), SHAPE, SHAPE)
def test_beta_probabilities_are_exact(x, a, b):
    assert beta_cdf(x, a, b) == pytest.approx(special.betainc(a, b, x), abs=1e-9)


@given(st.floats(0.01, 0.99), st.floats(0.3, 80.0), st.floats(0.3, 80.0))
def test_a_beta_quantile_is_where_the_probability_is_reached(q, a, b):
    assert beta_cdf(beta_quantile(q, a, b), a, b) == pytest.approx(q, abs=1e-6)


@given(VALUES, VALUES, VALUES)
def test_moments_merge_by_chans_formula_in_any_order(a, b, c):
    parts = [Moments.of(values) for values in (a, b, c)]
    left = (parts[0] + parts[1]) + parts[2]
    right = parts[2] + (parts[1] + parts[0])
    direct = Moments.of([*a, *b, *c])
    for merged in (left, right):
        assert merged.n == direct.n
        assert merged.mean == pytest.approx(direct.mean, abs=1e-6)
        assert merged.m2 == pytest.approx(direct.m2, rel=1e-6, abs=1e-5)
    assert parts[0] + Moments() == parts[0]


@given(st.lists(st.integers(0, 40), min_size=12, max_size=12))
def test_a_tilted_belief_stays_a_distribution_and_moves_towards_what_was_seen(counts):
    belief = [1 / 12] * 12
    total = sum(counts)
    row = tilted(belief, tilt(counts, [total * p for p in belief]))
    assert sum(row) == pytest.approx(1.0)
    assert min(row) > 0.0
    if total:
        seen_up, believed_up = sum(counts[3:]) / total, sum(row[3:])
        assert (believed_up - 0.75) * (seen_up - 0.75) >= -1e-9
        assert abs(believed_up - seen_up) <= abs(0.75 - seen_up) + 1e-9


def test_many_observations_overrule_any_belief():
    belief = [0.9] + [0.1 / 11] * 11
    counts = [0.0] * 11 + [10_000.0]
    row = tilted(belief, tilt(counts, [10_000 * p for p in belief]))
    assert row[-1] > 0.95
