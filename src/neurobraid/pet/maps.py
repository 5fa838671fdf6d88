"""Parametric maps: fitted voxel by voxel in T1w space, then brought to template space by one resampling of the map."""

import logging

import numpy as np

from neurobraid.files import read_json, read_tsv, write_json
from neurobraid.images.io import data, load, save
from neurobraid.images.transforms import read_warp
from neurobraid.pet import srtm, suvr, weights
from neurobraid.pet.resample import read_frame_table
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")

MEASURES = {"SRTM": ("BPND", "R1"), "SUVR": ("SUVR",)}


def brain_on_grid(mask, shape, affine):
    """Brain mask on the PET grid: at least half inside, linear interpolation."""
    from neurobraid.images.resample import resample_image

    return resample_image(mask, shape, affine, order=1) >= 0.5


def voxel_maps(
    series, mask, timing, reference_curve, frame_weights, *, models, window_min, n=128, k2a=(0.006, 0.6)
):
    """Parametric maps.

    Parameters
    ----------
    series : numpy.ndarray, (X, Y, Z, F), float32
        kBq/mL decay-corrected to injection; 0 in all frames outside the field of view.
    mask : numpy.ndarray of bool, (X, Y, Z)
    timing : Frames
    reference_curve, frame_weights : numpy.ndarray, (F,)
    models : list of str
        Of `MEASURES`.
    window_min, n, k2a
        See `suvr.window_mean` and `srtm.basis`.

    Returns
    -------
    maps : dict of (model, measure) to numpy.ndarray, (X, Y, Z), float32
        0 outside `valid`.
    valid : dict of model to numpy.ndarray of bool
    notes : dict of model to dict
        Numbers for the sidecar: voxels fitted, fraction at a bound, or why there is no map.
    """
    inside = mask & (series != 0).any(axis=3)
    curves = series[inside]
    maps, valid, notes = {}, {}, {}
    for model in models:
        reason = srtm.refusal(timing) if model == "SRTM" else suvr.refusal(timing, window_min)
        fitted, edge = {}, np.zeros(len(curves), np.int8)
        if not reason and model == "SRTM":
            fitted = srtm.fit_voxels(curves, srtm.basis(timing, reference_curve, frame_weights, n=n, k2a=k2a))
            edge = fitted["edge"]
        elif not reason:
            fitted = {"SUVR": suvr.ratio(curves, reference_curve, timing, window_min)}
        else:
            log.warning("no %s map: %s", model, reason)
        ok = np.zeros(len(curves), bool) if reason else np.isfinite(fitted[MEASURES[model][0]])
        valid[model] = _spread(ok, inside).astype(bool)
        for measure in MEASURES[model]:
            values = np.where(ok, fitted[measure], 0) if not reason else np.zeros(len(curves))
            maps[model, measure] = _spread(values, inside)
        notes[model] = {"VoxelsFitted": int(ok.sum()), "Missing": reason or None}
        if model == "SRTM" and ok.any():
            notes[model]["FractionAtBound"] = float((edge[ok] != 0).mean())
    return maps, valid, notes


def _spread(values, inside):
    out = np.zeros(inside.shape, np.float32)
    out[inside] = values
    return out


def to_template(values, valid, affine, warp, shape, target, mask):
    """Bring a map to template space by one linear interpolation among valid voxels.

    Invalid voxels have no value, not the value 0: the interpolated map is divided by the interpolated validity.

    Parameters
    ----------
    values, valid : numpy.ndarray, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
    warp : Warp
        Points of the template to points of T1w.
    shape, target, mask
        Template grid and the voxels to compute.

    Returns
    -------
    numpy.ndarray, `shape`, float32
        0 where less than half of the neighbourhood is valid.
    """
    from neurobraid.images.resample import grid_points, sample
    from neurobraid.images.transforms import apply_affine

    ijk = apply_affine(np.linalg.inv(affine), warp.apply(grid_points(shape, target, mask)))
    share = sample(valid.astype(np.float32), ijk, 1)
    value = sample(np.where(valid, values, 0).astype(np.float32), ijk, 1)
    out = np.zeros(shape, np.float32)
    out[mask] = np.where(share >= 0.5, value / np.maximum(share, 0.5), 0)
    return out


def write_maps(
    pet, brain_mask, warp, reference, reference_json, frame_weights, frames, frames_json, out, *,
    models, window_min, n=128, k2a=(0.006, 0.6), weighting="decay_counts", resolution=2.0,
):  # fmt: skip
    """Write the maps of a scan in T1w and template space.

    Parameters
    ----------
    pet, brain_mask : path-like
        Scan and brain mask in T1w space.
    warp : path-like
        ``from-T1w_to-MNI…``: points of the template to points of T1w.
    reference, reference_json, frame_weights, frames, frames_json : path-like
        What `tacs.extract` and `fit.fit` wrote.
    out : mapping
        Lists ``native``, ``native_json``, ``template``, ``template_json`` in the order of `models` and `MEASURES`.
    models, window_min, n, k2a, weighting
        See `model.model`.
    resolution : float
        Voxel edge in template space, mm.
    """
    from neurobraid.images.templates import SPACE, grid, template

    image, (timing, _) = load(pet), read_frame_table(frames, frames_json)
    affine = np.asarray(image.affine, float)
    series = data(image)
    region = read_json(reference_json)
    maps, valid, notes = voxel_maps(
        series,
        brain_on_grid(load(brain_mask), series.shape[:3], affine),
        timing,
        read_tsv(reference)["reference"].to_numpy(float),
        read_tsv(frame_weights)["weight"].to_numpy(float),
        models=models, window_min=window_min, n=n, k2a=k2a,
    )  # fmt: skip
    shape, target = grid(resolution)
    inside = np.asarray(template("brain", resolution).dataobj) > 0.5
    points = read_warp(warp)
    for i, ((model, measure), values) in enumerate(maps.items()):
        if model == "SRTM":
            settings = {
                "Weights": weights.FORMULA if weighting == "decay_counts" else weighting,
                "BasisFunctions": n,
                "BasisRange1PerMin": list(k2a),
            }
        else:
            settings = {"WindowMin": list(window_min), "WindowCoverage": suvr.overlap(timing, window_min)[1]}
        shared = {
            "Units": srtm.UNITS.get(measure, "1"),
            "Model": model,
            "ReferenceRegions": region["ReferenceRegions"],
            "HalfLifeMin": timing.half_life_min,
            "OutsideMask": "0: no value",
            "PartialVolumeCorrection": "none",
            **settings,
            **notes[model],
        }
        save(values, affine, out["native"][i])
        write_json(
            sidecar(
                f"{measure} by {model}, fitted voxel by voxel in T1w space",
                [pet, reference, frames],
                **shared,
            ),
            out["native_json"][i],
        )
        moved = to_template(values, valid[model], affine, points, shape, target, inside)
        save(moved, target, out["template"][i])
        write_json(
            sidecar(
                f"{measure} by {model} in template space: the T1w-space map, resampled once (linear)",
                [out["native"][i], warp],
                SpatialReference=SPACE,
                **shared,
            ),
            out["template_json"][i],
        )
