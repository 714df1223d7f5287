"""DP*: what is the best rule that cannot see the future?

Backward induction on uncensored runs of the true process. With q_k = payoff of stopping after k calls and C_k = the
payoff of going on and deciding well later, a rule goes on when E[C_k - q_k | scores so far] > 0. The expectation is a
regression over simulated runs and C_k the payoff *realised* under the later decisions (Longstaff & Schwartz 2001,
Review of Financial Studies 14:113; regressing the difference C_k - q_k rather than C_k removes most of its variance
and covers a judge that errs, for whom q_k is not known from the scores). Four regressions compete:

linear   ridge on splines and interactions of the whole history;
boosted  the same plus trees on its residual;
table    cell means over (best score, calls since the best, last change), fine and coarse: tabular induction;
reactive no regression: stop at a level or after some calls without a new best, the pair tuned on the same runs.

The winner per utility is the one that earns most on runs kept aside (a third of them; for recorded runs, which are
too few, on the test half, as in the reference). Any policy is a lower bound of the optimum, and so is the best one.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from benchmarks.stopping_lab.baselines import best_reactive, first_stop, reactive, stalled
from benchmarks.stopping_lab.trajectories import THRESHOLD, Floats, Ints, Runs, Utility, earned
from benchmarks.stopping_lab.trees import Tree, binned, boosted, edges_of

KNOTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.85, 0.9, 0.95)
BANDS = 25

Predictor = Callable[[Floats], Floats]  # observed scores (n, k) -> advantage of going on (n, utilities)
Regression = Callable[[Floats, Floats], Predictor]  # observed (n, k), target (n, utilities) -> predictor


def history(observed: Floats) -> Floats:
    """What a rule may look at after k calls, shape (n, 10 + min(k, 4)); observed is (n, k)."""
    ranked = np.sort(observed, axis=1)
    change = np.diff(observed, axis=1, prepend=observed[:, :1])
    since = stalled(observed)[:, -1]
    columns = [
        ranked[:, -1],
        observed[:, -1],
        since.astype(np.float64),
        change[:, -1],
        observed.mean(axis=1),
        observed.std(axis=1),
        ranked[:, -min(2, ranked.shape[1])],
        change.max(axis=1),
        (np.abs(change[:, 1:]) < 1e-9).sum(axis=1).astype(np.float64),
        (change < -1e-9).sum(axis=1).astype(np.float64),
        *observed[:, :-5:-1].T,
    ]
    return np.stack(columns, axis=1)


def basis(features: Floats) -> Floats:
    """Splines of the best score, stalls, moments and interactions, once for all runs and once for those below .8."""
    best, last, since, change, mean, spread = features[:, :6].T
    stall = [(since == s).astype(np.float64) for s in range(1, int(since.max(initial=0)) + 1)]
    columns = [
        np.ones_like(best),
        best,
        (best >= 1.0 - 1e-9).astype(np.float64),
        *(np.maximum(best - knot, 0) for knot in KNOTS),
        *stall,
        *(s * best for s in stall),
        *features[:, 1:].T,
        *(f * best for f in features[:, 1:].T),
        last**2, change**2, mean**2, spread**2, mean * spread, best * best * mean, last * mean,
    ]  # fmt: skip
    half = np.stack(columns, axis=1)
    return np.concatenate([half, half * (best < THRESHOLD)[:, None]], axis=1)


def linear(observed: Floats, target: Floats) -> Predictor:
    design = basis(history(observed))
    width = design.shape[1]
    scale = np.sqrt((design**2).mean(axis=0)) + 1e-9
    gram = (design / scale).T @ (design / scale)
    weights = (
        np.linalg.solve(gram + (3.0 + 1000.0 / len(design)) * np.eye(width), (design / scale).T @ target)
        / scale[:, None]
    )
    stalls = int(history(observed)[:, 2].max(initial=0))

    def predict(seen: Floats) -> Floats:
        features = history(seen)
        # a longer stall than any fitted one counts as the longest, so that the columns agree
        features[:, 2] = np.minimum(features[:, 2], stalls)
        return np.asarray(padded_basis(features, stalls) @ weights)

    return predict


def padded_basis(features: Floats, stalls: int) -> Floats:
    """`basis` with the stall columns of the fit, whatever stalls occur in `features`."""
    probe = features[:1].copy()
    probe[:, 2] = stalls
    return basis(np.concatenate([features, probe]))[:-1]


def boosting(rng: np.random.Generator, trees: int) -> Regression:
    def regress(observed: Floats, target: Floats) -> Predictor:
        base = linear(observed, target)
        features = history(observed)
        edges = edges_of(features)
        grown: Sequence[Tree] = boosted(rng, binned(features, edges), target - base(observed), trees)

        def predict(seen: Floats) -> Floats:
            bins = binned(history(seen), edges)
            return np.asarray(base(seen) + sum((tree(bins) for tree in grown), np.zeros(target.shape[1])))

        return predict

    return regress


def cells(observed: Floats, bands: int) -> Ints:
    best = observed.max(axis=1)
    band = np.minimum((best * (bands - 1)).astype(np.int64), bands - 2) + (best >= 1.0)
    stall = np.minimum(stalled(observed)[:, -1], 3)
    fell = observed[:, -1] < (observed[:, -2] if observed.shape[1] > 1 else observed[:, -1])
    return np.asarray((band * 4 + stall) * 2 + fell)


def table(observed: Floats, target: Floats, bands: int) -> Predictor:
    where, size = cells(observed, bands), bands * 8
    count = np.bincount(where, minlength=size)
    mean = (
        np.stack([np.bincount(where, t, minlength=size) for t in target.T], axis=1) / (count + 3.0)[:, None]
    )
    return lambda seen: np.asarray(mean[cells(seen, bands)])


def induct(runs: Runs, utilities: Sequence[Utility], regress: Regression) -> dict[int, Predictor]:
    """A predictor per depth k of the advantage of call k + 1, found backwards."""
    payoff = np.stack([runs.payoff(utility) for utility in utilities], axis=2)
    realised = payoff[:, -1].copy()
    found: dict[int, Predictor] = {}
    for k in range(runs.horizon - 1, 0, -1):
        alive = runs.length > k
        if not alive.any():
            continue
        seen = runs.observed[alive, :k]
        found[k] = regress(seen, realised[alive] - payoff[alive, k - 1])
        on = found[k](seen) > 0
        realised[alive] = np.where(on, realised[alive], payoff[alive, k - 1])
    return found


def stops_of(predictors: Mapping[int, Predictor], runs: Runs, outputs: int) -> list[Ints]:
    """Calls made under each utility, (n,) each."""
    wants = np.ones((outputs, len(runs), runs.horizon), dtype=bool)
    for k, predict in predictors.items():
        wants[:, :, k - 1] = (predict(runs.observed[:, :k]) <= 0).T
    return [first_stop(want, runs.length) for want in wants]


def dp_star(
    fit: Runs, judge: Runs, utilities: Sequence[Utility], asked: Sequence[Runs], trees: int, seed: int
) -> list[list[Ints]]:
    """Calls that DP* makes on each of the `asked` runs, per utility: result[utility][set] is (n,).

    Args:
        fit: Uncensored runs of the true process.
        judge: Runs on which the winner among the regressions is chosen.
        utilities: What a run is worth.
        asked: Sets of runs to decide on.
        trees: Boosted trees per depth; 0 leaves them out.
        seed: Of the trees' sampling.
    """
    regressions: list[Regression] = [linear, partial(table, bands=BANDS), partial(table, bands=4)]
    if trees:
        regressions.append(boosting(np.random.default_rng(seed), trees))
    sets = [judge, *asked]
    stops: list[list[list[Ints]]] = []  # [candidate][set][utility]
    for regress in regressions:
        predictors = induct(fit, utilities, regress)
        stops.append([stops_of(predictors, runs, len(utilities)) for runs in sets])
    rules = best_reactive([fit.take(slice(4000))], utilities)
    stops.append([[reactive(runs, *rule) for rule in rules] for runs in sets])
    chosen: list[list[Ints]] = []
    for u, utility in enumerate(utilities):
        payoff = judge.payoff(utility)
        best = int(np.argmax([earned(payoff, candidate[0][u]).mean() for candidate in stops]))
        chosen.append([stops[best][s][u] for s in range(1, len(sets))])
    return chosen
