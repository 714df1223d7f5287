"""`LlamaIndexEvaluator`: every evaluator of llama-index-core on one scale, its failures as "no score"."""

import asyncio
import importlib
import os
import pkgutil
import signal
import threading
from typing import Any

import llama_index.core.evaluation
import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse, ImageBlock
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.evaluation import (
    AnswerRelevancyEvaluator,
    BaseEvaluator,
    ContextRelevancyEvaluator,
    CorrectnessEvaluator,
    FaithfulnessEvaluator,
    GuidelineEvaluator,
    PairwiseComparisonEvaluator,
    RelevancyEvaluator,
    SemanticSimilarityEvaluator,
)
from llama_index.core.evaluation import EvaluationResult as LlamaResult
from llama_index.core.evaluation.multi_modal import (
    MultiModalFaithfulnessEvaluator,
    MultiModalRelevancyEvaluator,
)
from tests.loopllm_li.conftest import ScriptedChat, ScriptedCompletions, as_nodes

from loopllm import CompositeEvaluator, LoopConfig, LoopedLLM, MisuseError
from loopllm.errors import EvaluatorError
from loopllm.evaluators import ThresholdEvaluator, as_evaluator
from loopllm.providers.mock import MockLLMProvider
from loopllm_li import LlamaIndexEvaluator, RescoredSimilarity
from loopllm_li.answer_judge import AnswerJudge
from loopllm_li.background_loop import run_blocking
from loopllm_li.chat_rounds import ChatJudge
from loopllm_li.evaluation_verdicts import _READERS
from loopllm_li.nodes_judge import NodesJudge
from loopllm_li.spans import SpannedJudge

FACTS = {"query": "why do tides rise?", "contexts": ["The moon raises the tides."], "reference": "the moon"}


def saying(*replies: str) -> ScriptedCompletions:
    return ScriptedCompletions(replies=list(replies))


def judged(evaluator: Any, answer: Any = "the moon", facts: Any = FACTS, **settings: Any) -> Any:
    return LlamaIndexEvaluator(evaluator, **settings).evaluate(answer, facts)


class Given(BaseEvaluator):
    """Gives the result it is given, and remembers what it was asked."""

    def __init__(self, **fields: Any) -> None:
        self.fields, self.asked = fields, [{}]

    async def aevaluate(
        self, query: Any = None, response: Any = None, contexts: Any = None, **kwargs: Any
    ) -> Any:
        self.asked.append({"query": query, "response": response, "contexts": contexts, **kwargs})
        return LlamaResult(**self.fields)

    def _get_prompts(self) -> Any:
        return {}

    def _update_prompts(self, prompts: Any) -> None: ...


@pytest.mark.parametrize("kind", [FaithfulnessEvaluator, RelevancyEvaluator])
class TestYesAndNo:
    @pytest.mark.parametrize(
        ("said", "score"), [("YES", 1.0), ("yes, it does", 1.0), ("NO", 0.0), ("**No.**", 0.0)]
    )
    def test_the_first_word_decides(self, kind: Any, said: str, score: float) -> None:
        verdict = judged(kind(llm=saying(said)))
        assert (verdict.score, verdict.passed) == (score, score == 1.0)

    def test_a_no_becomes_a_sentence_that_a_model_can_act_on(self, kind: Any) -> None:
        verdict = judged(kind(llm=saying("NO")))
        assert len(verdict.deficiencies[0].split()) > 5

    @pytest.mark.parametrize("said", ["The eyes have it", "I cannot say yes", "", "maybe"])
    def test_what_begins_with_neither_is_no_score(self, kind: Any, said: str) -> None:
        """LlamaIndex takes any text with the letters "yes" in it for a yes."""
        with pytest.raises(EvaluatorError, match="YES or NO"):
            judged(kind(llm=saying(said)))


@pytest.mark.parametrize(
    ("said", "score"), [("1\nwrong", 0.0), ("3\nhalf", 0.5), ("4.5\nnearly", 0.875), ("5\nright", 1.0)]
)
def test_correctness_of_one_to_five_is_brought_to_zero_to_one(said: str, score: float) -> None:
    verdict = judged(CorrectnessEvaluator(llm=saying(said)))
    assert verdict.score == pytest.approx(score)
    assert verdict.passed is (score >= 0.75)


def test_the_reason_of_a_poor_correctness_is_the_deficiency() -> None:
    assert judged(CorrectnessEvaluator(llm=saying("2\nNames the sun only."))).deficiencies == (
        "Names the sun only.",
    )


@pytest.mark.parametrize("said", ["4.5", "I would say it is fine"])
def test_correctness_that_cannot_be_parsed_is_no_score(said: str) -> None:
    """#17960; trap 13: a score of None is not 0."""
    with pytest.raises(EvaluatorError):
        judged(CorrectnessEvaluator(llm=saying(said)))


def test_guidelines_pass_or_give_their_feedback() -> None:
    met = judged(GuidelineEvaluator(llm=saying('{"passing": true, "feedback": "fine"}')))
    broken = judged(GuidelineEvaluator(llm=saying('{"passing": false, "feedback": "Cite a source."}')))
    assert (met.score, met.deficiencies) == (1.0, ())
    assert (broken.score, broken.deficiencies) == (0.0, ("Cite a source.",))


def test_guidelines_answered_in_prose_are_no_score() -> None:
    with pytest.raises(EvaluatorError):
        judged(GuidelineEvaluator(llm=saying("it is fine")))


def test_two_guideline_evaluators_keep_their_own_parsers() -> None:
    """Trap 22: the constructor changes a template that all instances share."""
    from llama_index.core.output_parsers import PydanticOutputParser

    class Shouting(PydanticOutputParser[Any]):
        def format(self, query: str) -> str:
            return f"SHOUT {query}"

    from llama_index.core.evaluation.guideline import EvaluationData

    quiet_llm, loud_llm = (
        saying('{"passing": true, "feedback": ""}'),
        saying('{"passing": true, "feedback": ""}'),
    )
    quiet = GuidelineEvaluator(llm=quiet_llm)
    loud = GuidelineEvaluator(llm=loud_llm, output_parser=Shouting(output_cls=EvaluationData))
    judged(quiet)
    judged(loud)
    assert "SHOUT" not in quiet_llm.prompts[0]
    assert "SHOUT" in loud_llm.prompts[0]


class Signs(BaseEmbedding):
    def _get_text_embedding(self, text: str) -> list[float]:
        return [-1.0, 0.0] if text.startswith("not") else [1.0, 0.0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def test_similarity_below_zero_is_zero_and_the_reference_may_be_given_to_the_adapter() -> None:
    evaluator = SemanticSimilarityEvaluator(embed_model=Signs())
    assert judged(evaluator).score == pytest.approx(1.0)
    opposite = judged(evaluator, "not the moon", {"query": "q"}, reference="the moon")
    assert (opposite.score, opposite.passed) == (0.0, False)
    assert "expected answer" in opposite.deficiencies[0]


def test_similarity_without_anything_to_compare_with_says_what_to_give() -> None:
    with pytest.raises(EvaluatorError, match="reference="):
        judged(SemanticSimilarityEvaluator(embed_model=Signs()), facts={"query": "q"})


@pytest.mark.parametrize(
    ("said", "score"), [("Good. [RESULT] 2", 1.0), ("Half. [RESULT] 1", 0.5), ("Silly. [RESULT] 9", 1.0)]
)
def test_answer_relevancy_is_clipped_and_passes_only_with_all_points(said: str, score: float) -> None:
    """Trap 13, #10761: its `passing` is None, which is not False."""
    verdict = judged(AnswerRelevancyEvaluator(llm=saying(said)))
    assert (verdict.score, verdict.passed) == (score, score == 1.0)


@pytest.mark.parametrize("kind", [AnswerRelevancyEvaluator, ContextRelevancyEvaluator])
def test_relevancy_that_cannot_be_parsed_is_no_score(kind: Any) -> None:
    with pytest.raises(EvaluatorError):
        judged(kind(llm=saying("I think so")))


def test_context_relevancy_judges_retrieved_nodes() -> None:
    llm = saying("Good. [RESULT] 4")
    verdict = judged(
        ContextRelevancyEvaluator(llm=llm), as_nodes(["The moon raises the tides."]), {"query": "why tides?"}
    )
    assert verdict.score == 1.0
    assert "The moon raises the tides." in llm.prompts[0]


@pytest.mark.parametrize(("said", "score"), [("[[A]]", 1.0), ("[[B]]", 0.0), ("[[C]]", 0.5)])
def test_pairwise_compares_with_the_answer_before(said: str, score: float) -> None:
    evaluator = PairwiseComparisonEvaluator(llm=saying(said), enforce_consensus=False)
    assert judged(evaluator, facts={**FACTS, "previous_answer": "the sun"}).score == score


def test_pairwise_is_a_tie_while_there_is_nothing_to_compare_with() -> None:
    assert judged(PairwiseComparisonEvaluator(llm=saying("[[A]]"))).score == 0.5


class TestEvaluatorsOfYourOwn:
    def test_a_score_in_range_is_taken_with_its_feedback(self) -> None:
        verdict = judged(Given(score=0.4, passing=False, feedback="dull"))
        assert (verdict.score, verdict.passed, verdict.deficiencies) == (0.4, False, ("dull",))

    def test_passing_alone_is_a_score(self) -> None:
        assert judged(Given(passing=True)).score == 1.0

    def test_a_score_out_of_range_is_refused_naming_the_fix(self) -> None:
        with pytest.raises(EvaluatorError, match="scale="):
            judged(Given(score=7.0))
        assert judged(Given(score=7.0), scale=(0, 10)).score == pytest.approx(0.7)

    def test_neither_score_nor_passing_is_no_score(self) -> None:
        with pytest.raises(EvaluatorError):
            judged(Given())

    def test_a_result_that_says_it_is_invalid_is_no_score(self) -> None:
        with pytest.raises(EvaluatorError, match="nonsense"):
            judged(Given(score=1.0, invalid_result=True, invalid_reason="nonsense"))

    def test_a_threshold_replaces_the_verdict(self) -> None:
        assert judged(Given(score=0.6, passing=False), threshold=0.5).passed is True

    def test_query_contexts_and_extra_arguments_reach_it(self) -> None:
        evaluator = Given(score=1.0)
        judged(evaluator, colour="blue")
        assert evaluator.asked[-1] == {
            "query": FACTS["query"],
            "response": "the moon",
            "contexts": FACTS["contexts"],
            "reference": "the moon",
            "colour": "blue",
        }


def test_what_is_no_evaluator_of_llama_index_is_refused() -> None:
    with pytest.raises(MisuseError, match="BaseEvaluator"):
        LlamaIndexEvaluator(len)  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(MisuseError, match="scale"):
        LlamaIndexEvaluator(Given(), scale=(1, 1))


def test_it_is_an_evaluator_of_any_loop_and_composite() -> None:
    faithful = LlamaIndexEvaluator(FaithfulnessEvaluator(llm=saying("NO", "YES")))
    loop = LoopedLLM(MockLLMProvider(["first", "second"]))
    result = loop.refine("why?", CompositeEvaluator([faithful]), {"contexts": ["a"]})
    assert (result.output, result.metrics.total_iterations) == ("second", 2)


@pytest.mark.parametrize(
    "wrapped", [lambda each: each, lambda each: CompositeEvaluator([each]), ThresholdEvaluator]
)
def test_a_loop_and_a_composite_take_an_evaluator_of_llama_index_as_it_comes(wrapped: Any) -> None:
    """Asked as a function of `(output, context)` it would take the answer for the query."""
    faithful = wrapped(FaithfulnessEvaluator(llm=saying("NO", "YES")))
    result = LoopedLLM(MockLLMProvider(["first", "second"])).refine("why?", faithful, {"contexts": ["a"]})
    assert (result.output, result.metrics.total_iterations) == ("second", 2)


class LoopBound(Given):
    """Like an async client with a pool: it may only ever be used on one event loop."""

    loop: Any = None

    async def aevaluate(self, *args: Any, **kwargs: Any) -> Any:
        running = asyncio.get_running_loop()
        self.loop = self.loop or running
        if self.loop is not running:
            raise RuntimeError("Event loop is closed")
        return LlamaResult(score=1.0)


def test_blocking_calls_all_run_on_one_event_loop() -> None:
    """Trap 1: one `asyncio.run` a call leaves pooled clients tied to a closed loop."""
    evaluator = LlamaIndexEvaluator(LoopBound())
    assert [evaluator.evaluate("x", FACTS).score for _ in range(3)] == [1.0] * 3


async def test_blocking_calls_also_work_inside_a_running_loop() -> None:
    """Trap 3."""
    assert judged(Given(score=1.0)).score == 1.0


def test_errors_of_a_coroutine_come_as_they_are() -> None:
    """Trap 2: LlamaIndex's asyncio_run replaces any RuntimeError."""

    async def fails() -> None:
        raise RuntimeError("the real reason")

    with pytest.raises(RuntimeError, match="the real reason"):
        run_blocking(fails())


async def test_awaited_it_runs_on_the_callers_own_loop() -> None:
    evaluator = LoopBound()
    await LlamaIndexEvaluator(evaluator).aevaluate("x", FACTS)
    assert evaluator.loop is asyncio.get_running_loop()


def evaluators_of_core() -> list[type[BaseEvaluator]]:
    """Every class that llama-index-core ships."""
    for module in pkgutil.walk_packages(llama_index.core.evaluation.__path__, "llama_index.core.evaluation."):
        importlib.import_module(module.name)
    found, waiting = [], [BaseEvaluator]
    while waiting:
        kinds = [
            each for each in waiting.pop().__subclasses__() if each.__module__.startswith("llama_index.core")
        ]
        found += kinds
        waiting += kinds
    return sorted(set(found), key=lambda each: each.__name__)


def test_every_evaluator_of_core_has_a_rule_of_its_own() -> None:
    kinds = [kind.__name__ for kind in evaluators_of_core()]
    assert len(kinds) >= 10
    assert [kind for kind in kinds if kind not in _READERS] == []


@pytest.mark.parametrize("kind", [MultiModalFaithfulnessEvaluator, MultiModalRelevancyEvaluator])
def test_evaluators_of_pictures_are_shown_them_and_go_by_the_first_word(kind: Any) -> None:
    facts = {
        "query": "what is it?",
        "contexts": ["a cat"],
        "image_urls": ["https://example.org/cat.png"],
    }
    llm = ScriptedChat(replies=["No. The eyes are of a dog."])
    verdict = LlamaIndexEvaluator(kind(multi_modal_llm=llm)).evaluate("a dog", facts)
    assert (verdict.score, verdict.passed, len(verdict.deficiencies)) == (0.0, False, 1)
    assert any(isinstance(block, ImageBlock) for block in llm.seen[0][0].blocks)
    assert (
        LlamaIndexEvaluator(kind(multi_modal_llm=ScriptedChat(replies=["YES"])))
        .evaluate("a cat", facts)
        .score
        == 1.0
    )


@pytest.mark.parametrize("kind", evaluators_of_core(), ids=lambda kind: kind.__name__)
def test_a_judge_that_is_down_is_no_score_whichever_evaluator_asks_it(kind: Any) -> None:
    if kind is SemanticSimilarityEvaluator:

        class Away(MockEmbedding):
            def _get_text_embedding(self, text: str) -> Any:
                raise ConnectionError("no route")

            async def _aget_text_embedding(self, text: str) -> Any:
                raise ConnectionError("no route")

        judge = kind(embed_model=Away(embed_dim=3))
    else:
        name = "multi_modal_llm" if kind.__name__.startswith("MultiModal") else "llm"
        judge = kind(**{name: ScriptedChat(replies=[ConnectionError("no route")])})
    facts = {
        "query": "why?",
        "contexts": ["x"],
        "reference": "the moon",
        "previous_answer": "the sun",
        "image_urls": [],
    }
    loop = LoopedLLM(lambda prompt: "the moon", LoopConfig(max_iterations=1, max_retries=0))
    with pytest.raises(EvaluatorError, match="no route"):
        loop.refine("why?", LlamaIndexEvaluator(judge), facts)


def test_a_stated_spread_reaches_the_loop_through_every_wrapper() -> None:
    judge = LlamaIndexEvaluator(Given(score=0.5), test_retest_sd=0.06)
    for wrapped in (judge, NodesJudge(judge), AnswerJudge(judge), ChatJudge(judge)):
        assert as_evaluator(wrapped).test_retest_sd == 0.06
        assert as_evaluator(SpannedJudge(as_evaluator(wrapped))).test_retest_sd == 0.06
    assert as_evaluator(LlamaIndexEvaluator(Given(score=0.5))).test_retest_sd is None


def test_arguments_of_ones_own_serve_where_the_context_has_nothing() -> None:
    given = Given(score=1.0)
    judged(given, facts={"query": "q"}, contexts=["mine"])
    assert given.asked[-1]["contexts"] == ["mine"]
    judged(given, facts={"query": "q", "contexts": ["theirs"]}, contexts=["mine"])
    assert given.asked[-1]["contexts"] == ["theirs"]


def test_pairwise_compares_with_an_answer_of_ones_own_when_one_is_given() -> None:
    llm = saying("better [[A]]")
    pairwise = PairwiseComparisonEvaluator(llm=llm, enforce_consensus=False)
    assert judged(pairwise, facts={"query": "q"}, second_response="the baseline").score == 1.0
    assert "the baseline" in llm.prompts[0]


def test_a_conversation_is_judged_by_what_the_user_asked_last() -> None:
    given = Given(score=1.0)
    asked = [{"role": "user", "content": "why?"}, {"role": "tool", "content": "42"}]
    judged(given, facts={"prompt": asked})
    judged(given, facts={"prompt": [ChatMessage(role="user", content="why?")]})
    judged(given, facts={"prompt": ["no", "messages"]})
    assert [each["query"] for each in given.asked[1:]] == ["why?", "why?", "['no', 'messages']"]


class NeedsTheLoop:
    """A blocking call that ends only when the event loop that called it is free."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()

    def was_free(self) -> bool:
        free = threading.Event()
        self.loop.call_soon_threadsafe(free.set)
        return free.wait(5)


async def test_a_judge_whose_model_only_pretends_to_be_awaitable_does_not_block_the_event_loop() -> None:
    needs = NeedsTheLoop()

    class Blocking(ScriptedCompletions):
        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
            return CompletionResponse(text="5.0\nright" if needs.was_free() else "1.0\nblocked")

    evaluator = LlamaIndexEvaluator(CorrectnessEvaluator(llm=Blocking(replies=[])))
    assert (await evaluator.aevaluate("x", FACTS)).score == 1.0


async def test_an_embedding_model_without_async_methods_does_not_block_the_event_loop() -> None:
    needs = NeedsTheLoop()

    class Blocking(BaseEmbedding):
        def _get_text_embedding(self, text: str) -> list[float]:
            return [1.0, 0.0] if needs.was_free() else [0.0, 1.0]

        def _get_query_embedding(self, query: str) -> list[float]:
            return [1.0, 0.0]

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return [1.0, 0.0]

    model = Blocking()
    similar = LlamaIndexEvaluator(SemanticSimilarityEvaluator(embed_model=model), reference="y")
    nodes, query = as_nodes(["a", "b"]), {"query": "q"}
    assert (await RescoredSimilarity(model).aevaluate(nodes, query)).score == 1.0
    assert (await similar.aevaluate("x", query)).score == 1.0


def scores_in_a_thread(evaluator: Any) -> list[float]:
    """The score, or nothing when it waits for ever."""
    scores: list[float] = []
    thread = threading.Thread(target=lambda: scores.append(judged(evaluator).score), daemon=True)
    thread.start()
    thread.join(5)
    return scores


@pytest.mark.parametrize("inner", [Given(score=0.5), CorrectnessEvaluator(llm=saying("3\nhalf"))])
def test_a_coroutine_that_blocks_on_another_one_does_not_wait_for_itself(inner: Any) -> None:
    class Asking(Given):
        async def aevaluate(self, *args: Any, **kwargs: Any) -> Any:
            return LlamaResult(score=judged(inner).score)

    assert scores_in_a_thread(Asking()) == [0.5]


def test_nor_does_it_where_the_other_one_goes_on_in_a_thread() -> None:
    class InAThread(Given):
        async def aevaluate(self, *args: Any, **kwargs: Any) -> Any:
            return LlamaResult(score=(await asyncio.to_thread(judged, Given(score=0.5))).score)

    class Asking(Given):
        async def aevaluate(self, *args: Any, **kwargs: Any) -> Any:
            return LlamaResult(score=judged(InAThread()).score)

    assert scores_in_a_thread(Asking()) == [0.5]


def test_an_interrupted_wait_cancels_what_it_waited_for() -> None:
    ended = threading.Event()

    async def never_ends() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        run_blocking(never_ends())
    assert ended.wait(5)


@pytest.mark.parametrize("is_awaited", [False, True])
def test_judges_whose_models_block_judge_at_the_same_time(is_awaited: bool) -> None:
    both = threading.Barrier(2)

    class Meeting(ScriptedCompletions):
        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
            both.wait(5)
            return CompletionResponse(text="5.0\nright")

    judge = LlamaIndexEvaluator(CorrectnessEvaluator(llm=Meeting(replies=[])))
    loop = LoopedLLM(MockLLMProvider(["x"]))
    results = asyncio.run(loop.abatch(["a", "b"], judge)) if is_awaited else loop.batch(["a", "b"], judge)
    assert [each.metrics.best_score for each in results] == [1.0, 1.0]


def test_a_judge_whose_model_hangs_holds_up_no_other_judge() -> None:
    release = threading.Event()

    class Hanging(ScriptedCompletions):
        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
            release.wait(5)
            return CompletionResponse(text="5.0\ntoo late")

    hung = LlamaIndexEvaluator(CorrectnessEvaluator(llm=Hanging(replies=[])))
    left = LoopedLLM(MockLLMProvider(["x"]), LoopConfig(timeout_ms=50)).refine("why?", hung)
    other = LoopedLLM(MockLLMProvider(["x"]), LoopConfig(timeout_ms=2000)).refine(
        "why?", CorrectnessEvaluator(llm=saying("5.0\nright"))
    )
    release.set()
    assert left.metrics.exit_reason.condition == "timeout_ms"
    assert other.metrics.best_score == 1.0
