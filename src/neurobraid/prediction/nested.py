"""Interval of a cross-validated score by nested cross-validation (Bates, Hastie & Tibshirani 2024, JASA 119:1434).

The spread of folds says too little: every person is in most training sets. Nested cross-validation compares, inside
the people that one fold leaves, a complete cross-validation with the fold that was left out: how far the first is
from the second, beyond the noise of the second, is how far a cross-validated score is from the truth.
"""

import numpy as np

from neurobraid.prediction.folds import Folds, Unavailable, make_folds
from neurobraid.prediction.permutation import fold_metric, fold_scores, fuse

#: Random divisions into folds; more make the interval steadier, and cost as much more.
DIVISIONS = 20


def paired_folds(assigned):
    """Folds that leave out one fold, and two at a time; the rest are the inner folds.

    Parameters
    ----------
    assigned : numpy.ndarray of int, (rows,)
        Fold of every row; -1 for rows that take no part.

    Returns
    -------
    Folds
        One "repeat" per pair (i, j), i < j, then one per fold.
    left : list of tuple of int
    """
    count = int(assigned.max()) + 1
    left = [(i, j) for i in range(count) for j in range(i + 1, count)] + [(i,) for i in range(count)]
    outer, inner = [], []
    for out in left:
        tested = np.isin(assigned, out)
        outer.append(np.where(tested, 0, -1))
        row = np.where(tested | (assigned < 0), -1, assigned)
        inner.append([row])
    return Folds(np.array(outer), inner), left


def jackknife(y, scores, train_mean, kind):
    """Variance of the primary metric over the people tested, for this model.

    Parameters
    ----------
    y, scores : numpy.ndarray, (people,)
    train_mean : float
    kind : str

    Returns
    -------
    float
        (n - 1) / n times the squared deviations of the metric without each person (for the AUC, what DeLong's
        variance is up to a factor of about n / (n - 1)).
    """
    n = y.size
    values = []
    for person in range(n):
        keep = np.arange(n) != person
        values.append(fold_metric(y[keep][:, None], scores[keep][:, None], train_mean, kind)[0])
    values = np.array(values)
    values = values[np.isfinite(values)]
    return float((n - 1) / n * np.sum((values - values.mean()) ** 2)) if values.size else np.nan


def bates_parts(assigned, scores_of, y, kind):
    """What one division into folds says.

    Parameters
    ----------
    assigned : numpy.ndarray of int, (rows,)
    scores_of : callable
        ``scores_of(folds)`` gives a list of (train, test, scores) per outer fold, scores (test,), NaN where unknown.
    y : numpy.ndarray, (rows,)
    kind : str

    Returns
    -------
    dict
        ``inner``: mean metric of the cross-validation inside, per fold left out; ``outer``: metric on that fold;
        ``noise``: its variance.
    """
    count = int(assigned.max()) + 1
    folds, left = paired_folds(assigned)
    inside = {i: [] for i in range(count)}
    outer, noise = np.full(count, np.nan), np.full(count, np.nan)

    def metric(rows, scores, train):
        known = np.isfinite(scores)
        return (
            fold_metric(y[rows][:, None], scores[:, None], y[train].mean(), kind)[0]
            if known.any()
            else np.nan
        )

    for out, (train, test, scores) in zip(left, scores_of(folds), strict=True):
        for this in out:
            rows = assigned[test] == this
            value = metric(test[rows], scores[rows], train)
            if len(out) == 1:
                known = np.isfinite(scores[rows])
                outer[this] = value
                noise[this] = jackknife(y[test[rows]][known], scores[rows][known], y[train].mean(), kind)
            else:
                # the other fold of the pair is the one left out
                inside[out[0] if this == out[1] else out[1]].append(value)
    inner = np.array(
        [np.nanmean(v) if np.isfinite(v).any() else np.nan for v in map(np.array, inside.values())]
    )
    return {"inner": inner, "outer": outer, "noise": noise}


def bates_interval(parts, level=0.95):
    """Interval from many divisions into folds.

    Parameters
    ----------
    parts : list of dict
        Of `bates_parts`.
    level : float

    Returns
    -------
    dict
        mean (cross-validated), estimate (nested, corrected for the smaller training sets inside), low, high, folds
        (per division), divisions. The root mean squared error is held between the naive standard error and the root
        of the number of folds times it, as in the paper.
    """
    from scipy.stats import norm

    inner, outer, noise = (np.array([p[k] for p in parts]) for k in ("inner", "outer", "noise"))
    known = np.isfinite(inner) & np.isfinite(outer) & np.isfinite(noise)
    count = inner.shape[1]
    if not known.any():
        return {
            "mean": np.nan,
            "estimate": np.nan,
            "low": np.nan,
            "high": np.nan,
            "folds": 0,
            "divisions": len(parts),
        }
    square = np.mean((inner - outer)[known] ** 2) - np.mean(noise[known])
    naive = np.sqrt(np.mean(noise[known]) / count)
    error = np.sqrt(np.clip((count - 1) / count * square, naive**2, count * naive**2))
    nested, plain = float(np.mean(inner[known])), float(np.mean(outer[known]))
    estimate = nested - (1 + (count - 2) / count) * (nested - plain)
    half = norm.ppf(0.5 + level / 2) * error
    return {
        "mean": plain,
        "estimate": float(estimate),
        "low": float(estimate - half),
        "high": float(estimate + half),
        "folds": count,
        "divisions": len(parts),
    }


def _pick(fold, members, y, kind):
    if members == "early":
        return fold.early[:, 0]
    if isinstance(members, str):
        return fold.raw[members][:, 0]
    return fuse(fold, members, y[:, None], kind)[:, 0]


def nested_intervals(
    tables, y, groups, sets, *, outer, site, seed, untested=None, divisions=DIVISIONS, **settings
):
    """Nested cross-validation intervals of several feature sets, ridge.

    Parameters
    ----------
    tables, y, **settings
        See `neurobraid.prediction.permutation.fold_scores`.
    groups : numpy.ndarray of str, (rows,)
    sets : dict of str to str or sequence of str
        As in `neurobraid.prediction.permutation.measure`.
    outer : int
        Folds; three or more.
    site : numpy.ndarray of str, (rows,)
    seed, divisions : int
    untested : numpy.ndarray of bool, optional
        Reference people; see `neurobraid.prediction.folds.make_folds`.

    Returns
    -------
    dict of str to dict
        See `bates_interval`.

    Raises
    ------
    neurobraid.prediction.folds.Unavailable
        Fewer than four folds can be made: inside two that are left out, two must remain.
    """
    kind = settings["kind"]
    found = {name: [] for name in sets}
    for turn in range(divisions):
        made = make_folds(
            y, groups, kind=kind, site=site, outer=outer, inner=2, repeats=1, seed=seed + 7919 * (turn + 1),
            untested=untested,
        )  # fmt: skip
        assigned = made.outer[0]
        if assigned.max() < 3:
            raise Unavailable("intervals: bates needs four outer folds or more")
        done = fold_scores(tables, y, paired_folds(assigned)[0], **settings)
        for name, members in sets.items():
            values = [(one.train, one.test, _pick(one, members, y, kind)) for one in done]
            found[name].append(bates_parts(assigned, lambda _, v=values: v, y, kind))
    return {name: bates_interval(parts) for name, parts in found.items()}
