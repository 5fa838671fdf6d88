"""Heads as they should not come: the brain is found, or a person is told."""

import nibabel as nib
import numpy as np
import pytest

from neurobraid.anat import brain
from neurobraid.errors import InputError
from neurobraid.images.io import load
from neurobraid.images.resample import resample_image
from neurobraid.images.templates import template
from neurobraid.synth.anatomy import _T1_INSIDE, _T1_OUTSIDE, head_grid
from neurobraid.synth.anatomy import head as make_head
from neurobraid.synth.geometry import random_deformation, rigid


def person(low=(-92.0, -126.0, -96.0)):
    """Image and brain at 3 mm; the brain is the template's in the person's shape."""
    rng = np.random.default_rng(5)
    to_template, _ = random_deformation(rng)
    shape, affine = head_grid(3.0, low=low)
    values = 600 * make_head(to_template, shape, affine, resolution=2.0).image(_T1_INSIDE, _T1_OUTSIDE)
    values = np.abs(values + rng.normal(0, 15, shape)).astype(np.float32)
    return values, affine, resample_image(template("brain", 1.0), shape, affine, to_template, order=1) > 0.5


@pytest.fixture(scope="module")
def head():
    """The head that all but one case start from."""
    return person()


def found(values, affine):
    """Mask on the grid given, and the quality notes."""
    image = brain.conform(nib.Nifti1Image(values, affine))
    _, mask, quality = brain.extract_brain(image)
    back = resample_image((mask.astype(np.float32), image.affine), values.shape, affine, order=1) > 0.5
    return back, quality


def told(quality, messages):
    """Whether the quality file or the log says that a person must look."""
    doubted = not quality["mask_plausible"] or quality["mask_agreement_dice"] < brain.AGREEMENT
    return doubted and "look at" in messages


def test_oblique_and_flipped_axes(head):
    values, affine, truth = head
    turn = rigid([5.0, -12.0, 9.0, *np.deg2rad([14.0, -8.0, 20.0])])
    turned = (
        turn
        @ affine
        @ np.array([[0, -1.0, 0, values.shape[0] - 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    )
    # voxel axes swapped and one of them reversed: the same head in the same world, turned as a whole
    moved = np.ascontiguousarray(np.swapaxes(values, 0, 1)[:, ::-1])
    mask, _ = found(moved, turned)
    assert brain.dice(mask, np.swapaxes(truth, 0, 1)[:, ::-1]) > 0.96


def test_much_neck_in_the_field_of_view():
    values, affine, truth = person(low=(-92.0, -126.0, -196.0))
    mask, quality = found(values, affine)
    assert brain.dice(mask, truth) > 0.96
    assert quality["mask_plausible"]


def test_a_hole_in_the_brain_belongs_to_the_brain(head):
    values, affine, truth = head
    world = np.moveaxis(np.indices(values.shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    centre = world[truth].mean(0) + np.array([28, 10, 10])
    hole = truth & (np.linalg.norm(world - centre, axis=-1) < 16)
    mask, _ = found(np.where(hole, 110, values).astype(np.float32), affine)
    assert mask[hole].mean() > 0.97
    assert brain.dice(mask, truth) > 0.96


@pytest.mark.parametrize(
    ("signs", "axis"),
    [((1, -1, -1), "x"), ((-1, 1, -1), "y"), ((-1, -1, 1), "z")],
    ids=["pitch", "roll", "yaw"],
)
def test_half_a_turn_is_found_and_said(head, caplog, signs, axis):
    values, affine, truth = head
    turn = np.diag([*signs, 1.0])
    image = brain.conform(nib.Nifti1Image(values, turn @ affine))
    _, mask, quality = brain.extract_brain(image, name="sub-01_T1w.nii.gz")
    back = resample_image((mask.astype(np.float32), image.affine), values.shape, turn @ affine, order=1) > 0.5
    assert brain.dice(back, truth) > 0.95
    assert f"sub-01_T1w.nii.gz: the head lies half a turn about {axis}" in caplog.text
    assert quality["rotation_to_template_deg"] > 150
    # the mask alone would fit either way up: crown, front and right must be where the template has them
    found = turn @ np.array(quality["affine_to_template"])
    assert (np.diag(found)[:3] > 0.8).all()


def test_a_slab_is_told(head, caplog):
    values, affine, truth = head
    middle = int(np.argwhere(truth)[:, 2].mean())
    slab = np.ascontiguousarray(values[:, :, middle - 8 : middle + 8])
    _, quality = found(slab, affine)
    assert told(quality, caplog.text)


def header(values, sform, qform, scale=None, order="<"):
    """A NIfTI image whose header says two things."""
    image = nib.Nifti1Image(values, sform, nib.Nifti1Header(endianness=order))
    image.header.set_data_dtype(values.dtype.newbyteorder(order))
    image.set_sform(sform, 1)
    image.set_qform(qform, 1)
    if scale:
        image.header.set_slope_inter(*scale)
    return image


def test_sform_counts_and_the_difference_is_said(caplog):
    values = np.random.default_rng(0).random((7, 8, 9)).astype(np.float32)
    sform, qform = np.diag([2.0, 2.0, 2.0, 1]), np.diag([2.0, 2.0, 2.0, 1])
    qform[:3, 3] = [0, 3.0, 4.0]
    conformed = brain.conform(header(values, sform, qform), "sub-01_T1w.nii.gz")
    assert np.allclose(conformed.affine, sform)
    assert "sub-01_T1w.nii.gz: sform (code 1) and qform (code 1) disagree by up to 5.0 mm" in caplog.text
    caplog.clear()
    brain.conform(header(values, sform, sform))
    assert not caplog.text


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
def test_scaled_integers_do_not_overflow(tmp_path, order):
    stored = np.random.default_rng(0).integers(0, 32767, (7, 8, 9)).astype(np.int16)
    image = nib.Nifti1Image(stored, np.eye(4), nib.Nifti1Header(endianness=order))
    raw = bytearray(image.to_bytes())
    # scl_slope and scl_inter stand at bytes 112 and 116 of the header
    raw[112:120] = np.array([40.0, -5.0], order + "f4").tobytes()
    path = tmp_path / "sub-01_T1w.nii"
    path.write_bytes(raw)
    opened = load(path)
    assert opened.header.endianness == order
    values = np.asarray(brain.conform(opened).dataobj)
    assert values.dtype == np.float32
    assert values.dtype.isnative
    np.testing.assert_allclose(values, 40.0 * stored.astype(float) - 5.0, rtol=1e-6)


def test_a_scale_beyond_float32_is_refused(tmp_path):
    image = nib.Nifti1Image(np.arange(504, dtype=np.int16).reshape(7, 8, 9), np.eye(4))
    raw = bytearray(image.to_bytes())
    raw[112:116] = np.array([1e37], "<f4").tobytes()
    path = tmp_path / "sub-01_T1w.nii"
    path.write_bytes(raw)
    with pytest.raises(InputError, match="infinite"):
        brain.conform(load(path), path.name)
