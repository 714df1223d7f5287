"""The progress line: what the loop is doing now, and the best score so far."""

import io

from rich.console import Console

from loopllm import LoopedLLM
from loopllm.events import Retrying
from loopllm.providers.mock import MockLLMProvider
from loopllm.telemetry.progress import ProgressLine


class Recorded(ProgressLine):
    """Keeps every text the line showed."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.shown: list[str] = []
        update = self._status.update

        def record(text: str) -> None:
            self.shown.append(text)
            update(text)

        self._status.update = record  # type: ignore[method-assign, assignment]  # to see what is drawn


def by_number(output: str) -> float:
    return float(output)


def test_the_line_names_the_call_and_the_best_score_so_far() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    with Recorded(console) as line:
        loop = LoopedLLM(MockLLMProvider(responses=["0.4", "0.9"]), observers=[line])
        loop.refine("task", by_number)
    assert line.shown == ["call 1 (first)", "call 2 (last), best so far 0.40", "done: quality_threshold"]


def test_brackets_in_what_a_server_said_are_shown_as_they_are() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=100)
    with ProgressLine(console) as line:
        line.on_event(Retrying(1, 2.0, "POST [/v1/chat] with key [secret] failed"))
        console.print(line._status.renderable)
    assert "call 1 failed (POST [/v1/chat] with key [secret] failed), again in 2.0 s" in screen.getvalue()
