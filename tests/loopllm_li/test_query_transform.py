"""`LoopedQueryTransform`: rewrite, retrieve, score against the caller's words, keep the best."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Settings
from llama_index.core.indices.query.query_transform.base import BaseQueryTransform
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine, TransformQueryEngine
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.retrievers import TransformRetriever
from llama_index.core.schema import QueryBundle
from tests.loopllm_li.conftest import (
    AwaitableShelf,
    ScriptedChat,
    ScriptedCompletions,
    ShelfRetriever,
    bm25_over,
    ticks_while,
)

from loopllm import AdaptivePriors, EvaluationResult, LoopConfig, MisuseError
from loopllm.events import Finished
from loopllm.providers.mock import MockLLMProvider
from loopllm_li import LoopedQueryTransform, LoopedRetriever, RefinedQueryBundle, TermCoverage, nodes_settle

QUERY = "why does the sea rise"
GOOD = "tides moon gravity"
SHELF = {QUERY: ["sea salt"], GOOD: ["why the sea does rise: tides"], "worse": ["stamps"]}


def judge(nodes: Any, context: Any) -> Any:
    """0.9 for the passage about tides, 0.3 for the sea, 0.1 for anything else."""
    text = " ".join(node.node_id for node in nodes)
    score = 0.9 if "tides" in text else 0.3 if "sea" in text else 0.1
    return EvaluationResult(score, deficiencies=[] if score > 0.8 else ["no passage explains it"])


def transform_of(retriever: Any, llm: Any, **settings: Any) -> Any:
    return LoopedQueryTransform(llm=llm, retriever=retriever, evaluator=judge, **settings)


def test_a_rewrite_that_finds_better_nodes_is_returned() -> None:
    bundle = transform_of(ShelfRetriever(SHELF), ScriptedCompletions(replies=[GOOD])).run(QUERY)
    assert isinstance(bundle, RefinedQueryBundle)
    assert (bundle.query_str, bundle.original.query_str) == (GOOD, QUERY)
    assert (bundle.loop.improved, bundle.loop.chosen) == (True, 2)
    assert bundle.loop.exit_reason.condition == "quality_threshold"


def test_an_unchanged_query_that_is_good_enough_costs_no_llm_call() -> None:
    llm = ScriptedCompletions(replies=["never asked"])
    bundle = transform_of(ShelfRetriever({GOOD: SHELF[GOOD]}), llm).run(GOOD)
    assert (llm.prompts, bundle.query_str, bundle.loop.improved) == ([], GOOD, False)


def test_the_unchanged_query_wins_when_nothing_beats_it() -> None:
    retriever = ShelfRetriever(SHELF)
    bundle = transform_of(retriever, ScriptedCompletions(replies=["worse", "worse still"])).run(QUERY)
    assert (bundle.query_str, bundle.embedding_strs, bundle.loop.chosen) == (QUERY, [QUERY], 1)
    assert [asked.query_str for asked in retriever.asked][:2] == [QUERY, "worse"]


def test_a_rewrite_must_beat_the_unchanged_query_by_the_gain_asked_for() -> None:
    bundle = transform_of(ShelfRetriever(SHELF), ScriptedCompletions(replies=[GOOD]), min_gain=0.7).run(QUERY)
    assert (bundle.query_str, bundle.loop.metrics.best_score) == (QUERY, 0.9)


def test_the_best_rewrite_is_returned_and_not_the_last() -> None:
    config = LoopConfig(quality_threshold=0.95, max_iterations=3)
    bundle = transform_of(
        ShelfRetriever(SHELF), ScriptedCompletions(replies=[GOOD, "worse"]), config=config
    ).run(QUERY)
    assert bundle.query_str == GOOD
    assert [tried.score for tried in bundle.loop.tried] == [0.3, 0.9, 0.1]
    assert bundle.loop.metrics.score_trajectory == (0.3, 0.9, 0.1)


def test_the_evaluator_sees_nodes_the_callers_bundle_and_the_nodes_of_the_round_before() -> None:
    seen = []

    def spy(nodes: Any, context: Any) -> Any:
        seen.append(
            (
                [node.node_id for node in nodes],
                context["query"].query_str,
                context["rewrite"].query_str,
                context["previous_nodes"],
                context["iteration"],
            )
        )
        return 0.1 * len(seen)

    LoopedQueryTransform(
        llm=ScriptedCompletions(replies=[GOOD]),
        retriever=ShelfRetriever(SHELF),
        evaluator=spy,
        config=LoopConfig(max_iterations=2),
    ).run(QUERY)
    assert seen[0] == (SHELF[QUERY], QUERY, QUERY, None, 1)
    nodes, original, rewrite, previous, iteration = seen[1]
    assert (nodes, original, rewrite, iteration) == (SHELF[GOOD], QUERY, GOOD, 2)
    assert [node.node_id for node in previous] == SHELF[QUERY]


def test_no_round_is_given_an_embedding_that_another_round_left_behind() -> None:
    """Trap 4: the shelf writes an embedding into every bundle it is given."""
    retriever = ShelfRetriever(SHELF)
    bundle = QueryBundle(QUERY)
    result = transform_of(retriever, ScriptedCompletions(replies=[GOOD])).run(bundle)
    assert [asked.embedding for asked in retriever.asked] == [None, None]
    assert (bundle.embedding, result.embedding) == (None, None)


def test_the_callers_own_embedding_serves_the_unchanged_query_only() -> None:
    retriever = ShelfRetriever(SHELF)
    bundle = QueryBundle(QUERY, embedding=[0.5])
    rewritten = transform_of(retriever, ScriptedCompletions(replies=[GOOD])).run(bundle)
    assert [asked.embedding for asked in retriever.asked] == [[0.5], None]
    assert rewritten.embedding is None
    assert transform_of(ShelfRetriever(SHELF), ScriptedCompletions(replies=["worse"])).run(
        bundle
    ).embedding == [0.5]


def test_the_bundle_that_is_returned_is_the_one_whose_nodes_were_scored() -> None:
    retriever = ShelfRetriever(SHELF)
    result = transform_of(retriever, ScriptedCompletions(replies=[GOOD])).run(
        QueryBundle(QUERY, image_path="sea.png")
    )
    scored = retriever.asked[-1]
    assert (result.query_str, result.embedding_strs, result.image_path) == (
        scored.query_str,
        scored.embedding_strs,
        scored.image_path,
    )
    assert result.embedding_strs == [GOOD, QUERY]
    assert result.image_path == "sea.png"


def test_a_repeated_rewrite_is_neither_searched_nor_judged_again() -> None:
    retriever = ShelfRetriever({}, ["sea"])
    judged: list[str] = []

    def counting(nodes: Any, context: Any) -> Any:
        judged.append(context["rewrite"].query_str)
        return judge(nodes, context)

    llm = ScriptedCompletions(replies=["Worse", " worse! "])
    config = LoopConfig(convergence_delta=0.0)
    bundle = LoopedQueryTransform(llm=llm, retriever=retriever, evaluator=counting, config=config).run(QUERY)
    assert judged == [QUERY, "Worse"]
    assert [asked.query_str for asked in retriever.asked] == [QUERY, "Worse"]
    assert bundle.loop.exit_reason.condition == "no_new_query"


def test_a_run_can_be_ended_when_two_rewrites_find_the_same_nodes() -> None:
    llm = ScriptedCompletions(replies=["one", "two", "three"])
    shelf = ShelfRetriever({QUERY: ["salt"]}, otherwise=["sand"])
    config = LoopConfig(max_iterations=9, convergence_delta=0.0)
    bundle = transform_of(shelf, llm, exit_conditions=[nodes_settle()], config=config).run(QUERY)
    assert (bundle.loop.exit_reason.condition, len(llm.prompts)) == ("nodes_settle(0.9)", 2)
    assert "share 100%" in bundle.loop.exit_reason.message


def test_a_run_ends_when_every_way_of_asking_gave_nothing_new() -> None:
    llm = ScriptedCompletions(replies=[QUERY])
    config = LoopConfig(convergence_delta=0.0, max_iterations=9)
    transform_of(ShelfRetriever(SHELF), llm, config=config).run(QUERY)
    assert len(llm.prompts) == len(set(llm.prompts)) == 3


@pytest.mark.parametrize("answer", ["", "   \n", "?!", QUERY.upper(), "x" * 1000])
def test_an_empty_an_unchanged_or_an_endless_rewrite_is_no_progress(answer: Any) -> None:
    retriever, config = ShelfRetriever(SHELF), LoopConfig(convergence_delta=0.0)
    bundle = transform_of(retriever, ScriptedCompletions(replies=[answer]), config=config).run(QUERY)
    assert (bundle.query_str, bundle.loop.exit_reason.condition) == (QUERY, "no_new_query")
    assert len(retriever.asked) == 1


def test_by_default_the_rewriter_is_asked_afresh_in_three_ways_in_turn() -> None:
    llm = ScriptedCompletions(replies=[f"attempt {number}" for number in range(9)])
    config = LoopConfig(max_iterations=5, convergence_delta=0.0)
    transform_of(ShelfRetriever({}, ["sea"]), llm, config=config).run(QUERY)
    assert len(set(llm.prompts)) == 3
    assert llm.prompts[3] == llm.prompts[0]
    assert not any("no passage" in prompt for prompt in llm.prompts)


def test_with_feedback_the_rewriter_is_told_what_was_missing_and_no_prompt_grows() -> None:
    llm = ScriptedCompletions(replies=[f"attempt {number}" for number in range(9)])
    config = LoopConfig(max_iterations=8, convergence_delta=0.0, feedback="last")
    transform_of(ShelfRetriever({}, ["sea"]), llm, config=config).run(QUERY)
    assert len(llm.prompts) == 7
    assert all(QUERY in prompt and "no passage explains it" in prompt for prompt in llm.prompts)
    assert len({len(prompt) for prompt in llm.prompts[1:]}) == 3  # three prompts, in turn
    assert "attempt 0" in llm.prompts[1]
    assert "attempt 0" not in llm.prompts[2]


def test_a_failing_rewriter_leaves_the_best_query_so_far() -> None:
    config = LoopConfig(quality_threshold=0.95, max_retries=0)
    first = transform_of(ShelfRetriever(SHELF), ScriptedCompletions(replies=[RuntimeError("down")])).run(
        QUERY
    )
    later = transform_of(
        ShelfRetriever(SHELF), ScriptedCompletions(replies=[GOOD, RuntimeError("down")]), config=config
    ).run(QUERY)
    assert (first.query_str, first.loop.exit_reason.condition) == (QUERY, "provider_error")
    assert (later.query_str, later.loop.exit_reason.condition) == (GOOD, "provider_error")


def test_a_retriever_that_fails_at_once_leaves_the_query_unchanged_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bundle = transform_of(
        ShelfRetriever({QUERY: RuntimeError("index is gone")}), ScriptedCompletions(replies=[GOOD])
    ).run(QUERY)
    assert (bundle.query_str, bundle.loop.tried, bundle.loop.exit_reason.condition) == (
        QUERY,
        (),
        "provider_error",
    )
    assert "index is gone" in caplog.text


def test_an_evaluator_that_fails_leaves_the_query_unchanged_and_scores_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(nodes: Any, context: Any) -> Any:
        raise RuntimeError("judge is ill")

    bundle = LoopedQueryTransform(
        llm=ScriptedCompletions(replies=[GOOD]), retriever=ShelfRetriever(SHELF), evaluator=broken
    ).run(QUERY)
    assert bundle.query_str == QUERY
    assert {tried.score for tried in bundle.loop.tried} == {None}
    assert "judge is ill" in caplog.text


def test_the_callers_mistakes_are_raised_and_not_swallowed() -> None:
    async def awaited(nodes: Any, context: Any) -> Any:
        return 1.0

    with pytest.raises(MisuseError, match="async"):
        LoopedQueryTransform(
            llm=ScriptedCompletions(replies=[GOOD]), retriever=ShelfRetriever(SHELF), evaluator=awaited
        ).run(QUERY)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"retriever": "shelf"}, "retriever"),
        ({"min_gain": 2.0}, "min_gain"),
        ({"mode": "other"}, "mode"),
        ({"evaluator": 7}, "evaluator"),
        ({"priors": "p.json"}, "priors"),
        ({"config": {"max_iterations": 2}}, "config"),
        ({"observers": [7]}, "observers"),
    ],
)
def test_wrong_arguments_are_refused_when_built_naming_them(wrong: Any, name: Any) -> None:
    with pytest.raises(MisuseError, match=name):
        LoopedQueryTransform(
            **{"llm": ScriptedCompletions(replies=[GOOD]), "retriever": ShelfRetriever(SHELF), **wrong}
        )
    with pytest.raises(MisuseError, match=name):
        LoopedRetriever(
            **{"llm": ScriptedCompletions(replies=[GOOD]), "retriever": ShelfRetriever(SHELF), **wrong}
        )


def test_a_slow_retriever_is_interrupted_when_the_time_is_up() -> None:
    release = threading.Event()

    class Slow(ShelfRetriever):
        def _retrieve(self, query_bundle: Any) -> Any:
            if query_bundle.query_str == GOOD:
                release.wait(60)
            return super()._retrieve(query_bundle)

    began = time.perf_counter()
    bundle = transform_of(
        Slow(SHELF), ScriptedCompletions(replies=[GOOD]), config=LoopConfig(timeout_ms=1000)
    ).run(QUERY)
    release.set()
    assert time.perf_counter() - began < 30.0
    assert (bundle.query_str, bundle.loop.exit_reason.condition) == (QUERY, "timeout_ms")


def test_metadata_is_neither_needed_nor_written() -> None:
    """Trap 21, and one dict serves all queries of an engine."""
    metadata = {"index_summary": "seas"}
    transform_of(ShelfRetriever(SHELF), ScriptedCompletions(replies=[GOOD])).run(QUERY, metadata)
    assert metadata == {"index_summary": "seas"}


def test_a_string_becomes_the_bundle_that_other_transforms_make_of_it() -> None:
    retriever = ShelfRetriever(SHELF)
    transform_of(retriever, ScriptedCompletions(replies=[GOOD])).run(QUERY)
    assert retriever.asked[0].custom_embedding_strs == [QUERY]


def test_expanding_searches_for_the_callers_words_and_the_rewrite() -> None:
    retriever = ShelfRetriever({}, ["tides"])
    bundle = transform_of(
        retriever,
        ScriptedCompletions(replies=["moon"]),
        mode="expand",
        config=LoopConfig(quality_threshold=1.0, max_iterations=2),
    )
    assert bundle.run(QUERY).query_str == QUERY
    assert retriever.asked[-1].query_str == f"{QUERY} moon"


def test_an_embedding_retriever_keeps_the_callers_words_for_the_synthesizer() -> None:
    from llama_index.core import MockEmbedding, VectorStoreIndex
    from llama_index.core.schema import TextNode

    index = VectorStoreIndex(
        [TextNode(text="tides"), TextNode(text="salt")], embed_model=MockEmbedding(embed_dim=3)
    )
    scores = iter([0.1, 0.9])
    transform = LoopedQueryTransform(
        llm=ScriptedCompletions(replies=[GOOD]),
        retriever=index.as_retriever(),
        evaluator=lambda nodes, context: next(scores),
    )
    bundle = transform.run(QUERY)
    assert (bundle.query_str, bundle.embedding_strs) == (QUERY, [GOOD, QUERY])


def test_any_provider_or_function_can_rewrite() -> None:
    assert transform_of(ShelfRetriever(SHELF), MockLLMProvider([GOOD])).run(QUERY).query_str == GOOD
    assert transform_of(ShelfRetriever(SHELF), lambda prompt: GOOD).run(QUERY).query_str == GOOD


def test_settings_are_left_alone_until_a_rewrite_is_needed() -> None:
    """Trap 9: `Settings.llm` would ask for an OpenAI key."""
    transform = transform_of(ShelfRetriever(SHELF), None)
    assert transform.run(GOOD).query_str == GOOD
    Settings.llm = ScriptedCompletions(replies=[GOOD])
    assert transform.run(QUERY).query_str == GOOD


def test_the_rewriting_prompt_can_be_seen_and_replaced() -> None:
    llm = ScriptedCompletions(replies=[GOOD])
    transform = transform_of(ShelfRetriever(SHELF), llm)
    assert set(transform.get_prompts()) == {"rewrite_prompt_1", "rewrite_prompt_2", "rewrite_prompt_3"}
    transform.update_prompts(
        {"rewrite_prompt_1": PromptTemplate("Other words for {query_str} please. {feedback}")}
    )
    transform.run(QUERY)
    assert llm.prompts[0].startswith(f"Other words for {QUERY} please.")


def test_rewriting_is_learned_from_under_the_rewriters_name() -> None:
    priors = AdaptivePriors()
    transform_of(
        ShelfRetriever(SHELF),
        ScriptedCompletions(replies=[GOOD], name="tiny"),
        priors=priors,
        task_type="seas",
    ).run(QUERY)
    assert priors.report("seas", "tiny").total_calls == 1


def test_observers_hear_of_every_round() -> None:
    heard = []

    class Ear:
        def on_event(self, event: Any) -> Any:
            heard.append(event)

    transform_of(ShelfRetriever(SHELF), ScriptedCompletions(replies=[GOOD]), observers=[Ear()]).run(QUERY)
    assert isinstance(heard[-1], Finished)
    assert heard[-1].result.metrics.total_iterations == 2


def test_tokens_are_those_of_the_rewrites_and_round_one_costs_none() -> None:
    from llama_index.core.base.llms.types import CompletionResponse

    llm = ScriptedCompletions(
        replies=[
            CompletionResponse(text=GOOD, additional_kwargs={"prompt_tokens": 30, "completion_tokens": 4})
        ]
    )
    metrics = (
        transform_of(ShelfRetriever(SHELF), llm, config=LoopConfig(token_budget=100)).run(QUERY).loop.metrics
    )
    assert (metrics.usage.prompt_tokens, metrics.usage.completion_tokens) == (30, 4)


# -- awaited ----------------------------------------------------------------------------------------------------


async def test_awaited_it_returns_the_same_and_blocks_nothing() -> None:
    retriever, llm = AwaitableShelf(SHELF), ScriptedChat(replies=[GOOD])
    bundle = await transform_of(retriever, llm).arun(QUERY)
    assert (bundle.query_str, bundle.loop.chosen) == (GOOD, 2)
    assert (retriever.blocking_calls, llm.blocking_calls) == (0, 0)


async def test_a_retriever_that_cannot_be_awaited_runs_in_a_thread() -> None:
    class Slow(ShelfRetriever):
        def _retrieve(self, query_bundle: Any) -> Any:
            time.sleep(0.15)
            return super()._retrieve(query_bundle)

    retriever = Slow(SHELF)
    bundle, ticks = await ticks_while(transform_of(retriever, ScriptedChat(replies=[GOOD])).arun(QUERY))
    assert bundle.query_str == GOOD
    assert ticks >= 10
    assert threading.main_thread().name not in retriever.threads


async def test_five_awaited_queries_take_the_time_of_one() -> None:
    class Slow(AwaitableShelf):
        async def _aretrieve(self, query_bundle: Any) -> Any:
            await asyncio.sleep(0.25)
            return self.look_up(query_bundle)

    transform = transform_of(Slow(SHELF), ScriptedChat(replies=[GOOD]))
    began = time.perf_counter()
    bundles = await asyncio.gather(*(transform.arun(QUERY) for _ in range(5)))
    assert {bundle.query_str for bundle in bundles} == {GOOD}
    assert time.perf_counter() - began < 2.0


async def test_the_blocking_run_works_inside_a_running_loop() -> None:
    """Traps 1 to 3: no event loop is made, replaced or nested."""
    assert (
        transform_of(ShelfRetriever(SHELF), ScriptedCompletions(replies=[GOOD])).run(QUERY).query_str == GOOD
    )


async def test_a_cancelled_run_is_cancelled() -> None:
    class Hanging(AwaitableShelf):
        async def _aretrieve(self, query_bundle: Any) -> Any:
            await asyncio.Event().wait()

    task = asyncio.ensure_future(transform_of(Hanging(SHELF), ScriptedChat(replies=[GOOD])).arun(QUERY))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_runs_of_one_transform_in_many_threads_do_not_mix() -> None:
    from concurrent.futures import ThreadPoolExecutor

    class Echo(ScriptedCompletions):
        def complete(self, prompt: Any, formatted: Any = False, **kwargs: Any) -> Any:
            question = prompt.split("Question: ")[1].split("\n")[0]
            return type(self)(replies=[f"tides {question}"]).complete_plain(prompt)

        def complete_plain(self, prompt: Any) -> Any:
            return super().complete(prompt)

    class Mirror(ShelfRetriever):
        def _retrieve(self, query_bundle: Any) -> Any:
            return self_nodes(query_bundle.query_str)

    from llama_index.core.schema import NodeWithScore, TextNode

    def self_nodes(text: Any) -> Any:
        return [NodeWithScore(node=TextNode(id_=text, text=text))]

    transform = transform_of(Mirror({}), Echo(replies=["unused"]))
    questions = [f"question {number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        bundles = list(pool.map(transform.run, questions))
    assert [bundle.query_str for bundle in bundles] == [f"tides {question}" for question in questions]


# -- inside LlamaIndex ------------------------------------------------------------------------------------------


def engine_over(retriever: Any, llm: Any) -> Any:
    synthesizer = get_response_synthesizer(response_mode=ResponseMode.COMPACT, llm=llm)
    return RetrieverQueryEngine(retriever, synthesizer)


def test_it_is_a_query_transform_like_any_other() -> None:
    assert isinstance(
        transform_of(ShelfRetriever(SHELF), ScriptedCompletions(replies=[GOOD])), BaseQueryTransform
    )


def test_inside_a_transform_query_engine_the_answer_stands_on_the_better_nodes() -> None:
    retriever, llm = ShelfRetriever(SHELF), ScriptedCompletions(replies=[GOOD])
    engine = TransformQueryEngine(engine_over(retriever, llm), transform_of(retriever, llm))
    response = engine.query(QUERY)
    assert [node.node_id for node in response.source_nodes] == SHELF[GOOD]


async def test_inside_a_transform_query_engine_it_also_serves_awaited_queries() -> None:
    retriever, llm = ShelfRetriever(SHELF), ScriptedCompletions(replies=[GOOD])
    engine = TransformQueryEngine(engine_over(retriever, llm), transform_of(retriever, llm))
    response = await engine.aquery(QUERY)
    assert [node.node_id for node in response.source_nodes] == SHELF[GOOD]


def test_inside_a_transform_retriever_the_better_nodes_come_back() -> None:
    retriever = ShelfRetriever(SHELF)
    found = TransformRetriever(
        retriever, transform_of(retriever, ScriptedCompletions(replies=[GOOD]))
    ).retrieve(QUERY)
    assert [node.node_id for node in found] == SHELF[GOOD]


def test_over_bm25_a_spelling_that_is_corrected_finds_the_passage() -> None:
    texts = ["Krakatoa erupted in 1883.", "Lisbon was shaken in 1755.", "Stamps are stuck on letters."]
    retriever = bm25_over(texts)
    transform = LoopedQueryTransform(
        llm=ScriptedCompletions(replies=["Krakatoa eruption"]),
        retriever=retriever,
        evaluator=TermCoverage.of_corpus(texts),
    )
    bundle = transform.run("krakatao erruption")
    assert bundle.loop.improved
    assert retriever.retrieve(bundle)[0].node_id == texts[0]


def test_importing_the_package_touches_no_openai_default() -> None:
    import subprocess
    import sys

    program = "import loopllm_li, sys; loopllm_li.LoopedQueryTransform; assert 'openai' not in sys.modules; assert 'loopllm_lc' not in sys.modules"
    root = Path(__file__).parents[2]
    path = ":".join(str(root / folder) for folder in ("core", "loopllm_li"))
    # A fresh interpreter is the only place where nothing is imported yet.
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": path})
