"""What does a failed HTTP exchange mean for the caller? Decided from values, no I/O.

Rule: a message carries what the server said, bounded and on one line, and never a secret of ours.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from loopllm.errors import ProviderError

MAX_SERVER_TEXT = 500
"""Characters of a server's own words in an error message."""

_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_SERVER_ERRORS = range(500, 600)
_STATUS = re.compile(r"[45]\d\d", re.ASCII)
_FIXES = {
    401: "check the API key",
    402: "check the account's credit",
    403: "check what the API key may do",
    404: "check base_url and the model's name",
}


def is_transient(status: int) -> bool:
    """Tell whether the same call may succeed a little later.

    >>> is_transient(429), is_transient(529), is_transient(404)
    (True, True, False)
    """
    return status in _TRANSIENT or status in _SERVER_ERRORS


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read how long the server asks to wait: `retry-after-ms`, or `retry-after` (seconds or an HTTP date).

    >>> retry_after_seconds({"retry-after": "1.5"}, datetime.now(UTC))
    1.5
    >>> then = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    >>> retry_after_seconds({"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"}, then)
    30.0

    Args:
        headers: Response headers, looked up in lower case.
        now: The time an HTTP date is counted from.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    stated = headers.get("retry-after")
    seconds = _number(stated)
    return seconds if seconds is not None else _seconds_until(stated, now)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _seconds_until(date: str | None, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(date or "")
    except (ValueError, OverflowError):  # the latter for a year of too many digits
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """Blank out every secret that the text repeats.

    >>> without_secrets("bad key sk-1234", ["sk-1234"])
    'bad key [secret]'
    """
    for secret in sorted((secret for secret in secrets if secret.strip()), key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return text


def server_text(body: Any) -> str:
    """Find the server's own words in an error body, decoded or not.

    >>> server_text({"error": {"message": "no such model"}}), server_text('{"error": "gone"}')
    ('no such model', 'gone')
    """
    try:
        return _words(body)
    except (ValueError, RecursionError):  # no JSON, or nested too deeply to be read
        return body if isinstance(body, str) else ""


def _words(body: Any) -> str:
    if isinstance(body, str):
        return server_text(json.loads(body)) if body.lstrip()[:1] in {"{", "["} else body
    if isinstance(body, Mapping):
        for name in ("error", "message", "detail"):
            if body.get(name):
                return server_text(body[name]) + _of_another_server(body)
    return str(body)


def _of_another_server(error: Mapping[str, Any]) -> str:
    """Return what a gateway passes on: OpenRouter's own words are then just "Provider returned error"."""
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, Mapping) else None
    return f": {server_text(raw)}" if raw else ""


def _bounded(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_SERVER_TEXT else line[:MAX_SERVER_TEXT] + " ..."


def refused(
    status: int, body: Any, *, retry_after: float | None = None, secrets: Iterable[str] = ()
) -> ProviderError:
    """Build the error of a server that answered with a failure.

    Args:
        status: HTTP status code.
        body: The answer's body, as text or decoded.
        retry_after: Seconds the server asked to wait.
        secrets: What must not be repeated.
    """
    words = _bounded(without_secrets(server_text(body), secrets))
    fix = f" ({_FIXES[status]})" if status in _FIXES else ""
    message = f"the model server answered {status}{fix}{': ' if words else ''}{words}"
    return ProviderError(message, transient=is_transient(status), retry_after=retry_after, status=status)


def reported(reply: Mapping[str, Any]) -> ProviderError | None:
    """Find the failure inside a reply of status 200: OpenRouter and Ollama send them, also mid-stream."""
    whole = reply if reply.get("object") == "error" else None  # so older vLLM tells it
    error = reply.get("error") or whole
    if not error:
        return None
    status = _status(error.get("code")) if isinstance(error, Mapping) else None
    if status is not None:
        return refused(status, error)
    return ProviderError(
        f"the model server reported a failure: {_bounded(server_text(error))}", transient=False
    )


def _status(code: Any) -> int | None:
    """Return the status that an error's code is, which some gateways write as a string; other codes are words."""
    number = int(code) if isinstance(code, str) and _STATUS.fullmatch(code) else code
    return number if isinstance(number, int) and number in range(400, 600) else None
