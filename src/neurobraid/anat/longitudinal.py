"""Several sessions of one participant through their common mean, so that no session is the reference.

A registration to the first session interpolates every image but that one, and differences between sessions then hold a
difference in blur. Here every session is moved to a space midway between all of them [1]_, only that mean is
normalised, and each session's way to the template is its rigid transform followed by the mean's warp.

References
----------
.. [1] Reuter M et al. (2012), NeuroImage 61:1402-1418.
"""

import logging

import numpy as np

from neurobraid.anat import normalize
from neurobraid.files import read_json, write_json
from neurobraid.images.io import data, load, save
from neurobraid.images.transforms import Warp, apply_affine, read_warp, write_warp
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")

#: Rounds of "register every session to the mean, average again"; fewer when nothing moves any more.
ROUNDS = 4
#: Movement of the sessions in one round below which the mean is settled, mm.
SETTLED_MM = 0.02
_MARGIN_MM = 20.0


def mean_rigid(matrices, centre):
    """Mean of rigid transforms: the rotation nearest to the mean of rotations, the mean place of a point.

    Parameters
    ----------
    matrices : array-like, (N, 4, 4)
    centre : numpy.ndarray, (3,)
        Point whose images are averaged, mm.

    Returns
    -------
    numpy.ndarray, (4, 4)
    """
    matrices = np.asarray(matrices, np.float64)
    left, _, right = np.linalg.svd(matrices[:, :3, :3].mean(0))
    mean = np.eye(4)
    mean[:3, :3] = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
    mean[:3, 3] = np.mean([apply_affine(m, centre) for m in matrices], axis=0) - mean[:3, :3] @ centre
    return mean


def _grid(images, masks, matrices):
    """Isotropic grid of the mean space around all brains: shape and affine."""
    corners = []
    for (_, affine), mask, matrix in zip(images, masks, matrices, strict=True):
        found = np.argwhere(mask)
        box = np.array([found.min(0), found.max(0)])
        ends = np.stack(np.meshgrid(*box.T, indexing="ij"), -1).reshape(-1, 3)
        corners.append(apply_affine(np.linalg.inv(matrix) @ affine, ends))
    corners = np.concatenate(corners)
    voxel = min(float(np.linalg.norm(affine[:3, :3], axis=0).min()) for _, affine in images)
    low, high = corners.min(0) - _MARGIN_MM, corners.max(0) + _MARGIN_MM
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = low
    return tuple(int(n) for n in np.ceil((high - low) / voxel) + 1), affine


def _average(images, masks, matrices, shape, affine):
    """Mean of the sessions in the mean space, each scaled by the median of its brain; and the mean mask."""
    from neurobraid.images.resample import resample_image

    scales = [float(np.median(values[mask])) for (values, _), mask in zip(images, masks, strict=True)]
    common = float(np.mean(scales))
    total, inside = np.zeros(shape), np.zeros(shape)
    for (values, own), mask, matrix, scale in zip(images, masks, matrices, scales, strict=True):
        moved = resample_image((values, own), shape, affine, matrix, order=3)
        total += np.maximum(moved, 0) * (common / scale)
        inside += resample_image((mask.astype(np.float32), own), shape, affine, matrix, order=1)
    return (total / len(images)).astype(np.float32), inside / len(images) > 0.5


def unbiased_mean(images, masks):
    """Mean of several sessions in a space midway between them.

    Parameters
    ----------
    images : list of (numpy.ndarray (X, Y, Z), numpy.ndarray (4, 4))
        Bias-corrected T1w and affine of every session; the grids may differ.
    masks : list of numpy.ndarray of bool
        Brain of every session.

    Returns
    -------
    mean : numpy.ndarray, float32
    mask : numpy.ndarray of bool
    affine : numpy.ndarray, (4, 4)
        Grid of both: isotropic at the finest voxel size, RAS.
    matrices : list of numpy.ndarray, (4, 4)
        Mean points to session points, RAS mm; their mean is the identity.
    """
    import nibabel as nib

    from neurobraid.images.registration import register_rigid

    brains = [
        nib.Nifti1Image(np.where(mask, values, 0).astype(np.float32), affine)
        for (values, affine), mask in zip(images, masks, strict=True)
    ]
    centre = apply_affine(images[0][1], np.argwhere(masks[0]).mean(0))
    matrices = [np.eye(4)]
    matrices += [register_rigid(brains[0], b, metric="correlation", finest=4.0)[0] for b in brains[1:]]

    def recentred(found):
        back = np.linalg.inv(mean_rigid(found, centre))
        return [m @ back for m in found]

    matrices = recentred(matrices)
    points = centre + 60.0 * np.concatenate([np.eye(3), -np.eye(3)])
    for number in range(1, ROUNDS + 1):
        shape, affine = _grid(images, masks, matrices)
        mean, inside = _average(images, masks, matrices, shape, affine)
        fixed = nib.Nifti1Image(np.where(inside, mean, 0).astype(np.float32), affine)
        before = matrices
        matrices = recentred(
            [
                register_rigid(fixed, brain, metric="correlation", initial=m)[0]
                for brain, m in zip(brains, matrices, strict=True)
            ]
        )
        moved = max(
            float(np.linalg.norm(apply_affine(a, points) - apply_affine(b, points), axis=1).max())
            for a, b in zip(before, matrices, strict=True)
        )
        log.info("round %d: sessions moved by up to %.3f mm", number, moved)
        if moved < SETTLED_MM:
            break
    shape, affine = _grid(images, masks, matrices)
    return *_average(images, masks, matrices, shape, affine), affine, matrices


def through_mean(matrix, forward, inverse):
    """Warps of a session from its rigid transform and the warps of the mean; exact, no interpolation.

    Parameters
    ----------
    matrix : numpy.ndarray, (4, 4)
        Mean points to session points.
    forward, inverse : Warp
        Of the mean: template points to mean points, and back.

    Returns
    -------
    forward, inverse : Warp
        Of the session.
    """
    there = Warp(matrix @ forward.matrix, forward.displacement, forward.affine)
    back = Warp(
        inverse.matrix @ np.linalg.inv(matrix), inverse.displacement, inverse.affine, affine_first=True
    )
    return there, back


def write_mean(scans, t1w, masks, output, *, quality="standard"):
    """Write the mean of a participant's sessions, the sessions' transforms and the warps of the mean.

    Parameters
    ----------
    scans : list of str
        Names of the scans, e.g. ``sub-01_ses-1``.
    t1w, masks : list of path-like
        Preprocessed T1w and brain masks in the same order.
    output : object with path attributes
        ``mean``, ``mean_json``, ``mask``, ``mask_json``, ``transforms`` (JSON), ``forward``, ``inverse``.
    quality : {'fast', 'standard', 'high'}
    """
    # by name, so that the order in which they are listed changes no bit
    order = sorted(range(len(scans)), key=lambda n: scans[n])
    opened = [load(t1w[n]) for n in order]
    images = [(data(image), image.affine) for image in opened]
    mean, mask, affine, matrices = unbiased_mean(images, [data(load(masks[n]), bool) for n in order])
    save(mean, affine, output.mean)
    save(mask, affine, output.mask, dtype=np.uint8)
    forward, inverse = normalize.normalize(mean, affine, mask, quality=quality)
    write_warp(forward, output.forward)
    write_warp(inverse, output.inverse)
    text = (
        "Mean of the sessions in a space midway between them, after rigid registration of each to their mean."
    )
    common = {"Sessions": [scans[n] for n in order], "RoundsAtMost": ROUNDS, "SettledMm": SETTLED_MM}
    write_json(sidecar(text, t1w, SkullStripped=False, **common), output.mean_json)
    write_json(
        sidecar("Brain mask of the mean: more than half of the sessions.", masks, Type="Brain", **common),
        output.mask_json,
    )
    transforms = {scans[n]: m.tolist() for n, m in zip(order, matrices, strict=True)}
    write_json(
        sidecar(
            "Rigid transform of every session: 4 x 4, points of the mean to points of the session's T1w, RAS mm.",
            t1w,
            Transforms=transforms,
        ),
        output.transforms,
    )


def read_session(scan, transforms, forward, inverse):
    """Warps of one session from the files of `write_mean`.

    Parameters
    ----------
    scan : str
    transforms, forward, inverse : path-like

    Returns
    -------
    forward, inverse : Warp
        Template points to points of the session's T1w, and back.
    """
    matrix = np.array(read_json(transforms)["Transforms"][scan])
    return through_mean(matrix, read_warp(forward), read_warp(inverse))
