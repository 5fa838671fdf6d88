"""Brain extraction on a head whose brain is known, and refusal of what is no head."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from neurobraid.anat import brain
from neurobraid.errors import InputError

VOXEL = np.array([2.0, 2.0, 2.0])


def ball(shape, centre, radii):
    """Ellipsoid in voxels."""
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum(((a - c) / r) ** 2 for a, c, r in zip(axes, centre, radii, strict=True)) < 1


@pytest.fixture(scope="module")
def head():
    """Ellipsoids at 2 mm: brain, CSF, skull, scalp, neck, an eye and a nerve that leads to it."""
    shape = (94, 112, 128)
    centre = (47, 56, 84)
    radii = np.array([34, 42, 33])
    inside = ball(shape, centre, radii)
    values = np.zeros(shape, np.float32)
    values[ball(shape, (47, 60, 20), (30, 32, 70))] = 450  # neck and face
    values[ball(shape, centre, radii + 7)] = 900  # scalp
    values[ball(shape, centre, radii + 4)] = 60  # bone
    values[ball(shape, centre, radii + 1)] = 180  # CSF
    values[inside] = 650
    values[ball(shape, centre, radii - 6)] = 950
    nerve = np.zeros(shape, bool)
    nerve[34:36, 90:106, 66:68] = True
    values[nerve & ~inside] = 650
    values[ball(shape, (34, 106, 66), (6, 6, 6))] = 700
    x = np.arange(shape[0])[:, None, None]
    values *= np.exp(0.25 * (x - 47) / 47).astype(np.float32)
    values += np.abs(np.random.default_rng(1).normal(0, 20, shape)).astype(np.float32)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = [-94, -112, -150]
    return values, affine, inside


def test_strip_head_cuts_the_brain_free(head):
    values, affine, inside = head
    upper, box = brain.upper_head(values, affine)
    assert not upper[:, :, :30].any(), "the neck is still there"
    mask, threshold = brain.strip_head(values[box], affine, upper[box])
    assert brain.dice(mask, inside[box]) > 0.96
    assert 180 < threshold < 650


def test_refine_drops_a_leak_and_fills_a_gap(head):
    values, affine, inside = head
    leak = inside | ball(values.shape, (34, 104, 66), (7, 9, 7))
    leak[:, :, 100:] &= ~ball(values.shape, (47, 56, 110), (10, 10, 8))[:, :, 100:]
    carried = ndimage.binary_erosion(inside)
    mask = brain.refine(values, affine, leak, carried, 400.0)
    assert brain.dice(mask, inside) > 0.97
    assert not mask[ball(values.shape, (34, 108, 66), (3, 3, 3))].any()


def test_log_bias_undoes_a_gradient(head):
    values, affine, inside = head
    core = ndimage.binary_erosion(inside, iterations=8)
    field = brain.log_bias(values, affine, inside)
    corrected = values / np.exp(field)
    assert corrected[core].std() / corrected[core].mean() < 0.6 * values[core].std() / values[core].mean()
    assert abs(field[inside].mean()) < 1e-3


def test_conform_turns_axes_without_interpolation():
    values = np.random.default_rng(0).random((7, 8, 9)).astype(np.float32)
    affine = np.array([[0, 0, 2.0, -5], [-1.5, 0, 0, 6], [0, 3.0, 0, 7], [0, 0, 0, 1.0]])
    turned = brain.conform(nib.Nifti1Image(values, affine))
    assert nib.aff2axcodes(turned.affine) == ("R", "A", "S")
    assert turned.shape == (9, 7, 8)
    world = affine @ [1, 2, 3, 1]
    there = np.rint(np.linalg.inv(turned.affine) @ world).astype(int)[:3]
    assert np.asarray(turned.dataobj)[tuple(there)] == values[1, 2, 3]


def test_conform_takes_a_single_volume_of_a_series():
    values = np.random.default_rng(0).random((5, 6, 7, 1)).astype(np.float32)
    assert brain.conform(nib.Nifti1Image(values, np.eye(4))).shape == (5, 6, 7)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (np.full((7, 8, 9), 4.0, np.float32), "voxel values"),
        (np.where(np.arange(504).reshape(7, 8, 9) == 5, np.nan, 1.0).astype(np.float32), "voxel values"),
        (np.random.default_rng(0).random((5, 6, 7, 2)).astype(np.float32), "shape"),
    ],
    ids=["constant", "nan", "series"],
)
def test_conform_refuses(values, field):
    with pytest.raises(InputError) as error:
        brain.conform(nib.Nifti1Image(values, np.eye(4)), "sub-01_T1w.nii.gz")
    assert error.value.problem.field == field
    assert error.value.problem.file == "sub-01_T1w.nii.gz"


def test_noise_is_no_head():
    values = np.random.default_rng(0).random((40, 44, 48)).astype(np.float32)
    with pytest.raises(InputError, match=r"anat\.mask"):
        brain.extract_brain(nib.Nifti1Image(values, np.diag([3.0, 3.0, 3.0, 1])))


def test_user_mask_is_used_as_it_is(head):
    values, affine, inside = head
    shifted = np.roll(inside, 3, axis=1)
    mask = nib.Nifti1Image(shifted.astype(np.uint8), affine)
    corrected, found, quality = brain.extract_brain(nib.Nifti1Image(values, affine), n4=False, user_mask=mask)
    assert np.array_equal(found, shifted)
    assert np.array_equal(corrected, values)
    assert quality["mask_source"] == "user"
    assert quality["volume_brain_mask_ml"] == pytest.approx(shifted.sum() * 0.008)


def test_user_mask_elsewhere_is_refused(head):
    values, affine, inside = head
    away = affine.copy()
    away[0, 3] += 1000
    with pytest.raises(InputError, match="no voxel inside"):
        brain.extract_brain(
            nib.Nifti1Image(values, affine), user_mask=nib.Nifti1Image(inside.astype(np.uint8), away)
        )


@pytest.mark.parametrize("zooms", [(1.0, 1.0, 1.0), (2.5, 3.0, 4.0)], ids=["finer", "coarser"])
def test_work_grid_keeps_places(zooms):
    affine = np.diag([*zooms, 1.0])
    affine[:3, 3] = [-20, 10, 5]
    shape = (31, 28, 26)
    world = [np.arange(n) * z + o for n, z, o in zip(shape, zooms, affine[:3, 3], strict=True)]
    # linear in the coordinates, so smoothing and linear interpolation leave it alone away from the border
    values = np.add.outer(np.add.outer(2 * world[0], -world[1]), 0.5 * world[2]).astype(np.float32)
    work, grid = brain.to_work_grid(values, affine)
    assert np.allclose(np.diag(grid)[:3], 2)
    ijk = np.array(work.shape) // 2
    x, y, z = (grid @ [*ijk, 1])[:3]
    assert work[tuple(ijk)] == pytest.approx(2 * x - y + 0.5 * z, abs=1e-2)
    back = brain._from_work_grid(work, grid, shape, affine)
    middle = tuple(n // 2 for n in shape)
    assert back[middle] == pytest.approx(values[middle], abs=1e-2)


def test_close_does_not_shrink_at_the_border():
    mask = np.zeros((20, 21, 22), bool)
    mask[:8, 5:15, 5:15] = True
    closed = brain._close(mask, 6.0, VOXEL)
    assert (closed & mask).sum() == mask.sum()
