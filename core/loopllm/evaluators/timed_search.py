"""Does a pattern occur in a text? Answered within a time limit, whatever the pattern."""

from __future__ import annotations

import re
from typing import Any

from loopllm.errors import EvaluatorError, MisuseError

_FLAG_NAMES = ("IGNORECASE", "MULTILINE", "DOTALL", "VERBOSE", "ASCII", "UNICODE")


def compile_pattern(pattern: Any, flags: int, field: str) -> Any:
    """Compile with the `regex` library, the one that can give up.

    Args:
        pattern: A regular expression; what `re` accepts means the same here.
        flags: Flags of the standard `re` module that `require_flags` lets through.
        field: Name of the argument, for the error.

    Raises:
        MisuseError: The pattern cannot be compiled.
    """
    if not isinstance(pattern, str):
        raise MisuseError(f"{field} must hold patterns as strings, got {pattern!r}")
    import regex  # noqa: PLC0415  only loaded by those who use patterns

    try:
        return regex.compile(pattern, _converted(flags, regex))
    except regex.error as error:
        raise MisuseError(f"{field}: {pattern!r} is no regular expression: {error}") from error


def timed_search(compiled: Any, text: str, seconds: float, name: str) -> Any:
    """Return the first match, or None.

    Raises:
        EvaluatorError: No answer within `seconds`; that says nothing about the text, so it must not become
            a score.
    """
    try:
        return compiled.search(text, timeout=seconds)
    except TimeoutError as error:
        raise _too_slow(compiled, text, seconds, name) from error


def timed_search_all(compiled: Any, text: str, seconds: float, name: str) -> list[str]:
    """Return the text of every match, in order.

    Raises:
        EvaluatorError: As for `timed_search`.
    """
    try:
        return [match.group() for match in compiled.finditer(text, timeout=seconds)]
    except TimeoutError as error:
        raise _too_slow(compiled, text, seconds, name) from error


def _too_slow(compiled: Any, text: str, seconds: float, name: str) -> EvaluatorError:
    return EvaluatorError(
        f"evaluator {name!r}: the pattern {compiled.pattern!r} is too slow on this output "
        f"(over {seconds:g} s for {len(text)} characters); rewrite it without nested repetition, "
        "or raise time_limit"
    )


def require_flags(flags: Any) -> None:
    """Refuse flags that a search for a pattern in text has no use for."""
    known = sum(int(re.RegexFlag[each]) for each in _FLAG_NAMES)
    if not isinstance(flags, int) or isinstance(flags, bool) or flags & ~known:
        raise MisuseError(f"flags must be made of {', '.join(_FLAG_NAMES)} of the module re, got {flags!r}")


def _converted(flags: int, regex: Any) -> int:
    """Translate flags by name: the two libraries number some of them differently."""
    names = [each for each in _FLAG_NAMES if flags & re.RegexFlag[each]]
    return sum(int(getattr(regex, each)) for each in names)
