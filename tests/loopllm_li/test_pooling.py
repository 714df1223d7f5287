"""`LoopedRetriever(combine="pool")`: the nodes of all rounds in one order."""

import logging
from collections.abc import Sequence
from typing import Any

import pytest
from llama_index.core.schema import NodeWithScore
from tests.loopllm_li.conftest import (
    AwaitableShelf,
    ScriptedChat,
    ScriptedCompletions,
    ShelfRetriever,
    as_nodes,
)

from loopllm import LoopConfig, MisuseError
from loopllm.errors import EvaluatorError
from loopllm_li import LoopedRetriever, RescoredSimilarity, TermCoverage
from loopllm_li.pooling import ScoresNodes, distinct_nodes, pooled

QUERY = "why does the sea rise"
SHELF = {QUERY: ["sea salt", "sand"], "one": ["moon", "dust"], "two": ["tides", "moon"]}
WORTH = {"tides": 0.7, "moon": 0.6, "sea salt": 0.3}
CONFIG = LoopConfig(max_iterations=3, convergence_delta=0.0)


class ByWorth:
    """Scores a retrieval by its first node, and each node by itself; knows which query it was given."""

    def __init__(self) -> None:
        self.queries: list[str] = []

    def evaluate(self, nodes: Any, context: Any = None) -> float:
        return self.score_nodes(nodes, context)[0]

    def score_nodes(self, nodes: Sequence[NodeWithScore], context: Any = None) -> list[float]:
        self.queries.append(context["query"].query_str)
        return [WORTH.get(node.node_id, 0.1) for node in nodes]

    async def ascore_nodes(self, nodes: Sequence[NodeWithScore], context: Any = None) -> list[float]:
        return self.score_nodes(nodes, context)


def pooling(shelf: Any, llm: Any, evaluator: Any = None) -> LoopedRetriever:
    return LoopedRetriever(
        llm=llm, retriever=shelf, evaluator=evaluator or ByWorth(), config=CONFIG, combine="pool"
    )


def test_what_one_rewrite_found_and_another_missed_is_kept_in_order_of_its_own_score() -> None:
    nodes = pooling(ShelfRetriever(SHELF), ScriptedCompletions(replies=["one", "two"])).retrieve(QUERY)
    assert [(node.node_id, node.score) for node in nodes] == [("tides", 0.7), ("moon", 0.6)]


async def test_awaited_it_finds_the_same_and_blocks_nothing() -> None:
    shelf = AwaitableShelf(SHELF)
    nodes = await pooling(shelf, ScriptedChat(replies=["one", "two"])).aretrieve(QUERY)
    assert ([node.node_id for node in nodes], shelf.blocking_calls) == (["tides", "moon"], 0)


def test_every_node_is_scored_against_the_callers_own_words() -> None:
    judge = ByWorth()
    pooling(ShelfRetriever(SHELF), ScriptedCompletions(replies=["one", "two"]), judge).retrieve(QUERY)
    assert set(judge.queries) == {QUERY}


def test_the_story_still_tells_which_query_was_best() -> None:
    found = pooling(ShelfRetriever(SHELF), ScriptedCompletions(replies=["one", "two"])).find(QUERY)
    assert (found.bundle.query_str, len(found.bundle.loop.tried)) == ("two", 3)


def test_an_evaluator_that_fails_on_the_pool_leaves_the_nodes_of_the_best_round(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Ill(ByWorth):
        def evaluate(self, nodes: Any, context: Any = None) -> float:
            return WORTH.get(nodes[0].node_id, 0.1)

        def score_nodes(self, nodes: Any, context: Any = None) -> list[float]:
            raise EvaluatorError("ill")

    with caplog.at_level(logging.WARNING):
        nodes = pooling(ShelfRetriever(SHELF), ScriptedCompletions(replies=["one", "two"]), Ill()).retrieve(
            QUERY
        )
    assert [node.node_id for node in nodes] == ["tides", "moon"]
    assert "without those of the others" in caplog.text


def test_nothing_found_is_nothing_pooled() -> None:
    judge = TermCoverage()
    assert pooling(ShelfRetriever({}), ScriptedCompletions(replies=["one"]), judge).retrieve(QUERY) == []


def test_an_evaluator_that_cannot_score_single_nodes_is_refused_naming_one_that_can() -> None:
    with pytest.raises(MisuseError, match="RescoredSimilarity"):
        pooling(ShelfRetriever(SHELF), ScriptedCompletions(replies=["one"]), lambda nodes: 0.5)
    with pytest.raises(MisuseError, match="combine"):
        LoopedRetriever(retriever=ShelfRetriever(SHELF), combine="all")  # type: ignore[arg-type]  # that is the point


def test_the_evaluators_of_the_package_that_know_single_nodes_say_so() -> None:
    from llama_index.core.embeddings import MockEmbedding

    context = {"query": "tides of the moon"}
    for judge in (TermCoverage(), RescoredSimilarity(MockEmbedding(embed_dim=3))):
        assert isinstance(judge, ScoresNodes)
        assert [0.0 <= score <= 1.0 for score in judge.score_nodes(as_nodes(["tides", "salt"]), context)] == [
            True
        ] * 2


def test_each_node_is_kept_once_and_equal_ones_stay_in_order() -> None:
    rounds = [as_nodes(["a", "b"]), as_nodes(["b", "c"])]
    nodes = distinct_nodes(rounds)
    assert [node.node_id for node in nodes] == ["a", "b", "c"]
    assert [node.node_id for node in pooled(nodes, [0.5, 0.9, 0.5], 3)] == ["b", "a", "c"]


class Unreachable(ByWorth):
    """Its embedding service is down, always or from the pool on."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.always = always

    def evaluate(self, nodes: Any, context: Any = None) -> float:
        if self.always:
            raise ConnectionError("down")
        return WORTH.get(nodes[0].node_id, 0.1)

    def score_nodes(self, nodes: Sequence[NodeWithScore], context: Any = None) -> list[float]:
        if nodes:
            raise ConnectionError("down")
        return []


@pytest.mark.parametrize(("always", "kept"), [(False, ["tides", "moon"]), (True, ["sea salt", "sand"])])
async def test_a_service_that_is_down_never_costs_the_nodes_that_were_found(always: bool, kept: Any) -> None:
    def retriever() -> LoopedRetriever:
        llm = ScriptedCompletions(replies=["one", "two"])
        return pooling(ShelfRetriever(SHELF), llm, Unreachable(always=always))

    assert [node.node_id for node in retriever().retrieve(QUERY)] == kept
    assert [node.node_id for node in await retriever().aretrieve(QUERY)] == kept


def test_a_mistake_of_the_caller_is_raised_from_the_pool() -> None:
    class Mistaken(ByWorth):
        def evaluate(self, nodes: Any, context: Any = None) -> float:
            return 0.5

        def score_nodes(self, nodes: Any, context: Any = None) -> list[float]:
            raise MisuseError("call it otherwise")

    with pytest.raises(MisuseError, match="otherwise"):
        pooling(ShelfRetriever(SHELF), ScriptedCompletions(replies=["one"]), Mistaken()).retrieve(QUERY)
