"""PET runs of one injection: acquisitions with a pause between, which are one scan on one clock.

A long dynamic scan is often two acquisitions (dual time window, coffee break): two files with a ``run`` each, of one
injection. PET-BIDS states times in seconds relative to ``TimeZero``, and every run may have its own; the clock time of the
injection, ``TimeZero + InjectionStart``, tells which runs belong together. They become one row of the scan table, as the
echoes of a BOLD run do.
"""

import re
from datetime import time

import pandas as pd

from neurobraid.bids.entities import natural
from neurobraid.bids.sidecars import metadata
from neurobraid.bids.table import MISSING
from neurobraid.errors import InputError

TOLERANCE_S = 2.0
"""Clock times of one injection in two sidecars agree within this: they are whole seconds, rounded twice."""
DAY_S = 86400.0


def without_run(scan):
    """Name of the acquisition that a run belongs to.

    Examples
    --------
    >>> without_run("sub-01_ses-a_trc-RAC_run-2")
    'sub-01_ses-a_trc-RAC'
    """
    return re.sub(r"_run-[0-9]+(?=_|$)", "", scan)


def _seconds(value):
    """Number of seconds, alone or as a list of one (or the first of several); None when it is none."""
    if isinstance(value, list):
        value = value[0] if value else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def injection_clock(fields):
    """Clock time of the injection, and the start of the first frame after it.

    Parameters
    ----------
    fields : dict
        Merged PET-BIDS sidecar; keys are found whatever their capitals.

    Returns
    -------
    clock, start : float or None
        s after midnight, and s after the injection; None where ``TimeZero``, ``InjectionStart`` or ``FrameTimesStart`` is
        missing or no time.

    Examples
    --------
    >>> injection_clock({"TimeZero": "10:00:30", "InjectionStart": -30, "FrameTimesStart": [0, 60]})
    (36000.0, 30.0)
    """
    lower = {key.lower(): value for key, value in fields.items()}
    injection, first = _seconds(lower.get("injectionstart")), _seconds(lower.get("frametimesstart"))
    try:
        zero = time.fromisoformat(str(lower.get("timezero")).strip())
    except ValueError:
        zero = None
    if None in (zero, injection, first):
        return None, None
    clock = zero.hour * 3600 + zero.minute * 60 + zero.second + zero.microsecond / 1e6 + injection
    return clock % DAY_S, first - injection


def find_injections(tree, table):
    """Groups of PET runs that one injection served.

    Parameters
    ----------
    tree : Tree
    table : pandas.DataFrame
        Scan table with one row per image.

    Returns
    -------
    list of list of str
        Paths of the images of each group, in order of time. Runs are compared that differ in ``run`` alone. A run whose
        sidecar does not tell the clock time of its injection stays alone.
    """
    alike, names = {}, set(table.loc[table["suffix"] == "pet", "scan"])
    for row in table[table["suffix"] == "pet"].to_dict("records"):
        name = without_run(row["scan"])
        # an image without run beside runs is no run of theirs, and has their name
        if name != row["scan"] and name not in names:
            alike.setdefault(name, []).append(row)
    groups = []
    for rows in alike.values():
        if len(rows) < 2:
            continue
        known = []
        for row in rows:
            try:
                clock, start = injection_clock(metadata(tree.root, row["sidecars"]))
            except InputError:  # the check of the dataset tells
                continue
            if clock is not None:
                known.append((clock, start, natural(row["path"]), row["path"]))
        while known:
            clock = known[0][0]
            # across midnight, too
            same = [k for k in known if abs((k[0] - clock + DAY_S / 2) % DAY_S - DAY_S / 2) <= TOLERANCE_S]
            known = [k for k in known if k not in same]
            if len(same) > 1:
                groups.append([path for *_, path in sorted(same, key=lambda k: k[1:])])
    return groups


def join_injections(scans, groups):
    """One row for all runs of an injection.

    Parameters
    ----------
    scans : pandas.DataFrame
        Scan table.
    groups : iterable of list of str
        See `find_injections`.

    Returns
    -------
    pandas.DataFrame
        The runs stand where the first of them stood. ``scan`` has no ``run``; ``path`` joins the images with ``;`` in order
        of time; ``sidecars`` joins what applies to any of them. Where a participant has several injections whose runs are
        alike but for ``run``, and where one run alone is left of a group, names stay as they are: the joined scan then is
        called after its first run.
    """
    rows = scans.to_dict("records")
    place = {row["path"]: row for row in rows}
    joined, gone = {}, set()
    for group in groups:
        own = [place[path] for path in group if path in place]
        if len(own) < 2:
            continue
        first = own[0]
        name = without_run(first["scan"])
        others = [r for r in rows if r["suffix"] == "pet" and without_run(r["scan"]) == name and r not in own]
        sidecars = dict.fromkeys(s for r in own for s in r["sidecars"].split(";") if s != MISSING)
        changes = {} if others else {"scan": name, "run": MISSING}
        top = min(own, key=lambda row: rows.index(row))
        paths = ";".join(row["path"] for row in own)
        joined[top["path"]] = {
            **first,
            **changes,
            "path": paths,
            "sidecars": ";".join(sidecars) or MISSING,
        }
        gone.update(row["path"] for row in own)
    kept = [joined.get(row["path"], row) for row in rows if row["path"] in joined or row["path"] not in gone]
    return pd.DataFrame(kept, columns=list(scans.columns), dtype=str)
