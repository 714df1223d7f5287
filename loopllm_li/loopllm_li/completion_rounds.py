"""One round of a loop over a completion model: the prompt is written as the bare LLM would have it, once.

Rule: templates go around the words and the feedback together, since what stands behind a template's end is taken for
the beginning of the answer. A prompt that comes with its templates is sent as it is, feedback below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llama_index.core.llms import LLM

from loopllm.providers.deadline import call_in_thread
from loopllm_li.chat_messages import Prompt
from loopllm_li.provider import LlamaIndexProvider, blocks_when_awaited
from loopllm_li.replies import Reply


class Words(str):
    """The words of a prompt that its templates must still be put around."""

    __slots__ = ()


class CompletionRounds(LlamaIndexProvider):
    """The provider of one run of completions.

    Args:
        llm: The LLM, a completion model.
        write: Puts the templates around a prompt, or leaves it as it is.
        formatted: What the LLM is told: that templates are in the prompt, or that it may add its own.
        arguments: Passed to every call.
        model_id: The name of the model, or None to go by what the LLM states of itself.
    """

    def __init__(
        self,
        llm: LLM,
        write: Callable[[str], str],
        *,
        formatted: bool,
        arguments: Mapping[str, Any],
        model_id: str | None = None,
    ) -> None:
        super().__init__(llm, model_id=model_id, **arguments)
        self._write = write
        self._formatted = formatted

    def _ask(self, prompt: Prompt) -> Reply:
        return self.llm.complete(self._written(prompt), formatted=self._formatted, **self._arguments)

    async def _aask(self, prompt: Prompt) -> Reply:
        if blocks_when_awaited(self.llm, "acomplete"):
            return await call_in_thread(self._ask, prompt)
        written = self._written(prompt)
        return await self.llm.acomplete(written, formatted=self._formatted, **self._arguments)

    def _written(self, prompt: Prompt) -> str:
        return self._write(str(prompt))
