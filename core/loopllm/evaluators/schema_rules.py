"""Does a document follow a JSON Schema? The faults, by place; nothing is fetched from the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import islice
from typing import Any

from loopllm.errors import EvaluatorError, MisuseError
from loopllm.evaluators.faults import Choice, Fault, missing, quoted, settled
from loopllm.evaluators.json_text import Reading, is_deeper
from loopllm.evaluators.schema_formats import EXAMPLES, checker
from loopllm.evaluators.schema_keywords import TimedKeywords
from loopllm.evaluators.schema_values import multiple_of, unique_items

_MOST_ERRORS = 1000
_SURELY_SHALLOW = 16
_MOST_HOPS = 20
_TYPE_WORDS = {
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "boolean": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


class SchemaRules:
    """The rules of one JSON Schema (draft 3 to 2020-12, as `$schema` says; 2020-12 when it does not)."""

    def __init__(self, schema: Mapping[str, Any], name: str, time_limit: float) -> None:
        self._name = name
        self._validator = _compiled(schema, name, time_limit)
        root = root_object(schema)
        self.required = frozenset(each for each in _listed(root, "required") if isinstance(each, str))
        self.counted = self.required.intersection(root.get("properties") or ())

    def faults(self, reading: Reading) -> Sequence[Fault]:
        """List what is wrong with the document, alternatives settled for the closest."""
        try:
            errors = list(islice(self._validator.iter_errors(reading.value), _MOST_ERRORS))
            return settled(each for error in errors for each in _as_faults(error))
        except RecursionError as error:
            if is_deeper(reading.value, _SURELY_SHALLOW):
                return [Fault((), "type", "is nested too deeply to be checked; flatten it")]
            raise EvaluatorError(
                f"evaluator {self._name!r}: the schema refers to itself without end"
            ) from error

    def build(self, reading: Reading) -> Any:
        """Return the parsed document."""
        return reading.value


def root_object(schema: Any) -> Mapping[str, Any]:
    """Follow the local references at the root of a schema to where its fields are.

    >>> root_object({"$ref": "#/$defs/A", "$defs": {"A": {"required": ["x"]}}})
    {'required': ['x']}
    """
    node, hops = schema, 0
    while isinstance(node, Mapping) and str(node.get("$ref", "")).startswith("#/") and hops < _MOST_HOPS:
        hops += 1
        found: Any = schema
        for part in str(node["$ref"])[2:].split("/"):
            found = (
                found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
            )
        node = found
    return node if isinstance(node, Mapping) else {}


def _listed(node: Mapping[str, Any], keyword: str) -> Sequence[Any]:
    value = node.get(keyword)
    return value if isinstance(value, list) else ()  # draft 3 writes `required: true`


def _compiled(schema: Mapping[str, Any], name: str, time_limit: float) -> Any:
    jsonschema: Any = import_module("jsonschema")  # a tenth of a second, only for those who use it
    registry: Any = import_module("jsonschema_specifications").REGISTRY
    formats = checker()
    kind: Any = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema, format_checker=formats)
    except jsonschema.SchemaError as error:
        raise MisuseError(
            f"schema is not a valid JSON Schema at {error.json_path}: {error.message[:200]}"
        ) from error
    values = {"multipleOf": multiple_of, "uniqueItems": unique_items}
    keywords = {**TimedKeywords(name, time_limit).by_keyword(), **values}
    timed: Any = jsonschema.validators.extend(kind, keywords)
    # The registry is given so that no `$ref` is ever fetched from the network.
    made = timed(schema, format_checker=formats, registry=registry)
    _require_resolvable(schema, kind, registry)
    return made


def _require_resolvable(schema: Mapping[str, Any], kind: Any, registry: Any) -> None:
    import referencing.exceptions  # noqa: PLC0415  comes with jsonschema
    from referencing.jsonschema import specification_with  # noqa: PLC0415  same

    specification = specification_with(kind.META_SCHEMA.get("$schema") or kind.META_SCHEMA["id"])
    resource = specification.create_resource(schema)
    waiting = [(resource, registry.resolver_with_root(resource))]
    try:
        while waiting:
            node, resolver = waiting.pop()
            for reference in _references(node.contents):
                resolver.lookup(reference)
            waiting += [(each, resolver.in_subresource(each)) for each in node.subresources()]
    except referencing.exceptions.Unresolvable as error:
        raise MisuseError(
            f"schema refers to {error.ref!r}, which it does not hold; put it under $defs (nothing is fetched)"
        ) from error


def _references(schema: Any) -> list[str]:
    found = [schema.get(each) for each in ("$ref", "$dynamicRef")] if isinstance(schema, Mapping) else []
    return [each for each in found if isinstance(each, str)]


def _as_faults(error: Any) -> list[Fault | Choice]:
    path = tuple(error.absolute_path)
    if error.validator == "required" and isinstance(error.validator_value, list):
        return [missing((*path, name)) for name in error.validator_value if name not in error.instance]
    if error.validator in {"anyOf", "oneOf"} and error.context:
        return [_as_choice(path, error.context)]
    if error.validator == "type":
        return [Fault(path, "type", f"must be {_type_words(error.validator_value)}", quoted(error.instance))]
    if error.validator == "additionalProperties":
        return [Fault(path, "value", error.message)]
    return [Fault(path, "value", _asked_for(error), quoted(error.instance))]


def _as_choice(path: tuple[Any, ...], errors: Sequence[Any]) -> Choice:
    branches: dict[Any, list[Fault | Choice]] = {}
    for error in errors:  # the first step into the keyword is the number of the alternative
        branches.setdefault(error.relative_schema_path[0], []).extend(_as_faults(error))
    return Choice(path, tuple(tuple(branch) for branch in branches.values()))


def _type_words(kinds: Any) -> str:
    names = [kinds] if isinstance(kinds, str) else kinds
    return " or ".join(_TYPE_WORDS.get(name, str(name)) for name in names)


def _asked_for(error: Any) -> str:
    words = _MESSAGES.get(error.validator)
    return words(error.validator_value) if words else str(error.message)[:200]


def _format_words(name: Any) -> str:
    example = f", such as {EXAMPLES[name]}" if name in EXAMPLES else ""
    return f"must be in the format {name}{example}"


_MESSAGES: dict[str, Callable[[Any], str]] = {
    "enum": lambda allowed: f"must be one of {', '.join(quoted(each) for each in allowed)}",
    "const": lambda value: f"must be {quoted(value)}",
    "format": _format_words,
    "pattern": lambda pattern: f"must match the pattern {pattern}",
    "minLength": lambda count: f"must have at least {count} characters",
    "maxLength": lambda count: f"must have at most {count} characters",
    "minItems": lambda count: f"must have at least {count} items",
    "maxItems": lambda count: f"must have at most {count} items",
    "uniqueItems": lambda _: "must not hold the same item twice",
    "minProperties": lambda count: f"must have at least {count} fields",
    "maxProperties": lambda count: f"must have at most {count} fields",
    "minimum": lambda bound: f"must be at least {bound}",
    "maximum": lambda bound: f"must be at most {bound}",
    "exclusiveMinimum": lambda bound: f"must be above {bound}",
    "exclusiveMaximum": lambda bound: f"must be below {bound}",
    "multipleOf": lambda step: f"must be a multiple of {step}",
}
