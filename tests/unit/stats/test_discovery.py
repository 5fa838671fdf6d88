"""Bounds against brute force and nilearn; coverage on images with planted truth."""

import numpy as np
import pytest
from scipy import ndimage, stats

from neurobraid.stats import discovery, permutation
from neurobraid.stats.exchange import exchange


def hommel_by_definition(p, alpha):
    p = np.sort(p)
    m = len(p)
    return max(
        (i for i in range(1, m + 1) if all(i * p[m - i + j - 1] > j * alpha for j in range(1, i + 1))),
        default=0,
    )


def test_hommel_value_equals_its_definition():
    rng = np.random.default_rng(0)
    for _ in range(300):
        m = rng.integers(1, 25)
        p = rng.uniform(0, 1, m) ** rng.choice([0.5, 1, 3, 8])
        assert discovery.hommel(p, 0.05) == hommel_by_definition(p, 0.05)


def test_bound_of_every_set_equals_its_definition():
    rng = np.random.default_rng(1)
    for _ in range(100):
        p = rng.uniform(0, 1, 40) ** 4
        h = discovery.hommel(p, 0.1)
        some = p[rng.uniform(size=40) < 0.4]
        wanted = max([0] + [1 - u + int((h * some <= u * 0.1).sum()) for u in range(1, len(some) + 1)])
        assert discovery.simes_bound(some, h, 0.1) == wanted


def test_bound_equals_nilearn():
    from nilearn.glm.thresholding import _compute_hommel_value, _true_positive_fraction

    rng = np.random.default_rng(2)
    z = rng.standard_normal(3000)
    z[:300] += 3.5
    p = stats.norm.sf(z)
    h = discovery.hommel(p, 0.05)
    assert h == _compute_hommel_value(z, 0.05)
    for cut in (2.0, 3.1, 4.0):
        inside = z > cut
        ours = discovery.simes_bound(p[inside], h, 0.05) / inside.sum()
        assert ours == pytest.approx(_true_positive_fraction(z[inside], h, 0.05))


def test_everything_significant_and_nothing():
    tiny = np.full(5, 1e-6)
    assert discovery.hommel(tiny, 0.05) == 0
    assert discovery.simes_bound(tiny, 0, 0.05) == 5
    large = np.linspace(0.5, 1, 9)
    assert discovery.hommel(large, 0.05) == 9
    assert discovery.simes_bound(large, 9, 0.05) == 0
    assert discovery.simes_bound(large[:0], 9, 0.05) == 0


def test_adjusted_p_equals_scipy():
    p = np.random.default_rng(3).uniform(0, 1, 500) ** 2
    np.testing.assert_allclose(discovery.benjamini_hochberg(p), stats.false_discovery_control(p))


def test_bounds_hold_on_smooth_images_and_permutation_says_more():
    """20 images, 27 x 9 voxels of true effect: neither bound may exceed the truth in more than 1 of 20 studies."""
    over, found = {"simes": 0, "permutation": 0}, {"simes": [], "permutation": []}
    grid_of = None
    for seed in range(20):
        rng = np.random.default_rng(seed)
        data = ndimage.gaussian_filter(rng.standard_normal((20, 12, 12, 12)), (0, 1.5, 1.5, 1.5))
        data /= data.std()
        truth = np.zeros((12, 12, 12), bool)
        truth[2:8, 3:9, 4:10] = True
        data[:, truth] += 0.9
        model = permutation.prepare(data.reshape(20, -1), np.ones((20, 1)), [1.0])
        t, true = permutation.statistic(model), truth.ravel()
        p = permutation.tail(t, model)
        h = discovery.hommel(p, 0.05)
        grid_of = permutation.simes_grid(model)
        none = permutation.null(model, exchange(20, permute=False, flip=True), seed, 199)
        observed = permutation.simes(t, grid_of)
        scale = discovery.calibrated(np.r_[observed, none.values["simes"]], 0.05)
        wrong = {"simes": False, "permutation": False}
        for cut in (2.5, 3.3, 4.2):
            inside = np.abs(t) > cut
            bounds = {
                "simes": discovery.simes_bound(p[inside], h, 0.05),
                "permutation": discovery.permutation_bound(t[inside], grid_of, len(t), scale),
            }
            for name, bound in bounds.items():
                wrong[name] |= bound > (inside & true).sum()
                found[name].append(bound / max(inside.sum(), 1))
        for name in over:
            over[name] += wrong[name]
    assert over["simes"] <= 1
    assert over["permutation"] <= 2
    assert np.mean(found["permutation"]) > np.mean(found["simes"]) > 0.1
