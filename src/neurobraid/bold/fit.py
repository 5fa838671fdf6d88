"""What is estimated once from a raw BOLD run and its anatomy: position to T1w, brain mask, confounds."""

from __future__ import annotations

import logging
import re

import numpy as np

from neurobraid.bold.confounds import confound_table, crown, noise_masks, quality
from neurobraid.bold.coregister import coregister
from neurobraid.bold.echoes import COMBINATION, open_echoes, read_relaxation
from neurobraid.bold.motion import check_volumes, read_motion
from neurobraid.bold.reference import brain_mask
from neurobraid.bold.route import make_route, read_distortion
from neurobraid.bold.sampling import Sampler
from neurobraid.bold.slicetiming import correct_slice_timing
from neurobraid.files import write_json, write_tsv
from neurobraid.images.io import data, load, save
from neurobraid.images.resample import grid_points, sample
from neurobraid.images.transforms import apply_affine, read_affines, write_affines
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")


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


def brain_series(bold, sidecars, route, hmc, non_steady, *, slice_timing_enabled, slice_time_ref):
    """Read the voxels of the brain in every volume, corrected for slice timing, head motion and distortion.

    Parameters
    ----------
    bold, sidecars : list of path-like
    route : neurobraid.bold.route.Route
        To N voxels.
    hmc : path-like
        T head-motion transforms, reference points to points of each volume.
    non_steady : int
    slice_timing_enabled : bool
    slice_time_ref : float

    Returns
    -------
    brain : (T, N) float32 array
        Echoes combined.
    facts : dict
        ``notes``, ``repetition_time`` (s), ``slice_timing_corrected``.
    """
    motion = read_affines(hmc)
    brain = np.zeros((len(motion), len(route.points)), np.float32)
    notes = []
    for echo, series in enumerate(open_echoes(bold, sidecars)):
        check_volumes(hmc, motion, series.data.shape[3])
        _, corrected, note = slice_timing(
            series, non_steady, enabled=slice_timing_enabled, reference=slice_time_ref
        )
        sampler = Sampler(series.data, series.affine)
        for t in range(len(motion)):
            route.add(brain[t], echo, sampler, t, motion[t])
        notes += [text for text in series.notes if text not in notes]
    log.info(note)
    return brain, {
        "notes": [*notes, note],
        "repetition_time": series.tr,
        "slice_timing_corrected": corrected,
    }


def fit_run(
    bold, sidecars, estimated, anatomy, outputs, *, slice_timing_enabled, slice_time_ref, fd_threshold,
    dvars_threshold, fieldmap=(), combined=(),
):  # fmt: skip
    """Estimate what one BOLD run needs its anatomy for, and write it.

    Parameters
    ----------
    bold : list of path-like
        Raw ``*_bold.nii.gz``, one per echo in order of echo time.
    sidecars : list of path-like
        Their JSON files in inheritance order.
    estimated : dict of str to path-like
        ``boldref``, ``boldref_json``, ``mask``, ``hmc`` as written by `neurobraid.bold.motion.motion_run`.
    anatomy : dict of str to path-like
        ``t1w``, ``mask``, ``gm``, ``wm``, ``csf`` of the paired T1w scan.
    outputs : dict of str to path-like
        ``boldref``, ``mask``, ``coreg``, ``confounds``, ``qc`` and the sidecars ``boldref_json``,
        ``mask_json``, ``confounds_json``.
    slice_timing_enabled : bool
    slice_time_ref : float
        Fraction of the repetition time.
    fd_threshold : float
        mm.
    dvars_threshold : float
        Standardized DVARS.
    fieldmap : sequence of path-like
        Field map in Hz and its sidecar (see `neurobraid.bold.route.read_distortion`), or nothing.
    combined : sequence of path-like
        T2* map and combined reference of a multi-echo run (`neurobraid.bold.echoes.echoes_run`), or nothing.

    Raises
    ------
    neurobraid.errors.InputError
        See `neurobraid.bold.series.read_series`, `neurobraid.bold.echoes.open_echoes` and
        `neurobraid.bold.route.read_distortion`.
    """
    reference, intensity_mask, motion, facts = read_motion(estimated)
    picture = load(estimated["boldref"])
    affine, shape, non_steady = picture.affine, reference.shape, facts["NonSteadyStateVolumes"]
    distortion = read_distortion(fieldmap, picture)
    relaxation = read_relaxation(combined, bold, sidecars)
    if relaxation is not None:
        reference = data(load(combined[1]))
    if distortion is not None:
        reference = distortion.undistort(reference)
        intensity_mask = brain_mask(reference, np.sqrt((affine[:3, :3] ** 2).sum(axis=0)))
        log.info("corrected for %s", distortion.step)
    t1w, t1w_mask = load(anatomy["t1w"]), load(anatomy["mask"])
    maps = {name: load(anatomy[name.lower()]) for name in ("GM", "WM", "CSF")}
    matrix, scores = coregister(reference, affine, intensity_mask, t1w, t1w_mask, maps["WM"], maps["GM"])
    mask, dice = final_mask(reference, intensity_mask, affine, t1w_mask, matrix)
    log.info("coregistration by %s, Dice of the masks %.3f", scores["coreg_method"], dice)

    points = grid_points(shape, affine, mask)
    edge_points = grid_points(shape, affine, crown(mask | intensity_mask))
    # one set of points: brain and crown share the spline filter of every volume
    route = make_route(np.concatenate([points, edge_points]), distortion, relaxation)
    courses, read = brain_series(
        bold, sidecars, route, estimated["hmc"], non_steady, slice_timing_enabled=slice_timing_enabled,
        slice_time_ref=slice_time_ref,
    )  # fmt: skip
    brain = np.ascontiguousarray(courses[:, : len(points)])
    edge = courses[:, len(points) :]
    tr = read["repetition_time"]
    shares = tissue_shares(points, affine[:3, :3], np.linalg.inv(matrix), maps)
    alive = brain.std(axis=0) > 0
    masks, thresholds = noise_masks(shares, alive)
    center = points.mean(axis=0)
    table, description = confound_table(
        brain, masks, motion, center, tr, edge=edge, non_steady=non_steady,
        fd_threshold=fd_threshold, dvars_threshold=dvars_threshold,
    )  # fmt: skip
    numbers = quality(brain[non_steady:], table, reference, mask, affine, fd_threshold=fd_threshold)
    numbers |= scores
    numbers |= read
    numbers |= {
        "coreg_dice": float(dice),
        "echoes": len(bold),
        "fd_threshold_mm": fd_threshold,
        "mask_volume_ml": float(mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000.0),
        "noise_mask_thresholds": thresholds,
        "noise_mask_voxels": {name: int(chosen.sum()) for name, chosen in masks.items()},
        "non_steady_state_volumes": non_steady,
        "reference_volume": facts["ReferenceVolume"],
        "sdc_method": distortion.method if distortion else "none",
        "voxel_size_mm": np.sqrt((affine[:3, :3] ** 2).sum(axis=0)),
        "volumes": len(motion),
    }

    used = [*bold, *sidecars, *fieldmap, *combined]
    anatomical = [anatomy[name] for name in ("t1w", "mask", "wm", "gm")]
    steps = ["mean of all echoes" if combined else "trimmed mean of realigned volumes"]
    steps += [f"corrected for {distortion.step}"] if distortion else []
    save(reference, affine, outputs["boldref"])
    write_json(
        sidecar(
            f"Reference of the run: {', '.join(steps)}", [combined[1] if combined else estimated["boldref"], *fieldmap],
            SkullStripped=False, ReferenceVolume=facts["ReferenceVolume"],
            SusceptibilityDistortionCorrection=distortion.method if distortion else "none",
            Combination=COMBINATION if combined else None,
        ),
        outputs["boldref_json"],
    )  # fmt: skip
    save(mask, affine, outputs["mask"], dtype=np.uint8)
    write_json(
        sidecar("Brain mask of the run: T1w brain mask where the BOLD image has signal",
                [*bold, anatomy["mask"]], Type="Brain"),
        outputs["mask_json"],
    )  # fmt: skip
    write_affines(matrix, outputs["coreg"])
    write_tsv(table, outputs["confounds"])
    write_json(description, outputs["confounds_json"])
    write_json(sidecar("Quality of one BOLD run", [*used, *anatomical], **numbers), outputs["qc"])
