"""The prior that ships with the package, read once per process when the first plan is made."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

from loopllm.priors.arithmetic import Arithmetic, CellByCell
from loopllm.priors.cold_start import read_archetypes


@cache
def shipped_arithmetic() -> Arithmetic:
    """The shipped archetypes and how to reckon with them: on whole tables where numpy can be loaded."""
    text = resources.files("loopllm.priors").joinpath("cold_start.json").read_text(encoding="utf-8")
    archetypes = read_archetypes(json.loads(text))
    try:
        from loopllm.priors.table_arithmetic import OnTables  # noqa: PLC0415  (numpy is loaded by the first plan)
    except ImportError:  # numpy is not installed, or not in a state or of a version that can be used
        return CellByCell(archetypes)
    return OnTables(archetypes)
