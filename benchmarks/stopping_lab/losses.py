"""Where does the loss come from?

representation: DP* less the rule taught with many uncensored runs. What its state cannot express, whatever the data.
estimation:     that, less the rule taught with N uncensored runs. What too few runs cost.
exploration:    that, less the rule that learned N runs online. What seeing only what one chose to see costs.
"""

from typing import Any

from benchmarks.stopping_lab.learner import Api, frozen, schooled
from benchmarks.stopping_lab.references import worth
from benchmarks.stopping_lab.trajectories import Utility
from benchmarks.stopping_lab.trial import Trial

MANY = 2000
FEW = (10, 30, 100)

Schools = dict[int, Any]


def schools(names: Api, trial: Trial) -> Schools:
    """Priors by the number of uncensored runs they saw; they do not depend on the utility."""
    whole = {MANY: schooled(names, trial.pairs, [pair.fits[0] for pair in trial.pairs], MANY)}
    trains = [pair.train for pair in trial.pairs]
    return whole | {n: schooled(names, trial.pairs, trains, n) for n in FEW}


def taught(names: Api, trial: Trial, utility: Utility, uncensored: Schools) -> dict[str, float]:
    sets = [pair.tests[0] for pair in trial.pairs]
    found = {}
    for runs, priors in uncensored.items():
        stops = [frozen(names, priors, p, utility, p.tests[0]) for p in trial.pairs]
        found[str(runs)] = worth(sets, stops, utility)["u"]
    return found
