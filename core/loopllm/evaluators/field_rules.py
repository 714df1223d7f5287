"""Does a document have the fields asked for, of the Python types asked for?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from loopllm.errors import MisuseError
from loopllm.evaluators.faults import Fault, missing, quoted
from loopllm.evaluators.json_text import Reading

_WORDS: dict[type, str] = {
    int: "an integer",
    float: "a number",
    str: "a string",
    bool: "true or false",
    list: "an array",
    dict: "an object",
    NoneType: "null",
}


class FieldRules:
    """The rules given as `required_fields`, `field_types` and `must_be_object`."""

    def __init__(self, required_fields: Any, field_types: Any, must_be_object: Any) -> None:
        self._order = _checked_names(required_fields)
        self.required = frozenset(self._order)
        self._types = _checked_types(field_types)
        if not isinstance(must_be_object, bool):
            raise MisuseError(f"must_be_object must be True or False, got {must_be_object!r}")
        self._must_be_object = must_be_object or bool(self.required) or bool(self._types)
        self.counted = frozenset(self._types)

    def faults(self, reading: Reading) -> Sequence[Fault]:
        """List what is wrong with the document."""
        document = reading.value
        if not isinstance(document, dict):
            return [Fault((), "type", "must be an object", quoted(document))] if self._must_be_object else []
        absent = [missing((name,)) for name in self._order if name not in document]
        wrong = [
            Fault((name,), "type", f"must be {_in_words(kinds)}", quoted(document[name]))
            for name, kinds in self._types.items()
            if name in document and not _fits(document[name], kinds)
        ]
        return [*absent, *wrong]

    def build(self, reading: Reading) -> Any:
        """Return the parsed document."""
        return reading.value


def _checked_names(names: Any) -> tuple[str, ...]:
    if names is None:
        return ()
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise MisuseError(f"required_fields must be a list of names, got {names!r}")
    given = tuple(names)
    if wrong := [name for name in given if not isinstance(name, str)]:
        raise MisuseError(f"required_fields must hold strings, got {wrong[0]!r}")
    return tuple(dict.fromkeys(given))


def _checked_types(types: Any) -> dict[str, tuple[type, ...]]:
    if types is None:
        return {}
    if not isinstance(types, Mapping) or not all(isinstance(name, str) for name in types):
        raise MisuseError(f"field_types must map names to types, such as {{'age': int}}, got {types!r}")
    return {name: _alternatives(name, kind) for name, kind in types.items()}


def _alternatives(name: str, kind: Any) -> tuple[type, ...]:
    """Take `int`, `(int, str)` and `int | None` alike."""
    kinds = (
        kind
        if isinstance(kind, tuple)
        else get_args(kind)
        if get_origin(kind) in {UnionType, Union}
        else (kind,)
    )
    kinds = tuple(NoneType if each is None else each for each in kinds)
    if not kinds or not all(isinstance(each, type) and each in _WORDS for each in kinds):
        raise MisuseError(
            f"field_types[{name!r}] must be str, int, float, bool, list, dict, None or several of them, "
            f"got {kind!r}; for anything finer give a JSON Schema or a pydantic model as schema="
        )
    return kinds


def _fits(value: Any, kinds: Sequence[type]) -> bool:
    actual = type(value)  # not isinstance: True is no integer
    return actual in kinds or (actual is int and float in kinds)


def _in_words(kinds: Sequence[type]) -> str:
    return " or ".join(_WORDS[kind] for kind in kinds)
