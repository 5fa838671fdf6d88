"""Exact time-activity curves: Feng's plasma input through one tissue compartment, in closed form.

Reference and target are one-tissue compartments with a common distribution volume when nothing is bound, so the
pair satisfies the simplified reference tissue model exactly (Lammertsma & Hume 1996, NeuroImage 4:153).
Times in min after injection, rates in 1/min.
"""

import numpy as np

FENG = {"A": (851.1, 21.88, 20.81), "rate": (4.134, 0.1191, 0.01043)}
"""Plasma input, model 2 of Feng, Huang & Wang 1993 (Int J Biomed Comput 32:95)."""

HALF_LIFE = {"C11": 20.364}
"""Half-life in min."""


def plasma(t):
    """Plasma activity, ``(A1 t - A2 - A3) e^-r1 t + A2 e^-r2 t + A3 e^-r3 t``.

    Parameters
    ----------
    t : numpy.ndarray
        min, >= 0.

    Returns
    -------
    numpy.ndarray
        Arbitrary units.
    """
    (a1, a2, a3), (r1, r2, r3) = FENG["A"], FENG["rate"]
    return (a1 * t - a2 - a3) * np.exp(-r1 * t) + a2 * np.exp(-r2 * t) + a3 * np.exp(-r3 * t)


def plasma_integral(t):
    """Integral of `plasma` from 0."""
    (a1, a2, a3), (r1, r2, r3) = FENG["A"], FENG["rate"]
    first = np.exp(-r1 * t)
    return (
        a1 * ((1 - first) / r1**2 - t * first / r1)
        - (a2 + a3) * (1 - first) / r1
        + a2 * (1 - np.exp(-r2 * t)) / r2
        + a3 * (1 - np.exp(-r3 * t)) / r3
    )


def _pair(rate, theta, t):
    """``(e^-rate t - e^-theta t) / (theta - rate)``, also where the two rates meet."""
    x = (theta - rate) * t
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.where(np.abs(x) < 1e-12, 1.0, np.expm1(x) / np.where(x == 0, 1.0, x))
    return t * np.exp(-theta * t) * growth


def tissue(t, uptake, washout):
    """One-tissue compartment: ``uptake * plasma (x) e^-washout t``.

    Parameters
    ----------
    t : numpy.ndarray, (T,)
        min, >= 0.
    uptake, washout : float or numpy.ndarray, (R,)
        K1 in mL/min/mL and k2 in 1/min; k2 well below 4.1 (Feng's fast rate).

    Returns
    -------
    numpy.ndarray, (T,) or (T, R)
    """
    (a1, a2, a3), (r1, r2, r3) = FENG["A"], FENG["rate"]
    uptake, theta = np.asarray(uptake, float), np.asarray(washout, float)
    t = np.asarray(t, float).reshape(-1, *[1] * theta.ndim)
    gap = theta - r1
    if np.any(np.abs(gap) < 0.05):
        raise ValueError("washout is too close to the fast rate of the plasma input (4.134 per min)")
    ramp = t * np.exp(-r1 * t) / gap - (np.exp(-r1 * t) - np.exp(-theta * t)) / gap**2
    return uptake * (
        a1 * ramp - (a2 + a3) * _pair(r1, theta, t) + a2 * _pair(r2, theta, t) + a3 * _pair(r3, theta, t)
    )


def frame_means(start, end, uptake, washout):
    """Exact means of `tissue` over frames.

    From dC/dt = K1 Cp - k2 C follows ``integral C = (K1 integral Cp - change of C) / k2``.

    Parameters
    ----------
    start, end : numpy.ndarray, (F,)
        min after injection.
    uptake, washout : numpy.ndarray, (R,)

    Returns
    -------
    numpy.ndarray, (F, R)
    """
    uptake, theta = np.atleast_1d(np.asarray(uptake, float)), np.atleast_1d(np.asarray(washout, float))
    start, end = np.asarray(start, float), np.asarray(end, float)
    dose = (plasma_integral(end) - plasma_integral(start))[:, None] * uptake
    change = tissue(end, uptake, theta) - tissue(start, uptake, theta)
    return (dose - change) / theta / (end - start)[:, None]


def srtm(start, end, r1, bpnd, *, k2_reference, k1_reference):
    """Frame means of targets and of the reference that obey the simplified reference tissue model.

    Parameters
    ----------
    start, end : numpy.ndarray, (F,)
        min after injection.
    r1, bpnd : numpy.ndarray, (R,)
        Relative delivery and binding potential.
    k2_reference, k1_reference : float
        k2' in 1/min and K1' in mL/min/mL.

    Returns
    -------
    numpy.ndarray, (F, R)
        Units of the plasma input. ``r1=1, bpnd=0`` is the reference itself.
    """
    r1, bpnd = np.atleast_1d(np.asarray(r1, float)), np.atleast_1d(np.asarray(bpnd, float))
    return frame_means(start, end, r1 * k1_reference, r1 * k2_reference / (1 + bpnd))
