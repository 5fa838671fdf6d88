"""Group models beyond the mean: groups, covariates, F tests, least squares or mixed effects; and the group's region table."""

import numpy as np
import pandas as pd

from neurobraid.activation import mixed
from neurobraid.activation.fixed import NO_SESSION
from neurobraid.activation.glm import ratio, t_to_z
from neurobraid.activation.group import CLUSTER_COLUMNS, clusters, participants_of, thresholds, two_sided_z
from neurobraid.activation.groupdesign import build, read_participants
from neurobraid.activation.maps import F_STATS, F_UNITS, STATS, UNITS, read_stack, triangle, write_maps
from neurobraid.activation.statsmodel import joined
from neurobraid.errors import InputError
from neurobraid.files import read_tsv, write_json, write_tsv
from neurobraid.images.atlas import load_atlas
from neurobraid.images.series import labels_on_grid
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

ESTIMATOR_NOTES = {
    "ols": "ordinary least squares over participants",
    "mixed": "mixed effects with first-level variances: restricted maximum likelihood (Viechtbauer 2005; Chen et al. 2012), "
    "standard errors of Knapp and Hartung (2003), never below those of the weights (Röver et al. 2015)",
}


def fit(design, effects, variances):
    """Estimate a group design.

    Parameters
    ----------
    design : groupdesign.GroupDesign
    effects, variances : numpy.ndarray, (N, V)
        In the order of the design's participants.

    Returns
    -------
    mixed.Estimates
    """
    matrix = design.matrix.to_numpy()
    if design.estimator == "mixed":
        return mixed.mixed(effects, variances, matrix)
    return mixed.ordinary(effects, matrix)


def estimate(node, participants, effect_paths, variance_paths, *, file="participants.tsv", without=()):
    """Estimate one contrast of participants under a dataset node.

    Parameters
    ----------
    node : dict
        Dataset node.
    participants : pandas.DataFrame
        From `groupdesign.read_participants`.
    effect_paths, variance_paths : list of path-like
        One per participant.
    file : str
        Named in errors.
    without : iterable of (str, str)
        Participants without estimates, with the reason.

    Returns
    -------
    maps : dict of str to dict of str to numpy.ndarray
        By contrast of the node; statistics as in `maps.STATS` or `maps.F_STATS`.
    affine : numpy.ndarray, (4, 4)
    design : groupdesign.GroupDesign
    counts : dict
        Voxels analysed, in anyone, and per participant.
    """
    people = participants_of(effect_paths)
    design = build(node, participants, people, file=file, without=without)
    order = [people.index(person) for person in design.matrix.index]
    effects, affine = read_stack([effect_paths[k] for k in order])
    variances, _ = read_stack([variance_paths[k] for k in order])
    valid = (effects != 0) & (variances > 0)
    mask = valid.all(0)
    if not mask.any():
        raise InputError(
            effect_paths[0], "common voxels", "none", "maps that overlap", "check normalisation and masks"
        )
    fitted = fit(design, effects[:, mask], variances[:, mask])

    def volume(flat):
        out = np.zeros((*mask.shape, *flat.shape[:-1]), np.float32)
        out[mask] = np.moveaxis(flat, -1, 0)
        return out

    maps = {}
    for contrast in design.contrasts:
        if contrast["test"] == "t":
            values = dict(zip(STATS, fitted.t_contrast(contrast["rows"]), strict=True))
        else:
            effect, covariance, f, z = fitted.f_contrast(contrast["rows"])
            values = dict(zip(F_STATS, (effect, triangle(covariance), f, z), strict=True))
        maps[contrast["name"]] = {stat: volume(flat) for stat, flat in values.items()}
    counts = {
        "VoxelCount": int(mask.sum()),
        "VoxelsInAnyParticipant": int(valid.any(0).sum()),
        "VoxelsByParticipant": dict(
            zip(design.matrix.index, valid.reshape(len(valid), -1).sum(1).tolist(), strict=True)
        ),
        "DegreesOfFreedom": fitted.dof,
        "MedianVarianceBetween": float(np.median(fitted.between)),
    }
    return maps, affine, design, counts


def run(
    node,
    contrasts,
    inputs,
    outputs,
    *,
    without=None,
    alpha=0.05,
    height_control="fdr",
    cluster_voxels=10,
    **_,
):
    """Estimate a dataset node for every contrast of participants and write maps, clusters, design and summary.

    Parameters
    ----------
    node : dict
    contrasts : list of str
        Contrasts of participants.
    inputs : mapping with effect_<contrast>, variance_<contrast>, participants, atlas_image, atlas_table
    outputs : object with attributes maps, sidecars, clusters, design, summary
        Lists in the order contrast of participants, then contrast of the node.
    without : dict of str to list of (str, str)
        By contrast of participants: who lacks it, with the reason.
    alpha, height_control, cluster_voxels
        See `group.estimate`.
    """
    given = inputs["participants"]
    path = given if isinstance(given, str) else next(iter(given), None)
    table = read_participants(path) if path else pd.DataFrame()
    labels, own, listed = load_atlas(inputs["atlas_image"], inputs["atlas_table"])
    every, tables, notes, summary = {}, [], [], {}
    for name in contrasts:
        paths = list(inputs[f"effect_{name}"])
        maps, affine, design, counts = estimate(
            node, table, paths, list(inputs[f"variance_{name}"]), without=(without or {}).get(name, ())
        )
        shared = {
            "Design": node["Name"],
            "Estimator": design.estimator,
            "EstimatorNote": ESTIMATOR_NOTES[design.estimator],
            "Participants": list(design.matrix.index),
            "Missing": design.missing,
            "GroupSizes": design.sizes or None,
            "DegreesOfFreedom": counts["DegreesOfFreedom"],
        }
        for contrast in design.contrasts:
            full = joined(name, contrast["name"])
            values = maps[contrast["name"]]
            every[full] = values
            inside = values["z"][values["effect"].reshape(*values["z"].shape, -1).any(-1)]
            found = thresholds(inside, alpha)
            height = found[height_control]["Z"] if height_control in found else two_sided_z(alpha)
            grid = labels_on_grid(labels, own, values["z"].shape, affine)
            effect = values["effect"] if contrast["test"] == "t" else None
            tables.append(
                clusters(
                    values["z"], affine, np.inf if height is None else height, effect=effect,
                    min_voxels=cluster_voxels, labels=grid, table=listed,
                )
                if len(inside)
                else pd.DataFrame(columns=CLUSTER_COLUMNS)
            )  # fmt: skip
            weights = [dict(zip(design.matrix, row, strict=True)) for row in contrast["rows"]]
            notes.append(
                sidecar(
                    "Contrast of a group design.", paths, Contrast=full, Test=contrast["test"],
                    Weights=weights[0] if contrast["test"] == "t" else weights,
                    Units=UNITS if contrast["test"] == "t" else F_UNITS, Thresholds=found, ClusterThresholdZ=height,
                    **shared,
                )
            )  # fmt: skip
            log.info("%s, %s: %d participants, largest z %.2f", node["Name"], full, len(design.matrix),
                     float(values["z"].max()))  # fmt: skip
        summary[name] = shared | counts
        for row in design.missing:
            log.warning("%s is not in design %s: %s", row["participant_id"], node["Name"], row["reason"])
    write_maps(every, affine, outputs.maps)
    for content, place in zip(notes, outputs.sidecars, strict=True):
        write_json(content, place)
    for content, place in zip(tables, outputs.clusters, strict=True):
        write_tsv(content, place)
    write_tsv(design.matrix, outputs.design, index=True)
    write_json(
        sidecar("Group design: who is in it, who is not and why.", (), Contrasts=summary), outputs.summary
    )


REGION_COLUMNS = [
    "index", "name", "hemisphere", "contrast", "n_participants", "effect", "sd", "se", "t", "z", "coverage", "tsnr",
    "n_missing",
]  # fmt: skip


def region_table(paths, *, min_participants=3):
    """Effects of regions over participants.

    Parameters
    ----------
    paths : list of path-like
        Region tables of participants (`fixed.combine_regions`).
    min_participants : int
        With fewer values a region has no statistic.

    Returns
    -------
    pandas.DataFrame
        `REGION_COLUMNS`: mean percent signal change, its standard deviation and error over participants, t and z (one-sample,
        two-sided), mean coverage and temporal signal-to-noise ratio, participants without an estimate.
    """
    keys = ["index", "name", "hemisphere", "contrast"]
    tables = [read_tsv(path, text=["contrast"]) for path in paths]
    first = tables[0][keys]
    aligned = [first.merge(t, on=keys, how="left", validate="one_to_one") for t in tables]
    stacked = {
        c: np.stack([t[c].to_numpy(np.float64) if c in t else np.full(len(first), np.nan) for t in aligned])
        for c in ("effect", "coverage", "tsnr")
    }
    effect = stacked["effect"]
    count = np.isfinite(effect).sum(0)
    enough = count >= max(min_participants, 2)
    mean = np.where(count > 0, np.nansum(effect, 0) / np.maximum(count, 1), np.nan)
    spread = np.sqrt(np.nansum((effect - mean) ** 2, 0) / np.maximum(count - 1, 1))
    error = spread / np.sqrt(np.maximum(count, 1))
    t = ratio(np.nan_to_num(mean), error)
    out = first.copy()
    out["n_participants"] = count
    out["effect"] = mean
    for name, values in (("sd", spread), ("se", error), ("t", t), ("z", t_to_z(t, np.maximum(count - 1, 1)))):
        out[name] = np.where(enough, values, np.nan)
    for name in ("coverage", "tsnr"):
        seen = np.isfinite(stacked[name]).sum(0)
        out[name] = np.where(seen > 0, np.nansum(stacked[name], 0) / np.maximum(seen, 1), np.nan)
    out["n_missing"] = len(paths) - count
    return out[REGION_COLUMNS]


def run_regions(inputs, outputs, **settings):
    """Write the region tables of the group, one per atlas.

    Parameters
    ----------
    inputs : mapping of str to list of path-like
        By atlas.
    outputs : object with attributes tables, sidecars
        Lists in the order of `inputs`.
    **settings
        See `region_table`.
    """
    units = {
        "effect": UNITS["effect"] + ", mean over participants",
        "sd": "percent signal change",
        "se": "percent signal change",
        "coverage": "fraction of the region's voxels, mean over participants",
        "n_missing": "participants without an estimate of the region",
    }
    for paths, table, note in zip(inputs.values(), outputs.tables, outputs.sidecars, strict=True):
        write_tsv(region_table(paths, **settings), table)
        text = "Effect of every region and contrast over participants; one-sample test, two-sided, not corrected."
        write_json(sidecar(text, paths, Units=units, NumberOfParticipants=len(paths)), note)


def without_sessions(people, sessions, weights):
    """Participants who lack a session that a contrast needs.

    Parameters
    ----------
    people : list of str
    sessions : dict of str to list of str
        Session labels of every participant.
    weights : dict of str to float
        By session label.

    Returns
    -------
    list of (str, str)
        Participant and reason.
    """
    out = []
    for person in people:
        lacking = [s for s, w in weights.items() if w and s not in sessions.get(person, [NO_SESSION])]
        if lacking:
            out.append((person, f"no run of session {', '.join(lacking)}"))
    return out
