"""What share of the gap between the best fixed number of calls and DP* does a policy close?

share(policy) = sum(u - u_fixed) / sum(u_DP* - u_fixed) over cells and repetitions (gap-weighted by its form);
part of DP* = sum(u) / sum(u_DP*). A cell is an environment and a utility, averaged over repetitions.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Cell = Mapping[str, Any]
Row = Mapping[str, float]


def rows_of(cells: Iterable[Cell], policy: str) -> list[Row]:
    return [c["policies"][policy] for c in cells if policy in c["policies"]]


def share(rows: Sequence[Row]) -> float:
    """0 is the best fixed number of calls, 1 is DP*.

    >>> share([{"u": 0.55, "fixed": 0.5, "dp": 0.6}, {"u": 0.3, "fixed": 0.3, "dp": 0.4}])
    0.25
    """
    gap = sum(row["dp"] - row["fixed"] for row in rows)
    return round(sum(row["u"] - row["fixed"] for row in rows) / gap, 6) if gap > 0 else float("nan")


def part(rows: Sequence[Row]) -> float:
    """Utility as a part of that of DP*.

    >>> part([{"u": 0.55, "dp": 0.6}, {"u": 0.3, "dp": 0.4}])
    0.85
    """
    best = sum(row["dp"] for row in rows)
    return round(sum(row["u"] for row in rows) / best, 6) if best > 0 else float("nan")


def at_least_fixed(cells: Sequence[Cell], policy: str) -> tuple[int, int]:
    """Cells (environment x utility, mean over repetitions) in which the policy earns what the best fixed k does."""
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for c in cells:
        if policy in c["policies"]:
            row = c["policies"][policy]
            sums[c["env"], c["utility"]] += row["u"] - row["fixed"]
    return sum(total >= -1e-9 for total in sums.values()), len(sums)


def groups(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Every environment, and the sets of them that the reference reports."""
    found: dict[str, list[Cell]] = {}
    for name in dict.fromkeys(c["env"] for c in cells):
        found[name] = [c for c in cells if c["env"] == name]
    wholes: dict[str, Callable[[Cell], bool]] = {
        "SYNTHETIC": lambda c: not c["real"],
        "SYNTHETIC but noisy": lambda c: not c["real"] and c["env"] != "noisy",
        "REAL": lambda c: c["real"],
        "ALL": lambda _: True,
    }
    return found | {
        name: picked for name, keep in wholes.items() if (picked := [c for c in cells if keep(c)])
    }


def online(cells: Sequence[Cell]) -> dict[str, float]:
    """Means of what runs 1 to 100 earned; empty when no cell ran that far."""
    rows = [c["online"] for c in cells if "online" in c]
    return {key: sum(r[key] for r in rows) / len(rows) for key in (rows[0] if rows else ())}


def drift(cells: Sequence[Cell]) -> dict[str, float]:
    """Share by the number of runs per pair since the change of regime."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for c in cells:
        for after, row in c.get("drift", {}).items():
            rows[after].append(row)
    return {after: share(found) for after, found in rows.items()}


def coldstart(cells: Sequence[Cell]) -> dict[str, dict[str, float]]:
    """Share of the newcomer by its runs, `pooled` with its relatives and `alone`."""
    rows: dict[str, dict[str, list[Row]]] = {"pooled": defaultdict(list), "alone": defaultdict(list)}
    for c in cells:
        found = c.get("coldstart", {})
        for way in rows if found else ():
            for runs, u in found[way].items():
                rows[way][runs].append({"u": u, "fixed": found["fixed"], "dp": found["dp"]})
    return {way: {runs: share(r) for runs, r in by_runs.items()} for way, by_runs in rows.items() if by_runs}


def losses(cells: Sequence[Cell]) -> dict[str, float]:
    """Parts of the gap lost to representation, and at each N to estimation and exploration."""
    having = [c for c in cells if "losses" in c]
    gap = sum(c["policies"]["DP*"]["u"] - c["policies"]["best fixed"]["u"] for c in having)
    if not having or gap <= 0:
        return {}
    schooled = {n: sum(c["losses"][n] for c in having) for n in having[0]["losses"]}
    many, *few = sorted(schooled, key=int, reverse=True)
    dp = sum(c["policies"]["DP*"]["u"] for c in having)
    found = {"representation": (dp - schooled[many]) / gap}
    for n in reversed(few):
        rows = rows_of(having, f"ours @{n}")
        if len(rows) == len(having):
            found[f"estimation @{n}"] = (schooled[many] - schooled[n]) / gap
            found[f"exploration @{n}"] = (schooled[n] - sum(r["u"] for r in rows)) / gap
    return found
