"""The replies of the model: asked for once, recorded, and given again without a model.

A reply is drawn with a sampling seed that is a hash of the prompt, of how many times the same prompt was sent before in
the same run, and of the replicate. So two arms that ask the same thing get the same answer (common random numbers), and
a run is repeated byte for byte from the record. The number of the call is no part of it: the model does not see it.

A rule that was changed since the recording may ask what nobody asked before. Such a call gets a recorded reply to the
same item, asked for in the same manner if there is one, and is counted: the figures are those of the real model as far
as `Record.missing` is small. Recording again makes it zero.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from benchmarks.next_move_lab.tasks import Task

from loopllm.providers.base import Completion
from loopllm.results import Usage

DATA = Path(__file__).parent / "data"
MODEL = "SmolLM2-135M-Instruct"

Ask = Callable[[str, int, int], tuple[str, int, int, int]]
"""Prompt, seed and most tokens to text, tokens sent, tokens written, milliseconds."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said, to which item and manner of asking, its tokens, and the milliseconds it took."""

    key: str
    kind: str
    item: str
    manner: str
    text: str
    sent: int
    written: int
    ms: int

    def line(self) -> str:
        """The reply as a line of the record."""
        fields = [self.key, self.item, self.manner, self.text, self.sent, self.written, self.ms]
        return json.dumps(fields, ensure_ascii=False) + "\n"


def key_of(prompt: str, occurrence: int, replicate: int) -> str:
    """Name of a reply in the record.

    >>> key_of("Say hi.", 0, 0) == key_of("Say hi.", 0, 0), key_of("Say hi.", 0, 0) == key_of("Say hi.", 1, 0)
    (True, False)
    """
    return blake2b(f"{replicate}/{occurrence}/{prompt}".encode(), digest_size=8).hexdigest()


def seed_of(key: str) -> int:
    """Seed of the sampling behind a reply."""
    return int(key[:8], 16) & 0x7FFFFFFF


def manner_of(prompt: str, task: str) -> str:
    """What stands in a prompt beside the task, by its first line: empty when it is asked afresh.

    >>> manner_of("Say hi.", "Say hi."), manner_of("Say hi. Avoid this: shouting.", "Say hi.")
    ('', 'Avoid this')
    """
    beside = prompt.replace(task, "", 1).strip()
    return beside.splitlines()[0].split(":")[0] if beside else ""


@dataclass(slots=True)
class Record:
    """All replies that are known, by key, and who is asked for the others.

    Attributes:
        known: The recorded replies.
        ask: Draws a new reply; None: what is not recorded is taken from a relative.
        keep: Told every new reply, to write it down.
        given: Replies given so far.
        missing: How many of them were not recorded.
    """

    known: dict[str, Reply]
    ask: Ask | None = None
    keep: Callable[[Reply], None] | None = None
    given: int = 0
    missing: int = 0
    _relatives: dict[tuple[str, str], list[Reply]] = field(default_factory=dict[tuple[str, str], list[Reply]])

    def reply(self, task: Task, prompt: str, occurrence: int, replicate: int) -> Reply:
        """The reply to the `occurrence`-th time that a run of a replicate sends `prompt`."""
        key = key_of(prompt, occurrence, replicate)
        self.given += 1
        found = self.known.get(key)
        if found is not None:
            return found
        self.missing += 1
        manner = manner_of(prompt, task.prompt)
        if self.ask is None:
            return self._stand_in(key, task, manner)
        drawn = self.ask(prompt, seed_of(key), task.max_tokens)
        found = self.known[key] = Reply(key, task.kind, task.name, manner, *drawn)
        if self.keep is not None:
            self.keep(found)
        return found

    def _stand_in(self, key: str, task: Task, manner: str) -> Reply:
        if not self._relatives:
            for reply in self.known.values():
                self._relatives.setdefault((reply.kind + reply.item, reply.manner), []).append(reply)
        item = task.kind + task.name
        for at in (manner, ""):
            if same := self._relatives.get((item, at)):
                return same[seed_of(key) % len(same)]
        raise KeyError(f"nothing is recorded of {task.kind} {task.name}; run with --record")


class Recorded:
    """The provider of one run."""

    model_id = MODEL

    def __init__(self, record: Record, task: Task, replicate: int) -> None:
        self._record = record
        self._task = task
        self._replicate = replicate
        self._sent: dict[str, int] = {}

    def complete(
        self, prompt: str, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        """The reply to `prompt`."""
        occurrence = self._sent.get(prompt, 0)
        self._sent[prompt] = occurrence + 1
        reply = self._record.reply(self._task, prompt, occurrence, self._replicate)
        return Completion(reply.text, MODEL, Usage(reply.sent, reply.written), latency_ms=reply.ms)

    async def acomplete(
        self, prompt: str, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        """The same."""
        return self.complete(prompt, model)


def file_of(kind: str, folder: Path) -> Path:
    """Where the replies of one type of task are kept."""
    return folder / f"{kind.replace(' ', '_')}.jsonl"


def load(kinds: Iterator[str] | tuple[str, ...], folder: Path = DATA) -> dict[str, Reply]:
    """All recorded replies to these types of task."""
    known: dict[str, Reply] = {}
    for kind in kinds:
        path = file_of(kind, folder)
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            key, *fields = json.loads(line)
            known[key] = Reply(key, kind, *fields)
    return known


def writer(folder: Path = DATA) -> Callable[[Reply], None]:
    """Writes every new reply down at once, so that a recording may be cut short."""
    folder.mkdir(exist_ok=True)

    def keep(reply: Reply) -> None:
        with file_of(reply.kind, folder).open("a", encoding="utf-8") as file:
            file.write(reply.line())

    return keep


def real_model() -> Ask:
    """Asks the embedded model, on one thread."""
    from loopllm.providers.local import LocalProvider  # noqa: PLC0415  (only a recording needs the model)

    class Seeded(LocalProvider):
        """A provider whose next request has fields of its own."""

        fields: Mapping[str, Any] = {}

        def _body(self, messages: list[dict[str, Any]], model: str, *, stream: bool) -> dict[str, Any]:
            return super()._body(messages, model, stream=stream) | dict(self.fields)

    provider = Seeded(n_parallel=1, n_threads=1, n_ctx=1024, temperature=0.8)

    def ask(prompt: str, seed: int, max_tokens: int) -> tuple[str, int, int, int]:
        provider.fields = {"seed": seed, "max_tokens": max_tokens}
        reply = provider.complete(prompt)
        usage = reply.usage
        return (
            reply.content,
            usage.prompt_tokens or 0,
            usage.completion_tokens or 0,
            round(reply.latency_ms),
        )

    return ask
