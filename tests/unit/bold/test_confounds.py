"""Confounds against numbers worked out by hand."""

import numpy as np
import pytest

from neurobraid.bold import confounds as c
from neurobraid.images.rigid import compose


def test_framewise_displacement_and_rms():
    motion = np.zeros((4, 6))
    motion[1] = [1, -2, 0.5, 0.01, 0, -0.02]
    motion[2:] = motion[1]
    fd = c.framewise_displacement(motion)
    assert np.isnan(fd[0])
    assert fd[1] == pytest.approx(3.5 + 50 * 0.03)
    assert fd[2] == 0
    center = np.array([5.0, 6, 7])
    shift = compose(np.array([[0.0] * 6, [3, 4, 0, 0, 0, 0]]), center)
    assert c.relative_rms(shift, center)[1] == pytest.approx(5.0)
    # a turn by a about the centre of a sphere: sqrt(2/5) R * 2 sin(a/2)
    turn = compose(np.array([[0.0] * 6, [0, 0, 0, 0, 0, 0.02]]), center)
    assert c.relative_rms(turn, center)[1] == pytest.approx(80 * np.sqrt(0.4) * 2 * np.sin(0.01))


@pytest.mark.parametrize("lag", [0.0, 0.5])
def test_standardized_dvars_is_one_for_stationary_noise(lag):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 10, (300, 800))
    for t in range(1, 300):
        noise[t] += lag * noise[t - 1]
    series = (1000 + noise).astype(np.float32)
    plain, standard = c.dvars(series)
    assert np.isnan(plain[0])
    assert np.isnan(standard[0])
    assert standard[1:].mean() == pytest.approx(1.0, abs=0.03)
    series[150] += 40
    assert c.dvars(series)[1][150] > 2.0
    # scaled to a median of 1000, whatever the scanner's units
    assert np.allclose(c.dvars(series * 7)[0][1:], c.dvars(series)[0][1:], rtol=1e-4)


def test_cosines():
    basis = c.cosines(200, 2.0, skip=3)
    assert basis.shape == (200, 6)  # floor(2 * 197 * 2 / 128)
    assert (basis[:3] == 0).all()
    assert np.allclose(basis.T @ basis, np.eye(6), atol=1e-10)
    assert np.allclose(basis.sum(axis=0), 0, atol=1e-10)
    assert c.cosines(20, 2.0).shape == (20, 0)


def test_components_find_planted_courses_but_not_drift():
    rng = np.random.default_rng(1)
    times = np.arange(150) * 2.0
    planted = np.stack([np.sin(2 * np.pi * 0.05 * times), np.sin(2 * np.pi * 0.11 * times + 1)], axis=1)
    drift = c.cosines(150, 2.0)
    values = planted @ rng.normal(0, 1, (2, 300)) + rng.normal(0, 0.3, (150, 300))
    values += 8 * drift[:, :1] + 500
    courses, singular, explained, kept = c.components(values, drift)
    assert kept == courses.shape[1] <= 2
    assert np.abs(drift.T @ courses).max() < 1e-8
    both, _, explained, kept = c.components(values, drift, share=0.8)
    assert kept == 2
    fit = both @ (both.T @ planted)
    assert np.linalg.norm(fit - planted) < 0.1 * np.linalg.norm(planted)
    assert explained.sum() == pytest.approx(1.0)
    assert (np.diff(singular) <= 1e-9).all()


def test_components_of_a_mask_without_variance():
    courses, singular, _, kept = c.components(np.full((30, 5), 7.0), np.empty((30, 0)))
    assert courses.shape == (30, 0)
    assert kept == 0
    assert len(singular) == 0


def test_noise_masks_lower_the_threshold():
    rng = np.random.default_rng(0)
    wm = rng.uniform(0, 1, 1000)
    csf = np.full(1000, 0.1)
    csf[:25] = 0.72
    brain = np.ones(1000, bool)
    brain[0] = False
    masks, thresholds = c.noise_masks({"WM": wm, "CSF": csf}, brain)
    assert thresholds["WM"] == 0.95
    assert np.array_equal(masks["CSF"], (csf > 0.5) & brain)
    assert thresholds["CSF"] == pytest.approx(0.7)
    # hardly any pure voxel: the purest are taken, never none
    masks, _ = c.noise_masks({"WM": wm, "CSF": np.linspace(0, 0.3, 1000)}, brain)
    assert masks["CSF"].sum() == 20
    assert masks["CSF"][-1]


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(4)
    series = (1000 + rng.normal(0, 10, (90, 400))).astype(np.float32)
    masks = {"CSF": np.arange(400) < 40, "WM": (np.arange(400) >= 40) & (np.arange(400) < 150)}
    values = np.cumsum(rng.normal(0, 0.02, (90, 6)) * [1, 1, 1, 0.01, 0.01, 0.01], axis=0)
    values[50:, 1] += 0.9
    center = np.array([1.0, -10, 5])
    made = c.confound_table(
        series,
        masks,
        compose(values, center),
        center,
        2.0,
        non_steady=2,
        fd_threshold=0.5,
        dvars_threshold=9.0,
    )
    return series, masks, values, *made


def test_names_and_first_row(table):
    _, _, _, frame, description = table
    for base in ("global_signal", "csf", "white_matter", "csf_wm", "trans_x", "rot_z"):
        for end in ("", "_derivative1", "_power2", "_derivative1_power2"):
            assert base + end in frame
    first = frame.iloc[0]
    assert first.filter(like="derivative1").isna().all()
    assert np.isnan(first["framewise_displacement"])
    assert np.isnan(first["rmsd"])
    assert frame["framewise_displacement"].iloc[1:].notna().all()
    assert len(frame) == 90
    assert not frame.columns.duplicated().any()
    assert set(frame) <= set(description)


def test_values(table):
    series, _, values, frame, _ = table
    assert np.allclose(frame["csf"], series[:, :40].mean(axis=1), rtol=1e-5)
    assert np.allclose(frame["csf_wm"], series[:, :150].mean(axis=1), rtol=1e-5)
    assert np.allclose(frame[["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]], values, atol=1e-9)
    assert np.allclose(frame["rot_x_power2"], values[:, 3] ** 2)
    assert np.allclose(frame["trans_y_derivative1"][1:], np.diff(values[:, 1]))
    assert list(frame.filter(like="motion_outlier")) == ["motion_outlier00"]
    assert frame["motion_outlier00"].to_numpy().nonzero()[0].tolist() == [50]
    assert list(frame.filter(like="non_steady")) == [
        "non_steady_state_outlier00",
        "non_steady_state_outlier01",
    ]
    assert frame["non_steady_state_outlier01"].to_numpy().nonzero()[0].tolist() == [1]
    assert frame.filter(like="cosine").shape[1] == 2


def test_component_metadata(table):
    _, _, _, frame, description = table
    for prefix, label in (("a", "combined"), ("c", "CSF"), ("w", "WM")):
        kept = [k for k in frame if k.startswith(f"{prefix}_comp_cor_")]
        assert kept[0] == f"{prefix}_comp_cor_00"
        entries = [v for v in description.values() if v.get("Mask") == label]
        assert sum(v["Retained"] for v in entries) == len(kept)
        assert sum(v["VarianceExplained"] for v in entries) == pytest.approx(1.0, abs=1e-4)
        assert description[kept[-1]]["CumulativeVarianceExplained"] >= 0.5
    assert any(k.startswith("dropped_") for k in description)


def test_quality_numbers(table):
    series, _, _, frame, _ = table
    numbers = c.quality(series[2:], frame, fd_threshold=0.5)
    assert numbers["tsnr"] == pytest.approx(100, rel=0.05)
    assert numbers["gcor"] == pytest.approx(0.0, abs=0.01)
    assert numbers["fd_num"] == 1
    assert numbers["fd_perc"] == pytest.approx(100 / 89)
    common = series + 10 * np.sin(np.arange(90) * 0.9)[:, None].astype(np.float32)
    assert c.quality(common[2:], frame, fd_threshold=0.5)["gcor"] == pytest.approx(1 / 3, abs=0.05)
