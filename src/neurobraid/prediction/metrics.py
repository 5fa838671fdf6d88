"""How good a prediction is, how sure that is, and whether one model beats another."""

import numpy as np
from scipy.special import expit


def column_auc(y, scores):
    """Area under the ROC curve of every column of scores.

    Parameters
    ----------
    y : numpy.ndarray, (people,)
        Second class where above 0.
    scores : numpy.ndarray, (people, columns)

    Returns
    -------
    numpy.ndarray, (columns,)
        NaN when only one class is there. Ties count half.
    """
    positive = np.asarray(y) > 0
    n1 = int(positive.sum())
    n0 = positive.size - n1
    if n1 == 0 or n0 == 0:
        return np.full(scores.shape[1], np.nan)
    gap = scores[positive][:, None, :] - scores[~positive][None, :, :]
    return ((gap > 0).sum(axis=(0, 1)) + 0.5 * (gap == 0).sum(axis=(0, 1))) / (n1 * n0)


def paired_auc(y, scores):
    """Area under the ROC curve of every column of scores against the same column of the target.

    Parameters
    ----------
    y, scores : numpy.ndarray, (people, columns)
        Second class where `y` is above 0.

    Returns
    -------
    numpy.ndarray, (columns,)
        By ranks (Mann-Whitney), ties count half; NaN when a column has one class.
    """
    from scipy.stats import rankdata

    positive = y > 0
    n1 = positive.sum(axis=0)
    n0 = len(y) - n1
    if not len(y):
        return np.full(scores.shape[1], np.nan)
    sums = np.where(positive, rankdata(scores, axis=0), 0.0).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((n1 > 0) & (n0 > 0), (sums - n1 * (n1 + 1) / 2) / (n1 * n0), np.nan)


def auc(y, score):
    """Area under the ROC curve; NaN when only one class is there.

    Examples
    --------
    >>> float(auc(np.array([-1, -1, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])))
    0.75
    """
    return column_auc(y, np.asarray(score)[:, None])[0]


def classification_metrics(y, score, probability, prevalence):
    """Metrics of one test fold.

    Parameters
    ----------
    y : numpy.ndarray, (people,)
        -1 and 1.
    score, probability : numpy.ndarray, (people,)
    prevalence : float
        Share of the second class in the training people: the threshold of the decision, fixed before the test
        people are seen.

    Returns
    -------
    dict
        auc, balanced_accuracy (NaN with one class), brier.
    """
    positive = y > 0
    called = probability > prevalence
    parts = (
        [np.mean(called[positive]), np.mean(~called[~positive])] if 0 < positive.sum() < y.size else [np.nan]
    )
    return {
        "auc": auc(y, score),
        "balanced_accuracy": float(np.mean(parts)),
        "brier": float(np.mean((probability - positive) ** 2)),
    }


def regression_metrics(y, predicted, train_mean):
    """Metrics of one test fold.

    Parameters
    ----------
    y, predicted : numpy.ndarray, (people,)
    train_mean : float
        Mean target of the training people.

    Returns
    -------
    dict
        mae; r2 by sums of squares against the training mean (not a squared correlation; Poldrack et al. 2020,
        JAMA Psychiatry 77:534); r, NaN with fewer than three people or no spread.
    """
    spread = np.sum((y - train_mean) ** 2)
    usable = y.size > 2 and np.std(predicted) > 1e-12 and np.std(y) > 1e-12
    return {
        "mae": float(np.mean(np.abs(y - predicted))),
        "r2": float(1 - np.sum((y - predicted) ** 2) / spread) if spread > 0 else np.nan,
        "r": float(np.corrcoef(y, predicted)[0, 1]) if usable else np.nan,
    }


def platt(scores, positive, rounds=50):
    """Sigmoid from scores to probabilities (Platt 1999, with his smoothed targets).

    Parameters
    ----------
    scores : numpy.ndarray, (people,)
        Out-of-fold scores.
    positive : numpy.ndarray of bool, (people,)

    Returns
    -------
    slope, intercept : float
        On standardised scores scaled back. A falling sigmoid is refused: slope 0, the prevalence for everyone.
    """
    n1 = int(positive.sum())
    n0 = positive.size - n1
    target = np.where(positive, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    base = np.log((n1 + 1) / (n0 + 1))
    mean, spread = scores.mean(), scores.std()
    if spread < 1e-12:
        return 0.0, base
    z = (scores - mean) / spread
    slope, intercept = 0.0, base
    for _ in range(rounds):
        p = expit(slope * z + intercept)
        w = np.maximum(p * (1 - p), 1e-9)
        gradient = np.array([np.sum((target - p) * z), np.sum(target - p)])
        hessian = np.array([[np.sum(w * z * z), np.sum(w * z)], [np.sum(w * z), np.sum(w)]])
        step = np.linalg.solve(hessian + 1e-9 * np.eye(2), gradient)
        slope, intercept = slope + step[0], intercept + step[1]
        if np.abs(step).max() < 1e-10:
            break
    if slope <= 0:
        return 0.0, base
    return slope / spread, intercept - slope * mean / spread


def platt_apply(scores, sigmoid):
    """Probabilities of scores, (people,)."""
    return expit(sigmoid[0] * scores + sigmoid[1])


def corrected_interval(values, test_share, level=0.95):
    """Mean over folds with the corrected resampled interval (Nadeau & Bengio 2003, Machine Learning 52:239).

    Parameters
    ----------
    values : numpy.ndarray, (folds,)
        NaN folds are left out.
    test_share : float
        Test people per training person, 1/(k-1) for k folds.
    level : float

    Returns
    -------
    dict
        mean, low, high, folds. Fold values are not independent, so the variance is multiplied by
        ``1/J + n_test/n_train``; coverage is near .9 at a nominal .95 (benchmarks/prediction.py, intervals).
    """
    from scipy.stats import t

    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if values.size < 2:
        mean = float(values[0]) if values.size else np.nan
        return {"mean": mean, "low": np.nan, "high": np.nan, "folds": int(values.size)}
    mean = values.mean()
    half = t.ppf(0.5 + level / 2, values.size - 1) * np.sqrt(
        values.var(ddof=1) * (1 / values.size + test_share)
    )
    return {
        "mean": float(mean),
        "low": float(mean - half),
        "high": float(mean + half),
        "folds": int(values.size),
    }


def corrected_ttest(difference, test_share):
    """Corrected resampled t-test of two models on the same folds (Nadeau & Bengio 2003).

    Parameters
    ----------
    difference : numpy.ndarray, (folds,)
    test_share : float

    Returns
    -------
    dict
        difference (mean) with its 95 % interval low, high; t, p (two-sided), folds. Without the correction two equal models differ "significantly"
        in most repeated cross-validations (benchmarks/prediction.py, intervals).
    """
    from scipy.stats import t

    difference = np.asarray(difference, dtype=np.float64)
    difference = difference[np.isfinite(difference)]
    n = int(difference.size)
    mean = float(difference.mean()) if n else np.nan
    if n < 2:
        return {"difference": mean, "low": np.nan, "high": np.nan, "t": np.nan, "p": np.nan, "folds": n}
    error = np.sqrt(difference.var(ddof=1) * (1 / n + test_share))
    if error < 1e-12:
        p = 1.0 if abs(mean) < 1e-12 else np.nan
        return {"difference": mean, "low": mean, "high": mean, "t": np.nan, "p": p, "folds": n}
    value, half = float(mean / error), float(t.ppf(0.975, n - 1) * error)
    return {
        "difference": mean,
        "low": mean - half,
        "high": mean + half,
        "t": value,
        "p": float(2 * t.sf(abs(value), n - 1)),
        "folds": n,
    }


def cramers_v(first, second):
    """Association of two categories, 0 to 1 (Cramer's V)."""
    a, first_codes = np.unique(np.asarray(first, dtype=str), return_inverse=True)
    b, second_codes = np.unique(np.asarray(second, dtype=str), return_inverse=True)
    if min(a.size, b.size) < 2:
        return 0.0
    counts = np.zeros((a.size, b.size))
    np.add.at(counts, (first_codes, second_codes), 1)
    expected = counts.sum(1, keepdims=True) * counts.sum(0) / counts.sum()
    return float(
        np.sqrt(np.sum((counts - expected) ** 2 / expected) / counts.sum() / (min(a.size, b.size) - 1))
    )
