"""The loop inside an agent: each answer of the agent's model is refined before it enters the history."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import AgentMiddleware, ModelResponse
from langchain.agents.middleware.types import AgentState
from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig

from loopllm.config import LoopConfig
from loopllm.results import RefinementResult
from loopllm_lc.accepting import drafted, loop_facts, signed, unreadable
from loopllm_lc.agent_calls import AgentAsker, Request, Response
from loopllm_lc.conversation import ChatFormat
from loopllm_lc.drafts import Draft
from loopllm_lc.engine_run import EngineRun
from loopllm_lc.evaluating import bind_evaluator
from loopllm_lc.scope import RunManager, Scope
from loopllm_lc.settings import LoopSettings

if TYPE_CHECKING:
    Middleware = AgentMiddleware[AgentState[Any], Any, Any]
else:  # older releases of langchain have it with fewer parameters
    Middleware = AgentMiddleware


class LoopMiddleware(Middleware):
    """Refines each answer of an agent's model: for `langchain.agents.create_agent(middleware=[...])`.

    Only the accepted draft enters the history, with the usage of all drafts and `response_metadata["loopllm"]`. A
    draft that calls tools goes through unjudged. With a `response_format` the parsed structure is judged, and a
    structure that cannot be parsed is a deficiency, so that retries end after `max_iterations` calls. Drafts and the
    judge's calls stay out of `stream_mode="messages"`; progress goes out in `stream_mode="custom"`.

    The loop lives inside one step of the agent: after a crash it begins again. `CheckpointedLoopMiddleware` does not.

    Args:
        evaluator: What `LoopedRunnable` takes as an evaluator: it is given the text of an answer, or the parsed
            structure. It may be left out for agents with a `response_format`; being readable is then enough.
        config: Limits and settings of the loop.
        priors: What earlier runs have taught.
        task_type: Your name for the kind of task.
        model_id: The model's name for learning, where the model does not tell it.
        exit_conditions: Further conditions that end the loop.
    """

    def __init__(
        self,
        evaluator: Any = None,
        config: LoopConfig | None = None,
        *,
        priors: Any = None,
        task_type: str = "agent",
        model_id: str | None = None,
        exit_conditions: Sequence[Any] = (),
    ) -> None:
        super().__init__()
        self.settings = LoopSettings(
            evaluator=evaluator,
            config=config or LoopConfig(),
            priors=priors,
            task_type=task_type,
            model_id=model_id,
            exit_conditions=exit_conditions,
        )
        bind_evaluator(evaluator, has_parser=True)

    def wrap_model_call(self, request: Request, handler: Callable[[Request], Response]) -> Response:
        """Refine one answer, blocking."""
        return _Looped(self.settings, request, handler).invoke(list(request.messages))

    async def awrap_model_call(
        self, request: Request, handler: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        """Refine one answer without blocking the event loop."""
        return await _Looped(self.settings, request, handler).ainvoke(list(request.messages))


class _Looped(Runnable[list[BaseMessage], Response]):
    """One model call of an agent, as a run of its own below the agent's step."""

    name = "LoopMiddleware"

    def __init__(self, settings: LoopSettings, request: Request, handler: Callable[[Request], Any]) -> None:
        self._settings = settings
        self._request = request
        self._handler = handler

    def invoke(
        self,
        input: list[BaseMessage],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Response:
        """Run the loop."""
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(
        self,
        input: list[BaseMessage],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Response:
        """Run the loop without blocking the event loop."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def _invoke(
        self, messages: list[BaseMessage], run_manager: CallbackManagerForChainRun, config: RunnableConfig
    ) -> Response:
        asker, engine = self._parts(messages, config, run_manager)
        return _response(engine.play(messages, ChatFormat()), asker)

    async def _ainvoke(
        self,
        messages: list[BaseMessage],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
    ) -> Response:
        asker, engine = self._parts(messages, config, run_manager)
        return _response(await engine.aplay(messages, ChatFormat()), asker)

    def _parts(
        self, messages: list[BaseMessage], config: RunnableConfig, run_manager: RunManager
    ) -> tuple[AgentAsker, EngineRun]:
        scope = Scope(config, run_manager)
        asker = AgentAsker(self._request, self._handler, scope, self._settings.model_id)
        asker.taken_ids.update(message.id for message in messages)
        structured = self._request.response_format is not None
        evaluator = bind_evaluator(self._settings.evaluator, has_parser=structured)
        return asker, EngineRun(self._settings, scope, asker, evaluator, messages)


def _response(result: RefinementResult[Any, Draft], asker: AgentAsker) -> Response:
    """Return the accepted draft as the agent's own response.

    Raises:
        CallTimeoutError: The time was up before the first draft.
        StructuredOutputError: No draft held the structure asked for.
        OutputParserException: Likewise, where the agent would have asked for ever.
    """
    draft, facts = drafted(result), loop_facts(result)
    if draft.fault:
        raise unreadable(draft, facts)
    message = signed(draft.message, asker.usages, facts)
    return ModelResponse(
        result=[_replaced(each, message) for each in draft.origin.result],
        structured_response=draft.origin.structured_response,
    )


def _replaced(message: BaseMessage, answer: Any) -> BaseMessage:
    return answer if isinstance(message, AIMessage) else message
