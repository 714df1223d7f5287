"""`LoopedFunctionCallingLLM`: answers are looped, and turns that call tools are the agent's."""

import asyncio
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel
from tests.loopllm_li.conftest import ScriptedCaller, ScriptedChat, openai_like

from loopllm import AdaptivePriors, LoopConfig, MisuseError
from loopllm_li import LoopedFunctionCallingLLM

ASKED = [ChatMessage(role="user", content="What is 2 + 3?")]
ADD = ToolSelection(tool_id="call-1", tool_name="add", tool_kwargs={"a": 2, "b": 3})


def judge(text: str) -> float:
    return {"it is 5": 1.0, "perhaps 5": 0.5}.get(text, 0.1)


def looped(llm: Any, **settings: Any) -> LoopedFunctionCallingLLM:
    return LoopedFunctionCallingLLM(llm=llm, **{"evaluator": judge, **settings})


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def usage(prompt: int, completion: int) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": completion}}


def said(text: str, **fields: Any) -> ChatResponse:
    return ChatResponse(message=ChatMessage(role="assistant", content=text), **fields)


def test_it_is_a_function_calling_llm_with_the_metadata_of_the_inner_one() -> None:
    inner = openai_like(is_chat_model=True, is_function_calling_model=True, context_window=777)
    llm = looped(inner)
    assert isinstance(llm, FunctionCallingLLM)
    assert llm.metadata == inner.metadata
    assert llm.metadata.is_function_calling_model


def test_an_answer_is_looped_with_the_tools_at_hand_in_every_round() -> None:
    inner = ScriptedCaller(replies=["no", "it is 5"])
    response = looped(inner).chat_with_tools([FunctionTool.from_defaults(add)], user_msg="What is 2 + 3?")
    assert response.message.content == "it is 5"
    assert inner.arguments == [{"tools": ["add"]}, {"tools": ["add"]}]


def test_a_turn_that_calls_a_tool_is_handed_on_unscored_and_unlearned() -> None:
    judged: list[str] = []

    def spy(text: str) -> float:
        judged.append(text)
        return 1.0

    priors, inner = AdaptivePriors(), ScriptedCaller(replies=[ADD])
    llm = looped(inner, evaluator=spy, priors=priors)
    response = llm.chat(ASKED)
    assert llm.get_tool_calls_from_response(response) == [ADD]
    assert response.raw == {"usage": {"prompt_tokens": 5, "completion_tokens": 1}}
    assert (judged, len(inner.seen), priors.report_all()) == ([], 1, [])


async def test_awaited_and_streamed_a_tool_turn_is_the_same() -> None:
    llm = looped(ScriptedCaller(replies=[ADD]))
    assert llm.get_tool_calls_from_response(await llm.achat(ASKED)) == [ADD]
    pieces = [piece async for piece in await llm.astream_chat(ASKED)]
    assert [llm.get_tool_calls_from_response(piece) for piece in pieces] == [[ADD]]
    assert llm.get_tool_calls_from_response(list(llm.stream_chat(ASKED))[-1]) == [ADD]


def test_feedback_that_leads_to_a_tool_call_ends_the_loop_with_that_turn_and_all_tokens() -> None:
    inner = ScriptedCaller(replies=[said("no", raw=usage(10, 2)), ADD])
    llm = looped(inner)
    response = llm.chat(ASKED)
    assert llm.get_tool_calls_from_response(response) == [ADD]
    raw: dict[str, Any] = response.raw  # type: ignore[assignment]  # ours is a dict
    assert (raw["usage"]["prompt_tokens"], raw["loopllm"]["scores"]) == (15, [0.1])


def test_a_model_that_fails_is_not_taken_for_a_tool_turn() -> None:
    from loopllm.errors import ProviderError

    with pytest.raises(ProviderError, match="down"):
        looped(ScriptedCaller(replies=[RuntimeError("down")])).chat(ASKED)


async def test_an_agent_calls_its_tools_and_its_last_answer_is_looped() -> None:
    """Trap 10: agents demand an LLM that really calls functions."""
    for streaming in (True, False):
        inner = ScriptedCaller(replies=[ADD, "perhaps 5", "it is 5"])
        agent = FunctionAgent(tools=[add], llm=looped(inner), streaming=streaming)
        output: Any = await agent.run("What is 2 + 3?")
        assert str(output) == "it is 5"
        assert [call.tool_output.content for call in output.tool_calls] == ["5"]
        assert len(inner.seen) == 3


def test_predict_and_call_calls_the_tool() -> None:
    llm = looped(ScriptedCaller(replies=[ADD]))
    tool = FunctionTool.from_defaults(add)
    assert str(llm.predict_and_call([tool], user_msg="What is 2 + 3?")) == "5"
    assert str(asyncio.run(_acalled(llm, tool))) == "5"


async def _acalled(llm: Any, tool: Any) -> Any:
    return await llm.apredict_and_call([tool], user_msg="What is 2 + 3?")


class Total(BaseModel):
    value: int


def test_structured_answers_go_through_the_tools_of_the_inner_llm() -> None:
    from llama_index.core.prompts import PromptTemplate

    call = ToolSelection(tool_id="1", tool_name="Total", tool_kwargs={"value": 5})
    llm = looped(ScriptedCaller(replies=[call]))
    assert llm.structured_predict(Total, PromptTemplate("2 + 3?")) == Total(value=5)


def test_limits_of_the_loop_hold() -> None:
    inner = ScriptedCaller(replies=["no", "perhaps 5", "no"])
    assert looped(inner, config=LoopConfig(max_iterations=2)).chat(ASKED).message.content == "perhaps 5"


@pytest.mark.parametrize("llm", [ScriptedChat(replies=["x"]), openai_like(is_chat_model=True), "gpt"])
def test_an_llm_that_calls_no_functions_is_refused_naming_the_fix(llm: Any) -> None:
    with pytest.raises(MisuseError, match="does not call functions; use LoopedLlamaLLM"):
        looped(llm)


def test_after_a_tool_the_evaluator_is_told_what_the_user_asked() -> None:
    told: list[str] = []

    def knowing(text: str, context: Any) -> float:
        told.append(context["query"])
        return 1.0

    called = ChatMessage(role="assistant", content="", additional_kwargs={"tool_calls": [ADD]})
    looped(ScriptedCaller(replies=["it is 5"]), evaluator=knowing).chat(
        [*ASKED, called, ChatMessage(role="tool", content="5")]
    )
    assert told == ["What is 2 + 3?"]
