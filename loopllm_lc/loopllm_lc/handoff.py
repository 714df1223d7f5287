"""Which drafts go to the caller as they are? Those that call tools, and refusals: neither is a weak answer."""

from __future__ import annotations

from typing import Any

from loopllm_lc.drafts import Draft
from loopllm_lc.replies import calls_tools, is_refusal

_WHY = {
    "tool_calls": "the model called tools; that draft goes to the caller unjudged",
    "refusal": "the provider reports a refusal; asking again would not mend it",
}


class Handoff:
    """The draft, if any, that ends a run unjudged.

    The engine looks at `is_set` between steps, so the run ends before such a draft would be scored.

    Attributes:
        reason: `tool_calls`, `refusal`, or an empty string while there is none.
        draft: The draft, or None.
        prompt: What it answered.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.draft: Draft | None = None
        self.prompt: Any = None

    def is_set(self) -> bool:
        """Return True once a draft is to be handed over."""
        return bool(self.reason)

    @property
    def why(self) -> str:
        """The reason as a sentence."""
        return _WHY.get(self.reason, "")

    def consider(self, draft: Draft, prompt: Any, *, passes_tools: bool = True) -> None:
        """Take the draft if it must not be judged."""
        if is_refusal(draft.message):
            self.reason = "refusal"
        elif passes_tools and draft.value is draft.message and calls_tools(draft.message):
            self.reason = "tool_calls"
        else:
            return
        self.draft, self.prompt = draft, prompt
