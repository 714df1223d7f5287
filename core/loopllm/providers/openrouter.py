"""OpenRouter: many models behind one key, with the price of each call in its reply."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from loopllm.errors import MisuseError
from loopllm.providers.openai_compatible import OpenAICompatibleProvider

KEY_VARIABLE = "OPENROUTER_API_KEY"


class OpenRouterProvider(OpenAICompatibleProvider):
    """A model of OpenRouter; `usage.cost` of each reply is in US dollars.

    Args:
        api_key: The key; the environment's `OPENROUTER_API_KEY` when not given.
        base_url: Address of the API.
        model: The model's name, for example `"openai/gpt-4o-mini"`; None when every call names one.
        temperature: Sampling temperature; None leaves it to the server.
        max_tokens: Most tokens of a reply; None leaves it to the server.
        seed: Seed of the sampling, for models that take one.
        default_params: Further fields of every request; a value None leaves a field out.
        headers: Further headers, for example `{"HTTP-Referer": "https://example.com"}`.
        name: What the provider is called.

    Raises:
        MisuseError: There is no key.
        MissingExtraError: httpx is not installed.
    """

    def __init__(
        self,
        api_key: SecretStr | str | None = None,
        base_url: str = "https://openrouter.ai/api/v1",
        model: str | None = None,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        default_params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        name: str = "openrouter",
    ) -> None:
        if not api_key and not os.environ.get(KEY_VARIABLE):
            raise MisuseError(f"OpenRouter needs a key: api_key=..., or set {KEY_VARIABLE}")
        super().__init__(
            base_url,
            api_key,
            model,
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed,
            default_params={"usage": {"include": True}} | dict(default_params or {}),
            headers=headers,
            name=name,
        )
        self._key_variable = KEY_VARIABLE
