"""Everything that is estimated once from a raw BOLD run: reference, motion, coregistration, mask, confounds."""

from __future__ import annotations

import logging
import re

import numpy as np

from neurobraid.bold.confounds import brain_and_crown, confound_table, crown, noise_masks, quality
from neurobraid.bold.coregister import coregister
from neurobraid.bold.reference import count_non_steady, make_reference
from neurobraid.bold.sampling import Sampler
from neurobraid.bold.series import read_series
from neurobraid.bold.slicetiming import correct_slice_timing
from neurobraid.files import read_json, write_json, write_tsv
from neurobraid.images.io import data, load, save
from neurobraid.images.resample import grid_points, sample
from neurobraid.images.rigid import realign
from neurobraid.images.transforms import apply_affine, write_affines
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")


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


def head_motion(data4d, affine, reference, mask):
    """Rigid motion of a BOLD run against its reference.

    The mask is widened by about 6 mm, because the brain's edge says most about its position; the gain per
    volume absorbs drift and the bright volumes before steady state.

    Parameters
    ----------
    data4d : (X, Y, Z, T) array
    affine : (4, 4) array
    reference : (X, Y, Z) array
    mask : (X, Y, Z) bool array

    Returns
    -------
    (T, 4, 4) float64 array
        Reference points to points of each volume.
    """
    from scipy import ndimage

    zooms = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    wide = ndimage.binary_dilation(mask, iterations=max(1, round(6.0 / zooms.min())))
    return realign(data4d, affine, reference=reference, mask=wide, fwhm=3.0, scale_intensity=True)


def tissue_shares(points, step, to_t1w, maps):
    """Share of each tissue in BOLD voxels: mean of the probability at eight points of every voxel.

    Parameters
    ----------
    points : (N, 3) array
        Voxel centres, BOLD reference, mm.
    step : (3, 3) array
        Columns: the voxel's edges, mm.
    to_t1w : (4, 4) array
        BOLD points to T1w points.
    maps : dict of str to nibabel image
        Tissue probabilities.

    Returns
    -------
    dict of str to (N,) float32 array
    """
    out = {}
    corners = [(a, b, c) for a in (-0.25, 0.25) for b in (-0.25, 0.25) for c in (-0.25, 0.25)]
    for name, image in maps.items():
        values, inverse = data(image), np.linalg.inv(image.affine)
        total = np.zeros(len(points), np.float32)
        for corner in corners:
            moved = apply_affine(inverse @ to_t1w, points + step @ np.array(corner))
            total += sample(values, moved, 1)
        out[name] = total / len(corners)
    return out


def final_mask(reference, intensity_mask, affine, t1w_mask, matrix):
    """Brain mask on the BOLD grid: the T1w mask, where the BOLD image has signal.

    Parameters
    ----------
    reference : (X, Y, Z) array
    intensity_mask : (X, Y, Z) bool array
        `neurobraid.bold.reference.brain_mask`.
    affine : (4, 4) array
    t1w_mask : nibabel image
    matrix : (4, 4) array
        T1w points to BOLD points.

    Returns
    -------
    mask : (X, Y, Z) bool array
        The intensity mask alone where the two agree so badly (Dice < 0.6) that the coregistration is in doubt.
    dice : float
        Overlap of the T1w mask with the intensity mask.
    """
    points = grid_points(reference.shape, affine)
    inside = apply_affine(np.linalg.inv(t1w_mask.affine) @ np.linalg.inv(matrix), points)
    anatomical = (sample(data(t1w_mask), inside, 1) > 0.5).reshape(reference.shape)
    dice = 2.0 * np.count_nonzero(anatomical & intensity_mask)
    dice /= max(np.count_nonzero(anatomical) + np.count_nonzero(intensity_mask), 1)
    if dice < 0.6:
        log.warning("T1w mask and BOLD mask overlap badly (Dice %.2f): check the coregistration", dice)
        return intensity_mask, dice
    floor = 0.15 * float(np.median(reference[intensity_mask]))
    return anatomical & (reference > floor), dice


def slice_timing(series, non_steady, *, enabled, reference):
    """Correct slice timing in place where it is known and wanted.

    Parameters
    ----------
    series : neurobraid.bold.series.Series
        Its data are changed.
    non_steady : int
    enabled : bool
    reference : float
        Fraction of the repetition time.

    Returns
    -------
    start : float
        ``StartTime``, s; 0 when nothing was done.
    corrected : bool
    note : str
    """
    if not enabled:
        return 0.0, False, "slice-timing correction is switched off in the config"
    if series.slice_times is None:
        return 0.0, False, "SliceTiming is not in the sidecar: the correction was skipped"
    if np.ptp(series.slice_times) == 0:
        return 0.0, False, "all slices have one time: nothing to correct"
    start = correct_slice_timing(
        series.data,
        series.slice_times,
        series.slice_axis,
        series.tr,
        reference=reference,
        first=non_steady,
    )
    return start, True, f"slices were brought to {start:g} s of each repetition"


def task_name(path, metadata):
    """``TaskName`` of the sidecar, else the task entity of the file name."""
    found = re.search(r"_task-([a-zA-Z0-9]+)", str(path))
    return metadata.get("TaskName") or (found.group(1) if found else None)


def fit_run(
    bold, sidecars, anatomy, outputs, *, slice_timing_enabled, slice_time_ref, fd_threshold, dvars_threshold
):
    """Estimate everything about one BOLD run and write it.

    Parameters
    ----------
    bold : path-like
        Raw ``*_bold.nii.gz``.
    sidecars : list of path-like
        Its JSON files in inheritance order.
    anatomy : dict of str to path-like
        ``t1w``, ``mask``, ``gm``, ``wm``, ``csf`` of the paired T1w scan.
    outputs : dict of str to path-like
        ``boldref``, ``mask``, ``hmc``, ``coreg``, ``confounds``, ``qc`` and the sidecars ``boldref_json``,
        ``mask_json``, ``confounds_json``.
    slice_timing_enabled : bool
    slice_time_ref : float
        Fraction of the repetition time.
    fd_threshold : float
        mm.
    dvars_threshold : float
        Standardized DVARS.

    Raises
    ------
    neurobraid.errors.InputError
        See `neurobraid.bold.series.read_series`.
    """
    metadata = merge_sidecars(sidecars)
    series = read_series(bold, metadata)
    for note in series.notes:
        log.warning("%s: %s", bold, note)
    affine, shape = series.affine, series.data.shape
    non_steady = count_non_steady(series.data)
    reference, index, intensity_mask = make_reference(series, non_steady)
    log.info("%s volumes, %s not in steady state, reference %s", shape[3], non_steady, index)

    motion = head_motion(series.data, affine, reference, intensity_mask)
    t1w, t1w_mask = load(anatomy["t1w"]), load(anatomy["mask"])
    maps = {name: load(anatomy[name.lower()]) for name in ("GM", "WM", "CSF")}
    matrix, scores = coregister(reference, affine, intensity_mask, t1w, t1w_mask, maps["WM"], maps["GM"])
    mask, dice = final_mask(reference, intensity_mask, affine, t1w_mask, matrix)
    log.info("coregistration by %s, Dice of the masks %.3f", scores["coreg_method"], dice)

    _, corrected, note = slice_timing(
        series, non_steady, enabled=slice_timing_enabled, reference=slice_time_ref
    )
    log.info(note)
    points = grid_points(shape[:3], affine, mask)
    edge_points = grid_points(shape[:3], affine, crown(mask | intensity_mask))
    brain, edge = brain_and_crown(Sampler(series.data, affine), motion, points, edge_points)
    shares = tissue_shares(points, affine[:3, :3], np.linalg.inv(matrix), maps)
    alive = brain.std(axis=0) > 0
    masks, thresholds = noise_masks(shares, alive)
    center = points.mean(axis=0)
    table, description = confound_table(
        brain, masks, motion, center, series.tr, edge=edge, non_steady=non_steady,
        fd_threshold=fd_threshold, dvars_threshold=dvars_threshold,
    )  # fmt: skip
    numbers = quality(brain[non_steady:], table, reference, mask, affine, fd_threshold=fd_threshold)
    numbers |= scores
    numbers |= {
        "coreg_dice": float(dice),
        "fd_threshold_mm": fd_threshold,
        "mask_volume_ml": float(mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000.0),
        "noise_mask_thresholds": thresholds,
        "noise_mask_voxels": {name: int(chosen.sum()) for name, chosen in masks.items()},
        "non_steady_state_volumes": non_steady,
        "notes": [*series.notes, note],
        "reference_volume": index,
        "repetition_time": series.tr,
        "slice_timing_corrected": corrected,
        "voxel_size_mm": [float(z) for z in series.zooms],
        "volumes": shape[3],
    }

    used = [bold, *sidecars]
    anatomical = [anatomy[name] for name in ("t1w", "mask", "wm", "gm")]
    save(reference, affine, outputs["boldref"])
    write_json(
        sidecar(
            "Reference of the run: trimmed mean of realigned volumes", used, SkullStripped=False,
            ReferenceVolume=index,
        ),
        outputs["boldref_json"],
    )  # fmt: skip
    save(mask, affine, outputs["mask"], dtype=np.uint8)
    write_json(
        sidecar("Brain mask of the run: T1w brain mask where the BOLD image has signal",
                [bold, anatomy["mask"]], Type="Brain"),
        outputs["mask_json"],
    )  # fmt: skip
    write_affines(motion, outputs["hmc"])
    write_affines(matrix, outputs["coreg"])
    write_tsv(table, outputs["confounds"])
    write_json(description, outputs["confounds_json"])
    write_json(sidecar("Quality of one BOLD run", [*used, *anatomical], **numbers), outputs["qc"])
