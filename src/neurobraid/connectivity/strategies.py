"""What the choice of a denoising strategy does to one's own data: every strategy on the same regional series, side by side.

The benchmarks of Ciric et al. 2017 (NeuroImage 154:174), Parkes et al. 2018 (NeuroImage 171:415) and Wang et al. 2024 (PLoS
Comput Biol 20:e1011942) agree on the measures: QC-FC, its dependence on distance, degrees of freedom lost, modularity, people
retained. QC-FC assumes that people who move more have no other connectivity of their own and rewards strong censoring
(Williams et al. 2022, PMC9057309), so the reliability of halves of each scan stands beside it.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from neurobraid.bold import nuisance
from neurobraid.connectivity import graph
from neurobraid.connectivity.denoise import FEW_DOF, denoise, retained, strategy
from neurobraid.connectivity.group import weighted_mean
from neurobraid.connectivity.matrix import MIN_VOLUMES, pearson, standardized
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.jobs import log
from neurobraid.provenance import sidecar
from neurobraid.stats.discovery import benjamini_hochberg

CRITERIA = {
    "stringent": {"mean_fd_mm": 0.25, "fd_mm": 0.2, "share": 0.8},
    "minimal": {"mean_fd_mm": 0.55, "fd_mm": None, "share": None},
}
"""Motion criteria of Wang et al. 2024: mean displacement below, and share of volumes below a displacement at least."""

COVARIATES = ("age", "sex")
#: Degrees of freedom a partial correlation over people needs.
MIN_DOF = 3
ALPHA = 0.05


def upper(matrix):
    """Edges of a symmetric matrix as a vector, row by row above the diagonal."""
    return matrix[np.triu_indices(len(matrix), 1)]


def edge_names(regions):
    """First and second region of every edge, in the order of `upper`."""
    rows, columns = np.triu_indices(len(regions), 1)
    names = np.asarray(regions)
    return names[rows], names[columns]


def edges(series):
    """Fisher z of every edge.

    Parameters
    ----------
    series : numpy.ndarray, (T, R)
        Rows that are NaN throughout are censored; columns with NaN elsewhere or constant ones give NaN.

    Returns
    -------
    numpy.ndarray, (R (R - 1) / 2,)
    """
    rows = series[np.isfinite(series).any(1)]
    with np.errstate(invalid="ignore"):
        r = pearson(standardized(rows))
    return np.arctanh(np.clip(upper(r), -1 + 1e-7, 1 - 1e-7))


def partial_correlation(values, target, covariates=None):
    """Correlation of every column with a target, given covariates.

    Degrees of freedom are N - 2 - k, with k covariates.

    Parameters
    ----------
    values : numpy.ndarray, (N, E)
        NaN: no value; each column uses the people who have one.
    target : numpy.ndarray, (N,)
    covariates : numpy.ndarray, (N, k), optional

    Returns
    -------
    r, p : numpy.ndarray, (E,)
        NaN with fewer than 3 degrees of freedom, and for constant columns.
    """
    from scipy import stats

    n, width = values.shape
    covariates = np.empty((n, 0)) if covariates is None else np.asarray(covariates, np.float64)
    r, p = np.full(width, np.nan), np.full(width, np.nan)
    valid = np.isfinite(values)
    patterns, which = np.unique(valid, axis=1, return_inverse=True)
    which = which.ravel()
    for k in range(patterns.shape[1]):
        rows, columns = patterns[:, k], which == k
        dof = int(rows.sum()) - 2 - covariates.shape[1]
        if dof < MIN_DOF:
            continue
        design = np.column_stack([np.ones(rows.sum()), covariates[rows]])
        basis = np.linalg.qr(design)[0]
        y, x = values[np.ix_(rows, columns)], target[rows]
        y, x = y - basis @ (basis.T @ y), x - basis @ (basis.T @ x)
        scale = np.sqrt((y**2).sum(0) * (x @ x))
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.where(scale > 1e-12, (x @ y) / scale, np.nan).clip(-1, 1)
            t = found * np.sqrt(dof / (1 - found**2))
        r[columns], p[columns] = found, 2 * stats.t.sf(np.abs(t), dof)
    return r, p


def false_discovery(p):
    """Adjusted p of Benjamini and Hochberg (1995); NaN stays NaN and does not count.

    Parameters
    ----------
    p : numpy.ndarray, (E,)

    Returns
    -------
    numpy.ndarray, (E,)
    """
    out = np.full(len(p), np.nan)
    good = np.isfinite(p)
    out[good] = benjamini_hochberg(p[good])
    return out


def expected_median(people, covariates=0):
    """Median absolute correlation that chance gives: the median of a normal of SD 1 / sqrt(N - 3 - k)."""
    dof = people - 3 - covariates
    return 0.6744897501960817 / np.sqrt(dof) if dof > 0 else np.nan


def intraclass(first, second):
    """Intraclass correlation of two measurements, absolute agreement, of every column.

    ICC(2,1) of Shrout and Fleiss 1979 (Psychol Bull 86:420).

    Parameters
    ----------
    first, second : numpy.ndarray, (N, E)
        Rows with NaN in a column do not count there.

    Returns
    -------
    numpy.ndarray, (E,)
        NaN with fewer than three people.
    """
    both = np.isfinite(first) & np.isfinite(second)
    n = both.sum(0).astype(float)
    pair = np.stack([np.where(both, first, 0.0), np.where(both, second, 0.0)])
    with np.errstate(invalid="ignore", divide="ignore"):
        grand = pair.sum((0, 1)) / (2 * n)
        people = np.where(both, pair.mean(0) - grand, 0.0)
        halves = pair.sum(1) / n - grand
        between = 2 * (people**2).sum(0) / (n - 1)
        rater = n * (halves**2).sum(0)
        total = np.where(both, (pair - grand) ** 2, 0.0).sum((0, 1))
        error = (total - rater - between * (n - 1)) / (n - 1)
        icc = (between - error) / (between + error + 2 * (rater - error) / n)
    return np.where(n >= 3, icc, np.nan)


def one_scan(series, confounds, tr, band_hz, chosen, *, file="confounds"):
    """Denoise one scan by one strategy and take its edges, whole and by halves.

    Parameters
    ----------
    series : numpy.ndarray, (T, R)
        Regional means before denoising.
    confounds : pandas.DataFrame, (T, columns)
    tr : float
        Repetition time in s.
    band_hz : sequence of 2 float
    chosen : neurobraid.connectivity.denoise.Strategy
    file : path-like
        Named in errors.

    Returns
    -------
    dict
        ``whole``, ``first``, ``second``: Fisher z of every edge (halves: of the retained volumes; NaN where a half is too short);
        ``info`` from `denoise`.
    """
    keep = retained(confounds, chosen, file=file)
    regressors = nuisance.select(confounds, list(chosen.groups), file)
    clean, info = denoise(series, regressors, tr, band_hz, keep, file=file)
    rows = clean[keep]
    if len(rows) < MIN_VOLUMES:
        raise InputError(file, "volumes kept", len(rows), f"{MIN_VOLUMES} or more", "use a milder strategy")
    half = len(rows) // 2
    nothing = np.full(series.shape[1] * (series.shape[1] - 1) // 2, np.nan)
    long_enough = half >= MIN_VOLUMES
    return {
        "whole": edges(rows),
        "first": edges(rows[:half]) if long_enough else nothing,
        "second": edges(rows[half:]) if long_enough else nothing,
        "info": info,
    }


def person_mean(stack, minutes):
    """Mean of a participant's scans by minutes, (S, E) -> (E,)."""
    return weighted_mean(np.stack(stack), minutes)


def covariate_table(participants, people):
    """Age and sex of the people, as far as the table has them and they differ.

    Parameters
    ----------
    participants : pandas.DataFrame or None
        ``participants.tsv``.
    people : list of str

    Returns
    -------
    values : numpy.ndarray, (N, k)
        NaN where somebody has none.
    names : list of str
    """
    if participants is None or "participant_id" not in participants:
        return np.empty((len(people), 0)), []
    table = participants.set_index("participant_id").reindex(people)
    columns, names = [], []
    for name in COVARIATES:
        if name not in table:
            continue
        values = pd.to_numeric(table[name], errors="coerce")
        if values.isna().all():
            words = table[name].astype("string").str.strip().str.upper().str[:1]
            levels = sorted(words.dropna().unique())
            values = (
                words.map({level: float(k) for k, level in enumerate(levels)}) if len(levels) == 2 else values
            )
        values = values.to_numpy(np.float64)
        if np.isfinite(values).sum() > 0.5 * len(people) and np.nanstd(values) > 0:
            columns.append(values)
            names.append(name)
    return np.column_stack(columns) if columns else np.empty((len(people), 0)), names


def judge(z, fd, distance, covariates=None):
    """Measures of motion left in the edges of a group.

    Parameters
    ----------
    z : numpy.ndarray, (N, E)
        Fisher z.
    fd : numpy.ndarray, (N,)
        Mean framewise displacement in mm, before censoring.
    distance : numpy.ndarray, (E,)
        Between the centres of the regions, in mm.
    covariates : numpy.ndarray, (N, k), optional

    Returns
    -------
    summary : dict
        ``qcfc_median_abs``, ``qcfc_expected`` (by chance), ``qcfc_edges_percent`` (p < .05, uncorrected),
        ``qcfc_edges_fdr_percent``, ``distance_dependence`` (Spearman correlation of QC-FC with distance).
    r : numpy.ndarray, (E,)
        QC-FC of every edge.
    """
    from scipy import stats

    k = 0 if covariates is None else covariates.shape[1]
    whole = np.isfinite(fd) & np.isfinite(z).any(1)
    if k:
        whole &= np.isfinite(covariates).all(1)
    r, p = partial_correlation(z[whole], fd[whole], covariates[whole] if k else None)
    good = np.isfinite(r)
    both = good & np.isfinite(distance)
    slope = stats.spearmanr(r[both], distance[both]).statistic if both.sum() > 3 else np.nan
    share = 100.0 / good.sum() if good.any() else np.nan
    summary = {
        "qcfc_participants": int(whole.sum()),
        "qcfc_median_abs": float(np.median(np.abs(r[good]))) if good.any() else np.nan,
        "qcfc_expected": float(expected_median(int(whole.sum()), k)),
        "qcfc_edges_percent": float((p[good] < ALPHA).sum() * share),
        "qcfc_edges_fdr_percent": float((false_discovery(p)[good] < ALPHA).sum() * share),
        "distance_dependence": float(slope),
    }
    return summary, r


def meets(table, criterion):
    """Whether a scan meets a motion criterion.

    Parameters
    ----------
    table : pandas.DataFrame
        Confounds with framewise_displacement in mm.
    criterion : dict
        See `CRITERIA`.

    Returns
    -------
    bool
    """
    fd = table["framewise_displacement"].to_numpy(np.float64)
    if not np.nanmean(fd) < criterion["mean_fd_mm"]:
        return False
    return criterion["fd_mm"] is None or np.mean(~(fd > criterion["fd_mm"])) >= criterion["share"]


def modularities(z, size, restarts, seed):
    """Signed modularity of every person's matrix, averaged over runs, (N, E) -> (N,)."""
    out = np.full(len(z), np.nan)
    for k, row in enumerate(z):
        matrix = np.zeros((size, size))
        matrix[np.triu_indices(size, 1)] = np.tanh(np.nan_to_num(row))
        if np.isfinite(row).any():
            out[k] = graph.louvain(matrix + matrix.T, restarts=restarts, seed=seed)[2]
    return out


def compare(
    scans, names, regions, *, band_hz, own=(), covariates=None, people=None, restarts=graph.RESTARTS, seed=0
):
    """Denoise every scan by every strategy and judge the strategies.

    Parameters
    ----------
    scans : list of dict
        ``participant_id``, ``scan``, ``series`` (numpy.ndarray, (T, R), before denoising), ``confounds`` (pandas.DataFrame), ``tr``
        (s), ``file`` (named in errors).
    names : list of str
        Strategies.
    regions : pandas.DataFrame
        Columns name, x, y, z (mm), one row per region.
    band_hz : sequence of 2 float
    own : list of dict
        Strategies of the config.
    covariates : numpy.ndarray, (N, k), optional
        In the order of `people`.
    people : list of str, optional
        Default: in the order of their scans.
    restarts : int
        Runs of the Louvain method per matrix.
    seed : int

    Returns
    -------
    dict
        ``table`` (one row per strategy), ``scans`` (one per scan and strategy), ``edges`` (QC-FC of every edge with its length),
        ``similarity`` (correlation of the mean matrices of the strategies), all pandas.DataFrame.
    """
    people = people or list(dict.fromkeys(scan["participant_id"] for scan in scans))
    where = regions[["x", "y", "z"]].to_numpy(np.float64)
    distance = upper(np.linalg.norm(where[:, None] - where[None], axis=-1))
    displacement = {}
    for scan in scans:
        fd = scan["confounds"].get("framewise_displacement")
        displacement.setdefault(scan["participant_id"], []).extend([] if fd is None else fd.dropna())
    fd = np.array([np.mean(displacement.get(p) or [np.nan]) for p in people])
    rows, notes, means = [], [], {}
    first, second = edge_names(regions["name"])
    per_edge = pd.DataFrame({"node1": first, "node2": second, "distance_mm": distance})
    calm = {
        word: len({s["participant_id"] for s in scans if "framewise_displacement" in s["confounds"] and meets(s["confounds"], c)})
        for word, c in CRITERIA.items()
    }  # fmt: skip
    for name in names:
        chosen = strategy(name, own)
        found = {p: [] for p in people}
        for scan in scans:
            note = {"participant_id": scan["participant_id"], "scan": scan["scan"], "strategy": name}
            try:
                result = one_scan(
                    scan["series"], scan["confounds"], scan["tr"], band_hz, chosen, file=scan["file"]
                )
            except InputError as error:
                reason = f"{error.problem.field}: {error.problem.found}"
                notes.append({**note, "used": "no", "reason": reason})
                continue
            info = result["info"]
            volumes = info["NumberOfVolumes"]
            dof = info["EffectiveDegreesOfFreedom"]
            # correlations from a handful of degrees of freedom are near 1 or -1 whatever the brain does: a few such people,
            # always those who moved most, would decide every measure of the group
            enough = dof >= FEW_DOF
            good = np.isfinite(result["first"]) & np.isfinite(result["second"])
            halves = (
                np.corrcoef(result["first"][good], result["second"][good])[0, 1] if good.sum() > 2 else np.nan
            )
            notes.append({
                **note, "used": "yes" if enough else "no",
                "reason": "n/a" if enough else f"{dof} degrees of freedom, fewer than {FEW_DOF}", "volumes": volumes, "censored": volumes - info["NumberOfRetainedVolumes"],
                "regressors": info["NumberOfRegressors"] - info["NumberOfFilterRegressors"],
                "filter_regressors": info["NumberOfFilterRegressors"], "degrees_of_freedom": dof,
                "clean_minutes": info["CleanMinutes"], "split_half_r": halves,
            })  # fmt: skip
            if enough:
                found[scan["participant_id"]].append((result, info["CleanMinutes"]))
        parts = {}
        for part in ("whole", "first", "second"):
            parts[part] = np.stack([
                person_mean([r[part] for r, _ in found[p]], [m for _, m in found[p]]) if found[p] else np.full(len(distance), np.nan)
                for p in people
            ])  # fmt: skip
        summary, r = judge(parts["whole"], fd, distance, covariates)
        per_edge[name] = r
        mine = pd.DataFrame([n for n in notes if n["strategy"] == name and "volumes" in n])
        used = [p for p in people if found[p]]
        q = modularities(parts["whole"], len(regions), restarts, seed)
        icc = intraclass(parts["first"], parts["second"])
        lost = (
            100.0 * (1 - mine["degrees_of_freedom"] / mine["volumes"])
            if len(mine)
            else pd.Series(dtype=float)
        )
        motion_of_q = np.isfinite(q) & np.isfinite(fd)
        rows.append({
            "strategy": name, "participants": len(used), **summary,
            "dof_lost_percent": float(lost.mean()) if len(mine) else np.nan,
            "regressors": float(mine["regressors"].mean()) if len(mine) else np.nan,
            "filter_regressors": float(mine["filter_regressors"].mean()) if len(mine) else np.nan,
            "censored_percent": float((100 * mine["censored"] / mine["volumes"]).mean()) if len(mine) else np.nan,
            "clean_minutes": float(mine["clean_minutes"].mean()) if len(mine) else np.nan,
            "modularity": float(np.nanmean(q)) if np.isfinite(q).any() else np.nan,
            "modularity_fd_r": float(np.corrcoef(q[motion_of_q], fd[motion_of_q])[0, 1]) if motion_of_q.sum() > 3 else np.nan,
            "split_half_r": float(mine.loc[mine["used"] == "yes", "split_half_r"].median()) if len(mine) else np.nan,
            "split_half_icc": float(np.nanmedian(icc)) if np.isfinite(icc).any() else np.nan,
        })  # fmt: skip
        means[name] = weighted_mean(parts["whole"], np.ones(len(people)))
        log.info("%s: %d of %d participants", name, len(used), len(people))
    table = pd.DataFrame(rows)
    for word, count in calm.items():
        table[f"participants_{word}"] = count
    stack = pd.DataFrame(means)
    return {
        "table": table,
        "scans": pd.DataFrame(notes),
        "edges": per_edge,
        "similarity": stack.corr().rename_axis("strategy"),
    }


def run(inputs, outputs, *, names, band_hz, min_coverage=0.0, own=(), restarts=graph.RESTARTS):
    """Compare strategies on the scans of a task and write the four tables and their sidecar.

    Parameters
    ----------
    inputs : object with attributes raw, sidecars, coverage, confounds, confounds_json, atlas_table, participants
        Lists scan by scan; `participants` is a list of none or one ``participants.tsv``.
    outputs : object with attributes table, sidecar, scans, edges, similarity
    names : list of str
    band_hz : sequence of 2 float
    min_coverage : float
        Regions with less have no edges in that scan.
    own : list of dict
    restarts : int
    """
    regions = read_tsv(inputs.atlas_table, text=["name"])
    scans = []
    for raw, note, table, beside, cover in zip(
        inputs.raw, inputs.sidecars, inputs.confounds, inputs.confounds_json, inputs.coverage, strict=True
    ):
        series = read_tsv(raw).reindex(columns=regions["name"]).to_numpy(np.float64)
        covered = (
            read_tsv(cover, text=["Node"]).set_index("Node")["coverage"].reindex(regions["name"]).fillna(0.0)
        )
        series[:, covered.to_numpy() < max(min_coverage, 1e-12)] = np.nan
        confounds = nuisance.one_mask(nuisance.read_confounds(table, len(series)), read_json(beside))
        scan = Path(table).name.split("_desc-confounds")[0]
        scans.append({
            "participant_id": re.match(r"sub-[A-Za-z0-9+]+", scan)[0], "scan": scan, "series": series, "confounds": confounds,
            "tr": float(read_json(note)["RepetitionTime"]), "file": table,
        })  # fmt: skip
    people = list(dict.fromkeys(scan["participant_id"] for scan in scans))
    listed = read_tsv(next(iter(inputs.participants)), text=["sex"]) if inputs.participants else None
    covariates, used = covariate_table(listed, people)
    found = compare(
        scans,
        names,
        regions,
        band_hz=band_hz,
        own=own,
        covariates=covariates,
        people=people,
        restarts=restarts,
    )
    write_tsv(found["table"], outputs.table)
    write_tsv(found["scans"], outputs.scans)
    write_tsv(found["edges"], outputs.edges, float_format="%.5g")
    write_tsv(found["similarity"], outputs.similarity, index=True, float_format="%.5g")
    thresholds = {}
    for name in names:
        chosen = strategy(name, own)
        thresholds[name] = {
            "Confounds": list(chosen.groups),
            "FramewiseDisplacementThreshold": chosen.fd_threshold_mm,
            "StdDvarsThreshold": chosen.std_dvars_threshold,
            "MinSegmentVolumes": chosen.min_segment if chosen.censors else None,
        }
    content = sidecar(
        "Denoising strategies compared on the same regional series. QC-FC: correlation of an edge with mean framewise "
        "displacement over participants, given the covariates, with N - 2 - k degrees of freedom. QC-FC assumes that people who "
        "move more do not differ otherwise, and rewards strong censoring: read it with the split-half reliability.",
        [*inputs.raw, *inputs.confounds],
        Strategies=thresholds, BandHz=list(band_hz), Covariates=used, MotionCriteria=CRITERIA, LouvainRestarts=restarts, MinCoverage=min_coverage,
        MinDegreesOfFreedom=FEW_DOF, NumberOfParticipants=len(people),
        NumberOfScans=len(scans), SplitHalf="first and second half of the retained volumes of each scan, after one denoising",
        Columns={
            "qcfc_median_abs": "median absolute QC-FC", "qcfc_expected": "the same by chance",
            "qcfc_edges_percent": "edges with p < .05, uncorrected; 5 by chance",
            "distance_dependence": "Spearman correlation of QC-FC with the distance of the two regions",
            "dof_lost_percent": "degrees of freedom lost to regressors, band and censoring, of the volumes",
            "modularity": "signed Louvain modularity, mean over participants", "modularity_fd_r": "its correlation with motion",
            "split_half_r": "median over scans of the correlation of the edges of both halves",
            "split_half_icc": "median over edges of ICC(2,1) of both halves over participants",
            "participants": f"with a scan of at least {FEW_DOF} degrees of freedom; the group measures are theirs",
        },
    )  # fmt: skip
    write_json(content, outputs.sidecar)
