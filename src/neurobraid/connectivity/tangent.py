"""Tangent-space connectivity that can be fitted on some people and applied to others.

Varoquaux et al. 2010 (MICCAI, LNCS 6361:200): covariances are expressed as displacements from their geometric mean. The mean
belongs to the people it was computed from, so it is fitted inside the fold; the study stores the series, never tangent vectors.
"""

import numpy as np

from neurobraid.connectivity.matrix import ledoit_wolf, positive_definite
from neurobraid.errors import InputError


def covariance(series, *, shrink=True):
    """Covariance of one scan's standardised series.

    Parameters
    ----------
    series : numpy.ndarray, (T, R)
        No NaN columns; censored rows (NaN throughout) are left out.
    shrink : bool
        Ledoit-Wolf, else the sample covariance.

    Returns
    -------
    numpy.ndarray, (R, R)

    Raises
    ------
    InputError
        Without shrinkage: not positive definite.
    """
    rows = series[np.isfinite(series).any(1)]
    centred = rows - rows.mean(0)
    z = centred / centred.std(0)
    return ledoit_wolf(z)[0] if shrink else positive_definite(z.T @ z / len(z))


def spectral(matrices, function):
    """Apply a function to the eigenvalues of symmetric matrices, (..., R, R)."""
    values, vectors = np.linalg.eigh(matrices)
    return (vectors * function(values)[..., None, :]) @ np.swapaxes(vectors, -1, -2)


def _log(values):
    return np.log(np.maximum(values, 1e-12))


def whitening(mean):
    """Inverse square root of a reference, (R, R)."""
    return spectral(mean, lambda values: 1 / np.sqrt(np.maximum(values, 1e-12)))


def geometric_mean(covariances, *, iterations=30, tolerance=1e-7):
    """Geometric mean of positive definite matrices.

    Gradient descent in the affine-invariant metric (Fletcher & Joshi 2007, Signal Process 87:250), started at the log-Euclidean
    mean, which is near.

    Parameters
    ----------
    covariances : numpy.ndarray, (N, R, R)
    iterations : int
    tolerance : float
        On the norm of the mean logarithm divided by the number of elements.

    Returns
    -------
    numpy.ndarray, (R, R)

    Raises
    ------
    InputError
        A matrix is not positive definite.
    """
    values, vectors = np.linalg.eigh(covariances)
    flat = np.flatnonzero(values[:, 0] <= 1e-12)
    if flat.size:
        raise InputError(
            f"covariance {flat[0] + 1}", "smallest eigenvalue", float(values[flat[0], 0]), "above 0",
            "leave out regions without data, or use the shrunk covariance",
        )  # fmt: skip
    logs = (vectors * np.log(values)[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    mean = spectral(logs.mean(0), np.exp)
    step, last = 1.0, np.inf
    for _ in range(iterations):
        root, inverse = spectral(mean, np.sqrt), whitening(mean)
        gradient = spectral(inverse @ covariances @ inverse, _log).mean(0)
        norm = np.linalg.norm(gradient) / gradient.size
        if norm > last:
            step /= 2
        last = norm
        mean = root @ spectral(step * gradient, np.exp) @ root
        mean = (mean + mean.T) / 2
        if norm < tolerance:
            break
    return mean


def displacement(covariances, white):
    """Covariances as displacements from a reference.

    Parameters
    ----------
    covariances : numpy.ndarray, (N, R, R)
    white : numpy.ndarray, (R, R)
        `whitening` of the reference.

    Returns
    -------
    numpy.ndarray, (N, R, R)
        Off-diagonal elements times the square root of 2, so that the length of one triangle is the distance from the
        reference.
    """
    found = spectral(white @ covariances @ white, _log)
    return found * np.where(np.eye(len(white), dtype=bool), 1.0, np.sqrt(2.0))


class Tangent:
    """Covariances to tangent vectors, with the interface of a scikit-learn transformer.

    Parameters
    ----------
    regions : sequence of int, optional
        Columns to use. Default: regions that every person of `fit` has.
    shrink : bool
        Ledoit-Wolf covariance.

    Attributes
    ----------
    regions_ : numpy.ndarray of int
        Columns used; a person without one of them gets NaN for all vectors, to be imputed or left out in the fold.
    mean_ : numpy.ndarray, (K, K)
    """

    def __init__(self, regions=None, shrink=True):
        self.regions, self.shrink = regions, shrink

    def fit(self, series, y=None):
        """Fit the reference on a list of (T, R) arrays."""
        with np.errstate(invalid="ignore"):
            usable = np.all([self._usable(s) for s in series], 0)
        self.regions_ = np.flatnonzero(usable) if self.regions is None else np.asarray(self.regions)
        stack = np.stack([covariance(s[:, self.regions_], shrink=self.shrink) for s in series])
        self.mean_ = geometric_mean(stack)
        self._whiten = whitening(self.mean_)
        return self

    @staticmethod
    def _usable(series):
        rows = series[np.isfinite(series).any(1)]
        return np.isfinite(rows).all(0) & (rows.max(0) > rows.min(0))

    def transform(self, series):
        """Tangent vectors of a list of (T, R) arrays, (N, K (K + 1) / 2); off-diagonal entries times the square root of 2."""
        rows, columns = np.tril_indices(len(self.regions_))
        out = np.full((len(series), len(rows)), np.nan)
        there = [k for k, one in enumerate(series) if self._usable(one)[self.regions_].all()]
        if there:
            stack = np.stack([covariance(series[k][:, self.regions_], shrink=self.shrink) for k in there])
            out[there] = displacement(stack, self._whiten)[:, rows, columns]
        return out

    def fit_transform(self, series, y=None):
        """`fit`, then `transform` the same people: never for people who are tested."""
        return self.fit(series).transform(series)
