"""Events as log records: quiet unless asked for, and never the words of prompts and answers."""

import logging

import pytest

from loopllm import LoopConfig, LoopedLLM, ProviderError
from loopllm.providers.mock import MockLLMProvider
from loopllm.telemetry.log import LogObserver


def refine_with_log() -> None:
    busy = ProviderError("busy", transient=True)
    provider = MockLLMProvider(responses=["a secret answer", busy, "another secret answer"])
    loop = LoopedLLM(provider, LoopConfig(max_iterations=2, retry_base_s=0.0), observers=[LogObserver()])
    loop.refine("a secret task", lambda output: 0.3)


def test_rounds_retries_and_results_are_logged_at_their_levels(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="loopllm"):
        refine_with_log()
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert ("DEBUG", "call 1 scored 0.3") in said
    assert any(level == "WARNING" and "busy" in message for level, message in said)
    assert any(
        level == "INFO" and message.startswith("max_iterations after 2 calls") for level, message in said
    )


def test_no_prompt_and_no_answer_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="loopllm"):
        refine_with_log()
    assert "secret" not in caplog.text


def test_nothing_is_printed_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    LoopedLLM(MockLLMProvider(responses=["x"])).refine("task", lambda output: 0.9)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
