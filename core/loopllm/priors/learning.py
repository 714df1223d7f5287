"""How an observation becomes additions to the statistics.

Rule 1: a whole run teaches the sum of its rounds and its end, so that a live run may be learned round by round.
Rule 2: a pair's statistics hold everything; those shared with other pairs hold the transitions, the mean costs of
calls, the repeats of judges and the number of runs.
Rule 3: transitions are learned from the first judgement of each draft, whether or not it was judged again: a score that
is the mean of several varies less, and runs with and without repeats would not compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from loopllm.priors.cost_sums import FIRST_WAY, CostRow, add_call, add_row, add_totals, empty_row, era_of
from loopllm.priors.counts import WIDTH, TransitionCounts
from loopllm.priors.first_scores import first_bin
from loopllm.priors.forgetting import OLDEST
from loopllm.priors.judge_spread import JudgeSpread
from loopllm.priors.observation import USUAL_WAY, CallObservation, RoundObservation
from loopllm.priors.run_state import transitions
from loopllm.priors.statistics import Statistics
from loopllm.results import UNKNOWN_USAGE, Usage

DEEPEST = 64
"""Depths beyond this one are summed under it, so that the statistic stays of fixed size."""

Event = tuple[str, int, int]
"""Way of asking, cell before, outcome."""

_SUMS = ("n", "score", "best", "up", "gain", "reached")
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


def learn_depths(statistics: Statistics, seen: CallObservation | RoundObservation, first: int = 1) -> None:
    """Add the scores of calls `first` and later, as they were stated, to the sums per depth."""
    _learn_first_success(statistics, seen.scores, seen.quality_threshold, first)
    sums = statistics.sums
    best = -1.0
    for depth, score in enumerate(seen.stated or seen.scores, start=1):
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


def _learn_first_success(
    statistics: Statistics, scores: Sequence[float], threshold: float, first: int
) -> None:
    for depth, score in enumerate(scores, start=1):
        if score >= threshold:
            if depth >= first:
                learn_success(statistics, depth)
            return


def learn_success(statistics: Statistics, depth: int) -> None:
    """Count a run that was first good enough after `depth` calls.

    Depths beyond `DEEPEST` share a sum, so the power of two at or above them is counted too: what is suggested is never
    below them.
    """
    statistics.bump(_DEPTH_NAMES[min(depth, DEEPEST)][-1])
    if depth > DEEPEST:
        statistics.bump(f"s/success/{1 << (depth - 1).bit_length()}")


def costs_of(seen: CallObservation | RoundObservation) -> dict[str, CostRow]:
    """What the calls of a run cost, or the last one of a live run, by way of asking; nothing where nobody said.

    >>> seen = CallObservation("sql", "m", [0.3, 0.9], usages=[Usage(90, 10), Usage(150, 12, cost=0.01)])
    >>> {way: (row[0], row[3], row[15]) for way, row in costs_of(seen).items()}
    {'first': (0.0, 0.0, 100.0), 'last': (1.0, 0.01, 162.0)}
    """
    rows: dict[str, CostRow] = {}
    if isinstance(seen, RoundObservation):
        if seen.latency_ms is not None or seen.usage is not UNKNOWN_USAGE:
            _add(rows, seen.actions, len(seen.scores), seen.latency_ms, seen.evaluation_ms, seen.usage)
        return rows
    if len(seen.latencies_ms) or len(seen.usages):
        said = zip_longest(seen.latencies_ms, seen.evaluations_ms, seen.usages)
        for call, (latency, judged, usage) in enumerate(said, start=1):
            _add(rows, seen.actions, call, latency, judged, usage or UNKNOWN_USAGE)
    return rows


def _add(
    rows: dict[str, CostRow],
    actions: Sequence[str],
    call: int,
    latency: float | None,
    judged: float | None,
    usage: Usage,
) -> None:
    # Whoever waits for a call waits for its verdict too.
    waited = latency if latency is None or judged is None else latency + judged
    way = FIRST_WAY if call == 1 else way_of(actions, call)
    row = rows.get(way)
    if row is None:
        row = rows[way] = empty_row()
    add_call(row, max(0, call - 2), usage.cost, waited, usage.total_tokens)


def learn_costs(statistics: Statistics, generation: int, costs: Mapping[str, CostRow]) -> None:
    """Add what calls cost to their pair's statistics."""
    era = era_of(generation)
    for way, row in costs.items():
        add_row(statistics.cost_row(era, way), row)


def learn_latencies(statistics: Statistics, latencies_ms: Sequence[float]) -> None:
    """Add the milliseconds of calls, their evaluation not counted."""
    if len(latencies_ms):
        statistics.bump("s/ms/n", len(latencies_ms))
        statistics.bump("s/ms/sum", sum(latencies_ms))


def learn_shared(
    statistics: Statistics,
    events: Sequence[Event],
    first: float | None,
    costs: Mapping[str, CostRow],
    judgements: Sequence[Sequence[float]] = (),
) -> None:
    """What a pair's relatives learn: transitions, costs, a judge's repeats, and the first score when a run starts."""
    learn_events(statistics, OLDEST, events)
    if len(judgements):
        JudgeSpread.of(judgements).learn(statistics)
    for way, row in costs.items():
        add_totals(statistics.cost_row(OLDEST, way), row)
    if first is not None:
        statistics.bump("s/runs")
        statistics.first_score(OLDEST, first_bin(first))


def learn_round(
    statistics: Statistics, generation: int, events: Sequence[Event], seen: RoundObservation
) -> None:
    """Everything that one round teaches about its pair."""
    if len(seen.scores) == 1:
        statistics.bump("s/runs")
        statistics.first_score(generation, first_bin(seen.scores[0]))
    learn_events(statistics, generation, events)
    learn_depths(statistics, seen, first=len(seen.scores))
    learn_latencies(statistics, () if seen.latency_ms is None else (seen.latency_ms,))


def learn_run(
    statistics: Statistics, generation: int, events: Sequence[Event], seen: CallObservation
) -> None:
    """Everything that the rounds of a whole run teach about its pair."""
    statistics.bump("s/runs")
    statistics.first_score(generation, first_bin(seen.scores[0]))
    learn_events(statistics, generation, events)
    learn_depths(statistics, seen)
    learn_latencies(statistics, seen.latencies_ms)


def learn_end(statistics: Statistics, seen: CallObservation) -> None:
    """What the end of a run teaches about its pair."""
    statistics.bump("s/ended")
    statistics.bump("s/calls", seen.total_iterations or len(seen.scores))
    statistics.bump(f"s/threshold/{float(seen.quality_threshold)!r}")  # every digit: it is suggested again
    if seen.reached:
        statistics.bump("s/reached")
        if max(seen.scores) < seen.quality_threshold:
            learn_success(statistics, len(seen.scores))  # good enough by the evaluator's word alone
    if len(seen.judgements):
        JudgeSpread.of(seen.judgements).learn(statistics)
