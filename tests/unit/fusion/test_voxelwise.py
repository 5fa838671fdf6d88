"""Cross-modal regression at every voxel, and receptor maps as regressors, against known truth."""

import numpy as np
import pytest

from neurobraid.fusion import voxelwise

PEOPLE, VOXELS = 24, 60


def study(seed=0):
    rng = np.random.default_rng(seed)
    design = np.column_stack([np.ones(PEOPLE), rng.standard_normal(PEOPLE)])
    maps = rng.standard_normal((2, PEOPLE, VOXELS))
    y = rng.standard_normal((PEOPLE, VOXELS)) + 3 * design[:, 1:] + 5
    return y, maps, design, rng


def test_slope_and_t_are_those_of_ordinary_regression_at_each_voxel():
    y, maps, design, _ = study()
    y[3, 10] = np.nan
    maps[1, :, 11] = 2.0
    maps[1, :, 12] = 3 * maps[0, :, 12] + 1
    found = voxelwise.cross_modal_glm(y, maps, design, permutations=9)
    assert found["df"] == PEOPLE - 4
    for v in (0, 17, VOXELS - 1):
        X = np.column_stack([design, maps[:, :, v].T])
        beta, rest, *_ = np.linalg.lstsq(X, y[:, v], rcond=None)
        variance = rest[0] / found["df"] * np.linalg.inv(X.T @ X)[-1, -1]
        assert found["slope"][v] == pytest.approx(beta[-1])
        assert found["t"][v] == pytest.approx(beta[-1] / np.sqrt(variance))
    for name in ("slope", "t", "p", "p_fwe"):
        assert np.isnan(found[name][[10, 11, 12]]).all() and np.isfinite(found[name]).sum() == VOXELS - 3
    with pytest.raises(ValueError, match="do not fit"):
        voxelwise.cross_modal_glm(y, maps[:, :-1], design)
    with pytest.raises(ValueError, match="too few"):
        voxelwise.cross_modal_glm(y[:4], maps[:, :4], design[:4])


def test_family_error_is_kept_and_a_planted_voxel_found():
    hits, studies = 0, 60
    for seed in range(studies):
        y, maps, design, _ = study(seed)
        y += 2 * maps[0]
        hits += (
            np.nanmin(voxelwise.cross_modal_glm(y, maps, design, permutations=99, seed=seed)["p_fwe"]) <= 0.05
        )
    assert hits / studies <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / studies)
    y, maps, design, rng = study(99)
    y[:, 7] -= 2 * maps[1, :, 7]
    found = voxelwise.cross_modal_glm(y, maps, design, permutations=199, within=rng.integers(0, 2, PEOPLE))
    assert found["p_fwe"][7] <= 0.01 and found["slope"][7] == pytest.approx(-2, abs=0.7)
    assert (np.delete(found["p_fwe"], 7) > 0.05).all()
    again = voxelwise.cross_modal_glm(y, maps[1], design, permutations=19, seed=3)
    np.testing.assert_array_equal(
        again["max_t"], voxelwise.cross_modal_glm(y, maps[1], design, permutations=19, seed=3)["max_t"]
    )


def test_receptor_courses_and_weights_are_recovered():
    rng = np.random.default_rng(0)
    maps = rng.gamma(2.0, 1.0, (2, 500))
    maps[1] += 0.6 * maps[0]
    courses = rng.standard_normal((200, 2))
    courses = (courses - courses.mean(0)) / courses.std(0)
    series = 1000 + courses @ maps + 2 * rng.standard_normal((200, 500))
    series[:, 4] = 5.0
    maps[0, 9] = np.nan
    found, weights, inflation = voxelwise.receptor_regression(series, maps)
    for k in range(2):
        assert np.corrcoef(found[:, k], courses[:, k])[0, 1] > 0.97
    assert 1.1 < inflation[0] < 3
    assert inflation[0] == pytest.approx(inflation[1])
    assert np.isnan(weights[:, 4]).all() and np.isfinite(weights[:, 9]).all()
    ok = np.isfinite(weights[0]) & np.isfinite(maps[0])
    assert np.corrcoef(weights[0, ok], maps[0, ok])[0, 1] > 0.6
    # a map alone takes what belongs to its neighbour; together they are told apart
    alone = voxelwise.receptor_regression(series, maps[:1])[0][:, 0]
    assert (
        abs(np.corrcoef(alone, courses[:, 1])[0, 1])
        > 0.3
        > 0.15
        > abs(np.corrcoef(found[:, 0], courses[:, 1])[0, 1])
    )
    with pytest.raises(ValueError, match="sum of others"):
        voxelwise.receptor_regression(series, np.vstack([maps[1], 2 * maps[1] + 1]))
