"""Runs of different timing, sessions, and what a participant lacks."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.activation import design as designs
from neurobraid.activation import first_level, fixed
from neurobraid.activation.maps import from_triangle, triangle
from neurobraid.bold import nuisance
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from tests.unit.activation.test_first_level import Paths

SHAPE = (5, 6, 4)
TRUTH = 1.2
RUNS = {"slow": (2.0, 1.0, 160), "fast": (0.8, 0.36, 400)}
"""Repetition time, start time (s), volumes."""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Two runs of one participant: other repetition time, other slice-timing reference, same response."""
    folder = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(4)
    paths = {}
    for name, (tr, start, volumes) in RUNS.items():
        times = start + np.arange(volumes) * tr
        onsets = np.sort(rng.uniform(4, times[-1] - 20, 22))
        events = pd.DataFrame({"onset": onsets, "duration": 1.5, "trial_type": "go"})
        shape = designs.regressor(times, onsets, events["duration"].to_numpy())
        height = designs.regressor(np.arange(0, 20, 0.01), [0.0], [1.5]).max()
        percent = TRUTH * shape / height
        noise = 0.05 * rng.standard_normal((*SHAPE, volumes))
        bold = 900 * (1 + (percent + noise) / 100)
        stem = folder / f"sub-01_task-go_run-{name}"
        nib.save(nib.Nifti1Image(bold.astype(np.float32), np.eye(4) * 3), f"{stem}_bold.nii.gz")
        nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.eye(4) * 3), f"{stem}_mask.nii.gz")
        write_json({"RepetitionTime": tr, "StartTime": start}, f"{stem}_bold.json")
        events.to_csv(f"{stem}_events.tsv", sep="\t", index=False)
        table = pd.DataFrame(rng.standard_normal((volumes, 8)), columns=[*nuisance.MOTION, *nuisance.TISSUE])
        table.to_csv(f"{stem}_confounds.tsv", sep="\t", index=False)
        paths[name] = stem
    return folder, paths


def model(stem, metadata=None):
    return first_level.estimate(
        f"{stem}_bold.nii.gz", f"{stem}_mask.nii.gz", metadata or f"{stem}_bold.json", f"{stem}_confounds.tsv",
        f"{stem}_events.tsv", [{"name": "go", "weights": {"go": 1}}], smoothing_mm=0, noise_model="auto",
    )  # fmt: skip


def test_mixed_timing_gives_the_planted_effect_where_one_value_for_all_fails(mixed):
    """Show: every run by its own TR and StartTime is within 1 % of the truth."""
    _, paths = mixed
    fitted = {name: model(stem) for name, stem in paths.items()}
    effects = np.array([f.maps["go"]["effect"] for f in fitted.values()])
    variances = np.array([f.maps["go"]["variance"] for f in fitted.values()])
    together, *_ = fixed.combine(effects, variances, [f.info["DegreesOfFreedom"] for f in fitted.values()])
    for values in (*effects, together):
        assert values.mean() == pytest.approx(TRUTH, rel=0.01)
    assert [f.info["NoiseModel"] for f in fitted.values()] == ["ar1", "ar3"]
    # one sidecar for all runs, as tools that read the first file do
    own = read_json(f"{paths['fast']}_bold.json")
    wrong = mixed[0] / "dataset_bold.json"
    write_json({**own, "StartTime": RUNS["slow"][1]}, wrong)
    shifted = model(paths["fast"], wrong).maps["go"]["effect"].mean()
    assert abs(shifted / TRUTH - 1) > 0.01, "start time of the first run for all"
    write_json({"RepetitionTime": RUNS["slow"][0], "StartTime": RUNS["slow"][1]}, wrong)
    stretched = model(paths["fast"], wrong).maps["go"]["effect"].mean()
    assert abs(stretched / TRUTH - 1) > 0.2, "repetition time of the first run for all"


def test_confounds_of_another_length_are_refused(mixed, tmp_path):
    _, paths = mixed
    other = tmp_path / "confounds.tsv"
    read_tsv(f"{paths['slow']}_confounds.tsv").iloc[:-3].to_csv(other, sep="\t", index=False)
    with pytest.raises(InputError, match="160") as error:
        first_level.estimate(
            f"{paths['slow']}_bold.nii.gz", f"{paths['slow']}_mask.nii.gz", f"{paths['slow']}_bold.json", other,
            f"{paths['slow']}_events.tsv", [{"name": "go", "weights": {"go": 1}}],
        )  # fmt: skip
    assert error.value.problem.field == "rows" and "157" in error.value.problem.found


def person(tmp_path, sessions, seed=0):
    """Run outputs of a participant, as the first level would leave them."""
    rng = np.random.default_rng(seed)
    files = {"effect": [], "variance": [], "sidecar": []}
    tables = []
    for number, session in enumerate(sessions):
        stem = tmp_path / f"sub-01_ses-{session}_task-x_run-{number}"
        values = rng.standard_normal((2, *SHAPE))
        for stat, volume in (("effect", values[0] + 2), ("variance", values[1] ** 2 + 0.1)):
            path = f"{stem}_stat-{stat}_statmap.nii.gz"
            nib.save(nib.Nifti1Image(volume.astype(np.float32), np.eye(4)), path)
            files[stat].append(path)
        note = {
            "DegreesOfFreedom": 100 + number,
            "Weights": {"a": 1.0},
            "ResponsePeak": 0.8,
            "RepetitionTime": 2.0,
        }
        write_json(note, f"{stem}_statmap.json")
        files["sidecar"].append(f"{stem}_statmap.json")
        table = pd.DataFrame(
            {"index": [1, 2], "name": ["L", "R"], "hemisphere": ["L", "R"], "contrast": "left"}
        )
        table = table.assign(
            effect=values[0, 0, 0, :2], variance=1.0, dof=100, n_voxels=10, coverage=1.0, tsnr=50.0 + number
        )
        write_tsv(table, f"{stem}_bold.tsv")
        tables.append(f"{stem}_bold.tsv")
    return files, tables


def combined(tmp_path, sessions, **settings):
    files, tables = person(tmp_path, sessions)
    names = [
        "left",
        *(f"left{b['name'][0].upper()}{b['name'][1:]}" for b in settings.get("contrasts_between", ())),
    ]
    outputs = Paths(
        maps=[tmp_path / f"{n}_{s}.nii.gz" for n in names for s in ("effect", "variance", "t", "z")],
        sidecars=[tmp_path / f"{n}.json" for n in names], regions=[tmp_path / "a.tsv"],
        region_sidecars=[tmp_path / "a.json"],
    )  # fmt: skip
    fixed.run({"left": files}, {"a": tables}, outputs, **settings)
    effects = np.stack([nib.load(p).get_fdata() for p in files["effect"]])
    return effects, outputs, files


POST = [{"name": "postVsPre", "weights": {"post": 1.0, "pre": -1.0}}]


def test_sessions_count_the_same_where_the_model_says_so(tmp_path):
    effects, outputs, _ = combined(tmp_path, ["pre", "pre", "pre", "post"], within_sessions=True)
    wanted = (effects[:3].mean(0) + effects[3]) / 2
    np.testing.assert_allclose(nib.load(outputs.maps[0]).get_fdata(), wanted, rtol=1e-5)
    assert read_json(outputs.sidecars[0])["Levels"] == ["run", "session", "subject"]
    plain, outputs, _ = combined(tmp_path, ["pre", "pre", "pre", "post"])
    np.testing.assert_allclose(nib.load(outputs.maps[0]).get_fdata(), plain.mean(0), rtol=1e-5)


def test_a_single_run_passes_through(tmp_path):
    effects, outputs, files = combined(tmp_path, ["pre"], within_sessions=True)
    np.testing.assert_allclose(nib.load(outputs.maps[0]).get_fdata(), effects[0], rtol=1e-6)
    variance = nib.load(files["variance"][0]).get_fdata()
    np.testing.assert_allclose(nib.load(outputs.maps[1]).get_fdata(), variance, rtol=1e-6)


def test_contrast_between_sessions_and_its_variance(tmp_path):
    effects, outputs, files = combined(tmp_path, ["pre", "pre", "post"], contrasts_between=POST)
    variances = np.stack([nib.load(p).get_fdata() for p in files["variance"]])
    np.testing.assert_allclose(
        nib.load(outputs.maps[4]).get_fdata(), effects[2] - effects[:2].mean(0), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        nib.load(outputs.maps[5]).get_fdata(), variances[2] + variances[:2].sum(0) / 4, rtol=1e-5
    )
    table = read_tsv(outputs.regions[0], text=["contrast"])
    assert list(table["contrast"]) == ["left", "left", "leftPostVsPre", "leftPostVsPre"]
    assert table["tsnr"].iloc[0] == pytest.approx(51)
    assert read_json(outputs.sidecars[1])["SessionWeights"] == POST[0]["weights"]


def test_a_lacking_session_is_said(tmp_path):
    _, outputs, _ = combined(tmp_path, ["pre", "pre"], contrasts_between=POST)
    note = read_json(outputs.sidecars[1])
    assert note["Status"] == "unavailable" and "post" in note["Reason"]
    assert not nib.load(outputs.maps[4]).get_fdata().any()
    table = read_tsv(outputs.regions[0], text=["contrast"])
    assert table["effect"].isna().tolist() == [False, False, True, True]


def test_joint_fixed_effects_use_the_covariance():
    rng = np.random.default_rng(0)
    effects = rng.standard_normal((2, 3, 7))
    root = rng.standard_normal((2, 3, 3, 7))
    covariances = np.einsum("nabv,ncbv->nacv", root, root)
    np.testing.assert_allclose(from_triangle(triangle(covariances[0])), covariances[0])
    effect, _, f, _ = fixed.combine_joint(effects, covariances, [100, 100])
    for v in range(7):
        c = covariances[:, :, :, v].sum(0) / 4
        e = effects[:, :, v].mean(0)
        assert f[v] == pytest.approx(e @ np.linalg.inv(c) @ e / 3, rel=1e-8)
    covariances[0, :, :, 2] = 0
    effect, *_ = fixed.combine_joint(effects, covariances, [100, 100])
    np.testing.assert_allclose(effect[:, 2], effects[1, :, 2])
