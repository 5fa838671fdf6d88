"""Two sessions: neither is the reference, and a planted change is measured as large as it is."""

from types import SimpleNamespace

import numpy as np
import pytest

from neurobraid.anat import normalize
from neurobraid.anat.longitudinal import mean_rigid, read_session, unbiased_mean, write_mean
from neurobraid.files import read_json
from neurobraid.images.io import save
from neurobraid.images.resample import resample_image
from neurobraid.images.templates import template
from neurobraid.images.transforms import apply_affine
from neurobraid.synth.geometry import rigid

GROWTH = 1.02 ** (1 / 3)
POSES = (
    rigid([4.0, -3.0, 2.0, *np.deg2rad([5.0, -2.0, 3.0])]),
    rigid([-3.0, 5.0, -4.0, *np.deg2rad([-4.0, 3.0, -2.0])]),
)
POINTS = np.array([[0, 0, 0], [55, -40, 20], [-50, 10, 30], [10, 60, 0], [0, -90, 10.0]])


def session(pose, size, seed, voxel):
    """Image, affine, brain. `pose` takes template points, scaled by `size`, to points of the session."""
    shape = tuple(int(n / voxel) for n in (190, 226, 196))
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = [-95, -130, -92]
    back = np.diag([1 / size, 1 / size, 1 / size, 1.0]) @ np.linalg.inv(pose)
    grey, white, brain = (
        resample_image(template(kind, 1.0), shape, affine, back, order=1) for kind in ("GM", "WM", "brain")
    )
    brain = brain > 0.5
    # a person's tissues: sharper than the mean of a group
    maps = np.stack([grey, white, np.clip(1 - grey - white, 0, 1)]) ** 2
    maps /= maps.sum(0)
    values = 800 * np.where(brain, np.tensordot([0.66, 1.0, 0.20], maps, 1), 0)
    values += np.random.default_rng(seed).normal(0, 15, shape)
    return np.maximum(values, 0).astype(np.float32), affine, brain


@pytest.fixture(scope="module")
def sessions():
    """The same brain in two poses; at the second visit 2 % larger."""
    return session(POSES[0], 1.0, 1, 3.0), session(POSES[1], GROWTH, 2, 3.0)


def mean_of(sessions):
    return unbiased_mean([(v, a) for v, a, _ in sessions], [b for _, _, b in sessions])


@pytest.fixture(scope="module")
def result(sessions):
    return mean_of(sessions)


def test_mean_of_rotations_is_midway():
    turns = [rigid([0, 0, 0, 0, 0, a]) for a in (-0.3, 0.3)]
    assert np.allclose(mean_rigid(turns, np.zeros(3)), np.eye(4))
    shifts = [rigid([4.0, 0, 0, 0, 0, 0]), rigid([0, -2.0, 0, 0, 0, 0])]
    assert np.allclose(mean_rigid(shifts, np.ones(3))[:3, 3], [2, -1, 0])


def test_the_mean_lies_midway(result):
    *_, matrices = result
    first, second = (apply_affine(m, POINTS) for m in matrices)
    # two rotations by half of the planted angle, one each way, add up but for 2 (1 - cos)
    turn = (POSES[1] @ np.linalg.inv(POSES[0]))[:3, :3]
    half = np.arccos((np.trace(turn) - 1) / 2) / 2
    centre = [0.0, -20.0, 5.0]
    bound = 2 * (1 - np.cos(half)) * np.linalg.norm(POINTS - centre, axis=1) + 0.15
    assert (np.linalg.norm(first + second - 2 * POINTS, axis=1) < bound).all()
    angles = [np.arccos((np.trace(m[:3, :3]) - 1) / 2) for m in matrices]
    assert angles == pytest.approx([half, half], abs=np.deg2rad(0.1))
    relative = second - apply_affine(POSES[1] @ np.linalg.inv(POSES[0]), first)
    # of growth by 2 % of volume, 0.66 % of length, 90 mm from the centre, 0.6 mm stay
    assert np.linalg.norm(relative, axis=1).max() < 0.9


def test_swapping_the_sessions_changes_nothing(sessions, result):
    *_, matrices = result
    *_, swapped = mean_of(sessions[::-1])
    for a, b in zip(matrices, swapped[::-1], strict=True):
        assert np.linalg.norm(apply_affine(a, POINTS) - apply_affine(b, POINTS), axis=1).max() < 0.1


def test_a_planted_change_is_measured_without_bias(sessions, tmp_path):
    names, t1w, masks = ["sub-01_ses-1", "sub-01_ses-2"], [], []
    for name, (values, affine, brain) in zip(names, sessions, strict=True):
        t1w.append(tmp_path / f"{name}_T1w.nii.gz")
        masks.append(tmp_path / f"{name}_mask.nii.gz")
        save(values, affine, t1w[-1])
        save(brain, affine, masks[-1], dtype=np.uint8)
    ends = {"mean": "m.nii.gz", "mean_json": "m.json", "mask": "b.nii.gz", "mask_json": "b.json"}
    ends |= {"transforms": "x.json", "forward": "f.h5", "inverse": "i.h5"}
    output = SimpleNamespace(**{key: tmp_path / name for key, name in ends.items()})
    write_mean(names[::-1], t1w[::-1], masks[::-1], output, quality="fast")
    assert list(read_json(output.transforms)["Transforms"]) == names
    volumes = []
    for name, (values, affine, brain) in zip(names, sessions, strict=True):
        forward, inverse = read_session(name, output.transforms, output.forward, output.inverse)
        there = forward.apply(POINTS)
        assert np.linalg.norm(inverse.apply(there) - POINTS, axis=1).max() < 0.5
        grey = normalize.tissues(values, affine, brain, inverse)[0]
        volumes.append(grey.sum(dtype=float))
    assert volumes[1] / volumes[0] == pytest.approx(1.02, abs=0.004)
