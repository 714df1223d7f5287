"""One JSON snapshot with a journal beside it: reading without a lock, writing under one.

Rewriting a snapshot of 1,000 keys for every merge costs tens of milliseconds, a line in the journal about
one. So a merge appends a line, and the journal is folded into a new snapshot once it has outgrown the old
one, which keeps the cost of a merge proportional to its delta.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import BinaryIO

from loopllm.errors import StoreError
from loopllm.stores.deltas import add
from loopllm.stores.documents import UnsoundError, journal_line, new_snapshot, read_journal, read_snapshot
from loopllm.stores.durable_files import append_durably, replace_durably

LEAST_JOURNAL_BYTES = 64 * 1024
"""A smaller journal is not folded during use: a small snapshot would be rewritten all the time."""

_POLL_SECONDS = 0.002

Stamp = tuple[int, int, int, int] | None
"""Device, inode, size and modification time of a file; None when there is none."""


class UnsoundFileError(Exception):
    """These files cannot be read as they are; never leaves `loopllm.stores`.

    Args:
        reason: What is wrong.
        files: The files to set aside.
    """

    def __init__(self, reason: str, *files: Path) -> None:
        super().__init__(reason)
        self.files = files


@dataclass(slots=True)
class View:
    """What has been read so far.

    Attributes:
        snapshot: Stamp of the snapshot that it started from; None when there was none.
        token: Token of that snapshot's journal.
        end: Bytes of the journal that are in `counters`.
        counters: Key to counter name to value.
    """

    snapshot: Stamp = None
    token: str = ""
    end: int = 0
    counters: dict[str, dict[str, float]] = field(default_factory=dict)


class JournaledFile:
    """A snapshot, its journal and its lock, at `path`, `path`.journal and `path`.lock.

    Args:
        path: Where the snapshot lives; its folder is made at the first write.
        lock_timeout: Seconds to wait for another writer before giving up.
    """

    def __init__(self, path: Path, lock_timeout: float) -> None:
        self.path = path
        self.journal = path.with_name(f"{path.name}.journal")
        self.lock = path.with_name(f"{path.name}.lock")
        self.lock_timeout = lock_timeout

    def revision(self) -> tuple[Stamp, Stamp]:
        """Return a token that changes with every write by anyone; costs two calls of `stat`."""
        return _stamp_of(self.path), _stamp_of(self.journal)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out, in this process and in others.

        Raises:
            StoreError: The lock could not be had in time, or its file cannot be written.
        """
        from filelock import FileLock, Timeout  # noqa: PLC0415  heavy: it loads asyncio

        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.lock, timeout=self.lock_timeout)
        try:
            lock.acquire(poll_interval=_POLL_SECONDS)
        except Timeout as error:
            raise StoreError(
                f"{self.path}: another process has held {self.lock.name} for {self.lock_timeout:g} s; "
                "end it, or give the store a longer lock_timeout"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def catch_up(self, seen: View) -> View:
        """Return the present state, reading only what `seen` does not have yet; `seen` is used up.

        Raises:
            UnsoundFileError: A file is damaged.
            StoreError: The snapshot is not this version's.
            OSError: A file cannot be read.
        """
        while True:
            try:
                with self.path.open("rb") as snapshot:
                    view = self._extended(seen, snapshot)
                    # A fold puts the new snapshot in place before it removes the journal, so the journal just
                    # read belongs to this snapshot if that is still there (open, its inode is not reused).
                    if os.path.samestat(os.fstat(snapshot.fileno()), self.path.stat()):
                        return view
            except FileNotFoundError:
                if not self.path.exists():
                    return View()

    def append(self, view: View, deltas: dict[str, dict[str, float]]) -> None:
        """Add `deltas`; the caller holds the lock and has just caught up.

        What follows the part that counts, a torn line or an older snapshot's lines, is cut off.
        """
        if view.snapshot is None:
            add(view.counters, deltas)
            self.fold(view)
        else:
            append_durably(self.journal, journal_line(view.token, deltas), at=view.end)

    def outgrown(self, view: View) -> bool:
        """Say whether the journal is larger than the snapshot it follows."""
        return view.snapshot is not None and view.end > max(view.snapshot[2], LEAST_JOURNAL_BYTES)

    def fold(self, view: View) -> None:
        """Write a new snapshot and remove the journal; the caller holds the lock and has caught up."""
        document = new_snapshot(view.counters)
        status = replace_durably(self.path, document.model_dump_json(indent=1).encode())
        self.journal.unlink(missing_ok=True)
        view.snapshot, view.token, view.end = _stamp(status), document.journal, 0

    def set_aside(self, *files: Path) -> list[Path]:
        """Rename damaged files, over nothing that exists, and return the new paths; under the lock."""
        moved: list[Path] = []
        for file in files:
            if file.exists():
                number = next(n for n in count(1) if not _aside(file, n).exists())
                moved.append(file.rename(_aside(file, number)))
        return moved

    def _extended(self, seen: View, snapshot: BinaryIO) -> View:
        """Return `seen`, or the open snapshot if that is another one, with the rest of the journal added."""
        view = seen
        if seen.snapshot != _stamp(os.fstat(snapshot.fileno())) or not self._continues(seen):
            view = self._opened(snapshot)
        try:
            lines, length = read_journal(_bytes_from(self.journal, view.end), view.token)
        except UnsoundError as error:
            raise UnsoundFileError(str(error), self.journal) from error
        for line in lines:
            add(view.counters, line.add)
        view.end += length
        return view

    def _opened(self, snapshot: BinaryIO) -> View:
        snapshot.seek(0)
        try:
            document = read_snapshot(snapshot.read(), str(self.path))
        except UnsoundError as error:
            raise UnsoundFileError(str(error), self.path, self.journal) from error
        return View(_stamp(os.fstat(snapshot.fileno())), document.journal, 0, document.counters)

    def _continues(self, seen: View) -> bool:
        """Say whether a line still ends where `seen` stopped; somebody may have exchanged the journal."""
        return seen.end == 0 or _bytes_from(self.journal, seen.end - 1, 1) == b"\n"


def _aside(file: Path, number: int) -> Path:
    return file.with_name(f"{file.name}.corrupt-{number}")


def _bytes_from(path: Path, start: int, length: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(length)
    except FileNotFoundError:
        return b""


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _stamp_of(path: Path) -> Stamp:
    try:
        return _stamp(path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return None
