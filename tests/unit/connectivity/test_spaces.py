"""Tangent space, gradients and dynamic connectivity against references and planted truth."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.connectivity import dynamic, gradients, tangent
from neurobraid.errors import InputError


def people(count=8, volumes=80, regions=6, seed=0):
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((regions, regions))
    return [
        rng.standard_normal((volumes, regions)) @ (mix + 0.2 * rng.standard_normal(mix.shape))
        for _ in range(count)
    ]


def test_tangent_equals_nilearn():
    from nilearn.connectome import ConnectivityMeasure
    from sklearn.covariance import LedoitWolf

    series = people()
    reference = ConnectivityMeasure(
        kind="tangent",
        vectorize=True,
        cov_estimator=LedoitWolf(assume_centered=True),
        standardize="zscore_sample",
    )
    standard = [(s - s.mean(0)) / s.std(0) for s in series]
    reference.standardize = False
    theirs = reference.fit_transform(standard)
    ours = tangent.Tangent().fit(series)
    np.testing.assert_allclose(ours.mean_, reference.mean_, atol=1e-5)
    # here the length of a vector is the distance of the matrix from the mean; nilearn's is shorter by the square root of 2
    np.testing.assert_allclose(ours.transform(series), np.sqrt(2) * theirs, atol=1e-4)
    norms = [
        np.linalg.norm(tangent.spectral(ours._whiten @ tangent.covariance(s) @ ours._whiten, np.log))
        for s in series
    ]
    np.testing.assert_allclose(np.linalg.norm(ours.transform(series), axis=1), norms)
    # a new person is placed by the reference of the others
    new = people(1, seed=9)
    np.testing.assert_allclose(
        ours.transform(new),
        np.sqrt(2) * reference.transform([(s - s.mean(0)) / s.std(0) for s in new]),
        atol=1e-4,
    )


def test_geometric_mean_is_invariant_and_refuses_flat_matrices():
    rng = np.random.default_rng(1)
    stack = np.stack([m @ m.T + np.eye(4) for m in rng.standard_normal((5, 4, 4))])
    mean = tangent.geometric_mean(stack)
    change = rng.standard_normal((4, 4))
    np.testing.assert_allclose(
        tangent.geometric_mean(change @ stack @ change.T), change @ mean @ change.T, rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        tangent.geometric_mean(np.stack([np.eye(2), 4 * np.eye(2)])), 2 * np.eye(2), atol=1e-6
    )
    with pytest.raises(InputError, match="smallest eigenvalue"):
        tangent.geometric_mean(np.stack([np.eye(3), np.diag([1.0, 1, 0])]))


def test_regions_somebody_lacks_are_left_out_when_fitted_and_nan_when_new():
    series = people()
    series[2][:, 3] = 7.0
    fitted = tangent.Tangent().fit(series)
    assert fitted.regions_.tolist() == [0, 1, 2, 4, 5]
    new = people(2, seed=5)
    new[0][:, 1] = np.nan
    vectors = fitted.transform(new)
    assert np.isnan(vectors[0]).all() and np.isfinite(vectors[1]).all() and vectors.shape[1] == 15


def test_gradient_recovers_an_axis_and_procrustes_undoes_a_rotation():
    rng = np.random.default_rng(2)
    size = 60
    axis = np.sort(rng.uniform(0, 1, size))
    near = np.exp(-((axis[:, None] - axis) ** 2) / 0.05)
    found, values = gradients.diffusion_map(gradients.affinity(near, 0.6), 3)
    assert abs(np.corrcoef(found[:, 0], axis)[0, 1]) > 0.95
    assert (np.diff(values) < 0).all() and values[0] < 1
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    back = gradients.procrustes(found @ turn + 5, found)
    np.testing.assert_allclose(back, found - found.mean(0), atol=1e-9)


def test_people_are_aligned_to_the_group():
    rng = np.random.default_rng(3)
    size = 50
    axis = np.sort(rng.uniform(0, 1, size))
    names = [f"n{k}" for k in range(size)]
    tables = {}
    for k in range(4):
        noise = 0.02 * rng.standard_normal((size, size))
        r = np.exp(-((axis[:, None] - axis) ** 2) / 0.05) * 0.9 + noise + noise.T
        np.fill_diagonal(r, 1)
        tables[f"sub-{k}"] = pd.DataFrame(np.clip(r, -0.99, 1), names, names)
    tables["sub-1"].iloc[7] = np.nan
    tables["sub-1"].iloc[:, 7] = np.nan
    group, own, info = gradients.measure(tables, 2, sparsity=0.6)
    assert info["Left"] == ["n7"] and group.loc["n7"].isna().all()
    for frame in own.values():
        for column in group:
            assert np.corrcoef(frame[column].dropna(), group[column].dropna())[0, 1] > 0.9


def test_sparsity_gives_way_where_the_network_would_fall_apart():
    rng = np.random.default_rng(7)
    r = np.kron(np.eye(2), 0.6 * np.ones((10, 10))) + 0.1
    noise = 0.03 * rng.standard_normal(r.shape)
    r = r + noise + noise.T
    used = gradients.connecting_sparsity(r, 0.9)
    assert used < 0.55
    found, _ = gradients.diffusion_map(gradients.affinity(r, used), 1)
    assert len(set(np.sign(found[:10, 0]))) == 1 and np.sign(found[0, 0]) != np.sign(found[-1, 0])
    names = [f"n{k}" for k in range(20)]
    _, _, info = gradients.measure({"sub-1": pd.DataFrame(r, names, names)}, 1)
    assert info["Sparsity"] < 0.6 and info["NotConnected"] == []


def test_a_network_that_falls_apart_is_refused():
    with pytest.raises(InputError, match="connected parts"):
        gradients.diffusion_map(np.kron(np.eye(2), np.ones((4, 4))), 2)


def test_surrogates_keep_spectrum_and_static_connectivity():
    rng = np.random.default_rng(4)
    series = rng.standard_normal((301, 4)) @ rng.standard_normal((4, 4))
    fake = dynamic.phase_randomised(series, rng)
    np.testing.assert_allclose(
        np.abs(np.fft.rfft(fake, axis=0)), np.abs(np.fft.rfft(series, axis=0)), atol=1e-9
    )
    np.testing.assert_allclose(np.cov(fake.T), np.cov(series.T), atol=1e-9)
    assert np.abs(np.corrcoef(fake[:, 0], series[:, 0])[0, 1]) < 0.4


def band(rng, volumes, width, tr=2.0):
    spectrum = np.fft.rfft(rng.standard_normal((volumes, width)), axis=0)
    frequency = np.fft.rfftfreq(volumes, tr)
    spectrum[(frequency < 0.01) | (frequency > 0.1)] = 0
    return np.fft.irfft(spectrum, volumes, axis=0)


def test_switching_networks_beat_their_surrogates_and_stationary_ones_do_not():
    rng = np.random.default_rng(5)
    volumes, regions = 400, 8
    first, second = np.eye(regions) * 0.4, np.eye(regions) * 0.4
    first[:, :1] = 1
    second[:, :1] = np.where(np.arange(regions) < 4, 1, -1)[:, None]
    state = (np.arange(volumes) // 50) % 2
    source = band(rng, volumes, regions)
    switching = np.where(state[:, None] == 0, source @ first.T, source @ second.T)
    z, found = dynamic.one_scan(switching, 2.0)
    assert found["p"] == 0.05 and found["edges_percent"] > 30
    assert found["variability"] > 1.15 * found["variability_surrogate"]
    p = [dynamic.one_scan(band(rng, volumes, regions) @ first.T, 2.0, seed=k)[1]["p"] for k in range(12)]
    assert np.mean(np.array(p) <= 0.05) <= 0.25 and np.mean(p) > 0.25
    starts, _ = dynamic.windows(volumes, 2.0)
    labels, _ = dynamic.kmeans(z, 2)
    middle = state[starts + 11]
    agree = (labels == middle).mean()
    assert max(agree, 1 - agree) > 0.85
    summary = dynamic.states(labels, 2, 4.0)
    assert summary["occupancy"].sum() == 1 and 50 < np.nanmean(summary["dwell_s"]) < 150


def test_windows_do_not_bridge_censored_volumes():
    series = np.random.default_rng(6).standard_normal((100, 3))
    series[30] = np.nan
    assert dynamic.longest_stretch(series) == slice(31, 100)
    z, found = dynamic.one_scan(series[:60], 2.0)
    assert z.size == 0 and np.isnan(found["p"]) and found["windows"] < 10
