"""One round of a query loop as values, and how the engine reads and writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.schema import NodeWithScore, QueryBundle

from loopllm_li.bundles import plain


@dataclass(frozen=True, slots=True)
class QueryAttempt:
    """What a round is asked for: find nodes for `original`, perhaps in the light of an earlier query.

    Attributes:
        original: The caller's bundle.
        earlier: A query that was tried, or None.
        feedback: What was said of it, or None.
    """

    original: QueryBundle
    earlier: str | None = None
    feedback: str | None = None


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What a round found.

    Attributes:
        query: The words that were searched for.
        bundle: The bundle that was handed to the retriever, as it was before.
        nodes: What came back.
        repeated: True when the rewriter gave nothing new, so nothing was searched for and these are older nodes.
    """

    query: str
    bundle: QueryBundle
    nodes: Sequence[NodeWithScore] = ()
    repeated: bool = False

    @property
    def node_ids(self) -> list[str]:
        """Ids of the nodes, best first."""
        return [node.node_id for node in self.nodes]


class QueryFormat:
    """How the engine extends queries and writes rounds down; a `PromptFormat`."""

    def compose(self, task: QueryAttempt, draft: Retrieval | None, feedback: str | None) -> QueryAttempt:
        """Return the next attempt at the same question."""
        return QueryAttempt(task.original, None if draft is None else draft.query, feedback)

    def text(self, output: Retrieval) -> str:
        """Return the query, for logs and comparisons."""
        return output.query

    def empty(self) -> Retrieval:
        """Return a retrieval that never took place."""
        return Retrieval("", QueryBundle(""))

    def dump_prompt(self, prompt: QueryAttempt) -> Any:
        """Return the attempt as JSON-able data."""
        return {
            "original": plain(prompt.original).to_dict(),
            "earlier": prompt.earlier,
            "feedback": prompt.feedback,
        }

    def load_prompt(self, data: Any) -> QueryAttempt:
        """Undo `dump_prompt`."""
        return QueryAttempt(QueryBundle.from_dict(data["original"]), data["earlier"], data["feedback"])

    def dump_output(self, output: Retrieval) -> Any:
        """Return the retrieval as JSON-able data, its nodes included."""
        return {
            "query": output.query,
            "bundle": plain(output.bundle).to_dict(),
            "nodes": [node.to_dict() for node in output.nodes],
            "repeated": output.repeated,
        }

    def load_output(self, data: Any) -> Retrieval:
        """Undo `dump_output`."""
        nodes = tuple(NodeWithScore.from_dict(node) for node in data["nodes"])
        return Retrieval(data["query"], QueryBundle.from_dict(data["bundle"]), nodes, data["repeated"])
