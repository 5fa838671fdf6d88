"""Compiled samplers of the BOLD stage: many volumes, one set of points, a matrix per volume."""

import numpy as np
from numba import njit

from neurobraid.images.rigid import spline_into


@njit(cache=True, nogil=True, fastmath=True)
def sample_cubic(coef, points, mapping, out):
    """Cubic B-spline interpolation of one volume at affinely moved points.

    Parameters
    ----------
    coef : (nz + 3, ny + 3, nx + 3) float32 array
        From `neurobraid.images.rigid.spline_into`.
    points : (N, 3) float64 array
        World points.
    mapping : (3, 4) float64 array
        World points to voxels x, y, z of the volume.
    out : (N,) float32 array
        Filled. Outside the volume the border value goes on: a voxel at the edge of the field of view then
        has no jumps of its own when the head moves.
    """
    one = np.float32(1.0)
    half = np.float32(0.5)
    sixth = np.float32(1.0 / 6.0)
    two_thirds = np.float32(2.0 / 3.0)
    nz, ny, nx = coef.shape[0] - 3, coef.shape[1] - 3, coef.shape[2] - 3
    m00, m01, m02, m03 = mapping[0]
    m10, m11, m12, m13 = mapping[1]
    m20, m21, m22, m23 = mapping[2]
    for n in range(points.shape[0]):
        px, py, pz = points[n, 0], points[n, 1], points[n, 2]
        x = min(max(m00 * px + m01 * py + m02 * pz + m03, 0.0), nx - 1.0)
        y = min(max(m10 * px + m11 * py + m12 * pz + m13, 0.0), ny - 1.0)
        z = min(max(m20 * px + m21 * py + m22 * pz + m23, 0.0), nz - 1.0)
        i, j, k = int(x), int(y), int(z)
        f = np.float32(x - i)
        g = one - f
        wx0, wx3 = g * g * g * sixth, f * f * f * sixth
        wx1 = two_thirds - half * f * f * (one + g)
        wx2 = one - wx0 - wx1 - wx3
        f = np.float32(y - j)
        g = one - f
        wy0, wy3 = g * g * g * sixth, f * f * f * sixth
        wy1 = two_thirds - half * f * f * (one + g)
        wy2 = one - wy0 - wy1 - wy3
        f = np.float32(z - k)
        g = one - f
        wz0, wz3 = g * g * g * sixth, f * f * f * sixth
        wz1 = two_thirds - half * f * f * (one + g)
        wz2 = one - wz0 - wz1 - wz3
        v = np.float32(0.0)
        for c in range(4):
            wz = wz0 if c == 0 else (wz1 if c == 1 else (wz2 if c == 2 else wz3))
            for b in range(4):
                wy = wy0 if b == 0 else (wy1 if b == 1 else (wy2 if b == 2 else wy3))
                q = coef[k + c, j + b]
                v += wz * wy * (wx0 * q[i] + wx1 * q[i + 1] + wx2 * q[i + 2] + wx3 * q[i + 3])
        out[n] = v


@njit(cache=True, nogil=True, fastmath=True)
def sample_linear(vol, points, mapping, out):
    """Trilinear form of `sample_cubic`; ``vol`` is the plain (z, y, x) volume."""
    nz, ny, nx = vol.shape
    m00, m01, m02, m03 = mapping[0]
    m10, m11, m12, m13 = mapping[1]
    m20, m21, m22, m23 = mapping[2]
    for n in range(points.shape[0]):
        px, py, pz = points[n, 0], points[n, 1], points[n, 2]
        x = min(max(m00 * px + m01 * py + m02 * pz + m03, 0.0), nx - 1.0)
        y = min(max(m10 * px + m11 * py + m12 * pz + m13, 0.0), ny - 1.0)
        z = min(max(m20 * px + m21 * py + m22 * pz + m23, 0.0), nz - 1.0)
        i, j, k = int(x), int(y), int(z)
        i1, j1, k1 = min(i + 1, nx - 1), min(j + 1, ny - 1), min(k + 1, nz - 1)
        u, v, w = x - i, y - j, z - k
        lower = (vol[k, j, i] * (1 - u) + vol[k, j, i1] * u) * (1 - v) + (
            vol[k, j1, i] * (1 - u) + vol[k, j1, i1] * u
        ) * v
        upper = (vol[k1, j, i] * (1 - u) + vol[k1, j, i1] * u) * (1 - v) + (
            vol[k1, j1, i] * (1 - u) + vol[k1, j1, i1] * u
        ) * v
        out[n] = lower * (1 - w) + upper * w


class Sampler:
    """Reads the volumes of one series at world points.

    Parameters
    ----------
    data : (X, Y, Z, T) float32 array, Fortran order
    affine : (4, 4) array
        Voxel to world.
    interpolation : {'cubic', 'linear'}
    """

    def __init__(self, data, affine, interpolation="cubic"):
        if interpolation not in ("cubic", "linear"):
            raise ValueError(f"interpolation is {interpolation!r}; allowed: cubic, linear")
        self.data = data
        self.inverse = np.linalg.inv(affine)
        self.cubic = interpolation == "cubic"
        self.coef = np.zeros(tuple(n + 3 for n in data.shape[2::-1]), np.float32)
        self.current = None

    def volume(self, t, points, matrix=None):
        """Values of volume ``t``.

        Parameters
        ----------
        t : int
        points : (N, 3) float64 array
            World points of the reference.
        matrix : (4, 4) array, optional
            Moves them to world points of this volume (one head-motion transform).

        Returns
        -------
        (N,) float32 array
        """
        volume = np.ascontiguousarray(self.data[..., t].T)
        mapping = np.ascontiguousarray((self.inverse if matrix is None else self.inverse @ matrix)[:3])
        out = np.empty(len(points), np.float32)
        if not self.cubic:
            sample_linear(volume, points, mapping, out)
            return out
        if self.current != t:  # several sets of points share the filtered volume
            spline_into(volume, self.coef)
            self.current = t
        sample_cubic(self.coef, points, mapping, out)
        return out
