"""What kinds of loops there are: the prior is a mixture of archetypes, and runs say which.

A pair is taken to be one of some hundred archetypes (a verifier that says yes or no, diminishing returns, independent
drafts, steps that may lose, a judge that errs, ...), each with a table of probabilities of the outcomes per cell. With
weights w_h, reach r_h(cell) = visits to the cell per run, and tables p_h,

    p(o | cell) = sum_h w_h r_h(cell) p_h(o | cell) / sum_h w_h r_h(cell),
    log w_h = log weight_h + tau * sum_cells sum_o n(cell, o) log p_h(o | cell),   tau = 1 / (1 + N / N0)

(a finite mixture, McLachlan & Peel 2000, section 1; a tempered likelihood since no archetype is exactly true:
Gruenwald 2012, "The safe Bayesian"). N counts the transitions; N0 of them halve their own voice. The reach lets the
run itself speak: where it stands already tells archetypes apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, inf, log, sqrt
from operator import mul

from loopllm.priors.coded_rows import CodedRows
from loopllm.priors.counts import WIDTH, Row, TransitionCounts

HALF_VOICE = 120.0
"""N0: transitions after which the likelihood counts half."""

NEGLIGIBLE = 3e-3
"""Archetypes with less than this part of the largest weight are left out of the mixture."""

BELIEVABLE = 0.02
"""Probability from which on a judge that errs is reckoned with."""

UNREACHED = log(1.0 / WIDTH)


@dataclass(frozen=True, slots=True)
class Archetype:
    """One kind of loop.

    Attributes:
        family: A name for people.
        weight: Share of pairs that are of this kind, before any run.
        judge_sd: Test-retest standard deviation of its judge; 0 when the judge does not err.
        first: Probabilities of the bins of the first score.
        reach: Visits per run, by cell; cells that are hardly ever visited are missing.
        optimism: By how much the best observed score exceeds the true quality of that draft: (mean, sd) by cell.
        coded: The probabilities of the outcomes in the cells of `reach`.
    """

    family: str
    weight: float
    judge_sd: float
    first: Sequence[float]
    reach: Mapping[int, float]
    optimism: Mapping[int, tuple[float, float]]
    coded: CodedRows
    _rows: dict[int, Row] = field(default_factory=dict[int, Row], repr=False, compare=False)
    _logs: dict[int, Row] = field(default_factory=dict[int, Row], repr=False, compare=False)

    def row(self, cell: int) -> Row:
        """Probabilities of the outcomes in a cell of `reach`."""
        row = self._rows.get(cell)
        if row is None:
            row = self._rows[cell] = self.coded.row(cell)
        return row

    def log_row(self, cell: int) -> Row:
        """Their logarithms; of a cell that is hardly ever visited, those of no knowledge."""
        logs = self._logs.get(cell)
        if logs is None:
            known = cell in self.reach
            logs = self._logs[cell] = [log(p) for p in self.row(cell)] if known else [UNREACHED] * WIDTH
        return logs


def log_likelihood(archetype: Archetype, counts: TransitionCounts, first: Sequence[float]) -> float:
    """Log likelihood of transitions and of binned first scores."""
    value = sum([sum(map(mul, archetype.log_row(cell), row)) for cell, row in counts.cells.items()])
    return value + sum([n * log(archetype.first[b]) for b, n in enumerate(first) if n > 0.0])


def voice_of(observations: float, share: float) -> float:
    """tau: what the log likelihood of so many observations counts, `share` of them to be believed.

    >>> voice_of(0.0, 1.0), voice_of(120.0, 1.0), voice_of(120.0, 0.5)
    (0.0, 0.5, 0.3333333333333333)
    """
    return share / (1.0 + share * observations / HALF_VOICE) if observations > 0.0 else 0.0


def posterior_weights(prior: Sequence[float], told: Sequence[float], voice: float) -> list[float]:
    """Weights of the archetypes given what was seen; they sum to 1.

    >>> [round(weight, 3) for weight in posterior_weights([0.5, 0.5], [0.0, -2.0], 0.5)]
    [0.731, 0.269]

    Args:
        prior: Their weights before; 0 rules one out.
        told: Log likelihood of what was seen, by archetype.
        voice: What it counts, see `voice_of`.
    """
    logs = [log(w) + voice * value if w > 0.0 else -inf for w, value in zip(prior, told, strict=True)]
    top = max(logs)
    raw = [exp(value - top) for value in logs]
    total = sum(raw)
    return [w / total for w in raw]


class ArchetypeMixture:
    """Probabilities of the outcomes, and the judge's optimism, under the weights.

    Args:
        archetypes: The kinds of loops.
        weights: Their weights.
        judge_sd: The judge's spread when it is stated; None: what the archetypes say.
    """

    __slots__ = ("_judge_sd", "_judged", "_parts", "_rows")

    def __init__(
        self, archetypes: Sequence[Archetype], weights: Sequence[float], judge_sd: float | None = None
    ) -> None:
        least = NEGLIGIBLE * max(weights)
        # The archetype that covers every cell is never left out.
        self._parts = [
            (w, a) for w, a in zip(weights, archetypes, strict=True) if w > least or a is archetypes[0]
        ]
        self._rows: dict[int, Row] = {}
        self._judged = [(w, a) for w, a in self._parts if a.optimism]
        self._judge_sd = judge_sd

    def __call__(self, cell: int) -> Row:
        """Probabilities of the outcomes in `cell`."""
        row = self._rows.get(cell)
        if row is None:
            row = self._rows[cell] = self._mix(cell)
        return row

    def _mix(self, cell: int) -> Row:
        total = [0.0] * WIDTH
        for weight, archetype in self._parts:
            reach = archetype.reach.get(cell)
            if reach is not None:
                here = max(weight, 1e-9) * reach
                total = [t + here * p for t, p in zip(total, archetype.row(cell), strict=True)]
        scale = 1.0 / sum(total)
        return [t * scale for t in total]

    @property
    def judge_errs(self) -> bool:
        """True when a judge that errs is believable enough to be reckoned with."""
        return sum(w for w, _ in self._judged) > BELIEVABLE * sum(w for w, _ in self._parts)

    def optimism(self, cell: int) -> tuple[float, float, float]:
        """Probability that the judge errs, and then the mean and sd of best observed score minus true quality."""
        mass = sum(w * a.reach.get(cell, 0.0) for w, a in self._parts) + 1e-12
        erring = mean = square = 0.0
        for weight, archetype in self._judged:
            here = weight * archetype.reach.get(cell, 0.0)
            if here > 0.0:
                scale = 1.0 if self._judge_sd is None else self._judge_sd / archetype.judge_sd
                m, s = archetype.optimism[cell]
                erring += here
                mean += here * scale * m
                square += here * scale * scale * (s * s + m * m)
        if erring <= 0.0:
            return 0.0, 0.0, 1.0
        mean /= erring
        return erring / mass, mean, sqrt(max(square / erring - mean * mean, 1e-6))

    def families(self) -> dict[str, float]:
        """Weight of each family, for people."""
        found: dict[str, float] = {}
        for weight, archetype in self._parts:
            found[archetype.family] = found.get(archetype.family, 0.0) + weight
        return found
