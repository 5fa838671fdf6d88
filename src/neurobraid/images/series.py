"""Image series as matrices: the voxels of a mask over time, and region labels on the grid of a series."""

import gzip
import zlib

import numpy as np

from neurobraid.errors import InputError
from neurobraid.images.io import load
from neurobraid.images.transforms import apply_affine


def read_masked(path, mask):
    """Read the voxels of a mask from a 4D image, without a full copy of the image in another order.

    Parameters
    ----------
    path : path-like
        4D NIfTI.
    mask : numpy.ndarray of bool, (X, Y, Z)

    Returns
    -------
    series : numpy.ndarray, (T, V), float32
        Voxels in C order of the mask, as ``volume[mask]`` gives them.
    image : nibabel image
        For affine and header.

    Raises
    ------
    InputError
        Not 4D, another grid than the mask, or damaged.
    """
    image = load(path)
    if len(image.shape) != 4 or image.shape[3] < 2:
        raise InputError(
            path, "dimensions", image.shape, "4 (a time series)", "give the series, not one volume"
        )
    if image.shape[:3] != mask.shape:
        raise InputError(
            path, "grid", image.shape[:3], f"{mask.shape} (the mask's)", "make both on the same grid"
        )
    try:
        values = np.asarray(image.dataobj)
    except (EOFError, OSError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            path, "voxel data", f"truncated ({error})", "a complete file", "copy the file again"
        ) from None
    spots = np.argwhere(mask)
    flat = np.ravel_multi_index(tuple(spots[:, ::-1].T), image.shape[2::-1])
    return np.take(values.T.reshape(image.shape[3], -1), flat, axis=1).astype(np.float32, copy=False), image


def with_signal(series):
    """Voxels that are finite, positive on average and not constant: those inside the field of view.

    Parameters
    ----------
    series : numpy.ndarray, (T, V)

    Returns
    -------
    numpy.ndarray of bool, (V,)
    """
    with np.errstate(invalid="ignore", over="ignore"):
        mean = series.mean(0, dtype=np.float64)
        moving = series.max(0) > series.min(0)
    # a voxel with a hundredth of the usual brightness is air or an interpolation rim; its percent change means nothing
    usual = np.median(mean[np.isfinite(mean) & (mean > 0)]) if (mean > 0).any() else np.inf
    return np.isfinite(mean) & moving & (mean > 0.01 * usual)


def labels_on_grid(labels, affine, shape, target):
    """Nearest-neighbour labels on another grid of the same space.

    Parameters
    ----------
    labels : numpy.ndarray of int, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
        Grid of the labels.
    shape : tuple of 3 int
    target : numpy.ndarray, (4, 4)
        Grid wanted.

    Returns
    -------
    numpy.ndarray, `shape`, dtype of `labels`
        0 outside the labels' grid.
    """
    shape = tuple(shape[:3])
    if labels.shape == shape and np.allclose(affine, target):
        return labels
    ijk = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    # half-way points all go the same way, whatever the rounding error, so that regions stay compact
    spots = np.floor(apply_affine(np.linalg.inv(affine) @ target, ijk) + 0.5 - 1e-6).astype(np.int64)
    inside = ((spots >= 0) & (spots < labels.shape)).all(-1)
    out = np.zeros(shape, labels.dtype)
    out[inside] = labels[tuple(spots[inside].T)]
    return out


def region_sizes(labels, table):
    """Voxels of every region of a table on a grid.

    Parameters
    ----------
    labels : numpy.ndarray of int
    table : pandas.DataFrame
        With column index.

    Returns
    -------
    numpy.ndarray of int, (R,)
        0 for a region that the grid does not hold.
    """
    present, counts = np.unique(labels, return_counts=True)
    found = dict(zip(present.tolist(), counts.tolist(), strict=True))
    return np.array([found.get(int(index), 0) for index in table["index"]])
