"""Region-by-region matrices of one scan: full and partial correlation, covariance, lagged correlation, coherence."""

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
    "covariance": "covariance in percent of the mean squared, no shrinkage",
    "laggedcorrelation": "Pearson correlation at the lag up to 6 s where it is largest in size",
    "coherence": "magnitude-squared coherence, mean over the band (Welch, Hann windows of 64 s, half overlapping)",
}

BOUNDED = ("pearsoncorrelation", "partialcorrelation", "laggedcorrelation")
"""Measures that are averaged in Fisher z."""

LAG_S, WINDOW_S, MIN_WINDOWS = 6.0, 64.0, 6


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


def positive_definite(covariance, names=None, file="timeseries"):
    """Return a covariance that can be inverted, or say why it cannot.

    Parameters
    ----------
    covariance : numpy.ndarray, (R, R)
    names : sequence of str, optional
        Regions, for the message.
    file : path-like
        Named in errors.

    Returns
    -------
    numpy.ndarray, (R, R)

    Raises
    ------
    InputError
        An eigenvalue is not above rounding error; names the regions whose series are combinations of others.
    """
    values, vectors = np.linalg.eigh(covariance)
    if values[0] > 1e-10 * max(values[-1], 1e-300):
        return covariance
    rank = int((values > 1e-10 * max(values[-1], 1e-300)).sum())
    weight = np.abs(vectors[:, 0])
    part = np.flatnonzero(weight > 0.3 * weight.max())[:6]
    who = ", ".join(str(names[k]) if names is not None else f"number {k + 1}" for k in part)
    raise InputError(
        file, "covariance", f"not positive definite (rank {rank} of {len(values)}; regions {who} hang together)",
        "a matrix of full rank", "take a longer scan, fewer regions or a shrunk estimate, or remove one of the doubled regions",
    )  # fmt: skip


def lagged(values, tr, max_lag_s=LAG_S):
    """Correlation at the lag where it is largest in size.

    Parameters
    ----------
    values : numpy.ndarray, (T, R)
        Censored volumes are NaN throughout; a pair of volumes counts where both are there.
    tr : float
        Repetition time in s.
    max_lag_s : float

    Returns
    -------
    r : numpy.ndarray, (R, R)
        Symmetric, unit diagonal.
    lag : numpy.ndarray, (R, R)
        In s; positive where the region of the column follows that of the row; antisymmetric.
    """
    most = int(np.floor(max_lag_s / tr + 1e-9))
    best, lag = None, None
    # the smallest lag first: ties go to it
    for step in sorted(range(-most, most + 1), key=lambda k: (abs(k), k)):
        early, late = (
            (values[: len(values) - step], values[step:]) if step >= 0 else (values[-step:], values[:step])
        )
        both = np.isfinite(early).all(1) & np.isfinite(late).all(1)
        if both.sum() < MIN_VOLUMES:
            continue
        first, second = standardized(early[both]), standardized(late[both])
        r = np.clip(first.T @ second / both.sum(), -1, 1)
        if best is None:
            best, lag = r.copy(), np.full(r.shape, step * tr)
        better = np.abs(r) > np.abs(best) + 1e-12
        best[better], lag[better] = r[better], step * tr
    # both directions look at the same pairs of volumes: the upper triangle speaks for both
    upper = np.triu(np.ones(best.shape, bool), 1)
    best, lag = np.where(upper, best, best.T), np.where(upper, lag, -lag.T)
    np.fill_diagonal(best, 1.0)
    np.fill_diagonal(lag, 0.0)
    return best, lag


def coherence(values, tr, band_hz, window_s=WINDOW_S):
    """Magnitude-squared coherence, averaged over a band.

    Parameters
    ----------
    values : numpy.ndarray, (T, R)
        Censored volumes are NaN throughout; a window with one does not count.
    tr : float
        Repetition time in s.
    band_hz : sequence of 2 float
    window_s : float
        Length of the Hann windows, which overlap by half.

    Returns
    -------
    coherence : numpy.ndarray, (R, R)
        0 to 1, unit diagonal.
    windows : int

    Raises
    ------
    InputError
        Fewer than 6 whole windows: coherence of few windows is near 1 whatever the data.
    """
    length = max(round(window_s / tr), 8)
    starts = range(0, len(values) - length + 1, length // 2)
    whole = [s for s in starts if np.isfinite(values[s : s + length]).all()]
    if len(whole) < MIN_WINDOWS:
        raise InputError(
            "timeseries", f"whole windows of {window_s:g} s", len(whole), f"{MIN_WINDOWS} or more",
            "take coherence off connectivity.measures, or use a longer or calmer scan",
        )  # fmt: skip
    taper = np.hanning(length + 2)[1:-1, None]
    spectra = []
    for start in whole:
        part = values[start : start + length]
        spectra.append(np.fft.rfft((part - part.mean(0)) * taper, axis=0))
    spectra = np.stack(spectra)
    frequency = np.fft.rfftfreq(length, tr)
    low, high = band_hz
    band = (frequency >= max(low, 1e-9)) & (frequency <= high)
    found = []
    for k in np.flatnonzero(band):
        cross = spectra[:, k].conj().T @ spectra[:, k]
        power = np.real(np.diag(cross))
        found.append(np.abs(cross) ** 2 / np.outer(power, power))
    out = np.clip(np.mean(found, 0), 0.0, 1.0)
    out = (out + out.T) / 2
    np.fill_diagonal(out, 1.0)
    return out, len(whole)


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
    invert = positive_definite(covariance)
    precision = np.linalg.inv(invert)
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


def estimate(series, kind, *, coverage=None, min_coverage=0.0, tr=None, band_hz=(0.01, 0.1)):
    """Matrix of one scan.

    Parameters
    ----------
    series : pandas.DataFrame, (T, R)
        Volumes that are empty in every covered region are censored and left out.
    kind : str
        Key of `NOTES`.
    coverage : pandas.Series, (R,), optional
        By region name.
    min_coverage : float
        Regions with less are n/a: rows and columns stay.
    tr : float, optional
        Repetition time in s; needed for lagged correlation and coherence.
    band_hz : sequence of 2 float
        For coherence.

    Returns
    -------
    matrix : pandas.DataFrame, (R, R)
    info : dict
        ExcludedRegions, NumberOfVolumes; for partial correlation Shrinkage, for coherence NumberOfWindows.

    Raises
    ------
    InputError
        Fewer than 10 volumes or two regions are left, or the matrix cannot be estimated (see `positive_definite`, `coherence`).
    """
    if kind not in NOTES:
        raise InputError("config", "connectivity.measures", kind, ", ".join(NOTES), "choose one of these")
    if kind in ("laggedcorrelation", "coherence") and not tr:
        raise InputError(
            "timeseries", "RepetitionTime", tr, "a number of seconds above 0", f"add it to the sidecar, or leave out {kind}"
        )  # fmt: skip
    names = list(series.columns)
    covered = np.ones(len(names), bool)
    if coverage is not None:
        covered = coverage.reindex(names).fillna(0.0).to_numpy() >= max(min_coverage, 1e-12)
    everything = series.to_numpy(np.float64)
    rows = np.isfinite(everything[:, covered]).any(1)
    values = everything[rows]
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
    elif kind == "covariance":
        centred = values[:, usable] - values[:, usable].mean(0)
        part = centred.T @ centred / len(centred)
        part = (part + part.T) / 2
    elif kind == "laggedcorrelation":
        info["MaximumLagSeconds"] = LAG_S
        part, _ = lagged(np.where(rows[:, None], everything, np.nan)[:, usable], tr)
    else:
        info["WindowSeconds"], info["BandHz"] = WINDOW_S, list(band_hz)
        part, info["NumberOfWindows"] = coherence(
            np.where(rows[:, None], everything, np.nan)[:, usable], tr, band_hz
        )
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
        for k in (
            "Strategy",
            "CleanMinutes",
            "EffectiveDegreesOfFreedom",
            "NumberOfRetainedVolumes",
            "MeanFramewiseDisplacement",
        )
    }
    timing = {"tr": origin.get("RepetitionTime"), "band_hz": origin.get("BandHz", (0.01, 0.1))}
    for measure, path, note in zip(measures, outputs.matrices, outputs.sidecars, strict=True):
        matrix, info = estimate(series, measure, coverage=coverage, min_coverage=min_coverage, **timing)
        write_matrix(matrix, path)
        content = sidecar(
            f"Region-by-region matrix: {NOTES[measure]}.", [inputs.timeseries], Measure=measure,
            MinCoverage=min_coverage, **shared, **info,
        )  # fmt: skip
        write_json(content, note)
    log.info("%d regions, %d without data", series.shape[1], len(info["ExcludedRegions"]))
