"""Tracer presets."""

import math

import pytest

from neurobraid.errors import InputError
from neurobraid.pet import presets, reference, suvr
from neurobraid.pet.units import half_life


@pytest.mark.parametrize(
    ("spelling", "tracer"),
    [
        ("[18F]AV-1451", "flortaucipir"), ("18F-AV1451", "flortaucipir"), ("[11C]PiB", "PiB"), ("PIB", "PiB"),
        ("[18F]MK-6240", "MK6240"), ("[11C]UCB-J", "UCBJ"), ("18F-FDG", "FDG"), ("Florbetapir", "florbetapir"),
        ("11C-raclopride", "raclopride"), ("[11C]PK11195", "PK11195"), ("[18F]FE-PE2I", "PE2I"),
    ],
)  # fmt: skip
def test_spellings(spelling, tracer):
    assert presets.find(spelling)["tracer"] == tracer


def test_every_row_is_usable():
    names = set()
    for record in presets.shipped():
        assert record["source"]
        for name in (record["tracer"], *record["aliases"]):
            assert presets._key(name) not in names, name
            names.add(presets._key(name))
        if record["suvr_window_min"]:
            low, high = record["suvr_window_min"]
            assert 0 <= low < high <= 130
        if record["reference"]:
            assert record["reference"][0] in reference.WORDS
        if record["radionuclide"]:
            assert half_life(record["radionuclide"]) > 0


def test_window_and_its_source():
    assert presets.window((30, 60), None) == ((30.0, 60.0), "config")
    window, source = presets.window("auto", "[18F]flortaucipir")
    assert window == (80.0, 100.0)
    assert "Timmers" in source
    window, source = presets.window("auto", "raclopride")
    assert all(math.isnan(v) for v in window)
    assert "none is established" in source
    assert "give pet.suvr_window_min" in suvr.refusal(None, window)


def test_records_of_the_study_come_first_and_replace_only_what_they_give():
    own = [
        {"tracer": "PIB", "suvr_window_min": [40, 60], "aliases": []},
        {"tracer": "XYZ-1", "reference": ["pons"]},
    ]
    window, source = presets.window("auto", "[11C]PiB", own)
    assert window == (40.0, 60.0)
    assert "pet.presets" in source
    assert presets.reference(["auto"], "[11C]PiB", own) == ["wholecerebellum"]
    assert presets.reference(["auto"], "xyz1", own) == ["pons"]
    assert presets.reference(["a", "b"], "anything") == ["a", "b"]


@pytest.mark.parametrize("tracer", ["flortaucipr", "unobtainium", None, "", "[18F]"])
def test_unknown_tracer(tracer):
    with pytest.raises(InputError) as error:
        presets.find(tracer, file="sub-01_pet.json")
    problem = error.value.problem
    assert (problem.file, problem.field) == ("sub-01_pet.json", "TracerName")
    assert "pet.presets" in problem.fix
    assert ("did you mean flortaucipir" in problem.fix) is (tracer == "flortaucipr")


def test_tracer_without_a_reference_region():
    with pytest.raises(InputError, match="none is established for PBR28"):
        presets.reference(["auto"], "[11C]PBR28")


def test_centiloid():
    values, notes = suvr.centiloid([1.009, 2.076, float("nan")], suvr.STANDARD_CENTILOID)
    assert values[:2] == pytest.approx([0, 100])
    assert math.isnan(values[2])
    assert notes["CentiloidCalibration"] == "uncalibrated"
    values, notes = suvr.centiloid([1.0], {"slope": 153.4, "intercept": -154.9, "citation": "Rowe 2017"})
    assert values[0] == pytest.approx(-1.5)
    assert notes["CentiloidCalibration"] == "Rowe 2017"
    assert suvr.centiloid([1.0], {}) == (None, {})
