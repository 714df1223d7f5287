"""When a run ends: the rules, in the order they are asked, and how to combine your own.

Rule 1: a rule is a pure function of what the run knows (`RunView`); a rule that needs the world is an evaluator.
Rule 2: every reason carries the numbers that led to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import Any, Protocol, runtime_checkable

from loopllm.config import LoopConfig
from loopllm.errors import MisuseError
from loopllm.results import ExitReason, IterationRecord, Usage


class RunFacts(Protocol):
    """The part of a run's books that the built-in rules read; `RunView` has it too."""

    @property
    def records(self) -> Sequence[IterationRecord[Any, Any]]: ...  # noqa: D102 - said in `RunView`
    @property
    def scores(self) -> Sequence[float]: ...  # noqa: D102
    @property
    def elapsed_s(self) -> float: ...  # noqa: D102
    @property
    def usage(self) -> Usage: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class RunView:
    """What an exit rule may look at, after a draft has been scored.

    Attributes:
        records: All rounds so far; the last one is the newest.
        scores: Scores of the scored rounds, in order.
        elapsed_s: Seconds since the run began.
        usage: Tokens and cost so far.
    """

    records: Sequence[IterationRecord[Any, Any]]
    scores: Sequence[float]
    elapsed_s: float
    usage: Usage

    @property
    def iteration(self) -> int:
        """Number of the newest round, 1-based."""
        return len(self.records)

    @property
    def best_score(self) -> float:
        """Highest score so far, 0.0 before the first."""
        return max(self.scores, default=0.0)


@runtime_checkable
class ExitCondition(Protocol):
    """An exit condition as an object, for example `BayesianExitCondition`."""

    def should_exit(
        self, iteration: int, current_score: float, scores_so_far: Sequence[float]
    ) -> ExitReason | None:
        """Return why the run should end after this round, or None to go on. `iteration` is 1-based."""
        ...


ExitRule = Callable[[RunView], ExitReason | str | bool | None]
"""An exit condition as a function: a reason, its text, or True ends the run; None, "" or False goes on."""


@dataclass(frozen=True, slots=True, weakref_slot=True)  # caches tell conditions apart without keeping them
class Condition:
    """An exit rule with a name, to be combined with `|` (any) and `&` (all).

    >>> rule = scores_at_least(0.9) | (after_iterations(3) & stalls_for(2))
    >>> rule.name
    'scores_at_least(0.9) | (after_iterations(3) & stalls_for(2))'

    Attributes:
        rule: The function that decides.
        name: What `exit_reason.condition` will say.
    """

    rule: ExitRule = field(repr=False)
    name: str

    @classmethod
    def of(cls, condition: Condition | ExitCondition | ExitRule) -> Condition:
        """Wrap whatever can be an exit condition.

        Raises:
            MisuseError: It is neither callable nor has `should_exit`, or it is a class, or async.
        """
        if isinstance(condition, Condition):
            return condition
        if isinstance(condition, type):
            raise MisuseError(
                f"exit condition {condition.__name__} is a class: pass an instance, {condition.__name__}(...)"
            )
        name = getattr(condition, "name", None) or getattr(condition, "__name__", type(condition).__name__)
        if iscoroutinefunction(getattr(condition, "should_exit", condition)):  # a coroutine would mean yes
            raise MisuseError(
                f"exit condition {name} is async: a condition only looks at the run; what has to wait is an evaluator"
            )
        if isinstance(condition, ExitCondition):
            return cls(_by_scores(condition), str(name))
        if callable(condition):
            return cls(condition, str(name))
        raise MisuseError(
            f"exit condition {condition!r} needs should_exit(iteration, current_score, scores_so_far) or to be callable"
        )

    def __call__(self, view: RunView) -> ExitReason | None:
        """Return why the run should end, or None."""
        verdict = self.rule(view)
        if not verdict:
            return None
        if isinstance(verdict, ExitReason):
            return verdict
        return ExitReason(self.name, verdict if isinstance(verdict, str) else f"{self.name} holds")

    def __or__(self, other: Condition | ExitCondition | ExitRule) -> Condition:
        """End when either says so; the first reason is kept."""
        right = Condition.of(other)
        return Condition(lambda view: self(view) or right(view), f"{self._grouped()} | {right._grouped()}")

    def __and__(self, other: Condition | ExitCondition | ExitRule) -> Condition:
        """End when both say so; the reason names both."""
        right = Condition.of(other)
        name = f"{self._grouped()} & {right._grouped()}"

        def both(view: RunView) -> ExitReason | None:
            first, second = self(view), right(view)
            return first and second and ExitReason(name, f"{first.message}; {second.message}")

        return Condition(both, name)

    def _grouped(self) -> str:
        return f"({self.name})" if " & " in self.name or " | " in self.name else self.name


def _by_scores(condition: ExitCondition) -> ExitRule:
    # A call that has no score is none to a condition that goes by scores.
    return lambda view: condition.should_exit(len(view.scores), view.scores[-1], list(view.scores))


def scores_at_least(score: float) -> Condition:
    """End when the newest draft scores at least `score`."""
    return Condition(
        lambda view: view.scores[-1] >= score and f"score {view.scores[-1]:.3f} reached {score}",
        f"scores_at_least({score})",
    )


def after_iterations(count: int) -> Condition:
    """End after `count` rounds."""
    return Condition(
        lambda view: view.iteration >= count and f"{view.iteration} rounds done",
        f"after_iterations({count})",
    )


def stalls_for(rounds: int) -> Condition:
    """End when the best score has not risen for `rounds` rounds.

    Raises:
        MisuseError: `rounds` is below 1.
    """
    if not rounds >= 1:
        raise MisuseError(f"stalls_for needs at least 1 round, got {rounds!r}")
    return Condition(
        lambda view: (
            len(view.scores) > rounds
            and max(view.scores[-rounds:]) <= max(view.scores[:-rounds])
            and f"no better draft for {rounds} rounds"
        ),
        f"stalls_for({rounds})",
    )


def repeats_itself() -> Condition:
    """End when the model returns an output that it has already returned in this run."""
    return Condition(
        lambda view: (
            any(earlier.output == view.records[-1].output for earlier in view.records[:-1])
            and "the model repeated an earlier answer"
        ),
        "repeats_itself()",
    )


def reaches_threshold(config: LoopConfig, run: RunFacts) -> ExitReason | None:
    """`quality_threshold`: a draft that would be returned is good enough.

    It need not be the newest one: `min_iterations` may have kept an earlier one from ending the run.
    """
    returned = run.records if config.best_of else run.records[-1:]
    draft = next((record for record in returned if record.passed), None)
    if draft is None:
        return None
    return ExitReason(
        "quality_threshold",
        f"score {draft.score:.3f} reached the threshold {config.quality_threshold} at call {draft.iteration}",
    )


def passes_again(config: LoopConfig, record: IterationRecord[Any, Any]) -> ExitReason:
    """`quality_threshold`: a draft that was judged again is good enough."""
    return ExitReason(
        "quality_threshold",
        f"score {record.score:.3f}, the mean of {len(record.judgements)} judgements, reached the threshold "
        f"{config.quality_threshold} at call {record.iteration}",
    )


def hits_plateau(config: LoopConfig, run: RunFacts) -> ExitReason | None:
    """`convergence_delta`: two successive score changes were below `convergence_delta`."""
    if config.convergence_delta == 0.0 or len(run.scores) < 3:  # noqa: PLR2004 - two changes need three scores
        return None
    before, middle, last = run.scores[-3:]
    changes = abs(middle - before), abs(last - middle)
    if max(changes) >= config.convergence_delta:
        return None
    return ExitReason(
        "convergence_delta",
        f"the score changed by {changes[0]:.3f} and {changes[1]:.3f}, both below {config.convergence_delta}",
    )


def spends_all_iterations(config: LoopConfig, run: RunFacts) -> ExitReason | None:
    """`max_iterations`: no call is left."""
    if len(run.records) < config.max_iterations:
        return None
    return ExitReason("max_iterations", f"all {config.max_iterations} calls made")


def runs_out_of_time(config: LoopConfig, run: RunFacts) -> ExitReason | None:
    """`timeout_ms`: no time is left."""
    if config.timeout_ms is None or run.elapsed_s * 1000.0 < config.timeout_ms:
        return None
    return ExitReason("timeout_ms", f"{run.elapsed_s * 1000.0:.0f} ms of {config.timeout_ms:.0f} ms passed")


def spends_all_tokens(config: LoopConfig, run: RunFacts) -> ExitReason | None:
    """`token_budget`: another call like the last one would exceed the budget."""
    if config.token_budget is None:
        return None
    spent, last = run.usage.total_tokens, run.records[-1].usage.total_tokens
    return _over_budget("token_budget", config.token_budget, spent, last, "tokens")


def spends_all_money(config: LoopConfig, run: RunFacts) -> ExitReason | None:
    """`cost_budget`: another call like the last one would exceed the budget."""
    if config.cost_budget is None:
        return None
    currency = config.currency or "of cost"
    return _over_budget(
        "cost_budget", config.cost_budget, run.usage.cost, run.records[-1].usage.cost, currency
    )


def _over_budget(
    name: str, budget: float, spent: float | None, last: float | None, unit: str
) -> ExitReason | None:
    if spent is None or last is None:
        # Going on blindly could exceed the budget without anybody noticing.
        hint = " or set LoopConfig(prices=...)" if name == "cost_budget" else ""
        return ExitReason(
            name, f"the provider did not report usage, so {name} cannot be kept; use one that does{hint}"
        )
    if spent + last <= budget:
        return None
    return ExitReason(name, f"{spent:g} {unit} spent of {budget:g}, and another call takes about {last:g}")


BuiltinRule = Callable[[LoopConfig, RunFacts], ExitReason | None]

QUALITY_RULES: Sequence[BuiltinRule] = (reaches_threshold, hits_plateau)
"""Asked first, from `min_iterations` on and only after a scored draft."""


def limit_rules(config: LoopConfig) -> Sequence[BuiltinRule]:
    """Return the limits that `config` sets, in the order they are asked: last, and always."""
    rules: list[BuiltinRule] = [spends_all_iterations]
    if config.timeout_ms is not None:
        rules.append(runs_out_of_time)
    if config.token_budget is not None:
        rules.append(spends_all_tokens)
    if config.cost_budget is not None:
        rules.append(spends_all_money)
    return rules
