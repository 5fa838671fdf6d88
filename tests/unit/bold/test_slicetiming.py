"""Slice-timing correction against sines read at known times."""

import numpy as np
import pytest

from neurobraid.bold.slicetiming import correct_slice_timing

TR, T, SHAPE = 2.0, 90, (5, 6, 7)


def wave(times, frequency):
    return 500 + 20 * np.sin(2 * np.pi * frequency * times + 0.4)


def make(axis, slice_times, frequency):
    data = np.empty((*SHAPE, T), np.float32, order="F")
    shape = [1, 1, 1, 1]
    shape[axis] = SHAPE[axis]
    when = np.arange(T) * TR + slice_times.reshape(shape)
    data[:] = wave(when, frequency)
    return data


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("reference", [0.0, 0.5])
def test_sine_at_the_reference_time(axis, reference):
    slice_times = np.roll(np.arange(SHAPE[axis]) * TR / SHAPE[axis], 2)
    data = make(axis, slice_times, 0.05)
    before = data.copy()
    start = correct_slice_timing(data, slice_times, axis, TR, reference=reference)
    assert start == reference * TR
    truth = wave(np.arange(T) * TR + start, 0.05)
    middle = slice(6, -6)  # the ends are extrapolated
    assert np.abs(data - truth)[..., middle].max() < 0.2
    assert np.abs(before - truth)[..., middle].max() > 2.0


def test_ends_stay_in_range_and_constant_stays_constant():
    slice_times = np.linspace(0, 1.9, 7)
    data = np.full((*SHAPE, T), 321.0, np.float32, order="F")
    correct_slice_timing(data, slice_times, 2, TR, reference=0.5)
    assert np.allclose(data, 321.0, rtol=1e-5)


def test_volumes_before_steady_state_are_left_alone():
    slice_times = np.linspace(0, 1.9, 7)
    data = make(2, slice_times, 0.03)
    data[..., :3] += 400
    before = data.copy()
    clean = make(2, slice_times, 0.03)[..., 3:].copy(order="F")
    correct_slice_timing(data, slice_times, 2, TR, reference=0.5, first=3)
    correct_slice_timing(clean, slice_times, 2, TR, reference=0.5)
    assert np.array_equal(data[..., :3], before[..., :3])
    assert np.allclose(data[..., 3:], clean, atol=1e-3)


def test_wrong_memory_order_is_refused():
    with pytest.raises(ValueError, match="Fortran"):
        correct_slice_timing(np.zeros((3, 4, 5, 9), np.float32), np.zeros(5), 2, TR, reference=0.5)
