"""Quantiles of the chi-square distribution, exact, for intervals of a variance.

The distribution function is the regularised lower incomplete gamma function P(a, y) with a = nu / 2 and y = x / 2, by
its series (Abramowitz & Stegun 1964, 6.5.29), which converges for every y:

    P(a, y) = y^a e^-y / Gamma(a + 1) * sum_n y^n / ((a + 1) ... (a + n))
"""

from __future__ import annotations

from math import exp, lgamma, log

_ENOUGH_HALVINGS = 60
_NEGLIGIBLE = 1e-12


def chi_square_cdf(x: float, freedom: float) -> float:
    """Probability of at most `x` with `freedom` degrees of freedom.

    >>> round(chi_square_cdf(3.841459, 1.0), 6), round(chi_square_cdf(18.307038, 10.0), 6)
    (0.95, 0.95)
    """
    if x <= 0.0:
        return 0.0
    a, y = freedom / 2.0, x / 2.0
    term = total = 1.0
    n = 0
    while term > _NEGLIGIBLE * total or n < y:
        n += 1
        term *= y / (a + n)
        total += term
    return min(1.0, exp(a * log(y) - y - lgamma(a + 1.0) + log(total)))


def chi_square_quantile(q: float, freedom: float) -> float:
    """The value that is exceeded with probability 1 - q; by bisection.

    >>> round(chi_square_quantile(0.1, 10.0), 4), round(chi_square_quantile(0.9, 10.0), 4)
    (4.8652, 15.9872)
    """
    low, high = 0.0, freedom + 1.0
    while chi_square_cdf(high, freedom) < q:
        high *= 2.0
    for _ in range(_ENOUGH_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if chi_square_cdf(middle, freedom) < q else (low, middle)
    return (low + high) / 2.0
