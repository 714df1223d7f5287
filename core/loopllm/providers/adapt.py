"""How does a framework's model, an object with `complete`, or a function become a `Provider`?

Rule: no framework is imported that the caller has not imported; an object's class tells by its bases what it
is.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import Any

from loopllm.deadline import await_within, call_in_thread, call_within
from loopllm.errors import MisuseError, ProviderError
from loopllm.providers.base import Completion, Provider
from loopllm.providers.usage import usage_of
from loopllm.results import UNKNOWN_USAGE, Usage

_LANGCHAIN = "langchain_core.language_models"
_LLAMA_INDEX = ("llama_index.core.llms", "llama_index.core.base.llms")
_ACCEPTED = (
    "a provider, a LangChain chat model, a LlamaIndex LLM, an object with complete(prompt, model), "
    "or a function prompt -> str"
)


def as_provider(obj: Any) -> Provider[Any, Any]:
    """Return `obj` as a provider.

    >>> as_provider(lambda prompt: prompt.upper()).complete("hello").content
    'HELLO'

    Args:
        obj: A provider, a LangChain chat model, a LlamaIndex LLM, an object with `complete(prompt, model)`,
            or a function `prompt -> str`, sync or async.

    Raises:
        MisuseError: It is none of these.
    """
    framework = _framework_provider(obj)
    if framework is not None:
        return framework
    if isinstance(obj, type):
        raise MisuseError(f"{obj.__name__} is a class: pass an instance of it")
    if isinstance(obj, Provider) and _takes(obj.complete, "timeout"):
        return obj
    if callable(getattr(obj, "complete", None)):
        return CallableProvider(
            obj.complete, getattr(obj, "model_id", None), async_function=getattr(obj, "acomplete", None)
        )
    if callable(obj):
        return CallableProvider(obj)
    raise MisuseError(f"{type(obj).__name__} is no provider; pass {_ACCEPTED}")


def _framework_provider(obj: Any) -> Provider[Any, Any] | None:
    modules = [base.__module__ for base in type(obj).__mro__]
    if any(module.startswith(_LANGCHAIN) for module in modules):
        return _wrapped("loopllm_lc", "LangChainProvider", obj)
    if any(module.startswith(_LLAMA_INDEX) for module in modules):
        return _wrapped("loopllm_li", "LlamaIndexProvider", obj)
    return None


def _wrapped(adapter: str, name: str, model: Any) -> Provider[Any, Any]:
    provider: Provider[Any, Any] = getattr(import_module(adapter), name)(model)
    return provider


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # some built-in functions have none
        return {}


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameter = _parameters(function).get(name)
    return parameter is not None and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def _needs_second(function: Callable[..., Any]) -> bool:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p.name for p in _parameters(function).values() if p.kind in positional and p.default is p.empty]
    return len(needed) > 1 and needed[1] != "timeout"


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - asks whether it is async, not whether it is there
    )


class CallableProvider:
    """A function as a provider.

    The function is called with the prompt; with the model as well if it has a parameter `model` (or a second
    positional one without a default), and with `timeout=` if it has that parameter, in which case it is
    trusted to keep the deadline. Any other function runs in a thread under a deadline and is abandoned when
    the time is up.

    Args:
        function: `prompt -> str`, sync or async; it may also return a `Completion`, or an object or mapping
            with `content` and, if known, `usage`, `model` and `finish_reason`.
        model_id: The name under which learning is kept; None when nobody knows it.
        async_function: What to await instead in `acomplete`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        model_id: str | None = None,
        *,
        async_function: Callable[..., Any] | None = None,
    ) -> None:
        self.model_id = model_id
        self._sync = _Call(function)
        self._async = self._sync if async_function is None else _Call(async_function)

    def __repr__(self) -> str:
        """Show which function and which model."""
        return f"CallableProvider({self._sync.name}, model_id={self.model_id!r})"

    def complete(
        self, prompt: Any, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[Any]:
        """Call the function, blocking at most `timeout` seconds.

        Raises:
            MisuseError: The function is async.
            CallTimeoutError: The time is up.
        """
        call = self._sync
        if call.is_async:
            raise MisuseError(f"{call.name} is async: use arefine (or acomplete), or pass a sync function")
        arguments = call.arguments(prompt, model or self.model_id, timeout)
        limit = None if call.takes_timeout else timeout
        return normalise(_not_awaitable(call_within(limit, arguments), call.name))

    async def acomplete(
        self, prompt: Any, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[Any]:
        """Await the function; a sync one runs in a thread of its own."""
        call = self._async
        arguments = call.arguments(prompt, model or self.model_id, timeout)
        return normalise(await await_within(timeout, _awaited(arguments, is_async=call.is_async)))


class _Call:
    """How one function wants to be called."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = getattr(function, "__qualname__", type(function).__name__)
        self.is_async = _is_async(function)
        self.takes_timeout = _takes(function, "timeout")
        self._function = function
        self._takes_model = _takes(function, "model")
        self._second = not self._takes_model and _needs_second(function)

    def arguments(self, prompt: Any, model: str | None, timeout: float | None) -> Callable[[], Any]:
        """Bind the function to the arguments of one call."""
        positional = (prompt, model) if self._second else (prompt,)
        named: dict[str, Any] = {"timeout": timeout} if self.takes_timeout else {}
        if self._takes_model:
            named["model"] = model
        return lambda: self._function(*positional, **named)


async def _awaited(call: Callable[[], Any], *, is_async: bool) -> Any:
    reply = call() if is_async else await call_in_thread(call)
    return await reply if isinstance(reply, Awaitable) else reply


def _not_awaitable(reply: Any, name: str) -> Any:
    if not isinstance(reply, Awaitable):
        return reply
    if inspect.iscoroutine(reply):
        reply.close()  # or Python warns that it was never awaited
    raise MisuseError(f"{name} returned an awaitable: use arefine (or acomplete), or pass a sync function")


def normalise(reply: Any) -> Completion[Any]:
    """Return what a function or a foreign provider answered as a `Completion`.

    >>> normalise("text").content
    'text'
    >>> normalise({"content": "text", "usage": {"input_tokens": 7, "output_tokens": 2}}).usage
    Usage(prompt_tokens=7, completion_tokens=2, cost=None)

    Raises:
        ProviderError: It is None, or its text is.
        MisuseError: It is nothing that can hold a text.
    """
    if isinstance(reply, Completion):
        return reply
    if isinstance(reply, str):
        return Completion(reply)
    content = _get(reply, "content")
    if content is None and _says_nothing(reply):
        raise ProviderError(
            "the provider returned None in place of a text: the model refused or called a tool, "
            "or the function lacks a `return`"
        )
    if content is None:
        raise MisuseError(
            f"the provider returned {type(reply).__name__}; return a str, or something with .content"
        )
    return Completion(
        content,
        model=_get(reply, "model"),
        usage=_usage(_get(reply, "usage")),
        finish_reason=_get(reply, "finish_reason"),
        latency_ms=_get(reply, "latency_ms") or 0.0,
    )


def _says_nothing(reply: Any) -> bool:
    """Tell a reply without words, which a model gives now and then, from what is no reply at all."""
    return reply is None or hasattr(reply, "content") or (isinstance(reply, Mapping) and "content" in reply)


def _get(holder: Any, *names: str) -> Any:
    for name in names:
        value = holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
        if value is not None:
            return value
    return None


def _usage(usage: Any) -> Usage:
    if usage is None or isinstance(usage, Usage):
        return usage or UNKNOWN_USAGE
    return usage_of(
        _get(usage, "prompt_tokens", "input_tokens"),
        _get(usage, "completion_tokens", "output_tokens"),
        _get(usage, "cost", "total_cost"),
    )
