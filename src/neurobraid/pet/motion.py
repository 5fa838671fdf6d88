"""Head motion between PET frames: rigid, against a mean of the late frames, with one gain per frame."""

import numpy as np

RADIUS_MM = 50.0
"""Radius on which rotations become millimetres in the framewise displacement (Power et al. 2012)."""

LOCAL_FWHM_MM = 20.0
"""Smoothing of the regional uptake in `local_gain`: 20 mm was better than 30 and 40 on simulated raclopride."""

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


def weighted_mean(data, duration):
    """Duration-weighted mean of frames (X, Y, Z, F), float32."""
    return (data @ (duration / duration.sum()).astype(np.float32)).astype(np.float32)


def _moved(data, affine, matrices):
    """Frames brought to the position of the reference, (X, Y, Z, F) float32."""
    from neurobraid.images.resample import resample_image

    out = np.empty_like(data)
    for frame, matrix in enumerate(matrices):
        volume = np.ascontiguousarray(data[..., frame])
        out[..., frame] = resample_image((volume, affine), data.shape[:3], affine, matrix)
    return out


def local_gain(frame, reference, mask, affine, fwhm_mm=LOCAL_FWHM_MM):
    """The reference with the regional uptake of a frame: times the ratio of the two, both smoothed widely.

    Uptake moves between frames (flow first, binding later). A pattern that changes smoothly over the brain looks like
    a shift to least squares: with one gain per frame, frames of minutes 2 to 8 of a raclopride scan were misplaced by
    0.5 to 0.8 mm. The ratio takes that pattern away and leaves the edges, which tell the position.

    Parameters
    ----------
    frame, reference : numpy.ndarray, (X, Y, Z), float32
        The frame at the position of the reference.
    mask : numpy.ndarray of bool, (X, Y, Z)
        Voxels that tell the ratio.
    affine : numpy.ndarray, (4, 4)
    fwhm_mm : float

    Returns
    -------
    numpy.ndarray, (X, Y, Z), float32
    """
    from neurobraid.images.smooth import gaussian_matrix

    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    first, second, third = (gaussian_matrix(n, fwhm_mm / z) for n, z in zip(mask.shape, zooms, strict=True))

    def smooth(values):
        inside = np.where(mask, values, np.float32(0))
        lines = np.matmul(second, inside @ third)
        return (first @ lines.reshape(len(first), -1)).reshape(mask.shape)

    below = smooth(reference)
    floor = 1e-3 * float(below.max())
    return np.where(below > floor, reference * smooth(frame) / np.maximum(below, floor), reference).astype(
        np.float32
    )


def estimate(data, affine, frames, *, fwhm_mm=5.0, start_min=2.0, passes=4):
    """Rigid position of every frame against the mean of the late frames.

    Frames that end before `start_min` have few counts and another distribution; they take the transform of the first
    estimated frame. The first pass compares with the mean of the frames as they are, with one gain per frame; later
    passes compare each frame with the mean of the moved frames under the frame's own regional uptake (`local_gain`).

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

    data = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0)
    estimated = estimable(frames, start_min)
    late, duration = data[..., estimated], frames.duration[estimated]
    matrices = np.tile(np.eye(4), (len(frames), 1, 1))
    reference = weighted_mean(late, duration)
    if estimated.sum() == 1 or not reference.any():
        return matrices, reference, estimated
    found = realign(late, affine, reference=reference, fwhm=fwhm_mm, scale_intensity=True)
    moved = _moved(late, affine, found)
    reference = weighted_mean(moved, duration)
    for _ in range(passes - 1):
        mask = reference > 0.2 * np.percentile(reference, 98)
        for f in range(len(found)):
            target = local_gain(moved[..., f], reference, mask, affine)
            found[f] = realign(
                late[..., f : f + 1], affine, reference=target, mask=mask, fwhm=fwhm_mm, scale_intensity=True,
                starts=found[f : f + 1],
            )[0]  # fmt: skip
        moved = _moved(late, affine, found)
        reference = weighted_mean(moved, duration)
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
