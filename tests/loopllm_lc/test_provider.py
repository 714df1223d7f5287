"""A LangChain model behind `LoopedLLM`: text in, text out."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI

from loopllm import AdaptivePriors, CallTimeoutError, LoopConfig, LoopedLLM, MisuseError, as_provider
from loopllm.providers.base import Provider
from loopllm.results import Usage
from loopllm_lc import LangChainProvider


def test_a_chat_model_given_to_the_loop_works_with_text(scripted: Any, says_yes: Any) -> None:
    result = LoopedLLM(scripted("no", "yes")).refine("Agree.", says_yes)
    assert result.output == "yes"
    assert result.metrics.usage == Usage(20, 10)


async def test_a_chat_model_given_to_the_loop_works_awaited(scripted: Any, says_yes: Any) -> None:
    result = await LoopedLLM(scripted("no", "yes")).arefine("Agree.", says_yes)
    assert result.output == "yes"


def test_the_loop_wraps_a_chat_model_by_itself(scripted: Any) -> None:
    provider = as_provider(scripted("hi", model_name="small"))
    assert isinstance(provider, LangChainProvider)
    assert isinstance(provider, Provider)
    assert provider.model_id == "small"


def test_a_string_and_a_conversation_reach_the_model_as_messages(scripted: Any) -> None:
    model = scripted("hi")
    provider = LangChainProvider(model)
    provider.complete("Hello")
    provider.complete([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}])
    assert model.seen == [[HumanMessage("Hello")], [SystemMessage("Be brief."), HumanMessage("Hello")]]


@pytest.mark.parametrize("prompt", [None, 3, [], {"role": "user"}, [{"role": "boss", "content": "?"}], [3]])
async def test_what_is_no_prompt_is_the_callers_mistake_and_no_failure_of_the_model(
    scripted: Any, says_yes: Any, prompt: Any
) -> None:
    model = scripted("yes")
    loop = LoopedLLM(model)
    with pytest.raises(MisuseError, match="prompt"):
        loop.refine(prompt, says_yes)
    with pytest.raises(MisuseError, match="prompt"):
        await loop.arefine(prompt, says_yes)
    assert model.seen == []


def test_langchains_own_messages_reach_the_model_as_they_are(scripted: Any) -> None:
    model = scripted("hi")
    asked: Any = [HumanMessage("x"), AIMessage("y", id="7"), HumanMessage("z")]
    LangChainProvider(model).complete(asked)
    assert model.seen == [asked]


def test_only_the_words_of_a_message_are_its_text(scripted: Any) -> None:
    blocks: Any = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "forty-two"},
    ]
    assert LangChainProvider(scripted(AIMessage(blocks))).complete("?").content == "forty-two"


def test_the_finish_reason_and_the_servers_model_name_are_kept(scripted: Any) -> None:
    message = AIMessage("cut", response_metadata={"finish_reason": "length", "model_name": "small-2026"})
    completion = LangChainProvider(scripted(message)).complete("?")
    assert (completion.finish_reason, completion.model) == ("length", "small-2026")


def test_a_model_asked_for_by_name_is_passed_on(scripted: Any) -> None:
    model = scripted("hi", model_name="small")
    LangChainProvider(model).complete("?", model="large")
    assert model.seen_kwargs[0]["model"] == "large"


def test_a_text_model_is_a_provider_too() -> None:
    assert LangChainProvider(FakeListLLM(responses=["plain"])).complete("?").content == "plain"


def test_a_blocking_call_is_given_up_at_its_deadline(scripted: Any) -> None:
    began = time.perf_counter()
    with pytest.raises(CallTimeoutError):
        LangChainProvider(scripted("late", delay=120.0)).complete("?", timeout=0.05)
    assert time.perf_counter() - began < 60.0


async def test_an_awaited_call_is_given_up_at_its_deadline(scripted: Any) -> None:
    began = time.perf_counter()
    with pytest.raises(CallTimeoutError):
        await LangChainProvider(scripted("late", delay=120.0)).acomplete("?", timeout=0.05)
    assert time.perf_counter() - began < 60.0


async def test_awaited_calls_do_not_block_each_other(scripted: Any) -> None:
    provider = LangChainProvider(scripted("hi", barrier=asyncio.Barrier(20)))
    replies = await asyncio.gather(*(provider.acomplete("?") for _ in range(20)))
    assert [reply.content for reply in replies] == ["hi"] * 20


def test_a_stream_adds_up_to_the_reply(scripted: Any) -> None:
    chunks = list(LangChainProvider(scripted("one two three")).stream("?"))
    assert "".join(chunk.text for chunk in chunks) == "one two three"
    assert sum((chunk.usage for chunk in chunks), Usage()) == Usage(10, 5)


async def test_an_awaited_stream_adds_up_to_the_reply(scripted: Any) -> None:
    provider = LangChainProvider(scripted("one two three"))
    assert "".join([chunk.text async for chunk in provider.astream("?", timeout=5)]) == "one two three"


async def test_an_awaited_stream_is_given_up_at_its_deadline(scripted: Any) -> None:
    with pytest.raises(CallTimeoutError):
        async for _ in LangChainProvider(scripted("late", delay=120.0)).astream("?", timeout=0.05):
            pass


def test_calls_made_inside_a_chain_are_its_children_even_in_the_deadlines_thread(
    scripted: Any, recorder: Any, says_yes: Any
) -> None:
    loop = LoopedLLM(scripted("no", "yes"), LoopConfig(timeout_ms=5000))
    chain = RunnableLambda(lambda task: loop.refine(task, says_yes).output).with_config(run_name="outer")
    chain.invoke("Agree.", {"callbacks": [recorder]})
    models = [run for run in recorder.runs.values() if run["kind"] == "model"]
    assert [recorder.parent_name(run) for run in models] == ["outer", "outer"]


def test_the_models_own_error_passes_through(scripted: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        LangChainProvider(scripted(ZeroDivisionError("boom"))).complete("?")


def test_a_reply_that_the_client_withholds_since_it_was_cut_off_is_a_reply(
    scripted: Any, cut_off: Any
) -> None:
    completion = LangChainProvider(scripted(cut_off("Al"))).complete("Who?")
    assert completion.content == "Al"
    assert completion.finish_reason == "length"
    assert completion.usage.total_tokens == 98


async def test_a_withheld_reply_is_a_draft_of_an_awaited_loop(
    scripted: Any, cut_off: Any, says_yes: Any
) -> None:
    result = await LoopedLLM(scripted(cut_off("ye"), "yes")).arefine("Agree.", says_yes)
    assert [record.output for record in result.iterations] == ["ye", "yes"]


def test_a_key_is_in_no_repr() -> None:
    provider = LangChainProvider(ChatOpenAI(model="gpt-4o", api_key="sk-very-secret"))
    assert "sk-very-secret" not in repr(provider) + str(vars(provider))
    assert "gpt-4o" in repr(provider)


def test_something_else_is_refused_by_name() -> None:
    with pytest.raises(MisuseError, match="got str"):
        LangChainProvider("gpt-4o")  # type: ignore[arg-type]  # the mistake under test


def test_a_nameless_model_cannot_learn_until_it_is_named(scripted: Any, says_yes: Any) -> None:
    priors = AdaptivePriors()
    with pytest.raises(MisuseError, match="model"):
        LoopedLLM(scripted("yes"), priors=priors).refine("Agree.", says_yes)
    LoopedLLM(LangChainProvider(scripted("yes"), model_id="mine"), priors=priors).refine("Agree.", says_yes)
    assert priors.report("default", "mine").total_calls == 1
