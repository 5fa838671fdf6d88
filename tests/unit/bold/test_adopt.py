"""fMRIPrep's version of a run under our names, from every space it may be in, with a known answer in all of them."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from neurobraid.bids.fmriprep import CONFOUNDS
from neurobraid.bold.adopt import adopt_run, timing, volumes
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv
from neurobraid.images import rigid
from neurobraid.images.transforms import Warp, apply_affine, read_affines, write_affines, write_warp

from .head import CENTER, TR, bold_signal, grid, radius, t1w_signal, tissues, world

MNI = "MNI152NLin2009aSym"
TOTAL, FREQUENCY = 24, 0.05
#: Points of our template to T1w points, and to points of fMRIPrep's template: shifts in mm.
TO_T1W, TO_OTHER = np.array([2.0, 0.0, -1.0]), np.array([0.5, -1.5, 1.0])


def shift(vector):
    matrix = np.eye(4)
    matrix[:3, 3] = vector
    return matrix


def warp(path, matrix):
    write_warp(Warp(matrix, np.zeros((3, 3, 3, 3), np.float32), np.diag([90.0, 90, 90, 1])), path)
    return path


def save(values, affine, path):
    image = nib.Nifti1Image(np.asarray(values), affine)
    if image.ndim == 4:
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_zooms((*image.header.get_zooms()[:3], TR))
    nib.save(image, path)
    return path


def signal(home, t):
    """Value of the run at T1w points: grey matter swings by 2 %, everything at one phase."""
    return bold_signal(home) * (1 + 0.02 * np.sin(2 * np.pi * FREQUENCY * t * TR) * tissues(home)[2])


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """FMRIPrep's files for one run, the series in T1w, native and template space."""
    root = tmp_path_factory.mktemp("fmriprep")
    coreg = rigid.compose([4.0, -3.0, 5.0, 0.05, -0.03, 0.06], CENTER)  # T1w points to points of the run
    grids = {
        "native": ((34, 40, 26), grid((4.5, 4.4, 5.0), (34, 40, 26), turn=0.15, flip=True)),
        "space-T1w": ((40, 44, 34), grid((3.8, 4.0, 4.2), (40, 44, 34))),
        "space-MNI152NLin2009cAsym_res-2": ((44, 50, 42), grid((4.0, 4.0, 3.6), (44, 50, 42))),
    }
    to_t1w = {
        "native": np.linalg.inv(coreg),
        "space-T1w": np.eye(4),
        "space-MNI152NLin2009cAsym_res-2": shift(TO_T1W - TO_OTHER),
    }
    series = {}
    for space, (shape, affine) in grids.items():
        home = apply_affine(to_t1w[space], world(shape, affine))
        values = np.stack([signal(home, t).reshape(shape) for t in range(TOTAL)], -1).astype(np.float32)
        part = "" if space == "native" else f"_{space}"
        stem = root / f"sub-01_task-rest{part}"
        series[space] = {
            "bold": save(values, affine, f"{stem}_desc-preproc_bold.nii.gz"),
            "mask": save(
                (radius(home) < 1).reshape(shape).astype(np.uint8), affine, f"{stem}_desc-brain_mask.nii.gz"
            ),
            "boldref": save(values.mean(-1), affine, f"{stem}_boldref.nii.gz"),
        }
    shape, affine = grids["native"]
    raw = save(np.ones((*shape, TOTAL), np.int16), affine, root / "sub-01_task-rest_bold.nii.gz")
    sidecar, own = root / "raw.json", root / "bold.json"
    sidecar.write_text(
        json.dumps({"TaskName": "rest", "RepetitionTime": TR, "SliceTiming": [0, 0.6, 1.2], "EchoTime": 0.03})
    )
    own.write_text(json.dumps({"RepetitionTime": TR, "SliceTimingCorrected": True, "StartTime": 0.6}))
    rng = np.random.default_rng(0)
    columns = [*CONFOUNDS, "a_comp_cor_00", "non_steady_state_outlier00"]
    rows = rng.uniform(0.01, 0.2, (TOTAL, len(columns)))
    rows[:, -1] = 0
    rows[0, -1] = 1
    lines = ["\t".join(columns)] + ["\t".join(f"{v:.6f}" for v in row) for row in rows]
    lines[1] = "\t".join(
        "n/a" if c in ("dvars", "std_dvars", "framewise_displacement") else "0.1" for c in columns
    )
    (root / "confounds.tsv").write_text("\n".join(lines) + "\n")
    (root / "confounds.json").write_text(
        json.dumps({"a_comp_cor_00": {"Mask": "combined", "Retained": True}})
    )
    write_affines(coreg, root / "coreg.txt")
    (root / "dataset_description.json").write_text(
        json.dumps({"DatasetType": "derivative", "GeneratedBy": [{"Name": "fMRIPrep", "Version": "24.1.1"}]})
    )
    t_shape, t_affine = (50, 56, 46), grid((3.0, 3.2, 3.0), (50, 56, 46))
    points = world(t_shape, t_affine)
    files = {
        "coreg": root / "coreg.txt", "confounds": root / "confounds.tsv", "confounds_json": root / "confounds.json",
        "description": root / "dataset_description.json", "bold_json": own, "raw": [raw], "sidecars": [sidecar],
        "native_ref": [], "native_mask": [],
        "t1w": save(t1w_signal(points).reshape(t_shape).astype(np.float32), t_affine, root / "t1w.nii.gz"),
        "t1w_mask": save((radius(points) < 1).reshape(t_shape).astype(np.uint8), t_affine, root / "t1w_mask.nii.gz"),
        "warp": warp(root / "warp.h5", shift(TO_T1W)), "correction": warp(root / "correction.h5", shift(TO_OTHER)),
        "to_t1w": warp(root / "to_t1w.h5", shift(TO_OTHER - TO_T1W)),
    }  # fmt: skip
    return files, series, coreg


def outputs(folder, spaces):
    base = folder / "sub-01_task-rest"
    ends = {"bold": "desc-preproc_bold.nii.gz", "boldref": "boldref.nii.gz", "mask": "desc-brain_mask.nii.gz"}
    found = {k: [f"{base}_space-{s}_{end}" for s in spaces] for k, end in ends.items()}
    found |= {f"{k}_json": [p.replace(".nii.gz", ".json") for p in paths] for k, paths in list(found.items())}
    single = {
        "native_ref": "desc-coreg_boldref.nii.gz", "native_ref_json": "desc-coreg_boldref.json",
        "native_mask": "desc-brain_mask.nii.gz", "native_mask_json": "desc-brain_mask.json",
        "coreg": "coreg_xfm.txt", "confounds": "confounds.tsv", "confounds_json": "confounds.json", "qc": "qc.json",
    }  # fmt: skip
    return found | {k: f"{base}_{end}" for k, end in single.items()}


def run(person, folder, space, spaces=(MNI, "T1w"), **changes):
    files, series, _ = person
    out = outputs(folder, spaces)
    adopt_run({**files, **series[space], **changes}, out, spaces=list(spaces), resolution=5.0,
              interpolation="cubic", fd_threshold=0.15)  # fmt: skip
    return out


@pytest.mark.parametrize("space", ["native", "space-T1w", "space-MNI152NLin2009cAsym_res-2"])
def test_series_is_right_in_every_space(person, tmp_path, space):
    out = run(person, tmp_path, space)
    for n, to_t1w in ((0, shift(TO_T1W)), (1, np.eye(4))):
        image = nib.load(out["bold"][n])
        values, mask = image.get_fdata(), nib.load(out["mask"][n]).get_fdata() > 0
        assert image.shape[3] == TOTAL and image.header.get_zooms()[3] == TR
        home = apply_affine(to_t1w, world(image.shape[:3], image.affine))
        inner = (radius(home) < 0.9).reshape(mask.shape)
        # the head made up here reaches beyond the field of view of some grids
        assert (mask & inner).sum() > 0.9 * inner.sum()
        assert not values[~mask].any()
        for t in (0, 5, 15):
            truth = signal(home, t).reshape(mask.shape)
            error = np.abs(values[..., t] - truth)[mask & inner]
            assert np.median(error) < 6 and np.percentile(error, 95) < 60, (space, n, t)
        # the swing of grey matter survives with its phase
        grey = (tissues(home)[2] > 0.95).reshape(mask.shape) & mask
        course = values[grey].mean(0)
        wave = np.sin(2 * np.pi * FREQUENCY * np.arange(TOTAL) * TR)
        assert np.corrcoef(course, wave)[0, 1] > 0.999


def test_t1w_series_passes_through(person, tmp_path):
    out = run(person, tmp_path, "space-T1w")
    given, mask = (nib.load(person[1]["space-T1w"][k]) for k in ("bold", "mask"))
    inside = mask.get_fdata() > 0
    written = nib.load(out["bold"][1])
    np.testing.assert_array_equal(written.affine, given.affine)
    step = (
        float(written.header["scl_slope"])
        if np.isfinite(written.header["scl_slope"])
        else written.dataobj.slope
    )
    np.testing.assert_allclose(
        written.get_fdata()[inside], given.get_fdata()[inside], atol=0.51 * step + 1e-3
    )
    assert step < 0.05
    np.testing.assert_array_equal(nib.load(out["mask"][1]).get_fdata() > 0, inside)
    assert read_json(out["bold_json"][1])["Interpolations"] == 1
    assert read_json(out["bold_json"][0])["Interpolations"] == 2


@pytest.mark.parametrize("space", ["space-T1w", "space-MNI152NLin2009cAsym_res-2"])
def test_mask_and_reference_are_carried_to_the_raw_grid(person, tmp_path, space):
    out = run(person, tmp_path, space)
    truth = nib.load(person[1]["native"]["mask"]).get_fdata() > 0
    image = nib.load(out["native_mask"])
    found = image.get_fdata() > 0
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.96
    np.testing.assert_allclose(image.affine, nib.load(person[0]["raw"][0]).affine)
    reference, there = (
        nib.load(out["native_ref"]).get_fdata(),
        nib.load(person[1]["native"]["boldref"]).get_fdata(),
    )
    assert np.corrcoef(reference[truth & found], there[truth & found])[0, 1] > 0.9
    assert "carried" in read_json(out["native_mask_json"])["Description"]
    np.testing.assert_allclose(read_affines(out["coreg"])[0], person[2], atol=1e-9)


def test_own_reference_and_mask_are_kept(person, tmp_path):
    native = person[1]["native"]
    out = run(person, tmp_path, "space-T1w", native_ref=native["boldref"], native_mask=native["mask"])
    np.testing.assert_array_equal(
        nib.load(out["native_mask"]).get_fdata(), nib.load(native["mask"]).get_fdata()
    )
    np.testing.assert_allclose(
        nib.load(out["native_ref"]).get_fdata(), nib.load(native["boldref"]).get_fdata(), rtol=1e-6
    )


def test_confounds_and_quality(person, tmp_path):
    out = run(person, tmp_path, "space-T1w", boldref=[])
    with open(out["confounds"], "rb") as written, open(person[0]["confounds"], "rb") as given:
        assert written.read() == given.read()
    assert read_json(out["confounds_json"])["a_comp_cor_00"]["Mask"] == "combined"
    numbers, table = read_json(out["qc"]), read_tsv(person[0]["confounds"])
    fd = table["framewise_displacement"].to_numpy()[1:]
    assert numbers["fd_mean"] == pytest.approx(fd.mean()) and numbers["fd_num"] == (fd > 0.15).sum()
    assert numbers["dvars_std"] == pytest.approx(np.nanmean(table["std_dvars"]))
    assert numbers["non_steady_state_volumes"] == 1 and numbers["coreg_dice"] > 0.9
    assert numbers["coreg_method"] == "fMRIPrep" and numbers["PreprocessedBy"] == "fMRIPrep 24.1.1"
    assert numbers["tsnr"] > 50
    about = read_json(out["bold_json"][0])
    assert about["StartTime"] == 0.6 and about["SliceTimingCorrected"] is True and about["TaskName"] == "rest"
    assert about["RepetitionTime"] == TR and about["NonSteadyStateVolumes"] == 1


def test_second_run_gives_the_same_bytes(person, tmp_path):
    first, second = (tmp_path / n for n in "ab")
    for folder in (first, second):
        folder.mkdir()
        run(person, folder, "space-MNI152NLin2009cAsym_res-2")
    for path in sorted(first.iterdir()):
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("metadata", "start", "corrected", "words"),
    [
        ({"SliceTimingCorrected": True, "StartTime": 0.7}, 0.7, True, "0.7 s"),
        ({"SliceTimingCorrected": True}, 0.6, True, "StartTime is missing"),
        ({"SliceTimingCorrected": False}, 0.0, False, "did not correct"),
        ({}, 0.0, False, "does not say"),
    ],
)
def test_timing(metadata, start, corrected, words):
    raw = {"RepetitionTime": 2.0, "SliceTiming": [1.2, 0.0, 0.6]}
    found = timing(raw, metadata, 2.0, "bold")
    assert found[:3] == (2.0, pytest.approx(start), corrected) and words in found[3]


def test_other_repetition_time_is_refused(person, tmp_path):
    other = tmp_path / "bold.json"
    other.write_text(json.dumps({"RepetitionTime": 2.5}))
    with pytest.raises(InputError, match="2 s, as in the raw run"):
        run(person, tmp_path, "space-T1w", bold_json=other)


def test_other_number_of_volumes_is_refused(person, tmp_path):
    raw = nib.load(person[0]["raw"][0])
    short = save(
        np.ones((*raw.shape[:3], TOTAL - 3), np.int16), raw.affine, tmp_path / "sub-01_task-rest_bold.nii.gz"
    )
    with pytest.raises(InputError, match="as in the raw run"):
        run(person, tmp_path, "space-T1w", raw=[short])


def test_confounds_of_another_length_are_refused(person, tmp_path):
    lines = person[0]["confounds"].read_text().splitlines()
    (tmp_path / "c.tsv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(InputError, match="rows is 23"):
        run(person, tmp_path, "space-T1w", confounds=tmp_path / "c.tsv")


def test_mask_of_another_grid_and_unknown_space(person, tmp_path):
    with pytest.raises(InputError, match="as the series"):
        run(person, tmp_path, "space-T1w", mask=person[1]["native"]["mask"])
    with pytest.raises(InputError, match=r"bold\.spaces"):
        run(person, tmp_path, "space-T1w", spaces=("MNI152NLin6Asym",))


def test_truncated_series_is_named(person, tmp_path):
    whole = person[1]["space-T1w"]["bold"]
    short = tmp_path / "sub-01_task-rest_space-T1w_desc-preproc_bold.nii.gz"
    shutil.copy(whole, short)
    short.write_bytes(short.read_bytes()[: short.stat().st_size * 9 // 10])
    with pytest.raises(InputError, match="truncated"):
        list(volumes(short))
