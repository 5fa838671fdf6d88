"""Tests of neurobraid.pet.tacs, resample and maps on an analytic scan."""

import nibabel as nib
import numpy as np
import pytest

from neurobraid.images.transforms import Warp, apply_affine
from neurobraid.pet import maps, resample, tacs

AFFINE = np.array([[-4.0, 0, 0, 20.0], [0, 4.0, 0, -30.0], [0, 0, 4.0, -12.0], [0, 0, 0, 1.0]])
SHAPE = (11, 13, 9)
LABELS_AFFINE = np.array([[2.0, 0, 0, -24.0], [0, 2.0, 0, -34.0], [0, 0, 2.0, -16.0], [0, 0, 0, 1.0]])
LABELS_SHAPE = (26, 29, 21)
SHIFT = np.array([3.0, -2.0, 1.0])


def warp():
    """T1w points to template points: a shift."""
    matrix = np.eye(4)
    matrix[:3, 3] = SHIFT
    return Warp(matrix, np.zeros((2, 2, 2, 3), np.float32), np.eye(4))


def image(values, affine=AFFINE):
    return nib.Nifti1Image(values.astype(np.float32), affine)


@pytest.fixture
def part():
    brain = np.zeros(SHAPE)
    brain[1:-1, 1:-1, 1:-1] = 1
    grey = np.ones(SHAPE)
    grey[:, :6] = 0.2
    return tacs.Partition(SHAPE, AFFINE, image(brain), image(grey), warp())


def test_points_divide_the_voxels_evenly(part):
    assert part.points_per_voxel == 8
    assert part.point_mm3 == pytest.approx(8.0)
    offsets = tacs.subdivision(SHAPE, AFFINE)
    np.testing.assert_allclose(offsets.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(np.unique(offsets), [-0.25, 0.25])
    # the mask is interpolated linearly, so its faces lie half a voxel outside the last centres
    assert part.brain().sum() == (SHAPE[0] - 2) * (SHAPE[1] - 2) * (SHAPE[2] - 2)


def test_labels_come_through_the_warp_in_the_right_direction(part):
    labels = np.zeros(LABELS_SHAPE, np.int32)
    centre = np.array([4.0, -6.0, 6.0])  # a voxel in template space
    voxel = np.rint(apply_affine(np.linalg.inv(LABELS_AFFINE), centre)).astype(int)
    labels[tuple(voxel)] = 4711
    hit = part.labels(labels, LABELS_AFFINE) == 4711
    assert hit.any()
    world = apply_affine(AFFINE, part.ijk[hit])
    np.testing.assert_allclose(world + SHIFT, np.broadcast_to(centre, world.shape), atol=1.0 + 1e-9)


def test_curves_of_labels_above_255_with_gaps_and_missing_regions(part):
    # activity linear in x: the mean of a region is the value at its centre, exactly, whatever the voxels
    x = apply_affine(AFFINE, np.argwhere(np.ones(SHAPE)))[:, 0].reshape(SHAPE)
    series = np.stack([100 + x, 200 + 2 * x], axis=-1).astype(np.float32)
    world = apply_affine(AFFINE, part.ijk)[:, 0]
    labels = np.where(world < -4, 70000, np.where(world < 4, 12, 0))
    place = tacs.rows_of(labels, [70000, 5, 12])
    assert set(np.unique(place)) == {-1, 0, 2}
    curves, points, coverage = tacs.region_curves(series, np.ones(SHAPE, bool), part, place, 3)
    for row, label in ((0, 70000), (2, 12)):
        centre = world[labels == label].mean()
        np.testing.assert_allclose(curves[row], [100 + centre, 200 + 2 * centre], rtol=2e-3)
        assert points[row] == (labels == label).sum()
    assert np.isnan(curves[1]).all()
    np.testing.assert_array_equal(coverage, [1, 0, 1])


def test_half_covered_regions_have_no_curve(part):
    series = np.ones((*SHAPE, 2), np.float32)
    world = apply_affine(AFFINE, part.ijk)
    place = np.where(np.abs(world[:, 0]) < 8, np.where(world[:, 2] > 4, 0, 1), -1)
    covered = np.ones(SHAPE, bool)
    covered[:, :, 6:] = False  # z > 10 mm
    curves, _, coverage = tacs.region_curves(series, covered, part, place, 2)
    assert 0 < coverage[0] < 0.5
    assert np.isnan(curves[0]).all()
    np.testing.assert_allclose(curves[1], 1)
    assert coverage[1] == 1


def test_grid_covers_the_same_field_of_view():
    shape, affine = resample.anatomical_grid((50, 61, 40), np.diag([-1.0, 1.5, 2.0, 1.0]), 3.0)
    assert shape == (17, 31, 27)
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), 3.0)
    old = apply_affine(np.diag([-1.0, 1.5, 2.0, 1.0]), [-0.5, -0.5, -0.5])
    np.testing.assert_allclose(apply_affine(affine, [-0.5, -0.5, -0.5]), old)


def test_frames_go_through_motion_then_registration():
    """A blob at one T1w point, seen by each frame where its transforms say."""
    rng = np.random.default_rng(0)
    hmc = np.tile(np.eye(4), (3, 1, 1))
    hmc[:, :3, 3] = rng.normal(0, 3, (3, 3))
    coreg = np.eye(4)
    coreg[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    coreg[:3, 3] = [2.0, 1.0, -3.0]
    spot = np.array([4.0, -6.0, 4.0])
    points = apply_affine(AFFINE, np.argwhere(np.ones(SHAPE)))
    series = np.empty((*SHAPE, 3), np.float32)
    for f in range(3):
        seen = apply_affine(hmc[f] @ coreg, spot)
        series[..., f] = np.exp(-((points - seen) ** 2).sum(1) / (2 * 6.0**2)).reshape(SHAPE)
    shape, target = (21, 25, 17), np.diag([2.0, 2.0, 2.0, 1.0])
    target[:3, 3] = spot - 2 * np.array([10, 12, 8])
    got = resample.to_grid(series, AFFINE, shape, target, hmc, coreg)
    for f in range(3):
        np.testing.assert_array_equal(np.unravel_index(got[..., f].argmax(), shape), [10, 12, 8])
        assert got[10, 12, 8, f] == pytest.approx(1.0, abs=0.01)
    outside = (got == 0).all(axis=3)
    assert outside.any()
    assert ((got == 0).any(axis=3) == outside).mean() > 0.999


def test_maps_to_template_do_not_mix_in_the_outside():
    values = np.full(SHAPE, 3.0, np.float32)
    valid = np.zeros(SHAPE, bool)
    valid[2:-2, 2:-2, 2:-2] = True
    back = np.eye(4)
    back[:3, 3] = -SHIFT
    to_t1w = Warp(back, np.zeros((2, 2, 2, 3), np.float32), np.eye(4))
    mask = np.ones(LABELS_SHAPE, bool)
    ijk = maps.template_points(AFFINE, to_t1w, LABELS_SHAPE, LABELS_AFFINE, mask)
    moved = maps.to_template(np.where(valid, values, 1e6), valid, ijk, mask)
    assert set(np.unique(moved.round(3))) == {0.0, 3.0}
    middle = apply_affine(AFFINE, np.argwhere(valid)).mean(0)
    found = apply_affine(LABELS_AFFINE, np.argwhere(moved > 0)).mean(0)
    np.testing.assert_allclose(found, middle + SHIFT, atol=0.5)
