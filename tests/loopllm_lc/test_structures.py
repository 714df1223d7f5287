"""A structure that the model's own client reads, as OpenAI's does: what it cannot read is an answer, not a failure."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, ValidationError, field_validator

from loopllm import LoopConfig, LoopedLLM
from loopllm_lc import LangChainProvider, LoopedChatModel, LoopedRunnable, loop_graph
from loopllm_lc.replies import misshapen_reply

HOW = pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
PATIENT = LoopConfig(convergence_delta=0.0)


class Person(BaseModel):
    name: str
    age: int

    @field_validator("age")
    @classmethod
    def _is_human(cls, age: int) -> int:
        if age > 150:
            raise ValueError("nobody is that old")
        return age


def openai(server: str) -> Any:
    return ChatOpenAI(model="small", base_url=server, api_key="local", max_retries=0)


async def call(runnable: Any, how: Any) -> Any:
    match how:
        case "invoke":
            return runnable.invoke("Who?")
        case "ainvoke":
            return await runnable.ainvoke("Who?")
        case "stream":
            (value,) = runnable.stream("Who?")
        case _:
            (value,) = [piece async for piece in runnable.astream("Who?")]
    return value


@HOW
@pytest.mark.parametrize("kind", [LoopedRunnable, LoopedChatModel])
@pytest.mark.parametrize("wrong", ["Al, I think", '{"name": "Al"}', '{"name": "Al", "age": 999}'])
async def test_an_answer_that_its_client_cannot_read_is_a_deficiency(
    answering: Any, how: Any, kind: Any, wrong: Any
) -> None:
    looped = kind(bound=openai(answering(wrong, '{"name": "Al", "age": 9}')), evaluator=lambda text: 1.0)
    assert await call(looped.with_structured_output(Person), how) == Person(name="Al", age=9)


@pytest.mark.parametrize(
    "wraps", [lambda model: model.with_config(tags=["mine"]), lambda model: model.with_fallbacks([])]
)
def test_it_is_one_in_any_wrapping(answering: Any, wraps: Any) -> None:
    model = openai(answering("Al", '{"name": "Al", "age": 9}')).bind(response_format=Person)
    looped = LoopedRunnable(bound=wraps(model) | StrOutputParser(), evaluator=lambda text: 1.0)
    assert Person.model_validate_json(looped.invoke("Who?")).age == 9


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_a_graph_asks_for_it_again_too(answering: Any, how: Any) -> None:
    structured = openai(answering("Al", "Al again", '{"name": "Al", "age": 9}')).with_structured_output(
        Person
    )
    graph = loop_graph(structured, config=PATIENT).compile()
    asked: Any = {"input": "Who?", "messages": [("user", "Who?")]}
    state: Any = graph.invoke(asked) if how == "invoke" else await graph.ainvoke(asked)
    assert state["output"] == Person(name="Al", age=9)
    assert state["loopllm"]["trajectory"] == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("is_awaited", [False, True])
async def test_a_loop_over_the_model_alone_asks_for_it_again_too(answering: Any, is_awaited: bool) -> None:
    right = '{"name": "Al", "age": 9}'
    provider = LangChainProvider(openai(answering("Al", right)).bind(response_format=Person))
    loop = LoopedLLM(provider)
    result = await loop.arefine("Who?", Person) if is_awaited else loop.refine("Who?", Person)
    assert [Person.model_validate_json(result.output).age, result.iterations[0].output] == [9, "Al"]


async def test_when_no_answer_can_be_read_the_clients_error_says_how_many(answering: Any) -> None:
    looped = LoopedRunnable(
        bound=openai(answering("Al")), evaluator=bool, config=LoopConfig(max_iterations=2)
    ).with_structured_output(Person)
    with pytest.raises(ValidationError, match="Person") as caught:
        looped.invoke("Who?")
    assert "none of 2 drafts" in caught.value.__notes__[0]


def error_of(text: str, kind: type[BaseModel] = Person) -> Exception:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate_json(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "known"),
    [("Al", "Al"), ('{"name": "Al"}', '{"name": "Al"}'), ('{"name": "Al", "age": 999}', "")],
)
def test_of_the_answer_is_known_what_the_error_holds(text: Any, known: Any) -> None:
    assert misshapen_reply(error_of(text), Person) == AIMessage(known)


class Other(BaseModel):
    name: str


def test_an_error_about_something_else_is_none_of_it() -> None:
    assert misshapen_reply(error_of("{}", Other), Person) is None
    assert misshapen_reply(error_of("{}"), None) is None
    assert misshapen_reply(ValueError("boom"), Person) is None


def called(**person: Any) -> AIMessage:
    usage: Any = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    call = {"name": "Person", "args": person, "id": "1"}
    return AIMessage("", tool_calls=[call], usage_metadata=usage)


@HOW
async def test_fallbacks_of_a_model_give_a_structure_too(scripted: Any, how: Any) -> None:
    """Where the parser is out of sight being readable is enough as well."""
    model = scripted(RuntimeError("away")).with_fallbacks([scripted("Al", called(name="Al", age=9))])
    looped = LoopedRunnable(bound=model, evaluator=lambda text: 0.0)
    assert await call(looped.with_structured_output(Person), how) == Person(name="Al", age=9)


@HOW
async def test_the_raw_message_under_fallbacks_carries_what_all_drafts_cost(scripted: Any, how: Any) -> None:
    model = scripted(RuntimeError("away")).with_fallbacks([scripted("Al", called(name="Al", age=9))])
    looped = LoopedRunnable(bound=model, evaluator=lambda text: 0.0)
    answer = await call(looped.with_structured_output(Person, include_raw=True), how)
    assert answer["parsed"] == Person(name="Al", age=9)
    assert answer["raw"].usage_metadata["total_tokens"] == 15 + 15
    assert answer["raw"].response_metadata["loopllm"]["trajectory"] == [0.0, 1.0]
