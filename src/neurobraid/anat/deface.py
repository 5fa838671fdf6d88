"""A copy of the T1w without the face, for sharing."""

import logging

import numpy as np

from neurobraid.files import write_json
from neurobraid.images.io import data, load, save
from neurobraid.images.templates import SPACE
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")

#: Two points (y, z; mm, template space) of the plane that cuts the face off: behind it, brain, ears and neck stay.
#: It runs from the forehead above the brows to the angle of the jaw.
PLANE = ((100.0, 15.0), (10.0, -110.0))
#: What stays around the brain mask whatever the plane says, mm.
KEEP_MM = 4.0


def in_face(points):
    """Whether points lie in the face: before and below the plane from forehead to jaw.

    Parameters
    ----------
    points : numpy.ndarray, (N, 3)
        Template space, mm.

    Returns
    -------
    numpy.ndarray of bool, (N,)
    """
    (front, top), (back, bottom) = PLANE
    return (points[:, 1] - back) * (top - bottom) > (points[:, 2] - bottom) * (front - back)


def deface(values, affine, mask, to_template):
    """Set the face to 0.

    Parameters
    ----------
    values : numpy.ndarray, (X, Y, Z)
        T1w.
    affine : numpy.ndarray, (4, 4)
    mask : numpy.ndarray of bool
        Brain: it and 4 mm around it stay as they are.
    to_template : numpy.ndarray, (4, 4)
        T1w points to template points, RAS mm.

    Returns
    -------
    numpy.ndarray
        Copy of `values`.
    removed : numpy.ndarray of bool
        What was set to 0.
    """
    from scipy.ndimage import distance_transform_edt

    from neurobraid.images.resample import grid_points

    voxel = np.linalg.norm(affine[:3, :3], axis=0)
    near = distance_transform_edt(~mask, sampling=voxel) <= KEEP_MM
    removed = in_face(grid_points(values.shape, to_template @ affine)).reshape(values.shape) & ~near
    return np.where(removed, 0, values).astype(values.dtype), removed


def write_defaced(t1w, mask, forward, output, output_json):
    """Write ``…_desc-defaced_T1w.nii.gz`` and its sidecar.

    Parameters
    ----------
    t1w, mask : path-like
        Preprocessed T1w and its brain mask, on one grid.
    forward : path-like
        ``from-T1w_to-MNI…``; only its affine is used, for the face has no counterpart in the template.
    output, output_json : path-like
    """
    from neurobraid.images.transforms import read_warp

    image = load(t1w)
    matrix = np.linalg.inv(read_warp(forward).matrix)
    values, removed = deface(data(image), image.affine, data(load(mask), bool), matrix)
    log.info("%.0f %% of the image set to 0", 100 * removed.mean())
    save(values, image.affine, output)
    write_json(
        sidecar(
            "T1w with the face set to 0, for sharing: everything before and below a plane of the template space, carried by "
            "the affine of the normalisation, except the brain.",
            [t1w, mask, forward],
            SkullStripped=False,
            Defaced=True,
            DefacingPlaneYZ=[list(point) for point in PLANE],
            DefacingSpace=SPACE,
            KeptAroundBrainMm=KEEP_MM,
        ),
        output_json,
    )
