"""Two T1w of one visit, at different places and resolutions, become one image with less noise."""

import nibabel as nib
import numpy as np
import pytest

from neurobraid.anat.average import average
from neurobraid.images.resample import resample_image
from neurobraid.images.templates import template
from neurobraid.synth.geometry import rigid

TURN = rigid([3.0, -5.0, 4.0, *np.deg2rad([4.0, -3.0, 5.0])])
NOISE = 40.0


def scan(voxel, matrix, seed, gain=1.0):
    """The template seen from elsewhere: `matrix` takes points of the scan to points of the template."""
    shape = tuple(int(n / voxel) for n in (168, 204, 172))
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = [-84, -116, -76]
    values = 1000 * resample_image(template("T1w", 2.0), shape, affine, matrix, order=1)
    noise = np.random.default_rng(seed).normal(0, NOISE, shape)
    return nib.Nifti1Image((gain * np.abs(values + noise)).astype(np.float32), affine)


@pytest.fixture(scope="module")
def runs():
    """A coarse first run, a finer second one, turned and brighter."""
    return scan(3.0, np.eye(4), 1), scan(2.5, TURN, 2, gain=1.7)


def test_the_finest_grid_wins_and_places_agree(runs):
    mean, notes = average(list(runs), ["a", "b"])
    assert mean.shape == runs[1].shape
    assert np.array_equal(mean.affine, runs[1].affine)
    assert [note["used"] for note in notes] == [True, True]
    # reference (b) to coarse run (a): what TURN does
    points = np.array([[0, 0, 0], [50, -60, 30], [-40, 20, 50.0]])
    found = np.array(notes[0]["matrix"])
    error = np.linalg.norm(points @ (found - TURN)[:3, :3].T + (found - TURN)[:3, 3], axis=1)
    assert error.max() < 0.3
    assert notes[0]["scale"] == pytest.approx(1.7, rel=0.05)


def test_noise_goes_down(runs):
    mean, _ = average([runs[1], scan(2.5, TURN, 3)], ["a", "b"])
    clean = 1700 * resample_image(template("T1w", 2.0), mean.shape, mean.affine, TURN, order=1)
    inside = clean > 900
    one, two = (np.std((np.asarray(i.dataobj) - clean)[inside]) for i in (runs[1], mean))
    assert two < 0.8 * one


def test_a_run_of_something_else_is_left_out(runs, caplog):
    other = nib.Nifti1Image(np.random.default_rng(5).random(runs[1].shape).astype(np.float32), runs[1].affine)
    mean, notes = average([runs[1], other], ["a", "ruined_T1w.nii.gz"])
    assert np.array_equal(mean.dataobj, runs[1].dataobj)
    assert [note["used"] for note in notes] == [True, False]
    assert "ruined_T1w.nii.gz" in caplog.text
