"""Tests of neurobraid.pet.convolution."""

import numpy as np
import pytest
from scipy.signal import lfilter

from neurobraid.pet.convolution import _phi, exponential_means, knots


@pytest.mark.parametrize("z", [-1e-12, -1e-6, -0.01, -0.2999, -0.3001, -2.0, -40.0])
def test_phi_functions(z):
    # phi_n by Gauss quadrature of exp((1 - s) z) s^(n-1) / (n-1)!
    nodes, weights = np.polynomial.legendre.leggauss(80)
    s = (nodes + 1) / 2
    expected = [np.sum(weights / 2 * np.exp((1 - s) * z) * s**n / (1, 1, 2)[n]) for n in range(3)]
    np.testing.assert_allclose([p[0] for p in _phi(np.array([z]))], expected, rtol=1e-12)


@pytest.mark.parametrize("rate", [0.0, 0.006, 0.1, 3.0])
def test_against_fine_time_grid_with_gap_and_frame_before_injection(rate):
    start, end = np.array([-1.0, 1.0, 2.0, 5.0, 12.0]), np.array([1.0, 2.0, 4.0, 8.0, 20.0])
    values = np.array([0.3, 2.0, 6.0, 3.0, 1.0])
    t = np.linspace(0, 20, 200001)
    curve = np.interp(t, *knots(start, end, values))
    fade = np.exp(-rate * t[1])
    drive = np.concatenate([[0.0], (curve[1:] + curve[:-1] * fade) * t[1] / 2])
    y = lfilter([1.0], [1.0, -fade], drive)
    total = np.concatenate([[0.0], np.cumsum((y[1:] + y[:-1]) / 2 * t[1])])
    expected = (np.interp(end, t, total) - np.interp(start.clip(0), t, total)) / (end - start)
    np.testing.assert_allclose(exponential_means(start, end, values, [rate])[:, 0], expected, rtol=1e-6)


def test_starts_at_the_injection():
    # one late frame: the ramp from zero at t = 0 counts, not only what follows the first mid time
    got = exponential_means(np.array([4.0, 6.0]), np.array([6.0, 8.0]), np.array([5.0, 7.0]), [0.0])
    # R = t, so the integral is t^2 / 2 and its mean over [4, 6] is (6^3 - 4^3) / 12
    np.testing.assert_allclose(got[:, 0], [(216 - 64) / 12, (512 - 216) / 12], rtol=1e-12)
