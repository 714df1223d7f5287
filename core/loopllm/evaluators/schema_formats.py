"""Is a string in the format that a JSON Schema names? Also for formats `jsonschema` leaves unchecked."""

from __future__ import annotations

import re
from datetime import datetime, time
from typing import Any
from urllib.parse import urlsplit

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_TIME = re.compile(r"\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_DURATION = re.compile(
    r"[+-]?P(?=[\dT])(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?)", re.ASCII
)

EXAMPLES = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "duration": "P1DT2H",
    "email": "name@example.com",
    "uri": "https://example.com/page",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}
"""What a right value looks like, to show the model."""


def checker() -> Any:
    """Make a `jsonschema.FormatChecker` that also knows `date-time`, `time`, `duration`, `uri` and `regex`.

    >>> checker().conforms("2026-01-31T12:00:00Z", "date-time"), checker().conforms("tomorrow", "date-time")
    (True, False)
    """
    import jsonschema  # noqa: PLC0415  a tenth of a second, only for those who use it
    import regex  # noqa: PLC0415  same

    made = jsonschema.FormatChecker()
    made.checks("date-time", raises=ValueError)(_on_text(_is_date_time))
    made.checks("time", raises=ValueError)(_on_text(_is_time))
    made.checks("duration")(_on_text(lambda text: bool(_DURATION.fullmatch(text))))
    made.checks("uri", raises=ValueError)(_on_text(_is_uri))
    made.checks("regex", raises=regex.error)(_on_text(lambda text: bool(regex.compile(text))))
    return made


def _on_text(check: Any) -> Any:
    """Formats say nothing about values that are not strings."""
    return lambda value: not isinstance(value, str) or check(value)


def _is_date_time(text: str) -> bool:
    return bool(_DATE_TIME.fullmatch(text) and datetime.fromisoformat(text.upper()))


def _is_time(text: str) -> bool:
    return bool(_TIME.fullmatch(text)) and time.fromisoformat(text.upper()) is not None


def _is_uri(text: str) -> bool:
    return bool(urlsplit(text).scheme) and not any(letter.isspace() for letter in text)
