"""The whole stage on the made-up person: what was planted is found, and other tools can read it."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.bold.fit import final_mask, fit_run
from neurobraid.bold.motion import motion_run
from neurobraid.bold.resample import resample_run, t1w_grid
from neurobraid.errors import InputError
from neurobraid.images.rigid import displacement
from neurobraid.images.transforms import read_affines, write_affines

from .head import (
    CENTER,
    RADII,
    TR,
    VOLUMES,
    bold_signal,
    motion_names,
    output_names,
    radius,
    space_names,
    tissues,
    world,
)


def brain_points():
    return CENTER + RADII * np.random.default_rng(0).uniform(-0.55, 0.55, (300, 3))


def test_head_motion(person, fitted):
    found = read_affines(fitted["hmc"])
    index = json.loads(Path(fitted["qc"]).read_text())["reference_volume"]
    assert len(found) == VOLUMES
    # both relative to the reference volume
    found = found @ np.linalg.inv(found[index])
    truth = person["motion"] @ np.linalg.inv(person["motion"][index])
    distance, angle = displacement(found, truth, brain_points())
    assert distance.mean() < 0.1
    assert angle.mean() < 0.1
    assert distance.max() < 0.2


def test_position_to_t1w(person, fitted):
    index = json.loads(Path(fitted["qc"]).read_text())["reference_volume"]
    motion, coreg = read_affines(fitted["hmc"]), read_affines(fitted["coreg"])[0]
    found = motion[index] @ coreg
    truth = person["motion"][index] @ person["coreg"]
    distance, _ = displacement(found[None], truth[None], brain_points())
    assert distance[0] < 0.6


def test_quality_file(fitted):
    content = json.loads(Path(fitted["qc"]).read_text())
    assert content["non_steady_state_volumes"] == 2
    assert content["slice_timing_corrected"] is True
    assert content["coreg_dice"] > 0.9
    assert content["volumes"] == VOLUMES
    assert content["coreg_method"] == "boundary"
    assert content["bbr_contrast_percent"] > 2
    assert str(Path(fitted["qc"]).parent) not in Path(fitted["qc"]).read_text()


def test_mask_and_reference(person, fitted):
    mask, reference = nib.load(fitted["mask"]), nib.load(fitted["boldref"])
    assert np.allclose(mask.affine, person["affine"])
    found = np.asarray(mask.dataobj) > 0
    index = json.loads(Path(fitted["qc"]).read_text())["reference_volume"]
    back = np.linalg.inv(person["motion"][index] @ person["coreg"])
    home = world(person["shape"], person["affine"]) @ back[:3, :3].T + back[:3, 3]
    truth = (radius(home) < 1).reshape(person["shape"])
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.97
    inside = (radius(home) < 0.95).reshape(person["shape"])
    error = np.asarray(reference.dataobj)[inside] - bold_signal(home).reshape(person["shape"])[inside]
    assert np.abs(error).mean() < 12


def test_spaces_grids_and_sidecars(person, resampled):
    template, native = (nib.load(p) for p in resampled["bold"])
    assert template.shape[3] == native.shape[3] == VOLUMES
    assert np.allclose(template.header.get_zooms(), [5, 5, 5, TR])
    assert np.allclose(native.header.get_zooms(), [4.5, 4.4, 5.0, TR])
    t1w = nib.load(person["anatomy"]["t1w"])
    assert nib.aff2axcodes(native.affine) == nib.aff2axcodes(t1w.affine)
    for path in resampled["bold_json"]:
        content = json.loads(Path(path).read_text())
        assert content["RepetitionTime"] == TR
        assert content["StartTime"] == 1.0
        assert content["SliceTimingCorrected"] is True
        assert content["TaskName"] == "rest"
        assert content["SkullStripped"] is True


def test_one_interpolation_lands_in_the_right_place(person, resampled):
    # template point x is T1w point x + shift; the mean signal there is known
    for number, shift in ((0, person["shift"]), (1, np.eye(4))):
        image, mask = nib.load(resampled["bold"][number]), nib.load(resampled["mask"][number])
        inside = np.asarray(mask.dataobj) > 0
        home = world(image.shape[:3], image.affine) + shift[:3, 3]
        truth = bold_signal(home).reshape(inside.shape)
        mean = np.asarray(image.dataobj)[..., 2:].mean(axis=-1)
        assert (mean[~inside] == 0).all()
        assert np.corrcoef(mean[inside], truth[inside])[0, 1] > 0.93
        deep = inside & (radius(home) < 0.9).reshape(inside.shape)
        assert np.abs(mean - truth)[deep].mean() < 12
        overlap = (radius(home) < 1).reshape(inside.shape)
        assert 2 * (inside & overlap).sum() / (inside.sum() + overlap.sum()) > 0.96


def test_slice_timing_reaches_the_output(person, resampled):
    image = nib.load(resampled["bold"][1])
    home = world(image.shape[:3], image.affine)
    grey = (tissues(home)[2] > 0.8).reshape(image.shape[:3])
    series = np.asarray(image.dataobj)[grey][:, 4:].mean(axis=0)
    when = np.arange(4, VOLUMES) * TR + 0.5 * TR
    angle = 2 * np.pi * person["frequency"] * when
    design = np.column_stack([np.sin(angle), np.cos(angle), np.ones(len(when))])
    sine, cosine, _ = np.linalg.lstsq(design, series, rcond=None)[0]
    # the wave peaks when StartTime says so: less than 0.15 s off
    assert abs(np.arctan2(cosine, sine) / (2 * np.pi * person["frequency"])) < 0.15


def test_nilearn_reads_the_confounds(resampled):
    from nilearn.interfaces.fmriprep import load_confounds

    table, kept = load_confounds(
        resampled["bold"][0], strategy=("motion", "high_pass", "wm_csf", "compcor", "scrub", "non_steady_state"),
        motion="full", wm_csf="full", compcor="anat_separated", n_compcor=2, scrub=0, fd_threshold=0.5,
        std_dvars_threshold=5.0,
    )  # fmt: skip
    assert len(table) == VOLUMES
    assert {"trans_x_derivative1_power2", "csf", "c_comp_cor_00", "w_comp_cor_01", "cosine00"} <= set(table)
    assert 0 not in kept
    assert 1 not in kept
    combined, _ = load_confounds(
        resampled["bold"][1], strategy=("high_pass", "compcor"), compcor="anat_combined", n_compcor="all"
    )
    assert "a_comp_cor_00" in combined


def test_fit_gives_the_same_bytes_again(person, estimated, fitted, tmp_path):
    again = motion_names(tmp_path)
    motion_run([person["bold"]], person["sidecars"], again)
    for key, path in again.items():
        assert Path(path).read_bytes() == Path(estimated[key]).read_bytes(), key
    outputs = output_names(tmp_path)
    fit_run(
        [person["bold"]], person["sidecars"], again, person["anatomy"], outputs,
        slice_timing_enabled=True, slice_time_ref=0.5, fd_threshold=0.5, dvars_threshold=1.5,
    )  # fmt: skip
    for key, path in outputs.items():
        assert Path(path).read_bytes() == Path(fitted[key]).read_bytes(), key


def test_same_bytes_again(person, fitted, resampled, tmp_path):
    outputs = space_names(tmp_path, ["T1w"])
    resample_run(
        [person["bold"]], person["sidecars"], fitted, person["anatomy"]["t1w"], person["warp"], outputs,
        spaces=["T1w"], resolution=5.0, interpolation="cubic", slice_timing_enabled=True, slice_time_ref=0.5,
    )  # fmt: skip
    for key in outputs:
        assert Path(outputs[key][0]).read_bytes() == Path(resampled[key][1]).read_bytes()


def test_unknown_slice_timing_is_said(person, fitted, tmp_path):
    outputs = space_names(tmp_path, ["T1w"])
    resample_run(
        [person["bold"]], person["sidecars"][:1], fitted, person["anatomy"]["t1w"], person["warp"], outputs,
        spaces=["T1w"], resolution=5.0, interpolation="linear", slice_timing_enabled=True, slice_time_ref=0.5,
    )  # fmt: skip
    content = json.loads(Path(outputs["bold_json"][0]).read_text())
    assert content["SliceTimingCorrected"] is False
    assert content["StartTime"] == 0.0
    assert "skipped" in content["SliceTimingNote"]


def test_transforms_of_another_run_are_refused(person, fitted, tmp_path):
    write_affines(read_affines(fitted["hmc"])[:-1], tmp_path / "short.txt")
    with pytest.raises(InputError, match="39"):
        resample_run(
            [person["bold"]], person["sidecars"], fitted | {"hmc": tmp_path / "short.txt"},
            person["anatomy"]["t1w"], person["warp"], space_names(tmp_path, ["T1w"]), spaces=["T1w"],
            resolution=5.0, interpolation="cubic", slice_timing_enabled=True, slice_time_ref=0.5,
        )  # fmt: skip


def test_t1w_grid_follows_permuted_axes():
    affine = np.array([[0, 0, 2.0, -60], [-2.0, 0, 0, 70], [0, 1.0, 0, -80], [0, 0, 0, 1]])
    t1w = nib.Nifti1Image(np.zeros((70, 160, 60), np.float32), affine)
    bold = np.diag([3.0, 4.0, 5.0, 1.0])
    shape, made = t1w_grid(t1w, np.array([3.0, 4.0, 5.0]), bold)
    # first T1w axis runs along y, the second along z, the third along x
    assert np.allclose(np.sqrt((made[:3, :3] ** 2).sum(axis=0)), [4.0, 5.0, 3.0])
    assert shape == (35, 32, 40)
    middle = made[:3, :3] @ ((np.array(shape) - 1) / 2) + made[:3, 3]
    assert np.allclose(middle, affine[:3, :3] @ [34.5, 79.5, 29.5] + affine[:3, 3])


def test_mask_falls_back_when_the_position_is_nonsense(person):
    shape, affine = (20, 24, 18), np.diag([6.0, 6.0, 7.0, 1.0])
    intensity = np.zeros(shape, bool)
    intensity[4:16, 5:19, 4:14] = True
    reference = np.where(intensity, 500.0, 0.0)
    away = np.eye(4)
    away[2, 3] = 500.0
    mask, dice = final_mask(reference, intensity, affine, nib.load(person["anatomy"]["mask"]), away)
    assert dice < 0.1
    assert np.array_equal(mask, intensity)


def test_tsv_has_na(fitted):
    header, first = Path(fitted["confounds"]).read_text().splitlines()[:2]
    cells = dict(zip(header.split("\t"), first.split("\t"), strict=True))
    assert cells["framewise_displacement"] == "n/a"
    assert cells["trans_x_derivative1"] == "n/a"
    frame = pd.read_csv(fitted["confounds"], sep="\t", na_values="n/a")
    assert len(frame) == VOLUMES
