"""Intervals by nested cross-validation: the paper's sums by hand, folds that keep groups, and coverage."""

import numpy as np
import pytest
from scipy.stats import norm

from neurobraid.errors import InputError
from neurobraid.prediction.folds import check_folds, make_folds
from neurobraid.prediction.metrics import auc
from neurobraid.prediction.model import complete, fit_model
from neurobraid.prediction.nested import bates_interval, bates_parts, jackknife, paired_folds
from neurobraid.synth.cohort import make_cohort

FEATURES = [{"name": "fmri", "modality": ["fmri-rest"]}, {"name": "pet", "modality": ["pet"]}]


def model(**changes):
    base = {"name": "m", "table": "cohort", "target": "diagnosis", "permutations": 0, "repeats": 1}
    return complete({**base, "features": FEATURES, "intervals": "bates", **changes})


def test_every_pair_and_every_fold_is_left_out_and_groups_stay_whole():
    y = np.where(np.arange(80) % 2, 1.0, -1.0)
    groups = np.repeat(np.arange(40), 2).astype(str)
    assigned = make_folds(y, groups, kind="regression", repeats=1).outer[0]
    folds, left = paired_folds(assigned)
    assert len(left) == 15
    check_folds(folds, groups, file="folds", column="group")
    for (_, _, train, test, inside), out in zip(folds.splits(), left, strict=True):
        assert set(assigned[test]) == set(out)
        assert set(train) | set(test) == set(range(80))
        np.testing.assert_array_equal(inside, assigned[train])


def test_the_sums_of_the_paper_by_hand():
    rng = np.random.default_rng(0)
    y = np.where(np.arange(60) % 2, 1.0, -1.0)
    X = rng.normal(size=(60, 5)) + 0.3 * y[:, None]
    assigned = np.arange(60) // 2 % 4

    def rule(train, test):
        return X[test] @ (X[train][y[train] > 0].mean(0) - X[train][y[train] < 0].mean(0))

    def scores_of(folds):
        return [(train, test, rule(train, test)) for _, _, train, test, _ in folds.splits()]

    parts = bates_parts(assigned, scores_of, y, "classification")
    for k in range(4):
        inside = []
        for j in set(range(4)) - {k}:
            train, test = ~np.isin(assigned, [j, k]), assigned == j
            inside.append(auc(y[test], rule(train, test)))
        assert parts["inner"][k] == pytest.approx(np.mean(inside))
        assert parts["outer"][k] == pytest.approx(auc(y[assigned == k], rule(assigned != k, assigned == k)))
    made = [
        {
            "inner": np.array([0.7, 0.8, 0.6, 0.7]),
            "outer": np.array([0.9, 0.5, 0.7, 0.8]),
            "noise": np.full(4, 0.025),
        }
    ]
    found = bates_interval(made)
    square = np.mean([0.04, 0.09, 0.01, 0.01]) - 0.025
    error = np.sqrt(3 / 4 * square)
    assert np.sqrt(0.025 / 4) < error < 2 * np.sqrt(0.025 / 4)
    centre = 0.7 - 1.5 * (0.7 - 0.725)
    assert found["estimate"] == pytest.approx(centre)
    assert found["high"] - found["low"] == pytest.approx(2 * 1.959964 * error, rel=1e-5)
    # never narrower than the naive interval, never wider than twice it with four folds
    for noise, factor in ((0.037, 1.0), (1e-4, 2.0)):
        made[0]["noise"] = np.full(4, noise)
        half = bates_interval(made)["high"] - bates_interval(made)["estimate"]
        assert half == pytest.approx(1.959964 * factor * np.sqrt(noise / 4), rel=1e-5)


def test_variance_of_the_auc_is_that_of_delong():
    rng = np.random.default_rng(1)
    y = np.where(np.arange(60) % 2, 1.0, -1.0)
    score = 0.5 * y + rng.normal(size=60)
    one, two = score[y > 0], score[y < 0]
    wins = (one[:, None] > two).astype(float)
    delong = wins.mean(1).var(ddof=1) / 30 + wins.mean(0).var(ddof=1) / 30
    assert jackknife(y, score, 0.0, "classification") == pytest.approx(delong, rel=0.06)


def test_coverage_of_the_planted_auc():
    """N = 100, five folds: the SE over folds covers .76, the corrected one .89; aim .92 to .97."""
    p, distance, n = 20, 1.2, 100
    truth = norm.cdf(distance**2 / (np.sqrt(2) * np.sqrt(distance**2 + 4 * p / 80)))
    rng = np.random.default_rng(2)
    y = np.where(np.arange(n) % 2, 1.0, -1.0)
    hits, narrow = [], []
    for _ in range(40):
        X = rng.normal(size=(n, p)) + 0.5 * y[:, None] * distance / np.sqrt(p)

        def scores_of(folds, X=X):
            for _, _, train, test, _ in folds.splits():
                direction = X[train][y[train] > 0].mean(0) - X[train][y[train] < 0].mean(0)
                yield train, test, X[test] @ direction

        parts = []
        for _ in range(4):
            assigned = np.empty(n, dtype=int)
            assigned[0::2], assigned[1::2] = rng.permutation(50) % 5, rng.permutation(50) % 5
            parts.append(bates_parts(assigned, scores_of, y, "classification"))
        found = bates_interval(parts)
        hits.append(found["low"] <= truth <= found["high"])
        folds = parts[0]["outer"]
        narrow.append(abs(folds.mean() - truth) <= 1.96 * folds.std(ddof=1) / np.sqrt(5))
    # 40 studies: the aim less two binomial SE; benchmarks/prediction.py measures it with more
    assert np.mean(hits) >= 0.92 - 2 * np.sqrt(0.92 * 0.08 / 40)
    assert np.mean(narrow) < np.mean(hits)
    assert auc(y, X @ np.ones(p)) > 0.5


def test_a_model_shows_it_beside_the_usual_one(monkeypatch):
    from neurobraid.prediction import nested

    cohort = make_cohort(0, people=100)
    monkeypatch.setattr(
        nested.nested_intervals, "__kwdefaults__", {**nested.nested_intervals.__kwdefaults__, "divisions": 3}
    )
    settings = model(fusion=["late", "early"], folds={"inner": 3}, demographics=[])
    first, second = (fit_model(cohort.features, cohort.participants, settings).summary for _ in range(2))
    assert first == second
    assert "Bates" in first["interval"]
    assert set(first["nested_intervals"]["sets"]) == {"fmri", "pet", "fused", "early"}
    for name, one in first["nested_intervals"]["sets"].items():
        shown = first["metrics"][name]["auc"]
        assert (shown["low"], shown["high"]) == (one["low"], one["high"])
        assert shown["nadeau_bengio"][0] != one["low"]
        assert abs(one["mean"] - shown["mean"]) < 0.1
    assert "nadeau_bengio" not in first["metrics"]["fused"]["brier"]
    few = fit_model(cohort.features, cohort.participants, model(folds={"outer": 3, "inner": 2})).summary
    assert few["nested_intervals"]["status"] == "not possible"


@pytest.mark.parametrize(
    "change", [{"estimator": "svm"}, {"splits": "within-site"}, {"intervals": "bootstrap"}]
)
def test_what_it_cannot_do_is_refused(change):
    with pytest.raises(InputError, match="intervals"):
        model(**change)
