"""A program whose process is killed at every node of its graph in turn, and started again, until the run is done.

    python dying_worker.py graph|agent invoke|ainvoke FOLDER

It prints, as JSON, how many processes were killed, what the model was paid for, what was judged, and the answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from loopllm import LoopConfig
from loopllm_lc import CheckpointedLoopMiddleware, loop_graph

REPLIES = ["no", "maybe", "yes"]
THREAD: Any = {"configurable": {"thread_id": "1"}}


class Life:
    """What this process may still do before it is killed, and what all processes did so far."""

    def __init__(self, log: Path, steps: int) -> None:
        self.log = log
        self.left = steps

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def write(self, kind: str, text: str) -> None:
        with self.log.open("a") as file:
            file.write(json.dumps([kind, text]) + "\n")

    def written(self, kind: str) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [text for each, text in map(json.loads, lines) if each == kind]


class PaidModel(BaseChatModel):
    """Answers with the next reply that nobody was given yet, as a provider that keeps the books does."""

    life: Any

    @property
    def _llm_type(self) -> str:
        return "paid"

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        self.life.step()
        reply = REPLIES[len(self.life.written("paid"))]
        self.life.write("paid", reply)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(reply))])


def runnable(kind: str, life: Life, saver: Any) -> Any:
    def judge(text: str) -> float:
        life.step()
        life.write("judged", text)
        return 1.0 if text == "yes" else 0.2

    config = LoopConfig(convergence_delta=0.0)
    if kind == "graph":
        return loop_graph(PaidModel(life=life), judge, config).compile(saver)
    middleware = CheckpointedLoopMiddleware(judge, config)
    return create_agent(PaidModel(life=life), middleware=[middleware], checkpointer=saver)


def given(state: Any) -> Any:
    return None if state.values else {"messages": [HumanMessage("Agree.")]}


def settings(kind: str) -> dict[str, Any]:
    return {"durability": "sync"} if kind == "agent" else {}


def live(kind: str, life: Life, database: str) -> Any:
    with SqliteSaver.from_conn_string(database) as saver:
        graph = runnable(kind, life, saver)
        return graph.invoke(given(graph.get_state(THREAD)), THREAD, **settings(kind))


async def alive(kind: str, life: Life, database: str) -> Any:
    async with AsyncSqliteSaver.from_conn_string(database) as saver:
        graph = runnable(kind, life, saver)
        return await graph.ainvoke(given(await graph.aget_state(THREAD)), THREAD, **settings(kind))


def child(kind: str, how: str, folder: Path, steps: int) -> None:
    life, database = Life(folder / "log", steps), str(folder / "checkpoints.db")
    try:
        state = live(kind, life, database) if how == "invoke" else asyncio.run(alive(kind, life, database))
        message = state["messages"][-1]
        facts = message.response_metadata["loopllm"]
        (folder / "answer").write_text(json.dumps([message.text, facts["trajectory"]]))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main() -> None:
    kind, how, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    killed = 0
    for attempt in range(20):
        process = os.fork()
        if process == 0:
            child(
                kind, how, folder, steps=min(attempt, 1)
            )  # the first dies in its first node, the others in their second
        _, status = os.waitpid(process, 0)
        if not os.WIFSIGNALED(status):
            break
        killed += 1
    life = Life(folder / "log", 0)
    answer, trajectory = json.loads((folder / "answer").read_text())
    told = {"killed": killed, "paid": life.written("paid"), "judged": life.written("judged")}
    sys.stdout.write(json.dumps({**told, "answer": answer, "trajectory": trajectory}))


if __name__ == "__main__":
    main()
