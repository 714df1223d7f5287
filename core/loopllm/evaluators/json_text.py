"""Which JSON document does a text hold, if any? Answered for hostile texts too."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

_OPENING = re.compile(r"```json\w*", re.IGNORECASE)
_ANY_OPENING = re.compile(r"```\w*")
_FENCED_CREDIT = 0.5
_PARTIAL_CREDIT = 0.5
_HALF_WAY = 100  # characters that are right before the first error, for half of the partial credit


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read.

    Attributes:
        value: The document, or None when there is a problem.
        text: The text of the document alone.
        problem: Why there is no document, as a sentence for the model; an empty string when there is one.
        validity: 1 for a document, 0 for prose, between for what is nearly JSON.
    """

    value: Any = None
    text: str = ""
    problem: str = ""
    validity: float = 0.0


def read_json(output: str, *, allow_fenced: bool, max_chars: int, max_depth: int) -> Reading:
    r"""Read one JSON document; NaN, Infinity and numbers too large for a float are not JSON.

    >>> read_json('```json\n{"a": 1}\n```', allow_fenced=True, max_chars=100, max_depth=9).value
    {'a': 1}

    Args:
        output: What the model wrote.
        allow_fenced: Take the document out of a fenced code block; without it, a fence is a problem.
        max_chars: Most characters read.
        max_depth: Most levels of nesting accepted.
    """
    if len(output) > max_chars:
        return Reading(
            problem=f"The output has {len(output)} characters, at most {max_chars} are accepted; shorten it."
        )
    text = output.strip().removeprefix("\ufeff")
    reading = _parsed(_unfenced(text) if allow_fenced else text, max_depth)
    if not reading.problem or allow_fenced or "```" not in text:
        return reading
    if _parsed(_unfenced(text), max_depth).problem:
        return reading
    return Reading(
        problem="Answer with the JSON document alone, without a code fence.", validity=_FENCED_CREDIT
    )


def _unfenced(text: str) -> str:
    """Return what the first JSON fence holds (or else the first fence), up to the end when it was cut off."""
    opening = _OPENING.search(text) or _ANY_OPENING.search(text)
    if opening is None or text[:1] in {"{", "["}:  # a fence inside a document is part of a string
        return text
    start = opening.end()
    end = text.find("\n```", start)  # strings in JSON hold no raw line break, so this is the real end
    if end < 0:
        end = text.rfind("```", start)
    return text[start : end if end >= 0 else None].strip()


def _parsed(text: str, max_depth: int) -> Reading:
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        return _unparsable(text, error)
    except RecursionError:
        return _too_deep(max_depth)
    except ValueError as error:  # a constant that is not JSON, or an integer of thousands of digits
        return Reading(problem=f"The output is not valid JSON: {error}.", validity=_FENCED_CREDIT)
    return _too_deep(max_depth) if is_deeper(value, max_depth) else Reading(value, text, validity=1.0)


def _unparsable(text: str, error: json.JSONDecodeError) -> Reading:
    problem = (
        f"The output is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno}); "
        "answer with one complete JSON document and nothing else."
    )
    if text[:1] not in {"{", "["}:
        return Reading(problem=problem)
    return Reading(problem=problem, validity=_PARTIAL_CREDIT * error.pos / (error.pos + _HALF_WAY))


def _too_deep(max_depth: int) -> Reading:
    return Reading(
        problem=f"The JSON is nested more than {max_depth} levels deep; flatten it.", validity=_FENCED_CREDIT
    )


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a JSON value, use a number or null")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)


def is_deeper(value: Any, levels: int) -> bool:
    """Say whether arrays and objects are nested in more than `levels` levels, without recursion.

    >>> is_deeper([[]], 1), is_deeper([[]], 2)
    (True, False)
    """
    layer = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        layer = [
            child
            for node in layer
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not layer:
            return False
    return True
