"""`LoopedTransformQueryEngine`: awaits its transform, transforms once, answers the caller's own words."""

import time
from typing import Any

from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.indices.query.query_transform.base import HyDEQueryTransform, IdentityQueryTransform
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import QueryBundle
from tests.loopllm_li.conftest import (
    AwaitableShelf,
    ScriptedChat,
    ScriptedCompletions,
    ScriptedEngine,
    ShelfRetriever,
    ticks_while,
)

from loopllm_li import LoopedQueryTransform, LoopedTransformQueryEngine

QUERY = "why does the sea rise"
GOOD = "tides moon gravity"
SHELF = {QUERY: ["sea salt"], GOOD: ["tides"]}


def judge(nodes: Any, context: Any) -> float:
    return 0.9 if nodes[0].node_id == "tides" else 0.3


def engine_over(retriever: Any, llm: Any, answering: Any) -> LoopedTransformQueryEngine:
    transform = LoopedQueryTransform(llm=llm, retriever=retriever, evaluator=judge)
    inner = RetrieverQueryEngine(retriever, get_response_synthesizer(llm=answering))
    return LoopedTransformQueryEngine(inner, transform)


def test_nodes_are_those_of_the_rewrite_and_the_answer_is_to_the_callers_words() -> None:
    answering = ScriptedCompletions(replies=["the moon"])
    response = engine_over(ShelfRetriever(SHELF), ScriptedCompletions(replies=[GOOD]), answering).query(QUERY)
    assert [node.node_id for node in response.source_nodes] == ["tides"]
    assert QUERY in answering.prompts[0]
    assert GOOD not in answering.prompts[0]


async def test_awaited_nothing_blocks() -> None:
    retriever, llm, answering = (
        AwaitableShelf(SHELF),
        ScriptedChat(replies=[GOOD]),
        ScriptedChat(replies=["the moon"]),
    )
    response = await engine_over(retriever, llm, answering).aquery(QUERY)
    assert [node.node_id for node in response.source_nodes] == ["tides"]
    assert (retriever.blocking_calls, llm.blocking_calls, answering.blocking_calls) == (0, 0, 0)


async def test_a_transform_that_can_only_block_runs_in_a_thread() -> None:
    """TransformQueryEngine.aquery runs it on the loop: 0 ticks."""

    class Slow(IdentityQueryTransform):
        def _run(self, query_bundle: QueryBundle, metadata: Any) -> QueryBundle:
            time.sleep(0.15)
            return query_bundle

    response, ticks = await ticks_while(
        LoopedTransformQueryEngine(ScriptedEngine(["yes"]), Slow()).aquery(QUERY)
    )
    assert str(response) == "yes"
    assert ticks >= 5


def test_retrieving_and_then_synthesizing_transforms_once() -> None:
    llm = ScriptedCompletions(replies=[GOOD])
    engine = engine_over(ShelfRetriever(SHELF), llm, ScriptedCompletions(replies=["the moon"]))
    nodes = engine.retrieve(QueryBundle(QUERY))
    assert str(engine.synthesize(QueryBundle(QUERY), nodes)) == "the moon"
    assert len(llm.prompts) == 1


async def test_retrieving_can_be_awaited() -> None:
    engine = engine_over(
        AwaitableShelf(SHELF), ScriptedChat(replies=[GOOD]), ScriptedChat(replies=["the moon"])
    )
    nodes = await engine.aretrieve(QueryBundle(QUERY))
    assert [node.node_id for node in nodes] == ["tides"]
    assert str(await engine.asynthesize(QueryBundle(QUERY), nodes)) == "the moon"


def test_a_bundle_that_is_refined_already_is_not_refined_again() -> None:
    llm = ScriptedCompletions(replies=[GOOD])
    retriever = ShelfRetriever(SHELF)
    engine = engine_over(retriever, llm, ScriptedCompletions(replies=["the moon"]))
    bundle = LoopedQueryTransform(llm=llm, retriever=retriever, evaluator=judge).run(QUERY)
    engine.query(bundle)
    assert len(llm.prompts) == 1


def test_an_engine_that_only_queries_gets_the_transformed_query() -> None:
    inner = ScriptedEngine(["yes"])
    transform = LoopedQueryTransform(
        llm=ScriptedCompletions(replies=[GOOD]), retriever=ShelfRetriever(SHELF), evaluator=judge
    )
    LoopedTransformQueryEngine(inner, transform).query(QUERY)
    assert inner.asked[0].query_str == GOOD


def test_any_other_transform_works_in_it() -> None:
    inner = ScriptedEngine(["yes"])
    LoopedTransformQueryEngine(
        inner, HyDEQueryTransform(llm=ScriptedCompletions(replies=["a passage"]))
    ).query(QUERY)
    assert inner.asked[0].embedding_strs == ["a passage", QUERY]


def test_prompts_of_the_transform_and_of_the_engine_are_reachable_at_any_depth() -> None:
    """Trap 11."""
    llm = ScriptedCompletions(replies=[GOOD])
    engine = engine_over(ShelfRetriever(SHELF), llm, ScriptedCompletions(replies=["the moon"]))
    assert {"query_transform:rewrite_prompt_1", "query_engine:response_synthesizer:text_qa_template"} <= set(
        engine.get_prompts()
    )
    engine.update_prompts(
        {
            "query_transform:rewrite_prompt_1": PromptTemplate("NEW {query_str}{feedback}"),
            "query_engine:response_synthesizer:text_qa_template": PromptTemplate(
                "QA {context_str} {query_str}"
            ),
        }
    )
    engine.query(QUERY)
    assert llm.prompts[0].startswith("NEW")


async def test_handlers_of_the_inner_engine_hear_of_the_query_as_behind_any_transform() -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    manager = CallbackManager([handler])
    synthesizer = get_response_synthesizer(llm=ScriptedCompletions(replies=["yes"]))
    inner = RetrieverQueryEngine(ShelfRetriever(SHELF), synthesizer, callback_manager=manager)
    engine = LoopedTransformQueryEngine(inner, IdentityQueryTransform())
    response = engine.query(QUERY)
    await engine.aquery(QUERY)
    (began, ended), _ = handler.get_event_pairs(CBEventType.QUERY)
    assert began.payload == {EventPayload.QUERY_STR: QUERY}
    assert ended.payload == {EventPayload.RESPONSE: response}
