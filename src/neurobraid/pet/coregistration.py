"""Rigid registration of the PET reference to the T1w image of the same head."""

import numpy as np


def smooth(values, affine, fwhm_mm):
    """Gaussian smoothing, zero outside the image; `fwhm_mm` in mm, shape (X, Y, Z) kept."""
    from scipy import ndimage

    sigma = fwhm_mm / 2.3548 / np.linalg.norm(affine[:3, :3], axis=0)
    return ndimage.gaussian_filter(np.asarray(values, np.float32), sigma, mode="constant", truncate=3.0)


def anatomy(t1w, t1w_affine, brain, *, fwhm_mm=4.0, margin_mm=12.0, level_mm=3.0):
    """T1w image as PET is compared with it: smoothed, coarse, cut to the brain and a margin; see `to_anatomy`.

    Returns
    -------
    fixed : numpy.ndarray, (A, B, C), float32
    mask : numpy.ndarray of bool, (A, B, C)
        Voxels that count.
    affine : numpy.ndarray, (4, 4)
    """
    from neurobraid.images.resample import resample_image

    where = np.argwhere(brain)
    zooms = np.linalg.norm(t1w_affine[:3, :3], axis=0)
    low = np.maximum(where.min(0) - np.ceil(margin_mm / zooms).astype(int), 0)
    high = np.minimum(where.max(0) + 1 + np.ceil(margin_mm / zooms).astype(int), brain.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    corner = t1w_affine.copy()
    corner[:3, 3] = t1w_affine[:3, :3] @ low + t1w_affine[:3, 3]
    blurred = smooth(t1w[box], corner, fwhm_mm)
    near = smooth(brain[box], corner, margin_mm)
    step = np.maximum(level_mm / zooms, 1.0)
    coarse = corner.copy()
    coarse[:3, :3] = corner[:3, :3] * step
    shape = tuple(np.maximum(np.floor((high - low - 1) / step).astype(int) + 1, 2))
    fixed = resample_image((blurred, corner), shape, coarse)
    mask = resample_image((near, corner), shape, coarse) > 0.05
    return fixed, mask, coarse


BINS = 32
"""Bins of either image in `mutual_information`."""


def mutual_information(first, second, bins=BINS):
    """Mutual information of two samples of intensities, nats, from their joint histogram.

    Parameters
    ----------
    first, second : numpy.ndarray, (N,)
    bins : int
        Of either, between the 0.5th and the 99.5th percentile.
    """
    both = []
    for values in (first, second):
        low, high = np.percentile(values, [0.5, 99.5])
        scaled = (values - low) / max(high - low, 1e-12)
        both.append(np.clip((scaled * bins).astype(int), 0, bins - 1))
    joint = np.bincount(both[0] * bins + both[1], minlength=bins * bins).reshape(bins, bins) / len(first)
    apart = joint.sum(axis=1)[:, None] * joint.sum(axis=0)
    filled = joint > 0
    return float((joint[filled] * np.log(joint[filled] / apart[filled])).sum())


def orientations():
    """The 23 turns of a cube that change it, (23, 3, 3)."""
    from itertools import permutations, product

    turns = []
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = signs
            if np.linalg.det(matrix) > 0 and not np.array_equal(matrix, np.eye(3)):
                turns.append(matrix)
    return np.array(turns)


def against_chance(petref, affine, matrix, t1w, t1w_affine, brain):
    """Mutual information of a registration, and of the same head in the wrong orientations.

    The number of a registration says nothing by itself: it depends on the tracer, its noise and the grey levels. The null
    turns the PET image about the middle of the brain in steps of 90 degrees, which keeps its content and its overlap and
    loses the anatomy.

    Parameters
    ----------
    petref : numpy.ndarray, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
    matrix : numpy.ndarray, (4, 4)
        Points of T1w to points of petref.
    t1w, t1w_affine, brain
        See `to_anatomy`.

    Returns
    -------
    score : float
        `mutual_information` in place, nats.
    null : numpy.ndarray, (23,)
        The same in the `orientations`.
    """
    from neurobraid.images.resample import grid_points, sample
    from neurobraid.images.transforms import apply_affine

    fixed, mask, coarse = anatomy(t1w, t1w_affine, brain)
    points, values = grid_points(fixed.shape, coarse, mask), fixed[mask]
    middle = apply_affine(t1w_affine, np.argwhere(brain)).mean(axis=0)
    volume, back = np.ascontiguousarray(petref, dtype=np.float32), np.linalg.inv(affine) @ matrix

    def score(turn):
        return mutual_information(
            values, sample(volume, apply_affine(back, (points - middle) @ turn.T + middle), 1)
        )

    return score(np.eye(3)), np.array([score(turn) for turn in orientations()])


def to_anatomy(petref, affine, t1w, t1w_affine, brain, *, fwhm_mm=4.0, margin_mm=12.0, level_mm=3.0):
    """Rigid transform from the PET reference to the T1w image, by mutual information.

    The T1w image is smoothed to about the resolution of PET and sampled at `level_mm`; only the brain and a margin
    count, so that a neck or hot tissue outside the head does not matter.

    Parameters
    ----------
    petref : numpy.ndarray, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
    t1w, brain : numpy.ndarray, (A, B, C)
        T1w image and its brain mask.
    t1w_affine : numpy.ndarray, (4, 4)
    fwhm_mm, margin_mm, level_mm : float

    Returns
    -------
    matrix : numpy.ndarray, (4, 4)
        ``matrix @ [point of T1w] = point of petref`` (RAS mm): from-petref_to-T1w.
    score : float
        Mattes mutual information, nats; higher is better.
    """
    import nibabel as nib

    from neurobraid.images.registration import register_rigid

    fixed, mask, coarse = anatomy(
        t1w, t1w_affine, brain, fwhm_mm=fwhm_mm, margin_mm=margin_mm, level_mm=level_mm
    )
    return register_rigid(
        nib.Nifti1Image(fixed, coarse),
        nib.Nifti1Image(np.asarray(petref, np.float32), affine),
        fixed_mask=mask,
        metric="mattes",
    )


def refine(
    petref, affine, matrix, tissues, tissue_affine, *, psf_mm=6.0, fwhm_mm=6.0, rounds=4, reach_mm=8.0
):
    """Refine a registration by predicting the PET image from the tissue segmentation.

    Mutual information leaves a bias of about half a millimetre where uptake varies smoothly over the brain; a cerebellum
    displaced by so little changes the reference curve by one per cent and low binding potentials by four. Here the
    tissue fractions, smoothed to the resolution of PET, are weighted by least squares, multiplied by the regional uptake
    of the scan (`motion.local_gain`) and matched to it by Gauss-Newton, in the brain and a rim around it.

    Parameters
    ----------
    petref : numpy.ndarray, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
    matrix : numpy.ndarray, (4, 4)
        First guess: points of T1w to points of petref.
    tissues : sequence of numpy.ndarray, (A, B, C)
        Fractions of grey matter, white matter and CSF.
    tissue_affine : numpy.ndarray, (4, 4)
    psf_mm : float
        Resolution of PET; the result hardly depends on it (5 to 8 mm: 0.03 mm).
    fwhm_mm : float
        Further smoothing of both images.
    rounds : int
    reach_mm : float
        Smoothing of the brain mask that makes the rim.

    Returns
    -------
    numpy.ndarray, (4, 4)
    """
    from neurobraid.images.resample import resample_image
    from neurobraid.images.rigid import realign
    from neurobraid.pet.motion import local_gain

    petref = np.nan_to_num(np.asarray(petref, np.float32))
    smoothed = [smooth(t, tissue_affine, psf_mm) for t in tissues]
    near = smooth((sum(tissues) > 0.5).astype(np.float32), tissue_affine, reach_mm)
    for _ in range(rounds):
        back = np.linalg.inv(matrix)
        parts = [resample_image((t, tissue_affine), petref.shape, affine, back) for t in smoothed]
        mask = resample_image((near, tissue_affine), petref.shape, affine, back) > 0.1
        if not mask.any():
            return matrix
        design = np.stack([*parts, np.clip(1.0 - sum(parts), 0.0, 1.0)], axis=-1).astype(np.float32)
        weights = np.linalg.lstsq(design[mask].astype(float), petref[mask].astype(float), rcond=None)[0]
        predicted = local_gain(petref, design @ weights.astype(np.float32), mask, affine)
        step = realign(
            petref[..., None], affine, reference=predicted, mask=mask, fwhm=fwhm_mm, scale_intensity=True,
            starts=np.eye(4)[None],
        )[0]  # fmt: skip
        matrix = step @ matrix
    return matrix
