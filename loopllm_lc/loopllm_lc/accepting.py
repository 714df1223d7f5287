"""What goes to the caller at the end? The accepted draft as what is bound would have returned it, and the loop's facts.

Rule: usage is counted once: the sum over all drafts stands on the accepted message, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage

from loopllm.errors import CallTimeoutError
from loopllm.results import ExitReason, IterationRecord, RefinementResult
from loopllm_lc.drafts import EMPTY, Draft, is_raw_triple
from loopllm_lc.handoff import Handoff
from loopllm_lc.usage import sum_usage, usage_of

Result = RefinementResult[Any, Draft]
Usages = Iterable[Mapping[str, Any] | None]


def settled(result: Result, handoff: Handoff) -> Result:
    """Return the result with the draft that was handed over unjudged, if there is one, as its last round."""
    draft = handoff.draft
    if draft is None:
        return result
    rounds, usage = result.iterations, usage_of(draft.message)
    # The engine may have it in its books, as the draft that the run was cancelled with.
    is_booked = bool(rounds) and rounds[-1].output is draft
    judged = rounds[:-1] if is_booked else rounds
    number = len(judged) + 1
    record = (
        replace(rounds[-1], error=handoff.why)
        if is_booked
        else IterationRecord(
            number, handoff.prompt, draft, None, passed=False, error=handoff.why, usage=usage
        )
    )
    metrics = replace(
        result.metrics,
        total_iterations=number,
        best_iteration=number,
        converged=False,
        exit_reason=ExitReason(handoff.reason, handoff.why),
        usage=result.metrics.usage if is_booked else result.metrics.usage + usage,
    )
    return RefinementResult(draft, metrics, (*judged, record))


def loop_facts(result: Result) -> dict[str, Any]:
    """Return what the loop tells of itself in `response_metadata["loopllm"]`, as JSON-able data."""
    metrics = result.metrics
    chosen = next((each for each in result.iterations if each.iteration == metrics.best_iteration), None)
    return {
        "iterations": metrics.total_iterations,
        "score": None if chosen is None else chosen.score,
        "exit_reason": metrics.exit_reason.condition,
        "best_iteration": metrics.best_iteration,
        "trajectory": [record.score for record in result.iterations],
    }


def drafted(result: Result) -> Draft:
    """Return the draft that the run chose.

    Raises:
        CallTimeoutError: The time ran out before there was any: a chain has to be handed something, and an empty
            answer is none.
    """
    if result.output is EMPTY:
        raise CallTimeoutError(
            f"no draft in time: {result.metrics.exit_reason.message}; raise LoopConfig(timeout_ms=...)"
        )
    return result.output


def finished(result: Result, usages: Usages) -> Any:
    """Return what the caller gets; a message in it carries the summed usage and the facts.

    Args:
        result: The settled result.
        usages: What each call said it cost.

    Raises:
        CallTimeoutError: The time ran out before any draft.
        OutputParserException: No draft could be read; or the error that the chain's own parser raised.
    """
    draft, facts = drafted(result), loop_facts(result)
    if draft.value is draft.message:
        return signed(draft.message, usages, facts)
    if is_raw_triple(draft.value):
        return {**draft.value, "raw": signed(draft.value["raw"], usages, facts)}
    if draft.fault:
        raise unreadable(draft, facts)
    return draft.value


def unreadable(draft: Draft, facts: Mapping[str, Any]) -> Exception:
    """Return the error of a run none of whose drafts could be read: the reader's own, with the number of calls."""
    calls = facts["iterations"]
    if draft.error is None:
        return OutputParserException(
            f"no draft of {calls} could be read: {draft.fault}", llm_output=draft.text
        )
    draft.error.add_note(
        f"loopllm: none of {calls} drafts could be read; the loop ended by {facts['exit_reason']}"
    )
    return draft.error


def signed(message: Any, usages: Usages, facts: Mapping[str, Any]) -> Any:
    """Return a copy of the message with the summed usage and the loop's facts."""
    if not isinstance(message, BaseMessage):
        return message
    update: dict[str, Any] = {"response_metadata": {**message.response_metadata, "loopllm": dict(facts)}}
    if isinstance(message, AIMessage):
        update["usage_metadata"] = sum_usage(usages)
    return message.model_copy(update=update)
