"""Voxel by voxel: one modality regressed on another across people, and receptor maps as regressors of BOLD."""

import numba
import numpy as np

from neurobraid.fusion.coupling import residuals

#: Voxelwise regressors a model takes at most.
MOST_MAPS = 8


@numba.njit(cache=True, nogil=True)
def _last_t(y, x, free):
    """T and slope of the last of several regressors at every voxel; everything already free of the common design.

    y (N, V), x (M, N, V); NaN where the regressors determine one another.
    """
    count, people, voxels = x.shape
    t, slope = np.full(voxels, np.nan), np.full(voxels, np.nan)
    work = np.empty((count, people))
    for v in range(voxels):
        bad = False
        # orthogonalise one after the other: the last is then free of all the rest
        for m in range(count):
            whole = 0.0
            for n in range(people):
                work[m, n] = x[m, n, v]
                whole += work[m, n] ** 2
            for k in range(m):
                above, below = 0.0, 0.0
                for n in range(people):
                    above += work[m, n] * work[k, n]
                    below += work[k, n] ** 2
                for n in range(people):
                    work[m, n] -= above / below * work[k, n]
            left = 0.0
            for n in range(people):
                left += work[m, n] ** 2
            if left <= 1e-10 * whole or left == 0.0:
                bad = True
                break
        if bad:
            continue
        rest = 0.0
        for n in range(people):
            rest += y[n, v] ** 2
        b = 0.0
        below = 1.0
        for m in range(count):
            above, below = 0.0, 0.0
            for n in range(people):
                above += work[m, n] * y[n, v]
                below += work[m, n] ** 2
            b = above / below
            rest -= b * above
        slope[v] = b
        if rest > 0.0:
            t[v] = b * np.sqrt(below * free / rest)
    return t, slope


def cross_modal_glm(target, regressors, design, *, permutations=999, seed=0, within=None):
    """Regress one modality on another at every voxel, with regressors that differ between voxels.

    As in biological parametric mapping (Casanova et al. 2007, NeuroImage 34:137), but the p corrected over voxels comes
    from permutation of the residuals of the reduced model (Freedman & Lane 1983; Winkler et al. 2014, NeuroImage 92:381).

    Parameters
    ----------
    target : numpy.ndarray, (N, V)
        One map per person.
    regressors : numpy.ndarray, (N, V) or (M, N, V)
        Maps of the same people; the last is tested, the others are taken out.
    design : numpy.ndarray, (N, K)
        Covariates with an intercept, full rank.
    permutations : int
    seed : int
    within : numpy.ndarray, (N,), optional
        Permutations stay inside these levels (site).

    Returns
    -------
    dict
        ``slope`` (target's unit per unit of the regressor), ``t``, ``p`` (two-sided, parametric) and ``p_fwe`` (V,); NaN at
        voxels where a value is missing or a regressor does not vary. ``df``; ``max_t``, the null (permutations,).

    Raises
    ------
    ValueError
        Shapes differ, or too few people.
    """
    from scipy import stats

    target = np.asarray(target, np.float64)
    regressors = np.asarray(regressors, np.float64)
    regressors = regressors[None] if regressors.ndim == 2 else regressors
    if regressors.shape[1:] != target.shape or len(design) != len(target):
        raise ValueError(
            f"target {target.shape}, regressors {regressors.shape} and design {design.shape} do not fit each other"
        )
    count, people, voxels = regressors.shape
    if count > MOST_MAPS:
        raise ValueError(f"{count} voxelwise regressors; at most {MOST_MAPS}")
    free = people - np.linalg.matrix_rank(design) - count
    if free < 2:
        raise ValueError(f"{people} people are too few for {design.shape[1]} columns and {count} maps")
    good = np.isfinite(target).all(0) & np.isfinite(regressors).all((0, 1))
    y = residuals(target[:, good], design)
    x = np.stack([residuals(r[:, good], design) for r in regressors])
    # what the design explains whole leaves rounding, which must not be taken for a regressor
    x *= ((x**2).sum(1) > 1e-20 * (regressors[:, :, good] ** 2).sum(1))[:, None]
    t, slope = _last_t(y, x, free)
    reduced = y.copy()
    if count > 1:
        for v in range(y.shape[1]):
            basis = np.linalg.qr(x[:-1, :, v].T)[0]
            reduced[:, v] -= basis @ (basis.T @ y[:, v])
    levels = (
        np.zeros(people, int)
        if within is None
        else np.unique(np.asarray(within).astype(str), return_inverse=True)[1]
    )
    rng, maximum = np.random.default_rng(seed), np.empty(permutations)
    for number in range(permutations):
        order = np.arange(people)
        for level in np.unique(levels):
            rows = np.flatnonzero(levels == level)
            order[rows] = rng.permutation(rows)
        maximum[number] = np.nanmax(
            np.abs(_last_t(residuals(reduced[order], design), x, free)[0]), initial=0.0
        )
    out = {name: np.full(voxels, np.nan) for name in ("slope", "t", "p", "p_fwe")}
    out["slope"][good], out["t"][good] = slope, t
    tested = np.flatnonzero(good)[np.isfinite(t)]
    size = np.abs(t[np.isfinite(t)])
    out["p"][tested] = 2 * stats.t.sf(size, free)
    beaten = permutations - np.searchsorted(np.sort(maximum), size - 1e-9)
    out["p_fwe"][tested] = (1 + beaten) / (1 + permutations)
    return out | {"df": int(free), "max_t": maximum}


def receptor_regression(series, maps, *, inside=None):
    """Connectivity weighted by receptors: two regressions, over voxels and over time (REACT; Dipasquale et al. 2019, NeuroImage 195:252).

    The maps may be those of a group or the participant's own binding.

    Parameters
    ----------
    series : numpy.ndarray, (T, V)
        Denoised BOLD.
    maps : numpy.ndarray, (R, V)
        Receptor density; NaN where unknown.
    inside : numpy.ndarray of bool, (V,), optional
        Voxels of the first regression, for example without the reference region of the tracer; default all with all maps.

    Returns
    -------
    courses : numpy.ndarray, (T, R)
        Time course of every map, mean 0 and standard deviation 1.
    weights : numpy.ndarray, (R, V)
        Partial regression of each voxel's series, in its own standard deviations, on the courses; NaN for constant voxels.
    collinearity : numpy.ndarray, (R,)
        Variance inflation of every map by the others over voxels; beyond 5 its course belongs to no single receptor.

    Raises
    ------
    ValueError
        Shapes differ, fewer volumes than maps need, or maps that determine one another.
    """
    series, maps = np.asarray(series, np.float64), np.atleast_2d(np.asarray(maps, np.float64))
    if series.shape[1] != maps.shape[1]:
        raise ValueError(f"series have {series.shape[1]} voxels, maps {maps.shape[1]}")
    if len(series) < len(maps) + 3:
        raise ValueError(f"{len(series)} volumes are too few for {len(maps)} maps")
    spread = series.std(0)
    kept = np.isfinite(maps).all(0) & (spread > 0) & np.isfinite(spread)
    if inside is not None:
        kept &= np.asarray(inside, bool)
    density = maps[:, kept]
    density = (density - density.mean(1, keepdims=True)) / density.std(1, keepdims=True)
    if not np.isfinite(density).all() or np.linalg.cond(density) > 1e6:
        raise ValueError("a map is constant, or a sum of others: leave it out")
    inflation = np.diag(np.linalg.inv(np.corrcoef(density))) if len(maps) > 1 else np.ones(1)
    centred = series[:, kept] - series[:, kept].mean(1, keepdims=True)
    courses = centred @ np.linalg.pinv(density)
    courses = (courses - courses.mean(0)) / courses.std(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        own = np.where(spread > 0, (series - series.mean(0)) / spread, np.nan)
    return courses, np.linalg.pinv(courses) @ own, inflation
