"""Dynamic PET scans from exact kinetics: point spread, frame noise, a head that moves between frames."""

import numpy as np
import pandas as pd

from neurobraid.files import read_tsv, write_json, write_tsv
from neurobraid.images.atlas import region_means
from neurobraid.images.io import data, load
from neurobraid.images.resample import grid_points, sample
from neurobraid.images.transforms import apply_affine, write_affines
from neurobraid.provenance import sidecar
from neurobraid.synth import plants
from neurobraid.synth.anatomy import head, head_grid, shape_of
from neurobraid.synth.design import study_design
from neurobraid.synth.geometry import (
    composed_index,
    framewise_displacement,
    random_motion,
    random_pose,
    rigid,
    scanner_grid,
)
from neurobraid.synth.kinetics import HALF_LIFE, srtm
from neurobraid.synth.volumes import save_scaled

MOTION_COLUMNS = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]

FRAME_SECONDS = np.repeat([10.0, 30.0, 60.0, 120.0, 300.0], [6, 4, 5, 1, 10])
"""26 frames, 60 min."""
PSF = 6.0
"""Full width at half maximum of the scanner in mm."""
K2_REFERENCE, K1_REFERENCE = 0.16, 0.09
LATE_NOISE = 0.08
"""Noise of one voxel of 4 mm in the last frame, relative to the activity of the reference region."""

WHITE_BPND = 0.25
"""Binding potential of the white matter between deep nuclei."""
_INSIDE_WEIGHT = np.array([1.0, 1.0, 0.35])
"""Share of the regional tissue activity in GM, WM and CSF. White matter follows the nearest grey matter: contrast
between them would be partial-volume loss, which has its own stage."""
_OUTSIDE_WEIGHT = np.array([0, 0.25, 0.35, 0.15, 0.45, 0.5, 0.1, 0.1, 0.35, 0.8], np.float32)
"""Activity outside the brain relative to the reference region, by material."""


def timing(site):
    """Clock of a site's PET scans, in s: the scan starts after the injection in both, said in two ways.

    Parameters
    ----------
    site : {'A', 'B'}
        A counts from the start of the scan, B from the injection. Both correct decay to the start of the scan.

    Returns
    -------
    dict
        PET-BIDS fields TimeZero, ScanStart, InjectionStart, FrameTimesStart, FrameDuration,
        ImageDecayCorrectionTime.
    """
    starts = np.concatenate([[0.0], np.cumsum(FRAME_SECONDS)[:-1]])
    scan, injection, zero = (0.0, -30.0, "10:30:30") if site == "A" else (20.0, 0.0, "13:05:00")
    return {
        "TimeZero": zero,
        "ScanStart": scan,
        "InjectionStart": injection,
        "FrameTimesStart": (scan + starts).tolist(),
        "FrameDuration": FRAME_SECONDS.tolist(),
        "ImageDecayCorrectionTime": scan,
    }


def frame_motion(rng):
    """Head position by frame: a few steps and a slow slide, growing over the hour.

    Returns
    -------
    numpy.ndarray, (F, 6)
        mm and rad; zero in the frame in the middle of the scan's time.
    """
    durations = FRAME_SECONDS / 60.0
    middle = np.cumsum(durations) - durations / 2
    slide = np.outer(middle / middle[-1], rng.normal(0, 1, 6) * [0.8, 1.0, 1.5, 1.5, 0.8, 0.8])
    for when in rng.uniform(8, 58, int(rng.integers(1, 4))):
        slide[middle > when] += rng.normal(0, 1, 6) * [0.5, 0.6, 1.0, 1.0, 0.5, 0.5]
    slide += random_motion(rng, len(durations), step=0.05, drift=0.1, jerks=0.0) * [1, 1, 1, 50, 50, 50]
    slide[:, 3:] *= 0.9 / 57.3
    return slide - slide[np.searchsorted(middle, middle[-1] / 2)]


def spread_labels(labels, affine, points, reach=14.0):
    """Region nearest to each point, 0 beyond `reach` mm of any region.

    Parameters
    ----------
    labels : numpy.ndarray of int, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
    points : numpy.ndarray, (N, 3)
        mm.
    reach : float

    Returns
    -------
    region : numpy.ndarray of int32, (N,)
    distance : numpy.ndarray of float32, (N,)
        To the region in mm.
    """
    from scipy.ndimage import distance_transform_edt

    distance, nearest = distance_transform_edt(labels == 0, sampling=affine[0, 0], return_indices=True)
    filled = np.where(distance <= reach, labels[tuple(nearest)], 0).astype(np.int32)
    ijk = apply_affine(np.linalg.inv(affine), points)
    return sample(filled, ijk, 0), sample(distance.astype(np.float32), ijk, 1, 99.0)


def write_pet(scan, inputs, outputs, *, size, seed):
    """Make one dynamic PET scan and its truth.

    Parameters
    ----------
    scan : str
        E.g. ``"sub-01_trc-RAC"``.
    inputs, outputs : mapping
        Paths by name. Inputs: atlas, atlas_table; outputs: image, sidecar, motion, hmc, coreg, kinetics,
        tacs, truth.
    size : {'tiny', 'demo'}
    seed : int
    """
    from scipy.ndimage import gaussian_filter

    study = study_design(size, seed)
    row = study.scan(scan, "pet")
    person = study.participant(row["participant_id"])
    atlas, table = load(inputs["atlas"]), read_tsv(inputs["atlas_table"])
    atlas_labels = data(atlas, np.int32)
    mni_from_t1w, t1w_from_mni = shape_of(size, seed, person["participant_id"])

    # what the scanner is given: activity by region and frame
    clock = timing(person["site"])
    start = (np.array(clock["FrameTimesStart"]) - clock["InjectionStart"]) / 60.0
    duration = np.array(clock["FrameDuration"]) / 60.0
    parameters = plants.binding(table, person, study.random(person["participant_id"], "binding"))
    k2_reference = K2_REFERENCE * (1 + 0.06 * study.random(scan, "k2").standard_normal())
    dose = float(np.round(380 + 25 * study.random(scan, "dose").standard_normal(), 1))
    curves = srtm(
        start,
        start + duration,
        parameters["R1"].to_numpy(),
        parameters["BPND"].to_numpy(),
        k2_reference=k2_reference,
        k1_reference=K1_REFERENCE,
    )
    reference = srtm(start, start + duration, 1.0, 0.0, k2_reference=k2_reference, k1_reference=K1_REFERENCE)
    white = srtm(
        start, start + duration, 1.0, WHITE_BPND, k2_reference=k2_reference, k1_reference=K1_REFERENCE
    )
    # Feng's input has no unit here: the reference region takes up about SUV 2 in the first minutes
    suv = dose * 1e3 / person["body_weight"]
    scale = 2.2 * suv / reference.max()
    curves, reference, white = curves * scale, reference[:, 0] * scale, white[:, 0] * scale

    # the head, and the activity map of a frame in it
    grid = study.grids["pet"]
    edge = 2.0 if grid.voxel < 5 else 3.0
    shape, affine = head_grid(edge, low=(-92.0, -126.0, -102.0))
    anatomy = head(mni_from_t1w, shape, affine)
    nearest, gap = spread_labels(atlas_labels, atlas.affine, anatomy.mni)
    inside = (_INSIDE_WEIGHT @ anatomy.fractions).astype(np.float32)
    other = (_OUTSIDE_WEIGHT[anatomy.material] * (1 - anatomy.fractions.sum(0))).astype(np.float32)
    column = np.full(int(table["index"].max()) + 1, len(table))
    column[table["index"].to_numpy()] = np.arange(len(table))
    region = column[nearest]
    # binding of deep grey matter ends where it ends; cortical binding goes on under the cortex, see _INSIDE_WEIGHT
    deep = np.append((table["structure"] == "subcortex").to_numpy(), False)
    own = np.where(deep[region], np.clip((6.0 - gap) / 3.5, 0, 1), 1.0).astype(np.float32)
    sigma = PSF / 2.355 / edge

    # pose of the scan and of each frame
    rng = study.random(scan, "pose")
    pet_from_t1w = random_pose(rng, shift=(4.0, 8.0, 8.0), turn=(4.0, 3.0, 3.0))
    center = np.round(
        apply_affine(pet_from_t1w, t1w_from_mni.apply(np.array([[0.0, -18.0, 0.0]])))[0] + [0, 0, -4.0], 1
    )
    pet_shape, pet_affine = scanner_grid(grid.shape, grid.voxel, "LAS", center=center + rng.uniform(-2, 2, 3))
    motion = frame_motion(study.random(scan, "motion"))
    poses = np.stack([rigid(p, center) for p in motion])
    voxels = grid_points(pet_shape, np.eye(4))

    noise = study.random(scan, "noise")
    half_life = HALF_LIFE["C11"]
    decay = np.exp(np.log(2) / half_life * (start + duration / 2))
    # SD of a decay-corrected frame mean: a sqrt(C e^(lambda t) / D), `a` set in the last frame
    unit = LATE_NOISE * reference[-1] / np.sqrt(reference[-1] * decay[-1] / duration[-1])
    unit *= (4.0 / grid.voxel) ** 1.5
    series = np.empty((*pet_shape, len(start)), np.float32, order="F")
    labels = sample(atlas_labels, apply_affine(np.linalg.inv(atlas.affine), anatomy.mni), 0).reshape(shape)
    true_curves = np.empty((len(start), len(table)))
    probe = np.zeros((15, 15, 15), np.float32)
    probe[7, 7, 7] = 1
    shrink = np.sqrt((gaussian_filter(probe, 0.6, truncate=2.5) ** 2).sum())
    for f in range(len(start)):
        # brain beyond the reach of any region is taken as reference tissue
        activity = np.append(curves[f], reference[f]).astype(np.float32)[region] * own
        activity += (1 - own) * np.float32(white[f])
        activity = activity * inside + np.float32(reference[f]) * other
        blurred = gaussian_filter(activity.reshape(shape), sigma)
        true_curves[f] = region_means(blurred, labels, table)[0]
        index = composed_index(affine, [np.linalg.inv(pet_from_t1w), np.linalg.inv(poses[f])], pet_affine)
        image = sample(blurred, apply_affine(index, voxels), 1).reshape(pet_shape)
        # reconstruction correlates neighbours and spreads some noise over the whole object
        deviation = unit * np.sqrt(np.maximum(image, 0.15 * image.mean()) * decay[f] / duration[f])
        grain = gaussian_filter(noise.standard_normal(pet_shape, dtype=np.float32), 0.6, truncate=2.5)
        series[..., f] = image + deviation.astype(np.float32) * grain / shrink

    # as stored: decay corrected to the start of the scan, not to the injection
    shift = (clock["ImageDecayCorrectionTime"] - clock["InjectionStart"]) / 60.0
    factor = np.exp(-np.log(2) / half_life * shift)
    series *= factor
    slope = float(np.ceil(series.max() / 3200.0) / 10.0)
    save_scaled(series, pet_affine, outputs["image"], slope=slope)
    lam = np.log(2) / half_life
    from_scan = start - start[0]
    factors = lam * duration * np.exp(lam * from_scan) / (1 - np.exp(-lam * duration))
    write_json(
        {
            "Manufacturer": "neurobraid",
            "ManufacturersModelName": f"Synth-{person['site']}",
            "Units": "Bq/mL",
            "TracerName": "raclopride-like",
            "TracerRadionuclide": "C11",
            "InjectedRadioactivity": dose,
            "InjectedRadioactivityUnits": "MBq",
            "InjectedMass": 1.5,
            "InjectedMassUnits": "ug",
            "SpecificRadioactivity": round(dose / 1.5, 2),
            "SpecificRadioactivityUnits": "MBq/ug",
            "ModeOfAdministration": "bolus",
            **clock,
            "AcquisitionMode": "dynamic",
            "ImageDecayCorrected": True,
            "DecayCorrectionFactor": factors.round(6).tolist(),
            "ReconMethodName": "simulated",
            "ReconMethodParameterLabels": ["none"],
            "ReconFilterType": "Gaussian",
            "ReconFilterSize": PSF,
            "AttenuationCorrection": "simulated, perfect",
        },
        outputs["sidecar"],
    )

    truth = parameters.copy()
    truth["k2"] = truth["R1"] * k2_reference
    truth["k2prime"] = k2_reference
    truth["network"] = plants.networks(table)
    # Distribution volume is a linear quantity, so the scanner's resolution acts on it as on activity: this is
    # what a perfect analysis without partial-volume correction finds.
    volume = np.append(1 + parameters["BPND"].to_numpy(), 1.0).astype(np.float32)[region] * own
    volume = (volume + (1 - own) * np.float32(1 + WHITE_BPND)) * inside + other
    apparent = region_means(gaussian_filter(volume.reshape(shape), sigma), labels, table)[0]
    size_of = np.bincount(labels.ravel(), minlength=len(column))[table["index"].to_numpy()]
    cerebellum = (table["structure"] == "cerebellum").to_numpy()
    nondisplaceable = np.average(apparent[cerebellum], weights=size_of[cerebellum])
    truth["BPND_psf"] = apparent / nondisplaceable - 1
    write_tsv(truth, outputs["kinetics"])
    tacs = pd.DataFrame(true_curves / 1e3, columns=table["name"].to_list())
    tacs.insert(0, "frame_start", (start * 60).round(3))
    tacs.insert(1, "frame_end", ((start + duration) * 60).round(3))
    write_tsv(tacs, outputs["tacs"])
    moved = pd.DataFrame(motion, columns=MOTION_COLUMNS)
    moved["framewise_displacement"] = framewise_displacement(motion)
    write_tsv(moved, outputs["motion"])
    write_affines(poses, outputs["hmc"])
    write_affines(pet_from_t1w, outputs["coreg"])
    write_json(
        sidecar(
            "Head motion between frames, position and kinetics of the scan",
            [outputs["image"]],
            Convention=(
                "petref is the pose with zero parameters. A point p of petref (RAS mm) lies at Rx Ry Rz"
                " (p - RotationCenter) + RotationCenter + translation in frame t; the same matrices are in the"
                " file from-orig_to-petref, one per frame. from-petref_to-T1w maps points of the T1w image to"
                " points of petref."
            ),
            RotationCenter=center.tolist(),
            Units={"trans": "mm", "rot": "rad", "tacs": "kBq/mL, decay corrected to injection"},
            PSF=PSF,
            HalfLifeMinutes=half_life,
            LateFrameVoxelNoise=LATE_NOISE,
            Kinetics=(
                "BPND, R1: planted. BPND_psf: binding potential at the resolution of the scanner, from region"
                " means of the blurred distribution volume over the true labels, reference: all cerebellar"
                " regions. tacs: region means of the blurred image, without noise and motion. Binding of deep nuclei"
                " reaches past their labels (full within 2.5 mm, gone at 6 mm): a correction for partial volume by these"
                " labels overcorrects deep regions."
            ),
        ),
        outputs["truth"],
    )
