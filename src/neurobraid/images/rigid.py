"""Rigid realignment of the volumes of one 4D series (BOLD head motion, PET frame motion).

Gauss-Newton least squares on smoothed volumes, in two levels:

* coarse: block means of about 1.6 FWHM, linear interpolation. Catches jumps of several millimetres.
* fine: cubic B-spline interpolation of the smoothed volume on the voxels of a mask.

The derivative is taken once, from the reference (the inverse compositional form of Baker & Matthews,
"Lucas-Kanade 20 years on", Int J Comput Vis 2004;56:221-255), so one iteration costs one interpolation
of the mask's voxels. The least-squares idea is that of Friston et al., Hum Brain Mapp 1995;3:165-189.
An optional gain per volume (PET frames change their uptake) is solved in the same linear system.

A matrix of this module maps world points (mm, RAS) of the *reference* to world points of the *volume*:
``matrix @ [x_ref, 1] = x_volume``. That is the ITK meaning of ``from-orig_to-boldref``.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = ["compose", "displacement", "parameters", "realign", "spline_into"]

_POLE = math.sqrt(3.0) - 2.0  # of the cubic B-spline's inverse filter (Unser 1999)


# --------------------------------------------------------------------------- compiled parts
# Volumes are C-ordered (z, y, x): the transpose of a nibabel array, which costs no copy.


@njit(cache=True, nogil=True)
def _mirror(i, n):
    """Index reflected into 0..n-1 about the centres of the end samples."""
    if n == 1:
        return 0
    period = 2 * (n - 1)
    i = abs(i) % period
    return period - i if i >= n else i


@njit(cache=True, nogil=True, fastmath=True)
def _smooth(vol, out, kz, ky, kx):
    """Separable symmetric FIR; ``k*`` hold the centre tap and one side; reflecting borders."""
    nz, ny, nx = vol.shape
    rz, ry, rx = kz.size - 1, ky.size - 1, kx.size - 1
    plane = np.empty((ny, nx), np.float32)
    line = np.empty(nx + 2 * rx, np.float32)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                plane[y, x] = kz[0] * vol[z, y, x]
        for r in range(1, rz + 1):
            lo, hi, w = _mirror(z - r, nz), _mirror(z + r, nz), kz[r]
            for y in range(ny):
                for x in range(nx):
                    plane[y, x] += w * (vol[lo, y, x] + vol[hi, y, x])
        for y in range(ny):
            for x in range(nx):
                line[rx + x] = ky[0] * plane[y, x]
            for r in range(1, ry + 1):
                lo, hi, w = _mirror(y - r, ny), _mirror(y + r, ny), ky[r]
                for x in range(nx):
                    line[rx + x] += w * (plane[lo, x] + plane[hi, x])
            for r in range(1, rx + 1):
                line[rx - r] = line[rx + _mirror(-r, nx)]
                line[rx + nx - 1 + r] = line[rx + _mirror(nx - 1 + r, nx)]
            for x in range(nx):
                out[z, y, x] = kx[0] * line[rx + x]
            for r in range(1, rx + 1):
                w = kx[r]
                for x in range(nx):
                    out[z, y, x] += w * (line[rx + x - r] + line[rx + x + r])


@njit(cache=True, nogil=True, fastmath=True)
def spline_into(vol, out):
    """Cubic B-spline coefficients of a volume, with mirrored borders for a sampler without tests.

    Parameters
    ----------
    vol : (nz, ny, nx) float32 array, C order
    out : (nz + 3, ny + 3, nx + 3) float32 array
        Filled: coefficient (z, y, x) stands at (z + 1, y + 1, x + 1).
    """
    nz, ny, nx = vol.shape
    pole = np.float32(_POLE)
    gain = np.float32(6.0)
    last = np.float32(_POLE / (_POLE * _POLE - 1.0))
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                out[z + 1, y + 1, x + 1] = gain * vol[z, y, x]
    c = out[1 : nz + 1, 1 : ny + 1, 1 : nx + 1]
    row = np.empty(nx, np.float32)
    # x: the recursion runs along the line
    if nx > 1:
        for z in range(nz):
            for y in range(ny):
                s = c[z, y, 0]
                p = pole
                for r in range(1, 12):
                    s += p * c[z, y, _mirror(r, nx)]
                    p *= pole
                c[z, y, 0] = s
                for x in range(1, nx):
                    s = c[z, y, x] + pole * s
                    c[z, y, x] = s
                s = last * (c[z, y, nx - 1] + pole * c[z, y, nx - 2])
                c[z, y, nx - 1] = s
                for x in range(nx - 2, -1, -1):
                    s = pole * (s - c[z, y, x])
                    c[z, y, x] = s
                for x in range(nx):
                    c[z, y, x] *= gain if ny > 1 else np.float32(1.0)
    # y: lines side by side
    if ny > 1:
        for z in range(nz):
            for x in range(nx):
                row[x] = c[z, 0, x]
            p = pole
            for r in range(1, 12):
                m = _mirror(r, ny)
                for x in range(nx):
                    row[x] += p * c[z, m, x]
                p *= pole
            for x in range(nx):
                c[z, 0, x] = row[x]
            for y in range(1, ny):
                for x in range(nx):
                    c[z, y, x] += pole * c[z, y - 1, x]
            for x in range(nx):
                c[z, ny - 1, x] = last * (c[z, ny - 1, x] + pole * c[z, ny - 2, x])
            for y in range(ny - 2, -1, -1):
                for x in range(nx):
                    c[z, y, x] = pole * (c[z, y + 1, x] - c[z, y, x])
            for y in range(ny):
                for x in range(nx):
                    c[z, y, x] *= gain if nz > 1 else np.float32(1.0)
    if nz > 1:
        for y in range(ny):
            for x in range(nx):
                row[x] = c[0, y, x]
            p = pole
            for r in range(1, 12):
                m = _mirror(r, nz)
                for x in range(nx):
                    row[x] += p * c[m, y, x]
                p *= pole
            for x in range(nx):
                c[0, y, x] = row[x]
        for z in range(1, nz):
            for y in range(ny):
                for x in range(nx):
                    c[z, y, x] += pole * c[z - 1, y, x]
        for y in range(ny):
            for x in range(nx):
                c[nz - 1, y, x] = last * (c[nz - 1, y, x] + pole * c[nz - 2, y, x])
        for z in range(nz - 2, -1, -1):
            for y in range(ny):
                for x in range(nx):
                    c[z, y, x] = pole * (c[z + 1, y, x] - c[z, y, x])
    # borders, so that the sampler needs no test
    for z in range(-1, nz + 2):
        inside_z = 0 <= z < nz
        mz = _mirror(z, nz)
        for y in range(-1, ny + 2):
            inside_y = 0 <= y < ny
            my = _mirror(y, ny)
            if inside_z and inside_y:
                out[z + 1, y + 1, 0] = out[z + 1, y + 1, _mirror(-1, nx) + 1]
                out[z + 1, y + 1, nx + 1] = out[z + 1, y + 1, _mirror(nx, nx) + 1]
                out[z + 1, y + 1, nx + 2] = out[z + 1, y + 1, _mirror(nx + 1, nx) + 1]
            else:
                for x in range(-1, nx + 2):
                    out[z + 1, y + 1, x + 1] = out[mz + 1, my + 1, _mirror(x, nx) + 1]


@njit(cache=True, nogil=True, fastmath=True)
def _normal_equations(coef, cubic, points, mapping, value, jacobian, full, gram, rhs):
    """Normal equations of V(Mx) = gain R(x) - J eta over the points that stay inside the volume.

    coef : padded spline coefficients (cubic) or the plain volume (linear), (z, y, x)
    points : (N, 3) voxel coordinates x, y, z of the reference; mapping : (3, 4) to voxels of the volume
    value : (N,) R at the points; jacobian : (N, 6); full : (7, 7) Gram matrix of all points
    gram, rhs : filled. Returns the number of points used and the sum of squares of V.
    """
    one = np.float32(1.0)
    half = np.float32(0.5)
    sixth = np.float32(1.0 / 6.0)
    two_thirds = np.float32(2.0 / 3.0)
    pad = 3 if cubic else 0
    nz, ny, nx = coef.shape[0] - pad, coef.shape[1] - pad, coef.shape[2] - pad
    m00, m01, m02, m03 = mapping[0]
    m10, m11, m12, m13 = mapping[1]
    m20, m21, m22, m23 = mapping[2]
    for a in range(7):
        rhs[a] = 0.0
        for b in range(7):
            gram[a, b] = full[a, b]
    r0 = r1 = r2 = r3 = r4 = r5 = r6 = 0.0
    squares = 0.0
    used = 0
    for n in range(points.shape[0]):
        px, py, pz = points[n, 0], points[n, 1], points[n, 2]
        x = m00 * px + m01 * py + m02 * pz + m03
        y = m10 * px + m11 * py + m12 * pz + m13
        z = m20 * px + m21 * py + m22 * pz + m23
        if x < 0 or y < 0 or z < 0 or x > nx - 1 or y > ny - 1 or z > nz - 1:
            for a in range(6):
                for b in range(a, 6):
                    d = np.float64(jacobian[n, a]) * jacobian[n, b]
                    gram[a, b] -= d
                    if b != a:
                        gram[b, a] -= d
                d = np.float64(jacobian[n, a]) * value[n]
                gram[a, 6] += d
                gram[6, a] += d
            gram[6, 6] -= np.float64(value[n]) * value[n]
            continue
        used += 1
        v = np.float32(0.0)
        if cubic:
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
            for c in range(4):
                wz = wz0 if c == 0 else (wz1 if c == 1 else (wz2 if c == 2 else wz3))
                for b in range(4):
                    wy = wy0 if b == 0 else (wy1 if b == 1 else (wy2 if b == 2 else wy3))
                    q = coef[k + c, j + b]
                    v += wz * wy * (wx0 * q[i] + wx1 * q[i + 1] + wx2 * q[i + 2] + wx3 * q[i + 3])
        else:
            i, j, k = min(int(x), nx - 2), min(int(y), ny - 2), min(int(z), nz - 2)
            i, j, k = max(i, 0), max(j, 0), max(k, 0)
            i1, j1, k1 = min(i + 1, nx - 1), min(j + 1, ny - 1), min(k + 1, nz - 1)
            fx, fy, fz = np.float32(x - i), np.float32(y - j), np.float32(z - k)
            v00 = coef[k, j, i] * (one - fx) + coef[k, j, i1] * fx
            v01 = coef[k, j1, i] * (one - fx) + coef[k, j1, i1] * fx
            v10 = coef[k1, j, i] * (one - fx) + coef[k1, j, i1] * fx
            v11 = coef[k1, j1, i] * (one - fx) + coef[k1, j1, i1] * fx
            v = (v00 * (one - fy) + v01 * fy) * (one - fz) + (v10 * (one - fy) + v11 * fy) * fz
        r0 -= jacobian[n, 0] * v
        r1 -= jacobian[n, 1] * v
        r2 -= jacobian[n, 2] * v
        r3 -= jacobian[n, 3] * v
        r4 -= jacobian[n, 4] * v
        r5 -= jacobian[n, 5] * v
        r6 += value[n] * v
        squares += v * v
    rhs[0], rhs[1], rhs[2], rhs[3], rhs[4], rhs[5], rhs[6] = r0, r1, r2, r3, r4, r5, r6
    return used, squares


@njit(cache=True, nogil=True, fastmath=True)
def _block_mean(vol, out, fz, fy, fx):
    """Mean of blocks of fz * fy * fx voxels, then a 1-2-1 smoothing on the coarse grid."""
    nz, ny, nx = out.shape
    scale = np.float32(1.0 / (fz * fy * fx))
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                s = np.float32(0.0)
                for c in range(fz):
                    for b in range(fy):
                        for a in range(fx):
                            s += vol[z * fz + c, y * fy + b, x * fx + a]
                out[z, y, x] = s * scale


# --------------------------------------------------------------------------- small geometry


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation Rx @ Ry @ Rz from three angles in rad."""
    (a, b, c), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    rx = np.array([[1, 0, 0], [0, a, -sa], [0, sa, a]])
    ry = np.array([[b, 0, sb], [0, 1, 0], [-sb, 0, b]])
    rz = np.array([[c, -sc, 0], [sc, c, 0], [0, 0, 1]])
    return rx @ ry @ rz


def compose(values: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Rigid matrices from six parameters; the inverse of :func:`parameters`.

    Parameters
    ----------
    values : (T, 6) or (6,) array
        Translations x, y, z in mm, then rotations about x, y, z in rad (applied z first).
    center : (3,) array
        Point (mm) about which the rotation turns.

    Returns
    -------
    (T, 4, 4) or (4, 4) float64 array
    """
    values = np.asarray(values, dtype=np.float64)
    center = np.asarray(center, dtype=np.float64)
    rows = np.atleast_2d(values)
    out = np.tile(np.eye(4), (len(rows), 1, 1))
    for matrix, row in zip(out, rows, strict=True):
        matrix[:3, :3] = _rotation(row[3:])
        matrix[:3, 3] = row[:3] + center - matrix[:3, :3] @ center
    return out if values.ndim == 2 else out[0]


def parameters(matrices: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Six motion parameters of rigid matrices.

    Parameters
    ----------
    matrices : (T, 4, 4) array
        World matrices as returned by :func:`realign`.
    center : (3,) array
        Point (mm) about which rotations are expressed (centre of the brain): the translation is what
        happens to this point, so that a pure rotation about it has none.

    Returns
    -------
    (T, 6) float64 array
        Translations x, y, z in mm and rotations about x, y, z in rad, the displacement of the head from
        the reference to each volume.
    """
    matrices = np.asarray(matrices, dtype=np.float64)
    center = np.asarray(center, dtype=np.float64)
    rotation = matrices[:, :3, :3]
    out = np.empty((len(matrices), 6))
    out[:, :3] = rotation @ center + matrices[:, :3, 3] - center
    out[:, 3] = np.arctan2(-rotation[:, 1, 2], rotation[:, 2, 2])
    out[:, 4] = np.arcsin(np.clip(rotation[:, 0, 2], -1.0, 1.0))
    out[:, 5] = np.arctan2(-rotation[:, 0, 1], rotation[:, 0, 0])
    return out


def displacement(
    estimated: np.ndarray, truth: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distance between two rigid estimates.

    Parameters
    ----------
    estimated, truth : (T, 4, 4) arrays
    points : (N, 3) array
        World points (mm) of the reference, usually the brain's.

    Returns
    -------
    distance : (T,) array
        Mean over the points of the distance between their two images, mm.
    angle : (T,) array
        Angle of the rotation between the two, degrees.
    """
    estimated, truth = np.asarray(estimated), np.asarray(truth)
    delta = estimated - truth
    moved = np.einsum("tij,nj->tni", delta[:, :3, :3], points) + delta[:, None, :3, 3]
    relative = np.swapaxes(truth[:, :3, :3], 1, 2) @ estimated[:, :3, :3]
    # from the antisymmetric part: the trace loses half the digits for small angles
    axis = np.stack(
        [
            relative[:, 2, 1] - relative[:, 1, 2],
            relative[:, 0, 2] - relative[:, 2, 0],
            relative[:, 1, 0] - relative[:, 0, 1],
        ],
        axis=1,
    )
    sine = 0.5 * np.linalg.norm(axis, axis=1)
    cosine = 0.5 * (np.trace(relative, axis1=1, axis2=2) - 1.0)
    return np.linalg.norm(moved, axis=2).mean(axis=1), np.degrees(np.arctan2(sine, cosine))


# --------------------------------------------------------------------------- the estimator


def _kernel(fwhm: float, zoom: float) -> np.ndarray:
    """Centre tap and one side of a Gaussian of ``fwhm`` mm on samples ``zoom`` mm apart, float32."""
    sigma = fwhm / zoom / math.sqrt(8.0 * math.log(2.0))
    if sigma < 0.1:
        return np.ones(1, np.float32)
    half = np.exp(-0.5 * (np.arange(math.ceil(3.0 * sigma) + 1) / sigma) ** 2)
    return (half / (half[0] + 2.0 * half[1:].sum())).astype(np.float32)


def _gradient(vol: np.ndarray, to_world: np.ndarray) -> np.ndarray:
    """World gradient (z, y, x, 3) of a (z, y, x) volume; ``to_world`` is the 3 x 3 voxel-to-mm matrix."""
    parts = [np.gradient(vol, axis=axis) if vol.shape[axis] > 1 else np.zeros_like(vol) for axis in (2, 1, 0)]
    return np.stack(parts, axis=-1) @ np.linalg.inv(to_world)


class _Level:
    """Reference values, Jacobian and sample points on one level of the pyramid."""

    def __init__(self, ref, affine, mask, center, *, cubic, gradient=None, limit):
        # ref, mask: (z, y, x). affine: voxel (x, y, z) to mm of this level's grid.
        index = np.argwhere(mask)
        if len(index) > limit:
            # every m-th diagonal plane: regular, covers the brain evenly, no random numbers
            step = math.ceil(len(index) / limit)
            index = index[(index.sum(axis=1) % step) == 0]
        gradient = _gradient(ref, affine[:3, :3]) if gradient is None else gradient
        where = tuple(index.T)
        self.points = np.ascontiguousarray(index[:, ::-1], dtype=np.float64)
        world = self.points @ affine[:3, :3].T + affine[:3, 3] - center
        slope = gradient[where].astype(np.float64)
        self.value = np.ascontiguousarray(ref[where], dtype=np.float32)
        self.jacobian = np.hstack([slope, np.cross(world, slope)]).astype(np.float32)
        columns = np.hstack([-self.jacobian.astype(np.float64), self.value[:, None].astype(np.float64)])
        self.full = columns.T @ columns
        self.affine, self.inverse = affine, np.linalg.inv(affine)
        self.center, self.cubic = center, cubic
        self.gram, self.rhs = np.empty((7, 7)), np.empty(7)

    def _equations(self, coef, matrix):
        mapping = np.ascontiguousarray((self.inverse @ matrix @ self.affine)[:3])
        return _normal_equations(
            coef, self.cubic, self.points, mapping, self.value, self.jacobian, self.full, self.gram, self.rhs
        )

    def cost(self, coef, matrix, gain):
        """Mean squared residual at ``matrix``; infinite where too little of the mask is inside."""
        used, squares = self._equations(coef, matrix)
        if used < 0.3 * len(self.value):
            return np.inf
        a = self.rhs[6] / self.gram[6, 6] if gain else 1.0
        return (squares - 2.0 * a * self.rhs[6] + a * a * self.gram[6, 6]) / (used * max(a * a, 1e-12))

    def solve(self, coef, matrix, *, gain, iterations, tolerance):
        """Gauss-Newton from ``matrix``. Stops when the brain moves less than ``tolerance`` mm."""
        for _ in range(iterations):
            used, _squares = self._equations(coef, matrix)
            if used < 0.3 * len(self.value):
                break
            if gain:
                solution = np.linalg.lstsq(self.gram, self.rhs, rcond=1e-12)[0]
                if solution[6] <= 0:
                    break
                step = solution[:6] / solution[6]
            else:
                step = np.linalg.lstsq(self.gram[:6, :6], self.rhs[:6] - self.gram[:6, 6], rcond=1e-12)[0]
            size = np.linalg.norm(step[:3]) + 50.0 * np.linalg.norm(step[3:])
            if not np.isfinite(size):
                break
            if size > 15.0:  # never leap further than the smoothing can see
                step *= 15.0 / size
            matrix = matrix @ compose(step, self.center)
            if size < tolerance:
                break
        return matrix


def realign(
    data4d: np.ndarray,
    affine: np.ndarray,
    *,
    reference: int | np.ndarray,
    mask: np.ndarray | None = None,
    fwhm: float = 5.0,
    scale_intensity: bool = False,
    starts: np.ndarray | None = None,
) -> np.ndarray:
    """Estimate the rigid motion of every volume of a series against one reference.

    Parameters
    ----------
    data4d : (X, Y, Z, T) array
        The series; float32 in Fortran order (as nibabel gives it) is read without a copy.
    affine : (4, 4) array
        Voxel to world (mm, RAS).
    reference : int or (X, Y, Z) array
        Index of the reference volume, or an image on the same grid.
    mask : (X, Y, Z) bool array, optional
        Voxels of the reference that count. Default: brighter than 20 % of its 98th percentile.
    fwhm : float, default 5.0
        Smoothing (mm) before the comparison; never less than 0.8 voxels. More smoothing sees less
        noise but gives slow intensity changes (drift, the coil's shading) more weight.
    scale_intensity : bool, default False
        Fit one gain per volume (PET frames whose uptake changes; BOLD volumes before steady state).
    starts : (T, 4, 4) array, optional
        First guesses. Default: the previous volume's result or no motion, whichever fits better.

    Returns
    -------
    (T, 4, 4) float64 array
        ``matrices[t] @ [x_ref, 1]`` is the world point of volume ``t`` that shows what the reference
        shows at ``x_ref``. Exactly the identity for the reference volume itself.

    Raises
    ------
    ValueError
        The series is not 4D, the mask or reference has another shape, or the mask is empty.

    Notes
    -----
    Non-finite voxels count as zero. A volume without signal keeps the previous volume's estimate.
    """
    affine = np.asarray(affine, dtype=np.float64)
    if data4d.ndim != 4:
        raise ValueError(f"realign needs a 4D series, found shape {data4d.shape}")
    shape = data4d.shape[:3]
    index = None if isinstance(reference, np.ndarray) and reference.ndim else int(reference)
    target = _volume(data4d, index) if index is not None else _prepare(np.asarray(reference))
    if target.shape != shape[::-1]:
        raise ValueError(f"reference has shape {target.shape[::-1]}, the series {shape}")
    if mask is None:
        floor = 0.2 * np.percentile(target, 98)
        mask = floor < target.T
    if mask.shape != shape:
        raise ValueError(f"mask has shape {mask.shape}, the series {shape}")
    if not mask.any():
        raise ValueError("the mask for realignment is empty")

    zooms = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    kernels = [_kernel(max(fwhm, 0.8 * z), z) for z in zooms[::-1]]
    factor = [
        int(np.clip(round(1.6 * fwhm / z), 1, max(1, n // 8))) for z, n in zip(zooms, shape, strict=True)
    ]
    # Only the box around the mask is worth filtering: 12 mm are left for the head to move in.
    box = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        margin = math.ceil(12.0 / zooms[axis])
        box.append(slice(max(hit[0] - margin, 0), min(hit[-1] + margin + 1, shape[axis])))
    origin = np.array([b.start for b in box], dtype=np.float64)
    fine_affine = affine.copy()
    fine_affine[:3, 3] += affine[:3, :3] @ origin
    crop = tuple(box[::-1])
    inner = np.ascontiguousarray(mask[tuple(box)].T)
    center = affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]

    smooth = np.empty(inner.shape, np.float32)
    coef = np.zeros(tuple(n + 3 for n in inner.shape), np.float32)
    coarse = np.empty(tuple(n // f for n, f in zip(inner.shape, factor[::-1], strict=True)), np.float32)
    blur = np.empty_like(coarse)
    binomial = [np.array([0.5, 0.25], np.float32) if n > 2 else np.ones(1, np.float32) for n in coarse.shape]

    def pyramid(volume):
        _smooth(np.ascontiguousarray(volume[crop]), smooth, *kernels)
        _block_mean(smooth, blur, *factor[::-1])
        _smooth(blur, coarse, *binomial)

    pyramid(target)
    fine = _Level(smooth, fine_affine, inner, center, cubic=True, limit=20000)
    coarse_affine = fine_affine.copy()
    coarse_affine[:3, :3] = fine_affine[:3, :3] * np.array(factor)
    coarse_affine[:3, 3] += fine_affine[:3, :3] @ ((np.array(factor) - 1) / 2.0)
    share = np.empty_like(coarse)
    _block_mean(inner.astype(np.float32), share, *factor[::-1])
    low = share > 0.5 if (share > 0.5).sum() >= 50 else share > 0.0
    rough = _Level(coarse.copy(), coarse_affine, low, center, cubic=False, limit=20000)

    total = data4d.shape[3]
    matrices = np.tile(np.eye(4), (total, 1, 1))
    previous = np.eye(4)
    for t in range(total):
        if t == index:
            previous = np.eye(4)
            continue
        volume = _volume(data4d, t)
        pyramid(volume)
        if not smooth.any():
            matrices[t] = previous
            continue
        candidates = [previous, np.eye(4)] if starts is None else [np.asarray(starts[t], dtype=np.float64)]
        costs = [rough.cost(coarse, c, scale_intensity) for c in candidates]
        guess = candidates[int(np.argmin(costs))]
        guess = rough.solve(coarse, guess, gain=scale_intensity, iterations=10, tolerance=0.1)
        spline_into(smooth, coef)
        matrices[t] = fine.solve(coef, guess, gain=scale_intensity, iterations=10, tolerance=0.004)
        previous = matrices[t]
    return matrices


def _volume(data4d: np.ndarray, t: int) -> np.ndarray:
    return _prepare(data4d[..., t])


def _prepare(volume: np.ndarray) -> np.ndarray:
    """(z, y, x) C-ordered float32 view or copy of a 3D volume, finite."""
    out = np.ascontiguousarray(volume.T, dtype=np.float32)
    return out if np.isfinite(out.sum()) else np.nan_to_num(out, nan=0.0, posinf=0.0, neginf=0.0)
