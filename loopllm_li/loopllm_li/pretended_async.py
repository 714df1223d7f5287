"""Which parts of LlamaIndex block the event loop when they are awaited, since their async methods are inherited ones?

LlamaIndex's base classes answer an awaited call with the blocking method, on the loop. Whoever would await such a part
awaits a thread instead.
"""

from __future__ import annotations

from inspect import getattr_static
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import CustomLLM

from loopllm_li.provider import blocks_when_awaited


def embedding_blocks_when_awaited(model: Any) -> bool:
    """Tell the embedding models without async methods for texts; of the one for queries nobody can tell."""
    if not isinstance(model, BaseEmbedding):
        return False
    return all(
        getattr_static(type(model), name) is getattr_static(BaseEmbedding, name)
        for name in ("_aget_text_embedding", "_aget_text_embeddings")
    )


def judge_blocks_when_awaited(evaluator: Any) -> bool:
    """Tell the evaluators of LlamaIndex whose model blocks."""
    if _llm_blocks(getattr(evaluator, "_llm", None)):
        return True
    return embedding_blocks_when_awaited(getattr(evaluator, "_embed_model", None))


def writer_blocks_when_awaited(engine: Any) -> bool:
    """Tell the query engines whose answers are written by a model that blocks, also behind engines around them."""
    while engine is not None:
        if any(_llm_blocks(getattr(part, "_llm", None)) for part in _writers(engine)):
            return True
        engine = getattr(engine, "_query_engine", None)
    return False


def _writers(engine: Any) -> tuple[Any, Any]:
    return engine, getattr(engine, "_response_synthesizer", None)


def _llm_blocks(llm: Any) -> bool:
    if not isinstance(llm, CustomLLM):
        return False
    return blocks_when_awaited(llm, "achat" if llm.metadata.is_chat_model else "acomplete")
