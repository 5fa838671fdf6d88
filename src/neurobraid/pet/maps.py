"""Parametric maps: fitted voxel by voxel in T1w space, then brought to template space by one resampling of the map."""

import logging

import numpy as np

from neurobraid.files import read_json, read_tsv, write_json
from neurobraid.images.io import data, load, save
from neurobraid.images.transforms import read_warp
from neurobraid.pet import linear_models, presets, srtm, srtm2, suvr
from neurobraid.pet import model as models_of_regions
from neurobraid.pet.resample import read_frame_table
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")

MEASURES = {
    **dict.fromkeys(("SRTM", "SRTM2", "MRTM1", "MRTM2"), ("BPND", "R1")),
    **dict.fromkeys(("refLogan", "refmlLogan"), ("BPND",)),
    "refPatlak": ("Kref",),
    "SUVR": ("SUVR",),
}
"""Maps in T1w and in template space, the first decides whether a voxel has a value."""

DETAILS = {
    **dict.fromkeys(("SRTM", "SRTM2", "MRTM1", "MRTM2"), ("k2", "residualvariance")),
    **dict.fromkeys(("refLogan", "refmlLogan", "refPatlak"), ("residualvariance",)),
    "SUVR": (),
}
"""Maps in T1w space only."""


def brain_on_grid(mask, shape, affine):
    """Brain mask on the PET grid: at least half inside, linear interpolation."""
    from neurobraid.images.resample import resample_image

    return resample_image(mask, shape, affine, order=1) >= 0.5


def fit_voxels(
    name, curves, timing, reference_curve, frame_weights, shared=None, *, window_min, n=128, k2a=(0.006, 0.6)
):
    """A model of many curves.

    Parameters
    ----------
    name : str
        Of `MEASURES`.
    curves : numpy.ndarray, (V, F), float32
    timing, reference_curve, frame_weights, shared, window_min, n, k2a
        See `voxel_maps`.

    Returns
    -------
    dict of numpy.ndarray, (V,)
        `MEASURES` and `DETAILS` of the model and ``edge``; see `srtm.fit_voxels`.
    """
    if name == "SUVR":
        values = suvr.ratio(curves, reference_curve, timing, window_min)
        return {"SUVR": values, "edge": np.zeros(len(curves), np.int8)}
    given = models_of_regions.prepare(name, timing, reference_curve, frame_weights, shared, n=n, k2a=k2a)
    fit = {"SRTM": srtm.fit_voxels, "SRTM2": srtm2.fit_voxels}.get(name, linear_models.fit_voxels)
    found = fit(curves, given)
    found["residualvariance"] = found.pop("residual_variance")
    return found


def voxel_maps(
    series, mask, timing, reference_curve, frame_weights, *,
    models, window_min, shared=None, n=128, k2a=(0.006, 0.6),
):  # fmt: skip
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
    shared : dict, optional
        What `constants.estimate` wrote.

    Returns
    -------
    maps : dict of (model, measure) to numpy.ndarray, (X, Y, Z), float32
        `MEASURES` and `DETAILS`; 0 where there is no value.
    fitted : dict of model to numpy.ndarray of bool
        Where there is a value.
    valid : dict of model to numpy.ndarray of bool
        Where it is to be believed: k2a is not at a bound.
    notes : dict of model to dict
        Numbers for the sidecar: voxels fitted, fraction at a bound, or why there is no map.
    """
    inside = mask & (series != 0).any(axis=3)
    curves = series[inside]
    maps, fitted, valid, notes = {}, {}, {}, {}
    for name in models:
        reason = models_of_regions.refusal(name, timing, reference_curve, shared, window_min)
        found, ok = {}, np.zeros(len(curves), bool)
        if reason:
            log.warning("no %s map: %s", name, reason)
        else:
            found = fit_voxels(
                name, curves, timing, reference_curve, frame_weights, shared, window_min=window_min, n=n, k2a=k2a
            )  # fmt: skip
            ok = np.isfinite(found[MEASURES[name][0]])
        for measure in (*MEASURES[name], *DETAILS[name]):
            maps[name, measure] = _spread(np.where(ok, found.get(measure, 0), 0), inside)
        inner = ok & (found.get("edge", np.zeros(len(curves))) == 0)
        fitted[name] = _spread(ok, inside).astype(bool)
        valid[name] = _spread(inner, inside).astype(bool)
        notes[name] = {
            "VoxelsInside": int(inside.sum()),
            "VoxelsFitted": int(ok.sum()),
            "VoxelsValid": int(inner.sum()),
            "Missing": reason or None,
        }
        if ok.any() and "edge" in found and name != "SUVR":
            notes[name]["FractionAtBound"] = float(1 - inner.sum() / ok.sum())
    return maps, fitted, valid, notes


def _spread(values, inside):
    out = np.zeros(inside.shape, np.float32)
    out[inside] = values
    return out


def template_points(affine, warp, shape, target, mask):
    """Voxel coordinates (N, 3) in a T1w-space image of the voxels in a template mask.

    Parameters
    ----------
    affine : numpy.ndarray, (4, 4)
        Of the T1w-space image.
    warp : Warp
        Points of the template to points of T1w.
    shape, target, mask
        Template grid and the voxels to compute.
    """
    from neurobraid.images.resample import grid_points
    from neurobraid.images.transforms import apply_affine

    return apply_affine(np.linalg.inv(affine), warp.apply(grid_points(shape, target, mask)))


def to_template(values, fitted, ijk, mask):
    """Bring a map to template space by one linear interpolation among voxels with a value.

    Other voxels have no value, not the value 0: the interpolated map is divided by the interpolated share of voxels with
    a value.

    Parameters
    ----------
    values, fitted : numpy.ndarray, (X, Y, Z)
    ijk : numpy.ndarray, (N, 3)
        See `template_points`.
    mask : numpy.ndarray of bool
        Template mask with N voxels.

    Returns
    -------
    numpy.ndarray, shape of `mask`, float32
        0 where less than half of the neighbourhood has a value.
    """
    from neurobraid.images.resample import sample

    share = sample(fitted.astype(np.float32), ijk, 1)
    value = sample(np.where(fitted, values, 0).astype(np.float32), ijk, 1)
    out = np.zeros(mask.shape, np.float32)
    out[mask] = np.where(share >= 0.5, value / np.maximum(share, 0.5), 0)
    return out


def write_maps(
    pet, brain_mask, warp, reference, reference_json, frame_weights, frames, frames_json, out, *,
    models, window_min, shared=(), n=128, k2a=(0.006, 0.6), weighting="decay_counts", resolution=2.0, records=(),
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
        Lists in the order of `models`: ``native``, ``native_json`` (by `MEASURES` and `DETAILS`), ``template``,
        ``template_json`` (by `MEASURES`), and the masks ``valid``, ``valid_json``, ``template_valid``,
        ``template_valid_json``.
    models, window_min, shared, n, k2a, weighting, records
        See `model.model`.
    resolution : float
        Voxel edge in template space, mm.
    """
    from neurobraid.images.templates import SPACE, grid, template

    image, (timing, content) = load(pet), read_frame_table(frames, frames_json)
    affine = np.asarray(image.affine, float)
    series = data(image)
    region = read_json(reference_json)
    window_min, origin = presets.window(window_min, content.get("TracerName"), records, frames_json)
    constants = read_json(shared[0]) if len(shared) else {}
    maps, fitted, valid, notes = voxel_maps(
        series,
        brain_on_grid(load(brain_mask), series.shape[:3], affine),
        timing,
        read_tsv(reference)["reference"].to_numpy(float),
        read_tsv(frame_weights)["weight"].to_numpy(float),
        models=models, window_min=window_min, shared=constants, n=n, k2a=k2a,
    )  # fmt: skip
    shape, target = grid(resolution)
    inside = np.asarray(template("brain", resolution).dataobj) > 0.5
    ijk = template_points(affine, read_warp(warp), shape, target, inside)
    paths = {kind: iter(list(out[kind])) for kind in OUTPUTS}
    for name in models:
        common = {
            "Model": name,
            "ReferenceRegions": region["ReferenceRegions"],
            "HalfLifeMin": timing.half_life_min,
            **suvr.correction(region),
            **_settings(name, constants, timing, window_min, origin, n, k2a, weighting),
            **notes[name],
        }
        sources = [pet, reference, frames, *shared]
        for measure in (*MEASURES[name], *DETAILS[name]):
            text = {"residualvariance": "Weighted residual variance"}.get(measure, measure)
            fields = {**common, "Units": _unit(name, measure), "OutsideMask": "0: no value"}
            first = next(paths["native"])
            save(maps[name, measure], affine, first)
            note = sidecar(f"{text} by {name}, fitted voxel by voxel in T1w space", sources, **fields)
            write_json(note, next(paths["native_json"]))
            if measure not in MEASURES[name]:
                continue
            save(to_template(maps[name, measure], fitted[name], ijk, inside), target, next(paths["template"]))
            note = sidecar(
                f"{text} by {name} in template space: the T1w-space map, resampled once (linear)",
                [first, warp], SpatialReference=SPACE, **fields,
            )  # fmt: skip
            write_json(note, next(paths["template_json"]))
        text = f"Voxels whose {name} fit is to be believed: a value was found" + (
            "" if name in ("SUVR", *linear_models.GRAPHICAL) else ", k2a not at a bound"
        )
        first = next(paths["valid"])
        save(valid[name], affine, first, dtype=np.uint8)
        write_json(sidecar(text, sources, Type="ROI", **common), next(paths["valid_json"]))
        moved = to_template(valid[name].astype(np.float32), np.ones_like(valid[name]), ijk, inside) >= 0.5
        save(moved, target, next(paths["template_valid"]), dtype=np.uint8)
        note = sidecar(text, [first, warp], Type="ROI", SpatialReference=SPACE, **common)
        write_json(note, next(paths["template_valid_json"]))


OUTPUTS = (
    "native", "native_json", "template", "template_json", "valid", "valid_json", "template_valid", "template_valid_json"
)  # fmt: skip


def _unit(name, measure):
    if measure == "residualvariance":
        unit = models_of_regions.RESIDUAL_UNITS.get(name, "kBq/mL")
        return "1" if unit == "1" else f"({unit})^2"
    return linear_models.UNITS.get(measure, "1")


def _settings(name, constants, timing, window_min, origin, n, k2a, weighting):
    if name == "SUVR":
        return suvr.window_notes(timing, window_min, origin)
    found = models_of_regions.settings(name, constants, n=n, k2a=k2a, weighting=weighting)
    return {key: value for key, value in found.items() if key != "Units"}
