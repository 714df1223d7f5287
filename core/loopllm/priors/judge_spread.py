"""By how much do the scores of one and the same draft vary: the test-retest spread of a judge, from its repeats.

A draft that was judged m times with scores x_1..x_m tells of the spread sd, whatever its quality is:

    S = sum (x_i - mean)^2   with m - 1 degrees of freedom;   over drafts, S and nu = sum (m - 1) add up,
    sd^2 = S / nu   (pooled variance),   80 % interval   sqrt(S / chi2_nu(0.9)) .. sqrt(S / chi2_nu(0.1))

(within-subject standard deviation: Bland & Altman 1996, BMJ 312:1654; the interval: Snedecor & Cochran 1989,
Statistical Methods, section 5.11). The rule uses it shrunk to what judges are like, sd0 with nu0 degrees of freedom,

    sd^2 = (nu0 sd0^2 + S) / (nu0 + nu)

(the scaled inverse chi-square prior of a variance: Gelman et al. 2013, Bayesian Data Analysis, section 2.6). A judge
that has repeated itself to the digit `ENOUGH` times is taken for one that always does: its spread is 0.

Rule: both sums are additive, and a judge belongs to its task, so that what one model's runs tell serves the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from loopllm.errors import MisuseError
from loopllm.priors.chi_square import chi_square_quantile
from loopllm.priors.statistics import Statistics
from loopllm.tables import counted

USUAL_SD = 0.08
"""sd0: what the judges of the shipped prior err by on average."""

USUAL_FREEDOM = 4.0
"""nu0: repeats that this is worth."""

ENOUGH = 5.0
"""Repeats from which on they are gone by."""

EXACT = 1e-9
"""Sum of squared deviations below which all repeats were alike."""

STEP = 0.005
"""What the rule uses is rounded to this, so that one more repeat does not make every plan anew."""

_REPEATS, _SQUARES = "s/judge/n", "s/judge/squares"


@dataclass(frozen=True, slots=True)
class JudgeSpread:
    """How much a judge's scores of one draft vary.

    Seven drafts, each judged twice, the second score 0.1 higher or lower:

    >>> spread = JudgeSpread.of([[0.5, 0.6]] * 4 + [[0.7, 0.6]] * 3)
    >>> spread.repeats, round(spread.sd, 4), [round(edge, 3) for edge in spread.interval]
    (7.0, 0.0707, [0.054, 0.111])
    >>> round(spread.shrunk, 4)
    0.0742

    Attributes:
        repeats: nu, judgements beyond the first of each draft.
        squares: S, sum of squared deviations from each draft's mean.
    """

    repeats: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, judgements: Sequence[Sequence[float]]) -> JudgeSpread:
        """From the scores of each draft; a draft that was judged once tells nothing."""
        repeats = squares = 0.0
        for scores in judgements:
            if len(scores) > 1:
                mean = sum(scores) / len(scores)
                repeats += len(scores) - 1.0
                squares += sum((score - mean) ** 2 for score in scores)
        return cls(repeats, squares)

    @classmethod
    def seen(cls, statistics: Statistics) -> JudgeSpread:
        """From the sums of a key."""
        return cls(statistics.get(_REPEATS), max(0.0, statistics.get(_SQUARES)))

    def learn(self, statistics: Statistics) -> None:
        """Add it to the sums of a key."""
        if self.repeats:
            statistics.bump(_REPEATS, self.repeats)
            statistics.bump(_SQUARES, self.squares)

    def __add__(self, other: JudgeSpread) -> JudgeSpread:
        """Pool two."""
        return JudgeSpread(self.repeats + other.repeats, self.squares + other.squares)

    @property
    def sd(self) -> float:
        """Pooled standard deviation of a single score around its draft's mean.

        Raises:
            MisuseError: No draft was judged twice.
        """
        if not self.repeats:
            raise MisuseError("no draft was judged twice, so nothing tells how much the scores vary")
        return sqrt(self.squares / self.repeats)

    @property
    def interval(self) -> tuple[float, float]:
        """An 80 % interval of `sd`. Errors as there."""
        squares, freedom = self.sd**2 * self.repeats, self.repeats
        low, high = (sqrt(squares / chi_square_quantile(q, freedom)) for q in (0.9, 0.1))
        return low, min(1.0, high)

    @property
    def is_known(self) -> bool:
        """Whether enough repeats were seen to go by them."""
        return self.repeats >= ENOUGH

    @property
    def shrunk(self) -> float:
        """The spread to reckon with; see above."""
        if self.is_known and self.squares < EXACT:
            return 0.0
        return sqrt((USUAL_FREEDOM * USUAL_SD**2 + self.squares) / (USUAL_FREEDOM + self.repeats))

    @property
    def learned(self) -> float | None:
        """The spread for the rule, None before enough repeats.

        >>> JudgeSpread(4.0, 0.04).learned, JudgeSpread(20.0, 0.2).learned, JudgeSpread(5.0, 0.0).learned
        (None, 0.095, 0.0)
        """
        return round(round(self.shrunk / STEP) * STEP, 3) if self.is_known else None

    def __str__(self) -> str:
        if not self.repeats:
            return "no draft was judged twice"
        low, high = self.interval
        return (
            f"test-retest sd {self.sd:.3f} "
            f"(80 % interval {low:.3f} to {high:.3f}, {counted(self.repeats, 'repeat')})"
        )
