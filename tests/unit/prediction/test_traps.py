"""Leaks that make a careless analysis look good: the wrong way inflates, the right way is chance, the audit names it.

There is no signal in any of these data, so that whatever the wrong way finds is false.
"""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.isotonic import IsotonicRegression

from neurobraid.prediction import audit, traces
from neurobraid.prediction.brain_age import bias_line, gaps
from neurobraid.prediction.estimators import Calibrator, RidgePath, make_pipeline
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.harmonize import SiteHarmonizer
from neurobraid.prediction.labels import label_scores
from neurobraid.prediction.metrics import auc, corrected_interval, corrected_ttest, regression_metrics
from neurobraid.prediction.model import complete, fit_model
from neurobraid.prediction.permutation import statistics
from neurobraid.prediction.steps import confound_fit, confound_remove
from neurobraid.synth.cohort import expected_auc, make_cohort

GRID = (100.0, 1.0, 0.01)
PLAIN = {"confounds": 0, "grid": GRID, "kind": "classification", "min_present": 0.5}


def noise(seed, people, features):
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(people) % 2, 1.0, -1.0)
    names = np.array([f"{k:03d}" for k in range(people)])
    folds = make_folds(y, names, kind="classification", repeats=1, seed=seed)
    return rng, rng.normal(size=(people, features)), y, names, folds


def score(X, y, folds, **settings):
    return statistics({"x": X}, y, folds, **{**PLAIN, **settings})["x"]


def flags(checks):
    return {c["check"] for c in checks if c["status"] == "flag"}


def probed(prepare, X, y, folds):
    _, _, train, test, _ = next(folds.splits())
    return flags(audit.probe_preprocessing(prepare, X, y, train, test))


def traced(X, y, **columns):
    return {name for name, hit, _ in traces.find({"x": X}, 0, y, columns) if hit}


def chance(values, least=0.03):
    """Mean within three standard errors of one half."""
    assert abs(np.mean(values) - 0.5) <= max(least, 3 * np.std(values, ddof=1) / np.sqrt(len(values))), values


def test_features_chosen_outside_the_folds():
    wrong, right = [], []

    def select(X, y):
        return X[:, np.argsort(-np.abs(X[y > 0].mean(0) - X[y < 0].mean(0)) / X.std(0))[:100]]

    for seed in range(6):
        _, X, y, _, folds = noise(seed, 100, 5000)
        if seed < 3:
            wrong.append(score(select(X, y), y, folds))
            assert probed(select, X, y, folds) == {
                "preprocessing saw the values of test rows",
                "preprocessing saw the labels of test rows",
            }
            assert traced(select(X, y), y) == {"features chosen with the target"}
            assert traced(X, y) == set()
        right.append(score(X, y, folds))
    assert np.mean(wrong) >= 0.99
    chance(right)


def test_two_scans_of_a_person_in_plain_folds():
    wrong, right = [], []
    for seed in range(4):
        rng, X, _, _, _ = noise(seed, 60, 300)
        y = np.repeat(np.where(np.arange(60) % 2, 1.0, -1.0), 2)
        X = np.repeat(X, 2, axis=0) + 0.2 * rng.normal(size=(120, 300))
        people, scans = np.repeat(np.arange(60), 2).astype(str), np.arange(120).astype(str)
        plain = make_folds(y, scans, kind="classification", repeats=1, seed=seed)
        grouped = make_folds(y, people, kind="classification", repeats=1, seed=seed)
        wrong.append(score(X, y, plain))
        right.append(score(X, y, grouped))
        assert flags(audit.straddling(plain, {"participant_id": people}))
        # under two names they are still alike
        assert "unusually similar rows" in flags(audit.similar_rows(X, plain, scans))
        assert not flags(audit.straddling(grouped, {"participant_id": people}))
    assert np.mean(wrong) >= 0.96
    chance(right)


def sited(seed, people=240, features=250):
    """Diagnosis goes with site (V 0.6); features differ by site in mean and spread and know nothing else."""
    rng = np.random.default_rng(seed)
    site = np.arange(people) % 4
    y = np.full(people, -1.0)
    for s in range(4):
        rows = rng.permutation(np.flatnonzero(site == s))
        y[rows[: round((0.5 + (0.3 if s < 2 else -0.3)) * rows.size)]] = 1.0
    scale, shift = np.exp(0.2 * rng.normal(size=(4, features))), 0.5 * rng.normal(size=(4, features))
    X = rng.normal(size=(people, features)) * scale[site] + shift[site]
    return X, y, site.astype(str), np.arange(people).astype(str)


def test_site_that_goes_with_diagnosis_and_harmonisation_of_everybody():
    found = {k: [] for k in ("naive", "left out", "target", "all", "in fold")}
    for seed in range(4):
        X, y, site, names = sited(seed)
        dummies = (site[:, None] == np.unique(site)).astype(float)

        def combat(X, y, site=site):
            return SiteHarmonizer().fit(X, site=site).transform(X, site=site)

        def with_target(X, y, site=site):
            use = {"site": site, "covariates": y[:, None]}
            return SiteHarmonizer().fit(X, **use).transform(X, **use)

        folds = make_folds(y, names, kind="classification", site=site, repeats=1, seed=seed)
        loso = make_folds(
            y, site, kind="classification", inner=3, scheme="leave-one-group-out", group_of_site=True
        )
        codes = np.column_stack([X, np.zeros(y.size), site.astype(float)])
        harmonize = {"covariates": 0, "unseen": "error", "names": ("0", "1", "2", "3")}
        found["naive"].append(score(X, y, folds))
        found["left out"].append(score(X, y, loso))
        found["target"].append(score(with_target(X, y), y, folds))
        found["all"].append(score(combat(X, y), y, folds))
        found["in fold"].append(score(codes, y, folds, harmonize=harmonize))
        alone = audit.baseline("site", dummies, y, folds, "classification", GRID, "")
        assert alone["status"] == "flag" and audit.association(site, y, "classification") > audit.SITE_LIMIT
        assert probed(combat, X, y, folds) == {"preprocessing saw the values of test rows"}
        assert "preprocessing saw the labels of test rows" in probed(with_target, X, y, folds)
        assert traced(X, y, site=dummies) == set()
        for step, words in ((combat, "x by site:"), (with_target, "x by site, with the target preserved:")):
            text = [t for _, hit, t in traces.find({"x": step(X, y)}, 0, y, {"site": dummies}) if hit]
            assert len(text) == 1 and words in text[0]
    mean = {k: np.mean(v) for k, v in found.items()}
    assert mean["naive"] >= 0.75
    assert mean["target"] >= 0.62
    assert mean["all"] <= 0.35
    below = {"auc": {"mean": mean["all"], "low": 0.25, "high": mean["all"] + 0.1}}
    assert audit.below_chance({"x": below}, "auc", "classification")["status"] == "flag"
    chance(found["left out"])
    chance(found["in fold"])


def test_removal_of_a_target_like_confound_and_a_forest():
    rng, _, y, _, folds = noise(0, 200, 1)
    X, confound = rng.integers(0, 2, (200, 3)).astype(float), (y + 0.8 * rng.normal(size=200))[:, None]

    def forest(table, y):
        values = []
        for _, _, train, test, _ in folds.splits():
            clean = confound_remove(
                table[:, :3], table[:, 3:], *confound_fit(table[train, :3], table[train, 3:])
            )
            learner = RandomForestClassifier(60, min_samples_leaf=3, random_state=0, n_jobs=1)
            values.append(auc(y[test], learner.fit(clean[train], y[train]).predict_proba(clean[test])[:, 1]))
        return float(np.mean(values))

    table = np.hstack([X, confound])
    assert forest(table, y) >= 0.72
    assert score(table, y, folds, confounds=1) < 0.57
    named = audit.shuffled_features(forest, X, confound, y, "classification", runs=3)
    assert named["status"] == "flag" and named["value"] > 0.65


def test_age_corrected_accuracy_of_noise():
    rng = np.random.default_rng(0)
    age, X, names = rng.uniform(20, 80, 300), rng.normal(size=(300, 20)), np.arange(300).astype(str)
    folds = make_folds(age, names, kind="regression", repeats=1)
    predicted = np.empty(300)
    for fold in label_scores(
        {"x": X}, age[:, None], folds, **{**PLAIN, "kind": "regression", "grid": (0.01,)}
    ):
        predicted[fold.test] = fold.raw["x"][:, 0]
    fixed = age + gaps(age, predicted, bias_line(age, predicted))["delange"]
    assert regression_metrics(age, fixed, age.mean())["r2"] >= 0.88
    assert regression_metrics(age, predicted, age.mean())["r2"] <= 0


def test_intervals_that_take_folds_for_independent():
    rng = np.random.default_rng(0)
    features, distance, people, studies = 20, 1.2, 100, 120
    delta = np.full(features, distance / np.sqrt(features))
    truth, naive, corrected, different, fair = expected_auc(distance, features, 80), 0, 0, 0, 0
    y = np.where(np.arange(people) % 2, 1.0, -1.0)
    for _ in range(studies):
        X = rng.normal(size=(people, features)) + 0.5 * y[:, None] * delta
        values, others = [], []
        for _ in range(10):
            assigned = np.empty(people, dtype=int)
            assigned[0::2], assigned[1::2] = rng.permutation(50) % 5, rng.permutation(50) % 5
            for fold in range(5):
                train, test = assigned != fold, assigned == fold
                w = X[train & (y > 0)].mean(0) - X[train & (y < 0)].mean(0)
                values.append(auc(y[test], X[test] @ w))
                halves = [auc(y[test], X[test][:, h] @ w[h]) for h in (slice(0, 10), slice(10, 20))]
                others.append(halves[0] - halves[1])
        values, others = np.array(values), np.array(others)
        first = values[:5]
        naive += abs(first.mean() - truth) <= 1.96 * first.std(ddof=1) / np.sqrt(5)
        found = corrected_interval(values, 0.25)
        corrected += found["low"] <= truth <= found["high"]
        different += abs(others.mean() / (others.std(ddof=1) / np.sqrt(others.size))) > 2.01
        fair += corrected_ttest(others, 0.25)["p"] <= 0.05
    assert naive / studies <= 0.82
    assert corrected / studies >= 0.85
    assert different / studies >= 0.5
    assert fair / studies <= 0.15


def test_scaling_with_the_people_tested():
    """Plain z scores of everybody gain nothing and are named; a norm that holds the controls tested gains much."""
    plain, scaled, wrong, right = [], [], [], []

    def everybody(X, y):
        return (X - X.mean(0)) / X.std(0)

    def norm(X, y):
        return np.abs((X - X[y < 0].mean(0)) / X[y < 0].std(0))

    for seed in range(6):
        _, X, y, _, folds = noise(seed, 40, 500)
        plain.append(score(X, y, folds))
        scaled.append(score(everybody(X, y), y, folds))
        wrong.append(score(norm(X, y).mean(axis=1)[:, None], y, folds))
        values = []
        for _, _, train, test, _ in folds.splits():
            controls = train[y[train] < 0]
            deviation = np.abs((X - X[controls].mean(0)) / X[controls].std(0)).mean(axis=1)
            values.append(auc(y[test], deviation[test]))
        right.append(np.mean(values))
        for step in (everybody, norm):
            assert "preprocessing saw the values of test rows" in probed(step, X, y, folds)
            assert traced(step(X, y), y) == {"scaled with everybody"}
        assert traced(X, y) == set()
    np.testing.assert_allclose(scaled, plain, atol=0.02)
    assert np.mean(wrong) >= 0.85
    chance(right)


def test_oversampling_before_the_split():
    wrong, right, made = [], [], []
    for seed in range(5):
        rng, X, _, _, _ = noise(seed, 120, 120)
        y = np.where(np.arange(120) < 24, 1.0, -1.0)
        rows = np.r_[np.arange(120), rng.choice(24, 72)]
        # between two people of the small class, as SMOTE makes them
        share = rng.random((72, 1))
        between = share * X[rng.choice(24, 72)] + (1 - share) * X[rng.choice(24, 72)]
        names = np.arange(192).astype(str)
        for values, table in ((wrong, X[rows]), (made, np.vstack([X, between]))):
            target = y[rows]
            folds = make_folds(target, names, kind="classification", repeats=1, seed=seed)
            values.append(score(table, target, folds))
            assert flags(audit.similar_rows(table, folds, names))
        folds = make_folds(y, names[:120], kind="classification", repeats=2, seed=seed)
        right.append(score(X, y, folds))
        assert not flags(audit.similar_rows(X, folds, names[:120]))
    assert np.mean(wrong) >= 0.85
    assert np.mean(made) >= 0.75
    chance(right)


class Careless(RidgePath):
    """A learner that is handed what it must not see: `spied` on the rows tested."""

    spied = None

    def fit(self, X, y):
        super().fit(X, y)
        self.seen_ = self.spied
        return self


def test_calibration_and_threshold_from_the_people_tested():
    isotonic, briers, best, calibrated, brier, fixed = ([] for _ in range(6))
    for seed in range(12):
        _, X, y, _, folds = noise(seed, 200, 50)
        for fold in label_scores({"x": X}, y[:, None], folds, **PLAIN):
            raw, target = fold.raw["x"][:, 0], y[fold.test]
            positive = target > 0
            p = IsotonicRegression(out_of_bounds="clip").fit(raw, positive).predict(raw)
            isotonic.append(auc(target, p))
            briers.append(np.mean((p - positive) ** 2))
            best.append(max((np.mean(raw[positive] > t) + np.mean(raw[~positive] <= t)) / 2 for t in raw))
            honest = Calibrator("classification").fit(fold.inner["x"][:, 0], y[fold.train])
            p = honest.apply(fold.outer["x"][:, 0])
            calibrated.append(auc(target, p) if np.ptp(p) > 1e-12 else 0.5)
            brier.append(np.mean((p - positive) ** 2))
            fixed.append((np.mean(raw[positive] > 0) + np.mean(raw[~positive] <= 0)) / 2)
    # noise that looks calibrated, ranked and decided better than it is
    assert np.mean(isotonic) >= 0.58
    assert np.mean(briers) <= 0.24 < np.mean(brier)
    assert np.mean(best) >= 0.56
    chance(calibrated)
    chance(fixed)

    _, X, y, _, folds = noise(0, 200, 50)
    _, _, train, test, _ = next(folds.splits())

    def fit(X, y, train, what):
        learner = Careless((1.0,))
        pipeline = make_pipeline({"x": list(range(50))}, [], learner, 0.5).fit(X[train], y[train])
        raw = pipeline[-1].scores(pipeline[:-1].transform(X))[:, 0]
        rows = train if what == "honest" else test
        if what == "threshold":
            learner.threshold_ = float(
                max(raw[rows], key=lambda t: np.mean((raw[rows] > t) == (y[rows] > 0)))
            )
        else:
            learner.calibrator_ = Calibrator("classification").fit(raw[rows], y[rows])
        return pipeline

    for what, status in (("honest", "ok"), ("calibration", "flag"), ("threshold", "flag")):
        found = audit.probe_fit(lambda X, y, t, what=what: fit(X, y, t, what), X, y, train, test)
        assert found["status"] == status, (what, found)
        if what != "honest":
            assert any("estimator" in step for step in found["steps"])


SETS = [{"name": "fmri", "modality": ["fmri-rest"]}, {"name": "pet", "modality": ["pet"]}]


def cohort_with(change, **knobs):
    """Flags of a model whose table was prepared with everybody before it was read."""
    cohort = make_cohort(5, people=160, effect=0.0, **knobs)
    people = cohort.participants.set_index("participant_id")
    wide = cohort.features.pivot(index="participant_id", columns=["modality", "region"], values="value")
    values = change(wide.to_numpy(), people.loc[wide.index])
    long = wide.copy()
    long.loc[:, :] = values
    table = cohort.features.set_index(["participant_id", "modality", "region"])
    table["value"] = long.stack(["modality", "region"], future_stack=True).reindex(table.index)
    base = {"name": "m", "table": "cohort", "target": "diagnosis", "permutations": 0, "repeats": 1}
    settings = complete(
        {**base, "features": SETS, "importance": {"repeats": 0, "nulls": 0}, "demographics": ["age"]}
    )
    return fit_model(table.reset_index(), cohort.participants, settings).summary["audit"]["flags"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("scaled with everybody", lambda X, people: (X - X.mean(0)) / X.std(0)),
        (
            "harmonised or adjusted with everybody",
            lambda X, people: SiteHarmonizer().fit(X, site=people["site"].to_numpy()).transform(
                X, site=people["site"].to_numpy()
            ),
        ),
        (
            "harmonised or adjusted with everybody",
            lambda X, people: X - np.outer(a := people["age"] - people["age"].mean(), a @ X / (a @ a)),
        ),
        (None, lambda X, people: X),
    ],
)  # fmt: skip
def test_a_model_whose_table_was_prepared_with_everybody_says_so(name, change):
    flagged = cohort_with(change, site_shift=0.5)
    ours = {
        "scaled with everybody",
        "harmonised or adjusted with everybody",
        "features chosen with the target",
    }
    assert ours & set(flagged) == ({name} if name else set())


def test_letters_of_identifiers_and_dates_that_tell_the_target():
    y = np.where(np.arange(60) % 2, 1.0, -1.0)
    named = np.array([f"sub-{'P' if v > 0 else 'C'}{k:02d}" for k, v in enumerate(y)])
    plain = np.array([f"sub-{k:02d}" for k in range(60)])
    assert audit.identifier_form(named, y, "classification")["status"] == "flag"
    assert audit.identifier_form(plain, y, "classification")["status"] == "ok"
    cohort = make_cohort(6, people=120, effect=0.0)
    late = cohort.participants["diagnosis"] == "patient"
    rng = np.random.default_rng(0)
    days = 300 * late + rng.integers(0, 400, 120)
    cohort.participants["acq_time"] = [
        f"20{10 + d // 360:02d}-{1 + d % 360 // 30:02d}-{1 + d % 28:02d}" for d in days
    ]
    base = {"name": "m", "table": "cohort", "target": "diagnosis", "permutations": 0, "repeats": 1}
    settings = complete({**base, "features": SETS, "importance": {"repeats": 0, "nulls": 0}})
    summary = fit_model(cohort.features, cohort.participants, settings).summary
    assert "acquisition only" in summary["audit"]["flags"]
    assert {c["check"]: c["status"] for c in summary["audit"]["checks"]}["time travel"] == "not possible"


def test_the_control_of_shuffled_features_uses_the_learner_of_the_model():
    cohort = make_cohort(7, people=80)
    base = {"name": "m", "table": "cohort", "target": "diagnosis", "permutations": 0, "repeats": 1}
    settings = complete(
        {
            **base, "features": SETS[:1], "estimator": "som", "grid": [4], "confounds": ["age"],
            "folds": {"outer": 3, "inner": 2}, "importance": {"repeats": 0, "nulls": 0},
        }
    )  # fmt: skip
    checks = {
        c["check"]: c
        for c in fit_model(cohort.features, cohort.participants, settings).summary["audit"]["checks"]
    }
    assert (
        ", som: Features of other people reach"
        in checks["shuffled features after removal of confounds"]["text"]
    )
    assert checks["fitted steps that saw test rows"]["status"] == "ok"
