"""JSONSchemaEvaluator(schema={...}): a whole JSON Schema, with places in the deficiencies and no way to hang."""

import json
import pickle
import urllib.request
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.errors import EvaluatorError, MisuseError
from loopllm.evaluators import JSONSchemaEvaluator

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2},
        "born": {"type": "string", "format": "date"},
        "address": {"$ref": "#/$defs/address"},
        "partner": {"anyOf": [{"$ref": "#/$defs/address"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
    },
    "required": ["name", "address"],
    "additionalProperties": False,
    "$defs": {
        "address": {
            "type": "object",
            "properties": {"street": {"type": "string"}, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
            "required": ["street", "zip"],
        }
    },
}
EVALUATOR = JSONSchemaEvaluator(schema=SCHEMA)
RIGHT: dict[str, Any] = {
    "name": "Ada",
    "born": "1815-12-10",
    "address": {"street": "St James's", "zip": "12345"},
    "partner": {"street": "Horsley", "zip": "54321"},
    "tags": ["a", "b"],
}
LEAVES: list[tuple[Any, ...]] = [
    ("name",),
    ("born",),
    ("address", "street"),
    ("address", "zip"),
    ("partner", "street"),
    ("partner", "zip"),
    ("tags", 0),
    ("tags", 1),
    ("address",),
    ("tags",),
]
WRONG: st.SearchStrategy[Any] = st.sampled_from([1, "", "x", None, True, [], {}, {"zip": 1}])


def damaged(changes: dict[tuple[Any, ...], Any]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(RIGHT))
    for path in sorted(changes, key=len, reverse=True):  # leaves first, so that a whole field replaces them
        node: Any = document
        for part in path[:-1]:
            node = node[part]
        if isinstance(node, dict) and changes[path] == "absent":
            del node[path[-1]]
        else:
            node[path[-1]] = changes[path]
    return document


def score(document: Any) -> float:
    return EVALUATOR.evaluate(json.dumps(document)).score


@given(st.dictionaries(st.sampled_from(LEAVES), WRONG | st.just("absent"), min_size=1), st.data())
def test_mending_one_field_never_lowers_the_score_at_any_depth(
    changes: dict[tuple[Any, ...], Any], data: st.DataObject
) -> None:
    whole = [path for path in changes if not any(other[: len(path)] == path != other for other in changes)]
    mended = data.draw(st.sampled_from(sorted(whole, key=str)))
    before = score(damaged(changes))
    after = score(damaged({path: value for path, value in changes.items() if path != mended}))
    assert 0.0 < before <= after + 1e-12 <= 1.0 + 1e-12


@pytest.mark.parametrize("path", LEAVES)
def test_mending_the_only_fault_raises_the_score_to_one(path: tuple[Any, ...]) -> None:
    assert score(damaged({path: 1})) < score(RIGHT) == 1.0


def test_steps_towards_a_nested_object_each_raise_the_score() -> None:
    drafts: list[Any] = [
        {"name": "Ada"},
        {"name": "Ada", "address": {}},
        {"name": "Ada", "address": {"street": "x"}},
        {"name": "Ada", "address": {"street": "x", "zip": 1}},
        {"name": "Ada", "address": {"street": "x", "zip": "1"}},
        {"name": "Ada", "address": {"street": "x", "zip": "12345"}},
    ]
    scores = [score(draft) for draft in drafts]
    assert scores == sorted(set(scores))
    assert scores[-1] == 1.0


def deficiencies(changes: dict[tuple[Any, ...], Any]) -> tuple[str, ...]:
    return tuple(EVALUATOR.evaluate(json.dumps(damaged(changes))).deficiencies)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({("address", "zip"): 1}, "address.zip: must be a string, got 1"),
        ({("address", "zip"): "absent"}, "address.zip: this required field is missing; add it"),
        ({("address", "zip"): "1"}, 'address.zip: must match the pattern ^[0-9]{5}$, got "1"'),
        ({("tags", 1): "c"}, 'tags[1]: must be one of "a", "b", got "c"'),
        ({("born",): "then"}, 'born: must be in the format date, such as 2026-01-31, got "then"'),
        ({("name",): "A"}, 'name: must have at least 2 characters, got "A"'),
        ({("partner", "zip"): 1}, "partner.zip: must be a string, got 1"),
        ({("partner",): 1}, "partner: must be an object or must be null, got 1"),
    ],
)
def test_deficiencies_name_the_place_and_what_belongs_there(changes: dict[Any, Any], sentence: str) -> None:
    assert deficiencies(changes) == (sentence,)


def test_each_field_that_is_not_allowed_is_a_fault_of_its_own() -> None:
    two, one = RIGHT | {"x": 1, "y": 2}, RIGHT | {"x": 1}
    assert tuple(EVALUATOR.evaluate(json.dumps(two)).deficiencies) == (
        "x: is not an allowed field; remove it",
        "y: is not an allowed field; remove it",
    )
    assert score(two) < score(one) < 1.0


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("date-time", "2026-01-31T12:00:00Z", "2026-02-31T12:00:00Z"),
        ("time", "12:00:00", "25:00:00"),
        ("duration", "P1DT2H", "2 hours"),
        ("uri", "https://example.com", "example com"),
        ("email", "a@example.com", "nobody"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
        ("regex", "a+", "("),
    ],
)
def test_formats_are_checked(name: str, right: str, wrong: str) -> None:
    evaluator = JSONSchemaEvaluator(schema={"format": name})
    assert evaluator.evaluate(json.dumps(right)).passed
    assert not evaluator.evaluate(json.dumps(wrong)).passed
    assert evaluator.evaluate("3").passed


def test_the_root_may_be_something_else_than_an_object() -> None:
    evaluator = JSONSchemaEvaluator(schema={"type": "array", "items": {"type": "integer"}})
    assert evaluator.parse("[1, 2]") == [1, 2]
    assert evaluator.evaluate("{}").score == pytest.approx(0.2)
    assert 0.2 < evaluator.evaluate('["a", "b"]').score < evaluator.evaluate('[1, "b"]').score < 1.0


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"x": {"pattern": "(a|a)+$"}}},
        {"patternProperties": {"(a|a)+$": {}}, "additionalProperties": False},
    ],
)
def test_a_slow_pattern_in_a_schema_is_no_score(schema: dict[str, Any], within: Any) -> None:
    evaluator = JSONSchemaEvaluator(schema=schema, time_limit=0.05)
    for attempt in within(2.0):  # without a limit it takes years
        with attempt, pytest.raises(EvaluatorError, match="too slow on this output"):
            evaluator.evaluate(json.dumps({"x": "a" * 60 + "!", "a" * 60 + "!": 1}))


def test_field_patterns_and_rules_for_other_fields_hold() -> None:
    evaluator = JSONSchemaEvaluator(
        schema={"patternProperties": {"^n_": {"type": "integer"}}, "additionalProperties": {"type": "string"}}
    )
    assert evaluator.evaluate('{"n_a": 1, "b": "c"}').passed
    assert tuple(evaluator.evaluate('{"n_a": "1", "b": 2}').deficiencies) == (
        'n_a: must be an integer, got "1"',
        "b: must be a string, got 2",
    )


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "objekt"}, "not a valid JSON Schema"),
        ({"pattern": "("}, "not a valid JSON Schema"),
        ({"properties": {"a": {"$ref": "#/$defs/nowhere"}}}, "nothing is fetched"),
        ({"$ref": "https://example.com/schema"}, "nothing is fetched"),
        ({"items": {"$dynamicRef": "https://example.com/schema"}}, "nothing is fetched"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_when_built(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(MisuseError, match=words):
        JSONSchemaEvaluator(schema=schema)


def test_no_reference_is_fetched_from_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda *arguments, **_: asked.append(arguments))
    with pytest.raises(MisuseError):
        JSONSchemaEvaluator(schema={"$ref": "http://localhost:1/schema"})
    assert asked == []


def test_a_schema_may_refer_to_the_meta_schema() -> None:
    evaluator = JSONSchemaEvaluator(schema={"$ref": "https://json-schema.org/draft/2020-12/schema"})
    assert evaluator.evaluate('{"type": "object"}').passed
    assert not evaluator.evaluate('{"type": "objekt"}').passed


def test_a_schema_that_refers_to_itself_without_end_is_no_score() -> None:
    with pytest.raises(EvaluatorError, match="refers to itself without end"):
        JSONSchemaEvaluator(schema={"$ref": "#"}).evaluate("{}")


def test_a_document_too_deep_to_be_checked_is_a_deficiency() -> None:
    evaluator = JSONSchemaEvaluator(schema={"type": "array", "items": {"$ref": "#"}}, max_depth=2000)
    assert evaluator.evaluate("[[[]]]").passed
    assert "nested too deeply" in evaluator.evaluate("[" * 600 + "]" * 600).deficiencies[0]


def test_an_older_draft_is_followed_when_the_schema_says_so() -> None:
    schema = {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 3, "exclusiveMinimum": True}
    assert not JSONSchemaEvaluator(schema=schema).evaluate("3").passed
    assert JSONSchemaEvaluator(schema=schema).evaluate("4").passed


def test_it_pickles_with_its_schema_and_shows_it_in_short() -> None:
    copy = pickle.loads(pickle.dumps(EVALUATOR))
    assert copy.evaluate("{}") == EVALUATOR.evaluate("{}")
    assert len(repr(EVALUATOR)) < 300


@pytest.mark.parametrize(
    ("number", "step", "fits"),
    [
        ("19.99", 0.01, True),
        ("0.3", 0.1, True),
        ("19.995", 0.01, False),
        ("1e300", 0.01, True),
        ("7", 2, False),
        ("-6", 2, True),
        ("12345678901234567890123", 7, False),
    ],
)
def test_a_multiple_is_one_by_the_digits_that_are_written(number: str, step: float, fits: bool) -> None:
    evaluator = JSONSchemaEvaluator(schema={"properties": {"price": {"type": "number", "multipleOf": step}}})
    result = evaluator.evaluate(f'{{"price": {number}}}')
    assert result.passed is fits
    assert fits or f"price: must be a multiple of {step}" in result.deficiencies[0]


@pytest.mark.parametrize(
    ("items", "unique"),
    [
        ("[1, 1.0]", False),
        ("[1, true, 0, false, null]", True),
        ('["1", 1, [1], {"1": 1}]', True),
        ('[{"a": 1, "b": [2]}, {"b": [2.0], "a": 1}]', False),
        ("[[], {}]", True),
        ('[{"a": 1}, {"a": true}]', True),
    ],
)
def test_items_are_the_same_when_their_json_is(items: str, unique: bool) -> None:
    evaluator = JSONSchemaEvaluator(schema={"uniqueItems": True})
    assert evaluator.evaluate(items).passed is unique


def test_whether_thousands_of_objects_are_unique_takes_no_time(within: Any) -> None:
    evaluator = JSONSchemaEvaluator(schema={"uniqueItems": True})
    text = json.dumps([{"a": number} for number in range(4_000)])
    for attempt in within(1.0):
        with attempt:
            assert evaluator.evaluate(text).passed


@pytest.mark.parametrize(
    ("schema", "output"),
    [
        ({"enum": list(range(5_000))}, '"x"'),
        ({"additionalProperties": False}, json.dumps({"name" * 5_000: 1})),
    ],
)
def test_a_deficiency_does_not_fill_the_next_prompt(schema: dict[str, Any], output: str) -> None:
    (sentence,) = JSONSchemaEvaluator(schema=schema).evaluate(output).deficiencies
    assert len(sentence) < 1_010
    assert sentence.endswith(" ...")
