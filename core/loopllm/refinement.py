"""One run as a state machine: what to do next, given everything that has come of it so far.

Rule 1: this file decides and never does: no clock, no network, no chance of its own; a driver performs the steps.
Rule 2: `next_step` may be asked any number of times; only `receive` moves the run on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, Self

from loopllm.closing import reason_of, result_of
from loopllm.errors import EvaluatorError, MisuseError, ProviderError
from loopllm.exits import QUALITY_RULES, RunView, limit_rules, passes_again, runs_out_of_time
from loopllm.feedback import FeedbackRequest, ask_again
from loopllm.judging import is_good_enough, judged_again
from loopllm.lessons import policy_of, round_taught, run_taught
from loopllm.results import EvaluationResult, ExitReason, IterationRecord, OutputT, PromptT, RefinementResult
from loopllm.run_errors import as_evaluator_error, as_provider_error, describe
from loopllm.snapshot import Ended, Ledger, dump_run, load_run
from loopllm.standings import is_worth_judging_again, leading, standings
from loopllm.steps import (
    CallFailed,
    CallModel,
    Evaluate,
    Evaluated,
    EvaluationFailed,
    Finish,
    ModelReplied,
    Outcome,
    Pause,
    Paused,
    Remember,
    Remembered,
    Step,
)
from loopllm.terms import Terms

_FAILED_EVALUATIONS_IN_A_ROW = 2  # a third draft will not mend an evaluator that failed on two
_LONGEST_PAUSE_S = 1e8  # three years; a clock cannot count to what some servers ask for

_ANSWERS: Mapping[type, tuple[type, ...]] = {
    CallModel: (ModelReplied, CallFailed),
    Evaluate: (Evaluated, EvaluationFailed),
    Remember: (Remembered,),
    Pause: (Paused,),
    Finish: (),
}


class Refinement(Generic[PromptT, OutputT]):
    """A run of the loop that does nothing by itself.

    Ask `next_step()`, perform it however you like, report the outcome with `receive()`, until the step is `Finish`.

    >>> from loopllm.config import LoopConfig
    >>> from loopllm.feedback import WAYS, TextFormat
    >>> run = Refinement("Say hi.", Terms(LoopConfig(), TextFormat(), WAYS))
    >>> run.next_step().prompt
    'Say hi.'
    >>> run.receive(ModelReplied("hi"), elapsed_s=0.8)
    >>> run.receive(Evaluated(EvaluationResult(0.9)), elapsed_s=0.9)
    >>> run.next_step().result.metrics.exit_reason.condition
    'quality_threshold'

    Args:
        task: The prompt of the first call.
        terms: What the run is held to.
    """

    def __init__(self, task: PromptT, terms: Terms[PromptT, OutputT]) -> None:
        self.task = task
        self.terms = terms
        self._limits = limit_rules(terms.config)
        self._time_limit_s = None if terms.config.timeout_ms is None else terms.config.timeout_ms / 1000.0
        self._default_way = next(iter(terms.ways))
        self._ledger: Ledger[PromptT, OutputT] = Ledger(CallModel(task, 1, "first", self._time_left(0.0)))
        self._step: Step[PromptT, OutputT] = self._ledger.call

    @property
    def elapsed_s(self) -> float:
        """Seconds the run has taken so far, as last reported."""
        return self._ledger.elapsed_s

    @property
    def records(self) -> Sequence[IterationRecord[PromptT, OutputT]]:
        """The finished rounds."""
        return tuple(self._ledger.records)

    @property
    def best(self) -> IterationRecord[PromptT, OutputT] | None:
        """The best round so far: a good enough one first, then the highest score, then the earliest."""
        return self._ledger.best

    @property
    def current_iteration(self) -> int:
        """Number of the round the run is in, 1-based."""
        return self._ledger.call.iteration

    @property
    def has_to_remember(self) -> bool:
        """Whether the newest round is still to be told to the priors."""
        return isinstance(self._step, Remember) and self._step.round is not None

    @property
    def is_repeating(self) -> bool:
        """Whether the current step failed and will be tried again."""
        return isinstance(self._step, Pause)

    def next_step(self) -> Step[PromptT, OutputT]:
        """Return what has to be done now; the same step until its outcome is received."""
        return self._step

    def receive(self, outcome: Outcome[OutputT], elapsed_s: float | None = None) -> None:
        """Take the outcome of the current step.

        Args:
            outcome: What came of it.
            elapsed_s: Seconds since the run began, or None to leave the clock as it was.

        Raises:
            MisuseError: The outcome does not answer the current step.
        """
        kind = type(outcome)
        if kind not in _ANSWERS[type(self._step)]:
            raise MisuseError(f"{kind.__name__} does not answer {type(self._step).__name__}")
        if elapsed_s is not None and not isinstance(self._ledger.following, Finish):  # else it has its time
            self._ledger.elapsed_s = elapsed_s
        match outcome:
            case ModelReplied():
                self._on_reply(outcome)
            case Evaluated():
                self._on_evaluation(outcome)
            case CallFailed():
                self._on_failed_call(outcome)
            case EvaluationFailed():
                self._on_failed_evaluation(outcome)
            case Remembered():
                self._on_remembered()
            case Paused():
                self._on_pause_over()

    def cancel(self) -> None:
        """End the run with the best draft so far, unless its end is decided; one not scored yet stays in the books."""
        ledger = self._ledger
        if isinstance(self._step, Finish) or isinstance(ledger.following, Finish):
            return
        reason, is_new = ExitReason("cancelled", "the caller cancelled the run"), self.has_to_remember
        ledger.keep_draft(reason.message)
        self._move_on(self._finish(reason), scored=is_new)

    def cut_short(self, error: Exception) -> RefinementResult[PromptT, OutputT] | None:
        """Return what there is, if anything, when the store or the caller's own code fails in the middle of the run."""
        self._ledger.keep_draft(describe(error))
        return result_of(self._ledger, self.terms, reason_of(error)) if self._ledger.records else None

    def to_dict(self) -> dict[str, Any]:
        """Return the run as JSON-able data, to be continued elsewhere with `from_dict`."""
        return dump_run(self.task, self.terms.format, self._ledger, self._step)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], terms: Terms[PromptT, OutputT]) -> Self:
        """Continue a run that was written with `to_dict`.

        Args:
            data: What `to_dict` returned.
            terms: The same terms as before; they hold code and are not written down.

        Raises:
            MisuseError: The data is of another version or not a run.
        """
        task, ledger, step = load_run(data, terms.format)
        run = cls(task, terms)
        run._ledger = ledger
        run._rank()
        if isinstance(ledger.following, Ended):
            ledger.following = run._finish(*ledger.following)
        if isinstance(step, Ended):
            step = run._finish(*step)
        elif isinstance(step, Evaluate):
            step = run._judgement()
        run._step = run._remember() if step is None else step
        return run

    # -- what came of a step ------------------------------------------------------------------------------------

    def _on_reply(self, reply: ModelReplied[OutputT]) -> None:
        ledger, prices = self._ledger, self.terms.config.prices
        ledger.draft = reply if prices is None else replace(reply, usage=prices.priced(reply.usage))
        ledger.attempts = 0
        self._step = self._judgement()

    def _on_evaluation(self, outcome: Evaluated) -> None:
        ledger, config = self._ledger, self.terms.config
        ledger.failed_evaluations = 0
        if not ledger.judging:
            passed = is_good_enough(outcome.result, config)
            self._close_round(outcome.result, passed=passed, error="", seconds=outcome.seconds)
            return
        ledger.replace(judged_again(ledger.records[ledger.judging - 1], outcome.result, config))
        self._rank()
        self._move_on(self._decide())

    def _on_failed_evaluation(self, outcome: EvaluationFailed) -> None:
        if self._can_repeat(outcome):
            return
        ledger = self._ledger
        if ledger.judging:  # the draft has its score; another try would fail as well
            ledger.judges_no_more = True
            self._move_on(self._finish(self._out_of_time()) if outcome.timed_out else self._decide())
            return
        ledger.failed_evaluations += 1
        ledger.evaluator_error = outcome.error
        error = "the time ran out" if outcome.timed_out else describe(outcome.error)
        self._close_round(None, passed=False, error=error, seconds=0.0, timed_out=outcome.timed_out)

    def _on_failed_call(self, outcome: CallFailed) -> None:
        if outcome.timed_out:
            self._move_on(self._finish(self._out_of_time()))
        elif not self._can_repeat(outcome):
            reason = ExitReason("provider_error", describe(outcome.error))
            self._move_on(self._finish(reason, as_provider_error(outcome.error)))

    def _on_remembered(self) -> None:
        ledger = self._ledger
        following = self._judgement() if ledger.judging else ledger.following
        if isinstance(following, CallModel):  # remembering may have waited for a disk
            if over := runs_out_of_time(self.terms.config, ledger):
                self._move_on(self._finish(over))
                return
            following = replace(following, timeout_s=self._time_left(ledger.elapsed_s))
        self._enter(self._next_call() if following is None or isinstance(following, Ended) else following)

    def _on_pause_over(self) -> None:
        ledger = self._ledger
        if ledger.draft is None:
            self._step = ledger.call = replace(ledger.call, timeout_s=self._time_left(ledger.elapsed_s))
        else:
            self._step = self._judgement()

    # -- what follows -------------------------------------------------------------------------------------------

    def _close_round(
        self,
        result: EvaluationResult | None,
        *,
        passed: bool,
        error: str,
        seconds: float,
        timed_out: bool = False,
    ) -> None:
        self._ledger.close_round(result, passed=passed, error=error, seconds=seconds)
        self._rank()
        following = self._finish(self._out_of_time()) if timed_out else self._decide()
        self._move_on(following, scored=result is not None)

    def _decide(self) -> Step[PromptT, OutputT]:
        ledger = self._ledger
        if is_worth_judging_again(ledger, self.terms, late=self._time_left(ledger.elapsed_s) == 0.0):
            ledger.judge_best_again()
            return self._judgement()
        reason = self._exit_reason()
        if reason is None:
            return self._next_call()
        if reason.condition == "evaluator_error" and not ledger.scores:
            return self._finish(reason, as_evaluator_error(ledger.evaluator_error))
        return self._finish(reason)

    def _exit_reason(self) -> ExitReason | None:
        ledger = self._ledger
        ledger.advice = ""
        if ledger.failed_evaluations == 0 and (reason := self._quality_reason()):
            return reason
        if ledger.failed_evaluations and self._evaluator_is_broken():
            return ExitReason("evaluator_error", ledger.records[-1].error)
        for rule in self._limits:
            if reason := rule(self.terms.config, ledger):
                return reason
        return None

    def _quality_reason(self) -> ExitReason | None:
        terms, ledger = self.terms, self._ledger
        if len(ledger.records) < terms.config.min_iterations:
            return None
        if (best := ledger.best) and best.passed and best.judgements:  # it need not be the newest draft
            return passes_again(terms.config, best)
        for rule in QUALITY_RULES:
            if reason := rule(terms.config, ledger):
                return reason
        if terms.conditions and (reason := self._own_reason()):
            return reason
        return self._learned_reason() if terms.policy else None

    def _own_reason(self) -> ExitReason | None:
        ledger = self._ledger
        view = RunView(tuple(ledger.records), tuple(ledger.scores), ledger.elapsed_s, ledger.usage)
        for condition in self.terms.conditions:
            if reason := condition(view):
                return reason
        return None

    def _learned_reason(self) -> ExitReason | None:
        config, policy = self.terms.config, policy_of(self._ledger, self.terms)
        if policy is None or len(self._ledger.records) >= config.max_iterations:
            return None
        decision = policy.decide(standings(self._ledger, self.terms, policy), self._ledger.actions)
        self._ledger.advice = decision.move or ""
        return ExitReason("bayesian_exit", decision.message) if decision.move is None else None

    def _evaluator_is_broken(self) -> bool:
        ledger = self._ledger
        spent = len(ledger.records) >= self.terms.config.max_iterations
        return ledger.failed_evaluations >= _FAILED_EVALUATIONS_IN_A_ROW or (spent and not ledger.scores)

    def _judgement(self) -> Evaluate[PromptT, OutputT]:
        """Return the step that scores the current draft, or once more an earlier one."""
        ledger = self._ledger
        left = self._time_left(ledger.elapsed_s)
        if ledger.judging:
            record = ledger.records[ledger.judging - 1]
            times = max(1, len(record.judgements)) + 1
            return Evaluate(record.output, self.task, record.iteration, left, times)
        assert ledger.draft is not None  # noqa: S101 - a draft is scored after the model replied
        return Evaluate(ledger.draft.output, self.task, ledger.call.iteration, left)

    def _rank(self) -> None:
        """Find the best draft anew, once one was judged again."""
        ledger = self._ledger
        if ledger.rejudged:
            ledger.best = leading(ledger, self.terms)

    def _next_call(self) -> CallModel[PromptT]:
        ledger, terms = self._ledger, self.terms
        iteration, left = len(ledger.records) + 1, self._time_left(ledger.elapsed_s)
        if ledger.best is None or ledger.last_scored is None:
            return CallModel(self.task, iteration, "fresh", left)
        action = ledger.advice if ledger.advice in terms.ways else self._default_way
        calls_left = terms.config.max_iterations - iteration + 1
        drafts = ledger.last_scored, ledger.best
        request = FeedbackRequest(self.task, *drafts, iteration, calls_left, terms.format)
        return CallModel(ask_again(terms.ways[action], request), iteration, action, left)

    def _move_on(self, following: Step[PromptT, OutputT], *, scored: bool = False) -> None:
        ledger = self._ledger
        ended = isinstance(following, Finish)
        if self.terms.learns and (scored or (ended and ledger.scores)):
            ledger.following, ledger.round_is_new = following, scored
            self._step = self._remember()
        else:
            self._enter(following)

    def _enter(self, step: Step[PromptT, OutputT]) -> None:
        ledger = self._ledger
        ledger.following = None
        if isinstance(step, CallModel):
            ledger.call, ledger.draft, ledger.attempts, ledger.judging = step, None, 0, 0
        self._step = step

    def _remember(self) -> Remember:
        ledger = self._ledger
        newest = round_taught(ledger, self.terms) if ledger.round_is_new else None
        end = run_taught(ledger, self.terms) if isinstance(ledger.following, Finish) else None
        return Remember(newest, end)

    def _finish(
        self, reason: ExitReason, error: ProviderError | EvaluatorError | None = None
    ) -> Finish[PromptT, OutputT]:
        result = result_of(self._ledger, self.terms, reason)
        self._ledger.judging = 0
        raised = error if error is not None and not self._ledger.scores else None
        if raised is not None:
            raised.result = result
        return Finish(result, raised)

    def _can_repeat(self, failure: CallFailed | EvaluationFailed) -> bool:
        config, ledger = self.terms.config, self._ledger
        if failure.timed_out or not failure.transient or ledger.attempts >= config.max_retries:
            return False
        doubled = config.retry_base_s * 2.0 ** min(ledger.attempts, 1000)  # a float holds no more
        backoff = min(config.retry_cap_s, doubled) * (0.5 + failure.jitter / 2)
        pause = backoff if failure.retry_after is None else max(backoff, failure.retry_after)
        left = self._time_left(ledger.elapsed_s)
        if pause >= (_LONGEST_PAUSE_S if left is None else left):
            return False
        ledger.attempts += 1
        ledger.retries += 1
        self._step = Pause(pause, describe(failure.error))
        return True

    def _time_left(self, elapsed_s: float) -> float | None:
        limit = self._time_limit_s
        return None if limit is None else max(0.0, limit - elapsed_s)

    def _out_of_time(self) -> ExitReason:
        passed, limit = self._ledger.elapsed_s * 1000.0, self.terms.config.timeout_ms
        words = f"the call in flight was interrupted after {passed:.0f} ms of {limit} ms"
        return ExitReason("timeout_ms", words)
