"""The MNI152 templates that the nilearn wheel ships, read without importing nilearn (its import costs seconds)."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np

SPACE = "MNI152NLin2009aSym"
"""Name of the template space: ICBM 152 nonlinear symmetric 2009a (Fonov et al. 2011, NeuroImage 54:313)."""

_FILES = {"T1w": "t1", "GM": "gm", "WM": "wm"}


def _path(kind):
    package = Path(next(iter(find_spec("nilearn").submodule_search_locations)))
    return package / "datasets" / "data" / f"mni_icbm152_{_FILES[kind]}_tal_nlin_sym_09a_converted.nii.gz"


@cache
def _native(kind):
    image = nib.load(_path(kind))
    values = np.asarray(image.dataobj, dtype=np.float32)
    return values / values.max(), image.affine


def grid(resolution=2.0):
    """Grid of the template space at a resolution.

    Parameters
    ----------
    resolution : float
        Voxel edge in mm.

    Returns
    -------
    shape : tuple of int
    affine : numpy.ndarray, (4, 4)
        RAS; the first voxel's centre is the template's first voxel's centre.
    """
    values, affine = _native("T1w")
    step = np.abs(np.diag(affine)[:3])
    shape = tuple(int(np.ceil(n * s / resolution)) for n, s in zip(values.shape, step, strict=True))
    scaled = np.diag([resolution, resolution, resolution, 1.0])
    scaled[:3, 3] = affine[:3, 3]
    return shape, scaled


@cache
def template(kind="T1w", resolution=2.0):
    """A template image.

    Parameters
    ----------
    kind : {'T1w', 'GM', 'WM', 'brain'}
        T1-weighted (skull-stripped), grey and white matter probability, or the brain mask (T1w > 0 with
        holes filled).
    resolution : float
        Voxel edge in mm; other than 1 mm by averaging (Gaussian) and linear interpolation.

    Returns
    -------
    nibabel.Nifti1Image
        float32, 0 to 1 (mask: 0 or 1).
    """
    from scipy import ndimage

    if kind == "brain":
        t1w = np.asarray(template("T1w", resolution).dataobj)
        mask = ndimage.binary_fill_holes(ndimage.binary_opening(t1w > 0.15, iterations=1))
        labels, count = ndimage.label(mask)
        if count > 1:
            mask = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
        return nib.Nifti1Image(mask.astype(np.float32), grid(resolution)[1])
    values, affine = _native(kind)
    shape, target = grid(resolution)
    step = np.abs(affine[0, 0])
    if not np.isclose(step, resolution):
        factor = resolution / step
        if factor > 1:
            # half a voxel of the coarse grid: enough against aliasing, little enough to keep the cortex
            values = ndimage.gaussian_filter(values, 0.4 * factor, mode="constant")
        matrix = np.full(3, factor)
        values = ndimage.affine_transform(values, matrix, output_shape=shape, order=1, mode="constant")
    return nib.Nifti1Image(np.asarray(values, np.float32), target)
