"""One engine for many event loops, threads and models: what is held is neither copied, pickled nor bound to a loop."""

import asyncio
import json
import threading
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from tests.loopllm_li.conftest import (
    AwaitableShelf,
    ScriptedChat,
    ScriptedCompletions,
    ScriptedEngine,
    ShelfRetriever,
    openai_like,
)

from loopllm import LoopConfig
from loopllm_li import (
    LlamaIndexEvaluator,
    LlamaIndexProvider,
    LoopedExtractor,
    LoopedLlamaLLM,
    LoopedQueryEngine,
    LoopedQueryTransform,
    LoopedRetriever,
    LoopedWorkflow,
    LoopRoundEvent,
)

QUERY = "why does the sea rise"
GOOD = "tides moon gravity"
SHELF = {QUERY: ["sea salt"], GOOD: ["tides"]}
SECRET = "sk-very-secret"


def judge(nodes: Any, context: Any) -> float:
    return 0.9 if nodes[0].node_id == "tides" else 0.3


def is_yes(text: str) -> float:
    return float(text == "yes")


class Unmovable(ScriptedChat):
    """Like an OpenAI client after its first call: it can be neither copied nor pickled."""

    def __deepcopy__(self, memo: Any = None) -> Any:
        raise TypeError("cannot pickle '_thread.RLock' object")

    def __copy__(self) -> Any:
        raise TypeError("cannot copy a client")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("cannot pickle '_thread.RLock' object")


async def test_a_client_that_cannot_be_copied_serves_every_part() -> None:
    """Trap 6: a deep copy of an OpenAI LLM fails after its first call, and a pickle holds its key."""
    retriever = LoopedRetriever(
        llm=Unmovable(replies=[GOOD]), retriever=AwaitableShelf(SHELF), evaluator=judge
    )
    retriever.get_prompts()
    assert (await retriever.aretrieve(QUERY))[0].node_id == "tides"
    transform = LoopedQueryTransform(
        llm=Unmovable(replies=[GOOD]), retriever=AwaitableShelf(SHELF), evaluator=judge
    )
    transform.get_prompts()
    assert transform.run(QUERY).query_str == GOOD
    llm = LoopedLlamaLLM(llm=Unmovable(replies=["no", "yes"]), evaluator=is_yes)
    assert (await llm.achat([ChatMessage(role="user", content="x")])).message.content == "yes"
    assert (await LlamaIndexProvider(Unmovable(replies=["yes"])).acomplete("x")).content == "yes"


async def test_the_context_of_a_workflow_holds_plain_data_and_no_client_and_no_key() -> None:
    """Trap 6: no engine in the store, since the context must be written down."""

    class Client(Unmovable):
        api_key: str = SECRET

    workflow = LoopedWorkflow(llm=Client(replies=["no", "yes"]), evaluator=is_yes)
    handler = workflow.run(prompt="Agree.")
    await handler
    written = json.dumps(handler.ctx.to_dict())
    assert "yes" in written
    assert SECRET not in written


def test_no_key_is_in_what_is_shown_of_any_part() -> None:
    llm = openai_like(api_key=SECRET, is_chat_model=True)
    parts = (
        LoopedQueryTransform(llm=llm, retriever=ShelfRetriever(SHELF)),
        LoopedRetriever(llm=llm, retriever=ShelfRetriever(SHELF)),
        LoopedLlamaLLM(llm=llm, evaluator=is_yes),
        LoopedExtractor(llm=llm, evaluator=is_yes),
        LlamaIndexProvider(llm),
        LoopedWorkflow(llm=llm, evaluator=is_yes),
    )
    assert [type(part).__name__ for part in parts if SECRET in repr(part) + str(part)] == []


def test_one_engine_serves_event_loops_one_after_the_other_also_under_contention() -> None:
    """Trap 3: a lock of asyncio that was contended in one loop raises in the next."""
    retriever = LoopedRetriever(
        llm=ScriptedChat(replies=[GOOD]), retriever=AwaitableShelf(SHELF), evaluator=judge
    )
    engine = LoopedQueryEngine(query_engine=ScriptedEngine(["yes"]), evaluator=is_yes)

    async def contended() -> list[str]:
        found = await asyncio.gather(*(retriever.aretrieve(QUERY) for _ in range(8)))
        answers = await asyncio.gather(*(engine.aquery(QUERY) for _ in range(8)))
        return [*{nodes[0].node_id for nodes in found}, *{str(answer) for answer in answers}]

    for _ in range(3):
        assert asyncio.run(contended()) == ["tides", "yes"]


async def test_the_blocking_calls_work_inside_a_running_loop_and_leave_it_running() -> None:
    """Trap 3: a notebook has a running loop; it is neither nested nor replaced."""
    before = asyncio.get_running_loop()
    retriever = LoopedRetriever(
        llm=ScriptedCompletions(replies=[GOOD]), retriever=ShelfRetriever(SHELF), evaluator=judge
    )
    assert retriever.retrieve(QUERY)[0].node_id == "tides"
    assert asyncio.get_running_loop() is before
    assert asyncio.get_event_loop_policy().__class__.__module__.startswith("asyncio")


async def test_an_error_inside_a_run_keeps_its_kind_whatever_it_is() -> None:
    """Trap 2: "Detected nested async" would stand in for any RuntimeError."""
    engine = LoopedQueryEngine(
        query_engine=ScriptedEngine([RecursionError("too deep")]),
        evaluator=is_yes,
        config=LoopConfig(max_retries=0),
    )
    with pytest.raises(Exception, match="too deep") as caught:
        engine.query(QUERY)
    assert isinstance(caught.value.__cause__, RecursionError)


async def test_rounds_scored_in_other_threads_reach_the_stream_of_a_workflow() -> None:
    """Trap 19: writing to the stream from a worker thread raises."""
    threads: list[str] = []

    def blocking(text: str) -> float:
        threads.append(threading.current_thread().name)
        return is_yes(text)

    handler = LoopedWorkflow(llm=ScriptedCompletions(replies=["no", "yes"]), evaluator=blocking).run(
        prompt="x"
    )
    told = [event.iteration async for event in handler.stream_events() if isinstance(event, LoopRoundEvent)]
    await handler
    assert told == [1, 2]
    assert threading.main_thread().name not in threads


def test_evaluators_of_one_kind_do_not_share_what_they_are_told() -> None:
    """Trap 22: two guideline evaluators would share the parser of the last one built."""
    from llama_index.core.evaluation import GuidelineEvaluator

    llm = ScriptedCompletions(replies=['{"passing": true, "feedback": ""}'])
    one, two = (
        LlamaIndexEvaluator(GuidelineEvaluator(llm=llm, guidelines=guideline))
        for guideline in ("be brief", "be kind")
    )
    parsers = {id(judge.evaluator._eval_template.output_parser) for judge in (one, two)}  # type: ignore[attr-defined]
    assert len(parsers) == 2
