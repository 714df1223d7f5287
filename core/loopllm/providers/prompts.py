"""What does a prompt look like as chat messages?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loopllm.errors import MisuseError, ProviderError
from loopllm.providers.base import TextPrompt


def as_messages(prompt: TextPrompt) -> list[dict[str, Any]]:
    """Return the conversation that a prompt stands for; a string is one user message.

    >>> as_messages("hello")
    [{'role': 'user', 'content': 'hello'}]

    Raises:
        MisuseError: The prompt is neither a string nor a non-empty sequence of messages.
    """
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    given: Any = prompt if isinstance(prompt, Sequence) else ()
    messages = [dict(message) for message in given if isinstance(message, Mapping) and "role" in message]
    if not messages or len(messages) != len(given):
        raise MisuseError('a prompt is a string or messages like {"role": "user", "content": "..."}')
    return messages


def content_text(content: Any) -> str:
    """Return the text of a message's content, which may be None, a string, or a list of parts.

    >>> content_text([{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}])
    'ab'

    Raises:
        ProviderError: It is something else.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise ProviderError(f"the message's content is neither text nor a list of parts, but {content!r:.80}")
    return "".join(_text_of(part) for part in content)


def _text_of(part: Any) -> str:
    if isinstance(part, str):
        return part
    return str(part.get("text") or "") if isinstance(part, Mapping) else ""
