"""Does a document fit a pydantic model? The faults, by place, and the model instance when it does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from loopllm.errors import MisuseError
from loopllm.evaluators.faults import Choice, Fault, Path, missing, quoted, settled
from loopllm.evaluators.json_text import Reading
from loopllm.evaluators.schema_rules import root_object

_NUMBER_TYPES = frozenset({"int_type", "float_type", "decimal_type"})
_SHOULD = re.compile(r"^\w+ should\b")
_TYPE_ENDINGS = ("_type", "_parsing", "json_invalid")


class ModelRules:
    """The rules of a pydantic model class, or of any other type that pydantic can validate (`list[Model]`).

    The model decides what it accepts (a string "30" for an int, unless it is strict), with one exception:
    true and false are no numbers.
    """

    def __init__(self, kind: Any) -> None:
        import pydantic  # noqa: PLC0415  only for those who use models

        try:
            self._adapter: Any = pydantic.TypeAdapter(kind)
        except pydantic.errors.PydanticUserError as error:
            raise MisuseError(
                f"schema={kind!r} is neither a JSON Schema nor a type pydantic can check"
            ) from error
        root = _root_schema(self._adapter)
        self.required: frozenset[str] = frozenset(root.get("required") or ())
        self.counted = self.required.intersection(root.get("properties") or ())

    def faults(self, reading: Reading) -> Sequence[Fault]:
        """List what is wrong with the document, unions settled for the closest member."""
        entries = [_placed(each, reading.value) for each in self._errors(reading.text)]
        strictly = [
            _placed(each, reading.value) for each in self._errors(reading.text, strict=True) if _is_bool(each)
        ]
        # Inside a union (where there are labels) another member may rightly take the bool.
        entries += [(labels, fault) for labels, fault in strictly if not labels]
        return settled(_arranged(entries))

    def build(self, reading: Reading) -> Any:
        """Return the model instance."""
        return self._adapter.validate_json(reading.text)

    def _errors(self, text: str, *, strict: bool | None = None) -> Sequence[Mapping[str, Any]]:
        import pydantic  # noqa: PLC0415  only for those who use models

        try:
            self._adapter.validate_json(text, strict=strict)
        except pydantic.ValidationError as error:
            return error.errors(include_url=False, include_context=False)
        return ()


def _root_schema(adapter: Any) -> Mapping[str, Any]:
    import pydantic  # noqa: PLC0415  only for those who use models

    try:
        return root_object(adapter.json_schema())
    except pydantic.errors.PydanticInvalidForJsonSchema:  # a field only Python knows; grading is then coarser
        return {}


def _is_bool(error: Mapping[str, Any]) -> bool:
    return error["type"] in _NUMBER_TYPES and isinstance(error["input"], bool)


_Label = tuple[int, str]
"""Which member of a union an error belongs to: the depth of the union in the document, the member's name."""
_Entry = tuple[tuple[_Label, ...], Fault]


def _placed(error: Mapping[str, Any], document: Any) -> _Entry:
    """Split an error's location, which mixes keys of the document with names of union members."""
    path: list[str | int] = []
    labels: list[_Label] = []
    node = document
    for position, part in enumerate(error["loc"]):
        is_last = position == len(error["loc"]) - 1
        if _has(node, part):
            node = node[part]
        elif not (is_last and error["type"] == "missing"):
            labels.append((len(path), str(part)))
            continue
        path.append(part)
    return tuple(labels), _fault(tuple(path), error, node)


def _has(node: Any, part: str | int) -> bool:
    if isinstance(node, list):
        return isinstance(part, int) and part < len(node)
    return isinstance(node, dict) and part in node


def _fault(path: Path, error: Mapping[str, Any], value: Any) -> Fault:
    kind, words = str(error["type"]), str(error["msg"])
    if kind == "missing":
        return missing(path)
    if kind == "extra_forbidden":
        return Fault(path, "value", "is not an allowed field; remove it")
    message = words.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = _SHOULD.sub("must", message)
    return Fault(path, "type" if kind.endswith(_TYPE_ENDINGS) else "value", message, quoted(value))


def _arranged(entries: Sequence[_Entry]) -> list[Fault | Choice]:
    """Gather the errors of one union into one choice, from the outermost union inwards."""
    arranged: list[Fault | Choice] = [fault for labels, fault in entries if not labels]
    unions: dict[Path, dict[str, list[_Entry]]] = {}
    for labels, fault in entries:
        if labels:
            (depth, member), *inner = labels
            unions.setdefault(fault.path[:depth], {}).setdefault(member, []).append((tuple(inner), fault))
    for path, members in unions.items():
        arranged.append(Choice(path, tuple(tuple(_arranged(each)) for each in members.values())))
    return arranged
