"""Priors in LangGraph's own store."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore
from langgraph.store.sqlite.aio import AsyncSqliteStore

from loopllm import AdaptivePriors, MisuseError, StoreError
from loopllm.testing import InProcessPriorStoreContract
from loopllm_lc import CheckpointedLoopMiddleware, GraphPriorStore, LoopedRunnable, loop_graph, priors_in


class TestGraphPriorStore(InProcessPriorStoreContract):
    @pytest.fixture
    def store(self) -> Any:
        return GraphPriorStore(InMemoryStore())


def test_no_update_of_many_writers_is_lost() -> None:
    """T26: reading, changing and writing one key kept 205 of 800."""
    shared = InMemoryStore()

    def work(_: Any) -> None:
        handle = GraphPriorStore(shared)
        for _ in range(50):
            handle.merge({"a": {"runs": 1.0}, "b": {"runs": 2.0}})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert GraphPriorStore(shared).load("a") == {"runs": 400.0}
    assert GraphPriorStore(shared).load("b") == {"runs": 800.0}


def test_what_was_loaded_is_the_callers_own() -> None:
    """T27: the in-memory store hands out its live dicts."""
    store = GraphPriorStore(InMemoryStore())
    store.merge({"a": {"runs": 1.0}})
    store.load("a")["runs"] = 99.0
    assert store.load("a") == {"runs": 1.0}


def test_more_shards_than_a_page_are_all_read() -> None:
    """LangGraph's search returns ten items unless told otherwise."""
    shared = InMemoryStore()
    for _ in range(230):
        GraphPriorStore(shared).merge({"a": {"runs": 1.0}})
    assert GraphPriorStore(shared).load("a") == {"runs": 230.0}
    assert list(GraphPriorStore(shared).keys()) == ["a"]


def test_what_is_written_while_many_shards_are_read_is_not_counted_twice() -> None:
    """LangGraph's databases find what was written last first, so that all else moves."""

    class Busy(SqliteStore):
        is_busy = False

        def search(self, *args: Any, **kwargs: Any) -> Any:
            found = super().search(*args, **kwargs)
            if self.is_busy:
                self.is_busy = False
                GraphPriorStore(self).merge({"b": {"runs": 1.0}})
            return found

    with SqliteStore.from_conn_string(":memory:") as database:
        shared = Busy(database.conn)
        shared.setup()
        for _ in range(110):
            GraphPriorStore(shared).merge({"a": {"runs": 1.0}})
        shared.conn.execute("UPDATE store SET updated_at = datetime('now', '-1 hour')")
        shared.is_busy = True
        assert GraphPriorStore(shared).load("a") == {"runs": 110.0}


def test_a_named_shard_goes_on_where_it_was() -> None:
    shared = InMemoryStore()
    for _ in range(3):
        GraphPriorStore(shared, shard="worker-1").merge({"a": {"runs": 1.0}})
    assert GraphPriorStore(shared).load("a") == {"runs": 3.0}
    assert len(shared.search(("loopllm", "priors"))) == 1


async def test_a_named_shard_can_be_made_where_the_store_can_only_be_awaited() -> None:
    """A server makes its priors when it starts, inside its event loop."""
    async with AsyncSqliteStore.from_conn_string(":memory:") as shared:
        await shared.setup()
        for _ in range(2):
            store = GraphPriorStore(shared, shard="worker-1")
            await asyncio.to_thread(store.merge, {"a": {"runs": 1.0}})
        assert await asyncio.to_thread(store.load, "a") == {"runs": 2.0}


def test_a_named_shard_that_cannot_be_read_is_not_written_over() -> None:
    class Unreadable(InMemoryStore):
        def get(self, *args: Any, **kwargs: Any) -> Any:
            raise ConnectionError("away")

    shared = Unreadable()
    with pytest.raises(StoreError, match="could not be read: away"):
        GraphPriorStore(shared, shard="worker-1").merge({"a": {"runs": 1.0}})
    assert shared.search(("loopllm", "priors")) == []


def test_two_workers_learn_from_each_other(scripted: Any, says_yes: Any) -> None:
    shared = InMemoryStore()
    first, second = (AdaptivePriors(store=GraphPriorStore(shared)) for _ in range(2))
    model = scripted("yes", model_name="small")
    LoopedRunnable(bound=model, evaluator=says_yes, priors=first).invoke("?")
    assert second.report("default", "small").total_calls == 1


_WORKER = """
import sys
from langgraph.store.sqlite import SqliteStore
from loopllm import StoreError
from loopllm_lc import GraphPriorStore
with SqliteStore.from_conn_string(sys.argv[1]) as store:
    handle, merged = GraphPriorStore(store), 0
    while merged < 25:
        try:
            handle.merge({"a": {"runs": 1.0}})
        except StoreError:  # the file was busy; nothing was added, so it is tried again
            continue
        merged += 1
"""


def test_no_update_of_many_processes_is_lost(tmp_path: Path) -> None:
    """T26: with a store that outlives them, LangGraph's own in SQLite."""
    database = str(tmp_path / "store.db")
    with SqliteStore.from_conn_string(database) as store:
        store.setup()
        command = [sys.executable, "-c", _WORKER, database]
        workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
        assert [worker.communicate()[1] for worker in workers if worker.wait()] == []
        assert GraphPriorStore(store).load("a") == {"runs": 100.0}


async def test_a_node_of_a_graph_with_an_async_store_learns_too(
    scripted: Any, says_yes: Any, tmp_path: Path
) -> None:
    """T26: such a store refuses blocking calls on its own event loop."""
    model = scripted("no", "yes", model_name="small")

    async def answer(state: Any, runtime: Runtime[None]) -> Any:
        priors = priors_in(runtime.store)
        looped = LoopedRunnable(bound=model, evaluator=says_yes, priors=priors, task_type="t")
        return {"answer": (await looped.ainvoke("?")).text}

    async with AsyncSqliteStore.from_conn_string(str(tmp_path / "store.db")) as store:
        await store.setup()
        builder = StateGraph(State)
        builder.add_node("answer", answer)
        builder.add_edge(START, "answer")
        graph = builder.compile(store=store)
        for _ in range(2):
            assert (await graph.ainvoke({}))["answer"] == "yes"
        report = await asyncio.to_thread(priors_in(store).report, "t", "small")
    assert (report.total_calls, report.model_calls) == (2, 3)


@pytest.mark.parametrize("kind", ["graph", "agent", "tools"])
async def test_a_checkpointed_loop_with_an_async_store_learns_too(
    scripted: Any, says_yes: Any, tmp_path: Path, kind: Any
) -> None:
    """T26: what was learned is fetched from it in every node, and never on the event loop."""
    call = AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}])
    model = scripted("no", *([call] if kind == "tools" else []), "yes", model_name="small")
    async with AsyncSqliteStore.from_conn_string(str(tmp_path / "store.db")) as store:
        await store.setup()
        settings: Any = {"priors": priors_in(store), "task_type": "t", "model_id": "small"}
        if kind == "graph":
            graph: Any = loop_graph(model, says_yes, **settings).compile()
        else:
            graph = create_agent(model, [look], middleware=[CheckpointedLoopMiddleware(says_yes, **settings)])
        state = await graph.ainvoke({"messages": [HumanMessage("?")]})
        assert state["messages"][-1].text == "yes"
        report = await asyncio.to_thread(priors_in(store).report, "t", "small")
    assert report.total_calls > 0


@tool
def look() -> str:
    """Look."""
    return "seen"


class State(TypedDict, total=False):
    answer: str


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_a_node_reaches_the_priors_of_its_graph(scripted: Any, says_yes: Any, how: Any) -> None:
    model = scripted("yes", model_name="small")

    def answer(state: Any) -> Any:
        looped = LoopedRunnable(bound=model, evaluator=says_yes, priors=priors_in(), task_type="t")
        return {"answer": looped.invoke("?").text}

    async def aanswer(state: Any) -> Any:
        looped = LoopedRunnable(bound=model, evaluator=says_yes, priors=priors_in(), task_type="t")
        return {"answer": (await looped.ainvoke("?")).text}

    store = InMemoryStore()
    builder = StateGraph(State)
    builder.add_node("answer", answer if how == "invoke" else aanswer)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    graph = builder.compile(store=store)
    if how == "invoke":
        graph.invoke({})
    else:
        await asyncio.gather(*(graph.ainvoke({}) for _ in range(3)))
    assert priors_in(store).report("t", "small").total_calls == (1 if how == "invoke" else 3)
    assert priors_in(store) is priors_in(store)


def test_without_a_store_it_says_how_to_get_one() -> None:
    with pytest.raises(MisuseError, match="compile"):
        priors_in()
