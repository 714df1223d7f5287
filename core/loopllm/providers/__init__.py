"""Where the answers come from: models behind HTTP, in this process, or scripted; and anything else, adapted.

Every name is imported when first asked for, so that a provider costs only who uses it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loopllm.providers.adapt import CallableProvider, as_provider, normalise
    from loopllm.providers.base import (
        Completion,
        CompletionChunk,
        Message,
        Provider,
        StreamingProvider,
        TextPrompt,
    )
    from loopllm.providers.local import LocalProvider
    from loopllm.providers.mock import MockLLMProvider
    from loopllm.providers.ollama import OllamaProvider
    from loopllm.providers.openai_compatible import OpenAICompatibleProvider
    from loopllm.providers.openrouter import OpenRouterProvider

__all__ = [
    "CallableProvider",
    "Completion",
    "CompletionChunk",
    "LocalProvider",
    "Message",
    "MockLLMProvider",
    "OllamaProvider",
    "OpenAICompatibleProvider",
    "OpenRouterProvider",
    "Provider",
    "StreamingProvider",
    "TextPrompt",
    "as_provider",
    "normalise",
]

_HOMES = {
    "CallableProvider": "adapt",
    "as_provider": "adapt",
    "normalise": "adapt",
    "LocalProvider": "local",
    "MockLLMProvider": "mock",
    "OllamaProvider": "ollama",
    "OpenAICompatibleProvider": "openai_compatible",
    "OpenRouterProvider": "openrouter",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'base')}"), name)


def __dir__() -> list[str]:
    return __all__
