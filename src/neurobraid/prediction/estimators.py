"""Linear learners that fit a whole grid of penalties at once, and the models built from them.

Flexible learners stand apart (`neurobraid.prediction.learners`): after linear removal of confounds they can find signal
that the removal made (Hamdan et al. 2023, GigaScience 12:giad071; reproduced in benchmarks/prediction.py, traps).
"""

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from neurobraid.prediction import learners
from neurobraid.prediction.harmonize import HarmonizeTable
from neurobraid.prediction.kinds import CALIBRATORS, ORDERED, rank_metric, respond
from neurobraid.prediction.metrics import column_auc, platt, platt_apply
from neurobraid.prediction.steps import (
    ConfoundRemover,
    FeaturesOnly,
    FillMedian,
    KeepCovered,
    KeepShape,
    MarkAbsent,
    Standardize,
    trailing,
)

#: Default grid of each estimator, from strong to weak regularisation.
GRIDS = {
    "ridge": (100.0, 10.0, 1.0, 0.1, 0.01),
    "ridge-logistic": (0.001, 0.01, 0.1, 1.0, 10.0),
    "svm": (0.001, 0.01, 0.1, 1.0),
    **learners.GRIDS,
}


def ridge_path(X, y, penalties, kind="classification"):
    """Ridge regression for every penalty from one eigendecomposition, in the smaller of the two spaces.

    Parameters
    ----------
    X : numpy.ndarray, (people, features)
        Centred by the training people.
    y : numpy.ndarray, (people,)
    penalties : sequence of float
        In units of the mean non-zero eigenvalue of the Gram matrix, so that one grid suits any number of
        people and features. Towards infinity the direction becomes the difference of the group means.
    kind : {'classification', 'regression', 'ordinal', 'survival'}
        The last two are regressions of `neurobraid.prediction.kinds.respond`.

    Returns
    -------
    weights : numpy.ndarray, (features, penalties)
    intercept : numpy.ndarray, (penalties,)
        Regression: the mean target. Classification: zero lies midway between the classes' mean scores. The mean
        of the labels would not do: it differs from fold to fold against the class of the people held out, and
        where the penalty is strong it would swamp the scores that are pooled over inner folds.
    """
    if kind in ORDERED:
        y, kind = respond(y, kind), "regression"
    n, p = X.shape
    mean = y.mean()
    if p == 0:
        return np.zeros((0, len(penalties))), np.full(len(penalties), mean if kind == "regression" else 0.0)
    centred = y - mean
    dual = n < p
    gram = X @ X.T if dual else X.T @ X
    values, vectors = np.linalg.eigh(gram)
    unit = max(gram.trace() / min(max(n - 1, 1), p), 1e-300)
    target = vectors.T @ (centred if dual else X.T @ centred)
    shrunk = target[:, None] / (np.maximum(values, 0.0)[:, None] + unit * np.asarray(penalties))
    weights = vectors @ shrunk
    weights = X.T @ weights if dual else weights
    if kind == "regression":
        return weights, np.full(len(penalties), mean)
    second = y > 0
    if second.all() or not second.any():
        return weights, np.zeros(len(penalties))
    return weights, -0.5 * (X[second].mean(axis=0) + X[~second].mean(axis=0)) @ weights


class RidgePath(BaseEstimator):
    """Ridge regression on the target (classes as -1 and 1) for every penalty of the grid.

    Parameters
    ----------
    grid : tuple of float
        See `ridge_path`.
    kind : {'classification', 'regression'}
    """

    def __init__(self, grid=GRIDS["ridge"], kind="classification"):
        self.grid = grid
        self.kind = kind

    def fit(self, X, y):
        """Fit all penalties."""
        self.weights_, self.intercept_ = ridge_path(X, np.asarray(y, dtype=np.float64), self.grid, self.kind)
        return self

    def scores(self, X):
        """Scores, (people, grid)."""
        return X @ self.weights_ + self.intercept_


class GridPath(BaseEstimator):
    """A scikit-learn linear estimator fitted once per value of its regularisation.

    Parameters
    ----------
    estimator : {'ridge-logistic', 'svm'}
    kind : {'classification', 'regression'}
    grid : tuple of float
        C, the inverse strength. Features of a block have total variance 1 here, so C counts from there.
    """

    def __init__(self, estimator="ridge-logistic", kind="classification", grid=GRIDS["ridge-logistic"]):
        self.estimator = estimator
        self.kind = kind
        self.grid = grid

    def _make(self, c):
        if self.estimator == "ridge-logistic":
            from sklearn.linear_model import LogisticRegression

            return LogisticRegression(C=c, solver="lbfgs", tol=1e-6, max_iter=1000, class_weight="balanced")
        from sklearn.svm import SVC, SVR

        if self.kind == "regression":
            return SVR(kernel="linear", C=c, epsilon=0.1)
        return SVC(kernel="linear", C=c, class_weight="balanced")

    def fit(self, X, y):
        """Fit one estimator per value."""
        root = np.sqrt(max(X.shape[1], 1))
        self.factor_ = root
        self.center_, self.unit_ = (y.mean(), y.std() or 1.0) if self.kind == "regression" else (0.0, 1.0)
        target = (y - self.center_) / self.unit_
        usable = X.shape[1] > 0 and np.ptp(target) > 0
        self.models_ = [self._make(c).fit(X * root, target) for c in self.grid] if usable else []
        self.constant_ = float(np.mean(y))
        return self

    def scores(self, X):
        """Scores, (people, grid)."""
        if not self.models_:
            return np.full((len(X), len(self.grid)), self.constant_)
        take = "predict" if self.kind == "regression" else "decision_function"
        raw = [getattr(model, take)(X * self.factor_) for model in self.models_]
        return np.stack(raw, axis=1) * self.unit_ + self.center_


def make_pipeline(
    blocks, confounds, estimator, min_present, *, harmonize=None, indicator=False, fronts=None, shaped=None
):
    """One scikit-learn Pipeline from the raw table to scores: nothing is fitted outside it.

    Parameters
    ----------
    blocks : dict of str to sequence of int
        Feature columns of every modality; more than one makes early, block-scaled fusion.
    confounds : sequence of int
        Columns at the end of the table that every block needs: covariates, reference and site of the
        harmonisation, if any, then the confounds.
    estimator : RidgePath or GridPath
    min_present : float
    harmonize : dict, optional
        See `neurobraid.prediction.steps.trailing`.
    indicator : bool
        Mark people whose features are all filled in.
    fronts : dict of str to transformer, optional
        First step of a modality: what makes features of covariances or series.
    shaped : dict of str to str, optional
        Modalities that the estimator reads in their shape: ``maps`` (no voxel is dropped), ``series`` (left as they are), or
        ``table`` (no column is dropped, people without the modality stay NaN).

    Returns
    -------
    sklearn.pipeline.Pipeline
        Steps ``blocks`` and ``estimator``.
    """
    last = len(confounds)
    c = last - trailing(0, harmonize)
    parts = []
    shaped = shaped or {}
    for name, columns in blocks.items():
        if shaped.get(name) == "series":
            steps = [("covered", KeepShape(last)), ("features", FeaturesOnly(last))]
            parts.append((name, Pipeline(steps), [*columns, *confounds]))
            continue
        keep = KeepShape(last) if name in shaped else KeepCovered(last, min_present)
        steps = [
            *([("front", clone(fronts[name]))] if name in (fronts or {}) else []),
            ("covered", keep),
            ("fill", FillMedian(last, indicator and name not in shaped)),
            *([("harmonize", HarmonizeTable(c, **harmonize))] if harmonize else []),
            ("confounds", ConfoundRemover(c)),
            ("scale", Standardize()),
            *([estimator.block_step()] if hasattr(estimator, "block_step") else []),
        ]
        block = Pipeline(steps)
        if shaped.get(name) == "table":
            block = MarkAbsent(block, last)
        parts.append((name, block, [*columns, *confounds]))
    return Pipeline([("blocks", ColumnTransformer(parts)), ("estimator", estimator)])


def fit_pipeline(pipeline, X, y, groups):
    """A fitted clone; a member that stops training early gets the groups that it must keep whole."""
    wanted = getattr(pipeline[-1], "needs_groups", False)
    return clone(pipeline).fit(X, y, **({"estimator__groups": groups} if wanted else {}))


def pipeline_scores(pipeline, X):
    """Scores of a fitted pipeline for every value of the grid, (people, grid)."""
    return pipeline[-1].scores(pipeline[:-1].transform(X))


def choose(scores, y, inner, kind):
    """Place in the grid of the best value by inner out-of-fold scores.

    Parameters
    ----------
    scores : numpy.ndarray, (people, grid)
    y : numpy.ndarray, (people,)
    inner : numpy.ndarray of int, (people,)
    kind : {'classification', 'regression'}

    Returns
    -------
    int
        Classification: largest mean AUC over inner folds (folds with one class are left out). Regression:
        smallest squared error. Ordinal, survival: largest mean rank correlation, Harrell's C. Ties go to the first, the strongest regularisation.
    """
    if kind == "regression":
        return int(np.argmin(((scores - y[:, None]) ** 2).mean(axis=0)))
    if kind in ORDERED:
        folds = [rank_metric(y[inner == k], scores[inner == k], kind) for k in np.unique(inner)]
    else:
        folds = [column_auc(y[inner == k], scores[inner == k]) for k in np.unique(inner)]
    folds = [f for f in folds if np.isfinite(f).all()]
    # rounding keeps a tie a tie whatever the order of summation
    return int(np.argmax(np.round(np.mean(folds, axis=0), 12))) if folds else 0


def _with(X, extra):
    return X if extra is None or not len(extra) else np.concatenate([X, extra])


class TunedModel(BaseEstimator):
    """A pipeline whose regularisation is chosen by inner cross-validation.

    Parameters
    ----------
    pipeline : sklearn.pipeline.Pipeline
        From `make_pipeline`.
    kind : {'classification', 'regression'}

    Attributes
    ----------
    choice_ : int
        Place in the grid.
    inner_scores_ : numpy.ndarray, (training people,)
        Inner out-of-fold scores at the chosen value.
    """

    def __init__(self, pipeline, kind="classification"):
        self.pipeline = pipeline
        self.kind = kind

    def fit(self, X, y, inner, extra=None):
        """Tune on inner folds and refit on all training people.

        Parameters
        ----------
        X : numpy.ndarray, (people, columns)
        y : numpy.ndarray, (people,)
        inner : numpy.ndarray of int, (people,)
            Inner test fold of every person; groups never straddle (see `neurobraid.prediction.folds`).
        extra : numpy.ndarray, (reference people, columns), optional
            They accompany the people tested, for the harmonisation of an unseen site; never trained on or scored.
        """
        out = None
        for k in np.unique(inner):
            fitted = fit_pipeline(self.pipeline, X[inner != k], y[inner != k], inner[inner != k])
            scores = pipeline_scores(fitted, _with(X[inner == k], extra))[: np.sum(inner == k)]
            if out is None:
                out = np.empty((len(y), scores.shape[1]))
            out[inner == k] = scores
        self.choice_ = choose(out, y, inner, self.kind)
        self.inner_scores_ = out[:, self.choice_]
        self.pipeline_ = fit_pipeline(self.pipeline, X, y, inner)
        self.calibrator_ = Calibrator(self.kind).fit(self.inner_scores_, y)
        return self

    def score_of(self, X, extra=None):
        """Score of new people, (people,); `extra` as in `fit`."""
        return pipeline_scores(self.pipeline_, _with(X, extra))[: len(X), self.choice_]

    def predict(self, X):
        """Probability of the second class, or the predicted value; (people,)."""
        return self.calibrator_.apply(self.score_of(X))


class Calibrator:
    """Scores to probabilities (Platt 1999), expected ranks or survival, or themselves; from inner scores only.

    Parameters
    ----------
    kind : {'classification', 'regression'}
    linear : bool
        Regression only: map scores to the target by a straight line (late fusion, whose scores have no unit).
    """

    def __init__(self, kind, linear=False):
        self.kind = kind
        self.linear = linear

    def fit(self, scores, y):
        """Learn the map from inner out-of-fold scores."""
        if self.kind in ORDERED:
            self.map_ = CALIBRATORS[self.kind]().fit(scores, y)
        elif self.kind == "classification":
            self.map_ = platt(scores, y > 0)
        elif self.linear:
            spread = scores.var()
            slope = (
                max(np.mean((scores - scores.mean()) * (y - y.mean())) / spread, 0.0) if spread > 0 else 0.0
            )
            self.map_ = (slope, y.mean() - slope * scores.mean())
        else:
            self.map_ = (1.0, 0.0)
        return self

    def apply(self, scores):
        """Map scores, (people,)."""
        if self.kind in ORDERED:
            return self.map_.apply(scores)
        if self.kind == "classification":
            return platt_apply(scores, self.map_)
        return self.map_[0] * scores + self.map_[1]


def standard(scores):
    """Mean and SD by which a modality's scores are standardised, from inner out-of-fold scores."""
    spread = scores.std()
    return scores.mean(), spread if spread > 1e-12 else 1.0


class LateFusion(BaseEstimator):
    """Mean of the modalities' standardised scores.

    Mean and SD come from inner out-of-fold scores of the training people, never from the people tested. A
    person without a modality gets the mean over those there are.

    Parameters
    ----------
    models : dict of str to TunedModel
    kind : {'classification', 'regression'}
    """

    def __init__(self, models, kind="classification"):
        self.models = models
        self.kind = kind

    def fit(self, X, y, inner, available=None, extra=None):
        """Fit every modality on the training people who have it.

        Parameters
        ----------
        X : numpy.ndarray, (people, columns)
        y : numpy.ndarray, (people,)
        inner : numpy.ndarray of int, (people,)
        available : dict of str to numpy.ndarray of bool, optional
            Who has which modality; default everyone.
        extra : numpy.ndarray, optional
            See `TunedModel.fit`.
        """
        everyone = np.ones(len(y), dtype=bool)
        available = available or dict.fromkeys(self.models, everyone)
        self.models_, self.standard_ = {}, {}
        total, count = np.zeros(len(y)), np.zeros(len(y))
        self.members_ = {}
        for name, model in self.models.items():
            has = available[name]
            fitted = clone(model).fit(X[has], y[has], inner[has], extra)
            self.models_[name] = fitted
            mean, spread = self.standard_[name] = standard(fitted.inner_scores_)
            total[has] += (fitted.inner_scores_ - mean) / spread
            self.members_[name] = np.full(len(y), np.nan)
            self.members_[name][has] = (fitted.inner_scores_ - mean) / spread
            count[has] += 1
        known = count > 0
        self.inner_scores_ = total[known] / count[known]
        self.calibrator_ = Calibrator(self.kind, linear=True).fit(self.inner_scores_, y[known])
        return self

    def score_of(self, X, available=None, extra=None):
        """Mean standardised score of new people, (people,); NaN for a person without any modality."""
        total, count = np.zeros(len(X)), np.zeros(len(X))
        for name, model in self.models_.items():
            has = np.ones(len(X), dtype=bool) if available is None else available[name]
            if has.any():
                mean, spread = self.standard_[name]
                total[has] += (model.score_of(X[has], extra) - mean) / spread
                count[has] += 1
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def predict(self, X, available=None):
        """Probability of the second class, or the predicted value; (people,)."""
        return self.calibrator_.apply(self.score_of(X, available))
