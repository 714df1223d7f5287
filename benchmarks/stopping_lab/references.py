"""What are the marks of a trial: everything that does not depend on the policy under test?

They are computed once and kept in a cache folder, keyed by the settings and by the sources of the laboratory.
"""

import ast
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.stopping_lab import baselines
from benchmarks.stopping_lab.dp_star import dp_star
from benchmarks.stopping_lab.trajectories import UTILITIES, Ints, Runs, Utility, earned
from benchmarks.stopping_lab.trial import Pair, Settings, Trial

SOURCES = (
    "trajectories",
    "environments",
    "real_runs",
    "trial",
    "baselines",
    "trees",
    "dp_star",
    "references",
)
ONLINE = 100  # runs per pair over which online earnings are counted

Marks = dict[str, Any]


def worth(sets: Sequence[Runs], stops: Sequence[Ints], utility: Utility) -> dict[str, float]:
    """Mean utility, calls and share passed, each averaged over pairs."""
    pay = [earned(runs.payoff(utility), stop).mean() for runs, stop in zip(sets, stops, strict=True)]
    success = [earned(runs.value("threshold"), stop).mean() for runs, stop in zip(sets, stops, strict=True)]
    calls = [stop.mean() for stop in stops]
    return {"u": float(np.mean(pay)), "calls": float(np.mean(calls)), "passed": float(np.mean(success))}


def split(pair: Pair, regime: int, trial: Trial) -> tuple[Runs, Runs]:
    """What DP* is fitted on and what its regressions are compared on."""
    fit = pair.fits[regime]
    if trial.real:
        return fit, pair.tests[regime]
    cut = len(fit) * 2 // 3
    return fit.take(slice(cut)), fit.take(slice(cut, None))


def best_rules(
    trial: Trial, pairs: Sequence[Pair], regime: int, settings: Settings
) -> list[list[list[Ints]]]:
    """Stops of DP*: result[pair][utility] is [on the test runs, on the first training runs]."""
    found = []
    for i, pair in enumerate(pairs):
        asked = [pair.tests[regime], pair.train.take(slice(ONLINE))]
        fit, judge = split(pair, regime, trial)
        trees = 0 if trial.real else settings.trees  # a few dozen runs would be learned by heart
        found.append(dp_star(fit, judge, UTILITIES, asked, trees, settings.seed + i))
    return found


def of_utility(
    sets: Sequence[Runs],
    train: Sequence[Runs],
    rules: Sequence[Sequence[Ints]],
    tuned: tuple[float, int],
    utility: Utility,
) -> Marks:
    k = baselines.best_fixed(sets, utility)
    own = [baselines.best_fixed([runs], utility) for runs in sets]
    horizon = max(runs.horizon for runs in sets)
    stops = {
        "best fixed": [baselines.fixed(runs, k) for runs in sets],
        "best fixed per pair": [baselines.fixed(runs, own_k) for runs, own_k in zip(sets, own, strict=True)],
        "threshold": [baselines.threshold(runs) for runs in sets],
        "threshold + plateau": [baselines.threshold_or_plateau(runs) for runs in sets],
        "tuned reactive": [baselines.reactive(runs, *tuned) for runs in sets],
        "DP*": [rule[0] for rule in rules],
        "clairvoyant": [baselines.clairvoyant(runs, utility) for runs in sets],
    }
    stops |= {f"fixed {j}": [baselines.fixed(runs, j) for runs in sets] for j in range(1, horizon + 1)}
    return {
        "policies": {name: worth(sets, stop, utility) for name, stop in stops.items()},
        "online": {
            "DP*": worth(train, [rule[1] for rule in rules], utility)["u"],
            "best fixed": worth(train, [baselines.fixed(runs, k) for runs in train], utility)["u"],
        },
        "fixed calls": k,
    }


def compute(trial: Trial, settings: Settings, *, newcomer: bool = False) -> Marks:
    """Marks per regime and utility, and on request those of the newcomer under the key `newcomer`."""
    marks: Marks = {"regimes": []}
    for regime in range(len(trial.pairs[0].tests)):
        marks["regimes"].append(of_pairs(trial, trial.pairs, regime, settings))
    if newcomer and trial.newcomer is not None:
        marks["newcomer"] = of_pairs(trial, [trial.newcomer], 0, settings)
    return marks


def of_pairs(trial: Trial, pairs: Sequence[Pair], regime: int, settings: Settings) -> Marks:
    sets = [pair.tests[regime] for pair in pairs]
    train = [pair.train.take(slice(ONLINE)) for pair in pairs]
    rules = best_rules(trial, pairs, regime, settings)
    tuned = baselines.best_reactive(sets, UTILITIES)
    return {
        utility.name: of_utility(sets, train, [rule[u] for rule in rules], tuned[u], utility)
        for u, utility in enumerate(UTILITIES)
    }


def fingerprint(trial: Trial, repetition: int, settings: Settings) -> str:
    digest = hashlib.sha256(repr((trial.name, repetition, settings)).encode())
    for source in SOURCES:
        text = Path(__file__).with_name(f"{source}.py").read_text(encoding="utf-8")
        digest.update(ast.dump(ast.parse(text)).encode())  # layout and comments change nothing
    if trial.real:
        for pair in trial.pairs:
            digest.update(pair.tests[0].observed.tobytes())
    return digest.hexdigest()[:24]


def cached(
    trial: Trial, repetition: int, settings: Settings, folder: Path, *, newcomer: bool = False
) -> Marks:
    kind = "new" if newcomer else "seen"
    path = folder / f"{trial.name}-{repetition}-{kind}-{fingerprint(trial, repetition, settings)}.json"
    if path.exists():
        kept: Marks = json.loads(path.read_text(encoding="utf-8"))
        return kept
    marks = compute(trial, settings, newcomer=newcomer)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(marks), encoding="utf-8")
    return marks
