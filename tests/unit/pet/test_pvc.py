"""Partial-volume correction on a folded cortex with known activity."""

import numpy as np
import pytest

from neurobraid.pet import pvc

from . import pvc_phantom as phantom


@pytest.fixture(scope="module")
def folded():
    regions = phantom.labels()
    return regions, phantom.scan(regions), phantom.masks(regions)


def test_the_phantom_needs_correction(folded):
    _, image, masks = folded
    seen = masks.share @ image.ravel()[masks.voxels] / masks.size
    loss = seen[:-1] / phantom.ACTIVITY[:-1] - 1
    assert loss[phantom.CORTEX].max() < -0.35
    assert loss[phantom.STRIATUM].mean() < -0.2


@pytest.mark.parametrize("method", ["gtm", "labbe", "rbv"])
def test_exact_with_the_true_point_spread(folded, method):
    _, image, masks = folded
    assert np.abs(phantom.errors(method, masks, image)).max() < 1e-3


def test_iterative_yang_converges(folded):
    _, image, masks = folded
    worst = [np.abs(phantom.errors("iy", masks, image, iterations=n)).max() for n in (1, 3, 5, 10)]
    assert worst == sorted(worst, reverse=True)
    assert worst[0] > 0.1
    assert worst[-1] < 0.015


def test_muller_gartner_is_right_on_the_mean_and_near_in_every_region(folded):
    _, image, masks = folded
    error = phantom.errors("mg", masks, image)
    assert abs(error[phantom.CORTEX].mean()) < 0.002
    # neighbours of other activity mix within grey matter, which the method does not see
    assert np.abs(error[phantom.CORTEX]).max() < 0.012
    assert np.abs(error[phantom.STRIATUM]).max() < 1e-3


@pytest.mark.parametrize("method", pvc.METHODS)
def test_a_wrong_point_spread_costs_what_it_costs(folded, method):
    regions, image, _ = folded
    narrow = phantom.errors(method, phantom.masks(regions, (5, 5, 5)), image)[phantom.CORTEX].mean()
    wide = phantom.errors(method, phantom.masks(regions, (7, 7, 7)), image)[phantom.CORTEX].mean()
    assert -0.16 < narrow < -0.09
    assert 0.08 < wide < 0.17


def test_point_spread_per_axis():
    regions = phantom.labels()
    image = phantom.scan(regions, (6, 7, 9))
    assert np.abs(phantom.errors("gtm", phantom.masks(regions, (6, 7, 9)), image)).max() < 1e-3
    assert np.abs(phantom.errors("gtm", phantom.masks(regions, (9, 7, 6)), image)).max() > 0.01


def test_masks_sum_to_one_with_the_background(folded):
    _, _, masks = folded
    for matrix in (masks.share, masks.blurred):
        np.testing.assert_allclose(np.asarray(matrix.sum(axis=0)).ravel(), 1.0, atol=1e-5)
    assert masks.share.shape[0] == len(phantom.NAMES) + 1
    assert masks.size[-1] > 1000


def test_voxels_large_against_the_point_spread():
    """Voxels of 6 mm, three fine points each: exact, where masks of whole voxels are too wide."""
    fine = phantom.labels(72, 2.0)
    image = phantom.scan(fine, voxel_mm=2.0)[1::3, 1::3, 1::3]
    points = np.argwhere(fine < len(phantom.NAMES))
    found = fine[tuple(points.T)]
    covered = np.ones(image.shape, bool)
    ones = np.ones(len(points))
    given = pvc.build(points, found, ones, len(phantom.NAMES), image.shape, (3, 3, 3), (1, 1, 1), covered)
    for method in ("gtm", "labbe", "rbv"):
        assert np.abs(phantom.errors(method, given, image))[: phantom.CSF].max() < 2e-3, method


def test_fuzzy_masks():
    """Voxels shared by two regions: the corrected image holds their mixture, the regions do not."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*[np.arange(n, dtype=float) for n in (22, 24, 26)], indexing="ij")
    inside = ((x - 10.5) ** 2 + (y - 11.5) ** 2 + (z - 12.5) ** 2) < 64
    share = np.where(inside, 1 / (1 + np.exp(-(x - 10))), 0)
    truth = 3.0 * share + 1.0 * (inside - share)
    image = phantom.blur(truth, (2.0, 2.0, 2.0), 1.0).astype(np.float32)
    points = np.argwhere(inside)
    weights = np.concatenate([share[inside], 1 - share[inside]])
    shuffled = rng.permutation(2 * len(points))
    given = pvc.build(
        np.tile(points, (2, 1))[shuffled], np.repeat([0, 1], len(points))[shuffled], weights[shuffled], 2, x.shape,
        (1, 1, 1), (2, 2, 2), np.ones(x.shape, bool),
    )  # fmt: skip
    values = image.ravel()[given.voxels][:, None]
    for method in ("gtm", "labbe", "rbv", "iy"):
        found, corrected, condition = pvc.correct(method, given, values)
        np.testing.assert_allclose(found[:, 0], [3.0, 1.0, 0.0], atol=0.02, err_msg=method)
        assert condition > 1
        if corrected is not None:
            core = inside.ravel()[given.voxels]
            assert np.abs(corrected[core, 0] - truth.ravel()[given.voxels][core]).max() < 0.15


def test_frames_are_corrected_alike_and_missing_regions_are_named(folded):
    regions, image, masks = folded
    values = image.ravel()[masks.voxels][:, None] * np.array([1.0, 0.0, 3.0], np.float32)
    for method in pvc.METHODS:
        found, _, _ = pvc.correct(method, masks, values, white=phantom.WHITE, csf=phantom.CSF)
        np.testing.assert_allclose(found[:, 2], 3 * found[:, 0], rtol=1e-4)
        np.testing.assert_allclose(found[: phantom.WHITE, 1], 0, atol=1e-6)
    lost = np.where(regions == 2, len(phantom.NAMES), regions)
    given = phantom.masks(lost)
    found, _, _ = pvc.correct("gtm", given, image.ravel()[given.voxels][:, None])
    assert np.isnan(found[2, 0])
    assert np.isfinite(np.delete(found[:, 0], 2)).all()


def test_voxels_outside_the_field_of_view_take_no_part(folded):
    """Half of the head cut off: what was seen is still exact, because the equations hold voxel by voxel."""
    regions, image, _ = folded
    points = np.argwhere(regions < len(phantom.NAMES))
    covered = np.ones(regions.shape, bool)
    covered[:, :, :24] = False
    psf = np.full(3, 6 / 2.5)
    given = pvc.build(
        points, regions[tuple(points.T)], np.ones(len(points)), len(phantom.NAMES), regions.shape, (1, 1, 1), psf, covered
    )  # fmt: skip
    assert np.abs(phantom.errors("gtm", given, image)).max() < 1e-3


@pytest.mark.parametrize("psf", [(6.0, 6.0), (0.0, 1.0, 1.0), (np.nan, 1.0, 1.0)])
def test_no_point_spread(psf):
    with pytest.raises(ValueError, match="three widths above 0"):
        pvc.build(
            np.zeros((1, 3), int),
            np.zeros(1, int),
            np.ones(1),
            1,
            (4, 4, 4),
            (1, 1, 1),
            psf,
            np.ones((4, 4, 4), bool),
        )


def test_unknown_method(folded):
    _, image, masks = folded
    with pytest.raises(ValueError, match="gtm, labbe"):
        pvc.correct("stc", masks, image.ravel()[masks.voxels][:, None])
