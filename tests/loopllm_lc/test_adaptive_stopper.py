"""An edge predicate for loops drawn by hand."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

from loopllm import AdaptivePriors, CallObservation, LoopConfig, MisuseError
from loopllm_lc import AdaptiveStopper


class State(TypedDict, total=False):
    scores: Annotated[list[float], operator.add]


def climbing(state: Any) -> Any:
    return {"scores": [0.1 + 0.25 * len(state.get("scores", []))]}


def graph_with(stopper: Any, checkpointer: Any = None) -> Any:
    builder = StateGraph(State)
    builder.add_node("draft", climbing)
    builder.add_edge(START, "draft")
    builder.add_conditional_edges("draft", stopper.route, [stopper.again, stopper.done])
    return builder.compile(checkpointer=checkpointer)


@pytest.mark.parametrize(
    ("scores", "condition"),
    [
        ([], None),
        ([0.3], None),
        ([0.3, 0.9], "quality_threshold"),
        ([0.3, 0.3, 0.3], "convergence_delta"),
        ([0.1, 0.2, 0.3, 0.4], "max_iterations"),
    ],
)
def test_it_ends_where_the_engine_would(scores: Any, condition: Any) -> None:
    reason = AdaptiveStopper(LoopConfig(max_iterations=4)).exit_reason({"scores": scores})
    assert (reason.condition if reason else None) == condition


def test_a_graph_loops_until_it_is_enough() -> None:
    assert graph_with(AdaptiveStopper()).invoke({})["scores"] == pytest.approx([0.1, 0.35, 0.6, 0.85])
    assert END == "__end__"


def test_one_stopper_serves_interleaved_and_resumed_runs() -> None:
    """Counters on the instance would mix the runs up."""
    stopper = AdaptiveStopper(LoopConfig(max_iterations=3, convergence_delta=0.0))
    runs = {name: [] for name in "abc"}
    for _ in range(3):
        for scores in runs.values():
            assert stopper.should_continue({"scores": scores})
            scores.append(0.2)
    assert not any(stopper.should_continue({"scores": scores}) for scores in runs.values())
    config: Any = {"configurable": {"thread_id": "1"}}
    saver = InMemorySaver()
    for _ in graph_with(stopper, saver).stream({}, config):
        break
    assert len(graph_with(stopper, saver).invoke(None, config)["scores"]) == 3


def test_what_was_learned_ends_a_run_that_is_not_worth_another_call() -> None:
    priors = AdaptivePriors()
    for _ in range(60):
        priors.observe(
            CallObservation(
                task_type="t",
                model_id="m",
                scores=[0.3, 0.3, 0.3],
                latencies_ms=[1.0] * 3,
                converged=False,
                total_iterations=3,
                max_iterations=3,
                quality_threshold=0.8,
            )
        )
    config = LoopConfig(convergence_delta=0.0)
    taught = AdaptiveStopper(config, priors=priors, task_type="t", model_id="m")
    reason = taught.exit_reason({"scores": [0.3]})
    assert reason is not None
    assert reason.condition == "bayesian_exit"
    assert AdaptiveStopper(config).should_continue({"scores": [0.3]})


def test_a_state_object_will_do() -> None:
    @dataclass
    class Seen:
        marks: list[float] = field(default_factory=lambda: [0.95])

    assert AdaptiveStopper(scores="marks").route(Seen()) == "__end__"


def test_a_state_without_scores_is_refused_with_the_key() -> None:
    with pytest.raises(MisuseError, match="scores"):
        AdaptiveStopper().should_continue({"messages": []})


@pytest.mark.parametrize("wrong", [None, float("nan"), 7, "good"])
def test_what_is_no_score_is_refused_with_the_way_to_mend_it(wrong: Any) -> None:
    with pytest.raises(MisuseError, match="leave out what has no score"):
        AdaptiveStopper().route({"scores": [0.4, wrong]})


def test_priors_without_a_model_are_refused() -> None:
    with pytest.raises(MisuseError, match="model_id"):
        AdaptiveStopper(priors=AdaptivePriors())
