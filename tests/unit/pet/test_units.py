"""Tests of neurobraid.pet.units."""

import pytest

from neurobraid.errors import InputError
from neurobraid.pet import units


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("Bq/mL", 1e-3), ("BQML", 1e-3), ("bq/ml", 1e-3), ("Bq mL^-1", 1e-3), ("kBq/mL", 1.0), ("KBQ/CC", 1.0),
     ("kBq/cm³", 1.0), ("nCi/cc", 0.037), ("nCi/mL", 0.037), ("µCi/mL", 37.0)],
)  # fmt: skip
def test_concentration(unit, factor):
    assert units.concentration_factor(unit) == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize("unit", ["SUV", "counts", "g/mL", "CNTS", "", "Bq", "MBq/mm", "mBq/mL"])
def test_unknown_concentration_names_file_field_found_allowed_fix(unit):
    with pytest.raises(InputError) as error:
        units.concentration_factor(unit, "sub-01_pet.json")
    problem = error.value.problem
    assert problem.file == "sub-01_pet.json"
    assert problem.field == "Units"
    assert problem.found == repr(unit)
    assert "kBq/mL" in problem.allowed
    assert problem.fix


@pytest.mark.parametrize(
    ("unit", "factor"), [("MBq", 1), ("GBq", 1000), ("mCi", 37), ("uCi", 0.037), ("MBQ", 1), ("mci", 37)]
)
def test_dose(unit, factor):
    assert units.dose_factor(unit) == pytest.approx(factor)


def test_millibecquerel_is_not_megabecquerel():
    with pytest.raises(InputError):
        units.dose_factor("mBq")


@pytest.mark.parametrize("name", ["C11", "C-11", "11C", "[11C]", "^11^C", "Carbon-11", "c 11"])
def test_half_life_spellings(name):
    assert units.half_life(name) == 20.364


@pytest.mark.parametrize("name", ["C14", "F", "18", "Zr89", "F18C11", ""])
def test_half_life_unknown(name):
    with pytest.raises(InputError, match="TracerRadionuclide"):
        units.half_life(name)
