"""Curves and images of a scan corrected for partial volume."""

import logging

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import read_tsv, write_json, write_tsv
from neurobraid.images.io import data, load, save
from neurobraid.images.transforms import read_warp
from neurobraid.pet import presets, pvc, reference
from neurobraid.pet.resample import read_frame_table
from neurobraid.pet.tacs import MIN_COVERAGE, Partition, restricted, rows_of
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")

REST = ("remaining grey matter", "white matter", "CSF")
"""Regions beside those of the atlas; the background comes last."""

LEAST_SHARE = 0.02
"""A fuzzy tissue share below this is left to the others."""

MAX_CONDITION = 100.0
"""Above this noise is amplified too much: regions are too small for the point spread."""


def check_psf(psf_mm):
    """Point spread as three widths.

    Raises
    ------
    InputError
        It is missing or not three positive numbers: a correction with a wrong one is worse than none.
    """
    widths = [float(v) for v in psf_mm]
    if len(widths) == 1:
        widths *= 3
    if len(widths) != 3 or not all(np.isfinite(v) and v > 0 for v in widths):
        raise InputError(
            "config", "pet.psf_fwhm_mm", list(psf_mm) or "missing",
            "the scanner's resolution, full width at half maximum in mm: x, y, z, or one for all",
            "measure it or take it from the reconstruction's description (it is never guessed: 1 mm off is 6 to 15 % in "
            "cortex), or set pet.pvc: none",
        )  # fmt: skip
    return widths


def along_axes(psf_mm, affine):
    """Widths along the axes of a grid, in its voxels, of widths along x, y and z.

    Examples
    --------
    >>> along_axes([4, 5, 6], np.diag([-2.0, 2, 3, 1]))
    array([2. , 2.5, 2. ])
    """
    axes = np.abs(affine[:3, :3])
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    return np.array([psf_mm[int(axes[:, i].argmax())] / zooms[i] for i in range(3)])


def split(place, count, limited, tissues, fuzzy=True):
    """Regions of points: where there is none, or where a region is restricted to grey matter, tissue decides.

    Parameters
    ----------
    place : numpy.ndarray of int, (P,)
        Row of the region of each point, -1 for none.
    count : int
        Regions; those of `REST` follow.
    limited : numpy.ndarray of bool, (count,)
        Regions restricted to grey matter.
    tissues : numpy.ndarray, (3, P)
        Grey matter, white matter, CSF.
    fuzzy : bool
        Points belong to tissues by their shares; else wholly to the largest.

    Returns
    -------
    points, regions : numpy.ndarray of int
        Pairs of a point and one of its regions.
    weights : numpy.ndarray, float64
        Shares of a point sum to 1.
    """
    shares = np.asarray(tissues, np.float64).clip(0, 1)
    # the brain mask says that there is tissue: where no class is known it is CSF
    shares[2] += shares.sum(axis=0) == 0
    if fuzzy:
        shares /= shares.sum(axis=0)
        shares[shares < LEAST_SHARE] = 0
        shares /= shares.sum(axis=0)
    else:
        shares = (shares.argmax(axis=0) == np.arange(3)[:, None]).astype(float)
    known = place >= 0
    whole = known & ~np.asarray(limited, bool)[place]
    shares[:, whole] = [[1.0], [0.0], [0.0]]
    grey = np.where(known, place, count)
    points, regions, weights = [], [], []
    for row, region in zip(shares, (grey, count + 1, count + 2), strict=True):
        chosen = np.flatnonzero(row > 0)
        points.append(chosen)
        regions.append(region[chosen] if isinstance(region, np.ndarray) else np.full(len(chosen), region))
        weights.append(row[chosen])
    return np.concatenate(points), np.concatenate(regions), np.concatenate(weights)


def correct(
    pet, frames, frames_json, brain_mask, tissues, warp, atlases, morph, out, *,
    names, method, psf_mm, iterations=10, fuzzy=True, reference_regions=("cerebellum",), gm_threshold=0.5, erode=0,
    masks=(), records=(),
):  # fmt: skip
    """Write the corrected curves of all atlases and of the reference region, and the corrected image.

    Every atlas is corrected on its own: its regions, the remaining grey matter, white matter, CSF and the background. The
    reference region is a region of its own among those of the atlas it comes from (the first atlas, for a mask or a
    tissue). The image is corrected with the first atlas.

    Parameters
    ----------
    pet, frames, frames_json, brain_mask, warp, atlases
        See `tacs.extract`.
    tissues : list of path-like
        Fractions of grey matter, white matter and CSF in T1w space.
    morph : list of path-like
        Region tables that `tacs.extract` wrote: a region that is not covered has no corrected curve either.
    out : mapping
        Lists ``tacs`` and ``tacs_json`` in the order of `atlases`; paths ``reference``, ``reference_json``; for methods of
        `pvc.VOXELWISE` also lists of one, ``pet`` and ``pet_json``.
    names, reference_regions, gm_threshold, erode, masks, records
        See `tacs.extract`.
    method : str
        Of `pvc.METHODS`.
    psf_mm : list of float
        Full width at half maximum of the scanner along x, y and z (or one for all), mm.
    iterations : int
        Of iterative Yang.
    fuzzy : bool
        See `split`.

    Raises
    ------
    InputError
        No point spread, or see `tacs.extract`.
    """
    psf = check_psf(psf_mm)
    image, (timing, content) = load(pet), read_frame_table(frames, frames_json)
    affine = np.asarray(image.affine, float)
    series = data(image)
    shape = series.shape[:3]
    covered = (series != 0).any(axis=3)
    classes = [load(path) for path in tissues]
    part = Partition(shape, affine, load(brain_mask), classes[0], read_warp(warp))
    shares = np.stack([part.grey, *(part.tissue(c) for c in classes[1:])])
    tables = {name: read_tsv(table) for name, (_, table) in zip(names, atlases, strict=True)}
    labels = {}
    for name, (atlas, _) in zip(names, atlases, strict=True):
        opened = load(atlas)
        labels[name] = part.labels(data(opened, np.int32), np.asarray(opened.affine, float))
    wanted = presets.reference(reference_regions, content.get("TracerName"), records, frames_json)
    inside, atlas, described, grey = reference.locate(
        wanted, part, tables, labels, part.grey > gm_threshold, covered, [load(path) for path in masks], erode, shares[1]
    )  # fmt: skip
    fine, widths = part.fine(), along_axes(psf, affine)

    def solve(place, limited):
        points, regions, weights = split(place, len(limited), limited, shares, fuzzy)
        count = len(limited) + len(REST)
        given = pvc.build(fine[points], regions, weights, count, shape, part.factors, widths, covered)
        values = series.reshape(-1, series.shape[3])[given.voxels]
        found = pvc.correct(
            method, given, values, white=len(limited) + 1, csf=len(limited) + 2, iterations=iterations
        )
        # normal equations have the square of the condition of the masks themselves
        if found[2] > MAX_CONDITION ** (2 if method == "labbe" else 1):
            log.warning("condition number %.0f: regions are small for the point spread", found[2])
        return given, found

    notes = {
        "PartialVolumeCorrection": method,
        "PartialVolumeMethod": pvc.METHODS[method],
        "PointSpreadFWHMmm": psf,
        "Masks": "fuzzy" if fuzzy else "hard",
        "OtherRegions": [*REST, "background"],
    }
    if method == "iy":
        notes["Iterations"] = iterations
    if method == "mg":
        notes["GreyMatterLeast"] = pvc.MG_THRESHOLD
    times = {"frame_start": timing.start, "frame_end": timing.end}
    source = [pet, *tissues, warp]
    for i, name in enumerate(names):
        table = tables[name]
        given, (activity, corrected, condition) = solve(
            rows_of(labels[name], table["index"]), restricted(table)
        )
        listed = read_tsv(morph[i])
        activity[: len(table)][listed["coverage"].to_numpy() < MIN_COVERAGE] = np.nan
        write_tsv(_frame(times, dict(zip(table["name"], activity, strict=False))), out["tacs"][i])
        write_json(
            sidecar(
                "Time-activity curve of every region, corrected for partial volume, T1w space", [*source, atlases[i][0]],
                Units="kBq/mL", TimeUnits="s after injection", DecayCorrection="to injection", Segmentation=name,
                ConditionNumber=condition, MinimumCoverage=MIN_COVERAGE, **notes,
            ),
            out["tacs_json"][i],
        )  # fmt: skip
        if i == 0 and corrected is not None:
            _write_image(series, given, corrected, affine, pet, condition, name, notes, out)
        del given, corrected
    base = atlas if atlas in tables else names[0]
    place = rows_of(labels[base], tables[base]["index"])
    own = len(tables[base])
    if grey and not erode:
        # whole regions: their points with little grey matter go to other tissues, none is left behind as a sliver
        inside = np.isin(place, np.flatnonzero(tables[base]["name"].isin(described)))
    activity, _, condition = solve(np.where(inside, own, place), np.append(restricted(tables[base]), grey))[1]
    curve = activity[own]
    if not np.isfinite(curve).all():
        raise InputError(
            pet, "reference region", "too small to be corrected for partial volume", "at least half a voxel with data",
            "choose another reference region (pet.reference), a smaller erosion, or pet.pvc: none",
        )  # fmt: skip
    write_tsv(_frame(times, {"reference": curve}), out["reference"])
    write_json(
        sidecar(
            "Curve of the reference region, corrected for partial volume", [pet, warp], Units="kBq/mL",
            TimeUnits="s after injection", ReferenceRegions=described, ReferenceAtlas=atlas, ErosionVoxels=erode,
            GreyMatterThreshold=gm_threshold, ConditionNumber=condition, **notes,
        ),
        out["reference_json"],
    )  # fmt: skip


def _frame(*parts):
    import pandas as pd

    return pd.DataFrame({key: value for part in parts for key, value in part.items()})


def _write_image(series, given, corrected, affine, pet, condition, name, notes, out):
    """The corrected image; voxels that the blurred brain does not reach stay as they are."""
    image = series.copy()
    # exact zero in all frames means no data
    image.reshape(-1, series.shape[3])[given.voxels] = corrected
    save(image, affine, out["pet"][0])
    write_json(
        sidecar(
            "PET in T1w space, corrected for motion and partial volume, activity decay-corrected to injection", [pet],
            Units="kBq/mL", ConditionNumber=condition, Segmentation=name,
            OutsideFieldOfView="0 in all frames", **notes,
        ),
        out["pet_json"][0],
    )  # fmt: skip
