"""PET runs of one injection become one scan; runs of two injections stay two."""

import json

import pytest

from neurobraid.bids.injections import find_injections, injection_clock, without_run
from neurobraid.bids.pairing import build_index
from neurobraid.bids.table import build_scan_table, open_dataset
from neurobraid.study import Study


def sidecar(zero="10:00:00", injection=0.0, start=0.0, **more):
    return {"TimeZero": zero, "InjectionStart": injection, "FrameTimesStart": [start, start + 60], **more}


def dataset(root, runs, stem="sub-01_ses-a_trc-RAC", images=()):
    """A dataset with one T1w and PET images of given sidecars: run label to fields (None: no sidecar)."""
    visit = root / "sub-01/ses-a"
    for folder in ("anat", "pet"):
        (visit / folder).mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text('{"Name": "n", "BIDSVersion": "1.8.0"}')
    (visit / "anat/sub-01_ses-a_T1w.nii.gz").write_bytes(b"")
    for run, fields in runs.items():
        name = visit / f"pet/{stem}_run-{run}_pet"
        name.with_suffix(".nii.gz").write_bytes(b"")
        if fields is not None:
            name.with_suffix(".json").write_text(json.dumps(fields))
    for name in images:
        (visit / f"pet/{name}").write_bytes(b"")
    return root


def pet_rows(root, options=None):
    scans = build_index(root, options).scans
    return scans[scans["suffix"] == "pet"].reset_index(drop=True)


@pytest.mark.parametrize(
    "second",
    [
        sidecar(start=3600.0),  # the clock of the injection
        sidecar("11:00:00", -3600.0, 0.0),  # the run's own clock
        sidecar("11:00:01", -3600.0, 5.0),  # rounded to whole seconds
    ],
)
def test_runs_of_one_injection_are_one_scan_in_order_of_time(tmp_path, second):
    # the number of a run says nothing about its time
    rows = pet_rows(dataset(tmp_path, {"2": sidecar(), "10": second, "1": sidecar("12:00:00", -7200.0, 0.0)}))
    assert rows["scan"].tolist() == ["sub-01_ses-a_trc-RAC"]
    names = [path.rpartition("_run-")[2] for path in rows["path"][0].split(";")]
    assert names == ["2_pet.nii.gz", "10_pet.nii.gz", "1_pet.nii.gz"]
    assert rows["run"][0] == "n/a"
    assert [s.rpartition("_run-")[2] for s in rows["sidecars"][0].split(";")] == [
        "2_pet.json", "10_pet.json", "1_pet.json",
    ]  # fmt: skip


def test_across_midnight(tmp_path):
    runs = {"1": sidecar("23:30:00", -60.0, 0.0), "2": sidecar("00:29:00", -3600.0, 0.0)}
    assert len(pet_rows(dataset(tmp_path, runs))) == 1


@pytest.mark.parametrize(
    "second",
    [
        sidecar("11:00:00"),  # another injection an hour later
        {k: v for k, v in sidecar(start=3600.0).items() if k != "TimeZero"},
        sidecar("noon", start=3600.0),
        None,
    ],
)
def test_runs_of_two_injections_or_of_unknown_clock_stay_apart(tmp_path, second):
    rows = pet_rows(dataset(tmp_path, {"1": sidecar(), "2": second}))
    assert rows["scan"].tolist() == ["sub-01_ses-a_trc-RAC_run-1", "sub-01_ses-a_trc-RAC_run-2"]
    assert not rows["path"].str.contains(";").any()


def test_other_tracers_and_reconstructions_are_never_joined(tmp_path):
    dataset(tmp_path, {"1": sidecar()}, "sub-01_ses-a_trc-RAC")
    dataset(tmp_path, {"2": sidecar(start=3600.0)}, "sub-01_ses-a_trc-FDG")
    dataset(tmp_path, {"3": sidecar(start=3600.0)}, "sub-01_ses-a_trc-RAC_rec-acstat")
    assert len(pet_rows(tmp_path)) == 3


def test_a_name_that_is_taken_is_not_taken_again(tmp_path):
    two = {"1": sidecar(), "2": sidecar(start=3600.0)}
    rows = pet_rows(dataset(tmp_path, two, images=["sub-01_ses-a_trc-RAC_pet.nii.gz"]))
    assert sorted(rows["scan"]) == [
        "sub-01_ses-a_trc-RAC", "sub-01_ses-a_trc-RAC_run-1", "sub-01_ses-a_trc-RAC_run-2",
    ]  # fmt: skip


def test_two_injections_of_two_runs_each_keep_the_name_of_their_first_run(tmp_path):
    runs = {
        "1": sidecar(), "2": sidecar(start=3600.0), "3": sidecar("14:00:00"), "4": sidecar("14:00:00", start=3600.0),
    }  # fmt: skip
    rows = pet_rows(dataset(tmp_path, runs))
    assert rows["scan"].tolist() == ["sub-01_ses-a_trc-RAC_run-1", "sub-01_ses-a_trc-RAC_run-3"]
    assert rows["path"].str.count(";").tolist() == [1, 1]


def test_an_excluded_run_leaves_the_other_alone(tmp_path):
    root = dataset(tmp_path, {"1": sidecar(), "2": sidecar(start=3600.0)})
    rows = pet_rows(root, {"exclude": ["sub-01_ses-a_trc-RAC_run-2_pet"]})
    assert rows["scan"].tolist() == ["sub-01_ses-a_trc-RAC_run-1"]
    assert ";" not in rows["path"][0]


def test_the_joined_scan_is_paired_and_its_blood_found(tmp_path, monkeypatch):
    root = dataset(tmp_path / "bids", {"1": sidecar(), "2": sidecar(start=3600.0)})
    for middle in ("", "_run-2"):
        for end in ("tsv", "json"):
            name = f"sub-01/ses-a/pet/sub-01_ses-a_trc-RAC{middle}_recording-manual_blood.{end}"
            (root / name).write_text("")
    monkeypatch.chdir(tmp_path)
    study = Study(build_index(root))
    assert study.t1w("pet", "sub-01_ses-a_trc-RAC")[1] == "sub-01_ses-a"
    assert [path.rpartition("trc-RAC")[2] for path in study.blood("sub-01_ses-a_trc-RAC")] == [
        "_recording-manual_blood.tsv", "_recording-manual_blood.json",
        "_run-2_recording-manual_blood.tsv", "_run-2_recording-manual_blood.json",
    ]  # fmt: skip


def test_groups_are_what_a_study_stores(tmp_path):
    root = dataset(tmp_path, {"1": sidecar(), "2": sidecar(start=3600.0)})
    groups = find_injections(open_dataset(root), build_scan_table(root))
    assert json.loads(json.dumps(groups)) == groups and len(groups) == 1


def test_clock_needs_three_fields_and_reads_lists_of_one():
    assert injection_clock(sidecar("10:00:30", [-30])) == (36000.0, 30.0)
    assert injection_clock({"timezero": "10:00:00", "INJECTIONSTART": 5, "FrameTimesStart": 65}) == (
        36005,
        60,
    )
    assert injection_clock({"TimeZero": "10:00:00"}) == (None, None)
    assert without_run("sub-01_trc-RAC_run-02") == "sub-01_trc-RAC"
