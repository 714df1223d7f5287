"""`LoopedRunnable` as a user's type checker sees it: it takes and gives what it binds; checked, never run."""

from typing import assert_type

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langgraph.graph.state import CompiledStateGraph

from loopllm.evaluators import LengthEvaluator
from loopllm_lc import LoopedRunnable, LoopGraphState, loop_graph


def drop_in(model: BaseChatModel) -> None:
    looped = LoopedRunnable(bound=model, evaluator=LengthEvaluator(max_words=30))
    assert_type(looped, LoopedRunnable[LanguageModelInput, AIMessage])
    assert_type(looped.invoke("Hi"), AIMessage)
    chain = ChatPromptTemplate.from_template("{topic}") | looped | StrOutputParser()
    assert_type(chain.invoke({"topic": "tides"}), str)


def resumable(model: BaseChatModel) -> None:
    graph = loop_graph(model, LengthEvaluator(max_words=30)).compile()
    assert_type(graph, CompiledStateGraph[LoopGraphState, None, LoopGraphState, LoopGraphState])
