"""Further learners: planted effects linear and not, the same numbers twice, and the control after confound removal."""

import numpy as np
import pytest

from neurobraid.errors import InputError
from neurobraid.prediction import learners
from neurobraid.prediction.estimators import GRIDS, RidgePath, make_pipeline, pipeline_scores
from neurobraid.prediction.metrics import auc
from neurobraid.prediction.model import complete, fit_model
from neurobraid.prediction.steps import Standardize
from neurobraid.synth.cohort import make_cohort

FEATURES = [{"name": "fmri", "modality": ["fmri-rest"]}, {"name": "pet", "modality": ["pet"]}]
LEARNERS = sorted(set(learners.GRIDS) - {"kernel-sum"})


def model(**changes):
    base = {"name": "m", "table": "cohort", "target": "diagnosis", "permutations": 0, "repeats": 1}
    return complete({**base, "features": FEATURES, **changes})


def made(estimator, kind="classification", **changes):
    record = {
        "estimator": estimator,
        "kind": kind,
        "grid": GRIDS[estimator],
        "seed": 3,
        "kernels": ["linear"],
    }
    return learners.make_learner({**record, **changes})


def planted(n=300, p=8, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    linear = X @ np.r_[1.0, -1.0, 0.5, np.zeros(p - 3)]
    scaled = Standardize().fit(X[: n // 2]).transform(X)
    return X, scaled, linear + 0.7 * rng.normal(size=n)


@pytest.mark.parametrize("estimator", LEARNERS)
def test_a_linear_effect_is_found_by_everyone(estimator):
    _, X, score = planted()
    y = np.where(score > 0, 1.0, -1.0)
    found = made(estimator).fit(X[:150], y[:150]).scores(X[150:])
    assert found.shape == (150, len(GRIDS[estimator]))
    # the planted rule itself reaches .95; a guess has SD .047 here
    assert max(auc(y[150:], column) for column in found.T) > 0.82
    target = 50 + 10 * score
    values = made(estimator, "regression").fit(X[:150], target[:150]).scores(X[150:])
    rest = ((values - target[150:, None]) ** 2).mean(axis=0)
    assert 1 - rest.min() / target[150:].var() > 0.5
    assert abs(values.mean() - target[150:].mean()) < 3


@pytest.mark.parametrize("estimator", learners.FLEXIBLE)
def test_exclusive_or_is_found_by_flexible_learners_and_by_no_linear_one(estimator):
    X, scaled, _ = planted(n=600, p=4, seed=1)
    y = np.where(X[:, 0] * X[:, 1] > 0, 1.0, -1.0)
    best = {}
    for name in (estimator, "ridge", "elastic-net"):
        learner = RidgePath((10.0, 1.0)) if name == "ridge" else made(name)
        found = learner.fit(scaled[:300], y[:300]).scores(scaled[300:])
        best[name] = max(auc(y[300:], column) for column in found.T)
    # boosting starts from splits that each gain nothing; the others see the corners at once
    assert best[estimator] > 0.8
    assert best["ridge"] < 0.6
    assert best["elastic-net"] < 0.6


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("estimator", LEARNERS)
def test_the_same_numbers_twice_and_for_a_constant_target(estimator, kind):
    _, X, score = planted(n=60, p=5)
    y = np.where(score > 0, 1.0, -1.0) if kind == "classification" else score
    first, second = (made(estimator, kind).fit(X, y).scores(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    flat = made(estimator, kind).fit(X, np.ones(60)).scores(X)
    np.testing.assert_array_equal(flat, np.ones((60, len(GRIDS[estimator]))))
    none = made(estimator, kind).fit(X[:, :0], y).scores(X[:, :0])
    np.testing.assert_array_equal(none, np.full_like(none, y.mean()))


def test_elastic_net_leaves_features_out_and_more_so_under_a_strong_penalty():
    _, X, score = planted(p=30)
    fitted = made("elastic-net", "regression").fit(X, score)
    kept = (fitted.fitted_.weights != 0).sum(axis=0)
    assert kept[0] <= 3
    assert np.all(np.diff(kept) >= 0)
    assert 3 <= kept[-1] < 30


@pytest.mark.parametrize("shape", [(60, 9, 4), (40, 70, 30)])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_sum_of_linear_kernels_is_early_fusion_with_ridge(shape, kind):
    n, p, q = shape
    rng = np.random.default_rng(2)
    X = rng.normal(size=(n + 12, p + q)) * rng.uniform(0.1, 9, p + q)
    y = np.where(rng.random(n) < 0.4, 1.0, -1.0) if kind == "classification" else rng.normal(size=n)
    blocks = {"a": list(range(p)), "b": list(range(p, p + q))}
    grid = (10.0, 1.0, 0.1)
    shown = []
    for estimator in (RidgePath(grid, kind), learners.KernelRidgePath(grid, kind)):
        pipeline = make_pipeline(blocks, [], estimator, 0.5).fit(X[:n], y)
        shown.append(pipeline_scores(pipeline, X[n:]))
    np.testing.assert_allclose(shown[1], shown[0], rtol=1e-6, atol=1e-8)


def test_radial_kernel_by_hand_and_exclusive_or():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(300, 3))
    step = learners.BlockKernel(("rbf",)).fit(X[:50])
    gram = step.transform(X[:50])
    assert np.trace(gram) == pytest.approx(50)
    np.testing.assert_allclose(gram.sum(axis=0), 0, atol=1e-9)
    # kernel of one new person, centred with the training people's means
    raw = np.exp(-np.sum((X[:50, None] - X[None, :50]) ** 2, axis=2) / (2 * step.width_**2))
    new = np.exp(-np.sum((X[60] - X[:50]) ** 2, axis=1) / (2 * step.width_**2))
    centre = np.eye(50) - 1 / 50
    expected = (new - raw.mean(axis=0)) @ centre * 50 / np.trace(centre @ raw @ centre)
    np.testing.assert_allclose(step.transform(X[60:61])[0], expected, atol=1e-9)
    y = np.where(X[:, 0] * X[:, 1] > 0, 1.0, -1.0)
    for kernels, good in ((("linear", "rbf"), True), (("linear",), False)):
        learner = learners.KernelRidgePath((1.0, 0.1, 0.01), kernels=kernels)
        pipeline = make_pipeline({"a": [0, 1], "b": [2]}, [], learner, 0.5).fit(X[:200], y[:200])
        best = max(auc(y[200:], s) for s in pipeline_scores(pipeline, X[200:]).T)
        assert (best > 0.8) == good


def test_a_whole_model_and_the_same_bytes():
    cohort = make_cohort(0, people=40)
    settings = model(estimator="gradient-boosting", fusion=["late", "early"], folds={"outer": 3, "inner": 2})
    first, second = (fit_model(cohort.features, cohort.participants, settings) for _ in range(2))
    assert first.predictions.equals(second.predictions)
    assert first.summary == second.summary
    found = {c["check"]: c for c in first.summary["audit"]["checks"]}
    control = found["shuffled features after removal of confounds"]
    assert (control["status"], control["shown"]) == ("not needed", True)
    assert set(first.summary["chosen"]["early"]) <= {"10", "30", "100"}


def test_signal_that_confound_removal_makes_is_named_with_the_models_own_learner():
    """Hamdan et al. 2023: whole numbers that know nothing, a confound that knows the target."""
    cohort = make_cohort(4, people=200, effect=0.0)
    rng = np.random.default_rng(0)
    people = cohort.participants
    people["severity"] = (people["diagnosis"] == "patient") * 1.0 + 0.4 * rng.normal(size=200)
    coarse = cohort.features[cohort.features["modality"] == "pet"].copy()
    coarse = coarse[coarse["region"].isin(sorted(coarse["region"].unique())[:3])]
    coarse["value"] = rng.integers(0, 2, len(coarse)).astype(float)
    record = {
        "features": [{"name": "pet", "modality": ["pet"]}], "confounds": ["severity"], "demographics": [],
        "folds": {"outer": 3, "inner": 2},
    }  # fmt: skip
    name = "shuffled features after removal of confounds"
    shown = {}
    for estimator in ("gradient-boosting", "ridge"):
        summary = fit_model(coarse, people, model(estimator=estimator, **record)).summary
        shown[estimator] = {c["check"]: c for c in summary["audit"]["checks"]}[name]
        if estimator == "gradient-boosting":
            # the score itself is inflated: that is what the control is for
            assert summary["metrics"]["pet"]["auc"]["mean"] > 0.6
    assert shown["gradient-boosting"]["status"] == "flag"
    assert "pet, gradient-boosting" in shown["gradient-boosting"]["text"]
    assert shown["ridge"]["status"] == "ok"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"kind": "regression", "estimator": "ridge-logistic", "target": "score"}, "ridge-logistic"),
        ({"estimator": "forest"}, "forest"),
        ({"estimator": "kernel-sum", "kernels": ["poly"]}, "poly"),
        ({"estimator": "kernel-sum", "kernels": []}, "kernels"),
        ({"estimator": "elastic-net", "grid": [1.0]}, "share"),
        ({"estimator": "gradient-boosting", "grid": [0.5]}, "whole"),
        ({"estimator": "random-forest", "grid": [2.0]}, "share"),
    ],
)
def test_bad_records_are_refused(change, word):
    with pytest.raises(InputError, match=word):
        model(**change)
