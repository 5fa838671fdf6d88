"""Registration along the phase-encoding axis: a planted distortion is undone, and none is invented where there is none."""

import json

import nibabel as nib
import numpy as np
import pytest

from neurobraid.bold.coregister import coregister
from neurobraid.bold.distortion import phase_axis, undistort, voxel_shift
from neurobraid.bold.fieldmap import write_fieldmap
from neurobraid.bold.fieldmapless import Level, level_grid, shift_along_axis, spline_matrix, tissue_signal
from neurobraid.images.resample import sample
from neurobraid.images.rigid import compose
from neurobraid.images.transforms import apply_affine

from .head import CENTER, RADII, bold_signal, grid, radius, t1w_signal, tissues, world
from .test_fieldmap import READOUT, distorted, planted_hz

T1W_SHAPE = (75, 90, 70)
T1W_AFFINE = grid((2.0, 2.0, 2.0), T1W_SHAPE, turn=0.03)
SHAPE = (46, 54, 34)
AFFINE = grid((3.4, 3.4, 3.9), SHAPE, turn=0.12, flip=True)
TRUTH = compose([2.0, -1.5, 1.0, 0.03, -0.02, 0.02], CENTER)  # T1w points to BOLD points


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    points = world(T1W_SHAPE, T1W_AFFINE)
    csf, wm, gm = tissues(points)
    folder, out = tmp_path_factory.mktemp("anat"), {}
    for name, values in {
        "t1w": t1w_signal(points), "brain_mask": radius(points) < 1.0, "gm": gm, "wm": wm, "csf": csf,
    }.items():  # fmt: skip
        out[name] = folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(values.reshape(T1W_SHAPE).astype(np.float32), T1W_AFFINE), out[name])
    return out


def signal(points):
    """Brain and some scalp, brighter on one side."""
    skin = np.exp(-(((radius(points) - 1.22) / 0.06) ** 2))
    return (bold_signal(points) + 200 * skin) * (1 + 0.2 * ((points - CENTER) / RADII)[:, 0])


def scan(hz, direction, noise=10.0):
    """Reference and mask, every voxel the mean of eight points in it."""
    back, image = np.linalg.inv(TRUTH), 0.0
    for corner in [(a, b, c) for a in (-0.25, 0.25) for b in (-0.25, 0.25) for c in (-0.25, 0.25)]:
        moved = AFFINE.copy()
        moved[:3, 3] += AFFINE[:3, :3] @ corner
        image = image + distorted(SHAPE, moved, signal, hz, direction=direction, back=back) / 8
    brain = distorted(SHAPE, AFFINE, lambda p: (radius(p) < 1.0) * 1.0, hz, direction=direction, back=back)
    image = image + np.random.default_rng(0).normal(0, noise, SHAPE)
    return image.astype(np.float32), brain > 0.4


def found_by(maps, image, mask, direction, folder):
    nib.save(nib.Nifti1Image(image, AFFINE), folder / "boldref.nii.gz")
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), AFFINE), folder / "mask.nii.gz")
    (folder / "bold.json").write_text(
        json.dumps({"PhaseEncodingDirection": direction, "TotalReadoutTime": READOUT})
    )
    out = {"fieldmap": folder / "hz.nii.gz", "fieldmap_json": folder / "hz.json"}
    write_fieldmap(
        "fieldmapless",
        folder / "boldref.nii.gz",
        folder / "mask.nii.gz",
        [folder / "bold.json"],
        out,
        anatomy=maps,
    )
    return nib.load(out["fieldmap"]).get_fdata(), json.loads(out["fieldmap_json"].read_text())


def error(maps, hz, image, mask, planted, direction):
    """Where the brain's T1w points are seen along the axis against where they are, voxels, after coregistration."""
    axis, sign = phase_axis(direction)
    images = {name: nib.load(path) for name, path in maps.items()}
    plain = undistort(image, AFFINE, hz, READOUT, direction)
    brain = undistort(mask.astype(np.float32), AFFINE, hz, READOUT, direction, modulate=False) > 0.5
    matrix, _ = coregister(
        plain, AFFINE, brain, images["t1w"], images["brain_mask"], images["wm"], images["gm"]
    )
    points = world(T1W_SHAPE, T1W_AFFINE)
    points = points[radius(points) < 0.97][::5]
    to_voxel = np.linalg.inv(AFFINE)
    true, found = (apply_affine(to_voxel @ m, points)[:, axis] for m in (TRUTH, matrix))
    true = true + sign * READOUT * planted(points)
    found = found + sample(voxel_shift(hz, READOUT, direction), apply_affine(to_voxel @ matrix, points), 1)
    return np.abs(found - true)


def test_a_planted_distortion_is_more_than_halved(maps, tmp_path):
    image, mask = scan(planted_hz, "j-")
    hz, facts = found_by(maps, image, mask, "j-", tmp_path)
    before = error(maps, np.zeros(SHAPE), image, mask, planted_hz, "j-")
    after = error(maps, hz, image, mask, planted_hz, "j-")
    large = before > 1.5
    print(
        f"planted: {before.mean():.3f} voxel off without, {after.mean():.3f} with ({after.mean() / before.mean():.0%}); "
        f"where it was above 1.5: {before[large].mean():.3f} and {after[large].mean():.3f}"
    )
    assert before.mean() > 0.6 and large.any()
    assert after.mean() < 0.5 * before.mean()
    assert after[large].mean() < 0.4 * before[large].mean()
    assert facts["Method"] == "fieldmap-less registration"
    assert facts["RegistrationScore"] > facts["RegistrationScoreUncorrected"] + 0.02


def test_an_undistorted_image_stays(maps, tmp_path, monkeypatch):
    image, mask = scan(lambda points: 0.0 * points[:, 0], "i")
    # without the last check, so that what the registration itself does is measured
    monkeypatch.setattr("neurobraid.bold.fieldmapless._LEAST_GAIN", -1.0)
    hz, facts = found_by(maps, image, mask, "i", tmp_path)
    shift = np.abs(voxel_shift(hz, READOUT, "i")[mask])
    print(f"no distortion: mean shift {shift.mean():.3f} voxel, 99 % below {np.percentile(shift, 99):.3f}")
    print(f"correlation {facts['RegistrationScoreUncorrected']:.4f}, then {facts['RegistrationScore']:.4f}")
    assert 0 < shift.mean() < 0.3
    assert facts["RegistrationScore"] < facts["RegistrationScoreUncorrected"] + 0.005


@pytest.fixture
def level():
    from scipy import ndimage

    rng = np.random.default_rng(0)
    image, target = (100 + 300 * ndimage.gaussian_filter(rng.normal(size=(18, 20, 24)), 2) for _ in range(2))
    weight = np.zeros(image.shape)
    weight[3:-3, 3:-3, 3:-3] = 1
    return lambda **k: Level(
        image,
        k.pop("target", target),
        ndimage.gaussian_filter(weight, 1),
        np.array([3, 3, 3.5]),
        16.0,
        7.0,
        **k,
    )


@pytest.mark.parametrize("modulate", [True, False])
def test_the_derivative_is_that_of_the_cost(level, modulate):
    cost = level(modulate=modulate)
    rng = np.random.default_rng(1)
    at = rng.normal(0, 1.5, cost.controls).ravel()
    _, slope = cost(at)
    for n in rng.integers(0, at.size, 12):
        step = np.zeros(at.size)
        step[n] = 1e-4
        assert (cost(at + step)[0] - cost(at - step)[0]) / 2e-4 == pytest.approx(slope[n], rel=1e-4, abs=1e-9)


def test_equal_images_correlate_by_one_and_gain_nothing_by_contrast(level):
    same = level()
    same = level(target=same.coefficients.reshape(same.shape) * 0 + np.asarray(level_image(same)))
    zero = np.zeros(same.shape)
    assert same.correlation(zero) == pytest.approx(1.0, abs=1e-9)
    assert np.abs(same(np.zeros(same.controls).ravel())[1]).max() < 1e-9
    assert same.correlation(zero + 2.0) < 0.99


def level_image(level):
    from neurobraid.bold.fieldmapless import _along_lines

    value = np.empty_like(level.coefficients)
    _along_lines(level.coefficients, np.zeros_like(value), value, np.empty_like(value))
    return value.reshape(level.shape)


def test_splines_sum_to_one_and_hold_smooth_curves():
    basis = spline_matrix(47, 3.1, 16.0)
    assert np.allclose(basis.sum(axis=1), 1.0)
    line = 0.5 * np.arange(47) - 3.0
    assert np.allclose(basis @ (np.linalg.pinv(basis) @ line), line, atol=1e-6)


def test_a_coarser_grid_keeps_the_outer_edges():
    shape, affine = level_grid((40, 50, 20), grid((2.0, 2.0, 4.5), (40, 50, 20), turn=0.2), 3.0)
    assert shape == (27, 33, 20)
    old = grid((2.0, 2.0, 4.5), (40, 50, 20), turn=0.2)
    for corner_old, corner_new in (((-0.5,) * 3, (-0.5,) * 3), ((39.5, 49.5, 19.5), np.array(shape) - 0.5)):
        assert np.allclose(
            apply_affine(old, np.array(corner_old)), apply_affine(affine, np.array(corner_new))
        )


def test_tissue_signal_is_found_under_shading():
    points = world(SHAPE, AFFINE)
    csf, wm, gm = tissues(points)
    shares = np.stack([v.reshape(SHAPE) for v in (gm, wm, csf)])
    shading = (1 + 0.3 * ((points - CENTER) / RADII)[:, 1]).reshape(SHAPE)
    image = np.tensordot([850.0, 700.0, 1100.0], shares, 1) * shading
    found, gain = tissue_signal(image, shares, np.ones(SHAPE), (3.4, 3.4, 3.9))
    assert np.allclose(found / found[0], np.array([850.0, 700.0, 1100.0]) / 850.0, atol=0.04)
    inner = shares.sum(axis=0) > 0.95
    model = np.tensordot(found, shares, 1) * gain
    assert np.abs(model / np.maximum(image, 1) - 1)[inner].mean() < 0.06


def test_no_tissue_in_view_is_no_crash(maps):
    away = np.eye(4)
    away[0, 3] = 500.0
    images = {name: nib.load(path) for name, path in maps.items()}
    image = np.ones((12, 13, 11), np.float32)
    shift, before, after = shift_along_axis(image, grid((4, 4, 4), image.shape), images, away, 1, image)
    assert np.isfinite(shift).all() and np.abs(shift).max() < 1e-6 and after <= before + 1e-9
