"""How many tokens did several messages take together?

Rule: a count nobody gave, or one that is no number, is left out of the sum and stops nothing: providers put None,
floats and strings where the field's own adder expects integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from langchain_core.messages import BaseMessage
from langchain_core.messages.ai import UsageMetadata

from loopllm.results import UNKNOWN_USAGE, Usage

_ALWAYS = ("input_tokens", "output_tokens", "total_tokens")


def sum_usage(usages: Iterable[Mapping[str, Any] | None]) -> UsageMetadata | None:
    """Return the sum of the `usage_metadata` of several messages, or None when none has any.

    >>> first = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4, "total_cost": 0.5}
    >>> second = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7, "total_cost": None}
    >>> sum_usage([first, None, second])
    {'input_tokens': 8, 'output_tokens': 3, 'total_tokens': 11, 'total_cost': 0.5}
    """
    known = [usage for usage in usages if usage]
    if not known:
        return None
    total: dict[str, Any] = dict.fromkeys(_ALWAYS, 0)
    for usage in known:
        _add(total, usage)
    return cast("UsageMetadata", total)


def _add(total: dict[str, Any], usage: Mapping[str, Any]) -> None:
    for name, value in usage.items():
        if isinstance(value, Mapping):
            inner = total.get(name)
            total[name] = part = dict(inner) if isinstance(inner, Mapping) else {}
            _add(part, value)
        elif is_count(value):
            before = total.get(name, 0)
            total[name] = before + value if is_count(before) else value


def is_count(value: Any) -> bool:
    """Return True for a number that can be summed; a bool or a NaN is none.

    >>> is_count(3), is_count(None), is_count("3"), is_count(float("nan"))
    (True, False, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # noqa: PLR0124 - NaN


def usage_of(message: Any) -> Usage:
    """Return what a message says it cost, in the engine's own terms.

    >>> from langchain_core.messages import AIMessage
    >>> usage_of(AIMessage("hi", usage_metadata={"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}))
    Usage(prompt_tokens=3, completion_tokens=1, cost=None)
    """
    said = getattr(message, "usage_metadata", None) if isinstance(message, BaseMessage) else None
    if not said:
        return UNKNOWN_USAGE
    return Usage(
        _whole(said.get("input_tokens")), _whole(said.get("output_tokens")), _money(said.get("total_cost"))
    )


def _whole(value: Any) -> int | None:
    return int(value) if is_count(value) else None


def _money(value: Any) -> float | None:
    # The cache of langchain-core writes a total_cost of 0 on a hit: that call did cost nothing.
    return float(value) if is_count(value) else None
