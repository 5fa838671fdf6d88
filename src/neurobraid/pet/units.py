"""Units of activity, dose and weight, and half-lives: a table, never a guess."""

import math
import re

from neurobraid.errors import InputError

CONCENTRATION = {
    "Bq/mL": 1e-3,
    "Bq/cc": 1e-3,
    "Bq/cm3": 1e-3,
    "BQML": 1e-3,
    "kBq/mL": 1.0,
    "kBq/cc": 1.0,
    "kBq/cm3": 1.0,
    "kBqml": 1.0,
    "nCi/mL": 0.037,
    "nCi/cc": 0.037,
    "uCi/mL": 37.0,
    "uCi/cc": 37.0,
}
"""Factor from each unit of activity concentration to kBq/mL (1 nCi = 37 Bq)."""

DOSE = {
    "Bq": 1e-6,
    "kBq": 1e-3,
    "MBq": 1.0,
    "GBq": 1e3,
    "nCi": 3.7e-5,
    "uCi": 3.7e-2,
    "mCi": 37.0,
    "Ci": 3.7e4,
}
"""Factor from each unit of injected radioactivity to MBq."""

WEIGHT = {"kg": 1.0, "kilogram": 1.0, "kilograms": 1.0, "g": 1e-3, "lb": 0.45359237, "lbs": 0.45359237}
"""Factor from each unit of body weight to kg."""

HALF_LIFE_MIN = {
    "C11": 20.364,
    "F18": 109.77,
    "O15": 2.037,
    "N13": 9.965,
    "Ga68": 67.7,
    "Cu64": 762.0,
}
"""Half-lives in minutes. Tables of 1967 have 20.40 for C-11: 0.5 % of activity over 90 min, so ours are written out."""


def _key(text):
    """Spelling without blanks, powers and Greek letters: ``'Bq mL^-1'`` and ``'BQ/ML'`` become ``'bq/ml'``."""
    key = re.sub(r"\s+", " ", str(text).strip()).replace("µ", "u").replace("μ", "u").replace("³", "3")
    key = re.sub(r"[ .·*]*(ml|mL|ML|cc|cm3)\^?-1$", r"/\1", key)
    return key.replace("^", "").replace(" ", "")


def _lookup(table, unit, file, field):
    key = _key(unit)
    exact = {_key(name): factor for name, factor in table.items()}
    if key in exact:
        return exact[key]
    # Spelling in capitals or small letters is accepted, except where it would turn milli into mega.
    if key[:1] != "m" or not any(name.startswith("M") and name.lower() == key.lower() for name in exact):
        lower = {name.lower(): factor for name, factor in exact.items()}
        if key.lower() in lower:
            return lower[key.lower()]
    raise InputError(
        file,
        field,
        repr(unit),
        ", ".join(table),
        "write the unit the image or value really has; it is never guessed",
    )


def concentration_factor(unit, file="PET sidecar"):
    """Factor that turns image values of `unit` into kBq/mL.

    Parameters
    ----------
    unit : str
        ``Units`` of the PET sidecar; capitals do not matter.
    file : path-like
        Named in the error.

    Returns
    -------
    float

    Raises
    ------
    InputError
        Unknown unit (also counts and SUV, from which activity cannot be recovered).

    Examples
    --------
    >>> concentration_factor("BQML"), concentration_factor("nCi/cc")
    (0.001, 0.037)
    """
    return _lookup(CONCENTRATION, unit, file, "Units")


def dose_factor(unit, file="PET sidecar"):
    """Factor that turns a dose in `unit` into MBq.

    Raises
    ------
    InputError
        Unknown unit, also ``mBq`` (milli), which no one injects.

    Examples
    --------
    >>> dose_factor("mCi")
    37.0
    """
    return _lookup(DOSE, unit, file, "InjectedRadioactivityUnits")


def weight_factor(unit, file="participants.json"):
    """Factor that turns a body weight in `unit` into kg."""
    return _lookup(WEIGHT, unit, file, "Units of body weight")


def half_life(radionuclide, file="PET sidecar"):
    """Half-life of a radionuclide in minutes.

    Parameters
    ----------
    radionuclide : str
        Any of ``C11``, ``C-11``, ``11C``, ``[11C]``, ``^11^Carbon`` …

    Returns
    -------
    float

    Raises
    ------
    InputError
        A nuclide without an entry in `HALF_LIFE_MIN`.

    Examples
    --------
    >>> half_life("[18F]"), half_life("C-11")
    (109.77, 20.364)
    """
    names = {
        "carbon": "c",
        "fluorine": "f",
        "fluor": "f",
        "oxygen": "o",
        "nitrogen": "n",
        "gallium": "ga",
        "copper": "cu",
    }
    text = str(radionuclide).lower()
    mass = re.findall(r"\d+", text)
    symbol = re.sub(r"[^a-z]", "", text)
    symbol = names.get(symbol, symbol)
    for name, minutes in HALF_LIFE_MIN.items():
        if len(mass) == 1 and name.lower() == symbol + mass[0]:
            return minutes
    raise InputError(
        file,
        "TracerRadionuclide",
        repr(radionuclide),
        ", ".join(HALF_LIFE_MIN),
        "spell the nuclide as element and mass number, e.g. C11",
    )


def decay_constant(half_life_min):
    """Decay constant in 1/min of a half-life in min."""
    return math.log(2.0) / half_life_min
