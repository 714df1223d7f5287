"""The edge that joins the pure statistics with a store: what runs have taught, shared and kept.

Rule 1: one lock guards everything here; what is handed out (policies, reports) is frozen.
Rule 2: a read changes nothing.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Literal, NoReturn, Self, get_args

from loopllm.errors import MisuseError
from loopllm.priors import learning
from loopllm.priors.beliefs import Believer, Scopes
from loopllm.priors.forgetting import folding, generation_of
from loopllm.priors.hindsight import learn_hindsight, look_back
from loopllm.priors.keys import Keys, scope_keys
from loopllm.priors.objective import Goal, Objective
from loopllm.priors.observation import CallObservation, RoundObservation, is_within, whole
from loopllm.priors.plan_book import PlanBook
from loopllm.priors.planning import PlanRequest, Prepared
from loopllm.priors.policy import Policy
from loopllm.priors.statistics import Statistics
from loopllm.reading import PriorsReading, checked_chance
from loopllm.shipped_prior import shipped_arithmetic
from loopllm.stores.base import PriorStore

Mode = Literal["act", "observe", "off"]

Lesson = Callable[[Statistics, int], None]
"""Adds what was seen to statistics; told the generation."""

USUAL_MOST = 8
"""Calls that a plan looks ahead when nobody says how many a run may make."""

HALF_LIFE = 400.0
"""Runs of a pair after which a run counts half."""

ACTING_ROOM, ASKING_ROOM = 1000, 200
"""Plans that are kept, those that steer runs and those made for an answer; each takes up to half a megabyte."""

RELOAD_AFTER = 64
"""Merges of its own after which a learner reads the store again, whether or not others seem to have written."""


class AdaptivePriors(PriorsReading):
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
        if isinstance(store, str | os.PathLike):  # which is not shown: an address may hold a password
            raise MisuseError(
                "store must be a PriorStore, got an address: give a path as store_path, or use open"
            )
        if not (is_within(half_life, 0.0, inf) and half_life):
            raise MisuseError(f"half_life must be a number of runs above 0, got {half_life!r}")
        self.mode: Mode = mode
        self.half_life = half_life
        self.continue_probability_threshold = checked_chance(continue_probability_threshold)
        self._store = _opened(store_path) if store_path is not None else store
        self._lock, self._process = threading.RLock(), os.getpid()
        self._known: dict[str, Statistics] = {}
        self._scopes: dict[tuple[str, str], Keys] = {}
        self._acting, self._asking = self._new_plan_book(ACTING_ROOM), self._new_plan_book(ASKING_ROOM)
        self._asked: dict[str, PlanRequest] = {}
        self._revision: object = None
        self._sent = 0

    @classmethod
    def open(cls, url: str, *, mode: Mode = "act") -> Self:
        """Open the store at an address: a path, or a URL of a store that is installed (see `loopllm.stores`)."""
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
        with self._alone(), self._in_step():
            keys = self._keys(seen.task_type, seen.model_id)
            self._refresh()
            if ends and isinstance(seen, CallObservation):
                lesson = self._with_hindsight(seen, lesson)
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

    def _with_hindsight(self, seen: CallObservation, lesson: Lesson) -> Lesson:
        """The lesson, and what acting would have changed in a run that was only observed."""
        hindsight = seen.hindsight
        if hindsight is None and self.mode == "observe":
            # A loop that is not ours: judged by the plan of before this run, which has not seen what it is judged by.
            pair = (seen.task_type, seen.model_id)
            most = seen.max_iterations or max(len(seen.scores), USUAL_MOST)
            usual = PlanRequest(*pair, quality_threshold=seen.quality_threshold, max_iterations=most)
            prepared = self._look(self._asked.get(self._keys(*pair)[0], usual))
            policy = prepared.policy(
                self._pair(*pair).runs, 0, acts=False, least_probability=self.continue_probability_threshold
            )
            hindsight = look_back(policy, seen.scores, seen.actions)
        if hindsight is None:
            return lesson
        found = hindsight

        def learn(pair: Statistics, generation: int) -> None:
            lesson(pair, generation)
            learn_hindsight(pair, found)

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
        continue_probability_threshold: float | None = None,
        acts: bool = True,
    ) -> Policy:
        """The rule for one run, planned from what is known now and frozen.

        A plan takes some 4 ms of CPU where numpy is installed and 40 ms where it is not; it is kept until the pair's
        runs have grown by an eighth or by 20, so that 100 runs need some 23 plans: 1 or 10 ms per run.

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
            continue_probability_threshold: Also stop when the probability that another call improves is below this;
                None: that of these priors.
            acts: False: the policy goes on whatever it would advise, as in mode `observe`.

        Raises:
            MisuseError: An argument is out of range; the message names it.
        """
        if isinstance(ways, str):
            raise MisuseError(f"ways must be a sequence of names, got the single string {ways!r}")
        named = None if ways is None else tuple(ways)
        seed = whole("seed", seed, least=None)
        wanted = (objective, quality_threshold, call_cost, max_iterations)
        request = PlanRequest(task_type, model_id, *wanted, named, judge_sd, explore)
        least = self._least_probability(continue_probability_threshold)
        with self._alone():
            self._refresh()
            self._asked[self._keys(task_type, model_id)[0]] = request
            prepared = self._acting.prepared(request, self._scopes_of(task_type, model_id))
            runs = self._pair(task_type, model_id).runs
        return prepared.policy(runs, seed, acts=acts and self.mode == "act", least_probability=least)

    def _new_plan_book(self, room: int) -> PlanBook:
        return PlanBook(lambda: Believer(shipped_arithmetic(), self.half_life), self.half_life, room)

    def _alone(self) -> threading.RLock:
        if self._process != os.getpid():
            # In a forked child the lock may be held by a thread that is not here, half way through a lesson.
            self._lock, self._process, self._revision = threading.RLock(), os.getpid(), None
        return self._lock

    @contextmanager
    def _in_step(self) -> Iterator[None]:
        """Know no more than the store does: what it did not take is not known here either."""
        try:
            yield
        except BaseException:
            if self._store is not None:
                self._known.clear()
            raise

    # Asking: see `loopllm.reading` --------------------------------------------------------------------------------

    def _look(self, request: PlanRequest) -> Prepared:
        scopes = self._scopes_of(request.task_type, request.model_id)
        return self._acting.find(request, scopes) or self._asking.prepared(request, scopes)

    def _last_asked(self, task_type: str, model_id: str) -> PlanRequest:
        return self._asked.get(self._keys(task_type, model_id)[0], PlanRequest(task_type, model_id))

    def _pairs(self) -> list[tuple[str, str]]:
        self._refresh()
        keys = set(self._known) | set(self._store.keys() if self._store is not None else ())
        parts = (json.loads(key) for key in sorted(keys) if key.startswith('["pair",'))
        return [(task_type, model_id) for _, task_type, model_id in parts]

    def _twin(self, pairs: Iterable[tuple[str, str]]) -> AdaptivePriors:
        self._refresh()
        twin = AdaptivePriors(half_life=self.half_life)
        for key in {key for pair in pairs for key in self._keys(*pair)}:
            twin._known[key] = Statistics.from_counters(self._statistics(key).counters())
        return twin

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

    def __copy__(self) -> Self:
        """Return the priors themselves: whoever copies a loop goes on sharing what it learns."""
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return the priors themselves, as `__copy__` does."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: two processes share a store, not an object.

        Raises:
            MisuseError: Always; it says what to do instead.
        """
        raise MisuseError(
            "AdaptivePriors cannot be pickled: open the same store in the other process, for example with "
            "AdaptivePriors(store_path=...), and build the loop there"
        )

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
            self._known.clear()  # plans stay while they hold, or every run of another process would make a new one

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
