"""Simulated models for which the ways of asking again differ: where the choice between ways was developed.

A world is one model and a few types of task. An item has an ease; a way either *draws* (an independent draft) or
*revises* (the draft that is shown gets better, stays, or falls), and suits the model more or less: an effect of the way
for the model, one of the way for the type, both drawn anew for every world. In one world in four no way is better than
another.
All noise is a function of (world, type, item, call, way), so that arms which do the same see the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp
from random import Random
from statistics import fmean
from typing import Any

from benchmarks.next_move_lab.arms import CALLS, GOALS, SINGLE, Goal

from loopllm import AdaptivePriors, CallObservation

TYPES, RUNS = 3, 50


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + exp(-x))


@dataclass(frozen=True, slots=True)
class World:
    """One simulated model; `effects[type][way]` says how well a way suits it, in log odds."""

    seed: int
    levels: Sequence[float]
    effects: Sequence[dict[str, float]]

    def score(self, kind: int, item: int, way: str, call: int, shown: float) -> float:
        """Score of one call; `shown` is the score of the draft that the model sees."""
        noise = Random(f"{self.seed}/{kind}/{item}/{call}/{way}")
        ease = self.levels[kind] + Random(f"{self.seed}/{kind}/{item}").gauss(0.0, 1.2)
        good = _logistic(ease + self.effects[kind].get(way, 0.0))
        if way in {"last", "best"}:
            return _revised(noise, good, shown)
        if noise.random() < 0.5 * good:
            return 1.0
        return min(max(0.15 + 0.5 * good + noise.gauss(0.0, 0.15), 0.0), 0.95)


def _revised(noise: Random, good: float, shown: float) -> float:
    if noise.random() < 0.6 * good:
        return 1.0 if noise.random() < 0.4 else shown + (1.0 - shown) * noise.random() ** 1.5
    return shown if noise.random() < 0.3 else shown * noise.random()


@lru_cache(maxsize=256)
def world(seed: int) -> World:
    """A world, everything about it drawn at random."""
    rng = Random(seed)
    spread = 0.0 if seed % 4 == 3 else 1.2
    of_model = {way: rng.gauss(0.0, spread) for way in SINGLE}
    levels = [rng.gauss(-0.5, 0.8) for _ in range(TYPES)]
    effects = [{way: e + rng.gauss(0.0, spread / 2) for way, e in of_model.items()} for _ in range(TYPES)]
    return World(seed, levels, effects)


def run(place: World, policy: Any, goal: Goal, kind: int, item: int) -> tuple[list[float], list[str]]:
    """Scores and ways of one run under a policy."""
    scores = [place.score(kind, item, "first", 1, 0.0)]
    actions: list[str] = []
    while scores[-1] < goal.threshold and len(scores) < CALLS:
        way = policy.decide(scores, actions).move
        if way is None:
            break
        shown = scores[-1] if way == "last" else max(scores)
        asked = "last" if way == "best" and scores[-1] == shown else way  # the same draft is the same prompt
        scores.append(place.score(kind, item, asked, len(scores) + 1, shown))
        actions.append(way)
    return scores, actions


def earned(
    place: World, ways: Sequence[str], goal: Goal, runs: int = RUNS, priors: Any = None
) -> list[float]:
    """Utility of each run, learning online, the types taking turns."""
    priors = AdaptivePriors() if priors is None else priors
    found = []
    for item in range(runs):
        for kind in range(TYPES):
            policy = priors.policy(
                f"type {kind}", "model", objective=goal.objective, quality_threshold=goal.threshold,
                call_cost=goal.call_cost, max_iterations=CALLS, ways=tuple(ways), explore=True, seed=place.seed,
            )  # fmt: skip
            scores, actions = run(place, policy, goal, kind, item)
            value = max(scores) if goal.objective == "quality" else float(max(scores) >= goal.threshold)
            found.append(value - goal.call_cost * len(scores))
            priors.observe(
                CallObservation(f"type {kind}", "model", scores, actions=actions, quality_threshold=goal.threshold,
                                max_iterations=CALLS)
            )  # fmt: skip
    return found


def compared(seed: int, goal: str, runs: int = RUNS) -> dict[str, float]:
    """Mean utility of every single way and of the choice, in one world."""
    place = world(seed)
    arms = {**{way: (way,) for way in SINGLE}, "auto": SINGLE}
    return {name: fmean(earned(place, ways, GOALS[goal], runs)) for name, ways in arms.items()}
