"""Arterial blood of a PET scan: PET-BIDS tables read strictly, in kBq/mL decay-corrected to injection.

Times of blood samples count from ``TimeZero``, as all times of PET-BIDS, and the activity is corrected for decay to it; here both are
referred to the injection, as frames are.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv
from neurobraid.pet.units import concentration_factor, decay_constant

SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "min": 60.0, "minute": 60.0, "minutes": 60.0}
ACTIVITY = {"plasma_radioactivity": "PlasmaAvail", "whole_blood_radioactivity": "WholeBloodAvail"}
PARENT = "metabolite_parent_fraction"
PERCENT = ("%", "percent", "per cent")
SCATTER = 0.02
"""Activity below minus this share of the maximum is no counting noise."""


@dataclass(frozen=True)
class Blood:
    """Samples of one recording or of several joined.

    Attributes
    ----------
    plasma, whole_blood, parent_fraction : tuple of numpy.ndarray (N,), (N,)
        Times (min after injection, increasing) and values (kBq/mL, or 0-1); empty where there is none.
    continuous : tuple
        Whole blood of an autosampler, as above.
    dispersion_s : float
        Time constant of the autosampler's line when its recording is not corrected for it, else 0.
    messages : list of str
        What was converted, and what is odd.
    """

    plasma: tuple
    whole_blood: tuple
    parent_fraction: tuple
    continuous: tuple = (np.empty(0), np.empty(0))
    dispersion_s: float = 0.0
    messages: list = field(default_factory=list)


def recording(path):
    """``manual`` or ``autosampler``, from the name of a blood file; ``manual`` where the name does not tell."""
    found = re.search(r"_recording-([0-9a-zA-Z]+)_", Path(path).name)
    return found[1].lower() if found else "manual"


def read_recording(
    path, sidecar, *, injection_s=0.0, half_life_min=math.nan, image_unit=None, decay_corrected=True
):
    """Read one blood table.

    Parameters
    ----------
    path, sidecar : path-like
        TSV and its JSON.
    injection_s : float
        ``InjectionStart`` of the scan, s after TimeZero.
    half_life_min : float
        Needed where the injection is not at TimeZero or the samples are not decay-corrected.
    image_unit : str, optional
        Unit of the image; a different one of the blood is converted, and said.
    decay_corrected : bool
        False: samples are as counted, and are corrected from the time of each to the injection.

    Returns
    -------
    Blood

    Raises
    ------
    InputError
        The sidecar or a column it promises is missing; no or an unknown unit; times that are missing or do not increase;
        negative activity; a parent fraction above 1, in percent without a unit that says so, or below 0; no
        sample in a column.
    """
    if not Path(sidecar).exists():
        raise InputError(
            path, "sidecar", "missing", Path(sidecar).name, "write the JSON with the units of the columns"
        )
    fields, table, messages = read_json(sidecar), read_tsv(path), []
    lower = {key.lower(): value for key, value in fields.items()}
    if "time" not in table:
        raise InputError(
            path, "columns", ", ".join(table.columns), "a column time", "name the column of times time"
        )
    time = _numbers(table, "time", path)
    unit = str(_unit(lower, "time", sidecar, "s")).strip().lower()
    if unit not in SECONDS:
        raise InputError(sidecar, "time.Units", repr(unit), "s", "PET-BIDS counts in seconds")
    if SECONDS[unit] != 1:
        messages.append(f"times of {Path(path).name} are in {unit}, converted to s")
    time = time * SECONDS[unit]
    for i in np.flatnonzero(~np.isfinite(time)):
        raise InputError(
            path, f"time of row {i + 1}", "missing", "a number of seconds", "every sample needs its time"
        )
    for i in np.flatnonzero(np.diff(time) <= 0):
        raise InputError(
            path, f"time of row {i + 2}", f"{time[i + 1]:g} s after {time[i]:g} s", "strictly increasing times",
            "order the samples by time and remove repeated ones",
        )  # fmt: skip
    minutes = (time - injection_s) / 60.0
    refer = _decay(minutes, injection_s, half_life_min, decay_corrected, sidecar)
    series = {}
    for column, flag in ACTIVITY.items():
        series[column] = (np.empty(0), np.empty(0))
        if not _available(lower, flag, column, table, sidecar, path, messages):
            continue
        unit = _unit(lower, column, sidecar, "kBq/mL")
        factor = concentration_factor(unit, f"{sidecar}, {column}")
        if image_unit and factor != concentration_factor(image_unit):
            messages.append(
                f"{column} is in {unit}, the image in {image_unit}: both converted to kBq/mL ({factor:g} and "
                f"{concentration_factor(image_unit):g})"
            )
        values = _numbers(table, column, path) * factor * refer
        kept = np.isfinite(values)
        if not kept.any():
            raise InputError(path, column, "no value", "at least one sample", f"or set {flag} to false")
        lowest = np.nanargmin(values)
        if values[lowest] < -SCATTER * np.nanmax(values) or np.nanmax(values) <= 0:
            raise InputError(
                path, f"{column} of row {lowest + 1}", f"{values[lowest] / factor:g} {unit}", "activity of at least 0",
                "a background was subtracted twice, or the sign is wrong",
            )  # fmt: skip
        if values[lowest] < 0:
            messages.append(
                f"{column} is below 0 by counting noise in {int((values < 0).sum())} samples; kept as they are"
            )
        if not kept.all():
            messages.append(f"{column} is missing in {int((~kept).sum())} of {len(kept)} samples, left out")
        series[column] = (minutes[kept], values[kept])
    parent = (np.empty(0), np.empty(0))
    if _available(lower, "MetaboliteAvail", PARENT, table, sidecar, path, messages):
        parent = _parent(table, lower, minutes, path, messages)
    continuous = (np.empty(0), np.empty(0))
    dispersion = 0.0
    whole = series["whole_blood_radioactivity"]
    if recording(path) == "autosampler":
        continuous, whole = whole, (np.empty(0), np.empty(0))
        if lower.get("dispersioncorrected") is False:
            constant = lower.get("dispersionconstant")
            if isinstance(constant, int | float) and not isinstance(constant, bool) and constant > 0:
                dispersion = float(constant)
            else:
                messages.append(
                    f"{Path(path).name} is not corrected for dispersion and names no DispersionConstant: used as it is"
                )
    return Blood(series["plasma_radioactivity"], whole, parent, continuous, dispersion, messages)


def _numbers(table, column, path):
    values = np.empty(len(table))
    for i, text in enumerate(table[column]):
        try:
            values[i] = float(text)
        except (TypeError, ValueError):
            raise InputError(
                path, f"{column} of row {i + 1}", repr(text), "a number or n/a", "correct the value"
            ) from None
    return values


def _unit(fields, column, sidecar, example):
    entry = fields.get(column)
    unit = entry.get("Units") if isinstance(entry, dict) else None
    if unit in (None, "", "n/a"):
        raise InputError(
            sidecar,
            f"{column}.Units",
            "missing",
            f"a unit, e.g. {example}",
            "state the unit; it is never guessed",
        )
    return unit


def _available(fields, flag, column, table, sidecar, path, messages):
    """Whether a column is to be read, by its flag in the sidecar."""
    told = fields.get(flag.lower())
    if told is None:
        if column in table:
            messages.append(f"{flag} is missing in the sidecar; {column} is there and was read")
        return column in table
    if not isinstance(told, bool):
        raise InputError(sidecar, flag, repr(told), "true or false (no quotes)", "write a boolean")
    if told and column not in table:
        raise InputError(
            path, "columns", ", ".join(table.columns), f"a column {column}, because {flag} is true",
            f"add the column, or set {flag} to false",
        )  # fmt: skip
    if not told and column in table and table[column].notna().any():
        messages.append(f"{column} was not read: {flag} is false")
    return told


def _decay(minutes, injection_s, half_life_min, corrected, sidecar):
    """Factors that refer activity to the injection."""
    if corrected and injection_s == 0:
        return np.ones_like(minutes)
    if not math.isfinite(half_life_min):
        raise InputError(
            sidecar, "decay", "no half-life known", "TracerRadionuclide", "name it in the PET sidecar"
        )
    rate = decay_constant(half_life_min)
    if corrected:
        # corrected to TimeZero, which is injection_s before the injection
        return np.full_like(minutes, math.exp(-rate * injection_s / 60.0))
    return np.exp(rate * minutes)


def _parent(table, fields, minutes, path, messages):
    values = _numbers(table, PARENT, path)
    entry = fields.get(PARENT)
    unit = str(entry.get("Units", "")).strip().lower() if isinstance(entry, dict) else ""
    if unit in PERCENT:
        values = values / 100.0
        messages.append("the parent fraction is in percent, converted to 0-1")
    kept = np.isfinite(values)
    if not kept.any():
        raise InputError(path, PARENT, "no value", "at least one sample", "or set MetaboliteAvail to false")
    highest, lowest = np.nanargmax(values), np.nanargmin(values)
    if values[highest] > 1.0 + 1e-6:
        percent = values[highest] > 1.5
        raise InputError(
            path, f"{PARENT} of row {highest + 1}", f"{values[highest]:g}", "0 to 1",
            "it looks like percent: divide by 100, or give the column the unit % in the sidecar" if percent
            else "more parent than total activity: check recovery correction and background",
        )  # fmt: skip
    if values[lowest] < 0:
        raise InputError(
            path, f"{PARENT} of row {lowest + 1}", f"{values[lowest]:g}", "0 to 1", "correct the value"
        )
    if not kept.all():
        messages.append(f"{PARENT} is missing in {int((~kept).sum())} of {len(kept)} samples, left out")
    return minutes[kept], values[kept]


def join(recordings):
    """Join the recordings of a scan (autosampler and manual), each series in order of time.

    Parameters
    ----------
    recordings : list of Blood

    Returns
    -------
    Blood
        Where two manual recordings have a sample at one time, the first given counts.
    """

    def series(name):
        times = np.concatenate([getattr(r, name)[0] for r in recordings])
        values = np.concatenate([getattr(r, name)[1] for r in recordings])
        unique, first = np.unique(times, return_index=True)
        return unique, values[first]

    return Blood(
        series("plasma"),
        series("whole_blood"),
        series("parent_fraction"),
        series("continuous"),
        max((r.dispersion_s for r in recordings), default=0.0),
        [text for r in recordings for text in r.messages],
    )


def read_blood(paths, *, injections_s=None, **options):
    """Read and join the blood tables of a scan.

    Parameters
    ----------
    paths : list of path-like
        ``…_recording-…_blood.tsv``, each with its JSON beside it.
    injections_s : sequence of float, optional
        `injection_s` of every table, where they count from different moments.
    **options
        See `read_recording`.

    Returns
    -------
    Blood
    """
    own = [{}] * len(paths) if injections_s is None else [{"injection_s": float(v)} for v in injections_s]
    return join(
        [
            read_recording(p, Path(p).with_suffix(".json"), **options, **o)
            for p, o in zip(paths, own, strict=True)
        ]
    )
