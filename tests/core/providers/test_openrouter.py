import pickle
from typing import Any

import pytest

from loopllm.errors import MisuseError, ProviderError
from loopllm.providers.openrouter import OpenRouterProvider

REPLY = {
    "choices": [{"message": {"content": "Hi"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.01},
}


def test_it_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    with pytest.raises(MisuseError, match="OPENROUTER_API_KEY"):
        OpenRouterProvider()


def test_it_speaks_to_openrouter_unless_told_otherwise() -> None:
    assert OpenRouterProvider("key").base_url == "https://openrouter.ai/api/v1"


def test_key_and_address_come_first_and_the_model_with_the_call(server: Any) -> None:
    server.reply(REPLY)
    with OpenRouterProvider("key-1", server.url) as provider:
        assert provider.complete("hi", "openai/gpt-4o-mini").usage.cost == 0.01
    _, headers, body = server.requests[0]
    assert headers["Authorization"] == "Bearer key-1"
    assert body["model"] == "openai/gpt-4o-mini"
    assert body["usage"] == {"include": True}


def test_a_failure_that_comes_with_status_200_is_a_failure(server: Any) -> None:
    server.reply({"error": {"code": 502, "message": "upstream is down"}})
    with (
        OpenRouterProvider("key", server.url, "m") as provider,
        pytest.raises(ProviderError, match="upstream") as caught,
    ):
        provider.complete("hi")
    assert caught.value.transient


def test_an_unpickled_provider_takes_its_key_from_the_environment(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reply(REPLY)
    copied = pickle.dumps(OpenRouterProvider("key-1", server.url, "m"))
    monkeypatch.setenv("OPENROUTER_API_KEY", "key-of-this-process")
    with pickle.loads(copied) as provider:
        provider.complete("hi")
    assert server.requests[0][1]["Authorization"] == "Bearer key-of-this-process"
