"""Fixed effects: the runs and sessions of one participant become one estimate."""

import numpy as np

from neurobraid.activation.glm import ratio, t_to_z
from neurobraid.activation.maps import STATS, UNITS, read_stack, write_maps
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.provenance import sidecar


def combine(effects, variances, dofs):
    """Unweighted fixed effects where runs exist.

    Every run counts the same, so that a quiet run does not pull the estimate to itself; the variance is that of
    the mean of independent runs.

    Parameters
    ----------
    effects, variances : numpy.ndarray, (N, ...)
        Runs without an estimate have a variance of 0 or NaN there.
    dofs : sequence of N float
        Residual degrees of freedom.

    Returns
    -------
    effect, variance, t, z : numpy.ndarray, (...)
        0 where no run has an estimate.
    dof : numpy.ndarray, (...)
        Summed over the runs that count.
    """
    effects, variances = np.asarray(effects, np.float64), np.asarray(variances, np.float64)
    valid = np.isfinite(effects) & np.isfinite(variances) & (np.nan_to_num(variances) > 0)
    count = valid.sum(0)
    effect = ratio(np.where(valid, effects, 0.0).sum(0), count)
    variance = ratio(np.where(valid, variances, 0.0).sum(0), count.astype(np.float64) ** 2)
    dof = np.tensordot(np.asarray(dofs, np.float64), valid.astype(np.float64), 1)
    t = ratio(effect, np.sqrt(variance))
    z = np.where(count > 0, t_to_z(t, np.maximum(dof, 1.0)), 0.0)
    return effect, variance, t, z, dof


def combine_regions(tables):
    """Fixed effects of region tables.

    Parameters
    ----------
    tables : list of pandas.DataFrame
        Of `first_level.estimate`, the same regions and contrasts in each.

    Returns
    -------
    pandas.DataFrame
        Long: index, name, hemisphere, contrast, effect (percent signal change), se, t, z, dof, n_runs, n_voxels
        (mean over runs), coverage (smallest of the runs); every region of the atlas, missing ones empty.
    """
    keys = ["index", "name", "hemisphere", "contrast"]
    first = tables[0].reset_index(drop=True)
    aligned = [first[keys].merge(t, on=keys, how="left", validate="one_to_one") for t in tables]
    stacked = {
        c: np.stack([t[c].to_numpy(np.float64) for t in aligned])
        for c in ("effect", "variance", "n_voxels", "coverage")
    }
    dofs = [float(t["dof"].iloc[0]) for t in tables]
    effect, variance, t, z, dof = combine(stacked["effect"], stacked["variance"], dofs)
    out = first[keys].copy()
    seen = variance > 0
    for name, values in (("effect", effect), ("se", np.sqrt(variance)), ("t", t), ("z", z), ("dof", dof)):
        out[name] = np.where(seen, values, np.nan)
    out["n_runs"] = np.isfinite(stacked["effect"]).sum(0)
    out["n_voxels"] = np.nan_to_num(stacked["n_voxels"]).mean(0)
    out["coverage"] = np.nan_to_num(stacked["coverage"]).min(0)
    return out


def run(runs, regions, outputs):
    """Combine the runs of a participant and write maps, sidecars and region tables.

    Parameters
    ----------
    runs : dict of str to dict of str to list of path-like
        By contrast: effect and variance maps and sidecar of every run.
    regions : dict of str to list of path-like
        By atlas: region tables of every run.
    outputs : object with attributes maps, sidecars, regions, region_sidecars
        Lists: maps (contrast by contrast, see `maps.write_maps`) and sidecars by contrast, region tables and their
        sidecars by atlas.
    """
    maps, affine = {}, None
    for (name, files), note in zip(runs.items(), outputs.sidecars, strict=True):
        effects, affine = read_stack(files["effect"])
        variances, _ = read_stack(files["variance"])
        described = [read_json(path) for path in files["sidecar"]]
        dofs = [d["DegreesOfFreedom"] for d in described]
        *values, _ = combine(effects, variances, dofs)
        maps[name] = dict(zip(STATS, values, strict=True))
        content = sidecar(
            "Fixed effects over the runs of one participant, every run with the same weight.",
            files["effect"],
            Contrast=name,
            Weights=described[0]["Weights"],
            Units=UNITS,
            NumberOfRuns=len(dofs),
            PrecisionWeighted=False,
            DegreesOfFreedom=int(sum(dofs)),
            ResponsePeak=[d["ResponsePeak"] for d in described],
            **{k: described[0].get(k) for k in ("HRF", "NoiseModel", "SmoothingFWHMmm", "HighPassHz")},
        )
        write_json(content, note)
    write_maps(maps, affine, outputs.maps)
    units = {
        "effect": UNITS["effect"],
        "se": "percent signal change",
        "coverage": "fraction of the region's voxels",
        "n_voxels": "mean over runs",
    }
    for files, path, note in zip(regions.values(), outputs.regions, outputs.region_sidecars, strict=True):
        write_tsv(combine_regions([read_tsv(p, text=["contrast"]) for p in files]), path)
        content = sidecar(
            "Effect of every region and contrast, of unsmoothed data; fixed effects over runs.",
            files,
            Units=units,
        )
        write_json(content, note)
