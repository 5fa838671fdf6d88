"""Tests of neurobraid.pet.suvr."""

import numpy as np
import pytest

from neurobraid.pet import suvr
from neurobraid.pet.frames import Frames


def timing(edges_min):
    edges = 60.0 * np.asarray(edges_min, float)
    return Frames(edges[:-1], edges[1:], np.ones(len(edges) - 1), 1.0, 109.77)


def test_partial_frames_and_unequal_durations():
    at = timing([0, 10, 40, 50, 70])
    values = np.array([1.0, 2.0, 4.0, 8.0])
    # window 30-60: 10 min of frame 1, 10 of frame 2, 10 of frame 3
    assert suvr.window_mean(values, at, (30, 60)) == pytest.approx((2 + 4 + 8) / 3)
    # frame 3 counts double: not the simple mean of frames
    assert suvr.window_mean(values, at, (40, 70)) == pytest.approx((10 * 4 + 20 * 8) / 30)


def test_mean_first_then_ratio():
    at = timing([0, 30, 60])
    target, reference = np.array([[3.0, 9.0], [2.0, 2.0]]), np.array([1.0, 5.0])
    np.testing.assert_allclose(suvr.ratio(target, reference, at, (0, 60)), [2.0, 2 / 3])


def test_window_counts_from_injection():
    edges = np.array([80.0, 90, 100, 110])
    assert suvr.overlap(timing(edges), (80, 100))[1] == 1.0
    assert suvr.overlap(timing(edges - 80), (80, 100))[1] == 0.0


def test_coverage_is_reported_and_refused_below_three_quarters():
    at = timing([0, 10, 52.5])
    seconds, coverage = suvr.overlap(at, (30, 60))
    np.testing.assert_allclose(seconds, [0, 22.5 * 60])
    assert coverage == pytest.approx(0.75)
    assert suvr.refusal(at, (30, 60)) == ""
    short = timing([0, 10, 52])
    assert "cover 73 % of the window 30-60 min" in suvr.refusal(short, (30, 60))
    with pytest.raises(ValueError, match="75 %"):
        suvr.window_mean(np.ones(2), short, (30, 60))


def test_nan_outside_the_window_does_not_matter_and_inside_it_does():
    at = timing([0, 30, 60])
    assert suvr.window_mean(np.array([np.nan, 2.0]), at, (30, 60)) == 2.0
    assert np.isnan(suvr.window_mean(np.array([2.0, np.nan]), at, (30, 60)))


def test_suv():
    assert suvr.suv(5.0, 350.0, 70.0) == pytest.approx(1.0)
    assert np.isnan(suvr.suv(5.0, np.nan, 70.0))


def test_reference_without_activity():
    with pytest.raises(ValueError, match="no activity"):
        suvr.ratio(np.ones(2), np.zeros(2), timing([0, 30, 60]), (30, 60))


@pytest.mark.parametrize("window", [(60, 30), (30, 30), (-5, 20)])
def test_bad_window(window):
    with pytest.raises(ValueError, match="window"):
        suvr.overlap(timing([0, 60]), window)
