"""The loop as a LangGraph graph: draft, evaluate, and the edge back, each draft and each verdict checkpointed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from langchain_core.messages import AnyMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Checkpointer
from typing_extensions import TypedDict  # Python's own has no schema before 3.12

from loopllm.config import LoopConfig
from loopllm.errors import MisuseError
from loopllm.results import EvaluationResult
from loopllm_lc.accepting import unreadable
from loopllm_lc.anatomy import dissect
from loopllm_lc.asking import UNREADABLE, Asker, unread
from loopllm_lc.conversation import as_messages
from loopllm_lc.drafts import Draft
from loopllm_lc.evaluating import bind_evaluator
from loopllm_lc.graph_steps import UNTIL_DRAFTED, UNTIL_JUDGED, Ending, NodeRun, Result, Run, Stretch
from loopllm_lc.handoff import Handoff
from loopllm_lc.judging import Judge
from loopllm_lc.model_identity import model_id_of
from loopllm_lc.progress import Progress
from loopllm_lc.scope import Scope
from loopllm_lc.settings import LoopSettings


class LoopGraphState(TypedDict, total=False):
    """The state of a loop graph.

    Attributes:
        messages: The conversation; its end is the task, and the accepted draft is added to it.
        input: The input of a bound chain that begins with a prompt, instead of messages.
        output: What the bound chain makes of the accepted draft.
        loopllm: What the loop tells of itself: `iterations`, `score`, `exit_reason`, `best_iteration`, `trajectory`.
        loopllm_run: The run while it goes on, as plain data; None when it is over.
    """

    messages: Annotated[list[AnyMessage], add_messages]
    input: Any
    output: Any
    loopllm: dict[str, Any]
    loopllm_run: dict[str, Any] | None


if TYPE_CHECKING:
    Compiled = CompiledStateGraph[LoopGraphState, None, LoopGraphState, LoopGraphState]
else:  # its parameters are of no use when it runs, and other releases have others
    Compiled = CompiledStateGraph


class LoopGraph(StateGraph[LoopGraphState]):
    """A loop as a graph that is not yet compiled; compiled, it waits for each checkpoint to be written."""

    def compile(self, checkpointer: Checkpointer = None, **kwargs: Any) -> Compiled:
        """Compile the graph. Arguments as of LangGraph's own `StateGraph.compile`."""
        compiled = super().compile(checkpointer, **kwargs)
        # LangGraph's builder knows one class of compiled graphs only.
        compiled.__class__ = WaitingGraph
        return compiled


class WaitingGraph(Compiled):
    """A compiled graph that goes on when its last checkpoint is written, unless a call says otherwise.

    LangGraph writes a checkpoint while the next node runs already: a process killed in there would lose a draft that
    was paid for.
    """

    def stream(self, input: Any, config: Any = None, **kwargs: Any) -> Any:  # noqa: A002
        """Run the graph. As of LangGraph's own graphs; `invoke` and the others come through here."""
        return super().stream(_anew(input), config, **self._waiting(kwargs))

    def astream(self, input: Any, config: Any = None, **kwargs: Any) -> Any:  # noqa: A002
        """Run the graph without blocking the event loop. As `stream`."""
        return super().astream(_anew(input), config, **self._waiting(kwargs))

    def _waiting(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        if kwargs.get("durability") is None and isinstance(self.checkpointer, BaseCheckpointSaver):
            return {**kwargs, "durability": "sync"}
        return kwargs


def _anew(given: Any) -> Any:
    """Return an input that lets go of the run that a crash has left in its thread: something else is asked now."""
    return {"loopllm_run": None, **given} if isinstance(given, Mapping) else given


def loop_graph(
    bound: Runnable[Any, Any],
    evaluator: Any = None,
    config: LoopConfig | None = None,
    *,
    priors: Any = None,
    task_type: str = "default",
    model_id: str | None = None,
    exit_conditions: Sequence[Any] = (),
) -> LoopGraph:
    """Return a graph that refines: `loop_graph(model, evaluator).compile(checkpointer=...)`.

    Each draft and each verdict is a step of its own, and its checkpoint is written before the next one begins. So a
    graph whose process was killed, with a checkpointer that outlives it, goes on with `invoke(None, config)` and asks
    for no draft a second time that it already had; an input begins anew. Each round takes two steps of LangGraph's
    recursion limit.

    Args:
        bound: A chat model, or `prompt | model | parser`: then give `{"input": ...}` instead of `{"messages": [...]}`.
            Of several models the last one is looped; those before it run once.
        evaluator: What `LoopedRunnable` takes as an evaluator; may be left out when `bound` ends in a parser.
        config: Limits and settings; the time limit counts time at work, not time between a crash and the resumption.
        priors: What earlier runs have taught.
        task_type: Your name for the kind of task.
        model_id: The model's name for learning, where the model does not tell it.
        exit_conditions: Further conditions that end the loop.

    Raises:
        MisuseError: There is no chat model to be seen in `bound`, or nothing to score with. The graph itself raises
            `CallTimeoutError` when its time runs out before any draft.
    """
    settings = LoopSettings(
        evaluator=evaluator,
        config=config or LoopConfig(),
        priors=priors,
        task_type=task_type,
        model_id=model_id,
        exit_conditions=exit_conditions,
    )
    nodes = _Nodes(bound, settings)
    graph = LoopGraph(LoopGraphState)
    graph.add_node("draft", RunnableLambda(nodes.draft, nodes.adraft, name="draft"))
    graph.add_node("evaluate", RunnableLambda(nodes.evaluate, nodes.aevaluate, name="evaluate"))
    graph.add_edge(START, "draft")
    graph.add_conditional_edges("draft", after_draft, ["evaluate", END])
    graph.add_conditional_edges("evaluate", after_evaluation, ["draft", END])
    return graph


def after_draft(state: LoopGraphState) -> str:
    """Return where to go with a draft: to its evaluation, or out when there is nothing to judge."""
    return END if state.get("loopllm_run") is None else "evaluate"


def after_evaluation(state: LoopGraphState) -> str:
    """Return where to go with a verdict: back for another draft, or out."""
    return END if state.get("loopllm_run") is None else "draft"


class _Nodes:
    """What the nodes of a loop graph do; they keep nothing between calls."""

    def __init__(self, bound: Runnable[Any, Any], settings: LoopSettings) -> None:
        self._parts = dissect(bound)
        if self._parts.kind != "chat":
            raise MisuseError(
                "loop_graph needs a chat model, or a chain with one in it: prompt | model | parser"
            )
        self._settings = settings
        self._evaluator = bind_evaluator(settings.evaluator, has_parser=self._parts.tail is not None)

    def draft(self, state: LoopGraphState, config: RunnableConfig) -> Mapping[str, Any]:
        """Get one draft, blocking."""
        asker, judge, stretch = self._parts_of(config, state, UNTIL_DRAFTED, awaits=False)
        run = stretch.run_of(state.get("loopllm_run"), self._task(state, config))
        asker.iteration = run.current_iteration
        return self._told(run, stretch.go(run), asker, judge)

    async def adraft(self, state: LoopGraphState, config: RunnableConfig) -> Mapping[str, Any]:
        """Get one draft without blocking the event loop."""
        asker, judge, stretch = self._parts_of(config, state, UNTIL_DRAFTED, awaits=True)
        run = await stretch.arun_of(state.get("loopllm_run"), await self._atask(state, config))
        asker.iteration = run.current_iteration
        return await self._atold(run, await stretch.ago(run), asker, judge)

    def evaluate(self, state: LoopGraphState, config: RunnableConfig) -> Mapping[str, Any]:
        """Score the draft, blocking."""
        asker, judge, stretch = self._parts_of(config, state, UNTIL_JUDGED, awaits=False)
        run = stretch.run_of(state.get("loopllm_run"), None)
        return self._told(run, stretch.go(run), asker, judge)

    async def aevaluate(self, state: LoopGraphState, config: RunnableConfig) -> Mapping[str, Any]:
        """Score the draft without blocking the event loop."""
        asker, judge, stretch = self._parts_of(config, state, UNTIL_JUDGED, awaits=True)
        run = await stretch.arun_of(state.get("loopllm_run"), None)
        return await self._atold(run, await stretch.ago(run), asker, judge)

    def _parts_of(
        self, config: RunnableConfig, state: LoopGraphState, until: Any, *, awaits: bool
    ) -> tuple[Asker, _ReadingJudge, Stretch]:
        scope = Scope(config, NodeRun(config, awaits=awaits))
        model_id = self._settings.model_id or model_id_of(self._parts.asked, config)
        asker = Asker(self._parts.without_tail(), scope, model_id=model_id)
        asker.passes_tools = self._parts.tail is None
        judge = _ReadingJudge(self._evaluator, scope, asker, state.get("input") or state.get("messages"))
        judge.tail = self._parts.tail
        # With an evaluator of the caller's it is that one's affair where both are called.
        judge.waits = judge.waits or (self._settings.evaluator is None and judge.tail is not None)
        progress = Progress(scope)
        return asker, judge, Stretch(self._settings, asker, judge, progress, until, tells_end=False)

    def _task(self, state: LoopGraphState, config: RunnableConfig) -> list[BaseMessage] | None:
        if state.get("loopllm_run") is not None:
            return None
        head = self._parts.head
        return as_messages(
            state.get("messages", []) if head is None else head.invoke(state.get("input"), config)
        )

    async def _atask(self, state: LoopGraphState, config: RunnableConfig) -> list[BaseMessage] | None:
        if state.get("loopllm_run") is not None:
            return None
        head = self._parts.head
        if head is None:
            return as_messages(state.get("messages", []))
        return as_messages(await head.ainvoke(state.get("input"), config))

    def _told(self, run: Run, result: Result | None, asker: Asker, judge: _ReadingJudge) -> Mapping[str, Any]:
        ending = _ending(run, result, asker.handoff)
        return _going_on(run) if ending is None else self._over(ending, judge.read(ending.draft))

    async def _atold(
        self, run: Run, result: Result | None, asker: Asker, judge: _ReadingJudge
    ) -> Mapping[str, Any]:
        ending = _ending(run, result, asker.handoff)
        return _going_on(run) if ending is None else self._over(ending, await judge.aread(ending.draft))

    def _over(self, ending: Ending, read: Draft) -> Mapping[str, Any]:
        if self._parts.tail is not None and read.fault:
            raise unreadable(read, ending.facts)
        message = ending.message
        output = message if self._parts.tail is None else read.value
        return {"messages": [message], "output": output, "loopllm": ending.facts, "loopllm_run": None}


def _ending(run: Run, result: Result | None, handoff: Handoff) -> Ending | None:
    if result is not None:
        return Ending.judged(result)
    if handoff.draft is not None:
        return Ending.handed_over(run.records, handoff.draft, handoff.reason)
    return None


def _going_on(run: Run) -> Mapping[str, Any]:
    return {"loopllm_run": run.to_dict()}


class _ReadingJudge(Judge):
    """Reads a draft with what follows the model, then scores it: only the model's message is worth a checkpoint.

    What it read last it keeps while its node runs: that draft is the accepted one as a rule, and what follows the
    model may be paid for, too.
    """

    tail: Runnable[Any, Any] | None = None
    _last: tuple[Draft, Draft] | None = None

    def evaluate(self, output: Draft, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        return super().evaluate(self.read(output), context)

    async def aevaluate(self, output: Draft, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        return await super().aevaluate(await self.aread(output), context)

    def read(self, draft: Draft) -> Draft:
        """Return the draft as what follows the model reads it."""
        known = self._known(draft)
        if known is not None or self.tail is None:
            return known or draft
        try:
            return self._kept(draft, Draft(self.tail.invoke(draft.message), draft.message))
        except UNREADABLE as error:
            return self._kept(draft, unread(draft, error))

    async def aread(self, draft: Draft) -> Draft:
        """Return the draft as what follows the model reads it, without blocking the event loop."""
        known = self._known(draft)
        if known is not None or self.tail is None:
            return known or draft
        try:
            return self._kept(draft, Draft(await self.tail.ainvoke(draft.message), draft.message))
        except UNREADABLE as error:
            return self._kept(draft, unread(draft, error))

    def _known(self, draft: Draft) -> Draft | None:
        if draft.error is not None:  # the model's client withheld it: there is nothing to read
            return draft
        return self._last[1] if self._last is not None and self._last[0] is draft else None

    def _kept(self, draft: Draft, read: Draft) -> Draft:
        self._last = (draft, read)
        return read
