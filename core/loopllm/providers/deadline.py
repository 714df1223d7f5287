"""Where an adapter that supplies a provider finds what keeps a call within its deadline."""

from loopllm.deadline import await_within, call_in_thread, call_within, too_late

__all__ = ["await_within", "call_in_thread", "call_within", "too_late"]
