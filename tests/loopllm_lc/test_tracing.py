"""What a tracer such as LangSmith's keeps of a loop."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tracers.base import BaseTracer

from loopllm_lc import LoopedChatModel, LoopedRunnable


class KeepingTracer(BaseTracer):
    """Keeps the finished traces, as LangSmith's tracer sends them."""

    def __init__(self) -> None:
        super().__init__()
        self.traces: list[Any] = []

    def _persist_run(self, run: Any) -> None:
        self.traces.append(run)


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])
async def test_scores_and_the_loops_facts_are_metadata_of_its_runs(
    scripted: Any, says_yes: Any, how: str
) -> None:
    tracer = KeepingTracer()
    looped = LoopedRunnable(bound=scripted("no", "yes"), evaluator=says_yes)
    mine: dict[str, Any] = {"user": "u1"}
    config: Any = {"callbacks": [tracer], "metadata": mine}
    if how == "invoke":
        looped.invoke("Agree.", config)
    elif how == "ainvoke":
        await looped.ainvoke("Agree.", config)
    else:
        list(looped.stream("Agree.", config))
    (trace,) = tracer.traces
    assert trace.extra["metadata"]["loopllm"]["trajectory"] == [0.2, 1.0]
    judged = [run for run in trace.child_runs if run.name == "evaluate"]
    assert [run.extra["metadata"]["loopllm_score"] for run in judged] == [0.2, 1.0]
    assert [run.extra["metadata"]["loopllm_iteration"] for run in judged] == [1, 2]
    assert mine == {"user": "u1"}


def test_no_run_of_a_chain_repeats_the_tokens_of_its_models(scripted: Any, says_yes: Any) -> None:
    """T21: LangSmith adds up the children's."""
    tracer = KeepingTracer()
    LoopedRunnable(bound=scripted("no", "yes"), evaluator=says_yes).invoke("Agree.", {"callbacks": [tracer]})
    (trace,) = tracer.traces
    chains = [trace, *(run for run in trace.child_runs if run.run_type == "chain")]
    assert not [run for run in chains if "usage_metadata" in run.extra.get("metadata", {})]


def test_a_looped_chat_models_run_has_the_facts_too(scripted: Any, says_yes: Any) -> None:
    tracer = KeepingTracer()
    LoopedChatModel(bound=scripted("no", "yes"), evaluator=says_yes).invoke("Agree.", {"callbacks": [tracer]})
    (trace,) = tracer.traces
    assert trace.extra["metadata"]["loopllm"]["iterations"] == 2
