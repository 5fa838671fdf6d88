"""Tangent-space connectivity whose reference is fitted in the fold (Varoquaux et al. 2010, MICCAI; Dadi et al. 2019)."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from neurobraid.connectivity.tangent import displacement, geometric_mean, whitening


def squares(triangles):
    """Upper triangles, (people, regions (regions + 1) / 2), to symmetric matrices."""
    regions = int((np.sqrt(8 * triangles.shape[1] + 1) - 1) / 2)
    rows, columns = np.triu_indices(regions)
    out = np.empty((len(triangles), regions, regions))
    out[:, rows, columns] = triangles
    out[:, columns, rows] = triangles
    return out


def completed(matrices, mean):
    """Covariances in which missing regions are as the reference expects them, given the regions there are.

    The regression of the missing on the present regions, and what it leaves unexplained, are those of the reference: the
    completion of a Gaussian (Dempster et al. 1977, J R Stat Soc B 39:1). It is positive definite.

    Parameters
    ----------
    matrices : numpy.ndarray, (people, regions, regions)
        Rows and columns of missing regions are NaN.
    mean : numpy.ndarray, (regions, regions)

    Returns
    -------
    numpy.ndarray, (people, regions, regions)
        NaN for a person without any region.
    """
    out = matrices.copy()
    for number, matrix in enumerate(matrices):
        there = np.isfinite(np.diag(matrix))
        if there.all() or not there.any():
            continue
        seen, lost = np.flatnonzero(there), np.flatnonzero(~there)
        slope = np.linalg.solve(mean[np.ix_(seen, seen)], mean[np.ix_(seen, lost)]).T
        cross = slope @ matrix[np.ix_(seen, seen)]
        left = mean[np.ix_(lost, lost)] - slope @ mean[np.ix_(seen, lost)]
        out[number][np.ix_(lost, seen)] = cross
        out[number][np.ix_(seen, lost)] = cross.T
        out[number][np.ix_(lost, lost)] = cross @ slope.T + (left + left.T) / 2
    return out


class TangentSpace(TransformerMixin, BaseEstimator):
    """Covariances as displacements from the geometric mean of the training people.

    Parameters
    ----------
    people : int
        Training people, evenly spaced, from whom the mean is made; all of them cost time and change little.
    iterations : int
        Steps towards the geometric mean from the log-Euclidean one.
    last : int
        Columns at the end that are no features (see `neurobraid.prediction.steps.trailing`); handed on as they are.
    min_present : float
        Share of training people who must have a region; vectors of other regions are NaN, which the next step drops.

    Attributes
    ----------
    regions_ : numpy.ndarray of int
        Regions used.
    mean_, whitening_ : numpy.ndarray, (used, used)
        The reference, from training people who have all regions used, and its inverse square root.
    n_samples_seen_ : int
    """

    def __init__(self, people=120, iterations=3, last=0, min_present=0.5):
        self.people = people
        self.iterations = iterations
        self.last = last
        self.min_present = min_present

    def fit(self, X, y=None):
        """Reference of the training people.

        Parameters
        ----------
        X : numpy.ndarray, (people, regions (regions + 1) / 2 + last)
            Upper triangles, row by row, of positive definite covariances (shrunk, e.g. by Ledoit-Wolf); NaN in the rows and
            columns of regions somebody lacks.
        y : object
            Not used.
        """
        self.n_samples_seen_ = len(X)
        matrices = squares(X[:, : X.shape[1] - self.last])
        there = np.isfinite(np.diagonal(matrices, axis1=1, axis2=2))
        there, matrices = there[there.any(axis=1)], matrices[there.any(axis=1)]
        share = there.mean(axis=0) if len(there) else np.zeros(there.shape[1])
        used = np.flatnonzero(share >= self.min_present)
        # the reference needs people who have everything: regions go, the rarest first, until there are some
        while used.size and there[:, used].all(axis=1).sum() < min(5, len(there)):
            used = np.delete(used, np.argmin(share[used]))
        self.regions_ = used
        if not used.size:
            self.mean_ = self.whitening_ = np.empty((0, 0))
            return self
        whole = matrices[there[:, used].all(axis=1)][:, used[:, None], used]
        chosen = np.unique(np.linspace(0, len(whole) - 1, min(self.people, len(whole))).round().astype(int))
        self.mean_ = geometric_mean(whole[chosen], iterations=self.iterations)
        self.whitening_ = whitening(self.mean_)
        return self

    def transform(self, X):
        """Tangent vectors, (people, regions (regions + 1) / 2 + last); off-diagonal elements times the root of two.

        Regions a person lacks are `completed` by the reference; a person without any region used has NaN.
        """
        p = X.shape[1] - self.last
        out = np.concatenate([np.full((len(X), p), np.nan), X[:, p:]], axis=1)
        if not self.regions_.size or not len(X):
            return out
        matrices = squares(X[:, :p])
        regions = matrices.shape[1]
        part = completed(matrices[:, self.regions_[:, None], self.regions_], self.mean_)
        known = np.isfinite(part).all(axis=(1, 2))
        done = np.full((len(X), regions, regions), np.nan)
        done[np.ix_(known, self.regions_, self.regions_)] = displacement(part[known], self.whitening_)
        rows, columns = np.triu_indices(regions)
        out[:, :p] = done[:, rows, columns]
        return out
