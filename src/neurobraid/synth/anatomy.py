"""Heads: the template brain in a person's shape, inside an invented skull, scalp, face and neck.

The template in the nilearn wheel is skull-stripped. What surrounds the brain here is drawn from distances and
ellipsoids; it has the bright fat, dark bone and eyes that make brain extraction and registration non-trivial,
and makes no other anatomical claim.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from neurobraid.files import write_json
from neurobraid.images.io import save
from neurobraid.images.resample import grid_points, sample
from neurobraid.images.templates import SPACE, grid, template
from neurobraid.images.transforms import apply_affine, write_warp
from neurobraid.provenance import sidecar
from neurobraid.synth.design import study_design
from neurobraid.synth.geometry import random_deformation, scanner_grid
from neurobraid.synth.volumes import save_scaled

AIR, BONE, MARROW, FAT, MUSCLE, SKIN, EYE, LENS, FLUID, CORD = range(10)
"""Materials outside the brain."""

# Mean T1-weighted signal: outside the brain by material, inside for GM, WM, CSF (WM = 1).
_T1_OUTSIDE = np.array([0.0, 0.06, 0.55, 1.12, 0.42, 0.50, 0.14, 0.35, 0.18, 0.85], np.float32)
_T1_INSIDE = np.array([0.66, 1.0, 0.20], np.float32)

_SKULL, _SCALP = 2.8, 8.0
"""Distance from the brain (mm) at which bone begins and ends."""
_HEAD = 13.5
"""Thickness of everything between brain and air, mm."""


@dataclass(frozen=True)
class Head:
    """Tissue of a person on a grid.

    Attributes
    ----------
    shape : tuple of int
    affine : numpy.ndarray, (4, 4)
        Grid in the person's T1w space.
    mni : numpy.ndarray, (N, 3), float32
        Template coordinates of the voxels in mm.
    fractions : numpy.ndarray, (3, N), float32
        GM, WM and CSF; their sum is the part of the voxel inside the brain.
    material : numpy.ndarray, (N,), uint8
        What the rest of the voxel is: AIR, BONE, ….
    """

    shape: tuple
    affine: np.ndarray
    mni: np.ndarray
    fractions: np.ndarray
    material: np.ndarray

    def image(self, inside, outside):
        """Image of a quantity that each tissue has in full.

        Parameters
        ----------
        inside : array-like, (3,)
            Value in GM, WM, CSF.
        outside : array-like, (10,)
            Value by material.

        Returns
        -------
        numpy.ndarray, float32, shape of the grid
        """
        values = np.asarray(inside, np.float32) @ self.fractions
        values += np.asarray(outside, np.float32)[self.material] * (1 - self.fractions.sum(0))
        return values.reshape(self.shape)


@cache
def _surface_distance(step=3.0):
    """Signed distance (mm) to the closed surface of the template brain on a grid with room for a head."""
    from scipy.ndimage import distance_transform_edt

    low, high = np.array([-114.0, -152.0, -138.0]), np.array([114.0, 128.0, 112.0])
    shape = tuple(np.rint((high - low) / step).astype(int) + 1)
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = low
    coarse = template("brain", 3.0)
    ijk = apply_affine(np.linalg.inv(coarse.affine) @ affine, grid_points(shape, np.eye(4)))
    mask = sample(np.asarray(coarse.dataobj), ijk, 1).reshape(shape) > 0.5
    # closing by 12 mm: skull and scalp do not follow the fissures
    outer = distance_transform_edt(~mask, sampling=step) < 12.0
    hull = distance_transform_edt(outer, sampling=step) > 12.0
    hull |= mask
    distance = distance_transform_edt(~hull, sampling=step) - distance_transform_edt(hull, sampling=step)
    return distance.astype(np.float32), affine


def _ellipsoid(points, center, radii):
    """Approximate signed distance (mm) to an ellipsoid."""
    radii = np.asarray(radii, np.float32)
    scaled = np.sqrt((((points - np.asarray(center, np.float32)) / radii) ** 2).sum(1))
    return (scaled - 1) * radii.min()


def _blend(a, b, width):
    """Smooth union of two signed distances (mm)."""
    mix = np.clip(0.5 + 0.5 * (b - a) / width, 0, 1)
    return b + (a - b) * mix - width * mix * (1 - mix)


def _materials(points, distance):
    """Material at template coordinates outside the brain; uint8."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    mirrored = np.stack([x, y, z], 1)
    neck = np.maximum(np.hypot(x / 1.0, (y + 32) * 0.95) - 58, z + 62)
    face = _ellipsoid(mirrored, (0, 42, -66), (62, 52, 66))
    jaw = _ellipsoid(mirrored, (0, 50, -104), (40, 46, 34))
    nose = _ellipsoid(mirrored, (0, 96, -58), (15, 18, 24))
    ear = _ellipsoid(mirrored, (84, -22, -32), (6, 16, 26))
    head = _blend(distance - _HEAD, face, 18)
    head = _blend(head, jaw, 15)
    head = _blend(head, neck, 12)
    head = _blend(head, nose, 8)
    head = np.minimum(head, ear)
    out = np.full(len(points), AIR, np.uint8)
    out[head < 0] = SKIN
    out[head < -1.5] = FAT
    out[(head < -6.0) & (distance > _SCALP)] = MUSCLE
    # fat between the muscles of face and neck
    streak = np.sin(x / 5.0) + np.sin(y / 6.5 + 1.0) + np.sin(z / 7.5 + x / 9.0)
    out[(out == MUSCLE) & (streak > 1.5)] = FAT
    spine = np.hypot(x, y + 46)
    below = z < -66
    canal = below & (spine < 10)
    skull = (distance > _SKULL) & (distance <= _SCALP) & ~((z < -52) & (spine < 15)) & (head < -1.5)
    out[skull] = BONE
    out[skull & (distance > 4.4) & (distance < 6.4)] = MARROW
    vertebra = below & (z < -78) & (np.hypot(x, y + 26) < 15)
    out[vertebra] = MARROW
    out[vertebra & ((np.hypot(x, y + 26) > 12.5) | (np.mod(z, 21) < 4))] = BONE
    out[canal] = FLUID
    out[canal & (spine < 5.5)] = CORD
    out[canal & (spine > 8.5)] = BONE
    # jaw bone, mouth, airways, sinuses
    out[(np.abs(jaw + 9) < 3) & (z < -92) & (head < -4)] = MARROW
    for center, radii in (
        ((0, 62, -58), (11, 30, 18)),  # nasal cavity
        ((28, 50, -66), (12, 13, 15)),  # maxillary sinus
        ((7, 78, -22), (9, 5, 9)),  # frontal sinus
        ((0, 22, -44), (9, 10, 8)),  # sphenoid sinus
        ((0, 12, -90), (8, 7, 40)),  # airway
    ):
        out[(_ellipsoid(mirrored, center, radii) < 0) & (distance > 3.5) & (head < -3)] = AIR
    orbit = _ellipsoid(mirrored, (32, 58, -42), (16, 25, 15))
    out[(orbit < 0) & (distance > _SCALP - 3) & (head < -1.5)] = FAT
    globe = np.sqrt(((mirrored - np.array([33, 71, -42], np.float32)) ** 2).sum(1))
    out[(globe < 12.2) & (distance > 3.5)] = EYE
    out[(np.sqrt(((mirrored - np.array([33, 80, -42], np.float32)) ** 2).sum(1)) < 3.5)] = LENS
    out[distance <= _SKULL] = FLUID
    return out


def head(mni_from_t1w, shape, affine, *, resolution=1.0):
    """Fill a grid in a person's T1w space with tissue.

    Parameters
    ----------
    mni_from_t1w : Warp
    shape : tuple of int
    affine : numpy.ndarray, (4, 4)
    resolution : float
        Voxel edge of the template maps to sample, mm.

    Returns
    -------
    Head
    """
    points = mni_from_t1w.apply(grid_points(shape, affine)).astype(np.float32)
    distance, distance_affine = _surface_distance()
    near = sample(distance, apply_affine(np.linalg.inv(distance_affine), points), 1, 99.0)
    inverse = np.linalg.inv(grid(resolution)[1])
    fractions = np.zeros((3, len(points)), np.float32)
    brain = np.flatnonzero(near < _SKULL)
    ijk = apply_affine(inverse, points[brain])
    gm = sample(np.asarray(template("GM", resolution).dataobj), ijk, 1)
    wm = sample(np.asarray(template("WM", resolution).dataobj), ijk, 1)
    csf = np.clip(1 - gm - wm, 0, 1)
    # probabilities of a group are blurrier than anybody's cortex
    powers = np.stack([gm, wm, csf]) ** 2
    powers /= powers.sum(0)
    edge = np.clip((_SKULL - near[brain]) / 1.5, 0, 1)
    # the floor of the template is a cut through the brain stem: fade into the drawn cord there
    edge *= np.clip((points[brain, 2] + 72.0) / 2.0, 0, 1)
    fractions[:, brain] = powers * edge
    return Head(tuple(shape), affine, points, fractions, _materials(points, near))


def head_grid(voxel, *, low=(-92.0, -126.0, -96.0), high=(92.0, 98.0, 100.0)):
    """Grid in T1w space around the brain and what is near it, RAS."""
    low, high = np.array(low), np.array(high)
    shape = tuple(np.ceil((high - low) / voxel).astype(int) + 1)
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = low
    return shape, affine


@cache
def shape_of(size, seed, participant_id):
    """A participant's deformation, the same in every job that asks.

    Returns
    -------
    mni_from_t1w, t1w_from_mni : Warp
    """
    return random_deformation(study_design(size, seed).random(participant_id, "shape"))


def bias_field(rng, points, strength):
    """Smooth multiplicative field around 1: polynomials of second order in the coordinates (mm)."""
    p = np.asarray(points, np.float32) / 90.0
    terms = [p[:, 0], p[:, 1], p[:, 2], p[:, 0] * p[:, 1], p[:, 0] * p[:, 2], p[:, 1] * p[:, 2]]
    terms += [(p**2)[:, axis] - 0.33 for axis in range(3)]
    field = np.zeros(len(p), np.float32)
    for weight, term in zip(rng.uniform(-1, 1, len(terms)), terms, strict=True):
        field += np.float32(weight) * term
    return np.exp(strength * field / max(float(np.abs(field).std()), 1e-6))


def t1w_grid(study, participant_id):
    """Grid of a participant's T1w image; site B acquires sagittally."""
    site = study.participant(participant_id)["site"]
    rng = study.random(participant_id, "t1w-grid")
    return scanner_grid(
        study.grids["T1w"].shape,
        study.grids["T1w"].voxel,
        "RAS" if site == "A" else "PSR",
        center=np.array([0.0, -12.0, -8.0]) + rng.uniform(-1.5, 1.5, 3),
        tilt=(0, 0, 0) if site == "A" else rng.uniform(-3, 3, 3),
    )


def write_t1w(scan, outputs, *, size, seed):
    """Make one T1-weighted scan and its truth.

    Parameters
    ----------
    scan : str
        E.g. ``"sub-01"``.
    outputs : mapping
        Paths by name: image, sidecar, dseg, to_t1w, to_mni, truth.
    size : {'tiny', 'demo'}
    seed : int
    """
    study = study_design(size, seed)
    row = study.scan(scan, "T1w")
    person = study.participant(row["participant_id"])
    mni_from_t1w, t1w_from_mni = shape_of(size, seed, person["participant_id"])
    shape, affine = t1w_grid(study, person["participant_id"])
    voxel = study.grids["T1w"].voxel
    anatomy = head(mni_from_t1w, shape, affine, resolution=1.0 if voxel <= 2 else 2.0)
    rng = study.random(scan, "T1w")
    inside, outside = _T1_INSIDE.copy(), _T1_OUTSIDE.copy()
    # the sites differ in contrast, older grey matter is a little brighter
    inside[0] += (0.03 if person["site"] == "B" else 0.0) + 0.0004 * (person["age"] - 45)
    image = anatomy.image(inside, outside)
    # the template's own texture inside the brain: deep nuclei are brighter than cortex
    texture = sample(
        np.asarray(template("T1w", 2.0).dataobj), apply_affine(np.linalg.inv(grid(2.0)[1]), anatomy.mni), 1
    ).reshape(shape)
    weight = anatomy.fractions[:2].sum(0).reshape(shape)
    inner = weight > 0.5
    image += 0.25 * weight * (texture / texture[inner].mean() * image[inner].mean() - image)
    from scipy.ndimage import gaussian_filter

    image = gaussian_filter(image, 0.45)
    image *= bias_field(rng, grid_points(shape, affine), 0.10).reshape(shape)
    gain = 700.0 if person["site"] == "A" else 450.0
    image *= gain
    noise = 0.022 * gain
    image += noise * rng.standard_normal(shape, dtype=np.float32)
    image = np.hypot(image, noise * rng.standard_normal(shape, dtype=np.float32))
    save_scaled(image, affine, outputs["image"], slope=1.0)
    write_json(
        {
            "Manufacturer": "neurobraid",
            "ManufacturersModelName": f"Synth-{person['site']}",
            "MagneticFieldStrength": 3,
            "EchoTime": 0.003,
            "RepetitionTime": 2.3,
            "InversionTime": 0.9,
            "FlipAngle": 9,
            "NonlinearGradientCorrection": False,
        },
        outputs["sidecar"],
    )
    labels = np.zeros(anatomy.fractions.shape[1], np.uint8)
    brain = anatomy.fractions.sum(0) > 0.5
    labels[brain] = anatomy.fractions[:, brain].argmax(0) + 1
    save(labels.reshape(shape), affine, outputs["dseg"], dtype=np.uint8)
    write_warp(t1w_from_mni, outputs["to_mni"])
    write_warp(mni_from_t1w, outputs["to_t1w"])
    write_json(
        sidecar(
            "Tissue of the T1w image (1 GM, 2 WM, 3 CSF) and the exact correspondence with the template",
            [outputs["image"]],
            TemplateSpace=SPACE,
            NoiseSD=noise,
            WhiteMatterSignal=gain,
        ),
        outputs["truth"],
    )
