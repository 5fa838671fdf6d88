"""Partial-volume correction: GTM, Labbé, RBV, iterative Yang and Müller-Gärtner on one set of masks.

All methods share two sparse matrices over the voxels that the brain reaches: the share of every region in every voxel, and
the same masks as the scanner would see them, convolved with its point spread. The background is always one of the
regions, so that masks sum to one. Every mask is blurred once, alone, in its bounding box.

Masks are made on a finer grid than the image (`tacs.subdivision`): where voxels are not small against the point spread, a
mask blurred on the voxel grid would be too wide by the voxel's own edge.
"""

from dataclasses import dataclass

import numpy as np

from neurobraid.images.smooth import FWHM_PER_SIGMA

METHODS = {
    "gtm": "GTM, regional means (Rousset et al. 1998, J Nucl Med 39:904)",
    "labbe": "Labbé, least squares of the image on the blurred masks (Labbé et al. 1998; the symmetric GTM of Sattarivand "
    "et al. 2012, Phys Med Biol 57:7101, has the same equations)",
    "rbv": "RBV, region-based voxel-wise correction (Thomas et al. 2011, Eur J Nucl Med Mol Imaging 38:1104)",
    "iy": "iterative Yang (Erlandsson et al. 2012, Phys Med Biol 57:R119)",
    "mg": "Müller-Gärtner (Müller-Gärtner et al. 1992, J Cereb Blood Flow Metab 12:571), with white matter, CSF and "
    "background from GTM",
}
VOXELWISE = ("rbv", "iy", "mg")
"""Methods that give a corrected image."""

TRUNCATE = 5.0
"""Half width of the kernel in standard deviations: cut at 2.5, cortical means would be 1 % off, at 4 still 0.03 %."""

REACH = 1e-3
"""A voxel takes part where the blurred brain has at least this share; the background is what surrounds the brain there."""

MG_THRESHOLD = 0.3
"""Müller-Gärtner divides by the blurred grey matter where it is at least this."""


def blur_matrix(low, high, start, stop, factor, fwhm):
    """Matrix from the fine points of a line to the voxels that see them.

    Parameters
    ----------
    low, high : int
        Voxels of the result.
    start, stop : int
        Fine points, `factor` to a voxel; point i lies at voxel coordinate ``(i + 0.5) / factor - 0.5``.
    factor : int
    fwhm : float
        Full width at half maximum in voxels.

    Returns
    -------
    numpy.ndarray, (high - low, stop - start), float32
        Every row is a part of a kernel that sums to 1.
    """
    sigma = fwhm / FWHM_PER_SIGMA
    points = (np.arange(start, stop) + 0.5) / factor - 0.5
    away = np.subtract.outer(np.arange(low, high), points)
    # what an endless line of points would sum to: the same for every voxel
    reach = int(np.ceil((TRUNCATE * sigma + 1) * factor))
    line = (np.arange(-reach, reach) + 0.5 * (factor % 2 == 0)) / factor
    total = np.exp(-0.5 * (line[np.abs(line) <= TRUNCATE * sigma] / sigma) ** 2).sum()
    kernel = np.where(np.abs(away) <= TRUNCATE * sigma, np.exp(-0.5 * (away / sigma) ** 2), 0)
    return (kernel / total).astype(np.float32)


@dataclass(frozen=True)
class Masks:
    """Regions as they are and as the scanner sees them.

    Attributes
    ----------
    share, blurred : scipy.sparse.csr_array, (R, V)
        Share of every region in every voxel, and the same convolved with the point spread. The last row is the
        background; columns sum to 1.
    voxels : numpy.ndarray of int, (V,)
        Flat places of the voxels in the image.
    shape : tuple of int
        Of the image.
    """

    share: object
    blurred: object
    voxels: np.ndarray
    shape: tuple

    @property
    def size(self):
        """Share of every region summed over voxels, (R,)."""
        return np.asarray(self.share.sum(axis=1)).ravel()

    @property
    def known(self):
        """Regions with at least one voxel's worth of points, (R,) bool; others cannot be solved for."""
        return self.size >= 0.5


def build(points, regions, weights, count, shape, factors, psf_voxels, covered):
    """Masks and blurred masks of regions given by their points.

    Parameters
    ----------
    points : numpy.ndarray of int, (N, 3)
        Places on the fine grid, ``factors`` to a voxel along each axis. A point may appear in several regions.
    regions : numpy.ndarray of int, (N,)
        0 to `count` - 1.
    weights : numpy.ndarray, (N,)
        Share of the region in the point; shares of a point sum to at most 1, the rest is background.
    count : int
        Regions without the background.
    shape : tuple of int
        Voxels of the image.
    factors : sequence of 3 int
    psf_voxels : sequence of 3 float
        Full width at half maximum of the point spread, in voxels of the image, per axis.
    covered : numpy.ndarray of bool, `shape`
        Voxels with data.

    Returns
    -------
    Masks
        Region `count` is the background: what is left of every voxel that the blurred brain reaches (`REACH`).

    Raises
    ------
    ValueError
        A width that is not positive.
    """
    from scipy import sparse

    factors, psf = np.asarray(factors, int), np.asarray(psf_voxels, float)
    if psf.shape != (3,) or not (psf > 0).all():
        raise ValueError(f"the point spread {psf_voxels} needs three widths above 0")
    pad = np.ceil(TRUNCATE * psf / FWHM_PER_SIGMA).astype(int) + 1
    total = int(np.prod(shape))
    order = np.argsort(regions, kind="stable")
    edges = np.searchsorted(np.asarray(regions)[order], np.arange(count + 1))
    places, values, reached = [], [], np.zeros(total, np.float32)
    for region in range(count):
        mine = order[edges[region] : edges[region + 1]]
        if not len(mine):
            places.append(np.zeros(0, np.int32))
            values.append(np.zeros(0, np.float32))
            continue
        own = points[mine]
        start, stop = own.min(0), own.max(0) + 1
        fine = np.zeros(stop - start, np.float32)
        np.add.at(fine, tuple((own - start).T), weights[mine])
        low = np.maximum(start // factors - pad, 0)
        high = np.minimum(stop // factors + pad + 1, shape)
        for axis in range(3):
            matrix = blur_matrix(low[axis], high[axis], start[axis], stop[axis], factors[axis], psf[axis])
            fine = np.moveaxis(np.tensordot(matrix, fine, (1, axis)), 0, axis)
        near = np.argwhere(fine > 1e-7)
        place = np.ravel_multi_index(tuple((near + low).T), shape)
        value = fine[tuple(near.T)]
        reached[place] += value
        places.append(place.astype(np.int32))
        values.append(value)
    voxels = np.flatnonzero(covered.ravel() & (reached >= REACH))
    column = np.full(total, -1, np.int32)
    column[voxels] = np.arange(len(voxels), dtype=np.int32)

    def matrix(rows, columns, entries):
        inside = columns >= 0
        found = sparse.coo_array(
            (entries[inside], (rows[inside], columns[inside])), shape=(count, len(voxels))
        ).tocsr()
        rest = np.clip(1.0 - np.asarray(found.sum(axis=0)).ravel(), 0.0, None)
        rest[rest < 1e-6] = 0.0
        return sparse.vstack([found, sparse.csr_array(rest[None].astype(entries.dtype))], format="csr")

    rows = np.repeat(np.arange(count), [len(place) for place in places])
    blurred = matrix(rows, column[np.concatenate(places)], np.concatenate(values))
    voxel = np.ravel_multi_index(tuple((points // factors).T), shape)
    share = matrix(np.asarray(regions), column[voxel], np.asarray(weights, np.float64) / np.prod(factors))
    return Masks(share, blurred, voxels, tuple(shape))


def _averages(masks):
    """Rows that average over each known region, (K, V), and the known regions."""
    from scipy import sparse

    known = np.flatnonzero(masks.known)
    return sparse.diags_array(1.0 / masks.size[known]) @ masks.share[known], known


def _spread_rows(values, known, count):
    out = np.full((count, values.shape[1]), np.nan)
    out[known] = values
    return out


def gtm(masks, values):
    """Regional activity by the geometric transfer matrix.

    Observed means are ``t_j = sum_i W_ji T_i``, with W the mean over region j of the blurred mask of region i.

    Parameters
    ----------
    masks : Masks
    values : numpy.ndarray, (V, F)
        Image at ``masks.voxels``.

    Returns
    -------
    activity : numpy.ndarray, (R, F), float64
        The background last; NaN for regions without voxels.
    condition : float
        Condition number of the matrix.
    """
    mean, known = _averages(masks)
    matrix = (mean @ masks.blurred[known].T).toarray()
    return _spread_rows(
        np.linalg.solve(matrix, mean @ values), known, masks.share.shape[0]
    ), float(np.linalg.cond(matrix))  # fmt: skip


def labbe(masks, values):
    """Regional activity by least squares of the image on the blurred masks; see `gtm`."""
    known = np.flatnonzero(masks.known)
    blurred = masks.blurred[known].astype(np.float64)
    matrix = (blurred @ blurred.T).toarray()
    found = np.linalg.solve(matrix, blurred @ values)
    return _spread_rows(found, known, masks.share.shape[0]), float(np.linalg.cond(matrix))


def _yang(masks, values, activity):
    """Image times the piecewise constant image over its blur: ``values * P / S(P)``, 0 where S(P) is not positive."""
    activity = np.nan_to_num(activity)
    seen = masks.blurred.T @ activity.astype(np.float32)
    least = 1e-4 * np.abs(activity).max(axis=0).astype(np.float32)
    ratio = masks.share.T.astype(np.float32) @ activity.astype(np.float32)
    np.divide(ratio, seen, out=ratio, where=seen > least)
    ratio[seen <= least] = 0.0
    return values * ratio


def rbv(masks, values):
    """Corrected image by region-based voxel-wise correction.

    Returns
    -------
    corrected : numpy.ndarray, (V, F), float32
    condition : float
        Of the GTM behind it.
    """
    activity, condition = gtm(masks, values)
    return _yang(masks, values, activity), condition


def region_values(masks, corrected):
    """Regional activity of a corrected image: means over masks, with shared voxels resolved.

    Where a voxel belongs to several regions its corrected value is their mixture; the means are those of the regions
    times the matrix of shares, which is solved (as PETPVC inverts fuzzy masks).

    Returns
    -------
    numpy.ndarray, (R, F), float64
    """
    mean, known = _averages(masks)
    mixture = (mean @ masks.share[known].T).toarray()
    return _spread_rows(np.linalg.solve(mixture, mean @ corrected), known, masks.share.shape[0])


def iterative_yang(masks, values, iterations=10):
    """Corrected image by iterative Yang: `rbv` with the means of the current estimate, negatives set to 0.

    Parameters
    ----------
    masks, values
        See `gtm`.
    iterations : int

    Returns
    -------
    numpy.ndarray, (V, F), float32
    """
    corrected = np.asarray(values, np.float32)
    for _ in range(iterations):
        corrected = _yang(masks, values, np.nan_to_num(region_values(masks, corrected)).clip(0.0))
    return corrected


def muller_gartner(masks, values, white, csf, threshold=MG_THRESHOLD):
    """Grey-matter activity voxel by voxel: what does not come from other tissue, over the blurred grey matter.

    Parameters
    ----------
    masks, values
        See `gtm`.
    white, csf : int
        Rows of white matter and CSF; every other region but the background is grey matter.
    threshold : float
        Least blurred grey matter.

    Returns
    -------
    corrected : numpy.ndarray, (V, F), float32
        0 where there is too little grey matter.
    inside : numpy.ndarray of bool, (V,)
    condition : float
        Of the GTM that gives white matter, CSF and background.
    """
    activity, condition = gtm(masks, values)
    activity = np.nan_to_num(activity).astype(np.float32)
    other = np.array([white, csf, masks.share.shape[0] - 1])
    rest = values - masks.blurred[other].T @ activity[other]
    grey = 1.0 - np.asarray(masks.blurred[other].sum(axis=0)).ravel()
    inside = grey >= threshold
    corrected = np.zeros_like(rest, dtype=np.float32)
    corrected[inside] = rest[inside] / grey[inside, None]
    return corrected, inside, condition


def grey_values(masks, corrected, inside):
    """Regional means of a Müller-Gärtner image where it has a value; NaN for regions without any.

    Returns
    -------
    numpy.ndarray, (R, F), float64
    """
    share = masks.share[:, np.flatnonzero(inside)]
    size = np.asarray(share.sum(axis=1)).ravel()
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(size[:, None] >= 0.5, (share @ corrected[inside]) / size[:, None], np.nan)


def correct(method, masks, values, *, white=None, csf=None, iterations=10):
    """Correct an image by any method.

    Parameters
    ----------
    method : str
        Of `METHODS`.
    masks, values
        See `gtm`.
    white, csf : int
        Rows of white matter and CSF, for Müller-Gärtner.
    iterations : int
        Of iterative Yang.

    Returns
    -------
    activity : numpy.ndarray, (R, F), float64
        Per region, the background last.
    corrected : numpy.ndarray, (V, F), float32, or None
        The image of `VOXELWISE` methods.
    condition : float
        Condition number of the matrix that was solved.
    """
    values = np.asarray(values, np.float32)
    if method == "gtm":
        activity, condition = gtm(masks, values)
        return activity, None, condition
    if method == "labbe":
        activity, condition = labbe(masks, values)
        return activity, None, condition
    if method == "rbv":
        corrected, condition = rbv(masks, values)
        return region_values(masks, corrected), corrected, condition
    if method == "iy":
        corrected = iterative_yang(masks, values, iterations)
        mean, known = _averages(masks)
        condition = float(np.linalg.cond((mean @ masks.share[known].T).toarray()))
        return region_values(masks, corrected), corrected, condition
    if method == "mg":
        corrected, inside, condition = muller_gartner(masks, values, white, csf)
        return grey_values(masks, corrected, inside), corrected, condition
    raise ValueError(f"method is {method!r}; allowed: {', '.join(METHODS)}")
