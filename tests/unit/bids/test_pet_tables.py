"""Curves and input functions of other programs: which scan they belong to, and what is wrong with them."""

import json

import pandas as pd
import pytest

from neurobraid.bids import pet_tables
from neurobraid.bids.pairing import index_from_table
from neurobraid.bids.table import make_table, open_dataset, scan_rows
from neurobraid.errors import InputError

TABLE = "frame_start\tframe_end\tcortex\tcerebellum\n0\t60\t1\t2\n60\t300\t3\t2\n300\t600\t5\t4\n"
SIDE = {
    "Units": "kBq/mL",
    "TracerRadionuclide": "F18",
    "InjectionStart": 0,
    "FrameTimesStart": [0],
    "FrameDuration": [60],
}


def put(root, path, text=""):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    return root / path


@pytest.fixture
def raw(tmp_path):
    root = tmp_path / "raw"
    put(root, "dataset_description.json", '{"Name": "x", "BIDSVersion": "1.8.0"}')
    put(root, "participants.tsv", "participant_id\nsub-01\nsub-02\n")
    for scan in ("sub-01_ses-a", "sub-02_ses-a"):
        sub, ses = scan.split("_")
        put(root, f"{sub}/{ses}/pet/{scan}_pet.json", json.dumps(SIDE))
    return root


def read(raw, folders, **options):
    tree = open_dataset(raw)
    return pet_tables.read_derivatives(folders, tree, make_table(scan_rows(tree)), **options)


@pytest.mark.parametrize(
    "name",
    [
        "sub-01_ses-a_desc-preproc_seg-gtm_tacs.tsv",
        "sub-01_ses-a_seg-gtm_desc-preproc_tacs.tsv",
        "sub-01_ses-a_seg-gtm_desc-preproc_timeseries.tsv",
    ],
)
def test_every_dialect_belongs_to_its_scan(tmp_path, raw, name):
    put(tmp_path, f"p/sub-01/ses-a/pet/{name}", TABLE)
    put(tmp_path, "p/sub-01/ses-a/pet/sub-01_ses-a_desc-confounds_timeseries.tsv", "x\n1\n")
    put(tmp_path, "p/sub-01/anat/sub-01_desc-preproc_seg-gtm_morph.tsv", "name\tvolume-mm3\ncortex\t5\n")
    found = read(raw, {"petprep": tmp_path / "p"})
    (scan,) = found["scans"]
    assert (scan["scan"], scan["source"], found["segmentation"]) == ("sub-01_ses-a", "petprep", "gtm")
    assert set(scan["files"]) == {"table", "morph", "confounds"}
    assert scan["files"]["table"] == f"derivatives/petprep/sub-01/ses-a/pet/{name}"
    (row,) = found["rows"]
    assert row["path"] == row["sidecars"] == "sub-01/ses-a/pet/sub-01_ses-a_pet.json"


def test_a_scan_of_tables_needs_neither_t1w_nor_image(tmp_path, raw):
    put(tmp_path, "p/sub-01/ses-a/pet/sub-01_ses-a_seg-gtm_tacs.tsv", TABLE)
    put(tmp_path, "p/sub-09/pet/sub-09_seg-gtm_tacs.tsv", TABLE)
    put(raw, "sub-02/ses-a/pet/sub-02_ses-a_pet.nii.gz")
    found = read(raw, {"petprep": tmp_path / "p"})
    images = make_table(scan_rows(open_dataset(raw)))
    index = index_from_table(
        pet_tables.with_scans(images, found), {"exclude": ["sub-09"]}, without_t1w=pet_tables.adopted(found)
    )
    assert list(index.scans["scan"]) == ["sub-01_ses-a"]
    gone = index.exclusions.set_index("scan")["rule"].to_dict()
    assert gone == {"sub-02_ses-a": "no-t1w", "sub-09": "user"}
    pairing = index.pairing.set_index("scan")
    assert pairing.loc["sub-01_ses-a", "rule"] == "not-needed"
    assert index.files("bids") == ["bids/sub-01/ses-a/pet/sub-01_ses-a_pet.json"]
    made = pet_tables.decide(pd.DataFrame(columns=pet_tables.COLUMNS), index.scans, found)
    assert made["source"].tolist() == ["petprep"]


def test_two_tracers_are_never_guessed_apart(tmp_path, raw):
    for trc in ("A", "B"):
        put(raw, f"sub-01/ses-b/pet/sub-01_ses-b_trc-{trc}_pet.json", json.dumps(SIDE))
    put(tmp_path, "p/sub-01/ses-b/pet/sub-01_ses-b_seg-gtm_tacs.tsv", TABLE)
    with pytest.raises(InputError, match="sub-01_ses-b_trc-A and sub-01_ses-b_trc-B"):
        read(raw, {"petprep": tmp_path / "p"})
    (tmp_path / "p/sub-01/ses-b/pet/sub-01_ses-b_seg-gtm_tacs.tsv").rename(
        tmp_path / "p/sub-01/ses-b/pet/sub-01_ses-b_trc-B_seg-gtm_tacs.tsv"
    )
    assert read(raw, {"petprep": tmp_path / "p"})["scans"][0]["scan"] == "sub-01_ses-b_trc-B"
    # one tracer only: a name without it is that scan's
    (raw / "sub-01/ses-b/pet/sub-01_ses-b_trc-A_pet.json").unlink()
    put(tmp_path, "q/sub-01/ses-b/pet/sub-01_ses-b_seg-gtm_tacs.tsv", TABLE)
    assert read(raw, {"petprep": tmp_path / "q"})["scans"][0]["scan"] == "sub-01_ses-b_trc-B"


def test_segmentation_is_chosen_by_the_user_where_there_are_several(tmp_path, raw):
    for name in ("seg-gtm", "pvc-AGTM_seg-gtm", "seg-wm"):
        put(tmp_path, f"p/sub-01/ses-a/pet/sub-01_ses-a_{name}_tacs.tsv", TABLE)
    folders = {"petprep": tmp_path / "p"}
    with pytest.raises(InputError, match="gtmPvcAGTM"):
        read(raw, folders)
    found = read(raw, folders, segmentation="gtmPvcAGTM")
    assert found["scans"][0]["files"]["table"].endswith("pvc-AGTM_seg-gtm_tacs.tsv")
    with pytest.raises(InputError, match="dkt"):
        read(raw, folders, segmentation="dkt")
    # a bare table names none and is taken for the one that is asked for; the later program comes first
    put(tmp_path, "t/sub-02_ses-a_tacs.tsv", TABLE)
    both = read(raw, {**folders, "tacs": tmp_path / "t"}, segmentation="gtm")
    assert {r["scan"]: r["source"] for r in both["scans"]} == {
        "sub-01_ses-a": "petprep",
        "sub-02_ses-a": "tacs",
    }


def test_new_name_wins_over_the_old_and_a_real_double_is_an_error(tmp_path, raw):
    home = "p/sub-01/ses-a/pet/sub-01_ses-a"
    put(tmp_path, f"{home}_seg-gtm_desc-preproc_timeseries.tsv", TABLE)
    put(tmp_path, f"{home}_seg-gtm_desc-preproc_tacs.tsv", TABLE)
    found = read(raw, {"petprep": tmp_path / "p"})
    assert found["scans"][0]["files"]["table"].endswith("_tacs.tsv")
    put(tmp_path, f"{home}_desc-preproc_seg-gtm_tacs.tsv", TABLE)
    with pytest.raises(InputError, match="keep one"):
        read(raw, {"petprep": tmp_path / "p"})


def test_petfit_and_bloodstream(tmp_path, raw):
    rows = "sub\tses\tpet\tsegmentation\tregion\n01\ta\tx\tseg-gtm\tcortex\nsub-02\ta\ty\tseg-gtm\tcortex\n"
    put(tmp_path, "f/desc-combinedregions_tacs.tsv", rows)
    put(tmp_path, "b/sub-02/ses-a/pet/sub-02_ses-a_inputfunction.tsv", "time\tAIF\n0\t1\n")
    put(tmp_path, "b/sub-02/ses-a/pet/sub-02_ses-a_inputfunction.json", "{}")
    found = read(raw, {"petfit": tmp_path / "f", "bloodstream": tmp_path / "b"})
    assert [r["scan"] for r in found["scans"]] == ["sub-01_ses-a", "sub-02_ses-a"]
    assert list(found["inputs"]) == ["sub-02_ses-a"] and len(found["inputs"]["sub-02_ses-a"]) == 2
    with pytest.raises(InputError, match=r"adopt\.petprep"):
        read(raw, {"petprep": tmp_path / "b"})
    with pytest.raises(InputError, match=r"adopt\.bloodstream"):
        read(raw, {"bloodstream": tmp_path / "f"})
    put(tmp_path, "b/dataset_description.json", '{"DatasetType": "raw"}')
    with pytest.raises(InputError, match="derivative"):
        read(raw, {"petprep": tmp_path / "b"})


@pytest.mark.parametrize(
    ("change", "parts", "level"),
    [
        (("frame_end", "stop"), ["columns", "frame_end"], "error"),
        (("60\t300", "50\t300"), ["frame 2", "50 s", "frame 1 ends at 60 s"], "error"),
        (("60\t300", "60\t30"), ["frame 2", "60 to 30 s"], "error"),
        (("300\t600\t5\t4", "300\t600\t0\tn/a"), ["frame 3", "0 or n/a in every region"], "error"),
        (("3\t2", "high\t2"), ["cortex of row 2", "'high'"], "error"),
        (("5\t4", "-3\t4"), ["cortex", "-3 in frame 3", "background"], "warning"),
        (("1\t2\n60\t300\t3\t2\n300\t600\t5\t4", "1\tn/a\n60\t300\t3\tn/a\n300\t600\t5\tn/a"),
         ["no value of cerebellum", "without a voxel"], "warning"),
    ],
)  # fmt: skip
def test_bad_tables_are_told_before_any_work(tmp_path, monkeypatch, change, parts, level):
    monkeypatch.chdir(tmp_path)
    problems = one(tmp_path, TABLE.replace(*change), SIDE)
    assert [p.level for p in problems.problems] == [level]
    assert all(part in str(problems.problems[0]) for part in parts), str(problems.problems[0])


def one(home, text, side, **options):
    table = put(home, "t/sub-01_tacs.tsv", text)
    put(home, "t/sub-01_tacs.json", json.dumps(side))
    row = {"scan": "sub-01", "suffix": "pet", "source": "tacs", "version": "n/a", "reason": "whole"}
    made = pd.DataFrame([{**row, "files": f"table={table.relative_to(home)};table_json=t/sub-01_tacs.json"}])
    scans = pd.DataFrame([{"scan": "sub-01", "suffix": "pet", "sidecars": "n/a"}])
    return pet_tables.table_problems(home, scans, made, **options)


def test_unit_and_nuclide_are_never_guessed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert one(tmp_path, TABLE, SIDE).problems == []
    found = one(tmp_path, TABLE, {}).errors
    assert [p.field for p in found] == ["Units", "TracerRadionuclide"] and "adopt.units" in found[0].fix
    assert one(tmp_path, TABLE, {}, units="Bq/mL", nuclide="C11").problems == []
    assert "'SUV'" in str(one(tmp_path, TABLE, {**SIDE, "Units": "SUV"}).errors[0])
