"""Pages of PET with blood, and of curves that another program made: values shown, doubts told, sentences true."""

import pandas as pd
import pytest

from neurobraid.files import write_json, write_tsv
from neurobraid.reports import pet_tables
from neurobraid.reports.gather import Inputs, preprocessed_by
from neurobraid.reports.pages import Fold, Gallery, Note, Section

MADE = [
    {"scan": f"sub-{n}", "suffix": "pet", "source": s, "version": v}
    for n, s, v in (("01", "petprep", "0.0.3"), ("02", "petprep", "0.0.3"), ("03", "tacs", "n/a"), ("04", "neurobraid", "n/a"))
]  # fmt: skip


def kinpar(folder, person, values, flags=("ok", "ok"), doubt=None):
    path = folder / f"sub-{person}_seg-gtm_model-Logan_kinpar.tsv"
    rows = {"name": ["cortex", "cerebellum"], "VT": values, "VT_se": [0.1, 0.1], "flag": flags}
    write_tsv(pd.DataFrame(rows), path)
    write_json({"Doubt": doubt} if doubt else {}, path.with_suffix(".json"))
    return [str(path), str(path.with_suffix(".json"))]


@pytest.fixture
def inputs(tmp_path):
    files = kinpar(tmp_path, "01", [2.5, 2.0])
    files += kinpar(
        tmp_path, "02", [2500.0, 2000.0], ["blood is likely in kBq/mL"] * 2, "blood is likely in kBq/mL"
    )
    files += kinpar(tmp_path, "03", [None, None], ["the scan has no blood"] * 2)
    return Inputs({"plasma": files})


def shown(add, tmp_path, *arguments):
    section = Section("pet", "PET", "")
    add(section, Gallery(tmp_path / "figures", tmp_path / "page.html"), *arguments)
    return section.blocks


def test_a_believed_scan_has_a_figure_and_a_doubted_one_its_doubt(inputs, tmp_path):
    good = shown(pet_tables.scan_results, tmp_path, inputs, "sub-01")
    assert len(good) == 2 and isinstance(good[1], Fold)
    assert good[1].blocks[0].rows[0][:2] == ["cortex", "2.500"]
    for person, words in (("02", "blood is likely in kBq/mL"), ("03", "the scan has no blood")):
        (note,) = shown(pet_tables.scan_results, tmp_path, inputs, f"sub-{person}")
        assert isinstance(note, Note) and words in note.text and f"sub-{person}_seg-gtm" in note.text
    assert shown(pet_tables.scan_results, tmp_path, inputs, "sub-09") == []


def test_study_leaves_flagged_values_out_and_names_the_scans(inputs, tmp_path):
    scans = {"sub-01", "sub-02", "sub-03"}
    note, _, fold = shown(pet_tables.study_results, tmp_path, inputs, scans, "PET", ["cortex"])
    assert "sub-02, sub-03" in note.text
    rows = {row[0]: row[1] for row in fold.blocks[0].rows}
    assert rows["sub-01"] == "2.500" and not any("2500" in v for v in rows.values())


def test_sentences_about_curves_of_other_programs():
    people = ", ".join
    text = pet_tables.adopted_words(MADE, people)
    assert "2 PET scans (sub-01, sub-02) were taken over from PETPrep, version 0.0.3" in text
    assert "curves of 1 PET scan (sub-03) were taken over from another program" in text
    assert pet_tables.adopted_words(MADE[3:], people) == ""
    assert pet_tables.plasma_words(["SRTM", "Logan", "MA1"], {"plasma_scans": 3}).endswith(
        "of 3 scans, VT by Logan and VT by MA1 was estimated."
    )
    assert (
        pet_tables.plasma_words(["SRTM"], {"plasma_scans": 3}) == pet_tables.plasma_words(["Logan"], {}) == ""
    )
    assert preprocessed_by(MADE[0]) == "PETPrep 0.0.3" and preprocessed_by(MADE[3]) == "neurobraid"
