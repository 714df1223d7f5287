"""Under which names the statistics are kept in a store."""

from __future__ import annotations

import json

from loopllm.priors.observation import check_text

Keys = tuple[str, str, str, str]
"""Keys of a pair, of its task, of its model, and of everything."""


def scope_keys(task_type: str, model_id: str) -> Keys:
    """Keys in the store; JSON arrays, so that no two pairs share one.

    >>> scope_keys("a", "b")
    ('["pair","a","b"]', '["task","a"]', '["model","b"]', '["all"]')

    Raises:
        MisuseError: A name is empty, or not text that can be written as UTF-8.
    """
    check_text("task_type", task_type)
    check_text("model_id", model_id)
    pair, task, model, everything = (
        json.dumps(part, separators=(",", ":"))
        for part in (["pair", task_type, model_id], ["task", task_type], ["model", model_id], ["all"])
    )
    return pair, task, model, everything
