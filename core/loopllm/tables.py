"""Rows as a plain text table for a terminal, or as an HTML table for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_WIDEST = 48


def shorten(text: object, width: int = _WIDEST) -> str:
    """Return `text` on one line of at most `width` characters.

    >>> shorten("one  two   three", 9)
    'one tw...'
    """
    line = " ".join(str(text).split())
    return line if len(line) <= width else line[: width - 3] + "..."


def text_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows as aligned columns.

    >>> print(text_table(["call", "score"], [[1, "0.20"], [2, "0.90"]]))
    call  score
    1     0.20
    2     0.90
    """
    cells = [list(header), *([shorten(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def html_table(header: Sequence[str], rows: Sequence[Sequence[object]], caption: str) -> str:
    """Return rows as an HTML table without colours of its own, so that it reads on dark and on light.

    >>> html_table(["a"], [["<b>"]], "title")
    '<table><caption>title</caption><tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr></table>'
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{body}</table>"
