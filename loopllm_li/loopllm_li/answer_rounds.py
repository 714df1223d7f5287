"""One round of an answering loop as values, and how the engine reads and writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llama_index.core.base.response.schema import PydanticResponse, Response
from llama_index.core.schema import NodeWithScore, QueryBundle

from loopllm_li.answers import Answer
from loopllm_li.bundles import plain


@dataclass(frozen=True, slots=True)
class AnswerAttempt:
    """What a round is asked for: an answer to `original`, perhaps in the light of an earlier one.

    Attributes:
        original: The caller's bundle.
        earlier: An answer that was given, or None.
        feedback: What was wrong with it, or None.
    """

    original: QueryBundle
    earlier: str | None = None
    feedback: str | None = None


class AnswerFormat:
    """How the engine extends questions and writes rounds down; a `PromptFormat`.

    Args:
        streamed: Whether the query engine gives streams, so that whoever reads one is never given something else.
    """

    def __init__(self, *, streamed: bool = False) -> None:
        self._streamed = streamed

    def compose(self, task: AnswerAttempt, draft: Answer | None, feedback: str | None) -> AnswerAttempt:
        """Return the next attempt at the same question."""
        return AnswerAttempt(task.original, None if draft is None else draft.text, feedback)

    def text(self, output: Answer) -> str:
        """Return the words of an answer."""
        return output.text

    def empty(self) -> Answer:
        """Return the answer of a run whose time ended before there was one."""
        return Answer("", Response(""), self._streamed)

    def dump_prompt(self, prompt: AnswerAttempt) -> Any:
        """Return the attempt as JSON-able data."""
        return {
            "original": plain(prompt.original).to_dict(),
            "earlier": prompt.earlier,
            "feedback": prompt.feedback,
        }

    def load_prompt(self, data: Any) -> AnswerAttempt:
        """Undo `dump_prompt`."""
        return AnswerAttempt(QueryBundle.from_dict(data["original"]), data["earlier"], data["feedback"])

    def dump_output(self, output: Answer) -> Any:
        """Return the answer as JSON-able data; a structured one is kept as its text."""
        return {
            "text": output.text,
            "nodes": [node.to_dict() for node in output.source_nodes],
            "metadata": output.response.metadata,
            "streamed": output.streamed,
            "structured": isinstance(output.response, PydanticResponse),
        }

    def load_output(self, data: Any) -> Answer:
        """Undo `dump_output`, except that a structured answer comes back as text."""
        nodes = [NodeWithScore.from_dict(node) for node in data["nodes"]]
        return Answer(data["text"], Response(data["text"], nodes, data["metadata"]), data["streamed"])
