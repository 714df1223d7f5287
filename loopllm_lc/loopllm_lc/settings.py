"""What every loop in LangChain can be told: the settings that its classes share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loopllm.config import LoopConfig
from loopllm.engine import LoopedLLM
from loopllm.errors import MisuseError
from loopllm.exits import Condition
from loopllm.feedback import PromptFormat
from loopllm.preparing import require_loop_parts
from loopllm_lc.asking import Asker
from loopllm_lc.drafts import Draft
from loopllm_lc.serializing import load_config, load_evaluator, shown


class LoopSettings(BaseModel):
    """The settings that all loops share.

    Attributes:
        evaluator: An evaluator of loopllm or of LangChain, or a callable.
        config: Limits and settings of the loop; not the `RunnableConfig` of a call.
        priors: What earlier runs have taught; neither serialized nor pickled, and shared by copies.
        task_type: Your name for the kind of task; what is learned is kept per task type and model.
        model_id: The model's name for learning, where the model does not tell it.
        exit_conditions: Further conditions that end the loop, as in `LoopedLLM.add_exit_condition`.
    """

    evaluator: Any = None
    config: LoopConfig = Field(default_factory=LoopConfig)
    priors: Any = Field(default=None, exclude=True)
    task_type: str = "default"
    model_id: str | None = None
    exit_conditions: Sequence[Any] = ()

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())

    @field_validator("config", mode="before")
    @classmethod
    def _config_from_data(cls, value: Any) -> Any:
        return load_config(value)

    @field_validator("priors")
    @classmethod
    def _priors_can_plan(cls, value: Any) -> Any:
        require_loop_parts(None, value, ())
        return value

    @field_validator("exit_conditions")
    @classmethod
    def _conditions_can_be_asked(cls, value: Sequence[Any]) -> Sequence[Any]:
        for condition in value:
            Condition.of(condition)
        return value

    @field_validator("evaluator", mode="before")
    @classmethod
    def _evaluator_from_data(cls, value: Any) -> Any:
        return load_evaluator(value)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show the evaluator and the exit conditions without their own reprs, which may hold secrets."""
        for name, value in super().__repr_args__():
            if name == "evaluator":
                yield name, shown(value)
            elif name == "exit_conditions":
                yield name, [shown(condition) for condition in value]
            else:
                yield name, value

    def __getstate__(self) -> dict[Any, Any]:
        """Leave out the priors: a handle on a store belongs to its process, and its address may hold a password."""
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], "priors": None}}

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy everything but the priors: what one copy learns serves the other."""
        return super().__deepcopy__({**(memo or {}), id(self.priors): self.priors})

    def loop_over(self, asker: Asker, form: PromptFormat[Any, Draft]) -> LoopedLLM[Any, Draft]:
        """Return the engine over a model, with these settings.

        Raises:
            MisuseError: Learning is on and nobody knows the model's name.
        """
        if self.priors is not None and self.config.learning != "off" and asker.model_id is None:
            raise MisuseError(
                "learning needs to know the model, and what is bound does not name it: pass model_id=..."
            )
        loop: LoopedLLM[Any, Draft] = LoopedLLM(asker, self.config, priors=self.priors, format=form)
        for condition in self.exit_conditions:
            loop.add_exit_condition(condition)
        return loop
