"""Amplitude of a response that may come early or late: response and temporal derivative taken together.

A response that is shifted by a second is less of the model's response and more of its derivative. The estimate of the
response alone is then too small: by 5 to 20 % for short events. Calhoun et al. (2004,
NeuroImage 22:1029) take the length of the two together, with the sign of the response:

    A = sign(b1) sqrt(b1^2 + r^2 b2^2),    r = |x2| / |x1|

where x2, the derivative, is orthogonal to x1, the response, and r brings both to one norm: that of the part of the regressor
which the rest of the model (other conditions, drifts, confounds) does not explain, because an estimate comes from that part
alone (whitened, at the median noise of the run). A shift of a second leaves the amplitude 0 to 3 % too small, where b1 is 5 to
20 % too small; one of two seconds 5 to 22 %, where b1 is 19 to 65 % too small (12 designs of two conditions, events of 2 s at 2 to
20 s, noise with lag-1 correlation 0 to 0.6). It is never smaller than the estimate of the response, so that noise makes it too
large: by about 1 / (2 t^2) of itself, 5 % at t = 3.2. It is no linear function of the data and has no standard error here; a test of
it is one over participants. Its sign is not defined where the response is near 0.
"""

import numpy as np

NOTE = (
    "sign(b1) sqrt(b1^2 + r^2 b2^2) of response and temporal derivative, r the ratio of the norms of what the rest of the model leaves of their regressors (Calhoun et al. 2004); "
    "too large by about 1 / (2 t^2) of itself where noise is not small against the response"
)
UNIT = "percent signal change at the peak of the response to one epoch, wherever in time the peak lies"


def parts(design, wanted):
    """Rows of a fit from which the amplitudes of the t contrasts are made.

    Parameters
    ----------
    design : pandas.DataFrame, (T, P)
        With ``<condition>_derivative`` beside ``<condition>``, orthogonal to it.
    wanted : list of dict
        name, test, rows.

    Returns
    -------
    vectors : numpy.ndarray, (K, P)
        One row for each column that is needed, a response or its derivative.
    recipe : dict of str to list of (float, str, int, int or None)
        By t contrast and condition: weight, name, row of the response, row of the derivative (None: the column has none).
    """
    columns, rows, recipe = list(design.columns), {}, {}

    def row(name):
        return rows.setdefault(name, len(rows))

    for record in wanted:
        if record["test"] != "t":
            continue
        recipe[record["name"]] = [
            (weight, name, row(name), row(f"{name}_derivative") if f"{name}_derivative" in columns else None)
            for name, weight in record["rows"][0].items()
        ]
    vectors = np.zeros((len(rows), len(columns)))
    for name, at in rows.items():
        vectors[at, columns.index(name)] = 1.0
    return vectors, recipe


def whitened(values, coefficients):
    """Columns as a model of autoregressive noise sees them.

    Parameters
    ----------
    values : numpy.ndarray, (T, P)
    coefficients : sequence of float
        Of lags 1, 2, …

    Returns
    -------
    numpy.ndarray, (T - order, P)
    """
    order = len(coefficients)
    out = np.array(values[order:], np.float64)
    for lag, coefficient in enumerate(coefficients, 1):
        out -= coefficient * values[order - lag : len(values) - lag]
    return out


def norm_ratio(design, name, coefficients=()):
    """Norm of a derivative by that of its response, of what the rest of the whitened model leaves of them.

    Parameters
    ----------
    design : pandas.DataFrame, (T, P)
    name : str
        The response.
    coefficients : sequence of float
        Of the noise, see `whitened`.

    Returns
    -------
    float
    """
    columns = list(design.columns)
    pair = [columns.index(name), columns.index(f"{name}_derivative")]
    values = whitened(design.to_numpy(np.float64), coefficients)
    rest = np.delete(values, pair, axis=1)
    left = values[:, pair] - rest @ np.linalg.lstsq(rest, values[:, pair], rcond=None)[0]
    first, second = np.linalg.norm(left, axis=0)
    return float(second / max(first, 1e-300))


def combined(first, second):
    """Length of response and derivative with the sign of the response.

    Parameters
    ----------
    first, second : numpy.ndarray
        Estimates in the same unit.

    Returns
    -------
    numpy.ndarray
    """
    return np.sign(first) * np.hypot(first, second)


def amplitudes(effects, recipe, heights, design, coefficients=()):
    """Amplitude of every t contrast: the weighted sum of those of its conditions.

    Parameters
    ----------
    effects : numpy.ndarray, (K, V)
        Estimates of the rows of `parts`.
    recipe : dict
        From `parts`.
    heights : dict of str to list of float
        Response peak of every contrast, see `neurobraid.activation.first_level.contrast_rows`.
    design : pandas.DataFrame, (T, P)
    coefficients : sequence of float
        Of the noise: the median over voxels, so that one ratio serves the run.

    Returns
    -------
    dict of str to numpy.ndarray, (V,)
        Percent signal change.
    """
    found = {}
    for name, entries in recipe.items():
        found[name] = 0.0
        for weight, condition, first, second in entries:
            late = 0.0 if second is None else norm_ratio(design, condition, coefficients) * effects[second]
            found[name] = found[name] + heights[name][0] * weight * combined(effects[first], late)
    return found


def coefficients_of(fitted):
    """Median over voxels of a fit's noise coefficients, (order,); 0 for ordinary least squares."""
    return np.median(fitted.rho.reshape(len(fitted.rho), -1), axis=0)
