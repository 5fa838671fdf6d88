"""From a point of the run's reference to the raw voxels: distortion, head motion, echoes, in one interpolation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurobraid.bold.distortion import distortion_warp, jacobian, phase_axis, undistort
from neurobraid.errors import InputError
from neurobraid.files import read_json
from neurobraid.images.io import data, load
from neurobraid.images.resample import sample
from neurobraid.images.transforms import apply_affine


@dataclass(frozen=True)
class Distortion:
    """The susceptibility distortion of one run.

    Attributes
    ----------
    field : (X, Y, Z) float32 array
        Hz, on the grid of the run's reference, at undistorted places.
    affine : (4, 4) array
        Voxel to world, RAS mm.
    readout : float
        ``TotalReadoutTime``, s.
    direction : str
        ``PhaseEncodingDirection``.
    method : str
        How the field was found, for sidecars and report.
    modulated : bool
        Whether the brightness is corrected too.
    """

    field: np.ndarray
    affine: np.ndarray
    readout: float
    direction: str
    method: str
    modulated: bool

    @property
    def step(self):
        """The correction in words."""
        return f"susceptibility distortion ({self.method})"

    def seen(self, points):
        """Where the distorted reference shows points.

        Parameters
        ----------
        points : (N, 3) array
            World of the undistorted reference, mm.

        Returns
        -------
        (N, 3) float64 array
            World of the distorted reference, mm.
        """
        return distortion_warp(self.field, self.affine, self.readout, self.direction).apply(points)

    def gain(self, points):
        """Factor that gives the signal of points its undistorted brightness.

        Parameters
        ----------
        points : (N, 3) array
            World of the undistorted reference, mm.

        Returns
        -------
        (N,) float32 array or None
            None when the brightness is left alone.
        """
        if not self.modulated:
            return None
        factor = jacobian(self.field, self.readout, self.direction)
        return sample(factor, apply_affine(np.linalg.inv(self.affine), points), 1, 1.0)

    def undistort(self, image):
        """One volume on the grid of the field, without its distortion (see `distortion.undistort`)."""
        return undistort(
            image, self.affine, self.field, self.readout, self.direction, modulate=self.modulated
        )


def read_distortion(files, reference):
    """Read the field map of a run.

    Parameters
    ----------
    files : sequence of path-like
        Nothing, or the image (Hz) and its sidecar with ``TotalReadoutTime`` (s), ``PhaseEncodingDirection``,
        ``Method`` and ``Modulated``.
    reference : nibabel image
        Reference of the run's head motion: the field must stand on its grid.

    Returns
    -------
    Distortion or None

    Raises
    ------
    InputError
        Another grid, voxels that are not numbers, or a sidecar without these fields.
    """
    if not files:
        return None
    path, side = files
    image, content = load(path), read_json(side)
    if image.shape[:3] != reference.shape[:3] or not np.allclose(image.affine, reference.affine, atol=1e-3):
        found = f"{image.shape[:3]}, or another position"
        allowed = f"the grid of the run's reference {reference.shape[:3]}"
        raise InputError(path, "grid", found, allowed, "remove the file and run again")
    missing = [
        key
        for key in ("TotalReadoutTime", "PhaseEncodingDirection", "Method", "Modulated")
        if key not in content
    ]
    if missing:
        raise InputError(side, missing[0], "missing", "a value", "remove the file and run again")
    try:
        phase_axis(content["PhaseEncodingDirection"])
    except ValueError as error:
        allowed = "i, j, k, i-, j-, k-"
        raise InputError(
            side, "PhaseEncodingDirection", content["PhaseEncodingDirection"], allowed, "correct the sidecar"
        ) from error
    field = data(image)
    if not np.isfinite(field).all():
        raise InputError(path, "voxels", "NaN or infinite", "Hz", "remove the file and run again")
    return Distortion(
        field,
        np.asarray(image.affine, np.float64),
        float(content["TotalReadoutTime"]),
        content["PhaseEncodingDirection"],
        str(content["Method"]),
        bool(content["Modulated"]),
    )


@dataclass(frozen=True)
class Route:
    """How the values of a set of points are read from the raw images of a run.

    Attributes
    ----------
    points : (N, 3) float64 array
        World of the (distorted) reference of head motion, mm.
    gain : (N,) float32 array or None
        Brightness factor.
    weights : (E, N) float32 array or None
        Share of each echo; None for a single one.
    """

    points: np.ndarray
    gain: np.ndarray | None = None
    weights: np.ndarray | None = None

    def add(self, out, echo, sampler, t, matrix):
        """Add one echo of one volume to the values of the points.

        Parameters
        ----------
        out : (N,) float32 array
            Changed in place; zeros before the first echo.
        echo : int
            From 0.
        sampler : neurobraid.bold.sampling.Sampler
            Of this echo.
        t : int
            Volume.
        matrix : (4, 4) array
            Head motion of the volume: reference points to points of the volume.
        """
        values = sampler.volume(t, self.points, matrix)
        if self.weights is not None:
            values *= self.weights[echo]
        if self.gain is not None:
            values *= self.gain
        out += values


def make_route(points, distortion=None, relaxation=None):
    """Follow points of the undistorted reference to the raw images.

    Parameters
    ----------
    points : (N, 3) array
        World of the undistorted reference, mm.
    distortion : Distortion, optional
    relaxation : neurobraid.bold.echoes.Relaxation, optional
        Of a multi-echo run.

    Returns
    -------
    Route
    """
    points = np.ascontiguousarray(points, np.float64)
    gain = None
    if distortion is not None:
        gain = distortion.gain(points)
        points = np.ascontiguousarray(distortion.seen(points))
    weights = relaxation.weights(points) if relaxation is not None else None
    return Route(points, gain, weights)
