"""The scan table: equal to pybids', fast, text only; filters that never drop a scan silently."""

import subprocess
import sys
import time

import pytest
from trees import TREES, write_cohort, write_image, write_tree

from neurobraid.bids.table import (
    COLUMNS,
    build_scan_table,
    build_scan_table_pybids,
    filter_scans,
    read_scan_table,
)
from neurobraid.errors import InputError
from neurobraid.files import write_tsv


@pytest.mark.parametrize("name", TREES)
def test_same_table_as_pybids(name, tmp_path):
    root = write_tree(TREES[name], tmp_path / "bids")
    ours, theirs = build_scan_table(root), build_scan_table_pybids(root)
    assert tuple(ours.columns) == COLUMNS
    assert len(ours) > 0
    assert ours.to_dict("records") == theirs.to_dict("records")


@pytest.mark.parametrize("folder", ["studyforrest-localizer", "studyforrest-localizer-small"])
def test_same_table_as_pybids_on_real_data(real_data, folder):
    ours = build_scan_table(real_data / folder)
    assert list(ours["suffix"]) == ["T1w", "bold"]
    assert ours.to_dict("records") == build_scan_table_pybids(real_data / folder).to_dict("records")


def test_a_hundred_participants_in_a_blink(tmp_path):
    root = write_cohort(tmp_path, 100)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        table = build_scan_table(root)
        best = min(best, time.perf_counter() - start)
    assert len(table) == 400
    # 0.02 s measured; the limit leaves room for a busy machine
    assert best < 0.2


def test_import_stays_light():
    code = (
        "import sys, neurobraid.bids.pairing, neurobraid.bids.check;"
        "print([m for m in ('bids','nibabel','scipy','nilearn','sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": ":".join(sys.path)})  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_identifiers_stay_text_through_a_file(tmp_path):
    spec = {"participants": {"007": ["T1w", "task-1_run-01_bold"], "7": ["T1w", "task-1_run-1_bold"]}}
    table = build_scan_table(write_tree(spec, tmp_path / "bids"))
    write_tsv(table, tmp_path / "scans.tsv")
    again = read_scan_table(tmp_path / "scans.tsv")
    assert again.to_dict("records") == table.to_dict("records")
    assert set(again["participant_id"]) == {"sub-007", "sub-7"}
    assert set(again["run"]) == {"01", "1", "n/a"}


def test_order_is_natural(tmp_path):
    spec = {"participants": {p: ["T1w", "task-m_run-10_bold", "task-m_run-9_bold"] for p in ("10", "9")}}
    table = build_scan_table(write_tree(spec, tmp_path))
    bold = table[table["suffix"] == "bold"]
    assert list(bold["participant_id"]) == ["sub-9", "sub-9", "sub-10", "sub-10"]
    assert list(bold["run"]) == ["9", "10", "9", "10"]


def test_symbolic_links_are_followed(tmp_path):
    real = write_tree(TREES["one_participant"], tmp_path / "store")
    linked = tmp_path / "bids"
    linked.symlink_to(real, target_is_directory=True)
    assert len(build_scan_table(linked)) == 4


@pytest.mark.parametrize(
    ("filters", "kept", "dropped_rule"),
    [
        ({"participants": ["01"]}, 6, "filter"),
        ({"participants": ["sub-01"]}, 6, "filter"),
        ({"tasks": ["rest"]}, 14 - 3, "filter"),
        ({"sessions": ["2"]}, 4 + 4, "filter"),
        ({"exclude": ["sub-01_ses-1_task-rest_bold"]}, 13, "user"),
        ({"exclude": ["sub-01_ses-1_task-rest"]}, 13, "user"),
        ({"exclude": ["sub-01_ses-1_task-rest_bold.nii.gz"]}, 13, "user"),
        ({"tracers": ["RAC"]}, 14, None),
        ({}, 14, None),
    ],
)
def test_filters_account_for_every_scan(tmp_path, filters, kept, dropped_rule):
    table = build_scan_table(write_tree(TREES["sessions"], tmp_path))
    left, excluded = filter_scans(table, filters)
    assert len(left) == kept
    assert len(left) + len(excluded) == len(table)
    assert {row["rule"] for row in excluded} == ({dropped_rule} if dropped_rule else set())
    assert all(row["reason"] for row in excluded)
    assert build_scan_table(tmp_path, filters).equals(left)


def test_session_filter_leaves_the_t1w_of_other_sessions(tmp_path):
    left = build_scan_table(write_tree(TREES["mixed_sessions"], tmp_path), {"sessions": ["2"]})
    assert "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz" in set(left["path"])
    assert set(left.loc[left["suffix"] != "T1w", "session_id"]) == {"ses-2"}


def test_run_filter_reads_numbers(tmp_path):
    spec = {"participants": {"01": ["T1w", "task-m_run-01_bold", "task-m_run-02_bold"]}}
    left = build_scan_table(write_tree(spec, tmp_path), {"runs": ["1"]})
    assert list(left.loc[left["suffix"] == "bold", "run"]) == ["01"]


@pytest.mark.parametrize(
    ("filters", "parts"),
    [
        ({"participants": ["1"]}, ["index.participants is '1'", "allowed: 01, 02, 03", "did you mean '01'?"]),
        ({"tasks": ["rset"]}, ["index.tasks is 'rset'", "allowed: motor, rest", "did you mean 'rest'?"]),
        ({"sessions": ["1"]}, ["index.sessions is '1'", "allowed: none"]),
        ({"exclude": ["sub-01_task-rst"]}, ["index.exclude", "did you mean sub-01_task-rest"]),
    ],
)
def test_a_filter_that_matches_nothing_is_an_error(tmp_path, filters, parts):
    root = write_tree(TREES["no_sessions"], tmp_path)
    with pytest.raises(InputError) as error:
        build_scan_table(root, filters)
    for part in ["config", *parts]:
        assert part in str(error.value)


def test_uncompressed_images_count(tmp_path):
    root = write_tree({**TREES["one_participant"], "extension": ".nii"}, tmp_path)
    assert set(build_scan_table(root)["path"].str[-4:]) == {".nii"}


def test_derivative_names_and_wrong_folders_are_no_scans(tmp_path):
    root = write_tree(TREES["one_participant"], tmp_path)
    write_image(root / "sub-01/func/sub-01_task-rest_space-T1w_bold.nii.gz", shape=(3, 4, 5, 6))
    write_image(root / "sub-01/anat/sub-01_task-x_bold.nii.gz", shape=(3, 4, 5, 6))
    write_image(root / "sub-01/anat/sub-02_T1w.nii.gz", shape=(3, 4, 5))
    assert len(build_scan_table(root)) == 4
