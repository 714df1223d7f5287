"""What LlamaIndex's retry engines get wrong and `LoopedQueryEngine` does not, where no other test says it."""

from typing import Any

import pytest
from llama_index.core.evaluation import (
    AnswerRelevancyEvaluator,
    BaseEvaluator,
    ContextRelevancyEvaluator,
    SemanticSimilarityEvaluator,
)
from llama_index.core.evaluation import EvaluationResult as LlamaResult
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index_instrumentation import get_dispatcher
from tests.loopllm_li.conftest import ScriptedCompletions, ScriptedEngine, ShelfRetriever

from loopllm import LoopConfig
from loopllm_li import LlamaIndexEvaluator, LoopedQueryEngine

QUERY = "why do tides rise"


def is_good(text: str) -> float:
    return 1.0 if "good" in text else 0.1


def test_nothing_of_openai_is_needed_to_build_or_to_query() -> None:
    """Defect 1: the fixture of this folder makes any touch of the OpenAI default fail."""
    engine = LoopedQueryEngine(query_engine=ScriptedEngine(["bad", "bad", "good"]), evaluator=is_good)
    assert str(engine.query(QUERY)) == "good"


def test_a_perfect_answer_of_an_evaluator_without_a_verdict_ends_the_run() -> None:
    """Defect 9: `passing` None counted as a failure, so all retries were used."""
    llm = ScriptedCompletions(replies=["fine [RESULT] 2"])
    inner = ScriptedEngine(["good"])
    LoopedQueryEngine(query_engine=inner, evaluator=AnswerRelevancyEvaluator(llm=llm)).query(QUERY)
    assert len(inner.asked) == 1


class Constant(BaseEvaluator):
    """Scores without a word of feedback, and without repeating the response."""

    async def aevaluate(self, *args: Any, **kwargs: Any) -> LlamaResult:
        return LlamaResult(score=0.2, passing=None, feedback=None, response=None)

    def _get_prompts(self) -> Any:
        return {}

    def _update_prompts(self, prompts: Any) -> None: ...


def test_a_verdict_without_feedback_and_response_is_enough_to_go_on() -> None:
    """Defect 10: either being None was a ValueError."""
    inner = ScriptedEngine(["one", "two"])
    config = LoopConfig(max_iterations=2, convergence_delta=0.0)
    response: Any = LoopedQueryEngine(query_engine=inner, evaluator=Constant(), config=config).query(QUERY)
    assert response.metadata["loopllm"]["scores"] == [0.2, 0.2]


def test_evaluators_that_retry_engines_cannot_use_drive_the_loop() -> None:
    """Defect 10: ContextRelevancy and SemanticSimilarity give a response of None."""
    from llama_index.core.embeddings import MockEmbedding

    similar = SemanticSimilarityEvaluator(embed_model=MockEmbedding(embed_dim=3))
    context = ContextRelevancyEvaluator(llm=ScriptedCompletions(replies=["fine [RESULT] 4"]))
    for evaluator in (LlamaIndexEvaluator(similar, reference="the moon"), context):
        response: Any = LoopedQueryEngine(query_engine=ScriptedEngine(["x"]), evaluator=evaluator).query(
            QUERY
        )
        assert response.metadata["loopllm"]["best_score"] == 1.0


def test_a_revision_prompt_of_ones_own_serves_every_round() -> None:
    """Defect 13: a custom transformer was lost after the first retry."""
    inner = ScriptedEngine(["bad", "bad", "good"])
    engine = LoopedQueryEngine(
        query_engine=inner,
        evaluator=is_good,
        revision_prompt=PromptTemplate("MINE {query_str} {revision}"),
        config=LoopConfig(convergence_delta=0.0),
    )
    engine.query(QUERY)
    assert [asked.query_str.startswith("MINE") for asked in inner.asked] == [False, True, True]


def test_the_verdict_is_read_and_not_the_truth_of_the_result_object() -> None:
    """Defect 14 and trap 13: a result is always true, also one that says no."""

    class No(Constant):
        async def aevaluate(self, *args: Any, **kwargs: Any) -> LlamaResult:
            return LlamaResult(score=1.0, passing=False, feedback="no")

    inner = ScriptedEngine(["one", "two"])
    config = LoopConfig(max_iterations=2, convergence_delta=0.0)
    response: Any = LoopedQueryEngine(query_engine=inner, evaluator=No(), config=config).query(QUERY)
    assert (len(inner.asked), response.metadata["loopllm"]["converged"]) == (2, False)


class Labelled(BaseRetriever):
    """Finds nodes with ids, scores and metadata of their own."""

    found = (NodeWithScore(node=TextNode(id_="id-7", text="moon", metadata={"page": 3}), score=0.37),)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return list(self.found)


def test_the_source_nodes_keep_their_ids_scores_and_metadata_and_the_given_llm_is_the_one_asked() -> None:
    """Defect 15: RetrySource rebuilt documents and asked another LLM."""
    llm = ScriptedCompletions(replies=["bad", "good"])
    inner = RetrieverQueryEngine(Labelled(), get_response_synthesizer(llm=llm))
    response = LoopedQueryEngine(query_engine=inner, evaluator=is_good).query(QUERY)
    (node,) = response.source_nodes
    assert (node.node_id, node.score, node.node.metadata) == ("id-7", 0.37, {"page": 3})
    assert len(llm.prompts) == 2


class Events(BaseEventHandler):
    names: list[str] = []  # noqa: RUF012 - a pydantic field, copied for each instance

    @classmethod
    def class_name(cls) -> str:
        return "Events"

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.names.append(type(event).__name__)


def test_every_attempt_is_a_query_of_the_inner_engine_with_its_events() -> None:
    """Defect 16: `_query` was called, which skips them."""
    handler, root = Events(), get_dispatcher()
    root.add_event_handler(handler)
    try:
        LoopedQueryEngine(query_engine=ScriptedEngine(["bad", "good"]), evaluator=is_good).query(QUERY)
    finally:
        root.event_handlers.remove(handler)
    assert (handler.names.count("QueryStartEvent"), handler.names.count("QueryEndEvent")) == (3, 3)


@pytest.mark.parametrize("rows", [["SELECT 1"], "x" * 100_000])
def test_the_judge_sees_what_is_picked_for_it_and_not_the_raw_rows(rows: Any) -> None:
    """Defect 17: raw rows went to the judge, 400,000 tokens of them."""
    from llama_index.core.base.response.schema import Response

    judged: list[str] = []

    def spy(text: str) -> float:
        judged.append(text)
        return 1.0

    inner = ScriptedEngine([Response(str(rows), [], {"sql_query": "SELECT moon"})])
    LoopedQueryEngine(
        query_engine=inner, evaluator=spy, evaluate_on=lambda response: (response.metadata or {})["sql_query"]
    ).query(QUERY)
    assert judged == ["SELECT moon"]


def test_a_shelf_that_finds_nothing_is_still_answered() -> None:
    inner = RetrieverQueryEngine(
        ShelfRetriever({}), get_response_synthesizer(llm=ScriptedCompletions(replies=["good"]))
    )
    assert LoopedQueryEngine(query_engine=inner, evaluator=lambda text: 0.5).query(QUERY).source_nodes == []
