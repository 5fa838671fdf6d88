"""Time to an event: every formula against a second computation, planted truth, and what is refused."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from neurobraid.errors import InputError, InputErrors
from neurobraid.prediction import survival
from neurobraid.prediction.dataset import build
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.labels import label_test
from neurobraid.prediction.model import complete, cross_validate, fit_model
from neurobraid.prediction.permutation import statistics
from neurobraid.synth.cohort import make_cohort

FEATURES = [{"name": "fmri", "modality": ["fmri-rest"]}, {"name": "pet", "modality": ["pet"]}]


def model(**changes):
    base = {
        "name": "m", "table": "cohort", "target": "months", "kind": "survival", "event": "converted",
        "permutations": 0, "repeats": 1, "demographics": [], "features": FEATURES, "folds": {"outer": 5, "inner": 3},
    }  # fmt: skip
    return complete({**base, **changes})


def followed(seed=0, people=240, beta=1.2, **knobs):
    """A cohort with exponential times whose log hazard is beta times the planted score; a third is censored."""
    cohort = make_cohort(seed, people=people, **knobs)
    rng = np.random.default_rng(1000 + seed)
    score = cohort.participants["score"].to_numpy()
    z = (score - score.mean()) / score.std()
    times = rng.exponential(24 / np.exp(beta * z))
    end = rng.uniform(6, 90, people)
    cohort.participants["months"] = np.maximum(np.round(np.minimum(times, end), 1), 0.1)
    cohort.participants["converted"] = (times <= end).astype(int)
    return cohort, z


def messy(n=60, seed=0):
    """Times with ties among events and censored people, and scores with ties."""
    rng = np.random.default_rng(seed)
    times, events = rng.integers(1, 12, n).astype(float), rng.random(n) < 0.6
    return survival.encode(times, events), np.round(rng.normal(size=(n, 3)), 1)


def test_harrells_c_is_that_of_every_pair_counted_by_hand():
    y, scores = messy()
    times, events = survival.split(y)
    for column in range(3):
        right = pairs = 0.0
        for i in range(60):
            for j in range(60):
                earlier = times[i] < times[j] or (times[i] == times[j] and not events[j])
                if events[i] and earlier and i != j:
                    pairs += 1
                    gap = scores[i, column] - scores[j, column]
                    right += 1.0 if gap > 0 else 0.5 if gap == 0 else 0.0
        assert survival.concordance(y, scores)[column] == pytest.approx(right / pairs)
    many = survival.concordance(np.stack([y, y[::-1]], axis=1), scores[:, :2])
    assert many[1] == pytest.approx(survival.concordance(y[::-1], scores[:, 1:2])[0])
    assert survival.concordance(y, np.zeros((60, 1)))[0] == 0.5
    assert np.isnan(survival.concordance(-np.abs(y), scores)[0])


def test_kaplan_meier_of_events_and_of_censoring():
    y, _ = messy()
    times, events = survival.split(y)
    steps, share = survival.kaplan_meier(times, events)
    lost, under = survival.under_observation(times, events)
    left, seen = 1.0, 1.0
    for t in sorted(set(times)):
        risk = np.sum(times >= t)
        happened, gone = np.sum((times == t) & events), np.sum((times == t) & ~events)
        left *= 1 - happened / risk
        # at the same time the event comes first: who has it can no longer be lost
        seen *= 1 - gone / max(risk - happened, 1)
        assert survival.step_value(steps, share, np.array([t]))[0] == pytest.approx(left)
        assert survival.step_value(lost, under, np.array([t]))[0] == pytest.approx(seen)
    assert survival.step_value(lost, under, lost[:1], side="left")[0] == 1.0
    # without censoring it is the plain share
    np.testing.assert_allclose(
        survival.kaplan_meier(np.array([3.0, 1, 2, 4]), np.ones(4, dtype=bool))[1], [0.75, 0.5, 0.25, 0]
    )


def test_logrank_scores_by_hand_and_in_sum():
    y, _ = messy()
    found = survival.logrank_scores(y)
    assert found.sum() == pytest.approx(0, abs=1e-10)
    times, events = survival.split(y)
    for person in range(60):
        hazard = sum(
            np.sum((times == t) & events) / np.sum(times >= t)
            for t in sorted(set(times))
            if t <= times[person]
        )
        assert found[person] == pytest.approx(events[person] - hazard)
    np.testing.assert_array_equal(survival.logrank_scores(np.stack([y, -y], axis=1))[:, 0], found)
    # of two groups: the sum over one is observed minus expected events of the log-rank test
    group = np.arange(60) < 30
    expected = sum(
        np.sum((times == t) & events) * np.sum((times >= t) & group) / np.sum(times >= t) for t in set(times)
    )
    assert found[group].sum() == pytest.approx(np.sum(events & group) - expected)


def test_person_period_by_hand():
    edges = np.array([2.0, 5.0, 9.0])
    y = survival.encode(np.array([1.0, 2.0, 3.0, 5.0, 5.0, 9.0, 20.0]), np.array([1, 1, 1, 0, 1, 0, 0]) > 0)
    at_risk, event = survival.person_period(y, edges)
    assert at_risk.sum(axis=1).tolist() == [1, 1, 2, 2, 2, 3, 3]
    assert event.argmax(axis=1)[[0, 1, 2, 4]].tolist() == [0, 0, 1, 1]
    assert event.sum() == 4


def test_hazard_equals_a_logistic_regression_on_the_expanded_rows():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(150, 4))
    times = rng.exponential(10 / np.exp(X[:, 0]))
    y = survival.encode(np.minimum(times, 15), times < 15)
    fitted = survival.HazardPath((0.5, 5.0)).fit(X, y)
    at_risk, event = survival.person_period(y, fitted.edges_)
    person, interval = np.nonzero(at_risk)
    # levels are as good as free where their columns are large, features carry the penalty
    rows = np.hstack([100 * np.eye(fitted.edges_.size)[interval], (X * fitted.factor_)[person]])
    for place, c in enumerate((0.5, 5.0)):
        plain = LogisticRegression(C=c, fit_intercept=False, tol=1e-10, max_iter=5000)
        plain.fit(rows, event[person, interval])
        np.testing.assert_allclose(fitted.weights_[:, place], plain.coef_[0, fitted.edges_.size :], atol=3e-3)
    assert np.argmax(np.abs(fitted.weights_[:, 1])) == 0


def test_the_brier_score_by_hand_and_at_its_best_for_the_true_curve():
    y = survival.encode(np.array([2.0, 3.0, 4.0, 6.0]), np.array([1, 0, 1, 0]) > 0)
    censoring = survival.under_observation(*survival.split(y))
    found = survival.brier(y, np.full((4, 1), 0.7), np.array([5.0]), censoring)[0]
    # observation goes on for 2 of 3 beyond time 3; the person lost at 3 has no weight
    share = 2 / 3
    assert found == pytest.approx((0.49 / 1 + 0.49 / share + 0.09 / share) / 4)
    rng = np.random.default_rng(4)
    z = rng.normal(size=4000)
    times, end = rng.exponential(10 / np.exp(z)), rng.uniform(2, 30, 4000)
    y = survival.encode(np.minimum(times, end), times <= end)
    values = {}
    for name, slope in (("true", 1.0), ("flat", 0.0), ("too steep", 2.0)):

        def curve(t, slope=slope):
            return np.exp(-t[None, :] / 10 * np.exp(slope * z)[:, None])

        values[name] = survival.integrated_brier(y, curve, y)
    assert values["true"] < min(values["flat"], values["too steep"])
    # and close to the one without any censoring
    whole = survival.encode(times, np.ones(4000, dtype=bool))
    cut = survival.split(y)[0]
    last = np.quantile(cut, 0.9)
    grid = np.linspace(0, last, 101)
    exact = survival.brier(whole, np.exp(-grid / 10 * np.exp(z)[:, None]), grid, (np.empty(0), np.empty(0)))
    assert values["true"] == pytest.approx(np.trapezoid(exact, grid) / last, abs=0.01)


def test_calibrated_curves_meet_the_planted_survival():
    rng = np.random.default_rng(5)
    z = rng.normal(size=3000)
    times, end = rng.exponential(10 / np.exp(0.8 * z)), rng.uniform(5, 40, 3000)
    y = survival.encode(np.minimum(times, end), times <= end)
    found = survival.HazardCalibrator().fit(3 * z + 7, y)
    at = np.array([2.0, 8.0, 15.0])
    expected = np.exp(-at / 10 * np.exp(0.8 * np.array([-1.0, 0.0, 1.0]))[:, None])
    np.testing.assert_allclose(found.curve(np.array([4.0, 7.0, 10.0]), at), expected, atol=0.05)
    assert np.all(np.diff(found.apply(np.array([4.0, 7.0, 10.0]))) < 0)
    flat = survival.HazardCalibrator().fit(-z, y)
    assert np.ptp(flat.apply(z)) == 0


@pytest.fixture(scope="module")
def fitted():
    cohort, z = followed(1)
    settings = model(
        estimator="ridge-logistic", permutations=9, fusion=["late", "early", "stacking"], confounds=["age"],
        demographics=["sex"], learning_curve=True,
    )  # fmt: skip
    return fit_model(cohort.features, cohort.participants, settings), cohort, z


def mean(result, name, metric="cindex"):
    return result.summary["metrics"][name][metric]["mean"]


def test_planted_hazard_is_found_and_everything_has_an_answer(fitted):
    result, cohort, z = fitted
    summary, people = result.summary, cohort.participants
    y = survival.encode(people["months"].to_numpy(), people["converted"].to_numpy() > 0)
    best = survival.concordance(y, z[:, None])[0]
    assert best > 0.75
    assert 0.65 < mean(result, "fused") < best + 0.03
    assert mean(result, "fused") > max(mean(result, "fmri"), mean(result, "pet"))
    assert mean(result, "fused", "ibs") < mean(result, "dummy", "ibs") < 0.25
    assert mean(result, "dummy") == 0.5
    assert summary["class_counts"] == {"event": int(np.sum(y > 0)), "censored": int(np.sum(y < 0))}
    assert summary["permutation"]["p"]["fused"] == pytest.approx(0.1)
    assert abs(summary["permutation"]["null_mean"]["fused"] - 0.5) < 0.06
    groups = summary["risk_groups"]
    assert [g["people"] for g in groups] == [80, 80, 80]
    assert groups[0]["survival"][-1] > groups[2]["survival"][-1]
    assert summary["slices"][0]["metric"] == "cindex"
    assert len(summary["learning_curve"]["points"]) == 4
    assert summary["audit"]["flags"] == []
    assert all(np.isfinite(a["difference"]) for a in summary["added_value"])
    shown = result.predictions.drop_duplicates("participant_id").set_index("participant_id")["target"]
    lost = people.set_index("participant_id")["converted"] == 0
    assert shown.str.endswith("+").reindex(lost.index).equals(lost)


def test_shuffled_pairs_give_chance_and_the_fast_engine_agrees():
    found = []
    how = {"confounds": 0, "grid": (100.0, 10.0, 1.0, 0.1, 0.01), "kind": "survival", "min_present": 0.5}
    for seed in range(6):
        cohort, _ = followed(seed, people=120)
        rng = np.random.default_rng(seed)
        pair = cohort.participants[["months", "converted"]].to_numpy()[rng.permutation(120)]
        cohort.participants[["months", "converted"]] = pair
        data = build(cohort.features, cohort.participants, model())
        folds = make_folds(data.y, data.groups, kind="survival", site=data.sites, inner=3, repeats=1, seed=1)
        found.append(statistics(data.tables, data.y, folds, **how)["fused"])
    assert abs(np.mean(found) - 0.5) < 0.05
    slow = [v for n, _, _, m, v in cross_validate(data, folds, model())[1] if (n, m) == ("fused", "cindex")]
    assert found[-1] == pytest.approx(np.mean(slow), abs=1e-9)
    many = label_test(data.tables, data.y, folds, data.groups, data.sites, count=19, seed=1, **how)
    assert many["observed"]["fused"] == pytest.approx(found[-1], abs=1e-8)
    assert abs(many["null_mean"]["fused"] - 0.5) < 0.06


def test_training_people_without_any_event_are_predicted_to_keep_it_so():
    X, y = np.random.default_rng(0).normal(size=(12, 3)), -np.arange(1.0, 13)
    np.testing.assert_array_equal(survival.HazardPath((1.0,)).fit(X, y).scores(X), np.zeros((12, 1)))
    found = survival.HazardCalibrator().fit(X[:, 0], y)
    np.testing.assert_array_equal(found.curve(X[:, 0], np.array([0.0, 5.0, 90.0])), np.ones((12, 3)))
    assert survival.integrated_brier(y, lambda t: found.curve(X[:, 0], t), y) == 0
    np.testing.assert_array_equal(survival.logrank_scores(y), np.zeros(12))


def test_folds_hold_about_as_many_events():
    rng = np.random.default_rng(6)
    y = survival.encode(rng.exponential(size=100), rng.random(100) < 0.3)
    folds = make_folds(y, np.arange(100).astype(str), kind="survival", repeats=1)
    events = [int((y[test] > 0).sum()) for _, _, _, test, _ in folds.splits()]
    assert max(events) - min(events) <= 3


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"event": ""}, "0 and 1"),
        ({"estimator": "random-forest"}, "random-forest"),
        ({"kind": "regression"}, "remove event"),
    ],
)
def test_bad_records_are_refused(change, word):
    with pytest.raises(InputError, match=word):
        model(**change)


def test_bad_columns_are_refused_all_at_once():
    cohort, _ = followed(0, people=40)
    people = cohort.participants.copy()
    people["months"] = people["months"].astype(float)
    people.loc[3, "months"] = -2.0
    people.loc[5, "converted"] = 2
    with pytest.raises(InputErrors) as raised:
        fit_model(cohort.features, people, model())
    text = str(raised.value)
    assert "sub-004" in text and "-2.0" in text and "above 0" in text
    assert "sub-006" in text and "0, 1 or n/a" in text
    with pytest.raises(InputError, match="died"):
        fit_model(cohort.features, cohort.participants, model(event="died"))
    with pytest.raises(InputError, match="remove the target"):
        fit_model(cohort.features, cohort.participants, model(confounds=["converted"]))
    nobody = cohort.participants.assign(converted=0)
    summary = fit_model(cohort.features, nobody, model()).summary
    assert (summary["status"], "event" in summary["reason"]) == ("UNAVAILABLE", True)
