"""Where do the simulated runs behind the cold start come from?

Eight generic families, each a function `(rng, runs) -> Simulated` of arrays (runs, CALLS). Every call of a simulator
is one environment: its parameters are drawn first, over wide ranges, since nothing is known of the loops to come.
The order of the draws is part of the result: another order makes another `cold_start.json`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CALLS = 10

Floats = NDArray[np.float64]
Generator = np.random.Generator


@dataclass(frozen=True, slots=True)
class Simulated:
    """Uncensored runs of one environment.

    Attributes:
        scores: What the evaluator says, in [0, 1], shape (runs, CALLS).
        quality: What the drafts are truly worth; differs from `scores` only where a judge errs.
        judge_sd: Standard deviation of that judge's error.
    """

    scores: Floats
    quality: Floats
    judge_sd: float = 0.0


def exact(scores: Floats) -> Simulated:
    """Runs under an evaluator that does not err."""
    return Simulated(scores, scores)


def uniform(rng: Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def log_uniform(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def beta(rng: Generator, mean: Floats | float, weight: float, size: int | tuple[int, int]) -> Floats:
    """Beta draws by mean and pseudo-count."""
    mean = np.clip(mean, 0.01, 0.99)
    return np.asarray(rng.beta(mean * weight, (1 - mean) * weight, size))


def to_parts(scores: Floats, parts: int) -> Floats:
    """Scores to the nearest of `parts` equal steps, as a count of passed checks gives them."""
    return np.round(scores * parts) / parts


def approach(rng: Generator, runs: int) -> Floats:
    """Quality that approaches a ceiling exponentially, may leave [0, 1]."""
    start = np.clip(rng.normal(uniform(rng, 0.1, 0.7), uniform(rng, 0.03, 0.15), (runs, 1)), 0.01, 0.97)
    top = np.clip(rng.normal(uniform(rng, 0.7, 1.02), uniform(rng, 0.01, 0.12), (runs, 1)), 0.2, 1.0)
    rate = log_uniform(rng, 0.15, 1.5) * np.exp(rng.normal(0, uniform(rng, 0.05, 0.5), (runs, 1)))
    return np.asarray(top - (top - np.minimum(start, top)) * np.exp(-rate * np.arange(CALLS)[None, :]))


def ceilings(rng: Generator, runs: int) -> Floats:
    """A ceiling per run, shape (runs,): some tasks are lost, and of the others some can be solved fully."""
    lost = rng.random(runs) < uniform(rng, 0.0, 0.85)
    lowest, highest = uniform(rng, 0.0, 0.3), uniform(rng, 0.5, 0.8)
    solvable = uniform(rng, 0.75, 1.0)
    top = np.where(lost, rng.uniform(lowest, highest, runs), rng.uniform(solvable, 1.0, runs))
    if rng.random() < 0.5:
        top = np.where(~lost & (rng.random(runs) < uniform(rng, 0, 1)), 1.0, top)
    return top


def stairs(rng: Generator, runs: int) -> Floats:
    """Quality in plateaus and jumps: now and then a call closes part of the gap to the run's ceiling."""
    top = ceilings(rng, runs)
    quality = top * beta(rng, uniform(rng, 0.15, 0.85), log_uniform(rng, 2, 12), runs)
    calls = [quality]
    climb, stride = uniform(rng, 0.15, 1.0), uniform(rng, 0.15, 0.8)
    weight, fade = log_uniform(rng, 2, 15), uniform(rng, 0.75, 1.0)
    for call in range(CALLS - 1):
        jump = (rng.random(runs) < climb * fade**call) * beta(rng, stride, weight, runs)
        quality = quality + jump * (top - quality)
        calls.append(quality)
    return np.stack(calls, 1)


def smooth(rng: Generator, runs: int) -> Simulated:
    """Diminishing returns: an exponential approach to a ceiling, with scatter."""
    quality = approach(rng, runs)
    scatter = rng.normal(0, log_uniform(rng, 0.003, 0.06), (runs, CALLS))
    return exact(np.clip(quality + scatter, 0, 1))


def ceiling(rng: Generator, runs: int) -> Simulated:
    """Plateaus and jumps under a ceiling per task, often counted in a few checks."""
    quality = stairs(rng, runs)
    if rng.random() < 0.75:
        checks = round(log_uniform(rng, 3, 40))
        quality = np.floor(quality * checks + 0.5) / checks
    return exact(quality)


def chances(rng: Generator, runs: int) -> Floats:
    """First chance of success per run, shape (runs,): never, easy and hard items, or one spread of them all."""
    kind = rng.random(runs)
    never = uniform(rng, 0, 0.75)
    easy = never + (1 - never) * uniform(rng, 0.0, 0.9)
    hopeless = uniform(rng, 0, 0.03)
    high = beta(rng, uniform(rng, 0.5, 0.97), log_uniform(rng, 3, 20), runs)
    low = beta(rng, uniform(rng, 0.05, 0.5), log_uniform(rng, 1, 15), runs)
    if rng.random() < 0.3:
        return beta(rng, uniform(rng, 0.1, 0.8), log_uniform(rng, 0.2, 6), runs)
    return np.where(kind < never, hopeless, np.where(kind < easy, high, low))


def verifier(rng: Generator, runs: int) -> Simulated:
    """Pass or fail: items are never, hardly or easily solved, and the hazard falls after the first call."""
    chance = chances(rng, runs)
    fade = 1.0 if rng.random() < 0.4 else uniform(rng, 0.3, 1.0)
    # Public collections of runs show hazards 5 to 20 times lower after the first call: hence down to .04.
    later = 1.0 if rng.random() < 0.4 else log_uniform(rng, 0.04, 1.0)
    hazard = chance[:, None] * fade ** np.arange(CALLS)[None, :]
    hazard[:, 1:] *= later
    scores = (rng.random((runs, CALLS)) < hazard).astype(np.float64)
    if rng.random() < 0.5:  # a loop that builds on its last draft keeps what passed
        scores = np.maximum.accumulate(scores, 1)
    return exact(scores)


def trap(rng: Generator, runs: int) -> Simulated:
    """Pass or fail, hardly ever at call 2 but often later: who always stops early never learns it."""
    hazard = np.full(CALLS, uniform(rng, 0.03, 0.25))
    hazard[0] = uniform(rng, 0.02, 0.6)
    hazard[1] = uniform(rng, 0.005, 0.1)
    opens = int(rng.integers(2, 5))
    closes = int(rng.integers(opens + 1, CALLS))
    hazard[opens:closes] = uniform(rng, 0.15, 0.5)
    hazard[2:opens] = hazard[1]
    solvable = rng.random((runs, 1)) > uniform(rng, 0, 0.5)
    hit = (rng.random((runs, CALLS)) < hazard) & solvable
    return exact(np.maximum.accumulate(hit, 1).astype(np.float64))


def draws(rng: Generator, runs: int) -> Simulated:
    """Independent drafts: no call builds on another, and items may differ in their mean."""
    if rng.random() < 0.7:
        mean = beta(rng, uniform(rng, 0.15, 0.75), log_uniform(rng, 1.5, 30), (runs, 1))
    else:
        mean = np.full((runs, 1), uniform(rng, 0.2, 0.7))
    return exact(sometimes_counted(rng, beta(rng, mean, log_uniform(rng, 2, 30), (runs, CALLS))))


def sometimes_counted(rng: Generator, scores: Floats) -> Floats:
    """In three of ten environments the score is a share of 4 to 30 checks."""
    return to_parts(scores, round(log_uniform(rng, 4, 30))) if rng.random() < 0.3 else scores


def wander(rng: Generator, runs: int) -> Floats:
    """Quality that a call may raise, lower or leave, starting from the last draft or from the best one."""
    up, down = uniform(rng, 0.05, 0.55), uniform(rng, 0.08, 0.55)
    calls = [beta(rng, uniform(rng, 0.1, 0.65), log_uniform(rng, 2, 10), runs)]
    stride, weight = uniform(rng, 0.15, 0.6), log_uniform(rng, 2, 10)
    least_loss, most_loss = uniform(rng, 0, 0.15), uniform(rng, 0.25, 0.9)
    from_best = rng.random() < 0.3
    for _ in range(CALLS - 1):
        base = np.max(calls, 0) if from_best else calls[-1]
        kind = rng.random(runs)
        gain = base + beta(rng, stride, weight, runs) * (1 - base)
        loss = base * (1 - rng.uniform(least_loss, most_loss, runs))
        calls.append(np.where(kind < up, gain, np.where(kind < up + down, loss, base)))
    return np.stack(calls, 1)


def walk(rng: Generator, runs: int) -> Simulated:
    """A call may gain or lose what was won."""
    return exact(sometimes_counted(rng, wander(rng, runs)))


def judged(rng: Generator, runs: int) -> Simulated:
    """Stepwise or wandering quality, seen through a judge that errs.

    Scores cannot tell a judge that errs over smooth progress from progress that scatters, nor a judge that hardly errs
    from one that does not: where they say the same, the score is to be believed.
    """
    quality = stairs(rng, runs) if rng.random() < 0.85 else walk(rng, runs).quality
    judge_sd = uniform(rng, 0.06, 0.13)
    seen = np.clip(quality + rng.normal(0, judge_sd, quality.shape), 0, 1)
    return Simulated(seen, quality, judge_sd)


def first_passed(rng: Generator, runs: int, tests: int, solved: float, failed: float) -> Floats:
    """Share of unit tests that a first draft passes, shape (runs,): all, none, or some."""
    kind = rng.random(runs)
    some = to_parts(beta(rng, uniform(rng, 0.3, 0.8), log_uniform(rng, 1, 6), runs), tests)
    return np.where(kind < solved, 1.0, np.where(kind < solved + failed, 0.0, some))


def then_passed(rng: Generator, share: Floats, tests: int, solve: Floats, gain: float, fall: float) -> Floats:
    """Share passed after one more call: solved, some more, fewer or none, or as it was."""
    runs = len(share)
    kind = rng.random(runs)
    more = to_parts(share + rng.random(runs) * (1 - share), tests)
    fewer = np.where(rng.random(runs) < 0.6, 0.0, to_parts(share * rng.random(runs), tests))
    moved = np.where(kind < solve + gain, more, np.where(kind > 1 - fall, fewer, share))
    broken = rng.random(runs) < fall * 0.5  # what is solved falls half as often
    return np.where(share >= 1, np.where(broken, 0.0, 1.0), np.where(kind < solve, 1.0, moved))


def unit_tests(rng: Generator, runs: int) -> Simulated:
    """Share of unit tests: mass at 0 and 1, a few plateaus, jumps straight to 1, falls to 0."""
    solved = uniform(rng, 0.1, 0.75)
    failed = uniform(rng, 0.05, 0.95) * (1 - solved)
    tests = round(log_uniform(rng, 4, 60))
    calls = [first_passed(rng, runs, tests, solved, failed)]
    solve, gain, fall = uniform(rng, 0.03, 0.4), uniform(rng, 0.0, 0.3), uniform(rng, 0.0, 0.25)
    fade = uniform(rng, 0.4, 1.0)
    skill = np.exp(rng.normal(0, uniform(rng, 0.0, 1.5), runs))
    for call in range(CALLS - 1):
        faded = fade**call
        chance = np.minimum(solve * faded * skill, 0.9)
        calls.append(then_passed(rng, calls[-1], tests, chance, gain * faded, fall))
    return exact(np.stack(calls, 1))


@dataclass(frozen=True, slots=True)
class Family:
    """A simulator and its part of the prior.

    Attributes:
        simulate: Draws one environment.
        weight: How often it is drawn, relative to the others.
        clusters: How many archetypes it is summed up in.
    """

    simulate: Callable[[Generator, int], Simulated]
    weight: float
    clusters: int


FAMILIES = {
    "smooth": Family(smooth, 1.0, 12),
    "ceiling": Family(ceiling, 1.2, 16),
    "verifier": Family(verifier, 1.8, 24),
    "trap": Family(trap, 0.3, 3),
    "draws": Family(draws, 1.0, 16),
    "walk": Family(walk, 1.1, 16),
    "judged": Family(judged, 1.1, 18),
    "tests": Family(unit_tests, 0.8, 14),
}
