"""The loop over LangChain's own OpenAI client and HTTP, against the embedded real model."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from openai import LengthFinishReasonError
from pydantic import BaseModel

from loopllm import AdaptivePriors, LoopConfig, LoopedLLM, as_provider
from loopllm.evaluators import CompositeEvaluator, LengthEvaluator, RegexEvaluator
from loopllm_lc import LoopedRunnable, LoopMiddleware, loop_graph

pytestmark = pytest.mark.real_model

PROMPT = ChatPromptTemplate.from_messages([("human", "Write one sentence about {topic}.")])
SHORT = LengthEvaluator(max_words=12)
CONFIG = LoopConfig(max_iterations=3, timeout_ms=120_000)


class Person(BaseModel):
    name: str
    age: int


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_chain_is_looped_over_http(local_chat: Any, recorder: Any, how: Any) -> None:
    looped = LoopedRunnable(bound=PROMPT | local_chat() | StrOutputParser(), evaluator=SHORT, config=CONFIG)
    config: Any = {"callbacks": [recorder]}
    given = {"topic": "the sea"}
    if how == "invoke":
        text = looped.invoke(given, config)
    elif how == "ainvoke":
        text = await looped.ainvoke(given, config)
    elif how == "stream":
        text = "".join(looped.stream(given, config))
    else:
        text = "".join([piece async for piece in looped.astream(given, config)])
    trajectory = recorder.events[-1][1]["trajectory"]
    assert text.strip()
    assert SHORT.evaluate(text).score == max(trajectory)
    assert len([run for run in recorder.runs.values() if run["kind"] == "model"]) == len(trajectory)


def test_a_looped_model_sums_the_usage_its_server_reports(local_chat: Any, recorder: Any) -> None:
    never = RegexEvaluator(required=["xyzzy"])
    config = LoopConfig(max_iterations=2, timeout_ms=120_000)
    message = LoopedRunnable(bound=local_chat(), evaluator=never, config=config).invoke(
        "Hello.", {"callbacks": [recorder]}
    )
    outputs = [
        run["outputs"].generations[0][0].message for run in recorder.runs.values() if run["kind"] == "model"
    ]
    assert message.usage_metadata["total_tokens"] == sum(
        each.usage_metadata["total_tokens"] for each in outputs
    )
    assert message.response_metadata["loopllm"]["iterations"] == 2
    assert message.response_metadata["model_name"] == "SmolLM2-135M-Instruct"


async def test_a_looped_model_streams_the_accepted_drafts_own_chunks(local_chat: Any) -> None:
    looped = LoopedRunnable(bound=local_chat(), evaluator=SHORT, config=CONFIG)
    pieces = [piece async for piece in looped.astream("Name three colours.")]
    total = pieces[0]
    for piece in pieces[1:]:
        total = total + piece
    assert all(isinstance(piece, AIMessageChunk) for piece in pieces)
    assert len(pieces) > 3
    assert pieces[-1].chunk_position == "last"
    assert total.response_metadata["loopllm"]["score"] == SHORT.evaluate(total.text).score


def test_a_structure_is_asked_for_until_its_content_is_right(local_chat: Any) -> None:
    structured = local_chat().with_structured_output(Person, method="json_schema")
    looped = LoopedRunnable(
        bound=structured, evaluator=lambda person: 1.0 if person.age == 30 else 0.2, config=CONFIG
    )
    assert looped.invoke("Alice is 30 years old. Give her name and age.") == Person(name="Alice", age=30)


def test_a_structure_that_a_weak_model_misses_is_repaired_or_named(local_chat: Any, recorder: Any) -> None:
    looped = LoopedRunnable(
        bound=local_chat().with_structured_output(Person, method="json_mode"), config=CONFIG
    )
    person = looped.invoke(
        "Alice is 30 years old. Give her name and age as JSON with the keys name and age.",
        {"callbacks": [recorder]},
    )
    assert isinstance(person, Person)


@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_a_structure_too_long_for_its_token_limit_uses_up_the_budget_and_says_so(
    local_chat: Any, how: Any
) -> None:
    structured = local_chat(max_tokens=4).with_structured_output(Person, method="json_schema")
    looped = LoopedRunnable(bound=structured, config=CONFIG.model_copy(update={"max_iterations": 2}))
    with pytest.raises(LengthFinishReasonError) as caught:
        list(looped.stream("Who is Alice?")) if how == "stream" else looped.invoke("Who is Alice?")
    assert "none of 2 drafts" in caught.value.__notes__[0]


async def test_an_agent_refines_its_answer(local_chat: Any) -> None:
    agent = create_agent(local_chat(), middleware=[LoopMiddleware(SHORT, CONFIG)])
    state = await agent.ainvoke({"messages": [HumanMessage("Write one sentence about rain.")]})
    facts = state["messages"][-1].response_metadata["loopllm"]
    assert [message.type for message in state["messages"]] == ["human", "ai"]
    assert facts["score"] == max(facts["trajectory"])


def test_a_graph_refines_with_the_same_model(local_chat: Any) -> None:
    state = (
        loop_graph(local_chat(), SHORT, CONFIG).compile().invoke({"messages": [HumanMessage("Say hello.")]})
    )
    assert state["loopllm"]["iterations"] >= 1
    assert state["messages"][-1].text.strip()


def test_the_engine_learns_under_the_same_name_as_the_runnable(local_chat: Any) -> None:
    priors = AdaptivePriors()
    evaluator = CompositeEvaluator([SHORT, RegexEvaluator(required=["sea"])])
    LoopedRunnable(
        bound=local_chat(), evaluator=evaluator, config=CONFIG, priors=priors, task_type="sea"
    ).invoke("The sea?")
    LoopedLLM(as_provider(local_chat()), CONFIG, priors=priors).refine("The sea?", evaluator, task_type="sea")
    assert [report.model_id for report in priors.report_all()] == ["SmolLM2-135M-Instruct"]
    assert priors.report("sea", "SmolLM2-135M-Instruct").total_calls == 2
