"""What `invoke` and `ainvoke` return, for each kind of thing that can be bound."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from openai import LengthFinishReasonError
from pydantic import BaseModel, ValidationError

from loopllm import (
    AdaptivePriors,
    CallTimeoutError,
    EvaluationResult,
    EvaluatorError,
    LoopConfig,
    MisuseError,
)
from loopllm_lc import LoopedRunnable

PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{x}")])


class Person(BaseModel):
    name: str
    age: int


def facts(message: Any) -> Any:
    return message.response_metadata["loopllm"]


@pytest.mark.parametrize("call", ["invoke", "ainvoke"])
async def test_the_best_draft_comes_back_with_what_the_loop_did(
    scripted: Any, says_yes: Any, call: Any
) -> None:
    looped = LoopedRunnable(bound=scripted("no", "yes, sir"), evaluator=says_yes)
    message = looped.invoke("Agree.") if call == "invoke" else await looped.ainvoke("Agree.")
    assert isinstance(message, AIMessage)
    assert message.text == "yes, sir"
    assert facts(message) == {
        "iterations": 2,
        "score": 1.0,
        "exit_reason": "quality_threshold",
        "best_iteration": 2,
        "trajectory": [0.2, 1.0],
    }


def test_the_model_sees_its_draft_and_what_was_wrong_with_it(scripted: Any, says_yes: Any) -> None:
    model = scripted("no", "yes")
    LoopedRunnable(bound=model, evaluator=says_yes).invoke("Agree.")
    assert [message.type for message in model.seen[1]] == ["human", "ai", "human"]
    assert model.seen[1][1].text == "no"
    assert "the answer must hold the word yes" in model.seen[1][2].text


def test_an_earlier_better_draft_is_returned_and_the_exit_is_told_honestly(scripted: Any) -> None:
    """T28."""
    scores = iter([0.5, 0.1, 0.3])
    config = LoopConfig(max_iterations=3)
    looped = LoopedRunnable(bound=scripted("a", "b", "c"), evaluator=lambda text: next(scores), config=config)
    message = looped.invoke("?")
    assert message.text == "a"
    assert facts(message)["best_iteration"] == 1
    assert facts(message)["exit_reason"] == "max_iterations"


def test_the_message_is_kept_whole(scripted: Any) -> None:
    content: Any = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "yes", "citations": [{"title": "t"}]},
    ]
    winner = AIMessage(
        content,
        id="msg-1",
        response_metadata={"model_name": "m", "finish_reason": "stop"},
        additional_kwargs={"k": 1},
    )
    message = LoopedRunnable(bound=scripted(winner), evaluator=lambda text: text == "yes").invoke("?")
    assert message.content == content
    assert (message.id, message.additional_kwargs) == ("msg-1", {"k": 1})
    assert message.response_metadata["finish_reason"] == "stop"
    assert "loopllm" not in winner.response_metadata


def test_usage_is_the_sum_over_all_drafts_whatever_providers_put_in_it(scripted: Any, says_yes: Any) -> None:
    """T20."""
    odd = AIMessage("no").model_copy(
        update={
            "usage_metadata": {
                "input_tokens": 3,
                "output_tokens": 1,
                "total_tokens": 4,
                "total_cost": 0.5,
                "output_token_details": {"reasoning": None},
            }
        }
    )
    message = LoopedRunnable(bound=scripted(odd, "yes"), evaluator=says_yes).invoke("?")
    assert message.usage_metadata["total_tokens"] == 4 + 15
    assert message.usage_metadata["total_cost"] == 0.5


def test_pictures_stay_in_every_call(scripted: Any, says_yes: Any) -> None:
    picture = HumanMessage(
        [{"type": "text", "text": "Is it?"}, {"type": "image", "url": "https://example.com/a.png"}]
    )
    model = scripted("no", "yes")
    LoopedRunnable(bound=model, evaluator=says_yes).invoke([picture])
    assert [seen[0] for seen in model.seen] == [picture, picture]


def test_a_prompt_renders_once_and_feedback_follows_its_messages(scripted: Any, says_yes: Any) -> None:
    renders: Any = []

    def render(given: Any) -> Any:
        renders.append(given)
        return given

    model = scripted("no", "yes")
    chain = RunnableLambda(render) | PROMPT | model | StrOutputParser()
    assert LoopedRunnable(bound=chain, evaluator=says_yes).invoke({"x": "Agree."}) == "yes"
    assert len(renders) == 1
    assert [message.type for message in model.seen[1]] == ["system", "human", "ai", "human"]


async def test_a_chain_works_awaited(scripted: Any, says_yes: Any) -> None:
    chain = PROMPT | scripted("no", "yes") | StrOutputParser()
    assert await LoopedRunnable(bound=chain, evaluator=says_yes).ainvoke({"x": "Agree."}) == "yes"


def test_an_evaluator_gets_what_the_chain_returns_and_the_message_beside_it(scripted: Any) -> None:
    seen: Any = []

    def evaluate(output: Any, context: Any) -> Any:
        seen.append(
            (output, context["message"].text, context["prompt"], context["input"], context["iteration"])
        )
        return 1.0

    chain = PROMPT | scripted('{"n": 1}') | JsonOutputParser()
    LoopedRunnable(bound=chain, evaluator=evaluate).invoke({"x": "Count."})
    assert seen == [({"n": 1}, '{"n": 1}', "System: Be brief.\nHuman: Count.", {"x": "Count."}, 1)]


def test_a_lone_question_is_the_evaluators_prompt_as_it_would_be_outside_langchain(scripted: Any) -> None:
    prompts: Any = []

    def evaluate(output: Any, context: Any) -> Any:
        prompts.append(context["prompt"])
        return 1.0

    LoopedRunnable(bound=scripted("hi"), evaluator=evaluate).invoke("Say hi.")
    assert prompts == ["Say hi."]


@pytest.mark.parametrize("call", ["invoke", "ainvoke"])
async def test_an_answer_the_parser_cannot_read_is_a_deficiency_the_model_hears_about(
    scripted: Any, call: Any
) -> None:
    model = scripted("I am Al", '{"name": "Al"}', '{"name": "Al", "age": 9}')
    looped = LoopedRunnable(bound=PROMPT | model | PydanticOutputParser(pydantic_object=Person))
    given: Any = {"x": "Who?"}
    assert (looped.invoke(given) if call == "invoke" else await looped.ainvoke(given)) == Person(
        name="Al", age=9
    )
    assert "could not be read" in model.seen[1][-1].text
    assert "age" in model.seen[2][-1].text


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
async def test_an_answer_its_client_withholds_since_it_was_cut_off_is_a_deficiency(
    scripted: Any, cut_off: Any, recorder: Any, how: Any
) -> None:
    model = scripted(cut_off('{"name": "Al'), '{"name": "Al", "age": 9}')
    looped = LoopedRunnable(bound=PROMPT | model | PydanticOutputParser(pydantic_object=Person))
    given: Any = {"x": "Who?"}
    config: Any = {"callbacks": [recorder]}
    if how.endswith("invoke"):
        person = looped.invoke(given, config) if how == "invoke" else await looped.ainvoke(given, config)
    elif how == "stream":
        *_, person = looped.stream(given, config)
    else:
        *_, person = [piece async for piece in looped.astream(given, config)]
    assert person == Person(name="Al", age=9)
    assert "cut off" in model.seen[1][-1].text
    assert recorder.events[-1][1]["trajectory"] == [0.0, 1.0]


def test_what_a_withheld_answer_cost_is_counted(scripted: Any, cut_off: Any) -> None:
    message = LoopedRunnable(bound=scripted(cut_off("Al"), "yes"), evaluator=lambda text: 1.0).invoke("Who?")
    assert message.usage_metadata["total_tokens"] == 98 + 15


def test_when_every_answer_was_cut_off_the_clients_error_says_how_many(scripted: Any, cut_off: Any) -> None:
    looped = LoopedRunnable(
        bound=scripted(cut_off("Al")).with_structured_output(Person), config=LoopConfig(max_iterations=2)
    )
    with pytest.raises(LengthFinishReasonError) as caught:
        looped.invoke("Who?")
    assert "none of 2 drafts" in caught.value.__notes__[0]


def test_a_chain_that_ends_in_a_parser_needs_no_evaluator(scripted: Any) -> None:
    looped = LoopedRunnable(bound=PROMPT | scripted("no", '{"n": 1}') | JsonOutputParser())
    assert looped.invoke({"x": "?"}) == {"n": 1}


def test_when_no_draft_can_be_read_the_parsers_error_is_raised_with_the_number_of_calls(
    scripted: Any,
) -> None:
    looped = LoopedRunnable(
        bound=PROMPT | scripted("no") | JsonOutputParser(), config=LoopConfig(max_iterations=2)
    )
    with pytest.raises(OutputParserException) as caught:
        looped.invoke({"x": "?"})
    assert "none of 2 drafts" in caught.value.__notes__[0]


def test_a_readable_draft_beats_an_unreadable_later_one(scripted: Any) -> None:
    chain = PROMPT | scripted('{"n": 1}', "no") | JsonOutputParser()
    looped = LoopedRunnable(bound=chain, evaluator=lambda value: 0.4, config=LoopConfig(max_iterations=2))
    assert looped.invoke({"x": "?"}) == {"n": 1}


def test_a_structure_the_model_did_not_give_is_a_deficiency(scripted: Any) -> None:
    """T23: without a tool call `with_structured_output` returns None, silently."""
    good = AIMessage("", tool_calls=[{"name": "Person", "args": {"name": "Al", "age": 9}, "id": "1"}])
    model = scripted("I am Al", good)
    looped = LoopedRunnable(bound=model.with_structured_output(Person))
    assert looped.invoke("Who?") == Person(name="Al", age=9)
    assert "structure" in model.seen[1][-1].text


def test_a_structure_that_never_comes_is_an_error_and_not_none(scripted: Any) -> None:
    """T23."""
    looped = LoopedRunnable(
        bound=scripted("I am Al").with_structured_output(Person), config=LoopConfig(max_iterations=2)
    )
    with pytest.raises(OutputParserException, match="no draft of 2"):
        looped.invoke("Who?")


@pytest.mark.parametrize(
    "first", ["I am Al", AIMessage("", tool_calls=[{"name": "Person", "args": {}, "id": "1"}])]
)
def test_with_the_raw_message_asked_for_the_triple_comes_back_with_the_summed_usage(
    scripted: Any, first: Any
) -> None:
    """T23."""
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    call = {"name": "Person", "args": {"name": "Al", "age": 9}, "id": "2"}
    model = scripted(first, AIMessage("", tool_calls=[call], usage_metadata=usage))
    triple = LoopedRunnable(bound=model.with_structured_output(Person, include_raw=True)).invoke("Who?")
    assert triple["parsed"] == Person(name="Al", age=9)
    assert facts(triple["raw"])["iterations"] == 2
    assert triple["raw"].usage_metadata["total_tokens"] == 2 + (15 if first == "I am Al" else 0)


def test_a_draft_that_calls_tools_goes_to_the_caller_at_once(scripted: Any) -> None:
    """T24."""
    calls = AIMessage("", tool_calls=[{"name": "f", "args": {"a": 1}, "id": "1"}], id="m")
    judged: Any = []
    looped = LoopedRunnable(bound=scripted(calls), evaluator=lambda text: judged.append(text) or 0.0)
    message = looped.invoke("?")
    assert message.tool_calls == calls.tool_calls
    assert message.id == "m"
    assert facts(message) == {
        "iterations": 1,
        "score": None,
        "exit_reason": "tool_calls",
        "best_iteration": 1,
        "trajectory": [None],
    }
    assert judged == []


@pytest.mark.parametrize("how", ["refine", "arefine"])
async def test_a_tool_call_after_a_rejected_draft_is_one_round_and_paid_once(
    scripted: Any, says_yes: Any, how: Any
) -> None:
    usage = {"input_tokens": 2, "output_tokens": 1, "total_tokens": 3}
    called = {"name": "f", "args": {}, "id": "1"}
    model = scripted("no", AIMessage("", tool_calls=[called], usage_metadata=usage))
    looped = LoopedRunnable(bound=model, evaluator=says_yes)
    result = looped.refine("?") if how == "refine" else await looped.arefine("?")
    assert [(each.iteration, each.score) for each in result.iterations] == [(1, 0.2), (2, None)]
    assert result.metrics.usage.total_tokens == 18
    assert "called tools" in result.iterations[-1].error


def test_tool_calls_teach_the_priors_nothing(scripted: Any) -> None:
    calls = AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}])
    priors = AdaptivePriors()
    model = scripted(calls, model_name="small")
    LoopedRunnable(bound=model, evaluator=lambda text: 0.0, priors=priors).invoke("?")
    assert priors.report("default", "small").total_calls == 0


@pytest.mark.parametrize(
    "refusal",
    [
        AIMessage("No.", additional_kwargs={"refusal": "No."}),
        AIMessage("No.", response_metadata={"finish_reason": "content_filter"}),
        AIMessage("No.", response_metadata={"stop_reason": "refusal"}),
        AIMessage([{"type": "refusal", "refusal": "No."}]),
    ],
)
def test_a_refusal_is_not_asked_again(scripted: Any, refusal: Any) -> None:
    """T35."""
    model = scripted(refusal, "yes")
    message = LoopedRunnable(bound=model, evaluator=lambda text: 0.0).invoke("?")
    assert facts(message)["exit_reason"] == "refusal"
    assert len(model.seen) == 1


async def test_a_blocking_run_ends_at_its_deadline(scripted: Any) -> None:
    looped = LoopedRunnable(
        bound=scripted("late", delay=120.0), evaluator=lambda text: 1.0, config=LoopConfig(timeout_ms=50)
    )
    began = time.perf_counter()
    result = looped.refine("?")
    assert time.perf_counter() - began < 60.0
    assert result.metrics.exit_reason.condition == "timeout_ms"
    assert result.iterations == ()


async def test_an_awaited_run_ends_at_its_deadline_and_calls_no_more(scripted: Any) -> None:
    """T14."""
    model = scripted("late", delay=120.0)
    looped = LoopedRunnable(bound=model, evaluator=lambda text: 1.0, config=LoopConfig(timeout_ms=50))
    with pytest.raises(CallTimeoutError, match="timeout_ms"):
        await looped.ainvoke("?")
    await asyncio.sleep(0)
    assert model.seen == []


def test_a_chain_whose_time_ran_out_says_so_instead_of_returning_an_empty_answer(scripted: Any) -> None:
    chain = PROMPT | scripted("late", delay=120.0) | StrOutputParser()
    looped = LoopedRunnable(bound=chain, evaluator=lambda text: 1.0, config=LoopConfig(timeout_ms=50))
    with pytest.raises(CallTimeoutError, match="timeout_ms"):
        looped.invoke({"x": "?"})


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_fallbacks_stand_in_when_the_time_ran_out(scripted: Any, how: Any) -> None:
    looped = LoopedRunnable(
        bound=scripted("late", delay=120.0), evaluator=lambda text: 1.0, config=LoopConfig(timeout_ms=50)
    )
    safe = looped.with_fallbacks([scripted("plan b")], exceptions_to_handle=(CallTimeoutError,))
    assert (safe.invoke("?") if how == "invoke" else await safe.ainvoke("?")).text == "plan b"


def test_a_blocking_run_with_a_time_limit_calls_a_plain_evaluator_on_the_callers_thread(
    scripted: Any,
) -> None:
    threads: Any = []

    def evaluate(text: Any) -> Any:
        threads.append(threading.current_thread())
        return 1.0

    limit = LoopConfig(timeout_ms=60_000)
    LoopedRunnable(bound=scripted("hi"), evaluator=evaluate, config=limit).invoke("?")
    assert threads == [threading.current_thread()]


def test_an_evaluator_that_waits_is_still_ended_by_the_time_limit(scripted: Any) -> None:
    over = threading.Event()

    class Waiting:
        waits = True

        def evaluate(self, text: Any, context: Any = None) -> float:
            over.wait(120.0)
            return 1.0

    looped = LoopedRunnable(bound=scripted("hi"), evaluator=Waiting(), config=LoopConfig(timeout_ms=200))
    try:
        assert facts(looped.invoke("?"))["exit_reason"] == "timeout_ms"
    finally:
        over.set()


@pytest.mark.parametrize("call", ["invoke", "ainvoke"])
async def test_the_models_own_error_is_raised_as_without_the_loop(scripted: Any, call: Any) -> None:
    looped = LoopedRunnable(bound=scripted(ZeroDivisionError("boom")), evaluator=lambda text: 1.0)
    with pytest.raises(ZeroDivisionError, match="boom"):
        looped.invoke("?") if call == "invoke" else await looped.ainvoke("?")


def test_fallbacks_know_the_models_own_error(scripted: Any) -> None:
    looped = LoopedRunnable(bound=scripted(ZeroDivisionError("boom")), evaluator=lambda text: 1.0)
    safe = looped.with_fallbacks([scripted("plan b")], exceptions_to_handle=(ZeroDivisionError,))
    assert safe.invoke("?").text == "plan b"


def test_a_failure_after_a_draft_returns_the_draft(scripted: Any) -> None:
    looped = LoopedRunnable(bound=scripted("meh", ZeroDivisionError("boom")), evaluator=lambda text: 0.4)
    message = looped.invoke("?")
    assert message.text == "meh"
    assert facts(message)["exit_reason"] == "provider_error"


def test_a_broken_evaluator_is_no_score_of_zero_and_keeps_the_draft(scripted: Any) -> None:
    """T33."""

    def broken(text: Any) -> None:
        raise ZeroDivisionError("judge down")

    with pytest.raises(EvaluatorError, match="judge down") as caught:
        LoopedRunnable(bound=scripted("a draft"), evaluator=broken).invoke("?")
    assert caught.value.result.output.text == "a draft"


def test_an_evaluator_that_breaks_once_costs_nothing_but_that_score(scripted: Any) -> None:
    """T33."""
    verdicts = iter([0.4, ZeroDivisionError("judge down"), 0.9])

    def flaky(text: Any) -> Any:
        verdict = next(verdicts)
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    message = LoopedRunnable(bound=scripted("a", "b", "c"), evaluator=flaky).invoke("?")
    assert message.text == "c"
    assert facts(message)["trajectory"] == [0.4, None, 0.9]


def test_keywords_reach_the_model(scripted: Any) -> None:
    """T19."""
    model = scripted("yes")
    looped = LoopedRunnable(bound=PROMPT | model | StrOutputParser(), evaluator=lambda text: 1.0)
    looped.bind(stop=["END"]).invoke({"x": "?"}, temperature=0.3)
    assert model.seen_kwargs[0]["stop"] == ["END"]
    assert model.seen_kwargs[0]["temperature"] == 0.3


def test_a_text_model_is_looped_as_text(says_yes: Any) -> None:
    model = FakeListLLM(responses=["no", "yes"])
    looped = LoopedRunnable(bound=PromptTemplate.from_template("Say {x}.") | model, evaluator=says_yes)
    assert looped.invoke({"x": "it"}) == "yes"


def test_a_chain_without_a_visible_model_takes_feedback_under_its_key(says_yes: Any) -> None:
    seen: Any = []

    def agent(given: Any) -> Any:
        seen.append(given)
        return "no" if len(seen) == 1 else "yes"

    looped = LoopedRunnable(bound=RunnableLambda(agent), evaluator=says_yes, feedback_key="feedback")
    assert looped.invoke({"task": "Agree."}) == "yes"
    assert seen[0] == {"task": "Agree.", "feedback": ""}
    assert "the answer must hold the word yes" in seen[1]["feedback"]


def test_with_a_feedback_key_even_a_visible_model_is_asked_through_its_prompt(
    scripted: Any, says_yes: Any
) -> None:
    model = scripted("no", "yes")
    prompt = ChatPromptTemplate.from_template("{x} {feedback}")
    looped = LoopedRunnable(
        bound=prompt | model | StrOutputParser(), evaluator=says_yes, feedback_key="feedback"
    )
    assert looped.invoke({"x": "Agree."}) == "yes"
    assert [message.type for message in model.seen[1]] == ["human"]
    assert "must hold the word yes" in model.seen[1][0].text


def test_a_chain_that_takes_a_string_takes_feedback_in_it(says_yes: Any) -> None:
    seen: Any = []
    agent = RunnableLambda(lambda text: seen.append(text) or ("no" if len(seen) == 1 else "yes"))
    assert LoopedRunnable(bound=agent, evaluator=says_yes).invoke("Agree.") == "yes"
    assert seen[1].startswith("Agree.\n\nYour previous answer:\nno")


def test_a_model_without_an_evaluator_is_refused_when_it_is_built(scripted: Any) -> None:
    with pytest.raises(ValidationError, match="evaluator="):
        LoopedRunnable(bound=scripted("hi"))


def test_an_unknown_keyword_is_refused(scripted: Any) -> None:
    """T17."""
    misspelt: Any = {"treshold": 0.9}
    with pytest.raises(ValidationError, match="treshold"):
        LoopedRunnable(bound=scripted("hi"), evaluator=len, **misspelt)


def test_the_loops_settings_may_be_a_dict_and_are_checked(scripted: Any) -> None:
    assert (
        LoopedRunnable(
            bound=scripted("hi"), evaluator=bool, config={"max_iterations": 2}
        ).config.max_iterations
        == 2
    )
    with pytest.raises(ValidationError, match="max_iterations"):
        LoopedRunnable(bound=scripted("hi"), evaluator=bool, config={"max_iterations": 0})


def test_own_exit_conditions_are_asked(scripted: Any) -> None:
    from loopllm import ExitReason

    looped = LoopedRunnable(
        bound=scripted("a", "b", "c"),
        evaluator=lambda text: 0.3,
        exit_conditions=[lambda view: ExitReason("bored", "enough") if view.iteration >= 2 else None],
    )
    assert facts(looped.invoke("?"))["exit_reason"] == "bored"


def test_what_is_learned_is_kept_under_the_models_name(scripted: Any, says_yes: Any) -> None:
    priors = AdaptivePriors()
    looped = LoopedRunnable(
        bound=PROMPT | scripted("no", "yes", model_name="small") | StrOutputParser(),
        evaluator=says_yes,
        priors=priors,
        task_type="agree",
    )
    looped.invoke({"x": "Agree."})
    report = priors.report("agree", "small")
    assert (report.total_calls, report.model_calls) == (1, 2)


def test_a_nameless_model_cannot_learn_until_it_is_named(scripted: Any, says_yes: Any) -> None:
    priors = AdaptivePriors()
    with pytest.raises(MisuseError, match="model_id="):
        LoopedRunnable(bound=scripted("yes"), evaluator=says_yes, priors=priors).invoke("?")
    LoopedRunnable(bound=scripted("yes"), evaluator=says_yes, priors=priors, model_id="mine").invoke("?")
    assert priors.report("default", "mine").total_calls == 1


@pytest.mark.parametrize("call", ["refine", "arefine"])
async def test_the_whole_history_can_be_had_instead_of_the_answer(
    scripted: Any, says_yes: Any, call: Any
) -> None:
    looped = LoopedRunnable(bound=PROMPT | scripted("no", "yes") | StrOutputParser(), evaluator=says_yes)
    given: Any = {"x": "Agree."}
    result = looped.refine(given) if call == "refine" else await looped.arefine(given)
    assert [(record.output.value, record.score) for record in result.iterations] == [
        ("no", 0.2),
        ("yes", 1.0),
    ]
    assert result.metrics.usage.total_tokens == 30


async def test_an_async_evaluator_is_awaited(scripted: Any) -> None:
    async def evaluate(text: Any, context: Any = None) -> Any:
        await asyncio.sleep(0)
        return EvaluationResult(1.0 if text == "yes" else 0.1)

    assert (await LoopedRunnable(bound=scripted("no", "yes"), evaluator=evaluate).ainvoke("?")).text == "yes"


def test_two_drafts_never_share_a_message_id(scripted: Any) -> None:
    """T30."""
    same = [AIMessage("a", id="same"), AIMessage("b", id="same"), AIMessage("c", id="same")]
    looped = LoopedRunnable(
        bound=scripted(*same), evaluator=lambda text: 0.2, config=LoopConfig(max_iterations=3)
    )
    result = looped.refine([HumanMessage("?", id="question")])
    messages: Any = [record.output.message for record in result.iterations]
    ids = [message.id for message in messages]
    assert len({*ids, "question"}) == len(ids) + 1


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_an_answer_that_a_parser_out_of_sight_cannot_read_is_a_deficiency(
    scripted: Any, how: str
) -> None:
    model = scripted("junk", '{"n": 4}')
    answer = ChatPromptTemplate.from_template("{q} {feedback}") | model | JsonOutputParser()
    looped: Any = LoopedRunnable(
        bound=RunnablePassthrough.assign(answer=answer), evaluator=lambda said: 1.0, feedback_key="feedback"
    )
    given = {"q": "How many?"}
    said = looped.invoke(given) if how == "invoke" else await looped.ainvoke(given)
    assert said["answer"] == {"n": 4}
    assert "junk" in model.seen[1][0].text
    assert "could not be read" in model.seen[1][0].text


def test_when_no_answer_can_be_read_by_a_parser_out_of_sight_its_error_says_how_many(scripted: Any) -> None:
    answer = ChatPromptTemplate.from_template("{q} {feedback}") | scripted("junk") | JsonOutputParser()
    looped: Any = LoopedRunnable(
        bound=RunnablePassthrough.assign(answer=answer),
        evaluator=lambda said: 1.0,
        config=LoopConfig(max_iterations=2),
        feedback_key="feedback",
    )
    with pytest.raises(OutputParserException) as caught:
        looped.invoke({"q": "How many?"})
    assert "none of 2 drafts" in caught.value.__notes__[0]
