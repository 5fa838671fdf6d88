"""Frame timing, units and decay of a PET scan, read strictly from its PET-BIDS sidecar.

Every time in PET-BIDS is in seconds relative to ``TimeZero``; a frame's time after injection is therefore
``FrameTimesStart - InjectionStart``, whatever moment ``TimeZero`` is. All windows and models here use times after
injection.
"""

import math
from dataclasses import dataclass

import numpy as np

from neurobraid.errors import InputError
from neurobraid.pet.units import concentration_factor, decay_constant, dose_factor, half_life, weight_factor

OVERLAP_TOLERANCE_S = 0.01
"""Rounding of frame times by scanners (milliseconds) is no overlap."""

COLUMNS = {
    "frame": "Number of the frame in the image, from 0 (counted on through the runs of one injection)",
    "frame_start_s": "Start of the frame after injection, s",
    "frame_end_s": "End of the frame after injection, s",
    "frame_mid_s": "Middle of the frame after injection, s",
    "duration_s": "Duration of the frame, s",
    "decay_factor": "Factor that refers the stored activity to the time of injection",
    "unit_factor_kbq_ml": "Factor that turns the stored unit into kBq/mL",
    "scale_kbq_ml": "decay_factor * unit_factor_kbq_ml: stored value to kBq/mL decay-corrected to injection",
}

WEIGHT_ALIASES = (
    "body_weight",
    "bodyweight",
    "weight",
    "patient_weight",
    "patientweight",
    "weight_kg",
    "body_weight_kg",
)
WEIGHT_RANGE_KG = (2.0, 350.0)


@dataclass(frozen=True)
class Frames:
    """Frames of one scan.

    Attributes
    ----------
    start, end : numpy.ndarray, (F,), float64
        Seconds after injection.
    decay : numpy.ndarray, (F,)
        Factor that refers stored activity to injection.
    unit : float
        Factor from the stored unit to kBq/mL.
    half_life_min : float
    correction : str
        How the stored image was corrected: ``'to <s> s'`` or ``'none'``.
    """

    start: np.ndarray
    end: np.ndarray
    decay: np.ndarray
    unit: float = 1.0
    half_life_min: float = math.nan
    correction: str = "injection"

    @property
    def duration(self):
        """Durations, s."""
        return self.end - self.start

    @property
    def mid(self):
        """Mid times after injection, s."""
        return 0.5 * (self.start + self.end)

    @property
    def scale(self):
        """Factor from stored values to kBq/mL decay-corrected to injection."""
        return self.decay * self.unit

    def __len__(self):
        return len(self.start)

    def table(self):
        """The frame table, one row per frame, columns `COLUMNS`."""
        import pandas as pd

        return pd.DataFrame(
            {
                "frame": np.arange(len(self)),
                "frame_start_s": self.start,
                "frame_end_s": self.end,
                "frame_mid_s": self.mid,
                "duration_s": self.duration,
                "decay_factor": self.decay,
                "unit_factor_kbq_ml": np.full(len(self), self.unit),
                "scale_kbq_ml": self.scale,
            }
        )


def from_table(table, half_life_min=math.nan):
    """`Frames` of a frame table written by `Frames.table`."""
    return Frames(
        table["frame_start_s"].to_numpy(float),
        table["frame_end_s"].to_numpy(float),
        table["decay_factor"].to_numpy(float),
        float(table["unit_factor_kbq_ml"].iloc[0]),
        half_life_min,
    )


def frame_decay_factor(start, duration, half_life_min, reference=0.0):
    """Exact decay factor of frames of an uncorrected image.

    ``lambda D exp(lambda (t - T)) / (1 - exp(-lambda D))``: exact for uptake that is constant within the frame, where
    the usual mid-time form is 0.5 % off for a 10 min C-11 frame.

    Parameters
    ----------
    start, duration : array-like, (F,)
        Seconds; `start` on the same clock as `reference`.
    half_life_min : float
    reference : float
        Time to correct to, s.

    Returns
    -------
    numpy.ndarray, (F,), float64

    Examples
    --------
    >>> float(frame_decay_factor([0.0], [20.364 * 60], 20.364)[0].round(6))  # 1 half-life from injection: 2 ln 2
    1.386294
    """
    rate = decay_constant(half_life_min) / 60.0
    x = rate * np.asarray(duration, dtype=float)
    # x / (1 - e^-x) through expm1: exact also for frames far shorter than the half-life
    return x / -np.expm1(-x) * np.exp(rate * (np.asarray(start, dtype=float) - reference))


class Sidecar:
    """A PET sidecar whose keys are found whatever their capitals, as the specification's own example needs.

    Parameters
    ----------
    fields : dict
    file : path-like
        Named in errors.
    """

    def __init__(self, fields, file):
        self.file = file
        self.fields = {}
        for key, value in fields.items():
            lower = key.lower()
            if lower in self.fields and self.fields[lower] != value:
                raise InputError(
                    file,
                    key,
                    "two different values under spellings of one key",
                    "one value",
                    "remove one of them",
                )
            self.fields[lower] = value

    def get(self, key, default=None):
        """Value of `key`; ``"n/a"``, ``null`` and absence give `default`."""
        value = self.fields.get(key.lower())
        if value is None or (isinstance(value, str) and value.strip().lower() in {"n/a", "na", ""}):
            return default
        return value

    def require(self, key, allowed, fix):
        """Value of `key`, or an `InputError` when it is absent or ``"n/a"``."""
        value = self.get(key)
        if value is None:
            raise InputError(self.file, key, "missing", allowed, fix)
        return value

    def number(self, key, fix, *, required=True):
        """Value of `key` as a finite float."""
        allowed = "a number of seconds relative to TimeZero"
        value = self.require(key, allowed, fix) if required else self.get(key)
        if value is None:
            return None
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(self.file, key, repr(value), allowed, fix)
        return float(value)

    def numbers(self, key, count, fix):
        """Value of `key` as `count` finite floats; a scalar is a list of one (a 3D image is one frame)."""
        allowed = f"{count} number{'s' if count != 1 else ''}, one per volume"
        value = self.require(key, allowed, fix)
        values = value if isinstance(value, list) else [value]
        for position, item in enumerate(values):
            if isinstance(item, bool) or not isinstance(item, int | float) or not math.isfinite(item):
                raise InputError(
                    self.file, f"{key}[{position}]", repr(item), "a finite number of seconds", fix
                )
        if len(values) != count:
            raise InputError(self.file, key, f"{len(values)} values for {count} volumes", allowed, fix)
        return np.asarray(values, dtype=float)


def read_frames(fields, volumes, file="PET sidecar"):
    """Frame times after injection, units and decay factors of a scan.

    Parameters
    ----------
    fields : dict
        Merged PET-BIDS sidecar.
    volumes : int
        Number of volumes of the image (a 3D image has one).
    file : path-like
        Sidecar named in errors.

    Returns
    -------
    Frames

    Raises
    ------
    InputError
        ``FrameTimesStart``, ``FrameDuration``, ``InjectionStart``, ``Units``, ``TracerRadionuclide``,
        ``ImageDecayCorrected`` or (for corrected images) ``ImageDecayCorrectionTime`` is missing or not usable; a
        frame has no positive duration; frames overlap or are out of order; frames start before the scan; an unknown
        unit. Gaps between frames are legal.
    """
    side = Sidecar(fields, file)
    clock = (
        "write times in seconds relative to TimeZero as PET-BIDS asks (frames, scan, injection: one clock)"
    )
    start = side.numbers("FrameTimesStart", volumes, clock)
    duration = side.numbers("FrameDuration", volumes, "write the duration of every frame in seconds")
    injection = side.number(
        "InjectionStart", "write the start of the injection in seconds relative to TimeZero (often 0)"
    )
    scan = side.number("ScanStart", clock, required=False)
    unit = concentration_factor(side.require("Units", "an activity concentration", "write e.g. Bq/mL"), file)
    nuclide = side.require("TracerRadionuclide", "a nuclide such as C11 or F18", "name the radionuclide")
    half = half_life(nuclide, file)

    for i in np.flatnonzero(duration <= 0):
        raise InputError(
            file, f"FrameDuration[{i}]", f"{duration[i]:g} s", "> 0 s", "correct the frame's duration"
        )
    for i in np.flatnonzero(np.diff(start) <= 0):
        raise InputError(
            file,
            f"FrameTimesStart[{i + 1}]",
            f"{start[i + 1]:g} s after {start[i]:g} s",
            "strictly increasing times",
            "order frames (and volumes) by time",
        )
    over = start[:-1] + duration[:-1] - start[1:]
    for i in np.flatnonzero(over > OVERLAP_TOLERANCE_S):
        raise InputError(
            file,
            f"FrameTimesStart[{i + 1}]",
            f"{start[i + 1]:g} s, but frame {i} ends at {start[i] + duration[i]:g} s (overlap {over[i]:g} s)",
            "frames that do not overlap; gaps are legal",
            "correct FrameTimesStart or FrameDuration (both in seconds)",
        )
    if scan is not None and start[0] < scan - 1.0:
        raise InputError(
            file,
            "FrameTimesStart[0]",
            f"{start[0]:g} s, before ScanStart {scan:g} s",
            "frames within the scan, on the clock of TimeZero",
            "FrameTimesStart counts from TimeZero, not from the scan start: add ScanStart to every entry",
        )
    after = start - injection
    if after[-1] + duration[-1] <= 0:
        raise InputError(
            file,
            "InjectionStart",
            f"{injection:g} s, after the last frame",
            "before the last frame ends",
            clock,
        )
    if (after[-1] + duration[-1]) / 60.0 > 20.0 * half:
        raise InputError(
            file,
            "FrameTimesStart",
            f"last frame ends {after[-1] + duration[-1]:g} s after injection, more than 20 half-lives of {nuclide}",
            "times in seconds",
            "check whether times are in milliseconds, or the radionuclide",
        )

    corrected = side.require(
        "ImageDecayCorrected", "true or false", "state whether the image is decay-corrected"
    )
    if not isinstance(corrected, bool):
        raise InputError(
            file, "ImageDecayCorrected", repr(corrected), "true or false (no quotes)", "write a boolean"
        )
    if corrected:
        time = side.number(
            "ImageDecayCorrectionTime",
            "write the time to which the image was corrected; it is often the scan start, not the injection",
        )
        # An image corrected to a later time shows less activity than at injection.
        decay = np.full(volumes, math.exp(decay_constant(half) / 60.0 * (time - injection)))
        correction = f"to {time - injection:g} s after injection"
    else:
        decay = frame_decay_factor(after, duration, half)
        correction = "none"
    return Frames(after, after + duration, decay, unit, half, correction)


DOSE_TOLERANCE = 0.01
"""Relative difference of the doses that two runs of one injection may state."""


def join_runs(runs):
    """Frames of the runs of one injection, on the clock of the injection.

    Every run was read on its own clock (`read_frames` counts from the injection and refers decay to it), so that a pause
    between runs is a gap like any other, whatever moments the runs call ``TimeZero`` or were corrected to.

    Parameters
    ----------
    runs : list of (Frames, dict, path-like)
        Frames, merged sidecar and the file named in errors, in order of time.

    Returns
    -------
    Frames

    Raises
    ------
    InputError
        Runs that differ in tracer, nuclide, dose (by more than `DOSE_TOLERANCE`) or unit, or whose frames overlap or are
        out of order.
    """
    first, fields, file = runs[0]
    if len(runs) == 1:
        return first
    stated = _of_injection(fields, file)
    for frames, others, other_file in runs[1:]:
        for key, found in _of_injection(others, other_file).items():
            mine = stated[key]
            if key == "InjectedRadioactivity":
                # a dose that one run does not tell is that of the other
                same = not math.isfinite(found + mine) or math.isclose(found, mine, rel_tol=DOSE_TOLERANCE)
            else:
                same = found == mine
            if not same:
                unit = {
                    "InjectedRadioactivity": " MBq",
                    "Units": " kBq/mL",
                    "TracerRadionuclide": " min half-life",
                }
                raise InputError(
                    other_file, key, f"{found}{unit.get(key, '')}, but {mine}{unit.get(key, '')} in {runs[0][2]}",
                    "one value for the runs of one injection",
                    "correct the wrong one; runs with an injection each need their own TimeZero or InjectionStart",
                )  # fmt: skip
        if frames.start[0] < first.end[-1] - OVERLAP_TOLERANCE_S:
            raise InputError(
                other_file, "FrameTimesStart[0]",
                f"{frames.start[0]:g} s after the injection, but the run before it ({file}) ends at {first.end[-1]:g} s",
                "runs of one injection that follow each other; a pause between is legal",
                "count both from one TimeZero, or give each run the InjectionStart of its own clock; two reconstructions of "
                "one acquisition are told apart by rec-, and runs with an injection each by their TimeZero",
            )  # fmt: skip
        first = Frames(
            np.concatenate([first.start, frames.start]),
            np.concatenate([first.end, frames.end]),
            np.concatenate([first.decay, frames.decay]),
            first.unit,
            first.half_life_min,
            first.correction
            if frames.correction in first.correction.split("; ")
            else f"{first.correction}; {frames.correction}",
        )
        file = other_file
    return first


def _of_injection(fields, file):
    """What the runs of one injection have in common: units as factors, the dose in MBq (NaN where it is not told)."""
    side = Sidecar(fields, file)
    return {
        "TracerName": str(side.get("TracerName")).strip().lower(),
        "TracerRadionuclide": half_life(side.get("TracerRadionuclide"), file),
        "InjectedRadioactivity": injected_dose(fields, file),
        "Units": concentration_factor(side.get("Units"), file),
    }


def injected_dose(fields, file="PET sidecar"):
    """Injected radioactivity in MBq at injection, or NaN when the sidecar does not tell.

    Raises
    ------
    InputError
        A dose without unit, with an unknown unit, or not positive. A missing dose is no error: it only means that
        there is no SUV.
    """
    side = Sidecar(fields, file)
    dose = side.get("InjectedRadioactivity")
    if dose is None:
        return math.nan
    if isinstance(dose, bool) or not isinstance(dose, int | float) or not (math.isfinite(dose) and dose > 0):
        raise InputError(file, "InjectedRadioactivity", repr(dose), "a number > 0 or n/a", "correct the dose")
    unit = side.require("InjectedRadioactivityUnits", "MBq, mCi, …", "state the unit of the dose")
    return float(dose) * dose_factor(unit, file)


def body_weight(table, participant, columns=None, file="participants.tsv"):
    """Body weight of a participant in kg, or NaN when there is none.

    Parameters
    ----------
    table : pandas.DataFrame or None
        ``participants.tsv`` (identifiers as text).
    participant : str
        ``sub-01``.
    columns : dict, optional
        ``participants.json``: a ``Units`` entry of the weight column is honoured, otherwise kg is meant (PET-BIDS).
    file : path-like
        Named in errors.

    Returns
    -------
    float

    Raises
    ------
    InputError
        Two columns that disagree, an unknown unit, or a weight outside 2 to 350 kg.
    """
    if table is None or "participant_id" not in table:
        return math.nan
    rows = table[table["participant_id"] == participant]
    found = {}
    for column in rows.columns:
        if column.lower().replace(" ", "_") not in WEIGHT_ALIASES or rows.empty:
            continue
        text = rows[column].iloc[0]
        try:
            value = float(text)
        except (TypeError, ValueError):
            raise InputError(
                file, f"{column} of {participant}", repr(text), "a number or n/a", "correct the weight"
            ) from None
        if math.isnan(value):
            continue
        units = ((columns or {}).get(column) or {}).get("Units")
        found[column] = value * (weight_factor(units) if units else 1.0)
    if len({round(v, 3) for v in found.values()}) > 1:
        raise InputError(
            file,
            f"weight of {participant}",
            str(found),
            "one value",
            "keep one weight column, PET-BIDS: body_weight",
        )
    for column, value in found.items():
        if not WEIGHT_RANGE_KG[0] <= value <= WEIGHT_RANGE_KG[1]:
            raise InputError(
                file,
                f"{column} of {participant}",
                f"{value:g} kg",
                "2 to 350 kg",
                "correct the weight, or state its unit in participants.json",
            )
        return value
    return math.nan
