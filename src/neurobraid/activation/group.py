"""Group level: one-sample test of a contrast over participants, thresholds and clusters."""

import re

import numpy as np
import pandas as pd

from neurobraid.activation.glm import ratio, t_to_z
from neurobraid.activation.maps import STATS, UNITS, read_stack, write_maps
from neurobraid.errors import InputError
from neurobraid.files import write_json, write_tsv
from neurobraid.images.atlas import load_atlas
from neurobraid.images.series import labels_on_grid
from neurobraid.images.transforms import apply_affine
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

MIN_PARTICIPANTS = 3
PEAK_DISTANCE_MM = 8.0
PEAKS_PER_CLUSTER = 3
UNCORRECTED = 0.001

CLUSTER_COLUMNS = [
    "cluster_id", "x", "y", "z", "peak_z", "peak_effect", "cluster_size_mm3", "n_voxels", "mean_effect",
    "region", "region_overlap",
]  # fmt: skip


def one_sample(effects):
    """Test whether the mean effect differs from 0.

    Ordinary least squares with an intercept, as nilearn's ``SecondLevelModel``.

    Parameters
    ----------
    effects : numpy.ndarray, (N, ...)
        One map per participant; 0 marks a voxel without a value.

    Returns
    -------
    effect, variance, t, z : numpy.ndarray, (...)
        Mean, its sampling variance, and statistics; 0 outside the mask.
    mask : numpy.ndarray of bool, (...)
        Voxels with a value in every participant.
    """
    effects = np.asarray(effects, np.float64)
    n = len(effects)
    mask = (effects != 0).all(0)
    effect = np.where(mask, effects.mean(0), 0.0)
    variance = np.where(mask, effects.var(0, ddof=1) / n, 0.0)
    t = ratio(effect, np.sqrt(variance))
    return effect, variance, t, np.where(mask, t_to_z(t, n - 1), 0.0), mask


def fdr_threshold(z, alpha):
    """Smallest |z| that survives Benjamini-Hochberg at level `alpha`, two-sided.

    Parameters
    ----------
    z : numpy.ndarray, (V,)
    alpha : float

    Returns
    -------
    float
        Infinity if nothing survives.
    """
    from scipy.special import ndtr

    size = np.sort(np.abs(z))[::-1]
    p = 2.0 * ndtr(-size)
    passed = np.flatnonzero(p <= alpha * np.arange(1, len(p) + 1) / len(p))
    return float(size[passed[-1]]) if len(passed) else float("inf")


def two_sided_z(p):
    """Normal deviate whose two tails hold `p`."""
    from scipy.special import ndtri

    return float(-ndtri(p / 2.0))


def thresholds(z, alpha):
    """Height thresholds of a map by the usual rules, all two-sided.

    Parameters
    ----------
    z : numpy.ndarray, (V,)
        Values inside the mask.
    alpha : float
        Level of false discovery rate and family-wise error.

    Returns
    -------
    dict of str to dict
        fdr, bonferroni, uncorrected: the rule, |z| (None if nothing can reach it), surviving voxels by sign.
    """
    values = {
        "fdr": (fdr_threshold(z, alpha), f"false discovery rate {alpha:g}, Benjamini-Hochberg over voxels"),
        "bonferroni": (
            two_sided_z(alpha / max(len(z), 1)),
            f"family-wise error {alpha:g}, Bonferroni over voxels",
        ),
        "uncorrected": (two_sided_z(UNCORRECTED), f"p < {UNCORRECTED:g} per voxel, not corrected"),
    }
    return {
        name: {
            "Rule": rule,
            "Z": height if np.isfinite(height) else None,
            "VoxelsPositive": int((z >= height).sum()),
            "VoxelsNegative": int((z <= -height).sum()),
        }
        for name, (height, rule) in values.items()
    }


def _peaks(values, affine):
    """Largest local values of one cluster at least PEAK_DISTANCE_MM apart.

    Parameters
    ----------
    values : list of (float, tuple)
        Statistic and voxel index, largest first.
    """
    chosen = []
    for _, voxel in values:
        point = apply_affine(affine, np.array(voxel))
        if all(np.linalg.norm(point - other) >= PEAK_DISTANCE_MM for _, other in chosen):
            chosen.append((voxel, point))
        if len(chosen) == PEAKS_PER_CLUSTER:
            break
    return chosen


def clusters(z, affine, threshold, *, effect=None, min_voxels=1, labels=None, table=None):
    """Table of suprathreshold clusters, positive and negative.

    Voxels that share a face belong together (as in nilearn's ``get_clusters_table``).

    Parameters
    ----------
    z : numpy.ndarray, (X, Y, Z)
        Statistic map.
    affine : numpy.ndarray, (4, 4)
    threshold : float
        |z| a voxel must reach.
    effect : numpy.ndarray, (X, Y, Z), optional
        For effect columns.
    min_voxels : int
    labels : numpy.ndarray of int, (X, Y, Z), optional
        Atlas on the grid of the map.
    table : pandas.DataFrame, optional
        Its regions (index, name).

    Returns
    -------
    pandas.DataFrame
        `CLUSTER_COLUMNS`; largest cluster first within each sign, further peaks as 1a, 1b under their cluster with
        empty size columns. region: at the peak; region_overlap: ``name percent`` of the cluster's voxels.
    """
    from scipy import ndimage

    rows, number = [], 0
    edge = np.abs(np.linalg.det(affine[:3, :3]))
    names = {} if table is None else dict(zip(table["index"], table["name"], strict=True))
    for sign in (1, -1):
        over = sign * z >= threshold
        parts, count = ndimage.label(over & (z != 0))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        summit = sign * z
        local = (
            ndimage.maximum_filter(np.where(over, summit, -np.inf), footprint=np.ones((3, 3, 3))) == summit
        ) & over
        order = [c for c in range(1, count + 1) if sizes[c] >= min_voxels]
        order.sort(key=lambda c: (-sizes[c], c))
        for part in order:
            number += 1
            inside = parts == part
            # a cluster's summit may touch a higher voxel of another cluster at a corner
            top = np.unravel_index(np.argmax(np.where(inside, summit, -np.inf)), z.shape)
            spots = {top, *map(tuple, np.argwhere(inside & local))}
            ranked = sorted(
                ((float(summit[s]), tuple(map(int, s))) for s in spots), key=lambda v: (-v[0], v[1])
            )
            overlap, region_of = "n/a", {}
            if labels is not None:
                found = labels[inside]
                share = sorted(
                    ((np.mean(found == i), names[i]) for i in np.unique(found) if i in names),
                    key=lambda v: (-v[0], v[1]),
                )
                overlap = (
                    "; ".join(f"{name} {100 * part_of:.0f} %" for part_of, name in share if part_of >= 0.01)
                    or "n/a"
                )
                region_of = {voxel: names.get(int(labels[voxel]), "n/a") for _, voxel in ranked}
            for place, (voxel, point) in enumerate(_peaks(ranked, affine)):
                main = place == 0
                rows.append(
                    {
                        "cluster_id": f"{number}{'' if main else 'abcdefgh'[place - 1]}",
                        **dict(zip(("x", "y", "z"), point.round(2), strict=True)),
                        "peak_z": z[voxel],
                        "peak_effect": np.nan if effect is None else effect[voxel],
                        "cluster_size_mm3": sizes[part] * edge if main else np.nan,
                        "n_voxels": sizes[part] if main else np.nan,
                        "mean_effect": effect[inside].mean() if main and effect is not None else np.nan,
                        "region": region_of.get(voxel, "n/a"),
                        "region_overlap": overlap if main else "n/a",
                    }
                )
    return pd.DataFrame(rows, columns=CLUSTER_COLUMNS)


def participants_of(paths):
    """Participant labels from file names."""
    return [re.search(r"sub-[A-Za-z0-9]+", str(path).rsplit("/", 1)[-1])[0] for path in paths]


def estimate(
    paths,
    *,
    alpha=0.05,
    height_control="fdr",
    cluster_voxels=10,
    atlas=None,
    min_participants=MIN_PARTICIPANTS,
):
    """Test one contrast over participants.

    Parameters
    ----------
    paths : list of path-like
        Effect maps, one per participant.
    alpha, height_control, cluster_voxels
        Rule of the cluster table: fdr, bonferroni or fpr (`alpha` per voxel, uncorrected).
    atlas : tuple (path-like, path-like), optional
        Label image and table.
    min_participants : int
        With fewer the maps are empty and the summary says why.

    Returns
    -------
    maps : dict of str to numpy.ndarray, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
    table : pandas.DataFrame
        Clusters.
    summary : dict
    """
    stack, affine = read_stack(paths)
    people = participants_of(paths)
    summary = {
        "Participants": people,
        "NumberOfParticipants": len(people),
        "Alpha": alpha,
        "HeightControl": height_control,
    }
    if len(people) < max(min_participants, 2):
        reason = f"{len(people)} participant(s); a group statistic needs {min_participants}"
        log.warning("group statistic not available: %s", reason)
        empty = {stat: np.zeros(stack.shape[1:], np.float32) for stat in STATS}
        return (
            empty,
            affine,
            pd.DataFrame(columns=CLUSTER_COLUMNS),
            summary | {"Status": "unavailable", "Reason": reason},
        )
    *values, mask = one_sample(stack)
    maps = dict(zip(STATS, values, strict=True))
    if not mask.any():
        raise InputError(
            paths[0], "common voxels", "none", "maps that overlap", "check normalisation and masks"
        )
    inside = maps["z"][mask]
    found = thresholds(inside, alpha)
    height = {
        "fdr": found["fdr"]["Z"],
        "bonferroni": found["bonferroni"]["Z"],
        "fpr": two_sided_z(alpha),
    }[height_control]
    labels = listed = None
    if atlas:
        labels, own, listed = load_atlas(*atlas)
        labels = labels_on_grid(labels, own, mask.shape, affine)
    table = clusters(
        maps["z"], affine, np.inf if height is None else height, effect=maps["effect"],
        min_voxels=cluster_voxels, labels=labels, table=listed,
    )  # fmt: skip
    best = np.unravel_index(np.argmax(maps["z"]), mask.shape)
    summary |= {
        "Status": "available",
        "DegreesOfFreedom": len(people) - 1,
        "VoxelCount": int(mask.sum()),
        "VoxelsInAnyParticipant": int((stack != 0).any(0).sum()),
        "VoxelVolumeMm3": float(np.abs(np.linalg.det(affine[:3, :3]))),
        "Thresholds": found,
        "ClusterThresholdZ": height,
        "ClusterConnectivity": "faces",
        "ClusterMinVoxels": cluster_voxels,
        "ClusterCount": int(table["n_voxels"].notna().sum()),
        "MaxZ": float(maps["z"].max()),
        "MaxZAt": apply_affine(affine, np.array(best)).round(2),
        "Note": "voxels with an estimate in every participant; two-sided tests; cluster size is not tested",
    }
    return maps, affine, table, summary


def run(inputs, outputs, name, **settings):
    """Test one contrast and write maps, cluster table and summary.

    Parameters
    ----------
    inputs : object with attributes effect, atlas_image, atlas_table
        Effect maps of all participants.
    outputs : object with attributes maps, sidecar, clusters, thresholds
        Maps in the order of `maps.STATS`.
    name : str
        Name of the contrast.
    **settings
        See `estimate`.
    """
    paths = list(inputs.effect)
    maps, affine, table, summary = estimate(paths, atlas=(inputs.atlas_image, inputs.atlas_table), **settings)
    note = "One-sample test of a contrast over participants."
    write_maps({name: maps}, affine, outputs.maps)
    write_tsv(table, outputs.clusters)
    write_json(sidecar(note, paths, Contrast=name, **summary), outputs.thresholds)
    content = sidecar(
        note,
        paths,
        Contrast=name,
        Units=UNITS
        | {"variance": "sampling variance of the mean over participants, (percent signal change)^2"},
        NumberOfParticipants=len(paths),
        DegreesOfFreedom=len(paths) - 1,
    )
    write_json(content, outputs.sidecar)
    log.info("%s: %d participants, largest z %.2f", name, len(paths), float(maps["z"].max()))
