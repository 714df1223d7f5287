"""What is written into a trace beside inputs and outputs? The loop's facts and scores, as metadata of its runs.

Rule: never token counts: LangSmith adds up the children's, and a parent that repeats them would count twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def annotate(run_manager: Any, metadata: Mapping[str, Any]) -> None:
    """Add metadata to a run that is still open, in every tracer that keeps it, LangSmith's for one.

    Args:
        run_manager: The run.
        metadata: JSON-able values.
    """
    for handler in run_manager.handlers:
        runs = getattr(handler, "run_map", None)
        run = runs.get(str(run_manager.run_id)) if isinstance(runs, Mapping) else None
        extra = getattr(run, "extra", None)
        if isinstance(extra, dict):
            # A dict of its own: the one that is there may be the caller's config.
            extra["metadata"] = {**(extra.get("metadata") or {}), **metadata}
