"""Classes in order: the published model, metrics by hand, planted truth, and what is refused."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score

from neurobraid.errors import InputError
from neurobraid.prediction.dataset import build
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.labels import label_scores
from neurobraid.prediction.model import complete, cross_validate, fit_model
from neurobraid.prediction.ordinal import OddsPath, RankCalibrator, ordinal_metrics, spearman
from neurobraid.prediction.permutation import fold_scores, measure, statistics
from neurobraid.synth.cohort import make_cohort

FEATURES = [{"name": "fmri", "modality": ["fmri-rest"]}, {"name": "pet", "modality": ["pet"]}]
STAGES = ["none", "mild", "moderate", "severe"]


def model(**changes):
    base = {
        "name": "m", "table": "cohort", "target": "stage", "kind": "ordinal", "classes": STAGES,
        "permutations": 0, "repeats": 1, "demographics": [], "features": FEATURES, "folds": {"outer": 5, "inner": 3},
    }  # fmt: skip
    return complete({**base, **changes})


def staged(seed=0, people=240, **knobs):
    """A cohort whose stage is the planted score cut in four, unequally."""
    cohort = make_cohort(seed, people=people, **knobs)
    score = cohort.participants["score"].to_numpy()
    cuts = np.quantile(score, [0.4, 0.7, 0.9])
    cohort.participants["stage"] = np.array(STAGES)[np.searchsorted(cuts, score)]
    return cohort


def ranks(n=400, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    latent = X @ [1.0, -0.5, 0.0] + rng.logistic(size=n)
    return X, 1.0 + np.searchsorted([-1.0, 0.5, 2.0], latent)


def test_two_classes_are_a_logistic_regression():
    X, y = ranks()
    for c in (0.05, 2.0):
        ours = OddsPath((c,)).fit(X, np.where(y > 2, 2.0, 1.0))
        theirs = LogisticRegression(C=c, tol=1e-10, max_iter=2000).fit(X * np.sqrt(3), y > 2)
        np.testing.assert_allclose(ours.weights_[:, 0], theirs.coef_[0], atol=1e-5)


def test_planted_odds_are_found():
    X, y = ranks(20000)
    found = OddsPath((1e4,)).fit(X, y).weights_[:, 0] * np.sqrt(3)
    np.testing.assert_allclose(found, [1.0, -0.5, 0.0], atol=0.06)
    score = X @ [1.0, -0.5, 0.0]
    made = RankCalibrator().fit(score, y)
    at = np.array([-1.0, 0.0, 1.5])
    below = 1 / (1 + np.exp(-(np.array([-1.0, 0.5, 2.0]) - at[:, None])))
    np.testing.assert_allclose(np.cumsum(made.probabilities(at), axis=1)[:, :3], below, atol=0.015)
    np.testing.assert_allclose(made.apply(at), 4 - below.sum(axis=1), atol=0.03)


def test_more_features_than_people_gives_the_same_as_the_direct_solution():
    X, y = ranks(60)
    rng = np.random.default_rng(1)
    wide = np.hstack([X, rng.normal(size=(60, 100))])
    padded = np.vstack([wide, rng.normal(size=(100, 103))])
    direct = OddsPath((0.1, 1.0))
    direct.fit(wide, y)
    # the stationary point of the penalised likelihood, checked without the code under test
    for place, c in enumerate((0.1, 1.0)):
        w = direct.weights_[:, place]
        Z = wide * direct.factor_
        assert np.abs(Z @ w).max() > 0.1
        basis = np.linalg.lstsq(Z.T, w, rcond=None)[0]
        np.testing.assert_allclose(Z.T @ basis, w, atol=1e-8)
        smaller = OddsPath((c,)).fit(wide, y).weights_[:, 0]
        np.testing.assert_allclose(smaller, w, atol=1e-5)
    assert direct.scores(padded).shape == (160, 2)


def test_gradient_and_curvature_of_the_likelihood_by_differences():
    from neurobraid.prediction.ordinal import _cumulative

    X, y = ranks(50)
    evaluate = _cumulative(X, y.astype(int) - 1, 4, 0.3)
    theta = np.array([-1.0, 0.4, 2.1, 0.5, -0.2, 0.1])
    _, gradient, hessian = evaluate(theta)
    step = 1e-5 * np.eye(6)
    rough = [(evaluate(theta + s)[0] - evaluate(theta - s)[0]) / 2e-5 for s in step]
    np.testing.assert_allclose(gradient, rough, rtol=1e-5, atol=1e-5)
    rough = [(evaluate(theta + s)[1] - evaluate(theta - s)[1]) / 2e-5 for s in step]
    np.testing.assert_allclose(hessian, rough, rtol=1e-4, atol=1e-4)


def test_metrics_against_other_packages_and_by_hand():
    rng = np.random.default_rng(2)
    y, score = rng.integers(1, 5, 60).astype(float), np.round(rng.normal(size=60), 1)
    assert spearman(y, score[:, None])[0] == pytest.approx(spearmanr(y, score).statistic)
    predicted = np.clip(y + rng.normal(0, 0.8, 60), 1, 4)
    found = ordinal_metrics(y, score, predicted)
    called = np.floor(predicted + 0.5).astype(int)
    assert found["kappa"] == pytest.approx(cohen_kappa_score(y.astype(int), called, weights="quadratic"))
    assert found["mae_rank"] == pytest.approx(np.abs(y - called).mean())
    assert spearman(y, np.ones((60, 1)))[0] == 0
    assert np.isnan(spearman(np.ones(60), score[:, None])[0])


def test_a_class_that_training_lacks_and_a_score_that_runs_backwards():
    X, y = ranks()
    kept = y != 2
    found = RankCalibrator().fit(X[kept, 0], y[kept])
    assert found.probabilities(X[:5, 0]).shape == (5, 3)
    np.testing.assert_allclose(found.probabilities(X[:5, 0]).sum(axis=1), 1)
    backwards = RankCalibrator().fit(-X[:, 0], y)
    np.testing.assert_allclose(backwards.apply(X[:, 0]), y.mean(), atol=1e-9)


@pytest.fixture(scope="module")
def fitted():
    cohort = staged(1)
    settings = model(
        estimator="ridge-logistic", permutations=9, fusion=["late", "early", "stacking"], confounds=["age"],
        demographics=["sex"], learning_curve=True,
    )  # fmt: skip
    return fit_model(cohort.features, cohort.participants, settings)


def mean(result, name, metric="spearman"):
    return result.summary["metrics"][name][metric]["mean"]


def test_planted_order_is_found_and_everything_has_an_answer(fitted):
    summary = fitted.summary
    assert summary["primary_metric"] == "spearman"
    assert summary["class_counts"] == {"none": 96, "mild": 72, "moderate": 48, "severe": 24}
    assert mean(fitted, "fused") > 0.5
    assert mean(fitted, "fused") > max(mean(fitted, "fmri"), mean(fitted, "pet"))
    assert mean(fitted, "fused", "mae_rank") < mean(fitted, "dummy", "mae_rank")
    assert mean(fitted, "fused", "kappa") > 0.35
    assert (mean(fitted, "dummy"), mean(fitted, "dummy", "kappa")) == (0.0, 0.0)
    assert summary["permutation"]["p"]["fused"] == pytest.approx(0.1)
    assert abs(summary["permutation"]["null_mean"]["fused"]) < 0.1
    assert {"calibration", "decision_curve"} == set(summary["not_for_this_kind"])
    assert summary["slices"][0]["metric"] == "spearman"
    assert len(summary["learning_curve"]["points"]) == 4
    assert summary["audit"]["flags"] == []
    assert summary["posthoc_confounds"]["sets"]["fused"]["unique"] > 0.1
    assert all(np.isfinite(a["difference"]) for a in summary["added_value"])
    assert set(fitted.predictions["target"]) == set(STAGES)
    assert fitted.predictions["prediction"].between(1, 4).all()


def test_shuffled_stages_give_chance():
    found = []
    for seed in range(6):
        cohort = staged(seed, people=120)
        rng = np.random.default_rng(seed)
        cohort.participants["stage"] = rng.permutation(cohort.participants["stage"].to_numpy())
        data = build(cohort.features, cohort.participants, model())
        folds = make_folds(data.y, data.groups, kind="ordinal", inner=3, repeats=1, seed=seed)
        how = {"confounds": 0, "grid": (100.0, 1.0), "kind": "ordinal", "min_present": 0.5}
        found.append(statistics(data.tables, data.y, folds, **how)["fused"])
    # SD of a rank correlation of 120 people is .09
    assert abs(np.mean(found)) < 3 * 0.092 / np.sqrt(6)


def test_pipelines_and_permutation_engines_agree():
    cohort = staged(2, people=80, missing_pet=0.2)
    settings = model(confounds=["age"], missing_modality="available", fusion=["late", "stacking"])
    data = build(cohort.features, cohort.participants, settings)
    folds = make_folds(data.y, data.groups, kind="ordinal", outer=3, inner=3, repeats=1)
    scores = cross_validate(data, folds, settings)[1]
    how = {
        "confounds": 1,
        "grid": tuple(sorted(settings["grid"])[::-1]),
        "kind": "ordinal",
        "min_present": 0.5,
    }
    slow = {
        n: np.mean([s[4] for s in scores if s[0] == n and s[3] == "spearman"])
        for n in ("fmri", "pet", "fused", "stacking")
    }
    sets = {"fmri": "fmri", "pet": "pet", "fused": ["fmri", "pet"], "stacking": "stacking"}
    quick = measure(fold_scores(data.tables, data.y, folds, **how), data.y[:, None], "ordinal", sets)
    for name, value in quick.items():
        assert value[0] == pytest.approx(slow[name], abs=1e-10), name
    sets.pop("stacking")
    many = measure(label_scores(data.tables, data.y[:, None], folds, **how), data.y[:, None], "ordinal", sets)
    for name, value in many.items():
        assert value[0] == pytest.approx(slow[name], abs=1e-8), name


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"classes": []}, "three or more"),
        ({"classes": ["none", "severe"]}, "three or more"),
        ({"classes": ["none", "mild", "mild", "severe"]}, "different"),
        ({"estimator": "svm"}, "svm"),
        ({"event": "death"}, "survival"),
        ({"fusion": ["bagging"]}, "bagging"),
    ],
)
def test_bad_records_are_refused(change, word):
    with pytest.raises(InputError, match=word):
        model(**change)


def test_classes_that_the_data_lack_are_named():
    cohort = staged(0, people=40)
    with pytest.raises(InputError, match="grave"):
        fit_model(cohort.features, cohort.participants, model(classes=[*STAGES, "grave"]))
    left = fit_model(cohort.features, cohort.participants, model(classes=STAGES[:3])).summary
    assert left["participants"] == 36
    assert left["flow"][-1] == {"step": "with the target stage", "left": 36}
