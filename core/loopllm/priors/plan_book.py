"""Plans that were made, each kept while it holds."""

from __future__ import annotations

from collections.abc import Callable

from loopllm.priors.beliefs import Believer, Scopes
from loopllm.priors.planning import PlanRequest, Prepared, prepare


class PlanBook:
    """Makes plans, and keeps each until so much was learned that it no longer holds.

    Whoever acts and whoever only asks have a book each: a plan made for a report must not become the one that a later
    run is steered by, or reading would change what is done.

    Args:
        believer: Makes the believer when the first plan is wanted.
        half_life: Runs after which a run counts half.
        room: Plans that are kept, since tasks, models and thresholds may be ever new ones; beyond these the one that
            was not asked for longest is let go.
    """

    __slots__ = ("_believer", "_half_life", "_make", "_plans", "_room")

    def __init__(self, believer: Callable[[], Believer], half_life: float, room: int) -> None:
        self._make = believer
        self._half_life = half_life
        self._room = room
        self._believer: Believer | None = None
        self._plans: dict[PlanRequest, Prepared] = {}

    def find(self, request: PlanRequest, scopes: Scopes) -> Prepared | None:
        """The plan that was made, if it holds."""
        have = self._plans.pop(request, None)
        if have is not None:
            self._plans[request] = have  # the last one now, and the first is the one to let go
        return have if have is not None and have.holds(scopes.pair.runs, scopes.everything.runs) else None

    def prepared(self, request: PlanRequest, scopes: Scopes) -> Prepared:
        """The plan that was made, or a new one."""
        have = self.find(request, scopes)
        if have is None:
            if self._believer is None:
                self._believer = self._make()
            have = self._plans[request] = prepare(self._believer, scopes, request, self._half_life)
            if len(self._plans) > self._room:
                del self._plans[next(iter(self._plans))]
        return have
