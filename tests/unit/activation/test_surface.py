"""Sampling, smoothing and modelling on the cortical surface."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.activation import design as designs
from neurobraid.activation import first_level, surface
from neurobraid.bold import nuisance
from neurobraid.files import read_json, write_json
from tests.unit.activation.test_first_level import Paths

AFFINE = np.array([[-4.0, 0, 0, 92], [0, 4, 0, -128], [0, 0, 4, -80], [0, 0, 0, 1]])
SHAPE = (47, 58, 48)


@pytest.fixture(scope="module")
def mesh():
    return surface.load_mesh("R")


def world():
    ijk = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1)
    return ijk @ AFFINE[:3, :3].T + AFFINE[:3, 3]


def test_sampling_a_linear_image_is_exact(mesh):
    white, pial, _ = mesh
    points = world()
    slope = np.array([0.3, -0.2, 0.5])
    volumes = np.stack([500 + points @ slope, 200 - 2 * (points @ slope)], -1).astype(np.float32)
    series, covered = surface.sample(volumes, np.ones(SHAPE, bool), AFFINE, white, pial)
    assert covered.all() and series.shape == (2, 10242)
    middle = (white + pial) / 2
    np.testing.assert_allclose(series[0], 500 + middle @ slope, rtol=1e-4)
    np.testing.assert_allclose(series[1], 200 - 2 * middle @ slope, rtol=1e-3, atol=0.02)
    assert middle[:, 0].mean() > 20, "the right hemisphere has positive x"


def test_what_lies_outside_the_mask_is_not_covered(mesh):
    white, pial, _ = mesh
    points = world()
    mask = points[..., 1] < 0
    series, covered = surface.sample(np.full((*SHAPE, 1), 7.0, np.float32), mask, AFFINE, white, pial)
    y = (white + pial)[:, 1] / 2
    assert covered[y < -8].all() and not covered[y > 8].any()
    np.testing.assert_allclose(series[0, covered], 7, rtol=1e-5)
    assert not series[0, ~covered].any()


@pytest.mark.parametrize("fwhm", [7.0, 12.0])
def test_smoothing_reaches_its_width_and_keeps_a_constant(mesh, fwhm):
    white, pial, faces = mesh
    middle = (white + pial) / 2
    noise = np.random.default_rng(0).standard_normal((60, len(white))).astype(np.float32)
    everywhere = np.ones(len(white), bool)
    smooth = surface.smooth(noise, everywhere, middle, faces, fwhm)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    length = np.linalg.norm(middle[edges[:, 0]] - middle[edges[:, 1]], axis=1).mean()
    z = (smooth - smooth.mean(0)) / smooth.std(0)
    r = (z[:, edges[:, 0]] * z[:, edges[:, 1]]).mean()
    reached = length * np.sqrt(-2 * np.log(2) / np.log(r))
    assert reached == pytest.approx(fwhm, rel=0.15)
    half = middle[:, 1] < 0
    flat = surface.smooth(np.where(half, 3.0, 0.0)[None].astype(np.float32), half, middle, faces, fwhm)
    np.testing.assert_allclose(flat[0, half], 3.0, rtol=1e-4)
    assert not flat[0, ~half].any()


def test_planted_effect_of_two_runs(tmp_path):
    rng = np.random.default_rng(1)
    points = world()
    active = np.linalg.norm(points - np.array([40, -20, 50]), axis=-1) < 18
    columns = {key: [] for key in ("bold", "mask", "metadata", "confounds", "events")}
    for run, (tr, volumes) in enumerate(((2.0, 90), (1.6, 110))):
        times = np.arange(volumes) * tr
        onsets = np.arange(4, times[-1] - 16, 9.0)
        shape = designs.regressor(times, onsets, np.full(len(onsets), 2.0))
        percent = shape / designs.response_peak([0.0], [2.0]) * active[..., None]
        noise = 0.3 * rng.standard_normal((*SHAPE, volumes), dtype=np.float32)
        stem = tmp_path / f"sub-01_task-go_run-{run}"
        nib.save(
            nib.Nifti1Image((800 * (1 + (percent + noise) / 100)).astype(np.float32), AFFINE),
            f"{stem}_bold.nii",
        )
        nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE), f"{stem}_mask.nii")
        write_json({"RepetitionTime": tr, "StartTime": 0.0}, f"{stem}_bold.json")
        table = pd.DataFrame(rng.standard_normal((volumes, 8)), columns=[*nuisance.MOTION, *nuisance.TISSUE])
        table.to_csv(f"{stem}_confounds.tsv", sep="\t", index=False)
        pd.DataFrame({"onset": onsets, "duration": 2.0, "trial_type": "go"}).to_csv(
            f"{stem}_events.tsv", sep="\t", index=False
        )
        for key, end in zip(
            columns, ("bold.nii", "mask.nii", "bold.json", "confounds.tsv", "events.tsv"), strict=True
        ):
            columns[key].append(f"{stem}_{end}")
    settings = {"noise_model": "ar1", "smoothing_mm": 0, "high_pass_hz": 0.01, "drift": "cosine", "scrub": {}}
    model = first_level.as_model(
        [{"name": "go", "weights": {"go": 1}}], hrf="spm", confounds=["motion6"], **settings
    )
    outputs = Paths(
        maps=[tmp_path / f"hemi-{h}_{s}.func.gii" for h in "LR" for s in ("effect", "variance", "t", "z")],
        sidecar=tmp_path / "note.json",
    )
    surface.run(Paths(**columns), outputs, model, **settings)
    left, right = (nib.load(outputs.maps[k]).darrays[0].data for k in (0, 4))
    white, pial, _ = surface.load_mesh("R")
    depth = np.linalg.norm((white + pial) / 2 - [40, -20, 50], axis=1)
    assert right[depth < 10].mean() == pytest.approx(1.0, rel=0.03)
    assert abs(right[depth > 30].mean()) < 0.02 > abs(left.mean())
    assert read_json(outputs.sidecar)["CoveredVertices"] == {"L": 1.0, "R": 1.0}
    first = [p.read_bytes() for p in outputs.maps]
    surface.run(Paths(**columns), outputs, model, **settings)
    assert first == [p.read_bytes() for p in outputs.maps]
