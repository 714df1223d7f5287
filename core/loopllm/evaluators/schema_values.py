"""How are keywords checked that `jsonschema` checks by binary fractions, or by comparing each item with each?

By floats 19.99 is no multiple of 0.01, and whether a few thousand objects are unique takes it a quarter of a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any


def multiple_of(validator: Any, step: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    """Check the keyword `multipleOf`, as `jsonschema` calls it."""
    if validator.is_type(instance, "number") and not is_multiple(instance, step):
        yield _error("is not a multiple")


def unique_items(validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    """Check the keyword `uniqueItems`, as `jsonschema` calls it."""
    if wanted and validator.is_type(instance, "array") and len(set(map(_identity, instance))) < len(instance):
        yield _error("has the same item twice")


def is_multiple(number: float, step: float) -> bool:
    """Say whether `number` is a whole number of steps.

    >>> is_multiple(19.99, 0.01), is_multiple(19.995, 0.01)
    (True, False)
    """
    return (_written(number) / _written(step)).denominator == 1


def _written(number: float) -> Fraction:
    """Return the number that the digits say, not the binary one next to it."""
    return Fraction(number) if isinstance(number, int) else Fraction(repr(float(number)))


def _identity(value: Any) -> Any:
    """Return what is equal for equal JSON values and no others: 1 is 1.0, and true is no number."""
    if isinstance(value, dict):
        return frozenset((name, _identity(each)) for name, each in value.items())
    if isinstance(value, list):
        return tuple(map(_identity, value))
    return (value, isinstance(value, bool))


def _error(message: str) -> Any:
    from jsonschema import ValidationError  # noqa: PLC0415  a tenth of a second, only for those who use it

    return ValidationError(message)
