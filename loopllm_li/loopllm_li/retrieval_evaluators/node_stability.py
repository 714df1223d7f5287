"""Do different wordings of a query find the same passages?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.schema import NodeWithScore

from loopllm.exits import Condition, RunView
from loopllm.results import EvaluationResult


class NodeStability:
    """Scores nodes by their agreement with those of the round before: the Jaccard index of the node ids.

    Two wordings that find the same passages confirm each other. The first round has nothing to agree with and scores 0.
    Use it as a part of a `CompositeEvaluator`; alone it rewards standing still.

    >>> from llama_index.core.schema import TextNode
    >>> a, b, c = (NodeWithScore(node=TextNode(id_=name)) for name in "abc")
    >>> round(NodeStability().evaluate([a, b], {"previous_nodes": [b, c]}).score, 3)  # 1 of 3 in common
    0.333
    """

    name = "node_stability"
    test_retest_sd = 0.0
    inline = True

    def evaluate(
        self, nodes: Sequence[NodeWithScore], context: Mapping[str, Any] | None = None
    ) -> EvaluationResult:
        """Score nodes against `context["previous_nodes"]`."""
        previous = (context or {}).get("previous_nodes")
        if previous is None:
            return EvaluationResult(0.0, deficiencies=["not yet confirmed by another wording of the query"])
        score = jaccard({node.node_id for node in nodes}, {node.node_id for node in previous})
        faults = [] if score >= 0.5 else ["other wordings of the query find other passages"]  # noqa: PLR2004 - half
        return EvaluationResult(score, deficiencies=faults)

    def __repr__(self) -> str:
        return "NodeStability()"


def nodes_settle(agreement: float = 0.9) -> Condition:
    """Return an exit condition: two successive rewrites found nearly the same nodes.

    Args:
        agreement: Jaccard index of the node ids from which they are taken for the same.
    """

    def settled(view: RunView) -> str | None:
        if len(view.records) < 2:  # noqa: PLR2004 - two rounds are compared
            return None
        before, now = (set(record.output.node_ids) for record in view.records[-2:])
        value = jaccard(before, now)
        return f"the last two queries share {value:.0%} of their nodes" if value >= agreement else None

    return Condition(settled, f"nodes_settle({agreement})")


def jaccard(one: set[str], other: set[str]) -> float:
    """Return the Jaccard index, |A and B| / |A or B|, and 1.0 for two empty sets.

    >>> jaccard({"a", "b"}, {"b", "c"})  # doctest: +ELLIPSIS
    0.333...
    """
    union = one | other
    return len(one & other) / len(union) if union else 1.0
