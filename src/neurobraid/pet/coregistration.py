"""Rigid registration of the PET reference to the T1w image of the same head."""

import numpy as np


def smooth(values, affine, fwhm_mm):
    """Gaussian smoothing, zero outside the image; `fwhm_mm` in mm, shape (X, Y, Z) kept."""
    from scipy import ndimage

    sigma = fwhm_mm / 2.3548 / np.linalg.norm(affine[:3, :3], axis=0)
    return ndimage.gaussian_filter(np.asarray(values, np.float32), sigma, mode="constant", truncate=3.0)


def to_anatomy(petref, affine, t1w, t1w_affine, brain, *, fwhm_mm=6.0, margin_mm=12.0, level_mm=3.0):
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
    return register_rigid(
        nib.Nifti1Image(fixed, coarse),
        nib.Nifti1Image(np.asarray(petref, np.float32), affine),
        fixed_mask=mask,
        metric="mattes",
    )
