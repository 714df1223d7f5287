"""What is expected of one more call, given everything that was seen.

From outermost to innermost: the shipped archetypes; which of them it is, by other pairs, then by pairs of the same task
or the same model (siblings), then by the pair itself; corrections by the siblings, then by the pair's own runs. Other
pairs speak with a bounded voice, so that a pair that is different soon speaks for itself. Own and siblings' counts
are disjoint: nothing counts twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loopllm.priors.archetypes import FIRST_BINS, Archetype, ArchetypeMixture, posterior_weights
from loopllm.priors.counts import TransitionCounts
from loopllm.priors.forgetting import constancy, faded
from loopllm.priors.statistics import Statistics
from loopllm.priors.tilting import Corrected, Outlook
from loopllm.priors.ways import TWINS, departing, with_twin

OTHERS_VOICE, SIBLINGS_VOICE = 20.0, 40.0
"""Transitions of other pairs that count, at most, towards which archetype it is."""

SIBLINGS_COUNT = 45.0
"""Transitions of siblings that count, at most, as corrections."""

SIBLINGS_COUNT_OF_A_WAY = 400.0
"""The same in one way of asking, when it is compared with other ways."""

OTHER_WAYS_COUNT = 8.0
"""Transitions made in other ways of asking that count, at most, towards one way."""

DOUBT = 0.1
"""Probability that a pair is not of the kind of its relatives."""

RELATIVES_GROWTH = 0.1
"""Part by which the runs of all pairs may grow before the relatives are asked again."""

ASK_ALL_EVERY = 16.0
"""Runs between two times that all archetypes are weighed; in between only those that have a chance."""

OUT_OF_THE_QUESTION = 1e-7

BELIEF_WEIGHT = 6.0
"""What a belief is worth before its cell was seen, in observations; for intervals."""

FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Scopes:
    """Statistics of a pair, and of everything of its task, of its model, and of all; `name` is the pair's."""

    name: str
    pair: Statistics
    task: Statistics
    model: Statistics
    everything: Statistics


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What is expected.

    Attributes:
        outlooks: Probabilities of the outcomes per cell, by way of asking.
        mixture: The archetypes behind them.
        counts: The pair's own transitions, faded, by way of asking.
        tried: Transitions that speak of each way, of the pair and of its siblings.
    """

    outlooks: Mapping[str, Outlook]
    mixture: ArchetypeMixture
    counts: Mapping[str, TransitionCounts]
    tried: Mapping[str, float] = field(default_factory=dict[str, float])

    def weight_of(self, cell: int) -> float:
        """What the belief in a cell is worth, in observations."""
        return BELIEF_WEIGHT + sum(counts.total(cell) for counts in self.counts.values())


def first_scores(statistics: Statistics) -> list[float]:
    """Number of first scores per bin."""
    return [statistics.get(f"s/first/{b}") for b in range(FIRST_BINS)]


def capped(counts: TransitionCounts, most: float) -> TransitionCounts:
    """The same proportions, with a total of at most `most`."""
    total = sum(map(sum, counts.cells.values()))
    scaled = TransitionCounts()
    if total > 0.0:
        scaled.merge(counts, min(1.0, most / total))
    return scaled


def _difference(plus: Sequence[TransitionCounts], minus: TransitionCounts, times: float) -> TransitionCounts:
    total = TransitionCounts()
    for counts in plus:
        total.merge(counts)
    if minus.cells:
        total.merge(minus, -times)
    total.cells = {cell: row for cell, row in total.cells.items() if sum(row) > 1e-6}  # noqa: PLR2004
    return total


def _doubted(weights: Sequence[float], prior: Sequence[float]) -> list[float]:
    return [(1.0 - DOUBT) * w + DOUBT * p for w, p in zip(weights, prior, strict=True)]


def _voice(counts: TransitionCounts, most: float) -> float:
    total = sum(map(sum, counts.cells.values()))
    return min(1.0, most / total) if total > 0.0 else 0.0


def start_weights(archetypes: Sequence[Archetype], judge_sd: float | None) -> list[float]:
    """Weights before any run; a stated judge's spread rules out what contradicts it."""
    errs = None if judge_sd is None else judge_sd > 0.0
    raw = [a.weight if errs is None or errs is bool(a.optimism) else 0.0 for a in archetypes]
    total = sum(raw)
    return [w / total for w in raw]


@dataclass(frozen=True, slots=True)
class Relatives:
    """What other pairs say of a pair, at one moment.

    Attributes:
        pooled: Runs of all pairs then.
        siblings: Transitions of pairs of the same task or the same model.
        weights: Weights of the archetypes before the pair's own runs.
    """

    pooled: float
    siblings: TransitionCounts
    weights: Sequence[float]

    def hold(self, pooled: float) -> bool:
        """Whether so few runs came in since that what the others say may stay."""
        return pooled <= self.pooled * (1.0 + RELATIVES_GROWTH) + 3.0


class Believer:
    """Forms beliefs from statistics; holds the archetypes and what was said of each pair by its relatives.

    Args:
        archetypes: The shipped prior.
        half_life: Runs after which a pair's own run counts half.
    """

    def __init__(self, archetypes: Sequence[Archetype], half_life: float) -> None:
        self._archetypes = archetypes
        self._half_life = half_life
        self._fresh: dict[float | None, ArchetypeMixture] = {}
        self._contenders: dict[tuple[str, float | None], tuple[float, list[bool]]] = {}
        self._relatives: dict[tuple[str, float | None], Relatives] = {}

    def believe(
        self, scopes: Scopes, ways: Sequence[str] | None, usual: str, judge_sd: float | None
    ) -> Beliefs:
        """Beliefs for one pair.

        Args:
            scopes: Its statistics and its relatives'.
            ways: The ways of asking again to tell apart; None: they are not told apart.
            usual: Name of the only way then.
            judge_sd: The judge's test-retest spread if it is stated.
        """
        if scopes.everything.runs <= 0.0 and scopes.pair.runs <= 0.0:
            mixture = self._without_runs(judge_sd)
            return Beliefs(
                dict.fromkeys(ways or (usual,), mixture),
                mixture,
                {w: TransitionCounts() for w in ways or (usual,)},
            )
        own = faded(scopes.pair, self._half_life)
        relatives = self._of_relatives(scopes, judge_sd)
        weights = self._told_by_own(scopes, relatives.weights, own, judge_sd)
        mixture = ArchetypeMixture(self._archetypes, weights, judge_sd)
        if ways is None:
            # Where this pair changed, what its relatives did before is in doubt as well.
            theirs = capped(relatives.siblings, SIBLINGS_COUNT * constancy(scopes.pair))
            outlook = _corrected(mixture, theirs, own)
            return Beliefs({usual: outlook}, mixture, {usual: own})
        if len(ways) == 1:
            return self._of_one_way(scopes, mixture, ways[0])
        return self._by_way(scopes, mixture, ways, relatives.siblings)

    def _of_one_way(self, scopes: Scopes, mixture: ArchetypeMixture, way: str) -> Beliefs:
        own = faded(scopes.pair, self._half_life, [way])
        others = {w for _, w in scopes.pair.layers} - {way}
        rest = capped(faded(scopes.pair, self._half_life, others), OTHER_WAYS_COUNT)
        siblings = capped(siblings_of(scopes, [way]), SIBLINGS_COUNT)
        return Beliefs({way: _corrected(mixture, siblings, rest, own)}, mixture, {way: own})

    def _by_way(
        self, scopes: Scopes, mixture: ArchetypeMixture, ways: Sequence[str], siblings: TransitionCounts
    ) -> Beliefs:
        known = {*ways, *(way for _, way in scopes.pair.layers), *TWINS}
        own = {way: faded(scopes.pair, self._half_life, [way]) for way in known}
        theirs = {way: capped(siblings_of(scopes, [way]), SIBLINGS_COUNT_OF_A_WAY) for way in known}
        whole = _difference(list(own.values()), TransitionCounts(), 0.0)
        shared = _corrected(mixture, capped(siblings, SIBLINGS_COUNT * constancy(scopes.pair)), whole)
        average = _corrected(mixture, capped(siblings + whole, SIBLINGS_COUNT_OF_A_WAY))
        looks: dict[str, Outlook] = {}
        tried: dict[str, float] = {}
        for way in ways:
            mine, others = with_twin(own.__getitem__, way), with_twin(theirs.__getitem__, way)
            looks[way] = departing(shared, mine + others, mine, average)
            tried[way] = _size(mine) + _size(others)
        return Beliefs(looks, mixture, {way: own[way] for way in ways}, tried)

    def _of_relatives(self, scopes: Scopes, judge_sd: float | None) -> Relatives:
        key = (scopes.name, judge_sd)
        have = self._relatives.get(key)
        if have is None or not have.hold(scopes.everything.runs):
            have = self._relatives[key] = self._ask_relatives(scopes, judge_sd)
        return have

    def _ask_relatives(self, scopes: Scopes, judge_sd: float | None) -> Relatives:
        pooled, siblings = scopes.everything.runs, siblings_of(scopes, None)
        weights: Sequence[float] = start_weights(self._archetypes, judge_sd)
        if pooled <= scopes.pair.runs:
            return Relatives(pooled, siblings, weights)
        scores = map(first_scores, (scopes.pair, scopes.task, scopes.model, scopes.everything))
        firsts = list(zip(*scores, strict=True))
        strangers = _difference([faded(scopes.everything, FOREVER)], siblings, 1.0)
        strangers = _difference([strangers], faded(scopes.pair, FOREVER), 1.0)
        theirs = [max(0.0, every - task - model + own) for own, task, model, every in firsts]
        weights = self._told_by(weights, strangers, theirs, OTHERS_VOICE)
        theirs = [max(0.0, task + model - 2.0 * own) for own, task, model, _ in firsts]
        weights = self._told_by(weights, siblings, theirs, SIBLINGS_VOICE)
        return Relatives(pooled, siblings, weights)

    def _told_by(
        self, weights: Sequence[float], counts: TransitionCounts, firsts: Sequence[float], most: float
    ) -> Sequence[float]:
        """Weights given other pairs' runs, in a bounded voice and with some doubt."""
        if not counts.cells:
            return weights
        told = posterior_weights(self._archetypes, weights, counts, firsts, _voice(counts, most))
        return _doubted(told, weights)

    def _told_by_own(
        self, scopes: Scopes, weights: Sequence[float], own: TransitionCounts, judge_sd: float | None
    ) -> list[float]:
        """Weights given the pair's own runs; archetypes that are out of the question are asked again now and then."""
        runs, firsts, key = scopes.pair.runs, first_scores(scopes.pair), (scopes.name, judge_sd)
        asked, contend = self._contenders.get(key, (-1.0, []))
        if ASK_ALL_EVERY <= asked <= runs < asked + ASK_ALL_EVERY:
            weights = [w if chance else 0.0 for w, chance in zip(weights, contend, strict=True)]
            return posterior_weights(self._archetypes, weights, own, firsts)
        found = posterior_weights(self._archetypes, weights, own, firsts)
        self._contenders[key] = (runs, [w > OUT_OF_THE_QUESTION for w in found])
        return found

    def _without_runs(self, judge_sd: float | None) -> ArchetypeMixture:
        mixture = self._fresh.get(judge_sd)
        if mixture is None:
            weights = start_weights(self._archetypes, judge_sd)
            mixture = self._fresh[judge_sd] = ArchetypeMixture(self._archetypes, weights, judge_sd)
        return mixture


def siblings_of(scopes: Scopes, ways: Sequence[str] | None) -> TransitionCounts:
    """Transitions of other pairs of the same task or the same model."""
    if scopes.task.runs + scopes.model.runs <= 2.0 * scopes.pair.runs:
        return TransitionCounts()
    own = faded(scopes.pair, FOREVER, ways)
    return _difference([faded(s, FOREVER, ways) for s in (scopes.task, scopes.model)], own, 2.0)


def _size(counts: TransitionCounts) -> float:
    return sum(map(sum, counts.cells.values()))


def _corrected(outlook: Outlook, *tables: TransitionCounts) -> Outlook:
    """A belief corrected by one table after the other."""
    for counts in tables:
        if counts.cells:
            outlook = Corrected(outlook, counts)
    return outlook
