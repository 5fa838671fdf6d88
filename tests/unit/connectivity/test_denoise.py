"""Denoising against known truth."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.bold import nuisance
from neurobraid.connectivity import denoise as dn
from neurobraid.connectivity import timeseries
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv

T, TR = 180, 2.0


def confounds(seed=0, spikes=()):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(0.02 * rng.standard_normal((T, 6)).cumsum(0), columns=nuisance.MOTION)
    table[["csf", "white_matter", "global_signal"]] = 100 + rng.standard_normal((T, 3))
    table["framewise_displacement"] = 0.1
    table.loc[0, "framewise_displacement"] = np.nan
    table.loc[list(spikes), "framewise_displacement"] = 0.9
    return table


def in_band(rng, columns, low=0.01, high=0.1):
    spectrum = np.fft.rfft(rng.standard_normal((T, columns)), axis=0)
    frequency = np.fft.rfftfreq(T, TR)
    spectrum[(frequency < low + 0.002) | (frequency > high - 0.002)] = 0
    values = np.fft.irfft(spectrum, T, axis=0)
    return values / values.std(0)


def test_nuisance_and_out_of_band_go_and_signal_stays():
    rng = np.random.default_rng(1)
    table = confounds()
    regressors = nuisance.select(table, dn.STRATEGIES["simple"].groups)
    signal = in_band(rng, 5)
    times = np.arange(T) * TR
    noise = 3 * nuisance.standardize(regressors).to_numpy()[:, rng.permutation(26)[:5]]
    fast_slow = 2 * np.sin(2 * np.pi * 0.2 * times) + 4 * np.cos(2 * np.pi * 0.004 * times)
    series = 1000 * (1 + 0.01 * (signal + noise + fast_slow[:, None]))
    clean, info = dn.denoise(series, regressors, TR, (0.01, 0.1), np.ones(T, bool))
    assert np.abs(clean.T @ nuisance.standardize(regressors).to_numpy()).max() < 1e-8
    for k in range(5):
        assert np.corrcoef(clean[:, k], signal[:, k])[0, 1] > 0.7
        assert np.corrcoef(series[:, k], signal[:, k])[0, 1] < 0.4
    # 1 constant, 7 slow and 107 fast cosines, 26 confounds
    assert info["EffectiveDegreesOfFreedom"] == T - 1 - 114 - 26
    assert info["CleanMinutes"] == 6.0
    power = np.abs(np.fft.rfft(clean, axis=0)) ** 2
    outside = np.fft.rfftfreq(T, TR) > 0.105
    assert power[outside].sum() < 0.05 * power.sum()


def test_censoring_equals_an_indicator_regressor_and_ignores_the_spike():
    rng = np.random.default_rng(2)
    table = confounds(spikes=[50, 51, 90])
    keep = dn.retained_volumes(table, 0.5)
    assert (~keep).sum() == 3
    regressors = nuisance.select(table, ["motion6"])
    series = 1000 + 10 * rng.standard_normal((T, 4))
    clean, info = dn.denoise(series, regressors, TR, (0.01, 0.1), keep)
    spiked = series.copy()
    spiked[[50, 51, 90]] *= 4
    again, _ = dn.denoise(spiked, regressors, TR, (0.01, 0.1), keep)
    np.testing.assert_allclose(again, clean)
    assert np.isnan(clean[[50, 51, 90]]).all()
    indicators = np.eye(T)[:, [50, 51, 90]]
    basis = nuisance.cosine_basis(T, TR, 0.01, 0.1)
    full = np.column_stack([np.ones(T), basis, nuisance.standardize(regressors), indicators])
    scaled = 100 * series / series[keep].mean(0)
    expected = scaled - full @ np.linalg.lstsq(full, scaled, rcond=None)[0]
    np.testing.assert_allclose(clean[keep], expected[keep], atol=1e-8)
    assert info["CensoredVolumes"].tolist() == [50, 51, 90]


def test_short_segments_and_the_start_are_left_out():
    table = confounds(spikes=[20, 24, 60])
    table["non_steady_state_outlier00"] = (np.arange(T) == 0).astype(float)
    keep = dn.retained_volumes(table, 0.5)
    assert np.flatnonzero(~keep).tolist() == [0, 20, 21, 22, 23, 24, 60]
    assert np.flatnonzero(~dn.retained_volumes(table)).tolist() == [0]


def test_regions_without_data_stay_as_empty_columns():
    series = 1000 + np.random.default_rng(3).standard_normal((T, 3))
    series[:, 1] = np.nan
    clean, _ = dn.denoise(series, nuisance.select(confounds(), ["csfwm"]), TR, (0.01, 0.1), np.ones(T, bool))
    assert np.isnan(clean[:, 1]).all()
    assert np.isfinite(clean[:, [0, 2]]).all()


def test_no_degrees_of_freedom_is_an_error_with_a_fix():
    table = confounds().iloc[:60]
    with pytest.raises(InputError, match="degrees of freedom") as error:
        dn.denoise(
            np.ones((60, 2)),
            nuisance.select(table, ["motion24", "csfwm8"]),
            TR,
            (0.01, 0.05),
            np.ones(60, bool),
        )
    assert "strategy" in error.value.problem.fix
    with pytest.raises(InputError, match="simpel"):
        dn.strategy("simpel")
    with pytest.raises(InputError, match="a_comp_cor"):
        nuisance.select(table, dn.STRATEGIES["compcor"].groups)


class Paths:
    def __init__(self, **paths):
        self.__dict__.update(paths)


def test_whole_job_on_a_small_image(tmp_path):
    """Region 300 is whole, 7 half outside the mask, 65000 not in the field of view at all."""
    rng = np.random.default_rng(4)
    shape = (6, 7, 8)
    labels = np.zeros(shape, np.int32)
    labels[1:3, 1:5, 1:5], labels[3:5, 1:5, 1:5], labels[1:5, 5:6, 1:5] = 300, 7, 65000
    mask = np.zeros(shape, np.uint8)
    mask[:, :, :], mask[4] = 1, 0
    signal = in_band(rng, 3)
    bold = rng.normal(1000, 3, (*shape, T))
    bold[labels == 300] += 10 * signal[:, 0]
    bold[labels == 7] += 10 * signal[:, 1]
    bold[labels == 65000] = 0
    affine = np.diag([3.0, 3, 3, 1])
    for name, values in (("bold", bold), ("mask", mask), ("atlas", labels)):
        kind = {"bold": np.float32, "mask": np.uint8, "atlas": np.int32}[name]
        nib.save(nib.Nifti1Image(values.astype(kind), affine), tmp_path / f"{name}.nii.gz")
    (tmp_path / "bold.json").write_text('{"RepetitionTime": 2.0, "StartTime": 0.5}')
    pd.DataFrame({"index": [65000, 300, 7], "name": ["Gone", "Whole", "Half"]}).to_csv(
        tmp_path / "atlas.tsv", sep="\t", index=False
    )
    confounds().to_csv(tmp_path / "c.tsv", sep="\t", index=False, na_rep="n/a")
    (tmp_path / "c.json").write_text("{}")
    inputs = Paths(
        bold=tmp_path / "bold.nii.gz", metadata=tmp_path / "bold.json", mask=tmp_path / "mask.nii.gz",
        confounds=tmp_path / "c.tsv", confounds_json=tmp_path / "c.json", atlas_image=tmp_path / "atlas.nii.gz", atlas_table=tmp_path / "atlas.tsv",
    )  # fmt: skip
    outputs = Paths(
        timeseries=tmp_path / "t.tsv",
        sidecar=tmp_path / "t.json",
        coverage=tmp_path / "v.tsv",
        coverage_json=tmp_path / "v.json",
        raw=[tmp_path / "raw.tsv"],
    )
    timeseries.run(inputs, outputs, strategy_name="simple", band_hz=[0.01, 0.1])
    series = read_tsv(outputs.timeseries)
    assert list(series) == ["Gone", "Whole", "Half"]
    assert series["Gone"].isna().all()
    assert np.corrcoef(series["Whole"], signal[:, 0])[0, 1] > 0.7
    np.testing.assert_allclose(read_tsv(outputs.coverage)["coverage"], [0.0, 1.0, 0.5])
    note = read_json(outputs.sidecar)
    assert note["EffectiveDegreesOfFreedom"] == 39
    assert note["BandHz"] == [0.01, 0.1]
    assert len(note["Confounds"]) == 26


def small_scan(tmp_path, labels, atlas_affine, rows=T):
    """A scan of 6 x 7 x 8 voxels of 3 mm with an atlas on a grid of its own."""
    rng = np.random.default_rng(8)
    affine = np.diag([3.0, 3, 3, 1])
    bold = rng.normal(1000, 3, (6, 7, 8, T)).astype(np.float32)
    nib.save(nib.Nifti1Image(bold, affine), tmp_path / "bold.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((6, 7, 8), np.uint8), affine), tmp_path / "mask.nii.gz")
    nib.save(nib.Nifti1Image(labels.astype(np.int32), atlas_affine), tmp_path / "atlas.nii.gz")
    (tmp_path / "bold.json").write_text('{"RepetitionTime": 2.0}')
    (tmp_path / "c.json").write_text("{}")
    names = {300: "Whole", 70000: "Speck", 12: "Other"}
    present = [k for k in (70000, 300, 12) if (labels == k).any()]
    pd.DataFrame({"index": present, "name": [names[k] for k in present]}).to_csv(
        tmp_path / "atlas.tsv", sep="\t", index=False
    )
    confounds().iloc[:rows].to_csv(tmp_path / "c.tsv", sep="\t", index=False, na_rep="n/a")
    inputs = Paths(
        bold=tmp_path / "bold.nii.gz", metadata=tmp_path / "bold.json", mask=tmp_path / "mask.nii.gz",
        confounds=tmp_path / "c.tsv", confounds_json=tmp_path / "c.json", atlas_image=tmp_path / "atlas.nii.gz",
        atlas_table=tmp_path / "atlas.tsv",
    )  # fmt: skip
    outputs = Paths(
        timeseries=tmp_path / "t.tsv", sidecar=tmp_path / "t.json", coverage=tmp_path / "v.tsv", coverage_json=tmp_path / "v.json",
        raw=[],
    )  # fmt: skip
    return inputs, outputs


def fine_atlas():
    """Labels above 255 with gaps on a 1 mm grid; one region of a single voxel falls between the voxels of the scan."""
    labels = np.zeros((18, 21, 24), int)
    labels[3:9, 3:9, 3:9], labels[9:15, 3:9, 3:9], labels[1, 1, 1] = 300, 12, 70000
    return labels


def test_a_region_lost_by_resampling_keeps_its_column(tmp_path):
    inputs, outputs = small_scan(tmp_path, fine_atlas(), np.eye(4))
    timeseries.run(inputs, outputs, strategy_name="simple", band_hz=[0.01, 0.1])
    series = read_tsv(outputs.timeseries)
    assert list(series) == ["Speck", "Whole", "Other"]
    assert series["Speck"].isna().all() and series[["Whole", "Other"]].notna().all().all()
    assert read_tsv(outputs.coverage)["coverage"].to_list() == [0, 1, 1]
    note = read_json(outputs.sidecar)
    assert (
        note["FramewiseDisplacementThreshold"]
        == note["StdDvarsThreshold"]
        == note["MinSegmentVolumes"]
        == "none"
    )


def test_an_atlas_in_another_space_is_refused(tmp_path):
    away = np.eye(4)
    away[:3, 3] = 400
    inputs, outputs = small_scan(tmp_path, fine_atlas(), away)
    with pytest.raises(InputError, match="an atlas in the space of the series"):
        timeseries.run(inputs, outputs, strategy_name="simple", band_hz=[0.01, 0.1])


def test_confounds_of_another_length_are_refused(tmp_path):
    inputs, outputs = small_scan(tmp_path, fine_atlas(), np.eye(4), rows=T - 1)
    with pytest.raises(InputError, match=f"rows is {T - 1}; allowed: {T}"):
        timeseries.run(inputs, outputs, strategy_name="simple", band_hz=[0.01, 0.1])
