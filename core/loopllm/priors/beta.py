"""The distribution of a probability that was estimated from counts: Beta, exactly.

The regularised incomplete beta function by Lentz's continued fraction (Press et al., Numerical Recipes, section 6.4;
DLMF 8.17.22), and its inverse by bisection. No normal approximation: after one success in one trial
that would be nonsense.
"""

from __future__ import annotations

from math import exp, lgamma, log

_TINY = 1e-300


def _continued_fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    value = d
    for m in range(1, 400):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + numerator * d
            c = 1.0 + numerator / c
            d = 1.0 / (d if abs(d) > _TINY else _TINY)
            c = c if abs(c) > _TINY else _TINY
            value *= d * c
        if abs(d * c - 1.0) < 1e-14:  # noqa: PLR2004  (converged to double precision)
            break
    return value


def beta_cdf(x: float, a: float, b: float) -> float:
    """P(X <= x) for X ~ Beta(a, b), a and b > 0.

    >>> round(beta_cdf(0.5, 2, 2), 12), round(beta_cdf(0.2, 1, 3), 12)
    (0.5, 0.488)
    """
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(1.0 - x))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _continued_fraction(a, b, x) / a
    return 1.0 - front * _continued_fraction(b, a, 1.0 - x) / b


def beta_quantile(q: float, a: float, b: float) -> float:
    """The x with P(X <= x) = q for X ~ Beta(a, b).

    >>> round(beta_quantile(0.5, 2, 2), 9), round(beta_quantile(0.488, 1, 3), 9)
    (0.5, 0.2)
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if beta_cdf(middle, a, b) < q:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
