"""Exact curves: closed-form convolutions of the Feng input with one-tissue responses, as frame means."""

import numpy as np

# Feng 1993 model 2: Cp(t) = (A1 t - A2 - A3) exp(-4.134 t) + A2 exp(-0.1191 t) + A3 exp(-0.01043 t), t in min
AMPLITUDES = (851.1, 21.88, 20.81)
RATES = (4.134, 0.1191, 0.01043)

STARTS = np.concatenate(
    [np.arange(0, 240, 30), np.arange(240, 600, 60), np.arange(600, 1800, 200), np.arange(1800, 3600, 300)]
)
DURATIONS = np.diff(np.append(STARTS, 3600)).astype(float)


def _response(t, k):
    """Cp (x) exp(-k t) at times t (min), for one rate k."""
    a1, a2, a3 = AMPLITUDES
    l1, l2, l3 = RATES
    d = k - l1
    fade = np.exp(-k * t)
    ramp = a1 * (t * np.exp(-l1 * t) / d - (np.exp(-l1 * t) - fade) / d**2)
    decay = sum(
        a * (np.exp(-rate * t) - fade) / (k - rate) for a, rate in ((-a2 - a3, l1), (a2, l2), (a3, l3))
    )
    return ramp + decay


def input_integral(t):
    """Integral of Cp from 0 to t."""
    a1, a2, a3 = AMPLITUDES
    l1, l2, l3 = RATES
    ramp = a1 * ((1 - np.exp(-l1 * t)) / l1**2 - t * np.exp(-l1 * t) / l1)
    return ramp + sum(a * (1 - np.exp(-rate * t)) / rate for a, rate in ((-a2 - a3, l1), (a2, l2), (a3, l3)))


def one_tissue(start_s, end_s, K1, k2):
    """Frame means of K1 Cp (x) exp(-k2 t); the integral of y follows from y' = K1 Cp - k2 y."""
    start, end = np.asarray(start_s, float) / 60, np.asarray(end_s, float) / 60

    def integral(t):
        t = np.maximum(t, 0)
        return K1 * (input_integral(t) - _response(t, k2)) / k2

    return (integral(end) - integral(start)) / (end - start)


def pair(start_s, end_s, R1, k2, bpnd, K1=0.1):
    """Reference and target curve that satisfy SRTM exactly."""
    reference = one_tissue(start_s, end_s, K1, k2 / R1)
    return reference, one_tissue(start_s, end_s, R1 * K1, k2 / (1 + bpnd))


def input_mean(start, end):
    """Frame means of Cp; times in min."""
    return (input_integral(end) - input_integral(start)) / (end - start)


def _input_second_integral(t):
    """Integral of `input_integral` from 0 to t."""
    a1, a2, a3 = AMPLITUDES
    l1, l2, l3 = RATES
    fade = np.exp(-l1 * t)
    ramp = a1 * (t / l1**2 - 2 * (1 - fade) / l1**3 + t * fade / l1**2)
    return ramp + sum(
        a * (t - (1 - np.exp(-rate * t)) / rate) / rate for a, rate in ((-a2 - a3, l1), (a2, l2), (a3, l3))
    )


def trapped(start_s, end_s, K1, k2, k3):
    """Frame means of an irreversible two-tissue compartment: K1/(k2 + k3) (k3 int Cp + k2 Cp (x) exp(-(k2 + k3) t))."""
    start, end = np.asarray(start_s, float) / 60, np.asarray(end_s, float) / 60
    total = (_input_second_integral(end) - _input_second_integral(start)) / (end - start)
    return K1 * k3 / (k2 + k3) * total + one_tissue(start_s, end_s, K1 * k2 / (k2 + k3), k2 + k3)


def plasma(t):
    """Cp at times t (min)."""
    t = np.asarray(t, float)
    a1, a2, a3 = AMPLITUDES
    l1, l2, l3 = RATES
    return (a1 * t - a2 - a3) * np.exp(-l1 * t) + a2 * np.exp(-l2 * t) + a3 * np.exp(-l3 * t)


def two_tissue(start_s, end_s, K1, k2, k3, k4):
    """Frame means of the reversible two-tissue compartment model."""
    total = k2 + k3 + k4
    root = np.sqrt(total**2 - 4 * k2 * k4)
    high, low = (total + root) / 2, (total - root) / 2
    first = K1 * (high - k3 - k4) / (high - low)
    return one_tissue(start_s, end_s, first, high) + one_tissue(start_s, end_s, K1 - first, low)
