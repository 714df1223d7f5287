"""Does a new pair, whose task and model were each seen with others, start from what they taught?

The relatives' first 100 runs per pair are replayed into fresh priors, and the newcomer learns online on top of them;
beside it the same newcomer learns alone.
"""

from dataclasses import replace
from typing import Any

from benchmarks.stopping_lab.learner import Apprentice, apprentice
from benchmarks.stopping_lab.references import ONLINE, worth

NEW_RUNS = (0, 3, 10, 30)


def newcomer(relatives: Apprentice, mark: dict[str, Any], seed: int) -> dict[str, Any]:
    """Utility of the newcomer's frozen rule after 0, 3, 10, 30 runs: `pooled` and `alone`, with the marks."""
    new = relatives.trial.newcomer
    if new is None:
        raise ValueError("this trial has no newcomer: only simulated environments have one")
    trial = replace(relatives.trial, pairs=[new], newcomer=None, change_at=None)
    pooled = apprentice(relatives.names, trial, relatives.utility, seed + 7)
    for observation in relatives.seen[: ONLINE * len(relatives.trial.pairs)]:
        pooled.priors.observe(observation)
    alone = apprentice(relatives.names, trial, relatives.utility, seed + 7)
    policies = mark["policies"]
    return {
        "pooled": curve(pooled),
        "alone": curve(alone),
        "fixed": policies["best fixed"]["u"],
        "dp": policies["DP*"]["u"],
    }


def curve(learner: Apprentice) -> dict[str, float]:
    found: dict[str, float] = {}
    for runs in NEW_RUNS:
        learner.advance(runs)
        found[str(runs)] = worth([learner.trial.pairs[0].tests[0]], learner.test(0), learner.utility)["u"]
    return found
