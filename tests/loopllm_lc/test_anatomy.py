"""Which part of a chain is asked again."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import FakeListLLM
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableParallel, RunnablePassthrough
from pydantic import BaseModel

from loopllm_lc.anatomy import dissect

PROMPT = ChatPromptTemplate.from_template("{x}")


class Person(BaseModel):
    name: str


def test_a_chat_model_is_asked_itself(scripted: Any) -> None:
    model = scripted("hi")
    parts: Any = dissect(model)
    assert (parts.asked, parts.kind, parts.head, parts.tail) == (model, "chat", None, None)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: model.bind(stop=["x"]),
        lambda model: model.with_retry(),
        lambda model: model.with_fallbacks([model]),
        lambda model: model.configurable_fields(model_name=ConfigurableField(id="m")),
        lambda model: model.configurable_alternatives(ConfigurableField(id="m"), other=model),
        lambda model: model.with_config(tags=["t"]).with_retry(),
    ],
)
def test_a_wrapped_chat_model_is_asked_in_its_wrapping(scripted: Any, wrap: Any) -> None:
    wrapped = wrap(scripted("hi"))
    parts: Any = dissect(PROMPT | wrapped | StrOutputParser())
    assert parts.asked == wrapped
    assert parts.kind == "chat"


def test_a_chain_is_cut_before_and_after_its_model(scripted: Any) -> None:
    model = scripted("hi")
    chain = {"x": RunnablePassthrough()} | PROMPT | model | StrOutputParser() | RunnableLambda(str.upper)
    parts: Any = dissect(chain)
    assert parts.asked is model
    assert [type(step).__name__ for step in parts.head.steps] == ["RunnableParallel", "ChatPromptTemplate"]
    assert [type(step).__name__ for step in parts.tail.steps] == ["StrOutputParser", "RunnableLambda"]


def test_a_chain_under_a_config_is_cut_too(scripted: Any) -> None:
    chain = (PROMPT | scripted("hi") | StrOutputParser()).with_config(tags=["mine"])
    parts: Any = dissect(chain)
    assert parts.kind == "chat"
    assert parts.asked.config["tags"] == ["mine"]


def test_structured_output_is_a_model_and_a_parser(scripted: Any) -> None:
    model = scripted("hi")
    parts: Any = dissect(model.with_structured_output(Person))
    assert parts.kind == "chat"
    assert parts.asked.bound is model
    assert parts.tail is not None


def test_structured_output_with_its_raw_message_is_a_model_and_a_parser(scripted: Any) -> None:
    model = scripted("hi")
    parts: Any = dissect(PROMPT | model.with_structured_output(Person, include_raw=True))
    assert parts.asked.bound is model
    assert parts.head == PROMPT


def test_a_text_model_is_asked_with_text() -> None:
    assert dissect(PROMPT | FakeListLLM(responses=["hi"])).kind == "text"


def test_where_no_model_can_be_seen_the_whole_is_asked(scripted: Any) -> None:
    hidden = RunnableLambda(lambda text: text)
    parallel = RunnableParallel(a=scripted("hi"), b=scripted("ho"))
    for runnable in (hidden, parallel, PROMPT | hidden):
        parts: Any = dissect(runnable)
        assert (parts.asked, parts.kind) == (runnable, "whole")
