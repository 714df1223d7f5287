"""Pictures: without a window, without global settings, and with a clear word when matplotlib is missing."""

import subprocess
import sys
from io import BytesIO

import pytest

from loopllm import AdaptivePriors, CallObservation
from loopllm.plotting import INK, PAPER, STYLES, draw_reliability, draw_report
from loopllm.priors.calibration import reliability


def taught(runs=20):
    priors = AdaptivePriors()
    for _ in range(runs):
        priors.observe(CallObservation("t", "m", [0.2, 0.5, 0.5, 0.9]))
    return priors


def contrast(one, other):
    """Contrast ratio by WCAG 2.1."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_four_panels_show_the_report_number_for_number():
    priors = taught()
    report, figure = priors.report("t", "m"), priors.plot("t", "m")
    scores, improvement, reservation, runs = figure.axes
    lines = {line.get_label(): list(line.get_ydata()) for line in scores.lines + reservation.lines}
    assert lines["expected if none stops"] == [it.expected_score for it in report.iterations]
    assert lines["mean of those seen"] == [it.observed_score for it in report.iterations]
    assert lines["after a gain"] == [it.reservation_score for it in report.iterations]
    assert [bar.get_height() for bar in runs.patches] == [it.runs for it in report.iterations]
    shown = [text.get_text() for text in improvement.texts]
    assert shown == [f"{it.improvement_probability:.2f}" for it in report.iterations[1:]]


def test_a_picture_becomes_a_file_and_shows_itself_in_a_notebook():
    figure = taught().plot("t", "m")
    buffer = BytesIO()
    figure.savefig(buffer, format="svg")
    assert b"<svg" in buffer.getvalue()
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_pair_that_was_never_seen_gives_a_picture_that_says_so():
    figure = AdaptivePriors().plot("t", "m")
    assert "no run yet" in [text.get_text() for text in figure.axes[0].texts]


def test_reliability_is_drawn_with_the_number_of_forecasts_at_each_point():
    table = reliability([(0.2, False)] * 8 + [(0.2, True)] * 2 + [(0.7, True)] * 5)
    [axes] = draw_reliability(table).axes
    assert {"10", "5"} <= {text.get_text() for text in axes.texts}


def test_everything_is_readable_on_its_own_paper_and_no_two_lines_differ_by_colour_alone():
    assert contrast(INK, PAPER) >= 7.0
    assert all(contrast(style["color"], PAPER) >= 4.5 for style in STYLES)
    assert len({(style["marker"], style["linestyle"]) for style in STYLES}) == len(STYLES)
    figure = draw_report(taught().report("t", "m"))
    assert all(axes.get_facecolor() == figure.get_facecolor() for axes in figure.axes)


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_no_window_system_is_touched():
    done = run(
        "import sys; from loopllm import AdaptivePriors\n"
        "AdaptivePriors().plot('t', 'm')\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'tkinter' not in sys.modules"
    )
    assert done.returncode == 0, done.stderr


def test_nothing_is_loaded_before_a_picture_is_wanted():
    done = run(
        "import sys; from loopllm import AdaptivePriors; AdaptivePriors().report('t', 'm')\n"
        "assert not {'matplotlib', 'rich'} & set(sys.modules)"
    )
    assert done.returncode == 0, done.stderr


def test_without_matplotlib_the_error_says_what_to_install():
    done = run(
        "import sys; sys.modules['matplotlib'] = None\n"
        "from loopllm import AdaptivePriors, MissingExtraError\n"
        "try: AdaptivePriors().plot('t', 'm')\n"
        "except MissingExtraError as error: print(error)"
    )
    assert done.stdout.strip() == "matplotlib is not installed. Run: pip install 'loopllm[plot]'"


@pytest.mark.parametrize("show", [lambda p: p.report("t", "m"), lambda p: p.suggest_config("t", "m")])
def test_what_is_known_prints_in_a_terminal_in_a_notebook_and_with_rich(show):
    from rich.console import Console

    console = Console(width=120, file=None, record=True, quiet=False, force_terminal=False)
    shown = show(taught())
    with console.capture() as capture:
        console.print(shown)
    for text in (str(shown), capture.get(), shown._repr_html_()):
        assert "t with m" in text
    assert "style" not in shown._repr_html_()  # a colour of its own would be wrong on dark or on light


@pytest.mark.parametrize("name", ["a price in $", r"$\frac$", "$x^{$", "two\nlines"])
def test_a_name_is_never_taken_for_a_formula(name):
    priors = AdaptivePriors()
    priors.observe(CallObservation(name, "m", [0.2, 0.9]))
    figure = priors.plot(name, "m")
    assert figure.get_suptitle() == f"{' '.join(name.split())} with m: 1 run"
    figure.savefig(BytesIO(), format="png")
