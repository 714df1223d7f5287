"""Chains as people build them: several models, wrappings, and what feedback cannot reach."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from loopllm import LoopConfig, MisuseError
from loopllm_lc import LoopedRunnable

PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{x}")])


def facts(message: Any) -> Any:
    return message.response_metadata["loopllm"]


def two_models(outliner: Any, writer: Any) -> Any:
    essay = ChatPromptTemplate.from_template("Essay from {outline}")
    return PROMPT | outliner | StrOutputParser() | {"outline": RunnablePassthrough()} | essay | writer


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_of_two_models_in_a_chain_the_last_one_hears_the_feedback_and_the_first_is_asked_once(
    scripted: Any, says_yes: Any, how: Any
) -> None:
    outliner, writer = scripted("an outline"), scripted("no", "yes")
    looped = LoopedRunnable(bound=two_models(outliner, writer), evaluator=says_yes)
    given: Any = {"x": "Agree."}
    message = looped.invoke(given) if how == "invoke" else await looped.ainvoke(given)
    assert facts(message)["trajectory"] == [0.2, 1.0]
    assert message.usage_metadata["total_tokens"] == 30
    assert len(outliner.seen) == 1
    assert writer.seen[1][0].text == "Essay from an outline"
    assert "the answer must hold the word yes" in writer.seen[1][-1].text


def test_a_budget_holds_for_the_last_of_two_models(scripted: Any) -> None:
    writer = scripted("no")
    config = LoopConfig(max_iterations=5, token_budget=40, convergence_delta=0.0)
    looped = LoopedRunnable(
        bound=two_models(scripted("an outline"), writer), evaluator=lambda text: 0.2, config=config
    )
    assert facts(looped.invoke({"x": "?"}))["iterations"] == len(writer.seen) == 2


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: (PROMPT | model | StrOutputParser()).with_retry(),
        lambda model: PROMPT | (model | StrOutputParser()).with_config(run_name="inner"),
        lambda model: PROMPT | (model | StrOutputParser()).with_config(tags=["a"]).with_retry(),
    ],
)
def test_a_wrapped_chain_hears_the_feedback_too(scripted: Any, says_yes: Any, wrap: Any) -> None:
    model = scripted("no", "yes")
    assert LoopedRunnable(bound=wrap(model), evaluator=says_yes).invoke({"x": "Agree."}) == "yes"
    assert "the answer must hold the word yes" in model.seen[1][-1].text


def test_a_retry_around_a_bound_chain_is_one_of_its_model(scripted: Any, says_yes: Any) -> None:
    chain = (PROMPT | scripted(ZeroDivisionError("boom"), "yes") | StrOutputParser()).with_retry(
        wait_exponential_jitter=False
    )
    assert LoopedRunnable(bound=chain, evaluator=says_yes).invoke({"x": "Agree."}) == "yes"


def test_a_retry_around_a_bound_chain_does_not_parse_one_answer_again_and_again(scripted: Any) -> None:
    parses: Any = []

    class Counting(JsonOutputParser):
        def parse_result(self, result: Any, *, partial: bool = False) -> Any:
            parses.append(1)
            return super().parse_result(result, partial=partial)

    chain = (PROMPT | scripted("no", '{"n": 1}') | Counting()).with_retry(wait_exponential_jitter=False)
    assert LoopedRunnable(bound=chain).invoke({"x": "?"}) == {"n": 1}
    assert len(parses) == 2


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda chain: chain.with_fallbacks([chain]),
        lambda chain: RunnablePassthrough.assign(answer=chain),
    ],
)
async def test_a_chain_that_feedback_cannot_reach_is_refused_before_anything_is_paid_for(
    scripted: Any, wrap: Any, how: Any
) -> None:
    model = scripted("no", "yes")
    looped = LoopedRunnable(bound=wrap(PROMPT | model | StrOutputParser()), evaluator=lambda value: 0.2)
    with pytest.raises(MisuseError, match="feedback_key"):
        looped.invoke({"x": "?"}) if how == "invoke" else await looped.ainvoke({"x": "?"})
    assert model.seen == []


@pytest.mark.parametrize("config", [LoopConfig(feedback="fresh"), LoopConfig(max_iterations=1)])
def test_a_chain_that_needs_no_feedback_needs_no_room_for_it(scripted: Any, config: Any) -> None:
    chain = PROMPT | scripted("hi") | StrOutputParser()
    looped = LoopedRunnable(bound=chain.with_fallbacks([chain]), evaluator=lambda text: 0.2, config=config)
    assert looped.invoke({"x": "?"}) == "hi"
