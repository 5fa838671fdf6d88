"""Gaussian smoothing inside a mask, as three matrix products per volume."""

import numpy as np

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


def gaussian_matrix(size, fwhm, truncate=4.0):
    """Matrix that convolves a line of voxels with a Gaussian, zero beyond the ends.

    Parameters
    ----------
    size : int
        Voxels along the line.
    fwhm : float
        Full width at half maximum in voxels.
    truncate : float
        Half width of the kernel in standard deviations.

    Returns
    -------
    numpy.ndarray, (size, size), float32
        Symmetric; the kernel sums to 1 before it is cut at the ends of the line.

    Examples
    --------
    >>> gaussian_matrix(9, 2.0)[4].sum().round(4)
    np.float32(1.0)
    """
    sigma = fwhm / FWHM_PER_SIGMA
    radius = int(truncate * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    matrix = np.zeros((size, size))
    near = distance <= radius
    matrix[near] = kernel[radius + distance[near]]
    return matrix.astype(np.float32)


def _convolve(volumes, matrices):
    """Apply one matrix per spatial axis to volumes of shape (N, A, B, C)."""
    first, second, third = matrices
    count, a, b, c = volumes.shape
    volumes = (volumes.reshape(-1, c) @ third).reshape(count * a, b, c)
    volumes = np.matmul(second, volumes).reshape(count, a, b * c)
    return np.matmul(first, volumes).reshape(count, a, b, c)


def smooth_in_mask(series, mask, fwhm_mm, voxel_mm, block=16):
    """Smooth a masked series without drawing in the emptiness around the mask.

    Every value becomes the Gaussian-weighted mean of the mask's voxels around it: smoothed data over smoothed mask
    (normalised convolution, Knutsson & Westin 1993), so that the edge of the brain is not darkened.

    Parameters
    ----------
    series : numpy.ndarray, (T, V), float32
        Values of the V voxels of the mask, in C order of the mask.
    mask : numpy.ndarray of bool, (X, Y, Z)
    fwhm_mm : float
        Full width at half maximum in mm; 0 returns the series unchanged.
    voxel_mm : sequence of 3 float
        Voxel edges in mm.
    block : int
        Volumes held as full images at a time.

    Returns
    -------
    numpy.ndarray, (T, V), float32
        A new array unless `fwhm_mm` is 0.
    """
    if not fwhm_mm:
        return series
    where = np.argwhere(mask)
    low, high = where.min(0), where.max(0) + 1
    inside = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    flat = np.flatnonzero(inside)
    matrices = [gaussian_matrix(n, fwhm_mm / v) for n, v in zip(inside.shape, voxel_mm, strict=True)]
    weight = _convolve(inside[None].astype(np.float32), matrices).reshape(-1)[flat]
    out = np.empty_like(series, dtype=np.float32)
    for start in range(0, len(series), block):
        part = series[start : start + block]
        volumes = np.zeros((len(part), inside.size), np.float32)
        volumes[:, flat] = part
        smoothed = _convolve(volumes.reshape(len(part), *inside.shape), matrices)
        out[start : start + block] = smoothed.reshape(len(part), -1)[:, flat] / weight
    return out
