"""Folds keep groups whole at both levels, balance classes and sites, and are the same for everybody."""

import numpy as np
import pytest

from neurobraid.errors import InputError
from neurobraid.prediction.folds import Unavailable, check_groups, make_folds, manifest
from neurobraid.prediction.permutation import exchange_units, permutation_test, permuted_rows


def cohort(n=120, seed=0):
    rng = np.random.default_rng(seed)
    site = np.repeat(["x", "y", "z"], n // 3)
    y = np.tile([-1.0, 1.0], n // 2)
    order = rng.permutation(n)
    return y[order], site[order], np.array([f"sub-{i:03d}" for i in range(n)])


def test_folds_are_balanced_over_class_and_site():
    y, site, names = cohort()
    folds = make_folds(y, names, kind="classification", site=site, seed=3)
    assert folds.outer.shape == (2, 120)
    for _, _, train, test, inside in folds.splits():
        assert train.size + test.size == 120
        for s in "xyz":
            assert (site[test] == s).sum() == 8
            assert (y[test][site[test] == s] > 0).sum() == 4
        assert set(inside) == set(range(5))
        for k in range(5):
            assert 0.4 <= np.mean(y[train][inside == k] > 0) <= 0.6
    assert not np.array_equal(folds.outer[0], folds.outer[1])
    assert folds.test_share == pytest.approx(0.25)


def test_families_stay_together_at_both_levels():
    y, site, _ = cohort()
    family = np.array([f"fam-{i // 3}" for i in range(120)])
    folds = make_folds(y, family, kind="classification", site=site)
    for _, _, train, test, inside in folds.splits():
        assert not set(family[train]) & set(family[test])
        for k in np.unique(inside):
            assert not set(family[train][inside == k]) & set(family[train][inside != k])


def test_leaving_sites_out():
    y, site, _ = cohort()
    folds = make_folds(y, site, kind="classification", site=site, group_of_site=True, repeats=1)
    assert folds.outer.max() == 2
    for _, _, _, test, _ in folds.splits():
        assert np.unique(site[test]).size == 1


def test_small_classes_get_fewer_folds_and_tiny_ones_none():
    y = np.r_[np.ones(4), -np.ones(9)]
    names = np.arange(13).astype(str)
    folds = make_folds(y, names, kind="classification")
    for _, _, train, test, inside in folds.splits():
        assert np.unique(y[test]).size == 2
        for k in np.unique(inside):
            assert np.unique(y[train][inside != k]).size == 2
    with pytest.raises(Unavailable):
        make_folds(np.r_[1.0, -np.ones(9)], names[:10], kind="classification")
    with pytest.raises(Unavailable):
        make_folds(np.r_[np.ones(2), -np.ones(9)], names[:11], kind="classification")


def test_regression_folds_cover_the_range():
    rng = np.random.default_rng(1)
    y = rng.exponential(size=100)
    folds = make_folds(y, np.arange(100).astype(str), kind="regression")
    for _, _, train, test, _ in folds.splits():
        assert test.size == 20
        assert abs(np.median(y[test]) - np.median(y[train])) < 0.5


def test_manifest_is_reproducible_and_complete():
    y, site, names = cohort(60)
    tables = []
    for seed in (1, 1, 2):
        folds = make_folds(y, names, kind="classification", site=site, seed=seed)
        tables.append(manifest(folds, names, [""] * 60, names))
    assert tables[0][1] == tables[1][1] != tables[2][1]
    table = tables[0][0]
    assert len(table) == 60 * 10
    tests = table[table.role == "test"].groupby(["repeat", "participant_id"]).size()
    assert (tests == 1).all()
    assert table.loc[table.role == "test", "inner_fold"].isna().all()
    assert table.loc[table.role == "train", "inner_fold"].between(1, 5).all()


def test_straddling_groups_are_refused():
    people = np.array(["sub-1", "sub-1", "sub-2"])
    with pytest.raises(InputError, match="sub-1"):
        check_groups(
            people, np.array(["f1", "f2", "f1"]), np.ones(3), "classification", file="t", column="family_id"
        )
    with pytest.raises(InputError, match="two classes"):
        check_groups(
            people, people, np.array([1.0, -1.0, 1.0]), "classification", file="t", column="participant_id"
        )
    check_groups(people, people, np.array([1.0, 2.0, 1.0]), "regression", file="t", column="participant_id")


def test_units_change_places_within_blocks_and_as_a_whole():
    units = np.array(["a", "a", "b", "c", "c", "d", "e", "e"])
    blocks = np.array(["s", "s", "s", "s", "s", "s", "t", "t"])
    gathered = exchange_units(units, blocks)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(50):
        rows = permuted_rows(gathered, 8, rng)
        assert sorted(rows) == list(range(8))
        assert (blocks[rows] == blocks).all()
        for unit in "ace":
            assert np.unique(units[rows[units == unit]]).size == 1
            assert np.diff(rows[units == unit]).tolist() == [1]
        seen.add(tuple(rows))
    assert len(seen) == 4, "a and c, b and d change places; e is alone in its block"


def small(effect, n=48, seed=0):
    rng = np.random.default_rng(seed)
    y = np.tile([-1.0, 1.0], n // 2)
    X = rng.normal(size=(n, 6))
    X[:, 0] += effect * y
    names = np.arange(n).astype(str)
    folds = make_folds(y, names, kind="classification", outer=3, inner=3, repeats=1)
    settings = {"confounds": 0, "grid": (100.0, 1.0), "kind": "classification", "min_present": 0.5}
    return {"a": X}, y, folds, names, settings


def test_p_of_a_strong_effect_is_the_smallest_there_is():
    tables, y, folds, names, settings = small(2.0)
    found = permutation_test(tables, y, folds, names, np.full(48, "s"), count=19, seed=0, **settings)
    assert found["p"]["a"] == pytest.approx(1 / 20)
    assert found["movable"] == 48


def test_p_without_an_effect_is_spread_out():
    p = []
    for seed in range(40):
        tables, y, folds, names, settings = small(0.0, seed=seed)
        done = permutation_test(tables, y, folds, names, np.full(48, "s"), count=19, seed=seed, **settings)
        p.append(done["p"]["a"])
    p = np.array(p)
    assert np.mean(p <= 0.05) <= 0.15
    assert 0.35 < p.mean() < 0.7


def test_p_is_missing_when_nothing_can_move():
    tables, y, folds, names, settings = small(2.0)
    found = permutation_test(tables, y, folds, names, names, count=5, seed=0, **settings)
    assert np.isnan(found["p"]["a"])
    assert found["movable"] == 0
