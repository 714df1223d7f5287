"""Does `feedback="auto"` find the way of asking again that a model needs, and what does finding it cost?

    python benchmarks/next_move.py                        # from the recorded replies; needs no model
    python benchmarks/next_move.py --record               # asks the embedded model for what is not recorded
    python benchmarks/next_move.py --simulated 12         # simulated models instead

`next_move_lab/README.md` says what is measured and how to read it.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that the file can be run as a script

from benchmarks.next_move_lab.arms import ARMS, GOALS, SINGLE
from benchmarks.next_move_lab.comparison import Earned, best_single, compare, difference, rows, rows_by_type
from benchmarks.next_move_lab.replies import DATA, Record, load, real_model, writer
from benchmarks.next_move_lab.simulated import compared
from benchmarks.next_move_lab.tasks import ITEMS, KINDS_OF_TASK


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="ask the embedded model for what is missing")
    parser.add_argument("--replicates", type=int, nargs="+", default=[0], help="which replicates")
    parser.add_argument(
        "--orders", type=int, default=1, help="orders of the items, each learned from nothing"
    )
    parser.add_argument("--items", type=int, default=ITEMS, help="items of each type")
    parser.add_argument("--goal", choices=GOALS, nargs="+", default=list(GOALS))
    parser.add_argument("--arms", nargs="+", choices=[arm.name for arm in ARMS], help="default: all")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of recorded replies")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--simulated", type=int, metavar="WORLDS", help="simulated models instead")
    return parser.parse_args(given)


def opened(options: argparse.Namespace) -> Record:
    """The record, with the model behind it when it may be asked."""
    known = load(KINDS_OF_TASK, options.data)
    return Record(known, real_model(), writer(options.data)) if options.record else Record(known)


def figures(earned: dict[str, Earned]) -> dict[str, object]:
    """What a table says, as data."""
    top = best_single(earned)
    gap, error = difference(earned["auto"], earned[top])
    return {
        "utility": {name: fmean(found.utility) for name, found in earned.items()},
        "calls": {name: fmean(found.calls) for name, found in earned.items()},
        "best single way": top,
        "auto less best single way": [gap, error],
    }


def on_recorded(options: argparse.Namespace) -> dict[str, object]:
    """The comparison on the recorded replies."""
    record = opened(options)
    found: dict[str, object] = {}
    arms = [arm for arm in ARMS if not options.arms or arm.name in options.arms]
    for goal in options.goal:
        missing, given = record.missing, record.given
        earned = compare(record, goal, arms, options.replicates, options.items, orders=range(options.orders))
        found[goal] = figures(earned)
        runs = len(earned["auto"].utility)
        print(f"\n## {goal}: {GOALS[goal]}, {runs} runs per arm\n")
        print("\n".join([*rows(earned), "", *rows_by_type(earned)]))
        what = "asked of the model now" if options.record else "not recorded, taken from a relative"
        print(f"\n{record.missing - missing} of {record.given - given} replies were {what}")
    return found


def on_simulated(options: argparse.Namespace) -> dict[str, object]:
    """The comparison on simulated models."""
    found: dict[str, object] = {}
    for goal in options.goal:
        worlds = [compared(seed, goal) for seed in range(options.simulated)]
        best = [max(world[way] for way in SINGLE) for world in worlds]
        shares = [world["auto"] / top for world, top in zip(worlds, best, strict=True)]
        total = sum(world["auto"] for world in worlds) / sum(best)
        print(f"{goal}: auto earns {total:.3f} of the best single way, in the worst world {min(shares):.3f}")
        found[goal] = {"share": total, "worst": min(shares), "worlds": worlds}
    return found


def main(given: Sequence[str] | None = None) -> None:
    """Print the tables."""
    options = arguments(given)
    found = on_simulated(options) if options.simulated else on_recorded(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # the embedded model's server need not be waited for
