"""Reference-tissue models that are linear in their parameters, for regions and for whole images.

With ``int`` the integral from injection, C the target and R the reference:

* MRTM1 ``C = g1 int R + g2 int C + g3 R`` and MRTM2 ``C = g1 (int R + R/k2') + g2 int C`` (Ichise et al. 2003, J Cereb
  Blood Flow Metab 23:1096): ``BPND = -g1/g2 - 1``, ``k2 = g1``, ``k2a = -g2``; MRTM1 has ``R1 = g3`` and
  ``k2' = g1/g3``, MRTM2 has ``R1 = g1/k2'``.
* Reference Logan ``int C/C = DVR (int R + R/k2')/C + b`` (Logan et al. 1996, J Cereb Blood Flow Metab 16:834) and its
  multilinear form ``int C = DVR (int R + R/k2') + b C`` (Turkheimer et al. 2003, IEEE Trans Med Imaging 22:289), from t*
  on: ``BPND = DVR - 1``.
* Reference Patlak ``C/R = Kref int R/R + b`` (Patlak & Blasberg 1985, J Cereb Blood Flow Metab 5:584), from t* on.
* Logan, MA1 and Patlak with a plasma input are the same equations with the input in place of R and without the k2'
  term; see `plasma_models.prepare_linear`.

Frames enter when their mid time is at or after t*. In an image only one regressor belongs to the voxel; what is common
is projected out beforehand (Frisch-Waugh), so that a chunk of voxels costs two matrix products.
"""

from dataclasses import dataclass

import numpy as np

from neurobraid.pet import diagnostics
from neurobraid.pet.integrals import integral_operator

CHUNK = 8192
MIN_FRAMES = 5
MAX_START_MIN = 5.0
"""A scan that starts later after injection has not seen the input, so that its integrals are not known."""

PARAMETERS = {
    "MRTM1": ("R1", "k2", "k2a", "k2prime", "BPND"),
    "MRTM2": ("R1", "k2", "k2a", "BPND"),
    "refLogan": ("BPND", "intercept"),
    "refmlLogan": ("k2a", "BPND", "intercept"),
    "refPatlak": ("Kref", "intercept"),
}
"""What each model estimates; k2' of MRTM2 and of the Logan forms is given."""

PLASMA = {"Logan": ("VT", "intercept"), "MA1": ("VT", "intercept"), "Patlak": ("Ki", "intercept")}
"""Models of a plasma input, prepared by `plasma_models.prepare_linear`."""

FORMS = {"Logan": "refLogan", "MA1": "MRTM2", "Patlak": "refPatlak"}
"""The reference model that has the equations of a plasma model."""

MAIN = dict.fromkeys(PARAMETERS, "BPND") | {"refPatlak": "Kref", "Logan": "VT", "MA1": "VT", "Patlak": "Ki"}
NEEDS_K2PRIME = ("MRTM2", "refLogan", "refmlLogan")
GRAPHICAL = ("refLogan", "refPatlak")
UNITS = {
    "R1": "1",
    "k2": "1/min",
    "k2a": "1/min",
    "k2prime": "1/min",
    "BPND": "1",
    "Kref": "1/min",
    "VT": "mL/cm3",
    "Ki": "mL/cm3/min",
}
SOURCES = {
    "MRTM1": "Ichise et al. 2003",
    "MRTM2": "Ichise et al. 2003",
    "refLogan": "Logan et al. 1996",
    "refmlLogan": "Logan et al. 1996; Turkheimer et al. 2003",
    "refPatlak": "Patlak & Blasberg 1985",
}


def refusal(model, frames, tstar_min=0.0):
    """Reason why a scan's frames cannot carry a model, or an empty string."""
    if frames.start[0] > MAX_START_MIN * 60:
        return f"first frame {frames.start[0] / 60:.1f} min after injection; {model} needs data from {MAX_START_MIN:g} min"
    used = int((frames.mid / 60.0 >= tstar_min - 1e-9).sum())
    needed = max(MIN_FRAMES, len(_columns(model)) + 2)
    if used < needed:
        return (
            f"{used} frames at or after t* = {tstar_min:g} min (the scan ends {frames.end[-1] / 60:.1f} min after "
            f"injection); {model} needs at least {needed}"
        )
    return ""


def _columns(model):
    return ("g1", "g2", "g3") if model == "MRTM1" else ("g1", "g2")


@dataclass(frozen=True)
class Linear:
    """What all curves of a scan share.

    Attributes
    ----------
    model : str
    used : numpy.ndarray of int, (U,)
        Frames at or after t*.
    mid : numpy.ndarray, (U,)
        Their mid times, min after injection.
    operator : numpy.ndarray, (U, F)
        Running integral, see `integrals.integral_operator`.
    reference, integral : numpy.ndarray, (U,)
        Reference curve and its integral.
    weights : numpy.ndarray, (U,)
        Of the equations in the fit; 1 in the graphical models.
    noise : numpy.ndarray, (F,)
        Relative variance of every frame mean, used or not.
    k2prime : float
        NaN where the model has none.
    tstar_min : float
    k2a : tuple of float
        Range of k2a that counts as a measurement, 1/min.
    """

    model: str
    used: np.ndarray
    mid: np.ndarray
    operator: np.ndarray
    reference: np.ndarray
    integral: np.ndarray
    weights: np.ndarray
    noise: np.ndarray
    k2prime: float
    tstar_min: float
    k2a: tuple

    @property
    def form(self):
        """The model whose equations these are, see `FORMS`."""
        return FORMS.get(self.model, self.model)

    @property
    def delivered(self):
        """``int R + R/k2'``, the abscissa of the Logan forms and of MRTM2, kBq/mL min."""
        return self.integral + self.reference / self.k2prime


def prepare(
    model, frames, reference, weights=None, *, k2prime=None, tstar_min=0.0, integrals="frame_means", k2a=(0.006, 0.6)
):  # fmt: skip
    """Bring together what all curves of a scan share.

    Parameters
    ----------
    model : str
        Of `PARAMETERS`.
    frames : Frames
    reference : array-like, (F,)
        Reference curve, decay-corrected frame means, kBq/mL.
    weights : array-like, (F,), optional
        Inverse variances of the frame means, default uniform. Lines through plots are fitted without weights, as is
        usual, because a ratio has another variance; their standard errors use them.
    k2prime : float, optional
        Efflux of the reference, 1/min; models of `NEEDS_K2PRIME` need it.
    tstar_min : float
        Minutes after injection; a frame is in when its mid time is at or after it.
    integrals : str
        See `integrals.integral_operator`.
    k2a : (float, float)
        A k2a outside is flagged, 1/min.

    Returns
    -------
    Linear

    Raises
    ------
    ValueError
        Unknown model, no k2' where one is needed, a reference that is not finite or not positive in the frames used,
        or `refusal` has a reason.
    """
    if model not in PARAMETERS:
        raise ValueError(f"unknown model {model!r}: {', '.join(PARAMETERS)}")
    reason = refusal(model, frames, tstar_min)
    if reason:
        raise ValueError(reason)
    if model in NEEDS_K2PRIME and not (k2prime is not None and np.isfinite(k2prime) and k2prime > 0):
        raise ValueError(f"{model} needs a positive k2', found {k2prime}")
    reference = np.asarray(reference, float)
    if not np.isfinite(reference).all() or reference.max() <= 0:
        raise ValueError("the reference curve must be finite and somewhere positive")
    used = np.flatnonzero(frames.mid / 60.0 >= tstar_min - 1e-9)
    if model == "refPatlak" and reference[used].min() <= 0:
        raise ValueError("the reference curve must be positive in every frame used by refPatlak")
    whole = integral_operator(frames.start / 60.0, frames.end / 60.0, integrals)
    weights = np.ones(len(frames)) if weights is None else np.asarray(weights, float)
    # a frame of weight 0 is left out of the fit, but stays in the integrals
    noise = 1.0 / np.maximum(weights, 0.01 * weights.mean())
    return Linear(
        model,
        used,
        frames.mid[used] / 60.0,
        whole[used],
        reference[used],
        (whole @ reference)[used],
        np.ones(len(used)) if model in GRAPHICAL else weights[used],
        noise,
        float("nan") if k2prime is None else float(k2prime),
        float(tstar_min),
        tuple(k2a),
    )


def _equations(curves, shared):
    """Response (N, U) and regressors (N, U, p) of curves (N, F); what the voxel owns is the last but in MRTM1."""
    own = curves[:, shared.used]
    area = curves @ shared.operator.T
    same = np.ones_like(own)
    if shared.form == "MRTM1":
        return own, np.stack([shared.integral * same, area, shared.reference * same], axis=2)
    if shared.form == "MRTM2":
        return own, np.stack([shared.delivered * same, area], axis=2)
    if shared.form == "refmlLogan":
        return area, np.stack([shared.delivered * same, own], axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        if shared.form == "refLogan":
            return area / own, np.stack([shared.delivered / own, same], axis=2)
        return own / shared.reference, np.stack([shared.integral / shared.reference * same, same], axis=2)


def _parameters(g, shared):
    """Parameters by name from coefficients (..., p), and their derivatives (..., p)."""
    if shared.model in PLASMA:
        return _plasma_parameters(g, shared)
    first, second = g[..., 0], g[..., 1]
    zero, one = np.zeros_like(first), np.ones_like(first)

    def row(*parts):
        return np.stack(parts, axis=-1)

    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = -first / second
        if shared.form == "MRTM1":
            third = g[..., 2]
            return {
                "R1": (third, row(zero, zero, one)),
                "k2": (first, row(one, zero, zero)),
                "k2a": (-second, row(zero, -one, zero)),
                "k2prime": (first / third, row(1 / third, zero, -first / third**2)),
                "BPND": (ratio - 1, row(-1 / second, first / second**2, zero)),
            }
        if shared.form == "MRTM2":
            return {
                "R1": (first / shared.k2prime, row(one / shared.k2prime, zero)),
                "k2": (first, row(one, zero)),
                "k2a": (-second, row(zero, -one)),
                "BPND": (ratio - 1, row(-1 / second, first / second**2)),
            }
        if shared.form == "refPatlak":
            return {"Kref": (first, row(one, zero)), "intercept": (second, row(zero, one))}
        found = {"BPND": (first - 1, row(one, zero)), "intercept": (second, row(zero, one))}
        if shared.model == "refmlLogan":
            found["k2a"] = (-1 / second, row(zero, second**-2))
        return found


def _plasma_parameters(g, shared):
    """`_parameters` of Logan, MA1 and Patlak with a plasma input."""
    first, second = g[..., 0], g[..., 1]
    zero, one = np.zeros_like(first), np.ones_like(first)
    if shared.model == "MA1":
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "VT": (-first / second, np.stack([-1 / second, first / second**2], axis=-1)),
                "intercept": (1 / second, np.stack([zero, -(second**-2)], axis=-1)),
            }
    return {
        MAIN[shared.model]: (first, np.stack([one, zero], axis=-1)),
        "intercept": (second, np.stack([zero, one], axis=-1)),
    }


def _flags(table, shared, curves, usable):
    """Reasons against a fit, the most serious first."""
    low, high = shared.k2a
    found = []
    if shared.form == "refLogan":
        known = np.isfinite(curves).all(axis=1) & curves.any(axis=1)
        found.append((known & (curves[:, shared.used].min(axis=1) <= 0), "activity not positive after t*"))
    if "k2a" in table:
        k2a = table["k2a"].to_numpy(float)
        found += [
            (k2a <= 0, "k2a not positive"),
            ((k2a > 0) & (k2a < low), "k2a at lower bound"),
            (k2a > high, "k2a at upper bound"),
        ]
    if "BPND" in table:
        found.append((table["BPND"].to_numpy(float) <= -1, "BPND not above -1"))
    if "VT" in table:
        found.append((table["VT"].to_numpy(float) <= 0, "VT not positive"))
    found.append(
        (
            usable & table[MAIN[shared.model]].isna().to_numpy(),
            f"collinear with the {'input' if shared.model in PLASMA else 'reference'}",
        )
    )
    return found


def fit_regions(curves, shared):
    """Fit a model to regional curves in double precision, with standard errors.

    Parameters
    ----------
    curves : array-like, (N, F)
        Decay-corrected frame means; rows with NaN or without activity give NaN.
    shared : Linear

    Returns
    -------
    table : pandas.DataFrame
        One row per curve: the parameters of the model, their standard errors ``<name>_se`` (first order), ``residual_sd``
        (of a frame of mean weight, in the units of the model's left side), ``max_residual`` (largest residual relative
        to the fit), ``runs_p``, ``undetermined`` and ``flag``; see `diagnostics.assess`. Standard errors carry
        the noise of the frames through the integrals; noise of the reference and of k2' is left out.
    fitted : numpy.ndarray, (N, F)
        Curves of the model, kBq/mL; NaN before t* and where there is no fit. Where the left side is an integral or a
        ratio, it is the curve that would lie on the line with the integrals measured.
    """
    import pandas as pd

    curves = np.atleast_2d(np.asarray(curves, float))
    names = (PARAMETERS | PLASMA)[shared.model]
    columns = [*names, *(f"{n}_se" for n in names), "residual_sd", "max_residual"]
    table = pd.DataFrame(np.nan, index=range(len(curves)), columns=columns)
    fitted = np.full_like(curves, np.nan)
    weighted = np.full((len(curves), len(shared.used)), np.nan)
    usable = np.isfinite(curves).all(axis=1) & (np.abs(np.nan_to_num(curves)).max(axis=1, initial=0) > 0)
    if shared.form == "refLogan":
        usable &= (np.nan_to_num(curves[:, shared.used]) > 0).all(axis=1)
    if usable.any():
        y, x = _equations(curves[usable], shared)
        g, pull, estimate = _solve(y, x, shared.weights)
        covariance = _covariance(y, x, g, pull, estimate, curves[usable], shared)
        for name, (value, slope) in _parameters(g, shared).items():
            table.loc[usable, name] = value
            table.loc[usable, f"{name}_se"] = np.sqrt(
                np.einsum("ni,nij,nj->n", slope, covariance, slope).clip(0)
            )
        residual = y - estimate
        weighted[usable] = residual * np.sqrt(shared.weights)
        freedom = y.shape[1] - x.shape[2]
        mean_weight = shared.weights.mean()
        table.loc[usable, "residual_sd"] = np.sqrt(
            (weighted[usable] ** 2).sum(axis=1) / freedom / mean_weight
        )
        table.loc[usable, "max_residual"] = relative_residual(y, estimate)
        fitted[np.ix_(usable, shared.used)] = _curve(curves[usable], g, estimate, shared)
    return diagnostics.assess(
        table, weighted, names, MAIN[shared.model], _flags(table, shared, curves, usable)
    ), fitted


def relative_residual(y, estimate):
    """Largest residual of each row (N, U) relative to the fit; infinite where the fit is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.abs((y - estimate) / estimate).max(axis=1)


def _solve(y, x, weights):
    """Weighted least squares of many small systems.

    Returns coefficients (N, p), the matrices that give them from the responses (N, p, U), and the fits (N, U); NaN where
    regressors are collinear.
    """
    root = np.sqrt(weights)
    a = x * root[:, None]
    # columns differ by orders of magnitude
    size = np.linalg.norm(a, axis=1)
    q, r = np.linalg.qr(a / size[:, None, :])
    diagonal = np.abs(np.einsum("nii->ni", r))
    singular = ~(diagonal.min(axis=1) > 1e-9)
    r[singular] = np.eye(r.shape[1])
    pull = np.einsum("nij,nuj,u->niu", np.linalg.inv(r), q, root) / size[:, :, None]
    pull[singular] = np.nan
    g = np.einsum("niu,nu->ni", pull, y)
    return g, pull, np.einsum("nui,ni->nu", x, g)


def _covariance(y, x, g, pull, estimate, curves, shared):
    """Covariance (N, p, p) of the coefficients by carrying the noise of the frames through the estimator.

    Noise of a frame is in the response, in later integrals and in denominators; taking the equations' errors as
    independent would make the standard errors of MRTM1 a third too small.
    """
    pick = np.zeros_like(shared.operator)
    pick[np.arange(len(shared.used)), shared.used] = 1.0
    second = g[:, 1, None, None]
    # error of each equation per error of each frame, (N, U, F)
    if shared.form in ("MRTM1", "MRTM2"):
        errors = pick - second * shared.operator
    elif shared.form == "refPatlak":
        errors = np.broadcast_to(pick / shared.reference[:, None], (len(y), *pick.shape))
    else:
        errors = shared.operator - second * pick
        if shared.form == "refLogan":
            errors = errors / curves[:, shared.used, None]
    moved = np.einsum("niu,nuf->nif", pull, errors)
    left = errors - np.einsum("nui,nif->nuf", x, moved)
    expected = np.einsum("u,nuf,f->n", shared.weights, left**2, shared.noise)
    variance = ((y - estimate) ** 2 @ shared.weights) / expected
    return np.einsum("nif,f,njf,n->nij", moved, shared.noise, moved, variance, optimize=True)


def _curve(curves, g, estimate, shared):
    if shared.form in ("MRTM1", "MRTM2"):
        return estimate
    if shared.form == "refPatlak":
        return estimate * shared.reference
    area = curves @ shared.operator.T
    with np.errstate(divide="ignore", invalid="ignore"):
        if shared.form == "refLogan":
            return area / estimate
        return (area - g[:, :1] * shared.delivered) / g[:, 1:]


def plot_points(model, curves, frames, reference, *, k2prime=None, integrals="frame_means"):
    """Points of a graphical model in all frames, those before t* too.

    Parameters
    ----------
    model : str
        Of `GRAPHICAL`.
    curves : array-like, (N, F)
    frames, reference, k2prime, integrals
        See `prepare`.

    Returns
    -------
    x, y : numpy.ndarray, (N, F)
        min for Logan; Patlak has x in min and y without unit. NaN where the denominator is not positive.
    """
    curves, reference = np.atleast_2d(np.asarray(curves, float)), np.asarray(reference, float)
    operator = integral_operator(frames.start / 60.0, frames.end / 60.0, integrals)
    if model == "refLogan":
        below = np.where(curves > 0, curves, np.nan)
        return (operator @ reference + reference / k2prime) / below, curves @ operator.T / below
    below = np.where(reference > 0, reference, np.nan)
    return np.broadcast_to(operator @ reference / below, curves.shape), curves / below


def choose_tstar(model, curves, frames, reference, *, limit=0.1, k2prime=None, integrals="frame_means"):
    """Smallest t* from which all curves are linear.

    Parameters
    ----------
    model : str
        refLogan, refmlLogan or refPatlak.
    curves : array-like, (N, F)
        Curves of the regions tested; those with NaN are left out.
    frames, reference, k2prime, integrals
        See `prepare`.
    limit : float
        Largest residual allowed, relative to the fit.

    Returns
    -------
    tstar_min : float
        A mid-frame time (min after injection, rounded down to 0.001 min). Where no t* meets the limit: the last that
        leaves `MIN_FRAMES` frames. NaN where no t* can be tested.
    worst : float
        Largest relative residual at that t*.
    """

    def make(tstar):
        return prepare(model, frames, reference, k2prime=k2prime, tstar_min=tstar, integrals=integrals)

    return first_linear(model, curves, frames, make, limit)


def first_linear(model, curves, frames, make, limit=0.1):
    """`choose_tstar` of a model that `make` prepares.

    Parameters
    ----------
    model, curves, frames, limit
        See `choose_tstar`.
    make : callable
        t* (min) to `Linear`; may raise ValueError where that t* cannot be fitted.
    """
    curves = np.atleast_2d(np.asarray(curves, float))
    curves = curves[np.isfinite(curves).all(axis=1)]
    found, worst = float("nan"), float("nan")
    for mid in frames.mid / 60.0:
        tstar = float(np.floor(mid * 1000) / 1000)
        if mid <= 0 or refusal(model, frames, tstar):
            continue
        try:
            shared = make(tstar)
        except ValueError:
            continue
        y, x = _equations(curves, shared)
        good = np.isfinite(y).all(axis=1) & np.isfinite(x).all(axis=(1, 2))
        if shared.form == "refLogan":
            good &= (curves[:, shared.used] > 0).all(axis=1)
        if not good.any():
            continue
        _, _, estimate = _solve(y[good], x[good], shared.weights)
        residual = relative_residual(y[good], estimate)
        if not np.isfinite(residual).any():
            continue
        found, worst = tstar, float(np.nanmax(residual))
        if worst <= limit and good.all():
            break
    return found, worst


def fit_voxels(curves, shared, *, chunk=CHUNK):
    """Fit a model to many curves in single precision.

    Parameters
    ----------
    curves : numpy.ndarray, (V, F)
        Decay-corrected frame means, one row per voxel; float32 is used as it is.
    shared : Linear
    chunk : int
        Voxels at a time.

    Returns
    -------
    dict of numpy.ndarray, (V,), float32
        The parameters of the model, ``residual_variance`` (weighted, of the model's left side) and ``edge`` (int8: -1 or
        1 where k2a is below or above its range; 0 where the model has none). NaN where a curve is not finite or
        nowhere different from zero, where k2a or 1 + BPND is not positive, and for Logan where the activity is
        not positive in every frame used.
    """
    names = (PARAMETERS | PLASMA)[shared.model]
    count = len(curves)
    result = {name: np.full(count, np.nan, np.float32) for name in (*names, "residual_variance")}
    result["edge"] = np.zeros(count, np.int8)
    solve = _logan if shared.form == "refLogan" else _projected(shared)
    for begin in range(0, count, chunk):
        part = np.ascontiguousarray(curves[begin : begin + chunk], np.float32)
        where = slice(begin, begin + len(part))
        usable = np.isfinite(part.sum(axis=1)) & part.any(axis=1)
        if not usable.all():
            part = np.where(usable[:, None], part, np.float32(0))
        g, variance, good = solve(part, shared)
        values = {name: value for name, (value, _) in _parameters(g, shared).items()}
        good &= usable
        if "k2a" in values:
            good &= values["k2a"] > 0
            low, high = shared.k2a
            edge = np.where(values["k2a"] < low, -1, np.where(values["k2a"] > high, 1, 0))
            result["edge"][where] = np.where(good, edge, 0)
        if "BPND" in values:
            good &= values["BPND"] > -1
        if "VT" in values:
            good &= values["VT"] > 0
        for name, value in (*values.items(), ("residual_variance", variance)):
            result[name][where] = np.where(good & np.isfinite(value), value, np.nan)
    return result


def _projected(shared):
    """Solver for models in which one regressor is the voxel's own, or none.

    The common regressors are projected out of response and own regressor; what is left is a division. All of it acts
    linearly on the voxel's frame means, so that two matrices hold the whole model.
    """
    root = np.sqrt(shared.weights)[:, None]
    pick = np.zeros_like(shared.operator)
    pick[np.arange(len(shared.used)), shared.used] = 1.0
    response, own = pick, shared.operator
    if shared.form == "MRTM1":
        common, order = np.stack([shared.integral, shared.reference], 1), [0, 2, 1]
    elif shared.form == "MRTM2":
        common, order = shared.delivered[:, None], [0, 1]
    elif shared.form == "refmlLogan":
        common, order = shared.delivered[:, None], [0, 1]
        response, own = shared.operator, pick
    else:
        common = np.stack([shared.integral / shared.reference, np.ones(len(shared.used))], 1)
        response, own, order = pick / shared.reference[:, None], None, [0, 1]
    size = np.linalg.norm(common * root, axis=0)
    q, r = np.linalg.qr(common * root / size)
    back = np.linalg.inv(r) / size[:, None]
    freedom = len(shared.used) - len(order)

    def halves(operator):
        weighted = operator * root
        along = q.T @ weighted
        return weighted - q @ along, back @ along

    # an orthonormal basis of what is left has p rows less, and keeps rounding where the signal is
    rest = np.linalg.svd(np.eye(len(root)) - q @ q.T)[0][:, : len(root) - q.shape[1]].T
    across, along = halves(response)
    parts = [(rest @ across).T, along.T]
    if own is not None:
        across_own, along_own = halves(own)
        parts += [(rest @ across_own).T, along_own.T]
    parts = [np.ascontiguousarray(part, np.float32) for part in parts]

    def solve(curves, shared):
        left = curves @ parts[0]
        power = np.einsum("nu,nu->n", left, left)
        fixed = curves @ parts[1]
        good = np.ones(len(curves), bool)
        if own is None:
            return fixed, power / freedom, good
        right = curves @ parts[2]
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.einsum("nu,nu->n", left, right) / np.einsum("nu,nu->n", right, right)
            explained = slope * np.einsum("nu,nu->n", left, right)
        good &= np.isfinite(slope)
        coefficients = fixed - slope[:, None] * (curves @ parts[3])
        g = np.concatenate([coefficients, slope[:, None]], axis=1)[:, order]
        return g, (power - explained).clip(0) / freedom, good

    return solve


def _logan(curves, shared):
    """Logan plot of a chunk: slope and intercept of a line whose abscissa and ordinate are both the voxel's own."""
    own = curves[:, shared.used]
    good = (own > 0).all(axis=1)
    inverse = np.float32(1) / np.where(good[:, None], own, np.float32(1))
    y = (curves @ shared.operator.T.astype(np.float32)) * inverse
    x = shared.delivered.astype(np.float32) * inverse
    # centred before products are summed: abscissae reach hundreds of minutes
    x_mean, y_mean = x.mean(axis=1), y.mean(axis=1)
    x -= x_mean[:, None]
    y -= y_mean[:, None]
    xy = np.einsum("nu,nu->n", x, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = xy / np.einsum("nu,nu->n", x, x)
    power = np.einsum("nu,nu->n", y, y)
    g = np.stack([slope, y_mean - slope * x_mean], axis=1)
    return g, (power - slope * xy).clip(0) / (len(shared.used) - 2), good & np.isfinite(slope)
