"""Matrices of real regional series against numpy and scikit-learn."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.connectivity import group, matrix

pytestmark = pytest.mark.real
PEOPLE = 6


@pytest.fixture(scope="module")
def series(real_data):
    folder = real_data / "abide-cpac-ho"
    if not folder.is_dir():
        pytest.skip("abide-cpac-ho is not there")
    files = sorted((folder / "timeseries").glob("*.tsv.gz"))
    read = [pd.read_csv(f, sep="\t") for f in files[:: max(len(files) // 40, 1)]]
    holes = [t for t in read if (t.std() == 0).any()]
    assert holes, "people with constant regions are why this dataset is here"
    return [*holes[:2], *[t for t in read if (t.std() > 0).all()][: PEOPLE - 2]]


def test_matrices_equal_numpy_and_empty_regions_stay(series):
    for table in series:
        r, info = matrix.estimate(table, "pearsoncorrelation")
        constant = [c for c in table if table[c].std() == 0]
        assert info["ExcludedRegions"] == constant
        assert r.shape == (111, 111)
        good = table.columns.difference(constant, sort=False)
        np.testing.assert_allclose(r.loc[good, good], np.corrcoef(table[good].to_numpy().T), atol=1e-10)
        assert r[constant].isna().all().all()


def test_partial_correlation_equals_scikit_learn(series):
    from sklearn.covariance import LedoitWolf

    table = series[-1]
    z = (table - table.mean()) / table.std(ddof=0)
    precision = LedoitWolf(assume_centered=True).fit(z).precision_
    scale = np.sqrt(np.diag(precision))
    expected = -precision / np.outer(scale, scale)
    np.fill_diagonal(expected, 1)
    r, info = matrix.estimate(table, "partialcorrelation")
    np.testing.assert_allclose(r, expected, atol=1e-8)
    assert 0 < info["Shrinkage"] < 1


def test_group_mean_finds_homologous_regions(series):
    """Left and right of one region (codes 100 x index + 1 and + 2) go together more than the average pair."""
    matrices = [matrix.estimate(t, "pearsoncorrelation")[0] for t in series]
    mean, _, count = group.average(
        matrices, [f"sub-{k}" for k in range(len(matrices))], [5.0] * len(matrices)
    )
    names = set(mean.columns)
    pairs = [(n, n[:-1] + "2") for n in names if n.endswith("01") and n[:-1] + "2" in names]
    assert len(pairs) >= 40
    homologous = np.mean([mean.loc[a, b] for a, b in pairs])
    assert homologous > 0.25 + np.nanmean(mean.to_numpy()[np.triu_indices(111, 1)])
    assert count.to_numpy().min() < PEOPLE
