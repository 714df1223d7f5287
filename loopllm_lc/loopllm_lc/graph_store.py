"""Priors in LangGraph's own store, so that a deployment shares what its graphs learn without another database.

Rule 1: that store has no way to add atomically, and reading, changing and writing loses updates; so every handle
writes a shard of its own, which nobody else writes, and reading adds the shards up.
Rule 2: a shard is one item, so what a merge adds to several keys is there at once or not at all.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from langgraph.store.base import BaseStore, Item

from loopllm.adaptive_priors import AdaptivePriors
from loopllm.errors import MisuseError, StoreError
from loopllm.stores.base import Counters
from loopllm.stores.deltas import add, add_counters, checked

_FIRST_LIMIT = 100


class GraphPriorStore:
    """A `PriorStore` in a LangGraph `BaseStore`: `AdaptivePriors(store=GraphPriorStore(runtime.store))`.

    >>> from langgraph.store.memory import InMemoryStore
    >>> shared = InMemoryStore()
    >>> for worker in (GraphPriorStore(shared), GraphPriorStore(shared)):
    ...     worker.merge({"a": {"runs": 1.0}})
    >>> GraphPriorStore(shared).load("a")
    {'runs': 2.0}

    Args:
        store: LangGraph's store.
        namespace: Where the shards are kept.
        shard: The name of this handle's shard. A new one is made up when not given; give long-lived workers fixed
            names to keep their number small, and never the same name to two at a time.
    """

    def __init__(
        self,
        store: BaseStore,
        namespace: tuple[str, ...] = ("loopllm", "priors"),
        *,
        shard: str | None = None,
    ) -> None:
        self._store = store
        self._namespace = namespace
        self._shard = shard or uuid4().hex
        self._lock = threading.Lock()
        self._is_known = shard is None  # a new one holds nothing
        self._merges = 0
        self._own: dict[str, dict[str, float]] = {}

    def __repr__(self) -> str:
        return f"GraphPriorStore({type(self._store).__name__}, shard={self._shard!r})"

    def load(self, key: str) -> dict[str, float]:
        """Return the sum of all shards' counters under `key`."""
        total: dict[str, float] = {}
        for counters in self._shards():
            add_counters(total, counters.get(key, {}))
        return total

    def merge(self, deltas: Mapping[str, Counters]) -> None:
        """Add to this handle's shard.

        Raises:
            MisuseError: A value is not a finite number; nothing was added.
            StoreError: The store cannot be read or written; nothing was added.
        """
        kept = checked(deltas)
        if not kept:
            return
        with self._lock:
            self._go_on()
            grown = {key: dict(counters) for key, counters in self._own.items()}
            add(grown, kept)
            try:
                value = {"counters": grown, "merges": self._merges + 1}
                self._store.put(self._namespace, self._shard, value, index=False)
            except Exception as error:
                raise StoreError(f"LangGraph's store could not be written: {error}") from error
            self._own, self._merges = grown, self._merges + 1

    def _go_on(self) -> None:
        """Read what a named shard holds, once, but not when it is made: there the store may have to be awaited."""
        if self._is_known:
            return
        try:
            found = self._store.get(self._namespace, self._shard)
        except Exception as error:
            raise StoreError(f"LangGraph's store could not be read: {error}") from error
        if found is not None:
            self._own, self._merges = found.value["counters"], found.value["merges"]
        self._is_known = True

    def keys(self) -> Sequence[str]:
        """Return all keys, sorted."""
        return sorted({key for counters in self._shards() for key in counters})

    def revision(self) -> object:
        """Return how many merges each shard holds; this reads the shards, since the store has nothing cheaper."""
        return tuple(sorted((item.key, item.value["merges"]) for item in self._items()))

    def close(self) -> None:
        """Do nothing: every merge is written at once, and the store is the caller's."""

    def _shards(self) -> Iterator[dict[str, dict[str, float]]]:
        for item in self._items():
            yield item.value["counters"]

    def _items(self) -> Iterator[Item]:
        # A deeper namespace is somebody else's, and an item of the store may be the live object: only read it.
        return (item for item in self._found() if item.namespace == self._namespace)

    def _found(self) -> Sequence[Item]:
        """Return all that one search finds: between pages shards change places, since the last written comes first."""
        limit = _FIRST_LIMIT
        while True:
            try:
                items = self._store.search(self._namespace, limit=limit)
            except Exception as error:
                raise StoreError(f"LangGraph's store could not be read: {error}") from error
            if len(items) < limit:
                return items
            limit *= 4


_known: weakref.WeakKeyDictionary[BaseStore, AdaptivePriors] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def priors_in(store: BaseStore | None = None) -> AdaptivePriors:
    """Return the priors kept in a graph's store: `priors_in(runtime.store)` inside a node.

    The same store always gives the same object, so that a process writes one shard.

    Args:
        store: The store; the one of the running graph when not given.

    Raises:
        MisuseError: There is no store: the graph was compiled without one.
    """
    found = store if store is not None else _running_store()
    if found is None:
        raise MisuseError(
            "this graph has no store to keep priors in: compile(store=...), or pass one to priors_in"
        )
    with _lock:
        if found not in _known:
            _known[found] = AdaptivePriors(store=GraphPriorStore(found))
        return _known[found]


def _running_store() -> Any:
    config = sys.modules.get("langgraph.config")
    try:
        return None if config is None else config.get_store()
    except (RuntimeError, KeyError):
        return None
