"""`LoopedLlamaLLM`: an LLM that loops another one, wherever an LLM is demanded."""

import asyncio
import json
import pickle
import threading
from typing import Any

import pytest
from llama_index.core import Settings
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ImageBlock,
    LogProb,
    TextBlock,
)
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler, TokenCountingHandler
from llama_index.core.evaluation import CorrectnessEvaluator
from llama_index.core.llms import LLM, MockLLM
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from pydantic import BaseModel
from tests.loopllm_li.conftest import ScriptedChat, ScriptedCompletions, openai_like, ticks_while

from loopllm import AdaptivePriors, EvaluationResult, LoopConfig, MisuseError
from loopllm_li import LoopedLlamaLLM

ASKED = [ChatMessage(role="user", content="Agree.")]


def judge(text: str) -> float:
    return {"yes": 1.0, "maybe": 0.5}.get(text, 0.1)


def looped(llm: Any, **settings: Any) -> LoopedLlamaLLM:
    return LoopedLlamaLLM(llm=llm, **{"evaluator": judge, **settings})


def raw_of(response: Any) -> dict[str, Any]:
    raw: dict[str, Any] = response.raw
    return raw


def test_every_endpoint_loops_and_returns_the_accepted_answer() -> None:
    async def awaited(reply: Any) -> Any:
        return await reply

    async def collected(stream: Any) -> list[Any]:
        return [piece async for piece in await stream]

    def chatting() -> LoopedLlamaLLM:
        return looped(ScriptedChat(replies=["no", "yes"]))

    def completing() -> LoopedLlamaLLM:
        return looped(ScriptedCompletions(replies=["no", "yes"]))

    assert chatting().chat(ASKED).message.content == "yes"
    assert asyncio.run(awaited(chatting().achat(ASKED))).message.content == "yes"
    assert list(chatting().stream_chat(ASKED))[-1].message.content == "yes"
    assert asyncio.run(collected(chatting().astream_chat(ASKED)))[-1].message.content == "yes"
    assert completing().complete("Agree.").text == "yes"
    assert asyncio.run(awaited(completing().acomplete("Agree."))).text == "yes"
    assert list(completing().stream_complete("Agree."))[-1].text == "yes"
    assert asyncio.run(collected(completing().astream_complete("Agree.")))[-1].text == "yes"


def test_prompts_and_predictions_go_through_the_loop() -> None:
    assert (
        looped(ScriptedChat(replies=["no", "yes"])).predict(PromptTemplate("Agree with {who}."), who="me")
        == "yes"
    )


def test_a_stream_is_made_of_pieces_that_add_up_and_the_last_carries_the_usage() -> None:
    llm = looped(ScriptedCompletions(replies=["one two three"]), evaluator=lambda text: 1.0)
    pieces = list(llm.stream_complete("Count."))
    assert [piece.delta for piece in pieces] == ["one", " two", " three"]
    assert [piece.raw is None for piece in pieces] == [True, True, False]


def usage(prompt: int, completion: int) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": completion}}


def test_usage_is_the_sum_of_all_rounds_in_a_raw_that_token_counters_can_read() -> None:
    """Trap 7."""
    from llama_index.core.callbacks.token_counting import get_tokens_from_response

    replies = [CompletionResponse(text=text, raw=usage(10, 2)) for text in ("no", "yes")]
    response = looped(ScriptedCompletions(replies=replies)).complete("Agree.")
    assert get_tokens_from_response(response) == (20, 4)
    assert raw_of(response)["loopllm"]["scores"] == [0.1, 1.0]
    json.dumps(response.raw)


def test_usage_that_nobody_stated_is_not_stated() -> None:
    assert raw_of(looped(ScriptedCompletions(replies=["yes"])).complete("Agree."))["usage"] == {}


class Decorated(ScriptedChat):
    @llm_chat_callback()
    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return super().chat(messages, **kwargs)


def test_llm_events_come_once_a_round_also_when_settings_hang_a_manager_on_the_outer_llm() -> None:
    """Traps 8 and 9."""
    handler = LlamaDebugHandler(print_trace_on_end=False)
    counter = TokenCountingHandler(tokenizer=str.split)
    llm = looped(Decorated(replies=["no", "yes"]))
    llm.callback_manager = CallbackManager([handler, counter])
    llm.chat(ASKED)
    assert len(handler.get_llm_inputs_outputs()) == 2
    assert len(counter.llm_token_counts) == 2


def test_handlers_that_settings_replace_are_followed_by_the_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = TokenCountingHandler(tokenizer=str.split), TokenCountingHandler(tokenizer=str.split)
    monkeypatch.setattr(Settings, "_callback_manager", None)
    Settings.llm = looped(Decorated(replies=["yes"]))
    for counter in (first, second):
        Settings.callback_manager = CallbackManager([counter])
        Settings.llm.chat(ASKED)
    assert [len(counter.llm_token_counts) for counter in (first, second)] == [1, 1]


def test_the_inner_llm_keeps_handlers_of_its_own() -> None:
    own, other = TokenCountingHandler(tokenizer=str.split), TokenCountingHandler(tokenizer=str.split)
    llm = looped(Decorated(replies=["yes"], callback_manager=CallbackManager([own])))
    llm.callback_manager = CallbackManager([other])
    llm.chat(ASKED)
    assert [len(counter.llm_token_counts) for counter in (own, other)] == [1, 0]


def test_the_metadata_is_the_inner_llms_without_a_claim_to_call_functions() -> None:
    """Trap 10."""
    inner = openai_like(is_chat_model=True, is_function_calling_model=True, context_window=777)
    metadata = looped(inner).metadata
    assert (metadata.context_window, metadata.is_chat_model) == (777, True)
    assert metadata.is_function_calling_model is False


def test_images_stay_in_every_round_and_feedback_is_added_beside_them() -> None:
    llm = ScriptedChat(replies=["no", "yes"])
    picture = ChatMessage(
        role="user", blocks=[ImageBlock(url="https://example.org/cat.png"), TextBlock(text="what?")]
    )
    looped(llm, config=LoopConfig(feedback="deficiencies"), evaluator=judge).chat([picture])
    looped_again = ScriptedChat(replies=["no", "yes"])
    looped(looped_again, config=LoopConfig(feedback="last")).chat([picture])
    assert isinstance(looped_again.seen[1][0].blocks[0], ImageBlock)
    assert [message.role.value for message in looped_again.seen[1]] == ["user", "assistant", "user"]
    assert all(isinstance(seen[0].blocks[0], ImageBlock) for seen in llm.seen)
    assert picture.blocks[-1] == TextBlock(text="what?")


def test_arguments_of_a_call_reach_every_round() -> None:
    class Noting(ScriptedChat):
        noted: list[Any] = []  # noqa: RUF012 - a pydantic field, copied for each instance

        def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
            self.noted.append(kwargs)
            return super().chat(messages)

    llm = Noting(replies=["no", "yes"])
    looped(llm).chat(ASKED, temperature=0.3)
    assert llm.noted == [{"temperature": 0.3}] * 2


def test_the_system_prompt_and_the_templates_of_the_inner_llm_are_its_own() -> None:
    llm = ScriptedChat(replies=["yes"], system_prompt="Be brief.")
    looped(llm).predict(PromptTemplate("Agree."))
    assert [message.content for message in llm.seen[0]] == ["Be brief.", "Agree."]


async def test_awaited_the_inner_llm_is_awaited_and_a_blocking_one_runs_in_a_thread() -> None:
    import time

    class Slow(ScriptedCompletions):
        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
            time.sleep(0.15)
            return super().complete(prompt)

    llm = ScriptedChat(replies=["no", "yes"])
    await looped(llm).achat(ASKED)
    assert llm.blocking_calls == 0
    reply, ticks = await ticks_while(looped(Slow(replies=["yes"])).achat(ASKED))
    assert reply.message.content == "yes"
    assert ticks >= 5


def test_it_can_be_set_as_the_llm_of_llama_index() -> None:
    Settings.llm = looped(ScriptedChat(replies=["no", "yes"]))
    assert isinstance(Settings.llm, LLM)
    assert Settings.llm.chat(ASKED).message.content == "yes"


def test_it_is_written_down_with_the_inner_llm_and_without_its_key() -> None:
    data = looped(openai_like(api_key="sk-secret")).to_dict()
    assert data["llm"]["model"] == "tiny"
    assert "sk-secret" not in json.dumps(data)


class Answer(BaseModel):
    text: str


def test_structured_answers_work_through_it() -> None:
    llm = looped(
        ScriptedChat(replies=["no json", '{"text": "yes"}']), evaluator=lambda text: text.startswith("{")
    )
    answer = llm.structured_predict(Answer, PromptTemplate("Agree."))
    assert answer == Answer(text="yes")


def test_it_learns_under_the_name_of_the_inner_model() -> None:
    priors = AdaptivePriors()
    looped(ScriptedChat(replies=["no", "yes"], name="tiny"), priors=priors, task_type="agree").chat(ASKED)
    assert priors.report("agree", "tiny").total_calls == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"llm": "gpt"},
        {"evaluator": 7},
        {"priors": "p.json"},
        {"config": {"max_iterations": 2}},
        {"observers": [7]},
    ],
)
def test_wrong_arguments_are_refused_when_built_naming_them(wrong: dict[str, Any]) -> None:
    with pytest.raises(MisuseError, match=next(iter(wrong))):
        LoopedLlamaLLM(**{"llm": ScriptedChat(replies=["yes"]), "evaluator": judge, **wrong})


# -- templates --------------------------------------------------------------------------------------------------


def templated(*replies: str) -> ScriptedCompletions:
    return ScriptedCompletions(
        replies=list(replies),
        system_prompt="Be brief.",
        completion_to_prompt=lambda prompt: f"[INST]{prompt}[/INST]",
        query_wrapper_prompt=PromptTemplate("<<{query_str}>>"),
    )


async def test_a_completion_model_sees_its_templates_once_through_every_endpoint() -> None:
    """As the bare LLM does: `predict` applies them, and `complete` leaves them to the LLM."""
    bare, llm = templated("yes"), templated("yes")
    loop, prompt = looped(llm), PromptTemplate("Agree with {who}.")
    bare.predict(prompt, who="me")
    bare.complete("Agree.")
    loop.predict(prompt, who="me")
    await loop.apredict(prompt, who="me")
    loop.complete("Agree.")
    await loop.acomplete("Agree.")
    predicted, completed = bare.prompts
    assert predicted == "<<Be brief.\n\n[INST]Agree with me.[/INST]>>"
    assert llm.prompts == [predicted, predicted, completed, completed]


async def test_feedback_stands_inside_the_templates_of_a_completion_model() -> None:
    """Behind the end of a template it would be taken for the beginning of the answer."""
    llm = templated("no", "maybe", "yes")
    await looped(llm).apredict(PromptTemplate("Agree."))
    assert len(llm.prompts) == 3
    for prompt in llm.prompts:
        assert prompt.startswith("<<Be brief.\n\n[INST]Agree.")
        assert prompt.endswith("[/INST]>>")
        assert prompt.count("[INST]") == prompt.count("Be brief.") == 1
    assert "no" in llm.prompts[1]


def test_a_chat_template_brings_its_own_roles_to_a_completion_model() -> None:
    bare, llm = templated("yes"), templated("yes")
    prompt = ChatPromptTemplate([ChatMessage(role="user", content="Agree with {who}.")])
    assert bare.predict(prompt, who="me") == looped(llm).predict(prompt, who="me")
    assert llm.prompts == bare.prompts


def test_the_model_is_told_whether_templates_are_in_the_prompt() -> None:
    class Noting(ScriptedCompletions):
        noted: list[bool] = []  # noqa: RUF012 - a pydantic field, copied for each instance

        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
            self.noted.append(formatted)
            return super().complete(prompt)

    llm = Noting(replies=["yes"])
    looped(llm).complete("Agree.")
    looped(llm).complete("Agree.", formatted=True)
    looped(llm).predict(PromptTemplate("Agree."))
    assert llm.noted == [False, True, True]


# -- pickling ---------------------------------------------------------------------------------------------------


def test_a_pickled_one_works_like_the_original() -> None:
    again = pickle.loads(pickle.dumps(looped(MockLLM(), evaluator=agrees, task_type="agree")))
    assert again.complete("yes").raw["loopllm"]["best_score"] == 1.0
    assert again.task_type == "agree"


def agrees(text: str) -> float:
    return float(text == "yes")


class Locked:
    """An observer that cannot be pickled."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def on_event(self, event: Any) -> None: ...


@pytest.mark.parametrize(
    ("name", "part"),
    [("evaluator", lambda text: 1.0), ("priors", AdaptivePriors()), ("observers", [Locked()])],
)
def test_pickling_is_refused_naming_the_part_that_cannot_be(name: str, part: Any) -> None:
    """LlamaIndex would drop it, and the copy would fail at its first call."""
    llm = looped(MockLLM(), **{"evaluator": agrees, name: part})
    with pytest.raises(pickle.PicklingError, match=f"LoopedLlamaLLM cannot be pickled, since its {name}"):
        pickle.dumps(llm)


def test_feedback_is_not_glued_to_the_users_words_by_clients_that_join_text_blocks() -> None:
    from llama_index.llms.openai.utils import to_openai_message_dict  # type: ignore[import-untyped]  # ships no types

    llm = ScriptedChat(replies=["no", "yes"])
    looped(llm, config=LoopConfig(feedback="deficiencies"), evaluator=disliking).chat(ASKED)
    assert str(to_openai_message_dict(llm.seen[1][0])["content"]).startswith("Agree.\n\n")


def disliking(text: str) -> EvaluationResult:
    return EvaluationResult(judge(text), deficiencies=["too negative"])


def test_an_evaluator_of_llama_index_is_taken_as_it_is() -> None:
    grader = ScriptedCompletions(replies=["1.0\nwrong", "5.0\nright"])
    response = looped(ScriptedChat(replies=["no", "yes"]), evaluator=CorrectnessEvaluator(llm=grader)).chat(
        ASKED
    )
    assert (response.message.content, raw_of(response)["loopllm"]["scores"]) == ("yes", [0.0, 1.0])
    assert "## User Query\nAgree.\n" in grader.prompts[0]


def test_no_key_is_written_down_at_any_depth() -> None:
    headers = {"extra_headers": {"Authorization": "Bearer sk-secret"}}
    inner = openai_like(api_key="sk-secret", is_chat_model=True, additional_kwargs=headers)
    for llm in (inner, inner.as_structured_llm(Answer)):
        assert "sk-secret" not in str(looped(llm).to_dict())
        assert "sk-secret" not in looped(llm).model_dump_json()


def test_the_log_probabilities_of_the_accepted_draft_are_kept() -> None:
    def reply(text: str, logprob: float) -> ChatResponse:
        message = ChatMessage(role="assistant", content=text)
        return ChatResponse(message=message, logprobs=[[LogProb(token=text, logprob=logprob)]])

    response = looped(ScriptedChat(replies=[reply("no", -1.0), reply("yes", -0.5)])).chat(ASKED)
    assert response.logprobs == [[LogProb(token="yes", logprob=-0.5)]]
