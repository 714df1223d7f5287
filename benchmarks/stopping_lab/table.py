"""How is it shown in text? Markdown tables, narrow enough for a terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.stopping_lab import summary
from benchmarks.stopping_lab.calibration import Tally, added, calibration_error
from benchmarks.stopping_lab.evaluation import CALIBRATED_AT
from benchmarks.stopping_lab.summary import Cell

BASELINES = (
    "threshold", "threshold + plateau", "tuned reactive", "best fixed", "best fixed per pair", "DP*", "clairvoyant",
)  # fmt: skip


def markdown(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *([shown(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def ours(cells: Sequence[Cell]) -> list[str]:
    """Our policy's columns, by number of runs."""
    names = {name for c in cells for name in c["policies"] if name.startswith("ours @")}
    return sorted(names, key=lambda name: int(name.split("@")[1]))


def shares(cells: Sequence[Cell]) -> str:
    policies = [*ours(cells), *BASELINES]
    grouped = summary.groups(cells)
    body = [[p, *(summary.share(summary.rows_of(g, p)) for g in grouped.values())] for p in policies]
    parts = [
        [f"{p} / DP*", *(summary.part(summary.rows_of(g, p)) for g in grouped.values())] for p in ours(cells)
    ]
    return markdown(["share of the gap", *grouped], [*body, *parts])


def earnings(cells: Sequence[Cell]) -> str:
    """Utility, calls and passing of the policies that matter; without `drift`, whose regimes cannot be compared."""
    cells = [c for c in cells if c["env"] != "drift"]
    policies = [*ours(cells), "threshold", "tuned reactive", "best fixed", "DP*", "clairvoyant"]
    rows = []
    for policy in policies:
        for name, group in summary.groups(cells).items():
            found = summary.rows_of(group, policy)
            if found and name.isupper():
                means = [sum(r[key] for r in found) / len(found) for key in ("u", "calls", "passed")]
                rows.append([policy, name, *means])
    return markdown(["policy", "environments", "utility", "calls", "passed"], rows)


def by_utility(cells: Sequence[Cell]) -> str:
    names = list(dict.fromkeys(c["utility"] for c in cells))
    policies = [*ours(cells), "tuned reactive"]
    rows = [
        [p, *(summary.share(summary.rows_of([c for c in cells if c["utility"] == u], p)) for u in names)]
        for p in policies
    ]
    return markdown(["share by utility", *names], rows)


def online(cells: Sequence[Cell]) -> str:
    rows = []
    for name, group in summary.groups(cells).items():
        found = summary.online(group)
        if found:
            rows.append(
                [name, found["ours"], found["best fixed"], found["DP*"], found["ours"] / found["DP*"]]
            )
    return (
        markdown(["runs 1 to 100, online", "ours", "best fixed", "DP*", "ours / DP*"], rows) if rows else ""
    )


def counts(cells: Sequence[Cell]) -> str:
    rows = [[p, "{} of {}".format(*summary.at_least_fixed(cells, p))] for p in [*ours(cells), *BASELINES[:3]]]
    return markdown(["policy", "cells at or above best fixed k"], rows)


def curves(cells: Sequence[Cell]) -> list[str]:
    """Drift, cold start and losses, where they were asked for."""
    found = []
    if drift := summary.drift(cells):
        found.append(markdown(["runs after the change", *drift], [["share", *drift.values()]]))
    if cold := summary.coldstart(cells):
        runs = list(cold["pooled"])
        found.append(markdown(["new pair, runs", *runs], [[way, *c.values()] for way, c in cold.items()]))
    grouped = {name: summary.losses(group) for name, group in summary.groups(cells).items()}
    if any(grouped.values()):
        keys = max(grouped.values(), key=len)
        rows = [[name, *(loss.get(key) for key in keys)] for name, loss in grouped.items() if loss]
        found.append(markdown(["part of the gap lost to", *keys], rows))
    return found


def calibrations(cells: Sequence[Cell]) -> list[str]:
    """Error per environment, and the reliability table of real runs (else of all)."""
    rows: list[list[Any]] = []
    pooled: Tally = []
    for runs in map(str, CALIBRATED_AT):
        for name, group in summary.groups(cells).items():
            found = [c["forecasts"][runs] for c in group if runs in c["forecasts"]]
            if found:
                tally = added(found)
                rows.append([name, runs, int(sum(n for n, _, _ in tally)), calibration_error(tally)])
                pooled = tally if name in ("REAL", "SYNTHETIC") else pooled
    if not rows:
        return []
    table = [[int(n), chance / n, happened / n] for n, chance, happened in pooled if n]
    return [
        markdown(["P(improve)", "runs", "forecasts", "calibration error"], rows),
        markdown(["forecasts", "mean P(improve)", "improved"], table),
    ]


def report(cells: Sequence[Cell]) -> str:
    parts = [
        shares(cells), counts(cells), by_utility(cells), earnings(cells), online(cells), *curves(cells),
        *calibrations(cells),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"
