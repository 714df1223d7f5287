"""A retrieval evaluator as the engine's evaluator: it is shown the nodes and the caller's own query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loopllm.evaluators import as_evaluator
from loopllm.results import EvaluationResult
from loopllm_li.judge_face import JudgeFace
from loopllm_li.query_rounds import QueryAttempt, Retrieval
from loopllm_li.rewriting import same_words


class NodesJudge(JudgeFace):
    """Shows a retrieval evaluator `(nodes, context)` for one run.

    The context has `query` (the caller's bundle), `prompt` (its words), `rewrite` (the bundle that was searched for),
    `previous_nodes` (those of the round before, or None) and `iteration`. A query that was judged is not judged again.

    Args:
        evaluator: Anything `as_evaluator` takes, called with a list of `NodeWithScore`.
    """

    def __init__(self, evaluator: Any) -> None:
        super().__init__(as_evaluator(evaluator))
        self._verdicts: dict[str, EvaluationResult] = {}
        self._previous: Retrieval | None = None

    def evaluate(self, output: Retrieval, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Score the nodes of a round, blocking."""
        known = self._known(output, context)
        verdict = known or self._judge.evaluate(list(output.nodes), self._facts(output, context))
        return self._note(output, verdict)

    async def aevaluate(
        self, output: Retrieval, context: Mapping[str, Any] | None = None
    ) -> EvaluationResult:
        """Score the nodes of a round without blocking the event loop."""
        known = self._known(output, context)
        verdict = known or await self._judge.aevaluate(list(output.nodes), self._facts(output, context))
        return self._note(output, verdict)

    def _known(self, output: Retrieval, context: Mapping[str, Any] | None) -> EvaluationResult | None:
        again = (context or {}).get("judgement", 1) > 1  # the engine wants a verdict of its own
        return None if again else self._verdicts.get(same_words(output.query))

    def _facts(self, output: Retrieval, context: Mapping[str, Any] | None) -> dict[str, Any]:
        facts = dict(context or {})
        attempt = facts.get("prompt")
        if isinstance(attempt, QueryAttempt):
            facts.setdefault("query", attempt.original)
            facts["prompt"] = attempt.original.query_str
        previous = self._previous
        nodes = None if previous is None else list(previous.nodes)
        return {**facts, "rewrite": output.bundle, "previous_nodes": nodes}

    def _note(self, output: Retrieval, verdict: EvaluationResult) -> EvaluationResult:
        self._previous = output
        self._verdicts[same_words(output.query)] = verdict
        return verdict
