"""First step of a PET scan: frames, motion, reference image, registration to T1w, checks. Nothing is resampled."""

import logging
import math

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.images.io import data, load, save
from neurobraid.images.transforms import apply_affine, write_affines
from neurobraid.pet import coregistration, doubts, frames, motion, plausibility, profiles
from neurobraid.pet.resample import scaled_series
from neurobraid.provenance import bids_uri, sidecar

log = logging.getLogger("neurobraid")


def read_metadata(sidecars):
    """Merge the sidecars of a scan, the least specific first.

    Parameters
    ----------
    sidecars : list of path-like

    Returns
    -------
    fields : dict
    file : str
        The most specific sidecar, to be named in errors.

    Raises
    ------
    InputError
        There is no sidecar.
    """
    if not sidecars:
        raise InputError(
            "PET image", "sidecar", "missing", "a JSON file beside the image", "write the PET-BIDS sidecar"
        )
    fields = {}
    for path in sidecars:
        fields.update(read_json(path))
    return fields, str(sidecars[-1])


MAX_REFINEMENT_MM = 4.0
"""A refinement that moves the brain further has lost it: the registration by mutual information stands."""


def fit(
    pet, sidecars, t1w, brain_mask, tissues, out, *, participant, session="", participants=(), fwhm_mm=5.0, start_min=2.0, psf_mm=6.0
):  # fmt: skip
    """Estimate everything about a scan that later steps apply.

    Parameters
    ----------
    pet : path-like
        Raw image, 3D or 4D.
    sidecars : list of path-like
        Its JSON files, the least specific first.
    t1w, brain_mask : path-like
        Preprocessed T1w image of the participant and its brain mask.
    tissues : list of path-like
        Fractions of grey matter, white matter and CSF on the grid of the T1w image.
    out : mapping
        Paths: ``frames`` (with ``frames_json``), ``petref`` (``petref_json``), ``hmc``, ``coreg``, ``confounds``
        (``confounds_json``), ``qc``, and where wanted ``uncorrected`` (with ``uncorrected_json``: the reference without
        the correction of motion) and ``profiles`` (see `profiles.profiles`).
    participant : str
        ``sub-…``
    session : str
        ``ses-…`` where there is one.
    participants : list of path-like
        ``participants.tsv`` and ``participants.json``, and the participant's ``_sessions.tsv`` and ``.json``, where there
        are any, for the body weight: that of the session comes first.
    fwhm_mm, start_min : float
        See `motion.estimate`.
    psf_mm : float
        Resolution to which anatomy is smoothed before it is compared with PET.

    Raises
    ------
    InputError
        See `frames.read_frames`.
    """
    fields, side = read_metadata(sidecars)
    image = load(pet)
    volumes = image.shape[3] if len(image.shape) > 3 else 1
    timing = frames.read_frames(fields, volumes, side)
    dose = frames.injected_dose(fields, side)
    weight = participant_weight(participants, participant, session)
    log.info(
        "%d frames, %.1f to %.1f min after injection", volumes, timing.start[0] / 60, timing.end[-1] / 60
    )
    series = scaled_series(image, timing)
    affine = np.asarray(image.affine, float)
    matrices, petref, estimated = motion.estimate(
        series, affine, timing, fwhm_mm=fwhm_mm, start_min=start_min
    )
    anatomy, mask = load(t1w), data(load(brain_mask)) > 0.5
    target = np.asarray(anatomy.affine, float)
    first, score = coregistration.to_anatomy(petref, affine, data(anatomy), target, mask)
    classes = [data(load(path)) for path in tissues]
    coreg = coregistration.refine(petref, affine, first, classes, target, psf_mm=psf_mm)
    brain = apply_affine(target, np.argwhere(mask)[::17])
    refinement = float(np.linalg.norm(apply_affine(coreg, brain) - apply_affine(first, brain), axis=1).mean())
    doubt = doubts.dose_problem(fields, bids_uri(side))
    warnings = [doubt] if doubt else []
    if refinement > MAX_REFINEMENT_MM:
        warnings.append(
            f"the refinement by tissue moved the brain {refinement:.1f} mm and was not used: look at the registration"
        )
        coreg = first

    chance = coregistration.against_chance(petref, affine, coreg, data(anatomy), target, mask)
    points = apply_affine(coreg, brain)
    table = motion.confounds(matrices, points.mean(axis=0))
    moved = motion.displacement(matrices, points)
    inside = _inside(petref.shape, affine, points)
    brain_suv = math.nan
    if math.isfinite(dose) and math.isfinite(weight) and inside.any():
        ijk = np.rint(apply_affine(np.linalg.inv(affine), points[inside])).astype(int)
        brain_suv = float(petref[tuple(ijk.T)].mean()) * weight / dose
    if not doubt:
        warnings += plausibility.dose(dose, bids_uri(side))
    warnings += plausibility.uptake(brain_suv)
    warnings += plausibility.decay_fields(fields, timing, bids_uri(side))
    if inside.any():
        # frames are compared where the brain lies in most of them: motion of mm does not matter here
        ijk = np.rint(apply_affine(np.linalg.inv(affine), points[inside])).astype(int)
        ijk = ijk.clip(0, np.array(petref.shape) - 1)
        warnings += plausibility.curve(series[tuple(ijk.T)].mean(axis=0, dtype=np.float64), timing)
    if inside.mean() < 0.95:
        warnings.append(f"{100 * (1 - inside.mean()):.0f} % of the brain is outside the PET field of view")
    for text in warnings:
        log.warning(text)

    source = [pet, *sidecars]
    write_tsv(timing.table(), out["frames"])
    write_json(
        sidecar(
            "Frames of the PET scan after injection and the factors that turn stored values into kBq/mL, decay-corrected "
            "to injection",
            source,
            HalfLifeMin=timing.half_life_min,
            TracerName=fields.get("TracerName"),
            TracerRadionuclide=fields.get("TracerRadionuclide"),
            UnitsFound=fields.get("Units"),
            DecayCorrectionFound=timing.correction,
            InjectedRadioactivityMBq=dose,
            BodyWeightKg=weight,
            Columns=frames.COLUMNS,
        ),
        out["frames_json"],
    )
    save(petref, affine, out["petref"])
    write_json(
        sidecar(
            "Duration-weighted mean of the motion-corrected frames, kBq/mL decay-corrected to injection",
            source,
            Units="kBq/mL",
            FramesAveraged=np.flatnonzero(estimated),
        ),
        out["petref_json"],
    )
    if out.get("uncorrected"):
        late = motion.weighted_mean(np.nan_to_num(series[..., estimated]), timing.duration[estimated])
        save(late, affine, out["uncorrected"])
        write_json(
            sidecar(
                "Duration-weighted mean of the same frames as in the reference, not corrected for motion, kBq/mL "
                "decay-corrected to injection",
                source,
                Units="kBq/mL",
                FramesAveraged=np.flatnonzero(estimated),
            ),
            out["uncorrected_json"],
        )
    if out.get("profiles"):
        write_tsv(profiles.profiles(series, affine, matrices, coreg, brain), out["profiles"])
    write_affines(matrices, out["hmc"])
    write_affines(coreg, out["coreg"])
    write_tsv(table, out["confounds"])
    write_json(
        sidecar(
            "Head motion between PET frames",
            source,
            SmoothingFWHMmm=fwhm_mm,
            EstimatedFrames=np.flatnonzero(estimated),
            FramewiseDisplacement="sum of absolute differences, rotations on a radius of 50 mm, mm",
            Translations="mm, of the centre of the brain",
            Rotations="rad",
        ),
        out["confounds_json"],
    )
    displacement = table["framewise_displacement"].to_numpy()[1:]
    write_json(
        {
            "Sources": [bids_uri(p) for p in source],
            "tracer": fields.get("TracerName"),
            "scanner": " ".join(
                str(fields[key]) for key in ("Manufacturer", "ManufacturersModelName") if fields.get(key)
            )
            or None,
            "site": fields.get("InstitutionName"),
            "injected_mbq": dose,
            "body_weight_kg": weight,
            "frames": volumes,
            "first_frame_start_min": timing.start[0] / 60,
            "last_frame_end_min": timing.end[-1] / 60,
            "gap_min": float((timing.start[1:] - timing.end[:-1]).clip(0).sum() / 60),
            "units_found": fields.get("Units"),
            "decay_correction_found": timing.correction,
            "fd_mean_mm": displacement.mean() if volumes > 1 else math.nan,
            "fd_max_mm": displacement.max() if volumes > 1 else math.nan,
            "max_displacement_mm": moved.max(),
            "coreg_mutual_information": score,
            "coreg_score": chance[0],
            "coreg_null_mean": chance[1].mean(),
            "coreg_null_max": chance[1].max(),
            "coreg_above_null": (chance[0] - chance[1].mean()) / max(chance[1].std(ddof=1), 1e-9),
            "coreg_refinement_mm": refinement,
            "brain_in_fov": inside.mean(),
            "brain_suv_mean": brain_suv,
            "warnings": warnings,
            "caveat": "motion is corrected after reconstruction; a mismatch with the attenuation map remains",
        },
        out["qc"],
    )


def _inside(shape, affine, points):
    ijk = apply_affine(np.linalg.inv(affine), points)
    return ((ijk > -0.5) & (ijk < np.array(shape) - 0.5)).all(axis=1)


def participant_weight(participants, participant, session=""):
    """Body weight in kg: of the session where its table has one, else of the participant, else NaN."""
    weights = {}
    for path in participants:
        if not str(path).endswith(".tsv"):
            continue
        beside = str(path).removesuffix(".tsv") + ".json"
        columns = read_json(beside) if beside in map(str, participants) else None
        table, visit = read_tsv(path), str(path).endswith("_sessions.tsv")
        if visit and "session_id" in table:
            if not str(path).rsplit("/", 1)[-1].startswith(f"{participant}_"):
                continue
            table = table.drop(columns="participant_id", errors="ignore").rename(
                columns={"session_id": "participant_id"}
            )
        elif visit:
            continue
        weights[visit] = frames.body_weight(table, session if visit else participant, columns, path)
    return next(
        (w for w in (weights.get(True, math.nan), weights.get(False, math.nan)) if math.isfinite(w)), math.nan
    )
