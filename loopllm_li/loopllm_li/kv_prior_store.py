"""Learned statistics in any key-value store of LlamaIndex, shared by threads, processes and machines.

LlamaIndex's stores have no atomic update, so reading, adding and writing back loses what others wrote
between. Here each writer has a document of its own that only it overwrites, and a reader sums the documents
of all writers.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from llama_index.core.storage.kvstore.types import BaseKVStore

from loopllm.errors import CorruptStoreError, MisuseError, StoreError
from loopllm.stores.base import Counters
from loopllm.stores.deltas import add, add_counters, checked

DEFAULT_COLLECTION = "loopllm_priors"

_Shard = dict[str, dict[str, float]]


class KVStorePriorStore:
    """A `PriorStore` on a `BaseKVStore`.

    >>> from llama_index.core.storage.kvstore import SimpleKVStore
    >>> shared = SimpleKVStore()
    >>> one, two = KVStorePriorStore(shared), KVStorePriorStore(shared)
    >>> one.merge({"decompose": {"n": 1.0}}); two.merge({"decompose": {"n": 2.0}})
    >>> one.load("decompose")
    {'n': 3.0}

    Args:
        kvstore: Any key-value store of LlamaIndex that can be used without awaiting. collection: The
        collection that holds the statistics, and nothing else. writer_id: A name that no other writer uses
        at the same time, for workers that are started again and again and
            should go on with their own document. A new one for each object when not given.

    Raises:
        MisuseError: It is no key-value store, or the name is empty.
    """

    blocking = True

    def __init__(
        self, kvstore: BaseKVStore, *, collection: str = DEFAULT_COLLECTION, writer_id: str | None = None
    ) -> None:
        if not isinstance(kvstore, BaseKVStore):
            raise MisuseError(f"kvstore must be a LlamaIndex key-value store, got a {type(kvstore).__name__}")
        if writer_id == "":
            raise MisuseError("writer_id must not be empty")
        self._kvstore = kvstore
        self._collection = collection
        self._given_id = writer_id
        self._lock = threading.RLock()
        self._own: _Shard | None = None
        self._merges = 0
        self._writer = ""
        self._pid = 0

    def __repr__(self) -> str:
        return f"KVStorePriorStore({type(self._kvstore).__name__}, collection={self._collection!r})"

    def load(self, key: str) -> dict[str, float]:
        """Return a copy of the counters under `key`, empty when there are none.

        Raises:
            StoreError: The store cannot be read.
        """
        total: dict[str, float] = {}
        with self._lock:
            for shard in self._shards():
                add_counters(total, shard.get(key, {}))
        return total

    def merge(self, deltas: Mapping[str, Counters]) -> None:
        """Add several deltas, by key, in one atomic step.

        Raises:
            MisuseError: A value is not a finite number; nothing was added.
            StoreError: The store cannot be written; nothing was added.
        """
        fresh = checked(deltas)
        if not fresh:
            return
        with self._lock:
            self._claim()
            changed = {key: dict(counters) for key, counters in (self._own or {}).items()}
            add(changed, fresh)
            document = {"merges": self._merges + 1, "counters": changed}
            self._do("written", self._kvstore.put, self._writer, document, self._collection)
            self._own, self._merges = changed, self._merges + 1

    def keys(self) -> list[str]:
        """Return all keys, sorted."""
        with self._lock:
            return sorted({key for shard in self._shards() for key in shard})

    def revision(self) -> object:
        """Return a token that differs once somebody has merged since it was last asked for."""
        documents = self._documents()
        return frozenset((writer, _merges_of(writer, document)) for writer, document in documents.items())

    def close(self) -> None:
        """Do nothing: every merge is written at once, and the key-value store is its owner's to close."""

    def _shards(self) -> Iterable[_Shard]:
        # A snapshot per document: a store in memory hands out its own inner dicts, which are never changed after a put.
        return [_counters_of(writer, document) for writer, document in self._documents().items()]

    def _documents(self) -> dict[str, Any]:
        documents: dict[str, Any] = dict(self._do("read", self._kvstore.get_all, self._collection))
        return documents

    def _claim(self) -> None:
        """Find or make this writer's own document; a forked child becomes a writer of its own."""
        if self._pid == os.getpid():
            return
        forked = self._pid != 0
        self._writer = uuid.uuid4().hex if forked or self._given_id is None else self._given_id
        known = self._do("read", self._kvstore.get, self._writer, self._collection)
        self._own = {} if known is None else _counters_of(self._writer, known)
        self._merges = 0 if known is None else _merges_of(self._writer, known)
        self._pid = os.getpid()

    def _do(self, what: str, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            raise StoreError(f"{type(self._kvstore).__name__} cannot be {what}: {error}") from error


def _counters_of(writer: str, document: Any) -> _Shard:
    counters = document.get("counters") if isinstance(document, Mapping) else None
    if not isinstance(counters, Mapping):
        raise CorruptStoreError(
            f"the document {writer!r} is no statistics of loopllm; give KVStorePriorStore a collection of its own"
        )
    return {key: dict(values) for key, values in counters.items()}


def _merges_of(writer: str, document: Any) -> int:
    _counters_of(writer, document)
    return int(document.get("merges", 0))
