"""Checks name the mistake that was made."""

import numpy as np
import pytest

from neurobraid.pet import plausibility
from neurobraid.pet.units import concentration_factor, dose_factor

from . import phantom
from .curves import pair

TIMING = phantom.frames()


def brain():
    return pair(TIMING.start, TIMING.end, 1.0, 0.1, 1.0)[1]


@pytest.mark.parametrize(
    ("real", "written", "words"),
    [
        ("Bq/mL", "kBq/mL", "in Bq/mL but Units says kBq/mL"),
        ("kBq/mL", "Bq/mL", "in kBq/mL but Units says Bq/mL"),
        ("nCi/cc", "kBq/mL", "in nCi/mL but Units says kBq/mL"),
        ("Bq/mL", "nCi/cc", "in Bq/mL but Units says nCi/mL"),
    ],
)
def test_units_of_the_image(real, written, words):
    truth = 2.0
    stored = truth / concentration_factor(real)
    (text,) = plausibility.uptake(stored * concentration_factor(written))
    assert words in text


@pytest.mark.parametrize(
    ("real", "written", "words"), [("MBq", "Bq", "dose is in MBq but"), ("Bq", "MBq", "dose is in Bq but")]
)
def test_units_of_the_dose_by_uptake(real, written, words):
    (text,) = plausibility.uptake(2.0 * dose_factor(real) / dose_factor(written))
    assert words in text


@pytest.mark.parametrize(
    ("value", "real", "written"),
    [(370, "MBq", "Bq"), (370, "MBq", "kBq"), (10, "mCi", "MBq"), (3.7e8, "Bq", "MBq")],
)
def test_units_of_the_dose_alone(value, real, written):
    read = value * dose_factor(written)
    found = plausibility.dose(read, "sub-01_pet.json")
    if (value, real) == (10, "mCi"):
        assert found == []  # 10 MBq is a possible dose: the uptake tells
        return
    assert len(found) == 1
    assert found[0].startswith("sub-01_pet.json: InjectedRadioactivity")
    assert f"likely {value:g} {real} whose unit was written as {written}" in found[0]


@pytest.mark.parametrize("value", [np.nan, 20.0, 370.0, 2000.0])
def test_possible_doses(value):
    assert plausibility.dose(value) == []


@pytest.mark.parametrize("value", [0.06, 0.5, 2.0, 12.0, 29.0, np.nan])
def test_possible_uptake(value):
    assert plausibility.uptake(value) == []


def test_uptake_that_no_unit_explains():
    assert "body weight" in plausibility.uptake(1e12)[0]
    assert "body weight" in plausibility.uptake(-3.0)[0]


def test_decay_that_was_not_corrected():
    assert plausibility.curve(brain(), TIMING) == []
    decayed = brain() * np.exp(-np.log(2) / 20.364 * TIMING.mid / 60)
    # washout adds to decay here, so take a tracer that stays
    trapped = 5.0 * (1 - np.exp(-TIMING.mid / 60 / 3)) * np.exp(-np.log(2) / 20.364 * TIMING.mid / 60)
    (text,) = plausibility.curve(trapped, TIMING)
    assert "likely not decay-corrected" in text
    assert "20.4 min" in text or "20.3 min" in text or "20.5 min" in text
    assert decayed[-1] < brain()[-1]


def test_long_lived_nuclides_wash_out_as_fast_as_they_decay():
    slow = type(TIMING)(TIMING.start, TIMING.end, TIMING.decay, 1.0, 109.77)
    curve = 5.0 * np.exp(-np.log(2) / 109.77 * TIMING.mid / 60)
    assert plausibility.curve(curve, slow) == []


def test_fields_that_contradict_the_flag():
    ones, rising = [1.0] * len(TIMING), np.linspace(1, 8, len(TIMING)).tolist()
    fields = {"ImageDecayCorrected": True, "decaycorrectionfactor": ones}
    assert "write false" in plausibility.decay_fields(fields, TIMING)[0]
    fields = {"ImageDecayCorrected": False, "DecayCorrectionFactor": rising}
    assert "write true" in plausibility.decay_fields(fields, TIMING)[0]
    for corrected, factors in ((True, rising), (False, ones), (True, "n/a"), (True, ones[:3])):
        fields = {"ImageDecayCorrected": corrected, "DecayCorrectionFactor": factors}
        assert plausibility.decay_fields(fields, TIMING) == []


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "empty after the tracer"), (np.nan, "no finite activity"), (-0.5, "negative activity")],
)
def test_lost_frames(value, words):
    curve = brain()
    curve[20] = value
    (text,) = plausibility.curve(curve, TIMING)
    assert text.startswith("frame 20 (from ")
    assert words in text


def test_early_frames_may_be_empty_and_a_scan_may_not():
    curve = brain()
    curve[0] = 0.0
    assert plausibility.curve(curve, TIMING) == []
    assert plausibility.curve(0 * curve, TIMING) == ["the brain has no activity in any frame"]
