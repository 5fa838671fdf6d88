"""Matrices of adopted series: every region of the atlas for everybody, coverage, reasons, and the mean."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from neurobraid.bids.series import find_series
from neurobraid.connectivity import adopted, edges, matrix
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv

#: Labels above 255, with gaps, in the order of an atlas.
NAMES = ["roi300", "roi7", "roi65000", "roi12"]
MEASURES = ["pearsoncorrelation", "partialcorrelation"]


@pytest.fixture
def study(tmp_path):
    rng = np.random.default_rng(0)
    tables = {
        "01": pd.DataFrame(rng.standard_normal((40, 4)), columns=NAMES),
        "02": pd.DataFrame(rng.standard_normal((50, 4)), columns=NAMES).assign(roi7=0.0),
        # another order, and a region that the program left out
        "03": pd.DataFrame(rng.standard_normal((60, 3)), columns=["roi12", "roi300", "roi65000"]),
        "04": pd.DataFrame(rng.standard_normal((6, 4)), columns=NAMES),
    }
    for name, table in tables.items():
        write_tsv(table, tmp_path / f"in/sub-{name}_atlas-odd_timeseries.tsv", float_format="%.12g")
    (tmp_path / "in/sub-05_atlas-odd_timeseries.tsv").write_text("roi300\troi7\n1\tx\n")
    rows = find_series(tmp_path / "in").to_dict("records")
    stems = [tmp_path / f"out/{row['scan']}" for row in rows]
    outputs = SimpleNamespace(
        matrices=[Path(f"{s}_{m}.tsv") for s in stems for m in MEASURES], sidecars=[Path(f"{s}_{m}.json") for s in stems for m in MEASURES],
        coverage=[Path(f"{s}_cov.tsv") for s in stems], table=tmp_path / "out/batch.tsv",
    )  # fmt: skip
    adopted.run_batch(
        outputs,
        root=tmp_path / "in",
        rows=rows,
        paths=[r["path"] for r in rows],
        measures=MEASURES,
        min_coverage=0.5,
    )
    return tables, outputs, tmp_path


def test_all_columns_are_there_under_their_own_names(study):
    tables, outputs, _ = study
    for k, name in enumerate(("01", "02", "03")):
        r = matrix.read_matrix(outputs.matrices[2 * k])
        assert list(r) == list(r.index) == NAMES
        good = [n for n in NAMES if n in tables[name] and tables[name][n].std() > 0]
        np.testing.assert_allclose(r.loc[good, good], tables[name][good].corr(), atol=1e-8)
        lost = [n for n in NAMES if n not in good]
        assert r[lost].isna().all().all() and read_json(outputs.sidecars[2 * k])["ExcludedRegions"] == lost
        cover = read_tsv(outputs.coverage[k]).set_index("Node")["coverage"]
        assert cover.to_dict() == {n: float(n in good) for n in NAMES}


def test_scans_that_cannot_be_used_have_a_reason_and_empty_matrices(study):
    _, outputs, _ = study
    table = read_tsv(outputs.table).set_index("participant_id")
    assert table["used"].to_list() == ["yes", "yes", "yes", "no", "no"]
    assert "volumes: 6" in table.loc["sub-04", "reason"] and "x" in table.loc["sub-05", "reason"]
    assert (
        table.loc["sub-02", "regions_without_data"] == 1 and table.loc["sub-01", "regions_without_data"] == 0
    )
    assert matrix.read_matrix(outputs.matrices[6]).isna().all().all()
    assert "volumes: 6" in read_json(outputs.sidecars[6])["NotUsed"]


def test_mean_counts_people_per_edge(study):
    tables, outputs, folder = study
    ordered = [outputs.matrices[2 * k + m] for m in range(2) for k in range(5)]
    inputs = SimpleNamespace(tables=[outputs.table], matrices=ordered)
    out = SimpleNamespace(
        matrices=[folder / f"g{m}.tsv" for m in range(2)], sidecars=[folder / f"g{m}.json" for m in range(2)], table=folder / "s.tsv",
        coverage=folder / "c.tsv",
    )  # fmt: skip
    adopted.run_group(inputs, out, MEASURES)
    mean = matrix.read_matrix(out.matrices[0])
    z = np.mean(
        [np.arctanh(t["roi300"].corr(t["roi12"])) for t in (tables["01"], tables["02"], tables["03"])]
    )
    assert mean.loc["roi300", "roi12"] == pytest.approx(np.tanh(z))
    assert mean.loc["roi7", "roi12"] == pytest.approx(tables["01"]["roi7"].corr(tables["01"]["roi12"]))
    note = read_json(out.sidecars[0])
    assert (
        note["NumberOfParticipants"] == 3
        and note["NumberOfScansNotUsed"] == 2
        and note["ParticipantsPerEdge"] == [1, 3]
    )
    assert read_tsv(out.coverage)["participants"].to_list() == [3, 1, 3, 3]
    assert len(read_tsv(out.table)) == 5
    empty = read_tsv(outputs.table)
    write_tsv(empty.assign(used="no"), outputs.table)
    with pytest.raises(InputError, match="usable scans"):
        adopted.run_group(inputs, out, MEASURES)


def test_people_of_series_without_a_repetition_time_are_compared(study):
    tables, outputs, folder = study
    for path in outputs.sidecars:
        assert "CleanMinutes" not in read_json(path)
    # enough people for a comparison: the first three again under other names
    paths = [folder / f"more/sub-{k}{s}.tsv" for k in (1, 2, 3) for s in "ab"]
    for path, k in zip(paths, (0, 0, 1, 1, 2, 2), strict=True):
        write_tsv(read_tsv(outputs.matrices[2 * k]), path)
    people = pd.DataFrame({"participant_id": [p.stem for p in paths], "group": list("xyxyxy")})
    write_tsv(people, folder / "people.tsv")
    inputs = SimpleNamespace(
        matrices=paths, sidecars=[outputs.sidecars[0]] * 6, participants=folder / "people.tsv"
    )
    out = SimpleNamespace(table=folder / "e.tsv", sidecar=folder / "e.json")
    record = {
        "name": "g",
        "variable": "group",
        "covariates": [],
        "permutations": 5,
        "threshold_t": 2.0,
        "seed": 1,
    }
    edges.run(inputs, out, record=record)
    tested = read_tsv(out.table).set_index(["node1", "node2"])["t"]
    assert list(tables["02"]["roi7"].unique()) == [0.0] and len(tested) == 6
    note = read_json(out.sidecar)
    assert note["NumberOfParticipants"] == 6 and note["EdgesOfEverybody"] == 3
    # two of six people have roi7, fewer than half: its edges are listed and not tested
    assert note["EdgesTested"] == 3
    assert [edge for edge, t in tested.items() if t != t] == [e for e in tested.index if "roi7" in e]


def test_coverage_of_the_other_program_counts():
    series = pd.DataFrame(np.random.default_rng(1).standard_normal((20, 3)), columns=["a", "b", "c"])
    series["c"] = 1.0
    own = adopted.with_coverage(series, pd.Series({"a": 0.3, "c": 0.9}))
    assert own.to_dict() == {"a": 0.3, "b": 0.0, "c": 0.0}


def test_a_matrix_of_another_program_joins_those_made_here(tmp_path):
    rng = np.random.default_rng(1)
    table = pd.DataFrame(rng.standard_normal((40, 4)), columns=NAMES)
    write_tsv(table, tmp_path / "in/sub-01_atlas-odd_timeseries.tsv", float_format="%.12g")
    # of another person, in another order and without one region
    own = pd.DataFrame(np.eye(3), index=NAMES[:0:-1], columns=NAMES[:0:-1])
    own.loc["roi12", "roi7"] = own.loc["roi7", "roi12"] = 0.5
    own.loc["roi12", "roi65000"] = own.loc["roi65000", "roi12"] = 0.1
    matrix.write_matrix(own, tmp_path / "in/sub-02_atlas-odd_stat-pearsoncorrelation_relmat.tsv")
    write_json(
        {"MeanFramewiseDisplacement": 0.17},
        tmp_path / "in/sub-02_atlas-odd_stat-pearsoncorrelation_relmat.json",
    )
    rows = find_series(tmp_path / "in").to_dict("records")
    outputs = SimpleNamespace(
        matrices=[tmp_path / f"{k}{m}.tsv" for k in range(2) for m in MEASURES], sidecars=[tmp_path / f"{k}{m}.json" for k in range(2) for m in MEASURES],
        coverage=[tmp_path / f"{k}c.tsv" for k in range(2)], table=tmp_path / "t.tsv",
    )  # fmt: skip
    adopted.run_batch(
        outputs,
        root=tmp_path / "in",
        rows=rows,
        paths=[r["path"] for r in rows],
        measures=MEASURES,
        min_coverage=0.5,
    )
    found = matrix.read_matrix(outputs.matrices[2])
    assert list(found) == NAMES and found.loc["roi12", "roi7"] == 0.5 and found["roi300"].isna().all()
    assert matrix.read_matrix(outputs.matrices[3]).isna().all().all()
    assert "correlation matrix only" in read_json(outputs.sidecars[3])["NotUsed"]
    listed = read_tsv(outputs.table).set_index("participant_id")
    assert (
        read_json(outputs.sidecars[2])["MeanFramewiseDisplacement"]
        == listed.loc["sub-02", "mean_fd_mm"]
        == 0.17
    )
    assert listed["used"].eq("yes").all() and listed.loc["sub-02", "regions_without_data"] == 1
    out = SimpleNamespace(
        matrices=[tmp_path / "g.tsv"],
        sidecars=[tmp_path / "g.json"],
        table=tmp_path / "s.tsv",
        coverage=tmp_path / "c.tsv",
    )
    adopted.run_group(
        SimpleNamespace(tables=[outputs.table], matrices=[outputs.matrices[0], outputs.matrices[2]]),
        out,
        MEASURES[:1],
    )
    mean = matrix.read_matrix(out.matrices[0])
    expected = np.tanh((np.arctanh(0.5) + np.arctanh(table["roi12"].corr(table["roi7"]))) / 2)
    assert mean.loc["roi12", "roi7"] == pytest.approx(expected)
    assert read_json(out.sidecars[0])["Weighting"].startswith("scans of a participant alike")
