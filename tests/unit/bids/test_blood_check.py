"""Blood before any work: every trap is told, all at once, and by the same rules by which blood is read."""

import json

import numpy as np
import pandas as pd
import pytest

from neurobraid.bids import blood_check
from neurobraid.errors import InputError
from neurobraid.pet import blood, inputfunction, units

TIME = [0.0, 20, 40, 60, 120, 300, 600, 1200, 1800, 2700, 3600]
PET = {
    "Units": "kBq/mL", "TracerRadionuclide": "C11", "InjectionStart": 0, "FrameTimesStart": [0, 1800],
    "FrameDuration": [1800, 1800], "InjectedRadioactivity": 400, "InjectedRadioactivityUnits": "MBq",
}  # fmt: skip
SIDE = {
    "PlasmaAvail": True, "WholeBloodAvail": True, "MetaboliteAvail": True, "DispersionCorrected": False,
    "time": {"Units": "s"}, "plasma_radioactivity": {"Units": "kBq/mL"},
    "whole_blood_radioactivity": {"Units": "kBq/mL"}, "metabolite_parent_fraction": {"Units": "arbitrary"},
}  # fmt: skip
HOME = "sub-01/pet"
STEM = f"{HOME}/sub-01_recording-manual_blood"


def table():
    plasma = np.array([0.0, 30, 60, 40, 20, 10, 8, 7, 6, 5, 4])
    return pd.DataFrame(
        {
            "time": TIME, "plasma_radioactivity": plasma, "metabolite_parent_fraction": np.linspace(1, 0.3, 11),
            "whole_blood_radioactivity": 0.7 * plasma,
        }
    )  # fmt: skip


def write(root, rows=None, side=None, pet=None, recording="manual"):
    (root / HOME).mkdir(parents=True, exist_ok=True)
    (root / HOME / "sub-01_pet.json").write_text(json.dumps({**PET, **(pet or {})}))
    path = root / HOME / f"sub-01_recording-{recording}_blood.tsv"
    (table() if rows is None else rows).to_csv(path, sep="\t", index=False, na_rep="n/a")
    path.with_suffix(".json").write_text(json.dumps({**SIDE, **(side or {})}))
    return path


def scans():
    row = {
        "scan": "sub-01",
        "suffix": "pet",
        "path": f"{HOME}/sub-01_pet.nii.gz",
        "sidecars": f"{HOME}/sub-01_pet.json",
    }
    return pd.DataFrame([row])


def check(root, **options):
    return blood_check.blood_problems(root, scans(), **options)


def test_good_blood_has_no_problem(tmp_path):
    write(tmp_path)
    assert check(tmp_path).problems == []


BAD = [
    ("time", 3, 35.0, {}, ["time of row 4", "35 s after 40 s", "strictly increasing"]),
    ("time", 3, 40.0, {}, ["time of row 4", "strictly increasing"]),
    ("time", 3, np.nan, {}, ["time of row 4", "missing"]),
    ("metabolite_parent_fraction", 2, 1.02, {}, ["row 3", "1.02", "recovery"]),
    ("metabolite_parent_fraction", 2, 96.0, {}, ["row 3", "divide by 100"]),
    ("metabolite_parent_fraction", 2, -0.1, {}, ["row 3", "-0.1"]),
    ("plasma_radioactivity", 5, -30.0, {}, ["plasma_radioactivity of row 6", "background"]),
    ("whole_blood_radioactivity", 5, "high", {}, ["row 6", "a number or n/a"]),
    (None, None, None, {"plasma_radioactivity": {}}, ["plasma_radioactivity.Units", "never guessed"]),
    (None, None, None, {"plasma_radioactivity": {"Units": "counts"}}, ["'counts'"]),
    (None, None, None, {"time": {"Units": "h"}}, ["time.Units", "seconds"]),
    (None, None, None, {"PlasmaAvail": "yes"}, ["PlasmaAvail", "true or false"]),
]


@pytest.mark.parametrize(("column", "row", "value", "side", "parts"), BAD)
def test_what_the_reader_refuses_is_an_error_here(tmp_path, column, row, value, side, parts):
    rows = table()
    if column:
        rows = rows.astype({column: object})
        rows.loc[row, column] = value
    path = write(tmp_path, rows, side)
    (error,) = check(tmp_path).errors
    assert all(part in str(error) for part in parts), str(error)
    assert error.file.startswith(STEM)
    with pytest.raises(InputError):
        blood.read_blood([path], half_life_min=20.4)
    # no model asks for plasma: it is told, and stops nothing
    soft = check(tmp_path, needed=False)
    assert soft.errors == [] and str(error) in [str(p) for p in soft.warnings]
    assert check(tmp_path, given=["sub-01"]).problems == []


@pytest.mark.parametrize("drop", ["time", "plasma_radioactivity", "metabolite_parent_fraction"])
def test_missing_columns(tmp_path, drop):
    write(tmp_path, table().drop(columns=drop))
    (error,) = check(tmp_path).errors
    assert error.field == "columns" and drop in error.allowed


def test_missing_sidecar_and_empty_table(tmp_path):
    path = write(tmp_path)
    path.with_suffix(".json").unlink()
    assert check(tmp_path).errors[0].field == "sidecar"
    write(tmp_path, table().iloc[:0])
    assert check(tmp_path).errors[0].field == "rows"
    write(tmp_path, table().assign(plasma_radioactivity=np.nan))
    assert "no value" in str(check(tmp_path).errors[0])


def test_another_unit_than_the_image_is_said_and_not_an_error(tmp_path):
    write(tmp_path, pet={"Units": "Bq/mL"})
    found = check(tmp_path)
    assert found.errors == [] and [p.field for p in found.warnings] == [
        "plasma_radioactivity.Units", "whole_blood_radioactivity.Units",
    ]  # fmt: skip
    assert "Bq/mL, as the image" in found.warnings[0].allowed


@pytest.mark.parametrize(
    ("factor", "told", "likely"),
    [(1, "Bq/mL", "kBq/mL"), (1000, "kBq/mL", "Bq/mL"), (54, "kBq/mL", "Bq/mL or nCi/mL")],
)
def test_a_level_that_no_injection_explains(tmp_path, factor, told, likely):
    rows = table()
    rows["plasma_radioactivity"] *= factor
    write(tmp_path, rows, {"plasma_radioactivity": {"Units": told}})
    found = [p for p in check(tmp_path).warnings if p.field == "plasma_radioactivity"]
    assert len(found) == 1 and f"likely {likely}" in found[0].fix, [str(p) for p in found]


def test_a_wrong_unit_of_the_dose_does_not_hide_that_of_the_blood(tmp_path):
    rows = table()
    side = {"plasma_radioactivity": {"Units": "Bq/mL"}}
    write(tmp_path, rows, side, {"InjectedRadioactivity": 400000, "InjectedRadioactivityUnits": "Bq"})
    assert any("likely kBq/mL" in p.fix for p in check(tmp_path).warnings)
    (dose,) = blood_check.dose_problems(tmp_path, scans()).problems
    assert "likely kBq" in dose.fix and "0.4 MBq" in dose.found and dose.level == "warning"
    write(tmp_path)
    assert blood_check.dose_problems(tmp_path, scans()).problems == []
    write(tmp_path, pet={"RadionuclideTotalDose": 4.0e8, "InjectedRadioactivity": 40})
    assert "RadionuclideTotalDose is 400 MBq" in str(blood_check.dose_problems(tmp_path, scans()).problems[0])


@pytest.mark.parametrize(("last", "words"), [(8, "no plasma model is fitted"), (10, "extrapolated")])
def test_blood_shorter_than_the_scan(tmp_path, last, words):
    write(tmp_path, table().iloc[:last])
    (warning,) = check(tmp_path).problems
    assert warning.level == "warning" and words in warning.fix and "(60.0 min)" in warning.found


def test_conversions_and_gaps_are_warnings(tmp_path):
    rows = table()
    rows["time"] /= 60
    rows["metabolite_parent_fraction"] *= 100
    rows.loc[4, "plasma_radioactivity"] = np.nan
    rows.loc[[6, 7], "metabolite_parent_fraction"] = np.nan
    rows.loc[0, "whole_blood_radioactivity"] = -0.01
    side = {
        "time": {"Units": "min"},
        "metabolite_parent_fraction": {"Units": "%"},
        "PlasmaFreeFraction": 0.05,
    }
    path = write(tmp_path, rows, side)
    found = check(tmp_path)
    assert found.errors == [] and len(found.warnings) == 6
    blood.read_blood([path], half_life_min=20.4)


def test_a_table_without_recording_is_not_swallowed(tmp_path):
    path = write(tmp_path)
    path.rename(tmp_path / HOME / "sub-01_blood.tsv")
    (warning,) = check(tmp_path).problems
    assert "recording-manual" in warning.allowed


def test_blood_of_curves_without_image_needs_the_start_of_the_injection(tmp_path):
    write(tmp_path, pet={"InjectionStart": None})
    rows = scans().assign(path=f"{HOME}/sub-01_pet.json")
    (error,) = blood_check.blood_problems(tmp_path, rows).errors
    assert error.field == "InjectionStart" and "counted from it" in error.fix
    assert check(tmp_path).errors == []


def test_everything_wrong_is_told_at_once(tmp_path):
    rows = table().astype({"plasma_radioactivity": object})
    rows.loc[3, "time"], rows.loc[2, "metabolite_parent_fraction"] = 1.0, 80.0
    rows.loc[1, "plasma_radioactivity"] = "x"
    write(tmp_path, rows, {"whole_blood_radioactivity": {}})
    assert len(check(tmp_path).errors) == 4


def test_input_functions_ready_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "i.tsv").write_text("time\tAIF\twhole_blood_radioactivity\n0\t0\t0\n5\t1\t1\n4\t1\t1\n")
    side = {"time": {"Units": "s"}, "AIF": {"Units": "kBq/mL"}}
    (tmp_path / "i.json").write_text(json.dumps(side))
    (error,) = blood_check.input_problems({"sub-01": ["i.tsv", "i.json"]}).errors
    assert "4 s after 5 s" in str(error)
    assert blood_check.input_problems({"sub-01": ["i.tsv"]}).errors[0].field == "sidecar"
    (tmp_path / "i.tsv").write_text("time\tplasma\n0\t0\n")
    assert "AIF" in str(blood_check.input_problems({"sub-01": ["i.tsv", "i.json"]}).errors[0])


def test_the_rules_are_those_of_the_reader():
    assert blood_check.SECONDS == blood.SECONDS and blood_check.PERCENT == blood.PERCENT
    assert blood_check.ACTIVITY == blood.ACTIVITY and blood_check.PARENT == blood.PARENT
    assert blood_check.SCATTER == blood.SCATTER and blood_check.MIN_SHARE == inputfunction.MIN_COVERED
    for unit in blood_check.ACTIVITY_UNITS:
        assert blood_check._factor(unit) == pytest.approx(units.concentration_factor(unit)), unit


def test_traps_of_the_real_recording(real_data):
    root = real_data / "ds004869-pet-mc1"
    people = {"sub-01": "ses-blocked", "sub-13": "ses-retest"}
    rows = [
        {"scan": f"{p}_{s}", "suffix": "pet", "path": f"{p}/{s}/pet/{p}_{s}_pet.json", "sidecars": f"{p}/{s}/pet/{p}_{s}_pet.json"}
        for p, s in [*people.items(), ("sub-13", "ses-test"), ("sub-02", "ses-baseline")]
    ]  # fmt: skip
    table_ = pd.DataFrame(rows)
    found = blood_check.blood_problems(root, table_)
    (error,) = found.errors
    assert "sub-13_ses-retest" in error.file and "133.8 s after 178.2 s" in error.found
    texts = [str(p) for p in found.warnings]
    assert sum("sub-01_ses-blocked" in t and "likely kBq/mL" in t for t in texts) == 2
    assert any("sub-13_ses-test" in t and "no plasma model" in t for t in texts)
    assert any("sub-02" in t and "Bq/mL, as the image" in t for t in texts)
    doses = blood_check.dose_problems(root, table_).problems
    assert len(doses) == 4 and all("likely kBq" in p.fix for p in doses)
