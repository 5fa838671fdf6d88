"""Spatial transforms: ITK files on disk, RAS matrices and point maps in memory.

A file ``from-A_to-B_mode-image_xfm`` resamples image A onto the grid of B, so it maps points of B to points
of A. ITK counts x and y the other way round (LPS); the change happens here and nowhere else.
"""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import atomic

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
_HEADER = "#Insight Transform File V1.0"


def apply_affine(matrix, points):
    """Map points by a 4x4 matrix.

    Parameters
    ----------
    matrix : numpy.ndarray, (4, 4)
    points : numpy.ndarray, (..., 3)
        RAS mm (or voxel indices, if the matrix is a voxel affine).

    Returns
    -------
    numpy.ndarray, (..., 3), float64
    """
    points = np.asarray(points, dtype=np.float64)
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def write_affines(matrices, path):
    """Write affine transforms as ITK text.

    Parameters
    ----------
    matrices : numpy.ndarray, (4, 4) or (N, 4, 4)
        RAS; ``matrix @ [point of the target] = point of the source``.
    path : path-like
        ``…_xfm.txt``.
    """
    lines = [_HEADER]
    for number, ras in enumerate(np.atleast_3d(np.asarray(matrices, np.float64)).reshape(-1, 4, 4)):
        lps = _FLIP @ ras @ _FLIP
        values = " ".join(repr(float(v)) for v in (*lps[:3, :3].ravel(), *lps[:3, 3]))
        lines += [
            f"#Transform {number}",
            "Transform: AffineTransform_double_3_3",
            f"Parameters: {values}",
            "FixedParameters: 0 0 0",
        ]
    with atomic(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def read_affines(path):
    """Read the affine (or rigid, written as matrix-offset) transforms of an ITK text file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    numpy.ndarray, (N, 4, 4), float64
        RAS.

    Raises
    ------
    InputError
        Not an ITK text file of matrix-offset transforms.
    """
    lines = Path(path).read_text().splitlines()
    if not lines or not lines[0].startswith(_HEADER):
        raise InputError(path, "first line", lines[:1], _HEADER, "give an ITK text transform")
    matrices, parameters = [], None
    for line in lines[1:]:
        key, _, rest = line.partition(":")
        if key == "Parameters":
            parameters = np.array(rest.split(), dtype=np.float64)
            if parameters.size != 12:
                raise InputError(
                    path, "Parameters", f"{parameters.size} values", "12 values", "give affine transforms"
                )
        elif key == "FixedParameters":
            center = np.array(rest.split(), dtype=np.float64)
            center = center[:3] if center.size >= 3 else np.zeros(3)
            lps = np.eye(4)
            lps[:3, :3] = parameters[:9].reshape(3, 3)
            lps[:3, 3] = parameters[9:] + center - lps[:3, :3] @ center
            matrices.append(_FLIP @ lps @ _FLIP)
    return np.array(matrices)


@dataclass(frozen=True)
class Warp:
    """A nonlinear map of points: an affine applied to ``x + displacement(x)``.

    Attributes
    ----------
    matrix : numpy.ndarray, (4, 4)
        RAS, applied after the displacement.
    displacement : numpy.ndarray, (X, Y, Z, 3), float32
        mm along R, A, S; zero outside its grid.
    affine : numpy.ndarray, (4, 4)
        Grid of the displacement field (its domain is the space the points come from).
    affine_first : bool
        Apply the affine before the displacement instead: the form an inverse has
        (``x -> y + displacement(y)``, ``y = matrix x``; the field then lives in the space of ``y``).
    """

    matrix: np.ndarray
    displacement: np.ndarray
    affine: np.ndarray
    affine_first: bool = False

    def _displace(self, points):
        from neurobraid.images.resample import sample_vector

        ijk = apply_affine(np.linalg.inv(self.affine), points)
        return points + sample_vector(self.displacement, ijk)

    def apply(self, points):
        """Map points.

        Parameters
        ----------
        points : numpy.ndarray, (N, 3)
            RAS mm in the space of the target image ("to").

        Returns
        -------
        numpy.ndarray, (N, 3), float64
            RAS mm in the space of the source image ("from").
        """
        points = np.asarray(points, np.float64)
        if self.affine_first:
            return self._displace(apply_affine(self.matrix, points))
        return apply_affine(self.matrix, self._displace(points))


def write_warp(warp, path):
    """Write a `Warp` as an ITK composite transform (HDF5), readable by ANTs and SimpleITK.

    Parameters
    ----------
    warp : Warp
    path : path-like
        ``…_xfm.h5``.
    """
    import SimpleITK as sitk

    field = sitk.GetImageFromArray(
        np.ascontiguousarray((warp.displacement * [-1, -1, 1]).transpose(2, 1, 0, 3), np.float64),
        isVector=True,
    )
    lps = _FLIP @ warp.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    field.SetSpacing(spacing.tolist())
    field.SetOrigin(lps[:3, 3].tolist())
    field.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    itk = _FLIP @ warp.matrix @ _FLIP
    affine = sitk.AffineTransform(itk[:3, :3].ravel().tolist(), itk[:3, 3].tolist())
    displacement = sitk.DisplacementFieldTransform(field)
    # ITK applies the last transform of a composite first
    order = [displacement, affine] if warp.affine_first else [affine, displacement]
    with atomic(path) as temporary:
        sitk.WriteTransform(sitk.CompositeTransform(order), os.fspath(temporary))
        _drop_times(temporary)


def _drop_times(path):
    """Copy an HDF5 file onto itself without the times of writing that its objects carry."""
    import h5py

    def copy(source, target):
        for name in source:
            if isinstance(source[name], h5py.Group):
                copy(source[name], target.create_group(name, track_order=False))
            else:
                target.create_dataset(
                    name, data=source[name][()], dtype=source[name].dtype, track_times=False
                )

    clean = path.with_name(path.name + ".clean")
    with h5py.File(path, "r") as source, h5py.File(clean, "w") as target:
        copy(source, target)
    os.replace(clean, path)


def read_warp(path):
    """Read a composite of one affine and one displacement field (what `write_warp` and fMRIPrep write).

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Warp

    Raises
    ------
    InputError
        The composite has another make-up.
    """
    import SimpleITK as sitk

    composite = sitk.CompositeTransform(sitk.ReadTransform(os.fspath(path)))
    while (
        composite.GetNumberOfTransforms() == 1
        and composite.GetNthTransform(0).GetName() == "CompositeTransform"
    ):
        composite = sitk.CompositeTransform(composite.GetNthTransform(0))
    matrices, warp, affine_first = [], None, False
    parts = [composite.GetNthTransform(n).Downcast() for n in range(composite.GetNumberOfTransforms())]
    for part in reversed(parts):
        if part.GetName() == "DisplacementFieldTransform":
            if warp is not None:
                raise InputError(path, "transforms", "two displacement fields", "one", "compose them first")
            image = part.GetDisplacementField()
            size, direction = image.GetSize(), np.array(image.GetDirection()).reshape(3, 3)
            lps = np.eye(4)
            lps[:3, :3] = direction * image.GetSpacing()
            lps[:3, 3] = image.GetOrigin()
            values = sitk.GetArrayFromImage(image).transpose(2, 1, 0, 3) * [-1, -1, 1]
            warp = (np.ascontiguousarray(values, np.float32).reshape(*size, 3), _FLIP @ lps)
            affine_first = bool(matrices)
        else:
            linear = part.GetInverse().GetInverse() if part.GetName() == "IdentityTransform" else part
            lps = np.eye(4)
            origin = np.array(linear.TransformPoint((0.0, 0.0, 0.0)))
            for axis, unit in enumerate(np.eye(3)):
                lps[:3, axis] = np.array(linear.TransformPoint(unit.tolist())) - origin
            lps[:3, 3] = origin
            matrices.append(_FLIP @ lps @ _FLIP)
    matrix = np.eye(4)
    for ras in matrices:
        matrix = ras @ matrix
    if warp is None:
        warp = (np.zeros((2, 2, 2, 3), np.float32), np.eye(4))
    return Warp(matrix, *warp, affine_first=affine_first)


def corners(shape, affine):
    """World coordinates of the eight corner voxels of a grid, (8, 3)."""
    ijk = np.array(list(itertools.product(*[(0, n - 1) for n in shape[:3]])))
    return apply_affine(affine, ijk)
