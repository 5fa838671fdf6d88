"""Region series of other programs: the dialects, and what is wrong with a folder."""

import gzip
import json

import numpy as np
import pytest

from neurobraid.bids import series
from neurobraid.errors import InputError

DATA = np.random.default_rng(0).standard_normal((30, 4)).round(4)


def write(path, values=DATA, names=("LH-Vis_1", "LH-Vis_2", "65000", "RH"), separator="\t"):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [separator.join(names)] if names else []
    lines += [separator.join("n/a" if np.isnan(v) else f"{v:.4f}" for v in row) for row in values]
    text = "\n".join(lines) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("coverage", ["_stat-coverage_bold.tsv", "_coverage.tsv", "_desc-coverage_bold.tsv"])
def test_xcpd(tmp_path, coverage):
    func = tmp_path / "sub-01/ses-a/func"
    stem = "sub-01_ses-a_task-rest_run-01_space-MNI152NLin6Asym_seg-4S156Parcels"
    if coverage == "_stat-coverage_bold.tsv":
        stem = stem.replace("seg-", "atlas-")
    write(func / f"{stem}_stat-mean_timeseries.tsv")
    (func / f"{stem}_stat-mean_timeseries.json").write_text('{"SamplingFrequency": 0.4}')
    (func / f"{stem}{coverage}").write_text(
        "Node\tcoverage\nLH-Vis_1\t1.0\nLH-Vis_2\t0.3\n65000\t0.9\nRH\tn/a\n"
    )
    for other in ("stat-alff_bold", "stat-pearsoncorrelation_relmat", "stat-reho_bold"):
        write(func / f"{stem}_{other}.tsv")
    marked = ["framewise_displacement"] + ["1" if k in (4, 5) else "0" for k in range(30)]
    (func / "sub-01_ses-a_task-rest_run-01_outliers.tsv").write_text("\n".join(marked) + "\n")
    write(tmp_path / "sub-01/ses-a/func/sub-01_ses-a_task-rest_run-01_desc-preproc_motion.tsv")
    (row,) = series.find_series(tmp_path).to_dict("records")
    assert (row["scan"], row["atlas"], row["task"], row["session_id"]) == (
        "sub-01_ses-a_task-rest_run-01", "4S156Parcels", "rest", "ses-a",
    )  # fmt: skip
    table, info = series.read_series(tmp_path, row)
    assert list(table) == ["LH-Vis_1", "LH-Vis_2", "roi65000", "RH"]
    assert info["tr"] == 2.5 and info["censored"] == 2
    assert table.iloc[[4, 5]].isna().all().all() and table.notna().all(axis=1).sum() == 28
    assert info["coverage"]["LH-Vis_2"] == 0.3 and info["coverage"]["roi65000"] == 0.9
    # censored output: the volumes are gone from the series already
    write(func / row["path"].rpartition("/")[2], DATA[:28])
    table, info = series.read_series(tmp_path, row)
    assert len(table) == 28 and info["censored"] == 2 and table.notna().all().all()
    write(func / row["path"].rpartition("/")[2], DATA[:25])
    with pytest.raises(InputError, match=r"25 \(volumes of the series"):
        series.read_series(tmp_path, row)


def test_giga_connectome(tmp_path):
    func = tmp_path / "sub-7/func"
    stem = "sub-7_task-rest_seg-MIST20_scale-12_meas-PearsonCorrelation_desc-denoiseSimple"
    write(
        func / f"{stem.replace('_meas-PearsonCorrelation', '')}_timeseries.tsv", names=("1", "2", "3", "300")
    )
    (func / f"{stem.replace('_meas-PearsonCorrelation', '')}_timeseries.json").write_text(
        json.dumps({"RepetitionTime": 2.0, "MeanFramewiseDisplacement": 0.21})
    )
    write(func / f"{stem}_relmat.tsv")
    (row,) = series.find_series(tmp_path).to_dict("records")
    assert row["atlas"] == "MIST20scale12"
    table, info = series.read_series(tmp_path, row)
    assert (
        list(table) == ["roi1", "roi2", "roi3", "roi300"] and info["tr"] == 2.0 and info["mean_fd_mm"] == 0.21
    )


def test_cpac_and_plain_tables(tmp_path):
    path = write(tmp_path / "Pitt_0050003_rois_ho.1D", names=("#2001", "#2002", "#3", "#4"))
    (row,) = series.find_series(tmp_path).to_dict("records")
    assert row["participant_id"] == "sub-0050003" and row["atlas"] == "ho"
    assert list(series.read_series(tmp_path, row)[0]) == ["roi2001", "roi2002", "roi3", "roi4"]
    for separator in (",", "  "):
        write(path, names=None, separator=separator)
        table = series.read_table(path)
        assert list(table) == ["roi1", "roi2", "roi3", "roi4"]
        np.testing.assert_allclose(table, DATA)


def test_gz_gaps_and_order(tmp_path):
    values = DATA.copy()
    values[:, 2] = np.nan
    for person in ("10", "9", "01"):
        write(tmp_path / f"timeseries/sub-{person}_atlas-ho_timeseries.tsv.gz", values)
    found = series.find_series(tmp_path)
    assert found["participant_id"].to_list() == ["sub-01", "sub-9", "sub-10"]
    table, info = series.read_series(tmp_path, found.iloc[0])
    assert table["roi65000"].isna().all() and info["tr"] is None and info["coverage"] is None


def test_regions_that_a_program_leaves_out_do_not_shift_columns(tmp_path):
    write(tmp_path / "sub-1_atlas-x_timeseries.tsv", DATA[:, :2], ("a", "c"))
    write(tmp_path / "sub-2_atlas-x_timeseries.tsv", DATA[:, :3], ("a", "b", "c"))
    write(tmp_path / "sub-3_atlas-x_timeseries.tsv", DATA[:, :1], ("d",))
    names = [row["path"] for row in series.find_series(tmp_path).to_dict("records")]
    assert series.region_names(tmp_path, names) == ["a", "b", "c", "d"]


def test_wrong_folders_say_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"adopt\.series"):
        series.find_series(tmp_path)
    write(tmp_path / "sub-1/func/sub-1_task-rest_atlas-x_timeseries.tsv")
    write(tmp_path / "sub-1/func/sub-1_task-rest_atlas-y_timeseries.tsv")
    with pytest.raises(InputError, match="x, y"):
        series.find_series(tmp_path)
    assert len(series.find_series(tmp_path, "y")) == 1
    with pytest.raises(InputError, match="there are: x, y"):
        series.find_series(tmp_path, "z")
    write(tmp_path / "sub-1/func/sub-1_task-rest_space-fsLR_atlas-y_timeseries.tsv")
    with pytest.raises(InputError, match="twice"):
        series.find_series(tmp_path, "y")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "empty"),
        ("a\tb\n1\t2\n3\n", "row 2"),
        ("a\tb\n1\tfoo\n", "foo"),
        ("a\ta\n1\t2\n", "a twice"),
    ],
)
def test_broken_tables(tmp_path, text, match):
    path = tmp_path / "sub-1_atlas-x_timeseries.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        series.read_table(path)


NAMES = ["roi300", "roi7", "roi12"]
R = np.array([[1, 0.4, -0.2], [0.4, 1, 0.1], [-0.2, 0.1, 1]])


def write_matrix(path, values=R, names=NAMES, label="Node"):
    path.parent.mkdir(parents=True, exist_ok=True)
    head = [label, *names] if label is not None else names
    rows = [
        [*([name] if label is not None else []), *(f"{v:.3f}" for v in row)]
        for name, row in zip(names, values, strict=True)
    ]
    path.write_text("\n".join("\t".join(r) for r in [head, *rows]).replace("nan", "n/a") + "\n")
    return path


@pytest.mark.parametrize("label", ["Node", "", None])
def test_correlation_matrices_of_every_dialect(tmp_path, label):
    values = R.copy()
    np.fill_diagonal(values, 0.0 if label is None else 1.0)
    found = series.read_correlations(write_matrix(tmp_path / "a_relmat.tsv", values, label=label))
    assert list(found.index) == list(found.columns) == NAMES
    np.testing.assert_allclose(found, R)
    lost = R.copy()
    lost[1] = lost[:, 1] = 0.0 if label is None else np.nan
    found = series.read_correlations(write_matrix(tmp_path / "b_relmat.tsv", lost, label=label))
    assert (
        found["roi7"].isna().all()
        and found.loc["roi300", "roi12"] == -0.2
        and found.loc["roi12", "roi12"] == 1
    )


def test_matrices_that_are_none_are_refused(tmp_path):
    crooked, beyond = R.copy(), R.copy()
    crooked[0, 1] = 0.5
    beyond[0, 2] = beyond[2, 0] = 1.4
    for values, match in (
        (crooked, "symmetric"),
        (beyond, "Fisher z"),
        (R[:, :2], "3 x 3|3 rows|values|2 columns"),
    ):
        with pytest.raises(InputError, match=match):
            series.read_correlations(write_matrix(tmp_path / "x_relmat.tsv", values))
    path = write_matrix(tmp_path / "y_relmat.tsv")
    path.write_text(path.read_text().replace("\nroi7", "\nroi8"))
    with pytest.raises(InputError, match="roi8"):
        series.read_correlations(path)


def test_a_matrix_is_taken_only_where_there_is_no_series(tmp_path):
    write(tmp_path / "sub-01/func/sub-01_task-rest_atlas-odd_stat-mean_timeseries.tsv")
    write_matrix(tmp_path / "sub-01/func/sub-01_task-rest_atlas-odd_stat-pearsoncorrelation_relmat.tsv")
    write_matrix(
        tmp_path / "sub-02/func/sub-02_task-rest_seg-odd_meas-PearsonCorrelation_desc-simple_relmat.tsv"
    )
    write_matrix(tmp_path / "sub-02/func/sub-02_task-rest_seg-odd_meas-Covariance_desc-simple_relmat.tsv")
    rows = series.find_series(tmp_path).set_index("participant_id")
    assert rows["kind"].to_dict() == {"sub-01": "series", "sub-02": "matrix"}
    assert "PearsonCorrelation" in rows.loc["sub-02", "path"]
    paths = rows.loc[["sub-02"], "path"].to_list()
    assert series.region_names(tmp_path, paths) == NAMES
    write_matrix(
        tmp_path / "sub-02/func/sub-02_task-rest_seg-odd_meas-PearsonCorrelation_desc-scrubbing_relmat.tsv"
    )
    with pytest.raises(InputError, match="twice"):
        series.find_series(tmp_path)
