"""What else an honest report of a prediction says: calibration, net benefit, subgroups, and how many people it needs."""

import numpy as np

from neurobraid.prediction.folds import Folds
from neurobraid.prediction.metrics import auc, corrected_interval
from neurobraid.prediction.permutation import fold_metric, fold_scores, fuse

#: Fewest people of a subgroup that is reported (small cells also identify people).
SMALLEST = 10
#: Most points of a curve in a summary.
POINTS = 200


def calibration(y, probability):
    """Slope and intercept of the observed class on the logit of held-out probabilities.

    Parameters
    ----------
    y : numpy.ndarray, (people,)
        -1 and 1.
    probability : numpy.ndarray, (people,)

    Returns
    -------
    dict
        slope (1 is perfect, below 1 too extreme), intercept (0 is perfect), brier, people. NaN slope when all
        probabilities are equal.
    """
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    logit, positive = np.log(p / (1 - p)), (y > 0).astype(float)
    brier = float(np.mean((probability - positive) ** 2))
    if np.std(logit) < 1e-9 or np.ptp(positive) == 0:
        return {"slope": np.nan, "intercept": np.nan, "brier": brier, "people": int(y.size)}
    design, weights = np.column_stack([logit, np.ones(y.size)]), np.zeros(2)
    for _ in range(100):
        fitted = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        hessian = (design * (fitted * (1 - fitted))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, design.T @ (positive - fitted))
        weights = weights + step
        if np.abs(step).max() < 1e-10:
            break
    return {"slope": float(weights[0]), "intercept": float(weights[1]), "brier": brier, "people": int(y.size)}


def decision_curve(y, probability, thresholds=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)):
    """Net benefit of acting on the prediction (Vickers & Elkin 2006, Med Decis Making 26:565).

    Parameters
    ----------
    y : numpy.ndarray, (people,)
        -1 and 1.
    probability : numpy.ndarray, (people,)
    thresholds : sequence of float

    Returns
    -------
    list of dict
        threshold, model, all (act on everybody); acting on nobody is 0. In true positives per person.
    """
    positive = y > 0
    out = []
    for t in thresholds:
        odds = t / (1 - t)
        called = probability >= t
        out.append(
            {
                "threshold": float(t),
                "model": float(np.mean(called & positive) - odds * np.mean(called & ~positive)),
                "all": float(positive.mean() - odds * np.mean(~positive)),
            }
        )
    return out


def curves(y, score):
    """ROC and precision-recall curves of held-out scores, one score per person.

    Parameters
    ----------
    y : numpy.ndarray, (people,)
        -1 and 1.
    score : numpy.ndarray, (people,)

    Returns
    -------
    dict
        ``false_positive``, ``true_positive`` (ROC, from 0 to 1), ``recall``, ``precision``; ``auc``; ``average_precision``
        (the area under the second curve by steps) and ``prevalence``, what it is without information. None with one class.
    """
    positive = y > 0
    if positive.all() or not positive.any():
        return None
    order = np.argsort(-score, kind="stable")
    # people of equal score are called together
    last = np.r_[np.flatnonzero(np.diff(score[order]) != 0), y.size - 1]
    hits = np.cumsum(positive[order])[last]
    called = last + 1
    recall, precision = hits / positive.sum(), hits / called
    shown = np.unique(np.linspace(0, last.size - 1, min(last.size, POINTS)).round().astype(int))
    return {
        "false_positive": np.r_[0.0, ((called - hits) / (~positive).sum())[shown]].round(6).tolist(),
        "true_positive": np.r_[0.0, recall[shown]].round(6).tolist(),
        "recall": recall[shown].round(6).tolist(),
        "precision": precision[shown].round(6).tolist(),
        "auc": float(auc(y, score)),
        "average_precision": float(np.sum(np.diff(np.r_[0.0, recall]) * precision)),
        "prevalence": float(positive.mean()),
    }


def subgroups(y, value, slices, kind, *, draws=500, seed=0):
    """Primary score of every subgroup with a bootstrap interval, given the models.

    Parameters
    ----------
    y, value : numpy.ndarray, (people,)
        Target, and held-out score (classification) or prediction (regression).
    slices : dict of str to numpy.ndarray of str, (people,)
    kind : {'classification', 'regression'}
    draws, seed : int

    Returns
    -------
    list of dict
        column, level, people, metric (auc or mae), value, low, high; groups below ten people are left out.
    """
    rng = np.random.default_rng(seed)
    out = []

    def score(rows):
        if kind == "classification":
            return float(auc(y[rows], value[rows]))
        return float(np.mean(np.abs(y[rows] - value[rows])))

    for column, levels in slices.items():
        for level in np.unique(levels):
            rows = np.flatnonzero(levels == level)
            if rows.size < SMALLEST:
                continue
            values = np.array([score(rng.choice(rows, rows.size)) for _ in range(draws)])
            values = values[np.isfinite(values)]
            low, high = np.quantile(values, [0.025, 0.975]) if values.size else (np.nan, np.nan)
            out.append(
                {
                    "column": column,
                    "level": str(level),
                    "people": int(rows.size),
                    "metric": "auc" if kind == "classification" else "mae",
                    "value": score(rows),
                    "low": float(low),
                    "high": float(high),
                }
            )
    return out


def fewer(folds, groups, share, seed):
    """The same test folds with a share of the groups in every training set."""
    rng = np.random.default_rng(seed)
    nested = []
    for rows in folds.inner:
        kept = []
        for inside in rows:
            out = inside.copy()
            for fold in np.unique(inside[inside >= 0]):
                members = np.unique(groups[inside == fold])
                dropped = rng.permutation(members)[max(int(np.ceil(share * members.size)), 1) :]
                out[(inside == fold) & np.isin(groups, dropped)] = -1
            kept.append(out)
        nested.append(kept)
    return Folds(folds.outer, nested)


def learning_curve(tables, y, folds, groups, *, shares=(0.25, 0.5, 0.75, 1.0), seed=0, **settings):
    """Score against the number of training people, and how many more are needed.

    Parameters
    ----------
    tables, y, folds, **settings
        See `neurobraid.prediction.permutation.fold_scores`.
    groups : numpy.ndarray of str, (rows,)
    shares : sequence of float
    seed : int

    Returns
    -------
    dict
        ``points`` (training rows, score with its corrected interval) of the fused set or the only one; ``ceiling``, ``b``
        and ``c`` of the fit ``ceiling - b n^-c`` and ``needed``, the n at which half of what is left to the ceiling is gained; None where
        the curve does not rise. A fit through few points: an order of magnitude, no more.
    """
    kind, points = settings["kind"], []
    for share in shares:
        part = fewer(folds, groups, share, seed)
        size = np.mean([train.size for _, _, train, _, _ in part.splits()])
        values = []
        for fold in fold_scores(tables, y, part, **settings):
            only = next(iter(tables))
            scores = fuse(fold, list(tables), y[:, None], kind) if len(tables) > 1 else fold.raw[only]
            values.append(float(fold_metric(y[fold.test][:, None], scores, y[fold.train].mean(), kind)[0]))
        found = corrected_interval(values, part.test_share)
        points.append(
            {"people": float(size), "score": found["mean"], **{k: found[k] for k in ("low", "high")}}
        )
    return {"points": points, **rising([q["people"] for q in points], [q["score"] for q in points])}


def rising(people, score):
    """Fit ``ceiling - b n^-c`` to a learning curve.

    Parameters
    ----------
    people, score : sequence of float

    Returns
    -------
    dict
        ``ceiling``, ``needed`` (see `learning_curve`), ``b``, ``c``; all None where the curve does not rise.
    """
    n, score = np.asarray(people, dtype=float), np.asarray(score, dtype=float)
    best = None
    for c in np.linspace(0.2, 1.5, 27) if np.isfinite(score).all() and n.size > 2 else ():
        design = np.column_stack([np.ones(n.size), -(n**-c)])
        fit = np.linalg.lstsq(design, score, rcond=None)[0]
        error = np.sum((score - design @ fit) ** 2)
        if fit[1] > 0 and (best is None or error < best[0]):
            best = (error, fit, c)
    if best is None or best[1][0] > 1.05:
        return dict.fromkeys(("ceiling", "needed", "b", "c"))
    (ceiling, b), c = best[1], best[2]
    return {"ceiling": float(ceiling), "needed": float(n[-1] * 2 ** (1 / c)), "b": float(b), "c": float(c)}


def pattern_summary(patterns, names, top=15):
    """Haufe patterns over folds: what goes with the score, and how steadily.

    Parameters
    ----------
    patterns : numpy.ndarray, (folds, features)
        Correlation of every feature with the model's score on the training people (Haufe et al. 2014, NeuroImage
        87:96, standardised); NaN where a fold dropped the feature.
    names : list of str
    top : int

    Returns
    -------
    dict
        ``stability`` (mean correlation of patterns between folds), ``features``: name, pattern (mean), sign (share
        of folds with the sign of the mean), largest first.
    """
    known = np.isfinite(patterns)
    mean = np.where(
        known.any(axis=0), np.where(known, patterns, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), 0
    )
    agree = (np.sign(np.where(known, patterns, 0)) == np.sign(mean)).sum(axis=0) / np.maximum(
        known.sum(axis=0), 1
    )
    full = known.all(axis=0)
    stability = np.nan
    if full.sum() > 2 and len(patterns) > 1:
        pairs = np.corrcoef(patterns[:, full])
        stability = float(np.mean(pairs[np.triu_indices(len(patterns), 1)]))
    order = np.argsort(-np.abs(mean), kind="stable")[:top]
    return {
        "stability": stability,
        "features": [
            {"name": str(names[k]), "pattern": float(mean[k]), "sign": float(agree[k])} for k in order
        ],
    }
