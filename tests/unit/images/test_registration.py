"""Registration recovers planted transforms and gives the same numbers twice."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from neurobraid.images.registration import (
    from_sitk,
    register_affine,
    register_nonlinear,
    register_rigid,
    to_sitk,
)
from neurobraid.images.resample import grid_points, resample_image
from neurobraid.images.templates import template
from neurobraid.images.transforms import apply_affine

SHAPE = (52, 60, 46)
AFFINE = np.array([[-3.6, 0, 0, 95.0], [0, 3.9, 0, -130.0], [0, 0, 4.2, -85.0], [0, 0, 0, 1.0]])
"""Unequal axes, and the first runs from right to left."""


def turn(degrees, shift, scale=(1.0, 1.0, 1.0)):
    """Rotation about z, y, x in turn, then a shift; maps fixed to moving points."""
    x, y, z = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_x @ about_y @ about_z @ np.diag(scale)
    matrix[:3, 3] = shift
    return matrix


def brain():
    """The template at 4 mm: quick, and with every voxel's place known."""
    return template("T1w", 4.0)


def seen_from(matrix, *, invert=False, seed=3):
    """The template as another scanner would see it, with noise, and perhaps the opposite contrast."""
    values = resample_image(brain(), SHAPE, AFFINE, matrix, order=1)
    if invert:
        values = np.where(values > 0.05, 1.2 - values, 0)
    noise = np.random.default_rng(seed).standard_normal(SHAPE)
    return nib.Nifti1Image((values + 0.02 * noise).astype(np.float32), AFFINE)


def error_mm(found, true):
    """Mean distance over the brain between two maps of fixed points."""
    inside = grid_points(*_grid(), mask=np.asarray(brain().dataobj) > 0.2)
    points = apply_affine(np.linalg.inv(true), inside)[::7]
    return np.linalg.norm(apply_affine(found, points) - apply_affine(true, points), axis=1).mean()


def _grid():
    return brain().shape, brain().affine


def test_voxels_keep_their_place_in_simpleitk():
    values = np.arange(7 * 8 * 9, dtype=np.int16).reshape(7, 8, 9)
    affine = turn((11, -7, 23), (5, -6, 7)) @ np.diag([2.0, 3.0, 1.5, 1])
    image = to_sitk(values, affine)
    point = image.TransformIndexToPhysicalPoint((6, 2, 5))
    assert np.allclose(np.array(point) * [-1, -1, 1], (affine @ [6, 2, 5, 1])[:3])
    assert image[6, 2, 5] == values[6, 2, 5]
    assert np.array_equal(from_sitk(image), values)


@pytest.mark.parametrize(
    ("degrees", "shift"),
    [((0, 0, 0), (3, -2, 1)), ((14, -6, 5), (12, -25, 18)), ((-27, 4, -9), (-8, 30, -20))],
)
def test_rigid_across_contrasts(degrees, shift):
    true = turn(degrees, shift)
    found, score = register_rigid(seen_from(true, invert=True), brain(), finest=4.0)
    assert error_mm(found, true) < 0.5
    assert np.allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-6)
    assert score > 0.3


def test_masks_keep_a_disturbance_out():
    true = turn((4, 3, -5), (6, 5, -4))
    image = seen_from(true)
    values = np.asarray(image.dataobj).copy()
    inside = resample_image(template("brain", 4.0), SHAPE, AFFINE, true, order=1) > 0.5
    values[~inside] = 3 * np.random.default_rng(0).random((~inside).sum())
    found, _ = register_rigid(
        nib.Nifti1Image(values, AFFINE), brain(), fixed_mask=inside, initial=np.eye(4), finest=4.0
    )
    assert error_mm(found, true) < 0.7


def test_nan_counts_as_background():
    true = turn((3, 2, 1), (4, 4, 4))
    image = seen_from(true)
    values = np.asarray(image.dataobj).copy()
    values[:3] = np.nan
    found, score = register_rigid(nib.Nifti1Image(values, AFFINE), brain(), finest=4.0)
    assert np.isfinite(score)
    assert error_mm(found, true) < 0.5


def test_same_numbers_twice():
    image = seen_from(turn((5, 5, 5), (5, 5, 5)))
    # as many voxels as make the metric sample at random
    assert np.prod(brain().shape) > 100_000
    first, score = register_rigid(brain(), image, starts=[(0, 0, 0)])
    second, again = register_rigid(brain(), image, starts=[(0, 0, 0)])
    assert np.array_equal(first, second)
    assert score == again


def test_affine_recovers_size():
    true = turn((6, -4, 3), (5, -9, 7), scale=(1.08, 0.93, 1.05))
    found, score = register_affine(seen_from(true), brain(), metric="correlation")
    assert error_mm(found, true) < 0.6
    assert 0.8 < score <= 1.0001


def test_sheared_header():
    shear = AFFINE.copy()
    shear[0, 1] = 0.4
    values = resample_image(brain(), SHAPE, shear, order=1)
    found, _ = register_affine(nib.Nifti1Image(values, shear), brain(), metric="correlation")
    assert error_mm(found, np.eye(4)) < 0.5


def test_constant_image_is_refused():
    flat = nib.Nifti1Image(np.full(SHAPE, 2, np.float32), AFFINE)
    with pytest.raises(ValueError, match="moving image is constant"):
        register_rigid(brain(), flat)


def test_mask_of_another_grid_is_refused():
    with pytest.raises(ValueError, match="mask has shape"):
        register_rigid(seen_from(np.eye(4)), brain(), fixed_mask=np.ones((3, 4, 5), bool))


def test_unknown_quality_is_refused():
    with pytest.raises(ValueError, match="fast, standard"):
        register_nonlinear(brain(), brain(), initial=np.eye(4), quality="best")


def planted(shape, amplitude_mm=9.0, seed=5):
    """A smooth displacement in mm."""
    rng = np.random.default_rng(seed)
    field = np.stack([ndimage.gaussian_filter(rng.standard_normal(shape), 6) for _ in range(3)], -1)
    return (field / np.abs(field).max() * amplitude_mm).astype(np.float32)


@pytest.mark.parametrize(("quality", "remains"), [("fast", 0.5), ("standard", 0.35), ("high", 0.35)])
def test_nonlinear_recovers_a_planted_shape(quality, remains):
    fixed = template("T1w", 3.0)
    shape, affine = fixed.shape, fixed.affine
    points = grid_points(shape, affine)
    true = _Shift(planted(shape), affine)
    # subject(y) = template(true(y)): template point x lies at the y that the warp sends it to, and true(y) = x
    subject = nib.Nifti1Image(resample_image(fixed, shape, affine, true, order=1), affine)
    forward, inverse = register_nonlinear(fixed, subject, initial=np.eye(4), quality=quality)
    inside = ndimage.binary_erosion(np.asarray(fixed.dataobj) > 0.2, iterations=3).ravel()
    x = points[inside]
    y = forward.apply(x)
    before = np.linalg.norm(true.apply(x) - x, axis=1).mean()
    after = np.linalg.norm(true.apply(y) - x, axis=1).mean()
    assert after < remains * before
    assert np.percentile(np.linalg.norm(inverse.apply(y) - x, axis=1), 99) < 0.5
    steps = np.diag(forward.affine)[:3]
    slopes = np.stack([np.stack(np.gradient(forward.displacement[..., c], *steps), -1) for c in range(3)], -2)
    assert np.linalg.det(slopes + np.eye(3)).min() > 0, "the field folds"
    assert np.abs(forward.displacement[0]).max() == 0, "the field does not fade at its border"


class _Shift:
    """Points plus a displacement field."""

    def __init__(self, field, affine):
        self.field, self.affine = field, affine

    def apply(self, points):
        from neurobraid.images.resample import sample_vector

        return points + sample_vector(self.field, apply_affine(np.linalg.inv(self.affine), points))
