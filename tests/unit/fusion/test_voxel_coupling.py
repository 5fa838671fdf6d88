"""Coupling by voxel within a person, and receptor-weighted connectivity of a scan."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from neurobraid.files import read_tsv
from neurobraid.fusion.react import COLLINEAR, with_background
from neurobraid.fusion.voxel_coupling import COLUMNS, blocks_of, couple_voxels, person_voxels

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
SHAPE = (24, 28, 24)


def field(seed, width=2.0):
    values = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), width)
    return values / values.std()


@pytest.fixture(scope="module")
def grey():
    ijk = np.indices(SHAPE) - np.array(SHAPE)[:, None, None, None] / 2
    radius = np.sqrt((ijk**2).sum(0))
    return (radius < 11) & (radius > 7)


def test_cubes_are_of_one_place_and_a_quarter_full(grey):
    number, centres = blocks_of(grey, AFFINE, 12.0)
    ijk = np.argwhere(grey)
    sizes = np.bincount(number[number >= 0])
    assert sizes.min() >= 27 / 4 and sizes.max() <= 27 and len(sizes) == len(centres)
    for block in (0, len(centres) // 2, len(centres) - 1):
        rows = ijk[number == block]
        assert np.ptp(rows, axis=0).max() <= 2
        assert np.allclose(centres[block], rows.mean(0) * 4)


def test_a_shared_pattern_is_found_and_smooth_noise_is_not(grey):
    shared = field(0)
    found = couple_voxels(shared + 0.5 * field(1), shared + 0.5 * field(2), grey, AFFINE, surrogates=199)
    # 1 / (1 + .25)
    assert found["r_voxels"] == pytest.approx(0.8, abs=0.1) and found["p_blocks"] <= 0.01
    rates = [
        couple_voxels(field(100 + n), field(900 + n), grey, AFFINE, surrogates=99, seed=n) for n in range(60)
    ]
    assert np.mean([r["p_blocks"] <= 0.05 for r in rates]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)
    # what a test over voxels would say
    limit = 1.96 / np.sqrt(grey.sum())
    assert np.mean([abs(r["r_voxels"]) > limit for r in rates]) > 0.4


def test_rows_without_maps_stay_and_maps_on_another_grid_are_joined(tmp_path, grey):
    labels = grey.astype(np.int16)
    nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "atlas.nii.gz")
    shared = field(0) + 4
    func = tmp_path / "sub-01_task-motor_space-MNI152NLin2009aSym_contrast-left_stat-effect_statmap.nii.gz"
    nib.save(nib.Nifti1Image(np.where(grey, shared, 0).astype(np.float32), AFFINE), func)
    # binding at half the voxel size
    fine = ndimage.zoom(shared, 2, order=1, grid_mode=True, mode="nearest")
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -1.0
    pet = tmp_path / "sub-01_ses-1_trc-RAC_space-MNI152NLin2009aSym_model-SRTM_meas-BPND_mimap.nii.gz"
    nib.save(nib.Nifti1Image(fine.astype(np.float32), affine), pet)
    personal = pd.DataFrame(
        {"participant_id": ["sub-01", "sub-02", "sub-01"], "second": "pet BPND",
         "first": ["fmri-task motor_left", "fmri-task motor_left", "fmri-rest strengthpositive"]}
    )  # fmt: skip
    rest = tmp_path / "sub-03_task-rest_space-MNI152NLin2009aSym_stat-strength_boldmap.nii.gz"
    nib.save(nib.Nifti1Image(np.where(grey, field(5), np.nan).astype(np.float32), AFFINE), rest)
    third = tmp_path / pet.name.replace("sub-01", "sub-03")
    nib.save(nib.Nifti1Image(fine.astype(np.float32), affine), third)
    own = personal.iloc[[2]].assign(participant_id="sub-03")
    told = person_voxels(own, [func, rest], [pet, third], tmp_path / "atlas.nii.gz", surrogates=99)
    assert abs(told["r_voxels"].iloc[0]) < 0.6 and told["voxels"].iloc[0] == grey.sum()
    out = person_voxels(personal, [func], [pet], tmp_path / "atlas.nii.gz", surrogates=99)
    assert list(out.columns[-5:]) == list(COLUMNS)
    assert out["r_voxels"][0] > 0.95 and out["voxels"][0] == grey.sum()
    assert out.loc[1:, list(COLUMNS)].isna().all(axis=None)


def test_background_of_a_receptor_map_has_no_value():
    values = np.full((10, 10, 10), -0.003)
    values[3:7, 3:7, 3:7] = np.arange(1, 65).reshape(4, 4, 4)
    values[3, 3, 3] = 0
    found = with_background(values)
    assert np.isfinite(found).sum() == 63 and np.nanmin(found) == 2


def test_time_courses_of_two_receptors_are_found_in_a_scan(tmp_path, monkeypatch, grey):
    from types import SimpleNamespace

    from neurobraid.errors import InputError
    from neurobraid.files import read_json
    from neurobraid.fusion import react

    rng = np.random.default_rng(0)
    maps = [np.where(grey, field(n) + 5, 0) for n in (1, 2)]
    courses = rng.standard_normal((60, 2))
    spatial = np.stack([(m[grey] - m[grey].mean()) / m[grey].std() for m in maps])
    series = courses @ spatial + 0.5 * rng.standard_normal((60, grey.sum()))
    keep = np.ones(62, bool)
    keep[[5, 6]] = False
    monkeypatch.setattr(react, "clean_series", lambda *a, **k: (series, keep, grey, AFFINE, ["trans_x"]))
    paths = []
    for n, m in enumerate(maps):
        paths.append(tmp_path / f"m{n}.nii.gz")
        nib.save(nib.Nifti1Image(m.astype(np.float32), AFFINE), paths[-1])
    outputs = SimpleNamespace(
        weights=tmp_path / "w.nii.gz", weights_json=tmp_path / "w.json", courses=tmp_path / "c.tsv", courses_json=tmp_path / "c.json",
    )  # fmt: skip
    inputs = SimpleNamespace(bold="b", mask="m", confounds="c", maps=paths[:1], own=paths[1:])
    records = [{"name": "D2", "unit": "BPND", "source": "A 2001"}]
    settings = {"strategy_name": "simple", "band_hz": (0.01, 0.1), "smoothing_mm": 0}
    react.write_react(inputs, outputs, records, **settings)
    table = read_tsv(outputs.courses)
    assert list(table.columns) == ["D2", "own"] and table.isna().any(axis=1).sum() == 2
    for k, name in enumerate(table):
        assert np.corrcoef(table[name][keep], courses[:, k])[0, 1] > 0.98
    weights = nib.load(outputs.weights).get_fdata()
    assert weights.shape == (*SHAPE, 2) and np.corrcoef(weights[grey][:, 0], spatial[0])[0, 1] > 0.9
    about = read_json(outputs.weights_json)
    assert about["Volumes"] == ["D2", "own"] and about["Maps"]["D2"]["VarianceInflation"] < COLLINEAR
    with pytest.raises(InputError, match="receptor maps"):
        react.write_react(SimpleNamespace(**{**vars(inputs), "own": paths[:1]}), outputs, records, **settings)
