"""What the LLM calls inside a query engine used, as LlamaIndex's instrumentation tells it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from typing import Any
from unittest.mock import patch

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.base.response.schema import StreamingResponse
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index_instrumentation import get_dispatcher
from tests.loopllm_li.conftest import (
    ScriptedChat,
    ScriptedCompletions,
    ScriptedEngine,
    ShelfRetriever,
    first_number,
    looped_engine,
    story_of,
)

from loopllm import AdaptivePriors, EvaluationResult, LoopConfig
from loopllm.results import UNKNOWN_USAGE, Usage
from loopllm_li import LoopedQueryEngine
from loopllm_li.llm_calls import LLMCalls

QUERY = "why do tides rise"


def told(text: str, sent: int, written: int) -> CompletionResponse:
    """A reply that tells its tokens, as OpenAI's do."""
    return CompletionResponse(text=text, raw={"usage": {"prompt_tokens": sent, "completion_tokens": written}})


class Completions(ScriptedCompletions):
    """A completion model with LlamaIndex's callbacks; its `chat` goes through `complete`, so that both tell."""

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return super().complete(prompt, formatted, **kwargs)

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Iterator[CompletionResponse]:
        whole = super().complete(prompt, formatted, **kwargs)

        def pieces() -> Iterator[CompletionResponse]:
            yield CompletionResponse(text=whole.text[:3], delta=whole.text[:3])
            yield CompletionResponse(text=whole.text, delta=whole.text[3:], raw=whole.raw)

        return pieces()


class Chat(ScriptedChat):
    """A chat model with LlamaIndex's callbacks and async methods of its own."""

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return super().chat(messages, **kwargs)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return await super().achat(messages, **kwargs)


def chat_told(text: str, sent: int, written: int) -> ChatResponse:
    reply = told(text, sent, written)
    return ChatResponse(message=ChatMessage(role="assistant", content=text), raw=reply.raw)


def engine_of(llm: Any, *, streaming: bool = False) -> RetrieverQueryEngine:
    synthesizer = get_response_synthesizer(llm=llm, streaming=streaming)
    return RetrieverQueryEngine(ShelfRetriever({}, ["the moon pulls"]), response_synthesizer=synthesizer)


def tokens_of(response: Any) -> tuple[int, int]:
    """Tokens sent and written in a run."""
    usage = story_of(response)["usage"]
    return usage["prompt_tokens"], usage["completion_tokens"]


def test_the_tokens_of_every_answer_are_in_the_story_and_add_up() -> None:
    llm = Completions(replies=[told("0.1 a", 50, 5), told("0.2 b", 70, 6), told("0.9 c", 90, 7)])
    response = looped_engine(engine_of(llm)).query(QUERY)
    assert tokens_of(response) == (210, 18)
    assert [each["usage"]["prompt_tokens"] for each in story_of(response)["iterations"]] == [50, 70, 90]


async def test_awaited_queries_side_by_side_each_count_their_own() -> None:
    async def ask(number: int) -> tuple[int, int]:
        llm = Chat(replies=[chat_told("0.1 a", number, 1), chat_told("0.9 b", number, 1)])
        response = await looped_engine(engine_of(llm)).aquery(QUERY)
        return tokens_of(response)

    assert [*await asyncio.gather(ask(10), ask(100), ask(1000))] == [(20, 2), (200, 2), (2000, 2)]


def test_a_stream_that_is_read_to_its_end_is_counted() -> None:
    llm = Completions(replies=[told("0.1 a", 50, 5), told("0.9 c", 90, 7)])
    response = looped_engine(engine_of(llm, streaming=True)).query(QUERY)
    assert tokens_of(response) == (140, 12)


def test_a_first_answer_that_is_handed_out_while_it_is_written_is_counted_and_what_its_reader_does_is_not() -> (
    None
):
    llm = Completions(replies=[told("0.1 a", 50, 5), told("0.9 c", 90, 7)])
    other = Completions(replies=[told("0.5 x", 1000, 1000)])
    response: Any = looped_engine(engine_of(llm, streaming=True), streaming="optimistic").query(QUERY)
    for _ in response.response_gen:
        other.complete("meanwhile")
    assert tokens_of(response) == (140, 12)


def test_what_the_judge_asks_is_not_counted_as_the_answers() -> None:
    llm, judging = (
        Completions(replies=[told("0.9 a", 50, 5)]),
        Completions(replies=[told("fine", 1000, 1000)]),
    )

    def ask_a_model(text: str, context: Any = None) -> float:
        judging.complete(text)
        return 0.9

    assert tokens_of(looped_engine(engine_of(llm), evaluator=ask_a_model).query(QUERY)) == (50, 5)


def test_the_price_of_an_answer_is_learned_from_its_tokens() -> None:
    llm = Completions(name="m", replies=[told("0.1 a", 50, 5), told("0.9 c", 90, 7)])
    priors = AdaptivePriors()
    looped_engine(engine_of(llm), priors=priors).query(QUERY)
    assert priors.report("query", "m").call_costs["first"].tokens is not None


def test_a_budget_of_tokens_ends_the_run() -> None:
    llm = Completions(replies=[told("0.1 a", 50, 5)])
    config = LoopConfig(max_iterations=5, convergence_delta=0.0, token_budget=100)
    response = looped_engine(engine_of(llm), config=config).query(QUERY)
    assert (story_of(response)["exit_reason"], tokens_of(response)) == ("token_budget", (50, 5))


def test_a_model_that_tells_nothing_leaves_the_usage_unknown() -> None:
    assert story_of(looped_engine(engine_of(Completions(replies=["0.9 a"]))).query(QUERY))["usage"] == {}


def test_a_chat_that_goes_through_complete_is_counted_once_and_the_same_words_again_twice() -> None:
    llm, calls = Completions(replies=[told("same", 10, 2)]), LLMCalls()
    with calls.listening():
        for _ in range(2):
            llm.chat([ChatMessage(role="user", content="hi")])
    assert calls.usage == Usage(20, 4)


def test_nothing_is_heard_outside() -> None:
    llm, calls = Completions(replies=[told("a", 10, 2)]), LLMCalls()
    llm.complete("before")
    with calls.listening():
        pass
    llm.complete("after")
    assert calls.usage is UNKNOWN_USAGE


async def test_an_async_stream_is_heard_while_it_works_on_an_item_only() -> None:
    llm, calls = Completions(replies=[told("a", 10, 2)]), LLMCalls()

    async def stream() -> AsyncIterator[int]:
        for number in range(2):
            llm.complete("inside")
            yield number

    async for _ in calls.aheard(stream()):
        llm.complete("outside")
    assert calls.usage == Usage(20, 4)


def test_one_listener_is_attached_however_many_listen() -> None:
    def listeners() -> int:
        return sum(type(each).__name__ == "LLMCallListener" for each in get_dispatcher().event_handlers)

    for _ in range(3):
        with LLMCalls().listening():
            pass
    assert listeners() == 1


# -- calls inside calls -----------------------------------------------------------------------------------------


class Stripping(ScriptedCompletions):
    """Leaves the thoughts out of another LLM's answer and hands on what the server said."""

    inner: Any
    asks: int = 1
    hands_on_raw: bool = True

    def reply(self, prompt: str) -> CompletionResponse:
        inner = [self.inner.complete(prompt) for _ in range(self.asks)][-1]
        words = inner.text.replace("<think>", "")
        return CompletionResponse(text=words, raw=inner.raw if self.hands_on_raw else None)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return self.reply(prompt)

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return await asyncio.create_task(asyncio.to_thread(self.reply, prompt))


def thinking(*replies: Any) -> Completions:
    return Completions(replies=[*replies, told("<think>four", 10, 2)])


def usage_heard(work: Any) -> Usage:
    calls = LLMCalls()
    with calls.listening():
        work()
    return calls.usage


def test_an_llm_that_changes_the_words_of_another_one_is_counted_once() -> None:
    llm = Stripping(inner=thinking(), asks=2)
    assert usage_heard(lambda: llm.complete("two and two?")) == Usage(20, 4)
    assert usage_heard(lambda: llm.chat([ChatMessage("two and two?")])) == Usage(20, 4)


async def test_it_is_counted_once_when_it_asks_in_another_task_and_thread() -> None:
    calls = LLMCalls()
    with calls.listening():
        await Stripping(inner=thinking()).acomplete("two and two?")
    assert calls.usage == Usage(10, 2)


def test_a_stream_that_hands_on_what_another_call_said_is_counted_once() -> None:
    class Streaming(Stripping):
        @llm_completion_callback()
        def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
            def pieces() -> Iterator[CompletionResponse]:
                yield CompletionResponse(text="", delta="")
                yield self.reply(prompt)

            return pieces()

    assert usage_heard(lambda: list(Streaming(inner=thinking()).stream_complete("2 + 2?"))) == Usage(10, 2)


def test_an_outer_call_that_tells_nothing_does_not_hide_the_inner_one() -> None:
    llm = Stripping(inner=thinking(), hands_on_raw=False)
    assert usage_heard(lambda: llm.complete("two and two?")) == Usage(10, 2)


def test_a_call_that_failed_hides_neither_the_next_one_nor_the_one_around_it() -> None:
    class Patient(Stripping):
        def reply(self, prompt: str) -> CompletionResponse:
            with suppress(RuntimeError):
                self.inner.complete(prompt)
            return super().reply(prompt)

    llm = Patient(inner=thinking(RuntimeError("busy")))
    assert usage_heard(lambda: llm.complete("two and two?")) == Usage(10, 2)
    silent = Completions(replies=[RuntimeError("busy"), told("four", 10, 2)])

    def twice() -> None:
        with suppress(RuntimeError):
            silent.complete("two and two?")
        silent.complete("two and two?")

    assert usage_heard(twice) == Usage(10, 2)


def test_two_streams_side_by_side_and_a_call_between_are_all_counted() -> None:
    llm = Completions(replies=[told("one more", 10, 2), told("two more", 100, 2), told("three", 1000, 2)])

    def work() -> None:
        first, second = llm.stream_complete("1"), llm.stream_complete("2")
        for stream in (first, second):
            next(stream)
        llm.complete("3")
        for stream in (second, first):
            list(stream)

    assert usage_heard(work) == Usage(1110, 6)


# -- loops inside loops -----------------------------------------------------------------------------------------


def nested(answering: Completions, judging: Completions) -> LoopedQueryEngine:
    """A loop around a loop whose evaluator asks a model."""

    def ask_a_model(text: str, context: Any = None) -> EvaluationResult:
        judging.complete(text)
        return first_number(text)

    return looped_engine(looped_engine(engine_of(answering), evaluator=ask_a_model))


def test_a_loop_hides_neither_its_answers_nor_its_judge_from_the_loop_around_it() -> None:
    answering = Completions(replies=[told("0.1 a", 50, 5), told("0.9 b", 70, 6)])
    judging = Completions(replies=[told("fine", 1000, 10)])
    assert tokens_of(nested(answering, judging).query(QUERY)) == (2120, 31)


async def test_awaited_it_hides_nothing_either() -> None:
    llm = Chat(replies=[chat_told("0.1 a", 50, 5), chat_told("0.9 b", 70, 6)])
    assert tokens_of(await looped_engine(looped_engine(engine_of(llm))).aquery(QUERY)) == (120, 11)


def test_a_budget_of_tokens_is_kept_by_a_loop_around_a_loop() -> None:
    """A loop whose usage is unknown ends after its first round, since no budget can be kept then."""
    answering = Completions(replies=[told("0.1 a", 50, 5)])

    def ended(budget: int) -> tuple[str, int]:
        config = LoopConfig(max_iterations=2, convergence_delta=0.0, token_budget=budget)
        story = story_of(looped_engine(looped_engine(engine_of(answering)), config=config).query(QUERY))
        return story["exit_reason"], story["total_iterations"]

    assert (ended(100_000), ended(100)) == (("max_iterations", 2), ("token_budget", 1))


def test_what_it_listened_for_is_timed_without_the_reader() -> None:
    calls, clock = LLMCalls(), iter(range(100))

    with patch("loopllm_li.llm_calls.time.perf_counter", lambda: next(clock)):
        for _ in calls.heard([1, 2]):
            next(clock)  # a second of the reader's
    assert calls.latency_ms == 3000.0  # two items, and the end


async def test_a_blocking_stream_of_an_awaited_engine_is_counted_as_the_optimistic_first_answer() -> None:
    llm = Completions(replies=[told("0.9 a", 50, 5)])

    class Streaming(ScriptedEngine):
        async def _aquery(self, query_bundle: Any) -> StreamingResponse:
            pieces: Any = llm.stream_complete("why?")
            return StreamingResponse(piece.delta for piece in pieces)

    response = await looped_engine(Streaming([""]), streaming="optimistic").aquery(QUERY)
    assert tokens_of(response) == (50, 5)
