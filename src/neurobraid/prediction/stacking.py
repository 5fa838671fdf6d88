"""Stacking: how much each modality's score counts is learned, from inner out-of-fold scores only (Wolpert 1992).

The first level is that of late fusion, so nothing is fitted twice. Weights are not negative: a modality may say
nothing, but not the opposite of what it learned (Breiman 1996, Machine Learning 24:49).
"""

import numpy as np

from neurobraid.prediction.kinds import respond

#: Ridge penalty of the second level on standardised scores.
PENALTY = 1.0


def complete(members):
    """Scores of all modalities; who lacks one gets the mean of the others.

    Parameters
    ----------
    members : numpy.ndarray, (people, modalities)
        Standardised scores, NaN for a modality that a person lacks.

    Returns
    -------
    numpy.ndarray, (people, modalities)
        NaN rows for people without any.
    """
    known = np.isfinite(members)
    count = known.sum(axis=1)
    mean = np.where(known, members, 0.0).sum(axis=1) / np.maximum(count, 1)
    return np.where(known, members, np.where(count > 0, mean, np.nan)[:, None])


def weigh(Z, y, kind):
    """Non-negative weights of the modalities.

    Parameters
    ----------
    Z : numpy.ndarray, (people, modalities)
    y : numpy.ndarray, (people,)
    kind : str
        Classes: ridge-logistic, both classes counting the same; else ridge least squares on
        `neurobraid.prediction.kinds.respond`.

    Returns
    -------
    numpy.ndarray, (modalities,)
        Equal weights when all would be zero.
    """
    from scipy.optimize import minimize, nnls
    from scipy.special import expit

    count = Z.shape[1]
    target = respond(y, kind)
    if kind == "classification":
        second = (y > 0).astype(float)
        share = np.clip(second.mean(), 1e-9, 1 - 1e-9)
        each = np.where(y > 0, 0.5 / share, 0.5 / (1 - share))

        def loss(theta):
            eta = Z @ theta[:count] + theta[count]
            rest = each * (expit(eta) - second)
            value = np.sum(each * (np.logaddexp(0, eta) - second * eta))
            value += 0.5 * PENALTY * theta[:count] @ theta[:count]
            return value, np.r_[Z.T @ rest + PENALTY * theta[:count], rest.sum()]

        bounds = [(0, None)] * count + [(None, None)]
        found = minimize(
            loss, np.r_[np.ones(count) / count, 0.0], jac=True, method="L-BFGS-B", bounds=bounds,
            options={"ftol": 1e-12, "gtol": 1e-8},
        ).x[:count]  # fmt: skip
    else:
        spread = target.std() or 1.0
        rows = np.concatenate([Z - Z.mean(axis=0), np.sqrt(PENALTY) * np.eye(count)])
        found = nnls(rows, np.r_[(target - target.mean()) / spread, np.zeros(count)])[0]
    return found if found.sum() > 1e-9 else np.full(count, 1 / count)


class Stacking:
    """Second level over the modalities of a fitted late fusion.

    Parameters
    ----------
    kind : str

    Attributes
    ----------
    weights_ : numpy.ndarray, (modalities,)
    inner_scores_ : numpy.ndarray, (known people,)
        Score of every training person with weights from the other inner folds: what standardises and calibrates.
    """

    def __init__(self, kind):
        self.kind = kind

    def fit(self, members, y, inner):
        """Learn the weights.

        Parameters
        ----------
        members : numpy.ndarray, (people, modalities)
            Standardised inner out-of-fold scores of the training people, NaN where a modality is missing.
        y : numpy.ndarray, (people,)
        inner : numpy.ndarray of int, (people,)
        """
        from neurobraid.prediction.estimators import Calibrator

        Z = complete(members)
        known = np.isfinite(Z).all(axis=1)
        Z, y, inner = Z[known], y[known], inner[known]
        self.weights_ = weigh(Z, y, self.kind)
        self.inner_scores_ = np.empty(len(Z))
        for k in np.unique(inner):
            other = inner != k
            weights = weigh(Z[other], y[other], self.kind) if other.any() else self.weights_
            # only the balance between modalities may differ between inner folds, not the unit
            self.inner_scores_[~other] = Z[~other] @ (weights / weights.sum())
        self.calibrator_ = Calibrator(self.kind, linear=True).fit(self.inner_scores_, y)
        return self

    def score_of(self, members):
        """Weighted mean of standardised scores, (people,); NaN for a person without any modality."""
        return complete(members) @ (self.weights_ / self.weights_.sum())
