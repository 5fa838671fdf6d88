"""Calibration, net benefit, subgroups, learning curve and patterns on planted truth."""

import numpy as np
import pytest

from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.honest import (
    calibration,
    curves,
    decision_curve,
    fewer,
    learning_curve,
    pattern_summary,
    rising,
    subgroups,
)
from neurobraid.prediction.model import complete, fit_model
from neurobraid.synth.cohort import expected_auc, make_cohort


def test_calibration_finds_the_planted_slope():
    rng = np.random.default_rng(0)
    logit = rng.normal(size=20000)
    y = np.where(rng.random(20000) < 1 / (1 + np.exp(-(0.5 * logit + 0.3))), 1.0, -1.0)
    found = calibration(y, 1 / (1 + np.exp(-logit)))
    assert found["slope"] == pytest.approx(0.5, abs=0.05)
    assert found["intercept"] == pytest.approx(0.3, abs=0.05)
    assert np.isnan(calibration(y, np.full(20000, 0.5))["slope"])


def test_net_benefit_by_hand():
    y, p = np.array([1.0, 1, -1, -1]), np.array([0.9, 0.4, 0.6, 0.1])
    found = decision_curve(y, p, (0.5,))[0]
    # one true and one false positive of four people, odds 1
    assert found["model"] == pytest.approx(0.25 - 0.25)
    assert found["all"] == pytest.approx(0.5 - 0.5)


def test_curves_are_those_of_scikit_learn():
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

    rng = np.random.default_rng(3)
    y = np.where(rng.random(150) < 0.3, 1.0, -1.0)
    score = np.round(y + 1.5 * rng.normal(size=150), 1)
    found = curves(y, score)
    low, high, _ = roc_curve(y, score, drop_intermediate=False)
    np.testing.assert_allclose(found["false_positive"], low, atol=1e-6)
    np.testing.assert_allclose(found["true_positive"], high, atol=1e-6)
    precision, recall, _ = precision_recall_curve(y, score)
    np.testing.assert_allclose(found["precision"], precision[:-1][::-1], atol=1e-6)
    np.testing.assert_allclose(found["recall"], recall[:-1][::-1], atol=1e-6)
    assert found["average_precision"] == pytest.approx(average_precision_score(y, score))
    assert found["prevalence"] == pytest.approx(np.mean(y > 0))
    assert curves(np.ones(5), np.arange(5)) is None
    assert len(curves(np.where(np.arange(5000) % 2, 1.0, -1.0), rng.normal(size=5000))["recall"]) <= 200


def test_a_rising_curve_gives_back_its_planted_ceiling():
    n = np.array([50.0, 100, 200, 400])
    found = rising(n, 0.8 - 2.0 * n**-0.5)
    assert found["ceiling"] == pytest.approx(0.8) and found["c"] == pytest.approx(0.5)
    # half of what is left at 400: b n^-1/2 halves at four times the people
    assert found["needed"] == pytest.approx(1600)
    assert set(rising(n, 0.8 + 2.0 * n**-0.5).values()) == {None}
    assert set(rising(n, [0.5, np.nan, 0.5, 0.6]).values()) == {None}


def test_subgroups_show_where_a_model_fails_and_hide_small_cells():
    rng = np.random.default_rng(1)
    site = np.repeat(["a", "b", "c"], [100, 100, 6])
    y = np.where(rng.random(206) < 0.5, 1.0, -1.0)
    score = np.where(site == "a", y, 0) + rng.normal(size=206)
    found = {s["level"]: s for s in subgroups(y, score, {"site": site}, "classification")}
    assert set(found) == {"a", "b"}
    assert found["a"]["low"] > 0.8
    assert found["b"]["low"] < 0.5 < found["b"]["high"]
    mae = subgroups(y, y + 2.0, {"site": site}, "regression")
    assert [s["value"] for s in mae] == pytest.approx([2.0, 2.0])


def test_learning_curve_rises_as_theory_says_and_keeps_test_folds():
    p, D = 40, 1.4
    points = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        y = np.where(np.arange(240) % 2, 1.0, -1.0)
        X = rng.normal(size=(240, p)) + 0.5 * D / np.sqrt(p) * y[:, None]
        names = np.arange(240).astype(str)
        folds = make_folds(y, names, kind="classification", repeats=1, seed=seed)
        settings = {"confounds": 0, "grid": (100.0, 1.0), "kind": "classification", "min_present": 0.5}
        found = learning_curve({"x": X}, y, folds, names, seed=seed, **settings)
        points.append([(q["people"], q["score"]) for q in found["points"]])
        assert all(q["low"] < q["score"] < q["high"] for q in found["points"])
        small = fewer(folds, names, 0.5, seed)
        np.testing.assert_array_equal(small.outer, folds.outer)
    people, score = np.mean(points, axis=0).T
    assert np.all(np.diff(score) > 0)
    for n, value in zip(people, score, strict=True):
        assert value == pytest.approx(expected_auc(D, p, n), abs=0.04)


def test_patterns_are_ranked_and_their_steadiness_is_told():
    rng = np.random.default_rng(2)
    steady = np.tile([0.8, 0.1, -0.5, 0.0], (10, 1)) + 0.01 * rng.normal(size=(10, 4))
    found = pattern_summary(steady, list("abcd"), top=2)
    assert [f["name"] for f in found["features"]] == ["a", "c"]
    assert found["stability"] > 0.99
    assert found["features"][1]["sign"] == 1.0
    assert abs(pattern_summary(rng.normal(size=(10, 50)), list(range(50)))["stability"]) < 0.2


def test_a_model_tells_its_learning_curve_and_the_harmonisation_of_everybody():
    cohort = make_cohort(0, people=120, site_shift=0.5, missing_pet=0.2)
    features = [{"name": "fmri", "modality": ["fmri-rest"]}, {"name": "pet", "modality": ["pet"]}]
    settings = complete(
        {
            "name": "m", "table": "cohort", "target": "diagnosis", "permutations": 0, "repeats": 1,
            "features": features, "learning_curve": True, "harmonize": {"covariates": ["age"]},
            "missing_modality": "impute", "fusion": ["late", "early"],
        }
    )  # fmt: skip
    summary = fit_model(cohort.features, cohort.participants, settings).summary
    assert len(summary["learning_curve"]["points"]) == 4
    assert summary["learning_curve"]["points"][-1]["people"] == pytest.approx(96)
    assert summary["participants"] == 120
    kept = summary["harmonization"]["pet"]
    assert len(kept["shift"][0]) == len(kept["features"]) == 34
    assert kept["sites"] == ["site1", "site2", "site3", "site4"]
    assert "fitted steps that saw test rows" not in summary["audit"]["flags"]
