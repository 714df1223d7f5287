"""`LoopedExtractor`: metadata that is looped until it is good enough, in ingestion pipelines."""

import asyncio
import pickle
import subprocess
import sys
import threading
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.evaluation import CorrectnessEvaluator
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.schema import TextNode
from tests.loopllm_li.conftest import ScriptedChat, ScriptedCompletions, openai_like

from loopllm import AdaptivePriors, LoopConfig, MisuseError
from loopllm.errors import ProviderError
from loopllm.evaluators import CompositeEvaluator, LengthEvaluator, RegexEvaluator
from loopllm_li import LoopedExtractor
from loopllm_li.written_parts import identity_of


def judge(text: str) -> float:
    return {"yes": 1.0, "maybe": 0.5}.get(text, 0.1)


def nodes(count: int = 1) -> list[TextNode]:
    return [TextNode(text=f"text {number}") for number in range(count)]


async def test_each_node_gets_the_accepted_text_and_its_score() -> None:
    llm = ScriptedChat(replies=["no", "yes"])
    extractor = LoopedExtractor(llm=llm, evaluator=judge, num_workers=1)
    assert await extractor.aextract(nodes(2)) == [{"summary": "yes", "summary_score": 1.0}] * 2
    assert "text 0" in str(llm.seen[0][0].content)


def test_in_a_pipeline_the_metadata_of_the_nodes_is_filled() -> None:
    extractor = LoopedExtractor(llm=ScriptedChat(replies=["yes"]), evaluator=judge, metadata_key="gist")
    done = IngestionPipeline(transformations=[extractor]).run(nodes=nodes(3))
    assert [node.metadata["gist"] for node in done] == ["yes"] * 3


def test_blocking_extraction_works_inside_and_outside_of_a_loop() -> None:
    extractor = LoopedExtractor(llm=ScriptedChat(replies=["yes"]), evaluator=judge)
    assert extractor.extract(nodes())[0]["summary"] == "yes"
    assert extractor.extract(nodes())[0]["summary"] == "yes"


async def test_texts_that_stay_poor_are_left_out_when_told_so() -> None:
    extractor = LoopedExtractor(llm=ScriptedChat(replies=["no"]), evaluator=judge, least_score=0.5)
    assert await extractor.aextract(nodes()) == [{}]


async def test_the_evaluator_is_shown_the_node() -> None:
    def knowing(text: str, context: Any) -> float:
        return 1.0 if context["node"].text == "text 0" else 0.0

    extractor = LoopedExtractor(llm=ScriptedChat(replies=["x"]), evaluator=knowing)
    assert (await extractor.aextract(nodes()))[0]["summary_score"] == 1.0


async def test_only_so_many_nodes_are_worked_on_at_once() -> None:
    import asyncio

    busy, most = 0, 0

    class Counting(ScriptedChat):
        async def achat(self, messages: Any, **kwargs: Any) -> Any:
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0.01)
            busy -= 1
            return self._reply(messages)

    extractor = LoopedExtractor(llm=Counting(replies=["yes"]), evaluator=judge, num_workers=3)
    await extractor.aextract(nodes(9))
    assert most == 3


def test_another_threshold_is_another_transformation_for_the_cache_and_the_same_one_is_not() -> None:
    def hashed(threshold: float) -> str:
        config = LoopConfig(quality_threshold=threshold)
        extractor = LoopedExtractor(llm=ScriptedChat(replies=["yes"]), evaluator=judge, config=config)
        return get_transformation_hash(nodes_of_one_id, extractor)

    nodes_of_one_id = [TextNode(id_="1", text="a")]
    assert hashed(0.8) == hashed(0.8) != hashed(0.9)


def test_it_survives_being_sent_to_another_process_with_all_it_needs() -> None:
    """Trap 20: LlamaIndex drops what cannot be pickled, with a warning at most."""
    extractor = LoopedExtractor(
        llm=ScriptedCompletions(replies=["yes"]), evaluator=judge, priors_address="memory://"
    )
    again = pickle.loads(pickle.dumps(extractor))
    assert (again.priors_address, again.evaluator) == ("memory://", judge)
    assert again.extract(nodes())[0]["summary"] == "yes"


def test_what_cannot_be_sent_to_another_process_is_refused_and_not_dropped() -> None:
    class Locked:
        lock = None

        def __init__(self) -> None:
            self.lock = threading.Lock()  # type: ignore[assignment]  # anything that cannot be pickled

        def evaluate(self, output: Any, context: Any = None) -> float:
            return 1.0

    extractor = LoopedExtractor(llm=ScriptedCompletions(replies=["yes"]), evaluator=Locked())
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pickle.dumps(extractor)


def test_what_the_processes_of_a_pipeline_learn_survives_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))  # workers import this module by name
    address = str(tmp_path / "priors.json")
    llm = ScriptedCompletions(replies=["no", "yes"], name="tiny")
    extractor = LoopedExtractor(llm=llm, evaluator=judge, priors_address=address, task_type="seas")
    done = IngestionPipeline(transformations=[extractor], disable_cache=True).run(
        nodes=nodes(4), num_workers=2
    )
    assert [node.metadata["summary"] for node in done] == ["yes"] * 4
    assert AdaptivePriors(store_path=address).report("seas", "tiny").total_calls == 4


async def test_a_model_that_fails_is_not_hidden() -> None:
    extractor = LoopedExtractor(llm=ScriptedChat(replies=[RuntimeError("down")]), evaluator=judge)
    with pytest.raises(ProviderError, match="down"):
        await extractor.aextract(nodes())


@pytest.mark.parametrize(
    "wrong",
    [{"llm": "gpt"}, {"evaluator": 7}, {"prompt_template": "Summarise {text}"}, {"least_score": 5}],
)
def test_wrong_arguments_are_refused_when_built_naming_them(wrong: dict[str, Any]) -> None:
    with pytest.raises(MisuseError, match=next(iter(wrong))):
        LoopedExtractor(**{"llm": ScriptedChat(replies=["yes"]), "evaluator": judge, **wrong})


def hash_with(**settings: Any) -> str:
    extractor = LoopedExtractor(**{"llm": ScriptedChat(replies=["yes"]), "evaluator": judge, **settings})
    return get_transformation_hash([TextNode(id_="1", text="a")], extractor)


def likes(word: str, text: str) -> float:
    return float(word in text)


def test_an_evaluator_or_a_model_with_other_settings_is_another_transformation_for_the_cache() -> None:
    def graded(least: int) -> str:
        return hash_with(evaluator=CompositeEvaluator([LengthEvaluator(min_words=least)]))

    def liked(word: str) -> str:
        return hash_with(evaluator=partial(likes, word))

    def asked(temperature: float) -> str:
        return hash_with(llm=openai_like(temperature=temperature))

    def judged_by(name: str) -> str:
        return hash_with(evaluator=CorrectnessEvaluator(llm=ScriptedChat(replies=["x"], name=name)))

    assert graded(5) == graded(5) != graded(50)
    assert liked("sea") == liked("sea") != liked("land")
    assert asked(0.1) == asked(0.1) != asked(0.9)
    assert judged_by("small") == judged_by("small") != judged_by("large")


def longer_than(least: int) -> Any:
    def is_longer(text: str) -> bool:
        return len(text) > least

    return is_longer


def test_functions_of_one_name_that_do_something_else_are_other_transformations_for_the_cache() -> None:
    def longer(least: int) -> str:
        return hash_with(evaluator=longer_than(least))

    judges: list[Any] = [lambda text: 0.1, lambda text: 0.9, lambda text, least=5: 0.9]
    assert longer(5) == longer(5) != longer(50)
    assert len({hash_with(evaluator=each) for each in judges}) == 3
    assert hash_with(evaluator=CompositeEvaluator(judges[:1])) != hash_with(
        evaluator=CompositeEvaluator(judges[1:2])
    )


def test_an_evaluator_that_somebody_watches_is_written_as_before() -> None:
    evaluator = CompositeEvaluator([judge])
    before = identity_of(evaluator)
    watching = weakref.ref(evaluator.evaluators[0])
    assert identity_of(evaluator) == before
    assert watching() is not None


def test_a_function_is_written_alike_in_every_process() -> None:
    program = (
        "from tests.loopllm_li.test_extractor import longer_than; from loopllm import CompositeEvaluator; "
        "from loopllm_li.written_parts import identity_of; "
        "print(identity_of(longer_than(5)), identity_of(CompositeEvaluator([longer_than(5)])), sep='\\n')"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    here = [identity_of(longer_than(5)), identity_of(CompositeEvaluator([longer_than(5)]))]
    assert told.stdout.splitlines() == here


def test_an_evaluator_is_written_alike_before_and_after_it_was_sent_to_another_process() -> None:
    extractor = LoopedExtractor(
        llm=ScriptedCompletions(replies=["yes"]),
        evaluator=RegexEvaluator(["a+", "b"]),
        priors_address="memory://",
    )
    assert pickle.loads(pickle.dumps(extractor)).to_dict() == extractor.to_dict()


def test_no_key_of_the_model_or_of_the_judge_is_written_down() -> None:
    client = openai_like(api_key="sk-secret", default_headers={"Authorization": "sk-secret"})
    extractor = LoopedExtractor(llm=client, evaluator=CorrectnessEvaluator(llm=client))
    assert "sk-secret" not in str(extractor.to_dict())


async def test_after_a_failure_the_nodes_that_wait_are_not_paid_for() -> None:
    llm = ScriptedChat(replies=[RuntimeError("down"), "yes"])
    extractor = LoopedExtractor(llm=llm, evaluator=judge, num_workers=1, config=LoopConfig(max_retries=0))
    with pytest.raises(ProviderError, match="down"):
        await extractor.aextract(nodes(5))
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)
    assert len(llm.seen) <= 2  # the gate opened for one more before the failure was heard


async def test_a_model_without_a_name_can_be_given_one_to_learn_under(tmp_path: Path) -> None:
    address = str(tmp_path / "priors.json")
    extractor = LoopedExtractor(
        llm=ScriptedChat(replies=["yes"], name=""), evaluator=judge, priors_address=address, model_id="mine"
    )
    await extractor.aextract(nodes())
    assert AdaptivePriors(store_path=address).report("extract", "mine").total_calls == 1


async def test_an_evaluator_of_llama_index_is_taken_as_it_is() -> None:
    grader = CorrectnessEvaluator(llm=ScriptedCompletions(replies=["5.0\nright"]))
    extractor = LoopedExtractor(llm=ScriptedChat(replies=["x"]), evaluator=grader)
    assert await extractor.aextract(nodes()) == [{"summary": "x", "summary_score": 1.0}]
