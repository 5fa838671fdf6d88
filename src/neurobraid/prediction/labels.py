"""Permutation test for many features: labels change places, so one decomposition serves every permutation.

Preparing a fold (coverage, filling, harmonisation, confounds, scaling) looks at no label. With labels permuted over fixed
folds its Gram matrix is the same for every permutation; one eigendecomposition in the space of people (dual form)
then gives ridge weights for every penalty and every permutation by matrix products.
"""

import numpy as np

from neurobraid.jobs import log
from neurobraid.prediction.kinds import ORDERED, rank_metric, respond
from neurobraid.prediction.permutation import (
    FoldScores,
    _sets,
    exchange_units,
    fold_scores,
    gains,
    measure,
    moved_gains,
    p_values,
    permuted_rows,
    questions,
)
from neurobraid.prediction.steps import prepare, trailing

#: Features in all tables above which the labels change places instead of the features.
MANY = 1000


def ridge_columns(train, tests, Y, penalties, kind):
    """Ridge scores of many targets at once; the same as `neurobraid.prediction.estimators.ridge_path` on each.

    Parameters
    ----------
    train, tests : numpy.ndarray, (people, features), (others, features)
        Centred by the training people.
    Y : numpy.ndarray, (people, targets)
    penalties : sequence of float
    kind : {'classification', 'regression'}

    Returns
    -------
    numpy.ndarray, (penalties, others, targets)
    """
    if kind in ORDERED:
        Y, kind = respond(Y, kind), "regression"
    n, p = train.shape
    mean = Y.mean(axis=0)
    if p == 0:
        flat = np.broadcast_to(
            mean if kind == "regression" else np.zeros_like(mean), (len(tests), Y.shape[1])
        )
        return np.repeat(flat[None], len(penalties), axis=0)
    dual = n < p
    gram = train @ train.T if dual else train.T @ train
    unit = max(gram.trace() / min(max(n - 1, 1), p), 1e-300)
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0.0)[:, None]
    target = vectors.T @ (Y - mean if dual else train.T @ (Y - mean))
    to_test = (tests @ train.T if dual else tests) @ vectors
    to_train = (gram if dual else train) @ vectors
    positive = Y > 0
    count = positive.sum(axis=0)
    both = (count > 0) & (count < n)
    # mean score of each class is a matrix product too: no training score is ever formed
    share = positive / np.maximum(count, 1) + ~positive / np.maximum(n - count, 1)
    middle = to_train.T @ share
    out = np.empty((len(penalties), len(tests), Y.shape[1]))
    for place, penalty in enumerate(penalties):
        shrunk = target / (values + unit * penalty)
        out[place] = to_test @ shrunk
        if kind == "regression":
            out[place] += mean
        else:
            out[place] -= np.where(both, 0.5 * np.sum(middle * shrunk, axis=0), 0.0)
    return out


def choose_columns(scores, Y, inner, kind):
    """Place in the grid for every target; see `neurobraid.prediction.estimators.choose`.

    Parameters
    ----------
    scores : numpy.ndarray, (penalties, people, targets)
    Y : numpy.ndarray, (people, targets)
    inner : numpy.ndarray of int, (people,)
    kind : {'classification', 'regression'}

    Returns
    -------
    numpy.ndarray of int, (targets,)
    """
    if kind == "regression":
        return np.argmin(((scores - Y) ** 2).mean(axis=1), axis=0)
    total = np.zeros((len(scores), Y.shape[1]))
    for k in np.unique(inner):
        rows = inner == k
        found = np.stack([rank_metric(Y[rows], one[rows], kind) for one in scores])
        total += np.nan_to_num(found)
    return np.argmax(np.round(total / max(np.unique(inner).size, 1), 12), axis=0)


def _one(table, Y, train, test, inside, last, count, grid, kind, min_present, harmonize, indicator, extra,
    front=None,
):  # fmt: skip
    def fit(fitted, others):
        n = others.size
        rows = np.r_[others, np.asarray(extra, dtype=int)]
        ready = prepare(table[fitted], table[rows], count, min_present, harmonize, indicator, front)
        return ridge_columns(*ready, Y[fitted], grid, kind)[:, :n]

    inner = np.empty((len(grid), train.size, Y.shape[1]))
    for k in np.unique(inside):
        inner[:, inside == k] = fit(train[inside != k], train[inside == k])
    best = choose_columns(inner, Y[train], inside, kind)
    columns = np.arange(Y.shape[1])
    return fit(train, test)[best, :, columns].T, inner[best, :, columns].T


def label_scores(
    tables, Y, folds, *, confounds, grid, kind, min_present, early=False, clinical=None, harmonize=None,
    indicator=False, extra=(), fronts=None,
):  # fmt: skip
    """`neurobraid.prediction.permutation.fold_scores` for many targets, (rows, targets); no early fusion."""
    last = trailing(confounds, harmonize)
    how = (harmonize, indicator, extra)
    members = {name: (table, last, confounds, *how) for name, table in tables.items()}
    if clinical is not None and clinical.shape[1]:
        members["demographics"] = (clinical, 0, 0, None, False, ())
    out = []
    total = sum(1 for _ in folds.splits())
    for number, (_, _, train, test, inside) in enumerate(folds.splits()):
        one = FoldScores(train, test)
        for name, (table, end, count, *how) in members.items():
            there = np.isfinite(table[:, : table.shape[1] - end]).any(axis=1)
            # who lacks a modality is not scored by it; the clinical baseline and the indicator fill in instead
            if name == "demographics" or how[1]:
                there = np.ones(len(table), dtype=bool)
            has, tested = there[train], there[test]
            raw, outer = (np.full((test.size, Y.shape[1]), np.nan) for _ in range(2))
            inner = np.full((train.size, Y.shape[1]), np.nan)
            if has.any():
                raw[tested], scores = _one(
                    table,
                    Y,
                    train[has],
                    test[tested],
                    inside[has],
                    end,
                    count,
                    grid,
                    kind,
                    min_present,
                    *how,
                    front=(fronts or {}).get(name),
                )
                mean, spread = scores.mean(axis=0), scores.std(axis=0)
                spread = np.where(spread > 1e-12, spread, 1.0)
                outer[tested], inner[has] = (raw[tested] - mean) / spread, (scores - mean) / spread
            one.raw[name], one.outer[name], one.inner[name] = raw, outer, inner
        out.append(one)
        if Y.shape[1] > 1:
            log.info("permutations: fold %d of %d done", number + 1, total)
    return out


def label_test(tables, y, folds, units, blocks, *, count, seed, **settings):
    """Permutation p of every feature set with labels changing places within blocks, over fixed folds.

    Parameters
    ----------
    tables, y, folds, units, blocks, count, seed, **settings
        As in `neurobraid.prediction.permutation.permutation_test`. Early fusion is left out.

    Returns
    -------
    dict
        The same. Folds stay as they were made for the real labels, so classes of a permuted study are balanced over
        folds on average only; the score per fold does not depend on that balance. Labels move for all modalities
        together, which says nothing about what one adds to the others: for that the added modality changes places, as in
        `permutation_test`, where it has at most `MANY` columns (whether PET adds to edges); of larger ones p is NaN.
    """
    kind = settings["kind"]
    settings = {**settings, "early": False}
    gathered = exchange_units(units, blocks)
    movable = sum(rows.size for members in gathered if len(members) > 1 for rows in members)
    turns = count if movable else 0
    rng = np.random.default_rng(seed)
    columns = [y, *(y[permuted_rows(gathered, y.size, rng)] for _ in range(turns))]
    Y = np.stack(columns, axis=1)
    done = label_scores(tables, Y, folds, **settings)
    found = measure(done, Y, kind, _sets(list(tables), False))
    observed = {name: float(values[0]) for name, values in found.items()}
    null = {name: values[1:] if turns else np.full(count, np.nan) for name, values in found.items()}
    clinical = settings.get("clinical")
    asked = questions(list(tables), clinical is not None and clinical.shape[1] > 0)
    gain = {n: float(v[0]) for n, v in gains(done, Y, kind, asked).items()}
    added = {name: np.full(count, np.nan) for name in gain}
    small = [name for name, table in tables.items() if table.shape[1] <= MANY]
    wanted = {name: pair for name, pair in asked.items() if set(pair[1]) <= set(small)}
    if wanted and turns:
        real = fold_scores(tables, y, folds, **settings)
        moving = {n: tables[n] for n in tables if any(n in extra for _, extra in wanted.values())}
        for turn in range(turns):
            rows = permuted_rows(gathered, y.size, rng)
            moved = fold_scores(
                {n: t[rows] for n, t in moving.items()}, y, folds, **{**settings, "clinical": None}
            )
            for name, value in moved_gains(real, moved, y, kind, wanted).items():
                added[name][turn] = value
    return {
        **p_values(observed, null),
        "null": null,
        "movable": int(movable),
        "added": {**p_values(gain, added), "null": added},
    }
