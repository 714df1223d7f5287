"""Do forecasts come true? Predicted probabilities against what happened.

The forecasts are put into equal bins, and in each the mean forecast is held against the share of times it came true
(a reliability diagram: Murphy & Winkler 1977, Applied Statistics 26:41). With n_b of N forecasts in bin b, their mean
p_b and the share that came true f_b, the expected calibration error (Naeini, Cooper & Hauskrecht 2015, AAAI) is

    ECE = sum_b n_b / N * |p_b - f_b|.

Chance alone makes it positive: a forecaster that is exactly right still shows, in a bin, a mean absolute difference of
about sqrt(2 p_b (1 - p_b) / (pi n_b)). The table says how much of its error that would be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import pi, sqrt

from loopllm.errors import MisuseError
from loopllm.priors.beta import beta_quantile
from loopllm.priors.learning import way_of
from loopllm.priors.observation import whole
from loopllm.priors.policy import Policy
from loopllm.priors.report import Readable
from loopllm.priors.run_state import FIRST_GAIN, state_of
from loopllm.tables import Rows, Tabular, counted

BINS = 10

Forecast = tuple[float, bool]
"""A predicted probability, and whether it came true."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin(Readable):
    """Forecasts of about the same probability.

    Attributes:
        low: Lower border of the bin.
        high: Upper border.
        count: Forecasts in it.
        forecast: Their mean.
        frequency: Share that came true.
        interval: 80 % interval of the probability that was true, from the exact Beta distribution.
    """

    low: float
    high: float
    count: int
    forecast: float
    frequency: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Reliability(Tabular, Readable):
    """A reliability table; prints as one, bins without a forecast left out.

    Attributes:
        bins: The bins that hold a forecast, by probability.
        count: Forecasts.
        error: Expected calibration error; 0 is perfect.
        chance_error: What a forecaster that is exactly right would show with so few forecasts, about.
        brier: Mean squared difference between forecast and outcome (Brier 1950); always saying the base rate r gives
            r (1 - r).
        base_rate: Share of all forecasts that came true.
    """

    bins: tuple[ReliabilityBin, ...]
    count: int
    error: float
    chance_error: float
    brier: float
    base_rate: float

    def _headline(self) -> str:
        chance = f"{self.chance_error:.3f} of it would be chance if every forecast were right"
        return f"{counted(self.count, 'forecast')}, expected calibration error {self.error:.3f} ({chance})"

    def _columns(self) -> Sequence[str]:
        return ("bin", "forecasts", "predicted", "came true", "80 % interval")

    def _rows(self) -> Rows:
        return [
            (
                f"{_edge(b.low)} to {_edge(b.high)}",
                b.count,
                f"{b.forecast:.3f}",
                f"{b.frequency:.3f}",
                "{:.3f} to {:.3f}".format(*b.interval),
            )
            for b in self.bins
        ]


def _edge(border: float) -> str:
    """A border of a bin.

    >>> _edge(0.1), _edge(0.575), _edge(1.0)
    ('0.1', '0.575', '1.0')
    """
    text = f"{border:.3f}".rstrip("0")
    return f"{text}0" if text.endswith(".") else text


def reliability(forecasts: Iterable[tuple[float, bool]], bins: int = BINS) -> Reliability:
    """The reliability table of some forecasts.

    >>> table = reliability([(0.12, False), (0.18, True), (0.9, True)])
    >>> round(table.error, 3)
    0.267
    >>> print(table)
    3 forecasts, expected calibration error 0.267 (0.214 of it would be chance if every forecast were right)
    bin         forecasts  predicted  came true  80 % interval
    0.1 to 0.2  2          0.150      0.500      0.196 to 0.804
    0.9 to 1.0  1          0.900      1.000      0.316 to 0.949

    Args:
        forecasts: Probabilities in [0, 1], each with whether it came true.
        bins: Bins of equal width.

    Raises:
        MisuseError: A probability is not in [0, 1], or `bins` is no whole number from 1 on.
    """
    bins = whole("bins", bins)
    filled: list[list[Forecast]] = [[] for _ in range(bins)]
    for chance, happened in forecasts:
        if not 0.0 <= chance <= 1.0:
            raise MisuseError(f"a forecast must be a probability in [0, 1], got {chance!r}")
        filled[min(int(chance * bins), bins - 1)].append((chance, bool(happened)))
    rows = tuple(_bin(i / bins, (i + 1) / bins, found) for i, found in enumerate(filled) if found)
    count = sum(row.count for row in rows)
    some = max(count, 1)
    every = [forecast for found in filled for forecast in found]
    return Reliability(
        bins=rows,
        count=count,
        error=sum(row.count * abs(row.forecast - row.frequency) for row in rows) / some,
        chance_error=sum(row.count * _chance_error(row) for row in rows) / some,
        brier=sum((chance - happened) ** 2 for chance, happened in every) / some,
        base_rate=sum(happened for _, happened in every) / some,
    )


def _bin(low: float, high: float, found: Sequence[Forecast]) -> ReliabilityBin:
    n, true = len(found), sum(happened for _, happened in found)
    # One success and one failure in advance, as everywhere.
    interval = beta_quantile(0.1, true + 1.0, n - true + 1.0), beta_quantile(0.9, true + 1.0, n - true + 1.0)
    return ReliabilityBin(low, high, n, sum(chance for chance, _ in found) / n, true / n, interval)


def _chance_error(row: ReliabilityBin) -> float:
    return sqrt(2.0 * row.forecast * (1.0 - row.forecast) / (pi * row.count))


def forecasts_of(
    policy: Policy, scores: Sequence[float], actions: Sequence[str] = ()
) -> Iterator[tuple[float, bool]]:
    """Before each call but the first: P(it is a new best), in the way it was asked for, and whether it was.

    A run whose best is perfect has nothing left to improve and is not asked about.

    Args:
        policy: The rule that forecasts; ways of asking that it does not tell apart are one.
        scores: Scores of all calls.
        actions: How calls 2, 3, ... were asked for.
    """
    for call in range(2, len(scores) + 1):
        state = state_of(scores[: call - 1])
        if state.best >= 1.0:
            return
        way = way_of(actions, call)
        outlook = policy.outlooks.get(way, policy.outlooks[policy.ways[0]])
        yield min(1.0, sum(outlook(state.cell)[FIRST_GAIN:])), scores[call - 1] > state.best
