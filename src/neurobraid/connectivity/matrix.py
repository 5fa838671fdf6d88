"""Region-by-region matrices of one scan: full and partial correlation."""

import numpy as np
import pandas as pd

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

MIN_VOLUMES = 10

NOTES = {
    "pearsoncorrelation": "Pearson correlation, no shrinkage",
    "partialcorrelation": "partial correlation given all other regions, from the inverse of the Ledoit-Wolf covariance "
    "of standardised series (Ledoit & Wolf 2004, J Multivar Anal 88:365)",
}


def read_matrix(path):
    """Read a ``*_relmat.tsv``.

    Parameters
    ----------
    path : path-like
        First column Node, then one column per node, in the same order as the rows.

    Returns
    -------
    pandas.DataFrame, (R, R)

    Raises
    ------
    InputError
        Rows and columns name different regions.
    """
    table = read_tsv(path, text=["Node"])
    if "Node" not in table:
        raise InputError(
            path, "columns", list(table.columns)[:3], "Node first", "give a matrix with a Node column"
        )
    table = table.set_index("Node")
    if list(table.index) != list(table.columns):
        raise InputError(
            path,
            "regions",
            "rows and columns differ",
            "the same regions in rows and columns",
            "make it again",
        )
    return table.astype(np.float64)


def write_matrix(matrix, path):
    """Write a matrix in XCP-D's form: first column Node, header row of region names."""
    matrix = matrix.rename_axis(index="Node", columns=None)
    write_tsv(matrix, path, index=True)


def standardized(values):
    """Centre and scale columns (population SD); constant columns become NaN.

    Parameters
    ----------
    values : numpy.ndarray, (T, R)

    Returns
    -------
    numpy.ndarray, (T, R)
    """
    centred = values - values.mean(0)
    spread = np.sqrt((centred**2).mean(0))
    tiny = 1e-10 * np.maximum(np.abs(values).max(0), 1e-300)
    return centred / np.where(spread > tiny, spread, np.nan)


def pearson(z):
    """Correlation matrix of standardised series, (T, R) -> (R, R), exactly symmetric with unit diagonal."""
    r = np.clip(z.T @ z / len(z), -1.0, 1.0)
    r = (r + r.T) / 2.0
    np.fill_diagonal(r, 1.0)
    return r


def ledoit_wolf(z):
    """Shrunk covariance of centred series.

    The estimator of Ledoit & Wolf (2004), as scikit-learn's ``ledoit_wolf`` with ``assume_centered``.

    Parameters
    ----------
    z : numpy.ndarray, (T, R)
        Centred.

    Returns
    -------
    covariance : numpy.ndarray, (R, R)
    shrinkage : float
        0 (sample covariance) to 1 (multiple of the identity).
    """
    n, p = z.shape
    sample = z.T @ z / n
    mu = np.trace(sample) / p
    delta = ((sample - mu * np.eye(p)) ** 2).sum()
    beta = ((z**2).T @ (z**2)).sum() / n**2 - (sample**2).sum() / n
    shrinkage = 0.0 if delta == 0 else float(min(max(beta, 0.0), delta) / delta)
    return (1.0 - shrinkage) * sample + shrinkage * mu * np.eye(p), shrinkage


def partial(z):
    """Partial correlations from the inverse of the shrunk covariance.

    Parameters
    ----------
    z : numpy.ndarray, (T, R)
        Standardised.

    Returns
    -------
    matrix : numpy.ndarray, (R, R)
        Unit diagonal.
    shrinkage : float
    """
    covariance, shrinkage = ledoit_wolf(z)
    precision = np.linalg.inv(covariance)
    scale = np.sqrt(np.diag(precision))
    r = -precision / np.outer(scale, scale)
    r = (r + r.T) / 2.0
    np.fill_diagonal(r, 1.0)
    return r, shrinkage


def fisher_z(r):
    """Fisher z of correlations; the diagonal becomes NaN, values at 1 are held just below.

    Parameters
    ----------
    r : numpy.ndarray, (R, R)

    Returns
    -------
    numpy.ndarray, (R, R)
    """
    z = np.arctanh(np.clip(r, -1.0 + 1e-7, 1.0 - 1e-7))
    np.fill_diagonal(z, np.nan)
    return z


def from_fisher_z(z):
    """Correlations of Fisher z, with unit diagonal where the region has any edge."""
    r = np.tanh(z)
    seen = np.isfinite(z).any(1)
    np.fill_diagonal(r, np.where(seen, 1.0, np.nan))
    return r


def estimate(series, kind, *, coverage=None, min_coverage=0.0):
    """Matrix of one scan.

    Parameters
    ----------
    series : pandas.DataFrame, (T, R)
        Volumes that are empty in every covered region are censored and left out.
    kind : {'pearsoncorrelation', 'partialcorrelation'}
    coverage : pandas.Series, (R,), optional
        By region name.
    min_coverage : float
        Regions with less are n/a: rows and columns stay.

    Returns
    -------
    matrix : pandas.DataFrame, (R, R)
    info : dict
        ExcludedRegions, NumberOfVolumes and, for partial correlation, Shrinkage.

    Raises
    ------
    InputError
        Fewer than 10 volumes or two regions are left.
    """
    names = list(series.columns)
    covered = np.ones(len(names), bool)
    if coverage is not None:
        covered = coverage.reindex(names).fillna(0.0).to_numpy() >= max(min_coverage, 1e-12)
    values = series.to_numpy(np.float64)
    rows = np.isfinite(values[:, covered]).any(1)
    values = values[rows]
    if len(values) < MIN_VOLUMES:
        raise InputError(
            "timeseries", "volumes", len(values), f"{MIN_VOLUMES} or more", "use a longer or calmer scan"
        )
    z = np.full(values.shape, np.nan)
    usable = covered & np.isfinite(values).all(0)
    z[:, usable] = standardized(values[:, usable])
    usable &= np.isfinite(z).all(0)
    if usable.sum() < 2:
        raise InputError(
            "timeseries",
            "regions with data",
            int(usable.sum()),
            "2 or more",
            "check atlas, mask and connectivity.min_coverage",
        )
    info = {
        "NumberOfVolumes": len(values),
        "ExcludedRegions": [n for n, u in zip(names, usable, strict=True) if not u],
    }
    if kind == "pearsoncorrelation":
        part = pearson(z[:, usable])
    elif kind == "partialcorrelation":
        part, info["Shrinkage"] = partial(z[:, usable])
    else:
        raise InputError("config", "connectivity.measures", kind, ", ".join(NOTES), "choose one of these")
    matrix = np.full((len(names), len(names)), np.nan)
    matrix[np.ix_(usable, usable)] = part
    return pd.DataFrame(matrix, index=names, columns=names), info


def run(inputs, outputs, measures, *, min_coverage):
    """Estimate all matrices of a scan and write them with their sidecars.

    Parameters
    ----------
    inputs : object with attributes timeseries, sidecar, coverage
    outputs : object with attributes matrices, sidecars
        Lists in the order of `measures`.
    measures : list of str
    min_coverage : float
    """
    series = read_tsv(inputs.timeseries).astype(np.float64)
    coverage = read_tsv(inputs.coverage, text=["Node"]).set_index("Node")["coverage"]
    origin = read_json(inputs.sidecar)
    shared = {
        k: origin.get(k)
        for k in ("Strategy", "CleanMinutes", "EffectiveDegreesOfFreedom", "NumberOfRetainedVolumes")
    }
    for measure, path, note in zip(measures, outputs.matrices, outputs.sidecars, strict=True):
        matrix, info = estimate(series, measure, coverage=coverage, min_coverage=min_coverage)
        write_matrix(matrix, path)
        content = sidecar(
            f"Region-by-region matrix: {NOTES[measure]}.", [inputs.timeseries], Measure=measure,
            MinCoverage=min_coverage, **shared, **info,
        )  # fmt: skip
        write_json(content, note)
    log.info("%d regions, %d without data", series.shape[1], len(info["ExcludedRegions"]))
