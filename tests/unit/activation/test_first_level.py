"""A planted response in images: its size, its place, and the files of the whole job."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.activation import design as designs
from neurobraid.activation import first_level, fixed
from neurobraid.bold import nuisance
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv

SHAPE, T, TR, START = (14, 15, 16), 150, 2.0, 1.0
CONTRASTS = [
    {"name": "left", "weights": {"left": 1}},
    {"name": "leftvsright", "weights": {"left": 1, "right": -1}},
]
PSC = {"left": 1.2, "right": 0.8}
"""Planted height of the response to one event, in percent."""


class Paths:
    def __init__(self, **paths):
        self.__dict__.update(paths)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    affine = np.diag([3.0, 3, 4, 1])
    onsets = np.arange(40) * 7.0 + rng.uniform(0, 2, 40)
    events = pd.DataFrame(
        {"onset": onsets, "duration": 2.0, "trial_type": rng.permutation(np.repeat(["left", "right"], 20))}
    )
    labels = np.zeros(SHAPE, np.int32)
    labels[2:7, 3:12, 3:13], labels[8:12, 3:12, 3:13] = 4000, 17
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:13, 1:14, 1:15] = 1
    noise = rng.standard_normal((T + 20, *SHAPE))
    for t in range(2, T + 20):
        noise[t] += 0.35 * noise[t - 1] + 0.12 * noise[t - 2]
    percent = 0.5 * noise[20:] + 0.8 * np.cos(np.pi * np.arange(T) / T)[:, None, None, None]
    times = START + np.arange(T) * TR
    for condition, label in (("left", 4000), ("right", 17)):
        chosen = events["trial_type"] == condition
        shape = designs.regressor(times, onsets[chosen], np.full(chosen.sum(), 2.0))
        height = designs.regressor(np.arange(0, 20, 0.01), [0.0], [2.0]).max()
        percent += PSC[condition] * (shape / height)[:, None, None, None] * (labels == label)
    base = 800 * (1 + 0.2 * rng.random(SHAPE)) * mask
    bold = (base * (1 + percent / 100)).transpose(1, 2, 3, 0)
    for name, values, kind in (
        ("bold", bold, np.float32),
        ("mask", mask, np.uint8),
        ("atlas", labels, np.int32),
    ):
        nib.save(nib.Nifti1Image(values.astype(kind), affine), folder / f"{name}.nii.gz")
    events.to_csv(folder / "events.tsv", sep="\t", index=False)
    pd.DataFrame({"index": [4000, 17], "name": ["L", "R"]}).to_csv(
        folder / "atlas.tsv", sep="\t", index=False
    )
    table = pd.DataFrame(0.05 * rng.standard_normal((T, 6)), columns=nuisance.MOTION)
    table[["csf", "white_matter"]] = rng.standard_normal((T, 2))
    table.to_csv(folder / "confounds.tsv", sep="\t", index=False)
    (folder / "bold.json").write_text(f'{{"RepetitionTime": {TR}, "StartTime": {START}}}')
    inputs = Paths(
        bold=folder / "bold.nii.gz", mask=folder / "mask.nii.gz", metadata=folder / "bold.json",
        confounds=folder / "confounds.tsv", events=[folder / "events.tsv"],
        atlas_images=[folder / "atlas.nii.gz"], atlas_tables=[folder / "atlas.tsv"],
    )  # fmt: skip
    return folder, inputs, labels


def out(folder, level):
    names = [c["name"] for c in CONTRASTS]
    stem = folder / level / "sub-01_task-motor"
    maps = {
        s: [f"{stem}_contrast-{n}_stat-{s}_statmap.nii.gz" for n in names]
        for s in ("effect", "variance", "t", "z")
    }
    ordered = [maps[s][row] for row in range(len(names)) for s in maps]
    return Paths(
        **maps, maps=ordered, sidecars=[f"{stem}_contrast-{n}_statmap.json" for n in names], design=f"{stem}_design.tsv",
        design_json=f"{stem}_design.json", regions=[f"{stem}_atlas-a_bold.tsv"], region_sidecars=[f"{stem}_atlas-a_bold.json"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def result(study):
    folder, inputs, _ = study
    outputs = out(folder, "run")
    first_level.run(inputs, outputs, CONTRASTS, ["a"], smoothing_mm=0, high_pass_hz=0.01)
    return outputs


def test_percent_signal_change_is_the_planted_one(study, result):
    """Stats gate: slope of estimate on truth .97-1.03."""
    labels = study[2]
    effect = nib.load(result.effect[1]).get_fdata()
    truth = PSC["left"] * (labels == 4000) - PSC["right"] * (labels == 17)
    inside = effect != 0
    slope = (effect[inside] * truth[inside]).sum() / (truth[inside] ** 2).sum()
    assert 0.97 < slope < 1.03
    note = read_json(result.sidecars[1])
    assert note["ResponsePeak"] == pytest.approx(designs.response_peak([0.0], [2.0]), rel=1e-6)
    assert note["DegreesOfFreedom"] == T - len(read_tsv(result.design).columns)


def test_null_voxels_keep_the_error_rate_and_active_ones_stand_out(study, result):
    labels = study[2]
    z = nib.load(result.z[0]).get_fdata()
    brain = z != 0
    null, active = z[brain & (labels != 4000)], z[labels == 4000]
    assert 0.93 < null.std() < 1.08
    assert (null > 3.0902).mean() < 0.004
    ranks = np.searchsorted(np.sort(null), active).mean() / len(null)  # area under the ROC curve
    assert ranks > 0.92


def test_wrong_start_time_costs_signal(study, result, tmp_path):
    _, inputs, labels = study
    (tmp_path / "bold.json").write_text('{"RepetitionTime": 2.0, "StartTime": 0.0}')
    wrong = Paths(**{**inputs.__dict__, "metadata": tmp_path / "bold.json"})
    outputs = out(tmp_path, "run")
    first_level.run(wrong, outputs, CONTRASTS, ["a"], smoothing_mm=0, high_pass_hz=0.01)
    right_z, wrong_z = (nib.load(p.z[0]).get_fdata()[labels == 4000].mean() for p in (result, outputs))
    assert wrong_z < 0.97 * right_z


def test_region_table_and_fixed_effects_of_one_and_two_runs(study, result):
    folder = study[0]
    table = read_tsv(result.regions[0], text=["contrast"])
    left = table.set_index(["name", "contrast"])["effect"]
    assert left["L", "left"] == pytest.approx(PSC["left"], rel=0.05)
    assert left["R", "leftvsright"] == pytest.approx(-PSC["right"], rel=0.08)
    assert table["coverage"].eq(1).all()
    for runs in (1, 2):
        outputs = out(folder, f"fixed{runs}")
        files = {
            c["name"]: {
                "effect": [result.effect[row]] * runs,
                "variance": [result.variance[row]] * runs,
                "sidecar": [result.sidecars[row]] * runs,
            }
            for row, c in enumerate(CONTRASTS)
        }
        fixed.run(files, {"a": result.regions * runs}, outputs)
        t = nib.load(outputs.t[0]).get_fdata()
        np.testing.assert_allclose(t, nib.load(result.t[0]).get_fdata() * np.sqrt(runs), rtol=1e-4, atol=1e-4)
        combined = read_tsv(outputs.regions[0], text=["contrast"])
        np.testing.assert_allclose(combined["se"], np.sqrt(table["variance"] / runs), rtol=1e-6)
        assert combined["n_runs"].eq(runs).all()
        assert read_json(outputs.sidecars[0])["NumberOfRuns"] == runs


def test_smoothing_stays_inside_the_mask(study, tmp_path):
    _, inputs, _ = study
    plain = first_level.estimate(
        inputs.bold,
        inputs.mask,
        inputs.metadata,
        inputs.confounds,
        inputs.events[0],
        CONTRASTS,
        smoothing_mm=6,
    )
    mask = nib.load(inputs.mask).get_fdata() > 0
    assert ((plain.maps["left"]["effect"] != 0) == mask).all()
    # the edge of the mask is as bright as its middle, so the effect there keeps its scale
    assert np.abs(plain.maps["left"]["effect"]).max() < 2 * PSC["left"]


def test_a_rerun_gives_the_same_bytes(study, result, tmp_path):
    _, inputs, _ = study
    outputs = out(tmp_path, "run")
    first_level.run(inputs, outputs, CONTRASTS, ["a"], smoothing_mm=0, high_pass_hz=0.01)
    for name in ("effect", "z", "regions"):
        for a, b in zip(getattr(result, name), getattr(outputs, name), strict=True):
            assert Path(a).read_bytes() == Path(b).read_bytes()


def test_missing_events_and_dead_series_are_refused(study, tmp_path):
    _, inputs, _ = study
    with pytest.raises(InputError, match="no events file"):
        first_level.run(Paths(**{**inputs.__dict__, "events": []}), out(tmp_path, "x"), CONTRASTS, ["a"])
    assert not (tmp_path / "x").exists()
    dead = tmp_path / "bold.nii.gz"
    nib.save(nib.Nifti1Image(np.full((*SHAPE, T), np.nan, np.float32), np.diag([3.0, 3, 4, 1])), dead)
    with pytest.raises(InputError, match="0 voxels"):
        first_level.run(Paths(**{**inputs.__dict__, "bold": dead}), out(tmp_path, "x"), CONTRASTS, ["a"])
