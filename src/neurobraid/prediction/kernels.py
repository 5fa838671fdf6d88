"""Kernel regression for brain age: kernel ridge tuned by inner folds, and a Gaussian process that tunes itself.

Both take every penalty or noise level from one eigendecomposition, so that a thousand people need seconds.
"""

import numpy as np
from sklearn.base import BaseEstimator

#: Widths of the radial kernel, in units of the root mean squared distance of training people.
WIDTHS = (0.5, 1.0, 2.0)
#: Penalties of kernel ridge and noise levels of the Gaussian process, relative to a kernel of unit diagonal.
LEVELS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
#: Share of the radial kernel and its width; what is left of the share is linear.
MIXTURES = ((0.0, 1.0), (1.0, 1.0), (0.5, 0.5), (0.5, 1.0), (0.5, 2.0))


def _squared(first, second):
    cross = first @ second.T
    norms = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)
    return np.maximum(norms - 2 * cross, 0.0), cross


def _mixed(squared, cross, share, width, unit, trace):
    """Kernel of unit mean diagonal among training people."""
    radial = np.exp(-squared / (2 * width**2 * unit)) if share else 0.0
    return share * radial + ((1 - share) * cross / trace if share < 1 else 0.0)


class KernelRidgePath(BaseEstimator):
    """Kernel ridge regression with a radial kernel, for every width and penalty.

    Parameters
    ----------
    grid : tuple of (float, float)
        Width (see `WIDTHS`) and penalty; the strongest regularisation first, as ties go to the first.
    """

    def __init__(self, grid=tuple((w, p) for p in LEVELS for w in WIDTHS[::-1])):
        self.grid = grid

    def fit(self, X, y):
        """Fit all widths and penalties; X (people, features), y (people,)."""
        self.train_, self.mean_ = X, float(np.mean(y))
        squared, cross = _squared(X, X)
        self.unit_ = squared.mean() or 1.0
        self.weights_ = np.empty((len(y), len(self.grid)))
        for width in dict.fromkeys(w for w, _ in self.grid):
            values, vectors = np.linalg.eigh(_mixed(squared, cross, 1.0, width, self.unit_, 1.0))
            target = vectors.T @ (y - self.mean_)
            for place, (w, penalty) in enumerate(self.grid):
                if w == width:
                    self.weights_[:, place] = vectors @ (target / (np.maximum(values, 0.0) + penalty))
        return self

    def scores(self, X):
        """Predictions, (people, grid)."""
        squared, cross = _squared(X, self.train_)
        out = np.empty((len(X), len(self.grid)))
        for width in dict.fromkeys(w for w, _ in self.grid):
            here = [k for k, (w, _) in enumerate(self.grid) if w == width]
            kernel = _mixed(squared, cross, 1.0, width, self.unit_, 1.0)
            out[:, here] = kernel @ self.weights_[:, here] + self.mean_
        return out


class GaussianProcessPath(BaseEstimator):
    """Gaussian process whose kernel and noise have the largest marginal likelihood of a grid.

    The variance of the signal has a closed form for given kernel and relative noise (Rasmussen & Williams 2006,
    chapter 5), so nothing is searched by gradients and the result does not depend on a start.

    Parameters
    ----------
    grid : tuple of (float, float)
        Share of the radial kernel, the rest being linear, and its width; see `MIXTURES`.

    Attributes
    ----------
    kernel_ : tuple of float
        Share, width, noise variance relative to the signal's, signal variance in squared units of y.
    """

    def __init__(self, grid=MIXTURES):
        self.grid = grid

    def fit(self, X, y):
        """Fit; X (people, features), y (people,)."""
        self.train_, self.mean_ = X, float(np.mean(y))
        centred, n = y - self.mean_, len(y)
        squared, cross = _squared(X, X)
        self.unit_, self.trace_ = squared.mean() or 1.0, np.trace(cross) / n or 1.0
        best = None
        for share, width in self.grid:
            kernel = _mixed(squared, cross, share, width, self.unit_, self.trace_)
            values, vectors = np.linalg.eigh(kernel)
            values, target = np.maximum(values, 0.0), vectors.T @ centred
            for noise in LEVELS:
                signal = np.mean(target**2 / (values + noise))
                likelihood = -0.5 * (n * np.log(max(signal, 1e-300)) + np.log(values + noise).sum())
                if best is None or likelihood > best[0]:
                    best = likelihood, (share, width, noise, float(signal)), values, vectors, target
        _, self.kernel_, values, self.vectors_, target = best
        self.inverse_ = 1 / (values + self.kernel_[2])
        self.weights_ = self.vectors_ @ (target * self.inverse_)
        return self

    def _kernel(self, X):
        squared, cross = _squared(X, self.train_)
        return _mixed(squared, cross, *self.kernel_[:2], self.unit_, self.trace_)

    def scores(self, X):
        """Predictions, (people, grid): equal columns, as the likelihood has chosen already."""
        return np.repeat((self._kernel(X) @ self.weights_ + self.mean_)[:, None], len(self.grid), axis=1)

    def deviation(self, X):
        """Predictive SD of a new person, noise included, (people,), in units of y."""
        share, _, noise, signal = self.kernel_
        own = share + (1 - share) * (X**2).sum(axis=1) / self.trace_
        known = ((self._kernel(X) @ self.vectors_) ** 2 * self.inverse_).sum(axis=1)
        return np.sqrt(signal * np.maximum(own - known, 0.0) + signal * noise)
