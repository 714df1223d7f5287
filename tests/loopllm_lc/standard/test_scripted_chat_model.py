"""LangChain's standard tests of chat models, over a scripted model whose drafts are never good enough: three calls each."""

from __future__ import annotations

import re
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from loopllm import LoopConfig
from loopllm_lc import LoopedChatModel


class ObedientModel(BaseChatModel):
    """Does what the standard tests ask of a model: calls tools, stops at stop words, counts tokens, obeys `model=`."""

    model_name: str = "obedient-1"

    @property
    def _llm_type(self) -> str:
        return "obedient"

    def _answer(self, messages: list[BaseMessage], stop: Any, kwargs: dict[str, Any]) -> AIMessage:
        asked = next(str(each.text) for each in reversed(messages) if isinstance(each, HumanMessage))
        usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        metadata = {"model_name": kwargs.get("model", self.model_name), "model_provider": "obedient"}
        answered = isinstance(messages[-1], ToolMessage)
        tools = [convert_to_openai_tool(tool)["function"] for tool in kwargs.get("tools") or []]
        if tools and not answered:
            call = {
                "name": tools[0]["name"],
                "args": _arguments(tools[0], asked),
                "id": "call_1",
                "type": "tool_call",
            }
            return AIMessage("", tool_calls=[call], usage_metadata=usage, response_metadata=metadata)
        text = "Hello there, here is an answer to what you said."
        for word in stop or []:
            text = text.split(word, maxsplit=1)[0]
        return AIMessage(text, usage_metadata=usage, response_metadata=metadata)

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages, stop, kwargs))])

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        message = self._answer(messages, stop, kwargs)
        words = re.findall(r"\S+\s*", str(message.text)) or [""]
        for word in words[:-1]:
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        last = AIMessageChunk(
            content=words[-1],
            tool_calls=message.tool_calls,
            usage_metadata=message.usage_metadata,
            response_metadata=message.response_metadata,
        )
        yield ChatGenerationChunk(message=last)

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Any:
        return self.bind(
            tools=[convert_to_openai_tool(tool) for tool in tools], tool_choice=tool_choice, **kwargs
        )


def _arguments(tool: dict[str, Any], asked: str) -> dict[str, Any]:
    """Fill in a tool's required parameters by their types; a number or a quotation in the question is used where one is wanted."""
    numbers = re.findall(r"\d+", asked) or ["3"]
    by_type = {
        "integer": int(numbers[-1]),
        "number": float(numbers[-1]),
        "boolean": True,
        "array": [],
        "object": {},
    }
    properties = tool.get("parameters", {}).get("properties", {})
    quoted = re.findall(r"'([^']+)'", asked)
    text = quoted[0] if quoted else "some text"
    return {name: by_type.get(spec.get("type", "string"), text) for name, spec in properties.items()}


def never_content(output: str, context: Any = None) -> float:
    return 0.5


class _OverScripted:
    """The tests of pictures, sound and PDF download theirs from the network, so they are left out here."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return LoopedChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        config = LoopConfig(max_iterations=3, convergence_delta=0.0)
        return {"bound": ObedientModel(), "evaluator": never_content, "config": config}

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {"temperature": 0, "max_tokens": 100, "stop": []}

    @property
    def has_tool_calling(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str | None:
        return "obedient-2"


class TestUnit(_OverScripted, ChatModelUnitTests):
    pass


class TestIntegration(_OverScripted, ChatModelIntegrationTests):
    @pytest.fixture
    def model(self, request: Any) -> BaseChatModel:
        return LoopedChatModel(**self.chat_model_params)
