"""Latent fusion without what covariates explain, taken out with slopes of the rows of the fit only."""

from itertools import pairwise

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone


def with_covariates(X, blocks, design):
    """Columns of every block followed by its own copy of the covariates.

    A permutation moves whole blocks; so the covariates of a row go with its values, and what a block owes to them is
    the same in the permuted data.

    Parameters
    ----------
    X : numpy.ndarray, (N, P)
    blocks : sequence of int
        Columns of every block.
    design : numpy.ndarray, (N, C)
        Covariates without an intercept.

    Returns
    -------
    numpy.ndarray, (N, P + blocks x C)
    """
    edges = np.concatenate([[0], np.cumsum(blocks)]).astype(int)
    return np.concatenate([part for a, b in pairwise(edges) for part in (X[:, a:b], design)], axis=1)


class WithoutCovariates(TransformerMixin, BaseEstimator):
    """A transformer of `neurobraid.fusion.latent` on residuals.

    Parameters
    ----------
    latent : sklearn transformer
        For the features alone.
    blocks : sequence of int
        Features of every block.
    covariates : int
        Columns that follow the features of every block; see `with_covariates`.

    Attributes
    ----------
    edges_ : numpy.ndarray of int, (blocks + 1,)
        Where the blocks with their covariates begin.
    slopes_ : list of numpy.ndarray, (1 + C, P_b)
        Of the rows of the fit.
    weights_, strength_
        Of the transformer.
    """

    def __init__(self, latent, blocks, covariates):
        self.latent = latent
        self.blocks = blocks
        self.covariates = covariates

    def _parts(self, X):
        for a, size in zip(self.edges_[:-1], self.blocks, strict=True):
            own = X[:, a : a + size]
            design = X[:, a + size : a + size + self.covariates]
            yield own, np.column_stack([np.ones(len(X)), design])

    def fit(self, X, y=None):
        """Fit slopes and transformer on the rows of a training set; `y` is not used."""
        X = np.asarray(X, np.float64)
        self.edges_ = np.concatenate([[0], np.cumsum([b + self.covariates for b in self.blocks])]).astype(int)
        self.slopes_ = [np.linalg.lstsq(design, own, rcond=1e-9)[0] for own, design in self._parts(X)]
        self.latent_ = clone(self.latent).fit(self.residual(X))
        self.weights_, self.strength_ = self.latent_.weights_, self.latent_.strength_
        return self

    def residual(self, X):
        """Features without the part that the covariates predict, (N, P)."""
        X = np.asarray(X, np.float64)
        return np.concatenate(
            [own - design @ s for (own, design), s in zip(self._parts(X), self.slopes_, strict=True)], axis=1
        )

    def scores(self, X):
        """Scores of every block, list of (N, K)."""
        return self.latent_.scores(self.residual(X))

    def transform(self, X):
        """Scores of all blocks beside each other."""
        return self.latent_.transform(self.residual(X))


def refuse_saturated(design, people):
    """Whether covariates leave too little to analyse: fewer than four people per column.

    Parameters
    ----------
    design : numpy.ndarray, (N, C)
    people : int

    Returns
    -------
    str or None
        The reason.
    """
    if design.shape[1] and people < 4 * (design.shape[1] + 1):
        return f"{people} participants are too few to take out {design.shape[1]} covariate columns"
    return None
