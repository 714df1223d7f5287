"""What do a pair's own runs say: what kind of loop it is, and how far back they still speak of it."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isinf

from loopllm.priors.archetypes import posterior_weights, voice_of
from loopllm.priors.arithmetic import Arithmetic
from loopllm.priors.change import LogLikelihoods, belief_in_generations
from loopllm.priors.counts import Row, TransitionCounts
from loopllm.priors.forgetting import Fading, by_generation, constancy, faded, fading, first_scores
from loopllm.priors.statistics import Statistics

DOUBTED = 0.5
"""Runs are outdated from this probability down that the process is still the one they saw."""


@dataclass(frozen=True, slots=True)
class OwnRuns:
    """A pair's own runs, older ones faded.

    Attributes:
        counts: Transitions, in whatever way they were asked for.
        first_scores: Number of first scores per bin.
        fading: Weights of the generations.
        constancy: Probability that the process is still what it was in the oldest of them.
        outdated: Runs before it changed; 0 when it hardly did.
        told: Log likelihoods of the archetypes.
    """

    counts: TransitionCounts
    first_scores: Row
    fading: Fading
    constancy: float
    outdated: int
    told: LogLikelihoods

    def weights(self, prior: Sequence[float]) -> list[float]:
        """Weights of the archetypes after these runs, given those before."""
        voice = voice_of(self.counts.size + sum(self.first_scores), 1.0)
        return posterior_weights(prior, self.told, voice)


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a generation told when it was last asked, and what it had seen then."""

    counts: TransitionCounts
    first_scores: Row
    told: LogLikelihoods

    def holds(self, counts: TransitionCounts, first: Row) -> bool:
        return self.counts.cells == counts.cells and self.first_scores == first


class OwnRunsReader:
    """Reads pairs' own runs; remembers what each generation told, since only the last one goes on growing.

    Args:
        arithmetic: How likelihoods are worked out.
        half_life: Runs after which a run counts half; infinite: nothing fades, whatever happens.
    """

    def __init__(self, arithmetic: Arithmetic, half_life: float) -> None:
        self._arithmetic = arithmetic
        self._half_life = half_life
        self._heard: dict[str, dict[int, _Heard]] = {}

    def read(self, name: str, pair: Statistics, start: Sequence[float]) -> OwnRuns:
        """What the runs of the pair called `name` say, where the archetypes weigh `start` before any run."""
        told = self._told(name, pair)
        trust = {} if isinf(self._half_life) else belief_in_generations(told, start)
        weights = fading(pair.runs, self._half_life, trust)
        return OwnRuns(
            faded(pair, weights),
            first_scores(pair, weights),
            weights,
            constancy(trust),
            int(sum(sum(row) for age, row in pair.firsts.items() if trust.get(age, 1.0) < DOUBTED)),
            _summed(told, weights, len(start)),
        )

    def _told(self, name: str, pair: Statistics) -> dict[int, LogLikelihoods]:
        before, now = self._heard.get(name, {}), dict[int, _Heard]()
        for generation, (counts, first) in by_generation(pair).items():
            heard = before.get(generation)
            if heard is None or not heard.holds(counts, first):
                # Kept for every pair there is: an array takes a quarter of a list's memory.
                told = array("d", self._arithmetic.log_likelihoods(counts, first))
                heard = _Heard(TransitionCounts(counts.cells), list(first), told)
            now[generation] = heard
        self._heard[name] = now
        return {generation: heard.told for generation, heard in now.items()}


def _summed(told: Mapping[int, LogLikelihoods], weights: Fading, width: int) -> list[float]:
    total = [0.0] * width
    for generation, logs in told.items():
        weight = weights.get(generation, 1.0)
        total = [have + weight * value for have, value in zip(total, logs, strict=True)]
    return total
