"""Designs against nilearn, and every way in which events can be wrong."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.activation import design as designs
from neurobraid.bold import nuisance
from neurobraid.errors import InputError
from tests.unit.activation.test_glm import TR, events


def write(tmp_path, table):
    path = tmp_path / "sub-01_task-x_events.tsv"
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    return path


@pytest.mark.parametrize("hrf", ["spm", "glover", "glover + derivative"])
@pytest.mark.parametrize("start", [0.0, 0.9])
def test_equals_nilearn(hrf, start):
    """Closed form against nilearn's grid of TR/50, which rounds onsets and shifts by one grid step (40 ms).

    Tolerance: 3 % of the regressor's height, 6 % for its derivative, correlation above .998.
    """
    from nilearn.glm.first_level import make_first_level_design_matrix

    frame_times = start + np.arange(120) * TR
    ours, _ = designs.make_design(frame_times, events(), hrf=hrf, high_pass_hz=0.01)
    theirs = make_first_level_design_matrix(
        frame_times, events(), hrf_model=hrf, drift_model="cosine", high_pass=0.01
    )
    assert list(ours) == list(theirs)
    for name in ours:
        a, b = ours[name].to_numpy(), theirs[name].to_numpy()
        scale = np.abs(b).max()
        assert np.abs(a - b).max() < (0.06 if "derivative" in name else 0.03) * scale
        assert a.std() == b.std() == 0 or np.corrcoef(a, b)[0, 1] > 0.998


def test_start_time_shifts_the_regressor():
    early, late = (designs.make_design(s + np.arange(120) * TR, events())[0]["left"] for s in (0.0, 1.0))
    times = np.arange(120) * TR
    assert np.corrcoef(np.interp(times + 1.0, times, early), late)[0, 1] > 0.99
    assert np.abs(early - late).max() > 0.05


def test_sustained_response_is_one_and_block_peak_sees_the_block():
    assert designs.regressor(np.array([60.0]), [0.0], [100.0])[0] == pytest.approx(1.0, abs=1e-6)
    pictures = 10 + np.arange(16) * 1.0
    block = designs.response_peak(np.r_[pictures, pictures + 60], np.full(32, 0.9))
    single = designs.response_peak(pictures[:1], np.array([0.9]))
    assert block > 0.9 > 0.25 > single
    # overlapping neighbours do not change the peak of an event
    assert designs.response_peak(np.array([0.0, 4.0]), np.array([2.0, 2.0])) == pytest.approx(
        designs.response_peak(np.array([0.0]), np.array([2.0])), rel=1e-6
    )


def test_events_without_duration_give_an_impulse():
    a = designs.regressor(np.arange(0, 30, 0.5), [3.0], [0.0])
    b = designs.regressor(np.arange(0, 30, 0.5), [2.995], [0.01]) / 0.01
    np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda e: e.drop(columns="duration"), "columns"),
        (lambda e: e.drop(columns="trial_type"), "columns"),
        (lambda e: e.assign(onset=e["onset"].where(e.index != 3, -2.5)), "onset in line 5"),
        (lambda e: e.assign(onset=e["onset"].where(e.index != 4, 240.0)), "onset in line 6"),
        (lambda e: e.assign(duration=e["duration"].where(e.index != 0)), "duration in line 2"),
        (lambda e: e.iloc[:0], "rows"),
    ],
)
def test_wrong_events_name_file_field_and_fix(tmp_path, change, field):
    path = write(tmp_path, change(events()))
    with pytest.raises(InputError) as error:
        designs.read_events(path, 120, TR)
    assert error.value.problem.field == field
    assert "events.tsv" in error.value.problem.file
    assert error.value.problem.fix


def test_numeric_trial_types_stay_text_and_unlabelled_rows_go(tmp_path):
    table = events()
    table["trial_type"] = np.where(table.index == 1, None, "01")
    read = designs.read_events(write(tmp_path, table), 120, TR)
    assert set(read["trial_type"]) == {"01"}
    assert len(read) == 29


def test_dependent_confounds_give_way_and_equal_conditions_are_refused():
    confounds = pd.DataFrame({"a": np.arange(120.0), "twice": 2 * np.arange(120.0) + 3, "flat": 5.0})
    design, info = designs.make_design(np.arange(120) * TR, events(), confounds=confounds)
    assert info["DroppedRegressors"] == ["twice", "flat"]
    assert np.linalg.matrix_rank(design) == design.shape[1]
    twins = pd.concat([events(), events().assign(trial_type="copy")])
    with pytest.raises(InputError, match="told apart"):
        designs.make_design(np.arange(120) * TR, twins)


def test_too_many_regressors_are_refused():
    confounds = pd.DataFrame(np.random.default_rng(0).standard_normal((120, 130))).add_prefix("c")
    with pytest.raises(InputError, match="longer run"):
        designs.make_design(np.arange(120) * TR, events(), confounds=confounds)


def test_variance_inflation_of_a_near_copy():
    rng = np.random.default_rng(0)
    design = pd.DataFrame({"a": rng.standard_normal(200), "c": rng.standard_normal(200), "constant": 1.0})
    design["b"] = 0.9 * design["a"] + np.sqrt(1 - 0.81) * rng.standard_normal(200)
    factors = designs.variance_inflation(design, ["a", "c"])
    assert factors["a"] == pytest.approx(1 / (1 - 0.81), rel=0.25)
    assert factors["c"] < 1.1


def test_contrast_of_an_absent_condition_is_refused():
    design, _ = designs.make_design(np.arange(120) * TR, events())
    with pytest.raises(InputError, match="no trial_type middle"):
        designs.contrast_vector(design, {"middle": 1.0}, name="m", conditions=["left", "right"])
    assert designs.contrast_peak({"left": 1, "right": -1}, {"left": 0.4, "right": 0.6}) == pytest.approx(0.5)


def test_confound_groups():
    table = pd.DataFrame(
        np.random.default_rng(0).standard_normal((50, 8)), columns=[*nuisance.MOTION, *nuisance.TISSUE]
    )
    chosen = nuisance.select(table, "motion24+csfwm+non_steady_state")
    assert chosen.shape == (50, 26)
    assert chosen["trans_x_derivative1"].iloc[0] == 0
    np.testing.assert_allclose(chosen["rot_z_derivative1_power2"].iloc[1:], np.diff(table["rot_z"]) ** 2)
    with pytest.raises(InputError, match="global_signal"):
        nuisance.select(table, ["motion6", "global_signal"])
    table.loc[7, "csf"] = np.nan
    with pytest.raises(InputError, match="column csf"):
        nuisance.select(table, ["csf"])


def test_cosines_equal_nilearn_and_split_the_band():
    from nilearn.glm.first_level.design_matrix import create_cosine_drift

    theirs = create_cosine_drift(0.01, np.arange(120) * TR)[:, :-1]
    np.testing.assert_allclose(nuisance.cosine_basis(120, TR, 0.01), theirs, atol=1e-12)
    band = nuisance.cosine_basis(180, TR, 0.01, 0.1)
    # 720 s of doubled length: orders 1-7 are too slow, 73-179 too fast
    assert band.shape[1] == 7 + 107
