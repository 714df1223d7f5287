"""Under which name learning is kept, whatever the model is wrapped in."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField
from langchain_openai import ChatOpenAI, OpenAI

from loopllm_lc.anatomy import dissect
from loopllm_lc.model_identity import model_id_of

PROMPT = ChatPromptTemplate.from_template("{x}")


@pytest.fixture
def gpt() -> ChatOpenAI:
    return ChatOpenAI(model="gpt-4o-mini", api_key="sk-test")


def test_a_chat_model_is_known_by_its_own_name(gpt: Any) -> None:
    assert model_id_of(gpt) == "gpt-4o-mini"


def test_a_text_model_is_known_by_its_own_name() -> None:
    assert model_id_of(OpenAI(model="davinci", api_key="sk-test")) == "davinci"


def test_wrapping_does_not_change_the_name(gpt: Any) -> None:
    other = ChatOpenAI(model="gpt-other", api_key="sk-test")
    for wrapped in (
        gpt.bind(stop=["x"]),
        gpt.with_retry(),
        gpt.with_fallbacks([other]),
        gpt.with_config(tags=["a"]).bind(stop=["x"]).with_retry(),
    ):
        assert model_id_of(wrapped) == "gpt-4o-mini"


def test_a_model_asked_for_by_keyword_wins(gpt: Any) -> None:
    assert model_id_of(gpt.bind(model="gpt-5")) == "gpt-5"
    assert model_id_of(gpt, None, {"model": "gpt-6"}) == "gpt-6"


def test_a_model_chosen_by_the_config_is_the_one_that_learns(gpt: Any) -> None:
    choosing = gpt.configurable_fields(model_name=ConfigurableField(id="which"))
    assert model_id_of(choosing) == "gpt-4o-mini"
    assert model_id_of(choosing, {"configurable": {"which": "gpt-5"}}) == "gpt-5"


def test_a_model_chosen_by_a_config_that_is_bound_to_it_is_the_one_that_learns(gpt: Any) -> None:
    choosing = gpt.configurable_fields(model_name=ConfigurableField(id="which"))
    for wrapped in (
        choosing.bind(stop=["x"]).with_config(configurable={"which": "gpt-5"}),
        choosing.with_fallbacks([gpt]).with_config(configurable={"which": "gpt-5"}),
        dissect((PROMPT | choosing).with_config(configurable={"which": "gpt-5"})).asked,
    ):
        assert model_id_of(wrapped) == "gpt-5"
        assert model_id_of(wrapped, {"configurable": {"which": "gpt-6"}}) == "gpt-6"


def test_a_nameless_model_has_no_name_rather_than_a_made_up_one() -> None:
    assert model_id_of(FakeListChatModel(responses=["hi"])) is None


@pytest.mark.parametrize("name", ["unknown", "", "  ", "None", "default"])
def test_a_placeholder_is_no_name(scripted: Any, name: Any) -> None:
    assert model_id_of(scripted("hi", model_name=name)) is None


def test_a_name_that_only_tracers_are_told_is_found(scripted: Any) -> None:
    scripted_model: Any = type(scripted("x"))

    class Traced(scripted_model):  # type: ignore[misc]  # the fixture's class is not known here
        def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
            return {"ls_model_name": "hidden-7b"}

    assert model_id_of(Traced(replies=["x"])) == "hidden-7b"
