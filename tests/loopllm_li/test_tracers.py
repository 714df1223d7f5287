"""What real tracers show of a loop: OpenInference (Phoenix, Arize, Langfuse) and LlamaIndex's own OpenTelemetry integration."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.schema import TextNode
from llama_index.observability.otel import LlamaIndexOpenTelemetry
from llama_index_instrumentation import get_dispatcher
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_tracer_provider
from tests.loopllm_li.conftest import (
    AwaitableShelf,
    ScriptedChat,
    ScriptedCompletions,
    ScriptedEngine,
    ShelfRetriever,
)

from loopllm_li import (
    LoopedExtractor,
    LoopedLlamaLLM,
    LoopedQueryEngine,
    LoopedQueryTransform,
    LoopedRetriever,
    LoopedWorkflow,
)

QUERY = "why does the sea rise"
GOOD = "tides moon gravity"
SHELF = {QUERY: ["sea salt"], GOOD: ["tides"]}


def judge(nodes: Any, context: Any) -> float:
    return 0.9 if nodes[0].node_id == "tides" else 0.3


def is_b(text: str) -> float:
    return float(text == "b")


class Trace:
    """The finished spans, read as a tree."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def above(self, span: ReadableSpan) -> list[str]:
        by_id = {each.context.span_id: each for each in self.spans if each.context}
        names = []
        while span.parent is not None and span.parent.span_id in by_id:
            span = by_id[span.parent.span_id]
            names.append(span.name)
        return names


@pytest.fixture
def openinference(caplog: pytest.LogCaptureFixture) -> Iterator[Trace]:
    trace, provider = Trace(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(trace.exporter))
    instrumentor = LlamaIndexInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    with caplog.at_level(logging.WARNING):
        yield trace
    instrumentor.uninstrument()


@pytest.fixture(scope="module")
def integration() -> tuple[Trace, list[Any], list[Any]]:
    """LlamaIndex's integration, registered once: a process has one tracer provider, which others may have set."""
    trace, root, provider = Trace(), get_dispatcher(), get_tracer_provider()
    before = (list(root.span_handlers), list(root.event_handlers))
    LlamaIndexOpenTelemetry(
        span_exporter=trace.exporter,
        span_processor="simple",
        tracer_provider=provider if isinstance(provider, TracerProvider) else None,
    ).start_registering()
    added = [each for each in root.span_handlers if each not in before[0]]
    heard = [each for each in root.event_handlers if each not in before[1]]
    root.span_handlers[:], root.event_handlers[:] = before
    return trace, added, heard


@pytest.fixture
def opentelemetry(
    integration: tuple[Trace, list[Any], list[Any]], caplog: pytest.LogCaptureFixture
) -> Iterator[Trace]:
    trace, span_handlers, event_handlers = integration
    root = get_dispatcher()
    before = (list(root.span_handlers), list(root.event_handlers))
    root.span_handlers.extend(span_handlers)
    root.event_handlers.extend(event_handlers)
    trace.exporter.clear()
    with caplog.at_level(logging.WARNING):
        yield trace
    root.span_handlers[:], root.event_handlers[:] = before


def transform() -> LoopedQueryTransform:
    return LoopedQueryTransform(
        llm=ScriptedCompletions(replies=[GOOD]), retriever=ShelfRetriever(SHELF), evaluator=judge
    )


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# -- OpenInference ----------------------------------------------------------------------------------------------


def test_openinference_shows_each_round_below_the_transform_and_the_retrieval_below_the_round(
    openinference: Trace, caplog: pytest.LogCaptureFixture
) -> None:
    transform().run(QUERY)
    rounds = openinference.named("SpannedRounds._round")
    assert [openinference.above(span) for span in rounds] == [["LoopedQueryTransform._run"]] * 2
    retrieved = openinference.named("ShelfRetriever.retrieve") or openinference.named(
        "BaseRetriever.retrieve"
    )
    assert [openinference.above(span)[0] for span in retrieved] == ["SpannedRounds._round"] * 2
    assert warnings_in(caplog) == []


def test_openinference_shows_number_score_and_faults_of_a_round_as_the_output_of_its_span(
    openinference: Trace,
) -> None:
    transform().run(QUERY)
    shown = [
        json.loads(str((span.attributes or {})["output.value"]))
        for span in openinference.named("scored_iteration")
    ]
    assert [(each["iteration"], each["score"], each["best_score"]) for each in shown] == [
        (1, 0.3, 0.3),
        (2, 0.9, 0.9),
    ]


async def test_openinference_follows_awaited_loops(
    openinference: Trace, caplog: pytest.LogCaptureFixture
) -> None:
    retriever = LoopedRetriever(
        llm=ScriptedChat(replies=[GOOD]), retriever=AwaitableShelf(SHELF), evaluator=judge
    )
    await retriever.aretrieve(QUERY)
    rounds = openinference.named("SpannedRounds._around")
    assert len(rounds) == 2
    assert all("LoopedRetriever.aretrieve" in openinference.above(span) for span in rounds)
    assert warnings_in(caplog) == []


async def test_no_part_of_the_package_makes_openinference_warn(
    openinference: Trace, caplog: pytest.LogCaptureFixture
) -> None:
    """Trap 18: an event that it does not know would be a warning each."""
    LoopedQueryEngine(query_engine=ScriptedEngine(["a", "b"]), evaluator=is_b).query(QUERY)
    await LoopedQueryEngine(query_engine=ScriptedEngine(["a", "b"]), evaluator=is_b).aquery(QUERY)
    list(LoopedLlamaLLM(llm=ScriptedCompletions(replies=["a", "b"]), evaluator=is_b).stream_complete("x"))
    await LoopedWorkflow(llm=ScriptedChat(replies=["a", "b"]), evaluator=is_b).run(prompt="x")
    await LoopedExtractor(llm=ScriptedChat(replies=["a", "b"]), evaluator=is_b).aextract([TextNode(text="x")])
    assert len(openinference.named("scored_iteration")) == 10
    assert warnings_in(caplog) == []


def test_the_rounds_of_a_streaming_call_hang_below_it_and_are_no_orphans(openinference: Trace) -> None:
    """Trap 17: a span around a generator would end before its first item.

    OpenInference exports the span of the stream itself a minute after the last token it heard of.
    """
    llm = LoopedLlamaLLM(llm=ScriptedCompletions(replies=["a", "b"]), evaluator=is_b)
    list(llm.stream_complete("x"))
    parents = {span.parent and span.parent.span_id for span in openinference.named("SpannedRounds._round")}
    assert len(parents) == 1
    assert None not in parents


# -- LlamaIndex's OpenTelemetry integration ---------------------------------------------------------------------


def test_opentelemetry_shows_the_number_of_the_round_on_every_span_inside_it(
    opentelemetry: Trace, caplog: pytest.LogCaptureFixture
) -> None:
    transform().run(QUERY)
    retrieved = opentelemetry.named("ShelfRetriever.retrieve") or opentelemetry.named(
        "BaseRetriever.retrieve"
    )
    for spans in (opentelemetry.named("SpannedRounds._round"), retrieved):
        assert [(span.attributes or {})["loopllm.iteration"] for span in spans] == [1, 2]
    assert warnings_in(caplog) == []


def test_opentelemetry_shows_scores_as_events_of_the_span_that_was_open(opentelemetry: Trace) -> None:
    transform().run(QUERY)
    (span,) = opentelemetry.named("LoopedQueryTransform._run")
    told = [(event.name, dict(event.attributes or {})) for event in span.events]
    assert [
        (attributes["iteration"], attributes["score"])
        for name, attributes in told
        if name == "LoopIterationEvent"
    ] == [
        (1, 0.3),
        (2, 0.9),
    ]
    assert [attributes["exit_reason"] for name, attributes in told if name == "LoopFinishedEvent"] == [
        "quality_threshold"
    ]


def test_a_round_that_fails_is_a_span_with_its_error(opentelemetry: Trace) -> None:
    LoopedQueryTransform(
        llm=ScriptedCompletions(replies=[ValueError("down")]),
        retriever=ShelfRetriever(SHELF),
        evaluator=judge,
    ).run(QUERY)
    failed = opentelemetry.named("SpannedRounds._round")[1]
    assert (failed.status.is_ok, failed.status.description) == (False, "down")


async def test_opentelemetry_follows_a_workflow_and_says_nothing_of_it_in_the_log(
    opentelemetry: Trace, caplog: pytest.LogCaptureFixture
) -> None:
    await LoopedWorkflow(llm=ScriptedChat(replies=["a", "b"]), evaluator=is_b).run(prompt="x")
    rounds = opentelemetry.named("SpannedRounds._around")
    assert [(span.attributes or {})["loopllm.iteration"] for span in rounds] == [1, 2]
    assert all(
        any(name.startswith("LoopedWorkflow") for name in opentelemetry.above(span)) for span in rounds
    )
    assert warnings_in(caplog) == []
