"""How many runs are behind a belief, and how near they are."""

from __future__ import annotations

from dataclasses import dataclass

from loopllm.priors.beliefs import Scopes


@dataclass(frozen=True, slots=True)
class Evidence:
    """Runs that lend strength to a belief: four kinds, from the nearest to the farthest.

    The pair's own runs count one by one; the other kinds speak with a bounded voice (`loopllm.priors.beliefs`), so a
    thousand runs of other pairs never drown a dozen of one's own. No run is of two kinds.

    >>> print(Evidence(own=50, same_task=120, same_model=44))
    214 runs of 3 kinds behind this (50 of its own, 120 of the task, 44 of the model)
    >>> print(Evidence(own=1))
    1 run of 1 kind behind this
    >>> print(Evidence())
    0 runs behind this, only the prior that ships with the package
    >>> print(Evidence(own=50, outdated=150))
    50 runs of 1 kind behind this; it changed, 150 runs before that no longer count

    Attributes:
        own: Runs of this task type and model that count.
        same_task: Runs of this task type with other models.
        same_model: Runs of this model on other task types.
        others: Runs that share neither.
        outdated: Runs of this task type and model before the process changed, which are hardly believed any more.
    """

    own: int = 0
    same_task: int = 0
    same_model: int = 0
    others: int = 0
    outdated: int = 0

    @property
    def total(self) -> int:
        """Runs of all kinds that count."""
        return self.own + self.same_task + self.same_model + self.others

    @property
    def kinds(self) -> int:
        """Kinds of which there are any."""
        return sum(map(bool, (self.own, self.same_task, self.same_model, self.others)))

    def __str__(self) -> str:
        if not self.total:
            return "0 runs behind this, only the prior that ships with the package"
        runs, kinds = f"run{'s' * (self.total > 1)}", f"kind{'s' * (self.kinds > 1)}"
        text = f"{self.total} {runs} of {self.kinds} {kinds} behind this"
        if self.total != self.own:
            text += f" ({self._parts()})"
        return (
            f"{text}; it changed, {self.outdated} runs before that no longer count" if self.outdated else text
        )

    def _parts(self) -> str:
        named = (
            (self.own, "of its own"),
            (self.same_task, "of the task"),
            (self.same_model, "of the model"),
            (self.others, "of others"),
        )
        return ", ".join(f"{runs} {name}" for runs, name in named if runs)


def evidence_of(scopes: Scopes, outdated: int) -> Evidence:
    """The runs in a pair's statistics, of which some may be outdated, and in its relatives'."""
    own, task, model, everything = (
        int(s.runs) for s in (scopes.pair, scopes.task, scopes.model, scopes.everything)
    )
    task_only, model_only = max(0, task - own), max(0, model - own)
    others = max(0, everything - own - task_only - model_only)
    return Evidence(own - outdated, task_only, model_only, others, outdated)
