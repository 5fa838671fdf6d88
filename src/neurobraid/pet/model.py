"""Regional kinetic parameters of a scan: one table per model."""

import logging

import numpy as np

from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.pet import srtm, suvr, weights
from neurobraid.pet.resample import read_frame_table
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")

MODELS = ("SRTM", "SUVR")


def read_curves(tacs, morph):
    """Curves (R, F) of a TAC table, in the order of the region table, and that table."""
    table = read_tsv(morph)
    return read_tsv(tacs)[list(table["name"])].to_numpy(float).T, table


def fit_srtm(curves, timing, reference_curve, frame_weights, *, n=128, k2a=(0.006, 0.6)):
    """SRTM of regional curves.

    Parameters
    ----------
    curves : numpy.ndarray, (R, F)
    timing : Frames
    reference_curve, frame_weights : numpy.ndarray, (F,)
    n, k2a
        See `srtm.basis`.

    Returns
    -------
    table : pandas.DataFrame
        One row per region; all n/a with the reason as flag when the scan's frames cannot carry the model.
    fitted : numpy.ndarray, (R, F)
        Curves of the model, NaN where there is none.
    reason : str
        Empty when the model was fitted.
    """
    import pandas as pd

    reason = srtm.refusal(timing)
    fitted = np.full_like(curves, np.nan)
    if reason:
        log.warning("SRTM not fitted: %s", reason)
        table = pd.DataFrame(
            np.nan, index=range(len(curves)), columns=[*srtm.PARAMETERS, "BPND_se", "residual_sd"]
        )
        return table.assign(flag=reason), fitted, reason
    shared = srtm.basis(timing, reference_curve, frame_weights, n=n, k2a=k2a)
    table = srtm.fit_regions(curves, shared)
    done = table["R1"].notna().to_numpy()
    if done.any():
        good = table[done]
        fitted[done] = srtm.predict(shared, good["R1"], good["k2"], good["k2a"])
    return table, fitted, ""


def fit_suvr(curves, timing, reference_curve, *, window_min, dose_mbq=np.nan, weight_kg=np.nan):
    """SUVR and SUV of regional curves; see `fit_srtm` for shapes and the meaning of the reason."""
    import pandas as pd

    reason = suvr.refusal(timing, window_min)
    if reason:
        log.warning("SUVR not computed: %s", reason)
        table = pd.DataFrame(np.nan, index=range(len(curves)), columns=["SUVR", "SUV"]).assign(flag=reason)
        return table, reason
    ratios = suvr.ratio(curves, reference_curve, timing, window_min)
    values = suvr.suv(suvr.window_mean(curves, timing, window_min), dose_mbq, weight_kg)
    table = pd.DataFrame({"SUVR": ratios, "SUV": values})
    table["flag"] = np.where(np.isfinite(ratios), "ok", "no data")
    return table, ""


def model(
    tacs, morph, reference, reference_json, frame_weights, frames, frames_json, out, *,
    models, window_min, n=128, k2a=(0.006, 0.6), weighting="decay_counts",
):  # fmt: skip
    """Write the tables of parameters of one atlas.

    Parameters
    ----------
    tacs, morph, reference, reference_json, frame_weights, frames, frames_json : path-like
        What `tacs.extract` and `fit.fit` wrote.
    out : mapping
        Paths ``kinpar`` and ``kinpar_json``, lists in the order of `models`, and ``fits``: list of one path for the
        fitted curves when SRTM is among them.
    models : list of str
        Of `MODELS`.
    window_min : (float, float)
        SUVR window.
    n, k2a
        Basis functions.
    weighting : str
        Name of the weights, for the sidecar.
    """
    curves, regions = read_curves(tacs, morph)
    timing, content = read_frame_table(frames, frames_json)
    curve = read_tsv(reference)["reference"].to_numpy(float)
    values = read_tsv(frame_weights)["weight"].to_numpy(float)
    region = read_json(reference_json)
    members = set(region["ReferenceRegions"])
    shared = {
        "ReferenceRegions": region["ReferenceRegions"],
        "ReferenceAtlas": region["ReferenceAtlas"],
        "HalfLifeMin": timing.half_life_min,
        "DecayCorrection": "to injection",
        "PartialVolumeCorrection": "none",
    }
    for name, path, side in zip(models, out["kinpar"], out["kinpar_json"], strict=True):
        if name == "SRTM":
            table, fitted, reason = fit_srtm(curves, timing, curve, values, n=n, k2a=k2a)
            fits = dict(zip(regions["name"], fitted, strict=True))
            times = read_tsv(tacs)[["frame_start", "frame_end"]]
            write_tsv(times.assign(reference=curve).join(type(times)(fits)), out["fits"][0])
            good = table[table["flag"].eq("ok") & ~regions["name"].isin(members)]
            notes = {
                "Units": srtm.UNITS,
                "Weights": weights.FORMULA if weighting == "decay_counts" else weighting,
                "BasisFunctions": n,
                "BasisRange1PerMin": list(k2a),
                "K2PrimeMedian1PerMin": good["k2prime"].median() if len(good) else None,
                "Source": "Lammertsma & Hume 1996; Gunn et al. 1997",
            }
        else:
            table, reason = fit_suvr(
                curves, timing, curve, window_min=window_min,
                dose_mbq=_number(content, "InjectedRadioactivityMBq"), weight_kg=_number(content, "BodyWeightKg"),
            )  # fmt: skip
            notes = {
                "Units": {"SUVR": "1", "SUV": "g/mL"},
                "WindowMin": list(window_min),
                "WindowCoverage": suvr.overlap(timing, window_min)[1],
                "InjectedRadioactivityMBq": content.get("InjectedRadioactivityMBq"),
                "BodyWeightKg": content.get("BodyWeightKg"),
            }
        table.insert(0, "name", regions["name"])
        # k2a is undetermined where nothing binds, so a bound means nothing in the reference's own regions
        own = table[name if name == "SUVR" else "BPND"].notna() & regions["name"].isin(members)
        table["flag"] = np.where(own, "reference", table["flag"])
        table["coverage"] = regions["coverage"]
        write_tsv(table, path)
        text = f"Regional parameters, {name}" + (f"; not available: {reason}" if reason else "")
        write_json(sidecar(text, [tacs, reference, frames], **shared, **notes), side)


def _number(content, key):
    value = content.get(key)
    return float(value) if isinstance(value, int | float) else np.nan
