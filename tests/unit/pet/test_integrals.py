"""Tests of neurobraid.pet.integrals."""

import numpy as np
import pytest

from neurobraid.pet.integrals import METHODS, integral_operator

from .curves import DURATIONS, STARTS, input_integral, input_mean

START, END = STARTS / 60, (STARTS + DURATIONS) / 60


@pytest.mark.parametrize("method", METHODS)
def test_straight_line_from_injection(method):
    """R = t: the trapezoid is exact at mid points; the other two differ by a known share of the frame."""
    mid, length = 0.5 * (START + END), END - START
    found = integral_operator(START, END, method) @ mid
    expected = {
        "midpoint": mid**2 / 2,
        "frame_sum": START**2 / 2 + length * mid / 2,
        "frame_means": (END**3 - START**3) / 6 / length,
    }[method]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_frame_means_are_the_most_accurate_for_a_real_input():
    values = input_mean(START, END)
    nodes = [np.linspace(a, b, 2001) for a, b in zip(START, END, strict=True)]
    expected = np.array([input_integral(t).mean() for t in nodes])[8:]
    found = (integral_operator(START, END, "frame_means") @ values)[8:]
    other = (integral_operator(START, END, "midpoint") @ values)[8:]
    assert np.abs(found / expected - 1).max() < 1e-3
    assert np.abs(found / expected - 1).max() < 0.2 * np.abs(other / expected - 1).max()


def test_gaps_are_bridged_and_time_before_injection_is_empty():
    start, end = np.array([-2.0, 0.0, 20.0]), np.array([0.0, 10.0, 30.0])
    found = integral_operator(start, end) @ [0.0, 5.0, 25.0]  # R = t, seen through a gap
    assert found[0] == 0.0
    # 50 in the second frame, 150 in the gap, then the mean of (t^2 - 400)/2 over the last frame
    assert found[2] == pytest.approx(200 + (19000 / 3 / 10 - 400) / 2, rel=1e-9)


def test_one_frame_and_unknown_method():
    assert integral_operator([0.0], [2.0], "frame_sum") @ [3.0] == pytest.approx([3.0])
    with pytest.raises(ValueError, match="frame_means, frame_sum, midpoint"):
        integral_operator([0.0], [1.0], "simpson")
