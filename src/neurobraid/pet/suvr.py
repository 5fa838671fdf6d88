"""Standardised uptake values and their ratio to a reference region, over a window after injection."""

import math

import numpy as np

MIN_COVERAGE = 0.75
"""Least fraction of the window that frames must cover."""


def overlap(frames, window_min):
    """Seconds that every frame shares with a window.

    Parameters
    ----------
    frames : Frames
    window_min : (float, float)
        Start and end, minutes after injection.

    Returns
    -------
    seconds : numpy.ndarray, (F,)
        Frames partly inside count with the part inside.
    coverage : float
        Fraction of the window inside frames.
    """
    low, high = 60.0 * window_min[0], 60.0 * window_min[1]
    if not high > low >= 0:
        raise ValueError(f"window {window_min} must have 0 <= start < end")
    seconds = (np.minimum(frames.end, high) - np.maximum(frames.start, low)).clip(0.0)
    return seconds, float(seconds.sum() / (high - low))


def refusal(frames, window_min):
    """Reason why a window cannot be used, or an empty string."""
    if not np.isfinite(window_min).all():
        return "no window of SUVR is established for the tracer; give pet.suvr_window_min"
    _, coverage = overlap(frames, window_min)
    if coverage >= MIN_COVERAGE:
        return ""
    return (
        f"frames ({frames.start[0] / 60:.1f} to {frames.end[-1] / 60:.1f} min after injection) cover "
        f"{100 * coverage:.0f} % of the window {window_min[0]:g}-{window_min[1]:g} min; "
        f"at least {100 * MIN_COVERAGE:.0f} % are needed"
    )


def window_mean(values, frames, window_min):
    """Mean activity in a window, frames weighted by the time they spend in it.

    Parameters
    ----------
    values : array-like, (F,) or (..., F)
        Frame means, decay-corrected to injection.
    frames : Frames
    window_min : (float, float)

    Returns
    -------
    numpy.ndarray, shape of `values` without the last axis

    Raises
    ------
    ValueError
        `refusal` has a reason.
    """
    reason = refusal(frames, window_min)
    if reason:
        raise ValueError(reason)
    seconds, _ = overlap(frames, window_min)
    inside = seconds > 0
    values = np.asarray(values)
    weights = (seconds[inside] / seconds.sum()).astype(values.dtype if values.dtype.kind == "f" else float)
    return values[..., inside] @ weights


def ratio(values, reference, frames, window_min):
    """SUVR: window mean of the target over window mean of the reference (averaged first, then divided).

    Parameters
    ----------
    values : array-like, (..., F)
    reference : array-like, (F,)
    frames : Frames
    window_min : (float, float)

    Returns
    -------
    numpy.ndarray, shape of `values` without the last axis
    """
    below = float(window_mean(reference, frames, window_min))
    if not (math.isfinite(below) and below > 0):
        raise ValueError(f"the reference has no activity in the window {window_min}")
    return window_mean(values, frames, window_min) / below


def window_notes(frames, window_min, origin):
    """Window, its coverage by frames and where it comes from, for sidecars."""
    known = np.isfinite(window_min).all()
    return {
        "WindowMin": list(window_min) if known else None,
        "WindowCoverage": overlap(frames, window_min)[1] if known else None,
        "WindowSource": origin,
    }


def correction(region):
    """What the sidecar of a reference curve says about partial-volume correction, for sidecars made from it."""
    keys = ("PartialVolumeCorrection", "PointSpreadFWHMmm", "ConditionNumber")
    return {"PartialVolumeCorrection": "none", **{key: region[key] for key in keys if key in region}}


STANDARD_CENTILOID = {
    "slope": 100 / (2.076 - 1.009),
    "intercept": -100 * 1.009 / (2.076 - 1.009),
    "citation": "",
}
"""PiB, 50-70 min, whole cerebellum (Klunk et al. 2015, Alzheimers Dement 11:1): young controls at 1.009 are 0, patients
at 2.076 are 100. It holds for the standard pipeline; any other needs its own calibration."""


def centiloid(values, equation):
    """Centiloids of SUVR by a linear equation.

    Parameters
    ----------
    values : array-like
        SUVR.
    equation : dict
        ``slope``, ``intercept`` and ``citation`` of the calibration of this pipeline; empty: none are made.

    Returns
    -------
    numpy.ndarray or None
    notes : dict
        For the sidecar; empty where none are made. Without a citation the values are called uncalibrated.

    Examples
    --------
    >>> centiloid([1.009, 2.076], STANDARD_CENTILOID)[0].round(6)
    array([  0., 100.])
    """
    if "slope" not in equation or "intercept" not in equation:
        return None, {}
    citation = equation.get("citation") or ""
    notes = {
        "CentiloidSlope": equation["slope"],
        "CentiloidIntercept": equation["intercept"],
        "CentiloidCalibration": citation or "uncalibrated",
    }
    return equation["slope"] * np.asarray(values, float) + equation["intercept"], notes


def suv(activity, dose_mbq, weight_kg):
    """SUV by body weight, g/mL: activity (kBq/mL, referred to injection) times weight (kg) over dose (MBq).

    NaN where dose or weight is not known.

    Examples
    --------
    >>> suv(5.0, 350.0, 70.0)
    1.0
    """
    if not (math.isfinite(dose_mbq) and math.isfinite(weight_kg)):
        return activity * math.nan
    return activity * (weight_kg / dose_mbq)
