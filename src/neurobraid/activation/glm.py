"""The general linear model of a run with autoregressive noise of any order, on a matrix of voxels."""

from dataclasses import dataclass

import numpy as np

from neurobraid.errors import InputError

BINS = 100
LAGS = 5
LIMIT = 0.95
"""Largest partial autocorrelation: a noise model beyond it would no longer be stationary."""
FAST_TR_S = 1.5
FAST_ORDER = 3
"""Order of the noise model below `FAST_TR_S`: first order leaves autocorrelation there (Olszowy et al. 2019)."""
_CHUNK = 16384
_CHUNK_AR = 2048


@dataclass(frozen=True)
class Fit:
    """Contrast estimates of a fitted model.

    Attributes
    ----------
    effect, variance : numpy.ndarray, (C, V), float64
        Contrast of estimates and its sampling variance.
    dof : int
        Residual degrees of freedom.
    rho : numpy.ndarray, (V,) or (V, N)
        Coefficients of the noise model used for whitening.
    acf, acf_before : numpy.ndarray, (LAGS, V)
        Autocorrelation at lags 1, 2, … of the whitened residuals and of those of ordinary least squares.
    joint : list of (numpy.ndarray, numpy.ndarray)
        By F contrast: effects (Q, V) and their covariance (Q, Q, V).
    """

    effect: np.ndarray
    variance: np.ndarray
    dof: int
    rho: np.ndarray
    acf: np.ndarray
    acf_before: np.ndarray
    joint: list

    @property
    def whiteness(self):
        """Mean of `acf` over voxels: near 0 (slightly below) if the noise model fits."""
        moving = (self.acf != 0).any(0)
        return self.acf[:, moving].mean(1) if moving.any() else np.zeros(LAGS)

    @property
    def t(self):
        """Effect over its standard error; 0 where the variance is 0."""
        return ratio(self.effect, np.sqrt(self.variance))

    @property
    def z(self):
        """`t` on the scale of a standard normal variable."""
        return t_to_z(self.t, self.dof)


def ratio(numerator, denominator):
    """Quotient, 0 where the denominator is not positive."""
    out = np.zeros(np.broadcast(numerator, denominator).shape)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


def t_to_z(t, dof):
    """Normal deviate with the same tail probability as a t value.

    Parameters
    ----------
    t : numpy.ndarray
    dof : float or numpy.ndarray
        Degrees of freedom.

    Returns
    -------
    numpy.ndarray
        Computed in the tail, so that large values keep their order; limited to +-38 where float64 ends.
    """
    from scipy.special import ndtri, stdtr

    tail = np.maximum(stdtr(dof, -np.abs(t)), 1e-310)
    return -np.sign(t) * ndtri(tail)


def f_statistic(effect, covariance):
    """F statistic of several contrasts at once: mean square of the effects in units of their covariance.

    Parameters
    ----------
    effect : numpy.ndarray, (Q, V)
    covariance : numpy.ndarray, (Q, Q, V)

    Returns
    -------
    numpy.ndarray, (V,)
        0 where the covariance is 0.
    """
    inverse = np.linalg.pinv(np.moveaxis(covariance, -1, 0), hermitian=True)
    return np.einsum("qv,vqr,rv->v", effect, inverse, effect) / len(effect)


def f_to_z(f, q, dof):
    """Normal deviate with the same upper tail probability as an F value with `q` and `dof` degrees of freedom."""
    from scipy.special import fdtrc, ndtri

    return -ndtri(np.clip(fdtrc(q, dof, np.maximum(f, 0.0)), 1e-310, 1.0 - 1e-16))


def noise_order(noise_model, tr):
    """Order of the autoregressive noise model.

    Parameters
    ----------
    noise_model : str
        ols, ar1, ar2, …, or auto: first order for repetition times from 1.5 s, third order below.
    tr : float
        Repetition time in s.

    Returns
    -------
    int
        0 for ols.
    """
    if noise_model == "auto":
        return 1 if tr >= FAST_TR_S else FAST_ORDER
    if noise_model == "ols":
        return 0
    if noise_model[:2] == "ar" and noise_model[2:].isdigit() and int(noise_model[2:]) > 0:
        return int(noise_model[2:])
    raise InputError(
        "config", "activation.noise_model", noise_model, "auto, ols, ar1, ar2, …", "choose one of these"
    )


def _project(design):
    """Pseudo-inverse and inverse information matrix of a design."""
    inverse = np.linalg.pinv(design)
    return inverse, inverse @ inverse.T


def _whiten(values, rho):
    out = values.copy()
    out[1:] -= rho * values[:-1]
    return out


def _whiten_each(values, coefficients):
    """Whiten every column of (T, V) by its own coefficients (V, N)."""
    out = values.copy()
    for lag, weight in enumerate(coefficients.T, 1):
        out[lag:] -= weight * values[:-lag]
    return out


def _lagged(values):
    """Autocorrelation of each column at lags 1 to LAGS; 0 for a constant column. Modifies `values`."""
    square = np.einsum("tv,tv->v", values, values)
    values *= np.where(square > 0, 1.0 / np.sqrt(np.maximum(square, 1e-300)), 0.0)
    return np.stack([np.einsum("tv,tv->v", values[:-k], values[k:]) for k in range(1, LAGS + 1)])


def _expected_products(design, order):
    """Matrix that turns the noise's autocovariances into expected sums of lagged products of its residuals.

    Returns
    -------
    numpy.ndarray, (order + 1, order + 1)
    """
    n = len(design)
    basis = np.linalg.qr(design)[0]
    residual = np.eye(n) - basis @ basis.T
    out = np.empty((order + 1, order + 1))
    for column in range(order + 1):
        shape = np.eye(n, k=column)
        spread = residual @ (shape + shape.T if column else shape) @ residual
        out[:, column] = [np.trace(spread, offset=lag) for lag in range(order + 1)]
    return out


def autocorrelation(residuals, design=None):
    """Lag-1 autocorrelation of the noise from residuals.

    Parameters
    ----------
    residuals : numpy.ndarray, (T, V)
        Of ordinary least squares.
    design : numpy.ndarray, (T, P), optional
        Corrects for what the regressors took out of the noise (Worsley et al. 2002, NeuroImage 15:1, appendix A):
        fitting removes slow noise, so residuals look whiter than the noise was and tests become too liberal.
        Without it, Yule-Walker as in nilearn.

    Returns
    -------
    numpy.ndarray, (V,)
        Within +-.95.
    """
    n = len(residuals)
    zero = np.einsum("tv,tv->v", residuals, residuals)
    one = np.einsum("tv,tv->v", residuals[:-1], residuals[1:])
    if design is None:
        return ratio(one / (n - 1), zero / n)
    variance, covariance = np.linalg.solve(_expected_products(design, 1), np.stack([zero, one]))
    return np.clip(ratio(covariance, variance), -LIMIT, LIMIT)


def autoregression(residuals, order, expected=None):
    """Coefficients of an autoregressive noise model of any order, for every voxel.

    Lagged products of the residuals, corrected for the design as in Worsley et al. 2002 (NeuroImage 15:1, appendix A),
    then the recursion of Levinson and Durbin. Every voxel keeps its own coefficients: nothing is clustered, so
    nothing is random.

    Parameters
    ----------
    residuals : numpy.ndarray, (T, V)
        Of ordinary least squares.
    order : int
    expected : numpy.ndarray, (order + 1, order + 1), optional
        Of the design; without it no correction (Yule-Walker).

    Returns
    -------
    numpy.ndarray, (V, order)
        Of a stationary process: partial autocorrelations are kept within +-.95.
    """
    n = len(residuals)
    sums = np.stack(
        [np.einsum("tv,tv->v", residuals[: n - lag], residuals[lag:]) for lag in range(order + 1)]
    )
    moments = sums / n if expected is None else np.linalg.solve(expected, sums)
    shape = ratio(moments, np.broadcast_to(np.maximum(moments[0], 0.0), moments.shape))
    coefficients = np.zeros((order, residuals.shape[1]))
    error = np.ones(residuals.shape[1])
    for k in range(order):
        before = coefficients[:k].copy()
        gap = shape[k + 1] - np.einsum("kv,kv->v", before, shape[k:0:-1]) if k else shape[1]
        reflection = np.clip(ratio(gap, error), -LIMIT, LIMIT)
        coefficients[k] = reflection
        coefficients[:k] = before - reflection * before[::-1]
        error = error * (1.0 - reflection**2)
    return coefficients.T


def fit(series, design, contrasts, noise_model="ar1", *, correct_bias=True, joint=()):
    """Fit the model to every voxel and evaluate contrasts.

    First order: ordinary least squares, lag-1 autocorrelation of the residuals in steps of .01, whitening and a second
    fit for each value. With `correct_bias` off this is nilearn's ``run_glm``; with it on the autocorrelation is corrected
    for the design, which brings the false positive rate of a run of 120 volumes with 15 regressors at p < .001 from
    .004 to .0017 (tests/unit/activation/test_glm.py). Higher orders: every voxel is whitened by its own
    coefficients, exactly; there is no clustering and therefore no seed.

    Parameters
    ----------
    series : numpy.ndarray, (T, V)
        float32 or float64; the arithmetic is float64.
    design : numpy.ndarray, (T, P)
        Full column rank.
    contrasts : numpy.ndarray, (C, P)
        One row per t contrast; may have no row.
    noise_model : str
        ols, ar1, ar2, …
    correct_bias : bool
    joint : sequence of numpy.ndarray, (Q, P)
        F contrasts.

    Returns
    -------
    Fit
    """
    order = noise_order(noise_model, np.inf)
    design = np.asarray(design, np.float64)
    width = design.shape[1]
    blocks = [np.asarray(contrasts, np.float64).reshape(-1, width)]
    blocks += [np.atleast_2d(np.asarray(block, np.float64)) for block in joint]
    rows = np.concatenate(blocks)
    solve = _fit_high_order if order > 1 else _fit_first_order
    effect, spread, dof, rho, acf, before = solve(series, design, rows, order, correct_bias)
    # spread is the covariance of all rows: (rows, rows, V) for pairs within one block
    count = len(blocks[0])
    pieces, place = [], count
    for block in blocks[1:]:
        part = slice(place, place + len(block))
        pieces.append((effect[part], spread(part)))
        place += len(block)
    variance = np.stack([spread(slice(k, k + 1))[0, 0] for k in range(count)]) if count else effect[:0]
    return Fit(effect[:count], variance, dof, rho, acf, before, pieces)


def _fit_first_order(series, design, rows, order, correct_bias):
    n, width = design.shape
    voxels = series.shape[1]
    rho = np.zeros(voxels)
    before = np.zeros((LAGS, voxels))
    if order:
        basis = np.linalg.qr(design)[0]
        for start in range(0, voxels, _CHUNK):
            part = slice(start, start + _CHUNK)
            values = series[:, part].astype(np.float64)
            values -= basis @ (basis.T @ values)
            rho[part] = autocorrelation(values, design if correct_bias else None)
            before[:, part] = _lagged(values)
        rho = (np.rint(rho * BINS) if correct_bias else np.trunc(rho * BINS)) / BINS
    order_of = np.argsort(rho, kind="stable")
    bounds = np.flatnonzero(np.diff(rho[order_of])) + 1
    effect = np.empty((len(rows), voxels))
    sigma2 = np.empty(voxels)
    group_of = np.empty(voxels, np.intp)
    spreads = []
    acf = np.empty((LAGS, voxels))
    for group in np.split(order_of, bounds):
        if not len(group):
            continue
        value = rho[group[0]]
        model = _whiten(design, value)
        inverse, covariance = _project(model)
        group_of[group] = len(spreads)
        spreads.append(rows @ covariance @ rows.T)
        for start in range(0, len(group), _CHUNK):
            chosen = group[start : start + _CHUNK]
            white = _whiten(series[:, chosen].astype(np.float64), value)
            beta = inverse @ white
            white -= model @ beta
            sigma2[chosen] = np.einsum("tv,tv->v", white, white) / (n - width)
            effect[:, chosen] = rows @ beta
            acf[:, chosen] = _lagged(white)
    spreads = np.array(spreads)

    def spread(part):
        return np.moveaxis(spreads[:, part, part][group_of], 0, -1) * sigma2

    return effect, spread, n - width, rho, acf, before if order else acf


def _fit_high_order(series, design, rows, order, correct_bias):
    n, width = design.shape
    voxels = series.shape[1]
    basis, upper = np.linalg.qr(design)
    rows = np.linalg.solve(upper.T, rows.T).T
    expected = _expected_products(design, order) if correct_bias else None
    shifted = [np.vstack([np.zeros((lag, width)), basis[: n - lag]]) for lag in range(order + 1)]
    products = np.array([a.T @ b for a in shifted for b in shifted]).reshape(-1, width * width)
    effect = np.empty((len(rows), voxels))
    covariance = np.empty((voxels, len(rows), len(rows)))
    rho = np.empty((voxels, order))
    acf, before = np.empty((LAGS, voxels)), np.empty((LAGS, voxels))
    for start in range(0, voxels, _CHUNK_AR):
        part = slice(start, start + _CHUNK_AR)
        values = series[:, part].astype(np.float64)
        residual = values - basis @ (basis.T @ values)
        rho[part] = autoregression(residual, order, expected)
        before[:, part] = _lagged(residual)
        filters = np.column_stack([np.ones(len(rho[part])), -rho[part]])
        white = _whiten_each(values, rho[part])
        right = sum(filters[:, lag, None] * (white.T @ shifted[lag]) for lag in range(order + 1))
        pairs = (filters[:, :, None] * filters[:, None, :]).reshape(len(filters), -1)
        information = (pairs @ products).reshape(-1, width, width)
        both = np.concatenate([right[:, :, None], np.broadcast_to(rows.T, (len(right), *rows.T.shape))], 2)
        solved = np.linalg.solve(information, both)
        beta = solved[:, :, 0]
        white = _whiten_each(values - basis @ beta.T, rho[part])
        sigma2 = np.einsum("tv,tv->v", white, white) / (n - width)
        effect[:, part] = rows @ beta.T
        covariance[part] = np.matmul(rows, solved[:, :, 1:]) * sigma2[:, None, None]
        acf[:, part] = _lagged(white)

    def spread(part):
        return np.moveaxis(covariance[:, part, part], 0, -1)

    return effect, spread, n - width, rho, acf, before
