"""The permutation test for many features: the same scores, the same null, much faster."""

import numpy as np
import pytest

from neurobraid.prediction import labels
from neurobraid.prediction.estimators import ridge_path
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.labels import label_scores, label_test, ridge_columns
from neurobraid.prediction.permutation import fold_scores, permutation_test


def study(n=60, p=90, effect=0.0, seed=0, kind="classification"):
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(n) % 2, 1.0, -1.0) if kind == "classification" else rng.normal(size=n)
    X = rng.normal(size=(n, p))
    X[:, :5] += effect * y[:, None]
    X[rng.random(X.shape) < 0.03] = np.nan
    X[:6, :] = np.nan
    other = rng.normal(size=(n, 12)) + 0.3 * effect * y[:, None]
    confound = rng.normal(size=(n, 2))
    tables = {"many": np.hstack([X, confound]), "few": np.hstack([other, confound])}
    names = np.arange(n).astype(str)
    folds = make_folds(y, names, kind=kind, outer=3, inner=3, repeats=1, seed=seed)
    settings = {"confounds": 2, "grid": (10.0, 1.0, 0.1), "kind": kind, "min_present": 0.5}
    return tables, y, folds, names, {**settings, "clinical": rng.normal(size=(n, 2))}


@pytest.mark.parametrize("shape", [(40, 70), (40, 9)])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_many_targets_equal_one_at_a_time(shape, kind):
    rng = np.random.default_rng(1)
    X = rng.normal(size=shape)
    X -= X.mean(0)
    new, grid = rng.normal(size=(7, shape[1])), (5.0, 0.5)
    Y = (
        np.where(rng.random((40, 3)) < 0.4, 1.0, -1.0)
        if kind == "classification"
        else rng.normal(size=(40, 3))
    )
    many = ridge_columns(X, new, Y, grid, kind)
    for k in range(3):
        weights, intercept = ridge_path(X, Y[:, k], grid, kind)
        np.testing.assert_allclose(many[:, :, k].T, new @ weights + intercept, atol=1e-9)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_scores_equal_the_other_engine(kind):
    tables, y, folds, _, settings = study(effect=0.8, kind=kind)
    slow = fold_scores(tables, y, folds, **settings)
    fast = label_scores(tables, y[:, None], folds, **settings)
    for one, two in zip(slow, fast, strict=True):
        for part in ("raw", "outer", "inner"):
            for name in ("many", "few", "demographics"):
                np.testing.assert_allclose(getattr(two, part)[name], getattr(one, part)[name], atol=1e-8)


@pytest.mark.parametrize("indicator", [False, True])
def test_who_lacks_a_modality_is_not_scored_by_it_without_confounds_either(indicator):
    tables, y, folds, _, settings = study(effect=0.8)
    bare = {name: table[:, :-2] for name, table in tables.items()}
    settings = {**settings, "confounds": 0, "indicator": indicator}
    slow = fold_scores(bare, y, folds, **settings)
    fast = label_scores(bare, y[:, None], folds, **settings)
    for one, two in zip(slow, fast, strict=True):
        for name in bare:
            np.testing.assert_allclose(two.raw[name], one.raw[name], atol=1e-8)
    assert any(np.isnan(one.raw["many"]).any() for one in slow) is not indicator


def test_p_of_an_effect_and_the_same_null_mean_as_moving_features():
    tables, y, folds, names, settings = study(effect=1.0)
    blocks = np.full(y.size, "a")
    done = label_test(tables, y, folds, names, blocks, count=99, seed=2, **settings)
    assert done["p"]["many"] == pytest.approx(0.01)
    slow = permutation_test(tables, y, folds, names, blocks, count=30, seed=2, **settings)
    assert done["observed"]["fused"] == pytest.approx(slow["observed"]["fused"])
    assert abs(done["null_mean"]["many"] - slow["null_mean"]["many"]) < 0.06
    assert abs(done["null_mean"]["many"] - 0.5) < 0.04


def test_what_a_small_modality_adds_to_a_large_one_has_a_p_of_its_own(monkeypatch):
    monkeypatch.setattr(labels, "MANY", 50)
    tables, y, folds, names, settings = study(n=80, effect=0.0, seed=3)
    tables["few"][:, :6] += 0.9 * y[:, None]
    blocks = np.full(y.size, "a")
    done = label_test(tables, y, folds, names, blocks, count=39, seed=2, **settings)["added"]
    slow = permutation_test(tables, y, folds, names, blocks, count=39, seed=5, **settings)["added"]
    assert done["observed"]["few"] == pytest.approx(slow["observed"]["few"])
    assert done["p"]["few"] == pytest.approx(1 / 40) and slow["p"]["few"] == pytest.approx(1 / 40)
    assert abs(done["null_mean"]["few"] - slow["null_mean"]["few"]) < 0.03
    assert np.isnan(done["p"]["many"]) and np.isnan(done["p"]["images"])


def test_p_without_an_effect_is_spread_out():
    p = []
    for seed in range(40):
        tables, y, folds, names, settings = study(n=40, p=60, seed=seed)
        tables = {"many": tables["many"]}
        blocks = np.full(y.size, "a")
        done = label_test(
            tables, y, folds, names, blocks, count=39, seed=seed, **{**settings, "clinical": None}
        )
        p.append(done["p"]["many"])
    p = np.array(p)
    # 40 studies: three binomial SD above the nominal 5 %, and a uniform mean
    assert np.mean(p <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 40)
    assert abs(p.mean() - 0.5) < 3 / np.sqrt(12 * 40)


def test_nothing_to_move():
    tables, y, folds, names, settings = study()
    done = label_test(tables, y, folds, names, names, count=9, seed=0, **settings)
    assert done["movable"] == 0
    assert np.isnan(done["p"]["many"])
