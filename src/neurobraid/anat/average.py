"""Several T1w runs of one visit as one image."""

import logging

import nibabel as nib
import numpy as np

log = logging.getLogger("neurobraid")

#: Correlation with the reference below which a run is left out: motion, or another contrast.
AGREES = 0.85


def _foreground(values):
    """Voxels that are not air."""
    return values > 0.2 * np.percentile(values, 98)


def average(images, names):
    """Register runs rigidly and average them on the finest of their grids.

    Every other run is interpolated once (cubic), onto the grid of the reference, which is not interpolated; its signal is
    scaled by the median ratio where both have signal. Where a run does not reach, the mean is that of the others.

    Parameters
    ----------
    images : list of nibabel images
        From `neurobraid.anat.brain.conform`.
    names : list of path-like
        For messages, in the same order.

    Returns
    -------
    nibabel.Nifti1Image
        float32, on the grid of the run with the smallest voxels (of equal ones, the first).
    list of dict
        Per image: ``correlation`` with the reference after registration, ``used`` (bool), ``scale`` and
        ``matrix`` (4 x 4, points of the reference to points of the run, RAS mm).
    """
    from neurobraid.images.registration import register_rigid
    from neurobraid.images.resample import resample_image

    sizes = [round(float(abs(np.linalg.det(image.affine[:3, :3]))), 4) for image in images]
    chosen = int(np.argmin(sizes))
    reference = images[chosen]
    fixed = np.asarray(reference.dataobj, np.float32)
    tissue = _foreground(fixed)
    total, weight, notes = fixed.astype(np.float64), np.ones(fixed.shape, np.float32), []
    for number, (image, name) in enumerate(zip(images, names, strict=True)):
        if number == chosen:
            notes.append({"correlation": 1.0, "used": True, "scale": 1.0, "matrix": np.eye(4).tolist()})
            continue
        matrix, _ = register_rigid(reference, image, metric="correlation", finest=2.0)
        values = np.asarray(image.dataobj, np.float32)
        moved = resample_image((values, image.affine), fixed.shape, reference.affine, matrix, order=3)
        reach = (
            resample_image((np.ones_like(values), image.affine), fixed.shape, reference.affine, matrix) > 0.99
        )
        both = tissue & reach & (moved > 0)
        found = float(np.corrcoef(fixed[both], moved[both])[0, 1]) if both.sum() > 100 else 0.0
        scale = float(np.median(fixed[both] / moved[both])) if both.any() else 1.0
        used = found >= AGREES
        notes.append({"correlation": found, "used": used, "scale": scale, "matrix": matrix.tolist()})
        if used:
            total[reach] += scale * np.maximum(moved[reach], 0)
            weight += reach
        else:
            log.warning(
                "%s: correlates with the other run by %.2f only (< %.2f): left out", name, found, AGREES
            )
    return nib.Nifti1Image((total / weight).astype(np.float32), reference.affine), notes
