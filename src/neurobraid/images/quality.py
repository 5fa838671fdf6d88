"""Image quality numbers with the names and definitions of MRIQC, for T1w images and BOLD runs.

Plain functions of arrays. Where MRIQC calls AFNI (``fwhm``, ``aor``, ``aqi``) the definition of the AFNI program is
followed: 3dFWHMx, 3dToutcount, 3dTqual. What cannot be computed (no air, no contrast) is NaN; MRIQC writes -1 or 0.

References
----------
Esteban et al., PLoS One 2017;12:e0184661, and what the single functions cite.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "cjv",
    "cnr",
    "efc",
    "fber",
    "fwhm",
    "global_correlation",
    "gsr",
    "head_and_air",
    "outlier_fraction",
    "quality_index",
    "robust_spread",
    "snr",
    "snr_dietrich",
    "temporal_snr",
    "tissue_summary",
]

_BLOCK_MM = 4.0  # grid on which head and air are told apart
_LEAST_AIR = 0.2  # share of what is outside the head that must hold noise to be called air
_VOXELS = 10000  # evenly spread voxels are enough for the share of outliers and for ranks


def robust_spread(values):
    """Median absolute deviation from the median over 0.6745: the standard deviation of Gaussian values."""
    values = np.asarray(values)
    return (
        float(np.median(np.abs(values - np.median(values)))) / 0.6744897501960817 if values.size else np.nan
    )


def efc(values, keep=None):
    """Entropy focus criterion: how evenly the energy is spread over the voxels.

    Parameters
    ----------
    values : array
        Image, not negative (what is below 0 counts as 0).
    keep : bool array of the same shape, optional
        Voxels that were measured (not filled in by defacing or rotation); default all.

    Returns
    -------
    float
        0 when one voxel holds all energy, 1 when all voxels are equal; motion and ghosts raise it. NaN for an
        empty image. Atkinson et al., IEEE Trans Med Imaging 1997;16:903-910, divided by its maximum.
    """
    line = np.asarray(values if keep is None else values[keep], np.float32).ravel()
    count, line = line.size, line[line > 0]  # 0 log 0 is 0
    energy = np.sqrt(np.sum(np.square(line, dtype=np.float64)))
    if count < 2 or energy == 0:
        return float("nan")
    share = line / np.float32(energy)
    entropy = -np.sum(share * np.log(share), dtype=np.float64)
    return float(entropy / (np.sqrt(count) * np.log(np.sqrt(count))))


def fber(values, foreground, background=None):
    """Foreground-background energy ratio.

    Parameters
    ----------
    values : array
    foreground : bool array
        Head of a T1w, brain of a BOLD image.
    background : bool array, optional
        Default: all that is not foreground.

    Returns
    -------
    float
        Median of the squares inside over median of the squares outside, higher is better; NaN where there is no
        signal outside (a stripped or masked image). Shehzad et al., Front Neurosci 2015 (QAP).
    """
    outside = values[~foreground if background is None else background]
    inside = values[foreground]
    if not outside.size or not inside.size:
        return float("nan")
    below = float(np.median(np.square(outside, dtype=np.float64)))
    return float(np.median(np.square(inside, dtype=np.float64))) / below if below >= 1e-3 else float("nan")


def fwhm(values, mask):
    """Smoothness of an image from its first differences.

    Parameters
    ----------
    values : (X, Y, Z) array
    mask : (X, Y, Z) bool array
        Differences are taken between neighbours that both lie inside.

    Returns
    -------
    (3,) float64 array
        Full width at half maximum along each array axis of the Gaussian that smoothed white noise would need, in
        voxels as in MRIQC; NaN where neighbours do not resemble each other.

    Notes
    -----
    Forman et al., Magn Reson Med 1995;33:636-647: neighbours of a Gaussian field correlate by
    ``exp(-d^2 / 4 s^2)``.
    """
    values = np.asarray(values)
    values = (
        values if values.dtype.kind == "f" else values.astype(np.float64)
    )  # unsigned integers cannot differ
    inside = values[mask].astype(np.float64)
    variance = inside.var() if inside.size else 0.0
    out = np.full(3, np.nan)
    for axis in range(3):
        there, m = np.moveaxis(values, axis, 0), np.moveaxis(mask, axis, 0)
        change = np.diff(there, axis=0)[m[1:] & m[:-1]].astype(np.float64)
        alike = 1.0 - 0.5 * change.var() / variance if change.size and variance > 0 else np.nan
        if 0.0 < alike < 1.0:
            out[axis] = np.sqrt(8.0 * np.log(2.0)) * np.sqrt(-1.0 / (4.0 * np.log(alike)))
    return out


def snr(median, spread, count):
    """Signal to noise inside one tissue: median over standard deviation, corrected for the number of voxels."""
    return (
        float(median / (spread * np.sqrt(count / (count - 1)))) if spread > 0 and count > 1 else float("nan")
    )


def snr_dietrich(median, air_spread):
    """Signal to noise against air, whose magnitude noise is Rayleigh distributed.

    Parameters
    ----------
    median : float
        Of the tissue.
    air_spread : float
        Robust standard deviation of air.

    Returns
    -------
    float
        Dietrich et al., J Magn Reson Imaging 2007;26:375-385, equation A.12.
    """
    return float(np.sqrt((4.0 - np.pi) / 2.0) * median / air_spread) if air_spread > 0 else float("nan")


def cnr(white, grey, air_spread):
    """Contrast to noise of white and grey matter.

    Parameters
    ----------
    white, grey : dict
        From `tissue_summary`.
    air_spread : float
        Standard deviation of air; NaN counts as 0.

    Returns
    -------
    float
        Magnotta and Friedman, J Digit Imaging 2006;19:140-147. Higher is better.
    """
    noise = np.sqrt(np.nan_to_num(air_spread) ** 2 + white["std"] ** 2 + grey["std"] ** 2)
    return float(abs(white["median"] - grey["median"]) / noise) if noise > 0 else float("nan")


def cjv(white, grey):
    """Coefficient of joint variation of white and grey matter; lower is better.

    Parameters
    ----------
    white, grey : dict
        From `tissue_summary`.

    Returns
    -------
    float
        Sum of the robust spreads over the contrast. Ganzetti et al., Front Neuroinform 2016;10:10.
    """
    contrast = abs(white["median"] - grey["median"])
    return float((white["mad"] + grey["mad"]) / contrast) if contrast > 0 else float("nan")


def tissue_summary(values, share, least=1000):
    """Location and spread of a tissue, away from its borders.

    Parameters
    ----------
    values : (X, Y, Z) array
    share : (X, Y, Z) array
        Probability of the tissue, or a mask.
    least : int
        Voxels above 0.85 are eroded by one voxel (18 neighbours); where fewer than this remain (thin cortex on a
        coarse grid), they are taken as they are, and where even these are too few, those above one half.

    Returns
    -------
    dict
        ``median``, ``std``, ``mad`` (`robust_spread`) and ``n``.
    """
    from scipy import ndimage

    pure = share > 0.85
    inner = ndimage.binary_erosion(pure, ndimage.generate_binary_structure(3, 2))
    chosen = next((m for m in (inner, pure) if np.count_nonzero(m) >= least), share > 0.5)
    found = np.asarray(values[chosen], np.float64)
    if not found.size:
        return {"median": np.nan, "std": np.nan, "mad": np.nan, "n": 0}
    return {
        "median": float(np.median(found)),
        "std": float(found.std()),
        "mad": robust_spread(found),
        "n": int(found.size),
    }


def head_and_air(values, zooms):
    """Head and the air around it.

    Found on blocks of about 4 mm: Otsu's two classes, closed, the largest piece, filled and grown by one block.

    Parameters
    ----------
    values : (X, Y, Z) array
        Whole head, air near 0.
    zooms : (3,) array
        Voxel edges, mm.

    Returns
    -------
    head : (X, Y, Z) bool array
    air : (X, Y, Z) bool array
        Outside the head, without blocks that are exactly 0 everywhere: those were filled in by defacing or
        rotation and hold no noise. Empty where these are nearly all (a background that was removed).
    """
    from scipy import ndimage

    factor = np.maximum(1, np.rint(_BLOCK_MM / np.asarray(zooms, float))).astype(int)
    padded = np.pad(values, [(0, -n % f) for n, f in zip(values.shape, factor, strict=True)], mode="edge")
    shape = [m for n, f in zip(padded.shape, factor, strict=True) for m in (n // f, f)]
    blocks = padded.reshape(shape)
    level = blocks.mean(axis=(1, 3, 5), dtype=np.float64)
    measured = np.abs(blocks).max(axis=(1, 3, 5)) > 0
    level = np.clip(level, 0.0, np.percentile(level, 99.0))
    counts, edges = np.histogram(level, bins=256)
    centres = 0.5 * (edges[:-1] + edges[1:])
    below, sums = np.cumsum(counts), np.cumsum(counts * centres)
    low, high = sums / np.maximum(below, 1), (sums[-1] - sums) / np.maximum(below[-1] - below, 1)
    best = int(np.argmax(below * (below[-1] - below) * (high - low) ** 2))
    low, high = low[best], high[best]
    # fat-suppressed scalp may have a tenth of the brain's signal; noise must stay below
    dark = level[level < low + 0.25 * (high - low)]
    noise = np.median(dark) + 4.0 * robust_spread(dark) if dark.size else 0.0
    tissue = level > min(low + 0.25 * (high - low), max(0.1 * high, noise))
    # the skull is dark: closed first, or scalp and brain would be two pieces
    pad = 4
    closed = ndimage.binary_closing(np.pad(tissue, pad), iterations=3)[pad:-pad, pad:-pad, pad:-pad] | tissue
    labels, count = ndimage.label(closed)
    if count > 1:
        closed = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    filled = ndimage.binary_fill_holes(closed)
    head = ndimage.binary_dilation(filled)
    air = ~head & measured
    if np.count_nonzero(air) < _LEAST_AIR * np.count_nonzero(~head):
        air[:] = False  # what is left of it is the rim of a background that was cut off
    for axis, f in enumerate(factor):
        head, air = np.repeat(head, f, axis), np.repeat(air, f, axis)
    box = tuple(slice(0, n) for n in values.shape)
    return head[box], air[box]


def gsr(values, mask, axis):
    """Ghost to signal ratio along one axis.

    Parameters
    ----------
    values : (X, Y, Z) array
        Mean BOLD image.
    mask : (X, Y, Z) bool array
        Brain.
    axis : int
        Array axis along which the ghost lies half a field of view away (phase encoding).

    Returns
    -------
    float
        Mean of the ghost minus mean of the other background, over the median of the brain; 0 without a ghost.
        Giannelli et al., J Appl Clin Med Phys 2010;11:170-180.
    """
    ghost = np.roll(mask, mask.shape[axis] // 2, axis=axis) & ~mask
    rest = ~ghost & ~mask
    if not ghost.any() or not rest.any() or not mask.any():
        return float("nan")
    signal = float(np.median(values[mask]))
    lift = values[ghost].mean(dtype=np.float64) - values[rest].mean(dtype=np.float64)
    return float(lift / signal) if signal > 0 else float("nan")


def temporal_snr(series):
    """Mean over standard deviation of every voxel's time course.

    Parameters
    ----------
    series : (T, N) array

    Returns
    -------
    (N,) float64 array
        0 where the standard deviation is below 0.001. No trend is removed, as in MRIQC.
    """
    spread = series.std(axis=0, dtype=np.float64)
    mean = series.mean(axis=0, dtype=np.float64)
    return np.where(spread > 1e-3, mean / np.maximum(spread, 1e-3), 0.0)


def global_correlation(series):
    """Mean correlation of all pairs of voxels.

    Parameters
    ----------
    series : (T, N) array

    Returns
    -------
    float
        Squared length of the mean of all time courses scaled to unit length; voxels without variance are left out.
        Saad et al., Brain Connect 2013;3:339-352.
    """
    centred = series - series.mean(axis=0, dtype=np.float64).astype(np.float32)
    length = np.sqrt(np.einsum("tn,tn->n", centred, centred, dtype=np.float64))
    alive = length > 0
    if not alive.any():
        return float("nan")
    common = centred[:, alive] @ (1.0 / length[alive])
    return float(common @ common) / int(alive.sum()) ** 2


def outlier_fraction(series, voxels=_VOXELS):
    """Share of voxels in each volume that lie far from their own median (AFNI's 3dToutcount).

    Parameters
    ----------
    series : (T, N) array
    voxels : int
        At most so many, evenly spread over the N, are looked at.

    Returns
    -------
    (T,) float64 array
        Far is beyond ``alpha sqrt(pi / 2) MAD`` with alpha the Gaussian quantile of ``1 - 0.001 / T``; the mean
        over volumes is MRIQC's ``aor``.
    """
    from scipy.stats import norm

    some = series[:, _spread_over(series.shape[1], voxels)]
    away = np.abs(some - np.median(some, axis=0))
    limit = norm.isf(0.001 / len(series)) * np.sqrt(np.pi / 2.0) * np.median(away, axis=0)
    return (away > limit).mean(axis=1) if some.shape[1] else np.full(len(series), np.nan)


def quality_index(series, voxels=_VOXELS):
    """One minus the rank correlation of each volume with the median volume (AFNI's 3dTqual).

    Parameters
    ----------
    series : (T, N) array
    voxels : int
        At most so many, evenly spread over the N, are ranked.

    Returns
    -------
    (T,) float64 array
        0 is best; the mean over volumes is MRIQC's ``aqi``.
    """
    from scipy.stats import rankdata

    some = series[:, _spread_over(series.shape[1], voxels)]
    ranks = rankdata(np.vstack([np.median(some, axis=0), some]), axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    length = np.sqrt((ranks**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1.0 - (ranks[1:] @ ranks[0]) / (length[1:] * length[0])


def _spread_over(count, wanted):
    return np.linspace(0, count - 1, min(count, wanted)).round().astype(int)
