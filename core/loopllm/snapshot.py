"""What a run has gathered, and how it is written to JSON-able data and read back.

Rule 1: the ledger holds facts; it decides nothing.
Rule 2: only plain data is written: the caller's code (exit conditions, feedback builders, priors) is given again when
it is read back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, NamedTuple

from loopllm.errors import EvaluatorError, MisuseError, ProviderError
from loopllm.feedback import PromptFormat
from loopllm.results import (
    UNKNOWN_USAGE,
    EvaluationResult,
    ExitReason,
    IterationRecord,
    OutputT,
    PromptT,
    Usage,
)
from loopllm.run_errors import describe, dump_error, load_error
from loopllm.steps import CallModel, Evaluate, Finish, ModelReplied, Pause, Remember, Step

_VERSION = 1


class Ended(NamedTuple):
    """How a written run had ended; its result is made from the rounds again."""

    reason: ExitReason
    error: ProviderError | EvaluatorError | None


@dataclass(slots=True)
class Ledger(Generic[PromptT, OutputT]):
    """Everything a run has gathered so far.

    Attributes:
        call: The current call.
        draft: What the model answered to it, until the next call begins.
        records: Finished rounds.
        scores: Scores of the scored rounds.
        actions: How the second and later scored rounds were asked for.
        best: The best round.
        last_scored: The latest scored round.
        usage: Tokens and cost so far.
        elapsed_s: Seconds so far.
        attempts: Times the current step was repeated.
        retries: Times any step was repeated.
        failed_evaluations: Evaluator failures in a row.
        evaluator_error: The latest of them; only its words when the run was written down meanwhile.
        advice: The way of asking that the policy advised after the latest round.
        following: What comes after remembering.
        round_is_new: Whether the latest round is still to be remembered.
        judging: Number of the round whose draft is being judged again, 0 when none is.
        judges_no_more: Whether judging again failed in this run.
        rejudged: Whether any draft was judged again.
    """

    call: CallModel[PromptT]
    draft: ModelReplied[OutputT] | None = None
    records: list[IterationRecord[PromptT, OutputT]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    best: IterationRecord[PromptT, OutputT] | None = None
    last_scored: IterationRecord[PromptT, OutputT] | None = None
    usage: Usage = UNKNOWN_USAGE
    elapsed_s: float = 0.0
    attempts: int = 0
    retries: int = 0
    failed_evaluations: int = 0
    evaluator_error: Exception | str | None = None
    advice: str = ""
    following: Step[PromptT, OutputT] | Ended | None = None
    round_is_new: bool = False
    judging: int = 0
    judges_no_more: bool = False
    rejudged: bool = False

    @property
    def scored(self) -> list[IterationRecord[PromptT, OutputT]]:
        """The scored rounds."""
        return [record for record in self.records if record.score is not None]

    def close_round(
        self, result: EvaluationResult | None, *, passed: bool, error: str, seconds: float
    ) -> None:
        """Turn the current call and draft into a finished round."""
        call, draft = self.call, self.draft
        if draft is None:
            raise MisuseError("no draft to close a round with")
        if len(self.records) == call.iteration:
            self._reopen()
        record = IterationRecord(
            call.iteration,
            call.prompt,
            draft.output,
            result.score if result else None,
            passed,
            result.deficiencies if result else (),
            draft.seconds * 1000.0,
            call.action,
            result,
            error,
            draft.usage,
            draft.finish_reason,
            seconds * 1000.0,
        )
        self.add(record)

    def keep_draft(self, error: str) -> None:
        """Put a draft that has no verdict yet into the books, so that it is not lost where the run ends."""
        if self.draft is not None and len(self.records) < self.call.iteration:
            self.close_round(None, passed=False, error=error, seconds=0.0)

    def _reopen(self) -> None:
        """Take the newest round back: an error broke the run off after it was closed, and its draft is judged anew."""
        books = Ledger[PromptT, OutputT](self.call)
        for record in self.records[:-1]:
            books.add(record)
        self.records, self.scores, self.actions = books.records, books.scores, books.actions
        self.best, self.last_scored, self.usage = books.best, books.last_scored, books.usage

    def add(self, record: IterationRecord[PromptT, OutputT]) -> None:
        """Add a finished round to the books."""
        self.records.append(record)
        self.usage += record.usage
        if record.judgements:  # of a run that was read back
            self.rejudged = True
        if record.score is None:
            return
        if self.scores:
            self.actions.append(record.action)
        self.scores.append(record.score)
        self.last_scored = record
        if self.best is None or _is_better(record, self.best):
            self.best = record

    def replace(self, record: IterationRecord[PromptT, OutputT]) -> None:
        """Put a round whose draft was judged again in its place."""
        self.records[record.iteration - 1] = record
        self.rejudged = True
        self.scores = [each.score for each in self.scored if each.score is not None]
        self.last_scored = self.scored[-1]

    def judge_best_again(self) -> None:
        """Note that the best draft is about to be judged once more."""
        if self.best is not None:
            self.judging, self.attempts = self.best.iteration, 0


def _is_better(record: IterationRecord[Any, Any], best: IterationRecord[Any, Any]) -> bool:
    if record.passed != best.passed:
        return record.passed
    return (record.score or 0.0) > (best.score or 0.0)


def dump_run(
    task: PromptT,
    form: PromptFormat[PromptT, OutputT],
    ledger: Ledger[PromptT, OutputT],
    step: Step[PromptT, OutputT],
) -> dict[str, Any]:
    """Return a run as JSON-able data."""
    error = ledger.evaluator_error
    return {
        "loopllm_run": _VERSION,
        "task": form.dump_prompt(task),
        "elapsed_s": ledger.elapsed_s,
        "attempts": ledger.attempts,
        "retries": ledger.retries,
        "failed_evaluations": ledger.failed_evaluations,
        "evaluator_error": describe(error) if isinstance(error, Exception) else error,
        "records": [_dump_record(record, form) for record in ledger.records],
        "call": _dump_call(ledger.call, form),
        "draft": _dump_draft(ledger.draft, form),
        "round_is_new": ledger.round_is_new,
        "judging": ledger.judging,
        "judges_no_more": ledger.judges_no_more,
        "following": _dump_following(ledger.following, form),
        "step": _dump_step(step),
    }


def load_run(
    data: Mapping[str, Any], form: PromptFormat[PromptT, OutputT]
) -> tuple[PromptT, Ledger[PromptT, OutputT], Step[PromptT, OutputT] | Ended | None]:
    """Read back what `dump_run` returned.

    Returns:
        The task, the ledger, and the pending step: None stands for "remember", and `Ended` for "finish".

    Raises:
        MisuseError: The data is not a run, or of another version.
    """
    version = data.get("loopllm_run") if isinstance(data, Mapping) else None
    if version != _VERSION:
        raise MisuseError(
            f"not a run of version {_VERSION} but {version!r}; pass what Refinement.to_dict returned"
        )
    try:
        return _load(data, form)
    except (KeyError, TypeError, AttributeError) as error:
        raise MisuseError(f"this run is damaged, or was written with another format: {error!r}") from error


def _load(
    data: Mapping[str, Any], form: PromptFormat[PromptT, OutputT]
) -> tuple[PromptT, Ledger[PromptT, OutputT], Step[PromptT, OutputT] | Ended | None]:
    task = form.load_prompt(data["task"])
    ledger: Ledger[PromptT, OutputT] = Ledger(_load_call(data["call"], form))
    for record in data["records"]:
        ledger.add(_load_record(record, form))
    if data["draft"] is not None:
        ledger.draft = _load_draft(data["draft"], form)
    for name in _LEDGER_SCALARS:
        setattr(ledger, name, data[name])
    ledger.following = _load_following(data["following"], form)
    return task, ledger, _load_step(data["step"], task, ledger)


_LEDGER_SCALARS = (
    "elapsed_s",
    "attempts",
    "retries",
    "failed_evaluations",
    "evaluator_error",
    "round_is_new",
    "judging",
    "judges_no_more",
)


def _dump_record(record: IterationRecord[PromptT, OutputT], form: PromptFormat[PromptT, OutputT]) -> Any:
    data = {name: getattr(record, name) for name in _RECORD_SCALARS}
    data["prompt"] = form.dump_prompt(record.prompt)
    data["output"] = form.dump_output(record.output)
    data["usage"] = asdict(record.usage)
    data["evaluation"] = None if record.evaluation is None else _dump_evaluation(record.evaluation)
    data["judgements"] = [_dump_evaluation(each) for each in record.judgements]
    return data


_RECORD_SCALARS = (
    "iteration",
    "score",
    "passed",
    "latency_ms",
    "action",
    "error",
    "finish_reason",
    "evaluation_ms",
)


def _load_record(
    data: Mapping[str, Any], form: PromptFormat[PromptT, OutputT]
) -> IterationRecord[PromptT, OutputT]:
    evaluation = None if data["evaluation"] is None else EvaluationResult(**data["evaluation"])
    return IterationRecord(
        prompt=form.load_prompt(data["prompt"]),
        output=form.load_output(data["output"]),
        usage=Usage(**data["usage"]),
        evaluation=evaluation,
        deficiencies=evaluation.deficiencies if evaluation else (),
        judgements=tuple(EvaluationResult(**each) for each in data["judgements"]),
        **{name: data[name] for name in _RECORD_SCALARS},
    )


def _dump_evaluation(result: EvaluationResult) -> Any:
    return {
        "score": result.score,
        "passed": result.passed,
        "deficiencies": [str(sentence) for sentence in result.deficiencies],
        "sub_scores": {name: float(score) for name, score in result.sub_scores.items()},
        "feedback": result.feedback,
    }


def _dump_call(call: CallModel[PromptT], form: PromptFormat[PromptT, Any]) -> Any:
    return {
        "prompt": form.dump_prompt(call.prompt),
        "iteration": call.iteration,
        "action": call.action,
        "timeout_s": call.timeout_s,
    }


def _load_call(data: Mapping[str, Any], form: PromptFormat[PromptT, Any]) -> CallModel[PromptT]:
    prompt = form.load_prompt(data["prompt"])
    return CallModel(prompt, data["iteration"], data["action"], data["timeout_s"])


def _dump_draft(draft: ModelReplied[OutputT] | None, form: PromptFormat[Any, OutputT]) -> Any:
    if draft is None:
        return None
    return {
        "output": form.dump_output(draft.output),
        "usage": asdict(draft.usage),
        "seconds": draft.seconds,
        "finish_reason": draft.finish_reason,
    }


def _load_draft(data: Mapping[str, Any], form: PromptFormat[Any, OutputT]) -> ModelReplied[OutputT]:
    output = form.load_output(data["output"])
    return ModelReplied(output, Usage(**data["usage"]), data["seconds"], data["finish_reason"])


def _dump_following(following: Any, form: PromptFormat[Any, Any]) -> Any:
    if isinstance(following, CallModel):
        return {"call": _dump_call(following, form)}
    if isinstance(following, Finish):
        return {"finish": _dump_end(following)}
    return None


def _load_following(data: Any, form: PromptFormat[PromptT, Any]) -> CallModel[PromptT] | Ended | None:
    if data is None:
        return None
    if "call" in data:
        return _load_call(data["call"], form)
    return _load_end(data["finish"])


def _dump_end(step: Finish[Any, Any]) -> dict[str, Any]:
    return {**asdict(step.result.metrics.exit_reason), "error": dump_error(step.error)}


def _load_end(data: Mapping[str, Any]) -> Ended:
    return Ended(ExitReason(data["condition"], data["message"]), load_error(data["error"]))


def _dump_step(step: Step[Any, Any]) -> Any:
    match step:
        case Pause(seconds, reason):
            return {"kind": "pause", "seconds": seconds, "reason": reason}
        case Finish():
            return {"kind": "finish", **_dump_end(step)}
        case _:
            return {"kind": type(step).__name__}


def _load_step(
    data: Mapping[str, Any], task: PromptT, ledger: Ledger[PromptT, OutputT]
) -> Step[PromptT, OutputT] | Ended | None:
    match data["kind"]:
        case "pause":
            return Pause(data["seconds"], data["reason"])
        case "finish":
            return _load_end(data)
        case Remember.__name__:
            return None
        case Evaluate.__name__ if ledger.draft is not None:
            return Evaluate(ledger.draft.output, task, ledger.call.iteration, ledger.call.timeout_s)
        case _:
            return ledger.call
