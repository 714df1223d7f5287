import asyncio
import json
from typing import Any

import pytest

from loopllm.errors import MisuseError, ProviderError
from loopllm.providers.ollama import OllamaProvider
from loopllm.results import Usage

LAST = {"model": "llama3.2", "done": True, "done_reason": "stop", "prompt_eval_count": 26, "eval_count": 5}


def line(text: Any, **more: Any) -> Any:
    return (
        json.dumps({"message": {"role": "assistant", "content": text}, "done": False, **more}).encode()
        + b"\n"
    )


async def test_a_reply_is_read_with_ollamas_own_token_counts(server: Any) -> None:
    server.reply({"message": {"content": "Hello."}, **LAST})
    async with OllamaProvider(
        server.url, "llama3.2", temperature=0, max_tokens=9, options={"num_ctx": 64}
    ) as provider:
        replies = [
            await asyncio.to_thread(provider.complete, "hi", timeout=5),
            await provider.acomplete("hi"),
        ]
    for reply in replies:
        assert (reply.content, reply.usage, reply.finish_reason) == ("Hello.", Usage(26, 5), "stop")
        assert reply.model == "llama3.2"
    path, _, body = server.requests[0]
    assert path == "/api/chat"
    assert body["stream"] is False
    assert body["options"] == {"temperature": 0, "num_predict": 9, "num_ctx": 64}


async def test_streams_are_json_lines_that_end_with_the_counts(server: Any) -> None:
    whole = line("Hel") + line("lo.") + line("", **LAST)
    server.pieces(whole[:10], whole[10:70], whole[70:])
    async with OllamaProvider(server.url, "llama3.2") as provider:
        chunks = await asyncio.to_thread(lambda: list(provider.stream("hi", timeout=5)))
        assert chunks == [chunk async for chunk in provider.astream("hi")]
    assert [chunk.text for chunk in chunks] == ["Hel", "lo.", ""]
    assert (chunks[-1].usage, chunks[-1].finish_reason) == (Usage(26, 5), "stop")


def test_a_stream_that_breaks_off_is_a_transient_failure_and_a_reported_error_is_raised(server: Any) -> None:
    with OllamaProvider(server.url, "m") as provider:
        server.pieces(line("Hel"))
        with pytest.raises(ProviderError, match="broke off") as caught:
            list(provider.stream("hi"))
        assert caught.value.transient
        server.pieces(line("Hel"), b'{"error": "out of memory"}\n')
        with pytest.raises(ProviderError, match="out of memory"):
            list(provider.stream("hi"))


def test_an_unknown_model_is_a_lasting_failure(server: Any) -> None:
    server.reply({"error": 'model "nope" not found, try pulling it first'}, 404)
    with (
        OllamaProvider(server.url, "nope") as provider,
        pytest.raises(ProviderError, match="try pulling") as caught,
    ):
        provider.complete("hi")
    assert not caught.value.transient


def test_images_go_beside_the_text(server: Any) -> None:
    server.reply({"message": {"content": "A fox."}, **LAST})
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
    prompt = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]}]
    with OllamaProvider(server.url, "llava") as provider:
        provider.complete(prompt)
    assert server.requests[0][2]["messages"] == [
        {"role": "user", "content": "What is this?", "images": ["QUJD"]}
    ]
    picture["image_url"] = {"url": "https://example.com/fox.png"}
    with pytest.raises(MisuseError, match="base64"):
        OllamaProvider(server.url, "llava").complete(prompt)


def test_parts_of_a_prompt_may_be_plain_strings(server: Any) -> None:
    server.reply({"message": {"content": "ok"}, **LAST})
    with OllamaProvider(server.url, "m") as provider:
        provider.complete([{"role": "user", "content": ["one ", {"type": "text", "text": "two"}]}])
    assert server.requests[0][2]["messages"] == [{"role": "user", "content": "one two"}]


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "box:8000")
    assert OllamaProvider().base_url == "http://box:8000"
    monkeypatch.delenv("OLLAMA_HOST")
    assert OllamaProvider().base_url == "http://localhost:11434"


@pytest.mark.parametrize("host", ["box:soon", "::1", "box:99999", "[::1"])
def test_an_address_of_the_environment_that_is_none_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", host)
    with pytest.raises(MisuseError, match=r"OLLAMA_HOST is no address .*host:port"):
        OllamaProvider()
