"""What all regions and voxels of a scan share: the efflux k2' of the reference, and t* of each linear plot."""

import difflib
import logging

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json
from neurobraid.pet import linear_models
from neurobraid.pet.resample import read_frame_table
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")

NEEDS_K2PRIME = ("SRTM2", *linear_models.NEEDS_K2PRIME)
NEEDS_TSTAR = ("refLogan", "refmlLogan", "refPatlak")
AUTO_REGIONS = 10
AUTO_SHARE = 0.5
"""Automatic k2': regions whose BPND is at least this share of the largest, at most `AUTO_REGIONS`."""

MAX_RESIDUAL = 0.1
"""Automatic t*: largest residual relative to the fit."""


def frame_name(timing, i):
    """A frame in words: its number from 0 and its times after injection."""
    return f"frame {i} ({timing.start[i] / 60:.1f} to {timing.end[i] / 60:.1f} min)"


def reference_refusal(timing, curve):
    """Reason why a reference curve cannot be used for kinetics, or an empty string.

    Frames before the tracer arrives (before a fifth of the peak) may be empty or negative by noise; later ones may not.
    """
    curve = np.asarray(curve, float)
    lost = np.flatnonzero(~np.isfinite(curve))
    if len(lost):
        return f"the reference region has no value in {frame_name(timing, lost[0])}"
    peak = int(curve.argmax())
    if curve[peak] <= 0:
        return "the reference region has no activity"
    first = int(np.flatnonzero(curve > 0.2 * curve[peak])[0])
    empty = first + np.flatnonzero(curve[first:] <= 0)
    if len(empty):
        return f"the reference region has no activity in {frame_name(timing, empty[0])}, after the tracer arrived"
    return ""


def estimate_k2prime(curves, names, frames, reference, weights, *, wanted="auto", integrals="frame_means"):
    """k2' from regions that bind much, by MRTM1.

    All regions share the reference and so its k2'; where much is bound it is determined best. It is estimated by region,
    never by voxel, and the median is taken.

    Parameters
    ----------
    curves : array-like, (N, F)
        Without regions of the reference.
    names : list of str
    frames : Frames
    reference, weights : array-like, (F,)
    wanted : 'auto' or list of str
        Names of regions, or those of high BPND: at least `AUTO_SHARE` of the largest, at most `AUTO_REGIONS`.
    integrals : str
        See `integrals.integral_operator`.

    Returns
    -------
    value : float
        1/min; NaN where it could not be estimated.
    used : pandas.DataFrame
        ``name, k2prime, k2prime_se, BPND`` of the regions behind it.
    reason : str
        Why there is no value, or empty.
    """
    reason = reference_refusal(frames, reference) or linear_models.refusal("MRTM1", frames)
    shared = (
        None if reason else linear_models.prepare("MRTM1", frames, reference, weights, integrals=integrals)
    )
    table = _nothing() if reason else linear_models.fit_regions(curves, shared)[0].assign(name=list(names))
    if not reason:
        rows = table if wanted == "auto" else table[table["name"].isin(wanted)]
        known = rows["flag"].eq("ok") & (rows["k2prime"] > 0)
        known &= ~rows["undetermined"].str.split(",").map(lambda found: "k2prime" in found)
        table = rows[known].sort_values("BPND", ascending=False, kind="stable")
        if wanted == "auto":
            table = table[(table["BPND"] > 0) & (table["BPND"] >= AUTO_SHARE * table["BPND"].max())]
            table = table.head(AUTO_REGIONS)
        if not len(table):
            reason = "no region determines k2' (MRTM1 flagged, or its standard error above half of it)"
    used = table[["name", "k2prime", "k2prime_se", "BPND"]].reset_index(drop=True)
    return (float(used["k2prime"].median()) if len(used) else float("nan")), used, reason


def _nothing():
    import pandas as pd

    return pd.DataFrame({name: [] for name in ("name", "k2prime", "k2prime_se", "BPND")})


def _choose_atlas(wanted, tables):
    """Place of the first atlas that has all regions."""
    for place, table in enumerate(tables):
        if set(wanted) <= set(table["name"]):
            return place
    known = [name for table in tables for name in table["name"]]
    missing = [name for name in wanted if name not in known]
    near = [match for name in missing for match in difflib.get_close_matches(name, known, n=1)]
    raise InputError(
        "config", "pet.k2prime.regions", ", ".join(missing or wanted), "names of regions of one atlas",
        f"did you mean {', '.join(near)}?" if near else "take names from the region table of an atlas",
    )  # fmt: skip


def estimate(
    tacs, morph, reference, reference_json, frame_weights, frames, frames_json, out, *,
    models, k2prime="auto", tstar_min="auto", mrtm_tstar_min=0.0, integrals="frame_means",
):  # fmt: skip
    """Write k2' and t* of a scan.

    Parameters
    ----------
    tacs, morph : list of path-like
        Curves and region tables of the atlases, in one order.
    reference, reference_json, frame_weights, frames, frames_json : path-like
        What `tacs.extract` and `fit.fit` wrote.
    out : path-like
        JSON with ``K2Prime1PerMin``, ``TStarMin`` (of every model that has one) and how they came about.
    models : list of str
        Models that will be fitted.
    k2prime : 'auto', float or dict
        1/min; ``{"regions": [...]}`` or 'auto': see `estimate_k2prime`.
    tstar_min : 'auto' or float
        Minutes after injection; 'auto' takes for every model the smallest that leaves residuals of at most
        `MAX_RESIDUAL` in the regions that gave k2', else in all regions.
    mrtm_tstar_min : float
        t* of MRTM1 and MRTM2: 0 where one tissue compartment describes the target.
    integrals : str
        See `integrals.integral_operator`.

    Raises
    ------
    InputError
        A region of `k2prime` is in no atlas.
    """
    timing, _ = read_frame_table(frames, frames_json)
    curve = read_tsv(reference)["reference"].to_numpy(float)
    weights = read_tsv(frame_weights)["weight"].to_numpy(float)
    members = set(read_json(reference_json)["ReferenceRegions"])
    tables = [read_tsv(path) for path in morph]
    named = k2prime["regions"] if isinstance(k2prime, dict) else None
    place = _choose_atlas(named, tables) if named else 0
    names = [name for name in tables[place]["name"] if name not in members or name in (named or ())]
    curves = read_tsv(tacs[place])[names].to_numpy(float).T
    notes = {"Integrals": integrals}
    value, tested = None, names
    if any(model in NEEDS_K2PRIME for model in models):
        if isinstance(k2prime, int | float):
            value, notes["K2PrimeSource"] = float(k2prime), "given"
        else:
            value, used, reason = estimate_k2prime(
                curves, names, timing, curve, weights, wanted=named or "auto", integrals=integrals
            )
            notes["K2PrimeSource"] = "median of MRTM1 over regions" + (
                "" if named else ", chosen by high BPND"
            )
            notes["K2PrimeRegions"] = used["name"].tolist()
            notes["K2PrimeByRegion1PerMin"] = used["k2prime"].tolist()
            notes["K2PrimeSEByRegion1PerMin"] = used["k2prime_se"].tolist()
            notes["K2PrimeMissing"] = reason or None
            if reason:
                log.warning("no k2': %s", reason)
            elif len(used):
                tested = used["name"].tolist()
        notes["K2Prime1PerMin"] = value
    starts = {model: float(mrtm_tstar_min) for model in models if model in ("MRTM1", "MRTM2")}
    residuals = {}
    for model in models:
        if model not in NEEDS_TSTAR:
            continue
        if tstar_min != "auto":
            starts[model] = float(tstar_min)
            continue
        if model in NEEDS_K2PRIME and not (value and np.isfinite(value)):
            starts[model] = float("nan")
            continue
        rows = [names.index(name) for name in tested]
        starts[model], residuals[model] = linear_models.choose_tstar(
            model, curves[rows], timing, curve, k2prime=value, limit=MAX_RESIDUAL, integrals=integrals
        )
        if not residuals[model] <= MAX_RESIDUAL:
            log.warning("%s: no t* leaves residuals of at most %g %%", model, 100 * MAX_RESIDUAL)
    if residuals:
        notes.update(TStarRule=f"smallest with residuals of at most {100 * MAX_RESIDUAL:g} % of the fit",
                     TStarRegions=tested, TStarMaxResidual=residuals)  # fmt: skip
    write_json(
        sidecar(
            "Constants of the scan that its regions and voxels share",
            [*tacs, reference, frames],
            TStarMin=starts,
            ReferenceRegions=sorted(members),
            **notes,
        ),
        out,
    )
