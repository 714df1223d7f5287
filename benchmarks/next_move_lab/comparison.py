"""Every arm on the same tasks in the same order, learning online, and what each earned."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from benchmarks.next_move_lab.arms import GOALS, SINGLE, Arm, Session
from benchmarks.next_move_lab.replies import Record
from benchmarks.next_move_lab.tasks import ITEMS, Task, all_tasks


@dataclass(slots=True)
class Earned:
    """What one arm earned, run by run, over all replicates.

    Attributes:
        utility: Value of the returned draft less the cost of the calls.
        calls: Calls made.
        kinds: Type of the task.
        ways: How often it asked again in which way, by type of task.
    """

    utility: list[float] = field(default_factory=list[float])
    calls: list[int] = field(default_factory=list[int])
    kinds: list[str] = field(default_factory=list[str])
    ways: dict[str, Counter[str]] = field(default_factory=dict[str, "Counter[str]"])

    def add(self, session: Session, task: Task) -> None:
        """One more run."""
        result = session.run(task)
        self.utility.append(session.goal.utility(result))
        self.calls.append(result.metrics.total_iterations)
        self.kinds.append(task.kind)
        self.ways.setdefault(task.kind, Counter()).update(r.action for r in result.iterations[1:])

    def of(self, kind: str) -> list[float]:
        """Utilities of one type of task."""
        return [u for u, k in zip(self.utility, self.kinds, strict=True) if k == kind]


def compare(
    record: Record,
    goal: str,
    arms: Sequence[Arm],
    replicates: Iterable[int],
    items: int = ITEMS,
    priors: Callable[[], Any] | None = None,
    orders: Iterable[int] = (0,),
) -> dict[str, Earned]:
    """Run every arm, with priors of its own, fresh for every replicate and every order of the items."""
    earned = {arm.name: Earned() for arm in arms}
    for replicate, order in product(replicates, orders):
        sessions = [Session(arm, GOALS[goal], record, replicate, priors and priors()) for arm in arms]
        # An item goes through all arms, so that a recording may be cut short.
        for task, session in product(all_tasks(items, order), sessions):
            earned[session.arm.name].add(session, task)
    return earned


def best_single(earned: Mapping[str, Earned]) -> str:
    """The single way that earned most, known in hindsight only."""
    return max((name for name in SINGLE if name in earned), key=lambda name: fmean(earned[name].utility))


def difference(one: Earned, other: Earned) -> tuple[float, float]:
    """Mean paired difference per run, and its standard error."""
    gaps = [a - b for a, b in zip(one.utility, other.utility, strict=True)]
    return fmean(gaps), stdev(gaps) / sqrt(len(gaps))


def rows(earned: Mapping[str, Earned]) -> Iterator[str]:
    """A table: utility, share of the best single way, paired difference to the choice, calls."""
    top = earned[best_single(earned)]
    yield "| arm | utility | of the best single way | auto less this (s.e.) | calls |"
    yield "|---|---|---|---|---|"
    for name, found in earned.items():
        mean = fmean(found.utility)
        gap, error = difference(earned["auto"], found)
        share = mean / fmean(top.utility)
        yield f"| {name} | {mean:.3f} | {share:.3f} | {gap:+.4f} ({error:.4f}) | {fmean(found.calls):.2f} |"


def rows_by_type(earned: Mapping[str, Earned]) -> Iterator[str]:
    """A table: utility by type of task, and how the choice asked again."""
    kinds = list(dict.fromkeys(earned["auto"].kinds))
    yield "| type | " + " | ".join(earned) + " | auto asked again with |"
    yield "|---" * (len(earned) + 2) + "|"
    for kind in kinds:
        means = " | ".join(f"{fmean(found.of(kind)):.3f}" for found in earned.values())
        asked = earned["auto"].ways[kind]
        total = max(1, asked.total())
        ways = ", ".join(f"{way} {100 * n / total:.0f} %" for way, n in asked.most_common())
        yield f"| {kind} | {means} | {ways} |"
