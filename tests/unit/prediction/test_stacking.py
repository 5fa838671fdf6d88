"""Stacking: weights from inner scores only, people without a modality, and what it reaches."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from neurobraid.prediction.dataset import build
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.model import complete, cross_validate, fit_model, run_folds
from neurobraid.prediction.permutation import fold_scores, measure
from neurobraid.prediction.stacking import PENALTY, Stacking, weigh
from neurobraid.prediction.stacking import complete as fill
from neurobraid.synth.cohort import make_cohort

FEATURES = [
    {"name": "fmri", "modality": ["fmri-rest"]},
    {"name": "pet", "modality": ["pet"]},
    {"name": "structure", "modality": ["anat"]},
]


def model(**changes):
    base = {
        "name": "m", "table": "cohort", "target": "diagnosis", "permutations": 0, "repeats": 1,
        "features": FEATURES, "fusion": ["late", "early", "stacking"],
    }  # fmt: skip
    return complete({**base, **changes})


def test_weights_are_a_ridge_logistic_regression_where_none_is_negative():
    rng = np.random.default_rng(0)
    y = np.where(np.arange(200) % 2, 1.0, -1.0)
    Z = 0.5 * y[:, None] * [2.0, 1.0, 0.5] + rng.normal(size=(200, 3))
    theirs = LogisticRegression(C=1 / PENALTY, tol=1e-10, max_iter=1000).fit(Z, y)
    np.testing.assert_allclose(weigh(Z, y, "classification"), theirs.coef_[0], atol=1e-4)
    target = Z @ [2.0, 1.0, 0.0] + rng.normal(size=200)
    centred, unit = Z - Z.mean(0), (target - target.mean()) / target.std()
    ridge = np.linalg.solve(centred.T @ centred + PENALTY * np.eye(3), centred.T @ unit)
    np.testing.assert_allclose(weigh(Z, target, "regression"), np.maximum(ridge, 0), atol=0.03)


def test_a_modality_that_says_nothing_or_the_opposite_gets_no_weight():
    rng = np.random.default_rng(1)
    y = np.where(np.arange(300) % 2, 1.0, -1.0)
    Z = np.column_stack(
        [0.6 * y + rng.normal(size=300), rng.normal(size=300), -0.5 * y + rng.normal(size=300)]
    )
    for kind in ("classification", "regression"):
        found = weigh(Z, y, kind)
        assert found[2] == pytest.approx(0, abs=1e-6)
        assert found[1] < 0.25 * found[0]
    against = weigh(Z[:, 2:], y, "classification")
    np.testing.assert_allclose(against, [1.0])


def test_people_without_a_modality_get_the_mean_of_the_others():
    members = np.array([[1.0, np.nan, 3.0], [np.nan] * 3, [0.5, 0.5, 0.5]])
    np.testing.assert_array_equal(fill(members), [[1, 2, 3], [np.nan] * 3, [0.5] * 3])


def test_scores_of_the_training_people_use_weights_of_other_folds():
    rng = np.random.default_rng(2)
    y = np.where(np.arange(100) % 2, 1.0, -1.0)
    Z, inner = rng.normal(size=(100, 2)) + 0.3 * y[:, None], np.arange(100) % 4
    before = Stacking("classification").fit(Z, y, inner)
    flipped = np.where(inner == 0, -y, y)
    after = Stacking("classification").fit(Z, flipped, inner)
    # labels of an inner fold change the weights, but not the scores of that very fold
    assert not np.allclose(before.weights_, after.weights_)
    np.testing.assert_allclose(before.inner_scores_[inner == 0], after.inner_scores_[inner == 0])
    assert not np.allclose(before.inner_scores_[inner == 1], after.inner_scores_[inner == 1])


def test_labels_of_the_people_tested_change_nothing():
    cohort = make_cohort(0, people=80)
    data = build(cohort.features, cohort.participants, model())
    folds = make_folds(data.y, data.groups, kind="classification", outer=3, inner=3, repeats=1)
    settings = model(fusion=["stacking"])
    first = {
        r[:4]: r[4] for r in cross_validate(data, folds, settings)[0] if r[0] == "stacking" and r[2] == 1
    }
    test = folds.outer[0] == 0
    data.y[test] = -data.y[test]
    second = {
        r[:4]: r[4] for r in cross_validate(data, folds, settings)[0] if r[0] == "stacking" and r[2] == 1
    }
    assert len(first) == test.sum()
    assert first == second


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_pipelines_and_permutation_engine_agree_with_missing_modalities(kind):
    cohort = make_cohort(3, people=80, missing_pet=0.3)
    changes = {"kind": kind, "target": "score"} if kind == "regression" else {}
    settings = model(missing_modality="available", **changes)
    data = build(cohort.features, cohort.participants, settings)
    folds = make_folds(data.y, data.groups, kind=kind, outer=3, inner=3, repeats=1)
    _, scores, _, _, _, weights = run_folds(data, folds, settings)
    metric = "auc" if kind == "classification" else "r2"
    slow = np.mean([s[4] for s in scores if s[0] == "stacking" and s[3] == metric])
    how = {"confounds": 0, "grid": (100.0, 10.0, 1.0, 0.1, 0.01), "kind": kind, "min_present": 0.5}
    quick = measure(fold_scores(data.tables, data.y, folds, **how), data.y[:, None], kind, {"s": "stacking"})
    assert quick["s"][0] == pytest.approx(slow, abs=1e-9)
    assert weights.shape == (3, 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert (weights >= 0).all()


def test_a_whole_model_tells_weights_and_p_and_reaches_what_early_fusion_does():
    cohort = make_cohort(0)
    settings = model(permutations=9, folds={"outer": 5, "inner": 3}, demographics=[])
    result = fit_model(cohort.features, cohort.participants, settings)
    found = {name: m["auc"]["mean"] for name, m in result.summary["metrics"].items()}
    # one cohort: the SD of the difference of two fusions of the same scores is about .01
    assert abs(found["stacking"] - found["fused"]) < 0.05
    assert abs(found["stacking"] - found["early"]) < 0.06
    assert result.summary["permutation"]["p"]["stacking"] == pytest.approx(0.1)
    assert set(result.summary["stacking_weights"]) == {"fmri", "pet", "structure"}
    assert ("stacking", "fused") in [(c["first"], c["second"]) for c in result.summary["comparisons"]]
    part = result.predictions[result.predictions["feature_set"] == "stacking"]
    assert len(part) == 240
    assert part["prediction"].between(0, 1).all()
