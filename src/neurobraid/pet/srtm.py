"""Simplified reference tissue model by basis functions, for regions and for whole images.

The model (Lammertsma & Hume 1996) is ``C = R1 R + (k2 - R1 k2a) R (x) exp(-k2a t)`` with ``k2a = k2 / (1 + BPND)``.
For a fixed k2a it is linear, so k2a runs over a grid (Gunn et al. 1997) and a parabola through the best three values
refines it. With an orthonormal pair of vectors per grid value the residual sum of squares is ``|y|^2 - |Q' y|^2``, and
the first vector (along the reference) is common to all: one matrix product scores all curves for all grid values.
"""

from dataclasses import dataclass

import numpy as np

from neurobraid.pet import diagnostics
from neurobraid.pet.convolution import exponential_means

MAX_START_MIN = 5.0
"""A scan that starts later after injection has not seen the input, so that no reference-tissue model can be fitted."""

MIN_FRAMES = 6
CHUNK = 4096
PARAMETERS = ("R1", "k2", "k2a", "k2prime", "BPND")
UNITS = {
    "R1": "1",
    "k2": "1/min",
    "k2a": "1/min",
    "k2prime": "1/min",
    "BPND": "1",
    "residual_sd": "kBq/mL",
}
"""Of the parameters; a standard error ``<name>_se`` has the unit of its parameter."""


def refusal(frames):
    """Reason why a scan's frames cannot carry the model, or an empty string."""
    if len(frames) < MIN_FRAMES:
        return f"{len(frames)} frames; the model needs at least {MIN_FRAMES}"
    if frames.start[0] > MAX_START_MIN * 60:
        return f"first frame {frames.start[0] / 60:.1f} min after injection; the model needs data from {MAX_START_MIN:g} min"
    return ""


@dataclass(frozen=True)
class Basis:
    """What all curves of a scan share.

    Attributes
    ----------
    start, end : numpy.ndarray, (F,)
        Frames, min after injection.
    reference, weights : numpy.ndarray, (F,)
    rates : numpy.ndarray, (J,)
        Grid of k2a, 1/min, log-spaced.
    along : numpy.ndarray, (F,)
        Unit vector of the weighted reference, times root weights: its product with a raw curve is the coordinate.
    across : numpy.ndarray, (F, J)
        Unit vectors of the weighted basis functions orthogonal to it, likewise.
    length : float
        Norm of the weighted reference.
    shadow, height : numpy.ndarray, (J,)
        Coordinates of the basis functions along and across.
    """

    start: np.ndarray
    end: np.ndarray
    reference: np.ndarray
    weights: np.ndarray
    rates: np.ndarray
    along: np.ndarray
    across: np.ndarray
    length: float
    shadow: np.ndarray
    height: np.ndarray


def basis(frames, reference, weights=None, *, n=128, k2a=(0.006, 0.6)):
    """Basis functions of a scan.

    Parameters
    ----------
    frames : Frames
    reference : array-like, (F,)
        Reference curve, decay-corrected frame means.
    weights : array-like, (F,), optional
        Default uniform.
    n : int
        Number of basis functions.
    k2a : tuple of float
        Lowest and highest k2a, 1/min. The default covers BPND 0 to 15 for k2 = 0.1.

    Returns
    -------
    Basis

    Raises
    ------
    ValueError
        The reference is not finite or nowhere positive, or `refusal` has a reason.
    """
    reason = refusal(frames)
    if reason:
        raise ValueError(reason)
    reference = np.asarray(reference, float)
    if not np.isfinite(reference).all() or reference.max() <= 0:
        raise ValueError("the reference curve must be finite and somewhere positive")
    weights = np.ones(len(frames)) if weights is None else np.asarray(weights, float)
    start, end = frames.start / 60.0, frames.end / 60.0
    rates = np.geomspace(k2a[0], k2a[1], n)
    root = np.sqrt(weights)[:, None]
    functions = exponential_means(start, end, reference, rates) * root
    weighted = reference[:, None] * root
    length = float(np.linalg.norm(weighted))
    unit = weighted[:, 0] / length
    shadow = unit @ functions
    rest = functions - np.outer(unit, shadow)
    rest -= np.outer(unit, unit @ rest)  # once more: the functions of high k2a are nearly along the reference
    height = np.linalg.norm(rest, axis=0)
    return Basis(
        start, end, reference, weights, rates, unit * root[:, 0], rest / height * root, length, shadow, height
    )


def vertex(low, mid, high):
    """Offset in [-0.5, 0.5] of the maximum of a parabola through three equidistant values, the middle one largest."""
    bend = low - 2.0 * mid + high
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = 0.5 * (low - high) / bend
    return np.where(np.isfinite(offset), offset, 0.0).clip(-0.5, 0.5)


def _grid_fit(curves, shared, along, across):
    """Grid search and parabola for curves (N, F); see `fit_voxels`. All arrays in the type of `curves`."""
    first = curves @ along
    second = curves @ across
    score = second * second
    best = score.argmax(axis=1)
    count = len(shared.rates)
    centre = best.clip(1, count - 2)
    rows = np.arange(len(curves))
    near = np.stack([score[rows, centre + d] for d in (-1, 0, 1)])
    offset = np.where(best == centre, vertex(*near), (best - centre)).astype(curves.dtype)
    # Lagrange weights of the three grid values at the vertex
    lagrange = (0.5 * offset * (offset - 1.0), 1.0 - offset * offset, 0.5 * offset * (offset + 1.0))
    phi = np.zeros_like(first)
    R1 = np.zeros_like(first)
    explained = np.zeros_like(first)
    for part, d in zip(lagrange, (-1, 0, 1), strict=True):
        j = centre + d
        value = second[rows, j] / shared.height[j].astype(curves.dtype)
        phi += part * value
        R1 += (
            part * (first - value * shared.shadow[j].astype(curves.dtype)) / curves.dtype.type(shared.length)
        )
        explained += part * near[d + 1]
    step = np.log(shared.rates[-1] / shared.rates[0]) / (count - 1)
    k2a = (shared.rates[0] * np.exp(step * (centre + offset))).astype(curves.dtype)
    edge = np.where(best == 0, -1, np.where(best == count - 1, 1, 0)).astype(np.int8)
    return R1, phi, k2a, edge, first * first + explained


def fit_voxels(curves, shared, *, chunk=CHUNK):
    """Fit the model to many curves in single precision.

    Parameters
    ----------
    curves : numpy.ndarray, (V, F)
        Decay-corrected frame means, one row per voxel; float32 is used as it is.
    shared : Basis
    chunk : int
        Voxels at a time (the scores of a chunk stay in the processor's cache).

    Returns
    -------
    dict of numpy.ndarray, (V,), float32
        ``R1``, ``k2``, ``k2a``, ``k2prime``, ``BPND``, ``residual_variance`` (weighted, F - 3 degrees of freedom) and
        ``edge`` (int8: -1 or 1 where the best k2a is the first or last grid value). NaN where a curve is not finite
        or nowhere different from zero.
    """
    count, frames = curves.shape
    names = (*PARAMETERS, "residual_variance")
    result = {name: np.full(count, np.nan, np.float32) for name in names}
    result["edge"] = np.zeros(count, np.int8)
    along, across = shared.along.astype(np.float32), np.ascontiguousarray(shared.across, np.float32)
    weights = shared.weights.astype(np.float32)
    freedom = max(frames - 3, 1)
    for begin in range(0, count, chunk):
        part = np.ascontiguousarray(curves[begin : begin + chunk], np.float32)
        where = slice(begin, begin + len(part))
        power = (part * part) @ weights
        usable = np.isfinite(power) & (power > 0)
        if not usable.all():
            part = np.where(usable[:, None], part, np.float32(0))
        R1, phi, k2a, edge, explained = _grid_fit(part, shared, along, across)
        with np.errstate(divide="ignore", invalid="ignore"):
            k2 = phi + R1 * k2a
            values = (R1, k2, k2a, k2 / R1, k2 / k2a - 1.0, (power - explained).clip(0) / freedom)
        for name, value in zip(names, values, strict=True):
            result[name][where] = np.where(usable, value, np.nan)
        result["edge"][where] = np.where(usable, edge, 0)
    return result


def _linear(curves, shared, functions):
    """Weighted least squares for R1 and phi with one basis function per curve: (N, F), (N, F)."""
    w, R = shared.weights, shared.reference
    rr, rb, bb = R * R @ w, functions @ (w * R), (functions * functions) @ w
    ry, by = curves @ (w * R), (functions * curves) @ w
    det = rr * bb - rb * rb
    R1, phi = (bb * ry - rb * by) / det, (rr * by - rb * ry) / det
    residual = curves - R1[:, None] * R - phi[:, None] * functions
    return R1, phi, (residual * residual) @ w


def predict(shared, R1, k2, k2a):
    """Frame means of the model.

    Parameters
    ----------
    shared : Basis
    R1, k2, k2a : array-like, (N,)

    Returns
    -------
    numpy.ndarray, (N, F)
    """
    R1, k2, k2a = (np.atleast_1d(np.asarray(x, float)) for x in (R1, k2, k2a))
    functions = exponential_means(shared.start, shared.end, shared.reference, k2a).T
    return R1[:, None] * shared.reference + (k2 - R1 * k2a)[:, None] * functions


def fit_regions(curves, shared):
    """Fit the model to regional curves in double precision, with standard errors.

    The grid fit of `fit_voxels` is polished with exact basis functions at the refined k2a, so that the result does not
    depend on the grid.

    Parameters
    ----------
    curves : array-like, (N, F)
        Decay-corrected frame means; rows with NaN give NaN.
    shared : Basis

    Returns
    -------
    pandas.DataFrame
        One row per curve: ``R1, k2, k2a, k2prime, BPND``, their ``<name>_se``, ``residual_sd``, ``runs_p``,
        ``undetermined`` and ``flag`` (see `diagnostics.assess`; at a bound of k2a, BPND is a bound and no estimate).
        ``residual_sd`` is of a frame of mean weight. Standard errors come from the curvature at the optimum and ignore
        noise in the reference.
    """
    import pandas as pd

    curves = np.asarray(curves, float)
    columns = [*PARAMETERS, *(f"{name}_se" for name in PARAMETERS), "residual_sd"]
    table = pd.DataFrame(np.nan, index=range(len(curves)), columns=columns)
    weighted, edges = np.full(curves.shape, np.nan), np.zeros(len(curves), int)
    usable = np.isfinite(curves).all(axis=1) & (np.abs(np.nan_to_num(curves)).max(axis=1, initial=0) > 0)
    if not usable.any():
        return _assessed(table, weighted, edges)
    y = curves[usable]
    _, _, k2a, edge, _ = _grid_fit(y, shared, shared.along, shared.across)

    def evaluate(rates):
        functions = exponential_means(shared.start, shared.end, shared.reference, rates).T
        return functions, *_linear(y, shared, functions)

    k2a = polish(lambda rates: evaluate(rates)[-1], k2a, edge, shared.rates)
    functions, R1, phi, cost = evaluate(k2a)
    k2 = phi + R1 * k2a
    tiny = 1e-4
    slope = (evaluate(k2a * np.exp(tiny))[0] - evaluate(k2a * np.exp(-tiny))[0]) / (2 * tiny * k2a[:, None])
    variance = cost / (y.shape[1] - 3)
    # of C by R1, k2 and k2a
    by_k2a = -R1[:, None] * functions + phi[:, None] * slope
    jacobian = np.stack([shared.reference - k2a[:, None] * functions, functions, by_k2a], axis=2)
    spread = covariance(jacobian, shared.weights, variance)
    zero, one = np.zeros_like(R1), np.ones_like(R1)
    slopes = {
        "R1": (one, zero, zero),
        "k2": (zero, one, zero),
        "k2a": (zero, zero, one),
        "k2prime": (-k2 / R1**2, 1 / R1, zero),
        "BPND": (zero, 1 / k2a, -k2 / k2a**2),
    }
    for name, value in zip(PARAMETERS, (R1, k2, k2a, k2 / R1, k2 / k2a - 1.0), strict=True):
        table.loc[usable, name] = value
        table.loc[usable, f"{name}_se"] = standard_error(np.stack(slopes[name], axis=1), spread)
    table.loc[usable, "residual_sd"] = np.sqrt(variance / shared.weights.mean())
    weighted[usable] = (y - R1[:, None] * shared.reference - phi[:, None] * functions) * np.sqrt(
        shared.weights
    )
    edges[usable] = edge
    return _assessed(table, weighted, edges)


def _assessed(table, weighted, edges):
    flags = [(edges < 0, "k2a at lower bound"), (edges > 0, "k2a at upper bound")]
    return diagnostics.assess(table, weighted, PARAMETERS, "BPND", flags)


def polish(cost, k2a, edge, rates):
    """Refine k2a by three parabolas through exact costs, each with a quarter of the step before.

    Parameters
    ----------
    cost : callable
        Sums of squares (N,) of rates (N,).
    k2a : numpy.ndarray, (N,)
        From the grid, 1/min.
    edge : numpy.ndarray of int, (N,)
        Curves at a bound stay there.
    rates : numpy.ndarray, (J,)
        The grid.

    Returns
    -------
    numpy.ndarray, (N,)
    """
    low, high = np.log(rates[0]), np.log(rates[-1])
    log, step = np.log(k2a), (high - low) / (len(rates) - 1)
    for _ in range(3):
        costs = [cost(np.exp(log + d)) for d in (-step, 0.0, step)]
        bend = costs[0] - 2 * costs[1] + costs[2]
        with np.errstate(divide="ignore", invalid="ignore"):
            move = 0.5 * (costs[0] - costs[2]) / bend
        move = np.where(np.isfinite(move) & (bend > 0), move, 0.0).clip(-1, 1)
        log = np.where(edge == 0, (log + step * move).clip(low, high), log)
        step /= 4.0
    return np.exp(log)


def covariance(jacobian, weights, variance):
    """Covariance of the parameters of many fits.

    Parameters
    ----------
    jacobian : numpy.ndarray, (N, F, p)
    weights : numpy.ndarray, (F,)
    variance : numpy.ndarray, (N,)
        Of a frame of weight 1.

    Returns
    -------
    numpy.ndarray, (N, p, p)
    """
    normal = np.einsum("nfi,f,nfj->nij", jacobian, weights, jacobian)
    # parameters differ by orders of magnitude: scale before the pseudo-inverse decides what is singular
    size = np.sqrt(np.einsum("nii->ni", normal)).clip(1e-300)
    inverse = np.linalg.pinv(normal / size[:, :, None] / size[:, None, :], rcond=1e-12, hermitian=True)
    return inverse * variance[:, None, None] / size[:, :, None] / size[:, None, :]


def standard_error(slope, covariance):
    """Standard error of a function of the parameters with derivatives `slope` (N, p)."""
    return np.sqrt(np.einsum("ni,nij,nj->n", slope, covariance, slope).clip(0))
