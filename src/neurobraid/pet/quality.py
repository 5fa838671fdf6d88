"""Numbers of quality of PET scans: per scan from its curves, and one table of a study with the scans that stand out."""

from pathlib import Path

import numpy as np

from neurobraid.bids.entities import compose, parse
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.images.outliers import LIMIT, NEEDED, add_flags, flag_outliers
from neurobraid.provenance import bids_uri, sidecar

TAIL = 0.5
"""The tail of a scan are the frames whose middle lies after this share of its time."""

METRICS = {
    "fd_mean_mm": (1, "mm", "Mean framewise displacement between frames"),
    "fd_max_mm": (1, "mm", "Largest framewise displacement between frames"),
    "max_displacement_mm": (1, "mm", "Largest movement of a point of the brain from the reference"),
    "coreg_mutual_information": (-1, "", "Mutual information of PET and T1w after registration"),
    "coreg_above_null": (
        -1,
        "",
        "Mutual information after registration against the same head in wrong orientations, in their standard deviations",
    ),
    "coreg_refinement_mm": (1, "mm", "What the refinement by tissue moved the brain"),
    "brain_in_fov": (-1, "", "Share of the brain inside the PET field of view"),
    "brain_suv_mean": (2, "g/mL", "Mean SUV of the brain in the reference image"),
    "reference_coverage": (-1, "", "Share of the reference region inside the field of view"),
    "reference_volume_mm3": (2, "mm^3", "Volume of the reference region"),
    "reference_suv_tail": (2, "g/mL", "Mean SUV of the reference region in the tail"),
    "reference_tail_cv": (1, "", "Scatter of the reference curve around a line in the tail, over its mean"),
    "reference_tail_slope_percent_per_min": (
        2,
        "%/min",
        "Slope of the reference curve in the tail, over its mean",
    ),
    "tail_noise": (1, "", "Noise of a voxel between the last two frames, over the mean of the brain"),
    "regions_without_curve": (1, "", "Regions of all atlases less than half of which was seen"),
    "asymmetry_max": (1, "", "Largest difference of a region and its counterpart over their mean"),
    "injected_mbq": (2, "MBq", "Injected radioactivity"),
}
"""Column: (bad direction: 1 high, -1 low, 2 both; unit; meaning)."""


def tail(timing):
    """Frames of the tail of a scan, (F,) bool; see `TAIL`."""
    return timing.mid >= timing.start[0] + TAIL * (timing.end[-1] - timing.start[0])


def stability(curve, timing):
    """Scatter and slope of a curve in the tail of a scan.

    Parameters
    ----------
    curve : array-like, (F,)
    timing : Frames

    Returns
    -------
    cv : float
        Standard deviation around a weighted line (weights: durations) over the mean; NaN with fewer than 4 frames.
    slope : float
        %/min of the mean.
    """
    late = tail(timing)
    curve = np.asarray(curve, float)[late]
    if late.sum() < 4 or not np.isfinite(curve).all():
        return np.nan, np.nan
    minutes, weights = timing.mid[late] / 60.0, timing.duration[late] / timing.duration[late].mean()
    design = np.stack([np.ones_like(minutes), minutes - np.average(minutes, weights=weights)], 1)
    root = np.sqrt(weights)[:, None]
    (mean, slope), *_ = np.linalg.lstsq(design * root, curve * root[:, 0], rcond=None)
    residual = curve - design @ [mean, slope]
    sd = np.sqrt((weights * residual**2).sum() / (len(curve) - 2))
    return float(sd / mean), float(100 * slope / mean)


def tail_noise(series, brain):
    """Noise of a voxel: the difference of the last two frames, each over its mean, robustly.

    Parameters
    ----------
    series : numpy.ndarray, (X, Y, Z, F)
    brain : numpy.ndarray of bool, (X, Y, Z)

    Returns
    -------
    float
        Of one frame, relative to the mean of the brain; NaN for static scans.
    """
    if series.shape[3] < 2 or not brain.any():
        return np.nan
    last, before = (series[brain][:, i].astype(np.float64) for i in (-1, -2))
    if not (last.mean() > 0 and before.mean() > 0):
        return np.nan
    difference = last / last.mean() - before / before.mean()
    return float(1.4826 * np.median(np.abs(difference - np.median(difference))) / np.sqrt(2))


def asymmetry(curves, names, late):
    """Largest difference of homologous regions over their mean in the tail, and the region.

    Parameters
    ----------
    curves : pandas.DataFrame
        One column per region.
    names : pandas.DataFrame
        Region table with ``name`` and, where known, ``hemisphere``; rows of the left half of the names pair with those of
        the right by the name without its side.
    late : numpy.ndarray of bool, (F,)

    Returns
    -------
    value : float
    region : str
    """
    if "hemisphere" not in names:
        return np.nan, ""
    sides = {}
    for row in names.itertuples():
        if row.hemisphere in ("L", "R"):
            sides.setdefault(_homologue(row.name, row.hemisphere), {})[row.hemisphere] = row.name
    worst, region = np.nan, ""
    for pair in sides.values():
        if len(pair) == 2:
            left, right = (float(curves[pair[side]].to_numpy(float)[late].mean()) for side in "LR")
            value = abs(left - right) / (0.5 * abs(left + right)) if left + right else np.nan
            if np.isfinite(value) and not value <= worst:
                worst, region = value, pair["L"]
    return float(worst), region


def _homologue(name, side):
    """A region's name without its side: ``LH_-42_3_5`` and ``RH_42_3_5`` are one, so are ``Left-Putamen`` and ``Right-…``."""
    import re

    word = {"L": r"(LH|Left|left|lh|L)", "R": r"(RH|Right|right|rh|R)"}[side]
    bare = re.sub(rf"(^|(?<=[^A-Za-z])|(?<=[a-z])){word}(?=[^a-z]|$)", "", name, count=1)
    return re.sub(r"^([^-0-9]*_)-(\d)", r"\1\2", bare)


def curve_quality(series, brain, timing, reference, region, tables, *, dose_mbq=np.nan, weight_kg=np.nan):
    """Numbers of quality of a scan's curves.

    Parameters
    ----------
    series : numpy.ndarray, (X, Y, Z, F)
    brain : numpy.ndarray of bool, (X, Y, Z)
    timing : Frames
    reference : array-like, (F,)
        Reference curve.
    region : dict
        ``volume_mm3`` and ``coverage`` of the reference region.
    tables : list of (pandas.DataFrame, pandas.DataFrame)
        Curves and region table (with ``coverage``) of every atlas.
    dose_mbq, weight_kg : float

    Returns
    -------
    dict
        Those of `METRICS` that curves tell, and ``asymmetry_region``.
    """
    from neurobraid.pet.suvr import suv

    cv, slope = stability(reference, timing)
    late = tail(timing)
    late[-1] = True
    found = [asymmetry(curves, names, late) for curves, names in tables]
    worst, where = max(found, key=lambda item: np.nan_to_num(item[0], nan=-1.0), default=(np.nan, ""))
    mean = float(np.average(np.asarray(reference, float)[late], weights=timing.duration[late]))
    return {
        "reference_volume_mm3": region["volume_mm3"],
        "reference_coverage": region["coverage"],
        "reference_suv_tail": float(suv(mean, dose_mbq, weight_kg)),
        "reference_tail_cv": cv,
        "reference_tail_slope_percent_per_min": slope,
        "tail_noise": tail_noise(series, brain),
        "regions_without_curve": int(sum((names["coverage"] < 0.5).sum() for _, names in tables)),
        "asymmetry_max": worst,
        "asymmetry_region": where or None,
    }


def quality_table(files):
    """Quality of every scan of a study, one row per scan.

    Parameters
    ----------
    files : list of list of path-like
        Quality files per scan; later ones add to the first.

    Returns
    -------
    pandas.DataFrame
        ``bids_name``, ``participant_id``, ``session_id``, ``tracer``, ``site``, ``scanner``, ``warnings`` (count) and
        those of `METRICS` that any scan has.
    """
    import pandas as pd

    rows = []
    for paths in files:
        keys = {k: v for k, v in parse(Path(paths[0]).name).entities.items() if k != "desc"}
        content = {}
        for path in paths:
            content.update(read_json(path))
        rows.append(
            {
                "bids_name": compose(keys, "pet"),
                "participant_id": f"sub-{keys['sub']}",
                "session_id": f"ses-{keys['ses']}" if "ses" in keys else np.nan,
                "tracer": _text(content.get("tracer")) or keys.get("trc", np.nan),
                "site": _text(content.get("site")) or np.nan,
                "scanner": _text(content.get("scanner")) or np.nan,
                "warnings": len(content.get("warnings", [])),
                **{name: _number(content.get(name)) for name in METRICS},
            }
        )
    named = ["bids_name", "participant_id", "session_id", "tracer", "site", "scanner", "warnings"]
    table = pd.DataFrame(rows, columns=[*named, *METRICS])
    return table[[c for c in table if c in named or table[c].notna().any()]]


def _text(value):
    return str(value) if isinstance(value, str) and value not in ("", "n/a") else None


def _number(value):
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else np.nan


def flag(table, limit=LIMIT, needed=NEEDED):
    """Mark the scans that are worse than those of their tracer, site and scanner: see `images.outliers.flag_outliers`."""
    directions = {name: direction for name, (direction, _, _) in METRICS.items()}
    return flag_outliers(table, ["tracer", "site", "scanner"], directions, _kind, limit=limit, needed=needed)


def _kind(parts):
    return ", ".join(parts) or "all"


def write_quality(files, table, side):
    """Write the table of the quality of all PET scans.

    Parameters
    ----------
    files : list of list of path-like
        See `quality_table`.
    table, side : path-like
        Written: the table and its sidecar.
    """
    found = quality_table(files)
    flags, notes = flag(found)
    found = add_flags(found, flags, notes)
    described = {
        "bids_name": {"Description": "Name of the raw scan without extension"},
        "participant_id": {"Description": "Participant"},
        "session_id": {"Description": "Session"},
        "tracer": {"Description": "Tracer"},
        "site": {"Description": "InstitutionName of the sidecar"},
        "scanner": {"Description": "Manufacturer and model"},
        "warnings": {"Description": "Warnings about the scan, in its own quality file"},
        "flags": {"Description": "Measures that are worse than in the other scans of this tracer, site and scanner; none; or "
                  "n/a where these are too few"},
        "outlier": {"Description": "Whether any measure is flagged", "Levels": ["true", "false", "n/a"]},
    }  # fmt: skip
    better = {1: "lower is better", -1: "higher is better", 2: "flagged on both sides"}
    for name, (direction, unit, text) in METRICS.items():
        described[name] = {"Description": f"{text}; {better[direction]}"} | ({"Units": unit} if unit else {})
    write_tsv(found, table)
    write_json(
        sidecar(
            "Quality of every PET scan of the study",
            [path for paths in files for path in paths],
            FlagLimit=LIMIT,
            FlagScale="1.4826 * median absolute deviation from the median, within tracer, site and scanner",
            FlagScansNeeded=NEEDED,
            Notes=notes,
            **{name: described[name] for name in found},
        ),
        side,
    )


def scan_quality(pet, brain, timing, content, reference, reference_json, tacs, tables, first, out):
    """Write the numbers of quality of a scan that its curves tell, beside those of `fit.fit`.

    Parameters
    ----------
    pet, reference, reference_json : path-like
        Scan in T1w space, reference curve and sidecar.
    brain : path-like
        Brain mask in T1w space.
    timing, content : Frames, dict
        From `resample.read_frame_table`.
    tacs : list of path-like
        Curves of every atlas.
    tables : list of (path-like, path-like)
        Region table of the atlas and of the scan (coverage).
    first : path-like
        What `fit.fit` wrote: its warnings are kept in its own file.
    out : path-like
    """
    from neurobraid.images.io import data, load
    from neurobraid.pet.maps import brain_on_grid
    from neurobraid.pet.model import _number as known

    image = load(pet)
    series = data(image)
    region = read_json(reference_json)
    pairs = []
    for curves, (atlas, morph) in zip(tacs, tables, strict=True):
        names = read_tsv(atlas)
        pairs.append((read_tsv(curves), names.assign(coverage=read_tsv(morph)["coverage"].to_numpy())))
    found = curve_quality(
        series, brain_on_grid(load(brain), series.shape[:3], np.asarray(image.affine, float)), timing,
        read_tsv(reference)["reference"].to_numpy(float),
        {"volume_mm3": region["VolumeMm3"], "coverage": region["Coverage"]}, pairs,
        dose_mbq=known(content, "InjectedRadioactivityMBq"), weight_kg=known(content, "BodyWeightKg"),
    )  # fmt: skip
    write_json({"Sources": [bids_uri(p) for p in (pet, reference, *tacs, first)], **found}, out)
