"""The model of a run against nilearn, and its error rates on noise."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.activation import design as designs
from neurobraid.activation import glm

TR = 2.0


def events(seed=0, n_volumes=120):
    rng = np.random.default_rng(seed)
    onsets = np.sort(rng.choice(np.arange(4, n_volumes * TR - 20, 5.0), 30, replace=False)) + rng.uniform(
        0, 1, 30
    )
    return pd.DataFrame(
        {"onset": onsets, "duration": 2.0, "trial_type": np.resize(["right", "left", "odd"], 30)}
    )


def ar_noise(rng, n_volumes, voxels, coefficients):
    noise = rng.standard_normal((n_volumes + 50, voxels))
    for t in range(len(coefficients), len(noise)):
        for k, c in enumerate(coefficients, 1):
            noise[t] += c * noise[t - k]
    return noise[50:]


@pytest.fixture(scope="module")
def design():
    confounds = pd.DataFrame(np.random.default_rng(1).standard_normal((120, 8)).cumsum(0)).add_prefix("c")
    return designs.make_design(np.arange(120) * TR, events(), confounds=confounds)[0]


@pytest.mark.parametrize("noise_model", ["ar1", "ols"])
def test_equals_nilearn(design, noise_model):
    from nilearn.glm.contrasts import compute_contrast
    from nilearn.glm.first_level import run_glm

    rng = np.random.default_rng(2)
    series = ar_noise(rng, 120, 500, [0.4]) + 100
    series[:, :50] += 5 * design[["left"]].to_numpy()
    vectors = [designs.contrast_vector(design, w) for w in ({"left": 1}, {"left": 1, "right": -1})]
    ours = glm.fit(series.astype(np.float32), design.to_numpy(), vectors, noise_model, correct_bias=False)
    labels, results = run_glm(series.astype(np.float32), design.to_numpy(), noise_model=noise_model)
    for row, vector in enumerate(vectors):
        theirs = compute_contrast(labels, results, vector, stat_type="t")
        # our autocorrelations may fall into the neighbouring bin when they sit on its edge
        same = np.abs(ours.effect[row] - theirs.effect_size().ravel()) < 1e-4
        assert same.mean() > 0.995
        np.testing.assert_allclose(
            ours.variance[row][same], theirs.effect_variance().ravel()[same], rtol=1e-4
        )
        np.testing.assert_allclose(ours.z[row][same], theirs.z_score().ravel()[same], atol=2e-3)
    assert ours.dof == theirs.dof


def test_error_rate_on_null_runs(design):
    """Stats gate: AR(1) .0005-.002 at .001 with AR(2) noise of a real run, OLS must exceed .003."""
    rng = np.random.default_rng(3)
    series = ar_noise(rng, 120, 20000, [0.35, 0.12])
    vector = designs.contrast_vector(design, {"left": 1, "right": 1})
    fits = [glm.fit(series, design.to_numpy(), vector, m) for m in ("ar1", "ols")]
    fits.append(glm.fit(series, design.to_numpy(), vector, correct_bias=False))
    corrected, ols, plain = ((f.z > 3.0902).mean() for f in fits)
    assert 0.0005 < corrected < 0.0025
    assert ols > 0.003
    # why the correction is there: slow confounds make nilearn's estimate of the autocorrelation too small
    assert plain > 1.5 * corrected
    assert 0.95 < fits[0].z.std() < 1.07


def test_autocorrelation_is_recovered(design):
    series = ar_noise(np.random.default_rng(4), 120, 4000, [0.45])
    matrix = design.to_numpy()
    residuals = series - matrix @ np.linalg.lstsq(matrix, series, rcond=None)[0]
    assert glm.autocorrelation(residuals).mean() < 0.32
    assert glm.autocorrelation(residuals, matrix).mean() == pytest.approx(0.45, abs=0.07)


def test_constant_and_extreme_voxels_stay_finite(design):
    series = np.zeros((120, 3), np.float32)
    series[:, 1] = 7.0
    series[:, 2] = 100 * design["left"]
    result = glm.fit(series, design.to_numpy(), designs.contrast_vector(design, {"left": 1}))
    assert np.isfinite(result.z).all()
    assert result.effect[0, 2] == pytest.approx(100, rel=1e-5)


def test_z_keeps_the_order_of_huge_t():
    t = np.array([-60.0, -3.0, 0.0, 3.0, 20.0, 60.0])
    z = glm.t_to_z(t, 100)
    assert (np.diff(z) > 0).all()
    np.testing.assert_allclose(glm.t_to_z(-t, 100), -z)
