"""Closed forms against numerical integration."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from neurobraid.synth.kinetics import FENG, frame_means, plasma, plasma_integral, srtm, tissue

START = np.array([0.5, 1.0, 2.0, 5.0, 20.0, 55.0])
END = np.array([1.0, 2.0, 5.0, 10.0, 25.0, 60.0])


def integrated(uptake, washout):
    """Tissue curve and its integral by an ODE solver."""

    def slope(t, state):
        return [uptake * plasma(t) - washout * state[0], state[0], plasma(t)]

    done = solve_ivp(slope, (0, 60), [0, 0, 0], method="DOP853", rtol=1e-12, atol=1e-12, dense_output=True)
    return done.sol


@pytest.mark.parametrize("washout", [0.02, 0.1191, 0.12, 0.4, 0.01043])
def test_curve_and_frame_means_are_exact(washout):
    solution = integrated(0.09, washout)
    times = np.array([0.1, 0.7, 3.0, 17.0, 60.0])
    np.testing.assert_allclose(tissue(times, 0.09, washout), solution(times)[0], rtol=1e-9)
    means = (solution(END)[1] - solution(START)[1]) / (END - START)
    np.testing.assert_allclose(frame_means(START, END, 0.09, washout)[:, 0], means, rtol=1e-9)


def test_plasma_integral():
    solution = integrated(0.1, 0.1)
    np.testing.assert_allclose(plasma_integral(END), solution(END)[2], rtol=1e-9)


def test_pair_obeys_the_reference_tissue_model():
    r1, bpnd, k2p = 1.1, 2.5, 0.15
    times = np.linspace(0, 60, 60001)
    k2 = r1 * k2p
    k2a = k2 / (1 + bpnd)
    reference, target = tissue(times, 0.09, k2p), tissue(times, r1 * 0.09, k2a)
    # dC/dt = R1 dR/dt + k2 R - k2a C, the differential form of the model
    left = np.gradient(target, times)
    right = r1 * np.gradient(reference, times) + k2 * reference - k2a * target
    assert np.abs(left - right)[5:-5].max() < 2e-5 * np.abs(left).max()


def test_reference_is_the_case_without_binding():
    curves = srtm(START, END, [1.0, 1.2], [0.0, 1.5], k2_reference=0.16, k1_reference=0.09)
    np.testing.assert_allclose(curves[:, 0], frame_means(START, END, 0.09, 0.16)[:, 0])
    assert (curves[-1, 1] > curves[-1, 0]).all()


def test_rate_near_the_input_is_refused():
    with pytest.raises(ValueError, match="fast rate"):
        tissue(START, 0.1, FENG["rate"][0])
