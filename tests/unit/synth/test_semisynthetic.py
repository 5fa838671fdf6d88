"""Curves painted on a head come back out of the raw scan: units, decay, position, noise."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_tsv
from neurobraid.images.io import data, load, save
from neurobraid.images.resample import sample
from neurobraid.images.transforms import Warp, apply_affine, read_affines, write_warp
from neurobraid.pet import frames
from neurobraid.pet.resample import scaled_series
from neurobraid.synth import semisynthetic as semi

SHAPE = (40, 48, 44)
AFFINE = np.array([[3.0, 0, 0, -58.5], [0, 3.0, 0, -70.5], [0, 0, 3.0, -64.5], [0, 0, 0, 1]])
START = np.array([30.0, 60, 180, 900, 2400])
END = np.array([60.0, 180, 300, 1500, 3000])
CENTER = np.array([-12.0, 15.0, 6.0])
"""Of the ball that is the region, 15 mm."""


def distance(point):
    return np.linalg.norm(apply_affine(AFFINE, np.indices(SHAPE).reshape(3, -1).T) - point, axis=1).reshape(
        SHAPE
    )


@pytest.fixture(scope="module")
def head():
    """A ball of one region in a ball of white matter, in CSF, in a head."""
    names = ("ball", *semi.OTHER)
    middle = distance(np.zeros(3))
    brain, inner, ball = middle < 45, middle < 38, distance(CENTER) < 15
    shares = np.zeros((3, *SHAPE), np.float32)
    shares[0][ball], shares[1][inner & ~ball], shares[2][brain & ~inner] = 1, 1, 1
    grey = np.where(ball, 0, 1).astype(np.int16)
    beyond = np.where(middle < 50, names.index("skull"), np.where(middle < 54, names.index("soft tissue"), 6))
    return semi.Head(AFFINE, names, grey, beyond.astype(np.int16), shares)


@pytest.fixture(scope="module")
def curves(head):
    shapes = {"ball": [1, 30, 28, 20, 15], "white matter": [1, 12, 11, 8, 5], "CSF": [0, 2, 2, 1, 1]}
    table = pd.DataFrame({name: shapes.get(name, [0.5, 4, 3, 2, 2]) for name in head.names}, dtype=float)
    return table.assign(frame_start=START, frame_end=END)


def write(folder, head, curves, **options):
    out = {n: str(folder / n) for n in ("hmc", "coreg", "tacs", "truth", "sidecar")}
    out["image"] = str(folder / "pet.nii.gz")
    semi.write_scan(head, curves, out, tracer="test", voxel_mm=3.0, extent_mm=(150, 180, 165), **options)
    image, fields = load(out["image"]), read_json(out["sidecar"])
    timing = frames.read_frames(fields, len(START), out["sidecar"])
    return image, timing, scaled_series(image, timing), out


@pytest.mark.parametrize("corrected", [True, False])
def test_activity_comes_back_at_the_place_where_the_head_is(tmp_path, head, curves, corrected):
    image, timing, series, out = write(tmp_path, head, curves, noise=0.0, corrected=corrected)
    np.testing.assert_allclose(timing.start, START)
    np.testing.assert_allclose(timing.end, END)
    poses, coreg = read_affines(out["hmc"]), read_affines(out["coreg"])[0]
    np.testing.assert_allclose(poses[0], np.eye(4), atol=1e-9)
    assert np.abs(poses[-1] - np.eye(4)).max() > 0.2
    for f in range(len(START)):
        place = apply_affine(poses[f] @ coreg, CENTER)
        seen = sample(
            np.ascontiguousarray(series[..., f]), apply_affine(np.linalg.inv(image.affine), [place]), 3
        )
        # a ball of 15 mm keeps its activity in the middle at 5 mm
        assert seen[0] == pytest.approx(curves["ball"][f], rel=5e-3, abs=0.02)


def test_the_blur_is_the_stated_one_and_keeps_activity(tmp_path, head, curves):
    image, _, series, _ = write(
        tmp_path, head, curves, noise=0.0, psf_mm=8.0, shift_mm=(0, 0, 0), turn_deg=(0, 0, 0)
    )
    total = head.activity(curves[list(head.names)].to_numpy()[1]).sum()
    assert series[..., 1].sum() == pytest.approx(total, rel=2e-3)
    # across the edge of the ball, towards the white matter: half way at the edge, 12 % at 0.5 FWHM outside
    edge = CENTER + np.array([[0, 0, -15.0], [0, 0, -19.0], [0, 0, -11.0]])
    seen = sample(np.ascontiguousarray(series[..., 1]), apply_affine(np.linalg.inv(image.affine), edge), 3)
    share = (seen - 12) / (30 - 12)
    # a curved edge keeps a little less than a straight one
    np.testing.assert_allclose(share, [0.5, 0.12, 0.88], atol=0.12)
    assert share[0] < 0.5


def test_noise_is_the_stated_one_and_follows_counts(tmp_path, head, curves):
    clean = write(tmp_path, head, curves, noise=0.0)[2]
    _, timing, noisy, out = write(tmp_path, head, curves, noise=0.2)
    decay = 2 ** (timing.mid / 60 / 20.364)
    for f in range(1, len(START)):
        where = clean[..., f] > 0.3 * curves["white matter"][f]
        # variance of a decay-corrected mean of counts, 20 % where the grey matter of the last frame has 15
        times = decay[f] / decay[-1] * timing.duration[-1] / timing.duration[f]
        expected = 0.2 * np.sqrt(15 * clean[..., f][where] * times)
        scaled = (noisy - clean)[..., f][where] / expected
        assert scaled.std() == pytest.approx(1, abs=0.04)
        assert abs(scaled.mean()) < 0.08  # neighbours are correlated: about 2,000 independent values
    assert read_json(out["truth"])["LateFrameVoxelNoise"] == 0.2


def test_a_region_without_a_curve_is_named(tmp_path, head, curves):
    with pytest.raises(InputError, match="skull"):
        write(tmp_path, head, curves.drop(columns="skull"))


def test_head_of_the_files_of_the_anatomical_stage(tmp_path):
    middle = distance(np.zeros(3))
    brain = middle < 45
    grey = np.where(brain, np.clip((middle - 30) / 10, 0, 1), 0).astype(np.float32)
    white = np.where(brain, 1 - grey, 0).astype(np.float32)
    t1w = np.where(brain, 100 * white + 60 * grey, np.where(middle < 52, 5, np.where(middle < 58, 80, 0)))
    labels = np.zeros(SHAPE, np.int32)
    labels[middle < 12], labels[(middle >= 12) & (distance([40.0, 0, 0]) < 20)] = 300, 7
    for name, values in {"t1w": t1w, "mask": brain, "GM": grey, "WM": white, "CSF": 0 * grey}.items():
        save(np.asarray(values, np.float32), AFFINE, tmp_path / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "atlas.nii.gz")
    rows = {"index": [300, 7], "name": ["deep", "rind"], "structure": ["subcortex", "cortex"]}
    write_tsv(pd.DataFrame(rows), tmp_path / "atlas.tsv")
    write_warp(
        Warp(np.eye(4), np.zeros((3, 3, 3, 3), np.float32), np.diag([90.0, 90, 90, 1])), tmp_path / "w.h5"
    )
    f = {n: tmp_path / f"{n}.nii.gz" for n in ("t1w", "mask", "GM", "WM", "CSF", "atlas")}
    head = semi.read_head(
        f["t1w"], f["mask"], [f["GM"], f["WM"], f["CSF"]], tmp_path / "w.h5", f["atlas"], tmp_path / "atlas.tsv",
        step_mm=3.0,
    )  # fmt: skip
    np.testing.assert_allclose(head.shares.sum(0), brain, atol=1e-5)
    values = np.arange(10.0, 10 + len(head.names))
    out = head.activity(values)
    assert set(np.unique(out[middle < 12])) == {10.0}  # painted whole, though T1w calls it white matter
    rind = (labels == 7) & brain
    np.testing.assert_allclose(out[rind], 11 * head.shares[0][rind] + 13 * head.shares[1][rind], rtol=1e-5)
    at = {name: values[head.names.index(name)] for name in semi.OTHER}
    assert out[20, 24, 22 + 18] == at["soft tissue"]  # 55 mm from the middle
    assert out[20, 24, 22 + 16] == at["skull"]
    assert out[0, 0, 0] == 0


def test_the_table_of_truth_is_the_one_painted(tmp_path, head, curves):
    out = write(tmp_path, head, curves)[3]
    np.testing.assert_allclose(read_tsv(out["tacs"])[list(head.names)], curves[list(head.names)])
    assert data(load(out["image"])).min() < 0  # noise of air is not clipped


def test_a_coarse_image_is_divided(tmp_path):
    brain = distance(np.zeros(3)) < 45
    grey = np.where(brain, 0.25, 0).astype(np.float32)
    files = {
        "t1w": 50.0 * brain,
        "mask": brain,
        "GM": grey,
        "WM": brain - grey,
        "CSF": 0 * grey,
        "atlas": brain,
    }
    for name, values in files.items():
        save(np.asarray(values, np.float32), AFFINE, tmp_path / f"{name}.nii.gz")
    rows = {"index": [1], "name": ["one"], "structure": ["cortex"]}
    write_tsv(pd.DataFrame(rows), tmp_path / "atlas.tsv")
    write_warp(
        Warp(np.eye(4), np.zeros((3, 3, 3, 3), np.float32), np.diag([90.0, 90, 90, 1])), tmp_path / "w.h5"
    )
    f = {n: tmp_path / f"{n}.nii.gz" for n in files}
    head = semi.read_head(
        f["t1w"], f["mask"], [f["GM"], f["WM"], f["CSF"]], tmp_path / "w.h5", f["atlas"], tmp_path / "atlas.tsv",
        step_mm=1.5,
    )  # fmt: skip
    assert head.shares.shape[1:] == tuple(2 * n for n in SHAPE)
    # the outer faces stay where they are
    np.testing.assert_allclose(apply_affine(head.affine, [-0.5] * 3), apply_affine(AFFINE, [-0.5] * 3))
    volume = head.shares.any(axis=0).sum() * abs(np.linalg.det(head.affine[:3, :3]))
    assert volume == pytest.approx(brain.sum() * 27, rel=0.02)
    np.testing.assert_allclose(head.shares[0][head.shares.any(axis=0)], 0.25, atol=1e-5)
