"""First step of a PET scan: frames, motion, reference image, registration to T1w, checks. Nothing is resampled."""

import logging
import math

import numpy as np

from neurobraid.bids.sidecars import applying
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.images.io import data, load, save
from neurobraid.images.transforms import apply_affine, write_affines
from neurobraid.pet import coregistration, doubts, frames, motion, plausibility, profiles
from neurobraid.pet.resample import by_run, scaled_series
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


def read_run(pet, sidecars):
    """Image, frames, merged sidecar and the name of the most specific one, of one raw image."""
    fields, side = read_metadata(sidecars)
    image = load(pet)
    return (
        image,
        frames.read_frames(fields, image.shape[3] if len(image.shape) > 3 else 1, side),
        fields,
        side,
    )


def aligned_runs(runs, timing):
    """All frames of a scan on the grid of its first run, later runs brought roughly to the position of the head in it.

    People get up between the runs of an acquisition and lie down elsewhere: further than the estimation of motion between
    frames looks. The means of the runs are registered by mutual information, because uptake has changed in between.

    Parameters
    ----------
    runs : list of (nibabel image, slice)
        See `resample.by_run`.
    timing : Frames
        Of the scan.

    Returns
    -------
    series : numpy.ndarray, (X, Y, Z, F), float32
        kBq/mL. The frames of later runs are interpolated: for estimation only.
    starts : numpy.ndarray, (F, 4, 4), float64
        Points of the head in the first run to points of the frame; the identity for the first run.
    """
    import nibabel as nib

    from neurobraid.images.registration import register_rigid
    from neurobraid.images.resample import resample_image

    image, own = runs[0]
    affine, first = np.asarray(image.affine, float), scaled_series(image, timing, own)
    starts = np.tile(np.eye(4), (len(timing), 1, 1))
    if len(runs) == 1:
        return first, starts
    # the last frames of a run are nearest in time, and in pattern, to the next one
    late = np.arange(first.shape[3]) >= first.shape[3] // 2
    fixed = motion.weighted_mean(np.nan_to_num(first[..., late]), timing.duration[own][late])
    parts = [first]
    for image, own in runs[1:]:
        values, grid = scaled_series(image, timing, own), np.asarray(image.affine, float)
        mean = motion.weighted_mean(np.nan_to_num(values), timing.duration[own])
        matrix, _ = register_rigid(nib.Nifti1Image(fixed, affine), nib.Nifti1Image(mean, grid))
        starts[own] = matrix
        volumes = [np.ascontiguousarray(values[..., f]) for f in range(values.shape[3])]
        moved = [resample_image((v, grid), first.shape[:3], affine, matrix) for v in volumes]
        parts.append(np.stack(moved, axis=3))
    return np.asfortranarray(np.concatenate(parts, axis=3)), starts


MAX_REFINEMENT_MM = 4.0
"""A refinement that moves the brain further has lost it: the registration by mutual information stands."""


def fit(
    pet, sidecars, t1w, brain_mask, tissues, out, *, participant, session="", participants=(), fwhm_mm=5.0, start_min=2.0, psf_mm=6.0
):  # fmt: skip
    """Estimate everything about a scan that later steps apply.

    Parameters
    ----------
    pet : list of path-like
        Raw image, 3D or 4D; several where the scan is several runs of one injection, in order of time.
    sidecars : list of path-like
        Their JSON files, the least specific first.
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
        See `frames.read_frames` and `frames.join_runs`.
    """
    runs = [read_run(path, sidecars if len(pet) == 1 else applying(sidecars, path)) for path in pet]
    _, _, fields, side = runs[0]
    timing = frames.join_runs([(at, own, file) for _, at, own, file in runs])
    volumes = len(timing)
    dose = next((d for d in (frames.injected_dose(*run[2:]) for run in runs) if math.isfinite(d)), math.nan)
    weight = participant_weight(participants, participant, session)
    log.info(
        "%d frames, %.1f to %.1f min after injection", volumes, timing.start[0] / 60, timing.end[-1] / 60
    )
    affine = np.asarray(runs[0][0].affine, float)
    series, starts = aligned_runs(by_run([image for image, *_ in runs], timing), timing)
    matrices, petref, estimated = motion.estimate(
        series, affine, timing, fwhm_mm=fwhm_mm, start_min=start_min
    )
    matrices = starts @ matrices
    anatomy, mask = load(t1w), data(load(brain_mask)) > 0.5
    target = np.asarray(anatomy.affine, float)
    first, score = coregistration.to_anatomy(petref, affine, data(anatomy), target, mask)
    classes = [data(load(path)) for path in tissues]
    coreg = coregistration.refine(petref, affine, first, classes, target, psf_mm=psf_mm)
    brain = apply_affine(target, np.argwhere(mask)[::17])
    refinement = float(np.linalg.norm(apply_affine(coreg, brain) - apply_affine(first, brain), axis=1).mean())
    doubt = next(filter(None, (doubts.dose_problem(run[2], bids_uri(run[3])) for run in runs)), "")
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
    for _, own, stated, file in runs:
        warnings += plausibility.decay_fields(stated, own, bids_uri(file))
    if inside.any():
        # frames are compared where the brain lies in most of them: motion of mm does not matter here
        ijk = np.rint(apply_affine(np.linalg.inv(affine), points[inside])).astype(int)
        ijk = ijk.clip(0, np.array(petref.shape) - 1)
        warnings += plausibility.curve(series[tuple(ijk.T)].mean(axis=0, dtype=np.float64), timing)
    if inside.mean() < 0.95:
        warnings.append(f"{100 * (1 - inside.mean()):.0f} % of the brain is outside the PET field of view")
    for text in warnings:
        log.warning(text)

    source = [*pet, *sidecars]
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
