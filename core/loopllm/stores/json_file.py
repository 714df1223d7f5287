"""Learned statistics in one JSON file that many processes share."""

from __future__ import annotations

import atexit
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Literal, Self, get_args

from loopllm.errors import CorruptStoreError, MisuseError, StoreError
from loopllm.stores.base import Counters
from loopllm.stores.deltas import add, add_counters, checked
from loopllm.stores.journaled_file import JournaledFile, Stamp, UnsoundFileError, View

Durability = Literal["each", "batched"]

MAX_PENDING_MERGES = 100
"""Merges that a batched store holds back at most."""

MAX_PENDING_SECONDS = 5.0
"""Age at which a batched store writes what it holds back, when it is next used."""


class JsonFileStore:
    """A `PriorStore` in a JSON file, for any number of threads and processes of one machine.

    Beside `priors.json` lie `priors.json.lock`, which stays, and while the store is in use
    `priors.json.journal`, the merges since the file was last written as a whole. `flush`, `close` and a
    normal exit of the process fold the journal into the one JSON file. After `kill -9` the journal stays, and
    the next reader counts it in.

    A damaged file is set aside under a new name and reported once, as a `CorruptStoreError`; the store then
    goes on with what is sound. A file that is something else's, or a newer loopllm's, is left alone and
    refused.

    Args:
        path: The file, `~` allowed; it and its folder are made by the first merge.
        durability: `"each"`: a merge is on the disk when it returns. `"batched"`: merges are held back in
            memory and written together once there are 100, or when the store is next used after 5 seconds, or
            by `flush`, `close` or a normal exit. A crash loses those held back, and so do `os._exit` and the
            forked workers of `multiprocessing`, which run no exit handlers, unless the store is closed there.
        lock_timeout: Seconds to wait for other writers before a `StoreError`.

    Raises:
        MisuseError: `path`, `durability` or `lock_timeout` is not a possible value.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, JsonFileStore(f"{folder}/priors.json") as store:
    ...     store.merge({"decompose": {"n": 1.0}})
    ...     store.merge({"decompose": {"n": 2.0}})
    ...     store.load("decompose")
    {'n': 3.0}
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "each",
        lock_timeout: float = 30.0,
    ) -> None:
        if durability not in get_args(Durability):
            raise MisuseError(f'durability={durability!r} is unknown: use "each" or "batched"')
        if not lock_timeout > 0:
            raise MisuseError(f"lock_timeout={lock_timeout!r} must be a number of seconds above 0")
        self._file = JournaledFile(_resolved(path), lock_timeout)
        self._durability: Durability = durability
        self._begin()

    @property
    def path(self) -> Path:
        """Where the snapshot lives."""
        return self._file.path

    def load(self, key: str) -> dict[str, float]:
        """Return a copy of the counters under `key`, empty when there are none; takes no file lock.

        Raises:
            CorruptStoreError: A file was damaged and has been set aside; the message says where.
            StoreError: The file cannot be read.
        """
        with self._current() as view:
            counters = dict(view.counters.get(key, {}))
            add_counters(counters, self._pending.get(key, {}))
            return counters

    def keys(self) -> list[str]:
        """Return all keys, sorted.

        Raises:
            CorruptStoreError: A file was damaged and has been set aside; the message says where.
            StoreError: The file cannot be read.
        """
        with self._current() as view:
            return sorted(view.counters.keys() | self._pending.keys())

    def merge(self, deltas: Mapping[str, Counters]) -> None:
        """Add several deltas, by key, in one atomic step; durable on return, unless the store is batched.

        Raises:
            MisuseError: A value is not a finite number.
            CorruptStoreError: A file was damaged and has been set aside; nothing was added, merge again.
            StoreError: The file cannot be written; nothing was added.
        """
        fresh = checked(deltas)
        if not fresh:
            return
        with self._alone():
            if self._durability == "each":
                self._write(fresh)
            else:
                self._hold_back(fresh)

    def revision(self) -> object:
        """Return a token that differs once anyone has merged; costs two calls of `stat`."""
        with self._alone():
            return *self._file.revision(), self._pending_merges

    def flush(self) -> None:
        """Write what is held back, and fold the journal, so that the one JSON file says everything.

        Raises:
            CorruptStoreError: A file was damaged and has been set aside; what is held back still is.
            StoreError: The file cannot be written.
        """
        with self._alone():
            self._write_pending()
            self._fold()

    def close(self) -> None:
        """Do what `flush` does; no file stays open between calls, so the store can be used afterwards."""
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"JsonFileStore({str(self.path)!r}, durability={self._durability!r})"

    def __reduce__(self) -> tuple[Callable[..., JsonFileStore], tuple[object, ...]]:
        """Pickle as the path: the copy reopens the file, and what is held back stays with the original."""
        return _reopened, (self.path, self._durability, self._file.lock_timeout)

    def _begin(self) -> None:
        """Know nothing yet, in this process."""
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._view = View()
        self._read_at: tuple[Stamp, Stamp] | None = None
        self._forget_pending()

    def _forget_pending(self) -> None:
        self._pending: dict[str, dict[str, float]] = {}
        self._pending_merges = 0
        self._pending_since = 0.0

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads out and turn what the operating system says into a `StoreError`."""
        if self._process != os.getpid():
            # In a forked child the lock may be held by a thread that is not here; what is held back is the
            # parent's to write.
            self._begin()
        with self._lock:
            try:
                yield
            except OSError as error:
                raise StoreError(
                    f"{self.path} cannot be used: {error.strerror or error} ({_advice(error)})"
                ) from error

    @contextmanager
    def _current(self) -> Iterator[View]:
        """Give what the store holds now."""
        with self._alone():
            self._write_what_is_due()
            now = self._file.revision()
            if now != self._read_at:
                self._catch_up()
                self._read_at = now
            yield self._view

    def _catch_up(self) -> None:
        seen, self._view, self._read_at = self._view, View(), None
        try:
            self._view = self._file.catch_up(seen)
        except UnsoundFileError:
            with self._file.locked():
                self._catch_up_locked()

    def _catch_up_locked(self) -> None:
        """Catch up under the lock, where damage is no matter of having looked at a bad moment."""
        seen, self._view, self._read_at = self._view, View(), None
        try:
            self._view = self._file.catch_up(seen)
        except UnsoundFileError as error:
            raise CorruptStoreError(
                f"{error.files[0]} is damaged: {error}. "
                f"Set aside: {_names(self._file.set_aside(*error.files))}. "
                "The store goes on without it; mend it by hand and put it back if it matters"
            ) from error

    def _write(self, deltas: dict[str, dict[str, float]]) -> None:
        with self._file.locked():
            self._catch_up_locked()
            self._file.append(self._view, deltas)
            if self._file.outgrown(self._view):
                # The merge is on the disk: if folding fails now, the next merge tries again.
                with suppress(OSError):
                    self._catch_up_locked()
                    self._file.fold(self._view)
        _fold_at_exit(self.path)

    def _hold_back(self, deltas: dict[str, dict[str, float]]) -> None:
        self._write_what_is_due()  # first, so that a failure adds nothing
        if not self._pending_merges:
            self._pending_since = time.monotonic()
            atexit.register(self.flush)
        add(self._pending, deltas)
        self._pending_merges += 1

    def _write_what_is_due(self) -> None:
        late = time.monotonic() - self._pending_since > MAX_PENDING_SECONDS
        if late or self._pending_merges >= MAX_PENDING_MERGES:
            self._write_pending()

    def _write_pending(self) -> None:
        if self._pending_merges:
            self._write(self._pending)
            self._forget_pending()
            atexit.unregister(self.flush)

    def _fold(self) -> None:
        if self._file.journal.exists():
            with self._file.locked():
                self._catch_up_locked()
                if self._view.snapshot is not None:
                    self._file.fold(self._view)


def _reopened(path: Path, durability: Durability, lock_timeout: float) -> JsonFileStore:
    return JsonFileStore(path, durability=durability, lock_timeout=lock_timeout)


def _resolved(path: str | os.PathLike[str]) -> Path:
    """Resolve, so that a later chdir changes nothing and all names of one file share one lock."""
    try:
        resolved = Path(path).expanduser().resolve()
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        # A loop of links, the home of nobody, a null character, no path at all.
        raise MisuseError(f"path={path!r} cannot be the path of a store: {error}") from error
    if _is_device(resolved):  # it would read as damaged, and to set it aside takes it from the whole machine
        raise MisuseError(
            f"path={path!r} is a device or a pipe and no file; priors that are not kept are AdaptivePriors()"
        )
    return resolved


def _is_device(path: Path) -> bool:
    """Say whether something is there that is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (S_ISREG(mode) or S_ISDIR(mode))


def _names(paths: list[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def _advice(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "make the file and its folder writable for this user, or give the store another path"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "make room on its disk"
    return "check the path, or give the store another one"


_to_fold: set[Path] = set()


def _fold_at_exit(path: Path) -> None:
    """Have the journal folded when the process ends normally; by path, so that no store is kept alive."""
    if path not in _to_fold:
        _to_fold.add(path)
        atexit.register(_fold_now, path)


def _fold_now(path: Path) -> None:
    try:
        JsonFileStore(path, lock_timeout=1.0).flush()
    except CorruptStoreError:
        raise
    except StoreError:
        # Every merge is on the disk already: folding only tidies, and a folder that is gone needs none.
        return
