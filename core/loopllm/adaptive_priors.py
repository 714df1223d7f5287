"""The edge that joins the pure statistics with a store: what runs have taught, shared and kept.

Rule 1: one lock guards everything here; what is handed out (policies, reports) is frozen.
Rule 2: a read changes nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

from loopllm.errors import MisuseError
from loopllm.priors import learning
from loopllm.priors.beliefs import Believer, Scopes
from loopllm.priors.forgetting import folding, generation_of
from loopllm.priors.hindsight import learn_hindsight
from loopllm.priors.judge_spread import JudgeSpread
from loopllm.priors.keys import Keys, scope_keys
from loopllm.priors.objective import Goal, Objective
from loopllm.priors.observation import CallObservation, RoundObservation
from loopllm.priors.planning import PlanRequest, Prepared, costs_by_way, prepare
from loopllm.priors.policy import Policy
from loopllm.priors.report import PriorsReport, SuggestedConfig
from loopllm.priors.reporting import build_report, expected_gain_of_call, optimal_depth, suggestion
from loopllm.priors.run_state import complete_scores
from loopllm.priors.statistics import Statistics
from loopllm.shipped_prior import shipped_arithmetic
from loopllm.stores.base import PriorStore

Mode = Literal["act", "observe", "off"]

Lesson = Callable[[Statistics, int], None]
"""Adds what was seen to statistics; told the generation."""

HALF_LIFE = 400.0
"""Runs of a pair after which a run counts half."""

RELOAD_AFTER = 64
"""Merges of its own after which a learner reads the store again, whether or not others seem to have written."""


class AdaptivePriors:
    """What runs have taught about when another call is worth its cost, per task type and model.

    >>> priors = AdaptivePriors()
    >>> for _ in range(30):
    ...     priors.observe(CallObservation(task_type="sql", model_id="m", scores=[0.30, 0.31, 0.85]))
    >>> priors.suggest_config("sql", "m").max_iterations
    3
    >>> priors.policy("sql", "m").decide([0.30, 0.31]).stop
    False

    Args:
        store_path: A JSON file to keep what is learned in; shared by processes.
        store: Any store instead; see `loopllm.stores`.
        mode: `act`; `observe`: learn, change nothing, and report what acting would have saved; `off`: neither.
        half_life: Runs of a pair after which a run counts half.
        continue_probability_threshold: Also stop when the probability that another call improves is below this.

    Raises:
        MisuseError: Both `store_path` and `store`, or a setting out of its range.
    """

    def __init__(
        self,
        store_path: Path | str | None = None,
        *,
        store: PriorStore | None = None,
        mode: Mode = "act",
        half_life: float = HALF_LIFE,
        continue_probability_threshold: float = 0.0,
    ) -> None:
        if store_path is not None and store is not None:
            raise MisuseError("give store_path or store, not both")
        if mode not in get_args(Mode):
            raise MisuseError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
        if not half_life > 0.0:
            raise MisuseError(f"half_life must be a number of runs above 0, got {half_life!r}")
        least = continue_probability_threshold
        if not 0.0 <= least <= 1.0:
            raise MisuseError(f"continue_probability_threshold must be in [0, 1], got {least!r}")
        self.mode: Mode = mode
        self.half_life = half_life
        self.continue_probability_threshold = least
        self._store = _opened(store_path) if store_path is not None else store
        self._lock = threading.RLock()
        self._known: dict[str, Statistics] = {}
        self._scopes: dict[tuple[str, str], Keys] = {}
        self._plans: dict[PlanRequest, Prepared] = {}
        self._asked: dict[str, PlanRequest] = {}
        self._believer: Believer | None = None
        self._revision: object = None
        self._sent = 0

    @classmethod
    def open(cls, url: str, *, mode: Mode = "act") -> Self:
        """Open the store that a URL names (`redis://...`, `postgresql://...`, `sqlite:///...`, a path)."""
        return cls(store=_opened(url), mode=mode)

    def observe(self, observation: CallObservation) -> None:
        """Learn from a run that is over."""
        events = learning.events_of(observation.scores, observation.actions)

        def learn(pair: Statistics, generation: int) -> None:
            learning.learn_run(pair, generation, events, observation)
            learning.learn_end(pair, observation)

        self._learn(observation, events, learn, starts=True, ends=True)

    def observe_round(self, observation: RoundObservation) -> None:
        """Learn from one more round of a live run; its last score is new, the others were learned before."""
        events = learning.events_of(observation.scores, observation.actions)[-1:]

        def learn(pair: Statistics, generation: int) -> None:
            learning.learn_round(pair, generation, events, observation)

        self._learn(observation, events, learn, starts=len(observation.scores) == 1, ends=False)

    def observe_end(self, observation: CallObservation) -> None:
        """Learn how a run ended whose rounds were observed one by one."""

        def learn(pair: Statistics, _: int) -> None:
            learning.learn_end(pair, observation)

        self._learn(observation, (), learn, starts=False, ends=True)

    def _learn(
        self,
        seen: CallObservation | RoundObservation,
        events: Sequence[learning.Event],
        lesson: Lesson,
        *,
        starts: bool,
        ends: bool,
    ) -> None:
        if self.mode == "off":
            return
        with self._lock:
            keys = self._keys(seen.task_type, seen.model_id)
            self._refresh()
            if ends and self.mode == "observe":
                lesson = self._with_hindsight(keys[0], seen.scores, lesson)
            pair = self._statistics(keys[0])
            generation = generation_of(pair.runs + starts)
            folds = folding(pair, generation) if generation > generation_of(pair.runs) else None
            first = seen.scores[0] if starts else None
            costs = learning.costs_of(seen) if starts or not ends else {}
            judgements = seen.judgements if isinstance(seen, CallObservation) else ()
            own, shared = (Statistics(), Statistics()) if self._store is not None else (None, None)
            for target in (pair, own):
                if target is not None:
                    lesson(target, generation)
                    learning.learn_costs(target, generation, costs)
                    if folds is not None:
                        target.merge(folds)
            for target in (*map(self._statistics, keys[1:]), shared):
                if target is not None:
                    learning.learn_shared(target, events, first, costs, judgements)
            if own is not None and shared is not None:
                self._send(keys, own, shared)

    def _with_hindsight(self, key: str, scores: Sequence[float], lesson: Lesson) -> Lesson:
        asked = self._asked.get(key)
        if asked is None or asked not in self._plans:
            return lesson
        # The plan of before this run was learned: it has not seen what it is judged by.
        policy = self._plans[asked].policy(0, 0, acts=True)

        def learn(pair: Statistics, generation: int) -> None:
            lesson(pair, generation)
            learn_hindsight(pair, policy, scores)

        return learn

    def _send(self, keys: Keys, own: Statistics, shared: Statistics) -> None:
        assert self._store is not None  # noqa: S101  (the caller asked)
        for_all = shared.counters()
        self._store.merge({keys[0]: own.counters(), **dict.fromkeys(keys[1:], for_all)})
        # What was just sent is known here; what others sent in between is read at their next, or RELOAD_AFTER of ours.
        self._sent += 1
        self._revision = self._store.revision() if self._sent % RELOAD_AFTER else None

    # Deciding ------------------------------------------------------------------------------------------------------

    def policy(
        self,
        task_type: str,
        model_id: str,
        *,
        objective: Goal | Objective = "threshold",
        quality_threshold: float = 0.8,
        call_cost: float = 0.05,
        max_iterations: int = 8,
        ways: Sequence[str] | None = None,
        explore: bool = False,
        seed: int = 0,
        judge_sd: float | None = None,
    ) -> Policy:
        """The rule for one run, planned from what is known now and frozen.

        A plan takes 10 to 50 ms of CPU (measured, pure Python, a busy machine); it is kept until the pair's runs have
        grown by an eighth, so that 100 runs need some 23 plans: 2 to 7 ms per run.

        Args:
            task_type: Your name for the kind of task.
            model_id: The model.
            objective: `threshold`: a best score from `quality_threshold` on is worth 1, any other 0; `quality`: a best
                score is worth itself; or an `Objective`, which states in money what one of them is worth.
            quality_threshold: See `objective`.
            call_cost: Cost of one more call in the unit of that value; with an `Objective` a guess, see `call_cost`.
            max_iterations: The most calls of a run.
            ways: The ways of asking again to choose from; None: there is no choice.
            explore: May go on, or ask in another way, in order to learn; bounded, see `loopllm.priors.exploration`.
            seed: Of the exploration.
            judge_sd: Test-retest standard deviation of the evaluator's scores; 0: it never errs; None: as its repeats
                tell, once there are enough (`judge_spread`), before that as the scores tell.

        Raises:
            MisuseError: An argument is out of range; the message names it.
        """
        named = None if ways is None else tuple(ways)
        wanted = (objective, quality_threshold, call_cost, max_iterations)
        request = PlanRequest(task_type, model_id, *wanted, named, judge_sd, explore)
        with self._lock:
            self._refresh()
            prepared = self._prepared(request)
            runs = self._pair(task_type, model_id).runs
        return prepared.policy(runs, seed, acts=self.mode == "act")

    def _prepared(self, request: PlanRequest) -> Prepared:
        scopes = self._scopes_of(request.task_type, request.model_id)
        self._asked[scopes.name] = request
        have = self._plans.get(request)
        if have is None or not have.holds(scopes.pair.runs, scopes.everything.runs):
            if self._believer is None:
                self._believer = Believer(shipped_arithmetic(), self.half_life)
            have = self._plans[request] = prepare(self._believer, scopes, request, self.half_life)
        return have

    def should_continue(
        self,
        task_type: str,
        model_id: str,
        current_iteration: int,
        current_score: float,
        scores_so_far: Sequence[float],
        quality_threshold: float = 0.8,
        *,
        objective: Goal | Objective = "threshold",
        call_cost: float = 0.05,
        max_iterations: int = 8,
        continue_probability_threshold: float | None = None,
    ) -> bool:
        """Whether one more call is worth it; `scores_so_far` may or may not end with `current_score`."""
        policy = self.policy(
            task_type,
            model_id,
            objective=objective,
            quality_threshold=quality_threshold,
            call_cost=call_cost,
            max_iterations=max_iterations,
        )
        decision = policy.decide(complete_scores(current_iteration, current_score, scores_so_far))
        given = continue_probability_threshold
        least = self.continue_probability_threshold if given is None else given
        return decision.advised is not None and decision.probability_of_improvement >= least

    # Asking --------------------------------------------------------------------------------------------------------

    def expected_improvement(self, task_type: str, model_id: str, at_iteration: int) -> float:
        """By how much call number `at_iteration` raises the best score; of the first call, its expected score.

        Raises:
            MisuseError: `at_iteration` is below 1, the first call.
        """
        if at_iteration < 1:
            raise MisuseError(f"at_iteration must be at least 1, the first call; got {at_iteration!r}")
        with self._lock:
            return expected_gain_of_call(self._read(task_type, model_id), at_iteration)

    def predict_optimal_depth(self, task_type: str, model_id: str, cost_weight: float = 0.5) -> int:
        """The depth up to which calling pays, never below one at which success was seen.

        Args:
            task_type: Your name for the kind of task.
            model_id: The model.
            cost_weight: How much a call costs, in tenths of the best score: at 0.5 it must raise it by 0.05.

        Raises:
            MisuseError: `cost_weight` is negative.
        """
        if not cost_weight >= 0.0:
            raise MisuseError(f"cost_weight must be >= 0, got {cost_weight!r}")
        with self._lock:
            return optimal_depth(self._read(task_type, model_id), cost_weight)

    def suggest_config(self, task_type: str, model_id: str) -> SuggestedConfig:
        """A budget that cuts off nothing that was seen to succeed; the threshold stays the one in use."""
        with self._lock:
            return suggestion(self._read(task_type, model_id), task_type, model_id)

    def judge_spread(self, task_type: str, model_id: str) -> JudgeSpread:
        """How much the scores of one draft vary, as the repeats of all models' runs of this task tell."""
        with self._lock:
            self._refresh()
            return JudgeSpread.seen(self._scopes_of(task_type, model_id).task)

    def report(self, task_type: str, model_id: str) -> PriorsReport:
        """What is known about one task type and model."""
        with self._lock:
            asked = self._asked.get(self._keys(task_type, model_id)[0], PlanRequest(task_type, model_id))
            pair = self._read(task_type, model_id)
            known = self._prepared(asked)
            policy = known.policy(pair.runs, 0, acts=True)
            costs = costs_by_way(self._scopes_of(task_type, model_id), self.half_life)
            return build_report(pair, policy, costs, known.beliefs.mixture.families(), task_type, model_id)

    def report_all(self) -> list[PriorsReport]:
        """Reports of all pairs, by task type and model."""
        with self._lock:
            self._refresh()
            keys = set(self._known) | set(self._store.keys() if self._store is not None else ())
            parts = (json.loads(key) for key in sorted(keys) if key.startswith('["pair",'))
            reports = [self.report(task_type, model_id) for _, task_type, model_id in parts]
        return [report for report in reports if report.total_calls]

    @property
    def blocking(self) -> bool:
        """Whether learning may wait for a disk or a network, so that it belongs into a thread on an event loop."""
        return self._store is not None

    def flush(self) -> None:
        """Write what the store holds back, if it does."""
        flush = getattr(self._store, "flush", None)
        if flush is not None:
            flush()

    def close(self) -> None:
        """Write and release the store; closing twice is fine."""
        if self._store is not None:
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"AdaptivePriors(store={self._store!r}, mode={self.mode!r})"

    def _keys(self, task_type: str, model_id: str) -> Keys:
        keys = self._scopes.get((task_type, model_id))
        if keys is None:
            keys = self._scopes[task_type, model_id] = scope_keys(task_type, model_id)
        return keys

    def _refresh(self) -> None:
        """Forget what is known here when others may have added to the store."""
        if self._store is None:
            return
        revision = self._store.revision()
        if self._revision is None or revision != self._revision:
            self._revision = revision
            self._known.clear()
            self._plans.clear()

    def _statistics(self, key: str) -> Statistics:
        have = self._known.get(key)
        if have is None:
            counters = self._store.load(key) if self._store is not None else {}
            have = self._known[key] = Statistics.from_counters(counters)
        return have

    def _scopes_of(self, task_type: str, model_id: str) -> Scopes:
        keys = self._keys(task_type, model_id)
        return Scopes(keys[0], *map(self._statistics, keys))

    def _pair(self, task_type: str, model_id: str) -> Statistics:
        return self._statistics(self._keys(task_type, model_id)[0])

    def _read(self, task_type: str, model_id: str) -> Statistics:
        self._refresh()
        return self._pair(task_type, model_id)


def _opened(url_or_path: Path | str) -> PriorStore:
    from loopllm.stores import open_store  # noqa: PLC0415  (a store's driver is loaded when a store is opened)

    return open_store(url_or_path)
