"""What the learning needs from a store: additive vectors under string keys.

A statistic is a sparse vector, a mapping from a counter's name to a float, and two statistics merge by adding
counter by counter. That is all a store has to know, so a file, SQLite, Redis (`HINCRBYFLOAT`) and PostgreSQL
(an upsert that adds) can all merge atomically, and processes and machines share what they learned by sending
only their own deltas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

Counters = Mapping[str, float]
"""A sparse additive vector; a counter that is absent is 0."""


@runtime_checkable
class PriorStore(Protocol):
    """Where learned statistics live; safe to use from several threads and processes at once.

    Laws (checked by `loopllm.testing.PriorStoreContract`): a merge adds, so its order does not matter and an
    empty delta changes nothing; N writers times M merges lose none; what `load` returns is the caller's own
    copy; a crash leaves the state before or after a merge, never between.
    """

    def load(self, key: str) -> dict[str, float]:
        """Return a copy of the counters under `key`, empty when there are none.

        Raises:
            StoreError: The store cannot be read.
        """
        ...

    def merge(self, deltas: Mapping[str, Counters]) -> None:
        """Add several deltas, by key, in one atomic step.

        Raises:
            MisuseError: A value is not a finite number; nothing was added.
            StoreError: The store cannot be written; nothing was added.
        """
        ...

    def keys(self) -> Sequence[str]:
        """Return all keys, sorted."""
        ...

    def revision(self) -> object:
        """Return a cheap token that differs once somebody may have merged since it was last asked for."""
        ...

    def close(self) -> None:
        """Write what is still pending and release files and connections; closing twice is fine."""
        ...
