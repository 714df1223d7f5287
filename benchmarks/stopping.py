"""How near does the learned exit come to the best possible rule? A table, a picture and the figures as JSON.

    python benchmarks/stopping.py --quick
    python benchmarks/stopping.py --reps 4 --data FOLDER_OF_RECORDED_RUNS --out results/
    python benchmarks/stopping.py --env iid noisy --utility pass.05 --policy my_module:MyPriors

`stopping_lab/README.md` says what is measured and how to read it.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that the file can be run as a script

from benchmarks.stopping_lab.environments import FAMILIES, SYNTHETIC
from benchmarks.stopping_lab.evaluation import Questions, measure, together
from benchmarks.stopping_lab.learner import api
from benchmarks.stopping_lab.real_runs import record
from benchmarks.stopping_lab.references import cached
from benchmarks.stopping_lab.table import report
from benchmarks.stopping_lab.trajectories import UTILITIES
from benchmarks.stopping_lab.trial import LONGEST, Settings, simulate

QUICK_UTILITIES = ("quality.03", "pass.05")
CACHE = Path(tempfile.gettempdir()) / "loopllm_stopping_marks"


@dataclass(frozen=True, slots=True)
class Job:
    """One environment of one repetition: the name of a family, or the file of recorded runs."""

    source: str | Path
    repetition: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All that one measurement needs, picklable."""

    settings: Settings
    questions: Questions
    policy: str | None = None
    exit_class: str | None = None
    cache: Path = CACHE


def run(plan: Plan, job: Job) -> list[dict[str, Any]]:
    """The cells of one job."""
    started = process_time()
    source, repetition = job.source, job.repetition
    if isinstance(source, Path):
        trial = record(source, repetition, plan.settings)
    else:
        trial = simulate(source, repetition, plan.settings)
    marks = cached(trial, repetition, plan.settings, plan.cache, newcomer=plan.questions.coldstart)
    known = process_time()
    seed = plan.settings.seed + 100_000 * repetition
    cells = measure(api(plan.policy, plan.exit_class), trial, marks, plan.questions, seed)
    spent = f"DP* {known - started:.1f} s, policy {process_time() - known:.1f} s"
    print(f"{trial.name} #{repetition}: {spent}", file=sys.stderr)
    return together(cells, repetition)


def each(plan: Plan, jobs: Sequence[Job], processes: int = 1) -> Iterator[list[dict[str, Any]]]:
    """The cells of each job as soon as they are there, in order."""
    if processes <= 1:
        yield from map(partial(run, plan), jobs)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(partial(run, plan), jobs)


def run_all(plan: Plan, jobs: Sequence[Job], processes: int = 1) -> list[dict[str, Any]]:
    """The cells of all jobs, in order."""
    return [found for cells in each(plan, jobs, processes) for found in cells]


def quick(seed: int = 0, policy: str | None = None, cache: Path = CACHE) -> list[dict[str, Any]]:
    """The quick form: seven families, two utilities, small samples; under a minute on one core."""
    options = arguments(
        ["--quick", "--seed", str(seed), "--cache", str(cache), *(["--policy", policy] if policy else [])]
    )
    return run_all(*planned(options))


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    families = [*FAMILIES, "drift"]
    parser.add_argument(
        "--env", nargs="*", choices=families, default=list(SYNTHETIC), help="simulated families"
    )
    parser.add_argument("--utility", nargs="+", choices=[u.name for u in UTILITIES], help="default: all six")
    parser.add_argument(
        "--runs", nargs="+", type=int, default=[0, 10, 30, 100, 300], help="past runs per pair"
    )
    parser.add_argument("--reps", type=int, default=2, help="repetitions, each with parameters of its own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--test", type=int, default=1000, help="fresh simulated test runs per pair")
    parser.add_argument("--fit", type=int, default=15000, help="simulated runs per pair behind DP*")
    parser.add_argument("--trees", type=int, default=40, help="boosted trees per depth in DP*")
    parser.add_argument("--data", type=Path, help="folder of recorded runs (.jsonl)")
    parser.add_argument("--real", nargs="+", help="only these files of --data, by stem")
    parser.add_argument("--policy", help="module:Class in place of AdaptivePriors")
    parser.add_argument("--exit", help="module:Class in place of BayesianExitCondition")
    parser.add_argument("--quick", action="store_true", help="smaller: no trees, 1 repetition, 2 utilities")
    parser.add_argument(
        "--coldstart", action="store_true", help="also teach a new pair with and without relatives"
    )
    parser.add_argument(
        "--losses", action="store_true", help="also tell representation, estimation, exploration"
    )
    parser.add_argument("--out", type=Path, help="folder for stopping.md, stopping.json and stopping.svg")
    parser.add_argument("--again", type=Path, help="only show a stopping.json that was kept")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder in which DP* is kept")
    parsed = parser.parse_args(given)
    if max(parsed.runs) > LONGEST:
        parser.error(f"--runs goes up to {LONGEST}")
    return parsed


def planned(options: argparse.Namespace) -> tuple[Plan, list[Job]]:
    if options.quick:
        options.utility = options.utility or list(QUICK_UTILITIES)
        options.runs, options.reps = [n for n in options.runs if n <= 30], 1
        options.test, options.fit, options.trees = 250, 6000, 0
    settings = Settings(options.seed, options.test, options.fit, options.trees)
    utilities = tuple(u for u in UTILITIES if options.utility is None or u.name in options.utility)
    questions = Questions(
        utilities, tuple(options.runs), options.coldstart, options.losses, drift=max(options.runs) == LONGEST
    )
    files = sorted(options.data.glob("*.jsonl")) if options.data else []
    sources: list[str | Path] = [
        *options.env,
        *(f for f in files if not options.real or f.stem in options.real),
    ]
    jobs = [Job(source, repetition) for repetition in range(options.reps) for source in sources]
    return Plan(settings, questions, options.policy, options.exit, options.cache), jobs


def measured(plan: Plan, jobs: Sequence[Job], processes: int, out: Path | None) -> list[dict[str, Any]]:
    """`run_all`, with what is known so far kept in `out` after every job: a long run may be cut short."""
    cells: list[dict[str, Any]] = []
    for found in each(plan, jobs, processes):
        cells.extend(found)
        if out:
            out.mkdir(parents=True, exist_ok=True)
            (out / "stopping.json").write_text(json.dumps(cells), encoding="utf-8")
    return cells


def show(cells: Sequence[dict[str, Any]], out: Path | None) -> None:
    """Print the tables; keep them and the picture in `out`."""
    text = report(cells)
    print(text)
    if out:
        from benchmarks.stopping_lab.picture import draw  # noqa: PLC0415  (only the picture needs matplotlib)

        out.mkdir(parents=True, exist_ok=True)
        (out / "stopping.md").write_text(text, encoding="utf-8")
        for suffix in ("svg", "png"):
            draw(cells, out / f"stopping.{suffix}")


def main() -> None:
    options = arguments()
    if options.again:
        show(json.loads(options.again.read_text(encoding="utf-8")), options.out)
        return
    plan, jobs = planned(options)
    if not options.data:
        print("No --data: recorded runs are left out.", file=sys.stderr)
    show(measured(plan, jobs, options.jobs, options.out), options.out)


if __name__ == "__main__":
    main()
