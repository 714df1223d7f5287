"""Is the text a JSON document of the form asked for, and if not, how far is it from that?"""

from __future__ import annotations

import functools
import reprlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from loopllm.errors import MisuseError
from loopllm.evaluators.base import Context
from loopllm.evaluators.checks import require_count, require_name, require_number, require_text
from loopllm.evaluators.faults import Fault, fields_present, type_correct
from loopllm.evaluators.field_rules import FieldRules
from loopllm.evaluators.json_text import Reading, read_json
from loopllm.evaluators.model_rules import ModelRules
from loopllm.evaluators.schema_rules import SchemaRules
from loopllm.results import EvaluationResult

WEIGHTS = {"json_valid": 0.2, "is_object": 0.1, "fields_present": 0.4, "type_correct": 0.3}
"""What each part adds to the score."""

_MOST_DEFICIENCIES = 20
_LONGEST_DEFICIENCY = 1_000
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
_DEFAULTS: dict[str, Any] = {
    "required_fields": None,
    "field_types": None,
    "must_be_object": True,
    "schema": None,
    "allow_fenced": False,
    "max_chars": 1_000_000,
    "max_depth": 64,
    "time_limit": 0.5,
    "name": "json_schema",
}


class _Rules(Protocol):
    """What a document is checked against."""

    @property
    def required(self) -> Collection[str]: ...

    @property
    def counted(self) -> Collection[str]: ...

    def faults(self, reading: Reading) -> Sequence[Fault]: ...

    def build(self, reading: Reading) -> Any: ...


class JSONSchemaEvaluator:
    """Score a text by how close it is to the JSON document asked for.

    The score is the weighted sum of four parts, each in [0, 1]::

        0.2 json_valid + 0.1 is_object + 0.4 fields_present + 0.3 type_correct

    `json_valid`: 1 for JSON, 0 for prose, up to 0.5 for what is nearly JSON (cut off, or in a code fence).
    `is_object`: 1 when the document is an object (with a schema: of the type the schema asks for).
    `fields_present`: the fraction of the required fields of the root object. `type_correct`: the fraction of
    the typed fields (with a schema: of the required ones) that are right, one with faults inside counting in
    part, over 1 + the weight of all other faults (see `loopllm.evaluators.faults`). So mending one field never
    lowers the score, at whatever depth:

    >>> evaluator = JSONSchemaEvaluator(["name", "age"], {"name": str, "age": int})
    >>> drafts = ["not json", "[]", '{"name": "A"}', '{"name": "A", "age": "9"}', '{"name": "A", "age": 9}']
    >>> [round(evaluator.evaluate(draft).score, 3) for draft in drafts]
    [0.0, 0.2, 0.65, 0.85, 1.0]
    >>> evaluator.evaluate('{"name": "Al", "age": true}').deficiencies
    ('age: must be an integer, got true',)

    Args:
        required_fields: Names that the object must have.
        field_types: Python types by name, for fields that are there: str, int, float (an int will do), bool
            (which is no int), list, dict, None, or several (`int | None`).
        must_be_object: Refuse arrays, strings, numbers and null. A schema decides this itself.
        schema: A JSON Schema as a dict, or a pydantic model class (or any type pydantic validates), instead
            of the three above. Nothing is fetched from the network for a `$ref`.
        allow_fenced: Accept a document inside a fenced code block, with prose around it.
        max_chars: Longest text that is read; a longer one has a deficiency.
        max_depth: Deepest nesting accepted; a deeper one has a deficiency.
        time_limit: Seconds that one search for a pattern of the schema may take.
        name: What to call it in composite scores.

    Attributes:
        inline: True when checking names and types only, which cannot block; a schema may hold patterns and
            validators.

    Raises:
        MisuseError: The schema or another argument cannot be used.
        EvaluatorError: The output is not text, or a pattern of the schema took too long (from `evaluate`).
    """

    def __init__(
        self,
        required_fields: Collection[str] | None = None,
        field_types: Mapping[str, Any] | None = None,
        must_be_object: bool = True,
        *,
        schema: Any = None,
        allow_fenced: bool = False,
        max_chars: int = 1_000_000,
        max_depth: int = 64,
        time_limit: float = 0.5,
        name: str = "json_schema",
    ) -> None:
        self._arguments: dict[str, Any] = {
            "required_fields": required_fields,
            "field_types": field_types,
            "must_be_object": must_be_object,
            "schema": schema,
            "allow_fenced": allow_fenced,
            "max_chars": max_chars,
            "max_depth": max_depth,
            "time_limit": time_limit,
            "name": name,
        }
        _require_usable(**self._arguments)
        self.name = name
        self.inline = schema is None
        self.test_retest_sd = 0.0
        self._read = functools.partial(
            read_json, allow_fenced=allow_fenced, max_chars=max_chars, max_depth=max_depth
        )
        self._rules = _rules(**self._arguments)

    def evaluate(self, output: Any, context: Context | None = None) -> EvaluationResult:  # noqa: ARG002  the port's argument
        """Score `output`; `passed` is True when nothing is wrong.

        Deficiencies name the place and what is asked for: `address.zip: must be a string, got 12345`.
        """
        reading = self._read(require_text(output, self.name))
        if reading.problem:
            return _result(
                {**dict.fromkeys(WEIGHTS, 0.0), "json_valid": reading.validity}, (reading.problem,)
            )
        faults = self._rules.faults(reading)
        if any(not fault.path and fault.kind == "type" for fault in faults):
            return _result({**dict.fromkeys(WEIGHTS, 0.0), "json_valid": 1.0}, _shown(faults))
        return _result(self._parts(faults), _shown(faults))

    def parse(self, output: str) -> Any:
        """Return the document in `output`: the parsed JSON, or the model instance when `schema` is a model.

        >>> JSONSchemaEvaluator(["a"], allow_fenced=True).parse('Here it is: ```json {"a": 1} ```')
        {'a': 1}

        Raises:
            MisuseError: `output` does not pass; the message says what is wrong with it.
        """
        reading = self._read(require_text(output, self.name))
        problems = [reading.problem] if reading.problem else _shown(self._rules.faults(reading))
        if problems:
            raise MisuseError(
                f"this output does not pass {self.name!r}, so nothing is parsed: {'; '.join(problems)}"
            )
        return self._rules.build(reading)

    def _parts(self, faults: Sequence[Fault]) -> dict[str, float]:
        return {
            "json_valid": 1.0,
            "is_object": 1.0,
            "fields_present": fields_present(faults, self._rules.required),
            "type_correct": type_correct(faults, self._rules.required, self._rules.counted),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the arguments of the constructor; what was compiled from them is compiled again."""
        return functools.partial(type(self), **self._arguments), ()

    def __repr__(self) -> str:
        given = {key: value for key, value in self._arguments.items() if value != _DEFAULTS[key]}
        return f"{type(self).__name__}({', '.join(f'{key}={_brief(value)}' for key, value in given.items())})"


def _rules(
    *,
    required_fields: Any,
    field_types: Any,
    must_be_object: Any,
    schema: Any,
    name: str,
    time_limit: float,
    **_: Any,
) -> _Rules:
    if schema is None:
        return FieldRules(required_fields, field_types, must_be_object)
    if isinstance(schema, Mapping):
        return SchemaRules(schema, name, time_limit)
    return ModelRules(schema)


def _require_usable(
    *,
    required_fields: Any,
    field_types: Any,
    schema: Any,
    allow_fenced: Any,
    max_chars: Any,
    max_depth: Any,
    time_limit: Any,
    name: Any,
    **_: Any,
) -> None:
    require_name(name)
    require_count("max_chars", max_chars, minimum=1)
    require_count("max_depth", max_depth, minimum=1)
    require_number("time_limit", time_limit, 0.001, 3600)
    if not isinstance(allow_fenced, bool):
        raise MisuseError(f"allow_fenced must be True or False, got {allow_fenced!r}")
    if schema is not None and (required_fields is not None or field_types is not None):
        raise MisuseError("schema replaces required_fields and field_types; say it all in the schema")


def _result(parts: dict[str, float], deficiencies: Sequence[str]) -> EvaluationResult:
    score = sum(weight * parts[part] for part, weight in WEIGHTS.items())
    return EvaluationResult(min(1.0, score), not deficiencies, tuple(deficiencies), parts)


def _shown(faults: Sequence[Fault]) -> list[str]:
    sentences = [_cut(str(fault)) for fault in faults[:_MOST_DEFICIENCIES]]
    if (hidden := len(faults) - _MOST_DEFICIENCIES) > 0:
        sentences.append(f"{hidden} more faults of this kind")
    return sentences


def _cut(sentence: str) -> str:
    """Keep a long list of allowed values, or a very long name, from filling the next prompt."""
    return sentence if len(sentence) <= _LONGEST_DEFICIENCY else f"{sentence[:_LONGEST_DEFICIENCY]} ..."


def _brief(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else _SHORT.repr(value)
