import asyncio
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from loopllm.errors import CallTimeoutError, MisuseError, ProviderError
from loopllm.providers.base import Completion, Provider, StreamingProvider
from loopllm.providers.mock import MockLLMProvider
from loopllm.results import Usage


def test_the_responses_are_cycled_through_and_the_prompts_remembered() -> None:
    provider = MockLLMProvider(responses=["a", "b"], usage=Usage(3, 1))
    assert [provider.complete(str(number)).content for number in range(3)] == ["a", "b", "a"]
    assert provider.calls == ["0", "1", "2"]
    assert provider.complete("x").usage == Usage(3, 1)
    assert provider.call_count == 4


async def test_a_response_may_be_a_completion_or_an_error() -> None:
    whole = Completion("whole", finish_reason="length")
    provider = MockLLMProvider([whole, ProviderError("down", transient=True)])
    assert provider.complete("hi") == whole
    with pytest.raises(ProviderError, match="down"):
        await provider.acomplete("hi")


async def test_a_timeout_shorter_than_the_latency_is_all_that_is_waited_for(within: Any) -> None:
    provider = MockLLMProvider(["late"], latency_s=5)
    for attempt in within(0.5):
        with attempt:
            with pytest.raises(CallTimeoutError):
                provider.complete("hi", timeout=0.02)
            with pytest.raises(CallTimeoutError):
                await provider.acomplete("hi", timeout=0.02)


async def test_the_latency_is_waited_for_at_once_by_all_and_reported(within: Any) -> None:
    provider = MockLLMProvider(["ok"], latency_s=0.05)
    for attempt in within(0.25):
        with attempt:
            started = time.monotonic()
            replies = await asyncio.gather(*(provider.acomplete("hi", timeout=60) for _ in range(10)))
            assert time.monotonic() - started >= 0.05
    assert replies[0].latency_ms == 50


def test_threads_share_one_script_without_losing_a_response() -> None:
    provider = MockLLMProvider([str(number) for number in range(400)])
    seen: list[str] = []
    threads = [
        threading.Thread(target=lambda: seen.extend(provider.complete("x").content for _ in range(100)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, seen)) == list(range(400))


def test_a_child_forked_while_another_thread_is_served_goes_on_with_the_script() -> None:
    provider = MockLLMProvider(responses=["a", "b"])
    with provider._alone():  # as another thread would hold it at the fork
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            os._exit(0 if provider.complete("go on").content == "a" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert provider.complete("go on").content == "a"


async def test_streams_give_the_words_and_then_usage_and_finish_reason() -> None:
    provider = MockLLMProvider(["two  words \n"], usage=Usage(1, 2))
    chunks = list(provider.stream("hi"))
    assert "".join(chunk.text for chunk in chunks) == "two  words \n"
    assert (chunks[-1].usage, chunks[-1].finish_reason) == (Usage(1, 2), "stop")
    assert chunks == [chunk async for chunk in provider.astream("hi")]


def test_a_named_model_is_reported() -> None:
    assert MockLLMProvider(["a"]).complete("hi", model="gpt-4o").model == "gpt-4o"
    assert MockLLMProvider(["a"], model_id="m").complete("hi").model == "m"


def test_a_pickle_carries_the_script() -> None:
    assert pickle.loads(pickle.dumps(MockLLMProvider(["a"], "m", usage=Usage(1)))).complete(
        "x"
    ).usage == Usage(1)


@pytest.mark.parametrize("responses", [[], "text", [3]])
def test_responses_that_are_no_script_are_refused(responses: Any) -> None:
    with pytest.raises(MisuseError, match="response"):
        MockLLMProvider(responses)


def test_a_negative_latency_is_refused() -> None:
    with pytest.raises(MisuseError, match="latency_s"):
        MockLLMProvider(["a"], latency_s=-1)


def test_it_is_a_provider_that_streams() -> None:
    assert isinstance(MockLLMProvider(["a"]), Provider)
    assert isinstance(MockLLMProvider(["a"]), StreamingProvider)


def test_importing_the_mock_and_the_adapter_loads_no_http_client_and_no_event_loop() -> None:
    heavy = "{'httpx', 'asyncio', 'numpy', 'xllamacpp', 'langchain_core', 'llama_index', 'pydantic'}"
    code = f"import sys, loopllm.providers.mock, loopllm.providers.adapt; print(sorted({heavy} & set(sys.modules)))"
    program = [sys.executable, "-c", code]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert done.stdout.strip() in {"[]", "['pydantic']"}  # the package's front door may load pydantic


def test_the_package_names_every_provider_lazily() -> None:
    from loopllm import providers

    assert providers.MockLLMProvider is MockLLMProvider
    for name in providers.__all__:
        assert getattr(providers, name) is not None
    assert set(dir(providers)) == set(providers.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = providers.nothing
