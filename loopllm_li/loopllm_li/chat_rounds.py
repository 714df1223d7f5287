"""One round of a loop over chat messages, blocks and all, and how the engine reads and writes it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole, TextBlock
from llama_index.core.llms import LLM

from loopllm.evaluators import as_evaluator
from loopllm.providers.base import Completion
from loopllm.providers.deadline import await_within, call_in_thread, call_within
from loopllm.results import EvaluationResult
from loopllm_li.chat_messages import asked_in
from loopllm_li.judge_face import JudgeFace
from loopllm_li.model_names import model_name_of
from loopllm_li.provider import blocks_when_awaited
from loopllm_li.replies import finish_reason_of, text_of, usage_of

Conversation = Sequence[ChatMessage]


class ChatRounds:
    """The provider of one chat run: a call is one `chat`, and its reply is kept whole.

    Args:
        llm: The LLM.
        arguments: Passed to every call.
        model_id: The name of the model, or None to go by what the LLM states of itself.
    """

    def __init__(self, llm: LLM, arguments: Mapping[str, Any], model_id: str | None = None) -> None:
        self.model_id = model_id or model_name_of(llm)
        self._llm = llm
        self._arguments = dict(arguments)

    def complete(
        self, prompt: Conversation, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[ChatResponse]:
        """Answer, blocking at most `timeout` seconds."""
        del model  # the LLM is one model
        began = time.perf_counter()
        return _completion(call_within(timeout, self._ask, prompt), began)

    async def acomplete(
        self, prompt: Conversation, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[ChatResponse]:
        """Answer without blocking the event loop."""
        del model
        began = time.perf_counter()
        return _completion(await await_within(timeout, self._aask(prompt)), began)

    def _ask(self, prompt: Conversation) -> ChatResponse:
        return self._llm.chat(list(prompt), **self._arguments)

    async def _aask(self, prompt: Conversation) -> ChatResponse:
        if blocks_when_awaited(self._llm, "achat"):
            return await call_in_thread(self._ask, prompt)
        return await self._llm.achat(list(prompt), **self._arguments)


class ChatFormat:
    """How the engine extends conversations and writes rounds down; a `PromptFormat`."""

    def compose(self, task: Conversation, draft: ChatResponse | None, feedback: str | None) -> Conversation:
        """Return the conversation with the draft as the assistant's turn and the feedback as the user's.

        Images and other blocks stay; the draft is shown by its words.
        """
        messages = list(task)
        if draft is not None:
            messages.append(ChatMessage(role=MessageRole.ASSISTANT, content=text_of(draft)))
        if feedback is None:
            return messages
        if messages and messages[-1].role == MessageRole.USER:
            last = messages[-1]  # two user turns in a row are refused by several chat templates
            blocks = [*last.blocks, TextBlock(text=_apart(last, feedback))]
            messages[-1] = ChatMessage(
                role=last.role, blocks=blocks, additional_kwargs=last.additional_kwargs
            )
        else:
            messages.append(ChatMessage(role=MessageRole.USER, content=feedback))
        return messages

    def text(self, output: ChatResponse) -> str:
        """Return the words of a reply."""
        return text_of(output)

    def empty(self) -> ChatResponse:
        """Return the reply of a run whose time ended before there was one."""
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=""))

    def dump_prompt(self, prompt: Conversation) -> Any:
        """Return the messages as JSON-able data."""
        return [message.model_dump(mode="json") for message in prompt]

    def load_prompt(self, data: Any) -> Conversation:
        """Undo `dump_prompt`."""
        return [ChatMessage.model_validate(message) for message in data]

    def dump_output(self, output: ChatResponse) -> Any:
        """Return the message as JSON-able data; the raw reply of the server is not written down."""
        return output.message.model_dump(mode="json")

    def load_output(self, data: Any) -> ChatResponse:
        """Undo `dump_output`."""
        return ChatResponse(message=ChatMessage.model_validate(data))


class ChatJudge(JudgeFace):
    """Shows an evaluator the words of a reply; the whole reply is `context["response"]`.

    Args:
        evaluator: Anything `as_evaluator` takes.
    """

    def __init__(self, evaluator: Any) -> None:
        super().__init__(as_evaluator(evaluator))

    def evaluate(self, output: ChatResponse, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Score a reply, blocking."""
        return self._judge.evaluate(text_of(output), _facts(output, context))

    async def aevaluate(
        self, output: ChatResponse, context: Mapping[str, Any] | None = None
    ) -> EvaluationResult:
        """Score a reply without blocking the event loop."""
        return await self._judge.aevaluate(text_of(output), _facts(output, context))


def _apart(last: ChatMessage, feedback: str) -> str:
    """Begin feedback with an empty line after other words: some clients send text blocks without anything between."""
    return f"\n\n{feedback}" if last.blocks and isinstance(last.blocks[-1], TextBlock) else feedback


def _facts(output: ChatResponse, context: Mapping[str, Any] | None) -> dict[str, Any]:
    facts = dict(context or {})
    messages = facts.get("prompt")
    if isinstance(messages, Sequence) and messages and not isinstance(messages, str):
        facts.setdefault("query", asked_in(messages))
    return {**facts, "response": output}


def _completion(reply: ChatResponse, began: float) -> Completion[ChatResponse]:
    return Completion(
        reply,
        usage=usage_of(reply),
        finish_reason=finish_reason_of(reply),
        latency_ms=(time.perf_counter() - began) * 1000.0,
    )
