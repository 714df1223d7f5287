"""The nodes of all rounds of a query loop, put in one order by how well each answers the caller's own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from llama_index.core.schema import NodeWithScore

from loopllm.errors import MisuseError

Combine = Literal["best", "pool"]
"""`"best"`: the nodes of the best round. `"pool"`: those of all rounds, each scored by itself."""


@runtime_checkable
class ScoresNodes(Protocol):
    """A retrieval evaluator that can score single nodes, such as `RescoredSimilarity` and `TermCoverage`."""

    def score_nodes(
        self, nodes: Sequence[NodeWithScore], context: Mapping[str, Any] | None = None
    ) -> Sequence[float]:
        """Return one score in [0, 1] a node, against `context["query"]`."""
        ...

    async def ascore_nodes(
        self, nodes: Sequence[NodeWithScore], context: Mapping[str, Any] | None = None
    ) -> Sequence[float]:
        """Return what `score_nodes` does without blocking the event loop."""
        ...


def scorer_of(evaluator: Any) -> ScoresNodes:
    """Return an evaluator that can put pooled nodes in order.

    Raises:
        MisuseError: It scores whole retrievals only.
    """
    if isinstance(evaluator, ScoresNodes):
        return evaluator
    raise MisuseError(
        f'combine="pool" needs an evaluator with score_nodes and ascore_nodes, such as RescoredSimilarity, and '
        f"{type(evaluator).__name__} has none"
    )


def distinct_nodes(rounds: Sequence[Sequence[NodeWithScore]]) -> list[NodeWithScore]:
    """Return the nodes of all rounds, each once, in the order in which they were found."""
    found: dict[str, NodeWithScore] = {}
    for nodes in rounds:
        for node in nodes:
            found.setdefault(node.node_id, node)
    return list(found.values())


def pooled(nodes: Sequence[NodeWithScore], scores: Sequence[float], at_most: int) -> list[NodeWithScore]:
    """Return the nodes with the highest scores, best first; equal ones stay in the order in which they were found.

    >>> from llama_index.core.schema import TextNode
    >>> nodes = [NodeWithScore(node=TextNode(id_=name), score=7.0) for name in "abc"]
    >>> [(node.node_id, node.score) for node in pooled(nodes, [0.2, 0.9, 0.2], at_most=2)]
    [('b', 0.9), ('a', 0.2)]
    """
    ranked = sorted(zip(nodes, scores, strict=True), key=lambda pair: -pair[1])
    return [NodeWithScore(node=node.node, score=score) for node, score in ranked[:at_most]]
