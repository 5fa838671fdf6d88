"""Semi-synthetic dynamic PET: measured time-activity curves painted on a measured head.

Public recordings hold raw dynamic PET with a T1w image of the same head only rarely, and never with kinetics that are
known. Here the anatomy is a real T1w image, cut into regions and tissues by the anatomical stage, and the kinetics are
real curves (of another person, or simulated by another program). Everything between the two is simulated and known: point
spread, noise, head motion, position, decay, units. What an analysis of the raw scan gives for a region is to be compared
with what the same model gives for the curve painted on it.
"""

from dataclasses import dataclass

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import read_tsv, write_json, write_tsv
from neurobraid.images.io import data, load
from neurobraid.images.resample import grid_points, resample_image, sample, spline_coefficients
from neurobraid.images.transforms import apply_affine, read_warp, write_affines
from neurobraid.provenance import sidecar
from neurobraid.synth.geometry import composed_index, rigid, rotation, scanner_grid
from neurobraid.synth.kinetics import HALF_LIFE
from neurobraid.synth.volumes import save_scaled

OTHER = ("grey matter", "white matter", "CSF", "soft tissue", "skull")
"""Columns of a table of curves beside those of the atlas: the rest of the brain, and the head around it. Air has none."""

WHOLE = ("subcortex",)
"""Structures painted whole; the curve of any other region fills its share of grey matter. T1w contrast takes much of deep
nuclei for white matter."""

SKULL_MM = 12.0
"""What is dark outside the brain is skull so near to it, else air."""

TRUNCATE = 5.0
"""Half width of the point spread in standard deviations."""

GRAIN = 0.6
"""Correlation of the noise: sigma of a Gaussian in voxels."""


@dataclass(frozen=True)
class Head:
    """What every voxel of a head is made of.

    Attributes
    ----------
    affine : numpy.ndarray, (4, 4)
        In the space of the T1w image.
    names : tuple of str
        Regions of the atlas, then `OTHER`.
    grey, beyond : numpy.ndarray of int16, (X, Y, Z)
        Place in `names` of the grey matter of a voxel and of what lies outside the brain (one past the end is air).
    shares : numpy.ndarray of float32, (3, X, Y, Z)
        Grey matter, white matter and CSF, summing to 1 in the brain and to 0 outside.
    """

    affine: np.ndarray
    names: tuple
    grey: np.ndarray
    beyond: np.ndarray
    shares: np.ndarray

    def activity(self, values):
        """Activity of every voxel, (X, Y, Z) float32, from one value per name."""
        values = np.append(np.asarray(values, float), 0.0).astype(np.float32)
        white, csf = (values[self.names.index(name)] for name in ("white matter", "CSF"))
        out = values[self.grey] * self.shares[0]
        out += white * self.shares[1]
        out += csf * self.shares[2]
        return np.where(self.shares.any(axis=0), out, values[self.beyond])


def read_head(t1w, brain_mask, tissues, warp, atlas, table, *, step_mm=1.0):
    """Regions and tissues of a head from the outputs of the anatomical stage.

    Parameters
    ----------
    t1w, brain_mask : path-like
        Preprocessed T1w image and its brain mask, on one grid.
    tissues : sequence of path-like
        Fractions of grey matter, white matter and CSF on that grid.
    warp : path-like
        ``from-MNI…_to-T1w``: points of T1w to points of the template.
    atlas, table : path-like
        Label image in template space and its table (``index``, ``name``, ``structure``).
    step_mm : float
        Largest voxel edge of the head; a coarser T1w image is divided (fractions between its voxels are linear, which is
        what an analysis will assume).

    Returns
    -------
    Head
        Tissues are as in `neurobraid.pet.correction.split`: what the segmentation says, except in `WHOLE` structures.
    """
    from scipy.ndimage import distance_transform_edt

    image, regions, labels = load(t1w), read_tsv(table), load(atlas)
    coarse = np.asarray(image.affine, float)
    factor = np.ceil(np.linalg.norm(coarse[:3, :3], axis=0) / step_mm - 0.01).astype(int)
    affine, shape = coarse.copy(), tuple(np.array(image.shape[:3]) * factor)
    affine[:3, :3] = coarse[:3, :3] / factor
    affine[:3, 3] += coarse[:3, :3] @ (0.5 / factor - 0.5)

    def fine(path):
        volume = load(path)
        values = data(volume, np.float32)
        if (factor == 1).all():
            return values
        return resample_image((values, np.asarray(volume.affine, float)), shape, affine)

    values, brain = fine(t1w), fine(brain_mask) >= 0.5
    shares = np.stack([fine(path) for path in tissues]).clip(0, 1) * brain
    shares[2] += brain & (shares.sum(axis=0) == 0)
    shares /= np.maximum(shares.sum(axis=0), 1e-6)

    column = np.full(int(regions["index"].max()) + 2, len(regions), np.int16)
    column[regions["index"]] = np.arange(len(regions))
    grey = np.full(brain.shape, len(regions), np.int16)
    points = read_warp(warp).apply(grid_points(brain.shape, affine, brain))
    found = sample(data(labels, np.int32), apply_affine(np.linalg.inv(labels.affine), points), 0)
    grey[brain] = column[found]
    whole = np.append(regions["structure"].isin(WHOLE).to_numpy(), [False] * len(OTHER))
    deep = whole[grey] & brain
    shares[0][deep], shares[1][deep], shares[2][deep] = 1.0, 0.0, 0.0

    names = (*regions["name"], *OTHER)
    bright = values > 0.25 * np.median(values[shares[1] > 0.5])
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    near = distance_transform_edt(~brain, sampling=zooms) <= SKULL_MM
    dark = np.where(near, names.index("skull"), len(names))
    beyond = np.where(bright, names.index("soft tissue"), dark).astype(np.int16)
    return Head(affine, names, grey, beyond, shares.astype(np.float32))


def random_poses(rng, start, end, center, *, still_s=120.0, mm=1.5, degrees=1.2):
    """Head position by frame: at rest for the first minutes, then a slow slide and three steps.

    Parameters
    ----------
    rng : numpy.random.Generator
    start, end : numpy.ndarray, (F,)
        Frames, s after injection.
    center : numpy.ndarray, (3,)
        Point that rotations leave in place, mm.
    still_s : float
        Time until which the head does not move, s.
    mm, degrees : float
        SD of the slide's end and of a step, per axis.

    Returns
    -------
    numpy.ndarray, (F, 4, 4)
        Points of the head at rest to points of the frame.
    """
    scale = np.repeat([mm, np.deg2rad(degrees)], 3)
    middle = (start + end) / 2
    share = ((middle - still_s) / (middle[-1] - still_s)).clip(0)
    moved = np.outer(share, rng.normal(0, 1, 6) * scale)
    for when in rng.uniform(still_s, end[-1], 3):
        moved[middle > when] += rng.normal(0, 0.6, 6) * scale
    return np.stack([rigid(row, center) for row in moved])


def frame_image(blurred, affine, pose, pet_from_t1w, shape, pet_affine):
    """One frame as the scanner sees it: the blurred head at its position, on the scanner's grid (cubic spline)."""
    index = composed_index(affine, [np.linalg.inv(pet_from_t1w), np.linalg.inv(pose)], pet_affine)
    voxels = apply_affine(index, grid_points(shape, np.eye(4)))
    values = sample(spline_coefficients(blurred), voxels, 3, prefiltered=True)
    return values.reshape(shape)


def decay_factors(start, duration, half_life_min):
    """Activity at injection over the mean activity during frames, (F,); `start` and `duration` in s after injection."""
    rate = np.log(2) / (60.0 * half_life_min)
    return rate * duration * np.exp(rate * start) / (1 - np.exp(-rate * duration))


def write_scan(
    head, curves, out, *, tracer, psf_mm=5.0, voxel_mm=2.5, extent_mm=(220.0, 260.0, 200.0), noise=0.1, corrected=True,
    dose_mbq=400.0, shift_mm=(6.0, -7.0, 8.0), turn_deg=(4.0, -3.0, 3.0), seed=0, nuclide="C11",
):  # fmt: skip
    """Make a raw PET-BIDS scan of a head and its truth.

    Parameters
    ----------
    head : Head
    curves : pandas.DataFrame, (F, 2 + R)
        ``frame_start``, ``frame_end`` (s after injection) and a column per name of the head: kBq/mL, decay-corrected to
        injection.
    out : mapping
        Paths ``image``, ``sidecar``; of the truth ``hmc`` (one matrix per frame), ``coreg``, ``tacs``, ``truth``.
    tracer : str
        ``TracerName`` of the sidecar.
    psf_mm : float
        Full width at half maximum of the point spread, mm.
    voxel_mm : float
    extent_mm : sequence of float
        Field of view along x, y and z.
    noise : float
        Standard deviation of a voxel of the last frame, over the mean activity of grey matter in it; the other frames
        follow counts: ``SD = a sqrt(C exp(lambda t) / D)`` for a decay-corrected frame mean C.
    corrected : bool
        The image is corrected for decay to the start of the scan, which is TimeZero; else it is not corrected and
        TimeZero is the injection.
    dose_mbq : float
        Injected activity.
    shift_mm, turn_deg : sequence of float
        Position of the head at rest in the scanner, against its position in the T1w image.
    seed : int
    nuclide : str
        Of `kinetics.HALF_LIFE`.

    Raises
    ------
    InputError
        A name of the head has no curve.
    """
    from scipy.ndimage import gaussian_filter

    missing = [name for name in head.names if name not in curves]
    if missing:
        allowed = "a column per region of the atlas and for " + ", ".join(OTHER)
        raise InputError("table of curves", "columns", f"no {', '.join(missing[:5])}", allowed, "add them")
    start, end = (curves[f"frame_{side}"].to_numpy(float) for side in ("start", "end"))
    values, duration = curves[list(head.names)].to_numpy(float), end - start
    half_life = HALF_LIFE[nuclide]
    decay = np.exp(np.log(2) / (60 * half_life) * (start + end) / 2)

    brain = head.shares.any(axis=0)
    middle = apply_affine(head.affine, np.argwhere(brain).mean(axis=0))
    rng = np.random.default_rng(seed)
    pet_from_t1w = np.eye(4)
    pet_from_t1w[:3, :3] = rotation(np.deg2rad(turn_deg))
    pet_from_t1w[:3, 3] = middle + shift_mm - pet_from_t1w[:3, :3] @ middle
    # the bed is placed so that the brain lies in the field of view, not exactly in its middle
    center = np.round(middle + shift_mm + rng.uniform(-3, 3, 3), 1)
    shape, affine = scanner_grid([round(mm / voxel_mm) for mm in extent_mm], voxel_mm, "LAS", center=center)
    poses = random_poses(rng, start, end, center)

    zooms = np.linalg.norm(head.affine[:3, :3], axis=0)
    sigma = psf_mm / (2 * np.sqrt(2 * np.log(2))) / zooms
    grey = values[-1][head.grey[head.shares[0] > 0.5]].mean()
    unit = noise * grey / np.sqrt(grey * decay[-1] / duration[-1])
    series = np.empty((*shape, len(values)), np.float32, order="F")
    for f in range(len(values)):
        blurred = gaussian_filter(head.activity(values[f]), sigma, mode="constant", truncate=TRUNCATE)
        image = frame_image(blurred, head.affine, poses[f], pet_from_t1w, shape, affine)
        # reconstruction correlates neighbours and spreads some noise over the whole field of view
        deviation = unit * np.sqrt(np.maximum(image, 0.15 * max(image.mean(), 0)) * decay[f] / duration[f])
        grain = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), GRAIN)
        series[..., f] = image + deviation.astype(np.float32) * (grain / grain.std())

    zero = start[0] if corrected else 0.0
    factors = decay_factors(start - zero, duration, half_life)
    if corrected:
        series *= np.float32(np.exp(-np.log(2) / (60 * half_life) * zero))
    else:
        series /= factors.astype(np.float32)
    series *= np.float32(1e3)
    save_scaled(series, affine, out["image"], slope=float(np.abs(series).max() / 32000))
    write_json(
        {
            "Manufacturer": "neurobraid",
            "ManufacturersModelName": "semi-synthetic",
            "Units": "Bq/mL",
            "TracerName": tracer,
            "TracerRadionuclide": nuclide,
            "InjectedRadioactivity": dose_mbq,
            "InjectedRadioactivityUnits": "MBq",
            "InjectedMass": "n/a",
            "InjectedMassUnits": "n/a",
            "SpecificRadioactivity": "n/a",
            "SpecificRadioactivityUnits": "n/a",
            "ModeOfAdministration": "bolus",
            "TimeZero": "10:00:00",
            "ScanStart": start[0] - zero,
            "InjectionStart": -zero,
            "FrameTimesStart": start - zero,
            "FrameDuration": duration,
            "AcquisitionMode": "dynamic",
            "ImageDecayCorrected": corrected,
            "ImageDecayCorrectionTime": 0.0,
            "DecayCorrectionFactor": factors.round(6) if corrected else np.ones(len(start)),
            "ReconMethodName": "simulated",
            "ReconMethodParameterLabels": ["none"],
            "ReconFilterType": "Gaussian",
            "ReconFilterSize": psf_mm,
            "AttenuationCorrection": "simulated, perfect",
        },
        out["sidecar"],
    )
    write_affines(poses, out["hmc"])
    write_affines(pet_from_t1w, out["coreg"])
    write_tsv(curves, out["tacs"])
    write_json(
        sidecar(
            "What a semi-synthetic scan was made of",
            [out["image"]],
            Convention=(
                "petref is the head at rest; the matrices of from-orig_to-petref take its points to those of the frames,"
                " that of from-petref_to-T1w takes points of the T1w image to points of petref (RAS mm)."
            ),
            PointSpreadFWHMmm=psf_mm,
            HalfLifeMinutes=half_life,
            LateFrameVoxelNoise=noise,
            NoiseCorrelationVoxels=GRAIN,
            Units={"tacs": "kBq/mL, decay corrected to injection"},
            Seed=seed,
        ),
        out["truth"],
    )
