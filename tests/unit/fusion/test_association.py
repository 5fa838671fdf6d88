"""Map-to-map association: smooth maps that have nothing to do with one another are not called related."""

import itertools

import numpy as np
import pytest

from neurobraid.fusion import association, nulls

COUNT = 100


@pytest.fixture(scope="module")
def points():
    """100 places on both sides of a shell as large as the cortex, mm."""
    rng = np.random.default_rng(3)
    out = rng.standard_normal((COUNT, 3))
    return out / np.linalg.norm(out, axis=1, keepdims=True) * [62.0, 85.0, 58.0]


def smooth_maps(points, count, width, seed):
    """Independent maps of Gaussian covariance exp(-d² / 2 width²), unit variance."""
    covariance = np.exp(-(nulls.distances(points) ** 2) / (2 * width**2))
    root = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(points)))
    return np.random.default_rng(seed).standard_normal((count, len(points))) @ root.T


def test_moran_surrogates_keep_mean_variance_and_smoothness(points):
    apart = nulls.distances(points)
    basis = nulls.moran_basis(apart)
    assert basis.shape == (COUNT, COUNT - 1)
    np.testing.assert_allclose(basis.T @ basis, np.eye(COUNT - 1), atol=1e-9)
    values = 5 + smooth_maps(points, 1, 25, 0)[0]
    drawn = nulls.moran_surrogates(values, basis, 50, seed=1)
    np.testing.assert_allclose(drawn.mean(1), values.mean())
    np.testing.assert_allclose(drawn.std(1), values.std())
    with np.errstate(divide="ignore"):
        weights = np.where(apart > 0, 1 / apart, 0)

    def moran(v):
        return (v - v.mean()) @ weights @ (v - v.mean()) / ((v - v.mean()) ** 2).sum()

    np.testing.assert_allclose([moran(v) for v in drawn], moran(values), rtol=1e-8)
    np.testing.assert_array_equal(drawn, nulls.moran_surrogates(values, basis, 50, seed=1))
    with pytest.raises(ValueError, match="same place"):
        nulls.moran_basis(np.zeros((3, 3)))


def test_variogram_surrogates_match_the_variogram_where_shuffling_does_not(points):
    model = nulls.Variogram(nulls.distances(points))
    values = smooth_maps(points, 1, 25, 1)[0]
    drawn = model.surrogates(values, 40, seed=2)
    target = model.of(values)

    def error(maps):
        return np.abs(np.mean([model.of(m) for m in maps], axis=0) - target).mean() / target.mean()

    rng = np.random.default_rng(0)
    shuffled = [rng.permutation(values) for _ in range(40)]
    assert error(drawn) < 0.12
    assert error(shuffled) > 2.5 * error(drawn)
    ranked = model.surrogates(values, 3, seed=2, ranked=True)
    np.testing.assert_allclose(np.sort(ranked, axis=1), np.tile(np.sort(values), (3, 1)))


@pytest.mark.parametrize(("null", "pairs", "count"), [("moran", 200, 299), ("variogram", 120, 99)])
def test_false_positives_of_independent_smooth_maps(points, null, pairs, count):
    first, second = smooth_maps(points, pairs, 25, 10), smooth_maps(points, pairs, 25, 11)
    found = [
        association.map_association(a, b, points=points, null=null, count=count, seed=n)
        for n, (a, b) in enumerate(zip(first, second, strict=True))
    ]
    # the gate is 8 %; two standard errors of a rate over this many pairs are allowed on top
    assert np.mean([f["p"] <= 0.05 for f in found]) <= 0.08 + 2 * np.sqrt(0.08 * 0.92 / pairs)
    assert np.mean([f["p_parametric"] <= 0.05 for f in found]) > 0.12


@pytest.mark.parametrize("null", ["moran", "variogram"])
def test_a_planted_association_of_either_sign_is_found(points, null):
    noise = smooth_maps(points, 2, 25, 5)
    for sign in (1, -1):
        found = association.map_association(
            noise[0], sign * noise[0] + 0.6 * noise[1], points=points, null=null, count=199
        )
        assert sign * found["r"] > 0.7 and found["p"] <= 0.01, found


def test_missing_regions_are_left_out_in_both_maps(points):
    a, b = smooth_maps(points, 2, 10, 6)
    a, b = a.copy(), b.copy()
    a[:7], b[90:] = np.nan, np.nan
    found = association.map_association(a, b, points=points, count=99)
    assert found["regions"] == 83
    assert found["r"] == pytest.approx(np.corrcoef(a[7:90], b[7:90])[0, 1])
    ranks = association.map_association(a, b, points=points, count=99, method="spearman")
    from scipy.stats import spearmanr

    assert ranks["r"] == pytest.approx(spearmanr(a[7:90], b[7:90]).statistic)
    with pytest.raises(ValueError, match="at least 8"):
        association.map_association(a[:12], b[:12], points=points[:12])


def test_spins_move_regions_over_the_sphere_and_leave_the_medial_wall_out():
    from nilearn.datasets import load_fsaverage

    mesh = load_fsaverage("fsaverage5")["sphere"]
    parcels, centre = {}, []
    rng = np.random.default_rng(0)
    for n, side in enumerate(("left", "right")):
        v = np.asarray(mesh.parts[side].coordinates)
        v = v / np.linalg.norm(v, axis=1, keepdims=True)
        seeds = rng.standard_normal((40, 3))
        seeds /= np.linalg.norm(seeds, axis=1, keepdims=True)
        parcels[side] = np.argmax(v @ seeds.T, axis=1) + 40 * n
        parcels[side][v @ [1 - 2 * n, 0, 0] > 0.95] = -1
        centre.append(seeds)
    values = np.concatenate([c @ [0.0, 1.0, 0.0] for c in centre])
    drawn = nulls.spin_surrogates(values, parcels, 20, seed=1)
    assert drawn.shape == (20, 80)
    # a rotated front-to-back gradient stays a gradient: about as smooth, about the same spread
    assert 0.7 < np.nanstd(drawn) / values.std() < 1.1
    correlation = [np.corrcoef(d[np.isfinite(d)], values[np.isfinite(d)])[0, 1] for d in drawn]
    assert np.abs(np.mean(correlation)) < 0.5 and np.std(correlation) > 0.3
    still = nulls.spin_surrogates(np.ones(80), parcels, 5)
    assert np.nanmax(np.abs(still - 1)) < 1e-12


def test_dominance_equals_all_regressions_and_sums_to_r2():
    rng = np.random.default_rng(1)
    maps = rng.standard_normal((60, 5)) @ rng.standard_normal((5, 5))
    target = maps @ [1.0, 0.5, 0.0, 0.0, -0.3] + rng.standard_normal(60)
    table, fit = association.dominance(maps, target)

    def r2(chosen):
        if not chosen:
            return 0.0
        x = np.column_stack([np.ones(60), maps[:, list(chosen)]])
        rest = target - x @ np.linalg.lstsq(x, target, rcond=None)[0]
        return 1 - rest @ rest / ((target - target.mean()) ** 2).sum()

    for k in range(5):
        others = [j for j in range(5) if j != k]
        by_size = [
            np.mean([r2((*s, k)) - r2(s) for s in itertools.combinations(others, size)]) for size in range(5)
        ]
        assert table["total"][k] == pytest.approx(np.mean(by_size), abs=1e-9)
        assert table["alone"][k] == pytest.approx(r2((k,)))
        assert table["last"][k] == pytest.approx(r2(range(5)) - r2(others))
    assert table["total"].sum() == pytest.approx(fit["r2"]) == pytest.approx(r2(range(5)))
    with pytest.raises(ValueError, match="constant, or a sum"):
        association.dominance(np.column_stack([maps, maps[:, 0] + maps[:, 1]]), target)


def test_dominance_of_thirteen_maps_stays_exact_over_thousands_of_sweeps():
    rng = np.random.default_rng(2)
    maps = rng.standard_normal((200, 13)) + 2 * rng.standard_normal((200, 1))
    target = maps @ rng.standard_normal(13) + 3 * rng.standard_normal(200)
    table, fit = association.dominance(maps, target)
    assert table["total"].sum() == pytest.approx(fit["r2"], abs=1e-8)


def test_noise_explains_smooth_maps_as_well_as_the_null_says(points):
    maps = smooth_maps(points, 6, 25, 8).T
    _, noise = association.explained(maps[:, :5], maps[:, 5], points=points, count=199)
    assert noise["p"] > 0.05 and noise["null_r2"] > 5 / COUNT
    _, real = association.explained(
        maps[:, :5], maps[:, 0] + maps[:, 1] + 0.5 * maps[:, 5], points=points, count=199
    )
    assert real["p"] <= 0.01


def test_distance_is_taken_out_of_both_matrices(points):
    apart = nulls.distances(points)
    rng = np.random.default_rng(4)
    noise = rng.standard_normal((2, COUNT, COUNT))
    first, second = (np.exp(-apart / 30) + 0.1 * (n + n.T) for n in noise)
    assert association.matrix_association(first, second) > 0.2
    assert abs(association.matrix_association(first, second, apart)) < 0.06
    _, fit = association.without_distance(first, apart)
    assert fit["length_mm"] == pytest.approx(30, rel=0.15)
    profile = association.similarity(rng.standard_normal((COUNT, 9)))
    np.testing.assert_allclose(np.diag(profile), 1)
