"""Priors that only observe leave a LangChain run as it was."""

from typing import Any

import pytest
from langchain_core.messages import BaseMessage

from loopllm import AdaptivePriors, LoopConfig
from loopllm_lc import LoopedRunnable


def transcript(scripted: Any, priors: AdaptivePriors | None, learning: str) -> list[Any]:
    """What the model saw and what came back, over 30 runs that are stuck from the second draft on."""
    seen: list[list[BaseMessage]] = []
    answers: list[Any] = []
    config = LoopConfig.model_validate({"max_iterations": 5, "convergence_delta": 0.0, "learning": learning})
    for _ in range(30):
        model = scripted("0.2", "0.3", "0.3", "0.3", "0.3", model_name="small")
        looped = LoopedRunnable(bound=model, evaluator=float, config=config, priors=priors, task_type="t")
        message = looped.invoke("task")
        answers.append((message.content, message.response_metadata["loopllm"]))
        seen += model.seen
    return [[[(m.type, m.content) for m in messages] for messages in seen], answers]


@pytest.mark.parametrize(("mode", "learning"), [("observe", "act"), ("act", "observe")])
def test_observing_changes_nothing_and_reports(scripted: Any, mode: Any, learning: str) -> None:
    priors = AdaptivePriors(mode=mode)
    assert transcript(scripted, priors, learning) == transcript(scripted, None, "off")
    report = priors.report("t", "small")
    assert report.total_calls == 30
    assert report.saved is not None
    assert report.saved.runs + report.saved.unknown == 30


def test_acting_would_have_changed_something(scripted: Any) -> None:
    assert transcript(scripted, AdaptivePriors(), "act") != transcript(scripted, None, "off")
