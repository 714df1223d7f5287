"""LangChain's standard tests of chat models, over the embedded real model: two calls each."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests

from loopllm import LoopConfig
from loopllm_lc import LoopedChatModel


def never_content(output: str, context: Any = None) -> float:
    return 0.5


@pytest.mark.real_model
class TestIntegration(ChatModelIntegrationTests):
    """The model has 135 million parameters: it calls no tools and sees no pictures."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return LoopedChatModel

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False  # two of the eight tests go through tool calls; structures have tests of their own

    @pytest.fixture(autouse=True)
    def _over_the_local_model(self, local_chat: Any) -> None:
        config = LoopConfig(max_iterations=2, timeout_ms=120_000)
        self._params = {"bound": local_chat(max_tokens=80), "evaluator": never_content, "config": config}

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return self._params

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {"temperature": 0}

    @pytest.fixture
    def model(self, request: Any) -> BaseChatModel:
        return LoopedChatModel(**self.chat_model_params)
