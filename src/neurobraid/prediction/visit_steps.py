"""Slopes and normative changes: what several visits of a person mean given other people, as a step of the pipeline."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

#: Fewest degrees of freedom from which the noise of a visit is estimated; below, slopes are not shrunken.
FREEDOM = 10


def slope_model(slope, spread, rest, freedom):
    """Population slope, spread of people's slopes and noise of a visit of every feature, from training people.

    Parameters
    ----------
    slope, spread, rest, freedom : numpy.ndarray, (people, features)
        See `neurobraid.prediction.visits.person_slopes`; NaN where a person lacks the feature.

    Returns
    -------
    mean, between, noise : numpy.ndarray, (features,)
        Unit per year; its variance between people; variance of a visit, NaN where it cannot be told from fewer than
        `FREEDOM` degrees of freedom (two visits leave none). ``between`` by moments (DerSimonian & Laird 1986, Control
        Clin Trials 7:177): the two-stage form of a mixed model with random slopes.
    """
    known = np.isfinite(slope) & (np.nan_to_num(spread) > 0)
    b, s = np.where(known, slope, 0.0), np.where(known, spread, 0.0)
    df = np.where(known, np.nan_to_num(freedom), 0.0).sum(axis=0)
    noise = np.where(known, np.nan_to_num(rest), 0.0).sum(axis=0) / np.maximum(df, 1)
    noise = np.where((df >= FREEDOM) & (noise > 0), noise, np.nan)
    unit = np.where(np.isfinite(noise), noise, 1.0)
    weight = s / unit
    total = np.maximum(weight.sum(axis=0), 1e-300)
    mean = (weight * b).sum(axis=0) / total
    q = (weight * (b - mean) ** 2).sum(axis=0)
    scale = total - (weight**2).sum(axis=0) / total
    between = np.maximum((q - (known.sum(axis=0) - 1)) / np.where(scale > 0, scale, np.inf), 0.0)
    share = np.where(known, 1 / (between + unit / np.where(known, spread, 1.0)), 0.0)
    better = (share * b).sum(axis=0) / np.maximum(share.sum(axis=0), 1e-300)
    return np.where(np.isfinite(noise), better, mean), between, noise


def shrink(slope, spread, mean, between, noise):
    """Slopes drawn to the population slope by how little a person's visits say.

    Parameters
    ----------
    slope, spread : numpy.ndarray, (people, features)
    mean, between, noise : numpy.ndarray, (features,)
        From `slope_model`.

    Returns
    -------
    numpy.ndarray, (people, features)
        ``mean + w (slope - mean)`` with ``w = between / (between + noise / spread)``; the slope itself where the noise is
        unknown; the mean for a person with one visit; NaN where the feature is missing.
    """
    have = np.nan_to_num(spread) > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        w = between / (between + noise / np.where(have, spread, np.nan))
    w = np.where(np.isfinite(noise) & have, np.nan_to_num(w), 1.0)
    out = mean + w * (np.where(have, slope, mean) - mean)
    return np.where(np.isfinite(spread), out, np.nan)


class VisitStep(TransformerMixin, BaseEstimator):
    """First step of a model of visits: what it takes from other people comes from training people only.

    Parameters
    ----------
    last : int
        Columns at the end that are no features and stay.
    use : {'slope', 'normative'}
        Slope: features, their ``spread``, ``rest`` and ``freedom`` (see `neurobraid.prediction.visits.person_slopes`), all of the same number, become
        shrunken slopes. Normative: changes, values at baseline, and `shared` columns (time gap, if known, and the flag
        of controls) become z scores of the change given baseline and gap, by the training controls.
    shared : int
    """

    def __init__(self, last=0, use="slope", shared=0):
        self.last = last
        self.use = use
        self.shared = shared

    def _split(self, X):
        end = X.shape[1] - self.last
        count = (end - self.shared) // (4 if self.use == "slope" else 2)
        parts = [X[:, k * count : (k + 1) * count] for k in range((end - self.shared) // max(count, 1))]
        return parts, X[:, end - self.shared : end], X[:, end:]

    def fit(self, X, y=None):
        """Learn from the training people."""
        parts, shared, _ = self._split(X)
        if self.use == "slope":
            self.mean_, self.between_, self.noise_ = slope_model(*parts)
        else:
            control = shared[:, -1] == 1
            design, self.center_ = self._design(parts[1], shared)
            self.weights_, self.spread_ = _norms(parts[0], design, control)
        self.n_samples_seen_ = len(X)
        return self

    def _design(self, start, shared, center=None):
        """Per feature: constant, value at baseline, gap; (people, features, 2 or 3)."""
        gap = shared[:, :-1]
        if center is None:
            with np.errstate(invalid="ignore"):
                known = np.isfinite(start)
                center = np.where(known, start, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        ones = np.ones_like(start)
        parts = [ones, start - center, *(np.broadcast_to(g[:, None], start.shape) for g in gap.T)]
        return np.stack(parts, axis=2), center

    def transform(self, X):
        """Slopes or z scores, then the last columns."""
        parts, shared, rest = self._split(X)
        if self.use == "slope":
            ready = shrink(parts[0], parts[1], self.mean_, self.between_, self.noise_)
        else:
            design, _ = self._design(parts[1], shared, self.center_)
            expected = np.einsum("pfk,fk->pf", design, self.weights_)
            ready = (parts[0] - expected) / self.spread_
        return np.concatenate([ready, rest], axis=1)


def _norms(change, design, control):
    """Least squares of every feature's change on its design among controls, and the SD of what is left."""
    count = change.shape[1]
    weights, spread = np.zeros((count, design.shape[2])), np.full(count, np.nan)
    for j in range(count):
        use = control & np.isfinite(change[:, j]) & np.isfinite(design[:, j]).all(axis=1)
        rank = design.shape[2]
        if use.sum() <= rank + 2:
            continue
        A, b = design[use, j], change[use, j]
        weights[j], _, rank, _ = np.linalg.lstsq(A, b, rcond=1e-9)
        left = b - A @ weights[j]
        sd = np.sqrt(left @ left / (use.sum() - rank))
        spread[j] = sd if sd > 1e-12 * max(1.0, np.abs(b).max()) else np.nan
    return weights, spread
