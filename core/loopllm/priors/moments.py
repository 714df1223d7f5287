"""The statistic of a quantity: how many, mean, spread.

Welford's form (n, mean, sum of squared deviations), merged by the formula of Chan, Golub and LeVeque (1983, The
American Statistician 37:242), which does not lose digits when the mean is large against the spread. A store adds power
sums (n, sum x, sum x^2); `from_sums` reads those back.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and spread of a quantity; `+` merges, `Moments()` is the identity.

    >>> a, b = Moments.of([1.0, 2.0]), Moments.of([6.0])
    >>> (a + b).n, (a + b).mean, (a + b).m2
    (3.0, 3.0, 14.0)

    Attributes:
        n: Observations (weights may be fractions).
        mean: Their mean; 0 when there are none.
        m2: Sum of squared deviations from the mean.
    """

    n: float = 0.0
    mean: float = 0.0
    m2: float = 0.0

    @classmethod
    def of(cls, values: list[float]) -> Moments:
        """Moments of some values, by Welford's update."""
        total = cls()
        for value in values:
            total += cls(1.0, value, 0.0)
        return total

    @classmethod
    def from_sums(cls, n: float, total: float, squares: float) -> Moments:
        """From the power sums n, sum x, sum x^2.

        >>> Moments.from_sums(3, 9.0, 41.0)
        Moments(n=3, mean=3.0, m2=14.0)
        """
        if n <= 0:
            return cls()
        mean = total / n
        return cls(n, mean, max(0.0, squares - n * mean * mean))

    def __add__(self, other: Moments) -> Moments:
        """Merge by Chan's formula."""
        n = self.n + other.n
        if n == 0:
            return Moments()
        delta = other.mean - self.mean
        mean = self.mean + delta * other.n / n
        return Moments(n, mean, self.m2 + other.m2 + delta * delta * self.n * other.n / n)

    @property
    def sd(self) -> float:
        """Standard deviation with n - 1; 0 for fewer than two observations."""
        return sqrt(self.m2 / (self.n - 1.0)) if self.n > 1.0 else 0.0
