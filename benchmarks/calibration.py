"""Does P(improve) come true on recorded runs? Learned on one half of the items, measured on the other.

    python benchmarks/calibration.py --data FOLDER_OF_RECORDED_RUNS [--runs 30 100] [--reps 3]

The folder holds .jsonl files as `stopping_lab/README.md` says. Every repetition splits the items anew; no item is in
both halves, and runs are learned whole. `chance` is the error that a forecaster who is exactly right would show.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that the file can be run as a script

from benchmarks.stopping_lab.calibration import forecasts
from benchmarks.stopping_lab.learner import api, schooled
from benchmarks.stopping_lab.real_runs import PERMUTED, record
from benchmarks.stopping_lab.trajectories import UTILITIES
from benchmarks.stopping_lab.trial import Pair, Settings, Trial

from loopllm.priors.calibration import Reliability, reliability

SETTINGS = Settings(seed=0, test=0, fit=0, trees=0)


def without_repeats(pair: Pair) -> int:
    """Runs of the half to learn from, each once."""
    copies = (
        PERMUTED if "iid" in pair.model_id else 1
    )  # independent drafts are permuted, as often as they are tested
    return len(pair.fits[0]) // (2 * copies)


def held_out(trial: Trial, runs: int) -> list[tuple[float, bool]]:
    """Forecasts on the second half after at most `runs` runs per pair of the first."""
    sets = [pair.train.take(slice(min(runs, without_repeats(pair)))) for pair in trial.pairs]
    priors = schooled(api(), trial.pairs, sets, runs)
    return [(chance, bool(happened)) for chance, happened in forecasts(priors, trial, UTILITIES[1])]


def measured(path: Path, runs: int, repetitions: int) -> Reliability:
    """The table of one file, all repetitions together."""
    trials = (record(path, repetition, SETTINGS) for repetition in range(repetitions))
    return reliability([f for trial in trials for f in held_out(trial, runs)])


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=int, nargs="+", default=[30, 100])
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--tables", action="store_true", help="also the bins")
    options = parser.parse_args(given)
    for path in sorted(options.data.glob("*.jsonl")):
        for runs in options.runs:
            table = measured(path, runs, options.reps)
            error, chance = table.error, table.chance_error
            print(f"{path.stem:12} @{runs:<4} ECE {error:.3f}  chance {chance:.3f}  {table.count} forecasts")
            if options.tables:
                print(table)


if __name__ == "__main__":
    main()
