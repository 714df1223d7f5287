"""Which simulated environments are alike, and how is their mixture written down?

    PYTHONPATH=core python -m benchmarks.cold_start.fit --check
    PYTHONPATH=core python -m benchmarks.cold_start.fit --out cold_start.json

Needs numpy and 3 GB of memory; half a minute on one core.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from benchmarks.cold_start.families import FAMILIES, Generator
from benchmarks.cold_start.tables import WIDTH, Counts, Reals, counted, smoothed

from loopllm.priors.run_state import CELLS

SHIPPED = resources.files("loopllm.priors").joinpath("cold_start.json")
ENVIRONMENTS, RUNS, SEED = 18000, 120, 2
ROUNDS = 25
"""Rounds of EM."""

TEMPER = 0.25
"""Power of the likelihood. The calls of a run are not independent, and a multinomial that takes them to be so is surer
than they warrant."""

RARE_CLUSTER, RARE_CELL = 0.0015, 2e-3
"""Clusters with a smaller share, and cells with fewer visits per run, are left to the catch-all."""

CATCH_ALL_WEIGHT, CATCH_ALL_REACH = 0.002, 1e-4

LEVELS = "!#$%&()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~"
"""One character per level of a probability's square root: every printable one that JSON need not escape, but for
the space and the apostrophe."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The counts of one family's environments, stacked: first axis environments (see `tables.Counts`)."""

    transitions: Reals
    visits: Reals
    optimism: Reals
    optimism_squared: Reals
    first: Reals
    judge_sd: Reals


@dataclass(frozen=True, slots=True)
class Clusters:
    """A mixture over one family's environments: first axis clusters.

    Attributes:
        weight: Share of the environments.
        rows: Probabilities of the outcomes, shape (clusters, CELLS, WIDTH).
        first: Probabilities of the classes of the first score.
    """

    weight: Reals
    rows: Reals
    first: Reals


@dataclass(frozen=True, slots=True)
class Fitted:
    """One archetype before it is written down.

    Attributes:
        family: The family it belongs to.
        weight: Its part of the whole mixture, not normalised.
        judge_sd: Standard deviation of the judge's error, averaged over its environments.
        rows: Probabilities of the outcomes, shape (CELLS, WIDTH).
        reach: Visits to each cell per run, shape (CELLS,).
        first: Probabilities of the classes of the first score.
        optimism: Mean of best score less true quality, per cell.
        optimism_squared: Mean of its square.
    """

    family: str
    weight: float
    judge_sd: float
    rows: Reals
    reach: Reals
    first: Reals
    optimism: Reals
    optimism_squared: Reals


def stacked(counts: Sequence[Counts]) -> Sample:
    """Counts in double precision: the fit is the same bytes however many threads share a sum."""
    return Sample(
        transitions=np.array([one.transitions for one in counts], np.float64),
        visits=np.array([one.visits for one in counts], np.float64),
        optimism=np.array([one.optimism for one in counts], np.float64),
        optimism_squared=np.array([one.optimism_squared for one in counts], np.float64),
        first=np.array([one.first for one in counts], np.float64),
        judge_sd=np.array([one.judge_sd for one in counts]),
    )


def family_weights() -> Reals:
    weights = np.array([family.weight for family in FAMILIES.values()])
    return np.asarray(weights / weights.sum())


def simulated(name: str, environments: int, runs: int, seed: int) -> Sample:
    """Environments of one family; each has random numbers of its own, so that no other depends on how many it takes."""
    simulate, key = FAMILIES[name].simulate, crc32(name.encode())
    streams = (np.random.default_rng([seed, key, index]) for index in range(environments))
    return stacked([counted(simulate(rng, runs)) for rng in streams])


def evidence_of_transitions(sample: Sample, rows: Reals) -> Reals:
    """Tempered log likelihood, shape (environments, clusters)."""
    log_rows = np.log(rows.reshape(len(rows), -1) + 1e-9)
    return np.asarray(sample.transitions @ log_rows.T * TEMPER)


def evidence_of_start(sample: Sample, clusters: Clusters) -> Reals:
    """Tempered log likelihood of the first scores, and the log weight; a cluster that emptied may fill again."""
    log_first = np.log(clusters.first + 1e-9)
    return np.asarray(TEMPER * sample.first @ log_first.T + np.log(clusters.weight + 1e-3))


def memberships(evidence: Reals) -> Reals:
    """E step: probabilities of the clusters for each environment, from log weights of the same shape."""
    relative = np.exp(evidence - evidence.max(1, keepdims=True))
    return np.asarray(relative / relative.sum(1, keepdims=True))


def estimated(sample: Sample, members: Reals) -> Clusters:
    """M step: the mixture that the memberships imply."""
    transitions = (members.T @ sample.transitions).reshape(-1, CELLS, WIDTH)
    first = members.T @ sample.first + 0.2
    return Clusters(members.mean(0), smoothed(transitions), first / first.sum(1, keepdims=True))


def clustered(rng: Generator, sample: Sample, how_many: int, rounds: int) -> tuple[Clusters, Reals]:
    """A mixture of multinomials by EM, started from environments at random, and the memberships."""
    centres = rng.choice(len(sample.transitions), how_many, replace=False)
    rows = smoothed(sample.transitions[centres].reshape(how_many, CELLS, WIDTH))
    # A single environment leaves most first scores unseen, and says nothing about the weights: both join later.
    members = memberships(evidence_of_transitions(sample, rows))
    clusters = estimated(sample, members)
    for _ in range(rounds - 1):
        evidence = evidence_of_transitions(sample, clusters.rows) + evidence_of_start(sample, clusters)
        members = memberships(evidence)
        clusters = estimated(sample, members)
    return clusters, members


def archetypes_of(
    name: str, share: float, runs: int, sample: Sample, clusters: Clusters, members: Reals
) -> Iterator[Fitted]:
    """The clusters of one family that are not rare; `share` is the family's part of all environments."""
    environments, visits = members.sum(0), members.T @ sample.visits
    reach = visits / (environments[:, None] * runs + 1e-9)
    divisor = np.maximum(visits, 1e-9)
    optimism = members.T @ sample.optimism / divisor
    squared = members.T @ sample.optimism_squared / divisor
    for j in np.flatnonzero(clusters.weight > RARE_CLUSTER):
        yield Fitted(
            family=name,
            weight=float(clusters.weight[j] * share),
            judge_sd=float((members[:, j] * sample.judge_sd).sum() / environments[j]),
            rows=clusters.rows[j],
            reach=reach[j],
            first=clusters.first[j],
            optimism=optimism[j],
            optimism_squared=squared[j],
        )


def fit(
    environments: int = ENVIRONMENTS, runs: int = RUNS, seed: int = SEED, rounds: int = ROUNDS
) -> list[Fitted]:
    """Archetypes of all families; they are clustered apart, so that each keeps its character."""
    fitted: list[Fitted] = []
    for (name, family), share in zip(FAMILIES.items(), family_weights(), strict=True):
        sample = simulated(name, round(environments * share), runs, seed)
        clusters, members = clustered(np.random.default_rng(seed), sample, family.clusters, rounds)
        fitted.extend(archetypes_of(name, float(share), runs, sample, clusters, members))
    return fitted


def encode_row(probabilities: Iterable[float]) -> str:
    """One character per probability, read again by `loopllm.priors.coded_rows.decode_row`.

    The square root in equal steps keeps small probabilities apart, which equal steps would all call 0.

    >>> encode_row([0.0, 0.25, 1.0])
    '!P~'
    """
    top = len(LEVELS) - 1
    return "".join(LEVELS[round(min(1, max(0, p)) ** 0.5 * top)] for p in probabilities)


def rounded(values: Reals) -> list[float]:
    return [round(float(value), 4) for value in values]


def catch_all(fitted: Sequence[Fitted], weights: Reals) -> dict[str, Any]:
    """The archetype `any`: the mixture's mean in every cell, so that none is without a forecast."""
    pairs = list(zip(weights, fitted, strict=True))
    by_visits = sum(weight * one.reach[:, None] * one.rows for weight, one in pairs)
    unvisited = 1e-7 * sum(weight * one.rows for weight, one in pairs)
    total = np.asarray(by_visits + unvisited)
    mean = total / total.sum(1, keepdims=True)
    return {
        "family": "any",
        "weight": CATCH_ALL_WEIGHT,
        "judge_sd": 0.0,
        "first": rounded(np.asarray(sum(weight * one.first for weight, one in pairs))),
        "cells": {cell: [encode_row(mean[cell]), CATCH_ALL_REACH] for cell in range(CELLS)},
    }


def written_cell(one: Fitted, cell: int) -> list[str | float]:
    """Outcomes and reach of a cell; where a judge errs also mean and standard deviation of the optimism."""
    entry: list[str | float] = [encode_row(one.rows[cell]), float(f"{one.reach[cell]:.2g}")]
    if one.family == "judged":
        mean = one.optimism[cell]
        variance = max(1e-4, one.optimism_squared[cell] - mean**2)
        entry += [round(float(mean), 3), round(float(variance**0.5), 3)]
    return entry


def written(one: Fitted, weight: float) -> dict[str, Any]:
    """One archetype as it stands in the file."""
    return {
        "family": one.family,
        "weight": round(float(weight), 5),
        "judge_sd": round(one.judge_sd, 3),
        "first": rounded(one.first),
        "cells": {cell: written_cell(one, cell) for cell in range(CELLS) if one.reach[cell] > RARE_CELL},
    }


def export(fitted: Sequence[Fitted]) -> str:
    """The text of `cold_start.json`: one archetype a line, so that a change of it can be read."""
    weights = np.array([one.weight for one in fitted])
    weights /= weights.sum()
    entries = [catch_all(fitted, weights)]
    entries += [written(one, weight) for weight, one in zip(weights, fitted, strict=True)]
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
    return f'{{"levels":{json.dumps(LEVELS)},"archetypes":[\n{lines}\n]}}\n'


def main(given: Sequence[str] | None = None) -> int:
    """Fit, then write or compare; 1 if the shipped file differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="PATH", help="write the fitted prior there")
    parser.add_argument("--check", action="store_true", help="compare it with the shipped cold_start.json")
    options = parser.parse_args(given)
    if not (options.out or options.check):
        parser.error("say where the fit shall go: --out PATH, --check, or both")
    text = export(fit())
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    if not options.check:
        return 0
    same = text.encode() == SHIPPED.read_bytes()
    print("The fit", "is" if same else "DIFFERS from", "the shipped cold_start.json.")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
