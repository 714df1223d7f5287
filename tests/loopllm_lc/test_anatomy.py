"""Which part of a chain is asked again."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.chat_models import init_chat_model
from langchain_core.language_models import FakeListLLM
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableParallel, RunnablePassthrough
from pydantic import BaseModel

from loopllm import MisuseError
from loopllm_lc import LoopedRunnable
from loopllm_lc.anatomy import dissect, model_in
from loopllm_lc.model_identity import model_id_of

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


def test_of_several_models_the_last_one_is_asked(scripted: Any) -> None:
    outliner, writer = scripted("outline"), scripted("essay")
    chain = PROMPT | outliner | StrOutputParser() | PROMPT | writer | StrOutputParser()
    parts: Any = dissect(chain)
    assert parts.asked is writer
    assert [type(step).__name__ for step in parts.head.steps][1:3] == ["ScriptedModel", "StrOutputParser"]
    assert type(parts.tail).__name__ == "StrOutputParser"


def test_a_model_inside_a_parser_is_no_step_of_the_chain(scripted: Any) -> None:
    from langchain_classic.output_parsers import OutputFixingParser

    model = scripted("hi")
    fixing = OutputFixingParser.from_llm(scripted("{}"), JsonOutputParser())
    parts: Any = dissect(PROMPT | model | fixing)
    assert (parts.asked, parts.tail) == (model, fixing)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda chain: chain.with_retry(),
        lambda chain: PROMPT | chain.with_config(run_name="inner"),
        lambda chain: PROMPT | chain.with_config(tags=["a"]).with_retry(),
    ],
)
def test_a_chain_under_its_wrappings_is_seen(scripted: Any, wrap: Any) -> None:
    model = scripted("hi")
    parts: Any = dissect(wrap(PROMPT | model | StrOutputParser()))
    assert parts.kind == "chat"
    assert model_in(parts.asked) is model
    assert parts.tail is not None


@pytest.mark.parametrize(
    "wrap", [lambda chain: chain.with_retry(), lambda chain: chain.with_config(tags=["a"])]
)
def test_structured_output_with_its_raw_message_is_seen_under_its_wrappings(scripted: Any, wrap: Any) -> None:
    model = scripted("hi")
    parts: Any = dissect(PROMPT | wrap(model.with_structured_output(Person, include_raw=True)))
    assert parts.kind == "chat"
    assert model_in(parts.asked) is model


@pytest.fixture
def late(scripted: Any, monkeypatch: Any) -> Any:
    """Return a model that each call's config makes, as `init_chat_model` returns it."""
    monkeypatch.setattr(
        "langchain.chat_models.base._init_chat_model_helper",
        lambda model, **settings: scripted("no", "yes", model_name=model),
    )
    return init_chat_model("small", model_provider="openai", configurable_fields=("model",))


def test_a_model_that_each_calls_config_makes_is_a_chat_model(late: Any) -> None:
    parts: Any = dissect(PROMPT | late | StrOutputParser())
    assert (parts.asked, parts.kind) == (late, "chat")
    assert model_id_of(late) == "small"
    assert model_id_of(late, {"configurable": {"model": "large"}}) == "large"


def test_a_structure_of_a_model_that_each_calls_config_makes_is_no_message(late: Any) -> None:
    assert dissect(late.with_structured_output(Person)).kind == "whole"
    with pytest.raises(MisuseError, match="configurable_fields"):
        LoopedRunnable(bound=late, evaluator=bool).with_structured_output(Person)


def test_a_model_whose_config_names_none_yet_has_no_name() -> None:
    assert model_id_of(init_chat_model()) is None


def test_a_text_model_is_asked_with_text() -> None:
    assert dissect(PROMPT | FakeListLLM(responses=["hi"])).kind == "text"


def test_where_no_model_can_be_seen_the_whole_is_asked(scripted: Any) -> None:
    hidden = RunnableLambda(lambda text: text)
    parallel = RunnableParallel(a=scripted("hi"), b=scripted("ho"))
    for runnable in (hidden, parallel, PROMPT | hidden):
        parts: Any = dissect(runnable)
        assert (parts.asked, parts.kind) == (runnable, "whole")
