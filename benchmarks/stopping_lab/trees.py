"""A small regression: boosted oblivious trees on binned features, several outputs at once.

Gradient boosting of squared loss (Friedman 2001, Annals of Statistics 29:1189) with symmetric trees (one split per
level, as in Prokhorenkova et al. 2018, arXiv 1706.09516), so that a tree is a table of 2**depth leaves.
Splits are chosen for random mixtures of the outputs (Iosipoi & Vakhrushev 2022, NeurIPS, "SketchBoost").
"""

from dataclasses import dataclass

import numpy as np
from benchmarks.stopping_lab.trajectories import Floats, Ints
from numpy.typing import NDArray

BINS = 32
DEPTH = 4
RATE = 0.15
RIDGE = 20.0  # pseudo-observations of 0 in every leaf
TRIED = 6  # features tried at a level
SKETCH = 2  # random mixtures of the outputs by which a split is chosen
ROWS = 5000  # rows looked at when a split is chosen


@dataclass(frozen=True, slots=True)
class Tree:
    splits: tuple[tuple[int, int], ...]  # (feature, bin): right when above
    leaves: Floats  # (2**depth, outputs)

    def __call__(self, bins: NDArray[np.uint8]) -> Floats:
        return np.asarray(self.leaves[leaf_of(bins, self.splits)])


def leaf_of(bins: NDArray[np.uint8], splits: tuple[tuple[int, int], ...]) -> Ints:
    leaf = np.zeros(len(bins), dtype=np.int64)
    for feature, cut in splits:
        leaf = 2 * leaf + (bins[:, feature] > cut)
    return leaf


def edges_of(features: Floats) -> list[Floats]:
    grid = np.linspace(0, 1, BINS + 1)[1:-1]
    return [np.unique(np.quantile(column, grid)) for column in features.T]


def binned(features: Floats, edges: list[Floats]) -> NDArray[np.uint8]:
    columns = [
        np.searchsorted(edge, column, side="left") for edge, column in zip(edges, features.T, strict=True)
    ]
    return np.stack(columns, axis=1).astype(np.uint8)


def split_gain(key: Ints, residual: Floats, leaves: int) -> Floats:
    """Drop of the (ridged) squared error for a cut after each bin, shape (BINS,), summed over leaves and outputs."""
    count = np.bincount(key, minlength=leaves * BINS).reshape(leaves, BINS).cumsum(axis=1)
    gain = np.zeros(BINS)
    for output in residual.T:
        left = np.bincount(key, output, minlength=leaves * BINS).reshape(leaves, BINS).cumsum(axis=1)
        right = left[:, -1:] - left
        gain += (left**2 / (count + RIDGE) + right**2 / (count[:, -1:] - count + RIDGE)).sum(axis=0)
    return gain


def grow(rng: np.random.Generator, bins: NDArray[np.uint8], residual: Floats) -> tuple[tuple[int, int], ...]:
    rows = rng.choice(len(bins), min(ROWS, len(bins)), replace=False)
    mixing = rng.normal(size=(residual.shape[1], min(SKETCH, residual.shape[1])))
    bins, residual = bins[rows], residual[rows] @ mixing
    splits: list[tuple[int, int]] = []
    leaf = np.zeros(len(bins), dtype=np.int64)
    for level in range(DEPTH):
        tried = rng.choice(bins.shape[1], min(TRIED, bins.shape[1]), replace=False)
        gains = [split_gain(leaf * BINS + bins[:, feature], residual, 2**level) for feature in tried]
        best = int(np.argmax([gain.max() for gain in gains]))
        splits.append((int(tried[best]), int(gains[best].argmax())))
        leaf = 2 * leaf + (bins[:, splits[-1][0]] > splits[-1][1])
    return tuple(splits)


def leaf_means(leaf: Ints, residual: Floats) -> Floats:
    size = 2**DEPTH
    count = np.bincount(leaf, minlength=size)
    sums = np.stack([np.bincount(leaf, output, minlength=size) for output in residual.T], axis=1)
    return np.asarray(RATE * sums / (count + RIDGE)[:, None])


def boosted(rng: np.random.Generator, bins: NDArray[np.uint8], target: Floats, trees: int) -> list[Tree]:
    """Trees whose sum approaches `target` (n, outputs); outputs are weighed by their spread."""
    scale = target.std(axis=0) + 1e-9
    residual = target / scale
    grown: list[Tree] = []
    for _ in range(trees):
        splits = grow(rng, bins, residual)
        leaf = leaf_of(bins, splits)
        leaves = leaf_means(leaf, residual)
        residual = residual - leaves[leaf]
        grown.append(Tree(splits, leaves * scale))
    return grown
