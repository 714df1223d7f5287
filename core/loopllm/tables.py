"""Rows as a plain text table for a terminal, an HTML table for a notebook, or a table of `rich`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

_WIDEST = 48

Rows = Sequence[Sequence[object]]


_CONTROLS = {code: ascii(chr(code))[1:-1] for code in (*range(32), *range(127, 160))}
"""What would move a terminal's cursor or change its colours, as it is written in source code."""


def shorten(text: object, width: int = _WIDEST) -> str:
    """Return `text` on one line of at most `width` characters, none of which is a command to a terminal.

    >>> shorten("one  two   three", 9)
    'one tw...'
    """
    line = " ".join(str(text).split()).translate(_CONTROLS)
    return line if len(line) <= width else line[: width - 3] + "..."


def counted(number: float, noun: str) -> str:
    """Return a number of things.

    >>> counted(1, "run"), counted(2, "run"), counted(0.4, "call")
    ('1 run', '2 runs', '0 calls')
    """
    text = f"{number:.0f}"
    return f"{text} {noun}" if text == "1" else f"{text} {noun}s"


def significant(value: float, digits: int) -> str:
    """Return a number with so many digits that count, and all those before the point.

    >>> significant(0.01234, 3), significant(1234.5, 3), significant(3.3e-7, 2)
    ('0.0123', '1234', '3.3e-07')
    """
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text else text


def text_table(header: Sequence[str], rows: Rows) -> str:
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


def html_table(header: Sequence[str], rows: Rows, caption: str) -> str:
    """Return rows as an HTML table without colours of its own, so that it reads on dark and on light.

    >>> html_table(["a"], [["<b>"]], "title")
    '<table><caption>title</caption><tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr></table>'
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    lines = "<br>".join(escape(line) for line in caption.splitlines())
    return f"<table><caption>{lines}</caption><tr>{head}</tr>{body}</table>"


def rich_table(header: Sequence[str], rows: Rows, caption: str) -> Any:
    """Return rows as a `rich.table.Table`; only called by rich, so it is installed."""
    from rich.box import SIMPLE  # noqa: PLC0415  (an extra, and only its own caller needs it)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=Text(caption), title_justify="left", box=SIMPLE)
    for name in header:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(
            *(Text(shorten(cell)) for cell in row)
        )  # text is never markup: an answer may hold [brackets]
    return table


def _show(shown: Tabular, printer: Any, cycle: bool) -> None:
    del cycle
    printer.text(str(shown))


class Tabular:
    """Prints as a headline and a table: with `print`, in a notebook, and with `rich.print`."""

    __slots__ = ()

    def _headline(self) -> str:
        raise NotImplementedError

    def _columns(self) -> Sequence[str]:
        raise NotImplementedError

    def _rows(self) -> Rows:
        raise NotImplementedError

    def __str__(self) -> str:
        """Return the headline and the rows as plain text."""
        return f"{self._headline()}\n{text_table(self._columns(), self._rows())}"

    def __init_subclass__(cls, **named: Any) -> None:
        """Show the table at IPython's prompt too, which takes a dataclass's own repr before anything inherited."""
        super().__init_subclass__(**named)
        cls._repr_pretty_ = _show  # type: ignore[attr-defined]

    def _repr_html_(self) -> str:
        return html_table(self._columns(), self._rows(), self._headline())

    def __rich__(self) -> Any:
        """Return what `rich.print` shows."""
        return rich_table(self._columns(), self._rows(), self._headline())
