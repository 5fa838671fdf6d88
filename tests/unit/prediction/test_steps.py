"""Steps and learners: fitted on training people only, and the same with and without scikit-learn."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge

from neurobraid.prediction.estimators import (
    GridPath,
    LateFusion,
    RidgePath,
    TunedModel,
    choose,
    make_pipeline,
    pipeline_scores,
    ridge_path,
)
from neurobraid.prediction.steps import confound_fit, confound_remove, prepare, present_columns

GRID = (100.0, 1.0, 0.01)


def people(n=60, p=11, c=3, seed=0, missing=0.1):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p + c)) * rng.uniform(0.1, 30, p + c) + rng.normal(size=p + c)
    X[:, :p] += X[:, [p]]
    X[rng.random((n, p + c)) < missing] = np.nan
    X[:, 2] = 7.0
    X[rng.random(n) < 0.8, 4] = np.nan
    y = np.where(rng.random(n) < 0.4, 1.0, -1.0)
    return X, y


def test_pipeline_and_fast_preparation_agree():
    X, y = people()
    train, test = np.arange(40), np.arange(40, 60)
    blocks, confounds = {"a": [0, 1, 2, 3, 4], "b": [5, 6, 7, 8, 9, 10]}, [11, 12, 13]
    pipeline = make_pipeline(blocks, confounds, RidgePath(GRID), 0.5).fit(X[train], y[train])
    ready = [
        prepare(X[train][:, [*c, *confounds]], X[test][:, [*c, *confounds]], 3, 0.5) for c in blocks.values()
    ]
    assert ready[0][0].shape == (40, 3), "the constant and the mostly missing feature are dropped"
    weights, intercept = ridge_path(np.hstack([r[0] for r in ready]), y[train], GRID)
    direct = np.hstack([r[1] for r in ready]) @ weights + intercept
    np.testing.assert_allclose(pipeline_scores(pipeline, X[test]), direct, atol=1e-12)


def test_nothing_is_learned_from_the_people_tested():
    X, y = people()
    pipeline = make_pipeline({"a": list(range(11))}, [11, 12, 13], RidgePath(GRID), 0.5).fit(X[:40], y[:40])
    alone = pipeline_scores(pipeline, X[45:46])
    crowd = X[40:].copy()
    crowd[6:] *= 1e3
    np.testing.assert_allclose(pipeline_scores(pipeline, crowd)[5], alone[0], rtol=1e-12)


def test_confounds_leave_no_trace_in_training_and_an_unseen_site_gets_the_mean():
    rng = np.random.default_rng(1)
    site = np.repeat([0, 1, 2], 20)
    dummies = np.eye(4)[site]
    features = rng.normal(size=(60, 5)) + 3.0 * site[:, None]
    model = confound_fit(features, dummies)
    clean = confound_remove(features, dummies, *model)
    for s in range(3):
        np.testing.assert_allclose(clean[site == s].mean(0), features.mean(0), atol=1e-9)
    new = confound_remove(np.zeros((1, 5)), np.eye(4)[[3]], *model)
    assert np.abs(new).max() < 1e-6 + np.abs(features.mean(0) - 3.0).max() * 1.1


def test_sparse_and_constant_features_are_dropped():
    X = np.array([[1.0, 5, np.nan, 1], [2, 5, np.nan, np.nan], [3, 5, 4, np.nan], [4, 5, np.nan, 7]])
    np.testing.assert_array_equal(present_columns(X, 0.5), [True, False, False, True])


@pytest.mark.parametrize("shape", [(50, 7), (12, 40)])
def test_ridge_path_is_ridge(shape):
    rng = np.random.default_rng(2)
    X = rng.normal(size=shape)
    X -= X.mean(0)
    y = rng.normal(size=shape[0])
    unit = np.sum(X * X) / min(shape[0] - 1, shape[1])
    weights, intercept = ridge_path(X, y, GRID, "regression")
    for place, penalty in enumerate(GRID):
        other = Ridge(alpha=penalty * unit).fit(X, y)
        np.testing.assert_allclose(weights[:, place], other.coef_, atol=1e-8)
        assert intercept[place] == pytest.approx(other.intercept_)


def test_strong_penalty_is_the_difference_of_means_and_zero_lies_between():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(90, 6))
    X -= X.mean(0)
    y = np.where(np.arange(90) < 20, 1.0, -1.0)
    weights, intercept = ridge_path(X, y, (1e6,))
    gap = X[y > 0].mean(0) - X[y < 0].mean(0)
    cosine = weights[:, 0] @ gap / np.linalg.norm(weights) / np.linalg.norm(gap)
    assert cosine == pytest.approx(1.0, abs=1e-6)
    scores = X @ weights[:, 0] + intercept[0]
    assert scores[y > 0].mean() == pytest.approx(-scores[y < 0].mean())


def test_ties_go_to_the_strongest_penalty():
    y = np.array([-1.0, 1.0] * 6)
    inner = np.arange(12) // 4
    scores = np.stack([y, 2 * y, -y], axis=1)
    assert choose(scores, y, inner, "classification") == 0
    assert choose(scores[:, ::-1], y, inner, "classification") == 1
    one_class = np.where(inner == 0, 1.0, y)
    assert choose(np.stack([-y, y], axis=1), one_class, inner, "classification") == 1


@pytest.mark.parametrize(
    ("estimator", "kind"),
    [("ridge-logistic", "classification"), ("svm", "classification"), ("svm", "regression")],
)
def test_other_learners_find_a_clear_difference(estimator, kind):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(80, 5))
    y = X[:, 0] * 3 + 50 if kind == "regression" else np.where(X[:, 0] > 0, 1.0, -1.0)
    learner = GridPath(estimator, kind, (0.01, 1.0))
    pipeline = make_pipeline({"a": range(5)}, [], learner, 0.5).fit(X[:60], y[:60])
    scores = pipeline_scores(pipeline, X[60:])
    assert scores.shape == (20, 2)
    assert np.corrcoef(scores[:, 1], X[60:, 0])[0, 1] > 0.85
    if kind == "regression":
        assert abs(scores[:, 1].mean() - 50) < 3


def fusion(n=80, seed=5):
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(n) % 2, 1.0, -1.0)
    X = rng.normal(size=(n, 8)) * np.r_[np.ones(4), np.full(4, 1000.0)]
    X[:, 0] += y
    X[:, 4] += 1000 * y
    models = {
        name: TunedModel(make_pipeline({name: columns}, [], RidgePath(GRID), 0.5))
        for name, columns in (("a", range(4)), ("b", range(4, 8)))
    }
    return X, y, np.arange(n) // 2 % 4, models


def test_late_fusion_is_standardised_by_inner_scores_of_training_people():
    X, y, inner, models = fusion()
    fitted = LateFusion(models).fit(X[:60], y[:60], inner[:60])
    expected = 0
    for name, model in models.items():
        alone = clone(model).fit(X[:60], y[:60], inner[:60])
        expected = (
            expected + (alone.score_of(X[60:]) - alone.inner_scores_.mean()) / alone.inner_scores_.std()
        )
        assert fitted.models_[name].choice_ == alone.choice_
    np.testing.assert_allclose(fitted.score_of(X[60:]), expected / 2)
    np.testing.assert_allclose(fitted.score_of(X[60:61]), fitted.score_of(X[60:])[:1], rtol=1e-12)
    # inner scores of a person come from models that have not seen the person
    shuffled = clone(models["a"]).fit(X[:60], np.random.default_rng(0).permutation(y[:60]), inner[:60])
    assert np.corrcoef(shuffled.inner_scores_, y[:60])[0, 1] < 0.5


def test_a_person_without_a_modality_gets_the_mean_of_the_others():
    X, y, inner, models = fusion()
    has = {"a": np.ones(80, bool), "b": np.arange(80) % 5 > 0}
    X[~has["b"], 4:] = np.nan
    train, test = np.arange(60), np.arange(60, 80)
    fitted = LateFusion(models).fit(X[train], y[train], inner[train], {k: v[train] for k, v in has.items()})
    scores = fitted.score_of(X[test], {k: v[test] for k, v in has.items()})
    alone = clone(models["a"]).fit(X[train], y[train], inner[train])
    z = (alone.score_of(X[test]) - alone.inner_scores_.mean()) / alone.inner_scores_.std()
    lacking = ~has["b"][test]
    assert lacking.any()
    np.testing.assert_allclose(scores[lacking], z[lacking])
    assert np.isfinite(scores).all()
    nobody = {k: np.zeros(20, bool) for k in has}
    assert np.isnan(fitted.score_of(X[test], nobody)).all()
