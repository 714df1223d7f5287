"""loopllm for LangChain: loop a chat model or a chain until its output is good enough.

`LoopedRunnable` is a drop-in for the model or chain it binds; `LangChainProvider` lets `loopllm.LoopedLLM` call a
LangChain model. Both need the extra `[langchain]` only. `loop_graph`, `GraphPriorStore` and `priors_in` need
`[graphs]`, the middlewares for agents need `[agents]`. Names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from loopllm.errors import MissingExtraError

try:
    import langchain_core as _langchain_core  # noqa: F401 - to say at once, and how to mend it, when it is missing
except ModuleNotFoundError as error:
    if error.name != "langchain_core":
        raise
    raise MissingExtraError("langchain", "langchain-core") from error

if TYPE_CHECKING:
    from loopllm_lc.adaptive_stopper import AdaptiveStopper
    from loopllm_lc.checkpointed_graph import LoopGraphState, loop_graph
    from loopllm_lc.checkpointed_middleware import CheckpointedLoopMiddleware
    from loopllm_lc.drafts import Draft
    from loopllm_lc.dual_verification import DualVerification
    from loopllm_lc.graph_store import GraphPriorStore, priors_in
    from loopllm_lc.llm_judge import LLMJudge
    from loopllm_lc.loop_middleware import LoopMiddleware
    from loopllm_lc.looped_chat_model import LoopedChatModel
    from loopllm_lc.looped_runnable import LoopedRunnable
    from loopllm_lc.provider import LangChainProvider
    from loopllm_lc.serializing import register_evaluator

_HOMES = {
    "AdaptiveStopper": "adaptive_stopper",
    "GraphPriorStore": "graph_store",
    "priors_in": "graph_store",
    "CheckpointedLoopMiddleware": "checkpointed_middleware",
    "Draft": "drafts",
    "DualVerification": "dual_verification",
    "LLMJudge": "llm_judge",
    "LangChainProvider": "provider",
    "LoopGraphState": "checkpointed_graph",
    "LoopMiddleware": "loop_middleware",
    "LoopedChatModel": "looped_chat_model",
    "LoopedRunnable": "looped_runnable",
    "loop_graph": "checkpointed_graph",
    "register_evaluator": "serializing",
}

_EXTRAS = {"langgraph": "graphs", "langchain": "agents"}  # by the package that is missing

__all__ = [
    "AdaptiveStopper",
    "CheckpointedLoopMiddleware",
    "Draft",
    "DualVerification",
    "GraphPriorStore",
    "LLMJudge",
    "LangChainProvider",
    "LoopGraphState",
    "LoopMiddleware",
    "LoopedChatModel",
    "LoopedRunnable",
    "loop_graph",
    "priors_in",
    "register_evaluator",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{home}"), name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        raise MissingExtraError(_EXTRAS[package], package) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
