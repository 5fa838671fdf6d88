"""Pairing with a T1w, and an account of every scan that is left out."""

import datetime

import pytest
from trees import TREES, tree, write_tree

from neurobraid.bids.check import check_structure
from neurobraid.bids.pairing import build_index, index_from_table, pair, read_dates
from neurobraid.bids.table import build_scan_table, list_images, open_dataset


def pairs(index):
    return {(r["scan"], r["suffix"]): r for r in index.pairing.to_dict("records")}


def reasons(index):
    return {r["path"]: (r["rule"], r["reason"]) for r in index.exclusions.to_dict("records")}


SESSIONS = {"01/1": ["T1w"], "01/2": ["trc-RAC_pet"], "01/3": ["task-rest_bold"], "01/9": ["T1w"]}


def with_dates(days, kind):
    """Dataset of four sessions whose dates stand in the sessions or in the scans files."""
    files = {}
    if kind == "sessions":
        rows = [("session_id", "acq_time"), *((f"ses-{s}", d) for s, d in days.items())]
        files["sub-01/sub-01_sessions.tsv"] = rows
    else:
        for key, (image,) in SESSIONS.items():
            session = key.partition("/")[2]
            folder = {"T1w": "anat", "pet": "pet", "bold": "func"}[image.rpartition("_")[2]]
            name = f"{folder}/sub-01_ses-{session}_{image}.nii.gz"
            rows = [("filename", "acq_time"), (name, f"{days[session]}T10:00:00")]
            files[f"sub-01/ses-{session}/sub-01_ses-{session}_scans.tsv"] = rows
    return {"participants": SESSIONS, "files": files}


def test_same_session_comes_first(tmp_path):
    index = build_index(write_tree(TREES["sessions"], tmp_path))
    assert set(index.pairing["rule"]) == {"same-session"}
    assert all(r["t1w_scan"] in r["scan"] for r in index.pairing.to_dict("records"))
    assert index.exclusions.empty


@pytest.mark.parametrize("kind", ["sessions", "scans"])
def test_nearest_in_days_within_the_limit(tmp_path, kind):
    days = {"1": "2020-01-01", "2": "2020-03-01", "3": "2020-05-01", "9": "2020-05-21"}
    index = build_index(write_tree(with_dates(days, kind), tmp_path), {"max_days": 60})
    found = pairs(index)
    pet, bold = found["sub-01_ses-2_trc-RAC", "pet"], found["sub-01_ses-3_task-rest", "bold"]
    # 31 + 29 days in a leap year, just allowed
    assert (pet["rule"], pet["t1w_scan"], pet["days"]) == ("nearest-date", "sub-01_ses-1", "60")
    assert (bold["rule"], bold["t1w_visit"], bold["days"]) == ("nearest-date", "sub-01/ses-9", "20")
    assert index.exclusions.empty


def test_too_far_is_excluded_with_the_days(tmp_path):
    days = {"1": "2020-01-01", "2": "2020-03-01", "3": "2020-05-01", "9": "2020-05-21"}
    index = build_index(write_tree(with_dates(days, "sessions"), tmp_path), {"max_days": 59})
    rule, reason = reasons(index)["sub-01/ses-2/pet/sub-01_ses-2_trc-RAC_pet.nii.gz"]
    assert rule == "no-t1w"
    assert reason == "the nearest T1w (sub-01_ses-1) is 60 days away; index.max_days allows 59"
    assert pairs(index)["sub-01_ses-2_trc-RAC", "pet"]["rule"] == "excluded"
    assert "pet" not in set(index.scans["suffix"])
    # the T1w that now serves nothing is not processed, and that is said
    assert reasons(index)["sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"][0] == "unused-t1w"


def test_scans_file_counts_before_sessions_file(tmp_path):
    days = {"1": "2020-01-01", "2": "2020-03-01", "3": "2020-05-01", "9": "2020-05-21"}
    spec = with_dates(days, "scans")
    spec["files"]["sub-01/sub-01_sessions.tsv"] = [("session_id", "acq_time"), ("ses-2", "2001-01-01")]
    root = write_tree(spec, tmp_path)
    dates = read_dates(root, build_scan_table(root))
    assert dates["sub-01/ses-2/pet/sub-01_ses-2_trc-RAC_pet.nii.gz"] == datetime.date(2020, 3, 1)
    assert len(dates) == 4


def test_without_dates_the_nearest_session_by_name_and_it_is_said(tmp_path):
    index = build_index(write_tree({"participants": SESSIONS}, tmp_path))
    found = pairs(index)
    pet, bold = found["sub-01_ses-2_trc-RAC", "pet"], found["sub-01_ses-3_task-rest", "bold"]
    assert (pet["rule"], pet["t1w_scan"], pet["days"]) == ("nearest-name", "sub-01_ses-1", "n/a")
    # ses-3 stands beside ses-9 in the list of the participant's sessions
    assert (bold["rule"], bold["t1w_scan"]) == ("nearest-name", "sub-01_ses-9")
    assert "no dates known" in bold["reason"]


def test_a_tie_takes_the_earlier_session(tmp_path):
    spec = {"participants": {"01/1": ["T1w"], "01/2": ["task-rest_bold"], "01/3": ["T1w"]}}
    index = build_index(write_tree(spec, tmp_path))
    assert pairs(index)["sub-01_ses-2_task-rest", "bold"]["t1w_scan"] == "sub-01_ses-1"


def test_participant_without_t1w(tmp_path):
    spec = {"participants": {"01": ["T1w", "task-rest_bold"], "02": ["task-rest_bold", "trc-RAC_pet"]}}
    index = build_index(write_tree(spec, tmp_path))
    assert set(index.scans["participant_id"]) == {"sub-01"}
    excluded = index.exclusions
    assert list(excluded["reason"]) == ["sub-02 has no usable T1w"] * 2
    assert set(index.pairing.loc[index.pairing["rule"] == "excluded", "t1w_scan"]) == {"n/a"}


IMAGES = ["acq-hires_T1w", "run-10_T1w", "run-2_T1w", "rec-norm_T1w", "task-rest_bold"]


def test_one_t1w_per_visit_plain_name_and_lowest_run_first(tmp_path):
    index = build_index(write_tree({"participants": {"01": IMAGES}}, tmp_path), {"average": False})
    assert pairs(index)["sub-01_task-rest", "bold"]["t1w_scan"] == "sub-01_run-2"
    assert {rule for rule, _ in reasons(index).values()} == {"second-t1w"}
    assert "sub-01_run-2_T1w.nii.gz was taken" in reasons(index)["sub-01/anat/sub-01_run-10_T1w.nii.gz"][1]


def test_t1w_runs_of_one_protocol_are_one_scan(tmp_path):
    index = build_index(write_tree({"participants": {"01": IMAGES}}, tmp_path))
    assert pairs(index)["sub-01_task-rest", "bold"]["t1w_scan"] == "sub-01_run-2"
    paths = [f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz" for run in (2, 10)]
    t1w = index.scans[index.scans["suffix"] == "T1w"]
    assert list(t1w["path"]) == [";".join(paths)]
    assert {rule for rule, _ in reasons(index).values()} == {"second-t1w"}
    assert set(reasons(index)) == {
        f"sub-01/anat/sub-01_{label}_T1w.nii.gz" for label in ("acq-hires", "rec-norm")
    }
    assert {f"raw/{path}" for path in paths} < set(index.files("raw"))


def test_a_damaged_second_run_is_found(tmp_path):
    root = write_tree({"participants": {"01": ["run-1_T1w", "run-2_T1w"]}}, tmp_path)
    (root / "sub-01/anat/sub-01_run-2_T1w.nii.gz").write_bytes(b"no image")
    problems = check_structure(root)
    assert any(p.file == "sub-01/anat/sub-01_run-2_T1w.nii.gz" for p in problems.errors)


def test_t1w_only_participants_stay(tmp_path):
    spec = {"participants": {"01": ["T1w"], "02": ["T1w", "task-rest_bold"]}}
    index = build_index(write_tree(spec, tmp_path))
    assert set(index.scans["participant_id"]) == {"sub-01", "sub-02"}
    assert index.exclusions.empty


def bold_rows(index):
    return {r["scan"]: r for r in index.scans.to_dict("records") if r["suffix"] == "bold"}


def test_echoes_of_a_run_are_one_scan(tmp_path):
    index = build_index(write_tree(TREES["multi_echo"], tmp_path))
    rows = bold_rows(index)
    assert set(rows) == {
        "sub-01_task-rest", "sub-01_task-motor_part-mag", "sub-02_task-rest_run-1", "sub-02_task-rest_run-2_echo-2"
    }  # fmt: skip
    base = "sub-01/func/sub-01_task-rest_echo-"
    assert rows["sub-01_task-rest"]["path"] == ";".join(f"{base}{n}_bold.nii.gz" for n in (1, 2, 3))
    assert rows["sub-01_task-rest"]["sidecars"] == ";".join(f"{base}{n}_bold.json" for n in (1, 2, 3))
    assert rows["sub-02_task-rest_run-1"]["path"].count(";") == 1
    assert ";" not in rows["sub-02_task-rest_run-2_echo-2"]["path"]
    assert [rule for rule, _ in reasons(index).values()] == ["part"]
    assert pairs(index)["sub-01_task-rest", "bold"]["t1w_scan"] == "sub-01"
    assert f"bids/{base}2_bold.nii.gz" in index.files("bids")


def test_echoes_are_ordered_by_number_not_text(tmp_path):
    images = ["T1w", *(f"task-m_echo-{e}_bold" for e in (10, 9, 1))]
    rows = bold_rows(build_index(write_tree({"participants": {"01": images}}, tmp_path)))
    (path,) = (row["path"] for row in rows.values())
    assert [part.partition("echo-")[2].partition("_")[0] for part in path.split(";")] == ["1", "9", "10"]


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ("sub-01_task-rest_echo-3_bold", {"sub-01_task-rest": 2}),
        ("sub-01_task-rest_bold", {}),
        ("sub-01_task-rest", {}),
    ],
)
def test_an_echo_or_the_run_may_be_excluded(tmp_path, exclude, left):
    index = build_index(write_tree(TREES["multi_echo"], tmp_path), {"exclude": [exclude]})
    rows = {k: r for k, r in bold_rows(index).items() if k.startswith("sub-01_task-rest")}
    assert {scan: row["path"].count(";") + 1 for scan, row in rows.items()} == left
    assert sum(rule == "user" for rule, _ in reasons(index).values()) == (1 if left else 3)


def test_a_run_beside_its_echoes_stands_for_itself(tmp_path):
    images = ["T1w", "task-rest_bold", "task-rest_echo-1_bold", "task-rest_echo-2_bold"]
    index = build_index(write_tree({"participants": {"01": images}}, tmp_path))
    assert bold_rows(index)["sub-01_task-rest"]["path"] == "sub-01/func/sub-01_task-rest_bold.nii.gz"
    found = reasons(index)["sub-01/func/sub-01_task-rest_echo-1_bold.nii.gz"]
    assert found == (
        "echo",
        "sub-01_task-rest_bold, which is no single echo, is there too and stands for the run",
    )


def test_the_date_of_a_run_is_that_of_its_first_echo(tmp_path):
    images = [f"task-rest_echo-{e}_bold" for e in (1, 2)]
    rows = [
        ("session_id", "acq_time"),
        ("ses-1", "2020-01-01"),
        ("ses-2", "2020-03-01"),
        ("ses-3", "2020-03-05"),
    ]
    spec = {
        "participants": {"01/1": ["T1w"], "01/2": images, "01/3": ["T1w"]},
        "files": {"sub-01/sub-01_sessions.tsv": rows},
    }
    pair = pairs(build_index(write_tree(spec, tmp_path)))["sub-01_ses-2_task-rest", "bold"]
    assert (pair["rule"], pair["t1w_scan"], pair["days"]) == ("nearest-date", "sub-01_ses-3", "4")


def test_same_scan_twice(tmp_path):
    root = write_tree(TREES["one_participant"], tmp_path)
    image = root / "sub-01/func/sub-01_task-rest_bold.nii.gz"
    image.with_suffix("").write_bytes(b"")
    index = build_index(root)
    assert not index.scans.duplicated(["scan", "suffix"]).any()
    assert [rule for rule, _ in reasons(index).values()] == ["duplicate"]


@pytest.mark.parametrize("options", [{}, {"participants": ["01"]}, {"exclude": ["sub-01_trc-RAC_pet"]}])
@pytest.mark.parametrize("name", [n for n in TREES if n not in ("fmri_only", "inherited", "other_suffixes")])
def test_every_raw_image_is_analysed_or_excluded(tmp_path, name, options):
    root = write_tree(TREES[name], tmp_path)
    if "exclude" in options:
        options = {"exclude": [build_scan_table(root)["scan"].iloc[-1]]}
    index = build_index(root, options)
    images = {path for path, _, _ in list_images(open_dataset(root))}
    fieldmaps = {path for paths in index.fieldmaps["paths"] for path in paths.split(";")}
    analysed = {path for joined in index.scans["path"] for path in joined.split(";")} | fieldmaps - {"n/a"}
    excluded = set(index.exclusions["path"]) - {"n/a"}
    assert analysed | excluded == images
    assert not analysed & excluded
    assert index.exclusions["reason"].str.len().min() > 10 or index.exclusions.empty


def test_images_no_stage_reads_are_listed(tmp_path):
    index = build_index(write_tree(TREES["other_suffixes"], tmp_path))
    listed = {r["suffix"]: r["reason"] for r in index.exclusions.to_dict("records")}
    assert listed["T2w"] == "no stage reads T2w images"
    assert set(listed) == {"T2w", "dwi", "epi", "sbref"}


def test_listed_participants_without_data(tmp_path):
    rows = [("participant_id",), ("sub-01",), ("sub-99",)]
    root = write_tree(tree("one_participant", participants_tsv=rows), tmp_path)
    (root / "sub-50").mkdir()
    index = build_index(root)
    found = {r["participant_id"]: r["reason"] for r in index.exclusions.to_dict("records")}
    assert found == {
        "sub-99": "listed in participants.tsv, but the dataset has no folder of that name",
        "sub-50": "the folder holds no T1w, BOLD or PET image",
    }


def test_excluding_a_participants_scans_leaves_no_orphan_t1w(tmp_path):
    index = build_index(
        write_tree(TREES["fmri_only"], tmp_path), {"exclude": ["sub-02_task-objectcategories_run-1"]}
    )
    assert index.scans.empty
    assert {rule for rule, _ in reasons(index).values()} == {"user", "unused-t1w"}


def test_tables_and_files_for_the_rules(tmp_path):
    index = build_index(write_tree(TREES["mixed_sessions"], tmp_path))
    texts = index.tables()
    assert set(texts) == {"scans", "pairing", "exclusions", "fieldmaps"}
    assert texts["scans"].count("\n") == len(index.scans) + 1
    files = index.files("bids")
    assert len(files) == len(set(files))
    assert all((tmp_path / f.removeprefix("bids/")).is_file() for f in files)
    assert any(f.endswith("_events.tsv") for f in files)


def test_an_empty_table_pairs_to_nothing(tmp_path):
    table = build_scan_table(write_tree({"participants": {"01": ["T2w"]}}, tmp_path))
    index = index_from_table(table, {})
    assert index.scans.empty
    assert pair(table)[1] == []


def test_shuffled_rows_pair_the_same(tmp_path):
    root = write_tree(TREES["mixed_sessions"], tmp_path)
    table = build_scan_table(root)
    shuffled = table.sample(frac=1, random_state=3).reset_index(drop=True)
    key = ["scan", "suffix"]
    ours, theirs = pair(table)[0], pair(shuffled)[0]
    assert ours.sort_values(key).values.tolist() == theirs.sort_values(key).values.tolist()
