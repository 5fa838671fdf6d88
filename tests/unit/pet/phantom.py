"""A small scan with known motion, position and kinetics, made from the template's tissues."""

import numpy as np

from neurobraid.images.resample import resample_image
from neurobraid.images.rigid import compose
from neurobraid.images.smooth import FWHM_PER_SIGMA
from neurobraid.images.templates import template
from neurobraid.pet.frames import Frames

from .curves import DURATIONS, STARTS, pair

PSF_MM = 6.0
VOXEL_MM = 5.0
SHAPE = (36, 46, 38)
AFFINE = np.array(
    [[-VOXEL_MM, 0, 0, 92.0], [0, VOXEL_MM, 0, -132.0], [0, 0, VOXEL_MM, -78.0], [0, 0, 0, 1.0]]
)
CENTER = np.array([0.0, -18.0, 8.0])


def tissues(resolution=3.0):
    """Grey, white, CSF fractions (lists of arrays), the T1w image, the brain mask and their affine."""
    grey, white = (np.asarray(template(kind, resolution).dataobj) for kind in ("GM", "WM"))
    image = template("T1w", resolution)
    brain = np.asarray(template("brain", resolution).dataobj) > 0.5
    grey, white = np.where(brain, grey, 0), np.where(brain, white, 0)
    csf = np.where(brain, np.clip(1 - grey - white, 0, 1), 0)
    return [t.astype(np.float32) for t in (grey, white, csf)], np.asarray(image.dataobj), brain, image.affine


def frames():
    """26-frame timing of `curves`, C-11."""
    return Frames(STARTS, STARTS + DURATIONS, np.ones(len(STARTS)), 1.0, 20.364)


def _front(shape, affine):
    """Share of the grey matter that binds: rises smoothly around y = 10 mm."""
    y = (np.arange(shape[1]) * affine[1, 1] + affine[1, 3])[None, :, None]
    return np.broadcast_to(1 / (1 + np.exp(-(y - 10) / 6)), shape).astype(np.float32)


def volume():
    """Distribution volume as the scanner resolves it, on the grid of `tissues`: linear, so blurred like activity."""
    from scipy import ndimage

    (grey, white, csf), _, _, affine = tissues()
    value = grey * (1 + _front(grey.shape, affine)) + 0.5 * white + 0.2 * csf
    return ndimage.gaussian_filter(value.astype(np.float32), PSF_MM / FWHM_PER_SIGMA / np.abs(affine[0, 0]))


def scan(poses, pet_from_t1w, noise=0.0, seed=0):
    """Activity in the frames of a moving head: frontal grey matter binds (BPND 1), the rest of the tissue does not.

    Parameters
    ----------
    poses : numpy.ndarray, (F, 4, 4)
        Points of the reference to points of each frame.
    pet_from_t1w : numpy.ndarray, (4, 4)
        Points of T1w to points of the reference.

    Returns
    -------
    numpy.ndarray, (*SHAPE, F), float32
    """
    from scipy import ndimage

    (grey, white, csf), _, _, affine = tissues()
    timing = frames()
    reference, target = pair(timing.start, timing.end, 1.0, 0.1, 1.0)
    front = _front(grey.shape, affine)
    rng = np.random.default_rng(seed)
    out = np.empty((*SHAPE, len(poses)), np.float32)
    sigma = PSF_MM / FWHM_PER_SIGMA / np.abs(affine[0, 0])
    for f, pose in enumerate(poses):
        value = (
            grey * (front * target[f] + (1 - front) * reference[f]) + (0.5 * white + 0.2 * csf) * reference[f]
        )
        blurred = ndimage.gaussian_filter(value.astype(np.float32), sigma)
        # PET point -> reference point -> T1w point
        back = np.linalg.inv(pet_from_t1w) @ np.linalg.inv(pose)
        out[..., f] = resample_image((blurred, affine), SHAPE, AFFINE, back, order=3)
        out[..., f] += noise * reference[f] * rng.standard_normal(SHAPE).astype(np.float32)
    return out


def poses(seed=1, mm=1.5, degrees=1.5):
    """Poses of the frames: none before 4 min, a step there and a slow slide afterwards."""
    rng = np.random.default_rng(seed)
    step = np.concatenate([rng.normal(0, mm, 3), np.deg2rad(rng.normal(0, degrees, 3))])
    slide = np.concatenate([rng.normal(0, mm, 3), np.deg2rad(rng.normal(0, degrees, 3))])
    timing = frames()
    share = np.clip((timing.mid - 240) / 3000, 0, None)
    return compose(np.outer(timing.mid > 240, step) + np.outer(share, slide), CENTER)
