"""Steps of a model that learn from people, as scikit-learn transformers over one small set of functions.

A table of a model holds the features first and the confounds in its last columns. Everything here is fitted on
the training people only; the permutation engine calls the same functions without scikit-learn's wrapping.
"""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone

from neurobraid.prediction.harmonize import HarmonizeTable


def trailing(confounds, harmonize=None):
    """Columns at the end of a model's table that are no features.

    Parameters
    ----------
    confounds : int
    harmonize : dict, optional
        ``covariates`` (number), ``unseen``, ``names``; see `neurobraid.prediction.harmonize.HarmonizeTable`. They, the
        reference flag and the site code stand before the confounds.
    """
    return confounds + (harmonize["covariates"] + 2 if harmonize else 0)


def present_columns(features, min_present):
    """Columns with enough values and some spread.

    Parameters
    ----------
    features : numpy.ndarray, (people, features)
    min_present : float
        Smallest share of people with a value.

    Returns
    -------
    numpy.ndarray of bool, (features,)
    """
    finite = np.isfinite(features)
    if finite.all():
        return np.ptp(features, axis=0) > 0
    enough = finite.mean(axis=0) >= min_present
    low = np.where(finite, features, np.inf).min(axis=0)
    high = np.where(finite, features, -np.inf).max(axis=0)
    return enough & finite.any(axis=0) & (high > low)


def medians(values):
    """Median of every column, missing values left out; 0 for an empty column."""
    if np.isfinite(values).all():
        return np.median(values, axis=0) if len(values) else np.zeros(values.shape[1])
    clean = np.where(np.isfinite(values), values, np.nan)
    clean[:, np.isnan(clean).all(axis=0)] = 0.0
    return np.nanmedian(clean, axis=0)


def filled(values, fill):
    """Values with the missing ones replaced by `fill`, (columns,)."""
    finite = np.isfinite(values)
    return values if finite.all() else np.where(finite, values, fill)


def confound_fit(features, confounds):
    """Linear model of the features on the confounds.

    Parameters
    ----------
    features : numpy.ndarray, (people, features)
    confounds : numpy.ndarray, (people, confounds)

    Returns
    -------
    center, scale : numpy.ndarray, (confounds,)
    slopes : numpy.ndarray, (confounds, features)
        Least squares of smallest norm, so that a site nobody in the training set has gets slope 0.
    """
    center = confounds.mean(axis=0)
    scale = confounds.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    design = (confounds - center) / scale
    # ten times as fast as lstsq, which works its way through every feature
    slopes = np.linalg.pinv(design, rcond=1e-9) @ (features - features.mean(axis=0))
    return center, scale, slopes


def confound_remove(features, confounds, center, scale, slopes):
    """Features without the part that the confounds predict; the training mean stays."""
    return features - ((confounds - center) / scale) @ slopes


def scale_fit(features):
    """Mean and SD (divisor n) of every column; an SD of zero counts as 1."""
    spread = features.std(axis=0)
    return features.mean(axis=0), np.where(spread > 1e-12, spread, 1.0)


def absent(X, confounds):
    """1 for a person without any feature, else 0; (people, 1)."""
    return (~np.isfinite(X[:, : X.shape[1] - confounds]).any(axis=1)).astype(np.float64)[:, None]


class KeepCovered(TransformerMixin, BaseEstimator):
    """Drop features that too few training people have, or that do not vary; confounds stay.

    Parameters
    ----------
    confounds : int
        Number of confound columns at the end.
    min_present : float
    """

    def __init__(self, confounds=0, min_present=0.5):
        self.confounds = confounds
        self.min_present = min_present

    def fit(self, X, y=None):
        """Decide from the training people."""
        p = X.shape[1] - self.confounds
        self.keep_ = np.r_[present_columns(X[:, :p], self.min_present), np.ones(self.confounds, dtype=bool)]
        self.n_samples_seen_ = len(X)
        return self

    def transform(self, X):
        """Take the columns kept."""
        return X[:, self.keep_]


class KeepShape(KeepCovered):
    """Drop nothing: for members that read the features in their shape (maps, series, blocks of known size)."""

    def fit(self, X, y=None):
        """Keep all."""
        self.keep_ = np.ones(X.shape[1], dtype=bool)
        self.n_samples_seen_ = len(X)
        return self


class FeaturesOnly(TransformerMixin, BaseEstimator):
    """Hand on the features untouched, without the columns at the end.

    Parameters
    ----------
    last : int
    """

    def __init__(self, last=0):
        self.last = last

    def fit(self, X, y=None):
        """Nothing is learned."""
        self.n_samples_seen_ = len(X)
        return self

    def transform(self, X):
        """Features, (people, features)."""
        return X[:, : X.shape[1] - self.last]


class Correlations(TransformerMixin, BaseEstimator):
    """Series of every person to Fisher z of their correlations: what linear models read of series.

    Parameters
    ----------
    shape : tuple of int
        Volumes, regions.
    last : int
        Columns at the end that are no features; handed on as they are.
    """

    def __init__(self, shape, last=0):
        self.shape = shape
        self.last = last

    def fit(self, X, y=None):
        """Nothing is learned: a row needs no other."""
        self.n_samples_seen_ = len(X)
        return self

    def transform(self, X):
        """Upper triangle without the diagonal, (people, regions (regions - 1) / 2 + last); NaN for regions with gaps."""
        p = X.shape[1] - self.last
        rows, columns = np.triu_indices(self.shape[1], 1)
        out = np.full((len(X), rows.size), np.nan)
        for number, series in enumerate(X[:, :p].reshape(len(X), *self.shape)):
            kept = series[np.isfinite(series).any(axis=1)]
            if len(kept) > 2:
                with np.errstate(invalid="ignore", divide="ignore"):
                    centred = kept - kept.mean(axis=0)
                    z = centred / np.sqrt((centred**2).sum(axis=0))
                out[number] = np.arctanh(np.clip(z.T @ z, -0.999999, 0.999999))[rows, columns]
        return np.concatenate([out, X[:, p:]], axis=1)


class MarkAbsent(TransformerMixin, BaseEstimator):
    """Steps of one modality, after which people without it are NaN again instead of filled.

    Parameters
    ----------
    steps : sklearn.pipeline.Pipeline
    last : int
        Columns at the end of the table that are no features.
    """

    def __init__(self, steps, last=0):
        self.steps = steps
        self.last = last

    def fit(self, X, y=None):
        """Fit the steps."""
        self.steps_ = clone(self.steps).fit(X, y)
        self.n_samples_seen_ = len(X)
        return self

    def transform(self, X):
        """Features, (people, features)."""
        out = np.array(self.steps_.transform(X), dtype=np.float64)
        out[absent(X, self.last)[:, 0] > 0] = np.nan
        return out

    def __getitem__(self, name):
        return self.steps_[name]


class FillMedian(TransformerMixin, BaseEstimator):
    """Fill missing values with the median of the training people.

    Parameters
    ----------
    confounds : int
        Number of columns at the end that are no features.
    indicator : bool
        Add a first column that is 1 for a person without any feature.
    """

    def __init__(self, confounds=0, indicator=False):
        self.confounds = confounds
        self.indicator = indicator

    def fit(self, X, y=None):
        """Medians of the training people."""
        self.median_ = medians(X)
        self.n_samples_seen_ = len(X)
        return self

    def transform(self, X):
        """Fill."""
        clean = filled(X, self.median_)
        return np.concatenate([absent(X, self.confounds), clean], axis=1) if self.indicator else clean


class ConfoundRemover(TransformerMixin, BaseEstimator):
    """Regress the confounds, the last columns, out of the features and drop them.

    Parameters
    ----------
    confounds : int
    """

    def __init__(self, confounds=0):
        self.confounds = confounds

    def fit(self, X, y=None):
        """Slopes from the training people."""
        p = X.shape[1] - self.confounds
        self.model_ = confound_fit(X[:, :p], X[:, p:]) if self.confounds else None
        self.n_samples_seen_ = len(X)
        return self

    def transform(self, X):
        """Residuals, (people, features)."""
        if self.model_ is None:
            return X
        p = X.shape[1] - self.confounds
        return confound_remove(X[:, :p], X[:, p:], *self.model_)


class Standardize(TransformerMixin, BaseEstimator):
    """Mean 0 and SD 1 in the training people, divided by the square root of the number of features.

    The division gives each modality a total variance of one, so that in early fusion a modality with many
    features does not drown the others.
    """

    def fit(self, X, y=None):
        """Mean and SD of the training people."""
        self.mean_, self.scale_ = scale_fit(X)
        self.n_samples_seen_ = len(X)
        return self

    def transform(self, X):
        """Scale."""
        return (X - self.mean_) / (self.scale_ * np.sqrt(max(X.shape[1], 1)))


def prepare(train, tests, confounds, min_present, harmonize=None, indicator=False, front=None):
    """All steps at once, without scikit-learn.

    Parameters
    ----------
    train : numpy.ndarray, (people, features + confounds)
    tests : numpy.ndarray, (others, features + confounds)
    confounds : int
    min_present : float
    harmonize : dict, optional
        See `trailing`.
    indicator : bool
        See `FillMedian`.
    front : transformer, optional
        First step (`neurobraid.prediction.tangent.TangentSpace`, `Correlations`), fitted on `train`.

    Returns
    -------
    train, tests : numpy.ndarray, (people, kept), (others, kept)
        Exactly what the pipeline hands to its estimator (a test holds the two together).
    """
    last = trailing(confounds, harmonize)
    if front is not None:
        front = clone(front).fit(train)
        train, tests = front.transform(train), front.transform(tests)
    keep = present_columns(train[:, : train.shape[1] - last], min_present)
    if not keep.all():
        keep = np.r_[keep, np.ones(last, dtype=bool)]
        train, tests = train[:, keep], tests[:, keep]
    missing = (absent(train, last), absent(tests, last)) if indicator else None
    if not (np.isfinite(train).all() and np.isfinite(tests).all()):
        fill = medians(train)
        train, tests = filled(train, fill), filled(tests, fill)
    if missing:
        train, tests = (np.concatenate(pair, axis=1) for pair in zip(missing, (train, tests), strict=True))
    if harmonize:
        step = HarmonizeTable(confounds, **harmonize).fit(train)
        train, tests = step.transform(train), step.transform(tests)
    if confounds:
        p = train.shape[1] - confounds
        model = confound_fit(train[:, :p], train[:, p:])
        train = confound_remove(train[:, :p], train[:, p:], *model)
        tests = confound_remove(tests[:, :p], tests[:, p:], *model)
    mean, scale = scale_fit(train)
    scale = scale * np.sqrt(max(train.shape[1], 1))
    return (train - mean) / scale, (tests - mean) / scale
