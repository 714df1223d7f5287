"""How an observation becomes additions to the statistics.

Rule 1: a whole run teaches the sum of its rounds and its end, so that a live run may be learned round by round.
Rule 2: a pair's statistics hold everything; those shared with other pairs hold the transitions and the number of runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from loopllm.priors.archetypes import FIRST_BINS, first_bin
from loopllm.priors.counts import WIDTH, TransitionCounts
from loopllm.priors.forgetting import OLDEST
from loopllm.priors.observation import USUAL_WAY, CallObservation, RoundObservation
from loopllm.priors.run_state import transitions
from loopllm.priors.statistics import Statistics
from loopllm.results import Usage

DEEPEST = 64
"""Depths beyond this one are summed under it, so that the statistic stays of fixed size."""

Event = tuple[str, int, int]
"""Way of asking, cell before, outcome."""

_SUMS = ("n", "score", "best", "up", "gain", "reached")
_FIRST_NAMES = tuple(f"s/first/{b}" for b in range(FIRST_BINS))
_DEPTH_NAMES = tuple(tuple(f"d/{depth}/{what}" for what in _SUMS) for depth in range(DEEPEST + 1))


def way_of(actions: Sequence[str], call: int) -> str:
    """How call number `call` (2 or more) was asked for."""
    index = call - 2
    return actions[index] if index < len(actions) else USUAL_WAY


def events_of(scores: Sequence[float], actions: Sequence[str]) -> list[Event]:
    """What every call after the first did.

    >>> events_of([0.0, 1.0], [])
    [('last', 0, 11)]
    """
    return [(way_of(actions, call), cell, o) for call, (cell, o) in enumerate(transitions(scores), start=2)]


def learn_events(statistics: Statistics, generation: int, events: Sequence[Event]) -> None:
    """Count the transitions."""
    layers = statistics.layers
    for way, cell, outcome in events:
        layer = layers.get((generation, way))
        if layer is None:
            layer = layers[generation, way] = TransitionCounts()
        row = layer.cells.get(cell)
        if row is None:
            row = layer.cells[cell] = [0.0] * WIDTH
        row[outcome] += 1.0


def learn_depths(statistics: Statistics, scores: Sequence[float], threshold: float, first: int = 1) -> None:
    """Add the scores of calls `first` and later to the sums per depth."""
    sums = statistics.sums
    best = -1.0
    for depth, score in enumerate(scores, start=1):
        before, best = best, max(best, score)
        if depth < first:
            continue
        n, total, highest, up, gain, _ = _DEPTH_NAMES[min(depth, DEEPEST)]
        sums[n] = sums.get(n, 0.0) + 1.0
        sums[total] = sums.get(total, 0.0) + score
        sums[highest] = sums.get(highest, 0.0) + best
        if best > before >= 0.0:
            sums[up] = sums.get(up, 0.0) + 1.0
            sums[gain] = sums.get(gain, 0.0) + best - before
        if best >= threshold > before:
            learn_success(statistics, depth)
    if first == 1:
        statistics.bump(_FIRST_NAMES[first_bin(scores[0])])


def learn_success(statistics: Statistics, depth: int) -> None:
    """Count a run that was first good enough after `depth` calls.

    Depths beyond `DEEPEST` share a sum, so the power of two at or above them is counted too: what is suggested is never
    below them.
    """
    statistics.bump(_DEPTH_NAMES[min(depth, DEEPEST)][-1])
    if depth > DEEPEST:
        statistics.bump(f"s/success/{1 << (depth - 1).bit_length()}")


def learn_call_costs(statistics: Statistics, latencies_ms: Sequence[float], usages: Sequence[Usage]) -> None:
    """Add milliseconds, tokens and money of calls, each with its own count."""
    for latency in latencies_ms:
        statistics.bump("s/ms/n")
        statistics.bump("s/ms/sum", latency)
        statistics.bump("s/ms/square", latency * latency)
    for usage in usages:
        for name, amount in (("tokens", usage.total_tokens), ("money", usage.cost)):
            if amount is not None:
                statistics.bump(f"s/{name}/n")
                statistics.bump(f"s/{name}/sum", amount)
                statistics.bump(f"s/{name}/square", amount * amount)


def learn_shared(statistics: Statistics, events: Sequence[Event], first: float | None) -> None:
    """What a pair's relatives learn: the transitions and, when a run starts, its first score."""
    learn_events(statistics, OLDEST, events)
    if first is not None:
        statistics.bump("s/runs")
        statistics.bump(_FIRST_NAMES[first_bin(first)])


def learn_round(
    statistics: Statistics, generation: int, events: Sequence[Event], seen: RoundObservation
) -> None:
    """Everything that one round teaches about its pair."""
    if len(seen.scores) == 1:
        statistics.bump("s/runs")
    learn_events(statistics, generation, events)
    learn_depths(statistics, seen.scores, seen.quality_threshold, first=len(seen.scores))
    learn_call_costs(statistics, () if seen.latency_ms is None else (seen.latency_ms,), (seen.usage,))


def learn_run(
    statistics: Statistics, generation: int, events: Sequence[Event], seen: CallObservation
) -> None:
    """Everything that the rounds of a whole run teach about its pair."""
    statistics.bump("s/runs")
    learn_events(statistics, generation, events)
    learn_depths(statistics, seen.scores, seen.quality_threshold)
    if seen.latencies_ms or seen.usages:
        learn_call_costs(statistics, seen.latencies_ms, seen.usages)


def learn_end(statistics: Statistics, seen: CallObservation) -> None:
    """What the end of a run teaches about its pair."""
    statistics.bump("s/ended")
    statistics.bump("s/calls", seen.total_iterations or len(seen.scores))
    statistics.bump(f"s/threshold/{float(seen.quality_threshold)!r}")  # every digit: it is suggested again
    if seen.reached:
        statistics.bump("s/reached")
        if max(seen.scores) < seen.quality_threshold:
            learn_success(statistics, len(seen.scores))  # good enough by the evaluator's word alone
