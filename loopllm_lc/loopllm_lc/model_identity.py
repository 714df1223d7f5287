"""Under which name is what this model teaches kept?

Rule 1: the name is the model's own, as its server knows it, so that the same model reached through another framework
shares it.
Rule 2: a name nobody knows is None; a made-up one would pour all models into one pot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import RunnableConfig, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.config import merge_configs
from langchain_core.runnables.configurable import DynamicRunnable

from loopllm_lc.anatomy import is_chosen_late

_ATTRIBUTES = ("model_name", "model", "model_id", "deployment_name", "azure_deployment", "repo_id")
_NO_NAMES = frozenset({"", "unknown", "default", "none"})


def model_id_of(
    runnable: Any, config: RunnableConfig | None = None, kwargs: Mapping[str, Any] | None = None
) -> str | None:
    """Return the name of the model in `runnable`, or None when it does not say.

    >>> from langchain_core.language_models import FakeListChatModel
    >>> model_id_of(FakeListChatModel(responses=["hi"])) is None
    True
    >>> model_id_of(FakeListChatModel(responses=["hi"]).bind(model="gpt-4o"))
    'gpt-4o'

    Args:
        runnable: A model, or one wrapped by `bind`, `with_retry`, `with_fallbacks` (its first model) or
            `configurable_fields`, or made by `init_chat_model`.
        config: The call's config, which may choose the model.
        kwargs: The call's own keywords; `model=` wins over what the model was built with.
    """
    asked = _name((kwargs or {}).get("model"))
    if asked is not None:
        return asked
    if isinstance(runnable, DynamicRunnable):
        return model_id_of(*runnable.prepare(config))
    if is_chosen_late(runnable):
        return _name_chosen_late(runnable, config)
    if isinstance(runnable, RunnableBindingBase):
        return model_id_of(runnable.bound, merge_configs(runnable.config, config), runnable.kwargs)
    if isinstance(runnable, RunnableWithFallbacks):
        return model_id_of(runnable.runnable, config)
    return _own_name(runnable)


def _name_chosen_late(runnable: Any, config: RunnableConfig | None) -> str | None:
    chosen = {**runnable._default_config, **runnable._model_params(config)}  # noqa: SLF001 - nothing else tells
    # Its provider may stand before the name, so that the model itself is asked.
    return model_id_of(runnable._model(config), config) if "model" in chosen else None  # noqa: SLF001 - likewise


def _own_name(model: Any) -> str | None:
    for attribute in _ATTRIBUTES:
        name = _name(getattr(model, attribute, None))
        if name is not None:
            return name
    return _traced_name(model) if isinstance(model, BaseLanguageModel) else None


def _traced_name(model: BaseLanguageModel[Any]) -> str | None:
    """Return the name that the model gives to tracers, where some integrations alone say it."""
    # Every chat model has this method and partner packages override it; no public one tells the name.
    traced: Any = getattr(model, "_get_ls_params", None)
    return None if traced is None else _name(traced().get("ls_model_name"))


def _name(value: Any) -> str | None:
    if not isinstance(value, str) or value.strip().lower() in _NO_NAMES:
        return None
    return value.strip()
