"""JSONSchemaEvaluator with names and types: graded from prose to the document asked for."""

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.errors import EvaluatorError, MisuseError
from loopllm.evaluators import JSONSchemaEvaluator

PROFILE = JSONSchemaEvaluator(required_fields=["name", "age", "email"], field_types={"age": int, "name": str})
RIGHT: dict[str, Any] = {"name": "Ada", "age": 36, "email": "ada@example.com"}
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)


def test_a_draft_rises_from_prose_to_the_document_step_by_step() -> None:
    drafts = ["not json", "[1]", "{}", '{"name": "Ada"}', '{"name": "Ada", "age": "36"}', json.dumps(RIGHT)]
    scores = [PROFILE.evaluate(draft).score for draft in drafts]
    assert scores == sorted(set(scores))
    assert (scores[0], scores[-1]) == (0.0, 1.0)


def test_the_parts_are_what_the_formula_says() -> None:
    result = PROFILE.evaluate('{"name": "Ada", "age": "36"}')
    assert result.sub_scores == {
        "json_valid": 1.0,
        "is_object": 1.0,
        "fields_present": pytest.approx(2 / 3),
        "type_correct": 0.5,
    }
    assert result.score == pytest.approx(0.2 + 0.1 + 0.4 * 2 / 3 + 0.3 * 0.5)


def test_deficiencies_name_the_field_and_what_it_must_be() -> None:
    assert tuple(PROFILE.evaluate('{"name": "Ada", "age": "36"}').deficiencies) == (
        "email: this required field is missing; add it",
        'age: must be an integer, got "36"',
    )


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (int, ["1", "-3"], ["true", "1.5", '"1"', "null"]),
        (float, ["1", "1.5"], ["true", '"1.5"']),
        (bool, ["true"], ["1", '"true"']),
        (str, ['"a"'], ["1", "[]"]),
        (list, ["[]"], ["{}"]),
        (dict, ["{}"], ["[]"]),
        (int | None, ["1", "null"], ["false"]),
        ((int, str), ["1", '"a"'], ["true"]),
        (None, ["null"], ["0"]),
    ],
)
def test_a_type_means_what_it_means_in_json(kind: Any, right: list[str], wrong: list[str]) -> None:
    evaluator = JSONSchemaEvaluator(field_types={"x": kind})
    assert [evaluator.evaluate(f'{{"x": {value}}}').passed for value in right] == [True] * len(right)
    assert [evaluator.evaluate(f'{{"x": {value}}}').passed for value in wrong] == [False] * len(wrong)


def test_a_typed_field_that_is_not_required_may_be_absent() -> None:
    assert JSONSchemaEvaluator(field_types={"x": int}).evaluate("{}").score == 1.0


def test_an_array_will_do_when_told_so() -> None:
    assert JSONSchemaEvaluator(must_be_object=False).evaluate("[1]").score == 1.0
    assert JSONSchemaEvaluator().evaluate("[1]").score == pytest.approx(0.2)


@given(st.text())
def test_any_text_gets_a_score_and_a_reason_when_it_fails(text: str) -> None:
    result = PROFILE.evaluate(text)
    assert 0.0 <= result.score <= 1.0
    assert result.passed is (not result.deficiencies)


@given(DOCUMENTS)
def test_only_what_passes_scores_one(document: Any) -> None:
    result = PROFILE.evaluate(json.dumps(document))
    assert (result.score == 1.0) is result.passed


@given(st.dictionaries(st.sampled_from(sorted(RIGHT)), SCALARS), st.sampled_from(sorted(RIGHT)))
def test_mending_one_field_never_lowers_the_score(broken: dict[str, Any], field: str) -> None:
    before = PROFILE.evaluate(json.dumps(broken))
    after = PROFILE.evaluate(json.dumps(broken | {field: RIGHT[field]}))
    assert before.score <= after.score


@given(st.integers(1, 40))
def test_a_document_that_was_cut_off_scores_more_the_more_there_is_but_less_than_any_document(
    length: int,
) -> None:
    text = json.dumps(RIGHT)
    shorter, longer = PROFILE.evaluate(text[:length]), PROFILE.evaluate(text[: length + 10])
    assert shorter.score <= longer.score < PROFILE.evaluate("[]").score


def test_a_fence_is_taken_off_only_when_told_to() -> None:
    text = 'Here you are:\n```json\n{"a": "```"}\n```\nAnything else?'
    strict, lenient = JSONSchemaEvaluator(["a"]), JSONSchemaEvaluator(["a"], allow_fenced=True)
    assert tuple(strict.evaluate(text).deficiencies) == (
        "Answer with the JSON document alone, without a code fence.",
    )
    assert 0 < strict.evaluate(text).score <= 0.1
    assert lenient.parse(text) == {"a": "```"}


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        '```json\n{"a": 1}\n```',
        '```JSON\r\n{"a": 1}\r\n```',
        '```\n{"a": 1}\n```',
        '```json {"a": 1} ```',
        '```json\n{"a": 1}',
        '```python\nx = 1\n```\nso\n```json\n{"a": 1}\n```',
        '\ufeff{"a": 1}\n',
    ],
)
def test_every_usual_fence_is_read(text: str) -> None:
    assert JSONSchemaEvaluator(["a"], allow_fenced=True).parse(text) == {"a": 1}


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_what_is_no_json_number_is_a_deficiency(constant: str) -> None:
    result = JSONSchemaEvaluator().evaluate(f'{{"x": {constant}}}')
    assert result.score <= 0.1
    assert result.deficiencies[0].startswith("The output is not valid JSON")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 5_000 + "1" + "}" * 5_000, "[" * 80 + "]" * 80])
def test_deep_json_is_a_deficiency(text: str) -> None:
    assert tuple(JSONSchemaEvaluator().evaluate(text).deficiencies) == (
        "The JSON is nested more than 64 levels deep; flatten it.",
    )


def test_huge_json_is_a_deficiency() -> None:
    result = JSONSchemaEvaluator(max_chars=1000).evaluate(json.dumps({"x": "y" * 1000}))
    assert (result.score, result.deficiencies[0][:33]) == (0.0, "The output has 1009 characters, a")


def test_many_faults_are_counted_not_listed() -> None:
    result = JSONSchemaEvaluator([f"f{number}" for number in range(30)]).evaluate("{}")
    assert len(result.deficiencies) == 21
    assert result.deficiencies[-1] == "10 more faults of this kind"


def test_parse_refuses_what_does_not_pass() -> None:
    assert PROFILE.parse(json.dumps(RIGHT)) == RIGHT
    for draft in ("not json", "{}"):
        with pytest.raises(MisuseError, match="does not pass 'json_schema'"):
            PROFILE.parse(draft)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"required_fields": "name"}, "required_fields"),
        ({"required_fields": [1]}, "required_fields"),
        ({"required_fields": 3}, "required_fields"),
        ({"field_types": {"a": "int"}}, "field_types"),
        ({"field_types": {"a": list[str]}}, "field_types"),
        ({"field_types": ["a"]}, "field_types"),
        ({"field_types": {"a": ()}}, "field_types"),
        ({"must_be_object": "yes"}, "must_be_object"),
        ({"allow_fenced": 1}, "allow_fenced"),
        ({"max_chars": 0}, "max_chars"),
        ({"max_depth": True}, "max_depth"),
        ({"time_limit": -1}, "time_limit"),
        ({"name": None}, "name"),
        ({"schema": {}, "required_fields": ["a"]}, "schema"),
        ({"schema": 42}, "schema"),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(MisuseError, match=named):
        JSONSchemaEvaluator(**arguments)


def test_an_output_that_is_not_text_is_no_score() -> None:
    with pytest.raises(EvaluatorError, match="scores text"):
        PROFILE.evaluate({"name": "Ada"})


def test_it_pickles_copies_and_shows_what_it_was_given() -> None:
    for twin in (pickle.loads(pickle.dumps(PROFILE)), copy.deepcopy(PROFILE)):
        assert twin.evaluate("{}") == PROFILE.evaluate("{}")
    assert repr(JSONSchemaEvaluator(["a"])) == "JSONSchemaEvaluator(required_fields=['a'])"
    assert repr(JSONSchemaEvaluator()) == "JSONSchemaEvaluator()"


def test_only_names_and_types_are_cheap_enough_for_the_event_loop() -> None:
    assert PROFILE.inline
    assert not JSONSchemaEvaluator(schema={"type": "object"}).inline
