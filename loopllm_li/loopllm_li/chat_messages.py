"""How is a prompt of the engine written for a LlamaIndex LLM, chat model or completion model?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.generic_utils import messages_to_prompt
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.llms import LLM

from loopllm.errors import MisuseError
from loopllm.providers.base import TextPrompt

_NO_PROMPT = 'a prompt is a string, ChatMessages, or messages like {"role": "user", "content": "..."}'
_BESIDE_CONTENT = ("name", "tool_calls", "tool_call_id", "function_call")
Prompt = TextPrompt | Sequence[ChatMessage]
"""A string, messages in the OpenAI form, or LlamaIndex's own messages, whose blocks are kept."""


def as_chat_messages(prompt: Prompt) -> list[ChatMessage]:
    """Return the conversation that a prompt stands for; a string is one user message.

    Raises:
        MisuseError: The prompt is neither a string nor a non-empty sequence of messages.
    """
    if isinstance(prompt, str):
        return [ChatMessage(role=MessageRole.USER, content=prompt)]
    if not isinstance(prompt, Sequence):
        raise MisuseError(_NO_PROMPT)
    messages = [_as_chat_message(message) for message in prompt]
    if not messages:
        raise MisuseError("a prompt without any message cannot be sent")
    return messages


def asked_in(messages: Sequence[ChatMessage]) -> str:
    """Return the user's last words in a conversation, which may go on with the results of tools."""
    users = [message for message in messages if message.role == MessageRole.USER]
    return (users or messages)[-1].content or ""


def with_system_prompt(messages: list[ChatMessage], llm: LLM) -> list[ChatMessage]:
    """Put the system prompt that the user gave to the LLM first; `chat` itself ignores it.

    A conversation that brings a system message of its own keeps that one.
    """
    if not llm.system_prompt or messages[0].role == MessageRole.SYSTEM:
        return messages
    return [ChatMessage(role=MessageRole.SYSTEM, content=llm.system_prompt), *messages]


def as_completion_prompt(prompt: Prompt, llm: LLM) -> str:
    """Return the text to complete, with the LLM's own templates applied, as its `predict` would."""
    if not isinstance(prompt, str):
        write = llm.messages_to_prompt or messages_to_prompt
        return write(with_system_prompt(as_chat_messages(prompt), llm))
    text = llm.completion_to_prompt(prompt) if llm.completion_to_prompt else prompt
    if llm.system_prompt:
        text = f"{llm.system_prompt}\n\n{text}"
    return llm.query_wrapper_prompt.format(query_str=text) if llm.query_wrapper_prompt else text


def _as_chat_message(message: Any) -> ChatMessage:
    if isinstance(message, ChatMessage):
        return message
    if not isinstance(message, Mapping) or "role" not in message:
        raise MisuseError(_NO_PROMPT)
    try:
        role = MessageRole(message["role"])
    except ValueError as error:
        known = ", ".join(role.value for role in MessageRole)
        raise MisuseError(f"LlamaIndex knows no role {message['role']!r}; use one of {known}") from error
    content, others = message.get("content"), _others(message)
    if content is None or isinstance(content, str):
        return ChatMessage(role=role, content=content, additional_kwargs=others)
    return ChatMessage(role=role, blocks=[_as_block(part) for part in content], additional_kwargs=others)


def _others(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return what LlamaIndex keeps beside the content; servers refuse the empty ones that a dumped reply has."""
    return {name: message[name] for name in _BESIDE_CONTENT if message.get(name)}


def _as_block(part: Any) -> TextBlock | ImageBlock:
    match part:
        case {"type": "text", "text": str(text)}:
            return TextBlock(text=text)
        case {"type": "image_url", "image_url": {"url": str(url), **others}}:
            return ImageBlock(url=url, detail=others.get("detail"))
        case _:
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise MisuseError(
                f"a content part of type {kind!r} is not supported; pass LlamaIndex ChatMessages with blocks"
            )
