"""Regional time-activity curves in T1w space, the reference curve and the weights of frames."""

import logging

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import read_tsv, write_json, write_tsv
from neurobraid.images.io import data, load
from neurobraid.images.transforms import apply_affine, read_warp
from neurobraid.pet import presets, reference, weights
from neurobraid.pet.resample import read_frame_table
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")

MIN_COVERAGE = 0.5
GREY_STRUCTURES = reference.GREY_STRUCTURES


def subdivision(shape, affine, step_mm=2.0):
    """Points that divide every voxel evenly, so that a voxel can belong to several regions in part.

    Parameters
    ----------
    shape : tuple of int
    affine : numpy.ndarray, (4, 4)
    step_mm : float
        Largest distance of points.

    Returns
    -------
    offsets : numpy.ndarray, (S, 3)
        In voxels, symmetric about the centre.
    """
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    counts = np.maximum(np.ceil(zooms / step_mm - 0.01).astype(int), 1)
    axes = [(np.arange(n) + 0.5) / n - 0.5 for n in counts]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


class Partition:
    """Which share of which voxel belongs to a region: points in the brain, their voxels and their weight.

    Parameters
    ----------
    shape, affine
        Grid of the PET image in T1w space.
    brain : nibabel image
        Brain mask on any grid in T1w space.
    grey : nibabel image
        Grey-matter probability in T1w space.
    warp : Warp
        Points of T1w to points of template space.
    step_mm : float
        See `subdivision`.
    """

    def __init__(self, shape, affine, brain, grey, warp, step_mm=2.0):
        from neurobraid.images.resample import sample

        self.shape = tuple(shape)
        mask_volume, mask_affine = data(brain), np.asarray(brain.affine, float)
        # voxels that touch the brain's box; the points decide
        bounds = apply_affine(
            np.linalg.inv(affine), apply_affine(mask_affine, np.argwhere(mask_volume > 0.5))
        )
        low = np.clip(np.floor(bounds.min(0)).astype(int) - 1, 0, None)
        high = np.minimum(np.ceil(bounds.max(0)).astype(int) + 2, shape)
        ijk = np.stack(
            np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), -1
        )
        ijk = ijk.reshape(-1, 3)
        offsets = subdivision(shape, affine, step_mm)
        points = (ijk[:, None, :] + offsets).reshape(-1, 3)
        voxel = np.repeat(np.ravel_multi_index(tuple(ijk.T), self.shape), len(offsets))
        world = apply_affine(affine, points)
        inside = sample(mask_volume, apply_affine(np.linalg.inv(mask_affine), world), 1) >= 0.5
        world, self.voxel, self.ijk = world[inside], voxel[inside], points[inside]
        self.world = world
        self.grey = self.tissue(grey)
        self.template = warp.apply(world)
        self.point_mm3 = float(abs(np.linalg.det(affine[:3, :3]))) / len(offsets)
        self.points_per_voxel = len(offsets)
        self.factors = tuple(len(np.unique(offsets[:, axis])) for axis in range(3))

    def tissue(self, image):
        """Value of a tissue image in T1w space at every point (linear)."""
        from neurobraid.images.resample import sample

        return sample(
            data(image), apply_affine(np.linalg.inv(np.asarray(image.affine, float)), self.world), 1
        )

    def fine(self):
        """Place of every point on the grid that divides each voxel by `factors`, (P, 3) int."""
        counts = np.array(self.factors)
        return np.rint((self.ijk + 0.5) * counts - 0.5).astype(np.int64)

    def labels(self, labels, affine):
        """Label of the atlas at every point (nearest neighbour), 0 outside."""
        from neurobraid.images.resample import sample

        return sample(labels, apply_affine(np.linalg.inv(affine), self.template), 0)

    def brain(self):
        """Voxels at least half of whose points are in the brain, as a mask on the grid."""
        count = np.bincount(self.voxel, minlength=int(np.prod(self.shape)))
        return (2 * count >= self.points_per_voxel).reshape(self.shape)


def region_curves(series, covered, part, place, count):
    """Means over the points of regions.

    Where a voxel holds several points, activity at the points comes from the cubic spline through the voxels: taking
    the voxel's value for all of them would blur by its edge length (at 4 mm, 1.3 % of striatal binding potentials).

    Parameters
    ----------
    series : numpy.ndarray, (X, Y, Z, F), float32
    covered : numpy.ndarray of bool, (X, Y, Z)
        Voxels with data.
    part : Partition
    place : numpy.ndarray of int, (P,)
        Row of the region of each point, -1 for none.
    count : int
        Number of regions.

    Returns
    -------
    curves : numpy.ndarray, (count, F), float64
        NaN where less than `MIN_COVERAGE` of a region is covered.
    points : numpy.ndarray, (count,)
        Points of each region, covered or not.
    coverage : numpy.ndarray, (count,)
    """
    from neurobraid.images.resample import sample

    known = np.flatnonzero(place >= 0)
    points = np.bincount(place[known], minlength=count).astype(float)
    seen = known[covered.ravel()[part.voxel[known]]]
    rows = place[seen]
    found = np.bincount(rows, minlength=count)
    curves = np.empty((count, series.shape[3]))
    for frame in range(series.shape[3]):
        volume = np.ascontiguousarray(series[..., frame])
        if part.points_per_voxel == 1:
            values = volume.ravel()[part.voxel[seen]]
        else:
            values = sample(volume, part.ijk[seen], 3)
        curves[:, frame] = np.bincount(rows, values.astype(np.float64), count)
    with np.errstate(invalid="ignore", divide="ignore"):
        coverage = np.where(points > 0, found / points, 0.0)
        curves /= found[:, None]
    curves[coverage < MIN_COVERAGE] = np.nan
    return curves, points, coverage


def rows_of(labels, index):
    """Row in `index` of every label, -1 for labels that are not in it."""
    index = np.asarray(index, dtype=np.int64)
    order = np.argsort(index)
    place = np.searchsorted(index[order], labels).clip(0, len(index) - 1)
    return np.where(index[order][place] == labels, order[place], -1)


def restricted(table):
    """Regions of an atlas that are restricted to grey matter, (R,) bool; see `GREY_STRUCTURES`."""
    if "structure" not in table:
        return np.zeros(len(table), bool)
    return table["structure"].astype(str).isin(GREY_STRUCTURES).to_numpy()


def _opened(path):
    image = load(path)
    return data(image, np.int32), np.asarray(image.affine, float)


def extract(
    pet, frames, frames_json, brain_mask, grey, warp, atlases, out, *,
    names, reference_regions=("cerebellum",), gm_threshold=0.5, erode=0, weighting="decay_counts", masks=(), white=None,
    records=(),
):  # fmt: skip
    """Write the curves of all atlases, of the reference region and of the brain.

    Parameters
    ----------
    pet : path-like
        Scan in T1w space.
    frames, frames_json : path-like
        Frame table.
    brain_mask, grey : path-like
        Brain mask and grey-matter probability in T1w space.
    warp : path-like
        ``from-MNI…_to-T1w``: points of T1w to points of the template.
    atlases : list of (image, table)
        Label images in template space and their tables.
    out : mapping
        Paths ``tacs``, ``tacs_json``, ``morph`` (lists in the order of `atlases`), ``reference``, ``reference_json``,
        ``weights``.
    names : list of str
        Atlas names.
    reference_regions : list of str
        See `reference.locate`; ``["auto"]`` is the tracer's, see `presets`.
    gm_threshold : float
        Grey-matter probability a point needs in cortical and cerebellar regions.
    erode : int
        Voxels (of the PET grid) to erode the reference region by.
    weighting : str
        See `weights.from_name`.
    masks : list of path-like
        The reference mask as a file, when it is one.
    white : path-like, optional
        White-matter probability in T1w space, for reference regions of tissue.
    records : list of dict
        The study's own tracer presets; see `presets.find`.

    Raises
    ------
    InputError
        No such reference region, or none of it in the field of view.
    """
    image, (timing, content) = load(pet), read_frame_table(frames, frames_json)
    affine = np.asarray(image.affine, float)
    series = data(image)
    shape = series.shape[:3]
    covered = (series != 0).any(axis=3)
    part = Partition(shape, affine, load(brain_mask), load(grey), read_warp(warp))
    tables = {name: read_tsv(table) for name, (_, table) in zip(names, atlases, strict=True)}
    labels = {name: part.labels(*_opened(atlas)) for name, (atlas, _) in zip(names, atlases, strict=True)}
    grey_enough = part.grey > gm_threshold
    for i, (name, (atlas, _)) in enumerate(zip(names, atlases, strict=True)):
        table = tables[name]
        place = rows_of(labels[name], table["index"])
        place = np.where((place >= 0) & restricted(table)[place] & ~grey_enough, -1, place)
        curves, points, coverage = region_curves(series, covered, part, place, len(table))
        _write_tacs(
            out,
            i,
            name,
            table,
            timing,
            curves,
            points * part.point_mm3,
            coverage,
            [pet, atlas, warp],
            gm_threshold,
        )

    wanted = presets.reference(reference_regions, content.get("TracerName"), records, frames_json)
    inside, atlas, description, grey_only = reference.locate(
        wanted, part, tables, labels, grey_enough, covered, [load(path) for path in masks], erode,
        part.tissue(load(white)) if white is not None else None,
    )  # fmt: skip
    curves, points, coverage = region_curves(series, covered, part, np.where(inside, 0, -1), 1)
    if not np.isfinite(curves).all():
        raise InputError(
            pet, "reference region", f"{100 * coverage[0]:.0f} % inside the field of view", "at least 50 %",
            "choose another reference region (pet.reference), or exclude the scan",
        )  # fmt: skip
    times = {"frame_start": timing.start, "frame_end": timing.end}
    write_tsv(_frame(times, {"reference": curves[0]}), out["reference"])
    write_json(
        sidecar(
            "Curve of the reference region",
            [pet, warp],
            Units="kBq/mL",
            TimeUnits="s after injection",
            ReferenceRegions=description,
            ReferenceAtlas=atlas,
            GreyMatterThreshold=gm_threshold,
            RestrictedToGreyMatter=grey_only,
            ErosionVoxels=erode,
            VolumeMm3=points[0] * part.point_mm3,
            Coverage=coverage[0],
            PartialVolumeCorrection="none",
        ),
        out["reference_json"],
    )
    brain = part.brain() & covered
    mean = series[brain].mean(axis=0, dtype=np.float64)
    values = weights.from_name(weighting, timing, mean)
    write_tsv(_frame(times, {"brain": mean, "weight": values}), out["weights"])


def _frame(*parts):
    import pandas as pd

    return pd.DataFrame({key: value for part in parts for key, value in part.items()})


def _write_tacs(out, i, name, table, timing, curves, volume, coverage, sources, threshold):
    regions = dict(zip(table["name"], curves, strict=True))
    write_tsv(_frame({"frame_start": timing.start, "frame_end": timing.end}, regions), out["tacs"][i])
    write_json(
        sidecar(
            "Mean time-activity curve of every region, T1w space",
            sources,
            Units="kBq/mL",
            TimeUnits="s after injection",
            DecayCorrection="to injection",
            Segmentation=name,
            GreyMatterThreshold=threshold,
            GreyMatterStructures=GREY_STRUCTURES,
            MinimumCoverage=MIN_COVERAGE,
            PartialVolumeCorrection="none",
        ),
        out["tacs_json"][i],
    )
    morph = table[["index", "name"]].assign(volume_mm3=volume, coverage=coverage)
    write_tsv(morph, out["morph"][i])
    if (coverage < MIN_COVERAGE).any():
        log.warning("%d regions of %s have no curve", int((coverage < MIN_COVERAGE).sum()), name)
