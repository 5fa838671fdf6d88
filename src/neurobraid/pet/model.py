"""Regional kinetic parameters of a scan: one table per model."""

import logging

import numpy as np

from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.pet import constants, diagnostics, linear_models, presets, srtm, srtm2, suvr, weights
from neurobraid.pet.integrals import DESCRIPTIONS
from neurobraid.pet.resample import read_frame_table
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")

MODELS = ("SRTM", "SRTM2", *linear_models.PARAMETERS, "SUVR")
BASIS = ("SRTM", "SRTM2")
SHARED = tuple(name for name in MODELS if name not in ("SRTM", "SUVR"))
"""Models that need the constants of the scan."""

NEGATIVE = 0.05
"""Activity below minus this share of the maximum is no noise: something was subtracted or scaled wrongly."""

RESIDUAL_UNITS = {"refmlLogan": "kBq/mL min", "refLogan": "min", "refPatlak": "1"}
SOURCES = {
    "SRTM": "Lammertsma & Hume 1996; Gunn et al. 1997",
    "SRTM2": "Wu & Carson 2002; Gunn et al. 1997",
    **linear_models.SOURCES,
}


def read_curves(tacs, morph):
    """Curves (R, F) of a TAC table, in the order of the region table, and that table."""
    table = read_tsv(morph)
    return read_tsv(tacs)[list(table["name"])].to_numpy(float).T, table


def refusal(name, timing, curve, shared=None, window_min=(0, 0)):
    """Reason why a model cannot be fitted to a scan, or an empty string.

    Parameters
    ----------
    name : str
        Of `MODELS`.
    timing : Frames
    curve : numpy.ndarray, (F,)
        Reference curve.
    shared : dict, optional
        What `constants.estimate` wrote.
    window_min : (float, float)
        SUVR window.
    """
    shared = shared or {}
    if name == "SUVR":
        reason = suvr.refusal(timing, window_min)
        if reason:
            return reason
        inside = suvr.overlap(timing, window_min)[0] > 0
        empty = np.flatnonzero(inside & ~(np.asarray(curve, float) > 0))
        if not len(empty):
            return ""
        return f"the reference region has no activity in {constants.frame_name(timing, empty[0])}"
    start = tstar(name, shared)
    reason = constants.reference_refusal(timing, curve)
    if name in constants.NEEDS_K2PRIME and not k2prime(shared) > 0:
        missing = shared.get("K2PrimeMissing") or "no k2' is known"
        reason = reason or f"{name} needs k2': {missing}"
    if name not in BASIS:
        if not np.isfinite(start):
            reason = reason or f"no t* can be chosen for {name}: too few frames, or no region to test"
        return reason or linear_models.refusal(name, timing, start)
    return srtm.refusal(timing) or reason


def k2prime(shared):
    """k2' of a scan (1/min), NaN where there is none."""
    value = shared.get("K2Prime1PerMin")
    return float(value) if isinstance(value, int | float) else float("nan")


def tstar(name, shared):
    """t* of a model (min after injection): 0 where it has none, NaN where none was found."""
    value = shared.get("TStarMin", {}).get(name, 0.0)
    return float(value) if isinstance(value, int | float) else float("nan")


def prepare(name, timing, curve, frame_weights, shared=None, *, n=128, k2a=(0.006, 0.6)):
    """What all curves of a scan share in a model: `srtm.Basis`, `srtm2.Basis2` or `linear_models.Linear`.

    Parameters
    ----------
    name, timing, curve, shared
        See `refusal`.
    frame_weights : numpy.ndarray, (F,)
    n, k2a
        See `srtm.basis`.
    """
    shared = shared or {}
    if name == "SRTM":
        return srtm.basis(timing, curve, frame_weights, n=n, k2a=k2a)
    if name == "SRTM2":
        return srtm2.basis(timing, curve, k2prime(shared), frame_weights, n=n, k2a=k2a)
    return linear_models.prepare(
        name, timing, curve, frame_weights,
        k2prime=k2prime(shared), tstar_min=tstar(name, shared), integrals=shared.get("Integrals", "frame_means"), k2a=k2a,
    )  # fmt: skip


def columns(name):
    """Columns of a model's table without names, flags and coverage."""
    if name == "SUVR":
        return ["SUVR", "SUV"]
    parameters = {"SRTM": srtm.PARAMETERS, "SRTM2": srtm2.PARAMETERS, **linear_models.PARAMETERS}[name]
    more = [] if name in BASIS else ["max_residual"]
    return [*parameters, *(f"{p}_se" for p in parameters), "residual_sd", *more, "runs_p"]


def fit_kinetics(name, curves, timing, curve, frame_weights, shared=None, *, n=128, k2a=(0.006, 0.6)):
    """A reference-tissue model of regional curves.

    Parameters
    ----------
    name : str
        Of `MODELS`, not SUVR.
    curves : numpy.ndarray, (R, F)
    timing : Frames
    curve, frame_weights : numpy.ndarray, (F,)
        Reference curve and weights.
    shared, n, k2a
        See `prepare`.

    Returns
    -------
    table : pandas.DataFrame
        One row per region, columns `columns`, ``undetermined`` and ``flag``; all n/a with the reason as flag when the
        scan cannot carry the model.
    fitted : numpy.ndarray, (R, F)
        Curves of the model, NaN where there is none.
    reason : str
        Empty when the model was fitted.
    """
    import pandas as pd

    reason = refusal(name, timing, curve, shared)
    fitted = np.full_like(curves, np.nan)
    if reason:
        log.warning("%s not fitted: %s", name, reason)
        table = pd.DataFrame(np.nan, index=range(len(curves)), columns=columns(name))
        return table.assign(undetermined="none", flag=reason), fitted, reason
    given = prepare(name, timing, curve, frame_weights, shared, n=n, k2a=k2a)
    if name in BASIS:
        table = {"SRTM": srtm, "SRTM2": srtm2}[name].fit_regions(curves, given)
        done = table["R1"].notna().to_numpy()
        good = table[done]
        if done.any() and name == "SRTM":
            fitted[done] = srtm.predict(given, good["R1"], good["k2"], good["k2a"])
        elif done.any():
            fitted[done] = srtm2.predict(given, good["R1"], good["k2a"])
    else:
        table, fitted = linear_models.fit_regions(curves, given)
    negative = turns_negative(curves)
    table["flag"] = table["flag"].mask(table["flag"].eq("ok") & negative, "negative activity")
    return table, fitted, ""


def turns_negative(curves):
    """Curves (R, F) that are negative after their maximum: by `NEGATIVE` of it once, or two frames in a row."""
    curves = np.nan_to_num(curves)
    late = np.arange(curves.shape[1]) > curves.argmax(axis=1)[:, None]
    below = late & (curves < 0)
    deep = (late & (curves < -NEGATIVE * curves.max(axis=1, keepdims=True))).any(axis=1)
    return deep | (below[:, 1:] & below[:, :-1]).any(axis=1)


def fit_suvr(curves, timing, reference_curve, *, window_min, dose_mbq=np.nan, weight_kg=np.nan):
    """SUVR and SUV of regional curves; see `fit_kinetics` for shapes and the meaning of the reason."""
    import pandas as pd

    reason = refusal("SUVR", timing, reference_curve, window_min=window_min)
    if reason:
        log.warning("SUVR not computed: %s", reason)
        table = pd.DataFrame(np.nan, index=range(len(curves)), columns=["SUVR", "SUV"]).assign(flag=reason)
        return table, reason
    ratios = suvr.ratio(curves, reference_curve, timing, window_min)
    values = suvr.suv(suvr.window_mean(curves, timing, window_min), dose_mbq, weight_kg)
    table = pd.DataFrame({"SUVR": ratios, "SUV": values})
    table["flag"] = np.where(np.isfinite(ratios), "ok", "no data")
    return table, ""


def settings(name, shared, *, n, k2a, weighting):
    """Settings of a model for sidecars."""
    shared = shared or {}
    units = {**linear_models.UNITS, "intercept": "1" if name == "refPatlak" else "min"}
    units["residual_sd"] = RESIDUAL_UNITS.get(name, "kBq/mL")
    notes = {
        "Units": {c: units[c.removesuffix("_se")] for c in columns(name) if c.removesuffix("_se") in units},
        "Source": SOURCES[name],
        "K2aRange1PerMin": None if name in BASIS else list(k2a),
    }
    if name in linear_models.GRAPHICAL:
        notes["Weights"] = f"none in the fit; for standard errors: {weights.describe(weighting)}"
    else:
        notes["Weights"] = weights.describe(weighting)
    if name in BASIS:
        notes.update(BasisFunctions=n, BasisRange1PerMin=list(k2a))
    else:
        notes["Integrals"] = DESCRIPTIONS[shared.get("Integrals", "frame_means")]
        notes["TStarMin"] = tstar(name, shared)
        notes["TStarMaxResidual"] = shared.get("TStarMaxResidual", {}).get(name)
    if name in constants.NEEDS_K2PRIME:
        notes.update(
            K2Prime1PerMin=k2prime(shared),
            K2PrimeSource=shared.get("K2PrimeSource"),
            K2PrimeRegions=shared.get("K2PrimeRegions"),
        )
    return notes


PLOT = ("name", "frame_start", "frame_end", "x", "y", "used")
"""Columns of `plot_table`."""


def plot_table(x, y, names, timing, tstar_min):
    """Points of a graphical model, one row per region and frame.

    Parameters
    ----------
    x, y : numpy.ndarray, (R, F)
    names : iterable of str
        R regions.
    timing : Frames
    tstar_min : float
        min after injection.

    Returns
    -------
    pandas.DataFrame
        `PLOT`; ``used`` is 1 at and after t*.
    """
    import pandas as pd

    used, count = timing.mid / 60.0 >= tstar_min - 1e-9, len(x)
    return pd.DataFrame(
        {
            "name": np.repeat(list(names), len(timing)),
            "frame_start": np.tile(timing.start, count),
            "frame_end": np.tile(timing.end, count),
            "x": np.ravel(x),
            "y": np.ravel(y),
            "used": np.tile(used.astype(int), count),
        }
    )[list(PLOT)]


def _plot(name, curves, names, timing, curve, shared):
    """`plot_table` of a model of `linear_models.GRAPHICAL`."""
    x, y = linear_models.plot_points(
        name, curves, timing, curve, k2prime=k2prime(shared), integrals=shared.get("Integrals", "frame_means")
    )
    return plot_table(x, y, names, timing, tstar(name, shared))


def model(
    tacs, morph, reference, reference_json, frame_weights, frames, frames_json, out, *,
    models, window_min, shared=(), n=128, k2a=(0.006, 0.6), weighting="decay_counts", records=(), centiloid=None,
):  # fmt: skip
    """Write the tables of parameters of one atlas.

    Parameters
    ----------
    tacs, morph, reference, reference_json, frame_weights, frames, frames_json : path-like
        What `tacs.extract` and `fit.fit` wrote.
    out : mapping
        Lists of paths: ``kinpar`` and ``kinpar_json`` in the order of `models`; ``fits`` for the fitted curves of all of
        them but SUVR; ``plots`` for the points of the graphical ones (`linear_models.GRAPHICAL`).
    models : list of str
        Of `MODELS`.
    window_min : (float, float) or 'auto'
        SUVR window; 'auto' is the tracer's, see `presets.window`.
    shared : list of path-like
        What `constants.estimate` wrote, where a model needs it.
    n, k2a
        Basis functions.
    weighting : str
        Name of the weights, for the sidecar.
    records : list of dict
        The study's own tracer presets; see `presets.find`.
    centiloid : dict, optional
        See `suvr.centiloid`.
    """
    curves, regions = read_curves(tacs, morph)
    timing, content = read_frame_table(frames, frames_json)
    curve = read_tsv(reference)["reference"].to_numpy(float)
    values = read_tsv(frame_weights)["weight"].to_numpy(float)
    region = read_json(reference_json)
    members = set(region["ReferenceRegions"])
    found = read_json(shared[0]) if len(shared) else {}
    common = {
        "ReferenceRegions": region["ReferenceRegions"],
        "ReferenceAtlas": region["ReferenceAtlas"],
        "HalfLifeMin": timing.half_life_min,
        "DecayCorrection": "to injection",
        **suvr.correction(region),
    }
    window_min, origin = presets.window(window_min, content.get("TracerName"), records, frames_json)
    fits, plots = iter(out.get("fits", ())), iter(out.get("plots", ()))
    for name, path, side in zip(models, out["kinpar"], out["kinpar_json"], strict=True):
        if name == "SUVR":
            table, reason = fit_suvr(
                curves, timing, curve, window_min=window_min,
                dose_mbq=_number(content, "InjectedRadioactivityMBq"), weight_kg=_number(content, "BodyWeightKg"),
            )  # fmt: skip
            notes = {
                "Units": {"SUVR": "1", "SUV": "g/mL"},
                **suvr.window_notes(timing, window_min, origin),
                "InjectedRadioactivityMBq": content.get("InjectedRadioactivityMBq"),
                "BodyWeightKg": content.get("BodyWeightKg"),
            }
            values_cl, told = suvr.centiloid(table["SUVR"], centiloid or {})
            if told:
                table.insert(1, "centiloid", values_cl)
                notes["Units"]["centiloid"] = "CL"
                notes.update(told)
        else:
            table, fitted, reason = fit_kinetics(name, curves, timing, curve, values, found, n=n, k2a=k2a)
            times = read_tsv(tacs)[["frame_start", "frame_end"]]
            lines = dict(zip(regions["name"], fitted, strict=True))
            write_tsv(times.assign(reference=curve).join(type(times)(lines)), next(fits))
            notes = settings(name, found, n=n, k2a=k2a, weighting=weighting)
            if name in ("SRTM", "MRTM1"):
                good = table[table["flag"].eq("ok") & ~regions["name"].isin(members)]
                notes["K2PrimeMedian1PerMin"] = good["k2prime"].median() if len(good) else None
            notes["Flags"] = (
                "why the value is not to be believed; undetermined: parameters whose standard error is above "
                f"{100 * diagnostics.MAX_RELATIVE_SE:.0f} %; runs_p: Wald-Wolfowitz test of the residuals"
            )
            if name in linear_models.GRAPHICAL:
                plot = type(times)(columns=list(PLOT))
                if not reason:
                    plot = _plot(name, curves, regions["name"], timing, curve, found)
                write_tsv(plot, next(plots))
        table.insert(0, "name", regions["name"])
        # k2a is undetermined where nothing binds, so a bound means nothing in the reference's own regions
        own = table.iloc[:, 1].notna() & regions["name"].isin(members)
        table["flag"] = np.where(own, "reference", table["flag"])
        table["coverage"] = regions["coverage"]
        write_tsv(table, path)
        text = f"Regional parameters, {name}" + (f"; not available: {reason}" if reason else "")
        write_json(sidecar(text, [tacs, reference, frames, *shared], **common, **notes), side)


def _number(content, key):
    value = content.get(key)
    return float(value) if isinstance(value, int | float) else np.nan
