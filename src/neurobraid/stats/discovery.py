"""Lower bounds on the number of true discoveries in any set, chosen before or after looking: all-resolution inference.

Every bound comes from statements of the form "at most k of the elements with p below x are false", which hold together
with probability 1 - alpha; so one may ask about any cluster, at any threshold, as often as one likes.
"""

import numpy as np


def hommel(p, alpha):
    """Hommel's value: with confidence 1 - alpha no more than this many null hypotheses are true.

    Goeman et al. 2019 (Biometrika 106:841). The largest h such that the h largest p values all lie above the line
    ``alpha j / h``: on the sorted p values, the tangent through ``(m, alpha)``.

    Parameters
    ----------
    p : numpy.ndarray, (V,)
    alpha : float

    Returns
    -------
    int
    """
    p = np.sort(np.asarray(p, np.float64))
    count = len(p)
    if count == 0 or p[-1] <= alpha:
        return 0
    if count == 1:
        return 1
    slope = ((alpha - p[:-1]) / np.arange(count - 1, 0, -1)).max()
    return count if slope <= 0 else int(min(np.floor(alpha / slope * (1 + 1e-12)), count))


def simes_bound(p, h, alpha):
    """True discoveries in a set, at least, by Simes' inequality (Rosenblatt et al. 2018, NeuroImage 181:786).

    Simes' inequality holds for independent and for positively dependent tests; smooth images are taken to be so.

    Parameters
    ----------
    p : numpy.ndarray, (S,)
        Of the elements of the set.
    h : int
        `hommel` of the whole image.
    alpha : float

    Returns
    -------
    int
        ``max over u of 1 - u + #{i in S: h p_i <= u alpha}``.
    """
    if not len(p):
        return 0
    step = np.sort(np.maximum(np.ceil(h * np.asarray(p, np.float64) / alpha), 1))
    found = np.searchsorted(step, step, side="right")
    return int(np.clip((1 - step + found).max(), 0, len(p)))


def calibrated(simes, alpha):
    """Simes' line calibrated by permutation: the alpha quantile of `neurobraid.stats.permutation.simes`.

    Blanchard, Neuvial & Roquain 2020 (Ann Stat 48:1281), Andreella et al. 2023 (Stat Med 42:2311): the dependence in
    the data replaces the assumption, and with smooth images the bound gains.

    Parameters
    ----------
    simes : numpy.ndarray, (K + 1,)
        Of all rearrangements, the data as they are included.
    alpha : float

    Returns
    -------
    float
        lambda: with confidence 1 - alpha, at every height h at most ``V p(h) / lambda`` true null elements reach it.
    """
    simes = np.sort(simes)
    # at most alpha of the rearrangements may lie strictly below
    return float(simes[int(np.floor(alpha * len(simes) * (1 + 1e-12)))])


def permutation_bound(values, grid, elements, scale):
    """True discoveries in a set, at least, with the calibrated line.

    Parameters
    ----------
    values : numpy.ndarray, (S,)
        Statistic of the elements of the set.
    grid : tuple of numpy.ndarray
        From `neurobraid.stats.permutation.simes_grid`.
    elements : int
        Of the whole image.
    scale : float
        From `calibrated`.

    Returns
    -------
    int
    """
    if not len(values):
        return 0
    heights, p = grid
    false = np.floor(elements * p / scale * (1 + 1e-12))
    over = len(values) - np.searchsorted(np.sort(np.abs(values)), heights, side="left")
    return int(np.clip((over - false).max(), 0, len(values)))


def benjamini_hochberg(p):
    """Adjusted p values of the false discovery rate (Benjamini & Hochberg 1995).

    Parameters
    ----------
    p : numpy.ndarray, (V,)

    Returns
    -------
    numpy.ndarray, (V,)
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p, kind="stable")[::-1]
    ranked = p[order] * len(p) / np.arange(len(p), 0, -1)
    out = np.empty(len(p))
    out[order] = np.minimum.accumulate(np.minimum(ranked, 1.0))
    return out
