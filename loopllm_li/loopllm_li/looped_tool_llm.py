"""A looped `LLM` that can call tools, for agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LLMMetadata
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import BaseTool

from loopllm.errors import MisuseError
from loopllm.results import RefinementResult
from loopllm_li.chat_rounds import ChatJudge, Conversation
from loopllm_li.looped_llm import LoopedLlamaLLM, chat_response
from loopllm_li.tool_turns import ToolAwareRounds, ToolTurnError


class LoopedFunctionCallingLLM(LoopedLlamaLLM, FunctionCallingLLM):
    """A `LoopedLlamaLLM` for agents: answers are looped, and turns that call tools are left alone.

    Tools are written and read by the inner LLM, which must be able to call them. A reply that calls a tool is
    handed on at once, as the inner LLM gave it: it is neither scored nor learned from. Should feedback lead
    the model to call a tool after all, that turn is handed on in place of the drafts before it.

    Args: as in `LoopedLlamaLLM`.

    Raises:
        MisuseError: The LLM cannot call functions, or another argument is wrong; the message names it.
    """

    def __init__(self, *, llm: Any, evaluator: Any, **settings: Any) -> None:
        if not (isinstance(llm, FunctionCallingLLM) and llm.metadata.is_function_calling_model):
            raise MisuseError(
                f"llm must be a function calling LLM, and this {type(llm).__name__} does not call functions; use "
                "LoopedLlamaLLM, or set is_function_calling_model=True on an LLM that can"
            )
        super().__init__(llm=llm, evaluator=evaluator, **settings)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "looped_function_calling_llm"

    @property
    def metadata(self) -> LLMMetadata:
        """The inner LLM's."""
        return self.llm.metadata

    def _chatted(self, messages: Sequence[ChatMessage], arguments: dict[str, Any]) -> ChatResponse:
        rounds = self._tool_aware(arguments)
        loop, judge = self._chat_loop(rounds), ChatJudge(self._evaluator)
        try:
            return _settled(rounds, loop.refine(list(messages), judge, task_type=self.task_type))
        except ToolTurnError as turn:
            return turn.reply

    async def _achatted(self, messages: Sequence[ChatMessage], arguments: dict[str, Any]) -> ChatResponse:
        rounds = self._tool_aware(arguments)
        loop, judge = self._chat_loop(rounds), ChatJudge(self._evaluator)
        try:
            return _settled(rounds, await loop.arefine(list(messages), judge, task_type=self.task_type))
        except ToolTurnError as turn:
            return turn.reply

    # -- tools are the inner LLM's ------------------------------------------------------------------------------

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Return the tool calls in a reply, as the inner LLM reads them."""
        return self._caller.get_tool_calls_from_response(response, error_on_no_tool_call, **kwargs)

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        # The compatible one leaves out `tool_required` for integrations that do not know it.
        return self._caller._prepare_chat_with_tools_compat(  # noqa: SLF001 - the one place where tools are written
            tools, user_msg, chat_history, verbose, allow_parallel_tool_calls, tool_required, **kwargs
        )

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence[BaseTool],
        allow_parallel_tool_calls: bool = False,
        **kwargs: Any,
    ) -> ChatResponse:
        return self._caller._validate_chat_with_tools_response(  # noqa: SLF001 - as above
            response, tools, allow_parallel_tool_calls, **kwargs
        )

    @property
    def _caller(self) -> FunctionCallingLLM:
        if not isinstance(self.llm, FunctionCallingLLM):
            raise MisuseError(
                f"llm was replaced by a {type(self.llm).__name__}, which does not call functions"
            )
        return self.llm

    def _tool_aware(self, arguments: dict[str, Any]) -> ToolAwareRounds:
        return ToolAwareRounds(self._chat_rounds(arguments), self._calls_tools)

    def _calls_tools(self, reply: ChatResponse) -> bool:
        return bool(self.get_tool_calls_from_response(reply, error_on_no_tool_call=False))


def _settled(rounds: ToolAwareRounds, result: RefinementResult[Conversation, ChatResponse]) -> ChatResponse:
    """Return the accepted draft, or the turn that called a tool after drafts, with the tokens of them all."""
    turn = rounds.tool_turn
    if turn is None:
        return chat_response(result)
    paid = chat_response(result, and_usage=turn.usage)
    return ChatResponse(message=turn.content.message, raw=paid.raw)
