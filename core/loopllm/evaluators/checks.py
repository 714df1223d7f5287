"""What do built-in evaluators refuse? Unusable arguments when made, anything but text when used."""

from __future__ import annotations

from typing import Any

from loopllm.errors import EvaluatorError, MisuseError


def require_name(name: Any) -> None:
    """Refuse a name that is not a non-empty string."""
    if not isinstance(name, str) or not name:
        raise MisuseError(f"name must be a non-empty string, got {name!r}")


def require_count(field: str, value: Any, *, minimum: int = 0) -> None:
    """Refuse anything but a whole number of at least `minimum` (and True is no number)."""
    if type(value) is not int or value < minimum:
        raise MisuseError(f"{field} must be an int of at least {minimum}, got {value!r}")


def require_number(field: str, value: Any, low: float, high: float) -> None:
    """Refuse anything but a finite number in [`low`, `high`] (and True is no number)."""
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    if not usable or not low <= value <= high:  # NaN fails this comparison too
        raise MisuseError(f"{field} must be a number from {low:g} to {high:g}, got {value!r}")


def require_text(output: Any, name: str) -> str:
    """Return `output` if it is text.

    Raises:
        EvaluatorError: It is something else, so there is nothing to score.
    """
    if isinstance(output, str):
        return output
    raise EvaluatorError(
        f"evaluator {name!r} scores text, but the output is a {type(output).__name__}; wrap it in a function "
        "that passes the text on, such as: lambda output: evaluator.evaluate(output.text)"
    )


def stated_spread(value: Any) -> float | None:
    """Return what an evaluator states as its `test_retest_sd`, None when it states nothing."""
    if value is None:
        return None
    require_number("test_retest_sd", value, 0, 1)
    return float(value)
