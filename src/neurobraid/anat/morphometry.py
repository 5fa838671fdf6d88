"""Volumes of the brain and its tissues, and the grey-matter map whose sum is a volume."""

import numpy as np

from neurobraid.anat.tissue import TISSUES
from neurobraid.files import write_json, write_tsv
from neurobraid.images.io import data, load, save
from neurobraid.images.templates import SPACE, grid
from neurobraid.provenance import sidecar


def jacobian(points, shape, affine):
    """Volume of the person per volume of the template, at every voxel of a template grid.

    Parameters
    ----------
    points : numpy.ndarray, (N, 3)
        Where each voxel lies in the person, mm: the forward warp applied to the grid.
    shape : tuple of int
    affine : numpy.ndarray, (4, 4)
        Of the grid.

    Returns
    -------
    numpy.ndarray, `shape`, float64
        Determinant of the derivative by central differences; 1 where nothing changes.
    """
    slopes = np.stack([np.stack(np.gradient(points[:, c].reshape(shape)), -1) for c in range(3)], -2)
    return np.linalg.det(slopes @ np.linalg.inv(affine[:3, :3]))


def modulated(grey, affine, forward, shape, target):
    """Grey matter in template space, scaled so that its sum is the person's volume [1]_.

    Parameters
    ----------
    grey : numpy.ndarray, (X, Y, Z)
        Probability on the T1w grid.
    affine : numpy.ndarray, (4, 4)
        Of `grey`.
    forward : Warp
        ``from-T1w_to-MNI…``: template points to T1w points.
    shape : tuple of int
    target : numpy.ndarray, (4, 4)
        Template grid.

    Returns
    -------
    numpy.ndarray, `shape`, float32
        Linear interpolation times the Jacobian determinant; times the volume of a voxel: mL of the person.

    References
    ----------
    .. [1] Good CD et al. (2001), NeuroImage 14:21-36.
    """
    from neurobraid.images.resample import grid_points, sample
    from neurobraid.images.transforms import apply_affine

    points = forward.apply(grid_points(shape, target))
    found = sample(grey, apply_affine(np.linalg.inv(affine), points), 1).reshape(shape)
    return (found * np.abs(jacobian(points, shape, target))).astype(np.float32)


def write_morphometry(mask, probseg, forward, output, *, resolution=2.0):
    """Write the modulated grey-matter map and the table of volumes.

    Parameters
    ----------
    mask : path-like
        Brain mask on the T1w grid.
    probseg : list of path-like
        Tissue probabilities on the T1w grid, in the order of `neurobraid.anat.tissue.TISSUES`.
    forward : path-like
        ``from-T1w_to-MNI…``.
    output : object with attributes ``modulated``, ``modulated_json``, ``table``, ``table_json``
    resolution : float
        Voxel edge of the map, mm.
    """
    import pandas as pd

    from neurobraid.images.transforms import read_warp

    inside = load(mask)
    voxel_ml = abs(np.linalg.det(inside.affine[:3, :3])) / 1000
    volumes = {"brain": float(data(inside, bool).sum() * voxel_ml)}
    for name, path in zip(TISSUES, probseg, strict=True):
        image = load(path)
        values = data(image)
        volumes[name] = float(values.sum(dtype=np.float64) * voxel_ml)
        if name == "GM":
            shape, target = grid(resolution)
            found = modulated(values, image.affine, read_warp(forward), shape, target)
            save(found, target, output.modulated)
    write_json(
        sidecar(
            "Grey-matter probability in template space times the Jacobian determinant of the normalisation: its sum "
            "times the volume of a voxel is the grey-matter volume of the person.",
            [probseg[0], forward],
            Manual=False,
            LabelMap="GM",
            SpatialReference=SPACE,
            Resolution=f"{resolution:g} mm isotropic",
        ),
        output.modulated_json,
    )
    write_tsv(pd.DataFrame({"name": list(volumes), "volume_ml": list(volumes.values())}), output.table)
    write_json(
        sidecar(
            "Volumes of one T1w scan.",
            [mask, *probseg],
            Columns={
                "name": "brain: the brain mask, CSF inside the skull's hull included (total intracranial volume); "
                "GM, WM, CSF: tissues",
                "volume_ml": "Volume (mL); of tissues the sum of their probabilities",
            },
        ),
        output.table_json,
    )
