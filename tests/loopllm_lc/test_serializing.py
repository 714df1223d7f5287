"""Loops written to JSON and pickles, and read back."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumps, loads
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from loopllm import AdaptivePriors, LoopConfig, MisuseError, Objective, Prices
from loopllm.evaluators import CompositeEvaluator, JSONSchemaEvaluator, LengthEvaluator, RegexEvaluator
from loopllm_lc import LoopedRunnable, register_evaluator

GPT = ChatOpenAI(model="gpt-4o", api_key="sk-very-secret")


def reloaded(looped: Any) -> Any:
    from langchain_core.prompts import HumanMessagePromptTemplate, PromptTemplate
    from langchain_core.runnables import RunnableSequence

    known: Any = [
        LoopedRunnable,
        ChatOpenAI,
        ChatPromptTemplate,
        HumanMessagePromptTemplate,
        PromptTemplate,
        RunnableSequence,
        StrOutputParser,
    ]
    return loads(
        dumps(looped),
        allowed_objects=known,
        valid_namespaces=["loopllm_lc"],
        secrets_map={"OPENAI_API_KEY": "sk-very-secret"},
    )


EVALUATORS = [
    LengthEvaluator(max_words=5),
    RegexEvaluator(required=["yes"], forbidden=["no"]),
    JSONSchemaEvaluator(["a"], {"a": int}),
    JSONSchemaEvaluator(schema={"type": "object", "required": ["a"]}),
    CompositeEvaluator([LengthEvaluator(min_words=1), RegexEvaluator(required=["yes"])], weights=[1, 3]),
]


@pytest.mark.parametrize("evaluator", EVALUATORS, ids=repr)
def test_a_loop_with_a_built_in_evaluator_survives_json(evaluator: Any) -> None:
    """T16."""
    chain = ChatPromptTemplate.from_template("{x}") | GPT | StrOutputParser()
    config = LoopConfig(max_iterations=3, feedback="best")
    looped = LoopedRunnable(bound=chain, evaluator=evaluator, config=config, task_type="t", feedback_key=None)
    again = reloaded(looped)
    assert isinstance(again, LoopedRunnable)
    assert (again.config, again.task_type) == (config, "t")
    assert type(again.evaluator) is type(evaluator)
    for text in ("yes", "no no no no no no", '{"a": 1}', '{"a": "x"}'):
        assert again.evaluator.evaluate(text) == evaluator.evaluate(text)


def test_an_objective_in_money_survives_json() -> None:
    aim = Objective(value_of_success=0.02, cost_per_second=0.001, currency="EUR")
    prices = Prices(prompt_per_million=1.0, completion_per_million=4.0, currency="EUR")
    config = LoopConfig(objective=aim, prices=prices)
    again = reloaded(LoopedRunnable(bound=GPT, evaluator=LengthEvaluator(max_words=5), config=config))
    assert again.config == config


def test_a_registered_evaluator_survives_json() -> None:
    """T16."""
    register_evaluator("my-judge", _Judge())
    again = reloaded(LoopedRunnable(bound=GPT, evaluator=_registered()))
    assert again.evaluator is _registered()


def _registered() -> Any:
    from loopllm_lc.serializing import _registered as names

    return names["my-judge"]


def test_an_evaluator_nobody_registered_here_is_named() -> None:
    with pytest.raises(Exception, match="no evaluator is registered as 'elsewhere'") as caught:
        LoopedRunnable(bound=GPT, evaluator={"loopllm_evaluator": "registered", "name": "elsewhere"})
    assert isinstance(caught.value, MisuseError | ValueError)


class _Judge:
    def __init__(self) -> None:
        self.key = "sk-judge-secret"

    def __call__(self, view: Any) -> None:
        """Be an exit condition, too."""

    def __repr__(self) -> str:
        return f"_Judge({self.key})"

    def evaluate(self, output: Any, context: Any = None) -> Any:
        return 1.0


def test_secrets_are_in_no_json() -> None:
    """T16: langchain writes the repr of what it cannot serialize."""
    text = dumps(
        LoopedRunnable(bound=GPT, evaluator=_Judge(), priors=AdaptivePriors(), exit_conditions=[_Judge()])
    )
    assert "sk-judge-secret" not in text
    assert "sk-very-secret" not in text
    assert "register_evaluator" in text


def test_what_cannot_be_read_back_is_refused_on_loading() -> None:
    """T16."""
    with pytest.raises(NotImplementedError):
        reloaded(LoopedRunnable(bound=GPT, evaluator=_Judge()))


def test_defaults_are_not_written() -> None:
    written = json.loads(dumps(LoopedRunnable(bound=GPT, evaluator=LengthEvaluator(max_words=5))))
    assert written["id"] == ["loopllm_lc", "looped_runnable", "LoopedRunnable"]
    assert set(written["kwargs"]) <= {"bound", "evaluator", "task_type"}


def test_a_loop_pickles_and_copies_when_what_it_binds_does() -> None:
    """T15."""
    looped = LoopedRunnable(
        bound=FakeListChatModel(responses=["yes"]), evaluator=LengthEvaluator(max_words=5)
    )
    looped.invoke("?")
    for again in (pickle.loads(pickle.dumps(looped)), copy.deepcopy(looped), looped.model_copy(deep=True)):
        assert again.invoke("?").text == "yes"


def test_a_pickle_leaves_the_priors_and_their_address_behind_and_a_copy_shares_them(tmp_path: Any) -> None:
    """T15."""
    priors = AdaptivePriors(store_path=tmp_path / "pa55word.json")
    model = FakeListChatModel(responses=["yes"])
    looped = LoopedRunnable(
        bound=model, evaluator=LengthEvaluator(max_words=5), priors=priors, model_id="small", task_type="t"
    )
    pickled = pickle.dumps(looped)
    assert b"pa55word" not in pickled
    again = pickle.loads(pickled)
    assert (again.priors, again.task_type, again.invoke("?").text) == (None, "t", "yes")
    for copied in (copy.deepcopy(looped), looped.model_copy(deep=True), copy.copy(looped)):
        assert copied.priors is priors
        assert copied.invoke("?").text == "yes"
    assert priors.report("t", "small").total_calls == 3


def test_equal_loops_stay_equal_after_use() -> None:
    """T15: a lock made lazily in a private attribute would tell them apart."""
    evaluator = LengthEvaluator(max_words=5)
    model = FakeListChatModel(responses=["yes"])
    used, fresh = (LoopedRunnable(bound=model, evaluator=evaluator) for _ in range(2))
    used.invoke("?")
    assert used == fresh


def test_a_secret_is_in_no_repr() -> None:
    register_evaluator("kept", kept := _Judge())
    for evaluator in (LengthEvaluator(max_words=5), _Judge(), kept):
        text = repr(LoopedRunnable(bound=GPT, evaluator=evaluator, exit_conditions=[_Judge()]))
        assert "sk-" not in text
        assert type(evaluator).__name__ in text
