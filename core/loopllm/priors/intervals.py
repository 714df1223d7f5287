"""How sure a mean is that was estimated from few values of a known range.

The values are taken as draws from an unknown distribution on [low, high] whose posterior is a Dirichlet process with
half an observation at either end (Ferguson 1973, Annals of Statistics 1:209; as a bootstrap: Rubin 1981, Annals of
Statistics 9:130). With A = n + 1, S1 and S2 the sums of the values and of their squares, the halves at the ends
included, the posterior of the mean has

    E = S1 / A,   Var = (S2 / A - E^2) / (A + 1),

and a Beta distribution on [low, high] with these two moments gives its quantiles. Where every value is one of the ends
this is exactly the Beta posterior with Jeffreys' prior, whose intervals keep their promise on average from the smallest
n on (Brown, Cai & DasGupta 2001, Statistical Science 16:101); a normal or t interval from two equal values would have
no width at all.
"""

from __future__ import annotations

from loopllm.priors.beta import beta_quantile

MASS = 0.8
"""Probability of an interval, the same everywhere here."""

Interval = tuple[float, float]

_AT_THE_END = 0.5
_NO_SPREAD = 1e-12
_MOST_CERTAIN = 1e7


def beta_interval(mean: float, variance: float, low: float, high: float, mass: float = MASS) -> Interval:
    """Central interval of the Beta distribution on [low, high] with this mean and variance.

    >>> [round(x, 4) for x in beta_interval(0.5, 1 / 12, 0.0, 1.0)]     # the uniform distribution
    [0.1, 0.9]

    Args:
        mean: Within [low, high].
        variance: Of the same quantity.
        low: Smallest possible value.
        high: Largest possible value.
        mass: Probability inside.
    """
    width = high - low
    if width <= 0.0 or variance <= _NO_SPREAD * width * width:
        return mean, mean
    share = min(max((mean - low) / width, 1e-9), 1.0 - 1e-9)
    weight = min(share * (1.0 - share) * width * width / variance - 1.0, _MOST_CERTAIN)
    a, b = max(share * weight, 1e-6), max((1.0 - share) * weight, 1e-6)
    tail = (1.0 - mass) / 2.0
    return low + width * beta_quantile(tail, a, b), low + width * beta_quantile(1.0 - tail, a, b)


def mean_interval(
    n: float, total: float, squares: float, low: float, high: float, mass: float = MASS
) -> Interval:
    """Interval of the mean of n values in [low, high], from their sum and sum of squares.

    It holds the mean of the values, and at an end of the range it reaches that end. Two values, both 4, in [0, 4]:

    >>> [round(x, 2) for x in mean_interval(2, 8.0, 32.0, 0.0, 4.0)]
    [2.21, 4.0]
    >>> mean_interval(0, 0.0, 0.0, 0.0, 1.0)[0] < 0.03
    True
    """
    mean = total / n if n > 0 else (low + high) / 2.0
    low, high = min(low, mean), max(high, mean)
    weight = n + 2.0 * _AT_THE_END
    first = (total + _AT_THE_END * (low + high)) / weight
    second = (squares + _AT_THE_END * (low * low + high * high)) / weight
    below, above = beta_interval(first, (second - first * first) / (weight + 1.0), low, high, mass)
    return min(below, mean), max(above, mean)
