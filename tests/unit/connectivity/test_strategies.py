"""Comparison of denoising strategies: planted motion is seen, removed, and counted in degrees of freedom."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmarks.connectivity import BAND_HZ, motion_study
from neurobraid import study
from neurobraid.bold import nuisance
from neurobraid.connectivity import denoise, strategies
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv


@pytest.fixture(scope="module")
def compared():
    scans, regions = motion_study(3, people=60)
    names = ["baseline", "simple+gsr", "scrubbing.5"]
    return strategies.compare(scans, names, regions, band_hz=BAND_HZ, restarts=5)


def test_raw_shows_the_motion_and_scrubbing_takes_it(compared):
    table = compared["table"].set_index("strategy")
    raw, best, gsr = table.loc["baseline"], table.loc["scrubbing.5"], table.loc["simple+gsr"]
    assert raw["qcfc_median_abs"] > 1.6 * raw["qcfc_expected"]
    assert raw["qcfc_edges_percent"] > 20
    assert raw["distance_dependence"] < -0.15
    assert best["qcfc_median_abs"] < 1.3 * best["qcfc_expected"]
    assert abs(best["distance_dependence"]) < 0.12
    # what the literature says of the global signal: less motion in the edges, but still more so in near ones
    assert gsr["qcfc_median_abs"] < raw["qcfc_median_abs"]
    assert gsr["distance_dependence"] < -0.12


def test_costs_are_counted(compared):
    table, scans = compared["table"].set_index("strategy"), compared["scans"]
    assert table.loc["baseline", "participants"] == 60
    assert table.loc["scrubbing.5", "participants"] < 60
    assert table.loc["scrubbing.5", "dof_lost_percent"] > table.loc["baseline", "dof_lost_percent"]
    # 240 volumes of 2 s, .01 to .1 Hz: 9 slow and 143 fast cosines, and the constant
    base = scans[scans["strategy"] == "baseline"]
    assert (base["filter_regressors"] == 152).all()
    assert (base["degrees_of_freedom"] == 240 - 153).all()
    gone = scans[(scans["strategy"] == "scrubbing.5") & (scans["used"] == "no")]
    assert len(gone) == 60 - table.loc["scrubbing.5", "participants"]
    assert gone["reason"].str.contains("fewer than 20|^degrees of freedom: ").all()
    assert 0 < table.loc["baseline", "modularity"] < table.loc["simple+gsr", "modularity"]
    assert 0.4 < table.loc["scrubbing.5", "split_half_r"] < 1
    similarity = compared["similarity"]
    np.testing.assert_allclose(np.diag(similarity), 1)
    assert len(compared["edges"]) == 60 * 59 / 2


def test_partial_correlation_equals_residuals_and_counts_covariates():
    from scipy import stats

    rng = np.random.default_rng(0)
    n = 40
    cov = rng.standard_normal((n, 2))
    fd = cov @ [1.0, -1] + rng.standard_normal(n)
    z = rng.standard_normal((n, 5)) + fd[:, None] * [0, 0.3, 0.6, 1, 0] + cov[:, :1]
    z[:3, 4] = np.nan
    r, p = strategies.partial_correlation(z, fd, cov)
    for k in range(5):
        rows = np.isfinite(z[:, k])
        design = np.column_stack([np.ones(rows.sum()), cov[rows]])

        def rest(y, design=design):
            return y - design @ np.linalg.lstsq(design, y, rcond=None)[0]

        expected = np.corrcoef(rest(z[rows, k]), rest(fd[rows]))[0, 1]
        assert r[k] == pytest.approx(expected)
        dof = rows.sum() - 2 - 2
        assert p[k] == pytest.approx(2 * stats.t.sf(abs(expected) * np.sqrt(dof / (1 - expected**2)), dof))
    assert np.isnan(strategies.partial_correlation(z[:5], fd[:5], cov[:5])[0]).all()


def test_chance_is_calibrated():
    rng = np.random.default_rng(1)
    r, p = strategies.partial_correlation(rng.standard_normal((50, 4000)), rng.standard_normal(50))
    assert np.median(np.abs(r)) == pytest.approx(strategies.expected_median(50), rel=0.06)
    assert 0.04 < (p < 0.05).mean() < 0.06
    assert (strategies.false_discovery(p) < 0.05).mean() < 0.01


def test_false_discovery_equals_scipy():
    from scipy import stats

    p = np.random.default_rng(2).uniform(0, 1, 50) ** 3
    np.testing.assert_allclose(strategies.false_discovery(p), stats.false_discovery_control(p))
    assert np.isnan(strategies.false_discovery(np.r_[np.nan, p])[0])


def test_intraclass_correlation_of_known_variances():
    rng = np.random.default_rng(3)
    person = rng.standard_normal((4000, 3)) * [1, 2, 0.5]
    first, second = (person + rng.standard_normal(person.shape) for _ in range(2))
    np.testing.assert_allclose(strategies.intraclass(first, second), [0.5, 0.8, 0.2], atol=0.04)
    # a shift between the halves counts against agreement
    assert strategies.intraclass(first, second + 3)[0] < 0.25


def test_own_strategy_and_thresholds():
    own = [{"name": "mine", "confounds": ["motion6", "rmsd"], "std_dvars_threshold": 1.5, "min_segment": 3}]
    chosen = denoise.strategy("mine", own)
    assert chosen.censors and chosen.fd_threshold_mm is None
    table = pd.DataFrame({"std_dvars": [np.nan, 1, 2, 1, 1, 1, 1.6, 1, 1, 1], "framewise_displacement": 9.0})
    assert np.flatnonzero(~denoise.retained(table, chosen)).tolist() == [0, 1, 2, 6]
    with pytest.raises(InputError, match="std_dvars"):
        denoise.retained(table[["framewise_displacement"]], chosen)
    with pytest.raises(InputError, match="mine"):
        denoise.strategy("other", own)


def test_names_known_to_the_config_are_those_there_are():
    assert tuple(denoise.STRATEGIES) == study.STRATEGIES


def test_compcor_takes_six_of_the_combined_mask_only():
    """FMRIPrep 20.2 numbers the components of all three masks alike; only the sidecar tells them apart."""
    table = pd.DataFrame({f"a_comp_cor_{k:02d}": np.arange(9.0) + k for k in (3, 0, 1, 2, 4, 5, 6, 7, 8, 9)})
    notes = {f"a_comp_cor_{k:02d}": {"Mask": "CSF" if k < 2 else "combined"} for k in range(10)}
    one = nuisance.one_mask(table, notes)
    assert list(nuisance.select(one, "compcor6")) == [f"a_comp_cor_{k:02d}" for k in range(2, 8)]
    assert len(nuisance.select(one, "compcor").columns) == 8
    assert len(nuisance.one_mask(table, {}).columns) == 10
    with pytest.raises(InputError, match="aroma_motion_"):
        nuisance.select(table, denoise.STRATEGIES["aroma"].groups)


def test_covariates_are_taken_where_they_vary():
    people = ["sub-1", "sub-2", "sub-3"]
    table = pd.DataFrame(
        {"participant_id": ["sub-3", "sub-1", "sub-2"], "age": ["30", "20", "n/a"], "sex": ["F", "M", "F"]}
    )
    values, names = strategies.covariate_table(table, people)
    assert names == ["age", "sex"]
    np.testing.assert_allclose(values, [[20, 1], [np.nan, 0], [30, 0]])
    assert strategies.covariate_table(table.assign(sex="F"), people)[1] == ["age"]
    assert strategies.covariate_table(None, people)[1] == []


def test_whole_job_writes_every_threshold(tmp_path):
    scans, regions = motion_study(5, people=8)
    paths = {"raw": [], "sidecars": [], "confounds": [], "confounds_json": [], "coverage": []}
    for scan in scans:
        stem = tmp_path / scan["scan"]
        for kind, ending in (
            ("raw", "_raw.tsv"),
            ("sidecars", ".json"),
            ("confounds", "_desc-confounds_timeseries.tsv"),
            ("confounds_json", "_c.json"),
            ("coverage", "_cover.tsv"),
        ):
            paths[kind].append(f"{stem}{ending}")
        write_tsv(pd.DataFrame(scan["series"], columns=regions["name"]), paths["raw"][-1])
        write_json({"RepetitionTime": 2.0}, paths["sidecars"][-1])
        write_tsv(scan["confounds"], paths["confounds"][-1])
        write_json({}, paths["confounds_json"][-1])
        cover = np.where(regions["name"] == "node05", 0.2, 1.0)
        write_tsv(pd.DataFrame({"Node": regions["name"], "coverage": cover}), paths["coverage"][-1])
    write_tsv(regions.assign(index=range(60)), tmp_path / "atlas.tsv")
    write_tsv(
        pd.DataFrame({"participant_id": [s["participant_id"] for s in scans], "age": range(8)}),
        tmp_path / "p.tsv",
    )
    inputs = SimpleNamespace(**paths, atlas_table=tmp_path / "atlas.tsv", participants=[tmp_path / "p.tsv"])
    outputs = SimpleNamespace(
        **{k: tmp_path / f"o_{k}.tsv" for k in ("table", "scans", "edges", "similarity")},
        sidecar=tmp_path / "o.json",
    )
    own = [{"name": "mine", "confounds": ["motion6"], "std_dvars_threshold": 3.0}]
    strategies.run(
        inputs,
        outputs,
        names=["scrubbing.2", "mine"],
        band_hz=[0.01, 0.1],
        min_coverage=0.5,
        own=own,
        restarts=3,
    )
    note = read_json(outputs.sidecar)
    assert note["Strategies"]["scrubbing.2"] == {
        "Confounds": ["motion24", "csfwm8"], "FramewiseDisplacementThreshold": 0.2, "StdDvarsThreshold": None, "MinSegmentVolumes": 5,
    }  # fmt: skip
    assert note["Strategies"]["mine"]["StdDvarsThreshold"] == 3.0
    assert note["Covariates"] == ["age"]
    table = read_tsv(outputs.table)
    assert list(table["strategy"]) == ["scrubbing.2", "mine"]
    assert table.loc[1, "qcfc_expected"] == pytest.approx(0.6745 / np.sqrt(8 - 3 - 1), rel=1e-4)
    edges = read_tsv(outputs.edges)
    lost = (edges["node1"] == "node05") | (edges["node2"] == "node05")
    assert edges.loc[lost, "mine"].isna().all() and edges.loc[~lost, "mine"].notna().all()
    bytes_before = outputs.edges.read_bytes()
    strategies.run(
        inputs,
        outputs,
        names=["scrubbing.2", "mine"],
        band_hz=[0.01, 0.1],
        min_coverage=0.5,
        own=own,
        restarts=3,
    )
    assert outputs.edges.read_bytes() == bytes_before
