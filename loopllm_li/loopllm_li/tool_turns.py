"""Turns in which a model calls a tool: they are no drafts, so a chat loop hands them on untouched.

Rule: such a turn is neither scored nor learned from; it ends the run, whatever was drafted before. It is no failure
either, so whoever raises it stands outside of the spans, which would show an error.
"""

from __future__ import annotations

from collections.abc import Callable

from llama_index.core.base.llms.types import ChatResponse

from loopllm.errors import ProviderError
from loopllm.providers.base import Completion, Provider
from loopllm_li.chat_rounds import Conversation

CallsTools = Callable[[ChatResponse], bool]


class ToolTurnError(ProviderError):
    """The model called a tool instead of answering; the turn belongs to the agent.

    Args:
        reply: The turn, as the model gave it.
    """

    def __init__(self, reply: ChatResponse) -> None:
        super().__init__("the model called a tool; the turn is handed on as it is")
        self.reply = reply


class ToolAwareRounds:
    """The provider of one chat run that stops at a turn with tool calls.

    Args:
        rounds: The provider of the same run.
        calls_tools: Says whether a reply calls tools.
    """

    def __init__(self, rounds: Provider[Conversation, ChatResponse], calls_tools: CallsTools) -> None:
        self.tool_turn: Completion[ChatResponse] | None = None
        self._rounds = rounds
        self._calls_tools = calls_tools

    @property
    def model_id(self) -> str | None:
        """The LLM's own."""
        return self._rounds.model_id

    def complete(
        self, prompt: Conversation, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[ChatResponse]:
        """Answer, blocking at most `timeout` seconds.

        Raises:
            ToolTurnError: The model called a tool.
        """
        return self._drafted(self._rounds.complete(prompt, model, timeout=timeout))

    async def acomplete(
        self, prompt: Conversation, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[ChatResponse]:
        """Answer without blocking the event loop. Errors as in `complete`."""
        return self._drafted(await self._rounds.acomplete(prompt, model, timeout=timeout))

    def _drafted(self, answer: Completion[ChatResponse]) -> Completion[ChatResponse]:
        if self._calls_tools(answer.content):
            self.tool_turn = answer
            raise ToolTurnError(answer.content)
        return answer
