"""Tests of neurobraid.pet.srtm."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.pet import srtm, weights
from neurobraid.pet.frames import Frames

from .curves import DURATIONS, STARTS, pair

SETS = [
    (1.0, 0.1, 0.3),
    (1.0, 0.1, 1.5),
    (1.1, 0.1, 3.0),
    (0.8, 0.06, 0.5),
    (1.2, 0.15, 1.0),
    (0.9, 0.08, 0.1),
]


def timing(start=STARTS, duration=DURATIONS):
    start = np.asarray(start, float)
    return Frames(start, start + duration, np.ones(len(start)), 1.0, 20.364)


@pytest.mark.parametrize(("R1", "k2", "bpnd"), SETS)
def test_noise_free_curves(R1, k2, bpnd):
    at = timing()
    reference, target = pair(at.start, at.end, R1, k2, bpnd)
    shared = srtm.basis(at, reference, weights.decay_counts(at, target))
    region = srtm.fit_regions([target], shared).iloc[0]
    voxel = srtm.fit_voxels(np.float32([target]), shared)
    assert region["BPND"] == pytest.approx(bpnd, rel=0.005)
    assert region["R1"] == pytest.approx(R1, rel=0.005)
    assert region["k2prime"] == pytest.approx(k2 / R1, rel=0.01)
    assert region["flag"] == "ok"
    assert voxel["BPND"][0] == pytest.approx(region["BPND"], rel=0.002)
    assert voxel["R1"][0] == pytest.approx(region["R1"], rel=0.002)


def test_own_curves_are_exact_when_the_reference_is_piecewise_linear():
    """Nothing but the model is left: the target is predicted from the same basis, so recovery is to the digits."""
    at = timing()
    reference, _ = pair(at.start, at.end, 1.0, 0.1, 1.0)
    shared = srtm.basis(at, reference)
    R1, k2, k2a = np.array([0.7, 1.0, 1.3]), np.array([0.05, 0.1, 0.2]), np.array([0.02, 0.09, 0.0437])
    table = srtm.fit_regions(srtm.predict(shared, R1, k2, k2a), shared)
    np.testing.assert_allclose(table["BPND"], k2 / k2a - 1, rtol=1e-5)
    np.testing.assert_allclose(table["R1"], R1, rtol=1e-5)
    np.testing.assert_allclose(table["k2"], k2, rtol=1e-5)
    assert (table["residual_sd"] < 1e-5 * reference.max()).all()


def test_reference_against_itself_binds_nothing():
    at = timing()
    reference, _ = pair(at.start, at.end, 1.0, 0.1, 1.0)
    table = srtm.fit_regions([reference, 1.2 * reference], srtm.basis(at, reference))
    np.testing.assert_allclose(table["BPND"], [0.0, 0.2], atol=1e-6)
    np.testing.assert_allclose(table["R1"], [1.0, 1.2], atol=1e-6)


def test_standard_error_matches_the_spread():
    rng = np.random.default_rng(3)
    at = timing()
    reference, target = pair(at.start, at.end, 1.0, 0.1, 1.5)
    w = weights.decay_counts(at, target)
    noisy = target + rng.standard_normal((400, len(target))) * 0.02 * target[-1] * np.sqrt(w[-1] / w)
    table = srtm.fit_regions(noisy, srtm.basis(at, reference, w))
    assert abs(table["BPND"].mean() - 1.5) < 0.015
    assert table["BPND_se"].median() == pytest.approx(table["BPND"].std(), rel=0.2)


def test_weights_count_the_right_way_round():
    """A corrupted frame hurts less the smaller its weight (a peer's fit does the opposite)."""
    at = timing()
    reference, target = pair(at.start, at.end, 1.0, 0.1, 1.5)
    bad = target.copy()
    bad[-1] *= 1.3
    error = []
    for weight in (1.0, 0.01):
        w = np.ones(len(target))
        w[-1] = weight
        error.append(abs(srtm.fit_regions([bad], srtm.basis(at, reference, w))["BPND"][0] - 1.5))
    assert error[1] < 0.1 * error[0]


def test_bounds_and_missing_data_are_flagged():
    at = timing()
    reference, target = pair(at.start, at.end, 1.0, 0.1, 1.0)
    stuck = np.cumsum(reference * at.duration)  # never washes out
    gone = np.where(np.arange(len(target)) == 5, np.nan, target)
    shared = srtm.basis(at, reference)
    curves = np.stack([target, stuck, gone, np.zeros_like(target)])
    table = srtm.fit_regions(curves, shared)
    assert list(table["flag"]) == ["ok", "k2a at lower bound", "no data", "no data"]
    assert table["BPND"].isna().tolist() == [False, False, True, True]
    voxels = srtm.fit_voxels(curves.astype(np.float32), shared, chunk=3)
    assert voxels["edge"].tolist() == [0, -1, 0, 0]
    assert np.isnan(voxels["BPND"]).tolist() == [False, False, True, True]
    np.testing.assert_array_equal(curves[0], target)


def test_chunks_give_the_same_map():
    rng = np.random.default_rng(0)
    at = timing()
    reference, target = pair(at.start, at.end, 1.0, 0.1, 1.5)
    curves = (target * (1 + 0.05 * rng.standard_normal((101, len(target))))).astype(np.float32)
    shared = srtm.basis(at, reference)
    one, many = srtm.fit_voxels(curves, shared), srtm.fit_voxels(curves, shared, chunk=7)
    # BLAS sums 7 rows with another kernel than 101; a parabola's vertex turns its 1e-7 of a single-precision score
    # into up to 2e-4 of BPND (noise is 200 times that)
    np.testing.assert_allclose(one["BPND"], many["BPND"], rtol=3e-4)
    regions = srtm.fit_regions(curves, shared)
    np.testing.assert_allclose(one["BPND"], regions["BPND"], rtol=5e-3)
    np.testing.assert_allclose(np.sqrt(one["residual_variance"]), regions["residual_sd"], rtol=0.02)


def test_scans_that_cannot_carry_the_model():
    late = timing(np.arange(4800.0, 6000.0, 120.0), np.full(10, 120.0))
    assert "80.0 min after injection" in srtm.refusal(late)
    assert "1 frames" in srtm.refusal(timing([0.0], np.array([3600.0])))
    with pytest.raises(ValueError, match="first frame"):
        srtm.basis(late, np.ones(10))
    with pytest.raises(ValueError, match="reference"):
        srtm.basis(timing(), np.full(len(STARTS), np.nan))


def test_exact_curves_of_the_shared_set(real_data):
    curves = pd.read_csv(real_data / "pet-tacs/exact_tacs.tsv", sep="\t")
    truth = (
        pd.read_csv(real_data / "pet-tacs/exact_truth.tsv", sep="\t")
        .query("model == 'srtm'")
        .set_index("set")
    )
    worst = 0.0
    for (_, number), rows in curves[curves["model"] == "srtm"].groupby(["framing", "set"]):
        at = timing(rows["frame_start_s"].to_numpy(), rows["frame_duration_s"].to_numpy())
        shared = srtm.basis(at, rows["reference"].to_numpy())
        expected = truth.loc[number, "BPND"]
        region = srtm.fit_regions([rows["target"].to_numpy()], shared)["BPND"][0]
        voxel = srtm.fit_voxels(rows["target"].to_numpy(np.float32)[None], shared)["BPND"][0]
        worst = max(worst, abs(region / expected - 1), abs(voxel / expected - 1))
    assert worst < 0.005
    assert worst < 0.002
