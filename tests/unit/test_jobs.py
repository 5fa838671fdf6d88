"""Log, progress and failure of a job; files written whole or not at all."""

import warnings

import numpy as np
import pandas as pd
import pytest

from neurobraid import jobs
from neurobraid.errors import InputError, InputErrors, ProblemList
from neurobraid.files import atomic, read_json, read_tsv, write_json, write_tsv
from neurobraid.provenance import bids_uri, compare_trees, sidecar


def test_failed_job_names_its_log_and_keeps_the_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def job():
        with jobs.job_log("logs/pet_fit/sub-01/sub-01.log"):
            warnings.warn("odd frame", UserWarning, stacklevel=1)
            raise InputError("sub-01_pet.json", "Units", "furlong", "Bq/mL", "correct the sidecar")

    with pytest.raises(SystemExit):
        job()
    text = (tmp_path / "logs/pet_fit/sub-01/sub-01.log").read_text()
    assert "odd frame" in text and "Traceback" in text and "furlong" in text
    first, second = capsys.readouterr().err.splitlines()
    assert first == "FAILED pet_fit sub-01, log: logs/pet_fit/sub-01/sub-01.log"
    assert second == "sub-01_pet.json: Units is furlong; allowed: Bq/mL. Fix: correct the sidecar"


def test_progress_counts_jobs_and_estimates_time(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    jobs.start_plan({"a": 2, "b": 1})
    with jobs.job_log("logs/a/x.log"):
        pass
    assert capsys.readouterr().err.startswith("[1 of 3, under a minute left] a x, 0.0 s")
    # two side by side for 60 s did four of a; six more of a (30 s each) and one unknown remain
    plan = {"started": 0.0, "counts": {"a": 10, "b": 1}}
    assert jobs.remaining_minutes(plan, [("a", 30.0)] * 4, 60.0) == pytest.approx((6 * 30 + 30) / 2 / 60)


def test_all_problems_are_listed_at_once():
    problems = ProblemList()
    problems.raise_errors()
    problems.add("a", "x", 1, 2, "do")
    problems.add("b", "y", 3, 4, "do", level="warning")
    problems.add("c", "z", 5, 6, "do")
    with pytest.raises(InputErrors) as caught:
        problems.raise_errors()
    assert "2 problems" in str(caught.value) and "b: y" not in str(caught.value)


def test_tables_keep_identifiers_and_missing_values(tmp_path):
    table = pd.DataFrame({"participant_id": ["01", "1"], "value": [0.1, np.nan], "run": ["01", None]})
    write_tsv(table, tmp_path / "t.tsv")
    assert (tmp_path / "t.tsv").read_bytes() == b"participant_id\tvalue\trun\n01\t0.1\t01\n1\tn/a\tn/a\n"
    again = read_tsv(tmp_path / "t.tsv")
    assert (
        again["participant_id"].tolist() == ["01", "1"]
        and again["run"][0] == "01"
        and np.isnan(again["value"][1])
    )


def test_json_is_sorted_and_has_no_nan(tmp_path):
    write_json({"b": np.float64("nan"), "a": np.arange(2)}, tmp_path / "x.json")
    assert read_json(tmp_path / "x.json") == {"a": [0, 1], "b": "n/a"}


def test_failed_writing_leaves_the_old_file(tmp_path):
    (tmp_path / "x.txt").write_text("old")

    def write():
        with atomic(tmp_path / "x.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"] and (tmp_path / "x.txt").read_text() == "old"


def test_sources_never_hold_an_absolute_path():
    assert bids_uri("/data/secret/sub-01_T1w.nii.gz") == "sub-01_T1w.nii.gz"
    assert sidecar("x", ["bids/a.tsv"], Units="s", Unset=None)["Sources"] == ["bids:raw:a.tsv"]


def test_compare_trees(tmp_path):
    for name, content in (("one/a", "1"), ("two/a", "1"), ("one/b", "1"), ("two/b", "2"), ("two/c", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    rows = compare_trees(tmp_path / "one", tmp_path / "two")
    assert rows == [("same", "a"), ("different", "b"), ("only in one", "c")]
