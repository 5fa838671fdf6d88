"""Rigid registration of the PET reference to the T1w image of the same head."""

import numpy as np


def smooth(values, affine, fwhm_mm):
    """Gaussian smoothing, zero outside the image; `fwhm_mm` in mm, shape (X, Y, Z) kept."""
    from scipy import ndimage

    sigma = fwhm_mm / 2.3548 / np.linalg.norm(affine[:3, :3], axis=0)
    return ndimage.gaussian_filter(np.asarray(values, np.float32), sigma, mode="constant", truncate=3.0)


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
