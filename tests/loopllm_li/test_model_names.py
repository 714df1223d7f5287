"""The name under which learning is kept for a LlamaIndex LLM."""

from typing import Any

import pytest
from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.llms import MockLLM
from llama_index.core.llms.structured_llm import StructuredLLM
from pydantic import BaseModel
from tests.loopllm_li.conftest import ScriptedCompletions, openai_like

from loopllm_li import LlamaIndexProvider
from loopllm_li.model_names import model_name_of


class Answer(BaseModel):
    text: str


def test_the_name_is_the_bare_one_that_the_metadata_states() -> None:
    assert LlamaIndexProvider(openai_like("gpt-4o-mini")).model_id == "gpt-4o-mini"


def test_the_same_model_has_the_same_name_through_langchain() -> None:
    from langchain_openai import ChatOpenAI

    from loopllm import as_provider

    pytest.importorskip("loopllm_lc")
    langchain = ChatOpenAI(model="gpt-4o-mini", base_url="http://127.0.0.1:9", api_key="local")
    assert as_provider(langchain).model_id == LlamaIndexProvider(openai_like("gpt-4o-mini")).model_id


def test_a_name_that_nobody_stated_is_none_and_never_unknown() -> None:
    assert MockLLM().metadata.model_name == "unknown"
    assert LlamaIndexProvider(MockLLM()).model_id is None


@pytest.mark.parametrize("field", ["model", "model_name", "model_id"])
def test_a_field_of_the_llm_stands_in_for_silent_metadata(field: Any) -> None:
    class Silent(ScriptedCompletions):
        @property
        def metadata(self) -> Any:
            return LLMMetadata()

    setattr(Silent, field, property(lambda self: "tiny"))
    assert model_name_of(Silent(replies=["hi"])) == "tiny"


def test_a_name_given_by_the_caller_wins() -> None:
    assert LlamaIndexProvider(openai_like("gpt-4o-mini"), model_id="mine").model_id == "mine"


def test_a_structured_llm_has_the_name_of_the_one_it_wraps() -> None:
    wrapped = StructuredLLM(llm=openai_like("gpt-4o-mini"), output_cls=Answer)
    assert LlamaIndexProvider(wrapped).model_id == "gpt-4o-mini"
