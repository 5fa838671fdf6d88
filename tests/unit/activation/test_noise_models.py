"""Autoregressive noise of any order, F tests, and the design checks that come with them."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from neurobraid.activation import design as designs
from neurobraid.activation import first_level, glm
from neurobraid.errors import InputError
from tests.unit.activation.test_glm import TR, events

TIMES = np.arange(200) * TR


def autoregressive(coefficients, shape, seed=0, burn=100):
    rng = np.random.default_rng(seed)
    n, voxels = shape
    noise = rng.standard_normal((n + burn, voxels))
    for t in range(len(coefficients), n + burn):
        for lag, a in enumerate(coefficients, 1):
            noise[t] += a * noise[t - lag]
    return noise[burn:]


def matrix(n=200):
    design, _ = designs.make_design(np.arange(n) * TR, events(), high_pass_hz=0.01)
    return design


def test_higher_orders_recover_their_coefficients_and_whiten():
    planted = (0.45, 0.2, -0.15)
    noise = autoregressive(planted, (200, 3000))
    design = matrix().to_numpy()
    first = glm.fit(noise, design, np.eye(design.shape[1])[:1], "ar1")
    third = glm.fit(noise, design, np.eye(design.shape[1])[:1], "ar3")
    np.testing.assert_allclose(third.rho.mean(0), planted, atol=0.02)
    # what fitting takes out shows at all lags alike; a wrong order leaves a pattern
    assert np.ptp(third.whiteness[:3]) < 0.03 < 0.2 < np.ptp(first.whiteness[:3])
    assert first.z.std() > third.z.std() + 0.01
    expected = first_level.expected_autocorrelation(design)
    white = glm.fit(autoregressive((), (200, 3000), seed=9), design, np.eye(design.shape[1])[:1], "ols")
    np.testing.assert_allclose(white.whiteness, expected, atol=0.005)
    assert third.z.std() == pytest.approx(1.0, abs=0.05)


def test_high_order_is_generalised_least_squares_voxel_by_voxel():
    """Against the textbook: whiten series and design of one voxel, fit, test."""
    noise = autoregressive((0.5, 0.2), (200, 40), seed=1)
    design = matrix().to_numpy()
    rows = np.zeros((3, design.shape[1]))
    rows[0, 0], rows[1, :2], rows[2, 1] = 1, (1, -1), 1
    fitted = glm.fit(noise, design, rows[:2], "ar2", joint=[rows[1:]])
    for voxel in (0, 17, 39):
        filters = np.r_[1, -fitted.rho[voxel]]
        whiten = sum(f * np.eye(200, k=-lag) for lag, f in enumerate(filters))
        x, y = whiten @ design, whiten @ noise[:, voxel]
        beta, square, *_ = np.linalg.lstsq(x, y, rcond=None)
        covariance = np.linalg.inv(x.T @ x) * square / (200 - design.shape[1])
        np.testing.assert_allclose(fitted.effect[:, voxel], rows[:2] @ beta, rtol=1e-8)
        np.testing.assert_allclose(
            fitted.variance[:, voxel], np.diag(rows[:2] @ covariance @ rows[:2].T), rtol=1e-8
        )
        effect = rows[1:] @ beta
        f = effect @ np.linalg.inv(rows[1:] @ covariance @ rows[1:].T) @ effect / 2
        assert glm.f_statistic(*fitted.joint[0])[voxel] == pytest.approx(f, rel=1e-7)


def test_nothing_is_random_about_high_orders():
    """Nilearn clusters the coefficients by k-means: two runs differ unless a seed is given. Ours have no seed to forget."""
    noise = autoregressive((0.5, 0.2), (200, 500))
    design = matrix().to_numpy()
    a, b = (glm.fit(noise, design, np.eye(design.shape[1])[:1], "ar2").t for _ in range(2))
    np.testing.assert_array_equal(a, b)
    # nor does a voxel depend on its neighbours
    alone = glm.fit(noise[:, 7:8], design, np.eye(design.shape[1])[:1], "ar2").t
    np.testing.assert_allclose(alone[0, 0], a[0, 7], rtol=1e-9)


def test_order_from_the_repetition_time():
    assert [glm.noise_order("auto", tr) for tr in (2.0, 1.5, 1.0)] == [1, 1, 3]
    assert [glm.noise_order(name, 1.0) for name in ("ols", "ar1", "ar12")] == [0, 1, 12]
    for wrong in ("ar", "ar0", "arma"):
        with pytest.raises(InputError, match="noise_model"):
            glm.noise_order(wrong, 2.0)


@pytest.mark.parametrize("noise_model", ["ols", "ar1", "ar2"])
def test_f_of_one_row_is_the_square_of_t(noise_model):
    noise = autoregressive((0.3,), (200, 50))
    design = matrix().to_numpy()
    row = np.zeros((1, design.shape[1]))
    row[0, :2] = 1, -1
    fitted = glm.fit(noise, design, row, noise_model, joint=[row])
    f = glm.f_statistic(*fitted.joint[0])
    np.testing.assert_allclose(f, fitted.t[0] ** 2, rtol=1e-9)
    np.testing.assert_allclose(
        stats.norm.sf(glm.f_to_z(f, 1, fitted.dof)), 2 * stats.t.sf(np.abs(fitted.t[0]), fitted.dof)
    )


def test_f_under_the_null_has_its_distribution():
    noise = autoregressive((), (200, 4000), seed=5)
    design = matrix().to_numpy()
    rows = np.eye(design.shape[1])[:3]
    fitted = glm.fit(noise, design, rows[:0], "ols", joint=[rows])
    f = glm.f_statistic(*fitted.joint[0])
    assert stats.kstest(f, stats.f(3, fitted.dof).cdf).pvalue > 0.01
    assert glm.f_to_z(f, 3, fitted.dof).std() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("hrf", ["spm + derivative + dispersion", "glover + derivative + dispersion", "fir"])
def test_other_responses_equal_nilearn(hrf):
    from nilearn.glm.first_level import make_first_level_design_matrix

    # on the grid of volumes, because nilearn rounds onsets to its own
    table = events().assign(
        onset=lambda e: np.floor(e["onset"] / TR) * TR, duration=0.0 if hrf == "fir" else 2.0
    )
    ours, _ = designs.make_design(TIMES, table, hrf=hrf, high_pass_hz=0.01, fir_delays=4)
    theirs = make_first_level_design_matrix(
        TIMES, table, hrf_model=hrf, drift_model="cosine", high_pass=0.01, fir_delays=[0, 1, 2, 3]
    )
    shared = [c for c in theirs if c in ours]
    assert len(shared) == len(theirs.columns)
    for name in shared:
        if theirs[name].std() > 0:
            assert np.corrcoef(ours[name], theirs[name])[0, 1] > 0.99, name


def test_fir_gives_back_any_response():
    """A response of no canonical shape is estimated, delay by delay, and the F test sees it."""
    planted = np.array([0.0, 0.3, -0.2, 0.8, 0.1, -0.4])
    table = events()[lambda e: e["trial_type"] == "left"]
    task = designs.task_of_events(TIMES, table, hrf="fir", fir_delays=6)
    series = task.columns.to_numpy() @ planted
    design, _ = designs.assemble(TIMES, task, high_pass_hz=0.01)
    noise = autoregressive((), (200, 200), seed=2) * 0.4
    joint = designs.joint_matrix(design, [{"left": 1}], conditions=task.members)
    fitted = glm.fit(series[:, None] + noise, design.to_numpy(), joint, "ols", joint=[joint])
    np.testing.assert_allclose(fitted.effect.mean(1), planted, atol=0.03)
    assert glm.f_statistic(*fitted.joint[0]).mean() > 3


def test_conditions_without_response_or_made_of_confounds_are_refused():
    late = events().assign(onset=398.5, duration=0.0)
    with pytest.raises(InputError, match="all zero"):
        designs.make_design(TIMES, late.iloc[:3])
    design = matrix()
    with pytest.raises(InputError, match="combination of confounds"):
        designs.make_design(
            TIMES, events(), high_pass_hz=0.01, confounds=design[["left"]].add_suffix("_copy")
        )
    repeated = [{"left": 1}, {"left": 2}]
    with pytest.raises(InputError, match="repeat each other"):
        designs.joint_matrix(design, repeated, name="f", conditions=["left", "right"])


def test_efficiency_rewards_more_events():
    many, few = matrix(), designs.make_design(TIMES, events().iloc[:10], high_pass_hz=0.01)[0]
    value = [designs.efficiency(d, designs.contrast_vector(d, {"left": 1})) for d in (many, few)]
    assert value[0] > 1.5 * value[1]
    white = np.random.default_rng(0).standard_normal((200, 20000))
    fitted = glm.fit(white, many.to_numpy(), designs.contrast_vector(many, {"left": 1})[None], "ols")
    assert 1 / fitted.effect.var() == pytest.approx(value[0], rel=0.05)


def test_scrubbing_takes_volumes_out():
    table = pd.DataFrame({"framewise_displacement": np.full(200, 0.1), "std_dvars": np.nan})
    table.loc[[20, 21, 90], "framewise_displacement"] = 2.0
    assert first_level.scrubbed_volumes(table, {}) == []
    spikes = first_level.scrubbed_volumes(table, {"fd_mm": 0.5, "std_dvars": 1.5})
    assert spikes == [20, 21, 90]
    task = designs.task_of_events(TIMES, events())
    noise = autoregressive((), (200, 30), seed=3)
    broken = noise.copy()
    broken[spikes] += 1e3
    design, info = designs.assemble(TIMES, task, spikes=spikes, high_pass_hz=0.01)
    row = designs.contrast_vector(design, {"left": 1})[None]
    sound, jumped = (glm.fit(s, design.to_numpy(), row, "ols") for s in (noise, broken))
    np.testing.assert_allclose(jumped.t, sound.t, rtol=1e-6)
    assert info["DegreesOfFreedom"] == 200 - design.shape[1] and "scrubbed_90" in design
    table.loc[:119, "framewise_displacement"] = 2.0
    with pytest.raises(InputError, match="80 of 200"):
        first_level.scrubbed_volumes(table, {"fd_mm": 0.5})
    with pytest.raises(InputError, match="no framewise_displacement"):
        first_level.scrubbed_volumes(table[["std_dvars"]], {"fd_mm": 0.5})
    short = designs.task_of_events(TIMES[:30], events())
    with pytest.raises(InputError, match="of them scrubbed"):
        designs.assemble(TIMES[:30], short, spikes=range(1, 28), high_pass_hz=0.01)


def test_region_and_voxel_numbers_of_the_table():
    rng = np.random.default_rng(0)
    series = (500 + 10 * rng.standard_normal((400, 50)) + np.linspace(0, 40, 400)[:, None]).astype(np.float32)
    assert first_level.temporal_snr(series).mean() == pytest.approx(520 / 10, rel=0.03)
    classes = first_level.tissue_classes(
        (91, 109, 91), np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
    )
    counts = np.bincount(classes.ravel(), minlength=4) * 8e-3
    assert 500 < counts[2] < 1400 and 300 < counts[3] < 900, "cm3 of grey and white matter"
