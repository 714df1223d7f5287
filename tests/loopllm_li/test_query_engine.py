"""`LoopedQueryEngine`: answer, score, feed back, and the best answer of all."""

import asyncio
import inspect
import threading
import time
from typing import Any

import pytest
from llama_index.core.base.response.schema import (
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.callbacks.schema import CBEventType
from llama_index.core.chat_engine import CondenseQuestionChatEngine
from llama_index.core.evaluation import AnswerRelevancyEvaluator, FaithfulnessEvaluator
from llama_index.core.indices.query.query_transform.base import IdentityQueryTransform
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine, RouterQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen.types import SubQuestion
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import QueryBundle
from llama_index.core.selectors import BaseSelector
from llama_index.core.tools import QueryEngineTool
from pydantic import BaseModel
from tests.loopllm_li.conftest import (
    ScriptedChat,
    ScriptedCompletions,
    ScriptedEngine,
    ShelfRetriever,
    as_nodes,
    story_of,
    ticks_while,
)

from loopllm import AdaptivePriors, EvaluationResult, LoopConfig, MisuseError, ProviderError
from loopllm_li import LoopedQueryEngine, LoopedTransformQueryEngine

QUERY = "why do tides rise"
SHORT = LoopConfig(timeout_ms=100)


def judge(text: str, context: Any = None) -> EvaluationResult:
    """Score an answer by the number it begins with."""
    score = float(text.split(maxsplit=1)[0])
    return EvaluationResult(score, deficiencies=[] if score >= 0.8 else [f"only {score}"])


def looped(engine: Any, **settings: Any) -> LoopedQueryEngine:
    return LoopedQueryEngine(query_engine=engine, **{"evaluator": judge, **settings})


def test_an_answer_that_is_good_enough_is_returned_at_once() -> None:
    engine = ScriptedEngine(["0.9 good"])
    response = looped(engine).query(QUERY)
    assert isinstance(response, Response)
    assert (response.response, len(engine.asked)) == ("0.9 good", 1)
    assert [node.node_id for node in response.source_nodes] == ["source"]
    assert story_of(response)["exit_reason"] == "quality_threshold"


@pytest.mark.parametrize("is_awaited", [False, True])
async def test_an_evaluator_of_any_loop_finds_the_question_where_every_loop_tells_it(
    is_awaited: bool,
) -> None:
    engine = looped(ScriptedEngine(["yes"]), evaluator=lambda text, context: context["prompt"] == QUERY)
    response = await engine.aquery(QUERY) if is_awaited else engine.query(QUERY)
    assert story_of(response)["scores"] == [1.0]


def test_the_best_answer_is_returned_and_not_the_last_and_every_answer_is_scored() -> None:
    """Retry engines return the last one and never score it (defects 2 and 3)."""
    engine = ScriptedEngine(["0.5 a", "0.7 b", "0.2 c", "0.1 d"])
    response = looped(engine, config=LoopConfig(max_iterations=4)).query(QUERY)
    story = story_of(response)
    assert (str(response), story["scores"], story["best_iteration"]) == ("0.7 b", [0.5, 0.7, 0.2, 0.1], 2)
    assert story["iterations"][1]["node_ids"] == ["source"]


def test_feedback_reaches_the_writer_and_never_what_is_embedded() -> None:
    """Defects 4 and 5: no snowball, no embedding of the feedback."""
    engine = ScriptedEngine(["0.1 first", "0.2 second", "0.3 third", "0.4 fourth"])
    looped(engine, config=LoopConfig(max_iterations=4, convergence_delta=0.0)).query(QUERY)
    assert [asked.embedding_strs for asked in engine.asked] == [[QUERY]] * 4
    assert engine.asked[0].query_str == QUERY
    assert "0.1 first" in engine.asked[1].query_str
    assert "0.1 first" not in engine.asked[2].query_str
    assert len({len(asked.query_str) for asked in engine.asked[1:]}) <= 3


def test_a_huge_answer_is_shown_in_part_only() -> None:
    engine = ScriptedEngine(["0.1 " + "x" * 100_000, "0.9 good"])
    looped(engine).query(QUERY)
    assert len(engine.asked[1].query_str) < 6000


def test_the_evaluator_judges_the_callers_own_query_with_the_sources() -> None:
    seen: list[Any] = []

    def spy(text: str, context: Any) -> float:
        seen.append(
            (context["query"].query_str, context["contexts"], context["previous_answer"], context["extra"])
        )
        return 0.1 * len(seen)

    engine = ScriptedEngine(["a", "b"])
    looped(engine, evaluator=spy, context={"extra": 1}, config=LoopConfig(max_iterations=2)).query(QUERY)
    assert seen == [(QUERY, ["source"], None, 1), (QUERY, ["source"], "a", 1)]


def test_with_a_retriever_engine_nodes_are_found_once_and_only_the_answer_is_written_again() -> None:
    retriever = ShelfRetriever({QUERY: ["moon"]})
    llm = ScriptedCompletions(replies=["0.1 bad", "0.9 good"])
    inner = RetrieverQueryEngine(retriever, get_response_synthesizer(llm=llm))
    response = looped(inner).query(QUERY)
    assert (str(response), len(retriever.asked), len(llm.prompts)) == ("0.9 good", 1, 2)
    assert "only 0.1" in llm.prompts[1]
    assert [node.node_id for node in response.source_nodes] == ["moon"]


def test_what_is_judged_can_be_picked_from_the_response() -> None:
    """#20300: raw rows must not go to the judge."""
    engine = ScriptedEngine([Response("many rows", [], {"sql_query": "0.9 SELECT"})])
    response = looped(engine, evaluate_on=lambda response: (response.metadata or {})["sql_query"]).query(
        QUERY
    )
    assert story_of(response)["best_score"] == 0.9
    assert (response.metadata or {})["sql_query"] == "0.9 SELECT"


def test_the_metadata_of_the_inner_response_is_kept_and_not_written_into() -> None:
    inner = Response("0.9 good", [], {"node-1": {"page": 3}})
    response = looped(ScriptedEngine([inner])).query(QUERY)
    assert (response.metadata or {})["node-1"] == {"page": 3}
    assert inner.metadata == {"node-1": {"page": 3}}


# -- every type of response -------------------------------------------------------------------------------------


class Tide(BaseModel):
    cause: str


def test_a_structured_answer_keeps_its_type_and_is_judged_as_json() -> None:
    """Trap 14: `hasattr` is true of everything on a PydanticResponse."""
    judged: list[str] = []

    def spy(text: str) -> float:
        judged.append(text)
        return 0.9

    response = looped(ScriptedEngine([PydanticResponse(Tide(cause="moon"))]), evaluator=spy).query(QUERY)
    assert isinstance(response, PydanticResponse)
    assert (response.response, judged) == (Tide(cause="moon"), ['{"cause":"moon"}'])


def stream_of(text: str) -> StreamingResponse:
    return StreamingResponse((word for word in [text]), as_nodes(["source"]))


def test_a_stream_is_judged_and_then_replayed_never_handed_out_empty() -> None:
    """Trap 15, defect 7."""
    response = looped(ScriptedEngine([stream_of("0.1 bad"), stream_of("0.9 very good")])).query(QUERY)
    assert isinstance(response, StreamingResponse)
    assert "".join(response.response_gen) == "0.9 very good"
    assert str(response) == "0.9 very good"
    assert [node.node_id for node in response.source_nodes] == ["source"]


async def test_an_awaited_stream_is_an_async_stream() -> None:
    """Defect 8."""

    async def words(text: str) -> Any:
        for word in text.split(" "):
            yield f"{word} "

    engine = ScriptedEngine([AsyncStreamingResponse(words("0.9 very good"))])
    response = await looped(engine).aquery(QUERY)
    assert isinstance(response, AsyncStreamingResponse)
    pieces = [piece async for piece in response.async_response_gen()]
    assert "".join(pieces) == "0.9 very good "
    assert len(pieces) > 1


async def test_a_caller_that_awaits_gets_an_async_stream_of_a_blocking_one() -> None:
    response = await looped(ScriptedEngine([stream_of("0.9 good")])).aquery(QUERY)
    assert isinstance(response, AsyncStreamingResponse)


def test_streams_can_be_asked_for_and_refused() -> None:
    assert isinstance(looped(ScriptedEngine(["0.9 good"]), streaming=True).query(QUERY), StreamingResponse)
    assert isinstance(looped(ScriptedEngine([stream_of("0.9 good")]), streaming=False).query(QUERY), Response)


def hanging(release: threading.Event) -> LoopedQueryEngine:
    """An engine that gives streams, and finds no source in time."""

    class Hanging(ShelfRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> Any:
            release.wait(60)
            return super()._retrieve(query_bundle)

        async def _aretrieve(self, query_bundle: QueryBundle) -> Any:
            await asyncio.Event().wait()

    synthesizer = get_response_synthesizer(llm=ScriptedChat(replies=["late"]), streaming=True)
    engine = RetrieverQueryEngine(Hanging({}), synthesizer)
    return looped(LoopedTransformQueryEngine(engine, IdentityQueryTransform()), config=SHORT)


async def test_a_stream_is_handed_out_also_when_the_time_is_over_before_the_first_answer() -> None:
    release = threading.Event()
    response, awaited = hanging(release).query(QUERY), await hanging(release).aquery(QUERY)
    release.set()
    assert isinstance(response, StreamingResponse)
    assert isinstance(awaited, AsyncStreamingResponse)
    assert (list(response.response_gen), story_of(response)["exit_reason"]) == ([], "timeout_ms")


# -- awaited ----------------------------------------------------------------------------------------------------


async def test_awaited_it_never_calls_the_blocking_query() -> None:
    """Defect 6, and the peers' test_multistep_query_engine."""
    engine = ScriptedEngine(["0.1 bad", "0.9 good"], delay_s=0.05)
    response, ticks = await ticks_while(looped(engine).aquery(QUERY))
    assert (str(response), engine.blocking_calls) == ("0.9 good", 0)
    assert ticks >= 5


async def test_five_awaited_queries_take_the_time_of_one() -> None:
    engine = looped(ScriptedEngine(["0.9 good"], delay_s=0.5))
    began = time.perf_counter()
    await asyncio.gather(*(engine.aquery(QUERY) for _ in range(5)))
    assert time.perf_counter() - began < 2.0


async def test_a_blocking_evaluator_does_not_block_the_event_loop() -> None:
    def slow(text: str) -> float:
        time.sleep(0.15)
        return 0.9

    _, ticks = await ticks_while(looped(ScriptedEngine(["0.9"]), evaluator=slow).aquery(QUERY))
    assert ticks >= 5


async def test_the_blocking_query_works_inside_a_running_loop() -> None:
    assert str(looped(ScriptedEngine(["0.1", "0.9"])).query(QUERY)) == "0.9"


# -- failures ---------------------------------------------------------------------------------------------------


def test_an_engine_that_fails_at_once_raises_with_its_own_error_as_cause() -> None:
    with pytest.raises(ProviderError, match="index is gone") as caught:
        looped(ScriptedEngine([RuntimeError("index is gone")])).query(QUERY)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_an_engine_that_fails_later_leaves_the_best_answer() -> None:
    response = looped(ScriptedEngine(["0.3 fair", ValueError("Token budget exceeded!")])).query(QUERY)
    assert str(response) == "0.3 fair"
    assert story_of(response)["exit_reason"] == "provider_error"
    assert "Token budget" in story_of(response)["exit_message"]


def counter_with_a_budget(tokens: int) -> Any:
    """LlamaIndex's own, or what it does written out for the versions that have no budget yet."""
    import inspect

    from llama_index.core.callbacks import TokenCountingHandler

    if "token_budget" in inspect.signature(TokenCountingHandler).parameters:
        return TokenCountingHandler(token_budget=tokens, tokenizer=str.split)

    class Budgeted(TokenCountingHandler):
        def on_event_end(self, *args: Any, **kwargs: Any) -> None:
            super().on_event_end(*args, **kwargs)
            if self.total_llm_token_count > tokens:
                raise ValueError("Token budget exceeded")

    return Budgeted(tokenizer=str.split)


def test_a_token_budget_that_ends_a_run_keeps_the_paid_answer() -> None:
    """Trap 25: TokenCountingHandler raises from inside an LLM call."""
    counter = counter_with_a_budget(200)
    llm = ScriptedCompletions(replies=["0.3 fair"], callback_manager=CallbackManager([counter]))

    class Counted(ScriptedEngine):
        def _query(self, query_bundle: QueryBundle) -> Any:
            with llm.callback_manager.event(
                CBEventType.LLM,
                payload={"formatted_prompt": "w " * 150},  # type: ignore[dict-item]  # keys are str enums
            ) as event:
                event.on_end(payload={"formatted_prompt": "w " * 150, "completion": None})  # type: ignore[dict-item]
            return super()._query(query_bundle)

    response = looped(Counted(["0.3 fair"])).query(QUERY)
    assert str(response) == "0.3 fair"
    assert story_of(response)["exit_reason"] == "provider_error"


def test_an_evaluator_that_fails_leaves_the_answer_without_a_score_and_says_so(caplog: Any) -> None:
    def broken(text: str) -> float:
        raise RuntimeError("judge is ill")

    response = looped(ScriptedEngine(["the answer"]), evaluator=broken).query(QUERY)
    assert str(response) == "the answer"
    story = story_of(response)
    assert (story["exit_reason"], set(story["scores"])) == ("evaluator_error", {None})
    assert "judge is ill" in caplog.text


def test_a_slow_engine_is_interrupted_and_the_best_answer_so_far_returned() -> None:
    release = threading.Event()

    class Slow(ScriptedEngine):
        def _query(self, query_bundle: QueryBundle) -> Any:
            if self.asked:
                release.wait(60)
            return super()._query(query_bundle)

    began = time.perf_counter()
    response = looped(Slow(["0.3 fair", "0.9 late"]), config=LoopConfig(timeout_ms=1000)).query(QUERY)
    release.set()
    assert time.perf_counter() - began < 30.0
    assert (str(response), story_of(response)["exit_reason"]) == ("0.3 fair", "timeout_ms")


@pytest.mark.parametrize(
    "wrong",
    [
        {"query_engine": "engine"},
        {"evaluator": 7},
        {"priors": "p.json"},
        {"config": {"max_iterations": 2}},
        {"observers": [7]},
    ],
)
def test_wrong_arguments_are_refused_when_built_naming_them(wrong: dict[str, Any]) -> None:
    with pytest.raises(MisuseError, match=next(iter(wrong))):
        LoopedQueryEngine(**{"query_engine": ScriptedEngine(["0.9"]), "evaluator": judge, **wrong})


def test_hundreds_of_rounds_do_not_recurse() -> None:
    """Defect 12."""
    config = LoopConfig(max_iterations=600, convergence_delta=0.0)
    response = looped(ScriptedEngine(["0.1 bad"]), config=config).query(QUERY)
    assert story_of(response)["total_iterations"] == 600


# -- what is around it ------------------------------------------------------------------------------------------


def test_the_callback_manager_of_the_inner_engine_hears_every_round_and_the_whole_query() -> None:
    """Defect 11, and legacy handlers need a QUERY event."""
    handler = LlamaDebugHandler(print_trace_on_end=False)
    retriever = ShelfRetriever({QUERY: ["moon"]})
    manager = CallbackManager([handler])
    llm = ScriptedCompletions(replies=["0.1 bad", "0.9 good"])
    synthesizer = get_response_synthesizer(llm=llm, callback_manager=manager)
    engine = looped(RetrieverQueryEngine(retriever, synthesizer, callback_manager=manager))
    engine.query(QUERY)
    assert engine.callback_manager is manager
    assert len(handler.get_event_pairs(CBEventType.QUERY)) == 2
    assert len(handler.get_event_pairs(CBEventType.SYNTHESIZE)) == 2


def test_prompts_are_reachable_and_replaceable_at_any_depth() -> None:
    """Trap 11."""
    llm = ScriptedCompletions(replies=["0.1 bad", "0.9 good"])
    inner = RetrieverQueryEngine(ShelfRetriever({}, ["moon"]), get_response_synthesizer(llm=llm))
    engine = looped(looped(inner, evaluator=lambda text: 1.0))
    key = "query_engine:query_engine:response_synthesizer:text_qa_template"
    assert {key, "revision_prompt"} <= set(engine.get_prompts())
    engine.update_prompts(
        {
            key: PromptTemplate("NEW {context_str} {query_str}"),
            "revision_prompt": PromptTemplate("{query_str} AGAIN {revision}"),
        }
    )
    engine.query(QUERY)
    assert llm.prompts[0].startswith("NEW")
    assert "AGAIN" in llm.prompts[1]


def test_a_prompt_of_a_part_that_is_not_there_is_refused() -> None:
    with pytest.raises(MisuseError, match="query_engine"):
        looped(ScriptedEngine(["0.9"])).update_prompts({"nowhere:x": PromptTemplate("y")})


def test_an_evaluator_that_cannot_show_its_prompts_does_not_break_the_engines() -> None:
    """Trap 12: AnswerRelevancyEvaluator.get_prompts() raises AttributeError."""
    llm = ScriptedCompletions(replies=["x"])
    engine = looped(ScriptedEngine(["x"]), evaluator=AnswerRelevancyEvaluator(llm=llm))
    assert "revision_prompt" in engine.get_prompts()
    faithful = looped(ScriptedEngine(["x"]), evaluator=FaithfulnessEvaluator(llm=llm))
    assert any(key.startswith("evaluator:") for key in faithful.get_prompts())


async def test_retrieving_and_synthesizing_are_those_of_the_inner_engine() -> None:
    llm = ScriptedChat(replies=["written"])
    engine = looped(RetrieverQueryEngine(ShelfRetriever({}, ["moon"]), get_response_synthesizer(llm=llm)))
    bundle = QueryBundle(QUERY)
    assert [node.node_id for node in engine.retrieve(bundle)] == ["moon"]
    assert [node.node_id for node in await engine.aretrieve(bundle)] == ["moon"]
    assert str(engine.synthesize(bundle, as_nodes(["moon"]))) == "written"
    assert str(await engine.asynthesize(bundle, as_nodes(["moon"]))) == "written"


def test_an_evaluator_of_llama_index_is_taken_as_it_is() -> None:
    llm = ScriptedCompletions(replies=["NO", "YES"])
    engine = looped(ScriptedEngine(["unsupported", "supported"]), evaluator=FaithfulnessEvaluator(llm=llm))
    response = engine.query(QUERY)
    assert (str(response), story_of(response)["scores"]) == ("supported", [0.0, 1.0])


def test_answering_is_learned_from_under_the_name_of_the_synthesizers_model() -> None:
    priors = AdaptivePriors()
    llm = ScriptedCompletions(replies=["0.1", "0.9"], name="tiny")
    inner = RetrieverQueryEngine(ShelfRetriever({}, ["moon"]), get_response_synthesizer(llm=llm))
    looped(inner, priors=priors, task_type="tides").query(QUERY)
    assert priors.report("tides", "tiny").total_calls == 1


def test_learning_without_a_name_for_the_model_asks_for_one() -> None:
    with pytest.raises(MisuseError, match="model_id"):
        looped(ScriptedEngine(["0.9"]), priors=AdaptivePriors()).query(QUERY)


# -- inside LlamaIndex ------------------------------------------------------------------------------------------


class First(BaseSelector):
    def _select(self, choices: Any, query: Any) -> Any:
        from llama_index.core.base.base_selector import SelectorResult, SingleSelection

        return SelectorResult(selections=[SingleSelection(index=0, reason="first")])

    async def _aselect(self, choices: Any, query: Any) -> Any:
        return self._select(choices, query)

    def _get_prompts(self) -> Any:
        return {}

    def _update_prompts(self, prompts: Any) -> None: ...


def tool_of(engine: Any, name: str = "tides") -> QueryEngineTool:
    return QueryEngineTool.from_defaults(engine, name=name, description="about tides")


async def test_inside_a_router() -> None:
    llm = ScriptedCompletions(replies=["x"])
    router = RouterQueryEngine(First(), [tool_of(looped(ScriptedEngine(["0.1", "0.9 good"])))], llm=llm)
    assert str(router.query(QUERY)) == "0.9 good"
    router = RouterQueryEngine(First(), [tool_of(looped(ScriptedEngine(["0.1", "0.9 good"])))], llm=llm)
    assert str(await router.aquery(QUERY)) == "0.9 good"


def test_inside_a_sub_question_engine() -> None:
    class Asker:
        def generate(self, tools: Any, query: Any) -> Any:
            return [SubQuestion(sub_question=QUERY, tool_name="tides")]

    llm = ScriptedCompletions(replies=["combined"])
    engine = SubQuestionQueryEngine(
        question_gen=Asker(),  # type: ignore[arg-type]  # only `generate` is called
        response_synthesizer=get_response_synthesizer(llm=llm),
        query_engine_tools=[tool_of(looped(ScriptedEngine(["0.1", "0.9 good"])))],
        use_async=False,
        verbose=False,
    )
    response = engine.query("what of tides and moons?")
    assert str(response) == "combined"
    assert any("0.9 good" in node.get_content() for node in response.source_nodes)


async def test_inside_a_chat_engine_blocking_awaited_and_streamed() -> None:
    llm = ScriptedCompletions(replies=["standalone question"])

    def chat(**settings: Any) -> CondenseQuestionChatEngine:
        engine = looped(ScriptedEngine(["0.1", "0.9 good"]), **settings)
        return CondenseQuestionChatEngine.from_defaults(query_engine=engine, llm=llm)

    assert str(chat().chat(QUERY)) == "0.9 good"
    assert str(await chat().achat(QUERY)) == "0.9 good"
    streamed = await asyncio.to_thread(chat(streaming=True).stream_chat, QUERY)
    assert "".join(streamed.response_gen) == "0.9 good"


async def test_as_a_tool_of_an_agent_it_is_awaited() -> None:
    engine = ScriptedEngine(["0.1", "0.9 good"])
    output = await tool_of(looped(engine)).acall(input=QUERY)
    assert (output.content, engine.blocking_calls) == ("0.9 good", 0)
    assert story_of(output.raw_output)["best_iteration"] == 2


def test_it_has_the_methods_of_every_query_engine() -> None:
    from llama_index.core.base.base_query_engine import BaseQueryEngine

    for name, method in inspect.getmembers(BaseQueryEngine, inspect.isfunction):
        assert callable(getattr(LoopedQueryEngine, name)), method


def test_around_a_looped_transform_engine_the_feedback_is_not_rewritten() -> None:
    class Counting:
        def __init__(self) -> None:
            self.seen: list[str] = []

        def run(self, bundle: Any, metadata: Any = None) -> Any:
            self.seen.append(bundle.query_str)
            return bundle

    transform = Counting()
    llm = ScriptedCompletions(replies=["0.1", "0.9 good"])
    inner = RetrieverQueryEngine(ShelfRetriever({}, ["moon"]), get_response_synthesizer(llm=llm))
    engine = LoopedTransformQueryEngine(inner, transform)  # type: ignore[arg-type]  # only `run` is called
    assert str(looped(engine).query(QUERY)) == "0.9 good"
    assert transform.seen == [QUERY]


async def test_a_blocking_stream_of_an_awaited_engine_is_read_without_blocking_the_event_loop() -> None:
    freed, loop = threading.Event(), asyncio.get_running_loop()

    def waits_for_the_loop() -> Any:
        yield "0.9 "
        loop.call_soon_threadsafe(freed.set)
        yield "good" if freed.wait(5) else "blocked"

    engine = ScriptedEngine([StreamingResponse(waits_for_the_loop())])
    response = await looped(engine, streaming=False).aquery(QUERY)
    assert str(response) == "0.9 good"
