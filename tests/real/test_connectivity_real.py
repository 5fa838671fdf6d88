"""Matrices of real regional series against numpy and scikit-learn."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.bids.series import find_series, region_names
from neurobraid.connectivity import adopted, group, matrix
from neurobraid.connectivity.tangent import Tangent

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


def test_a_cohort_is_found_and_every_person_has_every_region(real_data):
    """Of 626 people, 139 have constant regions: n/a in their matrices, under the right names."""
    folder = real_data / "abide-cpac-ho"
    if not folder.is_dir():
        pytest.skip("abide-cpac-ho is not there")
    rows = find_series(folder).to_dict("records")
    assert len(rows) == 626 and {row["atlas"] for row in rows} == {"HarvardOxford"}
    regions = region_names(folder, [row["path"] for row in rows])
    assert len(regions) == 111
    lacking = 0
    for row in rows[::30]:
        table = pd.read_csv(folder / row["path"], sep="\t")
        constant = [c for c in table if table[c].std() == 0]
        found, coverage, note = adopted.one_scan(
            folder, row, regions, ["pearsoncorrelation"], min_coverage=0.5
        )
        r, info = found["pearsoncorrelation"]
        assert (
            list(r) == regions
            and info["ExcludedRegions"] == constant == coverage.index[coverage == 0].to_list()
        )
        assert note["used"] == "yes" and note["volumes"] == len(table)
        lacking += bool(constant)
    assert lacking > 0


def test_tangent_of_real_series_is_fitted_on_some_and_applied_to_others(series):
    whole = [t.to_numpy() for t in series]
    fitted = Tangent().fit(whole[:4])
    vectors = fitted.transform(whole[4:])
    size = len(fitted.regions_)
    assert size < 111 and vectors.shape == (2, size * (size + 1) // 2) and np.isfinite(vectors).all()
