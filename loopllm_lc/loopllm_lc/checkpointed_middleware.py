"""The loop inside an agent, each draft and each verdict checkpointed by the agent's own graph."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, NotRequired

from langchain.agents.middleware import hook_config
from langchain.agents.middleware.types import AgentState, PrivateStateAttr
from langchain_core.messages import AIMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig, RunnablePassthrough
from langchain_core.runnables.config import ensure_config, set_config_context

from loopllm.errors import MisuseError
from loopllm.evaluators.adapt import AwaitNeededError
from loopllm.steps import CallModel, ModelReplied
from loopllm_lc.agent_calls import Request, Response
from loopllm_lc.anatomy import Anatomy
from loopllm_lc.asking import Asker
from loopllm_lc.drafts import Draft
from loopllm_lc.evaluating import bind_evaluator
from loopllm_lc.graph_steps import UNTIL_JUDGED, Ending, NodeRun, Result, Run, Stretch
from loopllm_lc.handoff import Handoff
from loopllm_lc.judging import Judge
from loopllm_lc.loop_middleware import LoopMiddleware
from loopllm_lc.progress import Progress
from loopllm_lc.replies import calls_tools, finish_reason_of, is_refusal
from loopllm_lc.scope import NOSTREAM, Scope
from loopllm_lc.usage import usage_of


class LoopAgentState(AgentState[Any]):
    """The state of an agent with a checkpointed loop: `loopllm_run` is the run while it goes on, as plain data."""

    loopllm_run: NotRequired[Annotated[dict[str, Any] | None, PrivateStateAttr]]


class CheckpointedLoopMiddleware(LoopMiddleware):
    """As `LoopMiddleware`, but each draft is a step of the agent: after a crash it goes on and pays for none twice.

    That needs a checkpointer that outlives the process, and `agent.invoke(..., durability="sync")`: without it
    LangGraph writes a checkpoint while the next step runs already.

    A draft that is not accepted is taken out of the history again; at the end the accepted one is there alone. It is
    for answers in text: with a `response_format` use `LoopMiddleware`. With priors it needs `model_id`.

    Since a draft is written into the history before it is judged, `stream_mode="messages"` shows it, whole. The time
    limit counts the model's calls, but the one in flight ends by itself.

    Args: as for `LoopMiddleware`; an evaluator is needed.
    """

    state_schema = LoopAgentState

    def __init__(self, evaluator: Any, config: Any = None, **settings: Any) -> None:
        super().__init__(evaluator, config, **settings)
        if evaluator is None or (self.settings.priors is not None and self.settings.model_id is None):
            raise MisuseError(
                "CheckpointedLoopMiddleware needs an evaluator, and with priors also model_id=..."
            )
        self._evaluator = bind_evaluator(evaluator, has_parser=False)

    def before_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Let go of the run that a crash has left in its thread: only `invoke(None)` goes on with it."""
        del runtime
        return None if _run_in(state) is None else {"loopllm_run": None}

    async def abefore_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """As `before_agent`."""
        return self.before_agent(state, runtime)

    def wrap_model_call(self, request: Request, handler: Callable[[Request], Response]) -> Response:
        """Ask for the next draft, blocking."""
        if self._evaluator.is_async:  # said before the model is paid for
            raise AwaitNeededError.named(self._evaluator.name)
        data = _run_in(request.state)
        run = None if data is None else self._stretch(awaits=False).run_of(data, None)
        started = time.perf_counter()
        with set_config_context(_hidden()) as inside:
            response: Response = inside.run(handler, _next_request(request, run))
        return _timed(response, time.perf_counter() - started)

    async def awrap_model_call(
        self, request: Request, handler: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        """Ask for the next draft without blocking the event loop."""
        data = _run_in(request.state)
        run = None if data is None else await self._stretch(awaits=True).arun_of(data, None)

        async def ask() -> Response:
            return await handler(_next_request(request, run))

        started = time.perf_counter()
        with set_config_context(_hidden()) as inside:
            response = await asyncio.create_task(ask(), context=inside)
        return _timed(response, time.perf_counter() - started)

    @hook_config(can_jump_to=["model"])
    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Score the draft, blocking, and go back to the model or on."""
        del runtime
        data, stretch = _run_in(state), self._stretch(awaits=False)
        if not _is_draft(state):
            return _handed_over(state, None if data is None else stretch.run_of(data, None))
        run = _replied(stretch.run_of(data, list(state["messages"][:-1])), state)
        return _update(state, run, stretch.go(run))

    @hook_config(can_jump_to=["model"])
    async def aafter_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Score the draft without blocking the event loop, and go back to the model or on."""
        del runtime
        data, stretch = _run_in(state), self._stretch(awaits=True)
        if not _is_draft(state):
            return _handed_over(state, None if data is None else await stretch.arun_of(data, None))
        run = _replied(await stretch.arun_of(data, list(state["messages"][:-1])), state)
        return _update(state, run, await stretch.ago(run))

    def _stretch(self, *, awaits: bool) -> Stretch:
        config = ensure_config()
        scope = Scope(config, NodeRun(config, awaits=awaits))
        asker = Asker(Anatomy(RunnablePassthrough(), "chat"), scope, model_id=self.settings.model_id)
        judge = Judge(self._evaluator, scope, asker, None)
        return Stretch(self.settings, asker, judge, Progress(scope), UNTIL_JUDGED)


def _next_request(request: Request, run: Run | None) -> Request:
    step = None if run is None else run.next_step()
    return request.override(messages=step.prompt) if isinstance(step, CallModel) else request


_SECONDS = "loopllm_seconds"
"""Where a message says how long it took, until it is judged: the node that judges it knows the state alone."""


def _timed(response: Response, seconds: float) -> Response:
    last = response.result[-1] if response.result else None
    if not isinstance(last, AIMessage):  # a structure's: it is not judged
        return response
    metadata = {**last.response_metadata, _SECONDS: seconds}
    timed = last.model_copy(update={"response_metadata": metadata})
    return replace(response, result=[*response.result[:-1], timed])


def _untimed(message: Any) -> tuple[Any, float]:
    """Return a message as the model gave it, and the seconds that it took."""
    metadata = dict(message.response_metadata)
    seconds = metadata.pop(_SECONDS, 0.0)
    return message.model_copy(update={"response_metadata": metadata}), seconds


def _handed_over(state: Any, run: Run | None) -> dict[str, Any]:
    (last, _), handoff = _untimed(state["messages"][-1]), Handoff()
    handoff.consider(Draft(last, last), None)
    if handoff.draft is None:  # another middleware's message
        return {"loopllm_run": None}
    records = () if run is None else run.records
    message = Ending.handed_over(records, handoff.draft, handoff.reason).message
    return {"loopllm_run": None, "messages": [message]}


def _replied(run: Run, state: Any) -> Run:
    message, seconds = _untimed(state["messages"][-1])
    reply = ModelReplied(Draft(message, message), usage_of(message), seconds, finish_reason_of(message))
    run.receive(reply, run.elapsed_s + seconds)
    return run


def _hidden() -> RunnableConfig:
    config = ensure_config()
    config["tags"] = [*(config.get("tags") or []), NOSTREAM]
    return config


def _run_in(state: Any) -> Any:
    held: Mapping[str, Any] = state if isinstance(state, Mapping) else vars(state)
    return held.get("loopllm_run")


def _is_draft(state: Any) -> bool:
    last = state["messages"][-1]
    return isinstance(last, AIMessage) and not calls_tools(last) and not is_refusal(last)


def _update(state: Any, run: Run, result: Result | None) -> dict[str, Any]:
    last = state["messages"][-1]
    if result is None:
        return {"loopllm_run": run.to_dict(), "messages": [RemoveMessage(id=last.id)], "jump_to": "model"}
    message = Ending.judged(result).message
    others = [] if message.id == last.id else [RemoveMessage(id=last.id)]
    return {"loopllm_run": None, "messages": [*others, message]}
