"""Mask, tissues and normalisation of a simulated head against its truth, at the accuracy that is promised."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from neurobraid.anat import brain, normalize
from neurobraid.images.resample import grid_points, resample_image
from neurobraid.images.templates import template
from neurobraid.synth.anatomy import _T1_INSIDE, _T1_OUTSIDE, bias_field, head_grid
from neurobraid.synth.anatomy import head as make_head
from neurobraid.synth.geometry import random_deformation


def simulate(seed, voxel=2.0):
    """T1w with 20 % bias to either side, 3 % Rician noise and intensities that are not the template's (gamma 0.8).

    Returns
    -------
    dict
        image; labels (1 GM, 2 WM, 3 CSF); brain (the template's brain mask in the person's shape); the true warp.
    """
    rng = np.random.default_rng(seed)
    to_template, to_person = random_deformation(rng)
    shape, affine = head_grid(voxel)
    tissue = make_head(to_template, shape, affine)
    values = tissue.image(_T1_INSIDE, _T1_OUTSIDE) ** 0.8
    values = ndimage.gaussian_filter(values, 0.45 / voxel)
    inside = resample_image(template("brain", 1.0), shape, affine, to_template, order=1) > 0.5
    field = np.log(bias_field(rng, grid_points(shape, affine), 0.1)).reshape(shape)
    values *= 0.8 + 0.4 * (field - field[inside].min()) / np.ptp(field[inside])
    noise = 0.03 * rng.standard_normal((2, *shape), dtype=np.float32)
    image = nib.Nifti1Image((700 * np.hypot(values + noise[0], noise[1])).astype(np.float32), affine)
    labels = np.where(inside, 1 + tissue.fractions.reshape(3, *shape).argmax(0), 0)
    return {"image": image, "labels": labels, "brain": inside, "warp": to_person}


@pytest.fixture(scope="module")
def measured():
    """Overlaps and distances of one person."""
    truth = simulate(11)
    affine = truth["image"].affine
    corrected, mask, quality = brain.extract_brain(truth["image"])
    forward, inverse = normalize.normalize(
        corrected, affine, mask, initial=np.array(quality["affine_to_template"])
    )
    posteriors = normalize.tissues(corrected, affine, mask, inverse)
    found = normalize.labels(posteriors, mask)
    fixed = template("brain", 2.0)
    points = grid_points(fixed.shape, fixed.affine, np.asarray(fixed.dataobj) > 0.5)[::37]
    result = {
        name: brain.dice(found == k, truth["labels"] == k) for k, name in enumerate(("GM", "WM", "CSF"), 1)
    }
    result["brain"] = brain.dice(mask, truth["brain"])
    result["TRE"] = np.linalg.norm(forward.apply(points) - truth["warp"].apply(points), axis=1).mean()
    return result


@pytest.mark.parametrize(("what", "least"), [("brain", 0.98), ("GM", 0.90), ("WM", 0.90), ("CSF", 0.75)])
def test_overlap_with_the_truth(measured, what, least):
    assert measured[what] >= least


def test_points_find_their_place(measured):
    assert measured["TRE"] < 1.1
