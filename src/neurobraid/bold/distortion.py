"""Susceptibility distortion of echo-planar images: from a field map in Hz to where a point is seen, and how bright.

An echo-planar image shows a point that is off resonance by ``f`` Hz shifted along the phase-encoding axis by
``f * TotalReadoutTime`` voxels [1]_, in the direction of growing index for ``PhaseEncodingDirection`` ``i``, ``j`` or ``k`` and
of falling index with a trailing minus (BIDS). Where the field rises along the axis, signal is spread over more voxels and
is darker by the Jacobian of the shift.

References
----------
.. [1] Jezzard P, Balaban RS (1995), Magn Reson Med 34:65-73.
"""

import numpy as np

_AXES = {"i": 0, "j": 1, "k": 2}


def phase_axis(direction):
    """Voxel axis and sign of a ``PhaseEncodingDirection``.

    Parameters
    ----------
    direction : str
        ``i``, ``j``, ``k`` or with a trailing minus.

    Returns
    -------
    axis : int
    sign : int
        1 or -1.

    Raises
    ------
    ValueError
        Anything else.

    Examples
    --------
    >>> phase_axis("j-")
    (1, -1)
    """
    text = str(direction)
    if text.rstrip("-") not in _AXES or text.count("-") > 1:
        raise ValueError(f"PhaseEncodingDirection is {direction!r}; allowed: i, j, k, i-, j-, k-")
    return _AXES[text[0]], -1 if text.endswith("-") else 1


def voxel_shift(field_hz, readout_s, direction):
    """Shift of every voxel along the phase-encoding axis.

    Parameters
    ----------
    field_hz : (X, Y, Z) array
        Off-resonance in Hz on the grid of the undistorted reference.
    readout_s : float
        ``TotalReadoutTime``, s.
    direction : str
        ``PhaseEncodingDirection``.

    Returns
    -------
    (X, Y, Z) float32 array
        Voxels, towards growing index.
    """
    _, sign = phase_axis(direction)
    return (np.asarray(field_hz, np.float32) * np.float32(sign * readout_s)).astype(np.float32)


def distortion_warp(field_hz, affine, readout_s, direction):
    """Map points of the undistorted reference to where the distorted image shows them.

    Parameters
    ----------
    field_hz : (X, Y, Z) array
        Hz.
    affine : (4, 4) array
        Voxel to world of `field_hz`, RAS mm; its axes are those of the echo-planar image.
    readout_s : float
        s.
    direction : str
        ``PhaseEncodingDirection``.

    Returns
    -------
    neurobraid.images.transforms.Warp
        Identity matrix and a displacement in mm.
    """
    from neurobraid.images.transforms import Warp

    affine = np.asarray(affine, np.float64)
    axis, _ = phase_axis(direction)
    shift = voxel_shift(field_hz, readout_s, direction)
    step = affine[:3, axis].astype(np.float32)
    return Warp(np.eye(4), shift[..., None] * step, affine)


def jacobian(field_hz, readout_s, direction, *, limits=(0.2, 5.0)):
    """Factor that gives signal its undistorted brightness back: one plus the derivative of the shift along its axis.

    Parameters
    ----------
    field_hz : (X, Y, Z) array
        Hz.
    readout_s : float
        s.
    direction : str
        ``PhaseEncodingDirection``.
    limits : (float, float)
        The factor is kept inside: where signal piled up in one voxel no factor can take it apart.

    Returns
    -------
    (X, Y, Z) float32 array
    """
    axis, _ = phase_axis(direction)
    shift = voxel_shift(field_hz, readout_s, direction)
    if shift.shape[axis] < 2:
        return np.ones_like(shift)
    return np.clip(1.0 + np.gradient(shift, axis=axis), *limits).astype(np.float32)


def undistort(image, affine, field_hz, readout_s, direction, *, modulate=True):
    """One volume without its distortion, on its own grid (cubic interpolation).

    Parameters
    ----------
    image : (X, Y, Z) array
        Distorted reference.
    affine : (4, 4) array
        RAS mm.
    field_hz : (X, Y, Z) array
        Hz, same grid.
    readout_s : float
        s.
    direction : str
        ``PhaseEncodingDirection``.
    modulate : bool
        Correct the brightness by the `jacobian`.

    Returns
    -------
    (X, Y, Z) float32 array
        Not negative.
    """
    from neurobraid.images.resample import resample_image

    warp = distortion_warp(field_hz, affine, readout_s, direction)
    out = resample_image((np.asarray(image, np.float32), affine), image.shape, affine, warp, order=3)
    out = np.maximum(out, 0.0)
    return out * jacobian(field_hz, readout_s, direction) if modulate else out
