"""Classes in order: cumulative logit with a ridge penalty, and metrics that know the order.

Targets are ranks 1, 2, ... in the order of the classes. The model is that of proportional odds (McCullagh 1980, J R
Stat Soc B 42:109): ``logit P(rank <= k) = threshold_k - score``, one direction for all thresholds.
"""

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator


def newton(start, evaluate, rounds=60):
    """Minimise a smooth convex function.

    Parameters
    ----------
    start : numpy.ndarray, (parameters,)
    evaluate : callable
        Gives value, gradient and Hessian; an infinite value outside the domain.
    rounds : int

    Returns
    -------
    numpy.ndarray, (parameters,)
    """
    theta, (value, gradient, hessian) = start, evaluate(start)
    for _ in range(rounds):
        step = np.linalg.solve(hessian + 1e-9 * np.eye(theta.size), gradient)
        size = 1.0
        while size > 1e-6:
            there = evaluate(theta - size * step)
            if np.isfinite(there[0]) and there[0] <= value + 1e-12:
                break
            size /= 2
        else:
            return theta
        theta, done = theta - size * step, np.abs(size * step).max() < 1e-8
        value, gradient, hessian = there
        if done:
            break
    return theta


def _cumulative(Z, codes, count, strength):
    """Function for `newton`: penalised log likelihood of thresholds (count - 1) and weights."""
    cuts = count - 1
    people = np.arange(len(Z))

    def evaluate(theta):
        thresholds, weights = theta[:cuts], theta[cuts:]
        if np.any(np.diff(thresholds) <= 0):
            return np.inf, None, None
        edge = np.concatenate([[-np.inf], thresholds, [np.inf]])
        eta = Z @ weights
        above, below = edge[codes + 1] - eta, edge[codes] - eta
        high, low = expit(above), expit(below)
        p = np.maximum(high - low, 1e-300)
        value = -np.log(p).sum() + 0.5 * strength * weights @ weights
        slope_high, slope_low = high * (1 - high), low * (1 - low)
        first, second = slope_high / p, slope_low / p
        toward = high + low - 1
        # gradient and curvature of the log likelihood by upper edge, lower edge and score
        grad = np.zeros((len(Z), cuts + 2))
        grad[people, codes + 1] = first
        grad[people, codes] -= second
        gradient = np.r_[-grad[:, 1:-1].sum(axis=0), -Z.T @ toward + strength * weights]
        upper = first * (1 - 2 * high) - first**2
        lower = -second * (1 - 2 * low) - second**2
        cross = first * second
        hessian = np.zeros((theta.size, theta.size))
        mixed = np.zeros((len(Z), cuts + 2))
        mixed[people, codes + 1] = -(upper + cross)
        mixed[people, codes] -= lower + cross
        square = np.zeros((cuts + 2, cuts + 2))
        np.add.at(square, (codes + 1, codes + 1), upper)
        np.add.at(square, (codes, codes), lower)
        np.add.at(square, (codes + 1, codes), cross)
        np.add.at(square, (codes, codes + 1), cross)
        hessian[:cuts, :cuts] = -square[1:-1, 1:-1]
        between = -mixed[:, 1:-1].T @ Z
        hessian[:cuts, cuts:], hessian[cuts:, :cuts] = between, between.T
        hessian[cuts:, cuts:] = (Z * (slope_high + slope_low)[:, None]).T @ Z + strength * np.eye(Z.shape[1])
        return value, gradient, hessian

    return evaluate


def _start(codes, count):
    share = np.cumsum(np.bincount(codes, minlength=count))[:-1] / codes.size
    return np.log(share / (1 - share))


def reduce(X):
    """Coordinates in the space of people when there are more features than people.

    Returns
    -------
    coordinates : numpy.ndarray, (people, r)
    back : numpy.ndarray, (features, r), or None
        A ridge solution on the coordinates times `back` is the one on the features.
    """
    if X.shape[1] <= len(X):
        return X, None
    u, s, v = np.linalg.svd(X, full_matrices=False)
    return u * s, v.T


class OddsPath(BaseEstimator):
    """Cumulative logit of ranks for every value of the grid.

    Parameters
    ----------
    grid : tuple of float
        C, the inverse strength, ascending; as in `neurobraid.prediction.estimators.GridPath`.
    """

    def __init__(self, grid=(0.01, 1.0)):
        self.grid = grid

    def fit(self, X, y):
        """Fit every value; classes that the training people lack have no threshold."""
        self.factor_ = np.sqrt(max(X.shape[1], 1))
        Z, back = reduce(X * self.factor_)
        present, codes = np.unique(y, return_inverse=True)
        self.n_samples_seen_ = len(X)
        self.weights_ = np.zeros((X.shape[1], len(self.grid)))
        if present.size < 2 or not X.shape[1]:
            return self
        theta = np.r_[_start(codes, present.size), np.zeros(Z.shape[1])]
        for place, c in enumerate(self.grid):
            theta = newton(theta, _cumulative(Z, codes, present.size, 1 / c))
            weights = theta[present.size - 1 :]
            self.weights_[:, place] = weights if back is None else back @ weights
        return self

    def scores(self, X):
        """Scores, (people, grid): higher for higher ranks."""
        return (X * self.factor_) @ self.weights_


class RankCalibrator:
    """Scores to probabilities of the classes: cumulative logit on the score alone, from inner scores."""

    def fit(self, scores, y):
        """Learn from inner out-of-fold scores (people,) and ranks (people,); a falling curve is refused."""
        self.present_, codes = np.unique(y, return_inverse=True)
        count, spread = self.present_.size, scores.std()
        self.center_, self.unit_ = scores.mean(), spread if spread > 1e-12 else 1.0
        z = ((scores - self.center_) / self.unit_)[:, None]
        self.thresholds_, self.slope_ = np.zeros(count - 1), 0.0
        if count > 1:
            self.thresholds_ = _start(codes, count)
            if spread > 1e-12:
                theta = newton(np.r_[self.thresholds_, 0.0], _cumulative(z, codes, count, 1e-3))
                if theta[-1] > 0:
                    self.thresholds_, self.slope_ = theta[:-1], float(theta[-1])
        return self

    def probabilities(self, scores):
        """Probability of every class that training had, (people, classes)."""
        z = self.slope_ * (scores - self.center_) / self.unit_
        below = expit(self.thresholds_ - z[:, None])
        return np.diff(np.column_stack([np.zeros(len(z)), below, np.ones(len(z))]), axis=1)

    def apply(self, scores):
        """Expected rank, (people,)."""
        return self.probabilities(scores) @ self.present_


def spearman(y, scores):
    """Rank correlation of every column, ties averaged.

    Parameters
    ----------
    y : numpy.ndarray, (people,) or (people, columns)
    scores : numpy.ndarray, (people, columns)

    Returns
    -------
    numpy.ndarray, (columns,)
        0 where a score is the same for everybody (it orders nobody); NaN where the target is, or for fewer than three.
    """
    from scipy.stats import rankdata

    y = np.broadcast_to(y if y.ndim == 2 else y[:, None], scores.shape)
    if len(y) < 3:
        return np.full(scores.shape[1], np.nan)
    a, b = (rankdata(v, axis=0) - (len(y) + 1) / 2 for v in (y, scores))
    product, first, second = (a * b).sum(axis=0), (a**2).sum(axis=0), (b**2).sum(axis=0)
    known = second > 1e-12
    found = np.where(known, product / np.sqrt(np.maximum(first * second, 1e-300)), 0.0)
    return np.where(first > 1e-12, found, np.nan)


def weighted_kappa(y, called):
    """Agreement of ranks beyond chance with squared distances as weights (Cohen 1968, Psychol Bull 70:213).

    Parameters
    ----------
    y, called : numpy.ndarray, (people,)
        True and predicted ranks.

    Returns
    -------
    float
        1 - mean squared distance over the one expected of the same ranks in random pairs; NaN without any spread.
    """
    expected = np.mean((y[:, None] - called[None, :]) ** 2)
    return float(1 - np.mean((y - called) ** 2) / expected) if expected > 0 else np.nan


def ordinal_metrics(y, score, predicted):
    """Metrics of one test fold.

    Parameters
    ----------
    y : numpy.ndarray, (people,)
        Ranks.
    score, predicted : numpy.ndarray, (people,)
        Score, and expected rank; its nearest rank is the class called.

    Returns
    -------
    dict
        spearman (of score and rank), kappa (quadratic weights), mae_rank (in ranks).
    """
    called = np.floor(predicted + 0.5)
    return {
        "spearman": float(spearman(y, score[:, None])[0]),
        "kappa": weighted_kappa(y, called),
        "mae_rank": float(np.mean(np.abs(y - called))),
    }
