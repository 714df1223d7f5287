"""The quick form of the comparison of ways of asking again, on replies recorded from the real model."""

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from benchmarks.next_move import arguments, on_recorded
from benchmarks.next_move_lab import simulated
from benchmarks.next_move_lab.arms import ARMS, GOALS, OWN, SINGLE, Arm, Session
from benchmarks.next_move_lab.comparison import Earned, best_single, compare
from benchmarks.next_move_lab.replies import Record, Reply, key_of, load, manner_of, writer
from benchmarks.next_move_lab.tasks import ITEMS, KINDS_OF_TASK, all_tasks

from loopllm import AdaptivePriors

NEAR = 0.95
"""Part of the best single way's utility that the choice must earn, exploration paid."""

QUICK = [arm for arm in ARMS if arm.name in {*SINGLE, "auto"}]


@pytest.fixture(scope="module")
def record() -> Record:
    """The recorded replies, with no model behind them."""
    return Record(load(KINDS_OF_TASK))


@pytest.fixture(scope="module")
def earned(record: Record) -> dict[str, Earned]:
    """What every single way and the choice earned on the real model, in several orders: one alone is much luck."""
    return compare(record, "quality", QUICK, [0], orders=range(3))


def mean(earned: dict[str, Earned], arm: str) -> float:
    return fmean(earned[arm].utility)


def test_the_choice_earns_nearly_what_the_best_single_way_does(earned: dict[str, Earned]) -> None:
    assert mean(earned, "auto") >= NEAR * mean(earned, best_single(earned))


def test_the_choice_earns_more_than_every_other_single_way(earned: dict[str, Earned]) -> None:
    others = set(SINGLE) - {best_single(earned)}
    assert mean(earned, "auto") > max(mean(earned, way) for way in others)


def test_most_replies_were_given_by_the_model_to_exactly_that_prompt(
    record: Record, earned: dict[str, Earned]
) -> None:
    assert earned  # the replies were asked for
    assert record.missing < 0.15 * record.given


class Stubborn(AdaptivePriors):
    """Priors that ask again in the first way, whatever was learned."""

    def policy(self, *args: Any, ways: Any = None, **settings: Any) -> Any:
        return super().policy(*args, ways=ways and ways[:1], **settings)


def test_a_choice_that_is_broken_would_be_noticed(record: Record, earned: dict[str, Earned]) -> None:
    broken = compare(record, "quality", [Arm("auto", "auto")], [0], priors=Stubborn, orders=range(3))
    assert mean(broken, "auto") < NEAR * mean(earned, best_single(earned))


def test_a_run_is_repeated_byte_for_byte(record: Record) -> None:
    def texts() -> list[str]:
        session = Session(QUICK[-1], GOALS["threshold"], record, 0)
        return [r.output for task in all_tasks(2) for r in session.run(task).iterations]

    assert texts() == texts()


def test_every_type_has_fifty_items_and_no_prompt_is_asked_twice() -> None:
    tasks = list(all_tasks())
    assert len({task.kind for task in tasks}) >= 5
    assert ITEMS >= 50
    assert len({task.prompt for task in tasks}) == len(tasks) == ITEMS * len(KINDS_OF_TASK)


def test_every_order_has_the_same_items_and_the_first_is_the_one_that_is_written() -> None:
    orders = [[task.prompt for task in all_tasks(order=order)] for order in (0, 1, 2)]
    assert orders[0] == [task.prompt for task in all_tasks()]
    assert len({tuple(prompts) for prompts in orders}) == 3
    assert {*orders[0]} == {*orders[1]} == {*orders[2]}


def test_a_builder_of_the_callers_own_is_asked_with_under_its_name(record: Record) -> None:
    session = Session(next(arm for arm in ARMS if arm.ways), GOALS["quality"], record, 0)
    asked = {r.action for task in all_tasks(4) for r in session.run(task).iterations}
    assert set(OWN) <= asked


def test_what_is_missing_is_asked_once_and_written_down(tmp_path: Path) -> None:
    asked: list[int] = []

    def ask(prompt: str, seed: int, most: int) -> tuple[str, int, int, int]:
        asked.append(seed)
        return prompt.upper(), 5, 6, 7

    task = next(all_tasks())
    for _ in range(2):
        recording = Record(load(KINDS_OF_TASK, tmp_path), ask, writer(tmp_path))
        assert recording.reply(task, task.prompt, 0, 3).text == task.prompt.upper()
    assert len(asked) == 1


def test_what_nobody_recorded_is_taken_from_the_same_item_and_manner_and_counted() -> None:
    task = next(all_tasks())
    shown = f"{task.prompt}\n\nYour previous answer:\nRain."
    known = [("a", "", "fresh"), ("b", manner_of(shown, task.prompt), "revised")]
    replies = {key: Reply(key, task.kind, task.name, manner, text, 1, 1, 1) for key, manner, text in known}
    record = Record(replies)
    other = f"{task.prompt}\n\nYour previous answer:\nSnow."
    assert record.reply(task, other, 0, 0).text == "revised"
    assert record.reply(task, f"{task.prompt}\n\nWhat?", 0, 0).text == "fresh"
    assert record.missing == 2


def test_another_occurrence_and_another_replicate_are_other_replies() -> None:
    assert len({key_of("Say hi.", n, r) for n in range(3) for r in range(3)}) == 9


def test_the_tables_and_the_figures_say_how_the_choice_did(capsys: pytest.CaptureFixture[str]) -> None:
    found: Any = on_recorded(
        arguments(["--items", "2", "--replicates", "0", "--goal", "quality", "--arms", *SINGLE, "auto"])
    )
    assert found["quality"]["best single way"] in SINGLE
    assert "| auto |" in capsys.readouterr().out


def test_on_simulated_models_the_choice_beats_the_mean_of_the_ways_and_nears_the_best() -> None:
    worlds = [simulated.compared(seed, "threshold", 20) for seed in (0, 1)]
    best = sum(max(world[way] for way in SINGLE) for world in worlds)
    usual = sum(fmean(world[way] for way in SINGLE) for world in worlds)
    auto = sum(world["auto"] for world in worlds)
    assert auto > (usual + best) / 2
