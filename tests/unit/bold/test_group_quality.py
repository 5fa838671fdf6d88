"""The table of scan quality: planted outliers are named, the others are not."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from neurobraid.bids.entities import parse
from neurobraid.bold.group_quality import METRICS, flag, quality_table, write_quality
from neurobraid.files import read_json, read_tsv, write_json


@pytest.fixture
def study(tmp_path):
    """Ten people with a T1w and a resting run, three with a task run; order of participants not sorted."""
    rng = np.random.default_rng(0)
    anat, bold = [], []
    for n in (3, 1, 2, 4, 5, 6, 7, 8, 9, 10):
        visit = f"sub-{n:02d}_ses-1" if n == 7 else f"sub-{n:02d}"
        content = {
            "cjv": 0.4 + rng.normal(0, 0.01),
            "cnr": 3.0 + rng.normal(0, 0.1),
            "mask_agreement_dice": "n/a",
            "mask_plausible": True,
            "Sources": ["x"],
        }
        if n == 4:
            content["cjv"] += 0.2
        if n == 5:
            content["cnr"] += 3  # far from the others, on the good side
        anat.append(tmp_path / f"{visit}_desc-anat_qc.json")
        write_json(content, anat[-1])
        for task in ("rest", "motor")[: 2 if n < 4 else 1]:
            content = {
                "tsnr": 60 + rng.normal(0, 3),
                "fd_mean": 0.15 + rng.normal(0, 0.01),
                "fd_num": 3 if n == 9 else 0,
            }
            if n == 2 and task == "rest":
                content |= {"tsnr": 20.0, "fd_mean": 0.9}
            bold.append(tmp_path / f"{visit}_task-{task}_run-1_desc-bold_qc.json")
            write_json(content, bold[-1])
    output = SimpleNamespace(table=tmp_path / "group/t.tsv", sidecar=tmp_path / "group/t.json")
    write_quality(anat, bold, output)
    return read_tsv(output.table), read_json(output.sidecar), output


def test_one_row_per_scan_joined_by_name(study):
    table, *_ = study
    assert len(table) == 10 + 13
    assert list(table)[:5] == ["bids_name", "participant_id", "session_id", "suffix", "task"]
    assert list(table)[-2:] == ["flags", "outlier"]
    assert table["bids_name"].is_unique
    for row in table.itertuples():
        name = parse(row.bids_name)
        assert name.suffix == row.suffix
        assert f"sub-{name.entities['sub']}" == row.participant_id
    assert table.loc[table["participant_id"] == "sub-07", "session_id"].eq("ses-1").all()
    assert table.loc[table["participant_id"] == "sub-01", "session_id"].isna().all()
    assert "mask_agreement_dice" not in table, "no scan has a number of it"


def test_planted_outliers_are_named(study):
    table, *_ = study
    by_name = table.set_index("bids_name")
    assert by_name.loc["sub-04_T1w", "flags"] == "cjv"
    assert set(by_name.loc["sub-02_task-rest_run-1_bold", "flags"].split(";")) == {"tsnr", "fd_mean"}
    judged = by_name[by_name["task"] != "motor"]
    assert set(judged.index[judged["flags"] != "none"]) == {"sub-04_T1w", "sub-02_task-rest_run-1_bold"}
    assert (
        judged["outlier"].astype(str).str.lower() == (judged["flags"] != "none").astype(str).str.lower()
    ).all()


def test_too_few_scans_are_not_judged(study):
    _, about, output = study
    raw = pd.read_csv(output.table, sep="\t", dtype=str, keep_default_na=False)
    motor = raw[raw["task"] == "motor"]
    assert len(motor) == 3
    assert (motor["flags"] == "n/a").all()
    assert (motor["outlier"] == "n/a").all()
    assert about["Notes"] == ["bold of task motor: 3 scans, fewer than 5: no outliers are named"]
    assert not (raw == "").any(axis=None), "BIDS tables have no empty cells"


def test_every_column_is_described(study):
    table, about, _ = study
    assert all("Description" in about[name] for name in table)
    assert about["fd_mean"]["Units"] == "mm"
    assert "lower is better" in about["cjv"]["Description"]
    assert about["FlagLimit"] == 3


def test_a_measure_without_spread_flags_nobody():
    table = pd.DataFrame(
        {"suffix": "bold", "task": "rest", "fd_num": [0, 0, 0, 0, 0, 9.0], "tsnr": [7.0] * 6}
    )
    assert flag(table) == (["none"] * 6, [])


def test_every_measure_has_its_direction():
    for name, (direction, _, _) in METRICS.items():
        values = np.array([1.0, 1.01, 1.02, 0.99, 0.98, 1.0, 5.0, -3.0])
        flags, _ = flag(pd.DataFrame({"suffix": "T1w", "task": np.nan, name: values}))
        assert [n for n, f in enumerate(flags) if f != "none"] == {1: [6], -1: [7], 0: []}[direction], name


def test_study_without_bold(tmp_path):
    path = tmp_path / "sub-01_desc-anat_qc.json"
    write_json({"cjv": 0.4}, path)
    output = SimpleNamespace(table=tmp_path / "t.tsv", sidecar=tmp_path / "t.json")
    write_quality([path], [], output)
    assert read_tsv(output.table)["cjv"].tolist() == [0.4]
    assert quality_table([]).empty
