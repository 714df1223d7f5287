"""One model reached through two frameworks has one name, so what one learns serves the other."""

from pathlib import Path
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from llama_index.llms.openai_like import OpenAILike
from pydantic import SecretStr

from loopllm import AdaptivePriors, LoopConfig, LoopedLLM, as_provider
from loopllm.providers.local import LocalProvider
from loopllm_lc import LoopedRunnable
from loopllm_li import LlamaIndexProvider

pytestmark = pytest.mark.real_model

SCORES = {1: 0.30, 2: 0.31, 3: 0.85}
CONFIG = LoopConfig(max_iterations=3, convergence_delta=0.0, min_iterations=3, timeout_ms=None)


def third_time_lucky(output: Any, context: Any) -> float:
    """Be content with the third draft, whatever it says."""
    return SCORES[context["iteration"]]


@pytest.fixture(scope="module")
def server() -> LocalProvider:
    return LocalProvider(max_tokens=8)


@pytest.fixture
def chat_model(server: LocalProvider) -> ChatOpenAI:
    return ChatOpenAI(
        model=str(server.model_id),
        base_url=server.base_url,
        api_key=SecretStr("local"),
        max_completion_tokens=8,
    )


@pytest.fixture
def llm(server: LocalProvider) -> OpenAILike:
    return OpenAILike(
        model=str(server.model_id),
        api_base=server.base_url,
        api_key="local",
        is_chat_model=True,
        context_window=2048,
        max_tokens=8,
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "priors.json"


def test_the_model_has_one_name_however_it_is_reached(
    server: LocalProvider, chat_model: ChatOpenAI, llm: OpenAILike
) -> None:
    assert as_provider(chat_model).model_id == as_provider(llm).model_id == server.model_id


def test_runs_through_langchain_change_what_is_suggested_to_llamaindex(
    chat_model: ChatOpenAI, llm: OpenAILike, store: Path
) -> None:
    name = str(LlamaIndexProvider(llm).model_id)
    with AdaptivePriors(store_path=store) as priors:
        before = priors.report("greet", name)
        looped: LoopedRunnable[Any, Any] = LoopedRunnable(
            bound=chat_model, evaluator=third_time_lucky, config=CONFIG, priors=priors, task_type="greet"
        )
        for _ in range(3):
            looped.invoke("Say hello.")
    with AdaptivePriors(store_path=store) as reread:
        after = reread.report("greet", name)
        assert before["total_calls"] == 0
        assert after["total_calls"] == 3
        assert reread.suggest_config("greet", name)["max_iterations"] >= 3
        LoopedLLM(llm, CONFIG, priors=reread).refine("Say hello.", third_time_lucky, task_type="greet")
        assert reread.report("greet", name)["total_calls"] == 4
