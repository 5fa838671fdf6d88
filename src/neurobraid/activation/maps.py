"""Statistic maps as files: the four statistics of a contrast, and what their values mean."""

import numpy as np

from neurobraid.errors import InputError
from neurobraid.images.io import data, load, save

STATS = ("effect", "variance", "t", "z")
F_STATS = ("effect", "variance", "F", "z")

UNITS = {
    "effect": "percent signal change at the peak of the response to one epoch (estimate x ResponsePeak)",
    "variance": "(percent signal change)^2",
    "t": "t statistic with DegreesOfFreedom",
    "z": "normal deviate of the same tail probability",
    "background": "0 means outside the analysed voxels",
}

F_UNITS = {
    "effect": "percent signal change, one volume per row of the contrast",
    "variance": "(percent signal change)^2: covariance of the rows, upper triangle row by row",
    "F": "F statistic with NumeratorDegreesOfFreedom and DegreesOfFreedom",
    "z": "normal deviate of the same upper tail probability",
    "background": "0 means outside the analysed voxels",
}


def triangle(covariance):
    """Upper triangle of covariance matrices, row by row.

    Parameters
    ----------
    covariance : numpy.ndarray, (Q, Q, ...)

    Returns
    -------
    numpy.ndarray, (Q (Q + 1) / 2, ...)
    """
    return covariance[np.triu_indices(len(covariance))]


def from_triangle(values):
    """Covariance matrices from their upper triangle: the inverse of `triangle`."""
    size = round((np.sqrt(8 * len(values) + 1) - 1) / 2)
    out = np.zeros((size, size, *values.shape[1:]))
    rows, columns = np.triu_indices(size)
    out[rows, columns] = out[columns, rows] = values
    return out


def write_maps(maps, affine, paths):
    """Write the maps of all contrasts.

    Parameters
    ----------
    maps : dict of str to dict of str to numpy.ndarray, (X, Y, Z)
        Contrast, then statistic.
    affine : numpy.ndarray, (4, 4)
    paths : list of path-like
        Contrast by contrast, each in the order of `STATS` (`F_STATS` for an F contrast).
    """
    every = [volume for values in maps.values() for volume in values.values()]
    for volume, path in zip(every, paths, strict=True):
        save(volume, affine, path)


def read_stack(paths):
    """Read maps of one grid.

    Parameters
    ----------
    paths : list of path-like

    Returns
    -------
    stack : numpy.ndarray, (N, X, Y, Z) or (N, X, Y, Z, Q), float64
        NaN becomes 0, the mark of voxels without a value.
    affine : numpy.ndarray, (4, 4)

    Raises
    ------
    InputError
        Maps on different grids.
    """
    images = [load(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape[:3] != images[0].shape[:3] or not np.allclose(
            image.affine, images[0].affine, atol=1e-4
        ):
            raise InputError(
                path, "grid", image.shape[:3], f"the grid of {paths[0]}", "make all maps on one grid"
            )
    shapes = [image.shape[:3] if np.prod(image.shape[3:]) <= 1 else image.shape[:4] for image in images]
    stack = np.stack([data(i).reshape(shape) for i, shape in zip(images, shapes, strict=True)]).astype(
        np.float64
    )
    return np.nan_to_num(stack, nan=0.0, posinf=0.0, neginf=0.0), images[0].affine
