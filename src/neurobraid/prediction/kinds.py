"""What differs between kinds of target: metric, chance, and the numbers a fast ridge is fitted to."""

import numpy as np

from neurobraid.prediction.metrics import auc, paired_auc
from neurobraid.prediction.ordinal import OddsPath, RankCalibrator, ordinal_metrics, spearman
from neurobraid.prediction.survival import (
    HazardCalibrator,
    HazardPath,
    concordance,
    logrank_scores,
    survival_metrics,
)

#: Primary metric of every kind; higher is better.
PRIMARY = {"classification": "auc", "regression": "r2", "ordinal": "spearman", "survival": "cindex"}
#: Its name in sentences.
WORD = {"classification": "AUC", "regression": "R2", "ordinal": "Spearman r", "survival": "Harrell's C"}
#: Its value without any information.
CHANCE = {"classification": 0.5, "regression": 0.0, "ordinal": 0.0, "survival": 0.5}
#: Kinds whose scores order people only: a calibrator gives them a meaning.
ORDERED = ("ordinal", "survival")
#: Learner of `ridge-logistic` and map from scores to predictions, by kind.
PATHS = {"ordinal": OddsPath, "survival": HazardPath}
CALIBRATORS = {"ordinal": RankCalibrator, "survival": HazardCalibrator}
#: Parts of a report that a kind cannot have, with the reason.
LACKS = {
    kind: {
        "calibration": "slope and intercept need the probability of one of two classes",
        "decision_curve": "net benefit needs one decision between two classes",
    }
    for kind in ("regression", *ORDERED)
}


def respond(y, kind):
    """Numbers to which a ridge is fitted: ranks as they are, log-rank scores for times; else the target itself.

    Parameters
    ----------
    y : numpy.ndarray, (people,) or (people, columns)
    kind : str

    Returns
    -------
    numpy.ndarray, like `y`
    """
    return logrank_scores(y) if kind == "survival" else y


def plain(y, kind):
    """Target and kind for methods that know two classes and numbers only, such as explained shares."""
    return (respond(y, kind), "regression") if kind in ORDERED else (y, kind)


def rank_metric(y, scores, kind):
    """Primary metric of every column, for kinds that are judged by order.

    Parameters
    ----------
    y : numpy.ndarray, (people,) or (people, columns)
    scores : numpy.ndarray, (people, columns)
    kind : {'classification', 'ordinal', 'survival'}

    Returns
    -------
    numpy.ndarray, (columns,)
    """
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if kind == "ordinal":
        return spearman(y, scores)
    if kind == "survival":
        return concordance(y, scores)
    return paired_auc(np.broadcast_to(y if y.ndim == 2 else y[:, None], scores.shape), scores)


def strength(y, values, kind):
    """How well one column orders the target whatever its sign, 0 to 1; what `target_like` of the audit looks at."""
    if kind == "regression":
        return abs(np.corrcoef(y, values)[0, 1])
    if kind == "ordinal":
        return abs(spearman(y, values[:, None])[0])
    found = auc(y, values) if kind == "classification" else concordance(y, values[:, None])[0]
    return max(found, 1 - found)


def fold_metrics(y, score, predicted, train, kind, curve=None):
    """Metrics of one test fold of an ordered kind.

    Parameters
    ----------
    y, score, predicted : numpy.ndarray, (people,)
    train : numpy.ndarray, (training people,)
        Their targets.
    kind : {'ordinal', 'survival'}
    curve : callable, optional
        ``curve(times)`` gives predicted survival of the people, (people, times).

    Returns
    -------
    dict of str to float
    """
    if kind == "ordinal":
        return ordinal_metrics(y, score, predicted)
    return survival_metrics(y, score, curve, train)
