"""Prompts of engines inside engines: seen and replaced at any depth, whatever an evaluator in between does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.prompts.mixin import PromptDictType, PromptMixin

from loopllm.errors import MisuseError


class DeepPrompts(PromptMixin):
    """Mends two faults of `PromptMixin`, for classes that wrap other components; put it first among the bases.

    Its `update_prompts` refuses the keys that its own `get_prompts` gives from the second level down.
    """

    def update_prompts(self, prompts_dict: dict[str, BasePromptTemplate]) -> None:
        """Replace prompts by their keys, as `get_prompts` gives them; the others stay.

        Raises:
            MisuseError: A key names a part that is not there.
        """
        own = {key: prompt for key, prompt in prompts_dict.items() if ":" not in key}
        self._update_prompts(own)
        modules = self._get_prompt_modules()
        for name, prompts in _by_module(prompts_dict).items():
            if name not in modules:
                raise MisuseError(
                    f"no part {name!r} has prompts here; there are: {', '.join(modules) or 'none'}"
                )
            modules[name].update_prompts(prompts)


def _by_module(prompts: Mapping[str, BasePromptTemplate]) -> dict[str, PromptDictType]:
    grouped: dict[str, PromptDictType] = defaultdict(dict)
    for key, prompt in prompts.items():
        if ":" in key:
            module, rest = key.split(":", 1)
            grouped[module][rest] = prompt
    return grouped


def has_usable_prompts(part: object) -> bool:
    """Say whether a part may be asked for its prompts: some evaluators of LlamaIndex fail when asked."""
    if not isinstance(part, PromptMixin):
        return False
    try:
        part.get_prompts()
    except AttributeError:
        return False
    return True
