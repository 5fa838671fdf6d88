"""Matrices against numpy and scikit-learn, and recovery of planted edges."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurobraid.connectivity import group, matrix
from neurobraid.errors import InputError

NAMES = ["LH_b", "LH_a", "RH_b", "RH_a", "Cereb"]


def frame(seed=0, volumes=60):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((volumes, 5)) @ rng.standard_normal((5, 5))
    return pd.DataFrame(values * [1, 10, 100, 1, 1] + 3, columns=NAMES)


def test_pearson_equals_numpy_and_ignores_censored_volumes():
    series = frame()
    expected = np.corrcoef(series.to_numpy(), rowvar=False)
    censored = pd.concat([series.iloc[:20], series.iloc[:4] * np.nan, series.iloc[20:]], ignore_index=True)
    for table in (series, censored):
        r, info = matrix.estimate(table, "pearsoncorrelation")
        np.testing.assert_allclose(r, expected, atol=1e-12)
        assert info["NumberOfVolumes"] == 60


def test_ledoit_wolf_equals_scikit_learn():
    from sklearn.covariance import ledoit_wolf

    z = matrix.standardized(frame(volumes=30).to_numpy())
    ours, theirs = matrix.ledoit_wolf(z), ledoit_wolf(z, assume_centered=True)
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-12)
    assert ours[1] == pytest.approx(theirs[1])


def test_partial_correlation_finds_the_chain():
    """In a chain a-b-c the ends correlate, but not once the middle is known."""
    rng = np.random.default_rng(1)
    a = rng.standard_normal(4000)
    b = a + rng.standard_normal(4000)
    c = b + rng.standard_normal(4000)
    series = pd.DataFrame({"a": a, "b": b, "c": c})
    full, _ = matrix.estimate(series, "pearsoncorrelation")
    part, info = matrix.estimate(series, "partialcorrelation")
    assert full.loc["a", "c"] > 0.5
    assert abs(part.loc["a", "c"]) < 0.05
    assert part.loc["a", "b"] > 0.4
    assert 0 <= info["Shrinkage"] < 0.05


@pytest.mark.parametrize("kind", ["pearsoncorrelation", "partialcorrelation"])
def test_uncovered_constant_and_missing_regions_are_na_and_stay(kind):
    series = frame()
    series["RH_b"] = 5.0
    series["LH_a"] = np.nan
    coverage = pd.Series({"RH_a": 0.4, "LH_b": 1.0, "Cereb": 0.5, "RH_b": 1.0, "LH_a": 0.0})
    r, info = matrix.estimate(series, kind, coverage=coverage, min_coverage=0.5)
    assert list(r.index) == list(r.columns) == NAMES
    assert set(info["ExcludedRegions"]) == {"RH_b", "LH_a", "RH_a"}
    assert r.loc["RH_a"].isna().all()
    assert np.isfinite(r.loc["LH_b", "Cereb"])
    assert r.loc["LH_b", "LH_b"] == 1


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(12, 80), st.sampled_from(["pearsoncorrelation", "partialcorrelation"])
)
def test_symmetric_bounded_unit_diagonal_and_order_free(seed, volumes, kind):
    series = frame(seed, volumes)
    r, _ = matrix.estimate(series, kind)
    values = r.to_numpy()
    np.testing.assert_array_equal(values, values.T)
    np.testing.assert_array_equal(np.diag(values), 1)
    assert np.abs(values).max() <= 1
    shuffled, _ = matrix.estimate(series[NAMES[::-1]], kind)
    np.testing.assert_allclose(shuffled.loc[NAMES, NAMES], values, atol=1e-9)


def test_too_little_data_is_an_error():
    with pytest.raises(InputError, match="volumes"):
        matrix.estimate(frame(volumes=8), "pearsoncorrelation")
    with pytest.raises(InputError, match="regions"):
        matrix.estimate(frame().assign(**dict.fromkeys(NAMES[1:], np.nan)), "pearsoncorrelation")
    with pytest.raises(InputError, match="pearsoncorrelation"):
        matrix.estimate(frame(), "tangent")


def test_file_form_and_round_trip(tmp_path):
    r, _ = matrix.estimate(frame().assign(LH_a=np.nan), "pearsoncorrelation")
    path = tmp_path / "sub-01_task-rest_atlas-x_stat-pearsoncorrelation_relmat.tsv"
    matrix.write_matrix(r, path)
    lines = path.read_text().splitlines()
    assert lines[0].split("\t") == ["Node", *NAMES]
    assert lines[2].split("\t")[:2] == ["LH_a", "n/a"]
    pd.testing.assert_frame_equal(matrix.read_matrix(path), r, check_names=False, rtol=1e-8)
    path.write_text(path.read_text().replace("Node\tLH_b\tLH_a", "Node\tLH_a\tLH_b"))
    with pytest.raises(InputError, match="rows and columns"):
        matrix.read_matrix(path)


def test_group_mean_weights_minutes_within_and_counts_people_equally():
    def one(value, hole=False):
        m = pd.DataFrame(np.where(np.eye(3), 1.0, value), index=list("abc"), columns=list("abc"))
        if hole:
            m.loc["c"] = m["c"] = np.nan
        return m

    mean, people, count = group.average(
        [one(0.2), one(0.6), one(0.5, hole=True)], ["sub-1", "sub-1", "sub-2"], [5.0, 10.0, 3.0]
    )
    first = np.tanh((5 * np.arctanh(0.2) + 10 * np.arctanh(0.6)) / 15)
    assert people["sub-1"].loc["a", "b"] == pytest.approx(first)
    assert mean.loc["a", "b"] == pytest.approx(np.tanh((np.arctanh(first) + np.arctanh(0.5)) / 2))
    assert mean.loc["a", "c"] == pytest.approx(first)
    assert count.loc["a", "c"] == 1
    assert count.loc["a", "b"] == 2
    np.testing.assert_array_equal(np.diag(mean), 1)


def test_planted_edges_are_recovered_at_eight_minutes():
    """Stats gate: edge r >= .90 at 8 min (60 nodes, TR 2 s, .01-.1 Hz), group mean > .98."""
    rng = np.random.default_rng(5)
    n, t, tr = 60, 240, 2.0
    load = np.zeros((n, 6))
    load[np.arange(n), np.arange(n) % 6] = 0.75
    recovered, means, truths = [], [], []
    frequency = np.fft.rfftfreq(t, tr)
    for _ in range(12):
        individual = load + 0.12 * rng.standard_normal(load.shape)
        covariance = individual @ individual.T + np.diag(1 - np.minimum((individual**2).sum(1), 0.9))
        scale = np.sqrt(np.diag(covariance))
        truth = covariance / np.outer(scale, scale)
        spectrum = np.fft.rfft(rng.standard_normal((t, n)), axis=0)
        spectrum[(frequency < 0.01) | (frequency > 0.1)] = 0
        series = np.fft.irfft(spectrum, t, axis=0) @ np.linalg.cholesky(truth).T
        r, _ = matrix.estimate(
            pd.DataFrame(series, columns=[f"r{k}" for k in range(n)]), "pearsoncorrelation"
        )
        upper = np.triu_indices(n, 1)
        recovered.append(np.corrcoef(r.to_numpy()[upper], truth[upper])[0, 1])
        means.append(r)
        truths.append(truth[upper])
    assert np.mean(recovered) >= 0.90
    mean, *_ = group.average(means, [f"sub-{k}" for k in range(12)], [8.0] * 12)
    assert np.corrcoef(mean.to_numpy()[upper], np.mean(truths, 0))[0, 1] > 0.98


def test_lagged_correlation_finds_the_delay_and_skips_censored_volumes():
    rng = np.random.default_rng(4)
    t, tr = 400, 2.0
    source = np.convolve(rng.standard_normal(t + 20), np.ones(4) / 4, "same")
    values = np.column_stack(
        [source[10 : t + 10], source[8 : t + 8], source[10 : t + 10] * -1, rng.standard_normal(t)]
    )
    values[:, :3] += 0.1 * rng.standard_normal((t, 3))
    values[50:60] = np.nan
    r, lag = matrix.lagged(values, tr)
    assert lag[0, 1] == 4.0 and lag[1, 0] == -4.0, "the second region follows by two volumes"
    assert r[0, 1] > 0.9 and r[0, 2] < -0.9 and lag[0, 2] == 0
    np.testing.assert_array_equal(r, r.T)
    plain, _ = matrix.estimate(pd.DataFrame(values, columns=list("abcd")), "pearsoncorrelation")
    assert plain.loc["a", "b"] < 0.7
    best, info = matrix.estimate(pd.DataFrame(values, columns=list("abcd")), "laggedcorrelation", tr=tr)
    assert best.loc["a", "b"] == pytest.approx(r[0, 1]) and info["MaximumLagSeconds"] == 6
    with pytest.raises(InputError, match="RepetitionTime"):
        matrix.estimate(frame(), "laggedcorrelation")


def test_coherence_equals_scipy_and_needs_enough_windows():
    from scipy import signal

    rng = np.random.default_rng(5)
    t, tr = 480, 2.0
    x = rng.standard_normal((t, 3))
    x[:, 1] += np.roll(x[:, 0], 3)
    ours, windows = matrix.coherence(x, tr, (0.01, 0.1))
    taper = np.hanning(34)[1:-1]
    f, c = signal.coherence(x[:, 0], x[:, 1], 1 / tr, taper, nperseg=32, noverlap=16, detrend="constant")
    assert ours[0, 1] == pytest.approx(c[(f >= 0.01) & (f <= 0.1)].mean(), abs=1e-10)
    assert windows == 29 and ours[0, 1] > 0.35 > ours[0, 2]
    x[::20] = np.nan
    with pytest.raises(InputError, match="whole windows"):
        matrix.coherence(x, tr, (0.01, 0.1))


def test_covariance_is_in_squared_units_and_averaged_as_it_is():
    series = frame()
    c, _ = matrix.estimate(series, "covariance")
    np.testing.assert_allclose(c, np.cov(series.to_numpy().T, ddof=0))
    mean, *_ = group.average([c, 3 * c], ["sub-1", "sub-2"], [1.0, 1.0], bounded=False)
    np.testing.assert_allclose(mean, 2 * c)


def test_a_covariance_without_full_rank_names_the_regions():
    values = np.random.default_rng(6).standard_normal((60, 4))
    values[:, 3] = values[:, 1]
    with pytest.raises(InputError, match="not positive definite") as error:
        matrix.positive_definite(np.cov(values.T), names=list("abcd"))
    assert "b, d hang together" in str(error.value) and "rank 3 of 4" in str(error.value)
    assert matrix.positive_definite(np.eye(3)) is not None
    # the shrunk estimate survives doubled regions and more regions than volumes
    r, info = matrix.estimate(pd.DataFrame(values, columns=list("abcd")), "partialcorrelation")
    assert np.isfinite(r.to_numpy()).all() and info["Shrinkage"] > 0
