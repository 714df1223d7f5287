"""How far is a document from what it should be? Faults, and the distance they add up to.

A schema check says *what* is wrong; to tell a step in the right direction from a step back, faults are
weighed as a tree: a field that is missing weighs 1, one of the wrong type 0.9, and a value with other
faults in or below it 0.8 s / (1 + s), where s is the sum over them. So replacing nothing by something,
something by the right type, and any mending further down each lower the weight, at whatever depth.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Path = tuple[str | int, ...]

_MISSING, _WRONG_TYPE, _OTHER = 1.0, 0.9, 0.8
_LONGEST_QUOTE = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        path: Where, from the root: `("address", "zip")`; for a missing field, where it should be.
        kind: `missing`, `type`, or `value` for anything else.
        message: What is asked for, to be read after the path and a colon.
        got: What is there instead, in a few words, or an empty string.
    """

    path: Path
    kind: Literal["missing", "type", "value"]
    message: str
    got: str = ""

    def __str__(self) -> str:
        got = f", got {self.got}" if self.got else ""
        return f"{spelled(self.path)}: {self.message}{got}"


@dataclass(frozen=True, slots=True)
class Choice:
    """A place where one of several alternatives had to fit and none did.

    Attributes:
        path: Where.
        branches: For each alternative, what keeps the document from fitting it.
    """

    path: Path
    branches: tuple[tuple[Fault | Choice, ...], ...]


def missing(path: Path) -> Fault:
    """Make the fault of a required field that is not there."""
    return Fault(path, "missing", "this required field is missing; add it")


def spelled(path: Path) -> str:
    """Write a path as people do.

    >>> spelled(("people", 0, "address", "zip"))
    'people[0].address.zip'
    """
    parts = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return parts.removeprefix(".") or "the JSON document"


def quoted(value: Any) -> str:
    """Show a JSON value in a few words.

    >>> quoted("thirty"), quoted([1, 2]), quoted(None)
    ('"thirty"', 'an array of 2 items', 'null')
    """
    if isinstance(value, list):
        return f"an array of {len(value)} items"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str) and len(value) > _LONGEST_QUOTE:
        value = f"{value[:_LONGEST_QUOTE]}..."
    return json.dumps(value, ensure_ascii=False, default=repr)[: 2 * _LONGEST_QUOTE]


def settled(faults: Iterable[Fault | Choice]) -> tuple[Fault, ...]:
    """Replace each choice by the alternative that came closest, and drop what is said twice."""
    plain: dict[Fault, None] = {}
    for each in faults:
        plain |= dict.fromkeys([each] if isinstance(each, Fault) else _closest(each))
    return tuple(plain)


def _closest(choice: Choice) -> tuple[Fault, ...]:
    branches = [branch for each in choice.branches if (branch := settled(each))]
    if not branches:
        return (Fault(choice.path, "value", "must fit one of the allowed forms"),)
    weights = [weight(branch, len(choice.path)) for branch in branches]
    best = [branch for branch, each in zip(branches, weights, strict=True) if each == min(weights)]
    return _merged(best) if all(_is_one_fault_at(branch, choice.path) for branch in best) else best[0]


def _is_one_fault_at(branch: Sequence[Fault], path: Path) -> bool:
    return len(branch) == 1 and branch[0].path == path


def _merged(branches: Sequence[Sequence[Fault]]) -> tuple[Fault, ...]:
    """Say equally distant alternatives in one sentence: "must be an integer or must be null"."""
    messages = dict.fromkeys(branch[0].message for branch in branches)
    return (replace(branches[0][0], message=" or ".join(messages)),)


def weight(faults: Sequence[Fault], depth: int) -> float:
    """Weigh all faults at and below one place: 0 for none, 1 for a missing value.

    >>> zip_code = Fault(("address", "zip"), "value", "must match ...")
    >>> weight([zip_code], 1) < weight([missing(("address", "zip"))], 1) < weight([missing(("address",))], 1)
    True

    Args:
        faults: The faults, all with a path through that place.
        depth: Number of parts in the path of that place.
    """
    here = [fault.kind for fault in faults if len(fault.path) <= depth]
    if "missing" in here:
        return _MISSING
    if "type" in here:
        return _WRONG_TYPE
    below = by_part(faults, depth)
    total = len(here) + sum(weight(group, depth + 1) for group in below.values())
    return _OTHER * total / (1.0 + total)


def by_part(faults: Iterable[Fault], depth: int) -> dict[str | int, list[Fault]]:
    """Group the faults below a place by the part of the path that follows."""
    groups: dict[str | int, list[Fault]] = {}
    for fault in faults:
        if len(fault.path) > depth:
            groups.setdefault(fault.path[depth], []).append(fault)
    return groups


def fields_present(faults: Sequence[Fault], required: Collection[str]) -> float:
    """Fraction of the required fields of the root object that are there; 1 when none is required."""
    absent = {fault.path[0] for fault in faults if fault.kind == "missing" and len(fault.path) == 1}
    return 1.0 - len(absent.intersection(required)) / len(required) if required else 1.0


def type_correct(faults: Sequence[Fault], required: Collection[str], counted: Collection[str]) -> float:
    """Grade the values in [0, 1]: the fraction of counted fields that are right, over 1 + all other faults.

    A counted field counts 1 when right (or absent and optional), 0 when missing or of the wrong type, and
    between when something inside is wrong. That a required field is missing which is not counted is the
    business of `fields_present` alone.

    >>> wrong = Fault(("age",), "type", "must be an integer")
    >>> type_correct([wrong], ["age", "name"], ["age", "name"])
    0.5
    >>> type_correct([wrong], ["name"], ["name"])  # 1 / (1 + 0.9): an optional field of the wrong type
    0.5263157894736842

    Args:
        faults: What is wrong with the document, choices settled.
        required: The fields that the root object must have.
        counted: The fields that make up the fraction, the same for every document.
    """
    inside, beside = 0.0, float(sum(not fault.path for fault in faults))
    for part, group in by_part(faults, 0).items():
        heaviness = weight(group, 1)
        if part in counted:
            inside += 1.0 if heaviness >= _WRONG_TYPE else heaviness
        elif heaviness < _MISSING or part not in required:
            beside += heaviness
    fraction = 1.0 - inside / len(counted) if counted else 1.0
    return fraction / (1.0 + beside)
