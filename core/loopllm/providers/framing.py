"""How are the bytes of a streamed reply cut into messages? No I/O here.

Rule: only line feeds end a line. `str.splitlines` (and so httpx's `iter_lines`) also cuts at U+2028 and
others, which are legal inside a JSON string.
"""

from __future__ import annotations

from loopllm.errors import ProviderError

MAX_BYTES = 32 * 1024 * 1024
"""No reply, and no line of a stream, may be longer."""


class LineSplitter:
    r"""Collects bytes and gives out whole lines, decoded as UTF-8, without their line ends.

    >>> lines = LineSplitter()
    >>> lines.feed(b"one\r\ntw"), lines.feed(b"o\n"), lines.feed(b"rest"), lines.flush()
    (['one'], ['two'], [], ['rest'])

    Raises:
        ProviderError: A line grew beyond `MAX_BYTES`.
    """

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[str]:
        """Take the next bytes; return the lines they complete."""
        self._rest += piece
        if b"\n" not in piece:
            refuse_oversize(len(self._rest))
            return []
        *whole, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        return [_text(line) for line in whole]

    def flush(self) -> list[str]:
        """Return the last line when the stream ended without a line feed."""
        rest, self._rest = bytes(self._rest), bytearray()
        return [_text(rest)] if rest else []


def refuse_oversize(size: int) -> None:
    """Raise `ProviderError` when a reply of `size` bytes is too long to be one."""
    if size > MAX_BYTES:
        raise ProviderError(
            f"the reply is longer than {MAX_BYTES} bytes; is the base URL that of a model server?"
        )


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", errors="replace")


class EventDecoder:
    r"""Collects the lines of a server-sent event stream and gives out the data of whole events.

    Comments and fields other than `data` are dropped; the data lines of one event are joined by line feeds.

    >>> events = EventDecoder()
    >>> [events.feed(line) for line in [": still working", "data: {", "data: }", ""]]
    [None, None, None, '{\n}']
    """

    def __init__(self) -> None:
        self._data: list[str] = []

    def feed(self, line: str) -> str | None:
        """Take the next line; return the event's data when the line ends one."""
        if not line:
            return self.flush()
        field, _, value = line.partition(":")
        if field == "data":
            self._data.append(value.removeprefix(" "))
        return None

    def flush(self) -> str | None:
        """Return the data of an event that the end of the stream cut short of its empty line."""
        data, self._data = self._data, []
        return "\n".join(data) if data else None
