"""What is known, as pictures: readable on dark and on light pages and without colour.

A picture brings its own paper, so that its ink keeps its contrast wherever it is shown. Every line has a marker and a
dash of its own, and its name beside it or in a legend; no difference is told by colour alone. No window is opened and
no global setting of matplotlib is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from loopllm.errors import MissingExtraError
from loopllm.tables import counted, shorten

if TYPE_CHECKING:
    from loopllm.priors.calibration import Reliability
    from loopllm.priors.report import IterationReport, PriorsReport

try:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    raise MissingExtraError("plot", "matplotlib") from error

PAPER, INK, FAINT = "#fcfcf9", "#222222", "#b9b9b4"
STYLES: Sequence[Mapping[str, Any]] = (
    {"color": "#0b5a8a", "marker": "o", "linestyle": "-"},
    {"color": "#b3500b", "marker": "s", "linestyle": "--"},
    {"color": "#3d3d3d", "marker": "^", "linestyle": ":"},
    {"color": "#6d3b8f", "marker": "D", "linestyle": "-."},
)
"""Tone, marker and dash of the first, second, ... line of a panel; the tones differ in lightness too."""

INCHES, DPI = (9.6, 6.4), 110


class Picture(Figure):
    """A figure that belongs to no window and that a notebook shows by itself."""

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=DPI)
        return buffer.getvalue()


def new_picture(rows: int, columns: int, inches: tuple[float, float] = INCHES) -> tuple[Picture, list[Any]]:
    """An empty picture and its panels, row by row.

    Returns:
        The picture, and its `matplotlib.axes.Axes`.
    """
    figure = Picture(figsize=inches, layout="constrained", facecolor=PAPER)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def dress(axes: Any, title: str, across: str, up: str) -> None:
    """Title, axes and ink of a panel; `across` and `up` say what is measured in which unit."""
    axes.set_facecolor(PAPER)
    axes.set_title(title, color=INK, fontsize=10, loc="left", pad=22)
    axes.set_xlabel(across, color=INK, fontsize=9)
    axes.set_ylabel(up, color=INK, fontsize=9)
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(color=FAINT, alpha=0.5, linewidth=0.5)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_visible(side in {"left", "bottom"})


def legend(axes: Any, columns: int = 3) -> None:
    """Names of the lines, between the title and the panel, where they cover nothing."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 0.99),
        ncols=columns,
        fontsize=8,
        labelcolor=INK,
        frameon=False,
        borderpad=0.1,
        columnspacing=0.9,
        handlelength=2.2,
    )


def line(axes: Any, xs: Sequence[float], ys: Sequence[float], number: int, name: str) -> None:
    """A line in the style of that number."""
    axes.plot(xs, ys, label=name, linewidth=1.8, markersize=5, **STYLES[number % len(STYLES)])


def draw_report(report: PriorsReport) -> Figure:
    """Beliefs by depth: the best score, P(improvement), the reservation score, and how many runs were seen.

    Args:
        report: What is known about a task type and model.
    """
    figure, panels = new_picture(2, 2)
    names = f"{shorten(report.task_type)} with {shorten(report.model_id)}"
    title = f"{names}: {counted(report.total_calls, 'run')}"
    # A $ in a name is a dollar and begins no formula.
    figure.suptitle(title, color=INK, fontsize=11, x=0.01, ha="left", parse_math=False)
    for axes, draw in zip(panels, (_scores, _improvement, _reservation, _runs), strict=True):
        draw(axes, report.iterations)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if not report.iterations:
            axes.text(0.5, 0.5, "no run yet", color=INK, ha="center", transform=axes.transAxes)
    return figure


def _calls(depths: Sequence[IterationReport]) -> list[int]:
    return [it.iteration for it in depths]


def _scores(axes: Any, depths: Sequence[IterationReport]) -> None:
    dress(axes, "Best score so far", "calls", "score")
    axes.set_ylim(-0.02, 1.02)
    if depths:
        xs = _calls(depths)
        lows, highs = ([it.score_range[end] for it in depths] for end in (0, 1))
        axes.fill_between(
            xs, lows, highs, facecolor=FAINT, alpha=0.45, edgecolor=INK, linewidth=0.6, label="80 % of runs"
        )
        line(axes, xs, [it.expected_score for it in depths], 0, "expected if none stops")
        line(axes, xs, [it.observed_score for it in depths], 1, "mean of those seen")
        legend(axes)


def _improvement(axes: Any, depths: Sequence[IterationReport]) -> None:
    dress(axes, "P(this call is a new best), with 80 % interval", "call", "probability")
    axes.set_ylim(-0.02, 1.02)
    later = [it for it in depths if it.iteration > 1]
    if later:
        means = [it.improvement_probability for it in later]
        below = [mean - it.improvement_interval[0] for mean, it in zip(means, later, strict=True)]
        above = [it.improvement_interval[1] - mean for mean, it in zip(means, later, strict=True)]
        style = {**STYLES[0], "linestyle": "none"}
        axes.errorbar(_calls(later), means, [below, above], capsize=4, linewidth=1.5, markersize=5, **style)
        for it in later:
            label = f"{it.improvement_probability:.2f}"
            spot = (it.iteration, it.improvement_probability)
            axes.annotate(label, spot, (7, 0), textcoords="offset points", color=INK, fontsize=8, va="center")


def _reservation(axes: Any, depths: Sequence[IterationReport]) -> None:
    dress(axes, "Stop from this best score on (dotted: and below)", "calls made", "reservation score")
    axes.set_ylim(-0.02, 1.02)
    if depths:
        xs = _calls(depths)
        line(axes, xs, [it.reservation_score for it in depths], 0, "after a gain")
        line(axes, xs, [it.reservation_after_stall for it in depths], 1, "after a call without gain")
        lows = [it.goes_on_within[0] for it in depths], [it.goes_on_after_stall[0] for it in depths]
        for low in lows:
            if any(low):
                axes.plot(xs, low, color=INK, linewidth=0.8, linestyle=":")
        legend(axes)


def _runs(axes: Any, depths: Sequence[IterationReport]) -> None:
    dress(axes, "Runs that made this call", "call", "runs")
    bars = axes.bar(
        _calls(depths), [it.runs for it in depths], color=FAINT, edgecolor=INK, linewidth=0.8, hatch="//"
    )
    if depths:
        axes.bar_label(bars, fmt="%.0f", color=INK, fontsize=8, padding=2)
        axes.margins(y=0.15)


def draw_reliability(table: Reliability) -> Figure:
    """Forecast against what came true, with 80 % intervals, and how many forecasts each point stands for.

    Args:
        table: See `loopllm.priors.calibration`.
    """
    figure, panels = new_picture(1, 1, (5.2, 4.8))
    axes = panels[0]
    dress(
        axes,
        f"P(improvement): calibration error {table.error:.3f}",
        "predicted probability",
        "share that came true",
    )
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
    axes.annotate("exactly right", (0.8, 0.72), color=INK, fontsize=8)
    for b in table.bins:
        spread = [[max(0.0, b.frequency - b.interval[0])], [max(0.0, b.interval[1] - b.frequency)]]
        axes.errorbar(
            [b.forecast], [b.frequency], spread, capsize=3, markersize=6, linewidth=1.3, **STYLES[0]
        )
        axes.annotate(
            str(b.count),
            (b.forecast, b.frequency),
            (7, -9),
            textcoords="offset points",
            color=INK,
            fontsize=8,
        )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.text(
        0.02, 0.94, "numbers: forecasts behind a point", color=INK, fontsize=8, transform=axes.transAxes
    )
    return figure
