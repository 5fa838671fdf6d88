"""Metrics against definitions and against scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score

from neurobraid.prediction.metrics import (
    auc,
    classification_metrics,
    corrected_interval,
    corrected_ttest,
    cramers_v,
    platt,
    platt_apply,
    regression_metrics,
)


def test_auc_with_ties():
    rng = np.random.default_rng(0)
    y = np.where(rng.random(57) < 0.3, 1.0, -1.0)
    score = np.round(rng.normal(size=57) + 0.4 * y, 1)
    assert auc(y, score) == pytest.approx(roc_auc_score(y > 0, score))
    assert np.isnan(auc(np.ones(4), np.arange(4.0)))


def test_classification():
    rng = np.random.default_rng(1)
    y = np.where(rng.random(40) < 0.25, 1.0, -1.0)
    p = rng.random(40)
    found = classification_metrics(y, p, p, 0.25)
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y > 0, p > 0.25))
    assert found["brier"] == pytest.approx(np.mean((p - (y > 0)) ** 2))
    assert np.isnan(classification_metrics(np.ones(3), p[:3], p[:3], 0.5)["balanced_accuracy"])


def test_r2_is_by_sums_of_squares_against_the_training_mean():
    y, wrong = np.array([1.0, 2.0, 3.0, 4.0]), np.array([10.0, 20.0, 30.0, 40.0])
    found = regression_metrics(y, wrong, y.mean())
    assert found["r"] == pytest.approx(1.0)
    assert found["r2"] == pytest.approx(r2_score(y, wrong))
    assert found["r2"] < -100
    assert regression_metrics(y, np.full(4, 0.0), 0.0)["r2"] == 0.0
    assert np.isnan(regression_metrics(y[:2], wrong[:2], 0.0)["r"])


def test_interval_by_hand():
    values = np.array([0.6, 0.7, 0.8, 0.75, np.nan])
    found = corrected_interval(values, 0.25)
    half = stats.t.ppf(0.975, 3) * np.sqrt(values[:4].var(ddof=1) * (1 / 4 + 0.25))
    assert found["folds"] == 4
    assert found["high"] - found["mean"] == pytest.approx(half)
    assert corrected_interval([0.7], 0.25)["mean"] == 0.7


def test_corrected_test_does_not_reject_equal_models_too_often():
    # folds that share people: correlation 1/(k) between them, as the correction assumes
    rng = np.random.default_rng(2)
    share, folds, turns = 0.25, 20, 2000
    rho = share / (1 + share)
    common = rng.normal(size=(turns, 1))
    differences = np.sqrt(rho) * common + np.sqrt(1 - rho) * rng.normal(size=(turns, folds))
    p = np.array([corrected_ttest(d, share)["p"] for d in differences])
    naive = stats.ttest_1samp(differences, 0, axis=1).pvalue
    assert 0.035 < np.mean(p < 0.05) < 0.065
    assert np.mean(naive < 0.05) > 0.3
    assert corrected_ttest(np.zeros(5), 0.25)["p"] == 1.0


def test_platt_recovers_a_sigmoid_and_refuses_a_falling_one():
    rng = np.random.default_rng(3)
    score = rng.normal(2.0, 3.0, 20000)
    positive = rng.random(20000) < 1 / (1 + np.exp(-(0.8 * score - 1.0)))
    slope, intercept = platt(score, positive)
    assert slope == pytest.approx(0.8, abs=0.04)
    assert intercept == pytest.approx(-1.0, abs=0.06)
    falling = platt(-score, positive)
    np.testing.assert_allclose(platt_apply(score[:5], falling), positive.mean(), atol=1e-3)
    assert platt_apply(np.array([1e6]), (slope, intercept))[0] == 1.0


def test_cramers_v():
    site = np.repeat(["a", "b"], 50)
    assert cramers_v(site, site) == pytest.approx(1.0)
    assert cramers_v(site, np.tile([0, 1], 50)) == pytest.approx(0.0)
    assert cramers_v(np.repeat("a", 100), site) == 0.0
