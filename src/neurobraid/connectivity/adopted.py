"""Matrices from region series that another program made, or its own matrices, many scans per job."""

from pathlib import Path

import numpy as np
import pandas as pd

from neurobraid.bids.series import CORRELATION, MATRIX, MISSING, read_correlations, read_series, region_names
from neurobraid.connectivity.group import WEIGHTING, weighted_mean
from neurobraid.connectivity.matrix import (
    BOUNDED,
    NOTES,
    estimate,
    fisher_z,
    from_fisher_z,
    read_matrix,
    write_matrix,
)
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

TABLE = (
    "scan", "participant_id", "session_id", "task", "volumes", "kept_volumes", "repetition_time_s", "clean_minutes", "mean_fd_mm",
    "regions", "regions_without_data", "used", "reason",
)  # fmt: skip


def with_coverage(series, coverage=None):
    """Coverage of every region of a series.

    Parameters
    ----------
    series : pandas.DataFrame, (T, R)
    coverage : pandas.Series, optional
        By region, as the other program wrote it.

    Returns
    -------
    pandas.Series, (R,)
        Where nothing was written: 1, and 0 for regions that are constant or have a gap, which is how a region outside the field of
        view shows in a table of means.
    """
    values = series.to_numpy(np.float64)
    kept = values[np.isfinite(values).any(1)]
    if not len(kept):
        return pd.Series(0.0, index=series.columns)
    with np.errstate(invalid="ignore"):
        moving = np.isfinite(kept).all(0) & (kept.max(0) > kept.min(0))
    found = pd.Series(moving.astype(float), index=series.columns)
    return found if coverage is None else coverage.reindex(series.columns).fillna(0.0).where(moving, 0.0)


def one_scan(root, row, regions, measures, *, min_coverage):
    """Matrices of one adopted series.

    Parameters
    ----------
    root : path-like
        Folder of the series.
    row : mapping
        Of `neurobraid.bids.series.find_series`.
    regions : list of str
        Every region of the atlas, in order.
    measures : list of str
    min_coverage : float

    Returns
    -------
    matrices : dict of str to (pandas.DataFrame, dict)
        By measure, with what the sidecar says; all regions, n/a where there is nothing. Empty where the scan cannot be used.
    coverage : pandas.Series, (R,)
    note : dict
        Row of the table of series.
    """
    note = {key: row.get(key, MISSING) for key in TABLE} | {
        "used": "no",
        "reason": MISSING,
        "regions": len(regions),
    }
    empty = pd.Series(0.0, index=regions)
    if row.get("kind") == MATRIX:
        return _own_matrix(root, row, regions, note)
    try:
        series, info = read_series(root, row)
    except InputError as error:
        return {}, empty, {**note, "reason": f"{error.problem.field}: {error.problem.found}"}
    series = series.reindex(columns=regions)
    coverage = with_coverage(series, info["coverage"])
    kept = int(np.isfinite(series.to_numpy()).any(1).sum())
    minutes = kept * info["tr"] / 60 if info["tr"] else np.nan
    note |= {
        "volumes": len(series), "kept_volumes": kept, "repetition_time_s": info["tr"] or np.nan, "clean_minutes": minutes,
        "mean_fd_mm": np.nan if info["mean_fd_mm"] is None else info["mean_fd_mm"],
    }  # fmt: skip
    found = {}
    for measure in measures:
        try:
            found[measure] = estimate(
                series, measure, coverage=coverage, min_coverage=min_coverage, tr=info["tr"]
            )
        except InputError as error:
            return {}, coverage, {**note, "reason": f"{error.problem.field}: {error.problem.found}"}
    lost = found[measures[0]][1]["ExcludedRegions"]
    return found, coverage, {**note, "regions_without_data": len(lost), "used": "yes"}


def _own_matrix(root, row, regions, note):
    """The correlation matrix that the other program made, as it is; see `one_scan`."""
    try:
        matrix = read_correlations(Path(root) / row["path"]).reindex(index=regions, columns=regions)
    except InputError as error:
        empty = pd.Series(0.0, index=regions)
        return {}, empty, {**note, "reason": f"{error.problem.field}: {error.problem.found}"}
    seen = matrix.notna().any(axis=1)
    lost = [name for name in regions if not seen[name]]
    info = {"ExcludedRegions": lost, "MadeBy": "another program, as it is"}
    notes = read_json(Path(root) / row["sidecar"]) if row["sidecar"] != MISSING else {}
    fd = notes.get("MeanFramewiseDisplacement")
    note |= {
        "regions_without_data": len(lost), "used": "yes", "volumes": np.nan, "kept_volumes": np.nan,
        "repetition_time_s": np.nan, "clean_minutes": np.nan,
        "mean_fd_mm": float(fd) if isinstance(fd, int | float) else np.nan,
    }  # fmt: skip
    return {CORRELATION: (matrix, info)}, seen.astype(float), note


def _known(value):
    """A number, or None where there is none: JSON has no NaN, and ``n/a`` is a word of tables."""
    return None if value == MISSING or value != value else float(value)


def run_batch(outputs, *, root, rows, paths, measures, min_coverage):
    """Matrices of a batch of adopted series.

    Parameters
    ----------
    outputs : object with attributes matrices, sidecars, coverage, table
        `matrices` and `sidecars` scan by scan and, within a scan, measure by measure; `coverage` scan by scan.
    root : path-like
    rows : list of dict
        Of `neurobraid.bids.series.find_series`.
    paths : list of str
        Of all series of the study: they say which regions there are.
    measures : list of str
    min_coverage : float
    """
    regions = region_names(root, paths)
    notes = []
    matrices, sidecars = iter(outputs.matrices), iter(outputs.sidecars)
    nothing = pd.DataFrame(np.nan, index=regions, columns=regions)
    for row, cover in zip(rows, outputs.coverage, strict=True):
        found, coverage, note = one_scan(root, row, regions, measures, min_coverage=min_coverage)
        notes.append(note)
        source = Path(root) / row["path"]
        for measure in measures:
            # a scan that cannot be used has its files all the same: the reason stands in the sidecar and the table
            matrix, info = found.get(measure, (nothing, {"ExcludedRegions": regions}))
            write_matrix(matrix, next(matrices))
            reason = None
            if measure not in found:
                reason = "the other program gave a correlation matrix only" if found else note["reason"]
            text = "Correlation matrix of another program" if row.get("kind") == MATRIX else (
                f"Region-by-region matrix of a series that another program made: {NOTES[measure]}"
            )  # fmt: skip
            content = sidecar(
                f"{text}.", [source], Measure=measure, MinCoverage=min_coverage, CleanMinutes=_known(note["clean_minutes"]),
                MeanFramewiseDisplacement=_known(note["mean_fd_mm"]), NotUsed=reason, **info,
            )  # fmt: skip
            write_json(content, next(sidecars))
        write_tsv(pd.DataFrame({"Node": regions, "coverage": coverage.to_numpy()}), cover)
        if not found:
            log.warning("%s: %s", row["scan"], note["reason"])
    write_tsv(pd.DataFrame(notes)[list(TABLE)], outputs.table)
    log.info("%d scans, %d used", len(rows), sum(n["used"] == "yes" for n in notes))


def run_group(inputs, outputs, measures):
    """Mean matrices of all adopted series, and one table of them.

    Scans of a participant are weighted by volumes kept where the repetition time is not known, else by minutes. Matrices are added up
    one by one, so that thousands of them need no more memory than two.

    Parameters
    ----------
    inputs : object with attributes tables, matrices
        `matrices` measure by measure, in the order of the rows of `tables`.
    outputs : object with attributes matrices, sidecars, table, coverage
    measures : list of str
    """
    table = pd.concat([read_tsv(path) for path in inputs.tables], ignore_index=True)
    write_tsv(table[list(TABLE)], outputs.table)
    used = (table["used"] == "yes").to_numpy()
    known = table.loc[used, "clean_minutes"].notna().all()
    weights = table["clean_minutes" if known else "kept_volumes"].astype(float)
    weighting = WEIGHTING if known else WEIGHTING.replace("minutes of clean data", "volumes kept")
    if weights[used].isna().any():  # matrices of another program do not say how much data made them
        weights, weighting = (
            pd.Series(1.0, index=table.index),
            WEIGHTING.replace("by minutes of clean data", "alike"),
        )
    per_measure = len(table)
    names, count = None, None
    for place, measure in enumerate(measures):
        paths = list(inputs.matrices)[place * per_measure : (place + 1) * per_measure]
        total = count = None
        for _, rows in table[used].groupby("participant_id", sort=False):
            stack = []
            for k in rows.index:
                matrix = read_matrix(paths[k])
                names = list(matrix.index)
                values = matrix.to_numpy(copy=True)
                stack.append(fisher_z(values) if measure in BOUNDED else values)
            person = weighted_mean(np.stack(stack), weights[rows.index])
            seen = np.isfinite(person)
            total = np.where(seen, person, 0.0) + (0 if total is None else total)
            count = seen.astype(int) + (0 if count is None else count)
        if total is None:
            raise InputError(
                "series", "usable scans", 0, "1 or more", "see the reasons in the table of series"
            )
        mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        mean = from_fisher_z(mean) if measure in BOUNDED else mean
        write_matrix(pd.DataFrame(mean, index=names, columns=names), list(outputs.matrices)[place])
        off = ~np.eye(len(mean), dtype=bool)
        content = sidecar(
            "Group mean of matrices of adopted region series.", [], Measure=measure,
            Weighting=weighting,
            NumberOfParticipants=int(table.loc[used, "participant_id"].nunique()), NumberOfScans=int(used.sum()),
            NumberOfScansNotUsed=int((~used).sum()), ParticipantsPerEdge=[int(count[off].min()), int(count[off].max())],
        )  # fmt: skip
        write_json(content, list(outputs.sidecars)[place])
    diagonal = count.max(1)
    write_tsv(pd.DataFrame({"Node": names, "participants": diagonal}), outputs.coverage)
    log.info(
        "%d scans, %d used, %d with a region without data",
        len(table),
        used.sum(),
        (table["regions_without_data"] > 0).sum(),
    )
