"""Where do recorded runs come from?

A folder of .jsonl files: one object a line with `source`, `task_type`, `model`, `mode`, `item`, `scores`,
`max_turns`, `kind`. A file is an environment and a (task, model, mode) with at least 40 runs a pair. Items are split
in halves, none in both: one half to learn from, the other to test on. `kind: iid` runs are permuted afresh each time
they are used. Where `debug_iter` is given the visible tests are the evaluator: a run that ended before the longest of
its pair did so because they passed, and its last recorded score says whether the hidden tests did too.

A run that ended with a perfect observed score could have been carried on, for nothing: its last score repeats, so
that a fixed number of calls is paid in full. A run that its source ended unsolved allows no further call.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.stopping_lab.trajectories import Floats, Ints, Runs, stacked
from benchmarks.stopping_lab.trial import LONGEST, Pair, Settings, Trial, generator

DEEPEST = 10  # calls considered per run
FEWEST = 40  # runs per pair
PERMUTED = 4  # permutations of an iid run in the test half

Row = Mapping[str, Any]
Half = tuple[Floats, Floats, Ints, bool]


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def grouped(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """Runs by (task, model/mode); a mode that repeats another run by run is kept once."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["task_type"], f"{row['model']}/{row['mode']}"].append(row)
    seen: set[tuple[Any, ...]] = set()
    kept: dict[tuple[str, str], list[Row]] = {}
    for pair, group in sorted(groups.items()):
        content = tuple(sorted((row["item"], tuple(row["scores"])) for row in group))
        if len(group) >= FEWEST and (pair[0], content) not in seen:
            seen.add((pair[0], content))
            kept[pair] = group
    return kept


def scored(row: Row, longest: int) -> tuple[Sequence[float], Sequence[float]]:
    """Observed and true scores of a run."""
    scores = [min(1.0, max(0.0, float(score))) for score in row["scores"]]  # some sources mark a crash as -1
    if "debug_iter" not in row or len(scores) == longest:
        return scores, scores
    return [*scores[:-1], 1.0], scores


def runs_of(rows: Sequence[Row]) -> Runs:
    longest = max(len(row["scores"]) for row in rows)
    horizon = min(DEEPEST, longest)
    observed, true = np.zeros((2, len(rows), horizon))
    ends = np.array([min(len(row["scores"]), horizon) for row in rows])
    for i, row in enumerate(rows):
        for target, scores in zip((observed, true), scored(row, longest), strict=True):
            target[i, : ends[i]] = scores[:horizon]
            target[i, ends[i] :] = scores[ends[i] - 1]
    return Runs(observed, true, np.where(observed[:, -1] >= 1.0, horizon, ends))


def permuted(rng: np.random.Generator, runs: Runs) -> Runs:
    order = rng.permuted(np.tile(np.arange(runs.horizon), (len(runs), 1)), axis=1)
    return Runs(
        np.take_along_axis(runs.observed, order, 1), np.take_along_axis(runs.true, order, 1), runs.length
    )


def pair_of(
    rng: np.random.Generator, name: tuple[str, str], rows: Sequence[Row], first: set[str], need: int
) -> Pair:
    shuffle = rows[0].get("kind") == "iid"
    runs = runs_of(rows)
    in_first = np.array([item_of(row) in first for row in rows])
    halves = [runs.take(np.flatnonzero(in_first)), runs.take(np.flatnonzero(~in_first))]

    def again(half: Runs, times: int) -> Runs:
        parts = [half.take(rng.permutation(len(half))) for _ in range(times)]
        return stacked([permuted(rng, part) if shuffle else part for part in parts])

    times = -(-need // max(1, len(halves[0])))
    copies = PERMUTED if shuffle else 1
    return Pair(*name, again(halves[0], times), [again(halves[1], copies)], [again(halves[0], 2 * copies)])


def item_of(row: Row) -> str:
    """The task itself, without the seed that some sources append."""
    return str(row["item"]).split("#")[0]


def record(path: Path, repetition: int, settings: Settings) -> Trial:
    """One file as a trial; every repetition splits the items anew."""
    rng = generator(settings, path.stem, repetition)
    rows = read(path)
    items = sorted({item_of(row) for row in rows})
    first = set(rng.permutation(items)[: len(items) // 2].tolist())
    pairs = [pair_of(rng, name, group, first, LONGEST) for name, group in grouped(rows).items()]
    return Trial(f"r_{path.stem}", [p for p in pairs if len(p.train) and len(p.tests[0])], real=True)
