"""How are keywords with patterns checked? Under a time limit, with a fault for each field not allowed.

`unevaluatedProperties` is left to `jsonschema`, which searches field patterns without a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from loopllm.evaluators.timed_search import compile_pattern, timed_search

Keyword = Callable[[Any, Any, Any, Any], Iterator[Any]]
"""`(validator, value of the keyword, instance, schema) -> errors`, as `jsonschema` calls it."""


class TimedKeywords:
    """The keywords of one schema whose patterns are searched within `time_limit` seconds each."""

    def __init__(self, name: str, time_limit: float) -> None:
        self._name = name
        self._time_limit = time_limit
        self._compiled: dict[str, Any] = {}

    def by_keyword(self) -> dict[str, Keyword]:
        """Return what to extend a validator class with."""
        return {
            "pattern": self._pattern,
            "patternProperties": self._pattern_properties,
            "additionalProperties": self._additional_properties,
        }

    def _occurs(self, pattern: str, text: str) -> bool:
        compiled = self._compiled.get(pattern)
        if compiled is None:
            compiled = self._compiled[pattern] = compile_pattern(pattern, 0, "schema")
        return timed_search(compiled, text, self._time_limit, self._name) is not None

    def _pattern(self, validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[Any]:
        if validator.is_type(instance, "string") and not self._occurs(pattern, instance):
            yield _error("does not match")

    def _pattern_properties(
        self, validator: Any, patterns: Any, instance: Any, _schema: Any
    ) -> Iterator[Any]:
        if not validator.is_type(instance, "object"):
            return
        for pattern, subschema in patterns.items():
            for field in instance:
                if self._occurs(pattern, field):
                    yield from validator.descend(instance[field], subschema, path=field, schema_path=pattern)

    def _additional_properties(
        self, validator: Any, allowed: Any, instance: Any, schema: Any
    ) -> Iterator[Any]:
        if not validator.is_type(instance, "object"):
            return
        for field in self._others(instance, schema):
            if isinstance(allowed, Mapping):
                yield from validator.descend(instance[field], allowed, path=field)
            elif not allowed:
                yield _error("is not an allowed field; remove it", field)

    def _others(self, instance: Any, schema: Any) -> Iterator[str]:
        named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for field in instance:
            if field not in named and not any(self._occurs(pattern, field) for pattern in patterns):
                yield field


def _error(message: str, *path: str) -> Any:
    from jsonschema import ValidationError  # noqa: PLC0415  a tenth of a second, only for those who use it

    return ValidationError(message, path=path)
