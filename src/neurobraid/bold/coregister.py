"""BOLD reference to T1w: mutual information first, then the grey-white boundary.

Boundary-based registration: Greve & Fischl, NeuroImage 2009;48:63-72. A T2*-weighted image is brighter in grey than
in white matter; the cost asks at every boundary point how much brighter, 2 mm to either side.
"""

from __future__ import annotations

import logging

import numpy as np

from neurobraid.bold.sampling import sample_cubic
from neurobraid.images.rigid import compose, spline_into

log = logging.getLogger("neurobraid")

_DEPTH = 2.0  # mm to either side of the boundary
_POINTS = 16000
_LIMIT_MM, _LIMIT_DEG = 8.0, 8.0  # a refinement that goes further has lost its way


def white_boundary(wm, gm, affine, *, limit=_POINTS):
    """Points on the grey-white boundary and their outward normals.

    Voxels near the level 0.5 of the white-matter probability are moved onto it along its gradient. A point
    stays when there is white matter 2 mm inside and grey matter 2 mm outside, which leaves out the ventricles.

    Parameters
    ----------
    wm, gm : (X, Y, Z) arrays
        Tissue probabilities.
    affine : (4, 4) array
        Voxel to world.
    limit : int
        At most about this many points, evenly taken.

    Returns
    -------
    points : (N, 3) float64 array
        World, mm.
    normals : (N, 3) float64 array
        Unit vectors from white to grey matter.
    """
    from scipy import ndimage

    from neurobraid.images.resample import sample
    from neurobraid.images.transforms import apply_affine

    zooms = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    smooth = ndimage.gaussian_filter(np.asarray(wm, np.float32), np.maximum(0.8 / zooms, 0.5))
    to_world = np.linalg.inv(affine[:3, :3])
    near = np.argwhere(np.abs(smooth - 0.5) < 0.35)
    near = near[((near > 0) & (near < np.array(wm.shape) - 1)).all(axis=1)]
    i, j, k = near.T
    slope = 0.5 * np.stack(
        [
            smooth[i + 1, j, k] - smooth[i - 1, j, k],
            smooth[i, j + 1, k] - smooth[i, j - 1, k],
            smooth[i, j, k + 1] - smooth[i, j, k - 1],
        ],
        axis=1,
    )
    slope = slope.astype(np.float64) @ to_world
    steep = np.linalg.norm(slope, axis=1)
    distance = (0.5 - smooth[i, j, k]) / np.maximum(steep, 1e-6)
    keep = (steep > 0.05) & (np.abs(distance) < 0.6 * zooms.max())
    normals = -slope[keep] / steep[keep, None]
    points = apply_affine(affine, near[keep]) - distance[keep, None] * normals
    to_voxel = np.linalg.inv(affine)
    inside = sample(wm, apply_affine(to_voxel, points - _DEPTH * normals), 1)
    outside = sample(gm, apply_affine(to_voxel, points + _DEPTH * normals), 1)
    beyond = sample(wm, apply_affine(to_voxel, points + _DEPTH * normals), 1)
    good = np.flatnonzero((inside > 0.6) & (outside > 0.4) & (beyond < 0.4))
    if len(good) > limit:
        good = good[np.linspace(0, len(good) - 1, limit).round().astype(int)]
    return points[good], normals[good]


class BoundaryCost:
    """Cost of a rigid position of the boundary in one image.

    Parameters
    ----------
    image : (X, Y, Z) float32 array
    affine : (4, 4) array
        Of the image.
    points, normals : (N, 3) arrays
        From `white_boundary`.
    floor : float
        Where the image is darker than this there is no signal to judge by (dropout, outside the head).
    """

    def __init__(self, image, affine, points, normals, floor):
        volume = np.ascontiguousarray(image.T, dtype=np.float32)
        self.coef = np.zeros(tuple(n + 3 for n in volume.shape), np.float32)
        spline_into(volume, self.coef)
        self.inverse = np.linalg.inv(affine)
        self.both = np.concatenate([points - _DEPTH * normals, points + _DEPTH * normals])
        self.shape = np.array(image.shape)
        self.floor = floor
        self.values = np.empty(len(self.both), np.float32)

    def contrast(self, matrix):
        """Percent by which the outside is brighter than the inside; NaN without signal, (N,)."""
        mapping = np.ascontiguousarray((self.inverse @ matrix)[:3])
        sample_cubic(self.coef, self.both, mapping, self.values)
        white, grey = np.split(self.values, 2)
        ijk = self.both @ mapping[:, :3].T + mapping[:, 3]
        seen = ((ijk > -0.5) & (ijk < self.shape - 0.5)).all(axis=1)
        seen = seen[: len(white)] & seen[len(white) :] & (white > self.floor) & (grey > self.floor)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(seen, 200.0 * (grey - white) / (grey + white), np.nan)

    def __call__(self, matrix, sign, slope):
        """Mean of ``1 - tanh(slope * contrast)``: 0 is perfect, 1 is no contrast; lost points count 1."""
        q = np.nan_to_num(self.contrast(matrix))
        return float(np.mean(1.0 - np.tanh(slope * sign * q), dtype=np.float64))


def refine(image, affine, points, normals, start, *, floor):
    """Boundary-based refinement of a rigid registration.

    Parameters
    ----------
    image, affine
        BOLD reference.
    points, normals
        From `white_boundary`, T1w space.
    start : (4, 4) array
        T1w points to BOLD points.
    floor : float
        See `BoundaryCost`.

    Returns
    -------
    matrix : (4, 4) float64 array
        The better of start and refinement.
    before, after : float
        Cost at the start and at the result, the slope of the tangent being one over the start's contrast.
    sign : float
        1 when grey matter is the brighter side (T2*), -1 when white matter is.
    """
    from scipy.optimize import minimize

    center = points.mean(axis=0)
    coarse = BoundaryCost(image, affine, points[::3], normals[::3], floor)
    fine = BoundaryCost(image, affine, points, normals, floor)
    middle = float(np.nan_to_num(np.nanmedian(fine.contrast(start))))
    sign = 1.0 if middle >= 0 else -1.0
    # tanh must not saturate at the contrast at hand, or the cost is flat around its minimum
    typical = max(abs(middle), 2.0)
    scale = np.array([1.0, 1.0, 1.0, 0.02, 0.02, 0.02])  # 1 mm and about 1 mm at 50 mm

    def place(values):
        return start @ compose(values * scale, center)

    best = np.zeros(6)
    for cost, slope, step in ((coarse, 0.5 / typical, 2.0), (fine, 1.0 / typical, 0.7)):
        simplex = np.vstack([best, best + step * np.eye(6)])
        first = minimize(
            lambda v, c=cost, s=slope: c(place(v), sign, s),
            best,
            method="Nelder-Mead" if step < 1 else "Powell",
            options={"initial_simplex": simplex, "xatol": 0.005, "fatol": 1e-6, "maxiter": 300}
            if step < 1
            else {"direc": step * np.eye(6), "xtol": 0.02, "ftol": 1e-5, "maxiter": 12},
        )
        best = first.x
    matrix = place(best)
    before, after = fine(start, sign, 1.0 / typical), fine(matrix, sign, 1.0 / typical)
    moved = best * scale
    far = np.linalg.norm(moved[:3]) > _LIMIT_MM or np.degrees(np.linalg.norm(moved[3:])) > _LIMIT_DEG
    if far or after >= before:
        return start, before, before, sign
    return matrix, before, after, sign


def coregister(image, affine, mask, t1w, t1w_mask, wm, gm):
    """Rigid registration of the BOLD reference to the T1w image.

    Parameters
    ----------
    image, mask : (X, Y, Z) arrays
        BOLD reference and its intensity mask.
    affine : (4, 4) array
    t1w, t1w_mask, wm, gm : nibabel images
        T1w, brain mask and tissue probabilities, on one grid.

    Returns
    -------
    matrix : (4, 4) float64 array
        T1w points to BOLD points (``from-boldref_to-T1w``).
    quality : dict
        ``coreg_method``, ``coreg_mi``, ``bbr_cost_initial``, ``bbr_cost``, ``bbr_contrast_percent``,
        ``bbr_points``.
    """
    import nibabel as nib
    from scipy import ndimage

    from neurobraid.images.io import data
    from neurobraid.images.registration import register_rigid

    brain = data(t1w_mask) > 0.5
    zooms = np.sqrt((t1w.affine[:3, :3] ** 2).sum(axis=0))
    around = ndimage.gaussian_filter(brain.astype(np.float32), 4.0 / zooms) > 0.1
    fixed = nib.Nifti1Image(np.where(brain, data(t1w), 0).astype(np.float32), t1w.affine)
    wide = ndimage.binary_dilation(mask, iterations=2)
    moving = nib.Nifti1Image(np.where(wide, image, 0).astype(np.float32), affine)
    finest = max(3.0, float(np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).min()))
    matrix, score = register_rigid(fixed, moving, fixed_mask=around.astype(np.uint8), finest=finest)
    quality = {"coreg_method": "mutual information", "coreg_mi": round(float(score), 6)}

    points, normals = white_boundary(data(wm), data(gm), t1w.affine)
    quality["bbr_points"] = len(points)
    if len(points) < 200:
        log.warning("only %d boundary points: registration by mutual information alone", len(points))
        return matrix, quality
    floor = 0.3 * float(np.median(image[mask]))
    refined, before, after, sign = refine(image, affine, points, normals, matrix, floor=floor)
    cost = BoundaryCost(image, affine, points, normals, floor)
    quality["bbr_cost_initial"], quality["bbr_cost"] = round(before, 6), round(after, 6)
    quality["bbr_contrast_percent"] = round(float(np.nanmedian(sign * cost.contrast(refined))), 4)
    if after < before:
        quality["coreg_method"] = "boundary"
    else:
        log.warning("boundary-based refinement did not improve the registration: mutual information is kept")
    return refined, quality
