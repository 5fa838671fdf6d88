"""Scans that stand out among the scans of their kind: one definition for every quality table of a study."""

from __future__ import annotations

import logging

import numpy as np

log = logging.getLogger("neurobraid")

LIMIT = 3.0
"""Robust standard deviations from the median."""
NEEDED = 5
"""Scans of a kind, below which no outlier is named."""


def flag_outliers(table, by, directions, describe, *, limit=LIMIT, needed=NEEDED):
    """Mark the rows that are worse than the other rows of their kind.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per scan.
    by : list of str
        Columns that make a kind; a missing value is a kind of its own.
    directions : dict
        Name of a measure (a column; one that is not there is passed over) and which side is bad: 1 above the median, -1
        below it, 2 both, 0 neither.
    describe : callable
        Takes the list of the values of `by`, without the missing ones, and gives the kind's name in a note.
    limit : float
        Distance from the median in robust standard deviations (1.4826 times the median absolute deviation) in the bad
        direction. A measure that is equal for more than half of the scans has no such deviation and flags nobody.
    needed : int
        Rows of a kind that must have a measure.

    Returns
    -------
    flags : list of str
        Per row: names of the measures joined by ``;``, ``none``, or ``n/a`` where there are too few scans.
    notes : list of str
        Which kinds are too few.
    """
    flags, notes = np.full(len(table), "n/a", dtype=object), []
    for kind, rows in table.groupby(by, dropna=False, sort=True).indices.items():
        if len(rows) < needed:
            told = describe([str(part) for part in kind if part == part])  # NaN is not equal to itself
            notes.append(f"{told}: {len(rows)} scans, fewer than {needed}: no outliers are named")
            continue
        found = [[] for _ in rows]
        for name, direction in directions.items():
            if name not in table or direction == 0:
                continue
            values = table[name].to_numpy(float)[rows]
            known = np.isfinite(values)
            if known.sum() < needed:
                continue
            away = values - np.median(values[known])
            away = np.abs(away) if direction == 2 else direction * away
            spread = 1.4826 * np.median(np.abs(away[known]))
            # what differs by rounding only is no spread
            if spread <= 1e-9 * np.abs(values[known]).max():
                continue
            for n in np.flatnonzero(known & (away > limit * spread)):
                found[n].append(name)
        flags[rows] = [";".join(names) or "none" for names in found]
    return list(flags), notes


def add_flags(table, flags, notes):
    """Put the flags into the table, and say them in the log.

    Parameters
    ----------
    table : pandas.DataFrame
        With the column ``bids_name``.
    flags, notes : list of str
        From `flag_outliers`.

    Returns
    -------
    pandas.DataFrame
        With the columns ``flags`` and ``outlier`` (true, false, n/a).
    """
    shown = {"n/a": "n/a", "none": "false"}
    for name, names in zip(table["bids_name"], flags, strict=True):
        if names not in shown:
            log.warning("%s stands out among the scans of its kind: %s", name, names.replace(";", ", "))
    for note in notes:
        log.info(note)
    return table.assign(flags=flags, outlier=[shown.get(names, "true") for names in flags])
