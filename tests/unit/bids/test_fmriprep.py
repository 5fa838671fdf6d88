"""Derivatives of fMRIPrep: which scans are whole, and the reason for every other one."""

import json

import pytest

from neurobraid.bids.fmriprep import COLUMNS, decide, files_of, read_derivatives, read_version
from neurobraid.bids.pairing import build_index
from neurobraid.bids.table import build_scan_table
from neurobraid.errors import InputError
from tests.unit.bids.derivatives import LAYOUTS, forget, write_names
from tests.unit.bids.trees import SHAPE, VOLUMES, tree, write_image, write_tree


def study(tmp_path, name="no_sessions", **options):
    raw = write_tree(tree(name), tmp_path / "raw")
    return raw, write_names(raw, tmp_path / "fmriprep", **options)


def decided(raw, root):
    found = json.loads(json.dumps(read_derivatives(root, raw, build_scan_table(raw))))
    index = build_index(raw)
    return decide(index.scans, index.pairing, found).set_index(["suffix", "scan"]), found


@pytest.mark.parametrize("version", sorted(LAYOUTS))
@pytest.mark.parametrize(
    ("name", "per_session"), [("no_sessions", True), ("sessions", True), ("sessions", False)]
)
def test_every_layout_is_adopted_whole(tmp_path, version, name, per_session):
    raw, root = study(tmp_path, name, version=version, per_session=per_session)
    table, _ = decided(raw, root)
    assert set(table["source"]) == {"fmriprep"} and set(table["version"]) == {version}
    assert len(table) == sum(p.name.endswith(("_T1w.nii.gz", "_bold.nii.gz")) for p in raw.rglob("*"))
    for text in table["files"]:
        assert all((root / path).is_file() for path in files_of(text).values())
    bold = files_of(table.loc["bold"]["files"].iloc[0])
    assert ("space-T1w" if "T1w" in LAYOUTS[version]["spaces"] else "MNI152NLin2009cAsym") in bold["bold"]
    assert bold["coreg"].endswith(LAYOUTS[version]["coreg"]) and "confounds" in bold["confounds"]
    folder = "/anat/" if not per_session or name == "no_sessions" else "ses-1/anat/"
    assert folder in files_of(table.loc["T1w"]["files"].iloc[0])["t1w"]


def test_both_kinds_live_in_one_study(tmp_path):
    raw, root = study(tmp_path, people=["01", "03"])
    table, _ = decided(raw, root)
    by_person = {scan.split("_")[0]: source for (_, scan), source in table["source"].items()}
    assert by_person == {"sub-01": "fmriprep", "sub-02": "neurobraid", "sub-03": "fmriprep"}
    assert table.loc[("T1w", "sub-02"), "reason"] == "fMRIPrep has nothing of this participant"


def test_session_by_session(tmp_path):
    raw, root = study(tmp_path, "sessions")
    forget(root, "sub-01/ses-2")
    table, _ = decided(raw, root)
    sources = {scan: source for (_, scan), source in table["source"].items()}
    assert (
        sources["sub-01_ses-1_task-rest"] == "fmriprep" and sources["sub-01_ses-2_task-rest"] == "neurobraid"
    )
    assert sources["sub-02_ses-2_task-rest"] == "fmriprep"


@pytest.mark.parametrize(
    ("pattern", "scan", "words"),
    [
        ("sub-01/func/*rest*confounds_timeseries.tsv", "sub-01_task-rest", "lacks the confounds table"),
        ("sub-01/func/*rest*coreg_xfm.txt", "sub-01_task-rest", "transform of the BOLD reference"),
        ("sub-01/func/*rest*_bold.nii.gz", "sub-01_task-rest", "not at all"),
        ("sub-01/func/*rest*", "sub-01_task-rest", "nothing of this run"),
        ("sub-01/anat/*WM_probseg.nii.gz", "sub-01", "lacks label-WM_probseg"),
        ("sub-01/anat/*to-MNI*.h5", "sub-01", "lacks from-T1w_to-MNI152NLin2009cAsym"),
    ],
)
def test_what_is_missing_is_named_and_done_here(tmp_path, pattern, scan, words):
    raw, root = study(tmp_path)
    forget(root, pattern)
    table, _ = decided(raw, root)
    kind = "bold" if "task" in scan else "T1w"
    assert table.loc[(kind, scan), "source"] == "neurobraid" and words in table.loc[(kind, scan), "reason"]
    # a run without its anatomy cannot be adopted; one run lacking leaves the others alone
    others = table.drop((kind, scan)).loc["bold"]
    mine = others[others.index.str.startswith("sub-01_")]
    assert set(mine["source"]) == {"fmriprep" if kind == "bold" else "neurobraid"}
    assert set(others.drop(mine.index)["source"]) == {"fmriprep"}


def test_unknown_space_is_named(tmp_path):
    raw, root = study(tmp_path, spaces=("MNI152NLin6Asym", "fsaverage"))
    table, _ = decided(raw, root)
    reason = table.loc[("bold", "sub-01_task-rest"), "reason"]
    assert (
        "only in MNI152NLin6Asym, fsaverage" in reason
        and "taken from T1w, native or MNI152NLin2009cAsym" in reason
    )


def test_other_number_of_volumes_is_a_warning(tmp_path):
    raw, root = study(tmp_path)
    path = root / "sub-01/func/sub-01_task-rest_space-T1w_desc-preproc_bold.nii.gz"
    write_image(path, shape=(*SHAPE, VOLUMES - 1))
    table, found = decided(raw, root)
    assert "has 11 volumes, the raw run 12" in table.loc[("bold", "sub-01_task-rest"), "reason"]
    assert [w["field"] for w in found["warnings"]] == ["sub-01_task-rest"]


def test_confounds_of_other_length_or_columns(tmp_path):
    raw, root = study(tmp_path)
    path = root / "sub-01/func/sub-01_task-rest_desc-confounds_timeseries.tsv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-2]) + "\n")
    assert "10 rows for 12 volumes" in decided(raw, root)[0].loc[("bold", "sub-01_task-rest"), "reason"]
    path.write_text("\n".join(line.partition("\t")[2] for line in lines) + "\n")
    assert "has no column trans_x" in decided(raw, root)[0].loc[("bold", "sub-01_task-rest"), "reason"]


def test_broken_link_and_damaged_file(tmp_path):
    raw, root = study(tmp_path)
    mask = root / "sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    mask.unlink()
    mask.symlink_to("nowhere")
    (root / "sub-02/func/sub-02_task-rest_space-T1w_desc-preproc_bold.nii.gz").write_bytes(b"x" * 40)
    table, _ = decided(raw, root)
    assert "broken link" in table.loc[("T1w", "sub-01"), "reason"]
    assert (
        "not a" in table.loc[("bold", "sub-02_task-rest"), "reason"]
        or "damaged" in table.loc[("bold", "sub-02_task-rest"), "reason"]
    )


def test_runs_echoes_and_order_of_entities(tmp_path):
    spec = {"participants": {"01": ["T1w", "task-rest_run-01_echo-1_bold", "task-rest_run-01_echo-2_bold"]}}
    raw = write_tree(spec, tmp_path / "raw")
    root = write_names(raw, tmp_path / "fmriprep")
    func = root / "sub-01/func"
    for path in sorted(func.iterdir()):
        # fMRIPrep joins echoes; older versions called the result optcom and put space before res or desc
        name = (
            path.name.replace("_echo-1", "").replace("run-01", "run-1").replace("preproc_bold", "optcom_bold")
        )
        path.unlink() if "echo-2" in path.name else path.rename(func / name)
    for path in func.glob("*space-T1w_desc-optcom*"):
        path.rename(func / path.name.replace("space-T1w_desc-optcom", "desc-optcom_space-T1w"))
    table, _ = decided(raw, root)
    assert table.loc[("bold", "sub-01_task-rest_run-01"), "source"] == "fmriprep"
    assert "desc-optcom_space-T1w" in table.loc[("bold", "sub-01_task-rest_run-01"), "files"]


def test_sources_say_which_t1w_went_in(tmp_path):
    raw, root = study(tmp_path, "sessions", per_session=False)
    sidecar = root / "sub-01/anat/sub-01_desc-preproc_T1w.json"
    sidecar.write_text(json.dumps({"Sources": ["bids:raw:sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"]}))
    table, _ = decided(raw, root)
    assert table.loc[("T1w", "sub-01_ses-1"), "source"] == "fmriprep"
    assert table.loc[("T1w", "sub-01_ses-2"), "reason"] == "fMRIPrep has no anatomy made from this T1w"
    assert "its T1w sub-01_ses-2 cannot be adopted" in table.loc[("bold", "sub-01_ses-2_task-rest"), "reason"]


def test_run_aligned_to_another_t1w_is_not_adopted(tmp_path):
    # fMRIPrep saw one session's T1w only and aligned both sessions to it; the study has two
    raw, root = study(tmp_path, "sessions")
    forget(root, "sub-01/ses-2/anat")
    table, _ = decided(raw, root)
    assert table.loc[("bold", "sub-01_ses-2_task-rest"), "source"] == "neurobraid"
    assert table.loc[("bold", "sub-01_ses-1_task-rest"), "source"] == "fmriprep"


def test_runs_without_raw_data_are_excluded_with_a_reason(tmp_path):
    raw, root = study(tmp_path, "sessions")
    forget(raw, "sub-01/ses-2/func/*")
    forget(raw, "sub-02")
    _, found = decided(raw, root)
    rows = {r["scan"]: r for r in found["without_raw"]}
    assert set(rows) == {
        "sub-01_ses-2_task-rest", "sub-02_ses-1_task-motor", "sub-02_ses-1_task-rest", "sub-02_ses-2_task-motor",
        "sub-02_ses-2_task-rest",
    }  # fmt: skip
    row = rows["sub-01_ses-2_task-rest"]
    assert (
        row["rule"] == "no-raw"
        and row["session_id"] == "ses-2"
        and "the raw dataset has not" in row["reason"]
    )


def test_nothing_adopted_gives_a_table_too(tmp_path):
    raw = write_tree(tree("no_sessions"), tmp_path / "raw")
    index = build_index(raw)
    table = decide(index.scans, index.pairing)
    assert tuple(table.columns) == COLUMNS and set(table["source"]) == {"neurobraid"}
    assert set(table["reason"]) == {"adopt.fmriprep is not set"} and len(table) == 9


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "missing (no derivative)"),
        ({"Name": "x", "BIDSVersion": "1.8.0", "DatasetType": "raw"}, "DatasetType is raw"),
        ({"DatasetType": "derivative", "GeneratedBy": [{"Name": "XCP-D"}]}, "GeneratedBy is XCP-D"),
        ({"DatasetType": "derivative"}, "GeneratedBy is not stated"),
    ],
)
def test_folder_that_is_no_fmriprep(tmp_path, content, words):
    _, root = study(tmp_path)
    path = root / "dataset_description.json"
    path.unlink()
    if content is not None:
        path.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        read_version(root)
    assert words in str(caught.value) and "Fix:" in str(caught.value)


def test_old_description_and_folder_above(tmp_path):
    _, root = study(tmp_path)
    old = {"Name": "fMRIPrep", "PipelineDescription": {"Name": "fMRIPrep", "Version": "20.1.1"}}
    (root / "dataset_description.json").write_text(json.dumps(old))
    assert read_version(root) == "20.1.1"
    with pytest.raises(InputError, match="folder fmriprep inside it"):
        read_version(tmp_path)


def test_derivatives_of_another_dataset(tmp_path):
    _, root = study(tmp_path)
    other = write_tree({"participants": {"77": ["T1w", "task-rest_bold"]}}, tmp_path / "other")
    with pytest.raises(InputError, match="at least one participant of the raw dataset"):
        read_derivatives(root, other, build_scan_table(other))
