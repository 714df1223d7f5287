"""Query bundles as values: what is handed to retrievers and what a transform returns."""

import dataclasses
import json
from typing import cast

from llama_index.core.instrumentation.events.retrieval import RetrievalStartEvent
from llama_index.core.schema import QueryBundle

from loopllm.results import ExitReason
from loopllm_li.bundles import QueryLoop, RefinedQueryBundle, as_bundle, plain, refined, reworded

LOOP = QueryLoop(None, (), 1, ExitReason("max_iterations"))


def test_a_rewrite_never_carries_the_embedding_of_the_words_before() -> None:
    """Trap 4."""
    bundle = QueryBundle("car", embedding=[0.1, 0.2], image_path="car.png")
    rewrite = reworded(bundle, "automobile", reword_query=True, anchored=True)
    assert (rewrite.embedding, rewrite.image_path) == (None, "car.png")


def test_the_callers_own_embedding_strings_are_the_anchor() -> None:
    bundle = QueryBundle("car", custom_embedding_strs=["a hypothetical passage about cars"])
    rewrite = reworded(bundle, "automobile", reword_query=True, anchored=True)
    assert rewrite.embedding_strs == ["automobile", "a hypothetical passage about cars"]


def test_without_an_anchor_only_the_rewrite_is_embedded() -> None:
    assert reworded(QueryBundle("car"), "automobile", reword_query=True, anchored=False).embedding_strs == [
        "automobile"
    ]


def test_the_callers_words_may_stay_in_the_query_while_the_rewrite_is_embedded() -> None:
    rewrite = reworded(QueryBundle("car"), "automobile", reword_query=False, anchored=False)
    assert (rewrite.query_str, rewrite.embedding_strs) == ("car", ["automobile"])


def test_a_copy_shares_no_list_with_its_original() -> None:
    bundle = QueryBundle("car", custom_embedding_strs=["car"], embedding=[0.1])
    copy = plain(bundle)
    cast("list[str]", copy.custom_embedding_strs).append("x")
    cast("list[float]", copy.embedding).append(1.0)
    assert (bundle.custom_embedding_strs, bundle.embedding) == (["car"], [0.1])
    assert as_bundle(bundle) is not bundle


def test_a_refined_bundle_is_a_bundle_for_dataclasses_events_and_json() -> None:
    bundle = refined(QueryBundle("car"), QueryBundle("my car"), LOOP)
    assert isinstance(bundle, QueryBundle)
    changed = dataclasses.replace(bundle, query_str="bus")
    assert (changed.query_str, changed.loop) == ("bus", LOOP)
    event = RetrievalStartEvent(str_or_query_bundle=bundle)
    assert event.str_or_query_bundle is bundle
    assert json.loads(event.model_dump_json())["str_or_query_bundle"]["query_str"] == "car"
    assert json.loads(bundle.to_json())["query_str"] == "car"
    assert QueryBundle.from_dict(bundle.to_dict()) == QueryBundle("car")
    assert str(bundle) == "car"


def test_a_refined_bundle_refined_again_holds_only_the_last_story() -> None:
    once = refined(QueryBundle("car"), QueryBundle("my car"), LOOP)
    twice = refined(once, once, LOOP)
    assert type(twice.original) is QueryBundle
    assert isinstance(twice, RefinedQueryBundle)
