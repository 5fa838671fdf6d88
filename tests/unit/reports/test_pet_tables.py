"""Pages of PET with blood, and of curves that another program made: values shown, doubts told, sentences true."""

import pandas as pd

from neurobraid.files import write_json, write_tsv
from neurobraid.reports import pet_tables
from neurobraid.reports.gather import Inputs, preprocessed_by
from neurobraid.reports.pages import Fold, Section

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


def test_added_regions_leave_flagged_values_out(tmp_path):
    files = kinpar(tmp_path, "01", [2.5, 2.0])
    files += kinpar(
        tmp_path, "02", [2500.0, 2000.0], ["blood is likely in kBq/mL"] * 2, "blood is likely in kBq/mL"
    )
    files += kinpar(tmp_path, "03", [None, None], ["the scan has no blood"] * 2)
    inputs = Inputs({"kinpar": [path for path in files if path.endswith(".tsv")]})
    section = Section("pet", "PET", "")
    pet_tables.added_regions(section, inputs, {"sub-01", "sub-02", "sub-03"}, ["cortex", "pons"])
    (fold,) = section.blocks
    assert isinstance(fold, Fold) and fold.blocks[0].columns == ["Scan", "cortex"]
    rows = {row[0]: row[1] for row in fold.blocks[0].rows}
    assert rows == {"sub-01": "2.5", "sub-02": "n/a", "sub-03": "n/a"}


def test_sentences_about_curves_of_other_programs():
    people = ", ".join
    text = pet_tables.adopted_words(MADE, people)
    assert "2 PET scans (sub-01, sub-02) were taken over from PETPrep, version 0.0.3" in text
    assert "curves of 1 PET scan (sub-03) were taken over from another program" in text
    assert pet_tables.adopted_words(MADE[3:], people) == ""
    assert preprocessed_by(MADE[0]) == "PETPrep 0.0.3" and preprocessed_by(MADE[3]) == "neurobraid"
