"""Weights of frames in a fit: inverse variance from counting statistics."""

from pathlib import Path

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import read_tsv
from neurobraid.pet.units import decay_constant

FLOOR = 0.05
"""Least activity in the variance, as a fraction of the curve's maximum: frames before the tracer arrives still have
scatter and randoms, and would otherwise get unbounded weight."""

NAMES = ("decay_counts", "duration", "uniform")
FORMULA = "w = D exp(-lambda t_mid) / max(C, 0.05 max C), C the whole-brain curve; scaled to mean 1"


def decay_counts(frames, curve):
    """Inverse variance of decay-corrected frame means.

    The variance of a decay-corrected mean of counts is ``C exp(lambda t) / D``. The curve is that of the whole brain,
    never of the voxel or region fitted, whose own noise would bias the fit.

    Parameters
    ----------
    frames : Frames
        With the half-life.
    curve : array-like, (F,)
        Whole-brain activity, kBq/mL decay-corrected to injection.

    Returns
    -------
    numpy.ndarray, (F,), float64, mean 1

    Raises
    ------
    ValueError
        The curve is not finite or nowhere positive.
    """
    curve = np.asarray(curve, float)
    if not np.isfinite(curve).all() or curve.max() <= 0:
        raise ValueError("the whole-brain curve must be finite and somewhere positive")
    rate = decay_constant(frames.half_life_min) / 60.0
    weights = frames.duration * np.exp(-rate * frames.mid) / np.maximum(curve, FLOOR * curve.max())
    return weights / weights.mean()


def from_name(name, frames, curve):
    """Weights by name, each with mean 1.

    Parameters
    ----------
    name : str
        ``decay_counts``, ``duration``, ``uniform``, or the path of a table (``.tsv``) with a column ``weight`` and one
        row per frame.
    frames : Frames
    curve : array-like, (F,)
        Whole-brain activity, kBq/mL.

    Returns
    -------
    numpy.ndarray, (F,), float64

    Raises
    ------
    InputError
        The table does not fit the frames, or a weight is negative or missing.
    ValueError
        Unknown name, or see `decay_counts`.
    """
    if name == "decay_counts":
        return decay_counts(frames, curve)
    if name == "duration":
        return frames.duration / frames.duration.mean()
    if name == "uniform":
        return np.ones(len(frames))
    if is_file(name):
        return _from_file(name, len(frames))
    raise ValueError(f"unknown weights {name!r}: {', '.join(NAMES)} or the path of a .tsv")


def is_file(name):
    """Whether the setting is the path of a table."""
    return str(name).endswith(".tsv")


def describe(name):
    """The weights in words, for sidecars."""
    if name == "decay_counts":
        return FORMULA
    if is_file(name):
        return f"column weight of {Path(name).name}; scaled to mean 1"
    return {"duration": "frame duration", "uniform": "all frames alike"}.get(name, name)


def _from_file(path, count):
    table = read_tsv(path)
    if "weight" not in table:
        raise InputError(
            path, "columns", ", ".join(table.columns), "a column weight", "add it, one row per frame"
        )
    values = table["weight"].to_numpy(float)
    if len(values) != count:
        raise InputError(
            path, "rows", len(values), f"{count}, one per frame of the scan", "write one weight per frame"
        )
    bad = np.flatnonzero(~np.isfinite(values) | (values < 0))
    if len(bad) or values.sum() <= 0:
        found = f"{values[bad[0]]} in row {bad[0] + 1}" if len(bad) else "0 everywhere"
        raise InputError(
            path, "weight", found, "numbers of at least 0, some above", "0 leaves a frame out of the fit"
        )
    return values / values.mean()
