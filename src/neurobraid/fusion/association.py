"""Association of brain maps over regions, judged against surrogates that are as smooth as the maps."""

import numba
import numpy as np

from neurobraid.fusion.nulls import (
    Variogram,
    distances,
    moran_basis,
    moran_surrogates,
    on_surface,
    spin_surrogates,
)

#: Maps a dominance analysis takes at most: 2 to this power models are fitted.
MOST_MAPS = 20
FEWEST_REGIONS = 8


def _ranks(values):
    from scipy.stats import rankdata

    return rankdata(values, axis=-1)


def _correlate(maps, other):
    """Pearson r of each of (M, R) with (R,)."""
    maps = maps - maps.mean(-1, keepdims=True)
    other = other - other.mean()
    below = np.sqrt((maps**2).sum(-1) * (other @ other))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, maps @ other / below, np.nan)


def map_association(
    first, second, *, points, null="moran", count=1000, method="pearson", seed=0, parcels=None
):
    """Correlation of two maps with a p that knows how smooth they are.

    Parameters
    ----------
    first, second : numpy.ndarray, (R,)
        Values per region, joined by label; regions where either is not finite are left out.
    points : numpy.ndarray, (R, 3)
        Centres of the regions, mm.
    null : {'moran', 'variogram', 'spin'}
        How the surrogates of `first` are made (`neurobraid.fusion.nulls`).
    count : int
        Surrogates.
    method : {'pearson', 'spearman'}
    seed : int
    parcels : dict, optional
        Regions on fsaverage5 (`neurobraid.fusion.nulls.surface_parcels`), for spins; regions that are not on it are left out.

    Returns
    -------
    dict
        ``r``; ``p`` two-sided, (1 + surrogates whose r is at least as far from 0) / (1 + surrogates); ``p_parametric``, which
        takes regions for independent, shown only for comparison; ``regions``; ``null``; ``surrogates``; ``null_sd``;
        ``null_95``, the size of r that 5 % of the surrogates exceed.

    Raises
    ------
    ValueError
        Fewer than 8 regions in common, or an unknown null.
    """
    from scipy import stats

    first, second = (np.asarray(m, dtype=np.float64) for m in (first, second))
    kept = np.isfinite(first) & np.isfinite(second)
    if null == "spin":
        kept &= on_surface(parcels, first.size)
    if kept.sum() < FEWEST_REGIONS:
        raise ValueError(
            f"{kept.sum()} regions have a value in both maps; at least {FEWEST_REGIONS} are needed"
        )
    x, y = first[kept], second[kept]
    apart = distances(np.asarray(points)[kept])
    if null == "moran":
        drawn = moran_surrogates(x, moran_basis(apart), count, seed)
    elif null == "variogram":
        drawn = Variogram(apart).surrogates(x, count, seed)
    elif null == "spin":
        # regions without a value on the sphere are left out of each spin's own correlation
        drawn = spin_surrogates(first, parcels, count, seed)[:, kept]
    else:
        raise ValueError(f"null is {null!r}; allowed: moran, variogram, spin")
    if method == "spearman":
        r = float(_correlate(_ranks(x)[None], _ranks(y))[0])
    else:
        r = float(_correlate(x[None], y)[0])
    found = np.array([_pairwise(row, y, method) for row in drawn]) if null == "spin" else (
        _correlate(_ranks(drawn), _ranks(y)) if method == "spearman" else _correlate(drawn, y)
    )  # fmt: skip
    found = found[np.isfinite(found)]
    parametric = 2 * stats.t.sf(abs(r) * np.sqrt((kept.sum() - 2) / max(1 - r * r, 1e-300)), kept.sum() - 2)
    return {
        "r": r,
        "p": float((1 + (np.abs(found) >= abs(r) - 1e-12).sum()) / (1 + found.size)),
        "p_parametric": float(parametric),
        "regions": int(kept.sum()),
        "null": null,
        "surrogates": int(found.size),
        "null_sd": float(found.std()),
        "null_95": float(np.percentile(np.abs(found), 95)),
    }


def _pairwise(row, other, method):
    good = np.isfinite(row)
    if good.sum() < FEWEST_REGIONS:
        return np.nan
    a, b = row[good], other[good]
    return float(
        _correlate(_ranks(a)[None], _ranks(b))[0] if method == "spearman" else _correlate(a[None], b)[0]
    )


@numba.njit(cache=True, nogil=True)
def _sweep(table, k, sign):
    """Sweep operator on pivot k, in place: with sign 1 a map enters the model, with -1 it is taken out again."""
    size = table.shape[0]
    pivot = table[k, k]
    for i in range(size):
        if i != k:
            factor = table[i, k] / pivot
            for j in range(size):
                if j != k:
                    table[i, j] -= factor * table[k, j]
    for i in range(size):
        if i != k:
            table[i, k] /= sign * pivot
            table[k, i] /= sign * pivot
    table[k, k] = -1.0 / pivot


@numba.njit(cache=True, nogil=True)
def _all_subsets(correlation, count):
    """R² of every subset of the first `count` variables for the last; the subset's bits are its index.

    The subsets are walked in Gray-code order: each differs from the last by one variable, which is swept in or out.
    """
    table = correlation.copy()
    out = np.zeros(1 << count)
    mask = 0
    for step in range(1, 1 << count):
        bit = 0
        while not (step >> bit) & 1:
            bit += 1
        if (mask >> bit) & 1:
            _sweep(table, bit, -1.0)
        else:
            _sweep(table, bit, 1.0)
        mask ^= 1 << bit
        # rounding grows over many sweeps: start afresh now and then
        if step % 1024 == 0:
            table = correlation.copy()
            for other in range(count):
                if (mask >> other) & 1:
                    _sweep(table, other, 1.0)
        out[mask] = 1.0 - table[count, count]
    return out


@numba.njit(cache=True, nogil=True)
def _general(r2, count):
    """Mean gain in R² of every variable at every subset size, (count, count)."""
    total = np.zeros((count, count))
    number = np.zeros(count)
    for mask in range(1 << count):
        size = 0
        rest = mask
        while rest:
            size += rest & 1
            rest >>= 1
        if size < count:
            number[size] += count - size
        for k in range(count):
            if not (mask >> k) & 1:
                total[k, size] += r2[mask | (1 << k)] - r2[mask]
    for size in range(count):
        # every variable is absent from the same number of subsets of a size
        total[:, size] /= number[size] / count
    return total


def dominance(maps, target, names=None):
    """Dominance analysis: how much of a target map each of several maps explains (Azen & Budescu 2003, Psychol Methods 8:129).

    Parameters
    ----------
    maps : numpy.ndarray, (R, P)
        Predictors, P <= 20.
    target : numpy.ndarray, (R,)
    names : sequence of str, optional

    Returns
    -------
    table : pandas.DataFrame
        ``name``, ``total`` (general dominance: mean gain in R² over all subsets; they sum to the R² of all maps),
        ``share`` (of that R²), ``alone`` (R² by itself), ``last`` (gain when all others are there), in the order given.
    fit : dict
        ``r2``, ``adjusted_r2``, ``regions``.

    Raises
    ------
    ValueError
        More than 20 maps, too few regions, or maps that determine one another.
    """
    import pandas as pd

    maps, target = np.asarray(maps, np.float64), np.asarray(target, np.float64)
    good = np.isfinite(maps).all(1) & np.isfinite(target)
    maps, target = maps[good], target[good]
    size, count = maps.shape
    if count > MOST_MAPS:
        raise ValueError(
            f"{count} maps; dominance analysis takes at most {MOST_MAPS}, for it fits 2 to that power models"
        )
    if size < count + 2:
        raise ValueError(f"{size} regions are too few for {count} maps")
    correlation = np.corrcoef(np.column_stack([maps, target]).T)
    if not np.isfinite(correlation).all() or np.linalg.cond(correlation[:count, :count]) > 1e10:
        raise ValueError("a map is constant, or a sum of others: leave it out")
    r2 = _all_subsets(correlation, count)
    gain = _general(r2, count)
    full = float(r2[-1])
    everything = (1 << count) - 1
    table = pd.DataFrame(
        {
            "name": list(names) if names is not None else [f"map{n}" for n in range(count)],
            "total": gain.mean(1),
            "share": gain.mean(1) / full if full > 0 else np.nan,
            "alone": [r2[1 << k] for k in range(count)],
            "last": [full - r2[everything ^ (1 << k)] for k in range(count)],
        }
    )
    adjusted = 1 - (1 - full) * (size - 1) / (size - count - 1)
    return table, {"r2": full, "adjusted_r2": float(adjusted), "regions": int(size)}


def explained(maps, target, *, points, count=1000, seed=0):
    """Dominance analysis with a spatial null for the R² of all maps together.

    Parameters
    ----------
    maps : numpy.ndarray, (R, P)
    target : numpy.ndarray, (R,)
    points : numpy.ndarray, (R, 3)
        mm.
    count : int
        Moran surrogates of the target.
    seed : int

    Returns
    -------
    table, fit
        As `dominance`; ``fit`` also has ``p`` and ``null_r2`` (mean R² that smooth noise reaches).
    """
    good = np.isfinite(maps).all(1) & np.isfinite(target)
    maps, target = np.asarray(maps, np.float64)[good], np.asarray(target, np.float64)[good]
    table, fit = dominance(maps, target)
    drawn = moran_surrogates(target, moran_basis(distances(np.asarray(points)[good])), count, seed)
    basis = np.linalg.qr(maps - maps.mean(0))[0]
    drawn = drawn - drawn.mean(1, keepdims=True)
    null = ((drawn @ basis) ** 2).sum(1) / (drawn**2).sum(1)
    fit |= {"p": float((1 + (null >= fit["r2"] - 1e-12).sum()) / (1 + count)), "null_r2": float(null.mean())}
    return table, fit


def similarity(maps):
    """Similarity of regions by their profile over maps, for example over receptors (Hansen et al. 2022, Nat Neurosci 25:1569).

    Parameters
    ----------
    maps : numpy.ndarray, (R, P)
        Every map is z-scored over the regions that have all of them.

    Returns
    -------
    numpy.ndarray, (R, R)
        Pearson r between the profiles; NaN rows for regions without all maps.
    """
    maps = np.asarray(maps, np.float64)
    good = np.isfinite(maps).all(1)
    z = (maps[good] - maps[good].mean(0)) / maps[good].std(0)
    out = np.full((len(maps),) * 2, np.nan)
    out[np.ix_(good, good)] = np.corrcoef(z)
    return out


def without_distance(matrix, distance):
    """Residuals of the upper triangle of a matrix after an exponential fall with distance, a exp(-d / l) + c.

    Parameters
    ----------
    matrix, distance : numpy.ndarray, (R, R)
        `distance` in mm.

    Returns
    -------
    residuals : numpy.ndarray, (R (R - 1) / 2,)
        NaN where the matrix is.
    fit : dict
        ``amplitude``, ``length_mm``, ``offset``, ``r2``.
    """
    from scipy.optimize import curve_fit

    upper = np.triu_indices(len(matrix), 1)
    y, d = np.asarray(matrix, np.float64)[upper], np.asarray(distance, np.float64)[upper]
    good = np.isfinite(y)

    def fall(x, amplitude, length, offset):
        return amplitude * np.exp(-x / length) + offset

    start = (
        np.percentile(y[good], 95) - np.percentile(y[good], 50),
        np.median(d),
        np.percentile(y[good], 20),
    )
    found, _ = curve_fit(
        fall, d[good], y[good], p0=start, bounds=([-np.inf, 1.0, -np.inf], np.inf), maxfev=20000
    )
    residual = np.full(y.shape, np.nan)
    residual[good] = y[good] - fall(d[good], *found)
    r2 = 1 - np.nansum(residual**2) / ((y[good] - y[good].mean()) ** 2).sum()
    return residual, dict(zip(("amplitude", "length_mm", "offset"), map(float, found), strict=True)) | {
        "r2": float(r2)
    }


def matrix_association(first, second, distance=None):
    """Correlation of two region-by-region matrices over their upper triangles, distance taken out of both where given.

    Parameters
    ----------
    first, second : numpy.ndarray, (R, R)
    distance : numpy.ndarray, (R, R), optional
        mm.

    Returns
    -------
    float
        Pearson r over pairs with both values.
    """
    upper = np.triu_indices(len(first), 1)
    pair = [m[upper] if distance is None else without_distance(m, distance)[0] for m in (first, second)]
    good = np.isfinite(pair[0]) & np.isfinite(pair[1])
    return float(np.corrcoef(pair[0][good], pair[1][good])[0, 1])
