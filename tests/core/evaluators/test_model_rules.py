"""JSONSchemaEvaluator(schema=Model): the model says what is right, and is handed back."""

import json
import pickle
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator

from loopllm.errors import MisuseError
from loopllm.evaluators import JSONSchemaEvaluator


class Address(BaseModel):
    street: str
    zip: str = Field(pattern=r"^\d{5}$")


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    bark: str


class Person(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    age: int
    address: Address
    pet: Cat | Dog | None = None
    tagged: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    height: float = 1.0
    nick: str = Field(default="", alias="nickname")

    @field_validator("name")
    @classmethod
    def has_a_capital(cls, name: str) -> str:
        if not name[:1].isupper():
            raise ValueError("write the name with a capital letter")
        return name


EVALUATOR = JSONSchemaEvaluator(schema=Person)
RIGHT: dict[str, Any] = {"name": "Ada", "age": 36, "address": {"street": "St James's", "zip": "12345"}}


def deficiencies(**changes: Any) -> tuple[str, ...]:
    return tuple(EVALUATOR.evaluate(json.dumps(RIGHT | changes)).deficiencies)


def test_parse_hands_back_the_model() -> None:
    person = EVALUATOR.parse(json.dumps(RIGHT))
    assert isinstance(person, Person)
    assert person.address.zip == "12345"
    with pytest.raises(MisuseError, match="age: "):
        EVALUATOR.parse(json.dumps(RIGHT | {"age": "old"}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"address": {"street": "x"}}, "address.zip: this required field is missing; add it"),
        ({"address": {"street": "x", "zip": 1}}, "address.zip: must be a valid string, got 1"),
        ({"name": "ada"}, 'name: write the name with a capital letter, got "ada"'),
        ({"hobby": "loops"}, "hobby: is not an allowed field; remove it"),
        ({"pet": {"kind": "dog", "bark": 3}}, "pet.bark: must be a valid string, got 3"),
        ({"pet": {"kind": "cat"}}, "pet.lives: this required field is missing; add it"),
        ({"tagged": {"kind": "cat"}}, "tagged.lives: this required field is missing; add it"),
        ({"nickname": 3}, "nickname: must be a valid string, got 3"),
    ],
)
def test_deficiencies_name_the_place_in_the_document_not_in_the_union(changes: Any, sentence: str) -> None:
    assert deficiencies(**changes) == (sentence,)


def test_true_is_no_number_though_the_model_would_take_it() -> None:
    assert deficiencies(age=True) == ("age: must be a valid integer, got true",)
    assert deficiencies(height=False) == ("height: must be a valid number, got false",)


def test_what_the_model_converts_is_accepted() -> None:
    assert deficiencies(age="36", height=2) == ()


@given(
    st.dictionaries(
        st.sampled_from(["name", "age", "address", "pet"]),
        st.sampled_from([None, 1, "x", True, [], {}, {"zip": 1}]),
    ),
    st.data(),
)
def test_mending_one_field_never_lowers_the_score(changes: dict[str, Any], data: st.DataObject) -> None:
    document = RIGHT | changes
    field = data.draw(st.sampled_from(["name", "age", "address"]))
    before = EVALUATOR.evaluate(json.dumps(document))
    after = EVALUATOR.evaluate(json.dumps(document | {field: RIGHT[field]}))
    absent = EVALUATOR.evaluate(json.dumps({key: value for key, value in document.items() if key != field}))
    assert 0 <= before.score <= after.score <= 1
    assert absent.score < after.score
    assert (before.score == 1.0) is before.passed


def test_any_type_that_pydantic_validates_will_do() -> None:
    evaluator = JSONSchemaEvaluator(schema=list[Address])
    assert evaluator.parse('[{"street": "x", "zip": "12345"}]') == [Address(street="x", zip="12345")]
    assert tuple(evaluator.evaluate('[{"street": "x"}]').deficiencies) == (
        "[0].zip: this required field is missing; add it",
    )


def test_text_that_only_pydantic_cannot_read_is_a_deficiency() -> None:
    result = EVALUATOR.evaluate('"\\ud800"')
    assert result.score == pytest.approx(0.2)
    assert result.passed is False


def test_it_pickles_with_its_model() -> None:
    copy = pickle.loads(pickle.dumps(JSONSchemaEvaluator(schema=Address, allow_fenced=True)))
    assert copy.parse('```json\n{"street": "x", "zip": "12345"}\n```') == Address(street="x", zip="12345")
    assert repr(copy) == "JSONSchemaEvaluator(schema=Address, allow_fenced=True)"
