"""Writes that survive a crash: the file has the old bytes or the new ones, and so has the disk on return."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def replace_durably(path: Path, data: bytes) -> os.stat_result:
    """Put `data` in place of the file at `path` in one step.

    The caller holds a lock: the temporary file has a fixed name, so that a crash leaves one at most.

    Returns:
        The new file's status.

    Raises:
        OSError: The file is as it was.
    """
    beside = path.with_name(f"{path.name}.tmp")
    try:
        status = _write_beside(beside, data, path)
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()  # on a full disk it would take the room that the next merge needs
        raise
    sync_directory(path.parent)
    return status


def _write_beside(beside: Path, data: bytes, path: Path) -> os.stat_result:
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(path, beside)
        return os.fstat(file.fileno())


def append_durably(path: Path, data: bytes, at: int) -> None:
    """Cut the file at byte `at`, creating it if need be, and write `data` there.

    Raises:
        OSError: The file ends at `at` as before, or in a torn piece of `data` where even cutting failed.
    """
    with path.open("ab", buffering=0) as file:
        file.truncate(at)
        try:
            _write_all(file, data)
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(at)  # all of it may have been written, and only the disk said no
            raise
    if at == 0:
        sync_directory(path.parent)


def sync_directory(folder: Path) -> None:
    """Make names just created in `folder` durable; does nothing where a folder cannot be opened (Windows)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(file: BinaryIO, data: bytes) -> None:
    """Write everything: an unbuffered write may take only a part."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
