"""Where do simulated runs come from?

Seven families (and `deep`), each a function `(rng, knobs, n) -> observed, true` of arrays (n, K). `knobs` are five
numbers in (0, 1), drawn at random per repetition; those of a (task, model) pair mix the task's, the model's and its
own, so that what one pair teaches is worth something to the next.
"""

from collections.abc import Callable

import numpy as np
from benchmarks.stopping_lab.trajectories import Bools, Floats

HORIZON = 8
JUDGE_SD = 0.08
KNOBS = 5

Generator = np.random.Generator
Simulator = Callable[[Generator, Floats, int], tuple[Floats, Floats]]


def span(knob: float, low: float, high: float) -> float:
    return float(low + (high - low) * knob)


def beta(rng: Generator, mean: Floats | float, weight: float, size: tuple[int, ...]) -> Floats:
    """Beta draws by mean and pseudo-count."""
    mean = np.clip(mean, 0.01, 0.99)
    return np.asarray(rng.beta(mean * weight, (1 - mean) * weight, size))


def smooth(rng: Generator, knobs: Floats, n: int) -> tuple[Floats, Floats]:
    """Diminishing returns: an exponential approach to a ceiling, s_k = C - (C - s_1) exp(-rate (k-1)) + noise."""
    start = np.clip(rng.normal(span(knobs[0], 0.3, 0.7), 0.08, (n, 1)), 0.02, 0.95)
    ceiling = np.clip(rng.normal(span(knobs[1], 0.83, 1.0), 0.05, (n, 1)), 0.3, 1.0)
    rate = span(knobs[2], 0.3, 1.5) * np.exp(rng.normal(0, 0.3, (n, 1)))
    depth = np.arange(HORIZON)[None, :]
    curve = ceiling - (ceiling - np.minimum(start, ceiling)) * np.exp(-rate * depth)
    score = np.clip(curve + rng.normal(0, span(knobs[3], 0.01, 0.05), (n, HORIZON)), 0.0, 1.0)
    return score, score


def stairs(rng: Generator, start: Floats, ceiling: Floats, climb: float, stride: float) -> Floats:
    """Plateaus and jumps: with probability `climb` a step closes a Beta(mean `stride`) part of the gap to `ceiling`."""
    steps = [np.minimum(start, ceiling)]
    for _ in range(HORIZON - 1):
        jump = (rng.random(start.shape) < climb) * beta(rng, stride, 5.0, start.shape)
        steps.append(steps[-1] + jump * (ceiling - steps[-1]))
    return np.stack(steps, axis=1)


def capped(rng: Generator, knobs: Floats, n: int) -> Floats:
    """Quality (n, K) under a ceiling per task, which is often below the threshold."""
    lost = rng.random(n) < span(knobs[0], 0.1, 0.6)
    ceiling = np.where(lost, rng.uniform(0.15, 0.75, n), rng.uniform(0.82, 1.0, n))
    start = ceiling * beta(rng, span(knobs[1], 0.4, 0.85), 6.0, (n,))
    return stairs(rng, start, ceiling, span(knobs[2], 0.3, 0.9), span(knobs[3], 0.3, 0.8))


def hopeless(rng: Generator, knobs: Floats, n: int) -> tuple[Floats, Floats]:
    """Some tasks cannot be solved by this loop; the score is a part of 5 to 25 tests passed."""
    tests = round(span(knobs[4], 5, 25))
    score = np.floor(capped(rng, knobs, n) * tests + 0.5) / tests
    return score, score


def mixture(rng: Generator, knobs: Floats, n: int) -> tuple[Floats, Floats]:
    """A pass/fail verifier; every task has a hidden probability of success (never, hard or easy)."""
    kind = rng.random(n)
    never = span(knobs[0], 0.05, 0.5)
    easy = never + (1 - never) * span(knobs[1], 0.25, 0.85)
    hard = beta(rng, span(knobs[2], 0.1, 0.4), span(knobs[3], 4.0, 12.0), (n,))
    chance = np.where(kind < never, 0.01, np.where(kind < easy, beta(rng, 0.82, 11.0, (n,)), hard))
    score = (rng.random((n, HORIZON)) < chance[:, None]).astype(np.float64)
    return score, score


def iid(rng: Generator, knobs: Floats, n: int) -> tuple[Floats, Floats]:
    """Independent drafts: s ~ Beta(mean m_i), and m_i ~ Beta over tasks."""
    mean = beta(rng, span(knobs[0], 0.2, 0.6), span(knobs[1], 3.0, 20.0), (n, 1))
    score = beta(rng, mean, span(knobs[2], 3.0, 20.0), (n, HORIZON))
    return score, score


def moved(rng: Generator, last: Floats, up: float, down: float) -> Floats:
    """One step that gains part of the gap, loses part of the score, or changes nothing."""
    kind = rng.random(last.shape)
    gain = last + beta(rng, 0.35, 4.0, last.shape) * (1 - last)
    loss = last * (1 - rng.uniform(0.05, 0.5, last.shape))
    return np.where(kind < up, gain, np.where(kind < up + down, loss, last))


def regress(rng: Generator, knobs: Floats, n: int) -> tuple[Floats, Floats]:
    """A step builds on the last draft and may lose what was won."""
    up, down = span(knobs[1], 0.1, 0.4), span(knobs[2], 0.15, 0.5)
    steps = [beta(rng, span(knobs[0], 0.2, 0.6), 5.0, (n,))]
    for _ in range(HORIZON - 1):
        steps.append(moved(rng, steps[-1], up, down))
    score = np.stack(steps, axis=1)
    return score, score


def noisy(rng: Generator, knobs: Floats, n: int) -> tuple[Floats, Floats]:
    """`capped` quality seen through a judge that errs with a standard deviation of 0.08."""
    quality = capped(rng, knobs, n)
    return np.clip(quality + rng.normal(0, JUDGE_SD, quality.shape), 0.0, 1.0), quality


def deep(rng: Generator, knobs: Floats, n: int) -> tuple[Floats, Floats]:
    """The deep trap: hardly ever solved at call 2, often at calls 3 to 6; a rule that stops early never learns it."""
    hazard = np.full(HORIZON, span(knobs[0], 0.05, 0.2))
    hazard[:2] = span(knobs[1], 0.05, 0.35), span(knobs[2], 0.01, 0.06)
    hazard[2:6] = span(knobs[3], 0.18, 0.4)
    solvable: Bools = rng.random((n, 1)) > span(knobs[4], 0.0, 0.4)
    hit = (rng.random((n, HORIZON)) < hazard) & solvable
    score = np.maximum.accumulate(hit, axis=1).astype(np.float64)
    return score, score


FAMILIES: dict[str, Simulator] = {
    "smooth": smooth, "hopeless": hopeless, "mixture": mixture, "iid": iid, "regress": regress, "noisy": noisy,
    "deep": deep,
}  # fmt: skip
SYNTHETIC = ("smooth", "hopeless", "mixture", "iid", "regress", "noisy", "drift")
DRIFTING = ("hopeless", "mixture", "regress")


def pair_knobs(rng: Generator, tasks: int, models: int) -> Floats:
    """Knobs of every (task, model), shape (tasks, models, 5): logistic of 45 % task, 35 % model, 20 % own variance."""
    task, model = rng.normal(size=(tasks, 1, KNOBS)), rng.normal(size=(1, models, KNOBS))
    own = rng.normal(size=(tasks, models, KNOBS))
    z = np.sqrt(0.45) * task + np.sqrt(0.35) * model + np.sqrt(0.2) * own
    return np.asarray(1 / (1 + np.exp(-1.702 * z)))


def after_change(rng: Generator, knobs: Floats) -> Floats:
    """The other regime: what was high is low, with a random part, so that every change is one that matters."""
    return np.clip(1 - knobs + rng.normal(0, 0.15, knobs.shape), 0.02, 0.98)
