"""Tangent-space connectivity whose reference is fitted in the fold (Varoquaux et al. 2010, MICCAI; Dadi et al. 2019)."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin


def _log(values):
    return np.log(np.maximum(values, 1e-12))


def _inverse_root(values):
    return 1 / np.sqrt(np.maximum(values, 1e-12))


def _map(matrices, function):
    """Apply a function to the eigenvalues of symmetric matrices, (..., regions, regions)."""
    values, vectors = np.linalg.eigh(matrices)
    return (vectors * function(values)[..., None, :]) @ np.swapaxes(vectors, -1, -2)


class TangentSpace(TransformerMixin, BaseEstimator):
    """Covariances as displacements from the geometric mean of the training people.

    Parameters
    ----------
    people : int
        Training people, evenly spaced, from whom the mean is made; all of them cost time and change little.
    iterations : int
        Steps towards the geometric mean from the log-Euclidean one.

    Attributes
    ----------
    whitening_ : numpy.ndarray, (regions, regions)
        Inverse square root of the reference.
    n_samples_seen_ : int
    """

    def __init__(self, people=120, iterations=3):
        self.people = people
        self.iterations = iterations

    def fit(self, X, y=None):
        """Reference of the training people.

        Parameters
        ----------
        X : numpy.ndarray, (people, regions (regions + 1) / 2)
            Upper triangles, row by row, of positive definite covariances (shrunk, e.g. by Ledoit-Wolf).
        y : object
            Not used.
        """
        self.n_samples_seen_ = len(X)
        used = self._square(
            X[np.unique(np.linspace(0, len(X) - 1, min(self.people, len(X))).round().astype(int))]
        )
        mean = _map(np.mean(_map(used, _log), axis=0), np.exp)
        for _ in range(self.iterations):
            root, white = _map(mean, np.sqrt), _map(mean, _inverse_root)
            mean = root @ _map(np.mean(_map(white @ used @ white, _log), axis=0), np.exp) @ root
        self.whitening_ = _map(mean, _inverse_root)
        return self

    def _square(self, X):
        regions = int((np.sqrt(8 * X.shape[1] + 1) - 1) / 2)
        rows, columns = np.triu_indices(regions)
        out = np.empty((len(X), regions, regions))
        out[:, rows, columns] = X
        out[:, columns, rows] = X
        return out

    def transform(self, X):
        """Tangent vectors, (people, regions (regions + 1) / 2); off-diagonal elements times the root of two."""
        done = _map(self.whitening_ @ self._square(X) @ self.whitening_, _log)
        rows, columns = np.triu_indices(done.shape[1])
        return done[:, rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2.0))
