"""Positions: scanner grids, head poses, random smooth deformations.

Points are RAS mm. A transform called ``a_from_b`` takes points of b to points of a; on disk that is
``from-a_to-b_mode-image`` (it resamples images of a onto b).
"""

import numpy as np

from neurobraid.images.resample import sample_vector
from neurobraid.images.transforms import Warp, apply_affine

_CODES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def scanner_grid(extent, voxel, orientation, *, center=(0.0, 0.0, 0.0), tilt=(0.0, 0.0, 0.0)):
    """Grid of a scan: array shape and affine.

    Parameters
    ----------
    extent : tuple of int
        Voxels along right, anterior and superior.
    voxel : float
        Edge in mm.
    orientation : str
        Anatomical direction in which each array axis grows, e.g. ``"LAS"``.
    center : sequence of float
        World point of the middle of the grid in mm.
    tilt : sequence of float
        Rotation of the grid about x, y, z in degrees: an oblique prescription.

    Returns
    -------
    shape : tuple of int
    affine : numpy.ndarray, (4, 4)

    Examples
    --------
    >>> shape, affine = scanner_grid((4, 6, 8), 2.0, "LAS")
    >>> shape, affine[0, 0], affine[:3, 3].tolist()
    ((4, 6, 8), -2.0, [3.0, -5.0, -7.0])
    """
    shape = tuple(extent[_CODES[code][0]] for code in orientation)
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, code in enumerate(orientation):
        world, sign = _CODES[code]
        affine[world, axis] = sign * voxel
    affine[:3, :3] = rotation(np.deg2rad(tilt)) @ affine[:3, :3]
    affine[:3, 3] = np.asarray(center, float) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return shape, affine


def rotation(angles):
    """Rotation matrix Rx @ Ry @ Rz of three angles in rad (about z first)."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    rx = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    ry = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    rz = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return rx @ ry @ rz


def rigid(parameters, center=(0.0, 0.0, 0.0)):
    """Rigid matrix from translations (mm) and rotations (rad) about a point.

    Parameters
    ----------
    parameters : array-like, (6,)
        trans_x, trans_y, trans_z, rot_x, rot_y, rot_z; the rotation is `rotation`.
    center : array-like, (3,)
        Point that the rotation leaves in place, mm.

    Returns
    -------
    numpy.ndarray, (4, 4)
    """
    parameters, center = np.asarray(parameters, float), np.asarray(center, float)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(parameters[3:])
    matrix[:3, 3] = parameters[:3] + center - matrix[:3, :3] @ center
    return matrix


def framewise_displacement(parameters, radius=50.0):
    """Framewise displacement of Power et al. 2012 (NeuroImage 59:2142) in mm.

    Parameters
    ----------
    parameters : numpy.ndarray, (T, 6)
        mm and rad.
    radius : float
        Head radius in mm.

    Returns
    -------
    numpy.ndarray, (T,)
        First value 0.
    """
    steps = np.abs(np.diff(parameters, axis=0, prepend=parameters[:1]))
    return steps[:, :3].sum(1) + radius * steps[:, 3:].sum(1)


# Field of the deformations: 6 mm steps with room around the template, so that the field can fade to nothing.
_FIELD_SHAPE = (40, 48, 43)
_FIELD_AFFINE = np.array(
    [[6.0, 0, 0, -117.0], [0, 6.0, 0, -156.0], [0, 0, 6.0, -134.0], [0, 0, 0, 1.0]], dtype=np.float64
)


def _exponential(velocity, steps=6):
    """Displacement of a stationary velocity field (mm), by scaling and squaring (Arsigny et al. 2006)."""
    points = np.stack(np.meshgrid(*[np.arange(n) for n in velocity.shape[:3]], indexing="ij"), -1)
    points = points.reshape(-1, 3).astype(np.float64)
    moved = velocity / 2**steps
    for _ in range(steps):
        inner = sample_vector(moved, points + moved.reshape(-1, 3) / 6.0)
        moved = (moved.reshape(-1, 3) + inner).reshape(velocity.shape).astype(np.float32)
    return moved


def random_deformation(rng, *, amplitude=2.2, smoothness=18.0):
    """A person's shape: how points of the T1w image and of the template correspond.

    A stationary velocity field makes the map smooth, invertible and its inverse as exact as itself.

    Parameters
    ----------
    rng : numpy.random.Generator
    amplitude : float
        Root mean square of each component of the velocity in mm.
    smoothness : float
        Gaussian sigma of the field in mm.

    Returns
    -------
    mni_from_t1w, t1w_from_mni : neurobraid.images.transforms.Warp
        Inverse of each other to about 0.05 mm.
    """
    from scipy.ndimage import gaussian_filter

    velocity = rng.standard_normal((*_FIELD_SHAPE, 3)).astype(np.float32)
    for component in range(3):
        velocity[..., component] = gaussian_filter(velocity[..., component], smoothness / 6.0, mode="wrap")
    velocity *= amplitude / np.sqrt((velocity**2).mean())
    for axis, n in enumerate(_FIELD_SHAPE):
        fade = np.clip(np.minimum(np.arange(n), np.arange(n)[::-1]) / 4.0, 0, 1).astype(np.float32)
        velocity *= fade.reshape([-1 if a == axis else 1 for a in range(4)])
    pose = rigid([*rng.normal(0, [2.0, 5.0, 6.0]), *np.deg2rad(rng.normal(0, [4.0, 2.5, 2.5]))])
    stretch = np.eye(4)
    stretch[:3, :3] = np.diag(rng.normal(1.0, 0.035, 3)) + np.triu(rng.normal(0, 0.01, (3, 3)), 1)
    affine = stretch @ pose
    forward = Warp(affine, _exponential(velocity), _FIELD_AFFINE, affine_first=True)
    backward = Warp(np.linalg.inv(affine), _exponential(-velocity), _FIELD_AFFINE)
    return forward, backward


def random_pose(rng, *, shift=(3.0, 5.0, 5.0), turn=(4.0, 2.5, 3.0)):
    """Position of the head in another scan, relative to its position in the T1w scan.

    Parameters
    ----------
    rng : numpy.random.Generator
    shift : sequence of float
        SD of the translations in mm.
    turn : sequence of float
        SD of the rotations in degrees.

    Returns
    -------
    numpy.ndarray, (4, 4)
        scan_from_t1w: the file ``from-boldref_to-T1w``.
    """
    limit = lambda values, sd: np.clip(values, -2 * np.array(sd), 2 * np.array(sd))  # noqa: E731
    return rigid([*limit(rng.normal(0, shift), shift), *np.deg2rad(limit(rng.normal(0, turn), turn))])


def random_motion(rng, volumes, *, step, drift=0.15, jerks=0.02, jerk=0.5):
    """Head motion within a scan: slow drift, small tremor and a few jerks, most of which come back.

    Parameters
    ----------
    rng : numpy.random.Generator
    volumes : int
    step : float
        Scale of the volume-to-volume tremor in mm (and, times 1/50 mm, in rad).
    drift : float
        SD of the slow drift over the scan in mm.
    jerks : float
        Expected jerks per volume.
    jerk : float
        Scale of a jerk in mm.

    Returns
    -------
    numpy.ndarray, (T, 6)
        trans_x, trans_y, trans_z (mm), rot_x, rot_y, rot_z (rad); zero at the first volume. Nodding and
        movement along the scanner axis are largest, as in people.
    """
    from scipy.ndimage import gaussian_filter1d

    axes = np.array([0.5, 0.7, 1.3, 1.3, 0.5, 0.5])
    slow = np.cumsum(rng.standard_normal((volumes, 6)), axis=0)
    slow = gaussian_filter1d(slow, max(2.0, volumes / 20), axis=0, mode="nearest")
    slow *= drift / max(slow.std(), 1e-9)
    tremor = step * gaussian_filter1d(rng.standard_normal((volumes, 6)), 0.6, axis=0)
    moved = slow + tremor
    for start in np.flatnonzero(rng.random(volumes) < jerks):
        size = jerk * rng.standard_normal(6)
        duration = int(rng.integers(1, 4))
        moved[start : start + duration] += size
        moved[start + duration :] += 0.25 * size
    moved = (moved - moved[0]) * axes
    moved[:, 3:] /= 50.0
    return moved


def composed_index(affine_to, matrices, affine_from):
    """Matrix from voxel indices of one grid to voxel indices of another through world transforms."""
    matrix = np.linalg.inv(affine_to)
    for step in matrices:
        matrix = matrix @ step
    return matrix @ affine_from


__all__ = [
    "apply_affine",
    "composed_index",
    "framewise_displacement",
    "random_deformation",
    "random_motion",
    "random_pose",
    "rigid",
    "rotation",
    "scanner_grid",
]
