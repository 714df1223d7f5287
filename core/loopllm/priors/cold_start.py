"""What is believed before the first run: how the shipped prior was made, and how it is read.

`cold_start.json` holds a mixture of 120 archetypes (see `archetypes`). It was fitted to simulated loops only, not to
recorded runs: 18,000 environments from eight generic families, each with parameters drawn at random over wide ranges
and 120 uncensored runs of 10 calls,

    smooth    an exponential approach to a ceiling, with scatter          draws   independent drafts, items differ
    ceiling   plateaus and jumps under a ceiling per task                 walk    a step may gain or lose
    verifier  pass or fail: never, hard or easy items, hazards that fade  trap    hardly ever at call 2, often later
    judged    ceiling, walk or smooth under a judge with sd .06 to .13    tests   share of unit tests: 0, 1, or stuck

Within a family the environments' counts were clustered by a mixture of multinomials (EM, 25 rounds), and the cells of
each cluster smoothed towards coarser ones. That later calls succeed less often than the first (the hazard falls 5 to 20
times after the first call in public collections of runs) set the range of the verifier's hazards. Where the
judge errs the truth is known in a simulation, so that the `judged` archetypes also carry by how much the best observed
score exceeds the true quality of that draft. They are rarely smooth: from the scores alone a judge that errs over
smooth progress looks like progress that scatters, and then the score is to be believed. An extra archetype `any` with a
tiny weight covers every cell.
`benchmarks/cold_start` makes the file again: `PYTHONPATH=core python -m benchmarks.cold_start.fit --check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loopllm.priors.archetypes import Archetype
from loopllm.priors.coded_rows import LEAST, CodedRows


def read_archetypes(document: Mapping[str, Any]) -> tuple[Archetype, ...]:
    """The archetypes of a parsed `cold_start.json`.

    >>> entry = {"family": "coin", "weight": 1.0, "judge_sd": 0.0, "first": [1.0], "cells": {"3": ["ac", 0.5]}}
    >>> coin, = read_archetypes({"levels": "abc", "archetypes": [entry]})
    >>> coin.reach[3], [round(p, 6) for p in coin.row(3)]
    (0.5, [0.0001, 0.9999])
    """
    levels = str(document["levels"])
    return tuple(_archetype(entry, levels) for entry in document["archetypes"])


def _archetype(entry: Mapping[str, Any], levels: str) -> Archetype:
    cells = {int(cell): values for cell, values in entry["cells"].items()}
    coded = {cell: str(values[0]) for cell, values in cells.items()}
    return Archetype(
        family=str(entry["family"]),
        weight=float(entry["weight"]),
        judge_sd=float(entry["judge_sd"]),
        first=[max(float(p), LEAST) for p in entry["first"]],
        reach={cell: float(values[1]) for cell, values in cells.items()},
        optimism={cell: (float(v[2]), float(v[3])) for cell, v in cells.items() if len(v) > 2},  # noqa: PLR2004
        coded=CodedRows(coded, levels),
    )
