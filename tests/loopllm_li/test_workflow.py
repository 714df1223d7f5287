"""`LoopedWorkflow`: streams its rounds, keeps the best, and resumes."""

import asyncio
import json
from typing import Any

import pytest
from llama_index.core.evaluation import CorrectnessEvaluator
from llama_index.core.workflow import Context
from tests.loopllm_li.conftest import ScriptedChat, ScriptedCompletions, ticks_while
from workflows.errors import WorkflowTimeoutError

from loopllm import AdaptivePriors, LoopConfig, MisuseError
from loopllm.providers.mock import MockLLMProvider
from loopllm_li import LoopedWorkflow, LoopResultEvent, LoopRoundEvent


def judge(text: str) -> float:
    return {"yes": 1.0, "maybe": 0.5}.get(text, 0.1)


def looped(llm: Any, **settings: Any) -> LoopedWorkflow:
    return LoopedWorkflow(llm=llm, evaluator=judge, **settings)


async def test_the_result_is_the_accepted_draft_with_its_story() -> None:
    result: Any = await looped(ScriptedChat(replies=["no", "maybe", "yes"])).run(prompt="Agree.")
    assert isinstance(result, LoopResultEvent)
    assert (result.output, result.story["scores"]) == ("yes", [0.1, 0.5, 1.0])


async def test_every_round_is_streamed_while_the_run_goes_on() -> None:
    handler = looped(ScriptedChat(replies=["no", "maybe", "yes"])).run(prompt="Agree.")
    told = [event async for event in handler.stream_events() if isinstance(event, LoopRoundEvent)]
    assert [(event.iteration, event.output, event.score, event.best_score) for event in told] == [
        (1, "no", 0.1, 0.1),
        (2, "maybe", 0.5, 0.5),
        (3, "yes", 1.0, 1.0),
    ]
    result: Any = await handler
    assert result.output == "yes"


class HangingAfter(MockLLMProvider):
    """Answers so many times, then never again until released."""

    def __init__(self, replies: list[str], answers: int) -> None:
        super().__init__(replies)
        self.answers, self.released = answers, False

    async def acomplete(self, prompt: Any, model: Any = None, *, timeout: Any = None) -> Any:
        if self.call_count >= self.answers and not self.released:
            await asyncio.Event().wait()
        return await super().acomplete(prompt, model, timeout=timeout)


async def test_a_timeout_of_the_workflow_leaves_the_best_draft_in_the_store() -> None:
    handler = looped(HangingAfter(["maybe", "no", "never"], 2), timeout=1.5).run(prompt="Agree.")
    with pytest.raises(WorkflowTimeoutError):
        await handler
    best = await handler.ctx.store.get("best")
    assert best == {"output": "maybe", "score": 0.5, "iteration": 1}


async def test_a_run_that_was_cut_short_goes_on_where_it_was_even_from_json() -> None:
    """Section 4: the store holds plain data, so that the context can be written down."""
    provider = HangingAfter(["maybe", "no", "yes"], 2)
    workflow = looped(provider, timeout=1.5)
    handler = workflow.run(prompt="Agree.")
    with pytest.raises(WorkflowTimeoutError):
        await handler
    run = await handler.ctx.store.get("run")
    written = json.loads(json.dumps(run))
    provider.released = True
    again = looped(provider)
    ctx: Context[Any] = Context(again)
    await ctx.store.set("run", written)
    result: Any = await again.run(ctx=ctx, prompt="Agree.")
    assert (result.output, result.story["scores"]) == ("yes", [0.5, 0.1, 1.0])
    assert provider.call_count == 3


async def test_another_prompt_on_the_same_context_begins_anew() -> None:
    workflow = looped(ScriptedChat(replies=["yes"]))
    ctx: Context[Any] = Context(workflow)
    await workflow.run(ctx=ctx, prompt="Agree.")
    result: Any = await workflow.run(ctx=ctx, prompt="Agree again.")
    assert result.story["total_iterations"] == 1


async def test_a_blocking_evaluator_blocks_no_other_workflow() -> None:
    import time

    def slow(text: str) -> float:
        time.sleep(0.15)
        return 1.0

    workflow = LoopedWorkflow(llm=ScriptedChat(replies=["yes"]), evaluator=slow)
    _, ticks = await ticks_while(workflow.run(prompt="Agree."))
    assert ticks >= 5


async def test_it_learns_like_any_loop() -> None:
    priors = AdaptivePriors()
    await looped(ScriptedChat(replies=["yes"], name="tiny"), priors=priors, task_type="agree").run(
        prompt="Agree."
    )
    assert priors.report("agree", "tiny").total_calls == 1


async def test_limits_of_the_loop_hold() -> None:
    result: Any = await looped(ScriptedChat(replies=["no"]), config=LoopConfig(max_iterations=2)).run(
        prompt="Agree."
    )
    assert result.story["exit_reason"] == "max_iterations"


@pytest.mark.parametrize(
    "wrong", [{"evaluator": 7}, {"priors": "p.json"}, {"config": {"max_iterations": 2}}, {"observers": [7]}]
)
def test_wrong_arguments_are_refused_when_built_naming_them(wrong: dict[str, Any]) -> None:
    with pytest.raises(MisuseError, match=next(iter(wrong))):
        LoopedWorkflow(**{"llm": ScriptedChat(replies=["yes"]), "evaluator": len, **wrong})


async def test_another_task_does_not_begin_with_the_best_draft_of_the_one_before() -> None:
    provider = HangingAfter(["maybe", "never"], 1)
    workflow = looped(provider, timeout=1.5, config=LoopConfig(max_iterations=1))
    ctx: Context[Any] = Context(workflow)
    await workflow.run(ctx=ctx, prompt="Agree.")
    assert (await ctx.store.get("best"))["output"] == "maybe"
    with pytest.raises(WorkflowTimeoutError):
        await workflow.run(ctx=ctx, prompt="Agree again.")
    assert await ctx.store.get("best") is None


async def test_a_run_that_goes_on_has_its_best_draft_at_once() -> None:
    provider = HangingAfter(["maybe", "never"], 1)
    workflow = looped(provider, timeout=1.5)
    handler = workflow.run(prompt="Agree.")
    with pytest.raises(WorkflowTimeoutError):
        await handler
    ctx: Context[Any] = Context(workflow)
    await ctx.store.set("run", await handler.ctx.store.get("run"))
    with pytest.raises(WorkflowTimeoutError):
        await workflow.run(ctx=ctx, prompt="Agree.")
    assert (await ctx.store.get("best"))["output"] == "maybe"


async def test_a_run_whose_judge_failed_is_not_resumed_only_to_fail_again() -> None:
    ill = [True]

    def recovering(text: str) -> float:
        if ill[0]:
            raise ConnectionError("down")
        return judge(text)

    workflow = LoopedWorkflow(llm=ScriptedChat(replies=["yes"]), evaluator=recovering)
    context: Context[Any] = Context(workflow)
    with pytest.raises(Exception, match="down"):  # older workflows wrap what a step raises
        await workflow.run(ctx=context, prompt="Agree.")
    ill[0] = False
    result: Any = await workflow.run(ctx=context, prompt="Agree.")
    assert result.output == "yes"


async def test_an_evaluator_of_llama_index_is_taken_as_it_is_and_reads_the_users_words() -> None:
    llm = ScriptedCompletions(replies=["5.0\nright"])
    workflow = LoopedWorkflow(llm=ScriptedChat(replies=["yes"]), evaluator=CorrectnessEvaluator(llm=llm))
    result: Any = await workflow.run(prompt=[{"role": "user", "content": "Agree."}])
    assert result.story["scores"] == [1.0]
    assert "## User Query\nAgree.\n" in llm.prompts[0]
