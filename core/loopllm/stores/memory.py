"""Learned statistics that live as long as the process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loopllm.forking import ForkSafeLock
from loopllm.stores.base import Counters
from loopllm.stores.deltas import add, checked


class MemoryStore:
    """A `PriorStore` in memory, shared by the threads of one process.

    A pickled copy starts with the counters of that moment and is then its own; to share what is learned
    between processes use `JsonFileStore`.

    >>> store = MemoryStore()
    >>> store.merge({"decompose": {"n": 1.0}})
    >>> store.merge({"decompose": {"n": 2.0}})
    >>> store.load("decompose")
    {'n': 3.0}
    """

    def __init__(self) -> None:
        self._alone = ForkSafeLock()
        self._counters: dict[str, dict[str, float]] = {}
        self._merges = 0

    def load(self, key: str) -> dict[str, float]:
        """Return a copy of the counters under `key`, empty when there are none."""
        with self._alone():
            return dict(self._counters.get(key, {}))

    def merge(self, deltas: Mapping[str, Counters]) -> None:
        """Add several deltas, by key, in one atomic step.

        Raises:
            MisuseError: A value is not a finite number.
        """
        fresh = checked(deltas)
        with self._alone():
            add(self._counters, fresh)
            self._merges += bool(fresh)

    def keys(self) -> list[str]:
        """Return all keys, sorted."""
        with self._alone():
            return sorted(self._counters)

    def revision(self) -> int:
        """Return the number of merges so far that changed something."""
        return self._merges

    def close(self) -> None:
        """Do nothing: there is nothing to write and nothing to release."""

    def __repr__(self) -> str:
        return f"MemoryStore({len(self._counters)} keys)"

    def __getstate__(self) -> dict[str, Any]:
        with self._alone():
            return {
                "counters": {key: dict(counters) for key, counters in self._counters.items()},
                "merges": self._merges,
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._alone = ForkSafeLock()
        self._counters = state["counters"]
        self._merges = state["merges"]
