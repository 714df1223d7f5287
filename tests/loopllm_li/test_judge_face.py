"""A judge that waits for a model is interrupted by the time limit, behind every wrapper of LlamaIndex."""

from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from tests.loopllm_li.conftest import ScriptedChat, ScriptedCompletions, ScriptedEngine, ShelfRetriever

from loopllm import LoopConfig
from loopllm_li import LoopedLlamaLLM, LoopedQueryEngine, LoopedRetriever

LIMIT = LoopConfig(max_iterations=3, timeout_ms=50)
QUERY = "why do tides rise"


class SlowJudge:
    """Answers when it is let go, or after so long that nobody would have waited."""

    name = "slow"
    waits = True

    def __init__(self) -> None:
        self.let_go = Event()
        self.answered = False

    def evaluate(self, output: Any, context: Any = None) -> float:
        self.let_go.wait(5)
        self.answered = True
        return 0.9


@pytest.fixture
def judge() -> Iterator[SlowJudge]:
    slow = SlowJudge()
    yield slow
    slow.let_go.set()


def answered(judge: SlowJudge) -> str:
    engine = ScriptedEngine(["the moon"])
    return str(LoopedQueryEngine(query_engine=engine, evaluator=judge, config=LIMIT).query(QUERY))


def retrieved(judge: SlowJudge) -> str:
    shelf, llm = ShelfRetriever({QUERY: ["the moon"]}), ScriptedCompletions(replies=["tides"])
    found = LoopedRetriever(llm=llm, retriever=shelf, evaluator=judge, config=LIMIT).retrieve(QUERY)
    return found[0].node_id


def chatted(judge: SlowJudge) -> str:
    llm = LoopedLlamaLLM(llm=ScriptedChat(replies=["the moon"]), evaluator=judge, config=LIMIT)
    return str(llm.chat([ChatMessage(QUERY)]).message.content)


@pytest.mark.parametrize("ask", [answered, retrieved, chatted])
def test_a_blocking_run_ends_in_time_with_the_draft_that_it_has(
    ask: Callable[[SlowJudge], str], judge: SlowJudge
) -> None:
    assert ask(judge) == "the moon"
    assert not judge.answered
