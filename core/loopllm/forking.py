"""A lock for objects that a forked child inherits: the thread that holds its parent's is not there to let it go."""

from __future__ import annotations

import os
import threading


class ForkSafeLock:
    """Call it for the lock to hold; a forked child gets a new one.

    >>> lock = ForkSafeLock()
    >>> with lock():
    ...     lock().locked()
    True
    """

    __slots__ = ("_lock", "_process")

    def __init__(self) -> None:
        self._renew()

    def __call__(self) -> threading.Lock:
        """Return the lock of this process."""
        if self._process != os.getpid():
            self._renew()
        return self._lock

    def _renew(self) -> None:
        self._lock, self._process = threading.Lock(), os.getpid()
