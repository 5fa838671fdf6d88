"""Head motion between PET frames: rigid, against a mean of the late frames, with one gain per frame."""

import numpy as np

RADIUS_MM = 50.0
"""Radius on which rotations become millimetres in the framewise displacement (Power et al. 2012)."""

COLUMNS = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


def estimable(frames, start_min):
    """Frames with enough counts and settled uptake: those that end after `start_min`.

    Parameters
    ----------
    frames : Frames
    start_min : float
        Minutes after injection.

    Returns
    -------
    numpy.ndarray of bool, (F,)
        All frames when none ends later.
    """
    late = frames.end > 60.0 * start_min
    return late if late.any() else np.ones(len(frames), bool)


def weighted_mean(data, duration, matrices=None, affine=None):
    """Duration-weighted mean of frames, moved to the reference position when matrices are given.

    Parameters
    ----------
    data : numpy.ndarray, (X, Y, Z, F), float32
        Decay-corrected activity.
    duration : numpy.ndarray, (F,)
    matrices : numpy.ndarray, (F, 4, 4), optional
        Points of the reference to points of each frame, RAS mm.
    affine : numpy.ndarray, (4, 4), optional

    Returns
    -------
    numpy.ndarray, (X, Y, Z), float32
    """
    if matrices is None:
        return (data @ (duration / duration.sum()).astype(np.float32)).astype(np.float32)
    from neurobraid.images.resample import resample_image

    total = np.zeros(data.shape[:3], np.float32)
    for frame, (matrix, seconds) in enumerate(zip(matrices, duration / duration.sum(), strict=True)):
        moved = resample_image((np.ascontiguousarray(data[..., frame]), affine), total.shape, affine, matrix)
        total += np.float32(seconds) * moved
    return total


def estimate(data, affine, frames, *, fwhm_mm=8.0, start_min=2.0, passes=2):
    """Rigid position of every frame against the mean of the late frames.

    Frames that end before `start_min` have few counts and another distribution; they take the transform of the first
    estimated frame. The first pass compares with the mean of frames as they are, later ones with the mean of the moved
    frames.

    Parameters
    ----------
    data : numpy.ndarray, (X, Y, Z, F), float32
        Decay-corrected activity.
    affine : numpy.ndarray, (4, 4)
    frames : Frames
    fwhm_mm : float
        Smoothing for the estimation only.
    start_min : float
        Minutes after injection.
    passes : int

    Returns
    -------
    matrices : numpy.ndarray, (F, 4, 4), float64
        ``matrices[f] @ [point of the reference] = point of frame f`` (RAS mm).
    reference : numpy.ndarray, (X, Y, Z), float32
        Duration-weighted mean of the moved late frames.
    estimated : numpy.ndarray of bool, (F,)
    """
    from neurobraid.images.rigid import realign

    estimated = estimable(frames, start_min)
    late, duration = data[..., estimated], frames.duration[estimated]
    matrices = np.tile(np.eye(4), (len(frames), 1, 1))
    reference = weighted_mean(late, duration)
    if estimated.sum() == 1:
        return matrices, reference, estimated
    found = None
    for _ in range(passes):
        found = realign(late, affine, reference=reference, fwhm=fwhm_mm, scale_intensity=True, starts=found)
        reference = weighted_mean(late, duration, found, affine)
    matrices[estimated] = found
    matrices[: np.argmax(estimated)] = found[0]
    return matrices, reference, estimated


def confounds(matrices, center):
    """Motion parameters and framewise displacement.

    Parameters
    ----------
    matrices : numpy.ndarray, (F, 4, 4)
    center : numpy.ndarray, (3,)
        Centre of rotation, mm.

    Returns
    -------
    pandas.DataFrame
        ``framewise_displacement`` (mm, sum of absolute differences, rotations on 50 mm; n/a for the first frame),
        ``trans_x, trans_y, trans_z`` (mm), ``rot_x, rot_y, rot_z`` (rad).
    """
    import pandas as pd

    from neurobraid.images.rigid import parameters

    values = parameters(matrices, center)
    steps = np.abs(np.diff(values, axis=0))
    moved = steps[:, :3].sum(axis=1) + RADIUS_MM * steps[:, 3:].sum(axis=1)
    table = pd.DataFrame(values, columns=COLUMNS)
    table.insert(0, "framewise_displacement", np.concatenate([[np.nan], moved]))
    return table


def displacement(matrices, points):
    """Largest distance in mm that any of the points (N, 3) is from its reference position, per frame (F,)."""
    moved = np.einsum("fij,nj->fni", matrices[:, :3, :3], points) + matrices[:, None, :3, 3] - points
    return np.linalg.norm(moved, axis=2).max(axis=1)
