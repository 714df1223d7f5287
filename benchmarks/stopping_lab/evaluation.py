"""What does one trial show? Everything measured there, as plain data for JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.stopping_lab.calibration import Tally, forecasts, tallied
from benchmarks.stopping_lab.coldstart import newcomer
from benchmarks.stopping_lab.learner import Api, Apprentice, apprentice
from benchmarks.stopping_lab.losses import Schools, schools, taught
from benchmarks.stopping_lab.references import ONLINE, Marks, worth
from benchmarks.stopping_lab.trajectories import Utility
from benchmarks.stopping_lab.trial import CHANGE_AT, LONGEST, Trial

AFTER_CHANGE = (0, 10, 30, 60, 100, 150)
CALIBRATED = ("quality.03", "pass.05")
CALIBRATED_AT = (30, 100)


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked of the policy.

    Attributes:
        utilities: What a run is worth.
        checkpoints: Past runs per pair at which it is frozen and tested.
        coldstart: Also teach a newcomer with and without its relatives' runs.
        losses: Also fit on uncensored runs, to tell where the loss comes from.
        drift: Also follow the recovery after the change of regime.
    """

    utilities: tuple[Utility, ...]
    checkpoints: tuple[int, ...]
    coldstart: bool
    losses: bool
    drift: bool


def measure(names: Api, trial: Trial, marks: Marks, questions: Questions, seed: int) -> list[dict[str, Any]]:
    """One cell per utility."""
    uncensored = schools(names, trial) if questions.losses else {}
    return [
        cell(names, trial, utility, marks, questions, uncensored, seed) for utility in questions.utilities
    ]


def tested(learner: Apprentice, marks: Marks, runs: int) -> dict[str, Any]:
    """The frozen rule on fresh runs of the regime that holds after `runs` runs per pair."""
    regime = learner.trial.regime(runs)
    mark = marks["regimes"][regime][learner.utility.name]
    sets = [pair.tests[regime] for pair in learner.trial.pairs]
    return beside(worth(sets, learner.test(regime), learner.utility), mark)


def beside(row: Mapping[str, float], mark: Mapping[str, Any]) -> dict[str, Any]:
    """A result with the marks it is measured against."""
    policies = mark["policies"]
    return {**row, "fixed": policies["best fixed"]["u"], "dp": policies["DP*"]["u"]}


def milestones(trial: Trial, questions: Questions) -> list[int]:
    after = [CHANGE_AT + n for n in AFTER_CHANGE] if questions.drift and trial.change_at is not None else []
    return sorted({n for n in (*questions.checkpoints, *after) if n <= LONGEST})


def online(learner: Apprentice, mark: Mapping[str, Any]) -> dict[str, float]:
    """Mean utility of runs 1 to 100 per pair, exploration paid, and what DP* and the best fixed k earn there."""
    ours = float(np.mean([np.mean(e[:ONLINE]) for e in learner.earnings]))
    return {"ours": ours, **mark["online"]}


def cell(
    names: Api,
    trial: Trial,
    utility: Utility,
    marks: Marks,
    questions: Questions,
    uncensored: Schools,
    seed: int,
) -> dict[str, Any]:
    mark = marks["regimes"][0][utility.name]
    learner = apprentice(names, trial, utility, seed)
    rows: dict[str, Any] = {name: beside(row, mark) for name, row in mark["policies"].items()}
    extra: dict[str, Any] = {}
    forecast: dict[str, Tally] = {}
    for runs in milestones(trial, questions):
        learner.advance(runs)
        row = tested(learner, marks, runs)
        rows |= {f"ours @{runs}": row} if runs in questions.checkpoints else {}
        if trial.change_at is not None and runs >= trial.change_at:
            extra.setdefault("drift", {})[str(runs - trial.change_at)] = row
        if runs == ONLINE:
            extra["online"] = online(learner, mark)
        if runs in CALIBRATED_AT and utility.name in CALIBRATED:
            forecast[str(runs)] = tallied(forecasts(learner.priors, trial, utility))
    if questions.coldstart and trial.newcomer is not None and len(learner.earnings[0]) >= ONLINE:
        extra["coldstart"] = newcomer(learner, marks["newcomer"][utility.name], seed)
    if uncensored:
        extra["losses"] = taught(names, trial, utility, uncensored)
    return {
        "env": trial.name, "real": trial.real, "utility": utility.name, "policies": rows,
        "fixed calls": mark["fixed calls"], "forecasts": forecast, **extra,
    }  # fmt: skip


def together(cells: Sequence[dict[str, Any]], repetition: int) -> list[dict[str, Any]]:
    return [{**found, "repetition": repetition} for found in cells]
