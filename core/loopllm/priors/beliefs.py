"""What is expected of one more call, given everything that was seen.

From outermost to innermost: the shipped archetypes; which of them it is, by other pairs, then by pairs of the same task
or the same model (siblings), then by the pair itself; corrections by the siblings, then by the pair's own runs. Other
pairs speak with a bounded voice, so that a pair that is different soon speaks for itself. Own and siblings' counts
are disjoint: nothing counts twice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from loopllm.priors.archetypes import Archetype, posterior_weights, voice_of
from loopllm.priors.arithmetic import Arithmetic, Mixture
from loopllm.priors.counts import Row, TransitionCounts
from loopllm.priors.forgetting import faded, first_scores
from loopllm.priors.own_runs import OwnRuns, OwnRunsReader
from loopllm.priors.statistics import Statistics
from loopllm.priors.tilting import Outlook
from loopllm.priors.ways import OWN_STRENGTH, TWINS, before_trial, lean, with_twin

OTHERS_VOICE, SIBLINGS_VOICE = 20.0, 40.0
"""Transitions of other pairs that count, at most, towards which archetype it is."""

SIBLINGS_COUNT = 45.0
"""Transitions of siblings that count, at most, as corrections."""

SIBLINGS_COUNT_OF_A_WAY = 400.0
"""Transitions of siblings that count, at most, towards how a model does in one way of asking."""

OTHER_WAYS_COUNT = 8.0
"""Transitions made in other ways of asking that count, at most, towards the only way that is allowed."""

DOUBT = 0.1
"""Probability that a pair is not of the kind of its relatives."""

RELATIVES_GROWTH = 0.1
"""Part by which the runs of all pairs may grow before the relatives are asked again."""

ERRS_FROM = 0.03
"""A judge's spread from which archetypes whose judge does not err are ruled out; below, they may be the nearer ones."""

BELIEF_WEIGHT = 6.0
"""What a belief is worth before its cell was seen, in observations; for intervals."""

SUPPOSED = 0.95
"""Weight of an archetype that is taken for the truth for once; the rest covers the cells that it does not."""

Tables = Sequence[TransitionCounts]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the runs say, before the archetypes are mixed.

    Attributes:
        counts: The pair's own transitions, faded, by way of asking.
        tried: Transitions that speak of each way of asking; empty when there is no choice.
        looks: The outlooks, given a mixture of the archetypes.
    """

    counts: Mapping[str, TransitionCounts]
    tried: Mapping[str, float]
    looks: Callable[[Mixture], Mapping[str, Outlook]]


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
        first_scores: Number of the pair's first scores per bin, faded.
        outdated: Runs of the pair before its process changed.
        tried: Transitions that speak of each way of asking; empty when there is no choice.
        weights: Weights of the archetypes.
        arithmetic: How they were worked out.
        under: The outlooks under other weights of the archetypes.
    """

    outlooks: Mapping[str, Outlook]
    mixture: Mixture
    counts: Mapping[str, TransitionCounts]
    first_scores: Sequence[float]
    outdated: int
    tried: Mapping[str, float]
    weights: Sequence[float]
    arithmetic: Arithmetic
    under: Callable[[Sequence[float]], Mapping[str, Outlook]]

    def weight_of(self, cell: int) -> float:
        """What the belief in a cell is worth, in observations."""
        return BELIEF_WEIGHT + sum(counts.total(cell) for counts in self.counts.values())

    def supposing(self, drawn: float) -> Mapping[str, Outlook]:
        """The outlooks if one archetype were (all but) the truth, drawn with the probability that it is.

        Args:
            drawn: A number in [0, 1), the same chance for each.
        """
        reached = list(accumulate(self.weights))
        index = min(bisect_right(reached, drawn * reached[-1]), len(reached) - 1)
        supposed = [(1.0 - SUPPOSED) * weight for weight in self.weights]
        supposed[index] += SUPPOSED
        return self.under(supposed)


def capped(counts: TransitionCounts, most: float) -> TransitionCounts:
    """The same proportions, with a total of at most `most`."""
    total = counts.size
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
    total = counts.size
    return min(1.0, most / total) if total > 0.0 else 0.0


def does_err(judge_sd: float | None) -> bool | None:
    """Whether a judge of a known spread errs; None: not known, or hardly.

    >>> does_err(None), does_err(0.0), does_err(0.08)
    (None, False, True)
    """
    if judge_sd is None or 0.0 < judge_sd < ERRS_FROM:
        return None
    return judge_sd > 0.0


def start_weights(archetypes: Sequence[Archetype], judge_sd: float | None) -> list[float]:
    """Weights before any run; a known judge's spread rules out what contradicts it."""
    errs = does_err(judge_sd)
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
        arithmetic: How beliefs are worked out; holds the shipped prior.
        half_life: Runs after which a pair's own run counts half.
    """

    def __init__(self, arithmetic: Arithmetic, half_life: float) -> None:
        self.arithmetic = arithmetic
        self._archetypes = arithmetic.archetypes
        self._own = OwnRunsReader(arithmetic, half_life)
        self._fresh: dict[float | None, Mixture] = {}
        self._relatives: dict[tuple[str, bool | None], Relatives] = {}

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
        start = start_weights(self._archetypes, judge_sd)
        own = self._own.read(scopes.name, scopes.pair, start)
        if scopes.everything.runs > 0.0 or scopes.pair.runs > 0.0:
            relatives = self._of_relatives(scopes, judge_sd)
            weights = own.weights(relatives.weights)
            seen = self._seen(scopes, own, relatives, ways, usual)
            mixture = self.arithmetic.mixture(weights, judge_sd)
        else:
            weights, seen, mixture = start, self._nothing(ways or (usual,)), self._without_runs(judge_sd)
        return Beliefs(
            outlooks=seen.looks(mixture),
            mixture=mixture,
            counts=seen.counts,
            first_scores=own.first_scores,
            outdated=own.outdated,
            tried=seen.tried,
            weights=weights,
            arithmetic=self.arithmetic,
            under=lambda supposed: seen.looks(self.arithmetic.mixture(supposed, judge_sd)),
        )

    def _nothing(self, ways: Sequence[str]) -> _Seen:
        tried = dict.fromkeys(ways, 0.0)
        before, leaning = before_trial(tried), self.arithmetic.leaning
        return _Seen(
            {way: TransitionCounts() for way in ways},
            tried,
            lambda mixed: {way: leaning(mixed, factors) for way, factors in before.items()},
        )

    def _seen(
        self, scopes: Scopes, own: OwnRuns, relatives: Relatives, ways: Sequence[str] | None, usual: str
    ) -> _Seen:
        """What the runs say."""
        # Where this pair changed, what its relatives did before is in doubt as well.
        theirs = capped(relatives.siblings, SIBLINGS_COUNT * own.constancy)
        if ways is None:
            tables: Tables = (theirs, own.counts)
            return _Seen({usual: own.counts}, {}, lambda mixed: {usual: self._corrected(mixed, *tables)})
        if len(ways) == 1:
            tables, way = self._of_one_way(scopes, ways[0], own), ways[0]
            return _Seen({way: tables[-1]}, {}, lambda mixed: {way: self._corrected(mixed, *tables)})
        return self._by_way(scopes, ways, own, relatives.siblings, theirs)

    def _of_one_way(self, scopes: Scopes, way: str, own: OwnRuns) -> Tables:
        others = {w for _, w in scopes.pair.layers} - {way}
        rest = faded(scopes.pair, own.fading, others)
        siblings = capped(siblings_of(scopes, [way]), SIBLINGS_COUNT)
        return siblings, capped(rest, OTHER_WAYS_COUNT), faded(scopes.pair, own.fading, [way])

    def _by_way(
        self,
        scopes: Scopes,
        ways: Sequence[str],
        own: OwnRuns,
        siblings: TransitionCounts,
        theirs: TransitionCounts,
    ) -> _Seen:
        """Several ways to tell apart; see `ways`."""
        known = {*ways, *(way for _, way in scopes.pair.layers), *TWINS}
        seen = {way: faded(scopes.pair, own.fading, [way]) for way in known}
        others = {way: capped(siblings_of(scopes, [way]), SIBLINGS_COUNT_OF_A_WAY) for way in known}
        mine = {way: with_twin(seen.__getitem__, way) for way in ways}
        of_model = {way: mine[way] + with_twin(others.__getitem__, way) for way in ways}
        all_ways = capped(siblings + own.counts, SIBLINGS_COUNT_OF_A_WAY)

        tried = {way: of_model[way].size for way in ways}
        before = before_trial(tried)

        def looks(mixed: Mixture) -> Mapping[str, Outlook]:
            shared, average = self._corrected(mixed, theirs, own.counts), self._corrected(mixed, all_ways)
            leans = {way: lean(of_model[way], average, before[way]) for way in ways}
            return {way: self._departing(shared, leans[way], mine[way]) for way in ways}

        return _Seen({way: seen[way] for way in ways}, tried, looks)

    def _departing(self, shared: Outlook, factors: Row | None, own: TransitionCounts) -> Outlook:
        """What one way is expected to do: what all do, leaning its way, corrected by what it did here."""
        look = self.arithmetic.leaning(shared, factors)
        return self.arithmetic.corrected(look, own, OWN_STRENGTH) if own.cells else look

    def _corrected(self, outlook: Outlook, *tables: TransitionCounts) -> Outlook:
        """A belief corrected by one table after the other."""
        for counts in tables:
            if counts.cells:
                outlook = self.arithmetic.corrected(outlook, counts)
        return outlook

    def _of_relatives(self, scopes: Scopes, judge_sd: float | None) -> Relatives:
        key = (scopes.name, does_err(judge_sd))  # the spread itself does not matter here, and is learned anew
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
        strangers = _difference([faded(scopes.everything)], siblings, 1.0)
        strangers = _difference([strangers], faded(scopes.pair), 1.0)
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
        voice = voice_of(counts.size + sum(firsts), _voice(counts, most))
        told = posterior_weights(weights, self.arithmetic.log_likelihoods(counts, firsts), voice)
        return _doubted(told, weights)

    def _without_runs(self, judge_sd: float | None) -> Mixture:
        mixture = self._fresh.get(judge_sd)
        if mixture is None:
            weights = start_weights(self._archetypes, judge_sd)
            mixture = self._fresh[judge_sd] = self.arithmetic.mixture(weights, judge_sd)
        return mixture


def siblings_of(scopes: Scopes, ways: Sequence[str] | None) -> TransitionCounts:
    """Transitions of other pairs of the same task or the same model."""
    if scopes.task.runs + scopes.model.runs <= 2.0 * scopes.pair.runs:
        return TransitionCounts()
    own = faded(scopes.pair, None, ways)
    return _difference([faded(each, None, ways) for each in (scopes.task, scopes.model)], own, 2.0)
