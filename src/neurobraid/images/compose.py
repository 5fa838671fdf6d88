"""Several transforms in a row as one file: an affine and a displacement field, as ITK, ANTs and this project read it."""

import numpy as np

from neurobraid.images.resample import grid_points
from neurobraid.images.transforms import Warp, apply_affine


def follow(points, steps):
    """Map points through transforms, one after the other.

    Parameters
    ----------
    points : numpy.ndarray, (N, 3)
        RAS mm.
    steps : list of numpy.ndarray (4, 4) or Warp
        In the order they are applied.

    Returns
    -------
    numpy.ndarray, (N, 3), float64
    """
    for step in steps:
        points = step.apply(points) if hasattr(step, "apply") else apply_affine(step, points)
    return points


def _field(ends, starts, shape):
    return np.ascontiguousarray((ends - starts).reshape(*shape[:3], 3), np.float32)


def compose(steps, shape, affine, matrix):
    """One warp for a chain of transforms.

    Parameters
    ----------
    steps : list of numpy.ndarray (4, 4) or Warp
        From points of the target, in the order they are applied.
    shape : tuple of int
        Grid of the displacement field, in the space of the target.
    affine : numpy.ndarray, (4, 4)
    matrix : numpy.ndarray, (4, 4)
        Affine part of the result, target to source points: what is left for the displacement should be small and smooth.

    Returns
    -------
    Warp
        ``x -> matrix (x + displacement(x))``: equal to the chain at the grid's points, linear between them.
    """
    points = grid_points(shape, affine)
    ends = apply_affine(np.linalg.inv(matrix), follow(points, steps))
    return Warp(np.asarray(matrix, float), _field(ends, points, shape), np.asarray(affine, float))


def compose_inverse(steps, shape, affine, matrix):
    """One warp for a chain that leads to the space of the grid.

    Parameters
    ----------
    steps : list of numpy.ndarray (4, 4) or Warp
        In the order they are applied.
    shape : tuple of int
        Grid of the displacement field, in the space the chain leads to.
    affine : numpy.ndarray, (4, 4)
    matrix : numpy.ndarray, (4, 4)
        Affine part of the result.

    Returns
    -------
    Warp
        ``x -> y + displacement(y)`` with ``y = matrix x``.
    """
    points = grid_points(shape, affine)
    ends = follow(points, [np.linalg.inv(matrix), *steps])
    return Warp(
        np.asarray(matrix, float), _field(ends, points, shape), np.asarray(affine, float), affine_first=True
    )
