"""Permutation p values with a full refit of every fold, fast enough to be the default.

People's features change places within blocks while labels and folds stay where they are. That equals permuting
labels together with the folds made from them, so the folds of a permuted study are as balanced as those of the
real one, which permuting labels under fixed folds would not give.
"""

from dataclasses import dataclass, field

import numpy as np

from neurobraid.prediction.estimators import Calibrator, choose, ridge_path, standard
from neurobraid.prediction.kinds import rank_metric
from neurobraid.prediction.stacking import Stacking
from neurobraid.prediction.steps import prepare, trailing


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


def tuned_scores(
    parts,
    y,
    train,
    test,
    inside,
    confounds,
    grid,
    kind,
    min_present,
    harmonize=None,
    indicator=False,
    extra=(),
    fronts=None,
):
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
    harmonize : dict, optional
    indicator : bool
        See `neurobraid.prediction.steps.prepare`.
    extra : sequence of int
        Reference rows that accompany the rows tested and are not scored.
    fronts : list of transformer or None, optional
        First step of every part; see `neurobraid.prediction.steps.prepare`.

    Returns
    -------
    test_scores, inner_scores : numpy.ndarray
        Equal to `TunedModel` with `RidgePath`.
    """
    extra = np.asarray(extra, dtype=int)

    def fit(fitted, others):
        count, others = others.size, np.r_[others, extra]
        ready = [
            prepare(part[fitted], part[others], confounds, min_present, harmonize, indicator, front)
            for part, front in zip(parts, fronts or [None] * len(parts), strict=True)
        ]
        if len(ready) == 1:
            return _ridge_scores(*ready[0], y[fitted], grid, kind)[:count]
        joined = [np.concatenate(side, axis=1) for side in zip(*ready, strict=True)]
        return _ridge_scores(*joined, y[fitted], grid, kind)[:count]

    inner = np.empty((train.size, len(grid)))
    for k in np.unique(inside):
        inner[inside == k] = fit(train[inside != k], train[inside == k])
    best = choose(inner, y[train], inside, kind)
    return fit(train, test)[:, best], inner[:, best]


@dataclass
class FoldScores:
    """Scores of one outer fold, every column of the target at once.

    Attributes
    ----------
    train, test : numpy.ndarray of int
    raw : dict of str to numpy.ndarray, (test, columns)
        Scores of every modality; NaN for people without it.
    outer, inner : dict of str to numpy.ndarray, (test, columns), (train, columns)
        The same standardised by the training people's inner out-of-fold scores, and those.
    early : numpy.ndarray, (test, columns), or None
    inside : numpy.ndarray of int, (train,), or None
        Inner folds of the training rows.
    """

    train: np.ndarray
    test: np.ndarray
    raw: dict = field(default_factory=dict)
    outer: dict = field(default_factory=dict)
    inner: dict = field(default_factory=dict)
    early: object = None
    inside: object = None


def fold_scores(
    tables, y, folds, *, confounds, grid, kind, min_present, early=False, clinical=None, harmonize=None,
    indicator=False, extra=(), fronts=None,
):  # fmt: skip
    """Scores of every modality on every outer fold, ridge.

    Parameters
    ----------
    tables : dict of str to numpy.ndarray, (rows, features + last columns)
        A row whose features are all missing lacks the modality.
    y : numpy.ndarray, (rows,)
    folds : neurobraid.prediction.folds.Folds
    confounds, grid, kind, min_present, harmonize, indicator
        See `neurobraid.prediction.steps.prepare`. With `indicator` a missing modality is filled in.
    early : bool
        Also fit early fusion.
    fronts : dict of str to transformer, optional
        First step of some modalities.
    clinical : numpy.ndarray, (rows, columns), optional
        Columns of the clinical baseline, a further member named ``demographics``.

    Returns
    -------
    list of FoldScores
        Arrays with one column.
    """
    last = trailing(confounds, harmonize)
    settings, fronts = (grid, kind, min_present, harmonize, indicator, extra), fronts or {}
    members = {name: (table, confounds, settings, last) for name, table in tables.items()}
    if clinical is not None and clinical.shape[1]:
        members["demographics"] = (clinical, 0, (grid, kind, min_present), 0)
    out = []
    for _, _, train, test, inside in folds.splits():
        one = FoldScores(train, test, inside=inside)
        for name, (table, count, how, end) in members.items():
            there = np.isfinite(table[:, : table.shape[1] - end]).any(axis=1)
            if indicator or name == "demographics":
                there = np.ones(len(table), dtype=bool)
            has, tested = there[train], there[test]
            raw, outer, inner = (
                np.full(test.size, np.nan),
                np.full(test.size, np.nan),
                np.full(train.size, np.nan),
            )
            if has.any():
                raw[tested], scores = tuned_scores(
                    [table], y, train[has], test[tested], inside[has], count, *how, fronts=[fronts.get(name)]
                )
                mean, spread = standard(scores)
                outer[tested], inner[has] = (raw[tested] - mean) / spread, (scores - mean) / spread
            one.raw[name], one.outer[name], one.inner[name] = raw[:, None], outer[:, None], inner[:, None]
        if early and len(tables) > 1:
            first = [fronts.get(name) for name in tables]
            one.early = tuned_scores(
                list(tables.values()), y, train, test, inside, confounds, *settings, fronts=first
            )[0][:, None]
        out.append(one)
    return out


def fuse(fold, names, y, kind):
    """Mean of the standardised scores of some modalities on the test rows of one fold.

    Parameters
    ----------
    fold : FoldScores
    names : sequence of str
    y : numpy.ndarray, (rows, columns)
    kind : {'classification', 'regression'}

    Returns
    -------
    numpy.ndarray, (test, columns)
        A regression is brought to the unit of the target by a line through the inner scores.
    """
    outer, inner = (_mean([side[n] for n in names]) for side in (fold.outer, fold.inner))
    if kind != "regression":
        return outer
    out = np.empty_like(outer)
    for column in range(outer.shape[1]):
        known = np.isfinite(inner[:, column])
        target = y[fold.train, column if y.shape[1] > 1 else 0]
        line = Calibrator(kind, linear=True).fit(inner[known, column], target[known])
        out[:, column] = line.apply(outer[:, column])
    return out


def _mean(parts):
    if len(parts) == 1:
        return parts[0]
    stack = np.stack(parts)
    known = np.isfinite(stack)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, stack, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def fold_metric(y, scores, train_mean, kind):
    """Primary metric (R2 by sums of squares) of every column on the rows that have a score, (columns,)."""
    known = np.isfinite(scores[:, 0])
    y, scores = y[known], scores[known]
    if kind != "regression":
        return rank_metric(y, scores, kind)
    if not known.any():
        return np.full(scores.shape[1], np.nan)
    spread = np.sum((y - train_mean) ** 2, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, 1 - np.sum((y - scores) ** 2, axis=0) / spread, np.nan)


def stacked(fold, y, kind):
    """Scores of `neurobraid.prediction.stacking.Stacking` on the test rows of one fold, one target; (test, 1).

    Parameters
    ----------
    fold : FoldScores
    y : numpy.ndarray, (rows, 1)
    kind : str
    """
    names = [n for n in fold.inner if n != "demographics"]
    inner, outer = (np.concatenate([side[n] for n in names], axis=1) for side in (fold.inner, fold.outer))
    second = Stacking(kind).fit(inner, y[fold.train, 0], fold.inside)
    score = second.score_of(outer)
    return (second.calibrator_.apply(score) if kind == "regression" else score)[:, None]


def _nanmean(values):
    known = np.isfinite(values)
    return np.where(
        known.any(axis=0), np.where(known, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan
    )


def measure(folds, y, kind, sets):
    """Mean over folds of the primary metric.

    Parameters
    ----------
    folds : list of FoldScores
    y : numpy.ndarray, (rows, columns)
    kind : {'classification', 'regression'}
    sets : dict of str to sequence of str or str
        Names to fuse; a string is that modality alone (or ``early``) on its own scores.

    Returns
    -------
    dict of str to numpy.ndarray, (columns,)
    """
    found = {}
    for name, members in sets.items():
        values = []
        for fold in folds:
            if members == "early":
                scores = fold.early
            elif members == "stacking":
                scores = stacked(fold, y, kind)
            elif isinstance(members, str):
                scores = fold.raw[members]
            else:
                scores = fuse(fold, members, y, kind)
            has = (
                np.isfinite(fold.inner[members][:, 0])
                if isinstance(members, str) and members in fold.inner
                else slice(None)
            )
            values.append(fold_metric(y[fold.test], scores, y[fold.train[has]].mean(axis=0), kind))
        found[name] = _nanmean(np.array(values))
    return found


def _sets(names, early, stacking=False):
    sets = {name: name for name in names}
    if len(names) > 1:
        sets["fused"] = list(names)
        if early:
            sets["early"] = "early"
        if stacking:
            sets["stacking"] = "stacking"
    return sets


def statistics(tables, y, folds, **settings):
    """Mean over folds of the primary metric for every feature set, ridge.

    Parameters
    ----------
    tables, y, folds, **settings
        See `fold_scores`.

    Returns
    -------
    dict of str to float
        Mean AUC, or mean R2; keys the modalities, ``fused`` and, if asked, ``early`` when there are several.
    """
    done = fold_scores(tables, y, folds, **settings)
    found = measure(done, y[:, None], settings["kind"], _sets(list(tables), settings.get("early")))
    return {name: float(value[0]) for name, value in found.items()}


def questions(names, clinical):
    """What a multimodal model is asked by itself: does a modality add to the others, do images add to the clinic?

    Parameters
    ----------
    names : list of str
        Modalities.
    clinical : bool
        There is a clinical baseline.

    Returns
    -------
    dict of str to tuple of (list of str, list of str)
        What is added, to (the members without it, what is added).
    """
    asked = {}
    if len(names) > 1:
        asked = {name: ([n for n in names if n != name], [name]) for name in names}
    if clinical:
        asked["images"] = (["demographics"], list(names))
    return asked


def _mixed(observed, permuted, moved):
    """Fold scores in which only some modalities have changed places."""
    return [
        FoldScores(
            o.train,
            o.test,
            {},
            {n: (p if n in moved else o).outer[n] for n in o.outer},
            {n: (p if n in moved else o).inner[n] for n in o.inner},
        )
        for o, p in zip(observed, permuted, strict=True)
    ]


def gains(folds, y, kind, asked):
    """Difference in the primary metric that each addition makes, (columns,) per question of `questions`."""
    out = {}
    for name, (without, added) in asked.items():
        both = measure(folds, y, kind, {"with": [*without, *added], "without": without})
        out[name] = both["with"] - both["without"]
    return out


def moved_gains(observed, moved, y, kind, asked):
    """Gain of every addition when only what is added has changed places.

    Parameters
    ----------
    observed, moved : list of FoldScores
        Of the data as they are, and of a permutation; `moved` needs the added members only.
    y : numpy.ndarray, (rows,)
    kind : {'classification', 'regression'}
    asked : dict
        From `questions`.

    Returns
    -------
    dict of str to float
    """
    out = {}
    for name, (without, extra) in asked.items():
        sets = {"with": [*without, *extra], "without": without}
        both = measure(_mixed(observed, moved, extra), y[:, None], kind, sets)
        out[name] = float(both["with"][0] - both["without"][0])
    return out


def permutation_test(tables, y, folds, units, blocks, *, count, seed, stacking=False, **settings):
    """Permutation p of every feature set, and of what every modality adds to the others.

    Parameters
    ----------
    tables, y, folds, **settings
        See `fold_scores`.
    units, blocks : numpy.ndarray of str, (rows,)
        See `exchange_units`.
    count : int
        Permutations; the smallest p is ``1 / (1 + count)``.
    seed : int
    stacking : bool
        Also test the stacked modalities.

    Returns
    -------
    dict
        ``observed``, ``p`` and ``null_mean`` per feature set, ``movable`` rows, ``null``: (count,) per feature set.
        ``p = (1 + b) / (1 + m)`` (Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39); NaN if nothing can move.
        ``added``: the same per question of `questions`; there only the added modality changes places, so the null
        is that it says nothing about the target, while the others keep what they know.
    """
    kind = settings["kind"]
    gathered = exchange_units(units, blocks)
    movable = sum(rows.size for members in gathered if len(members) > 1 for rows in members)
    real, target = fold_scores(tables, y, folds, **settings), y[:, None]
    sets = _sets(list(tables), settings.get("early"), stacking)
    clinical = settings.get("clinical")
    asked = questions(list(tables), clinical is not None and clinical.shape[1] > 0)
    observed = {n: float(v[0]) for n, v in measure(real, target, kind, sets).items()}
    gain = {n: float(v[0]) for n, v in gains(real, target, kind, asked).items()}
    null = {name: np.full(count, np.nan) for name in observed}
    added = {name: np.full(count, np.nan) for name in gain}
    if movable and count:
        rng = np.random.default_rng(seed)
        for turn in range(count):
            rows = permuted_rows(gathered, y.size, rng)
            # the clinical baseline stays where it is
            settings_here = {**settings, "clinical": None}
            moved = fold_scores({n: t[rows] for n, t in tables.items()}, y, folds, **settings_here)
            for name, value in measure(moved, target, kind, sets).items():
                null[name][turn] = value[0]
            for name, value in moved_gains(real, moved, y, kind, asked).items():
                added[name][turn] = value
    return {
        **p_values(observed, null),
        "null": null,
        "movable": int(movable),
        "added": {**p_values(gain, added), "null": added},
    }


def p_values(observed, null):
    """``observed``, ``p = (1 + b) / (1 + m)`` and ``null_mean`` of every name."""
    p, mean = {}, {}
    for name, values in null.items():
        done = np.isfinite(values)
        # a tolerance, because equal folds summed in another order differ in the last bit
        reached = np.sum(values[done] >= observed[name] - 1e-12)
        usable = done.any() and np.isfinite(observed[name])
        p[name] = float((1 + reached) / (1 + done.sum())) if usable else np.nan
        mean[name] = float(values[done].mean()) if done.any() else np.nan
    return {"observed": observed, "p": p, "null_mean": mean}
