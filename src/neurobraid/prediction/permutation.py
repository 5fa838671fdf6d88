"""Permutation p values with a full refit of every fold, fast enough to be the default.

People's features change places within blocks while labels and folds stay where they are. That equals permuting
labels together with the folds made from them, so the folds of a permuted study are as balanced as those of the
real one, which permuting labels under fixed folds would not give.
"""

import numpy as np

from neurobraid.prediction.estimators import Calibrator, choose, ridge_path, standard
from neurobraid.prediction.metrics import auc, regression_metrics
from neurobraid.prediction.steps import prepare


def exchange_units(units, blocks):
    """Rows of every exchangeable unit, gathered by block and size.

    Parameters
    ----------
    units : numpy.ndarray of str, (rows,)
        Units that change places as a whole (participants with several visits, families).
    blocks : numpy.ndarray of str, (rows,)
        Units change places only within a block (site).

    Returns
    -------
    list of list of numpy.ndarray
        One list per block and number of rows; units alone in theirs cannot move.
    """
    gathered = {}
    for unit in dict.fromkeys(units.tolist()):
        rows = np.flatnonzero(units == unit)
        gathered.setdefault(("|".join(np.unique(blocks[rows])), rows.size), []).append(rows)
    return list(gathered.values())


def permuted_rows(gathered, count, rng):
    """Row order in which units have changed places.

    Parameters
    ----------
    gathered : list
        From `exchange_units`.
    count : int
        Rows.
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray of int, (rows,)
        Row i takes the features of row ``out[i]``.
    """
    out = np.arange(count)
    for members in gathered:
        for place, taken in enumerate(rng.permutation(len(members))):
            out[members[place]] = members[taken]
    return out


def _ridge_scores(train, tests, y, grid, kind):
    weights, intercept = ridge_path(train, y, grid, kind)
    return tests @ weights + intercept


def tuned_scores(parts, y, train, test, inside, confounds, grid, kind, min_present):
    """Scores of test rows and inner out-of-fold scores of training rows, ridge, without scikit-learn.

    Parameters
    ----------
    parts : list of numpy.ndarray, (rows, features + confounds)
        One table per modality.
    y : numpy.ndarray, (rows,)
    train, test : numpy.ndarray of int
    inside : numpy.ndarray of int, (train,)
        Inner fold of the training rows.
    confounds : int
    grid : tuple of float
    kind : {'classification', 'regression'}
    min_present : float

    Returns
    -------
    test_scores, inner_scores : numpy.ndarray
        Equal to `TunedModel` with `RidgePath`.
    """

    def fit(fitted, others):
        ready = [prepare(part[fitted], part[others], confounds, min_present) for part in parts]
        if len(ready) == 1:
            return _ridge_scores(*ready[0], y[fitted], grid, kind)
        joined = [np.concatenate(side, axis=1) for side in zip(*ready, strict=True)]
        return _ridge_scores(*joined, y[fitted], grid, kind)

    inner = np.empty((train.size, len(grid)))
    for k in np.unique(inside):
        inner[inside == k] = fit(train[inside != k], train[inside == k])
    best = choose(inner, y[train], inside, kind)
    return fit(train, test)[:, best], inner[:, best]


def statistics(tables, y, folds, *, confounds, grid, kind, min_present, early=False):
    """Mean over folds of the primary metric for every feature set, ridge.

    Parameters
    ----------
    tables : dict of str to numpy.ndarray, (rows, features + confounds)
        A row whose features are all missing lacks the modality.
    y : numpy.ndarray, (rows,)
    folds : neurobraid.prediction.folds.Folds
    confounds : int
    grid : tuple of float
    kind : {'classification', 'regression'}
    min_present : float
    early : bool
        Also fit early fusion.

    Returns
    -------
    dict of str to float
        Mean AUC, or mean R2; keys the modalities, ``fused`` and, if asked, ``early`` when there are several.
    """
    available = {n: np.isfinite(t[:, : t.shape[1] - confounds]).any(axis=1) for n, t in tables.items()}
    several = len(tables) > 1
    found = {
        name: []
        for name in [*tables, *(["fused"] if several else []), *(["early"] if several and early else [])]
    }

    def measure(name, rows, scores, train, predicted=None):
        rows, scores = rows[np.isfinite(scores)], scores[np.isfinite(scores)]
        if kind == "classification":
            found[name].append(auc(y[rows], scores))
        else:
            found[name].append(regression_metrics(y[rows], scores, y[train].mean())["r2"])

    settings = (confounds, grid, kind, min_present)
    for _, _, train, test, inside in folds.splits():
        sums, counts = np.zeros(test.size), np.zeros(test.size)
        inner_sums, inner_counts = np.zeros(train.size), np.zeros(train.size)
        for name, table in tables.items():
            has, tested = available[name][train], available[name][test]
            scores = np.full(test.size, np.nan)
            if has.any():
                scores[tested], inner = tuned_scores(
                    [table], y, train[has], test[tested], inside[has], *settings
                )
                mean, spread = standard(inner)
                sums[tested] += (scores[tested] - mean) / spread
                counts[tested] += 1
                inner_sums[has] += (inner - mean) / spread
                inner_counts[has] += 1
            measure(name, test, scores, train[has])
        if several:
            fused = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
            known = inner_counts > 0
            if kind == "regression":
                line = Calibrator(kind, linear=True).fit(
                    inner_sums[known] / inner_counts[known], y[train[known]]
                )
                fused = line.apply(fused)
            measure("fused", test, fused, train)
            if early:
                scores, _ = tuned_scores(list(tables.values()), y, train, test, inside, *settings)
                measure("early", test, scores, train)
    return {name: float(np.nanmean(v)) if np.isfinite(v).any() else np.nan for name, v in found.items()}


def permutation_test(tables, y, folds, units, blocks, *, count, seed, **settings):
    """Permutation p of every feature set.

    Parameters
    ----------
    tables, y, folds, **settings
        See `statistics`.
    units, blocks : numpy.ndarray of str, (rows,)
        See `exchange_units`.
    count : int
        Permutations; the smallest p is ``1 / (1 + count)``.
    seed : int

    Returns
    -------
    dict
        ``observed``, ``p`` and ``null_mean`` per feature set, ``movable`` rows, ``null``: (count,) per feature set.
        ``p = (1 + b) / (1 + m)`` (Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39); NaN if nothing can move.
    """
    gathered = exchange_units(units, blocks)
    movable = sum(rows.size for members in gathered if len(members) > 1 for rows in members)
    observed = statistics(tables, y, folds, **settings)
    null = {name: np.full(count, np.nan) for name in observed}
    if movable and count:
        rng = np.random.default_rng(seed)
        for turn in range(count):
            rows = permuted_rows(gathered, y.size, rng)
            shuffled = statistics({n: t[rows] for n, t in tables.items()}, y, folds, **settings)
            for name, value in shuffled.items():
                null[name][turn] = value
    p, mean = {}, {}
    for name, values in null.items():
        done = np.isfinite(values)
        # a tolerance, because equal folds summed in another order differ in the last bit
        reached = np.sum(values[done] >= observed[name] - 1e-12)
        usable = done.any() and np.isfinite(observed[name])
        p[name] = float((1 + reached) / (1 + done.sum())) if usable else np.nan
        mean[name] = float(values[done].mean()) if done.any() else np.nan
    return {"observed": observed, "p": p, "null_mean": mean, "null": null, "movable": int(movable)}
