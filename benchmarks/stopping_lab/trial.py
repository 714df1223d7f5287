"""What is one trial: an environment of one repetition, with the runs to learn from, to test on and to know it by."""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from benchmarks.stopping_lab.environments import DRIFTING, FAMILIES, Simulator, after_change, pair_knobs
from benchmarks.stopping_lab.trajectories import Floats, Runs, simulated, stacked

LONGEST = 300  # past runs per pair that a learner may have
CHANGE_AT = 150  # runs per pair before the regime of `drift` changes


@dataclass(frozen=True, slots=True)
class Settings:
    """How large a measurement is.

    Attributes:
        seed: Everything random follows from it, the repetition and the environment's name.
        test: Fresh test runs per pair (simulated environments).
        fit: Runs of the true process per pair from which DP* is computed.
        trees: Boosted trees per depth in DP*; 0 for the linear basis and the table only.
    """

    seed: int
    test: int
    fit: int
    trees: int


@dataclass(frozen=True, slots=True)
class Pair:
    """A (task, model) and its runs.

    Attributes:
        train: What the learner may meet, in order.
        tests: Fresh runs, one set per regime (`drift` has two).
        fits: Uncensored runs of the true process, one set per regime.
    """

    task_type: str
    model_id: str
    train: Runs
    tests: Sequence[Runs]
    fits: Sequence[Runs]


@dataclass(frozen=True, slots=True)
class Trial:
    """An environment of one repetition.

    Attributes:
        pairs: What is learned and tested.
        newcomer: A pair whose task and model appear in `pairs`, but not together; None for real runs.
        change_at: Runs per pair before the regime changes, or None.
        real: Recorded runs: few, and DP* is then chosen on the test half (as in the reference).
    """

    name: str
    pairs: Sequence[Pair]
    newcomer: Pair | None = None
    change_at: int | None = None
    real: bool = False

    def regime(self, runs: int) -> int:
        return int(self.change_at is not None and runs >= self.change_at)


def generator(settings: Settings, name: str, repetition: int) -> np.random.Generator:
    return np.random.default_rng([settings.seed, repetition, crc32(name.encode())])


def simulate(name: str, repetition: int, settings: Settings) -> Trial:
    """A 2 x 2 of tasks and models of one family: three pairs to learn, the fourth as the newcomer."""
    rng = generator(settings, name, repetition)
    drifts = name == "drift"
    family = FAMILIES[str(rng.choice(DRIFTING)) if drifts else name]
    knobs = [pair_knobs(rng, 2, 2)]
    if drifts:
        knobs.append(after_change(rng, knobs[0]))
    pairs = [
        pair_of(f"task{i}", f"model{j}", family, [k[i, j] for k in knobs], rng, settings)
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    return Trial(name, pairs[:3], pairs[3], CHANGE_AT if drifts else None)


def pair_of(
    task: str,
    model: str,
    family: Simulator,
    regimes: Sequence[Floats],
    rng: np.random.Generator,
    settings: Settings,
) -> Pair:
    def draw(regime: int, n: int) -> Runs:
        return simulated(*family(rng, regimes[regime], n))

    train = draw(0, LONGEST)
    if len(regimes) > 1:
        train = stacked([train.take(slice(CHANGE_AT)), draw(1, LONGEST - CHANGE_AT)])
    tests = [draw(regime, settings.test) for regime in range(len(regimes))]
    fits = [draw(regime, settings.fit) for regime in range(len(regimes))]
    return Pair(task, model, train, tests, fits)
