import asyncio
import contextvars
import functools
import subprocess
import sys
import threading
import weakref
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from loopllm.errors import CallTimeoutError, MisuseError, ProviderError
from loopllm.providers.adapt import CallableProvider, as_provider, normalise
from loopllm.providers.base import Completion, Provider
from loopllm.providers.mock import MockLLMProvider
from loopllm.results import Usage


class PositionalStyle:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def complete(self, prompt: str, model: Any, **more: Any) -> Any:
        self.seen.append((prompt, model))
        return SimpleNamespace(
            content=prompt.upper(), usage={"prompt_tokens": 2}, model=model, latency_ms=3.0
        )


async def shout(prompt: str) -> Any:
    await asyncio.sleep(0)
    return prompt.upper()


def test_a_provider_passes_through() -> None:
    provider = MockLLMProvider(["a"])
    assert as_provider(provider) is provider


async def test_a_sync_function_is_a_provider_both_ways() -> None:
    provider = as_provider(str.upper)
    assert isinstance(provider, Provider)
    assert provider.model_id is None
    assert provider.complete("hi") == Completion("HI")
    assert provider.complete("hi", timeout=5) == Completion("HI")
    assert await provider.acomplete("hi", timeout=5) == Completion("HI")


@pytest.mark.parametrize(
    "function", [shout, functools.partial(shout), lambda prompt: asyncio.sleep(0, prompt.upper())]
)
async def test_an_async_function_is_awaited_and_refused_where_nothing_can_await(function: Any) -> None:
    provider = as_provider(function)
    assert (await provider.acomplete("hi", timeout=5)).content == "HI"
    with pytest.raises(MisuseError, match="arefine"):
        provider.complete("hi")


async def test_an_object_with_a_positional_complete_gets_prompt_and_model() -> None:
    old = PositionalStyle()
    reply = as_provider(old).complete("hi", "gpt-4o")
    assert (reply.content, reply.usage, reply.model, reply.latency_ms) == ("HI", Usage(2), "gpt-4o", 3.0)
    assert (await as_provider(old).acomplete("hi", "gpt-4o")).content == "HI"
    assert old.seen == [("hi", "gpt-4o")] * 2


def test_a_function_gets_the_model_by_name_or_as_second_argument() -> None:
    assert as_provider(lambda prompt, model=None: f"{model}").complete("hi", "m").content == "m"
    assert as_provider(lambda prompt, which: f"{which}").complete("hi", "m").content == "m"
    assert CallableProvider(lambda prompt, model: f"{model}", model_id="own").complete("hi").content == "own"


class Answer(str):
    """A text that can be watched until nobody holds it any more."""

    __slots__ = ("__weakref__",)


def test_a_function_may_need_its_deadline_and_nothing_else() -> None:
    def careful(prompt: str, timeout: float) -> str:
        return f"{prompt} within {timeout} s"

    assert as_provider(careful).complete("hi", "m", timeout=2.0).content == "hi within 2.0 s"


def test_a_function_without_a_deadline_of_its_own_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    release, dropped = threading.Event(), threading.Semaphore(0)

    def slow(prompt: str) -> str:
        assert release.wait(60), "nobody gave up"
        answer = Answer(prompt)
        weakref.finalize(answer, dropped.release)
        return answer

    with pytest.raises(CallTimeoutError):
        as_provider(slow).complete("hi", timeout=0.05)
    with pytest.raises(CallTimeoutError):
        asyncio.run(as_provider(slow).acomplete("hi", timeout=0.05))
    release.set()
    for _ in range(2):
        assert dropped.acquire(timeout=60)
    assert failures == []  # the late answer finds its loop closed, and says nothing


async def test_an_async_function_is_cancelled_when_the_time_is_up() -> None:
    cancelled = asyncio.Event()

    async def slow(prompt: str) -> None:
        try:
            await asyncio.sleep(5)
        finally:
            cancelled.set()

    with pytest.raises(CallTimeoutError):
        await as_provider(slow).acomplete("hi", timeout=0.02)
    assert cancelled.is_set()


def test_a_function_with_a_timeout_parameter_is_trusted_and_called_in_the_same_thread() -> None:
    seen = []

    def careful(prompt: str, timeout: Any = None) -> Any:
        seen.append((threading.current_thread(), timeout))
        return "ok"

    as_provider(careful).complete("hi", timeout=0.5)
    assert seen == [(threading.current_thread(), 0.5)]


async def test_many_blocking_functions_run_at_once_beside_the_loop() -> None:
    everyone = threading.Barrier(40)

    def together(prompt: str) -> str:
        everyone.wait(60)  # each holds its thread until all are there
        return prompt

    provider = as_provider(together)
    await asyncio.gather(*(provider.acomplete("hi") for _ in range(40)))


async def test_the_functions_own_errors_and_timeouts_pass_through_unchanged() -> None:
    def fails(prompt: str) -> None:
        raise TimeoutError("mine")

    def stops(prompt: str) -> None:
        raise KeyboardInterrupt

    for timeout in (None, 1):
        with pytest.raises(TimeoutError, match="mine"):
            as_provider(fails).complete("x", timeout=timeout)
    with pytest.raises(TimeoutError, match="mine"):
        await as_provider(fails).acomplete("x", timeout=1)
    with pytest.raises(KeyboardInterrupt):
        as_provider(stops).complete("x", timeout=1)


async def test_context_variables_reach_the_function() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    provider = as_provider(lambda prompt: variable.get())
    assert provider.complete("x", timeout=1).content == "set"
    assert (await provider.acomplete("x")).content == "set"


def test_usage_is_found_under_every_common_name() -> None:
    assert normalise({"content": "a", "usage": {"input_tokens": 1, "output_tokens": 2}}).usage == Usage(1, 2)
    assert normalise(SimpleNamespace(content="a", usage=Usage(1, 2, 0.5))).usage == Usage(1, 2, 0.5)
    assert normalise("a").usage == Usage()


def test_usage_that_is_no_number_is_unknown_and_money_of_any_kind_adds_up() -> None:
    told = {"prompt_tokens": "12", "completion_tokens": -1, "cost": Decimal("0.25")}
    usage = normalise({"content": "a", "usage": told}).usage
    assert usage + usage == Usage(24, None, 0.5)


@pytest.mark.parametrize("wrong", [None, 3, "text", MockLLMProvider])
def test_what_cannot_answer_is_refused(wrong: Any) -> None:
    with pytest.raises(MisuseError, match=r"provider|instance"):
        as_provider(wrong)


@pytest.mark.parametrize("nothing", [None, {"content": None}, SimpleNamespace(content=None)])
def test_a_reply_without_a_text_is_a_failure_of_the_model_that_says_what_may_be_wrong(nothing: Any) -> None:
    with pytest.raises(ProviderError, match="refused or called a tool, or the function lacks a `return`"):
        as_provider(lambda prompt: nothing).complete("hi")


def test_a_function_that_returns_no_text_is_told_so() -> None:
    with pytest.raises(MisuseError, match="returned int; return a str"):
        as_provider(lambda prompt: 3).complete("hi")


def test_framework_models_are_recognised_by_their_bases(monkeypatch: pytest.MonkeyPatch) -> None:
    chat = type(
        "Chat", (type("Base", (), {"__module__": "langchain_core.language_models.chat_models"}),), {}
    )()
    llm = type("Llm", (type("Base", (), {"__module__": "llama_index.core.llms.llm"}),), {"complete": print})()
    monkeypatch.setitem(
        sys.modules, "loopllm_lc", SimpleNamespace(LangChainProvider=lambda model: ("lc", model))
    )
    monkeypatch.setitem(
        sys.modules, "loopllm_li", SimpleNamespace(LlamaIndexProvider=lambda model: ("li", model))
    )
    assert repr(as_provider(chat)) == repr(("lc", chat))
    assert repr(as_provider(llm)) == repr(("li", llm))


def test_adapting_a_function_imports_no_framework() -> None:
    code = (
        "import sys; from loopllm.providers.adapt import as_provider; as_provider(str.upper).complete('x', timeout=1);"
        "print({'langchain_core', 'llama_index', 'loopllm_lc', 'loopllm_li', 'asyncio'} & set(sys.modules))"
    )
    program = [sys.executable, "-c", code]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
