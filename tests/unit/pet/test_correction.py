"""Partial-volume correction of a scan: files, regions of several atlases, the reference region."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.images.io import save
from neurobraid.images.templates import grid, template
from neurobraid.images.transforms import Warp, write_warp
from neurobraid.pet import correction, pvc, tacs

from . import phantom

PSF = [phantom.PSF_MM] * 3


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """Six late frames of the phantom as a scan in T1w space at 5 mm, with two atlases."""
    folder = tmp_path_factory.mktemp("scan")
    timing = phantom.frames()
    series = phantom.scan(np.tile(np.eye(4), (26, 1, 1)), np.eye(4))[..., -6:]
    late = type(timing)(timing.start[-6:], timing.end[-6:], np.ones(6), 1.0, 20.364)
    paths = {
        n: str(folder / f"{n}.nii.gz")
        for n in ("pet", "brain", "grey", "white", "csf", "three", "halves", "mask")
    }
    paths.update(
        {n: str(folder / n) for n in ("frames.tsv", "frames.json", "three.tsv", "halves.tsv", "warp.h5")}
    )
    save(series, phantom.AFFINE, paths["pet"])
    write_tsv(late.table(), paths["frames.tsv"])
    write_json({"HalfLifeMin": 20.364, "TracerName": "raclopride"}, paths["frames.json"])
    classes, _, brain, affine = phantom.tissues()
    save(brain, affine, paths["brain"])
    for name, values in zip(("grey", "white", "csf"), classes, strict=True):
        save(values, affine, paths[name])
    shape, target = grid(2)
    grey = np.asarray(template("GM", 2).dataobj) > 0.2
    deep = np.asarray(template("GM", 2).dataobj) > 0.9
    x, y, z = (
        (np.arange(n) * target[i, i] + target[i, 3]).reshape(np.eye(3, dtype=int)[i] * (n - 1) + 1)
        for i, n in enumerate(shape)
    )
    labels = np.where(grey & (y > 30), 300, np.where(grey & (y < -50) & (z > -10), 7, 0)) + 0 * x
    # where activity rises to the front, small steps: a region is taken as uniform
    for i, low in enumerate((-15, 0, 10, 20)):
        labels[np.broadcast_to(grey & (y > low) & (y <= (0, 10, 20, 30)[i]), labels.shape)] = 20 + i
    save(
        np.where(grey & (y < -50) & (z <= -10), 12, labels).astype(np.int32),
        target,
        paths["three"],
        dtype=np.int32,
    )
    halves = np.where(grey & (y > 30), 1 + (x > 0), np.where(labels >= 20, labels, 0)).astype(np.int32)
    save(halves, target, paths["halves"], dtype=np.int32)
    save((deep & (y < -50) & (z <= -10) & (x > 0)).astype(np.uint8), target, paths["mask"], dtype=np.uint8)
    steps = {"index": [20, 21, 22, 23], "name": ["a", "b", "c", "d"], "structure": ["cortex"] * 4}
    rows = {
        "index": [300, 7, 12],
        "name": ["front", "back", "low"],
        "structure": ["cortex", "cortex", "cerebellum"],
    }
    write_tsv(pd.DataFrame({key: rows[key] + steps[key] for key in rows}), paths["three.tsv"])
    rows = {"index": [1, 2], "name": ["left", "right"], "structure": ["cortex", "cortex"]}
    write_tsv(pd.DataFrame({key: rows[key] + steps[key] for key in rows}), paths["halves.tsv"])
    write_warp(
        Warp(np.eye(4), np.zeros((3, 3, 3, 3), np.float32), np.diag([60.0, 60, 60, 1])), paths["warp.h5"]
    )
    out = {n: [folder / f"{n}{i}" for i in (0, 1)] for n in ("tacs", "tacs_json", "morph")}
    out.update({n: folder / n for n in ("reference", "reference_json", "weights")})
    atlases = [(paths["three"], paths["three.tsv"]), (paths["halves"], paths["halves.tsv"])]
    tacs.extract(
        paths["pet"], paths["frames.tsv"], paths["frames.json"], paths["brain"], paths["grey"], paths["warp.h5"], atlases,
        out, names=["three", "halves"],
    )  # fmt: skip
    return paths, atlases, out


def run(scan, folder, method, **options):
    paths, atlases, before = scan
    out = {n: [folder / f"{n}{i}" for i in (0, 1)] for n in ("tacs", "tacs_json")}
    out.update({n: folder / n for n in ("reference", "reference_json")})
    out.update(pet=[folder / "pet.nii.gz"], pet_json=[folder / "pet.json"])
    options = {"names": ["three", "halves"], "psf_mm": PSF, **options}
    correction.correct(
        paths["pet"], paths["frames.tsv"], paths["frames.json"], paths["brain"],
        [paths[n] for n in ("grey", "white", "csf")], paths["warp.h5"], atlases, before["morph"], out, method=method,
        **options,
    )  # fmt: skip
    return out


def ratios(out):
    """Late activity of the regions over that of the reference: planted 2 in front, 1 in the back and below."""
    below = read_tsv(out["reference"])["reference"].to_numpy()
    tables = [read_tsv(path).drop(columns=["frame_start", "frame_end"]) for path in out["tacs"]]
    return {name: float((table[name] / below).iloc[-1]) for table in tables for name in table}


def planted(name):
    """Mean of the planted distribution volume ratio; the rise to the front is smooth."""
    (grey, *_), _, _, affine = phantom.tissues()
    value = 1 + phantom._front(grey.shape, affine)
    y = (np.arange(grey.shape[1]) * affine[1, 1] + affine[1, 3])[None, :, None]
    return float(np.average(value, weights=grey * ((y > 30) if name == "front" else (y < -50))))


@pytest.mark.parametrize("method", pvc.METHODS)
def test_planted_contrast_comes_back(scan, tmp_path, method):
    before, after = ratios(scan[2]), ratios(run(scan, tmp_path, method))
    timing = phantom.frames()
    reference, target = phantom.pair(timing.start, timing.end, 1.0, 0.1, 1.0)
    full = target[-1] / reference[-1] - 1
    truth = {name: 1 + full * (planted(name) - 1) for name in ("front", "back")}
    for name in ("left", "right"):
        truth[name] = truth["front"]
    assert list(after) == ["front", "back", "low", "a", "b", "c", "d", "left", "right"]
    assert truth["front"] - before["front"] > 0.15
    for name, value in truth.items():
        assert after[name] == pytest.approx(value, abs=0.06 * full), name
    assert after["low"] == pytest.approx(1, abs=0.02)


def test_files_say_what_was_done(scan, tmp_path):
    out = run(scan, tmp_path, "rbv")
    for path in (*out["tacs_json"], out["reference_json"], *out["pet_json"]):
        note = read_json(path)
        assert note["PartialVolumeCorrection"] == "rbv"
        assert note["PointSpreadFWHMmm"] == PSF
        assert 1 < note["ConditionNumber"] < 100
    assert read_json(out["reference_json"])["ReferenceRegions"] == ["low"]
    raw, corrected = (np.asarray(nib.load(path).dataobj) for path in (scan[0]["pet"], out["pet"][0]))
    assert raw.shape == corrected.shape
    # activity of the brain is gathered, not made
    inside = (raw != 0).any(-1)
    assert corrected[inside].sum() == pytest.approx(raw[inside].sum(), rel=0.03)
    assert corrected[..., -1].std() > 1.02 * raw[..., -1].std()


def test_reference_by_mask_erosion_and_tissue(scan, tmp_path):
    paths = scan[0]
    by_mask = run(scan, tmp_path, "gtm", reference_regions=["m.nii.gz"], masks=[paths["mask"]])
    assert read_json(by_mask["reference_json"])["ReferenceAtlas"] == "mask"
    # the mask is a region as it is: 7 % of it is white matter, at half the activity
    assert ratios(by_mask)["low"] == pytest.approx(1, abs=0.09)
    eroded = run(scan, tmp_path, "gtm", erode=1)
    assert read_json(eroded["reference_json"])["ErosionVoxels"] == 1
    assert ratios(eroded)["low"] == pytest.approx(1, abs=0.05)
    white = run(scan, tmp_path, "gtm", reference_regions=["whitematter"])
    assert read_json(white["reference_json"])["ReferenceRegions"] == ["whitematter"]
    # white matter has half the activity of grey matter that does not bind
    assert ratios(white)["low"] == pytest.approx(2, abs=0.1)
    preset = run(scan, tmp_path, "gtm", reference_regions=["auto"])
    assert read_json(preset["reference_json"])["ReferenceRegions"] == ["low"]


def test_erosion_that_leaves_nothing(scan, tmp_path):
    with pytest.raises(InputError, match="nothing is left") as error:
        run(scan, tmp_path, "gtm", erode=9)
    assert error.value.problem.field == "pet.reference_erosion_voxels"


@pytest.mark.parametrize("psf", [[], [6.0, 6.0], [0.0], [float("nan")] * 3])
def test_no_correction_without_a_point_spread(scan, tmp_path, psf):
    with pytest.raises(InputError) as error:
        run(scan, tmp_path, "gtm", psf_mm=psf)
    assert error.value.problem.field == "pet.psf_fwhm_mm"
    assert not list(tmp_path.iterdir())


def test_tissue_decides_where_no_region_does():
    place = np.array([0, 0, 1, -1, -1, -1])
    tissues = np.array(
        [[0.6, 0.0, 0.2, 0.7, 0.0, 0.0], [0.4, 1.0, 0.8, 0.3, 0.0, 0.01], [0.0, 0.0, 0.0, 0.0, 0.0, 0.99]]
    )
    points, regions, weights = correction.split(place, 2, np.array([True, False]), tissues)
    found = {(int(p), int(r)): round(float(w), 6) for p, r, w in zip(points, regions, weights, strict=True)}
    # region 1 is not restricted to grey matter; a point without tissue is CSF; shares of 1 % are left out
    assert found == {
        (0, 0): 0.6, (0, 3): 0.4, (1, 3): 1.0, (2, 1): 1.0, (3, 2): 0.7, (3, 3): 0.3, (4, 4): 1.0, (5, 4): 1.0
    }  # fmt: skip
    points, regions, weights = correction.split(place, 2, np.array([True, False]), tissues, fuzzy=False)
    assert dict(zip(points.tolist(), regions.tolist(), strict=True)) == {0: 0, 1: 3, 2: 1, 3: 2, 4: 4, 5: 4}
    assert (weights == 1).all()
