"""SRTM2: the simplified reference tissue model with one k2' for the whole scan, by basis functions.

``C = R1 [R + (k2' - k2a) R (x) exp(-k2a t)]`` (Wu & Carson 2002, J Cereb Blood Flow Metab 22:1440). The reference has
one efflux k2', whatever the target; fixing it leaves R1 and k2a, and less noise. For a fixed k2a the curve is a multiple
of one vector, so that one matrix product scores all curves for the whole grid, as in `srtm`.
"""

from dataclasses import dataclass

import numpy as np

from neurobraid.pet import diagnostics, srtm
from neurobraid.pet.convolution import exponential_means

PARAMETERS = ("R1", "k2", "k2a", "BPND")
"""What is estimated; k2' is given."""


@dataclass(frozen=True)
class Basis2:
    """What all curves of a scan share.

    Attributes
    ----------
    start, end, reference, weights : numpy.ndarray, (F,)
        Frames in min after injection, reference curve, weights.
    rates : numpy.ndarray, (J,)
        Grid of k2a, 1/min, log-spaced.
    k2prime : float
        1/min.
    unit : numpy.ndarray, (F, J)
        Unit vectors of the weighted model curves of R1 = 1, times root weights.
    length : numpy.ndarray, (J,)
        Their norms.
    """

    start: np.ndarray
    end: np.ndarray
    reference: np.ndarray
    weights: np.ndarray
    rates: np.ndarray
    k2prime: float
    unit: np.ndarray
    length: np.ndarray

    def curves(self, rates):
        """Model curves of R1 = 1: (J, F) for rates (J,)."""
        rates = np.asarray(rates, float)
        functions = exponential_means(self.start, self.end, self.reference, rates).T
        return self.reference + (self.k2prime - rates)[:, None] * functions


def basis(frames, reference, k2prime, weights=None, *, n=128, k2a=(0.006, 0.6)):
    """Model curves on a grid of k2a.

    Parameters
    ----------
    frames, reference, weights, n, k2a
        See `srtm.basis`.
    k2prime : float
        Efflux of the reference, 1/min.

    Returns
    -------
    Basis2

    Raises
    ------
    ValueError
        As `srtm.basis`; or k2' is not positive.
    """
    if not (np.isfinite(k2prime) and k2prime > 0):
        raise ValueError(f"SRTM2 needs a positive k2', found {k2prime}")
    shared = srtm.basis(frames, reference, weights, n=n, k2a=k2a)
    draft = Basis2(
        shared.start, shared.end, shared.reference, shared.weights, shared.rates, float(k2prime), None, None
    )
    root = np.sqrt(shared.weights)[:, None]
    vectors = draft.curves(shared.rates).T * root
    length = np.linalg.norm(vectors, axis=0)
    return Basis2(
        shared.start,
        shared.end,
        shared.reference,
        shared.weights,
        shared.rates,
        float(k2prime),
        vectors / length * root,
        length,
    )


def _grid_fit(curves, shared, unit):
    """Grid search and parabola for curves (N, F); all arrays in the type of `curves`."""
    product = curves @ unit
    best = product.argmax(axis=1)
    count = len(shared.rates)
    centre = best.clip(1, count - 2)
    rows = np.arange(len(curves))
    near = np.stack([product[rows, centre + d] for d in (-1, 0, 1)])
    offset = np.where(best == centre, srtm.vertex(*near), best - centre).astype(curves.dtype)
    parts = (0.5 * offset * (offset - 1.0), 1.0 - offset * offset, 0.5 * offset * (offset + 1.0))
    R1, height = np.zeros(len(curves), curves.dtype), np.zeros(len(curves), curves.dtype)
    for part, value, d in zip(parts, near, (-1, 0, 1), strict=True):
        R1 += part * value / shared.length[centre + d].astype(curves.dtype)
        height += part * value
    step = np.log(shared.rates[-1] / shared.rates[0]) / (count - 1)
    k2a = (shared.rates[0] * np.exp(step * (centre + offset))).astype(curves.dtype)
    edge = np.where(best == 0, -1, np.where(best == count - 1, 1, 0)).astype(np.int8)
    return R1, k2a, edge, height * height


def fit_voxels(curves, shared, *, chunk=srtm.CHUNK):
    """Fit the model to many curves in single precision.

    Parameters
    ----------
    curves : numpy.ndarray, (V, F)
        Decay-corrected frame means; float32 is used as it is.
    shared : Basis2
    chunk : int

    Returns
    -------
    dict of numpy.ndarray, (V,), float32
        ``R1``, ``k2``, ``k2a``, ``BPND``, ``residual_variance`` and ``edge``; see `srtm.fit_voxels`. NaN also where R1
        is not positive: such a curve has no k2.
    """
    count, frames = curves.shape
    names = (*PARAMETERS, "residual_variance")
    result = {name: np.full(count, np.nan, np.float32) for name in names}
    result["edge"] = np.zeros(count, np.int8)
    unit = np.ascontiguousarray(shared.unit, np.float32)
    weights = shared.weights.astype(np.float32)
    k2prime = np.float32(shared.k2prime)
    for begin in range(0, count, chunk):
        part = np.ascontiguousarray(curves[begin : begin + chunk], np.float32)
        where = slice(begin, begin + len(part))
        power = (part * part) @ weights
        usable = np.isfinite(power) & (power > 0)
        if not usable.all():
            part = np.where(usable[:, None], part, np.float32(0))
        R1, k2a, edge, explained = _grid_fit(part, shared, unit)
        usable &= R1 > 0
        k2 = R1 * k2prime
        values = (R1, k2, k2a, k2 / k2a - 1, (power - explained).clip(0) / max(frames - 2, 1))
        for name, value in zip(names, values, strict=True):
            result[name][where] = np.where(usable, value, np.nan)
        result["edge"][where] = np.where(usable, edge, 0)
    return result


def predict(shared, R1, k2a):
    """Frame means of the model, (N, F), for R1 and k2a (N,)."""
    R1, k2a = (np.atleast_1d(np.asarray(x, float)) for x in (R1, k2a))
    return R1[:, None] * shared.curves(k2a)


def fit_regions(curves, shared):
    """Fit the model to regional curves in double precision, with standard errors.

    Parameters
    ----------
    curves : array-like, (N, F)
        Decay-corrected frame means; rows with NaN give NaN.
    shared : Basis2

    Returns
    -------
    table : pandas.DataFrame
        ``R1, k2, k2a, BPND``, their ``<name>_se``, ``residual_sd``, ``max_residual``, ``runs_p``, ``undetermined``,
        ``flag``; as `srtm.fit_regions`. Standard errors take k2' as known.
    """
    import pandas as pd

    curves = np.atleast_2d(np.asarray(curves, float))
    columns = [*PARAMETERS, *(f"{n}_se" for n in PARAMETERS), "residual_sd"]
    table = pd.DataFrame(np.nan, index=range(len(curves)), columns=columns)
    weighted = np.full(curves.shape, np.nan)
    edges = np.zeros(len(curves), int)
    usable = np.isfinite(curves).all(axis=1) & (np.abs(np.nan_to_num(curves)).max(axis=1, initial=0) > 0)
    if usable.any():
        y = curves[usable]
        _, k2a, edge, _ = _grid_fit(y, shared, shared.unit)
        w = shared.weights

        def evaluate(rates):
            model = shared.curves(rates)
            R1 = (model * y) @ w / ((model * model) @ w)
            residual = y - R1[:, None] * model
            return R1, model, residual, (residual**2) @ w

        k2a = srtm.polish(lambda rates: evaluate(rates)[-1], k2a, edge, shared.rates)
        R1, model, residual, cost = evaluate(k2a)
        tiny = 1e-4
        slope = (shared.curves(k2a * np.exp(tiny)) - shared.curves(k2a * np.exp(-tiny))) / (
            2 * tiny * k2a[:, None]
        )
        variance = cost / (y.shape[1] - 2)
        covariance = srtm.covariance(np.stack([model, R1[:, None] * slope], 2), w, variance)
        k2 = R1 * shared.k2prime
        bpnd = k2 / k2a - 1
        one = np.ones_like(R1)
        slopes = {
            "R1": (one, 0 * one),
            "k2": (shared.k2prime * one, 0 * one),
            "k2a": (0 * one, one),
            "BPND": (shared.k2prime / k2a, -k2 / k2a**2),
        }
        for name, value in zip(PARAMETERS, (R1, k2, k2a, bpnd), strict=True):
            table.loc[usable, name] = value
            table.loc[usable, f"{name}_se"] = srtm.standard_error(np.stack(slopes[name], 1), covariance)
        table.loc[usable, "residual_sd"] = np.sqrt(variance / w.mean())
        weighted[usable] = residual * np.sqrt(w)
        edges[usable] = edge
    flags = [
        (edges < 0, "k2a at lower bound"),
        (edges > 0, "k2a at upper bound"),
        (table["R1"].to_numpy(float) <= 0, "R1 not positive"),
    ]
    return diagnostics.assess(table, weighted, PARAMETERS, "BPND", flags)
