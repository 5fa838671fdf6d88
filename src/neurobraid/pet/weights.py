"""Weights of frames in a fit: inverse variance from counting statistics."""

import numpy as np

from neurobraid.pet.units import decay_constant

FLOOR = 0.05
"""Least activity in the variance, as a fraction of the curve's maximum: frames before the tracer arrives still have
scatter and randoms, and would otherwise get unbounded weight."""

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
    """Weights by name: ``decay_counts``, ``duration`` or ``uniform``, each with mean 1."""
    if name == "decay_counts":
        return decay_counts(frames, curve)
    if name == "duration":
        return frames.duration / frames.duration.mean()
    if name == "uniform":
        return np.ones(len(frames))
    raise ValueError(f"unknown weights {name!r}: decay_counts, duration or uniform")
