"""Poses, grids and deformations."""

import nibabel as nib
import numpy as np
import pytest

from neurobraid.images.rigid import parameters
from neurobraid.images.transforms import apply_affine
from neurobraid.synth.geometry import (
    framewise_displacement,
    random_deformation,
    random_motion,
    random_pose,
    rigid,
    scanner_grid,
)


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "PSR", "SLA"])
def test_grid_runs_as_named_and_is_centred(orientation):
    shape, affine = scanner_grid((7, 8, 9), 3.0, orientation, center=(4, -5, 6))
    assert "".join(nib.aff2axcodes(affine)) == orientation
    extent = dict(zip("RAS", (7, 8, 9), strict=True)) | dict(zip("LPI", (7, 8, 9), strict=True))
    assert shape == tuple(extent[code] for code in orientation)
    middle = apply_affine(affine, (np.array(shape) - 1) / 2)
    np.testing.assert_allclose(middle, (4, -5, 6))


def test_tilt_turns_the_grid_about_its_middle():
    shape, affine = scanner_grid((7, 8, 9), 3.0, "RAS", center=(4, -5, 6), tilt=(10, 0, 0))
    np.testing.assert_allclose(apply_affine(affine, (np.array(shape) - 1) / 2), (4, -5, 6))
    assert np.degrees(np.arctan2(affine[2, 1], affine[1, 1])) == pytest.approx(10)


def test_parameters_mean_what_the_rest_of_the_package_means():
    values = np.array([1.0, -2.0, 0.5, 0.02, -0.03, 0.04])
    center = np.array([5.0, -20.0, 11.0])
    np.testing.assert_allclose(parameters(rigid(values, center)[None], center)[0], values, atol=1e-12)


def test_deformation_is_smooth_and_its_inverse_is_its_inverse():
    forward, backward = random_deformation(np.random.default_rng(5))
    points = np.random.default_rng(6).uniform([-70, -105, -65], [70, 75, 85], (4000, 3))
    there = backward.apply(points)
    assert np.linalg.norm(forward.apply(there) - points, axis=1).max() < 0.4
    assert np.linalg.norm(forward.apply(there) - points, axis=1).mean() < 0.05
    step = np.eye(3)
    jacobian = np.stack([(backward.apply(points + s) - backward.apply(points - s)) / 2 for s in step], -1)
    assert np.linalg.det(jacobian).min() > 0.2
    moved = backward.apply(points) - apply_affine(backward.matrix, points)
    assert 1.0 < np.sqrt((moved**2).sum(1).mean()) < 6.0


def test_two_people_differ():
    points = np.array([[0.0, -20.0, 10.0], [40.0, 10.0, 0.0]])
    one = random_deformation(np.random.default_rng(1))[0].apply(points)
    two = random_deformation(np.random.default_rng(2))[0].apply(points)
    assert np.linalg.norm(one - two, axis=1).min() > 1.0


def test_motion_starts_at_rest_and_jerks():
    motion = random_motion(np.random.default_rng(3), 300, step=0.03, jerks=0.03, jerk=0.5)
    assert motion.shape == (300, 6)
    assert not motion[0].any()
    fd = framewise_displacement(motion)
    assert fd[0] == 0
    assert np.median(fd) < 0.3
    assert fd.max() > 0.5


def test_framewise_displacement_by_hand():
    motion = np.zeros((3, 6))
    motion[1] = [0.1, -0.2, 0, 0.002, 0, 0]
    np.testing.assert_allclose(framewise_displacement(motion), [0, 0.4, 0.4])


def test_pose_stays_within_bounds():
    for seed in range(50):
        matrix = random_pose(np.random.default_rng(seed))
        assert np.abs(matrix[:3, 3]).max() <= 10.0001
        np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
