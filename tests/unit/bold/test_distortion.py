"""Distortion by a known field and its removal."""

import numpy as np
import pytest

from neurobraid.bold.distortion import distortion_warp, jacobian, phase_axis, undistort, voxel_shift

SHAPE = (24, 30, 20)
AFFINE = np.array([[-3.0, 0, 0, 30], [0, 2.9, 0.8, -40], [0, -0.8, 2.9, -20], [0, 0, 0, 1]])
READOUT = 0.05


def field():
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    return (60 * np.exp(-3 * (x**2 + (y - 0.3) ** 2 + z**2))).astype(np.float32)


@pytest.mark.parametrize("direction", ["i", "j", "j-", "k-"])
def test_points_move_along_the_phase_axis(direction):
    axis, sign = phase_axis(direction)
    hz = np.full(SHAPE, 40.0, np.float32)
    warp = distortion_warp(hz, AFFINE, READOUT, direction)
    point = AFFINE @ [10, 12, 9, 1]
    moved = np.linalg.inv(AFFINE) @ [*warp.apply(point[None, :3])[0], 1]
    expected = np.array([10.0, 12, 9])
    expected[axis] += sign * 40 * READOUT
    assert np.allclose(moved[:3], expected, atol=1e-4)


@pytest.mark.parametrize("direction", ["j", "j-", "i"])
def test_undistort_recovers_a_distorted_image(direction):
    axis, _ = phase_axis(direction)
    grid = np.meshgrid(*[np.arange(n, dtype=float) for n in SHAPE], indexing="ij")

    def truth(x, y, z):
        return 500 + 150 * np.sin(0.5 * x) * np.cos(0.45 * y) + 60 * np.cos(0.4 * z)

    shift = voxel_shift(field(), READOUT, direction)
    assert 2.5 < np.abs(shift).max() < 3.1
    # the scanner: true place x is seen at u = x + shift(x), darker by du/dx
    distorted = np.empty(SHAPE)
    moved, dense = np.moveaxis(shift, axis, -1), np.moveaxis(np.stack(grid), axis + 1, -1)
    out = np.moveaxis(distorted, axis, -1)
    n = SHAPE[axis]
    for index in np.ndindex(*moved.shape[:2]):
        seen_at = np.arange(n) + moved[index]
        place = np.interp(np.arange(n), seen_at, np.arange(n))
        coordinates = [c[index] for c in dense]
        coordinates[axis] = place
        out[index] = truth(*coordinates) / np.interp(place, np.arange(n), 1 + np.gradient(moved[index]))
    inner = tuple(slice(4, -4) for _ in range(3))
    plain = truth(*grid)
    before = np.abs(distorted - plain)[inner].mean()
    after = np.abs(undistort(distorted, AFFINE, field(), READOUT, direction) - plain)[inner].mean()
    assert after < 0.05 * before
    without = undistort(distorted, AFFINE, field(), READOUT, direction, modulate=False)
    assert np.abs(without - plain)[inner].mean() > 3 * after


def test_jacobian_is_one_without_a_gradient():
    assert np.allclose(jacobian(np.full(SHAPE, 30.0), READOUT, "j"), 1.0)


@pytest.mark.parametrize("bad", ["", "y", "j--", "jk", "-j", None])
def test_unknown_direction(bad):
    with pytest.raises(ValueError, match="allowed"):
        phase_axis(bad)
