"""The transform, the retriever and the query engine in each place of LlamaIndex that takes one."""

import asyncio
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_selector import SelectorResult, SingleSelection
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    CondenseQuestionChatEngine,
    ContextChatEngine,
)
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.query_engine import (
    RetrieverQueryEngine,
    RouterQueryEngine,
    SubQuestionQueryEngine,
    TransformQueryEngine,
)
from llama_index.core.question_gen.types import SubQuestion
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.retrievers import QueryFusionRetriever, RouterRetriever, TransformRetriever
from llama_index.core.selectors import BaseSelector
from llama_index.core.tools import QueryEngineTool, RetrieverTool
from tests.loopllm_li.conftest import (
    AwaitableShelf,
    ScriptedCaller,
    ScriptedChat,
    ScriptedCompletions,
    ShelfRetriever,
    ticks_while,
)

from loopllm_li import (
    LoopedQueryEngine,
    LoopedQueryTransform,
    LoopedRetriever,
    LoopedTransformQueryEngine,
)

QUERY = "why does the sea rise"
GOOD = "tides moon gravity"
SHELF = {QUERY: ["sea salt"], GOOD: ["tides"]}


def judge(nodes: Any, context: Any) -> float:
    return 0.9 if nodes and nodes[0].node_id == "tides" else 0.3


def retriever(shelf: Any = None) -> LoopedRetriever:
    inner = AwaitableShelf(SHELF) if shelf is None else shelf
    return LoopedRetriever(llm=ScriptedChat(replies=[GOOD]), retriever=inner, evaluator=judge)


def transform(shelf: Any) -> LoopedQueryTransform:
    return LoopedQueryTransform(llm=ScriptedChat(replies=[GOOD]), retriever=shelf, evaluator=judge)


def synthesizer() -> Any:
    return get_response_synthesizer(llm=ScriptedCompletions(replies=["the moon"]))


def engine_on_the_transform() -> BaseQueryEngine:
    shelf = AwaitableShelf(SHELF)
    return TransformQueryEngine(RetrieverQueryEngine(shelf, synthesizer()), transform(shelf))


def engine_that_awaits_the_transform() -> BaseQueryEngine:
    shelf = AwaitableShelf(SHELF)
    return LoopedTransformQueryEngine(RetrieverQueryEngine(shelf, synthesizer()), transform(shelf))


def engine_on_the_retriever() -> BaseQueryEngine:
    return RetrieverQueryEngine(retriever(), synthesizer())


def looped_engine() -> BaseQueryEngine:
    """Answers "sun" first, which is not good enough."""
    written = get_response_synthesizer(llm=ScriptedCompletions(replies=["the sun", "the moon"]))
    inner = RetrieverQueryEngine(retriever(), written)
    return LoopedQueryEngine(query_engine=inner, evaluator=lambda text: 1.0 if "moon" in text else 0.1)


ENGINES = [engine_on_the_transform, engine_that_awaits_the_transform, engine_on_the_retriever, looped_engine]


@pytest.fixture(params=ENGINES, ids=lambda make: make.__name__)
def engine(request: pytest.FixtureRequest) -> BaseQueryEngine:
    made: BaseQueryEngine = request.param()
    return made


def ids(nodes: Any) -> list[str]:
    return [node.node_id for node in nodes]


def tool_of(engine: BaseQueryEngine) -> QueryEngineTool:
    return QueryEngineTool.from_defaults(engine, name="tides", description="about tides")


class First(BaseSelector):
    """Always chooses the first of several."""

    def _select(self, choices: Any, query: Any) -> Any:
        return SelectorResult(selections=[SingleSelection(index=0, reason="first")])

    async def _aselect(self, choices: Any, query: Any) -> Any:
        return self._select(choices, query)

    def _get_prompts(self) -> Any:
        return {}

    def _update_prompts(self, prompts: Any) -> None: ...


class Asker:
    """Asks the same sub-question whatever was asked."""

    def generate(self, tools: Any, query: Any) -> Any:
        return [SubQuestion(sub_question=QUERY, tool_name="tides")]

    async def agenerate(self, tools: Any, query: Any) -> Any:
        return self.generate(tools, query)


# -- engines ----------------------------------------------------------------------------------------------------


async def test_a_query_engine_answers_from_the_better_nodes(engine: BaseQueryEngine) -> None:
    response = await engine.aquery(QUERY)
    assert (str(response), ids(response.source_nodes)) == ("the moon", ["tides"])


def test_blocking_it_answers_the_same(engine: BaseQueryEngine) -> None:
    response = engine.query(QUERY)
    assert (str(response), ids(response.source_nodes)) == ("the moon", ["tides"])


async def test_inside_a_router_query_engine(engine: BaseQueryEngine) -> None:
    router = RouterQueryEngine(First(), [tool_of(engine)], llm=ScriptedCompletions(replies=["x"]))
    response = await router.aquery(QUERY)
    assert (str(response), ids(response.source_nodes)) == ("the moon", ["tides"])


def test_inside_a_blocking_router_query_engine(engine: BaseQueryEngine) -> None:
    router = RouterQueryEngine(First(), [tool_of(engine)], llm=ScriptedCompletions(replies=["x"]))
    assert str(router.query(QUERY)) == "the moon"


@pytest.mark.parametrize("use_async", [True, False])
def test_inside_a_sub_question_query_engine(engine: BaseQueryEngine, use_async: bool) -> None:
    outer = SubQuestionQueryEngine(
        question_gen=Asker(),  # type: ignore[arg-type]  # only its two methods are called
        response_synthesizer=get_response_synthesizer(llm=ScriptedCompletions(replies=["combined"])),
        query_engine_tools=[tool_of(engine)],
        use_async=use_async,
        verbose=False,
    )
    response = outer.query("what of tides and moons?")
    assert str(response) == "combined"
    assert any("the moon" in node.get_content() for node in response.source_nodes)
    assert "tides" in ids(response.source_nodes)


async def test_inside_an_awaited_sub_question_query_engine(engine: BaseQueryEngine) -> None:
    outer = SubQuestionQueryEngine(
        question_gen=Asker(),  # type: ignore[arg-type]  # as above
        response_synthesizer=get_response_synthesizer(llm=ScriptedCompletions(replies=["combined"])),
        query_engine_tools=[tool_of(engine)],
        verbose=False,
    )
    assert "tides" in ids((await outer.aquery("what of tides and moons?")).source_nodes)


async def test_inside_a_condense_question_chat_engine(engine: BaseQueryEngine) -> None:
    chat = CondenseQuestionChatEngine.from_defaults(
        query_engine=engine,
        llm=ScriptedCompletions(replies=["standalone"]),
        memory=ChatMemoryBuffer(token_limit=9999),
    )
    reply = await chat.achat(QUERY)
    assert (str(reply), ids(reply.source_nodes)) == ("the moon", ["tides"])
    chat.reset()
    assert str(await asyncio.to_thread(chat.chat, QUERY)) == "the moon"


async def test_as_a_tool_of_a_function_agent(engine: BaseQueryEngine) -> None:
    call = ToolSelection(tool_id="1", tool_name="tides", tool_kwargs={"input": QUERY})
    agent = FunctionAgent(
        tools=[tool_of(engine)], llm=ScriptedCaller(replies=[call, "done"]), streaming=False
    )
    output: Any = await agent.run("Ask about tides.")
    (used,) = output.tool_calls
    assert (used.tool_output.content, str(output)) == ("the moon", "done")
    assert ids(used.tool_output.raw_output.source_nodes) == ["tides"]


# -- the transform and the retriever ----------------------------------------------------------------------------


def test_the_transform_inside_a_transform_retriever() -> None:
    shelf = ShelfRetriever(SHELF)
    assert ids(TransformRetriever(shelf, transform(shelf)).retrieve(QUERY)) == ["tides"]
    assert ids(asyncio.run(TransformRetriever(shelf, transform(shelf)).aretrieve(QUERY))) == ["tides"]


@pytest.mark.parametrize("use_async", [True, False])
def test_the_retriever_inside_a_query_fusion_retriever_that_asks_several_queries(use_async: bool) -> None:
    fusion = QueryFusionRetriever(
        [retriever(), ShelfRetriever({}, ["moon dust"])],
        llm=ScriptedCompletions(replies=[f"{QUERY}\n{QUERY}?"]),
        num_queries=2,
        similarity_top_k=2,
        use_async=use_async,
        mode="reciprocal_rerank",  # type: ignore[arg-type]  # an enum of strings
    )
    assert set(ids(fusion.retrieve(QUERY))) == {"tides", "moon dust"}


async def test_the_retriever_inside_an_awaited_query_fusion_retriever_blocks_nothing() -> None:
    shelf = AwaitableShelf(SHELF)
    fusion = QueryFusionRetriever([retriever(shelf)], llm=ScriptedCompletions(replies=["x"]), num_queries=1)
    nodes, _ = await ticks_while(fusion.aretrieve(QUERY))
    assert (ids(nodes), shelf.blocking_calls) == (["tides"], 0)


async def test_the_retriever_inside_a_router_retriever() -> None:
    tool = RetrieverTool.from_defaults(retriever(), name="tides", description="about tides")
    router = RouterRetriever(First(), [tool], llm=ScriptedCompletions(replies=["x"]))
    assert ids(await router.aretrieve(QUERY)) == ["tides"]
    assert ids(router.retrieve(QUERY)) == ["tides"]


async def test_the_retriever_inside_the_chat_engines_that_take_one() -> None:
    memory = ChatMemoryBuffer(token_limit=9999)
    for kind in (ContextChatEngine, CondensePlusContextChatEngine):
        chat = kind.from_defaults(
            retriever=retriever(), llm=ScriptedChat(replies=["the moon"]), memory=memory
        )
        reply = await chat.achat(QUERY)
        assert (str(reply), ids(reply.source_nodes)) == ("the moon", ["tides"])
        memory.reset()
        assert ids(chat.chat(QUERY).source_nodes) == ["tides"]
        memory.reset()


async def test_the_retriever_as_a_tool_of_a_function_agent() -> None:
    call = ToolSelection(tool_id="1", tool_name="tides", tool_kwargs={"input": QUERY})
    tool = RetrieverTool.from_defaults(retriever(), name="tides", description="about tides")
    agent = FunctionAgent(tools=[tool], llm=ScriptedCaller(replies=[call, "done"]), streaming=False)
    output: Any = await agent.run("Ask about tides.")
    assert "tides" in output.tool_calls[0].tool_output.content
