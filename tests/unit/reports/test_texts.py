"""Words: methods from settings, quality labels, participants' facts, the run record."""

import pandas as pd
import pytest

from neurobraid.reports import methods, run_record
from neurobraid.reports.gather import (
    Inputs,
    participant_facts,
    quality_rows,
    quality_warnings,
    scan_of,
    spell,
)
from neurobraid.reports.pet_pages import chosen_curves

CONFIG = {
    "index": {"max_days": 99},
    "anat": {"quality": "fast", "resolution": 2, "n4": False},
    "bold": {
        "fd_threshold_mm": 0.37,
        "std_dvars_threshold": 1.7,
        "interpolation": "linear",
        "resolution": 2.5,
    },
    "pet": {
        "models": ["SUVR"],
        "reference": ["cerebellum"],
        "suvr_window_min": [40, 55],
        "gm_threshold": 0.4,
    },
    "atlases": [{"name": "mini"}],
    "connectivity": {
        "strategy": "simple",
        "band_hz": [0.02, 0.08],
        "measures": ["partialcorrelation"],
        "min_coverage": 0.6,
    },
}


def told(**facts):
    texts, references = methods.paragraphs(CONFIG, {"participants": 2, "software": {}, **facts})
    return dict(texts), references


def test_methods_name_the_values_used():
    texts, references = told(
        counts={"T1w": 2, "bold": 3, "pet": 1},
        tr=[2.0, 1.5],
        slice_timing={True, False},
        connectivity=["rest"],
        tracers=["RAC"],
    )
    assert "within 99 days" in texts["Data and software"]
    assert "N4" not in texts["Anatomy"]
    for value in ("1.5 to 2 s", "0.37 mm", "1.7", "linear", "2.5 mm", "where slice times were known"):
        assert value in texts["BOLD preprocessing"]
    for value in ("0.02 to 0.08 Hz", "partial correlation", "60 %", "mini"):
        assert value in texts["Functional connectivity"]
    assert "40 to 55 min" in texts["PET"]
    assert "simplified reference tissue model" not in texts["PET"]
    cited = {int(n) for text in texts.values() for n in __import__("re").findall(r"\[(\d+)\]", text)}
    assert cited == set(range(1, len(references) + 1))


def test_methods_leave_out_what_was_not_done():
    texts, references = told(counts={"T1w": 2})
    assert list(texts) == ["Data and software", "Anatomy"]
    assert not any("Power" in r for r in references)


def test_the_middle_echo_stands_for_a_multi_echo_scan():
    names = [f"raw/sub-1_task-a_echo-{n}_bold.nii.gz" for n in (10, 1, 2)]
    files = Inputs({"raw_bold": [*names, "raw/sub-1_task-b_bold.nii.gz"], "two": names[:2]})
    assert files.middle_echo("raw_bold", "sub-1_task-a") == (names[2], "2")
    assert files.middle_echo("two", "sub-1_task-a") == (names[1], "1")
    assert files.middle_echo("raw_bold", "sub-1_task-b") == (None, None)


def test_inputs_find_by_scan_and_entities():
    files = Inputs(
        {
            "tacs": [
                "d/sub-1_trc-A_seg-x_desc-preproc_tacs.tsv",
                "d/sub-1_trc-A_seg-y_desc-preproc_tacs.tsv",
            ],
            "one": "sub-10_T1w.json",
            "twice": ["a.tsv", "a.tsv"],
            "none": None,
        }
    )
    assert files.find("tacs", "sub-1_trc-A", seg="y").endswith("seg-y_desc-preproc_tacs.tsv")
    assert files.find("tacs", "sub-1") is None
    assert files.values("tacs", "seg") == ["x", "y"]
    assert files.scans("one") == ["sub-10"]
    assert files.all("twice") == ["a.tsv"]
    assert files.all("none") == files.all("unknown") == []
    assert (
        scan_of("x/sub-1_ses-2_task-a_run-01_space-T1w_desc-preproc_bold.nii.gz")
        == "sub-1_ses-2_task-a_run-01"
    )


def test_quality_numbers_are_joined_by_name():
    groups = quality_rows(
        {
            "a": {
                "tsnr": 61.23,
                "Sources": ["x"],
                "nested": {"mean_fd": 0.1234},
                "fd_mean": 0.2,
                "fov": "partial",
            },
            "b": {"n_frames": 4, "tsnr": "n/a"},
        }
    )
    texts = {group: [[c.text for c in row] for row in rows] for group, rows in groups.items()}
    assert list(texts) == ["Head motion", "Signal", "Other measures", "Settings and counts"]
    assert texts["Head motion"] == [["Mean FD (mm)", "0.200", "n/a"]]
    assert texts["Signal"] == [["Temporal SNR", "61.2", "n/a"]]
    assert groups["Signal"][0][0].note.startswith("tsnr: mean by standard deviation over time")
    assert ["Number of frames", "n/a", "4"] in texts["Other measures"]
    assert texts["Settings and counts"] == [["Fov", "partial", "n/a"]]
    assert quality_warnings({"warnings": ["late", 1]}) == ["late", "1"]
    assert spell("fd_max_mm") == "FD max (mm)"


def test_facts_hide_who_it_is():
    people = pd.DataFrame(
        [["sub-01", "95", "x", "2020-01-02", "1.7", "03/04/1977"]],
        columns=["participant_id", "age", "family_name", "scanned", "height", "note"],
    )
    facts = dict(participant_facts(people, "sub-01", {"height": {"Units": "m"}}))
    assert facts == {"Age": "> 89", "Height": "1.7 m"}
    assert participant_facts(people, "sub-1") == []
    assert participant_facts(None, "sub-01") == []


def test_record_holds_no_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bids").mkdir()
    (tmp_path / "bids/participants.tsv").write_bytes(b"abc")
    found = run_record.checksums(
        ["bids/participants.tsv", str(tmp_path / "bids/participants.tsv"), "missing.tsv"]
    )
    assert [f["file"] for f in found] == ["bids:raw:participants.tsv", "participants.tsv"]
    assert found[0]["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert found[0]["bytes"] == 3
    record = run_record.record(
        {"bids": str(tmp_path / "x"), "list": [{"image": "/a/b/c.nii"}], "n": 3}, found
    )
    assert str(tmp_path) not in str(record)
    assert record["config"] == {"bids": "…/x", "list": [{"image": "…/c.nii"}], "n": 3}
    assert {"neurobraid", "python", "numpy"} <= set(record["software"])


def test_curves_are_spread_over_binding():
    names = [f"r{n}" for n in range(8)]
    curves = pd.DataFrame(
        {"frame_start": [0.0], "frame_end": [60.0], **{name: [1.0] for name in names}, "gap": [float("nan")]}
    )
    binding = [0.1, 0.11, 0.12, 0.13, 1.1, 2.0, 9.0, 5.0]
    flags = ["ok"] * 6 + ["reference", "ok"]
    kinetics = pd.DataFrame({"name": [*names, "gap"], "BPND": [*binding, 3.0], "flag": [*flags, "ok"]})
    assert chosen_curves(curves, kinetics, 3) == ["r7", "r5", "r0"]
    assert chosen_curves(curves, None, 3) == ["r0", "r4", "r7"]
    assert len(chosen_curves(curves, kinetics, 20)) == 7


@pytest.mark.parametrize(("values", "text"), [(["a"], "a"), (["a", "b"], "a and b"), ([], "")])
def test_words(values, text):
    assert methods.words(values) == text
