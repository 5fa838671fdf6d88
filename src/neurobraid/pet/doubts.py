"""Numbers of a PET sidecar that cannot be right, with the likely mistake."""

import math

import numpy as np

from neurobraid.pet.convolution import curve_means
from neurobraid.pet.frames import Sidecar
from neurobraid.pet.units import DOSE, dose_factor

DOSE_RANGE_MBQ = (5.0, 2500.0)
"""Injected radioactivity of human brain PET, generously."""


def _close(value, other):
    return abs(math.log(value / other)) < math.log(1.15)


def _likely(dose_mbq, unit, wanted=None):
    """Unit that would make a dose right: equal to `wanted`, or else plausible."""
    number = dose_mbq / dose_factor(unit)
    for name, factor in DOSE.items():
        if name == unit:
            continue
        mbq = number * factor
        if _close(mbq, wanted) if wanted else DOSE_RANGE_MBQ[0] <= mbq <= DOSE_RANGE_MBQ[1]:
            return name, mbq
    return None


def dose_problem(fields, file="PET sidecar"):
    """What is wrong with the injected radioactivity, in words, or an empty string.

    The scanner's own ``RadionuclideTotalDose`` (Bq, from DICOM) is the witness where it is there; otherwise a dose
    outside `DOSE_RANGE_MBQ` is doubted.

    Parameters
    ----------
    fields : dict
        Merged PET-BIDS sidecar.
    file : path-like
        Named in errors.

    Returns
    -------
    str

    Examples
    --------
    >>> dose_problem({"InjectedRadioactivity": 653790, "InjectedRadioactivityUnits": "Bq"})
    'InjectedRadioactivity 653790 Bq is 0.65379 MBq, outside 5 to 2500 MBq: the unit is likely kBq (653.79 MBq)'
    >>> dose_problem({"InjectedRadioactivity": 370, "InjectedRadioactivityUnits": "MBq"})
    ''
    """
    side = Sidecar(fields, file)
    value, unit = side.get("InjectedRadioactivity"), side.get("InjectedRadioactivityUnits")
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0 or unit is None:
        return ""
    dose = float(value) * dose_factor(unit, file)
    witness = side.get("RadionuclideTotalDose")
    text = f"InjectedRadioactivity {value:.10g} {unit} is {dose:g} MBq"
    if isinstance(witness, int | float) and not isinstance(witness, bool) and witness > 0:
        if _close(dose, witness * 1e-6):
            return ""
        likely = _likely(dose, unit, witness * 1e-6)
        text += f", RadionuclideTotalDose {witness:g} Bq is {witness * 1e-6:g} MBq"
    elif DOSE_RANGE_MBQ[0] <= dose <= DOSE_RANGE_MBQ[1]:
        return ""
    else:
        likely = _likely(dose, unit)
        text += f", outside {DOSE_RANGE_MBQ[0]:g} to {DOSE_RANGE_MBQ[1]:g} MBq"
    if likely:
        return f"{text}: the unit is likely {likely[0]} ({likely[1]:g} MBq)"
    return f"{text}: check dose and unit"


BRAIN_OVER_BLOOD = (0.02, 50.0)
"""Area of the whole-brain curve over that of whole blood, generously."""


def input_problem(given, timing, brain):
    """What is wrong with the level of an input function against the image, in words, or an empty string.

    Parameters
    ----------
    given : plasma_models.Input or None
    timing : Frames
    brain : array-like, (F,)
        Whole-brain curve, kBq/mL.

    Returns
    -------
    str
    """
    brain = np.asarray(brain, float)
    if given is None or not np.isfinite(brain).all():
        return ""
    blood = curve_means(given.time, given.blood, timing.start / 60.0, timing.end / 60.0)
    area = float(blood @ timing.duration)
    if area <= 0:
        return ""
    ratio = float(brain @ timing.duration) / area
    if BRAIN_OVER_BLOOD[0] <= ratio <= BRAIN_OVER_BLOOD[1]:
        return ""
    text = f"the brain has {ratio:.3g} times the activity of blood"
    for factor, mistake in (
        (1000.0, "blood is likely in kBq/mL where its sidecar says Bq/mL, or the image the other way round"),
        (0.001, "blood is likely in Bq/mL where its sidecar says kBq/mL, or the image the other way round"),
        (37.0, "one of the two is likely in nCi/mL"),
        (1 / 37.0, "one of the two is likely in nCi/mL"),
    ):
        if 0.1 <= ratio / factor <= 10:
            return f"{text}: {mistake}"
    return f"{text}: check the units of blood and image"
