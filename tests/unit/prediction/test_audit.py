"""The leakage audit: silent on an honest study, and each planted leak is named."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from neurobraid.errors import InputError
from neurobraid.prediction import audit
from neurobraid.prediction.dataset import build
from neurobraid.prediction.estimators import RidgePath, make_pipeline
from neurobraid.prediction.folds import Folds, folds_from_manifest, make_folds, manifest
from neurobraid.prediction.harmonize import SiteHarmonizer
from neurobraid.prediction.metrics import auc
from neurobraid.prediction.model import complete, fit_model
from neurobraid.prediction.steps import confound_fit, confound_remove
from neurobraid.synth.cohort import make_cohort

FEATURES = [{"name": "fmri", "modality": ["fmri-rest"]}, {"name": "pet", "modality": ["pet"]}]


def model(**changes):
    base = {"name": "m", "table": "cohort", "target": "diagnosis", "permutations": 0, "repeats": 1}
    return complete({**base, "features": FEATURES, **changes})


def checks(summary):
    return {c["check"]: c for c in summary["audit"]["checks"]}


def noise(n=80, p=20, seed=0):
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(n) % 2, 1.0, -1.0)
    names = np.array([f"sub-{k:03d}" for k in range(n)])
    folds = make_folds(y, names, kind="classification", repeats=1, seed=seed)
    return rng.normal(size=(n, p)), y, names, folds, rng


def test_an_honest_study_raises_no_flag_and_the_nested_comparison_answers():
    cohort = make_cohort(1)
    summary = fit_model(cohort.features, cohort.participants, model(permutations=9, motion="none")).summary
    assert summary["audit"]["flags"] == []
    found = checks(summary)
    assert found["fitted steps that saw test rows"]["status"] == "ok"
    assert found["shuffled labels"]["value"] == pytest.approx(0.5, abs=0.06)
    asked = {tuple(a["added"]): a for a in summary["added_value"]}
    assert set(asked) == {("fmri",), ("pet",), ("fmri", "pet")}
    for one in asked.values():
        assert one["with"]["mean"] - one["without"]["mean"] == pytest.approx(one["difference"])
        assert one["low"] < one["difference"] < one["high"]
    assert asked["fmri", "pet"]["to"] == ["demographics"]
    assert asked["fmri", "pet"]["permutation_p"] == pytest.approx(0.1)
    assert asked["pet",]["with"]["mean"] == pytest.approx(summary["metrics"]["fused"]["auc"]["mean"])
    assert asked["pet",]["without"]["mean"] == pytest.approx(summary["metrics"]["fmri"]["auc"]["mean"])
    assert summary["posthoc_confounds"]["sets"]["fused"]["unique"] > 0.1
    assert summary["calibration"]["slope"] > 0.3
    assert {s["column"] for s in summary["slices"]} == {"site", "age", "sex"}
    assert summary["patterns"]["fmri"]["stability"] > 0.5


def test_a_modality_that_is_noise_adds_nothing():
    cohort = make_cohort(2)
    rows = cohort.features["modality"] == "pet"
    rng = np.random.default_rng(0)
    cohort.features.loc[rows, "value"] = rng.normal(size=rows.sum())
    summary = fit_model(cohort.features, cohort.participants, model(permutations=19)).summary
    pet = next(a for a in summary["added_value"] if a["added"] == ["pet"])
    fmri = next(a for a in summary["added_value"] if a["added"] == ["fmri"])
    assert pet["low"] < 0.02
    assert pet["permutation_p"] > 0.05
    assert fmri["permutation_p"] == pytest.approx(0.05)
    assert fmri["low"] > 0


def test_site_association_is_named_and_stops_a_confirmatory_model():
    cohort = make_cohort(0, effect=0.0, association=0.6, site_shift=0.5, site_scale=0.2)
    summary = fit_model(cohort.features, cohort.participants, model()).summary
    assert {"association of site and target", "site only", "score on sites left out"} <= set(
        summary["audit"]["flags"]
    )
    assert summary["audit"]["schemes"]["within_pool"] > 0.65
    assert abs(summary["audit"]["schemes"]["leave_one_site_out"] - 0.5) < 0.12
    assert abs(summary["audit"]["schemes"]["within_site"] - 0.5) < 0.12
    with pytest.raises(InputError, match="association"):
        fit_model(cohort.features, cohort.participants, model(profile="confirmatory"))
    for accepted in ({"accept_association": True}, {"splits": "leave-one-group-out", "groups": "site"}):
        fine = model(profile="confirmatory", **accepted)
        assert fit_model(cohort.features, cohort.participants, fine).summary["status"] == "OK"


def test_missingness_and_motion_that_tell_the_target_are_named():
    cohort = make_cohort(3, effect=0.0)
    people = cohort.participants
    sick = people.loc[people["diagnosis"] == "patient", "participant_id"][:60]
    gone = (cohort.features["modality"] == "pet") & cohort.features["participant_id"].isin(sick)
    people["mean_fd"] += 0.5 * (people["diagnosis"] == "patient")
    summary = fit_model(cohort.features[~gone], people, model(missing_modality="impute")).summary
    assert {"missing only", "motion only"} <= set(summary["audit"]["flags"])
    # the indicator is a feature here, so the leak is real and the score shows it
    assert summary["metrics"]["pet"]["auc"]["mean"] > 0.65


def test_twins_and_duplicates_under_other_names_are_named():
    X, _, names, folds, rng = noise()
    assert all(c["status"] == "ok" for c in audit.similar_rows(X, folds, names))
    place = folds.outer[0]
    first, second = np.flatnonzero(place == 0)[0], np.flatnonzero(place == 1)[0]
    copied = X.copy()
    copied[second] = copied[first]
    assert audit.similar_rows(copied, folds, names)[0]["status"] == "flag"
    X, _, names, folds, rng = noise(p=200)
    first, second = np.flatnonzero(folds.outer[0] == 0)[0], np.flatnonzero(folds.outer[0] == 1)[0]
    X[second] = 0.9 * X[first] + 0.43 * rng.normal(size=200)
    found = {c["check"]: c for c in audit.similar_rows(X, folds, names)}
    assert found["unusually similar rows"]["status"] == "flag"
    assert names[first] in found["unusually similar rows"]["text"]


def test_a_torn_group_is_named_and_refused():
    _, _, names, folds, _ = noise()
    people = np.repeat(names[:40], 2)
    assert audit.straddling(folds, {"participant_id": people})[0]["status"] == "flag"
    table, _ = manifest(folds, names, np.full(80, ""), names)
    again = folds_from_manifest(table, names, np.full(80, ""), names)
    np.testing.assert_array_equal(again.outer, folds.outer)
    with pytest.raises(InputError, match="both sides"):
        folds_from_manifest(table, names, np.full(80, ""), people)
    with pytest.raises(InputError, match="every row"):
        folds_from_manifest(table.iloc[1:], names, np.full(80, ""), names)


def test_a_feature_that_is_the_target_and_one_sorted_by_recruitment():
    X, y, *_ = noise()
    X[:, 3] = 2.0 * y
    names = {"a": [f"f{k}" for k in range(20)]}
    found = audit.target_like({"a": X}, names, y, "classification")
    assert (found["status"], found["feature"]) == ("flag", "a: f3")
    assert audit.identifier_order(np.sort(y), "classification")["status"] == "flag"
    assert audit.identifier_order(y, "classification")["status"] == "ok"


def test_a_step_fitted_on_everybody_is_named_and_ours_are_not():
    X, y, _, folds, _ = noise()
    _, _, train, test, _ = next(folds.splits())

    def honest(X, y, train):
        return make_pipeline({"a": list(range(20))}, [], RidgePath((1.0,)), 0.5).fit(X[train], y[train])

    def careless(X, y, train):
        pipeline = honest(X, y, train)
        pipeline[0].transformers_[0][1]["scale"].fit(X)
        return pipeline

    assert audit.probe_fit(honest, X, y, train, test)["status"] == "ok"
    found = audit.probe_fit(careless, X, y, train, test)
    assert found["status"] == "flag"
    assert any("scale" in step for step in found["steps"])


def test_preprocessing_outside_the_folds_is_named_by_what_it_saw():
    X, y, _, folds, rng = noise()
    _, _, train, test, _ = next(folds.splits())
    site = rng.integers(0, 3, 80).astype(str)

    def select(X, y):
        return X[:, np.argsort(-np.abs(X.T @ y))[:5]]

    def combat(X, y):
        return SiteHarmonizer().fit(X, site=site).transform(X, site=site)

    def combat_target(X, y):
        return (
            SiteHarmonizer()
            .fit(X, site=site, covariates=y[:, None])
            .transform(X, site=site, covariates=y[:, None])
        )

    for step, seen in (
        (lambda X, y: X, (False, False)),
        (select, (True, True)),
        (combat, (True, False)),
        (combat_target, (True, True)),
        (lambda X, y: (X - X.mean(0)) / X.std(0), (True, False)),
    ):
        found = audit.probe_preprocessing(step, X, y, train, test)
        assert tuple(c["status"] == "flag" for c in found) == seen


def test_signal_made_by_the_removal_of_confounds_is_named():
    """Hamdan et al. 2023: features that know nothing, a target-like confound, a forest."""
    rng = np.random.default_rng(0)
    n = 200
    y = np.where(np.arange(n) % 2, 1.0, -1.0)
    # few distinct values, from which a residual reads back the confound
    features = rng.integers(0, 2, (n, 3)).astype(float)
    confound = (y + 0.8 * rng.normal(size=n))[:, None]
    folds = make_folds(y, np.arange(n).astype(str), kind="classification", repeats=1)

    def score(learner):
        def run(table, y):
            values = []
            for _, _, train, test, _ in folds.splits():
                fitted = confound_fit(table[train, :3], table[train, 3:])
                clean = confound_remove(table[:, :3], table[:, 3:], *fitted)
                values.append(auc(y[test], learner(clean[train], y[train], clean[test])))
            return float(np.mean(values))

        return run

    def forest(X, y, new):
        return (
            RandomForestClassifier(60, min_samples_leaf=3, random_state=0, n_jobs=1)
            .fit(X, y)
            .predict_proba(new)[:, 1]
        )

    def ridge(X, y, new):
        return RidgePath((1.0,)).fit(X - X.mean(0), y).scores(new - X.mean(0))[:, 0]

    made = audit.shuffled_features(score(forest), features, confound, y, "classification", runs=3)
    none = audit.shuffled_features(score(ridge), features, confound, y, "classification", runs=5)
    assert made["status"] == "flag"
    assert made["value"] > 0.6
    assert none["status"] == "ok"


def test_below_chance_is_named():
    metrics = {
        "fmri": {"auc": {"mean": 0.35, "low": 0.28, "high": 0.42}},
        "dummy": {"auc": {"mean": 0.5, "low": 0.5, "high": 0.5}},
    }
    assert audit.below_chance(metrics, "auc", "classification")["sets"] == ["fmri"]


def test_leaving_sites_out_within_sites_and_unseen_site_policies():
    cohort = make_cohort(5, people=120, site_shift=1.0)
    cohort.participants["calibration"] = np.where(np.arange(120) % 4 == 0, "yes", "no")
    loso = {"groups": "site", "splits": "leave-one-group-out", "folds": {"inner": 3}}
    with pytest.raises(InputError, match=r"harmonize\.unseen"):
        fit_model(cohort.features, cohort.participants, model(**loso, harmonize={"unseen": "error"}))
    shown = {}
    for unseen in ("none", "reference", "unlabelled"):
        settings = model(
            **loso, harmonize={"unseen": unseen, "covariates": ["age"], "reference": "calibration"}
        )
        result = fit_model(cohort.features, cohort.participants, settings)
        shown[unseen] = set(result.summary["audit"]["flags"])
        assert result.summary["folds"]["outer"] == 4
        tested = set(result.predictions["participant_id"])
        assert len(tested) == (120 - 30 if unseen == "reference" else 120)
    assert "harmonisation looks at the people tested" in shown["unlabelled"]
    assert "harmonisation looks at the people tested" not in shown["reference"] | shown["none"]
    with pytest.raises(InputError, match="label of the person tested"):
        fit_model(cohort.features, cohort.participants, model(harmonize={"covariates": ["diagnosis"]}))
    data = build(cohort.features, cohort.participants, model())
    folds = make_folds(
        data.y, data.groups, kind="classification", site=data.sites, outer=3, inner=2, scheme="within-site"
    )
    for _, _, train, test, _ in folds.splits():
        assert len(set(data.sites[np.r_[train, test]])) == 1
    assert isinstance(folds, Folds)


def test_infinite_features_are_refused():
    cohort = make_cohort(0, people=40)
    cohort.features.loc[5, "value"] = np.inf
    with pytest.raises(InputError, match="infinite"):
        fit_model(cohort.features, cohort.participants, model())


def test_identifiers_of_another_form_and_a_constant_target_are_refused():
    cohort = make_cohort(0, people=40)
    other = cohort.participants.assign(participant_id=[str(k) for k in range(1, 41)])
    with pytest.raises(InputError, match="same way in both tables"):
        fit_model(cohort.features, other, model())
    flat = cohort.participants.assign(score=7.0)
    summary = fit_model(cohort.features, flat, model(kind="regression", target="score")).summary
    assert (summary["status"], "same for everybody" in summary["reason"]) == ("UNAVAILABLE", True)
