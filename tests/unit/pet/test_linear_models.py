"""Tests of neurobraid.pet.linear_models and neurobraid.pet.srtm2 on exact and noisy curves."""

import numpy as np
import pytest

from neurobraid.pet import linear_models as lm
from neurobraid.pet import srtm, srtm2, weights
from neurobraid.pet.frames import Frames

from . import published
from .curves import DURATIONS, STARTS, one_tissue, pair, trapped

SETS = [
    (1.0, 0.1, 0.3),
    (1.0, 0.1, 1.5),
    (1.1, 0.1, 3.0),
    (0.8, 0.06, 0.5),
    (1.2, 0.15, 1.0),
    (0.9, 0.08, 0.1),
]
TSTAR = {"MRTM1": 0, "MRTM2": 0, "refLogan": 30, "refmlLogan": 30, "refPatlak": 30}


def timing(start=STARTS, duration=DURATIONS):
    start = np.asarray(start, float)
    return Frames(start, start + duration, np.ones(len(start)), 1.0, 20.364)


def long_frames():
    """33 frames, 85 min: three of 5 s to ten of 5 min."""
    duration = np.repeat([5.0, 15, 30, 60, 120, 240, 300], [3, 3, 4, 4, 4, 5, 10])
    return timing(np.concatenate([[0.0], np.cumsum(duration)[:-1]]), duration)


def noisy(target, at, level, count, seed=0):
    """Curves with a scatter of `level` in the last frame, and their weights."""
    w = weights.decay_counts(at, target)
    sd = level * target[-1] * np.sqrt(w[-1] / w)
    return target + np.random.default_rng(seed).standard_normal((count, len(target))) * sd, w


@pytest.mark.parametrize("integrals", ["frame_means", "frame_sum", "midpoint"])
@pytest.mark.parametrize("model", ["MRTM1", "MRTM2", "refLogan", "refmlLogan"])
@pytest.mark.parametrize(("R1", "k2", "bpnd"), SETS)
def test_noise_free_curves(model, integrals, R1, k2, bpnd):
    at = timing()
    reference, target = pair(at.start, at.end, R1, k2, bpnd)
    shared = lm.prepare(
        model, at, reference, at.duration, k2prime=k2 / R1, tstar_min=TSTAR[model], integrals=integrals
    )
    table, fitted = lm.fit_regions([target], shared)
    close = 0.0005 if integrals == "frame_means" else 0.005
    assert table["BPND"][0] == pytest.approx(bpnd, rel=close)
    assert table["flag"][0] == "ok"
    for name, value in (("R1", R1), ("k2", k2), ("k2prime", k2 / R1), ("k2a", k2 / (1 + bpnd))):
        if name in table:
            assert table[name][0] == pytest.approx(value, rel=0.005 if close < 0.001 else 0.02), name
    late = shared.used[shared.mid > 10]
    np.testing.assert_allclose(fitted[0, late], target[late], rtol=0.01)
    assert np.isnan(fitted[0]).sum() == len(at) - len(shared.used)


@pytest.mark.parametrize(("R1", "k2", "bpnd"), SETS)
def test_srtm2_noise_free_curves(R1, k2, bpnd):
    at = timing()
    reference, target = pair(at.start, at.end, R1, k2, bpnd)
    shared = srtm2.basis(at, reference, k2 / R1, weights.decay_counts(at, target))
    table = srtm2.fit_regions([target], shared)
    voxel = srtm2.fit_voxels(np.float32([target]), shared)
    for name, value in (("BPND", bpnd), ("R1", R1), ("k2", k2), ("k2a", k2 / (1 + bpnd))):
        assert table[name][0] == pytest.approx(value, rel=0.005), name
        assert voxel[name][0] == pytest.approx(value, rel=0.005), name
    np.testing.assert_allclose(
        srtm2.predict(shared, table["R1"], table["k2a"])[0, 12:], target[12:], rtol=0.005
    )


def test_patlak_of_a_trapped_tracer():
    """The slope is Ki over the reference's distribution volume once plasma falls by one exponential."""
    at = long_frames()
    K1, k2, k3, k2prime = 0.1, 0.15, 0.08, 0.3
    reference, target = one_tissue(at.start, at.end, 0.1, k2prime), trapped(at.start, at.end, K1, k2, k3)
    expected = K1 * k3 / (k2 + k3) / (0.1 / k2prime)
    shared = lm.prepare("refPatlak", at, reference, tstar_min=30)
    table, fitted = lm.fit_regions([target], shared)
    assert table["Kref"][0] == pytest.approx(expected, rel=0.01)
    np.testing.assert_allclose(fitted[0, shared.used], target[shared.used], rtol=0.01)
    assert lm.fit_voxels(np.float32([target]), shared)["Kref"][0] == pytest.approx(expected, rel=0.01)


def test_without_the_right_k2prime_logan_is_wrong():
    """A negative control: t* = 30 min and a k2' ten times too high, as a plot without its term would have."""
    at = timing()
    reference, target = pair(at.start, at.end, 1.1, 0.1, 3.0)
    table, _ = lm.fit_regions([target], lm.prepare("refLogan", at, reference, k2prime=1.0, tstar_min=30))
    assert table["BPND"][0] < 0.9 * 3.0


@pytest.mark.parametrize("model", list(lm.PARAMETERS))
def test_voxels_equal_regions(model):
    at = long_frames()
    reference, target = pair(at.start, at.end, 1.0, 0.1, 1.5)
    curves, w = noisy(target, at, 0.05, 101)
    shared = lm.prepare(model, at, reference, w, k2prime=0.1, tstar_min=TSTAR[model])
    regions, _ = lm.fit_regions(curves, shared)
    for chunk in (7, 8192):
        voxels = lm.fit_voxels(curves.astype(np.float32), shared, chunk=chunk)
        for name in lm.PARAMETERS[model]:
            np.testing.assert_allclose(voxels[name], regions[name], rtol=2e-4, err_msg=name)
        sd = np.sqrt(voxels["residual_variance"] / shared.weights.mean())
        np.testing.assert_allclose(sd, regions["residual_sd"], rtol=5e-3)


@pytest.mark.parametrize("model", ["MRTM1", "MRTM2", "refLogan", "refmlLogan", "SRTM2"])
def test_standard_errors_match_the_spread(model):
    """MRTM1 with noise-free regressors assumed would say 0.70 of it."""
    at = long_frames()
    reference, target = pair(at.start, at.end, 1.0, 0.1, 1.5)
    curves, w = noisy(target, at, 0.03, 600, seed=5)
    if model == "SRTM2":
        table = srtm2.fit_regions(curves, srtm2.basis(at, reference, 0.1, w))
    else:
        shared = lm.prepare(model, at, reference, w, k2prime=0.1, tstar_min=TSTAR[model])
        table, _ = lm.fit_regions(curves, shared)
    for name in (c[:-3] for c in table.columns if c.endswith("_se")):
        assert table[f"{name}_se"].median() == pytest.approx(table[name].std(), rel=0.15), name
    assert (table["flag"] == "ok").all()
    assert (table["runs_p"] < 0.05).mean() < 0.12


# spread of BPND in % at 3 % and 10 % noise in the last frame, and bias at 10 %: 33 frames, R1 1, k2 0.1, BPND 1.5
EXPECTED = {
    "SRTM": (1.4, 5.2, 0.0),
    "MRTM1": (1.4, 5.2, 0.1),
    "MRTM2": (1.0, 3.4, -0.2),
    "refLogan": (1.6, 5.4, -3.2),
}


@pytest.mark.parametrize("model", list(EXPECTED))
def test_bias_and_spread_under_noise(model):
    at = long_frames()
    reference, target = pair(at.start, at.end, 1.0, 0.1, 1.5)
    found = {}
    for level in (0.03, 0.10):
        curves, w = noisy(target, at, level, 600, seed=7)
        if model == "SRTM":
            values = srtm.fit_regions(curves, srtm.basis(at, reference, w))["BPND"]
        else:
            shared = lm.prepare(model, at, reference, w, k2prime=0.1, tstar_min=TSTAR[model])
            values = lm.fit_regions(curves, shared)[0]["BPND"]
        found[level] = 100 * (values.mean() / 1.5 - 1), 100 * values.std() / 1.5
    low, high, bias = EXPECTED[model]
    assert abs(found[0.03][0]) < 0.5
    assert found[0.03][1] == pytest.approx(low, rel=0.25)
    assert found[0.10][1] == pytest.approx(high, rel=0.25)
    assert found[0.10][0] == pytest.approx(bias, abs=1.0)


def test_tstar_counts_mid_times_after_injection():
    at = timing(STARTS + 90)
    reference, target = pair(at.start, at.end, 1.0, 0.1, 1.5)
    mid = at.mid[-8] / 60
    assert len(lm.prepare("refLogan", at, reference, k2prime=0.1, tstar_min=mid).used) == 8
    assert len(lm.prepare("refLogan", at, reference, k2prime=0.1, tstar_min=mid + 0.01).used) == 7
    late, worst = lm.choose_tstar("refLogan", [target], at, reference, k2prime=0.1, limit=1e-4)
    early, loose = lm.choose_tstar("refLogan", [target], at, reference, k2prime=0.1, limit=0.1)
    assert early < late
    assert worst <= 1e-4 < loose <= 0.1
    assert (at.mid / 60 >= early).sum() >= lm.MIN_FRAMES
    # nothing is linear: the last five frames, and the residual says so
    jagged = target * np.where(np.arange(len(target)) % 2, 0.3, 1.0)
    tstar, worst = lm.choose_tstar("refLogan", [target, jagged], at, reference, k2prime=0.1)
    assert worst > 0.1
    assert (at.mid / 60 >= tstar).sum() == lm.MIN_FRAMES


def test_scans_that_cannot_carry_a_model():
    at = timing()
    reference, _ = pair(at.start, at.end, 1.0, 0.1, 1.5)
    assert "at least 5" in lm.refusal("refLogan", at, 55.0)
    assert "the scan ends 60.0 min" in lm.refusal("refPatlak", at, 90.0)
    late = timing(np.arange(4800.0, 6000.0, 120.0), np.full(10, 120.0))
    assert "80.0 min after injection" in lm.refusal("MRTM1", late)
    few = timing([0.0, 60, 120, 180], np.full(4, 60.0))
    assert lm.refusal("MRTM1", few).startswith("4 frames")
    for changes, message in (
        ({"tstar_min": 90.0}, "scan ends"),
        ({"k2prime": None}, "positive k2'"),
        ({"k2prime": -0.1}, "positive k2'"),
        ({"integrals": "simpson"}, "unknown integrals"),
    ):
        with pytest.raises(ValueError, match=message):
            lm.prepare("refLogan", at, reference, **{"k2prime": 0.1, **changes})
    with pytest.raises(ValueError, match="reference"):
        lm.prepare("MRTM1", at, np.where(np.arange(len(at)) == 3, np.nan, reference))
    with pytest.raises(ValueError, match="positive in every frame"):
        lm.prepare("refPatlak", at, np.where(np.arange(len(at)) > 20, -1.0, reference), tstar_min=30)
    with pytest.raises(ValueError, match="SRTM2"):
        srtm2.basis(at, reference, 0.0)


@pytest.mark.parametrize("model", [*lm.PARAMETERS, "SRTM2"])
def test_bad_curves_have_no_value_and_a_reason(model):
    """A frame of NaN, no activity at all, activity that turns negative, a curve that never washes out."""
    at = timing()
    reference, target = pair(at.start, at.end, 1.0, 0.1, 1.0)
    gone = np.where(np.arange(len(target)) == 5, np.nan, target)
    negative = np.where(np.arange(len(target)) >= len(target) - 3, -1.0, target)
    stuck = np.cumsum(reference * at.duration)
    curves = np.stack([target, gone, np.zeros_like(target), negative, -target, stuck])
    if model == "SRTM2":
        shared = srtm2.basis(at, reference, 0.1)
        table, voxels = srtm2.fit_regions(curves, shared), srtm2.fit_voxels(np.float32(curves), shared)
    else:
        shared = lm.prepare(model, at, reference, k2prime=0.1, tstar_min=TSTAR[model])
        table, voxels = lm.fit_regions(curves, shared)[0], lm.fit_voxels(np.float32(curves), shared)
    main = "Kref" if model == "refPatlak" else "BPND"
    assert table["flag"][0] == "ok"
    assert list(table["flag"][1:3]) == ["no data", "no data"]
    assert table[main][1:3].isna().all()
    assert np.isnan(voxels[main][1:3]).all()
    assert np.isfinite(voxels[main][0])
    if model == "refLogan":
        assert list(table["flag"][3:5]) == ["activity not positive after t*"] * 2
        assert np.isnan(voxels[main][3:5]).all()
    if model in ("SRTM2", "MRTM1", "MRTM2"):
        assert table["flag"][5] in ("k2a at lower bound", "k2a not positive")
    assert not np.isinf(np.concatenate(list(voxels.values()))).any()


def test_reference_against_itself():
    """MRTM1 cannot tell R from itself; MRTM2 finds that nothing binds."""
    at = timing()
    reference, _ = pair(at.start, at.end, 1.0, 0.1, 1.0)
    one, _ = lm.fit_regions([reference], lm.prepare("MRTM1", at, reference))
    assert one["flag"][0] == "collinear with the reference"
    two, _ = lm.fit_regions([reference], lm.prepare("MRTM2", at, reference, k2prime=0.1))
    assert two["BPND"][0] == pytest.approx(0.0, abs=1e-6)


def test_weights_count_the_right_way_round():
    at = timing()
    reference, target = pair(at.start, at.end, 1.0, 0.1, 1.5)
    bad = target.copy()
    bad[-1] *= 1.3
    for model in ("MRTM1", "MRTM2", "refmlLogan"):
        error = []
        for weight in (1.0, 0.0):
            w = np.where(np.arange(len(target)) == len(target) - 1, weight, 1.0)
            shared = lm.prepare(model, at, reference, w, k2prime=0.1, tstar_min=TSTAR[model])
            error.append(abs(lm.fit_regions([bad], shared)[0]["BPND"][0] - 1.5))
        assert error[1] < 0.25 * error[0], model


def test_exact_curves_of_the_shared_set(real_data):
    table = published.exact(real_data)
    assert len(table) == 14 * 12
    assert table["error"].max() < 0.003
    linear = table["model"].isin(["MRTM1", "MRTM2", "refLogan", "refmlLogan"])
    assert table.loc[linear & table["kind"].eq("region"), "error"].max() < 0.0005


def test_simref_every_row_of_kinfitr(real_data):
    """All 2,140 expected values of kinfitr within their tolerances."""
    table = published.simref(real_data)
    assert len(table) == 2140
    assert (table["error"] <= 1).all(), table[~(table["error"] <= 1)]
