"""Further learners, each fitted once per value of one tuned number: nets, trees, Gaussian processes, kernels.

They stand where the linear ones of `neurobraid.prediction.estimators` stand: same pipeline, same inner folds, same
audit. All are deterministic: seeds are explicit and one thread is used. Flexible ones can read back what a linear
removal of confounds writes into features (Hamdan et al. 2023, GigaScience 12:giad071), so the audit fits them to
features of other people (`controls`).
"""

import warnings

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

#: Values tried by the inner folds, from strong to weak regularisation; `LearnerPath` says what they are.
GRIDS = {
    "elastic-net": (0.7, 0.4, 0.2, 0.1, 0.05),
    "random-forest": (0.1, 0.03, 0.01),
    "gradient-boosting": (10.0, 30.0, 100.0),
    "gaussian-process": (4.0, 2.0, 1.0),
    "mlp": (10.0, 1.0, 0.1),
    "kernel-sum": (100.0, 10.0, 1.0, 0.1, 0.01),
}
#: Learners that are no weighted sum of the features.
FLEXIBLE = ("random-forest", "gradient-boosting", "gaussian-process", "mlp")
#: Those of `neurobraid.prediction.members`.
HIDDEN = ("som", "rbm", "rbf", "mlp-dropout", "autoencoder", "conv3d", "conv1d", "lstm")
#: Learners whose grid grows from strong to weak.
_RISING = ("gradient-boosting",)
TREES, NETWORKS, DEPTH = 100, 2, 3


def flexible(model):
    """True when the learner of a model's record is no weighted sum of the features."""
    return model["estimator"] in (*FLEXIBLE, *HIDDEN) or (
        model["estimator"] == "kernel-sum" and "rbf" in model.get("kernels", ())
    )


def make_learner(model):
    """The learner of a model's record, its grid from strong to weak.

    Parameters
    ----------
    model : dict
        ``estimator``, ``kind``, ``grid``, ``seed``, ``kernels``.

    Returns
    -------
    LearnerPath or KernelRidgePath
    """
    grid = tuple(sorted(model["grid"], reverse=model["estimator"] not in _RISING))
    if model["estimator"] == "kernel-sum":
        return KernelRidgePath(grid, model["kind"], tuple(model["kernels"]))
    return LearnerPath(model["estimator"], model["kind"], grid, model["seed"])


def between(scores, y):
    """What must be added to scores so that zero lies midway between the classes' means, per column."""
    second = y > 0
    if second.all() or not second.any():
        return np.zeros(scores.shape[1])
    return -0.5 * (scores[second].mean(axis=0) + scores[~second].mean(axis=0))


def _logit(probability):
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


def _one_thread():
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


class LearnerPath(BaseEstimator):
    """One learner at every value of its tuned number.

    Parameters
    ----------
    estimator : str
        elastic-net: penalty as a share of the one that leaves no feature, half of it absolute, half squared; classes
        are -1 and 1 and zero lies midway (Zou & Hastie 2005, J R Stat Soc B 67:301). random-forest: smallest leaf as
        a share of the training people, 100 trees (Breiman 2001). gradient-boosting: rounds of histogram trees of
        depth 3 at rate 0.1. gaussian-process: length of a radial kernel in median distances between people (Rasmussen
        & Williams 2006); Laplace for classes with height 1, for numbers height and noise by marginal likelihood. mlp:
        weight decay of one hidden layer of 16, mean of two starts.
    kind : {'classification', 'regression'}
    grid : tuple of float
        From strong to weak.
    seed : int

    Attributes
    ----------
    n_samples_seen_ : int
    """

    def __init__(self, estimator="elastic-net", kind="classification", grid=GRIDS["elastic-net"], seed=0):
        self.estimator = estimator
        self.kind = kind
        self.grid = grid
        self.seed = seed

    def fit(self, X, y):
        """Fit every value of the grid.

        Parameters
        ----------
        X : numpy.ndarray, (people, features)
            Scaled as by `neurobraid.prediction.steps.Standardize`.
        y : numpy.ndarray, (people,)
            -1 and 1, or numbers.
        """
        y = np.asarray(y, dtype=np.float64)
        self.n_samples_seen_ = len(X)
        # unit variance per feature, the scale that networks and length scales expect
        self.factor_ = np.sqrt(max(X.shape[1], 1))
        classes = self.kind == "classification"
        self.center_, self.unit_ = (0.0, 1.0) if classes else (y.mean(), y.std() or 1.0)
        target = y if classes else (y - self.center_) / self.unit_
        self.constant_ = float(np.mean(y))
        self.fitted_ = None
        if X.shape[1] and np.ptp(target) > 0:
            with _one_thread(), warnings.catch_warnings():
                # a value of the grid at which a search stops early is a value among others: inner folds judge it
                warnings.simplefilter("ignore")
                self.fitted_ = _FIT[self.estimator](X * self.factor_, target, self)
        return self

    def scores(self, X):
        """Scores, (people, grid): log odds of the second class, or values in the unit of the target."""
        if self.fitted_ is None:
            return np.full((len(X), len(self.grid)), self.constant_)
        with _one_thread():
            raw = self.fitted_(X * self.factor_)
        return raw * self.unit_ + self.center_


class _Linear:
    def __init__(self, weights, intercept):
        self.weights, self.intercept = weights, intercept

    def __call__(self, X):
        return X @ self.weights + self.intercept


class _Each:
    """One fitted model, or several to average, per value of the grid."""

    def __init__(self, models, classes):
        self.models, self.classes = models, classes

    def __call__(self, X):
        take = (lambda m: _logit(m.predict_proba(X)[:, 1])) if self.classes else (lambda m: m.predict(X))
        return np.stack([np.mean([take(m) for m in group], axis=0) for group in self.models], axis=1)


class _Staged:
    """Boosted trees: one fit serves every number of rounds."""

    def __init__(self, model, rounds, classes):
        self.model, self.rounds, self.classes = model, [int(r) for r in rounds], classes

    def __call__(self, X):
        stages = self.model.staged_decision_function(X) if self.classes else self.model.staged_predict(X)
        found = [np.asarray(s).reshape(len(X)) for s in stages]
        return np.stack([found[min(r, len(found)) - 1] for r in self.rounds], axis=1)


def _elastic_net(X, y, learner):
    from sklearn.linear_model import enet_path

    half, centred = 0.5, y - y.mean()
    most = np.abs(X.T @ centred).max() / (len(X) * half)
    penalties = np.array(learner.grid) * max(most, 1e-12)
    _, weights, _ = enet_path(X, centred, l1_ratio=half, alphas=penalties, max_iter=5000, tol=1e-6)
    middle = between(X @ weights, y) if learner.kind == "classification" else y.mean()
    return _Linear(weights, middle)


def _forest(X, y, learner):
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    classes = learner.kind == "classification"
    shared = {"n_estimators": TREES, "max_features": "sqrt", "random_state": learner.seed, "n_jobs": 1}
    made = []
    for share in learner.grid:
        leaf = max(int(np.ceil(share * len(X))), 1)
        model = (
            RandomForestClassifier(min_samples_leaf=leaf, class_weight="balanced", **shared)
            if classes
            else RandomForestRegressor(min_samples_leaf=leaf, **shared)
        )
        made.append([model.fit(X, y)])
    return _Each(made, classes)


def _boosting(X, y, learner):
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    classes = learner.kind == "classification"
    shared = {
        "learning_rate": 0.1, "max_iter": int(max(learner.grid)), "max_depth": DEPTH, "min_samples_leaf": 10,
        "l2_regularization": 1.0, "early_stopping": False, "random_state": learner.seed,
    }  # fmt: skip
    model = (
        HistGradientBoostingClassifier(class_weight="balanced", **shared)
        if classes
        else HistGradientBoostingRegressor(**shared)
    )
    return _Staged(model.fit(X, y), learner.grid, classes)


def _median_distance(X):
    """Median distance between people; 1 when all are the same."""
    from scipy.spatial.distance import pdist

    distances = pdist(X)
    middle = float(np.median(distances)) if distances.size else 0.0
    return middle if middle > 1e-12 else 1.0


def _gaussian_process(X, y, learner):
    from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    classes, middle = learner.kind == "classification", _median_distance(X)
    made = []
    for length in learner.grid:
        radial = RBF(length * middle, "fixed")
        height = ConstantKernel(1.0, (1e-3, 1e3)) * radial
        model = (
            # a height found anew in every inner fold would give scores of another scale in each, and pooling them
            # for standardisation and calibration would be wrong: it stays 1
            GaussianProcessClassifier(radial, optimizer=None, random_state=learner.seed)
            if classes
            else GaussianProcessRegressor(
                height + WhiteKernel(0.5, (1e-3, 1e2)), alpha=1e-8, random_state=learner.seed
            )
        )
        made.append([model.fit(X, y)])
    return _Each(made, classes)


def _network(X, y, learner):
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    classes = learner.kind == "classification"
    made = []
    for decay in learner.grid:
        shared = {
            "hidden_layer_sizes": (16,),
            "activation": "tanh",
            "solver": "lbfgs",
            "alpha": decay,
            "max_iter": 100,
        }
        kind = MLPClassifier if classes else MLPRegressor
        made.append(
            [kind(**shared, random_state=learner.seed + start).fit(X, y) for start in range(NETWORKS)]
        )
    return _Each(made, classes)


_FIT = {
    "elastic-net": _elastic_net,
    "random-forest": _forest,
    "gradient-boosting": _boosting,
    "gaussian-process": _gaussian_process,
    "mlp": _network,
}


# ------------------------------------------------------------------ sums of kernels


class BlockKernel(TransformerMixin, BaseEstimator):
    """Similarity of people to the training people in one modality, the last step of its block.

    Parameters
    ----------
    kernels : tuple of {'linear', 'rbf'}
        Their mean is taken; ``rbf`` has a width of the median distance between training people.

    Attributes
    ----------
    train_ : numpy.ndarray, (training people, features)
    n_samples_seen_ : int
    """

    def __init__(self, kernels=("linear",)):
        self.kernels = kernels

    def fit(self, X, y=None):
        """Keep the training people, and what centres and scales each kernel."""
        self.train_, self.n_samples_seen_ = np.array(X, dtype=np.float64), len(X)
        self.width_ = _median_distance(X) if "rbf" in self.kernels else 1.0
        self.center_, self.trace_ = [], []
        for name in self.kernels:
            gram = self._raw(name, X)
            self.center_.append(gram.mean(axis=0))
            centred = gram - gram.mean(axis=0) - gram.mean(axis=1)[:, None] + gram.mean()
            self.trace_.append(float(max(np.trace(centred), 1e-12)))
        return self

    def _raw(self, name, X):
        if name == "linear":
            return X @ self.train_.T
        squares = np.sum(X**2, axis=1)[:, None] + np.sum(self.train_**2, axis=1) - 2 * X @ self.train_.T
        return np.exp(-np.maximum(squares, 0.0) / (2 * self.width_**2))

    def transform(self, X):
        """Kernel to the training people, centred by them, trace of theirs = their number; (people, training people)."""
        total = np.zeros((len(X), len(self.train_)))
        for name, center, trace in zip(self.kernels, self.center_, self.trace_, strict=True):
            raw = self._raw(name, X)
            total += (raw - center - raw.mean(axis=1)[:, None] + center.mean()) * (len(self.train_) / trace)
        return total / len(self.kernels)


class KernelRidgePath(BaseEstimator):
    """Dual ridge on the mean of the modalities' kernels, for every penalty (Goenen & Alpaydin 2011, JMLR 12:2211).

    The blocks of a pipeline end with `BlockKernel`, so that the table that arrives has one square of similarities per
    modality. With linear kernels this is early fusion with ridge: block scaling is the normalisation of traces.

    Parameters
    ----------
    grid : tuple of float
        Penalties, in units of the mean non-zero eigenvalue of the mean kernel.
    kind : {'classification', 'regression'}
    kernels : tuple of {'linear', 'rbf'}
    """

    def __init__(self, grid=GRIDS["kernel-sum"], kind="classification", kernels=("linear",)):
        self.grid = grid
        self.kind = kind
        self.kernels = kernels

    def block_step(self):
        """Last step of every block; see `neurobraid.prediction.estimators.make_pipeline`."""
        return ("kernel", BlockKernel(self.kernels))

    def _mean(self, X):
        return X.reshape(len(X), -1, self.n_samples_seen_).mean(axis=1)

    def fit(self, X, y):
        """Fit every penalty from one eigendecomposition.

        Parameters
        ----------
        X : numpy.ndarray, (people, modalities * people)
        y : numpy.ndarray, (people,)
        """
        y = np.asarray(y, dtype=np.float64)
        self.n_samples_seen_ = len(X)
        gram = self._mean(X)
        values, vectors = np.linalg.eigh(0.5 * (gram + gram.T))
        values = np.maximum(values, 0.0)
        rank = max(int(np.sum(values > 1e-9 * max(values.max(), 1e-300))), 1)
        unit = max(values.sum() / rank, 1e-300)
        inner = (vectors.T @ (y - y.mean()))[:, None]
        self.dual_ = vectors @ (inner / (values[:, None] + unit * np.asarray(self.grid)))
        self.intercept_ = (
            between(gram @ self.dual_, y)
            if self.kind == "classification"
            else np.full(len(self.grid), y.mean())
        )
        return self

    def scores(self, X):
        """Scores, (people, grid)."""
        return self._mean(X) @ self.dual_ + self.intercept_


# ------------------------------------------------------------------ shuffled-feature control


def controls(data, folds, model, pipelines, place):
    """Scores that the audit's shuffled-feature control needs from a flexible learner.

    Parameters
    ----------
    data : neurobraid.prediction.dataset.Dataset
    folds : neurobraid.prediction.folds.Folds
        The first repeat is used.
    model : dict
    pipelines : dict of str to sklearn.pipeline.Pipeline
        Of every modality, on its own table (features, then what stands at the end).
    place : dict of str to int
        Place in the grid that the model took most often: the control is fitted there, without tuning.

    Returns
    -------
    dict of str to callable
        ``score(table, y)`` per modality; see `neurobraid.prediction.audit.shuffled_features`.
    """
    from neurobraid.prediction.estimators import fit_pipeline
    from neurobraid.prediction.permutation import fold_metric

    single = type(folds)(folds.outer[:1], folds.inner[:1])

    def make(name):
        def score(table, y):
            p = table.shape[1] - data.last
            there = np.isfinite(table[:, :p]).any(axis=1) | (model["missing_modality"] == "impute")
            values = []
            for _, _, train, test, inside in single.splits():
                inside = inside[there[train]]
                train, test = train[there[train]], test[there[test]]
                fitted = fit_pipeline(pipelines[name], table[train], y[train], inside)
                shown = table[np.r_[test, data.extra]]
                found = fitted[-1].scores(fitted[:-1].transform(shown))[: test.size, place[name]]
                value = fold_metric(y[test][:, None], found[:, None], y[train].mean(), model["kind"])
                values.append(value[0])
            return float(np.nanmean(values))

        return score

    return {name: make(name) for name in data.tables}
