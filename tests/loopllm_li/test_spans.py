"""What LlamaIndex's instrumentation and its legacy callbacks see of a run."""

from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse
from llama_index.core.base.response.schema import StreamingResponse
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.llms.llm import ToolSelection
from llama_index_instrumentation import get_dispatcher
from tests.loopllm_li.conftest import (
    AwaitableShelf,
    ScriptedCaller,
    ScriptedChat,
    ScriptedCompletions,
    ScriptedEngine,
    ShelfRetriever,
)

from loopllm import LoopConfig
from loopllm_li import (
    LoopedFunctionCallingLLM,
    LoopedLlamaLLM,
    LoopedQueryEngine,
    LoopedQueryTransform,
    LoopedRetriever,
)
from loopllm_li.spans import LoopFinishedEvent, LoopIteration, LoopIterationEvent

QUERY = "why does the sea rise"
GOOD = "tides moon gravity"
SHELF = {QUERY: ["sea salt"], GOOD: ["tides"]}


def judge(nodes: Any, context: Any) -> float:
    return 0.9 if nodes[0].node_id == "tides" else 0.3


class Spans(BaseSpanHandler[Any]):
    """Remembers every span: name, parent, tags, and what it returned."""

    seen: dict[str, dict[str, Any]] = {}  # noqa: RUF012 - a pydantic field, copied for each instance

    def new_span(
        self,
        id_: str,
        bound_args: Any,
        instance: Any = None,
        parent_span_id: Any = None,
        tags: Any = None,
        **kwargs: Any,
    ) -> None:
        self.seen[id_] = {
            "name": id_.split("-", maxsplit=1)[0],
            "parent": parent_span_id,
            "tags": dict(tags or {}),
            "result": None,
        }

    def prepare_to_exit_span(
        self, id_: str, bound_args: Any, instance: Any = None, result: Any = None, **kwargs: Any
    ) -> None:
        self.seen[id_]["result"] = result

    def prepare_to_drop_span(
        self, id_: str, bound_args: Any, instance: Any = None, err: Any = None, **kwargs: Any
    ) -> None:
        self.seen[id_]["error"] = err

    def named(self, name: str) -> list[dict[str, Any]]:
        return [span for span in self.seen.values() if span["name"] == name]

    def above(self, span: dict[str, Any]) -> list[str]:
        names = []
        while span["parent"] in self.seen:
            span = self.seen[span["parent"]]
            names.append(span["name"])
        return names


class Events(BaseEventHandler):
    seen: list[Any] = []  # noqa: RUF012 - a pydantic field, copied for each instance

    @classmethod
    def class_name(cls) -> str:
        return "Events"

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.seen.append(event)


@pytest.fixture
def spans() -> Iterator[Spans]:
    handler, root = Spans(), get_dispatcher()
    root.add_span_handler(handler)
    yield handler
    root.span_handlers.remove(handler)


@pytest.fixture
def events() -> Iterator[Events]:
    handler, root = Events(), get_dispatcher()
    root.add_event_handler(handler)
    yield handler
    root.event_handlers.remove(handler)


def test_each_round_is_a_span_below_the_transform_and_the_retriever_nests_in_it(spans: Spans) -> None:
    """Trap 16: also with a deadline, when the retriever runs in a thread."""
    LoopedQueryTransform(
        llm=ScriptedCompletions(replies=[GOOD]), retriever=ShelfRetriever(SHELF), evaluator=judge
    ).run(QUERY)
    rounds = spans.named("SpannedRounds._round")
    assert [span["tags"]["loopllm.iteration"] for span in rounds] == [1, 2]
    assert all(spans.above(span) == ["LoopedQueryTransform._run"] for span in rounds)
    retrieved = spans.named("BaseRetriever.retrieve") or spans.named("ShelfRetriever.retrieve")
    assert [spans.above(span)[0] for span in retrieved] == ["SpannedRounds._round"] * 2
    assert [span["tags"]["loopllm.iteration"] for span in retrieved] == [1, 2]


def test_the_data_of_a_scored_round_is_the_output_of_a_span(spans: Spans) -> None:
    LoopedQueryTransform(
        llm=ScriptedCompletions(replies=[GOOD]), retriever=ShelfRetriever(SHELF), evaluator=judge
    ).run(QUERY)
    results = [span["result"] for span in spans.named("scored_iteration")]
    assert [type(result) for result in results] == [LoopIteration] * 2
    assert [(result.iteration, result.score, result.best_score) for result in results] == [
        (1, 0.3, 0.3),
        (2, 0.9, 0.9),
    ]


async def test_awaited_rounds_are_spans_in_the_same_way(spans: Spans) -> None:
    retriever = LoopedRetriever(
        llm=ScriptedChat(replies=[GOOD]), retriever=AwaitableShelf(SHELF), evaluator=judge
    )
    await retriever.aretrieve(QUERY)
    rounds = spans.named("SpannedRounds._around")
    assert [span["tags"]["loopllm.iteration"] for span in rounds] == [1, 2]
    assert all("LoopedRetriever.aretrieve" in spans.above(span) for span in rounds)


def test_an_evaluation_is_a_span_of_its_round(spans: Spans) -> None:
    engine = LoopedQueryEngine(
        query_engine=ScriptedEngine(["a", "b"]), evaluator=lambda text: float(text == "b")
    )
    engine.query(QUERY)
    judged = spans.named("SpannedJudge._evaluation")
    assert [span["tags"]["loopllm.iteration"] for span in judged] == [1, 2]
    assert [span["result"].score for span in judged] == [0.0, 1.0]


def test_a_stream_has_one_span_and_its_rounds_are_below_it(spans: Spans) -> None:
    """Trap 17."""
    llm = LoopedLlamaLLM(
        llm=ScriptedCompletions(replies=["no", "yes"]), evaluator=lambda text: float(text == "yes")
    )
    list(llm.stream_complete("Agree."))
    assert [spans.above(span) for span in spans.named("SpannedRounds._round")] == [
        ["LoopedLlamaLLM.stream_complete"]
    ] * 2


def test_the_rounds_after_an_optimistic_stream_are_below_one_span(spans: Spans) -> None:
    """Trap 17: they run when the stream is read, after the span of the query has ended."""
    script = [StreamingResponse(iter(["a"])), StreamingResponse(iter(["b"]))]  # type: ignore[arg-type]  # any iterator
    engine = LoopedQueryEngine(
        query_engine=ScriptedEngine(script), evaluator=lambda text: float(text == "b"), streaming="optimistic"
    )
    assert "".join(engine.query(QUERY).response_gen).endswith("b")  # type: ignore[arg-type, union-attr]
    assert [spans.above(span)[0] for span in spans.named("SpannedRounds._round")] == [
        "LoopedQueryEngine._looped"
    ] * 2


def test_tags_of_the_caller_stay(spans: Spans) -> None:
    from llama_index_instrumentation.dispatcher import instrument_tags

    with instrument_tags({"tenant": "blue"}):
        LoopedQueryTransform(
            llm=ScriptedCompletions(replies=[GOOD]), retriever=ShelfRetriever(SHELF), evaluator=judge
        ).run(QUERY)
    assert {span["tags"]["tenant"] for span in spans.named("SpannedRounds._round")} == {"blue"}


def test_a_failing_round_is_a_dropped_span(spans: Spans) -> None:
    """Spans never swallow an error."""
    config = LoopConfig(max_retries=0)
    LoopedQueryTransform(
        llm=ScriptedCompletions(replies=[RuntimeError("down")]),
        retriever=ShelfRetriever(SHELF),
        evaluator=judge,
        config=config,
    ).run(QUERY)
    assert str(spans.named("SpannedRounds._round")[1]["error"]) == "down"


def test_events_name_themselves_and_carry_no_span_id_for_tracers_to_stumble_over(events: Events) -> None:
    """Trap 18."""
    LoopedQueryTransform(
        llm=ScriptedCompletions(replies=[GOOD]), retriever=ShelfRetriever(SHELF), evaluator=judge
    ).run(QUERY)
    scored = [event for event in events.seen if isinstance(event, LoopIterationEvent)]
    finished = [event for event in events.seen if isinstance(event, LoopFinishedEvent)]
    assert [(event.iteration, event.score, event.span_id) for event in scored] == [
        (1, 0.3, None),
        (2, 0.9, None),
    ]
    assert [event.exit_reason for event in finished] == ["quality_threshold"]
    assert scored[0].model_dump()["class_name"] == "LoopIterationEvent"


def test_tokens_are_counted_once_for_each_call_of_the_llm() -> None:
    """Trap 8: no event is doubled."""

    class Decorated(ScriptedCompletions):
        @llm_completion_callback()
        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
            return super().complete(prompt, formatted, **kwargs)

    counter = TokenCountingHandler(tokenizer=str.split)
    usage = {"usage": {"prompt_tokens": 11, "completion_tokens": 3}}
    llm = Decorated(
        replies=[CompletionResponse(text="worse", raw=usage), CompletionResponse(text=GOOD, raw=usage)],
        callback_manager=CallbackManager([counter]),
    )
    bundle = LoopedQueryTransform(llm=llm, retriever=ShelfRetriever(SHELF, ["sea"]), evaluator=judge).run(
        QUERY
    )
    assert bundle.loop.improved
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (22, 6)
    assert bundle.loop.metrics is not None
    assert bundle.loop.metrics.usage.prompt_tokens == 22


async def test_a_turn_that_calls_a_tool_is_no_error_in_a_trace(spans: Spans) -> None:
    call = ToolSelection(tool_id="c1", tool_name="tides", tool_kwargs={})

    def looped(*replies: Any) -> LoopedFunctionCallingLLM:
        return LoopedFunctionCallingLLM(llm=ScriptedCaller(replies=list(replies)), evaluator=lambda text: 0.1)

    looped(call).chat([ChatMessage("when?")])
    await looped("no", call).achat([ChatMessage("when?")])
    rounds = spans.named("SpannedRounds._round") + spans.named("SpannedRounds._around")
    assert [span.get("error") for span in rounds] == [None] * 3
