"""A metadata extractor that loops its model for every node, for ingestion pipelines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from llama_index.core.bridge.pydantic import Field, PrivateAttr, field_serializer
from llama_index.core.extractors import BaseExtractor
from llama_index.core.llms import LLM
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate
from llama_index.core.schema import BaseNode, TextNode

from loopllm import AdaptivePriors, LoopConfig, LoopedLLM
from loopllm.errors import MisuseError
from loopllm.evaluators import as_evaluator
from loopllm.providers.base import TextPrompt
from loopllm_li.background_loop import run_blocking
from loopllm_li.llama_evaluator import adapted
from loopllm_li.model_names import model_name_of
from loopllm_li.provider import LlamaIndexProvider
from loopllm_li.spans import InstrumentationObserver, SpannedRounds
from loopllm_li.written_parts import identity_of, written_llm

DEFAULT_EXTRACT_TEMPLATE = "Here is a text:\n\n{context_str}\n\nSummarise it in one sentence.\n\nSummary:"


class LoopedExtractor(BaseExtractor):
    """Has a model write metadata for each node, scores it, and asks again until it is good enough.

    Everything it needs is a field, so that it works in the processes of a pipeline with `num_workers`: what
    they learn is kept in the store at `priors_address`, which all of them share. An evaluator that cannot
    be sent to another process is refused when that is tried, not dropped.

    Args:
        llm: The LLM. evaluator: Scores `(text, context)`; `context["node"]` is the node. For several
        processes, a function of a module or
            an object of a class that can be pickled.
        metadata_key: Under which name the accepted text is kept. prompt_template: What the model is asked;
        its variable is `context_str`. config: Limits and settings of the loop. priors_address: Where what
        is learned is kept: a path or an address as `AdaptivePriors.open` takes it. None learns
            nothing.
        task_type: Under which name it is learned.
        model_id: The name of the model, for LLMs that do not state it.
        least_score: Texts that score below are left out of the metadata.
        num_workers: Nodes that are worked on at the same time.

    Raises:
        MisuseError: An argument is wrong; the message names it.
    """

    llm: LLM
    evaluator: Any = Field(description="Scores the extracted text.")
    metadata_key: str = "summary"
    prompt_template: str = DEFAULT_EXTRACT_TEMPLATE
    config: LoopConfig = Field(default_factory=LoopConfig)
    priors_address: str | None = None
    task_type: str = "extract"
    model_id: str | None = None
    least_score: float = 0.0
    _priors: AdaptivePriors | None = PrivateAttr(default=None)

    def __init__(self, *, llm: LLM, evaluator: Any, **fields: Any) -> None:
        if not isinstance(llm, LLM):
            raise MisuseError(f"llm must be a LlamaIndex LLM, got a {type(llm).__name__}")
        judge = adapted(evaluator)
        as_evaluator(judge)  # what is no evaluator is refused now, not at the first node
        super().__init__(**{"llm": llm, "evaluator": judge, **fields})
        if "context_str" not in self._template().template_vars:
            raise MisuseError("prompt_template must hold {context_str}, or the model never sees the text")
        if not 0.0 <= self.least_score <= 1.0:
            raise MisuseError(f"least_score must be a number in [0, 1], got {self.least_score!r}")

    def __repr__(self) -> str:  # LLMs show their keys, and addresses their passwords
        return f"LoopedExtractor(llm={type(self.llm).__name__}, metadata_key={self.metadata_key!r})"

    def __str__(self) -> str:
        return repr(self)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "LoopedExtractor"

    async def aextract(self, nodes: Sequence[BaseNode]) -> list[dict[str, Any]]:
        """Return one metadata dict a node, in order: the accepted text, and its score."""
        loop = self._loop()
        gate = asyncio.Semaphore(max(1, self.num_workers))

        async def one(node: BaseNode) -> dict[str, Any]:
            if self.is_text_node_only and not isinstance(node, TextNode):
                return {}
            async with gate:
                return await self._extract_one(loop, node)

        extractions = [asyncio.ensure_future(one(node)) for node in nodes]
        try:
            return list(await asyncio.gather(*extractions))
        finally:  # after a failure nobody wants the others any more
            for extraction in extractions:
                extraction.cancel()

    def extract(self, nodes: Sequence[BaseNode]) -> list[dict[str, Any]]:
        """Return what `aextract` does, blocking; all calls run on one background event loop."""
        return run_blocking(self.aextract(nodes))

    async def _extract_one(self, loop: LoopedLLM[TextPrompt, str], node: BaseNode) -> dict[str, Any]:
        prompt = self._template().format(context_str=node.get_content(metadata_mode=self.metadata_mode))
        result = await loop.arefine(prompt, self.evaluator, {"node": node}, task_type=self.task_type)
        score = result.metrics.best_score
        if not result.iterations or score < self.least_score:
            return {}
        return {self.metadata_key: result.output.strip(), f"{self.metadata_key}_score": round(score, 4)}

    def _loop(self) -> LoopedLLM[TextPrompt, str]:
        if self.priors_address is not None and self._priors is None:
            self._priors = AdaptivePriors.open(self.priors_address)
        return LoopedLLM(
            SpannedRounds(LlamaIndexProvider(self.llm, model_id=self.model_id)),
            self.config,
            priors=self._priors,
            observers=(InstrumentationObserver(),),
        )

    def _template(self) -> BasePromptTemplate:
        return PromptTemplate(self.prompt_template)

    @field_serializer("evaluator")
    def _write_evaluator(self, evaluator: Any) -> str:
        """Write which evaluator it is, the same in every process, since caches of pipelines go by what is written."""
        return identity_of(evaluator)

    @field_serializer("llm")
    def _write_llm(self, llm: LLM) -> dict[str, Any]:
        """Write which model it is with its settings, which the answers depend on, and no key."""
        return {"model": model_name_of(llm), **written_llm(llm)}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the fields; LlamaIndex would silently drop one that cannot be pickled."""
        return _rebuilt, ({name: getattr(self, name) for name in type(self).model_fields},)


def _rebuilt(fields: dict[str, Any]) -> LoopedExtractor:
    return LoopedExtractor(**fields)
