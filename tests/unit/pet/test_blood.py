"""Blood tables and input functions: what is read, converted, said and refused."""

import json

import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError
from neurobraid.files import read_json, write_json, write_tsv
from neurobraid.pet import blood, doubts, inputfunction
from neurobraid.pet.frames import Frames
from neurobraid.pet.plasma_models import Input

from .curves import plasma

TIME = np.array([10.0, 20, 30, 45, 60, 90, 120, 300, 600, 900, 1800, 2700, 3600])
PARENT = inputfunction.parent_fraction("hill", TIME / 60, [0.99, 0.7, 2.0, 12.0])
SIDE = {
    "PlasmaAvail": True, "WholeBloodAvail": True, "MetaboliteAvail": True, "DispersionCorrected": False,
    "time": {"Units": "s"}, "plasma_radioactivity": {"Units": "kBq/mL"},
    "whole_blood_radioactivity": {"Units": "kBq/mL"}, "metabolite_parent_fraction": {"Units": "arbitrary"},
}  # fmt: skip


def table():
    level = plasma(TIME / 60)
    return pd.DataFrame(
        {
            "time": TIME, "plasma_radioactivity": level, "metabolite_parent_fraction": PARENT,
            "whole_blood_radioactivity": 0.7 * level,
        }
    )  # fmt: skip


def write(folder, rows=None, side=None, recording="manual"):
    path = folder / f"sub-01_recording-{recording}_blood.tsv"
    write_tsv(table() if rows is None else rows, path, float_format="%.15g")
    path.with_suffix(".json").write_text(json.dumps({**SIDE, **(side or {})}))
    return path


def read(path, **options):
    return blood.read_blood([path], half_life_min=20.364, **options)


def test_units_are_converted_and_said(tmp_path):
    path = write(tmp_path)
    found = read(path, image_unit="Bq/mL")
    assert found.plasma[1] == pytest.approx(plasma(TIME / 60))
    assert sum("both converted to kBq/mL" in text for text in found.messages) == 2
    assert read(path, image_unit="kBq/mL").messages == []
    rows = table()
    rows["plasma_radioactivity"] *= 1000
    found = read(write(tmp_path, rows, {"plasma_radioactivity": {"Units": "Bq/mL"}}), image_unit="kBq/mL")
    assert found.plasma[1] == pytest.approx(plasma(TIME / 60)) and "Bq/mL" in found.messages[0]


def test_minutes_and_percent_are_converted_where_the_sidecar_says_so(tmp_path):
    rows = table()
    rows["time"] /= 60
    rows["metabolite_parent_fraction"] *= 100
    found = read(
        write(tmp_path, rows, {"time": {"Units": "min"}, "metabolite_parent_fraction": {"Units": "%"}})
    )
    assert found.plasma[0] == pytest.approx(TIME / 60) and found.parent_fraction[1] == pytest.approx(PARENT)
    assert len(found.messages) == 2


@pytest.mark.parametrize(
    ("column", "row", "value", "parts"),
    [
        ("time", 3, 30.0, ["time of row 4", "strictly increasing"]),
        ("time", 3, np.nan, ["time of row 4", "missing"]),
        ("metabolite_parent_fraction", 2, 1.02, ["row 3", "0 to 1", "recovery"]),
        ("metabolite_parent_fraction", 2, 96.0, ["row 3", "divide by 100"]),
        ("metabolite_parent_fraction", 2, -0.1, ["row 3", "-0.1"]),
        ("plasma_radioactivity", 5, -30.0, ["plasma_radioactivity of row 6", "background"]),
        ("whole_blood_radioactivity", 5, "high", ["row 6", "a number or n/a"]),
    ],
)
def test_bad_values_are_errors(tmp_path, column, row, value, parts):
    rows = table().astype({column: object})
    rows.loc[row, column] = value
    with pytest.raises(InputError) as error:
        read(write(tmp_path, rows))
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("side", "drop", "parts"),
    [
        (
            {},
            "metabolite_parent_fraction",
            ["a column metabolite_parent_fraction", "MetaboliteAvail is true"],
        ),
        ({}, "time", ["a column time"]),
        ({"plasma_radioactivity": {}}, None, ["plasma_radioactivity.Units", "never guessed"]),
        ({"plasma_radioactivity": {"Units": "counts"}}, None, ["'counts'", "nCi/mL"]),
        ({"time": {"Units": "h"}}, None, ["time.Units", "seconds"]),
        ({"PlasmaAvail": "yes"}, None, ["PlasmaAvail", "true or false"]),
    ],
)
def test_bad_sidecars_are_errors(tmp_path, side, drop, parts):
    rows = table().drop(columns=[drop] if drop else [])
    with pytest.raises(InputError) as error:
        read(write(tmp_path, rows, side))
    for part in parts:
        assert part in str(error.value)


def test_missing_sidecar_is_an_error(tmp_path):
    path = write(tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(InputError, match="sidecar"):
        read(path)


def test_missing_samples_are_left_out_and_noise_below_zero_is_kept(tmp_path):
    rows = table()
    rows.loc[4, "plasma_radioactivity"] = np.nan
    rows.loc[0, "whole_blood_radioactivity"] = -0.01
    rows.loc[[6, 7], "metabolite_parent_fraction"] = np.nan
    found = read(write(tmp_path, rows))
    assert (
        len(found.plasma[0]) == 12
        and len(found.parent_fraction[0]) == 11
        and found.whole_blood[1][0] == -0.01
    )
    assert len(found.messages) == 3


def test_decay_is_referred_to_injection(tmp_path):
    path = write(tmp_path)
    rate = np.log(2) / 20.364
    late = read(path, injection_s=60.0)
    assert late.plasma[0] == pytest.approx(TIME / 60 - 1)
    assert late.plasma[1] == pytest.approx(plasma(TIME / 60) * np.exp(-rate))
    raw = read(path, decay_corrected=False)
    assert raw.plasma[1] == pytest.approx(plasma(TIME / 60) * np.exp(rate * TIME / 60))


def test_autosampler_gives_the_peak_and_manual_samples_the_tail(tmp_path):
    fast = np.arange(1.0, 300, 2)
    tau = 5.0
    level = 0.7 * plasma(fast / 60)
    # what a line of that dispersion records: y' = (g - y)/tau
    fine = np.arange(0, 300, 0.01)
    g, y = 0.7 * plasma(fine / 60), np.zeros(len(fine))
    for i in range(1, len(fine)):
        y[i] = y[i - 1] + 0.01 / tau * (g[i - 1] - y[i - 1])
    rows = pd.DataFrame({"time": fast, "whole_blood_radioactivity": np.interp(fast, fine, y)})
    side = {"PlasmaAvail": False, "MetaboliteAvail": False, "DispersionConstant": tau}
    auto = write(tmp_path, rows, side, "autosampler")
    found = blood.read_blood([auto, write(tmp_path)])
    assert (
        found.dispersion_s == tau
        and len(found.continuous[0]) == len(fast)
        and len(found.whole_blood[0]) == len(TIME)
    )
    made, _ = inputfunction.make(found, 60.0)
    early = made[made["time"].between(20, 200)]
    truth = plasma(early["time"] / 60)
    assert np.abs(early["plasma_radioactivity"] / truth - 1).max() < 0.05
    assert level.max() > rows["whole_blood_radioactivity"].max() * 1.04, "dispersion matters here"


@pytest.mark.parametrize("name", inputfunction.PARENT_MODELS)
def test_parent_models_come_back_and_are_chosen(name):
    truth = {
        "power": [0.98, 8.0, 0.4], "hill": [0.99, 0.8, 2.5, 15.0], "exponential": [1.0, 0.6, 0.15, 0.002],
        "gamma": [0.99, 0.85, 3.0, 6.0],
    }[name]  # fmt: skip
    t = np.array([0.5, 1, 2, 4, 6, 8, 10, 15, 20, 30, 45, 60, 75, 90.0])
    values = inputfunction.parent_fraction(name, t, truth)
    values = values + np.random.default_rng(2).normal(0, 2e-4, len(t))
    chosen, parameters, criteria = inputfunction.fit_parent_fraction(t, values)
    fine = np.linspace(0, 90, 200)
    error = inputfunction.parent_fraction(chosen, fine, parameters) - inputfunction.parent_fraction(
        name, fine, truth
    )
    assert (
        np.abs(error).max() < 0.01
        and chosen == min(criteria, key=criteria.get)
        and set(criteria) == set(inputfunction.PARENT_MODELS)
    )
    assert chosen == name


def test_few_samples_are_interpolated():
    assert inputfunction.fit_parent_fraction([1, 10, 30], [0.95, 0.7, 0.5])[0] == "interpolation"


def test_input_function_is_plasma_times_parent(tmp_path):
    made, notes = inputfunction.make(read(write(tmp_path)), 60.0)
    at = np.searchsorted(made["time"], 1800)
    assert notes["Missing"] is None and notes["ParentFractionModel"] in inputfunction.PARENT_MODELS
    assert made["AIF"][at] == pytest.approx(plasma(30.0) * PARENT[10], rel=0.01)
    assert made["whole_blood_radioactivity"][at] == pytest.approx(0.7 * plasma(30.0), rel=1e-3)
    assert made["time"].iloc[-1] >= 3600 and (np.diff(made["time"]) > 0).all()


def test_blood_shorter_than_the_scan(tmp_path):
    found = read(write(tmp_path))
    made, notes = inputfunction.make(found, 90.0)
    assert not len(made) and "less than 75 %" in notes["Missing"]
    made, notes = inputfunction.make(found, 70.0)
    assert any("continued as an exponential" in text for text in notes["Messages"])
    tail = made[made["time"] > 3600]
    assert tail["plasma_radioactivity"].iloc[-1] == pytest.approx(
        plasma(tail["time"].iloc[-1] / 60), rel=0.05
    )


def scan(tmp_path):
    edges = np.array(
        [0, 10, 20, 30, 45, 60, 90, 120, 180, 240, 300, 420, 600, 900, 1200, 1800, 2400, 3000, 3600.0]
    )
    timing = Frames(edges[:-1], edges[1:], np.ones(18), 1.0, 20.364)
    paths = {n: tmp_path / n for n in ("frames.tsv", "frames.json", "weights.tsv", "in.tsv", "in.json")}
    write_tsv(timing.table(), paths["frames.tsv"])
    write_json({"HalfLifeMin": 20.364, "UnitsFound": "Bq/mL"}, paths["frames.json"])
    brain = 5 * (1 - np.exp(-timing.mid / 300))
    write_tsv(pd.DataFrame({"brain": brain, "weight": np.ones(18)}), paths["weights.tsv"])
    return paths


def test_written_and_read_again_and_bloodstreams_own(tmp_path):
    paths = scan(tmp_path)
    inputfunction.write_inputfunction(
        [write(tmp_path)], paths["frames.tsv"], paths["frames.json"], paths["weights.tsv"],
        {"inputfunction": paths["in.tsv"], "inputfunction_json": paths["in.json"]}, delay=0.0,
    )  # fmt: skip
    given, missing = inputfunction.load_input(paths["in.tsv"], paths["in.json"])
    made, _ = inputfunction.make(read(tmp_path / "sub-01_recording-manual_blood.tsv"), 60.0)
    assert not missing and given.plasma == pytest.approx(made["AIF"].to_numpy(), rel=1e-6)
    notes = read_json(paths["in.json"])
    assert notes["DelaySource"] == "given" and any("both converted" in text for text in notes["Messages"])
    # bloodstream: kBq for kBq/mL, first row after 0
    theirs = made.iloc[5:]
    write_tsv(theirs, paths["in.tsv"])
    units = {c: {"Units": "kBq"} for c in ("AIF", "plasma_radioactivity", "whole_blood_radioactivity")}
    write_json({"time": {"Units": "s"}, **units}, paths["in.json"])
    given, _ = inputfunction.load_input(paths["in.tsv"], paths["in.json"])
    assert given.time[0] == 0 and given.plasma[-1] == pytest.approx(made["AIF"].iloc[-1], rel=1e-6)
    write_json({"time": {"Units": "s"}}, paths["in.json"])
    with pytest.raises(InputError, match="Units"):
        inputfunction.read_inputfunction(paths["in.tsv"], paths["in.json"])


def test_level_of_blood_against_the_image():
    timing = Frames(np.arange(0.0, 600, 60), np.arange(60.0, 660, 60), np.ones(10), 1.0, 20.364)
    flat = Input(np.array([0.0, 12.0]), np.array([5.0, 5.0]), np.array([5.0, 5.0]))
    assert doubts.input_problem(flat, timing, np.full(10, 8.0)) == ""
    assert "kBq/mL where its sidecar says Bq/mL" in doubts.input_problem(flat, timing, np.full(10, 8000.0))
    assert "Bq/mL where its sidecar says kBq/mL" in doubts.input_problem(flat, timing, np.full(10, 0.008))


def test_dose_names_the_likely_mistake():
    fields = {
        "InjectedRadioactivity": 653790.0,
        "InjectedRadioactivityUnits": "Bq",
        "RadionuclideTotalDose": 654160000.0,
    }
    text = doubts.dose_problem(fields)
    assert "likely kBq (653.79 MBq)" in text and "RadionuclideTotalDose" in text
    assert "likely MBq" in doubts.dose_problem(
        {"InjectedRadioactivity": 370, "InjectedRadioactivityUnits": "Bq"}
    )
    assert doubts.dose_problem({**fields, "InjectedRadioactivityUnits": "kBq"}) == ""
    assert doubts.dose_problem({}) == ""
