"""How is it shown in one picture? Readable on dark and light paper and without colour.

The paper is transparent, ink is a grey with contrast on both, and every line has its own marker and dash as well as
its own tone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.stopping_lab import summary
from benchmarks.stopping_lab.calibration import added
from benchmarks.stopping_lab.summary import Cell
from benchmarks.stopping_lab.table import ours

INK = "#7f7f7f"  # 4.0:1 on white, 4.7:1 on #0d1117
TONES = ("#2a7fb8", "#d2691e", "#3c9d5b", "#a05fb4", "#b8860b", "#c8506e", "#5f8a8b", "#808000")
MARKERS = "osD^vPX*<>hp"
DASHES = ("-", "--", "-.", ":")


def style(index: int) -> dict[str, Any]:
    return {
        "color": TONES[index % len(TONES)], "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index % len(DASHES)], "linewidth": 1.8, "markersize": 5,
    }  # fmt: skip


def frame(axes: Any, title: str, across: str, up: str) -> None:
    axes.set_title(title, color=INK, fontsize=10, loc="left")
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.tick_params(colors=INK)
    axes.patch.set_alpha(0)
    for spine in axes.spines.values():
        spine.set_color(INK)
    axes.grid(color=INK, alpha=0.25, linewidth=0.5)


def legend(axes: Any) -> None:
    axes.legend(fontsize=7, frameon=False, labelcolor=INK, ncols=2)


def learning(axes: Any, cells: Sequence[Cell]) -> None:
    """Share by past runs, one line per environment."""
    policies = ours(cells)
    for i, (name, group) in enumerate(summary.groups(cells).items()):
        if name not in {c["env"] for c in cells}:
            continue
        curve = [max(-1.0, summary.share(summary.rows_of(group, p))) for p in policies]
        axes.plot(range(len(policies)), curve, label=name, **style(i))
    axes.set_xticks(range(len(policies)), [p.split("@")[1] for p in policies])
    for level in (0.0, 1.0):
        axes.axhline(level, color=INK, linewidth=1)
    frame(axes, "Share of the gap (0 best fixed, 1 DP*; cut at -1)", "past runs per pair", "share")
    legend(axes)


def ranking(axes: Any, cells: Sequence[Cell]) -> None:
    """Utility of every policy as a part of DP*'s, from the worst to the clairvoyant."""
    names = [
        *ours(cells),
        "threshold",
        "threshold + plateau",
        "tuned reactive",
        "best fixed",
        "DP*",
        "clairvoyant",
    ]
    means = {n: summary.part(rows) for n in names if (rows := summary.rows_of(cells, n))}
    ranked = sorted(means, key=lambda name: means[name])
    hatches = ["///" if name.startswith("ours") else "" for name in ranked]
    axes.barh(
        range(len(ranked)),
        [means[n] for n in ranked],
        color=TONES[0],
        alpha=0.7,
        hatch=hatches,
        edgecolor=INK,
    )
    axes.set_yticks(range(len(ranked)), ranked)
    for i, name in enumerate(ranked):
        axes.text(means[name], i, f" {means[name]:.3f}", color=INK, va="center", fontsize=7)
    frame(axes, "Utility of all cells (ours hatched)", "part of the utility of DP*", "")


def recovery(axes: Any, cells: Sequence[Cell]) -> None:
    """After a change of regime, and a new pair with and without relatives."""
    curves = {f"new pair, {way}": curve for way, curve in summary.coldstart(cells).items()}
    if drift := summary.drift(cells):
        curves["after a change of regime"] = drift
    for i, (name, curve) in enumerate(curves.items()):
        axes.plot([int(n) for n in curve], list(curve.values()), label=name, **style(i))
    axes.axhline(0.8, color=INK, linewidth=1, linestyle=":")
    frame(axes, "Starting again", "runs per pair since", "share")
    if curves:
        legend(axes)


def trust(axes: Any, cells: Sequence[Cell]) -> None:
    """Reliability of P(improve) on held-out runs."""
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1)
    kinds = {"simulated": [c for c in cells if not c["real"]], "recorded": [c for c in cells if c["real"]]}
    for i, (name, group) in enumerate(kinds.items()):
        tallies = [t for c in group for t in c["forecasts"].values()]
        rows = [row for row in added(tallies) if row[0]] if tallies else []
        if rows:
            axes.plot([p / n for n, p, _ in rows], [h / n for n, _, h in rows], label=name, **style(i))
    frame(axes, "P(improve): forecast and frequency", "forecast", "improved")
    legend(axes)


def draw(cells: Sequence[Cell], path: Path) -> None:
    """Write the four panels to `path` (the suffix chooses svg, png or pdf)."""
    import matplotlib as mpl  # noqa: PLC0415  (the table and the JSON must not need it)

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  (after the backend is chosen)

    figure, panels = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    figure.patch.set_alpha(0)
    for axes, show in zip(panels.flat, (learning, ranking, recovery, trust), strict=True):
        show(axes, cells)
    figure.savefig(path, dpi=130, transparent=True)
    plt.close(figure)
