"""What the JSON files of a store look like, and whether the bytes in one are sound.

Two kinds: the snapshot (all counters, one JSON document) and the journal beside it (one JSON object per line,
each a delta merged since). A journal belongs to the snapshot whose token its lines carry; under any other
snapshot it counts for nothing, so a crash between "new snapshot in place" and "old journal removed" adds no
delta twice.
"""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from loopllm.errors import StoreError
from loopllm.tables import counted

FORMAT: Literal["loopllm-priors"] = "loopllm-priors"
"""What a snapshot calls itself."""

_LEFT_ALONE = "left alone: give the store another path"

VERSION: Literal[1] = 1
"""Schema version of the snapshot; raised when an older loopllm could not read what a newer one writes."""


class UnsoundError(Exception):
    """The bytes of a file are damaged; never leaves `loopllm.stores`."""


class Snapshot(BaseModel):
    """All counters at one moment.

    Attributes:
        format: Says that the file is ours.
        version: Schema version.
        journal: Token that the lines of this snapshot's journal carry.
        counters: Key to counter name to value.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    # No defaults: other JSON, even {}, must not pass for an empty store and be overwritten.
    format: Literal["loopllm-priors"]
    version: Literal[1]
    journal: str
    counters: dict[str, dict[str, float]]


class JournalLine(BaseModel):
    """One merge.

    Attributes:
        journal: Token of the snapshot that it adds to.
        add: The deltas, by key and counter name.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    journal: str
    add: dict[str, dict[str, float]]


def new_snapshot(counters: dict[str, dict[str, float]]) -> Snapshot:
    """Return a snapshot of these counters, with a journal token unlike any before."""
    return Snapshot(format=FORMAT, version=VERSION, journal=os.urandom(8).hex(), counters=counters)


def read_snapshot(raw: bytes, name: str) -> Snapshot:
    """Parse a snapshot.

    Args:
        raw: The file's bytes.
        name: The file's path, for messages.

    Raises:
        UnsoundError: The bytes are damaged.
        StoreError: They are sound but not for this version: other JSON, or written by a newer loopllm.
    """
    try:
        return Snapshot.model_validate_json(raw.removeprefix(BOM_UTF8))  # an editor may have put it there
    except ValidationError as error:
        _refuse_foreign(raw, name)
        faults = counted(error.error_count(), "fault")
        raise UnsoundError(f"{faults}, the first: {error.errors()[0]['msg']}") from error


def _refuse_foreign(raw: bytes, name: str) -> None:
    """Raise for a file that is whole but not ours to set aside."""
    try:
        found = from_json(raw.removeprefix(BOM_UTF8))
    except ValueError:
        if _may_be_ours(raw):
            return
        raise StoreError(f"{name} is no file of loopllm's; it was {_LEFT_ALONE}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise StoreError(f"{name} holds JSON that is not loopllm's; it was {_LEFT_ALONE}")
    version = found.get("version")
    if isinstance(version, int) and version > VERSION:
        raise StoreError(
            f"{name} has schema version {version}, this loopllm reads up to {VERSION}; it was left alone: "
            "upgrade with pip install -U loopllm, or give the store another path"
        )


def _may_be_ours(raw: bytes) -> bool:
    """Whether it is what a crash or a bad disk may leave of a snapshot: nothing, zeros, or a piece of one.

    >>> _may_be_ours(b""), _may_be_ours(b'{"form'), _may_be_ours(b"Notes of mine"), _may_be_ours(b"SQLite format 3")
    (True, True, False, False)
    """
    said = raw.removeprefix(BOM_UTF8).strip(b"\0 \t\r\n")
    return not said or said.startswith(b"{") or FORMAT.encode() in said


def journal_line(token: str, deltas: dict[str, dict[str, float]]) -> bytes:
    """Write one merge as a line."""
    return JournalLine(journal=token, add=deltas).model_dump_json().encode() + b"\n"


def read_journal(raw: bytes, token: str) -> tuple[list[JournalLine], int]:
    """Parse what follows a snapshot, up to the last whole line.

    A torn last line is what a writer killed half way leaves, a merge never acknowledged: it is no fault.

    Args:
        raw: Bytes of the journal, from the start of a line.
        token: Token of the snapshot.

    Returns:
        The merges, and the number of bytes they take.

    Raises:
        UnsoundError: A line other than the last is damaged.

    >>> whole = journal_line("t", {"a": {"n": 1.0}})
    >>> lines, length = read_journal(whole + whole[:9], "t")
    >>> lines[0].add, length == len(whole)
    ({'a': {'n': 1.0}}, True)
    >>> read_journal(whole, "another snapshot")
    ([], 0)
    """
    lines: list[JournalLine] = []
    end = 0
    whole = raw.split(b"\n")[:-1]
    for number, text in enumerate(whole, start=1):
        line = _parsed(text)
        if line is None and number < len(whole):
            raise UnsoundError(f"there are merges after a line that is none, {text[:40]!r}")
        if line is None or line.journal != token:
            break
        lines.append(line)
        end += len(text) + 1
    return lines, end


def _parsed(text: bytes) -> JournalLine | None:
    try:
        return JournalLine.model_validate_json(text)
    except ValidationError:
        return None
