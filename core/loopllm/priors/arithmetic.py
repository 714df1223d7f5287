"""How beliefs and plans are worked out: cell by cell, which needs no library, or on tables (see `table_arithmetic`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from loopllm.priors.archetypes import Archetype, ArchetypeMixture, log_likelihood
from loopllm.priors.counts import Row, TransitionCounts
from loopllm.priors.exploration import Price
from loopllm.priors.planner import Plan, Stopping, make_plan
from loopllm.priors.tilting import Corrected, Outlook
from loopllm.priors.ways import Leaning


class Mixture(Protocol):
    """What archetypes with weights say; see `archetypes.ArchetypeMixture`."""

    def __call__(self, cell: int, /) -> Sequence[float]:
        """Probabilities of the outcomes in a cell."""
        ...

    @property
    def judge_errs(self) -> bool:
        """True when a judge that errs is believable enough to be reckoned with."""
        ...

    def optimism(self, cell: int, /) -> tuple[float, float, float]:
        """Probability that the judge errs, and then the mean and sd of best observed score minus true quality."""
        ...

    def families(self) -> dict[str, float]:
        """Weight of each family."""
        ...


class Arithmetic(Protocol):
    """The steps from statistics to a plan."""

    @property
    def archetypes(self) -> Sequence[Archetype]:
        """The kinds of loops."""
        ...

    def log_likelihoods(self, counts: TransitionCounts, first: Sequence[float]) -> Sequence[float]:
        """Log likelihood of transitions and of binned first scores, by archetype; see `archetypes.log_likelihood`."""
        ...

    def mixture(self, weights: Sequence[float], judge_sd: float | None) -> Mixture:
        """Probabilities of the outcomes under weights; see `archetypes.ArchetypeMixture`."""
        ...

    def corrected(self, outlook: Outlook, counts: TransitionCounts, strength: float = 1.0, /) -> Outlook:
        """A belief corrected by a table of counts; see `tilting.Corrected`."""
        ...

    def leaning(self, outlook: Outlook, factors: Row | None, /) -> Outlook:
        """A belief in whose every cell the outcomes are more or less likely by the same factors; see `ways.Leaning`."""
        ...

    def make_plan(
        self,
        outlooks: Mapping[str, Outlook],
        stopping: Stopping,
        prices: Mapping[str, Price],
        horizon: int,
    ) -> Plan:
        """Backward induction; see `planner.make_plan`."""
        ...


class CellByCell:
    """Needs no library; a row is worked out when it is first asked for.

    Args:
        archetypes: The kinds of loops.
    """

    corrected = staticmethod(Corrected)
    leaning = staticmethod(Leaning)
    make_plan = staticmethod(make_plan)

    def __init__(self, archetypes: Sequence[Archetype]) -> None:
        self.archetypes = archetypes

    def log_likelihoods(self, counts: TransitionCounts, first: Sequence[float]) -> Sequence[float]:
        """See `archetypes.log_likelihood`."""
        return [log_likelihood(archetype, counts, first) for archetype in self.archetypes]

    def mixture(self, weights: Sequence[float], judge_sd: float | None) -> Mixture:
        """See `archetypes.ArchetypeMixture`."""
        return ArchetypeMixture(self.archetypes, weights, judge_sd)
