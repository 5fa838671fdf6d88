"""Realignment against planted motion of an analytic head, sampled exactly (no interpolation in the truth)."""

import numpy as np
import pytest

from neurobraid.images import rigid

CENTER = np.array([3.0, -12.0, 8.0])


def head(points, gain=1.0):
    """Intensity of a made-up head at world points (N, 3): soft ellipsoid, folded texture, two dark spots."""
    x, y, z = ((points - CENTER) / [64.0, 80.0, 56.0]).T
    radius = np.sqrt(x**2 + y**2 + z**2) + 1e-9
    brain = 1.0 / (1.0 + np.exp((radius - 1.0) * 25.0))
    fold = np.sin(9.0 * x + 2.0 * y) * np.cos(8.0 * y - 3.0 * z) + 0.7 * np.cos(10.0 * z + 4.0 * x)
    dark = np.exp(-((x - 0.2) ** 2 + y**2 + (z - 0.1) ** 2) / 0.03)
    dark += np.exp(-((x + 0.25) ** 2 + (y - 0.1) ** 2 + z**2) / 0.02)
    return gain * brain * (700.0 + 110.0 * fold - 350.0 * dark)


def series(shape, affine, matrices, noise=0.0, gains=None, seed=0):
    """Sample the head in every position; voxel sizes and axes come from the affine."""
    ijk = np.indices(shape).reshape(3, -1).T
    points = ijk @ affine[:3, :3].T + affine[:3, 3]
    rng = np.random.default_rng(seed)
    out = np.empty((*shape, len(matrices)), np.float32, order="F")
    for t, matrix in enumerate(matrices):
        # matrix: reference -> volume, so the volume shows at x what the reference shows at inv(matrix) x
        back = np.linalg.inv(matrix)
        values = head(points @ back[:3, :3].T + back[:3, 3], 1.0 if gains is None else gains[t])
        out[..., t] = (values + noise * rng.standard_normal(len(values))).reshape(shape)
    inside = np.linalg.norm((points - CENTER) / [64.0, 80.0, 56.0], axis=1) < 0.95
    return out, inside.reshape(shape), points[inside]


def make_affine(zooms, shape, oblique=0.0):
    """RAS grid centred on the head, optionally turned about x, with the first axis flipped."""
    c, s = np.cos(oblique), np.sin(oblique)
    axes = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.diag([-zooms[0], zooms[1], zooms[2]])
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = CENTER - axes @ ((np.array(shape) - 1) / 2.0)
    return affine


def motion(values):
    values = np.asarray(values, dtype=float)
    values[:, 3:] = np.radians(values[:, 3:])
    return rigid.compose(values, CENTER)


@pytest.fixture(scope="module")
def moved():
    """Slow drift, small jitter, and one jump of 3 mm and 3 degrees, with 1.5 % noise."""
    rng = np.random.default_rng(3)
    steps = np.cumsum(rng.normal(0, 0.08, (9, 6)), axis=0)
    steps[0] = 0
    steps[5:7] += [3.0, -1.0, 0.5, 3.0, -1.0, 0.7]
    truth = motion(steps)
    shape = (48, 56, 40)
    affine = make_affine((4.0, 4.0, 4.0), shape, oblique=0.2)
    data, mask, points = series(shape, affine, truth, noise=10.0)
    return data, affine, mask, points, truth


def test_planted_motion_and_jump(moved):
    data, affine, mask, points, truth = moved
    found = rigid.realign(data, affine, reference=0, mask=mask)
    distance, angle = rigid.displacement(found, truth, points)
    assert distance.max() < 0.05
    assert angle.max() < 0.05
    # the motion to find was a hundred times as large
    start, _ = rigid.displacement(np.tile(np.eye(4), (len(truth), 1, 1)), truth, points)
    assert start.max() > 3.0
    assert np.array_equal(found[0], np.eye(4))


def test_same_bytes_and_memory_order_do_not_matter(moved):
    data, affine, mask, _, _ = moved
    one = rigid.realign(data[..., :4], affine, reference=0, mask=mask)
    two = rigid.realign(np.ascontiguousarray(data[..., :4]), affine, reference=0, mask=mask)
    assert np.array_equal(one, two)
    # the same reference given as an image: volume 0 is then estimated like the others
    three = rigid.realign(data[..., :4], affine, reference=data[..., 0], mask=mask)
    assert np.allclose(three[0], np.eye(4), atol=1e-5)
    assert np.allclose(three, one, atol=1e-4)


def test_automatic_mask_and_reference_in_the_middle(moved):
    data, affine, _, points, truth = moved
    found = rigid.realign(data, affine, reference=4)
    relative = np.array([m @ np.linalg.inv(truth[4]) for m in truth])
    distance, angle = rigid.displacement(found, relative, points)
    assert distance.max() < 0.05
    assert angle.max() < 0.05


def test_anisotropic_voxels_cut_field_of_view():
    # thick slices; the top of the head is outside, as in many EPI runs
    truth = motion([[0, 0, 0, 0, 0, 0], [0.4, -0.3, 0.8, 0.5, -0.4, 0.6], [1.0, 0.5, -1.2, -1.0, 0.5, 1.0]])
    shape = (44, 52, 22)
    affine = make_affine((3.6, 3.6, 4.4), shape)
    data, mask, points = series(shape, affine, truth, noise=8.0)
    found = rigid.realign(data, affine, reference=0, mask=mask)
    distance, angle = rigid.displacement(found, truth, points)
    assert distance.max() < 0.05
    assert angle.max() < 0.05


def test_gain_per_volume():
    truth = motion([[0, 0, 0, 0, 0, 0], [0.5, 0.4, -0.6, 1.0, 0.3, -0.5], [-0.5, 1.0, 0.6, -0.7, 0.9, 0.5]])
    gains = [1.0, 0.45, 1.9]
    shape = (40, 46, 34)
    affine = make_affine((4.2, 4.2, 4.4), shape)
    data, mask, points = series(shape, affine, truth, noise=5.0, gains=gains)
    found = rigid.realign(data, affine, reference=0, mask=mask, scale_intensity=True)
    distance, _ = rigid.displacement(found, truth, points)
    assert distance.max() < 0.05
    without = rigid.realign(data, affine, reference=0, mask=mask, scale_intensity=False)
    assert rigid.displacement(without, truth, points)[0].max() > 3 * distance.max()


def test_nan_and_empty_volume(moved):
    data, affine, mask, points, truth = moved
    holes = data[..., :4].copy(order="F")
    holes[0, 0, :, 1] = np.nan
    holes[..., 2] = 0.0
    found = rigid.realign(holes, affine, reference=0, mask=mask)
    assert np.isfinite(found).all()
    assert np.array_equal(found[2], found[1])
    assert rigid.displacement(found[3:], truth[3:4], points)[0].max() < 0.05


def test_parameters_and_compose_are_inverse():
    rng = np.random.default_rng(1)
    values = rng.normal(0, 0.3, (20, 6))
    back = rigid.parameters(rigid.compose(values, CENTER), CENTER)
    assert np.allclose(back, values, atol=1e-12)
    # a head that moves 2 mm to the right has trans_x = +2
    shift = np.eye(4)
    shift[0, 3] = 2.0
    assert np.allclose(rigid.parameters(shift[None], CENTER)[0], [2, 0, 0, 0, 0, 0])
    # right-handed turn about z
    turn = rigid.compose([0, 0, 0, 0, 0, 0.1], CENTER)
    assert np.allclose(turn[:3, :3] @ [1, 0, 0], [np.cos(0.1), np.sin(0.1), 0])
    assert np.allclose(turn @ [*CENTER, 1], [*CENTER, 1])


def test_displacement_is_exact():
    points = np.array([[0.0, 0, 0], [10, 0, 0]])
    shift = np.eye(4)[None].copy()
    shift[0, 1, 3] = 0.25
    distance, angle = rigid.displacement(shift, np.eye(4)[None], points)
    assert np.allclose(distance, 0.25)
    assert np.allclose(angle, 0.0)
    turn = rigid.compose([[0, 0, 0, np.radians(0.02), 0, 0]], np.zeros(3))
    assert np.isclose(rigid.displacement(turn, np.eye(4)[None], points)[1][0], 0.02)


def test_bad_arguments(moved):
    data, affine, mask, _, _ = moved
    with pytest.raises(ValueError, match="4D"):
        rigid.realign(data[..., 0], affine, reference=0)
    with pytest.raises(ValueError, match="mask has shape"):
        rigid.realign(data, affine, reference=0, mask=mask[1:])
    with pytest.raises(ValueError, match="empty"):
        rigid.realign(data, affine, reference=0, mask=np.zeros_like(mask))
    with pytest.raises(ValueError, match="reference has shape"):
        rigid.realign(data, affine, reference=data[1:, ..., 0])
