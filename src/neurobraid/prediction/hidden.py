"""Members with one hidden layer that is learned without the target, and a linear model on top.

Self-organising map, restricted Boltzmann machine and radial basis functions: comparators beside the linear members, on the
same folds and under the same audit, never the default. What is tuned is the number of hidden units.
"""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from neurobraid.prediction.estimators import ridge_path

#: Hidden units tried, fewest first; for the map the length of its edge.
HIDDEN_GRIDS = {"som": (2, 4, 6), "rbm": (8, 16, 32), "rbf": (4, 8, 16)}
#: Penalty of the linear head, in units of the mean eigenvalue of the responses.
HEAD = 0.1


def distances(X, centers):
    """Squared distances, (people, centers)."""
    squared = (X**2).sum(axis=1)[:, None] + (centers**2).sum(axis=1) - 2 * X @ centers.T
    return np.maximum(squared, 0.0)


class SelfOrganizingMap(TransformerMixin, BaseEstimator):
    """A sheet of units that is fitted to the people so that neighbours on the sheet are alike (Kohonen 1982, Biol Cybern 43:59).

    Batch training from a sheet spanned by the first two principal components: no random numbers.

    Parameters
    ----------
    edge : int
        The sheet has ``edge * edge`` units.
    iterations : int
        Passes, in which the neighbourhood shrinks from half the edge to a third of a unit.

    Attributes
    ----------
    units_ : numpy.ndarray, (edge * edge, features)
    width_ : float
        Root mean squared distance of a person to the nearest unit.
    """

    def __init__(self, edge=4, iterations=30):
        self.edge = edge
        self.iterations = iterations

    def fit(self, X, y=None):
        """Fit the sheet to the people, (people, features)."""
        self.n_samples_seen_ = len(X)
        places = np.stack(np.meshgrid(*[np.arange(self.edge)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
        mean = X.mean(axis=0)
        _, values, axes = np.linalg.svd(X - mean, full_matrices=False)
        # the sign of a singular vector is arbitrary: its largest element is positive
        axes = (
            axes[:2] * np.sign(axes[np.arange(min(2, len(axes))), np.abs(axes[:2]).argmax(axis=1)])[:, None]
        )
        spread = values[:2] / np.sqrt(max(len(X), 1))
        span = (places / max(self.edge - 1, 1) - 0.5) * 2
        self.units_ = mean + (span[:, : len(axes)] * spread) @ axes
        apart = ((places[:, None] - places) ** 2).sum(axis=2)
        for radius in np.geomspace(max(self.edge / 2, 0.5), 1 / 3, self.iterations):
            nearest = distances(X, self.units_).argmin(axis=1)
            weight = np.exp(-apart[:, nearest] / (2 * radius**2))
            total = weight.sum(axis=1, keepdims=True)
            self.units_ = np.where(total > 1e-12, weight @ X / np.maximum(total, 1e-12), self.units_)
        self.width_ = float(np.sqrt(distances(X, self.units_).min(axis=1).mean())) or 1.0
        return self

    def transform(self, X):
        """Response of every unit, (people, units): a softmax of the squared distances."""
        far = distances(X, self.units_) / (2 * self.width_**2)
        out = np.exp(far.min(axis=1, keepdims=True) - far)
        return out / out.sum(axis=1, keepdims=True)

    def winners(self, X):
        """Row and column of every person's nearest unit, (people, 2)."""
        return np.stack(np.divmod(distances(X, self.units_).argmin(axis=1), self.edge), axis=1)


class RadialBasis(TransformerMixin, BaseEstimator):
    """Gaussian responses around k-means centres (Moody & Darken 1989, Neural Comput 1:281).

    Parameters
    ----------
    units : int
    seed : int

    Attributes
    ----------
    centers_ : numpy.ndarray, (units, features)
    width_ : float
        Root mean squared distance of a person to the nearest centre.
    """

    def __init__(self, units=8, seed=0):
        self.units = units
        self.seed = seed

    def fit(self, X, y=None):
        """Place the centres."""
        from sklearn.cluster import KMeans

        count = min(self.units, len(np.unique(X, axis=0)))
        self.centers_ = KMeans(count, n_init=4, random_state=self.seed).fit(X).cluster_centers_
        self.width_ = float(np.sqrt(distances(X, self.centers_).min(axis=1).mean())) or 1.0
        self.n_samples_seen_ = len(X)
        return self

    def transform(self, X):
        """Responses, (people, units)."""
        return np.exp(-distances(X, self.centers_) / (2 * self.width_**2))


class Boltzmann(TransformerMixin, BaseEstimator):
    """Hidden units of a restricted Boltzmann machine (Hinton 2002, Neural Comput 14:1771).

    Standardised features enter as probabilities, by a logistic curve.

    Parameters
    ----------
    units : int
    seed : int
    """

    def __init__(self, units=16, seed=0):
        self.units = units
        self.seed = seed

    @staticmethod
    def _squeeze(X):
        return 1 / (1 + np.exp(-1.7 * np.clip(X, -20, 20)))

    def fit(self, X, y=None):
        """Contrastive divergence on the people, (people, features), features of SD 1."""
        from sklearn.neural_network import BernoulliRBM

        self.machine_ = BernoulliRBM(
            self.units, learning_rate=0.05, batch_size=10, n_iter=30, random_state=self.seed
        ).fit(self._squeeze(X))
        self.n_samples_seen_ = len(X)
        return self

    def transform(self, X):
        """Probability of every hidden unit, (people, units)."""
        return self.machine_.transform(self._squeeze(X))


class HiddenPath(BaseEstimator):
    """One of the hidden layers and a linear head, fitted once per number of units, with the interface of `GridPath`.

    Parameters
    ----------
    estimator : {'som', 'rbm', 'rbf'}
        Heads: ridge; logistic regression on the Boltzmann machine of a classification.
    kind : {'classification', 'regression'}
    grid : tuple of float
        Numbers of units, fewest first (edge of the map for ``som``).
    seed : int
    """

    def __init__(self, estimator="som", kind="classification", grid=HIDDEN_GRIDS["som"], seed=0):
        self.estimator = estimator
        self.kind = kind
        self.grid = grid
        self.seed = seed

    def _layer(self, size):
        if self.estimator == "som":
            return SelfOrganizingMap(max(int(size), 1))
        return (RadialBasis if self.estimator == "rbf" else Boltzmann)(max(int(size), 1), self.seed)

    def fit(self, X, y):
        """Fit one layer and head per value."""
        y = np.asarray(y, dtype=np.float64)
        # features of a block have total variance 1 here
        self.factor_ = np.sqrt(max(X.shape[1], 1))
        self.constant_ = float(y.mean())
        usable = X.shape[1] > 0 and np.ptp(y) > 0
        self.layers_, self.heads_ = [], []
        for size in self.grid if usable else ():
            layer = self._layer(size).fit(X * self.factor_)
            response = layer.transform(X * self.factor_)
            center, spread = response.mean(axis=0), response.std(axis=0)
            if self.estimator == "rbm" and self.kind == "classification":
                from sklearn.linear_model import LogisticRegression

                # units of unequal range count alike; the total variance is one, as that of the features
                unit = np.maximum(spread, 1e-6) * np.sqrt(spread.size)
                head = LogisticRegression(C=1.0, tol=1e-6, max_iter=1000, class_weight="balanced")
                head.fit((response - center) / unit, y)
                weights, intercept = head.coef_[0] / unit, float(head.intercept_[0])
            else:
                weights, intercept = ridge_path(response - center, y, (HEAD,), self.kind)
                weights, intercept = weights[:, 0], float(intercept[0])
            self.layers_.append(layer)
            self.heads_.append([center, weights, intercept])
        return self

    def scores(self, X):
        """Scores, (people, grid)."""
        if not self.layers_:
            return np.full((len(X), len(self.grid)), self.constant_)
        return np.stack(
            [
                (layer.transform(X * self.factor_) - center) @ weights + intercept
                for layer, (center, weights, intercept) in zip(self.layers_, self.heads_, strict=True)
            ],
            axis=1,
        )
