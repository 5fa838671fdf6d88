"""Regional tables and parametric maps of the models with a plasma input."""

import logging

import numpy as np

from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.pet import diagnostics, doubts, inputfunction, linear_models, plasma_models, suvr, weights
from neurobraid.pet.integrals import DESCRIPTIONS
from neurobraid.pet.model import PLOT, plot_table, read_curves, turns_negative
from neurobraid.pet.resample import read_frame_table
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")

MODELS = plasma_models.MODELS
MAPPED = tuple(linear_models.PLASMA)
"""Models that are also fitted by voxel."""

GRAPHICAL_VB = 0.05
"""Blood taken off the curves of the linear models where vB is fitted in the compartment models."""


def columns(name):
    """Columns of a model's table without names, flags and coverage."""
    parameters = [*plasma_models.PARAMETERS[name], *(["vB"] if name in plasma_models.COMPARTMENTS else [])]
    more = ["max_residual"] if name in linear_models.PLASMA else []
    return [*parameters, *(f"{p}_se" for p in parameters), "residual_sd", *more, "runs_p"]


def tstar_of(name, timing, given, brain, tstar_min="auto", integrals="frame_means", vb=0.05):
    """t* (min after injection) of a linear model and the largest residual at it, from the whole-brain curve.

    One t* serves all regions and voxels of a scan. 0 for models without one; NaN where none can be chosen.
    """
    if name not in linear_models.PLASMA or given is None:
        return 0.0, float("nan")
    if tstar_min != "auto":
        return float(tstar_min), float("nan")
    curve = plasma_models.blood_corrected(np.atleast_2d(brain), timing, given, vb)
    return plasma_models.choose_tstar(name, curve, timing, given, integrals=integrals)


def fit_table(
    name, curves, timing, frame_weights, given, *, missing="", vb=0.05, tstar_min=0.0, integrals="frame_means",
    glucose_mmol_l=np.nan, lumped_constant=0.65,
):  # fmt: skip
    """A plasma model of regional curves.

    Parameters
    ----------
    name : str
        Of `MODELS`.
    curves : numpy.ndarray, (R, F)
        kBq/mL decay-corrected to injection.
    timing : Frames
    frame_weights : numpy.ndarray, (F,)
    given : plasma_models.Input or None
    missing : str
        Why there is no input.
    vb : float or None
        Fraction of blood; None fits it in compartment models and takes `GRAPHICAL_VB` elsewhere.
    tstar_min : float
        Of the linear models.
    integrals : str
        See `integrals.integral_operator`.
    glucose_mmol_l, lumped_constant : float
        For CMRglc, a column of models with Ki where the glucose is known.

    Returns
    -------
    table : pandas.DataFrame
        One row per region; all n/a with the reason as flag when the scan cannot carry the model.
    fitted : numpy.ndarray, (R, F)
        Curves of the model (tissue and blood), NaN where there is none.
    reason : str
    """
    import pandas as pd

    reason = (missing if given is None else "") or plasma_models.refusal(name, timing, given, tstar_min)
    fitted = np.full_like(curves, np.nan)
    if reason:
        log.warning("%s not fitted: %s", name, reason)
        table = pd.DataFrame(np.nan, index=range(len(curves)), columns=columns(name))
        return table.assign(undetermined="none", flag=reason), fitted, reason
    if name in plasma_models.COMPARTMENTS:
        shared = plasma_models.prepare(name, timing, given, frame_weights, vb=vb)
        table, fitted = plasma_models.fit_regions(curves, shared)
    else:
        fixed = GRAPHICAL_VB if vb is None else vb
        tissue = plasma_models.blood_corrected(curves, timing, given, fixed)
        shared = plasma_models.prepare_linear(
            name, timing, given, frame_weights, tstar_min=tstar_min, integrals=integrals
        )
        table, fitted = linear_models.fit_regions(tissue, shared)
        blood = plasma_models.blood_corrected(np.zeros_like(curves), timing, given, fixed) * (1 - fixed)
        fitted = fitted * (1 - fixed) - blood
    negative = turns_negative(curves)
    table["flag"] = table["flag"].mask(table["flag"].eq("ok") & negative, "negative activity")
    if "Ki" in table and np.isfinite(glucose_mmol_l):
        table["CMRglc"] = plasma_models.cmrglc(table["Ki"], glucose_mmol_l, lumped_constant)
    return table, fitted, ""


def settings(name, *, vb, tstar, worst, integrals, weighting, glucose_mmol_l, lumped_constant):
    """Settings of a model for sidecars."""
    units = {**plasma_models.UNITS, "intercept": "mL/cm3" if name == "Patlak" else "min"}
    notes = {
        "Units": {c: units[c.removesuffix("_se")] for c in columns(name) if c.removesuffix("_se") in units},
        "Source": plasma_models.SOURCES[name],
    }
    linear = name in linear_models.PLASMA
    if linear:
        notes["BloodFraction"] = GRAPHICAL_VB if vb is None else vb
        notes["BloodCorrection"] = "(C - vB Cb)/(1 - vB) before the fit"
        notes["TStarMin"], notes["TStarMaxResidual"] = tstar, worst
        notes["TStarSource"] = "whole-brain curve" if np.isfinite(worst) else "given"
        notes["Integrals"] = DESCRIPTIONS[integrals]
    else:
        notes["BloodFraction"] = "fitted" if vb is None else vb
        notes["BloodFractionRange"] = list(plasma_models.VB_RANGE) if vb is None else None
        notes["ExponentRange1PerMin"] = list(plasma_models.RATES)
        notes["Starts"] = plasma_models.STARTS
    text = weights.describe(weighting)
    notes["Weights"] = (
        f"none in the fit; for standard errors: {text}" if name in ("Logan", "Patlak") else text
    )
    if "Ki" in plasma_models.PARAMETERS[name] and np.isfinite(glucose_mmol_l):
        notes.update(GlucoseMmolPerL=glucose_mmol_l, LumpedConstant=lumped_constant)
        notes["Units"]["CMRglc"] = units["CMRglc"]
    return notes


def _given(paths):
    """`Input`, reason why there is none, and plasma glucose of an input-function file, or of its absence."""
    if not len(paths):
        return None, "the scan has no blood", np.nan
    given, missing = inputfunction.load_input(*paths)
    glucose = read_json(paths[1]).get("GlucoseMmolPerL")
    return given, missing, float(glucose) if isinstance(glucose, int | float) else np.nan


def _corrected(side):
    """What a sidecar says about partial-volume correction, for those of results."""
    return suvr.correction(read_json(side) if side else {})


def model(
    tacs, morph, frame_weights, frames, frames_json, given_files, out, *,
    models, vb=0.05, tstar_min="auto", integrals="frame_means", lumped_constant=0.65, weighting="decay_counts",
    curves_json=None,
):  # fmt: skip
    """Write the tables of parameters of one atlas.

    Parameters
    ----------
    tacs, morph, frame_weights, frames, frames_json : path-like
        What `tacs.extract` and `fit.fit` wrote.
    given_files : list of path-like
        Input function and its JSON, or nothing for a scan without blood.
    out : mapping
        Lists of paths in the order of `models`: ``kinpar``, ``kinpar_json`` and ``fits``; where wanted ``plots`` for the
        points of the linear ones (`MAPPED`).
    models : list of str
        Of `MODELS`.
    vb : 'fit' or float
    tstar_min : 'auto' or float
        See `tstar_of`.
    integrals, lumped_constant, weighting
        See `fit_table` and `weights.from_name`.
    curves_json : path-like, optional
        Sidecar of `tacs`, which tells whether they are corrected for partial volume.
    """
    curves, regions = read_curves(tacs, morph)
    timing, _ = read_frame_table(frames, frames_json)
    rows = read_tsv(frame_weights)
    given, missing, glucose = _given(given_files)
    vb = None if vb == "fit" else float(vb)
    plots = iter(out.get("plots") or ())
    doubt = doubts.input_problem(given, timing, rows["brain"])
    if doubt:
        log.warning(doubt)
    for name, path, side, fit in zip(models, out["kinpar"], out["kinpar_json"], out["fits"], strict=True):
        tstar, worst = tstar_of(
            name, timing, given, rows["brain"].to_numpy(float), tstar_min, integrals, GRAPHICAL_VB if vb is None else vb
        )  # fmt: skip
        table, fitted, reason = fit_table(
            name, curves, timing, rows["weight"].to_numpy(float), given, missing=missing, vb=vb, tstar_min=tstar,
            integrals=integrals, glucose_mmol_l=glucose, lumped_constant=lumped_constant,
        )  # fmt: skip
        times = read_tsv(tacs)[["frame_start", "frame_end"]]
        write_tsv(times.join(type(times)(dict(zip(regions["name"], fitted, strict=True)))), fit)
        if name in MAPPED and out.get("plots"):
            points = type(times)(columns=list(PLOT))
            if not reason:
                tissue = plasma_models.blood_corrected(
                    curves, timing, given, GRAPHICAL_VB if vb is None else vb
                )
                points = plot_table(
                    *plasma_models.plot_points(name, tissue, timing, given, integrals=integrals),
                    regions["name"], timing, tstar,
                )  # fmt: skip
            write_tsv(points, next(plots))
        table.insert(0, "name", regions["name"])
        if doubt and not reason:
            table["flag"] = doubt
        table["coverage"] = regions["coverage"]
        write_tsv(table, path)
        text = f"Regional parameters, {name}" + (f"; not available: {reason}" if reason else "")
        notes = settings(
            name, vb=vb, tstar=tstar, worst=worst, integrals=integrals, weighting=weighting, glucose_mmol_l=glucose,
            lumped_constant=lumped_constant,
        )  # fmt: skip
        notes["Flags"] = (
            "why the value is not to be believed; undetermined: parameters whose standard error is above "
            f"{100 * diagnostics.MAX_RELATIVE_SE:.0f} %; runs_p: Wald-Wolfowitz test of the residuals"
        )
        content = sidecar(
            text, [tacs, frames, *given_files], HalfLifeMin=timing.half_life_min, DecayCorrection="to injection",
            **_corrected(curves_json), Doubt=doubt or None, **notes,
        )  # fmt: skip
        write_json(content, side)


def write_maps(
    pet, brain_mask, warp, frame_weights, frames, frames_json, given_files, out, *,
    models, vb=0.05, tstar_min="auto", integrals="frame_means", resolution=2.0, pet_json=None,
):  # fmt: skip
    """Write maps of Logan, MA1 and Patlak in T1w and template space.

    Parameters
    ----------
    pet, brain_mask, warp : path-like
        See `maps.write_maps`.
    frame_weights, frames, frames_json, given_files, models, vb, tstar_min, integrals
        See `model`.
    out : mapping
        Lists in the order of `models`: ``native``, ``native_json``, ``template``, ``template_json``, ``valid``,
        ``valid_json``.
    resolution : float
        Voxel edge in template space, mm.
    pet_json : path-like, optional
        Sidecar of `pet`, which tells whether it is corrected for partial volume.
    """
    from neurobraid.images.io import data, load, save
    from neurobraid.images.templates import SPACE, grid, template
    from neurobraid.images.transforms import read_warp
    from neurobraid.pet.maps import brain_on_grid, template_points, to_template

    image, (timing, _) = load(pet), read_frame_table(frames, frames_json)
    affine, series = np.asarray(image.affine, float), data(image)
    inside = brain_on_grid(load(brain_mask), series.shape[:3], affine) & (series != 0).any(axis=3)
    rows = read_tsv(frame_weights)
    given, missing, _ = _given(given_files)
    fixed = GRAPHICAL_VB if vb == "fit" else float(vb)
    shape, target = grid(resolution)
    mask = np.asarray(template("brain", resolution).dataobj) > 0.5
    ijk = template_points(affine, read_warp(warp), shape, target, mask)
    for i, name in enumerate(models):
        tstar, worst = tstar_of(
            name, timing, given, rows["brain"].to_numpy(float), tstar_min, integrals, fixed
        )
        reason = (missing if given is None else "") or plasma_models.refusal(name, timing, given, tstar)
        values, fitted = np.zeros(inside.shape, np.float32), np.zeros(inside.shape, bool)
        measure = plasma_models.MAIN[name]
        if reason:
            log.warning("no %s map: %s", name, reason)
        else:
            shared = plasma_models.prepare_linear(
                name, timing, given, rows["weight"].to_numpy(float), tstar_min=tstar, integrals=integrals
            )
            tissue = plasma_models.blood_corrected(series[inside], timing, given, fixed)
            found = linear_models.fit_voxels(tissue, shared)[measure]
            fitted[inside] = np.isfinite(found)
            values[inside] = np.nan_to_num(found)
        notes = settings(
            name, vb=fixed, tstar=tstar, worst=worst, integrals=integrals, weighting="decay_counts",
            glucose_mmol_l=np.nan, lumped_constant=np.nan,
        )  # fmt: skip
        notes.update(
            Model=name, Units=plasma_models.UNITS[measure], OutsideMask="0: no value", Missing=reason or None,
            VoxelsInside=int(inside.sum()), VoxelsFitted=int(fitted.sum()), **_corrected(pet_json),
            HalfLifeMin=timing.half_life_min,
        )  # fmt: skip
        del notes["Weights"]
        sources = [pet, frames, *given_files]
        save(values, affine, out["native"][i])
        text = f"{measure} by {name}, fitted voxel by voxel in T1w space"
        write_json(sidecar(text, sources, **notes), out["native_json"][i])
        save(to_template(values, fitted, ijk, mask), target, out["template"][i])
        text = f"{measure} by {name} in template space: the T1w-space map, resampled once (linear)"
        side = sidecar(text, [out["native"][i], warp], SpatialReference=SPACE, **notes)
        write_json(side, out["template_json"][i])
        save(fitted, affine, out["valid"][i], dtype=np.uint8)
        del notes["Units"], notes["OutsideMask"]
        text = f"Voxels in which {name} found a value"
        write_json(sidecar(text, sources, Type="ROI", **notes), out["valid_json"][i])
