"""A PET scan taken over as curves: PETPrep's, PETFit's or bare tables become what our own first steps write."""

import fnmatch
import logging
import math

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.pet import doubts, plausibility, presets, quality, suvr, tables, weights
from neurobraid.pet.fit import participant_weight
from neurobraid.pet.frames import COLUMNS, injected_dose
from neurobraid.pet.units import half_life
from neurobraid.provenance import bids_uri, sidecar

log = logging.getLogger("neurobraid")

CEREBELLUM = ("*cerebellum-cortex", "*cerebellum*cortex*", "*cerebellum*gr?y*", "cerebellum")
"""Patterns of the cerebellar grey matter in the names of other programs, the first that fits; capitals do not count."""

WORDS = {
    "cerebellum": CEREBELLUM,
    "wholecerebellum": ("*cerebellum-*", "*cerebell*"),
    "pons": ("*pons*",),
    "whitematter": ("*cerebral-white-matter*", "*cerebral*white*", "*centrum*semiovale*", "white*matter"),
}
"""Words of ``pet.reference`` that stand for regions."""

SIDES = (("Left-", "L"), ("Right-", "R"), ("ctx-lh-", "L"), ("ctx-rh-", "R"), ("LH_", "L"), ("RH_", "R"))
"""Beginnings of region names that tell the hemisphere."""


def reference_rows(names, wanted):
    """Rows of the regions that make up the reference.

    Parameters
    ----------
    names : list of str
        Regions of the table.
    wanted : list of str
        Words of `WORDS`, or names or patterns (``*`` stands for anything) of regions; capitals do not count.

    Returns
    -------
    list of int
        Empty where one of them fits no region.
    """
    rows = set()
    for word in wanted:
        for pattern in WORDS.get(word, (word,)):
            hit = [
                i
                for i, n in enumerate(names)
                if fnmatch.fnmatchcase(n, pattern) or fnmatch.fnmatchcase(n.lower(), pattern.lower())
            ]
            if hit:
                break
        if not hit:
            return []
        rows.update(hit)
    return sorted(rows)


def read_curves(files, sidecars, entities, segmentation, *, units="", nuclide=""):
    """Curves of one scan in our terms.

    Parameters
    ----------
    files : list of path-like
        The table first.
    sidecars : list of path-like
        Of the raw scan, the least specific first.
    entities : dict of str to str
        Of the raw scan.
    segmentation : str
        For PETFit's table, which holds many scans.
    units, nuclide : str
        Where neither table nor sidecar says them.

    Returns
    -------
    curves : tables.Curves
    fields : dict
        Merged PET-BIDS sidecars.

    Raises
    ------
    InputError
        See `tables.read_table` and `tables.read_combined`; PETFit's table does not have the scan.
    """
    fields = {}
    for path in sidecars:
        fields.update(read_json(path))
    table = files[0]
    if not str(table).endswith(tables.COMBINED):
        defaults = {"TracerRadionuclide": nuclide} if nuclide else {}
        return tables.read_table(table, sidecars=sidecars, unit=units or None, defaults=defaults), fields
    nuclide = fields.get("TracerRadionuclide") or nuclide
    every = tables.read_combined(table, half_life_min=half_life(nuclide) if nuclide else None)
    mine = [c for c in every if c.segmentation == segmentation and c.entities.items() <= entities.items()]
    if len(mine) != 1:
        told = ", ".join(sorted({c.scan for c in every})[:6])
        raise InputError(
            table,
            "scans",
            told,
            f"the scan {'_'.join(f'{k}-{v}' for k, v in entities.items())} once",
            "mend the table",
        )
    return mine[0], fields


def believed_dose(fields, file="PET sidecar"):
    """Injected radioactivity, unless it cannot be right.

    Parameters
    ----------
    fields : dict
        Merged PET-BIDS sidecars; may be empty.
    file : path-like
        Named in the doubt.

    Returns
    -------
    dose_mbq : float
        NaN where it is not known or is doubted: no SUV is better than one that is wrong a thousandfold.
    doubt : str
        See `doubts.dose_problem`.
    """
    doubt = doubts.dose_problem(fields, file) if fields else ""
    return (math.nan if doubt or not fields else injected_dose(fields, file)), doubt


def write_curves(curves, out, *, fields, weight_kg, groups=None, weighting="decay_counts"):
    """Write frames, curves, region table and weights of a scan as our own steps write them.

    Parameters
    ----------
    curves : tables.Curves
    out : mapping
        Paths ``frames``, ``frames_json``, ``tacs``, ``tacs_json``, ``morph``, ``weights``.
    fields : dict
        Merged PET-BIDS sidecars.
    weight_kg : float
    groups : dict, optional
        See `tables.combine`.
    weighting : str
        See `weights.from_name`; without a half-life, weights by counts become those by duration.

    Returns
    -------
    brain : numpy.ndarray, (F,)
        Whole-brain curve, kBq/mL.
    weighting : str
        What was used.
    """
    values, volumes, names = tables.combine(curves.values, curves.volumes, curves.names, groups or {})
    timing = curves.frames
    dose, doubt = believed_dose(fields)
    write_tsv(timing.table(), out["frames"])
    content = {
        "HalfLifeMin": timing.half_life_min,
        "TracerName": fields.get("TracerName"),
        "TracerRadionuclide": fields.get("TracerRadionuclide"),
        "UnitsFound": fields.get("Units") or "kBq/mL",
        "DecayCorrectionFound": timing.correction,
        "InjectedRadioactivityMBq": dose,
        "InjectedRadioactivityDoubt": doubt or None,
        "BodyWeightKg": weight_kg,
        "Columns": COLUMNS,
    }
    write_json(
        sidecar("Frames after injection, of curves that another program made", curves.sources, **content),
        out["frames_json"],
    )
    times = _frame({"frame_start": timing.start, "frame_end": timing.end})
    write_tsv(times.join(_frame(dict(zip(names, values, strict=True)))), out["tacs"])
    write_json(
        sidecar(
            "Time-activity curves of another program in our terms", curves.sources, Units="kBq/mL",
            TimeUnits="s after injection", DecayCorrection="to injection", Segmentation=curves.segmentation,
            Combined=groups or {}, Messages=curves.messages,
        ),
        out["tacs_json"],
    )  # fmt: skip
    seen = np.isfinite(values).any(axis=1).astype(float)
    regions = {"name": names, "volume_mm3": volumes, "coverage": seen, "hemisphere": list(map(_side, names))}
    write_tsv(_frame(regions), out["morph"])
    brain = tables.brain_curve(curves.values, curves.volumes, curves.names)
    if weighting == "decay_counts" and not np.isfinite(timing.half_life_min):
        weighting = "duration"
    write_tsv(times.assign(brain=brain, weight=weights.from_name(weighting, timing, brain)), out["weights"])
    return brain, weighting


def write_reference(curves, rows, paths, **notes):
    """Write the volume-weighted mean of regions as the reference curve.

    Parameters
    ----------
    curves : tables.Curves
    rows : list of int
        Regions of the reference.
    paths : (path-like, path-like)
        Table and sidecar.
    **notes
        Further fields of the sidecar.

    Returns
    -------
    numpy.ndarray, (F,)
        kBq/mL.
    """
    sizes = curves.volumes[rows]
    known = bool(np.isfinite(sizes).all())
    share = sizes if known else np.ones(len(rows))
    curve = share @ curves.values[rows] / share.sum()
    times = _frame({"frame_start": curves.frames.start, "frame_end": curves.frames.end})
    write_tsv(times.assign(reference=curve), paths[0])
    write_json(
        sidecar(
            "Curve of the reference region", curves.sources, Units="kBq/mL", TimeUnits="s after injection",
            ReferenceRegions=[curves.names[i] for i in rows], ReferenceAtlas=curves.segmentation,
            VolumeMm3=float(sizes.sum()) if known else math.nan, **notes,
        ),
        paths[1],
    )  # fmt: skip
    return curve


def adopt(
    files, sidecars, out, *, visit, scan, segmentation, reference=("cerebellum",), records=(), groups=(),
    weighting="decay_counts", units="", nuclide="", participants=(), confounds=(), program="", end_min=0.0,
):  # fmt: skip
    """Write everything that later steps read of a scan whose curves another program made.

    Parameters
    ----------
    files : list of path-like
        Table of curves, and what lies beside it (sidecar, volumes).
    sidecars : list of path-like
        Of the raw scan, the least specific first; may be empty.
    out : mapping
        Those of `write_curves`, and ``reference``, ``reference_json``, ``qc``, ``curves_qc``.
    visit, scan : str
    segmentation : str
        Label under which the study has the table.
    reference : list of str
        See `reference_rows`; ``["auto"]`` is the tracer's.
    records : list of dict
        The study's own tracer presets.
    groups : list of dict
        ``name`` and ``regions`` (patterns) of regions to add, by volume.
    weighting, units, nuclide
        See `write_curves` and `read_curves`.
    participants : list of path-like
        See `fit.participant_weight`.
    confounds : list of path-like
        The other program's table of motion, where there is one.
    program : str
        Who made the curves.
    end_min : float
        Frames that end later (min after injection) are left out; 0: none.

    Raises
    ------
    InputError
        See `read_curves`; no region of the table is the reference, or it has no activity.
    """
    entities = dict(part.split("-", 1) for part in scan.split("_"))
    curves, fields = read_curves(files, sidecars, entities, segmentation, units=units, nuclide=nuclide)
    side = str(sidecars[-1]) if sidecars else str(files[0])
    recorded = len(curves.frames)
    curves = tables.until(curves, end_min) if end_min else curves
    dose, doubt = believed_dose(fields, bids_uri(side))
    warnings = [*curves.messages, *filter(None, [doubt])]
    weight_kg = participant_weight(participants, visit.split("/")[0], visit.partition("/")[2])
    if len(participants) and not math.isfinite(weight_kg):
        log.info("no body weight: no SUV")
    named = {record["name"]: record["regions"] for record in groups}
    brain, weighting = write_curves(
        curves, out, fields=fields, weight_kg=weight_kg, groups=named, weighting=weighting
    )
    wanted = presets.reference(reference, fields.get("TracerName"), records, side)
    rows = reference_rows(curves.names, wanted)
    if not rows:
        raise InputError(
            files[0], "reference region", f"no region {', '.join(wanted)}",
            f"{', '.join(curves.names[:6])}, … ({len(curves.names)} columns)",
            "name regions of the table in pet.reference (* stands for anything)",
        )  # fmt: skip
    curve = write_reference(
        curves, rows, [out["reference"], out["reference_json"]], Coverage=1.0, **_corrected(segmentation)
    )
    if not np.isfinite(curve).all():
        raise InputError(
            files[0], f"reference region ({', '.join(curves.names[i] for i in rows)})",
            f"without a value in {int((~np.isfinite(curve)).sum())} frames", "a value in every frame",
            "the region was outside the field of view: choose another one (pet.reference), or exclude the scan",
        )  # fmt: skip
    timing = curves.frames
    found = plausibility.curve(brain, timing)
    mean = float(np.average(np.nan_to_num(brain), weights=timing.duration))
    uptake = float(suvr.suv(mean, dose, weight_kg))
    if fields and not doubt:
        found += plausibility.dose(dose, bids_uri(side))
        found += plausibility.uptake(uptake)
    for text in (*warnings, *found):
        log.warning(text)
    write_json(
        {
            "Sources": [bids_uri(p) for p in (*files, *sidecars, *confounds)],
            "preprocessed_by": program or None,
            "tracer": fields.get("TracerName"),
            "scanner": " ".join(
                str(fields[k]) for k in ("Manufacturer", "ManufacturersModelName") if fields.get(k)
            )
            or None,
            "site": fields.get("InstitutionName"),
            "injected_mbq": dose,
            "body_weight_kg": weight_kg,
            "frames": len(timing),
            "first_frame_start_min": timing.start[0] / 60,
            "last_frame_end_min": timing.end[-1] / 60,
            "gap_min": float((timing.start[1:] - timing.end[:-1]).clip(0).sum() / 60),
            "units_found": fields.get("Units"),
            "decay_correction_found": timing.correction,
            "brain_suv_mean": uptake,
            "weights": weights.describe(weighting),
            **_motion(confounds, recorded, len(timing)),
            "warnings": [*filter(None, [doubt]), *found],
            "notes": curves.messages,
            "caveat": "curves were made by another program: its motion correction, registration and regions are taken as "
            "they are",
        },
        out["qc"],
    )
    regions = read_tsv(out["morph"])
    own = read_tsv(out["tacs"])
    measured = quality.curve_quality(
        np.zeros((0, 0, 0, len(timing))), np.zeros((0, 0, 0), bool), timing, curve,
        {"volume_mm3": read_json(out["reference_json"]).get("VolumeMm3"), "coverage": math.nan}, [(own, regions)],
        dose_mbq=dose, weight_kg=weight_kg,
    )  # fmt: skip
    write_json({"Sources": [bids_uri(p) for p in files], **measured}, out["curves_qc"])


def _corrected(segmentation):
    method = segmentation.partition("Pvc")[2]
    return {"PartialVolumeCorrection": f"{method}, by the other program" if method else "none here"}


def _motion(confounds, frames, kept):
    """Framewise displacement of the frames kept in another program's table, as our own quality file has it."""
    paths = [path for path in confounds if str(path).endswith(".tsv")]
    if not paths:
        return {}
    table = read_tsv(paths[0])
    if "framewise_displacement" not in table or len(table) != frames or frames < 2:
        return {}
    moved = table["framewise_displacement"].to_numpy(float)[1:kept]
    if not np.isfinite(moved).any():
        return {}
    return {"fd_mean_mm": float(np.nanmean(moved)), "fd_max_mm": float(np.nanmax(moved))}


def _side(name):
    return next((side for start, side in SIDES if name.startswith(start)), "n/a")


def _frame(columns):
    import pandas as pd

    return pd.DataFrame(columns)
