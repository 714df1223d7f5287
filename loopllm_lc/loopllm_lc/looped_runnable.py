"""The loop as a LangChain `Runnable`: a drop-in for the chat model or chain that it binds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, Self, cast

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import ConfigurableFieldSpec, Input, Output, get_unique_config_specs
from pydantic import ConfigDict, model_validator

from loopllm.results import RefinementResult
from loopllm_lc.anatomy import dissect
from loopllm_lc.conversation import without_need_of
from loopllm_lc.drafts import Draft
from loopllm_lc.drawing import draw
from loopllm_lc.evaluating import bind_evaluator
from loopllm_lc.judging import Readable
from loopllm_lc.rebinding import with_structure, with_tools
from loopllm_lc.replies import added_up
from loopllm_lc.running import LoopRun, parts_of
from loopllm_lc.scope import RunManager, Scope
from loopllm_lc.serializing import Unserializable, dump_config, dump_evaluator
from loopllm_lc.settings import LoopSettings

if TYPE_CHECKING:
    from loopllm.adaptive_priors import AdaptivePriors
    from loopllm.config import LoopConfig


class LoopedRunnable(LoopSettings, RunnableSerializable[Input, Output], Generic[Input, Output]):
    """Asks what it binds again, with feedback, until the evaluator is satisfied or another call is not worth it.

    What is bound decides how the feedback reaches the model:

    - a chat model: its draft and the feedback follow the caller's messages;
    - `prompt | model | parser`, or any sequence with a model in it: what comes before the model runs once, the loop
      goes over the model, what comes after reads every draft; an answer that it cannot read is a deficiency the
      model hears about. Of several models the last one is looped: its output is what is judged, and the others,
      which help to write its prompt, run once, outside of the loop's limits and of its usage. A chain is also seen
      through `with_config`, `bind` and `with_retry`;
    - anything else: the whole of it is asked again, with the feedback in its input: in the string, after the
      messages, or in a dict under `feedback_key`. An input without room for feedback is refused before the first
      call.

    >>> from langchain_core.language_models import FakeListChatModel
    >>> model = FakeListChatModel(responses=["no", "yes"])
    >>> looped = LoopedRunnable(bound=model, evaluator=lambda text: 1.0 if text == "yes" else 0.2)
    >>> message = looped.invoke("Agree.")
    >>> message.content, message.response_metadata["loopllm"]["trajectory"]
    ('yes', [0.2, 1.0])

    Evaluators get the text of a message, or whatever else the chain returns; `context` has `prompt` (the task as
    text), `messages`, `message` (the draft's message, whole), `input` (what the caller gave) and `iteration`. A
    draft that calls tools, or that the provider marks as a refusal, goes to the caller at once.

    Put `with_retry` on what is bound: around the loop it repeats all of its calls, and no stream at all. The calls
    of an `abatch` go on when one of them fails, as LangChain's do; cancel it to stop them.

    Attributes:
        bound: The chat model or chain.
        evaluator: An evaluator of loopllm, or a callable `(output, context=None) -> float | bool |
            EvaluationResult`. A chain that ends in a parser needs none: it loops until the answer can be parsed.
        config: Limits and settings of the loop; not the `RunnableConfig` of a call.
        priors: What earlier runs have taught; neither serialized nor pickled, and shared by copies.
        task_type: Your name for the kind of task; what is learned is kept per task type and model.
        model_id: The model's name for learning, where what is bound does not tell it.
        feedback_key: The key of a dict input that takes the feedback, for chains in which no model can be seen. It
            is an empty string on the first call.
        exit_conditions: Further conditions that end the loop, as in `LoopedLLM.add_exit_condition`.
    """

    bound: Runnable[Input, Output]
    feedback_key: str | None = None

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())

    if (
        TYPE_CHECKING
    ):  # the base's own constructor takes anything, so that no checker could tell what comes out

        def __init__(
            self,
            *,
            bound: Runnable[Input, Output],
            evaluator: Any = None,
            config: LoopConfig | Mapping[str, Any] = ...,
            priors: AdaptivePriors | None = None,
            task_type: str = "default",
            model_id: str | None = None,
            feedback_key: str | None = None,
            exit_conditions: Sequence[Any] = (),
            name: str | None = None,
        ) -> None: ...

    @model_validator(mode="after")
    def _evaluator_can_score(self) -> Self:
        bind_evaluator(self.evaluator, has_parser=parts_of(self).tail is not None)
        return self

    # -- calls --------------------------------------------------------------------------------------------------

    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:  # noqa: A002
        """Run the loop and return the accepted draft, as what is bound returns it.

        A message carries the usage of all drafts and `response_metadata["loopllm"]`: `iterations`, `score`,
        `exit_reason`, `best_iteration` and `trajectory`.

        Args:
            input: What the bound runnable takes.
            config: The call's config.
            **kwargs: For the model, for example `stop`.

        Raises:
            Exception: What the model raised, when it failed before any draft.
            MisuseError: No model can be seen in what is bound, and the input has no room for feedback.
            CallTimeoutError: The time ran out before any draft; `refine` returns an empty history instead.
            EvaluatorError: The evaluator failed on every draft.
            OutputParserException: No draft could be read.
        """
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:  # noqa: A002
        """Run the loop without blocking the event loop. As `invoke`."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def stream(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Output]:  # noqa: A002
        """Run the loop, then yield the accepted draft in the pieces it came in.

        They add up to what `invoke` returns; the last one carries the summed usage and the loop's facts. A graph, a
        model under `with_retry`, a structure that the client reads itself and one that fallbacks give come in one
        piece. Progress goes out as custom events: `loopllm.iteration.start`, `loopllm.iteration.end`,
        `loopllm.iteration.judged_again`, `loopllm.retry`, `loopllm.exit`.
        """
        yield from self.transform(iter([input]), config, **kwargs)

    async def astream(
        self,
        input: Input,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Output]:
        """Run the loop without blocking the event loop, then yield the accepted draft. As `stream`."""

        async def once() -> AsyncIterator[Input]:
            yield input

        pieces: Any = self.atransform(once(), config, **kwargs)
        async with aclosing(pieces) as closing:
            async for piece in closing:
                yield piece

    def transform(
        self,
        input: Iterator[Input],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Output]:
        """Gather a streamed input, then do as `stream`."""
        yield from self._transform_stream_with_config(input, self._transform, config, **kwargs)

    async def atransform(
        self,
        input: AsyncIterator[Input],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Output]:
        """Gather a streamed input, then do as `astream`."""
        pieces: Any = self._atransform_stream_with_config(input, self._atransform, config, **kwargs)
        async with aclosing(pieces) as closing:
            async for piece in closing:
                yield piece

    def refine(
        self,
        input: Input,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> RefinementResult[Any, Draft]:
        """Run the loop and return its whole history, not the answer alone. Arguments and errors as in `invoke`."""
        run: Any = self._refine  # LangChain's own signature knows a runnable's output type only
        return cast("RefinementResult[Any, Draft]", self._call_with_config(run, input, config, **kwargs))

    async def arefine(
        self,
        input: Input,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> RefinementResult[Any, Draft]:
        """Run the loop and return its whole history, without blocking the event loop."""
        run: Any = self._arefine
        return cast(
            "RefinementResult[Any, Draft]", await self._acall_with_config(run, input, config, **kwargs)
        )

    # -- what it binds, again -----------------------------------------------------------------------------------

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> LoopedRunnable[Any, Any]:
        """Return this loop around its model with tools; drafts that call them go to the caller at once.

        Raises:
            MisuseError: What is bound does not end in a chat model that can.
        """
        return self._rebound(with_tools(parts_of(self), tools, kwargs), self.evaluator)

    def with_structured_output(
        self, schema: Any, *, evaluator: Any = None, **kwargs: Any
    ) -> LoopedRunnable[Any, Any]:
        """Return a loop around its model asked for a structure; an answer without it is a deficiency.

        Args:
            schema: As for the model's own method.
            evaluator: Scores the parsed objects; being readable is enough when not given, since an evaluator of
                texts could not read them.
            **kwargs: As for the model's own method, for example `include_raw=True`.

        Raises:
            MisuseError: What is bound does not end in a chat model that can.
        """
        structured = with_structure(parts_of(self), schema, kwargs)
        is_hidden = dissect(structured).tail is None  # the parser, by fallbacks
        return self._rebound(structured, Readable() if evaluator is None and is_hidden else evaluator)

    def _rebound(self, bound: Runnable[Any, Any], evaluator: Any) -> LoopedRunnable[Any, Any]:
        settings = {
            name: getattr(self, name)
            for name in type(self).model_fields
            if name not in {"bound", "evaluator"}
        }
        return LoopedRunnable(bound=bound, evaluator=evaluator, **settings)

    # -- what it looks like -------------------------------------------------------------------------------------

    @property
    def InputType(self) -> Any:  # noqa: N802 - LangChain's name
        """What the bound runnable takes."""
        return self.bound.InputType

    @property
    def OutputType(self) -> Any:  # noqa: N802 - LangChain's name
        """What the bound runnable returns."""
        return self.bound.OutputType

    def get_input_schema(self, config: RunnableConfig | None = None) -> Any:
        """Return the bound runnable's input schema; feedback under its key may be left out."""
        return without_need_of(self.feedback_key, self.bound.get_input_schema(config))

    def get_output_schema(self, config: RunnableConfig | None = None) -> Any:
        """Return the bound runnable's output schema."""
        return self.bound.get_output_schema(config)

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """What can be configured in the bound runnable, and in the evaluator if that is a runnable."""
        judged = self.evaluator.config_specs if isinstance(self.evaluator, Runnable) else []
        return get_unique_config_specs([*self.bound.config_specs, *judged])

    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        """Return the bound runnable's graph with the loop drawn in."""
        return draw(self.bound, parts_of(self), config)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: `dumps` and `loads` work, with evaluators of loopllm or registered ones.

        Loading takes `loads(text, allowed_objects=[LoopedRunnable, ...], valid_namespaces=["loopllm_lc"])`. Priors
        are not written; give them to what was loaded with `model_copy(update={"priors": priors})`.
        """
        return True

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """Return the loop in LangChain's JSON form."""
        data: Any = super().to_json()
        kwargs = {
            **data["kwargs"],
            "config": dump_config(self.config),
            "evaluator": dump_evaluator(self.evaluator),
        }
        kwargs["exit_conditions"] = [Unserializable(condition) for condition in self.exit_conditions]
        unset: dict[str, Any] = {"config": {}, "evaluator": None, "exit_conditions": []}
        data["kwargs"] = {
            name: value for name, value in kwargs.items() if name not in unset or value != unset[name]
        }
        return cast("SerializedConstructor", data)

    # -- inside -------------------------------------------------------------------------------------------------

    def _run(
        self,
        given: Any,
        config: RunnableConfig,
        run_manager: RunManager,
        kwargs: Any,
        *,
        recording: bool = False,
    ) -> LoopRun:
        return LoopRun(self, Scope(config, run_manager), given, kwargs, recording=recording)

    def _invoke(
        self, given: Input, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Output:
        return cast("Output", self._run(given, config, run_manager, kwargs).answer())

    async def _ainvoke(
        self,
        given: Input,
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Output:
        return cast("Output", await self._run(given, config, run_manager, kwargs).aanswer())

    def _transform(
        self,
        given: Iterator[Input],
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Iterator[Output]:
        whole = added_up(list(given))
        yield from self._run(whole, config, run_manager, kwargs, recording=True).pieces()

    async def _atransform(
        self,
        given: AsyncIterator[Input],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[Output]:
        whole = added_up([each async for each in given])
        for piece in await self._run(whole, config, run_manager, kwargs, recording=True).apieces():
            yield piece

    def _refine(
        self, given: Input, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> RefinementResult[Any, Draft]:
        return self._run(given, config, run_manager, kwargs).play()

    async def _arefine(
        self,
        given: Input,
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> RefinementResult[Any, Draft]:
        return await self._run(given, config, run_manager, kwargs).aplay()
