"""`LoopedRetriever`: the nodes of the best round, wherever a retriever is wanted."""

import asyncio
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.callbacks.schema import CBEventType
from llama_index.core.evaluation import ContextRelevancyEvaluator
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.retrievers import BaseRetriever, QueryFusionRetriever
from llama_index.core.schema import QueryBundle
from tests.loopllm_li.conftest import (
    AwaitableShelf,
    ScriptedChat,
    ScriptedCompletions,
    ShelfRetriever,
    as_nodes,
)

from loopllm import LoopConfig
from loopllm_li import LoopedQueryTransform, LoopedRetriever

QUERY = "why does the sea rise"
GOOD = "tides moon gravity"
SHELF = {QUERY: ["sea salt"], GOOD: ["tides"], "worse": ["stamps"]}


def judge(nodes: Any, context: Any) -> float:
    return {"tides": 0.9, "sea salt": 0.3}.get(nodes[0].node_id if nodes else "", 0.1)


def looped(retriever: Any, llm: Any, **settings: Any) -> LoopedRetriever:
    return LoopedRetriever(llm=llm, retriever=retriever, evaluator=judge, **settings)


def ids(nodes: Any) -> list[str]:
    return [node.node_id for node in nodes]


def test_the_nodes_of_the_best_round_come_back_and_are_not_retrieved_again() -> None:
    retriever = ShelfRetriever(SHELF)
    config = LoopConfig(quality_threshold=0.95, max_iterations=3)
    found = looped(retriever, ScriptedCompletions(replies=[GOOD, "worse"]), config=config).retrieve(QUERY)
    assert (ids(found), len(retriever.asked)) == (["tides"], 3)


def test_an_evaluator_of_any_loop_finds_the_question_where_every_loop_tells_it() -> None:
    asked: list[Any] = []

    def listens(nodes: Any, context: Any) -> float:
        asked.append(context["prompt"])
        return judge(nodes, context)

    llm = ScriptedCompletions(replies=[GOOD])
    retriever = LoopedRetriever(llm=llm, retriever=ShelfRetriever(SHELF), evaluator=listens)
    assert ids(retriever.retrieve(QUERY)) == ["tides"]
    assert asked == [QUERY, QUERY]


def test_the_unchanged_query_gives_its_nodes_when_nothing_beats_it() -> None:
    assert ids(looped(ShelfRetriever(SHELF), ScriptedCompletions(replies=["worse"])).retrieve(QUERY)) == [
        "sea salt"
    ]


async def test_awaited_the_retriever_and_the_llm_are_awaited() -> None:
    """Trap 5: `_aretrieve` is called with the keyword `query_bundle`."""
    retriever, llm = AwaitableShelf(SHELF), ScriptedChat(replies=[GOOD])
    assert ids(await looped(retriever, llm).aretrieve(QUERY)) == ["tides"]
    assert (retriever.blocking_calls, llm.blocking_calls) == (0, 0)


def test_find_tells_which_query_found_the_nodes_and_how() -> None:
    found = looped(ShelfRetriever(SHELF), ScriptedCompletions(replies=[GOOD])).find(QUERY)
    assert (found.bundle.query_str, ids(found.nodes)) == (GOOD, ["tides"])
    assert [tried.query for tried in found.bundle.loop.tried] == [QUERY, GOOD]


def test_a_retriever_that_fails_at_once_raises_its_own_error() -> None:
    with pytest.raises(RuntimeError, match="index is gone"):
        looped(
            ShelfRetriever({QUERY: RuntimeError("index is gone")}), ScriptedCompletions(replies=[GOOD])
        ).retrieve(QUERY)


def test_an_evaluator_that_fails_leaves_the_nodes_of_the_unchanged_query() -> None:
    def broken(nodes: Any, context: Any) -> float:
        raise RuntimeError("judge is ill")

    retriever = LoopedRetriever(
        llm=ScriptedCompletions(replies=[GOOD]), retriever=ShelfRetriever(SHELF), evaluator=broken
    )
    assert ids(retriever.retrieve(QUERY)) == ["sea salt"]


def test_the_bundle_of_the_caller_is_not_written_into() -> None:
    """Trap 4."""
    bundle = QueryBundle(QUERY)
    looped(ShelfRetriever(SHELF), ScriptedCompletions(replies=[GOOD])).retrieve(bundle)
    assert bundle.embedding is None


def test_handlers_of_the_inner_retriever_hear_the_outer_one_and_every_round() -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    retriever = ShelfRetriever(SHELF)
    retriever.callback_manager = CallbackManager([handler])
    looped(retriever, ScriptedCompletions(replies=[GOOD])).retrieve(QUERY)
    assert len(handler.get_event_pairs(CBEventType.RETRIEVE)) == 3


def test_its_prompts_are_reachable_through_an_engine_around_it() -> None:
    llm = ScriptedCompletions(replies=[GOOD])
    engine = RetrieverQueryEngine(looped(ShelfRetriever(SHELF), llm), get_response_synthesizer(llm=llm))
    retriever = looped(ShelfRetriever(SHELF), llm)
    retriever.update_prompts({"rewrite_prompt_1": PromptTemplate("NEW {query_str}{feedback}")})
    retriever.retrieve(QUERY)
    assert llm.prompts[0].startswith("NEW")
    assert ids(engine.query(QUERY).source_nodes) == ["tides"]


def test_inside_a_fusion_retriever_blocking_and_awaited() -> None:
    def fusion() -> QueryFusionRetriever:
        inner = looped(ShelfRetriever(SHELF), ScriptedCompletions(replies=[GOOD]))
        return QueryFusionRetriever(
            [inner], llm=ScriptedCompletions(replies=["x"]), num_queries=1, use_async=False
        )

    assert ids(fusion().retrieve(QUERY)) == ["tides"]
    assert ids(asyncio.run(fusion().aretrieve(QUERY))) == ["tides"]


def test_a_retriever_that_never_called_its_base_class_is_taken_as_llama_index_takes_it() -> None:
    class Bare(BaseRetriever):
        def __init__(self) -> None: ...

        def _retrieve(self, query_bundle: QueryBundle) -> Any:
            return as_nodes(["tides"])

    assert ids(looped(Bare(), ScriptedCompletions(replies=[GOOD])).retrieve(QUERY)) == ["tides"]


async def test_an_evaluator_of_llama_index_is_taken_as_it_is() -> None:
    def parts() -> dict[str, Any]:
        grader = ContextRelevancyEvaluator(
            llm=ScriptedCompletions(replies=["1. no\n[RESULT] 1", "1. yes\n[RESULT] 4"])
        )
        llm = ScriptedCompletions(replies=[GOOD])
        return {"llm": llm, "retriever": ShelfRetriever(SHELF), "evaluator": grader}

    assert ids(LoopedRetriever(**parts()).retrieve(QUERY)) == ["tides"]
    assert ids(await LoopedRetriever(**parts()).aretrieve(QUERY)) == ["tides"]
    assert LoopedQueryTransform(**parts()).run(QUERY).query_str == GOOD
