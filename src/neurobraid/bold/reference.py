"""Steady state, reference image and first brain mask of a BOLD run."""

import numpy as np

from neurobraid.bold.sampling import Sampler
from neurobraid.images.resample import grid_points
from neurobraid.images.rigid import realign

_AVERAGED = 24


def count_non_steady(data, limit=10):
    """Number of volumes at the start that are brighter than the rest (magnetisation not yet saturated).

    A volume counts while its mean exceeds the median of the first 60 volumes by 3.5 robust standard
    deviations (Iglewicz & Hoaglin 1993) and by half a percent; the count stops at the first that does not.

    Parameters
    ----------
    data : (X, Y, Z, T) array
    limit : int
        Never more than this many, nor a quarter of the run.

    Returns
    -------
    int
    """
    window = min(60, data.shape[3])
    means = np.array([data[..., t].mean(dtype=np.float64) for t in range(window)])
    middle = np.median(means)
    spread = np.median(np.abs(means - middle)) / 0.6745
    high = (means - middle > 3.5 * spread) & (means - middle > 0.005 * abs(middle))
    count = int(np.argmin(high)) if not high.all() else 0
    return min(count, limit, data.shape[3] // 4)


def brain_mask(image, zooms):
    """Brain of a T2*-weighted image by intensity: Otsu's threshold, then morphology.

    The image is divided by its own coarse mean (10 mm), so that a coil's shading does not cut one side off;
    opening removes the thin scalp, the largest piece is kept and its holes are filled.

    Parameters
    ----------
    image : (X, Y, Z) array
    zooms : (3,) array
        Voxel edges, mm.

    Returns
    -------
    (X, Y, Z) bool array

    Notes
    -----
    Otsu, IEEE Trans Syst Man Cybern 1979;9:62-66.
    """
    from scipy import ndimage

    zooms = np.asarray(zooms, dtype=float)
    top = np.percentile(image, 99)
    clipped = np.clip(image, 0.0, top) / max(top, 1e-12)
    rough = clipped > _otsu(clipped) * 0.6
    # shading: mean of the bright voxels in a wide neighbourhood
    sigma = 25.0 / zooms
    weight = ndimage.gaussian_filter(rough.astype(np.float32), sigma, truncate=2.5)
    level = ndimage.gaussian_filter(np.where(rough, clipped, 0.0).astype(np.float32), sigma, truncate=2.5)
    even = clipped / np.maximum(level / np.maximum(weight, 1e-3), 0.2)
    even = ndimage.gaussian_filter(even, 0.5 * zooms.min() / zooms)
    mask = even > 0.5
    # opened by about 4 mm, but never by less than one voxel of the coarsest axis
    ball = _ball(max(4.0, 1.01 * zooms.max()), zooms)
    opened = ndimage.binary_opening(mask, ball)
    labels, count = ndimage.label(opened)
    if count == 0:
        return mask if mask.any() else rough
    largest = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    closed = ndimage.binary_closing(np.pad(largest, 4), _ball(2 * zooms.max(), zooms))[4:-4, 4:-4, 4:-4]
    filled = ndimage.binary_fill_holes(closed | largest)
    for z in range(filled.shape[2]):  # holes open to the border of a short field of view
        filled[..., z] = ndimage.binary_fill_holes(filled[..., z])
    return filled


def _otsu(values):
    counts, edges = np.histogram(values[values > 0], bins=256)
    centres = 0.5 * (edges[:-1] + edges[1:])
    below = np.cumsum(counts)
    total = below[-1]
    if total == 0:
        return 0.0
    mean_below = np.cumsum(counts * centres)
    above = np.maximum(total - below, 1)
    gap = mean_below / np.maximum(below, 1) - (mean_below[-1] - mean_below) / above
    return centres[int(np.argmax(below * (total - below) * gap**2))]


def _ball(radius, zooms):
    reach = [int(radius // z) for z in zooms]
    grids = np.meshgrid(*[np.arange(-r, r + 1) * z for r, z in zip(reach, zooms, strict=True)], indexing="ij")
    return sum(g**2 for g in grids) <= radius**2 + 1e-6


def make_reference(series, non_steady):
    """Average image of the run in the position of one of its volumes.

    Parameters
    ----------
    series : neurobraid.bold.series.Series
    non_steady : int
        Volumes at the start to leave out.

    Returns
    -------
    image : (X, Y, Z) float32 array
        Trimmed mean (10 % at either end) of up to 24 realigned volumes spread over the run.
    index : int
        The volume whose position it has: among nine, the one nearest to their median image, so never one
        with a spike or in mid-movement.
    mask : (X, Y, Z) bool array
        `brain_mask` of the image.
    """
    data, affine = series.data, series.affine
    total = data.shape[3]
    some = np.unique(np.linspace(non_steady, total - 1, 11)[1:-1].round().astype(int))
    stack = np.stack([data[..., t] for t in some], axis=-1)
    middle = np.median(stack, axis=-1)
    far = [float(np.mean(np.abs(stack[..., n] - middle), dtype=np.float64)) for n in range(len(some))]
    index = int(some[int(np.argmin(far))])

    picked = np.unique(
        np.linspace(non_steady, total - 1, min(_AVERAGED, total - non_steady)).round().astype(int)
    )
    subset = np.asfortranarray(data[..., picked])
    mask = brain_mask(data[..., index], series.zooms)
    matrices = realign(subset, affine, reference=data[..., index], mask=mask, scale_intensity=True)
    sampler = Sampler(subset, affine)
    points = grid_points(data.shape[:3], affine)
    moved = np.stack([sampler.volume(n, points, matrix) for n, matrix in enumerate(matrices)])
    moved.sort(axis=0)
    cut = len(moved) // 10
    image = moved[cut : len(moved) - cut].mean(axis=0, dtype=np.float64).reshape(data.shape[:3])
    image = np.maximum(image, 0.0).astype(np.float32)  # spline overshoot outside the head
    return image, index, brain_mask(image, series.zooms)
