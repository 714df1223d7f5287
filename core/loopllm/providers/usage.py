"""What do the numbers mean that a server or a function tells of one call? Decided from values, no I/O.

Rule: what is no number of at least 0 says nothing. Servers write -1, strings and NaN where they do not know.
"""

from __future__ import annotations

from math import inf
from typing import Any

from loopllm.results import Usage


def usage_of(prompt_tokens: Any, completion_tokens: Any, cost: Any = None) -> Usage:
    """Read what is told of a call; numbers written as strings are read too.

    >>> usage_of("12", -1, 0.001)
    Usage(prompt_tokens=12, completion_tokens=None, cost=0.001)
    """
    return Usage(_count(prompt_tokens), _count(completion_tokens), _amount(cost))


def _count(stated: Any) -> int | None:
    amount = _amount(stated)
    return None if amount is None else int(amount)


def _amount(stated: Any) -> float | None:
    if stated is None or isinstance(stated, bool):
        return None
    try:
        amount = float(stated)
    except (TypeError, ValueError, OverflowError):
        return None
    return amount if 0.0 <= amount < inf else None
