"""The plan of the built-in study."""

import subprocess
import sys

import pytest

from neurobraid.synth.design import (
    COLUMNS,
    NO_PET,
    TWO_RUNS,
    TWO_SESSIONS,
    scan_dates,
    scan_table,
    study_design,
)


@pytest.mark.parametrize(("size", "people"), [("tiny", 5), ("demo", 13)])
def test_awkward_participants_are_there(size, people):
    table = scan_table(size, 4)
    assert list(table.columns) == list(COLUMNS)
    assert all(isinstance(v, str) for v in table.to_numpy().ravel())
    assert table["participant_id"].nunique() == people
    with_pet = set(table.loc[table["suffix"] == "pet", "participant_id"])
    assert set(table["participant_id"]) - with_pet == {NO_PET}
    runs = table[table["run"] != "n/a"]
    assert set(runs["participant_id"]) == {TWO_RUNS}
    assert set(runs["task"]) == {"motor"}
    assert len(runs) == 2
    second = table[table["session_id"] == "ses-2"]
    assert set(second["participant_id"]) == {TWO_SESSIONS}
    assert set(second["suffix"]) == {"bold"}
    assert set(second["task"]) == {"motor", "rest"}
    assert not table[["scan", "suffix"]].duplicated().any()


def test_names_follow_bids():
    row = study_design("tiny", 4).scan("sub-03_ses-1_trc-RAC", "pet")
    assert row["path"] == "sub-03/ses-1/pet/sub-03_ses-1_trc-RAC_pet.nii.gz"
    table = scan_table("tiny", 4).set_index("path")
    rest = table.loc["sub-01/func/sub-01_task-rest_bold.nii.gz"]
    assert rest["sidecars"] == "task-rest_bold.json;sub-01/func/sub-01_task-rest_bold.json"
    assert rest["events"] == "n/a"
    motor = table.loc["sub-02/func/sub-02_task-motor_run-2_bold.nii.gz"]
    assert motor["events"] == "sub-02/func/sub-02_task-motor_run-2_events.tsv"


def test_seed_changes_people_not_scans():
    one, two = study_design("demo", 1), study_design("demo", 2)
    assert one.scans["path"].equals(two.scans["path"])
    assert not one.participants["age"].equals(two.participants["age"])
    again = study_design.__wrapped__("demo", 1)
    assert again.participants.equals(one.participants)


def test_groups_sites_and_sexes_are_crossed():
    people = study_design("demo", 1).participants
    assert (people.groupby(["site", "diagnosis"]).size() >= 2).all()
    assert people["sex"].nunique() == 2
    assert people["age"].between(20, 80).all()
    assert people["body_weight"].between(40, 120).all()


def test_streams_do_not_depend_on_order():
    study = study_design("tiny", 1)
    assert study.random("sub-01", "noise").random() == study.random("sub-01", "noise").random()
    assert study.random("sub-01", "noise").random() != study.random("sub-02", "noise").random()


def test_dates_only_where_sessions_have_them():
    dates = scan_dates("tiny", 1)
    assert {path.split("/")[1] for path in dates} == {"ses-1", "ses-2"}
    assert len({*dates.values()}) == 2


@pytest.mark.parametrize("size", ["Tiny", "huge"])
def test_unknown_size_is_refused(size):
    with pytest.raises(ValueError, match="allowed: tiny, demo"):
        study_design(size, 1)


def test_parsing_opens_no_image():
    code = (
        "import sys; from neurobraid.synth.design import scan_table; scan_table('demo', 1);"
        "print([m for m in ('nibabel', 'scipy', 'numba', 'nilearn', 'bids') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
