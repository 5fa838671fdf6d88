"""One raw BOLD run: voxels, repetition time, slice times, checked before any work is done on them."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, field

import numpy as np

from neurobraid.bids.headers import FORM_GAP_MM, LARGEST_VALUE, form_gap
from neurobraid.bids.sidecars import applying
from neurobraid.errors import InputError
from neurobraid.files import read_json

_AXES = {"i": 0, "j": 1, "k": 2}


@dataclass
class Series:
    """A raw BOLD run.

    Attributes
    ----------
    data : (X, Y, Z, T) float32 array, Fortran order
        Scanner units, finite.
    affine : (4, 4) float64 array
        Voxel to world, RAS mm.
    tr : float
        Repetition time, s.
    slice_times : (S,) float64 array or None
        Acquisition time of each slice after the start of its volume, s, in voxel order; None if unknown.
    slice_axis : int
        Voxel axis along which slices were acquired.
    metadata : dict
        The merged sidecars.
    notes : list of str
        What was repaired, in words for the log and the QC file.
    """

    data: np.ndarray
    affine: np.ndarray
    tr: float
    slice_times: np.ndarray | None = None
    slice_axis: int = 2
    metadata: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)

    @property
    def zooms(self):
        """Voxel edges, mm."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))


def merge_sidecars(paths):
    """Metadata of a run: later files override earlier ones (BIDS inheritance order).

    Parameters
    ----------
    paths : iterable of path-like

    Returns
    -------
    dict
    """
    merged = {}
    for path in paths:
        merged.update(read_json(path))
    return merged


def open_series(path, sidecars):
    """Read one image of a run with those of the run's sidecars that belong to it.

    Parameters
    ----------
    path : path-like
        ``*_bold.nii.gz``, of a multi-echo run one echo.
    sidecars : iterable of path-like
        JSON files of the whole run in inheritance order.

    Returns
    -------
    Series

    Raises
    ------
    InputError
        See `read_series`.
    """
    return read_series(path, merge_sidecars(applying(sidecars, path)))


def read_series(path, metadata):
    """Read and check a raw BOLD run.

    Parameters
    ----------
    path : path-like
        ``*_bold.nii.gz``.
    metadata : dict
        Merged sidecars (BIDS inheritance), of which ``RepetitionTime``, ``SliceTiming`` and
        ``SliceEncodingDirection`` are used.

    Returns
    -------
    Series

    Raises
    ------
    InputError
        Not 4D, fewer than four voxels along an axis, fewer than ten volumes, truncated, volumes of NaN or without
        signal, values beyond all reason, no repetition time, header and sidecar disagree on it, slice times of wrong
        number or outside the repetition time.
    """
    from neurobraid.images.io import load

    image = load(path)
    shape = image.shape
    if len(shape) != 4:
        raise InputError(
            path, "dimensions", f"{len(shape)}D {shape}", "4D (x, y, z, time)",
            "give the whole time series; a single volume belongs into _sbref or _boldref",
        )  # fmt: skip
    if shape[3] < 10:
        raise InputError(
            path, "volumes", shape[3], "at least 10",
            "give the whole run, or list the scan under index.exclude in the config",
        )  # fmt: skip
    if min(shape[:3]) < 4:
        raise InputError(
            path, "dimensions", " x ".join(map(str, shape[:3])), "at least 4 voxels along every axis",
            "head motion cannot be estimated in so thin a slab: exclude the scan (index.exclude)",
        )  # fmt: skip
    tr = _repetition_time(path, image.header, metadata)
    times, axis = _slice_times(path, metadata, shape, tr)
    try:
        # a damaged scale factor overflows; that is found in the values
        with np.errstate(over="ignore"):
            data = np.asarray(image.dataobj, dtype=np.float32, order="F")
    except (EOFError, OSError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            path, "voxel data", f"truncated ({error})", "a complete file", "copy the file again"
        ) from None
    series = Series(data, np.asarray(image.affine, np.float64), tr, times, axis, dict(metadata))
    gap = form_gap(image.header)
    if gap is not None and gap > FORM_GAP_MM:
        series.notes.append(f"sform and qform differ by up to {gap:.1f} mm; the sform is used")
    _check_voxels(path, series, image.dataobj.slope)
    return series


def _repetition_time(path, header, metadata):
    stated = metadata.get("RepetitionTime")
    zooms = header.get_zooms()
    unit = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}.get(header.get_xyzt_units()[1], 1.0)
    found = float(zooms[3]) * unit if len(zooms) > 3 else 0.0
    if stated is None:
        if found > 0:
            raise InputError(
                path, "RepetitionTime", "missing in the sidecar", "seconds",
                f'add "RepetitionTime": {found:g} to the sidecar if the header\'s value is right',
            )  # fmt: skip
        raise InputError(
            path, "RepetitionTime", "missing in sidecar and header", "seconds", "add it to the sidecar"
        )
    try:
        stated = float(stated)
    except (TypeError, ValueError):
        stated = float("nan")
    if not 0.05 <= stated <= 30.0:
        raise InputError(
            path, "RepetitionTime", metadata["RepetitionTime"], "0.05 to 30 seconds",
            "correct the sidecar (BIDS counts in seconds, not milliseconds)",
        )  # fmt: skip
    if found > 0 and abs(found - stated) > 1e-3 * stated + 5e-4:
        raise InputError(
            path, "RepetitionTime", f"{stated:g} s in the sidecar, {found:g} s in the header", "one value",
            "find out which is right and correct the other (sidecar, or pixdim[4] of the NIfTI header)",
        )  # fmt: skip
    return stated


def _slice_times(path, metadata, shape, tr):
    times = metadata.get("SliceTiming")
    direction = str(metadata.get("SliceEncodingDirection", "k"))
    if not times:
        return None, 2
    if direction.rstrip("-") not in _AXES:
        raise InputError(
            path, "SliceEncodingDirection", direction, "i, j, k, i-, j-, k-", "correct the sidecar"
        )
    axis = _AXES[direction.rstrip("-")]
    try:
        times = np.asarray(times, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(path, "SliceTiming", "not numbers", "seconds, one per slice", "correct it") from None
    if times.shape != (shape[axis],):
        raise InputError(
            path, "SliceTiming", f"{times.size} values", f"{shape[axis]} (slices along {direction[0]})",
            "give one time per slice, or remove SliceTiming: the correction is then skipped",
        )  # fmt: skip
    if not np.isfinite(times).all() or times.min() < 0 or times.max() >= tr:
        raise InputError(
            path, "SliceTiming", f"{np.nanmin(times):g} to {np.nanmax(times):g}",
            f"0 to below the repetition time ({tr:g} s)",
            "give seconds (not milliseconds), or remove SliceTiming: the correction is then skipped",
        )  # fmt: skip
    # a trailing minus means that the first entry belongs to the last slice
    return (times[::-1].copy() if direction.endswith("-") else times), axis


def _check_voxels(path, series, slope):
    data = series.data
    # a damaged scale factor makes infinity of whole numbers, which would look like a failed conversion
    if slope is not None and abs(slope) > 1e6 and max(float(data.max()), -float(data.min())) > LARGEST_VALUE:
        raise InputError(
            path, "scl_slope", f"{slope:g}", f"a scale factor that keeps voxels below {LARGEST_VALUE:g}",
            "convert the run again: the scale factor in the header is damaged",
        )  # fmt: skip
    sums = np.array([data[..., t].sum(dtype=np.float64) for t in range(data.shape[3])])
    if not np.isfinite(sums).all():
        counts = np.array([np.count_nonzero(~np.isfinite(data[..., t])) for t in range(data.shape[3])])
        usual = int(np.median(counts))
        broken = np.flatnonzero(counts > usual + 0.01 * data[..., 0].size)
        if len(broken) or usual > 0.95 * data[..., 0].size:
            listed = ", ".join(str(t) for t in (broken if len(broken) else range(data.shape[3]))[:8])
            raise InputError(
                path, "voxels", f"NaN or infinite in volume {listed} (counted from 0)", "numbers",
                "convert the run again, or list the scan under index.exclude in the config",
            )  # fmt: skip
        np.nan_to_num(data, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        series.notes.append(f"{usual} voxels per volume were not numbers and count as 0")
    # np.ptp over a sparse sample finds volumes of one value without touching every voxel
    flat = [t for t in range(data.shape[3]) if np.ptp(data[::3, ::3, ::2, t]) == 0]
    flat = [t for t in flat if np.ptp(data[..., t]) == 0]
    if flat:
        listed = ", ".join(str(t) for t in flat[:8])
        raise InputError(
            path, "voxels", f"no signal in volume {listed} (counted from 0)", "an image in every volume",
            "the scan was aborted or the conversion failed: cut the run, or exclude it in the config",
        )  # fmt: skip
