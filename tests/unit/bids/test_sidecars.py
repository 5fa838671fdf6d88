"""Inheritance: which files apply, and which of them wins."""

import json

import pytest
from trees import TREES, write_tree

from neurobraid.bids.sidecars import Tree, applying, metadata, read_sidecar
from neurobraid.bids.table import build_scan_table
from neurobraid.errors import InputError


def rows(root):
    return {(r["scan"], r["suffix"]): r for r in build_scan_table(root).to_dict("records")}


def test_nearest_sidecar_wins_key_by_key(tmp_path):
    table = rows(write_tree(TREES["inherited"], tmp_path))
    first, second = table["sub-01_ses-1_task-motor", "bold"], table["sub-02_ses-1_task-motor", "bold"]
    assert first["sidecars"] == "bold.json;task-motor_bold.json"
    assert second["sidecars"].split(";")[2:] == [
        "sub-02/sub-02_task-motor_bold.json",
        "sub-02/ses-1/sub-02_ses-1_task-motor_bold.json",
    ]
    merged = metadata(tmp_path, second["sidecars"])
    expected = {"RepetitionTime": 2.0, "Manufacturer": "Siemens", "TaskName": "motor", "EchoTime": 0.03}
    assert merged == expected
    assert metadata(tmp_path, "n/a") == {}


def test_pybids_merges_the_same(tmp_path):
    bids = pytest.importorskip("bids")
    write_tree(TREES["inherited"], tmp_path)
    # two files of one folder that disagree have no order in BIDS: there pybids may take either
    (tmp_path / "bold.json").write_text('{"RepetitionTime": 2.0, "EchoTime": 0.01}')
    layout = bids.BIDSLayout(tmp_path, validate=False)
    for row in build_scan_table(tmp_path).to_dict("records"):
        assert metadata(tmp_path, row["sidecars"]) == layout.get_metadata(str(tmp_path / row["path"]))


def test_events_above_serve_their_task_only(tmp_path):
    table = rows(write_tree(TREES["inherited"], tmp_path))
    assert table["sub-01_ses-1_task-motor", "bold"]["events"] == "task-motor_events.tsv"
    assert table["sub-01_ses-1_task-rest", "bold"]["events"] == "n/a"
    assert table["sub-01_ses-1_trc-RAC", "pet"]["events"] == "n/a"


def test_own_events_win_over_inherited(tmp_path):
    spec = {
        "participants": {"01": ["T1w", "task-motor_run-1_bold", "task-motor_run-2_bold"]},
        "files": {"task-motor_events.tsv": "events"},
    }
    table = rows(write_tree(spec, tmp_path))
    (tmp_path / "sub-01/func/sub-01_task-motor_run-2_events.tsv").unlink()
    table = rows(tmp_path)
    assert table["sub-01_task-motor_run-1", "bold"]["events"].startswith("sub-01/func/")
    assert table["sub-01_task-motor_run-2", "bold"]["events"] == "task-motor_events.tsv"


def test_sister_folders_and_other_entities_do_not_apply(tmp_path):
    write_tree(TREES["sessions"], tmp_path)
    tree = Tree(tmp_path)
    path = "sub-01/ses-1/func/sub-01_ses-1_task-rest_bold.nii.gz"
    assert tree.applicable(path) == [path.replace(".nii.gz", ".json")]
    (tmp_path / "sub-01/ses-1/sub-01_ses-1_task-rest_acq-x_bold.json").write_text("{}")
    assert Tree(tmp_path).applicable(path) == [path.replace(".nii.gz", ".json")]


def test_hidden_and_ignored_files_are_not_seen(tmp_path):
    write_tree(TREES["no_sessions"], tmp_path)
    (tmp_path / ".bidsignore").write_text("# comment\n*_task-rest_bold.nii.gz\nsub-03\n")
    (tmp_path / "sub-01/func/._sub-01_task-motor_bold.nii.gz").write_bytes(b"macOS")
    table = build_scan_table(tmp_path)
    assert set(table["participant_id"]) == {"sub-01", "sub-02"}
    assert set(table.loc[table["suffix"] == "bold", "task"]) == {"motor"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1,}', "line 1, column"),
        ("[1, 2]", "a JSON list"),
        ("", "not valid JSON"),
    ],
)
def test_a_broken_sidecar_is_named(tmp_path, text, found):
    (tmp_path / "bold.json").write_text(text)
    with pytest.raises(InputError, match=r"bold\.json: content is") as error:
        read_sidecar(tmp_path, "bold.json")
    assert found in str(error.value)


def test_latin1_and_byte_order_mark(tmp_path):
    (tmp_path / "a.json").write_bytes('{"n": "Müller"}'.encode("latin-1"))
    (tmp_path / "b.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({"n": 1}).encode())
    with pytest.raises(InputError, match="not UTF-8"):
        read_sidecar(tmp_path, "a.json")
    assert read_sidecar(tmp_path, "b.json") == {"n": 1}


def test_an_echo_takes_its_own_sidecars():
    names = [
        "bold.json",
        "task-rest_bold.json",
        "a/sub-01_task-rest_echo-1_bold.json",
        "a/sub-01_task-rest_echo-2_bold.json",
    ]
    assert applying(names, "a/sub-01_task-rest_echo-2_bold.nii.gz") == [*names[:2], names[3]]
    assert applying(names, "a/sub-01_task-rest_echo-12_bold.nii.gz") == names[:2]
