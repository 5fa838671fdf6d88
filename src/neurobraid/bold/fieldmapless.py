"""Susceptibility distortion without a field map: the shift that makes a run look like its own anatomy.

The tissue posteriors of the T1w image and the mean signal of each tissue give an echo-planar image without distortion.
The run's reference is brought to it by a displacement along the phase-encoding axis alone [1]_ [2]_, brightness changing with the
Jacobian: cubic B-splines on a control grid, coarse to fine, maximise the local correlation in Gaussian windows [3]_. What is
rigid is left to the rigid registration, which is repeated on the undistorted image.

A registration cannot see the field where the image has no contrast or no signal: a measured field map is better.

References
----------
.. [1] Studholme C et al. (2000), IEEE Trans Med Imaging 19:1115-1127.
.. [2] Wang S et al. (2017), Front Neuroinform 11:17.
.. [3] Cachier P et al. (2003), Comput Vis Image Underst 89:272-298.
"""

import logging

import numpy as np
from numba import njit

from neurobraid.bold.distortion import phase_axis, undistort

log = logging.getLogger("neurobraid")

# control spacing, extra smoothing (FWHM), voxel, window (sigma); all mm
_LEVELS = ((36.0, 8.0, 5.0, 12.0), (24.0, 5.0, 4.0, 9.0), (16.0, 4.0, 3.0, 7.0))
_STIFFNESS = 0.15  # cost of a shift that changes by 1 mm per mm
_ANCHOR = 0.02  # cost of a shift of 10 mm: the mean shift belongs to the rigid registration
_NOISE = 0.05  # contrast, relative to the mean signal, below which correlation means nothing
_ITERATIONS = 60
_ROUNDS = 3
_MARGIN_MM = 6.0
_LEAST_GAIN = 0.005  # of the mean local correlation


def spline_matrix(count, step, spacing):
    """Cubic B-splines of a line of control points at the voxels of a line.

    Parameters
    ----------
    count : int
        Voxels.
    step : float
        Voxel edge, mm; the line starts half an edge before the first centre.
    spacing : float
        Distance of the control points, mm.

    Returns
    -------
    (count, controls) float64 array
        Rows sum to 1.
    """
    place = (np.arange(count) + 0.5) * step / spacing
    controls = int(np.ceil(count * step / spacing)) + 3
    distance = np.abs(place[:, None] + 1.0 - np.arange(controls)[None])
    near = 2.0 / 3.0 - distance**2 + 0.5 * distance**3
    far = (2.0 - distance).clip(0.0) ** 3 / 6.0
    return np.where(distance < 1.0, near, far)


@njit(nogil=True, cache=True)
def _along_lines(coefficients, shift, value, slope):
    """Cubic spline and its derivative at ``index + shift`` of every line (last axis); constant beyond the ends."""
    lines, count = coefficients.shape
    for line in range(lines):
        for n in range(count):
            x = n + shift[line, n]
            x = min(max(x, 0.0), count - 1.0)
            i = min(int(x), count - 2)
            t = x - i
            s = 1.0 - t
            c0 = coefficients[line, abs(i - 1)]
            c1 = coefficients[line, i]
            c2 = coefficients[line, i + 1]
            c3 = coefficients[line, i + 2] if i + 2 < count else coefficients[line, count - 2]
            value[line, n] = (
                s * s * s * c0 + (4.0 - 6.0 * t * t + 3.0 * t * t * t) * c1
                + (4.0 - 6.0 * s * s + 3.0 * s * s * s) * c2 + t * t * t * c3
            ) / 6.0  # fmt: skip
            slope[line, n] = (
                -s * s * c0 + (-4.0 * t + 3.0 * t * t) * c1 + (4.0 * s - 3.0 * s * s) * c2 + t * t * c3
            ) / 2.0


class Level:
    """Cost of a displacement at one resolution; arrays have the phase-encoding axis last.

    Parameters
    ----------
    image, target : (A, B, N) float arrays
        Distorted image, and what it should look like, on one scale of brightness.
    weight : (A, B, N) float array
        0 to 1: where they are compared.
    zooms : (3,) array
        Voxel edges in the order of the axes, mm.
    spacing : float
        Of the control points, mm.
    window : float
        Sigma of the windows of the local correlation, mm.
    modulate : bool
        Change brightness by the Jacobian.
    """

    def __init__(self, image, target, weight, zooms, spacing, window, *, modulate=True):
        from scipy import ndimage

        self.shape = image.shape
        self.coefficients = np.ascontiguousarray(
            ndimage.spline_filter1d(np.asarray(image, np.float64), order=3, axis=2, mode="mirror")
        ).reshape(-1, self.shape[2])
        self.bases = [spline_matrix(n, z, spacing) for n, z in zip(self.shape, zooms, strict=True)]
        self.controls = tuple(basis.shape[1] for basis in self.bases)
        self.derivative = np.gradient(np.eye(self.shape[2]), axis=0)
        self.step, self.spacing, self.modulate = float(zooms[2]), spacing, modulate
        self.sigma = window / np.asarray(zooms)
        self.weight, self.target = weight, target
        self.total = np.maximum(self._blur(weight), 1e-6)
        self.sum = float(self.total.sum())
        self.mean_target = self._blur(weight * target) / self.total
        bright = float((weight * target).sum() / max(float(weight.sum()), 1e-6))
        self.noise = max((_NOISE * bright) ** 2, 1e-12)
        variance = self._blur(weight * target**2) / self.total - self.mean_target**2
        self.variance_target = np.maximum(variance, 0.0) + self.noise

    def _blur(self, values):
        from scipy import ndimage

        return ndimage.gaussian_filter(values, self.sigma, mode="constant", truncate=3.0)

    def expand(self, coefficients):
        """Shift in mm at every voxel, from the control points."""
        first, second, third = self.bases
        return np.einsum("ia,jb,kc,abc->ijk", first, second, third, coefficients, optimize=True)

    def fit(self, shift):
        """Control points nearest to a shift in mm."""
        first, second, third = [np.linalg.pinv(basis) for basis in self.bases]
        return np.einsum("ai,bj,ck,ijk->abc", first, second, third, shift, optimize=True)

    def correlation(self, shift, *, gradient=False):
        """Mean local correlation of the undistorted image with the target.

        Parameters
        ----------
        shift : (A, B, N) array
            mm.
        gradient : bool

        Returns
        -------
        score : float
        slope : (A, B, N) array
            Its derivative by the shift; only with `gradient`.
        """
        voxels = np.ascontiguousarray(shift / self.step).reshape(-1, self.shape[2])
        value, rise = np.empty_like(voxels), np.empty_like(voxels)
        _along_lines(self.coefficients, voxels, value, rise)
        factor = 1.0 + voxels @ self.derivative.T if self.modulate else np.ones_like(voxels)
        image = (value * factor).reshape(self.shape)
        weighted = self.weight * image
        mean = self._blur(weighted) / self.total
        variance = np.maximum(self._blur(weighted * image) / self.total - mean**2, 0.0) + self.noise
        # the noise is also common to both: equal images then correlate by 1 whatever their contrast, and nothing is
        # gained by a Jacobian that only raises it
        common = self._blur(weighted * self.target) / self.total - mean * self.mean_target + self.noise
        scale = 1.0 / np.sqrt(variance * self.variance_target)
        local = common * scale
        score = float((self.total * local).sum() / self.sum)
        if not gradient:
            return score
        # by the image, then by the shift: the windows' weights cancel against the means they were divided by
        bend = -0.5 * local / variance
        by_image = self.target * self._blur(scale) - self._blur(scale * self.mean_target)
        by_image += 2.0 * (image * self._blur(bend) - self._blur(bend * mean))
        by_image = (by_image * self.weight / self.sum).reshape(-1, self.shape[2])
        slope = by_image * rise * factor
        if self.modulate:
            slope += (by_image * value) @ self.derivative
        return score, slope.reshape(self.shape) / self.step

    def __call__(self, flat):
        """Cost of flattened control points (mm) and its derivative: one minus correlation, plus stiffness and anchor."""
        coefficients = flat.reshape(self.controls)
        score, slope = self.correlation(self.expand(coefficients), gradient=True)
        first, second, third = self.bases
        by = -np.einsum("ia,jb,kc,ijk->abc", first, second, third, slope, optimize=True)
        cost, count = 1.0 - score, flat.size
        for axis in range(3):
            bend = np.diff(coefficients, axis=axis) / self.spacing
            cost += _STIFFNESS * float((bend**2).sum()) / count
            pad = [(1, 1) if n == axis else (0, 0) for n in range(3)]
            by -= 2.0 * _STIFFNESS / self.spacing / count * np.diff(np.pad(bend, pad), axis=axis)
        cost += _ANCHOR * float((coefficients**2).sum()) / count / 100.0
        by += 2.0 * _ANCHOR / count / 100.0 * coefficients
        return cost, by.ravel()

    def optimise(self, start):
        """Control points of least cost, from a start."""
        from scipy.optimize import minimize

        found = minimize(
            self, start.ravel(), jac=True, method="L-BFGS-B",
            options={"maxiter": _ITERATIONS, "maxcor": 8, "ftol": 1e-7, "gtol": 1e-9},
        )  # fmt: skip
        return found.x.reshape(self.controls)


def level_grid(shape, affine, voxel):
    """A coarser grid with the same axes and the same outer edges.

    Parameters
    ----------
    shape : tuple of int
    affine : (4, 4) array
    voxel : float
        Voxel edge wanted, mm; finer axes are coarsened, coarser ones stay.

    Returns
    -------
    shape : tuple of int
    affine : (4, 4) array
    """
    zooms = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    size = tuple(
        max(round(float(n * z / voxel)), 4) if z < voxel else n for n, z in zip(shape, zooms, strict=True)
    )
    factor = np.array(shape) / np.array(size)
    out = affine.copy()
    out[:3, :3] = affine[:3, :3] * factor
    out[:3, 3] = affine[:3, 3] + affine[:3, :3] @ (0.5 * factor - 0.5)
    return size, out


def smoothed(values, zooms, fwhm):
    """Gaussian smoothing; `fwhm` in mm, per axis or for all."""
    from scipy import ndimage

    sigma = np.broadcast_to(fwhm, 3) / 2.3548 / np.asarray(zooms)
    return ndimage.gaussian_filter(np.asarray(values, np.float32), sigma, mode="nearest", truncate=3.0)


def tissue_signal(image, shares, weight, zooms):
    """Mean signal of each tissue, and the smooth gain that the coil puts on top.

    Parameters
    ----------
    image : (X, Y, Z) array
    shares : (T, X, Y, Z) array
        Share of every tissue.
    weight : (X, Y, Z) array
    zooms : (3,) array
        mm.

    Returns
    -------
    signal : (T,) array
        Not negative.
    gain : (X, Y, Z) array
        Smooth over about 6 cm, around 1.
    """
    from scipy import ndimage

    used = (weight > 0.5) & (shares.sum(axis=0) > 0.9)
    if np.count_nonzero(used) < 50:
        return np.ones(len(shares)), np.ones(image.shape)
    sigma = 25.0 / np.asarray(zooms)
    gain = np.ones(image.shape, np.float64)
    for _ in range(3):
        design = (shares[:, used] * gain[used]).T.astype(np.float64)
        signal = np.linalg.lstsq(design, image[used].astype(np.float64), rcond=None)[0]
        signal = np.maximum(signal, 0.02 * max(float(signal.max()), 1e-12))
        model = np.tensordot(signal, shares, 1) * used
        over = ndimage.gaussian_filter(image * used, sigma, truncate=2.5)
        gain = over / np.maximum(ndimage.gaussian_filter(model, sigma, truncate=2.5), 1e-6 * signal.max())
        gain = np.clip(np.where(gain > 0, gain, 1.0), 0.2, 5.0)
    return signal, gain


def shift_along_axis(image, affine, maps, matrix, axis, seen, *, modulate=True):
    """Displacement along one axis that brings an image to its tissue maps.

    Parameters
    ----------
    image : (X, Y, Z) array
        Distorted.
    affine : (4, 4) array
    maps : dict of str to nibabel image
        ``gm``, ``wm``, ``csf``, ``brain_mask`` in T1w space.
    matrix : (4, 4) array
        T1w points to BOLD points.
    axis : int
        Phase-encoding axis.
    seen : (X, Y, Z) array
        The image as undistorted as it is known so far: gives the signal of the tissues.
    modulate : bool

    Returns
    -------
    voxels : (X, Y, Z) float32 array
        Shift towards growing index.
    before, after : float
        Mean local correlation at the finest level.
    """
    from neurobraid.images.io import data
    from neurobraid.images.resample import resample_image

    zooms = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    back = np.linalg.inv(matrix)
    anatomy = maps["gm"].affine
    fine = np.sqrt((anatomy[:3, :3] ** 2).sum(axis=0))
    arrays = {name: data(maps[name]) for name in ("gm", "wm", "csf", "brain_mask")}
    order = [*(n for n in range(3) if n != axis), axis]
    shift, levels = None, []
    for spacing, extra, voxel, window in _LEVELS:
        shape, grid = level_grid(image.shape, affine, voxel)
        size = np.sqrt((grid[:3, :3] ** 2).sum(axis=0))
        blur = np.sqrt(np.maximum(size**2 - zooms**2, 0.0) + extra**2)
        width = float(
            np.sqrt(max(float(np.prod(size) ** (2 / 3) - np.prod(fine) ** (2 / 3)), 0.0) + extra**2)
        )
        brought, now = (
            resample_image((smoothed(values, zooms, blur), affine), shape, grid) for values in (image, seen)
        )
        shares = np.stack(
            [
                resample_image((smoothed(arrays[name], fine, width), anatomy), shape, grid, back)
                for name in ("gm", "wm", "csf")
            ]
        )
        brain = smoothed(arrays["brain_mask"], fine, 2.0 * _MARGIN_MM)
        weight = (resample_image((brain, anatomy), shape, grid, back) / 0.1).clip(0.0, 1.0).astype(np.float64)
        signal, gain = tissue_signal(now, shares, weight, size)
        target = np.tensordot(signal, shares, 1) * gain
        level = Level(
            *(np.ascontiguousarray(a.transpose(order), np.float64) for a in (brought, target, weight)),
            size[order], spacing, window, modulate=modulate,
        )  # fmt: skip
        start = np.zeros(level.controls)
        if shift is not None:
            start = level.fit(
                resample_image((shift, levels[-1]), shape, grid, fill=0.0).transpose(order).astype(np.float64)
            )
        found = level.optimise(start)
        shift = level.expand(found).transpose(np.argsort(order)).astype(np.float32)
        levels.append(grid)
    before = level.correlation(np.zeros(level.shape))
    after = level.correlation(level.expand(found))
    bases = [
        spline_matrix(n, s * m / n, _LEVELS[-1][0])
        for n, s, m in zip(
            (image.shape[i] for i in order), size[order], (shape[i] for i in order), strict=True
        )
    ]
    full = np.einsum("ia,jb,kc,abc->ijk", *bases, found, optimize=True).transpose(np.argsort(order))
    return (full / zooms[axis]).astype(np.float32), before, after


def estimate(reference, affine, mask, maps, readout_s, direction, *, modulate=True):
    """Field of a BOLD run by constrained registration to its T1w image.

    Parameters
    ----------
    reference : (X, Y, Z) array
        BOLD reference, distorted.
    affine : (4, 4) array
    mask : (X, Y, Z) bool array
        Its brain.
    maps : dict of str to nibabel image
        ``t1w``, ``brain_mask``, ``gm``, ``wm``, ``csf``, on one grid.
    readout_s : float
        ``TotalReadoutTime``, s.
    direction : str
        ``PhaseEncodingDirection``.
    modulate : bool
        Let brightness follow the Jacobian.

    Returns
    -------
    hz : (X, Y, Z) float32 array
        On the grid of the reference, its median in the brain 0: what all of the brain has in common is left to the rigid
        registration that follows. 0 everywhere if the images did not become more alike.
    facts : dict
        For the sidecar.
    """
    from neurobraid.bold.coregister import coregister

    axis, sign = phase_axis(direction)
    hz = np.zeros(reference.shape, np.float32)
    seen, brain = np.asarray(reference, np.float32), mask
    scores, quality = [], {}
    for turn in range(_ROUNDS):
        if turn:
            seen = undistort(reference, affine, hz, readout_s, direction, modulate=modulate)
            brain = undistort(mask.astype(np.float32), affine, hz, readout_s, direction, modulate=False) > 0.5
        matrix, quality = coregister(
            seen, affine, brain, maps["t1w"], maps["brain_mask"], maps["wm"], maps["gm"]
        )
        voxels, *found = shift_along_axis(reference, affine, maps, matrix, axis, seen, modulate=modulate)
        scores += found
        # a shift of the whole brain and its opposite in the rigid position look the same: the latter has it
        voxels = voxels - np.median(voxels[brain])
        hz = (voxels / np.float32(sign * readout_s)).astype(np.float32)
        log.info("round %d: local correlation %.4f, %.4f without distortion", turn + 1, *found)
    # uncorrected at the rigid position that was best for it, corrected at the last
    before, after = scores[0], scores[-1]
    if not after >= before + _LEAST_GAIN:
        log.warning(
            "the registration along the phase-encoding axis gained nothing: no distortion is corrected"
        )
        hz = np.zeros(reference.shape, np.float32)
    facts = {
        "RegistrationScore": after,
        "RegistrationScoreUncorrected": before,
        "RegistrationMetric": "mean local correlation with the image the tissue maps make",
        "ControlSpacingMm": [level[0] for level in _LEVELS],
        "CoregistrationMethod": quality["coreg_method"],
    }
    return hz, facts
