"""Members with an unsupervised hidden layer: planted structure, and no signal out of nothing."""

import numpy as np
import pytest

from neurobraid.prediction.estimators import TunedModel, make_pipeline, ridge_path
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.hidden import HIDDEN_GRIDS, HiddenPath, SelfOrganizingMap
from neurobraid.prediction.metrics import auc


def test_neighbours_on_the_map_are_neighbours_in_the_features():
    rng = np.random.default_rng(0)
    hidden = rng.uniform(-1, 1, (400, 2))
    axes = np.linalg.qr(rng.normal(size=(7, 3)))[0].T
    X = np.column_stack([hidden, 0.5 * hidden[:, 0] * hidden[:, 1]]) @ axes
    X += 0.05 * rng.normal(size=X.shape)
    fitted = SelfOrganizingMap(6).fit(X)
    units = fitted.units_.reshape(6, 6, -1)
    near = np.linalg.norm(units[1:] - units[:-1], axis=-1).mean()
    far = np.linalg.norm(units[3:] - units[:-3], axis=-1).mean()
    assert near < 0.5 * far
    # the sheet lies in the cloud: a person is nearer to a unit than to a third of the spread of all
    assert fitted.width_ < np.sqrt(X.var(axis=0).sum()) / 2
    # both hidden causes are laid out along the sheet
    place = fitted.winners(X)
    explained = [
        np.linalg.lstsq(np.column_stack([place, np.ones(400)]), h, rcond=None)[1][0] / (400 * h.var())
        for h in hidden.T
    ]
    assert max(explained) < 0.25
    again = SelfOrganizingMap(6).fit(X)
    np.testing.assert_array_equal(again.units_, fitted.units_)


def rings(seed, people=240):
    """Two classes that differ by their distance from the middle: no straight line parts them."""
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(people) % 2, 1.0, -1.0)
    angle = rng.uniform(0, 2 * np.pi, people)
    radius = np.where(y > 0, 2.0, 0.6) + 0.2 * rng.normal(size=people)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]), y


def cross_validated(X, y, name, seed=0):
    folds = make_folds(
        y, np.arange(y.size).astype(str), kind="classification", outer=4, inner=3, repeats=1, seed=seed
    )
    found = []
    for _, _, train, test, inside in folds.splits():
        estimator = HiddenPath(name, grid=HIDDEN_GRIDS[name])
        model = TunedModel(make_pipeline({"x": range(X.shape[1])}, [], estimator, 0.5))
        model.fit(X[train], y[train], inside)
        found.append(auc(y[test], model.score_of(X[test])))
    return float(np.mean(found))


@pytest.mark.parametrize("name", ["som", "rbf"])
def test_rings_are_seen_by_the_hidden_layer_and_not_by_a_line(name):
    X, y = rings(1)
    weights, intercept = ridge_path(X - X.mean(axis=0), y, (0.1,))
    assert auc(y, (X - X.mean(axis=0)) @ weights[:, 0] + intercept[0]) < 0.65
    assert cross_validated(X, y, name) > 0.95


def test_boltzmann_machine_keeps_a_shared_cause():
    rng = np.random.default_rng(2)
    y = np.where(np.arange(200) % 2, 1.0, -1.0)
    X = 0.6 * y[:, None] * np.sign(rng.normal(size=12)) + rng.normal(size=(200, 12))
    # Bayes: D = 2 * 0.6 * sqrt(12), AUC 0.998
    assert cross_validated(X, y, "rbm") > 0.95


@pytest.mark.parametrize("name", ["som", "rbm", "rbf"])
def test_labels_that_mean_nothing_stay_at_chance(name):
    found = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        y = np.where(np.arange(160) % 2, 1.0, -1.0)
        found.append(cross_validated(rng.normal(size=(160, 6)), y, name, seed))
    # standard error of the mean of four AUCs of 160 people: 0.023
    assert abs(np.mean(found) - 0.5) < 0.07


@pytest.mark.parametrize("name", ["som", "rbm", "rbf"])
def test_regression_constant_target_and_repeatability(name):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(120, 3))
    y = 5 + 2 * X[:, 0]
    one = HiddenPath(name, "regression", (6,)).fit(X / np.sqrt(3), y)
    assert np.corrcoef(one.scores(X / np.sqrt(3))[:, 0], y)[0, 1] > 0.6
    two = HiddenPath(name, "regression", (6,)).fit(X / np.sqrt(3), y)
    np.testing.assert_array_equal(one.scores(X), two.scores(X))
    flat = HiddenPath(name, "regression", (2, 6)).fit(X, np.full(120, 4.0))
    np.testing.assert_array_equal(flat.scores(X[:5]), np.full((5, 2), 4.0))
