"""Kinetic models with an arterial plasma input: compartments by variable projection, Logan, MA1, Patlak, CMRglc.

The measured curve is ``(1 - vB) C_T + vB C_b`` with ``C_T = IRF (x) C_p``. The impulse response is a sum of decaying
exponentials,

* 1TCM ``K1 exp(-k2 t)``, ``VT = K1/k2``;
* 2TCM ``p1 exp(-th1 t) + p2 exp(-th2 t)``: ``K1 = p1 + p2``, ``k2 = (p1 th1 + p2 th2)/K1``, ``k4 = th1 th2/k2``,
  ``k3 = th1 + th2 - k2 - k4``, ``VT = p1/th1 + p2/th2``. All rate constants are at least 0 exactly when p1 and p2 are;
* 2TCMirr (k4 = 0) ``Ki + p exp(-th t)``: ``K1 = Ki + p``, ``k3 = Ki th/K1``, ``k2 = th - k3``

(Gunn et al. 2001, J Cereb Blood Flow Metab 21:635), so that only the exponents are nonlinear. Amplitudes and vB are the
least-squares solution within their bounds for given exponents (variable projection, Golub & Pereyra 1973, SIAM J Numer Anal
10:413). Every pair of exponents on a grid is tried for every curve, and the best places that are far apart are refined:
a search for rate constants from one start ends in a worse minimum in almost half of real 2TCM fits.

Logan (1990, J Cereb Blood Flow Metab 10:740), MA1 (Ichise et al. 2002, J Cereb Blood Flow Metab 22:1271) and Patlak (1983,
J Cereb Blood Flow Metab 3:1) are the linear models of `linear_models` with the input in place of the reference.
"""

from dataclasses import dataclass

import numpy as np

from neurobraid.pet import diagnostics, linear_models
from neurobraid.pet.convolution import curve_exponential_means, curve_means
from neurobraid.pet.integrals import integral_operator

COMPARTMENTS = {
    "1TCM": ("K1", "k2", "VT"),
    "2TCM": ("K1", "k2", "k3", "k4", "VT"),
    "2TCMirr": ("K1", "k2", "k3", "Ki"),
}
"""What each compartment model estimates, besides vB."""

PARAMETERS = {**COMPARTMENTS, **linear_models.PLASMA}
MODELS = tuple(PARAMETERS)
MAIN = {"1TCM": "VT", "2TCM": "VT", "2TCMirr": "Ki", "Logan": "VT", "MA1": "VT", "Patlak": "Ki"}
UNITS = {
    "K1": "mL/cm3/min",
    "k2": "1/min",
    "k3": "1/min",
    "k4": "1/min",
    "VT": "mL/cm3",
    "Ki": "mL/cm3/min",
    "vB": "1",
    "CMRglc": "umol/100 mL/min",
}
SOURCES = {
    "1TCM": "Gunn et al. 2001; Golub & Pereyra 1973",
    "2TCM": "Gunn et al. 2001; Golub & Pereyra 1973",
    "2TCMirr": "Gunn et al. 2001; Golub & Pereyra 1973",
    "Logan": "Logan et al. 1990",
    "MA1": "Ichise et al. 2002",
    "Patlak": "Patlak et al. 1983",
}
RATES = (5e-4, 6.0)
"""Exponents that are tried, 1/min: below, a tracer is trapped as far as two hours can tell; above, it is blood."""

VB_RANGE = (0.0, 0.15)
TABLE, COARSE, STARTS = 360, 40, 3
MIN_COVERED = 0.98
"""Share of the scan that the input has to reach."""


@dataclass(frozen=True)
class Input:
    """Arterial input function, linear between its knots.

    Attributes
    ----------
    time : numpy.ndarray, (K,)
        Minutes after injection, from 0, increasing.
    plasma : numpy.ndarray, (K,)
        Parent tracer in plasma, kBq/mL decay-corrected to injection.
    blood : numpy.ndarray, (K,)
        Whole blood, all metabolites included, kBq/mL.
    """

    time: np.ndarray
    plasma: np.ndarray
    blood: np.ndarray

    def shifted(self, delay_min):
        """The input that the tissue sees when the recording is `delay_min` late: ``C(t + delay)``, nothing before 0."""
        time = self.time - delay_min
        if delay_min < 0:
            return Input(np.append(0.0, time), np.append(0.0, self.plasma), np.append(0.0, self.blood))
        later = time > 0
        return Input(
            np.append(0.0, time[later]),
            *(
                np.append(np.interp(delay_min, self.time, curve), curve[later])
                for curve in (self.plasma, self.blood)
            ),
        )


@dataclass(frozen=True)
class Compartments:
    """What all curves of a scan share in a compartment model.

    Attributes
    ----------
    model : str
    weights : numpy.ndarray, (F,)
    spline : scipy.interpolate.CubicSpline
        Logarithm of an exponent (1/min) to frame means (F,) of the input convolved with the exponential.
    trapped : numpy.ndarray, (F,)
        Frame means of the input's integral.
    blood : numpy.ndarray, (F,)
        Frame means of whole blood.
    vb : float
        Fraction of blood, NaN when it is fitted.
    vb_range : (float, float)
    """

    model: str
    weights: np.ndarray
    spline: object
    trapped: np.ndarray
    blood: np.ndarray
    vb: float
    vb_range: tuple

    @property
    def free(self):
        """Number of exponents."""
        return 2 if self.model == "2TCM" else 1

    @property
    def tissue(self):
        """Number of amplitudes."""
        return 1 if self.model == "1TCM" else 2

    @property
    def fitted_vb(self):
        """Whether vB is fitted."""
        return not np.isfinite(self.vb)


def refusal(model, frames, given=None, tstar_min=0.0):
    """Reason why a scan cannot carry a plasma model, or an empty string.

    Parameters
    ----------
    model : str
        Of `MODELS`.
    frames : Frames
    given : Input, optional
        None: no blood was drawn.
    tstar_min : float
        Of Logan, MA1 and Patlak; NaN: none was found.
    """
    if given is None:
        return f"{model} needs an arterial input function and the scan has no blood"
    last, end = given.time[-1], frames.end[-1] / 60
    if last < MIN_COVERED * end:
        return f"the input function ends at {last:.1f} min, the scan at {end:.1f} min after injection"
    if not np.isfinite(given.plasma).all() or given.plasma.max() <= 0:
        return "the input function has no activity, or is not finite"
    if model in linear_models.PLASMA:
        if not np.isfinite(tstar_min):
            return f"no t* can be chosen for {model}: too few frames, or no region to test"
        return linear_models.refusal(model, frames, tstar_min)
    if frames.start[0] > linear_models.MAX_START_MIN * 60:
        return (
            f"first frame {frames.start[0] / 60:.1f} min after injection; {model} needs data from "
            f"{linear_models.MAX_START_MIN:g} min"
        )
    needed = len(COMPARTMENTS[model]) + 3
    if len(frames) < needed:
        return f"{len(frames)} frames; {model} needs at least {needed}"
    return ""


def prepare(model, frames, given, weights=None, *, vb=0.05, vb_range=VB_RANGE, rates=RATES, table=TABLE):
    """Bring together what all curves of a scan share in a compartment model.

    Parameters
    ----------
    model : str
        Of `COMPARTMENTS`.
    frames : Frames
    given : Input
    weights : array-like, (F,), optional
        Inverse variances, default uniform.
    vb : float or None
        Fraction of blood; None fits it in `vb_range`.
    rates : (float, float)
        Range of exponents, 1/min.
    table : int
        Exponents for which the exact convolution is tabulated; cubic splines in the logarithm between them.

    Returns
    -------
    Compartments

    Raises
    ------
    ValueError
        Unknown model, or `refusal` has a reason.
    """
    from scipy.interpolate import CubicSpline

    if model not in COMPARTMENTS:
        raise ValueError(f"unknown model {model!r}: {', '.join(COMPARTMENTS)}")
    reason = refusal(model, frames, given)
    if reason:
        raise ValueError(reason)
    start, end = frames.start / 60.0, frames.end / 60.0
    grid = np.geomspace(*rates, table)
    means = curve_exponential_means(given.time, given.plasma, start, end, np.append(grid, 0.0))
    weights = np.ones(len(frames)) if weights is None else np.asarray(weights, float)
    return Compartments(
        model,
        weights,
        CubicSpline(np.log(grid), means[:, :-1].T),
        means[:, -1],
        curve_means(given.time, given.blood, start, end),
        float("nan") if vb is None else float(vb),
        tuple(vb_range),
    )


def _columns(u, shared, derivative=False):
    """Weighted columns (N, F, tissue) for logarithms of exponents (N, free), and their derivatives (N, F, free)."""
    root = np.sqrt(shared.weights)
    parts = [shared.spline(u[:, i]) * root for i in range(shared.free)]
    if shared.model == "2TCMirr":
        parts.append(np.broadcast_to(shared.trapped * root, parts[0].shape))
    columns = np.stack(parts, axis=2)
    if not derivative:
        return columns
    return columns, np.stack([shared.spline(u[:, i], 1) * root for i in range(shared.free)], axis=2)


def _subsets(shared):
    """Sets of amplitudes that may be above 0, all of them first."""
    return [(0,)] if shared.tissue == 1 else [(0, 1), (0,), (1,)]


def _levels(shared):
    """Ways in which vB enters: free (None), or one of its values."""
    return [None, *shared.vb_range] if shared.fitted_vb else [shared.vb]


def _amplitudes(y, columns, shared):
    """Best amplitudes within their bounds.

    Parameters
    ----------
    y : numpy.ndarray, (N, F)
        Weighted curves.
    columns : numpy.ndarray, (N, F, tissue)

    Returns
    -------
    coefficients : numpy.ndarray, (N, tissue + 1)
        Amplitudes times 1 - vB, and vB.
    rss : numpy.ndarray, (N,)
    """
    blood = shared.blood * np.sqrt(shared.weights)
    best = np.full(len(y), np.inf)
    found = np.zeros((len(y), shared.tissue + 1))
    low, high = shared.vb_range
    for subset in _subsets(shared):
        todo = np.ones(len(y), bool) if len(subset) == shared.tissue else ~np.isfinite(best)
        for level in _levels(shared):
            # a bound of vB is only asked for where the free solution is outside
            rows = np.flatnonzero(
                todo if level is None or not shared.fitted_vb else todo & ~np.isfinite(best)
            )
            if not len(rows):
                continue
            x = columns[rows][:, :, list(subset)]
            if level is None:
                x = np.concatenate([x, np.broadcast_to(blood[:, None], (*x.shape[:2], 1))], axis=2)
            target = y[rows] - (0.0 if level is None else level) * blood
            size = np.linalg.norm(x, axis=1)
            size[size == 0] = 1.0
            x = x / size[:, None, :]
            gram = np.einsum("nfi,nfj->nij", x, x)
            gram[:, np.arange(x.shape[2]), np.arange(x.shape[2])] *= 1 + 1e-13
            # normal equations and one step of refinement: as good as QR for three columns, and much faster
            g = np.linalg.solve(gram, np.einsum("nfi,nf->ni", x, target)[..., None])[..., 0]
            rest = target - np.einsum("nfi,ni->nf", x, g)
            g += np.linalg.solve(gram, np.einsum("nfi,nf->ni", x, rest)[..., None])[..., 0]
            rest = target - np.einsum("nfi,ni->nf", x, g)
            g = g / size
            rss = np.einsum("nf,nf->n", rest, rest)
            good = (g[:, : len(subset)] >= 0).all(axis=1) & np.isfinite(rss)
            if level is None:
                good &= (g[:, -1] >= low) & (g[:, -1] <= high)
            good &= rss < best[rows]
            at = rows[good]
            best[at] = rss[good]
            found[at] = 0.0
            found[np.ix_(at, subset)] = g[good][:, : len(subset)]
            found[at, -1] = g[good][:, -1] if level is None else level
    return found, best


def _starts(y, shared, coarse, count):
    """Logarithms of exponents (N, count, free) at the best places of a coarse grid that are apart from each other."""
    u = np.linspace(shared.spline.x[0], shared.spline.x[-1], coarse)
    place = np.arange(coarse)
    if shared.free == 2:
        # neighbours on the grid are too alike to be told apart
        first, second = np.triu_indices(coarse, 2)
        nodes = np.stack([first, second], axis=1)
    else:
        nodes = place[:, None]
    columns = _columns(u[nodes], shared)
    blood = shared.blood * np.sqrt(shared.weights)
    score = np.full((len(y), len(nodes)), np.inf)
    low, high = shared.vb_range
    for level in _levels(shared):
        x = columns
        if level is None:
            x = np.concatenate([x, np.broadcast_to(blood[:, None], (*x.shape[:2], 1))], axis=2)
        target = y - (0.0 if level is None else level) * blood
        q, r = np.linalg.qr(x)
        along = np.einsum("pfi,nf->npi", q, target, optimize=True)
        g = np.einsum("pij,npj->npi", np.linalg.inv(r), along, optimize=True)
        rss = (target**2).sum(axis=1)[:, None] - (along**2).sum(axis=2)
        good = (g[..., : shared.tissue] >= 0).all(axis=2)
        if level is None:
            good &= (g[..., -1] >= low) & (g[..., -1] <= high)
        score = np.where(good & (rss < score), rss, score)
    chosen = np.zeros((len(y), count, shared.free), int)
    rows = np.arange(len(y))
    for i in range(count):
        best = score.argmin(axis=1)
        chosen[:, i] = nodes[best]
        near = (np.abs(nodes[None] - nodes[best][:, None]) <= max(2, coarse // 12)).all(axis=2)
        score = np.where(near & (np.arange(len(nodes)) != best[:, None]), np.inf, score)
        score[rows, best] = np.inf
    return u[chosen]


def _refine(y, u, shared, steps):
    """Levenberg-Marquardt in the logarithms of the exponents with Kaufman's (1975) derivative of the projection."""
    low, high = shared.spline.x[0], shared.spline.x[-1]
    g, rss = _amplitudes(y, _columns(u, shared), shared)
    damping = np.full(len(y), 1e-3)
    active = np.isfinite(rss)
    eye = np.eye(shared.free)
    blood = shared.blood * np.sqrt(shared.weights)
    for _ in range(steps):
        rows = np.flatnonzero(active)
        if not len(rows):
            break
        columns, slopes = _columns(u[rows], shared, derivative=True)
        c = g[rows]
        rest = y[rows] - np.einsum("nfi,ni->nf", columns, c[:, :-1]) - c[:, -1:] * blood
        # amplitudes at a bound do not move, so they are not projected out
        x = columns * (c[:, None, :-1] > 0)
        if shared.fitted_vb:
            inside = (c[:, -1] > shared.vb_range[0]) & (c[:, -1] < shared.vb_range[1])
            x = np.concatenate([x, blood[:, None] * inside[:, None, None]], axis=2)
        size = np.linalg.norm(x, axis=1)
        x = x / np.where(size > 0, size, 1.0)[:, None, :]
        jacobian = slopes * c[:, None, : shared.free]
        gram = np.einsum("nfi,nfj->nij", x, x) + 1e-12 * np.eye(x.shape[2])
        back = np.linalg.solve(gram, np.einsum("nfi,nfj->nij", x, jacobian))
        jacobian = jacobian - np.einsum("nfi,nij->nfj", x, back)
        normal = np.einsum("nfi,nfj->nij", jacobian, jacobian)
        scale = np.einsum("nii->ni", normal)
        scale = scale + 1e-12 * scale.max(axis=1, keepdims=True) + 1e-300
        step = np.linalg.solve(
            normal + damping[rows, None, None] * scale[:, :, None] * eye,
            np.einsum("nfi,nf->ni", jacobian, rest)[..., None],
        )[..., 0]
        trial = np.clip(u[rows] + np.clip(step, -1.5, 1.5), low, high)
        c, new = _amplitudes(y[rows], _columns(trial, shared), shared)
        better = new < rss[rows]
        gain = np.where(better, rss[rows] - new, 0.0)
        moved = np.abs(trial - u[rows]).max(axis=1)
        at = rows[better]
        u[at], g[at] = trial[better], c[better]
        damping[rows] = np.where(better, damping[rows] * 0.2, damping[rows] * 8.0).clip(1e-12, 1e9)
        done = (
            (better & (gain <= 1e-13 * rss[rows]) & (moved < 1e-6)) | (moved < 1e-10) | (damping[rows] >= 1e8)
        )
        rss[at] = new[better]
        active[rows[done]] = False
    return u, g, rss


def _search(y, shared, *, coarse=COARSE, starts=STARTS, steps=60):
    """Best exponents (N, free, in order), amplitudes (N, tissue + 1) and RSS (N,) of weighted curves."""
    places = _starts(y, shared, coarse, starts)
    count = len(y)
    u, g, rss = _refine(
        np.repeat(y, starts, axis=0), places.reshape(count * starts, shared.free), shared, steps
    )
    best = rss.reshape(count, starts).argmin(axis=1) + np.arange(count) * starts
    u, g, rss = u[best], g[best], rss[best]
    if shared.free == 2:
        swap = u[:, 0] > u[:, 1]
        u[swap] = u[swap][:, ::-1]
        g[swap, :2] = g[swap, 1::-1]
    return u, g, rss


def _micro(model, u, g):
    """Parameters (N,) by name from logarithms of exponents (N, free) and amplitudes (N, tissue + 1)."""
    rate, vb = np.exp(u), g[:, -1]
    p = g[:, :-1] / (1 - vb)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        if model == "1TCM":
            return {"K1": p[:, 0], "k2": rate[:, 0], "VT": p[:, 0] / rate[:, 0], "vB": vb}
        k1 = p.sum(axis=1)
        if model == "2TCMirr":
            k3 = p[:, 1] * rate[:, 0] / k1
            return {"K1": k1, "k2": rate[:, 0] - k3, "k3": k3, "Ki": p[:, 1], "vB": vb}
        k2 = (p * rate).sum(axis=1) / k1
        k4 = rate[:, 0] * rate[:, 1] / k2
        k3 = -(k2 - rate[:, 0]) * (k2 - rate[:, 1]) / k2
        return {"K1": k1, "k2": k2, "k3": k3, "k4": k4, "VT": (p / rate).sum(axis=1), "vB": vb}


def _errors(y, u, g, rss, shared):
    """Standard errors (N,) of the parameters by name, first order; NaN where the data leave a direction open."""
    columns, slopes = _columns(u, shared, derivative=True)
    free, tissue = shared.free, shared.tissue
    parts = [slopes * g[:, None, :free], columns]
    if shared.fitted_vb:
        blood = shared.blood * np.sqrt(shared.weights)
        parts.append(np.broadcast_to(blood[:, None], (*columns.shape[:2], 1)))
    jacobian = np.concatenate(parts, axis=2)
    count = jacobian.shape[2]
    # a quantity at its bound is given, not estimated: it has no error of its own
    fixed = np.zeros((len(y), count), bool)
    fixed[:, free : free + tissue] = g[:, :tissue] <= 0
    fixed[:, :free] |= g[:, :free] <= 0
    if shared.fitted_vb:
        fixed[:, -1] = (g[:, -1] <= shared.vb_range[0]) | (g[:, -1] >= shared.vb_range[1])
    jacobian = np.where(fixed[:, None, :], 0.0, jacobian)
    size = np.linalg.norm(jacobian, axis=1)
    size[size == 0] = 1.0
    jacobian = jacobian / size[:, None, :]
    freedom = np.maximum(y.shape[1] - (~fixed).sum(axis=1), 1)
    inverse = np.linalg.pinv(np.einsum("nfi,nfj->nij", jacobian, jacobian), rcond=1e-14, hermitian=True)
    covariance = inverse * (rss / freedom)[:, None, None] / (size[:, :, None] * size[:, None, :])
    names = list(_micro(shared.model, u, g))
    slope = {name: np.zeros((len(y), count)) for name in names}
    for i in range(count):
        values = []
        for sign in (1, -1):
            du, dg = u.copy(), g.copy()
            if i < free:
                width = np.full(len(y), 1e-5)
                du[:, i] += sign * width
            else:
                width = 1e-6 * np.maximum(np.abs(dg[:, i - free]), 1e-3)
                dg[:, i - free] += sign * width
            values.append(_micro(shared.model, du, dg))
        for name in names:
            slope[name][:, i] = (values[0][name] - values[1][name]) / (2 * width)
    return {name: np.sqrt(np.einsum("ni,nij,nj->n", s, covariance, s).clip(0)) for name, s in slope.items()}


def predict(shared, u, g):
    """Curves (N, F) of fits; `u` and `g` as `_search` gives them."""
    root = np.sqrt(shared.weights)
    unit = Compartments(
        shared.model,
        np.ones_like(root),
        shared.spline,
        shared.trapped,
        shared.blood,
        shared.vb,
        shared.vb_range,
    )
    return np.einsum("nfi,ni->nf", _columns(u, unit), g[:, :-1]) + g[:, -1:] * shared.blood


def fit_regions(curves, shared, **options):
    """Fit a compartment model to regional curves.

    Parameters
    ----------
    curves : array-like, (N, F)
        Decay-corrected frame means, kBq/mL; rows with NaN or without activity give NaN.
    shared : Compartments
    **options
        ``coarse`` (grid of exponents), ``starts`` and ``steps`` of the search.

    Returns
    -------
    table : pandas.DataFrame
        One row per curve: parameters and ``vB``, their ``<name>_se``, ``residual_sd`` (kBq/mL, of a frame of mean weight),
        ``runs_p``, ``undetermined`` and ``flag``; see `diagnostics.assess`. The noise of the input is left out of
        the standard errors.
    fitted : numpy.ndarray, (N, F)
    """
    import pandas as pd

    curves = np.atleast_2d(np.asarray(curves, float))
    names = [*COMPARTMENTS[shared.model], "vB"]
    columns = [*names, *(f"{name}_se" for name in names), "residual_sd"]
    table = pd.DataFrame(np.nan, index=range(len(curves)), columns=columns)
    fitted = np.full_like(curves, np.nan)
    residuals = np.full_like(curves, np.nan)
    edge = {text: np.zeros(len(curves), bool) for text in FLAGS}
    usable = np.isfinite(curves).all(axis=1) & (np.nan_to_num(curves).max(axis=1, initial=0) > 0)
    if usable.any():
        root = np.sqrt(shared.weights)
        y = curves[usable] * root
        u, g, rss = _search(y, shared, **options)
        values, errors = _micro(shared.model, u, g), _errors(y, u, g, rss, shared)
        open_k = shared.model == "2TCM"
        one = (g[:, :-1] <= 0).any(axis=1) & (shared.tissue == 2)
        if open_k and one.any():
            # one exponential has no amplitude: its rate says nothing, the other is a single tissue
            alone = np.exp(np.where(g[one, 0] > 0, u[one, 0], u[one, 1]))
            total = g[one, :2].sum(axis=1) / (1 - g[one, -1])
            for name, value in {
                "K1": total,
                "k2": alone,
                "k3": 0.0,
                "k4": np.nan,
                "VT": total / alone,
            }.items():
                values[name][one] = value
            errors["k3"][one] = errors["k4"][one] = np.nan
        for name in names:
            table.loc[usable, name] = values[name]
            table.loc[usable, f"{name}_se"] = errors[name]
        freedom = len(root) - shared.free - shared.tissue - shared.fitted_vb
        table.loc[usable, "residual_sd"] = np.sqrt(rss / max(freedom, 1) / shared.weights.mean())
        fitted[usable] = predict(shared, u, g)
        residuals[usable] = (curves[usable] - fitted[usable]) * root
        low, high = shared.spline.x[0] + 1e-6, shared.spline.x[-1] - 1e-6
        live = g[:, : shared.free] > 0
        edge["slowest exponent at lower bound: no equilibrium, VT not determined"][usable] = (
            (u <= low) & live
        ).any(axis=1) & (shared.model != "2TCMirr")
        edge["fastest exponent at upper bound"][usable] = ((u >= high) & live).any(axis=1)
        edge["no amplitude"][usable] = ~(g[:, :-1] > 0).any(axis=1)
        if shared.fitted_vb:
            table["vB_se"] = table["vB_se"].where(table["vB_se"] > 0)
            edge["vB at upper bound"][usable] = g[:, -1] >= shared.vb_range[1]
        else:
            table["vB_se"] = np.nan
    main = MAIN[shared.model]
    table = diagnostics.assess(
        table, residuals, COMPARTMENTS[shared.model], main, [(m, t) for t, m in edge.items()]
    )
    if shared.model == "2TCM":
        single = table["k3"].eq(0) & table["flag"].eq("ok")
        table.loc[single, "undetermined"] = "k3,k4"
    return table, fitted


FLAGS = (
    "no amplitude",
    "slowest exponent at lower bound: no equilibrium, VT not determined",
    "fastest exponent at upper bound",
    "vB at upper bound",
)


def fit_voxels(curves, shared, *, chunk=2048, coarse=24, starts=1, steps=12):
    """Fit a compartment model to many curves: `fit_regions` without errors, with a coarser search.

    Parameters
    ----------
    curves : numpy.ndarray, (V, F)
    shared : Compartments
    chunk, coarse, starts, steps : int

    Returns
    -------
    dict of numpy.ndarray, (V,), float32
        Parameters, ``vB`` and ``residual_variance`` (weighted); ``edge`` (int8: -1 or 1 with an exponent at a bound).
    """
    names = [*COMPARTMENTS[shared.model], "vB"]
    result = {name: np.full(len(curves), np.nan, np.float32) for name in (*names, "residual_variance")}
    result["edge"] = np.zeros(len(curves), np.int8)
    root = np.sqrt(shared.weights)
    freedom = max(len(root) - shared.free - shared.tissue - shared.fitted_vb, 1)
    for begin in range(0, len(curves), chunk):
        part = np.asarray(curves[begin : begin + chunk], float)
        rows = np.flatnonzero(np.isfinite(part).all(axis=1) & (part > 0).any(axis=1))
        if not len(rows):
            continue
        u, g, rss = _search(part[rows] * root, shared, coarse=coarse, starts=starts, steps=steps)
        live = g[:, : shared.free] > 0
        low = ((u <= shared.spline.x[0] + 1e-6) & live).any(axis=1)
        high = ((u >= shared.spline.x[-1] - 1e-6) & live).any(axis=1)
        for name, value in (*_micro(shared.model, u, g).items(), ("residual_variance", rss / freedom)):
            good = np.isfinite(value) & np.isfinite(rss) & (g[:, :-1] > 0).any(axis=1)
            result[name][begin + rows] = np.where(good, value, np.nan)
        result["edge"][begin + rows] = np.where(low, -1, np.where(high, 1, 0))
    return result


def blood_corrected(curves, frames, given, vb):
    """Curves (N, F) of tissue alone, ``(C - vB C_b)/(1 - vB)``, for the linear models."""
    blood = curve_means(given.time, given.blood, frames.start / 60.0, frames.end / 60.0)
    return (np.asarray(curves) - (vb * blood).astype(np.asarray(curves).dtype)) / (1 - vb)


def prepare_linear(model, frames, given, weights=None, *, tstar_min=0.0, integrals="frame_means"):
    """Bring together what all curves of a scan share in Logan, MA1 or Patlak.

    Parameters
    ----------
    model : str
        Of `linear_models.PLASMA`.
    frames : Frames
    given : Input
    weights : array-like, (F,), optional
    tstar_min : float
        Minutes after injection.
    integrals : str
        Of the tissue curve, see `integrals.integral_operator`; the integral of the input is exact.

    Returns
    -------
    linear_models.Linear
        For `linear_models.fit_regions` and `linear_models.fit_voxels`, with curves from `blood_corrected`.

    Raises
    ------
    ValueError
        Unknown model, `refusal` has a reason, or the input is not positive after t* (Patlak).
    """
    if model not in linear_models.PLASMA:
        raise ValueError(f"unknown model {model!r}: {', '.join(linear_models.PLASMA)}")
    reason = refusal(model, frames, given, tstar_min)
    if reason:
        raise ValueError(reason)
    start, end = frames.start / 60.0, frames.end / 60.0
    used = np.flatnonzero(frames.mid / 60.0 >= tstar_min - 1e-9)
    plasma = curve_means(given.time, given.plasma, start, end)
    if model == "Patlak" and plasma[used].min() <= 0:
        raise ValueError("the input function must be positive in every frame used by Patlak")
    area = curve_exponential_means(given.time, given.plasma, start, end, [0.0])[:, 0]
    weights = np.ones(len(frames)) if weights is None else np.asarray(weights, float)
    graphical = model in ("Logan", "Patlak")
    return linear_models.Linear(
        model,
        used,
        frames.mid[used] / 60.0,
        integral_operator(start, end, integrals)[used],
        plasma[used],
        area[used],
        np.ones(len(used)) if graphical else weights[used],
        1.0 / np.maximum(weights, 0.01 * weights.mean()),
        # no reference, so no k2' term
        float("inf"),
        float(tstar_min),
        (0.0, float("inf")),
    )


def plot_points(model, curves, frames, given, *, integrals="frame_means"):
    """Points of the plot of a linear model in all frames, those before t* too.

    Parameters
    ----------
    model : str
        Of `linear_models.PLASMA`. MA1 has the axes of the Logan plot: its equation divided by the tissue curve.
    curves : array-like, (N, F)
        From `blood_corrected`.
    frames, given, integrals
        See `prepare_linear`.

    Returns
    -------
    x, y : numpy.ndarray, (N, F)
        Both in min for Logan and MA1; Patlak has x in min and y in mL/cm3. NaN where the denominator is not positive.
    """
    curves = np.atleast_2d(np.asarray(curves, float))
    start, end = frames.start / 60.0, frames.end / 60.0
    area = curve_exponential_means(given.time, given.plasma, start, end, [0.0])[:, 0]
    if model == "Patlak":
        plasma = curve_means(given.time, given.plasma, start, end)
        below = np.where(plasma > 0, plasma, np.nan)
        return np.broadcast_to(area / below, curves.shape), curves / below
    below = np.where(curves > 0, curves, np.nan)
    return area / below, curves @ integral_operator(start, end, integrals).T / below


def choose_tstar(model, curves, frames, given, *, limit=0.1, integrals="frame_means"):
    """Smallest t* from which all curves are linear; see `linear_models.choose_tstar`."""

    def make(tstar):
        return prepare_linear(model, frames, given, tstar_min=tstar, integrals=integrals)

    return linear_models.first_linear(model, curves, frames, make, limit)


def cmrglc(ki, glucose_mmol_l, lumped_constant=0.65):
    """Metabolic rate of glucose from the net influx of FDG.

    Parameters
    ----------
    ki : array-like
        mL/cm3/min.
    glucose_mmol_l : float
        Plasma glucose.
    lumped_constant : float
        Uptake of FDG relative to glucose; 0.65 is common, 0.52 and 0.89 are also in use: it is always written out.

    Returns
    -------
    numpy.ndarray
        umol/100 mL/min (Sokoloff et al. 1977, J Neurochem 28:897).

    Examples
    --------
    >>> float(cmrglc(0.03, 5.2, 0.65))
    24.0
    """
    return np.asarray(ki, float) * glucose_mmol_l / lumped_constant * 100.0
