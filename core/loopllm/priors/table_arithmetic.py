"""Beliefs and plans on whole tables: some five times as fast as cell by cell; needs numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loopllm.priors.archetypes import Archetype
from loopllm.priors.counts import Row, TransitionCounts
from loopllm.priors.exploration import Price
from loopllm.priors.planner import Plan, StopValue
from loopllm.priors.score_grid import ScoreGrid
from loopllm.priors.table_beliefs import ArchetypeTables, TableMixture, TableOutlook, corrected, leaning
from loopllm.priors.table_planner import make_plan
from loopllm.priors.tilting import Outlook


class OnTables:
    """See `arithmetic.Arithmetic`.

    Args:
        archetypes: The kinds of loops.
    """

    def __init__(self, archetypes: Sequence[Archetype]) -> None:
        self.archetypes = archetypes
        self._tables = ArchetypeTables(archetypes)

    def posterior_weights(
        self, prior: Sequence[float], counts: TransitionCounts, first: Sequence[float], share: float = 1.0
    ) -> list[float]:
        """See `archetypes.posterior_weights`."""
        return self._tables.posterior_weights(prior, counts, first, share)

    def mixture(self, weights: Sequence[float], judge_sd: float | None) -> TableMixture:
        """See `archetypes.ArchetypeMixture`."""
        return TableMixture(self._tables, weights, judge_sd)

    def corrected(self, outlook: Outlook, counts: TransitionCounts, strength: float = 1.0) -> TableOutlook:
        """See `tilting.Corrected`."""
        return corrected(outlook, counts, strength)

    def leaning(self, outlook: Outlook, factors: Row | None) -> TableOutlook:
        """See `ways.Leaning`."""
        return leaning(outlook, factors)

    def make_plan(
        self,
        outlooks: Mapping[str, Outlook],
        worth: StopValue,
        prices: Mapping[str, Price],
        horizon: int,
        grid: ScoreGrid,
    ) -> Plan:
        """See `planner.make_plan`."""
        return make_plan(outlooks, worth, prices, horizon, grid)
