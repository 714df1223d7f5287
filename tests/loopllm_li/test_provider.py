"""`LlamaIndexProvider`: any LlamaIndex LLM as a provider of the engine."""

import asyncio
import threading
import time
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, cast

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ImageBlock,
    TextBlock,
)
from llama_index.core.llms import MockLLM
from tests.loopllm_li.conftest import ScriptedChat, ScriptedCompletions, openai_like, ticks_while

from loopllm import LoopedLLM, MisuseError, as_provider
from loopllm.errors import CallTimeoutError
from loopllm.results import Usage
from loopllm_li import LlamaIndexProvider


def test_a_completion_model_is_asked_to_complete_and_its_text_comes_back() -> None:
    llm = ScriptedCompletions(replies=["four"])
    reply = LlamaIndexProvider(llm).complete("two and two?")
    assert (reply.content, llm.prompts) == ("four", ["two and two?"])


def test_a_chat_model_is_sent_messages() -> None:
    llm = ScriptedChat(replies=["four"])
    assert LlamaIndexProvider(llm).complete("two and two?").content == "four"
    assert [(message.role.value, message.content) for message in llm.seen[0]] == [("user", "two and two?")]


def test_messages_in_the_openai_form_keep_roles_and_images() -> None:
    llm = ScriptedChat(replies=["a cat"])
    image = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    question = {"role": "user", "content": [{"type": "text", "text": "what?"}, image]}
    messages: list[dict[str, Any]] = [{"role": "assistant", "content": "hello"}, question]
    LlamaIndexProvider(llm).complete(messages)
    first, second = llm.seen[0]
    assert (first.role.value, first.content) == ("assistant", "hello")
    assert [type(block) for block in second.blocks] == [TextBlock, ImageBlock]


def test_llama_indexs_own_messages_are_sent_as_they_are() -> None:
    llm = ScriptedChat(replies=["a cat"])
    message = ChatMessage(role="user", blocks=[ImageBlock(url="https://example.org/cat.png")])
    LlamaIndexProvider(llm).complete([message])
    assert llm.seen[0] == [message]


@pytest.mark.parametrize(
    "prompt",
    [
        [],
        None,
        3,
        ["hello"],
        [{"content": "no role"}],
        [{"role": "alien", "content": "x"}],
        [{"role": "user", "content": [{"type": "sound"}]}],
    ],
)
def test_what_is_no_prompt_is_refused_by_name(prompt: Any) -> None:
    with pytest.raises(MisuseError):
        LlamaIndexProvider(ScriptedChat(replies=["x"])).complete(prompt)


def test_the_system_prompt_of_the_llm_is_sent_although_chat_ignores_it() -> None:
    llm = ScriptedChat(replies=["yes"], system_prompt="Be brief.")
    LlamaIndexProvider(llm).complete("hello")
    assert [message.content for message in llm.seen[0]] == ["Be brief.", "hello"]


def test_a_conversation_with_its_own_system_message_keeps_that_one() -> None:
    llm = ScriptedChat(replies=["yes"], system_prompt="Be brief.")
    LlamaIndexProvider(llm).complete(
        [{"role": "system", "content": "Be long."}, {"role": "user", "content": "hello"}]
    )
    assert [message.content for message in llm.seen[0]] == ["Be long.", "hello"]


def test_a_completion_model_gets_its_system_prompt_and_templates_as_predict_would_give_them() -> None:
    llm = ScriptedCompletions(
        replies=["yes"], system_prompt="Be brief.", completion_to_prompt=lambda text: f"<s>{text}</s>"
    )
    LlamaIndexProvider(llm).complete("hello")
    assert llm.prompts == ["Be brief.\n\n<s>hello</s>"]


def test_a_completion_model_gets_a_conversation_through_its_own_template() -> None:
    llm = ScriptedCompletions(
        replies=["yes"],
        messages_to_prompt=lambda messages: "|".join(str(message.content) for message in messages),
    )
    LlamaIndexProvider(llm).complete(
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    )
    assert llm.prompts == ["a|b"]


USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


@pytest.mark.parametrize(
    "where",
    [
        {"additional_kwargs": USAGE},
        {"raw": {"usage": USAGE}},
        {"raw": SimpleNamespace(usage=SimpleNamespace(**USAGE))},
        {"raw": {"usage": {"input_tokens": 7, "output_tokens": 2}}},
        {"raw": {"usage_metadata": {"prompt_token_count": 7, "candidates_token_count": 2}}},
        {"raw": {"prompt_eval_count": 7, "eval_count": 2}},
        {"message": ChatMessage(role="assistant", content="hi", additional_kwargs=USAGE)},
    ],
)
def test_usage_is_found_wherever_an_integration_hides_it(where: Any) -> None:
    reply = ChatResponse(**{"message": ChatMessage(role="assistant", content="hi"), **where})
    assert LlamaIndexProvider(ScriptedChat(replies=[reply])).complete("?").usage == Usage(7, 2)


def test_custom_llm_moves_usage_to_the_message_and_it_is_found_there() -> None:
    class Chatty(ScriptedCompletions):
        @property
        def metadata(self) -> Any:
            return super().metadata.model_copy(update={"is_chat_model": True})

    llm = Chatty(replies=[CompletionResponse(text="hi", additional_kwargs=USAGE)])
    assert LlamaIndexProvider(llm).complete("?").usage == Usage(7, 2)


@pytest.mark.parametrize(
    "raw", [None, "some text", {}, {"usage": None}, object(), {"usage": {"prompt_tokens": "many"}}]
)
def test_usage_that_nobody_stated_is_unknown_and_not_zero_whatever_raw_is(raw: Any) -> None:
    """Trap 7: `raw` may be anything."""
    reply = CompletionResponse(text="hi", raw=raw)
    assert LlamaIndexProvider(ScriptedCompletions(replies=[reply])).complete("?").usage == Usage(None, None)


@pytest.mark.parametrize(
    "raw",
    [
        {"choices": [{"finish_reason": "length"}]},
        SimpleNamespace(choices=[SimpleNamespace(finish_reason="length")]),
        {"stop_reason": "length"},
        {"done_reason": "length"},
    ],
)
def test_the_finish_reason_is_found_in_every_shape_of_raw(raw: Any) -> None:
    assert (
        LlamaIndexProvider(ScriptedCompletions(replies=[CompletionResponse(text="hi", raw=raw)]))
        .complete("?")
        .finish_reason
        == "length"
    )


def test_a_reply_that_only_calls_a_tool_is_the_empty_text() -> None:
    reply = ChatResponse(message=ChatMessage(role="assistant", content=None))
    assert LlamaIndexProvider(ScriptedChat(replies=[reply])).complete("?").content == ""


def test_awaiting_uses_the_async_method_of_the_llm() -> None:
    llm = ScriptedChat(replies=["yes"])
    assert asyncio.run(LlamaIndexProvider(llm).acomplete("hello")).content == "yes"
    assert llm.blocking_calls == 0


async def test_the_pretended_async_of_a_custom_llm_does_not_block_the_event_loop() -> None:
    """Trap 24: CustomLLM.acomplete runs the blocking method on the loop."""

    class Slow(ScriptedCompletions):
        def complete(self, prompt: Any, formatted: Any = False, **kwargs: Any) -> Any:
            time.sleep(0.5)
            return super().complete(prompt)

    provider = LlamaIndexProvider(Slow(replies=["yes"]))
    began = time.perf_counter()
    replies, ticks = await ticks_while(asyncio.gather(*(provider.acomplete("hello") for _ in range(5))))
    assert [reply.content for reply in replies] == ["yes"] * 5
    assert time.perf_counter() - began < 2.0
    assert ticks >= 5


async def test_a_custom_llm_with_an_async_method_of_its_own_is_awaited() -> None:
    class Awaited(ScriptedCompletions):
        async def acomplete(self, prompt: Any, formatted: Any = False, **kwargs: Any) -> Any:
            return CompletionResponse(text="awaited")

    assert (await LlamaIndexProvider(Awaited(replies=["blocked"])).acomplete("hello")).content == "awaited"


user: ContextVar[str] = ContextVar("user", default="nobody")


def test_a_deadline_interrupts_a_blocking_call_and_the_call_sees_the_callers_context() -> None:
    """Trap 16: context variables must reach a call that runs in a thread."""
    release, seen = threading.Event(), []

    class Hanging(ScriptedCompletions):
        def complete(self, prompt: Any, formatted: Any = False, **kwargs: Any) -> Any:
            seen.append(user.get())
            release.wait(60)
            return super().complete(prompt)

    token = user.set("alice")
    began = time.perf_counter()
    try:
        with pytest.raises(CallTimeoutError):
            LlamaIndexProvider(Hanging(replies=["late"])).complete("hello", timeout=0.05)
    finally:
        release.set()
        user.reset(token)
    assert time.perf_counter() - began < 30.0
    assert seen == ["alice"]


async def test_a_deadline_interrupts_an_awaited_call() -> None:
    class Hanging(ScriptedChat):
        async def achat(self, messages: Any, **kwargs: Any) -> Any:
            await asyncio.Event().wait()

    with pytest.raises(CallTimeoutError):
        await LlamaIndexProvider(Hanging(replies=["never"])).acomplete("hello", timeout=0.05)


def test_another_model_cannot_be_asked_for_and_the_message_says_what_to_do() -> None:
    provider = LlamaIndexProvider(ScriptedCompletions(replies=["yes"], name="small"))
    assert provider.complete("hello", "small").content == "yes"
    with pytest.raises(MisuseError, match="model_id="):
        provider.complete("hello", "large")


def test_an_llm_that_states_no_model_may_be_given_a_name_by_the_caller() -> None:
    provider = LlamaIndexProvider(MockLLM())
    assert provider.model_id is None
    assert provider.complete("hello", "my-model").content == "hello"


def test_what_is_no_llm_is_refused() -> None:
    with pytest.raises(MisuseError, match="LlamaIndex LLM"):
        LlamaIndexProvider(cast("Any", "gpt-4o"))


def test_the_loop_takes_a_llama_index_llm_as_it_is() -> None:
    llm = ScriptedCompletions(replies=["no", "yes"])
    assert LlamaIndexProvider in type(as_provider(llm)).__mro__
    result = LoopedLLM(llm).refine("Agree.", lambda output: output == "yes")
    assert (result.output, result.metrics.total_iterations) == ("yes", 2)


def test_no_key_of_the_llm_is_in_the_repr() -> None:
    llm = openai_like(api_key="sk-secret")
    assert "sk-secret" not in repr(LlamaIndexProvider(llm))


def test_a_cost_that_only_the_raw_usage_states_is_told_with_the_tokens() -> None:
    """OpenRouter's form: LlamaIndex's OpenAI client copies the tokens beside it, and not the cost."""
    tokens = {"prompt_tokens": 10, "completion_tokens": 5}
    raw = SimpleNamespace(usage=SimpleNamespace(**tokens, cost=0.01))
    llm = ScriptedCompletions(replies=[CompletionResponse(text="four", additional_kwargs=tokens, raw=raw)])
    assert LlamaIndexProvider(llm).complete("two and two?").usage == Usage(10, 5, 0.01)


def test_a_cost_without_tokens_beside_the_tokens_of_another_place_is_found() -> None:
    raw = {"cost": 0.02, "usage": {"input_tokens": 10, "output_tokens": 5, "cost": "dear"}}
    llm = ScriptedCompletions(replies=[CompletionResponse(text="four", raw=raw)])
    assert LlamaIndexProvider(llm).complete("two and two?").usage == Usage(10, 5, 0.02)


def test_tool_calls_their_answers_and_the_detail_of_images_are_sent_from_the_openai_form() -> None:
    llm = ScriptedChat(replies=["24"])
    picture = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png", "detail": "low"}}
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [picture]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "24 degrees"},
        {"role": "assistant", "content": "24", "tool_calls": None, "refusal": None, "annotations": []},
    ]
    LlamaIndexProvider(llm).complete(messages)
    asked, called, answered, dumped = llm.seen[0]
    assert cast(ImageBlock, asked.blocks[0]).detail == "low"
    assert called.additional_kwargs == {"tool_calls": [call]}
    assert answered.additional_kwargs == {"tool_call_id": "c1"}
    assert dumped.additional_kwargs == {}
