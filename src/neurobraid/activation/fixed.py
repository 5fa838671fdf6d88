"""Fixed effects: the runs and sessions of one participant become one estimate."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from neurobraid.activation.amplitude import NOTE, UNIT
from neurobraid.activation.glm import f_statistic, f_to_z, ratio, t_to_z
from neurobraid.activation.maps import (
    F_STATS,
    F_UNITS,
    STATS,
    UNITS,
    from_triangle,
    read_stack,
    triangle,
    write_maps,
)
from neurobraid.activation.statsmodel import joined
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

NO_SESSION = "n/a"


def combine(effects, variances, dofs):
    """Unweighted fixed effects where runs exist.

    Every run counts the same, so that a quiet run does not pull the estimate to itself; the variance is that of
    the mean of independent runs.

    Parameters
    ----------
    effects, variances : numpy.ndarray, (N, ...)
        Runs without an estimate have a variance of 0 or NaN there.
    dofs : sequence of N float, or numpy.ndarray, (N, ...)
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
    dofs = np.asarray(dofs, np.float64)
    dofs = dofs.reshape(dofs.shape + (1,) * (valid.ndim - dofs.ndim))
    return (*_tested(effect, variance, dof := (dofs * valid).sum(0)), dof)


def _tested(effect, variance, dof):
    t = ratio(effect, np.sqrt(variance))
    return effect, variance, t, np.where(variance > 0, t_to_z(t, np.maximum(dof, 1.0)), 0.0)


def by_session(effects, variances, dofs, sessions):
    """Fixed effects over the runs of each session.

    Parameters
    ----------
    effects, variances, dofs
        See `combine`.
    sessions : sequence of N str
        Session label of every run.

    Returns
    -------
    dict of str to (effect, variance, dof)
        By session, in order of first appearance.
    """
    found = {}
    for label in dict.fromkeys(sessions):
        chosen = [n for n, s in enumerate(sessions) if s == label]
        effect, variance, _, _, dof = combine(
            np.asarray(effects)[chosen], np.asarray(variances)[chosen], np.asarray(dofs, np.float64)[chosen]
        )
        found[label] = (effect, variance, dof)
    return found


def between(parts, weights):
    """Contrast between the sessions of one participant.

    Parameters
    ----------
    parts : dict of str to (effect, variance, dof)
        From `by_session`.
    weights : dict of str to float
        By session label.

    Returns
    -------
    effect, variance, t, z, dof : numpy.ndarray, (...)
        0 where one of the sessions has no estimate.
    """
    used = {label: weight for label, weight in weights.items() if weight}
    valid = np.logical_and.reduce([parts[label][1] > 0 for label in used])
    effect = sum(weight * parts[label][0] for label, weight in used.items()) * valid
    variance = sum(weight**2 * parts[label][1] for label, weight in used.items()) * valid
    dof = sum(parts[label][2] for label in used) * valid
    return (*_tested(effect, variance, dof), dof)


def combine_joint(effects, covariances, dofs):
    """Fixed effects of an F contrast.

    Parameters
    ----------
    effects : numpy.ndarray, (N, Q, V)
    covariances : numpy.ndarray, (N, Q, Q, V)
    dofs : sequence of N float

    Returns
    -------
    effect : numpy.ndarray, (Q, V)
    covariance : numpy.ndarray, (Q, Q, V)
    f, z : numpy.ndarray, (V,)
        0 where no run has an estimate.
    """
    valid = np.einsum("nqqv->nqv", covariances).min(1) > 0
    count = valid.sum(0)
    effect = ratio((effects * valid[:, None]).sum(0), count)
    covariance = ratio((covariances * valid[:, None, None]).sum(0), count.astype(np.float64) ** 2)
    f = f_statistic(effect, covariance)
    dof = np.asarray(dofs, np.float64) @ valid
    return effect, covariance, f, np.where(count > 0, f_to_z(f, len(effect), np.maximum(dof, 1.0)), 0.0)


def mean_amplitude(amplitudes, variances, sessions=None, empty=0.0):
    """Mean of the amplitudes of runs (see `neurobraid.activation.amplitude`), weighted as effects are.

    Parameters
    ----------
    amplitudes, variances : numpy.ndarray, (N, ...)
        Runs without an estimate have a variance of 0 or NaN there.
    sessions : sequence of N str, optional
        Average within sessions first.
    empty : float
        Where no run has an estimate.

    Returns
    -------
    numpy.ndarray, (...)
    """
    amplitudes = np.asarray(amplitudes, np.float64)
    valid = np.isfinite(amplitudes) & np.isfinite(variances) & (np.nan_to_num(variances) > 0)
    if sessions is not None:
        parts = [[n for n, s in enumerate(sessions) if s == label] for label in dict.fromkeys(sessions)]
        amplitudes = np.stack(
            [mean_amplitude(amplitudes[p], np.asarray(variances)[p], None, np.nan) for p in parts]
        )
        valid = np.isfinite(amplitudes)
    count = valid.sum(0)
    return np.where(count > 0, ratio(np.where(valid, amplitudes, 0.0).sum(0), count), empty)


def sessions_of(paths):
    """Session label of every file name; ``n/a`` where there is none."""
    found = [re.search(r"_ses-([A-Za-z0-9]+)", Path(path).name) for path in paths]
    return [match[1] if match else NO_SESSION for match in found]


def lacking(sessions, weights):
    """Sessions that a contrast needs and a participant does not have."""
    return [label for label, weight in weights.items() if weight and label not in sessions]


def combine_regions(tables, sessions=None, contrasts_between=(), *, within=False):
    """Fixed effects of region tables.

    Parameters
    ----------
    tables : list of pandas.DataFrame
        Of `first_level.estimate`, the same regions and contrasts in each.
    sessions : list of str, optional
        Session label of every table.
    contrasts_between : list of dict
        Contrasts between sessions: name, weights.
    within : bool
        Whether runs are combined within sessions first.

    Returns
    -------
    pandas.DataFrame
        Long: index, name, hemisphere, contrast, effect (percent signal change), se, t, z, dof, n_runs, n_voxels
        (mean over runs), coverage (smallest of the runs), tsnr (mean over runs); every region of the atlas, missing ones
        empty.
    """
    keys = ["index", "name", "hemisphere", "contrast"]
    first = tables[0].reset_index(drop=True)
    sessions = sessions or [NO_SESSION] * len(tables)
    aligned = [first[keys].merge(t, on=keys, how="left", validate="one_to_one") for t in tables]
    stacked = {
        c: np.stack([t[c].to_numpy(np.float64) if c in t else np.full(len(first), np.nan) for t in aligned])
        for c in ("effect", "variance", "n_voxels", "coverage", "tsnr", "amplitude")
    }
    boosted = any("amplitude" in t for t in tables)
    dofs = [float(t["dof"].iloc[0]) for t in tables]
    parts = by_session(stacked["effect"], stacked["variance"], dofs, sessions)
    average = _average(stacked["effect"], stacked["variance"], dofs, parts if within else None)
    out = [_region_rows(first[keys], average, stacked, range(len(tables)))]
    if boosted:
        out[0]["amplitude"] = mean_amplitude(
            stacked["amplitude"], stacked["variance"], sessions if within else None, np.nan
        )
    for record in contrasts_between:
        part = first[keys].copy()
        part["contrast"] = [joined(name, record["name"]) for name in part["contrast"]]
        if lacking(parts, record["weights"]):
            zero = np.zeros(len(first))
            out.append(_region_rows(part, (zero,) * 5, stacked, []))
            continue
        used = [n for n, s in enumerate(sessions) if record["weights"].get(s)]
        out.append(_region_rows(part, between(parts, record["weights"]), stacked, used))
    return pd.concat(out, ignore_index=True)


def _average(effects, variances, dofs, parts):
    """Mean over runs, or over the means of sessions."""
    if parts is None:
        return combine(effects, variances, dofs)
    return combine(*(np.stack([part[k] for part in parts.values()]) for k in range(3)))


def _region_rows(keys, values, stacked, used):
    out, used = keys.copy(), list(used)
    effect, variance, t, z, dof = values
    seen = variance > 0
    for name, column in (("effect", effect), ("se", np.sqrt(variance)), ("t", t), ("z", z), ("dof", dof)):
        out[name] = np.where(seen, column, np.nan)
    out["n_runs"] = np.isfinite(stacked["effect"][used]).sum(0) if used else 0
    out["n_voxels"] = np.nan_to_num(stacked["n_voxels"][used]).mean(0) if used else 0.0
    out["coverage"] = np.nan_to_num(stacked["coverage"][used]).min(0) if used else 0.0
    snr = stacked["tsnr"][used]
    count = np.isfinite(snr).sum(0) if used else np.zeros(len(out))
    out["tsnr"] = np.where(count > 0, np.nan_to_num(snr).sum(0) / np.maximum(count, 1), np.nan)
    return out


def _person_maps(name, files, described, contrasts_between, within):
    """Maps and sidecar content of one t contrast of the run, and of it between sessions."""
    effects, affine = read_stack(files["effect"])
    variances, _ = read_stack(files["variance"])
    sessions = sessions_of(files["effect"])
    dofs = [d["DegreesOfFreedom"] for d in described]
    parts = by_session(effects, variances, dofs, sessions) if within or contrasts_between else {}
    found = {}
    *values, _ = _average(effects, variances, dofs, parts if within else None)
    found[name] = (dict(zip(STATS, values, strict=True)), {"DegreesOfFreedom": int(sum(dofs))})
    if files.get("amplitude"):
        shifted, _ = read_stack(files["amplitude"])
        found[name][0]["amplitude"] = mean_amplitude(shifted, variances, sessions if within else None)
        found[name][1]["AmplitudeNote"] = f"mean over runs of {NOTE}"
    for record in contrasts_between:
        missing = lacking(parts, record["weights"])
        if missing:
            reason = f"no run of session {', '.join(missing)}"
            log.warning("%s not available: %s", joined(name, record["name"]), reason)
            values = [np.zeros(effects.shape[1:])] * len(STATS)
            note = {"Status": "unavailable", "Reason": reason}
        else:
            *values, dof = between(parts, record["weights"])
            note = {"DegreesOfFreedom": int(dof.max())}
        note |= {"SessionWeights": record["weights"]}
        found[joined(name, record["name"])] = (dict(zip(STATS, values, strict=True)), note)
    return found, affine


def _joint_maps(files, described):
    """Maps of one F contrast."""
    effects, affine = read_stack(files["effect"])
    variances, _ = read_stack(files["variance"])
    shape = effects.shape[1:4]
    effects = np.moveaxis(effects.reshape(len(effects), *shape, -1), -1, 1)
    covariances = np.moveaxis(variances.reshape(len(variances), *shape, -1), -1, 1)
    dofs = [d["DegreesOfFreedom"] for d in described]
    flat = np.stack([from_triangle(c.reshape(len(c), -1)) for c in covariances])
    effect, covariance, f, z = combine_joint(effects.reshape(*effects.shape[:2], -1), flat, dofs)
    values = [np.moveaxis(v.reshape(len(v), *shape), 0, -1) for v in (effect, triangle(covariance))]
    values += [f.reshape(shape), z.reshape(shape)]
    note = {
        "Test": "F", "NumeratorDegreesOfFreedom": len(effect), "DegreesOfFreedom": int(sum(dofs)),
    }  # fmt: skip
    return (dict(zip(F_STATS, values, strict=True)), note), affine


def run(runs, regions, outputs, *, contrasts_between=(), within_sessions=False, level="subject"):
    """Combine the runs of a participant, or of one session, and write maps, sidecars and region tables.

    A single run (or session) is passed on as it is.

    Parameters
    ----------
    runs : dict of str to dict of str to list of path-like
        By contrast of the run: effect and variance maps and sidecar of every run; amplitude maps, where responses have a
        temporal derivative.
    regions : dict of str to list of path-like
        By atlas: region tables of every run.
    outputs : object with attributes maps, sidecars, regions, region_sidecars
        Lists: maps (contrast by contrast, see `maps.write_maps`) and sidecars by contrast (t contrasts of the run, then
        those between sessions, then F contrasts), region tables and their sidecars by atlas.
    contrasts_between : list of dict
        Contrasts between sessions: name, weights by session label.
    within_sessions : bool
        Whether runs are combined within sessions first (a model with a session node).
    level : {'subject', 'session'}
        What the runs belong to.
    """
    whose = "participant" if level == "subject" else "session"
    plain, later, joint, affine = {}, {}, {}, None
    for name, files in runs.items():
        described = [read_json(path) for path in files["sidecar"]]
        shared = dict(
            Weights=described[0]["Weights"],
            NumberOfRuns=len(described),
            PrecisionWeighted=False,
            Levels=["run", "session", "subject"] if within_sessions else ["run", level],
            ResponsePeak=[d["ResponsePeak"] for d in described],
            **{k: described[0].get(k) for k in ("HRF", "NoiseModel", "SmoothingFWHMmm", "HighPassHz")},
        )
        mixed = sorted({d["RepetitionTime"] for d in described if "RepetitionTime" in d})
        if len(mixed) > 1:
            shared["RepetitionTimes"] = [d.get("RepetitionTime") for d in described]
        if described[0].get("Test") == "F":
            (maps, note), affine = _joint_maps(files, described)
            joint[name] = (maps, shared | note | {"Units": F_UNITS}, files["effect"])
            continue
        found, affine = _person_maps(name, files, described, contrasts_between, within_sessions)
        for place, (key, (maps, note)) in enumerate(found.items()):
            units = UNITS | ({"amplitude": UNIT} if "amplitude" in maps else {})
            (later if place else plain)[key] = (maps, shared | note | {"Units": units}, files["effect"])
    # contrasts between sessions come session contrast by session contrast, as the plan names them
    order = [joined(name, record["name"]) for record in contrasts_between for name in plain]
    done = plain | {name: later[name] for name in order} | joint
    for (name, (_, note, sources)), path in zip(done.items(), outputs.sidecars, strict=True):
        text = f"Fixed effects over the runs of one {whose}, every run with the same weight."
        write_json(sidecar(text, sources, Contrast=name, **note), path)
    write_maps({name: maps for name, (maps, _, _) in done.items()}, affine, outputs.maps)
    units = {
        "effect": UNITS["effect"],
        "se": "percent signal change",
        "coverage": "fraction of the region's voxels",
        "n_voxels": "mean over runs",
        "tsnr": "mean over voxels and runs of the unsmoothed series' mean by its standard deviation around the trend",
    }
    for files, path, note in zip(regions.values(), outputs.regions, outputs.region_sidecars, strict=True):
        tables = [read_tsv(p, text=["contrast"]) for p in files]
        write_tsv(
            combine_regions(tables, sessions_of(files), contrasts_between, within=within_sessions), path
        )
        content = sidecar(
            "Effect of every region and contrast, of unsmoothed data; fixed effects over runs.",
            files,
            Units=units,
        )
        if any("amplitude" in table for table in tables):
            content["Units"] = content["Units"] | {"amplitude": f"{UNIT}; mean over runs of {NOTE}"}
        write_json(content, note)
