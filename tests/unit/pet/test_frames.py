"""Tests of neurobraid.pet.frames."""

import math

import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError
from neurobraid.files import write_json, write_tsv
from neurobraid.pet import frames
from neurobraid.pet.fit import participant_weight

START = [0.0, 30.0, 60.0, 180.0]
DURATION = [30.0, 30.0, 120.0, 300.0]


def fields(**changes):
    """A correct sidecar with changes; None removes a key."""
    base = {
        "Units": "Bq/mL", "TracerRadionuclide": "C11", "TimeZero": "10:00:00", "ScanStart": 0, "InjectionStart": 0,
        "FrameTimesStart": START, "FrameDuration": DURATION, "ImageDecayCorrected": True, "ImageDecayCorrectionTime": 0,
        "InjectedRadioactivity": 370.0, "InjectedRadioactivityUnits": "MBq",
    }  # fmt: skip
    base.update(changes)
    return {k: v for k, v in base.items() if v is not None}


def test_times_are_after_injection_whatever_time_zero_is():
    # TimeZero 100 s before the injection, image corrected to TimeZero
    shifted = fields(
        FrameTimesStart=[s + 100 for s in START],
        InjectionStart=100,
        ScanStart=100,
        ImageDecayCorrectionTime=0,
    )
    got = frames.read_frames(shifted, 4)
    np.testing.assert_allclose(got.start, START)
    np.testing.assert_allclose(got.end, np.add(START, DURATION))
    np.testing.assert_allclose(got.decay, math.exp(-math.log(2) / (20.364 * 60) * 100), rtol=1e-12)


def test_late_scan_corrected_to_scan_start_gets_its_activity_back():
    # 80 min after an F-18 injection, corrected to scan start: 1 - exp(-ln2 80/109.77) = 40 % would be lost
    late = fields(
        TracerRadionuclide="F18", FrameTimesStart=[4800.0, 5100.0], FrameDuration=[300.0, 300.0], ScanStart=4800,
        ImageDecayCorrectionTime=4800,
    )  # fmt: skip
    got = frames.read_frames(late, 2)
    np.testing.assert_allclose(got.decay, 2 ** (80 / 109.77), rtol=1e-12)
    assert 1 - 1 / got.decay[0] == pytest.approx(0.397, abs=1e-3)


def test_uncorrected_frames_get_the_exact_frame_factor():
    # constant concentration: the measured mean of a decaying frame times the factor is that constant
    rate = math.log(2) / (20.364 * 60)
    start, end = np.array(START), np.add(START, DURATION)
    measured = (np.exp(-rate * start) - np.exp(-rate * end)) / (rate * (end - start))
    got = frames.read_frames(fields(ImageDecayCorrected=False, ImageDecayCorrectionTime=None), 4)
    np.testing.assert_allclose(measured * got.decay, 1.0, rtol=1e-12)
    # the mid-time form is not exact: 0.12 % for 5 min of C-11
    mid = math.exp(rate * (start[3] + 150))
    assert abs(mid / got.decay[3] - 1) == pytest.approx(0.0012, abs=2e-4)


def test_scale_joins_unit_and_decay():
    got = frames.read_frames(fields(Units="nCi/cc", ImageDecayCorrectionTime=600), 4)
    np.testing.assert_allclose(got.scale, 0.037 * 2 ** (10 / 20.364), rtol=1e-12)


def test_keys_are_found_whatever_their_capitals():
    odd = {k.upper(): v for k, v in fields().items()}
    np.testing.assert_allclose(frames.read_frames(odd, 4).start, START)
    assert frames.injected_dose(
        {"InjectedRadioActivity": 10, "InjectedRadioActivityUnits": "mCi"}
    ) == pytest.approx(370)


@pytest.mark.parametrize("value", [300.0, [300.0]])
def test_three_dimensional_image_is_one_frame(value):
    got = frames.read_frames(fields(FrameTimesStart=0.0 if value == 300.0 else [0.0], FrameDuration=value), 1)
    assert len(got) == 1
    assert got.end[0] == 300


def test_gaps_are_legal_and_millisecond_rounding_is_no_overlap():
    got = frames.read_frames(fields(FrameTimesStart=[0.0, 29.995, 60.0, 400.0]), 4)
    assert got.start[3] - got.end[2] == pytest.approx(220)


@pytest.mark.parametrize(
    ("changes", "field", "found"),
    [
        ({"FrameTimesStart": None}, "FrameTimesStart", "missing"),
        ({"FrameDuration": "n/a"}, "FrameDuration", "missing"),
        ({"InjectionStart": None}, "InjectionStart", "missing"),
        ({"Units": None}, "Units", "missing"),
        ({"Units": "furlong"}, "Units", "'furlong'"),
        ({"TracerRadionuclide": "Xx99"}, "TracerRadionuclide", "'Xx99'"),
        ({"ImageDecayCorrected": None}, "ImageDecayCorrected", "missing"),
        ({"ImageDecayCorrected": "true"}, "ImageDecayCorrected", "'true'"),
        ({"ImageDecayCorrectionTime": None}, "ImageDecayCorrectionTime", "missing"),
        ({"FrameTimesStart": [0.0, 20.0, 60.0, 180.0]}, "FrameTimesStart[1]", "overlap 10 s"),
        ({"FrameTimesStart": [0.0, 60.0, 30.0, 180.0]}, "FrameTimesStart[2]", "30 s after 60 s"),
        ({"FrameDuration": [30.0, 0.0, 120.0, 300.0]}, "FrameDuration[1]", "0 s"),
        ({"FrameDuration": [30.0, 30.0, -5.0, 300.0]}, "FrameDuration[2]", "-5 s"),
        ({"FrameDuration": [30.0, 30.0, float("nan"), 300.0]}, "FrameDuration[2]", "nan"),
        ({"FrameDuration": [30.0, 30.0, 120.0]}, "FrameDuration", "3 values for 4 volumes"),
        ({"FrameDuration": 30.0}, "FrameDuration", "1 values for 4 volumes"),
        ({"FrameTimesStart": ["0", 30.0, 60.0, 180.0]}, "FrameTimesStart[0]", "'0'"),
        ({"ScanStart": 4800}, "FrameTimesStart[0]", "before ScanStart"),
        ({"InjectionStart": 9000}, "InjectionStart", "after the last frame"),
        ({"FrameTimesStart": [1000 * s for s in START]}, "FrameTimesStart", "20 half-lives"),
    ],
)
def test_bad_sidecar(changes, field, found):
    with pytest.raises(InputError) as error:
        frames.read_frames(fields(**changes), 4, "sub-01_pet.json")
    problem = error.value.problem
    assert (problem.file, problem.field) == ("sub-01_pet.json", field)
    assert found in problem.found
    assert problem.allowed
    assert problem.fix


def test_two_values_under_spellings_of_one_key():
    with pytest.raises(InputError, match="two different values"):
        frames.read_frames({**fields(), "units": "kBq/mL"}, 4)


def test_dose():
    assert frames.injected_dose(fields()) == 370
    assert math.isnan(frames.injected_dose(fields(InjectedRadioactivity="n/a")))
    with pytest.raises(InputError, match="InjectedRadioactivityUnits is missing"):
        frames.injected_dose(fields(InjectedRadioactivityUnits=None))
    with pytest.raises(InputError):
        frames.injected_dose(fields(InjectedRadioactivity=-1))


def test_frame_table_round_trip():
    got = frames.read_frames(fields(ImageDecayCorrectionTime=60), 4)
    table = got.table()
    assert list(table.columns) == list(frames.COLUMNS)
    back = frames.from_table(table, got.half_life_min)
    np.testing.assert_array_equal(back.start, got.start)
    np.testing.assert_array_equal(back.scale, got.scale)
    np.testing.assert_allclose(table["frame_mid_s"], [15, 45, 120, 330])


@pytest.mark.parametrize("column", ["body_weight", "Weight", "bodyweight", "patient_weight"])
def test_body_weight_by_alias_and_participant(column):
    table = pd.DataFrame({"participant_id": ["sub-02", "sub-01"], column: [81.5, np.nan]})
    assert frames.body_weight(table, "sub-02") == 81.5
    assert math.isnan(frames.body_weight(table, "sub-01"))
    assert math.isnan(frames.body_weight(table, "sub-03"))
    assert frames.body_weight(table, "sub-02", {column: {"Units": "lb"}}) == pytest.approx(81.5 * 0.45359237)


@pytest.mark.parametrize(
    "columns",
    [
        {"weight": [1.2]},
        {"weight": [500.0]},
        {"weight": [70.0], "body_weight": [71.0]},
        {"weight": ["heavy"]},
    ],
)
def test_bad_body_weight(columns):
    with pytest.raises(InputError, match="weight"):
        frames.body_weight(pd.DataFrame({"participant_id": ["sub-01"], **columns}), "sub-01")


def test_weight_of_the_session_comes_before_that_of_the_participant(tmp_path):
    paths = [tmp_path / name for name in ("participants.tsv", "sub-01_sessions.tsv", "sub-01_sessions.json")]
    write_tsv(pd.DataFrame({"participant_id": ["sub-01", "sub-02"], "weight": [70.0, 80.0]}), paths[0])
    write_tsv(pd.DataFrame({"session_id": ["ses-1", "ses-2"], "body_weight": [np.nan, 160.0]}), paths[1])
    write_json({"body_weight": {"Units": "lb"}}, paths[2])
    paths = [str(path) for path in paths]
    assert participant_weight(paths, "sub-01", "ses-2") == pytest.approx(160 * 0.45359237)
    assert participant_weight(paths, "sub-01", "ses-1") == 70
    assert participant_weight(paths, "sub-01", "ses-3") == 70
    assert participant_weight(paths, "sub-02", "ses-2") == 80
    assert participant_weight(paths[1:2], "sub-01", "ses-2") == 160
    assert math.isnan(participant_weight([], "sub-01", "ses-1"))


@pytest.mark.parametrize(("mass", "specific"), [("n/a", "n/a"), (None, None), (0.5, 120.0)])
def test_mass_and_specific_activity_are_never_read(mass, specific):
    odd = fields(
        InjectedMass=mass, SpecificRadioactivity=specific, InjectedMassUnits="n/a", TracerRadionuclide="F18"
    )
    assert len(frames.read_frames(odd, 4)) == 4
    assert frames.injected_dose(odd) == 370
