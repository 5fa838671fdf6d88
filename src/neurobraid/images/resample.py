"""Compiled interpolation at arbitrary points: one pass, no intermediate image.

Cubic interpolation uses the exact B-spline of order three (Unser 1999, IEEE Signal Process Mag 16:22): the
image is filtered once into coefficients, then 64 coefficients are weighted per point.
"""

import numpy as np
from numba import njit

from neurobraid.images.transforms import apply_affine


@njit(nogil=True, cache=True)
def _linear(volume, ijk, fill, out):
    nx, ny, nz = volume.shape
    for n in range(ijk.shape[0]):
        x, y, z = ijk[n, 0], ijk[n, 1], ijk[n, 2]
        # half a voxel beyond the outer centres still belongs to the image
        if not (-0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5 and -0.5 <= z <= nz - 0.5):
            out[n] = fill
            continue
        x, y, z = min(max(x, 0.0), nx - 1.0), min(max(y, 0.0), ny - 1.0), min(max(z, 0.0), nz - 1.0)
        i, j, k = min(int(x), max(nx - 2, 0)), min(int(y), max(ny - 2, 0)), min(int(z), max(nz - 2, 0))
        u, v, w = x - i, y - j, z - k
        i1, j1, k1 = min(i + 1, nx - 1), min(j + 1, ny - 1), min(k + 1, nz - 1)
        lower = (volume[i, j, k] * (1 - u) + volume[i1, j, k] * u) * (1 - v) + (
            volume[i, j1, k] * (1 - u) + volume[i1, j1, k] * u
        ) * v
        upper = (volume[i, j, k1] * (1 - u) + volume[i1, j, k1] * u) * (1 - v) + (
            volume[i, j1, k1] * (1 - u) + volume[i1, j1, k1] * u
        ) * v
        out[n] = lower * (1 - w) + upper * w


@njit(nogil=True, cache=True)
def _nearest(volume, ijk, fill, out):
    nx, ny, nz = volume.shape
    for n in range(ijk.shape[0]):
        x, y, z = ijk[n, 0], ijk[n, 1], ijk[n, 2]
        if not (-0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5 and -0.5 <= z < nz - 0.5):
            out[n] = fill
            continue
        out[n] = volume[int(np.floor(x + 0.5)), int(np.floor(y + 0.5)), int(np.floor(z + 0.5))]


@njit(nogil=True, cache=True)
def _mirror(index, size):
    if size == 1:
        return 0
    period = 2 * (size - 1)
    index = abs(index) % period
    return period - index if index >= size else index


@njit(nogil=True, cache=True)
def _weights(t, w):
    s = 1.0 - t
    w[0] = s * s * s / 6.0
    w[1] = 2.0 / 3.0 - t * t * (2.0 - t) / 2.0
    w[2] = 2.0 / 3.0 - s * s * (2.0 - s) / 2.0
    w[3] = t * t * t / 6.0


@njit(nogil=True, cache=True)
def _cubic(coefficients, ijk, fill, out):
    nx, ny, nz = coefficients.shape
    wx, wy, wz = np.empty(4), np.empty(4), np.empty(4)
    ix, iy, iz = np.empty(4, np.int64), np.empty(4, np.int64), np.empty(4, np.int64)
    for n in range(ijk.shape[0]):
        x, y, z = ijk[n, 0], ijk[n, 1], ijk[n, 2]
        if not (-0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5 and -0.5 <= z <= nz - 0.5):
            out[n] = fill
            continue
        i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
        _weights(x - i, wx)
        _weights(y - j, wy)
        _weights(z - k, wz)
        for m in range(4):
            ix[m] = _mirror(i - 1 + m, nx)
            iy[m] = _mirror(j - 1 + m, ny)
            iz[m] = _mirror(k - 1 + m, nz)
        total = 0.0
        for a in range(4):
            plane = 0.0
            for b in range(4):
                row = 0.0
                for c in range(4):
                    row += wz[c] * coefficients[ix[a], iy[b], iz[c]]
                plane += wy[b] * row
            total += wx[a] * plane
        out[n] = total


@njit(nogil=True, cache=True)
def _prefilter_axis(lines):
    # recursive filter of the cubic B-spline with mirror boundaries (pole sqrt(3) - 2)
    pole = np.sqrt(3.0) - 2.0
    rows, size = lines.shape
    if size == 1:
        return
    horizon = min(size, 28)
    for r in range(rows):
        c = lines[r]
        for n in range(size):
            c[n] *= 6.0
        total, power = c[0], pole
        if size > 28:
            for n in range(1, horizon):
                total += power * c[n]
                power *= pole
        else:
            inverse = 1.0 / pole
            power_back = pole ** (size - 1)
            total = c[0] + power_back * c[size - 1]
            power_back *= power_back * inverse
            for n in range(1, size - 1):
                total += (power + power_back) * c[n]
                power *= pole
                power_back *= inverse
            total /= 1.0 - power * power
        c[0] = total
        for n in range(1, size):
            c[n] += pole * c[n - 1]
        c[size - 1] = pole / (pole * pole - 1.0) * (c[size - 1] + pole * c[size - 2])
        for n in range(size - 2, -1, -1):
            c[n] = pole * (c[n + 1] - c[n])


def spline_coefficients(volume):
    """Cubic B-spline coefficients of a volume (mirror boundaries).

    Parameters
    ----------
    volume : numpy.ndarray, (X, Y, Z)

    Returns
    -------
    numpy.ndarray, (X, Y, Z), float32
    """
    values = np.array(volume, dtype=np.float32, order="C")
    for axis in range(3):
        moved = np.ascontiguousarray(np.moveaxis(values, axis, -1))
        _prefilter_axis(moved.reshape(-1, moved.shape[-1]))
        values = np.moveaxis(moved, -1, axis)
    return np.ascontiguousarray(values)


def sample(volume, ijk, order=1, fill=0.0, *, prefiltered=False):
    """Interpolate a volume at points.

    Parameters
    ----------
    volume : numpy.ndarray, (X, Y, Z)
    ijk : numpy.ndarray, (N, 3)
        Voxel coordinates, float.
    order : {0, 1, 3}
        Nearest neighbour, linear, or cubic B-spline.
    fill : float
        Value for points more than half a voxel outside.
    prefiltered : bool
        `volume` already holds `spline_coefficients` (order 3 only).

    Returns
    -------
    numpy.ndarray, (N,), float32 (order 0: the type of `volume`)
    """
    ijk = np.ascontiguousarray(ijk, dtype=np.float64)
    if order == 0:
        volume = np.ascontiguousarray(volume)
        out = np.empty(len(ijk), volume.dtype)
        _nearest(volume, ijk, volume.dtype.type(fill), out)
        return out
    out = np.empty(len(ijk), np.float32)
    if order == 1:
        _linear(np.ascontiguousarray(volume, dtype=np.float32), ijk, np.float32(fill), out)
    elif order == 3:
        coefficients = volume if prefiltered else spline_coefficients(volume)
        _cubic(np.ascontiguousarray(coefficients, dtype=np.float32), ijk, np.float32(fill), out)
    else:
        raise ValueError(f"order is {order}; allowed: 0, 1, 3")
    return out


def sample_vector(field, ijk):
    """Linear interpolation of a vector field, zero outside.

    Parameters
    ----------
    field : numpy.ndarray, (X, Y, Z, C)
    ijk : numpy.ndarray, (N, 3)

    Returns
    -------
    numpy.ndarray, (N, C), float64
    """
    parts = [sample(np.ascontiguousarray(field[..., c]), ijk, 1) for c in range(field.shape[-1])]
    return np.stack(parts, axis=-1).astype(np.float64)


def grid_points(shape, affine, mask=None):
    """World coordinates of the voxels of a grid.

    Parameters
    ----------
    shape : tuple of int
    affine : numpy.ndarray, (4, 4)
    mask : numpy.ndarray of bool, optional
        Only these voxels, in C order.

    Returns
    -------
    numpy.ndarray, (N, 3), float64
        RAS mm.
    """
    if mask is None:
        ijk = np.stack(np.meshgrid(*[np.arange(n) for n in shape[:3]], indexing="ij"), -1).reshape(-1, 3)
    else:
        ijk = np.argwhere(mask)
    return apply_affine(affine, ijk)


def resample_image(image, shape, affine, transform=None, order=1, fill=0.0, mask=None):
    """Resample a 3D image onto a grid, in one interpolation.

    Parameters
    ----------
    image : nibabel image or tuple (array, affine)
    shape : tuple of int
        Target grid.
    affine : numpy.ndarray, (4, 4)
        Target grid.
    transform : None, numpy.ndarray (4, 4) or Warp, or a list of them applied in order
        Maps target points to source points (what a ``from-source_to-target`` file holds).
    order, fill
        See `sample`.
    mask : numpy.ndarray of bool, target shape, optional
        Compute only these voxels; the rest is `fill`.

    Returns
    -------
    numpy.ndarray, target shape
    """
    if isinstance(image, tuple):
        values, source = image
    else:
        from neurobraid.images.io import data

        source = image.affine
        values = data(image, image.get_data_dtype() if order == 0 else np.float32)
    shape = tuple(shape[:3])
    points = grid_points(shape, affine, mask)
    for step in [] if transform is None else transform if isinstance(transform, list) else [transform]:
        points = step.apply(points) if hasattr(step, "apply") else apply_affine(step, points)
    sampled = sample(values, apply_affine(np.linalg.inv(source), points), order, fill)
    if mask is None:
        return sampled.reshape(shape)
    out = np.full(shape, fill, sampled.dtype)
    out[mask] = sampled
    return out
