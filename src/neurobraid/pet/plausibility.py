"""Checks that name the likely mistake: units of activity and dose, decay that was not corrected, lost frames."""

import math

import numpy as np

from neurobraid.pet.frames import Sidecar
from neurobraid.pet.units import decay_constant

SUV_RANGE = (0.05, 30.0)
"""Whole-brain SUV outside this is a mistake of units, not a tracer."""

SUV_USUAL = (0.3, 12.0)
"""Where the whole-brain SUV of most tracers lies; a mistake is named when undoing it leads here."""

MISTAKES = (
    (1e3, "the image is in Bq/mL but Units says kBq/mL"),
    (1e-3, "the image is in kBq/mL but Units says Bq/mL"),
    (37.0, "the image is in Bq/mL but Units says nCi/mL, or the dose is in mCi but labelled MBq"),
    (1 / 37.0, "the image is in nCi/mL but Units says Bq/mL, or the dose is in MBq but labelled mCi"),
    (27.027, "the image is in nCi/mL but Units says kBq/mL"),
    (1e6, "the dose is in MBq but InjectedRadioactivityUnits says Bq"),
    (1e-6, "the dose is in Bq but InjectedRadioactivityUnits says MBq"),
)
"""Factor by which a mistake of units makes the SUV too large, and the mistake."""

DOSE_RANGE_MBQ = (10.0, 3000.0)
"""Injected into a person."""

UNIT_PAIRS = (
    (1e6, "Bq", "MBq"),
    (1e3, "kBq", "MBq"),
    (37.0, "MBq", "mCi"),
    (1e-3, "GBq", "MBq"),
    (1e-6, "MBq", "Bq"),
)


def dose(injected_mbq, file="PET sidecar"):
    """Warnings about an injected dose alone.

    Parameters
    ----------
    injected_mbq : float
        NaN where there is none.
    file : path-like
        Named in the warning.

    Returns
    -------
    list of str

    Examples
    --------
    >>> dose(0.00037)[0].split(": ", 1)[1]
    'InjectedRadioactivity is 0.00037 MBq, outside 10-3000 MBq; likely 370 MBq whose unit was written as Bq'
    """
    low, high = DOSE_RANGE_MBQ
    if not math.isfinite(injected_mbq) or low <= injected_mbq <= high:
        return []
    text = f"{file}: InjectedRadioactivity is {injected_mbq:g} MBq, outside {low:g}-{high:g} MBq"
    for factor, written, meant in UNIT_PAIRS:
        if low <= injected_mbq * factor <= high:
            value = injected_mbq * factor / {"mCi": 37.0, "Bq": 1e-6}.get(meant, 1.0)
            return [f"{text}; likely {value:g} {meant} whose unit was written as {written}"]
    return [text]


def uptake(brain_suv):
    """Warnings about the whole-brain SUV, with the mistake of units that would explain it.

    Examples
    --------
    >>> uptake(2500.0)[0].rsplit(": ", 1)[1]
    'likely the image is in Bq/mL but Units says kBq/mL'
    >>> uptake(2.5)
    []
    """
    if not math.isfinite(brain_suv) or SUV_RANGE[0] <= brain_suv <= SUV_RANGE[1]:
        return []
    text = f"mean SUV of the brain is {brain_suv:.3g}, outside {SUV_RANGE[0]:g}-{SUV_RANGE[1]:g}"
    low, high = SUV_USUAL
    fits = [cause for factor, cause in MISTAKES if brain_suv > 0 and low <= brain_suv / factor <= high]
    if fits:
        return [f"{text}: likely {'; or '.join(fits)}"]
    return [f"{text}: check Units, InjectedRadioactivityUnits and the body weight"]


def decay_fields(fields, timing, file="PET sidecar"):
    """Warnings where the sidecar contradicts itself about decay correction.

    Parameters
    ----------
    fields : dict
        Merged sidecar.
    timing : Frames
    file : path-like
        Named in the warning.

    Returns
    -------
    list of str
    """
    side = Sidecar(fields, file)
    factors, corrected = side.get("DecayCorrectionFactor"), side.get("ImageDecayCorrected")
    if not isinstance(factors, list) or len(factors) != len(timing) or not all(_number(f) for f in factors):
        return []
    factors = np.asarray(factors, float)
    span = (timing.end[-1] - timing.start[0]) / 60.0 / timing.half_life_min
    if corrected and (factors == 1).all() and span > 0.05:
        return [
            f"{file}: ImageDecayCorrected is true but DecayCorrectionFactor is 1 in every frame: the image is likely not "
            "corrected (write false)"
        ]
    if corrected is False and (factors > 1.001).any():
        return [
            f"{file}: ImageDecayCorrected is false but DecayCorrectionFactor is up to {factors.max():.3g}: the image is "
            "likely corrected already (write true)"
        ]
    return []


def _number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def curve(brain, timing):
    """Warnings about the whole-brain curve: lost frames, negative activity, decay that was not corrected.

    Parameters
    ----------
    brain : array-like, (F,)
        Mean activity of the brain, decay-corrected to injection.
    timing : Frames

    Returns
    -------
    list of str
    """
    brain = np.asarray(brain, float)
    found = []

    def named(frames):
        return f"frame {', '.join(str(i) for i in frames)} (from {timing.start[frames[0]] / 60:.1f} min after injection)"

    lost = np.flatnonzero(~np.isfinite(brain))
    if len(lost):
        found.append(f"{named(lost)} has no finite activity in the brain: the frame was lost in conversion")
    known = np.where(np.isfinite(brain), brain, 0.0)
    peak = int(known.argmax())
    if known[peak] <= 0:
        return [*found, "the brain has no activity in any frame"]
    empty = np.flatnonzero((np.arange(len(brain)) > peak) & (brain == 0))
    if len(empty):
        found.append(f"{named(empty)} is empty after the tracer arrived: the frame was lost in conversion")
    negative = np.flatnonzero((np.arange(len(brain)) > peak) & (brain < 0))
    if len(negative):
        found.append(
            f"{named(negative)} has negative activity in the brain: look at randoms and scatter correction, or at an "
            "unsigned image read as signed"
        )
    return found + _uncorrected(brain, timing)


def _uncorrected(brain, timing):
    """A late curve that falls with the nuclide's own half-life, over more than one of them, was likely not corrected."""
    if not timing.half_life_min < 30:
        # of longer-lived nuclides, tracers wash out as fast as that
        return []
    peak = int(np.nan_to_num(brain).argmax())
    late = (np.arange(len(brain)) >= peak) & (timing.mid / 60 > 10) & np.isfinite(brain) & (brain > 0)
    if late.sum() < 5:
        return []
    t, y = timing.mid[late] / 60.0, np.log(brain[late])
    if t[-1] - t[0] < timing.half_life_min:
        return []
    slope, intercept = np.polyfit(t, y, 1)
    rate = decay_constant(timing.half_life_min)
    spread = np.std(y - slope * t - intercept)
    if abs(slope / -rate - 1) < 0.2 and spread < 0.1:
        return [
            f"the brain's activity falls by half in {-math.log(2) / slope:.1f} min, as the nuclide decays "
            f"({timing.half_life_min:g} min): the image is likely not decay-corrected though ImageDecayCorrected says so"
        ]
    return []
