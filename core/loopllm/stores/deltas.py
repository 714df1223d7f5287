"""How a delta is checked and added; shared by every store that adds in Python."""

from __future__ import annotations

import math
from collections.abc import Mapping

from loopllm.errors import MisuseError
from loopllm.stores.base import Counters


def checked(deltas: Mapping[str, Counters]) -> dict[str, dict[str, float]]:
    """Return a copy of `deltas` without what changes nothing: zeros and keys left empty.

    Raises:
        MisuseError: A value is not a finite number, or a name cannot be written as UTF-8.

    >>> checked({"a": {"n": 1, "s": 0.0}, "b": {}})
    {'a': {'n': 1.0}}
    """
    kept = {key: _checked_counters(key, counters) for key, counters in deltas.items()}
    return {key: counters for key, counters in kept.items() if counters}


def add(into: dict[str, dict[str, float]], deltas: Mapping[str, Counters]) -> None:
    """Add `deltas` to `into`, in place.

    >>> total = {"a": {"n": 1.0}}
    >>> add(total, {"a": {"n": 2.0}, "b": {"s": 0.5}})
    >>> total
    {'a': {'n': 3.0}, 'b': {'s': 0.5}}
    """
    for key, counters in deltas.items():
        add_counters(into.setdefault(key, {}), counters)


def add_counters(into: dict[str, float], delta: Counters) -> None:
    """Add one sparse vector to another, in place."""
    for name, value in delta.items():
        into[name] = into.get(name, 0.0) + value


def _checked_counters(key: str, counters: Counters) -> dict[str, float]:
    _check_text(key)
    return {name: _checked_value(key, name, value) for name, value in counters.items() if value != 0}


def _checked_value(key: str, name: str, value: float) -> float:
    _check_text(name)
    if not math.isfinite(value):
        # A single NaN would make every later sum a NaN, for every process that shares the store.
        raise MisuseError(
            f"counter {name!r} of {key!r} would grow by {value!r}; a delta must be a finite number"
        )
    return float(value)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise MisuseError(f"{text!r} cannot be a name in a store: it holds a lone surrogate") from error
