"""The truth that the preprocessing benchmark measures against is the truth."""

import numpy as np
import pytest

from benchmarks.phantoms import Person
from neurobraid.bold.distortion import undistort
from neurobraid.images.resample import grid_points, resample_image
from neurobraid.images.transforms import apply_affine


@pytest.fixture(scope="module")
def person():
    return Person(3)


def test_exact_points_are_the_inverse_of_the_deformation(person):
    mni = np.random.default_rng(0).uniform(-60, 60, (500, 3))
    points = person.exact(mni)
    assert np.abs(person.mni_from_t1w.apply(points) - mni).max() < 1e-3
    # the stored inverse is only near
    assert np.linalg.norm(person.t1w_from_mni.apply(mni) - points, axis=1).max() < 1.0


def test_motion_brings_every_volume_home(person):
    run = person.bold(6, jumps=0)
    # a far pose makes a wrong direction unmistakable
    to_last = run.poses[5] @ np.linalg.inv(run.poses[0])
    shape = run.data.shape[:3]
    first, last = run.data[..., 0], run.data[..., 5]
    inside = np.zeros(shape, bool)
    ijk = np.rint(apply_affine(np.linalg.inv(run.affine), run.points)).astype(int)
    ijk = ijk[((ijk > 2) & (ijk < np.array(shape) - 3)).all(1)]
    inside[tuple(ijk.T)] = True
    error = {}
    for name, matrix in (("right", to_last), ("none", np.eye(4)), ("reversed", np.linalg.inv(to_last))):
        moved = resample_image((last, run.affine), shape, run.affine, matrix, order=3)
        error[name] = np.std((moved - first)[inside])
    assert error["right"] < error["none"] < error["reversed"]


def test_reference_shows_the_head_where_its_pose_says(person):
    image, affine, pose = person.reference()
    plain, grid = person.undistorted(), person._scanner("epi", (0.0, 0.0, 0.0))[1]
    home = resample_image((image, affine), plain.shape, grid, pose, order=3)
    turned = resample_image((image, affine), plain.shape, grid, np.linalg.inv(pose), order=3)
    seen = (home > 100) & (plain > 100)
    assert np.corrcoef(home[seen], plain[seen])[0, 1] > 0.75 > np.corrcoef(turned[seen], plain[seen])[0, 1]


def test_distortion_is_undone_by_its_own_field(person):
    image, affine, hz, brain = person.distorted(0.045)
    plain = person.undistorted()
    flat = undistort(image, affine, hz, 0.045, "j-")
    wrong = undistort(image, affine, hz, 0.045, "j")
    right = np.corrcoef(flat[brain], plain[brain])[0, 1]
    before = np.corrcoef(image[brain], plain[brain])[0, 1]
    assert right > 0.95 > before > np.corrcoef(wrong[brain], plain[brain])[0, 1]


def test_labels_and_brain_lie_on_the_image(person):
    scan = person.t1w(3.0)
    values = np.asarray(scan.image.dataobj)
    means = [values[scan.labels == n].mean() for n in (3, 1, 2)]  # CSF, GM, WM
    assert means[0] < means[1] < means[2]
    assert not scan.labels[~scan.brain].any()
    back, shares = np.linalg.inv(scan.image.affine), []
    for shift in (0.0, 6.0, -6.0):  # at 3 mm some points of the very edge round to the outside
        ijk = np.rint(apply_affine(back, person.brain_points() + shift)).astype(int)
        shares.append(scan.brain[tuple(ijk.T)].mean())
    assert shares[0] > 0.95 and max(shares[1:]) < 0.90


def test_field_map_holds_the_field(person):
    magnitude, phase, affine = person.fieldmap(0.001)  # short enough that nothing wraps
    hz = phase / (2 * np.pi * 0.001)
    strong = magnitude > 500
    points = grid_points(phase.shape, affine, strong)
    # the head has moved by 1.5 mm and 1.5 degrees: a few Hz
    assert np.median(np.abs(hz[strong] - person.field_hz(points))) < 6.0
