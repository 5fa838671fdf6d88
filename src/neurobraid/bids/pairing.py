"""Which T1w serves which PET or BOLD scan, and why every other scan is left out.

The rule, in this order:

1. ``same-session``: the T1w of the scan's own session (or of the participant, when there are no sessions).
2. ``nearest-date``: the T1w nearest in days, if it is at most ``max_days`` away. Dates come from ``acq_time`` of the
   scans file, else of the sessions file.
3. ``nearest-name``: when no dates are known, the T1w whose session is nearest in the sorted list of the participant's
   sessions; the earlier one wins a tie. ``max_days`` cannot be checked then, and the reason says so.
4. otherwise the scan is excluded.

One T1w serves a session: without ``acq``/``rec`` label first, then the lowest run. Further runs with the same labels
are averaged with it (``average``, the config's ``anat.average``): its ``path`` then joins the images by ``;``.
"""

import csv
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import pandas as pd

from neurobraid.bids.entities import SCAN_KEYS, natural, parse, without_echo
from neurobraid.bids.fieldmaps import (
    FIELDMAP_COLUMNS,
    FIELDMAP_SUFFIXES,
    choose_fieldmaps,
    find_fieldmaps,
    unused_reason,
)
from neurobraid.bids.injections import find_injections, join_injections
from neurobraid.bids.table import (
    EXCLUSION_COLUMNS,
    IMAGE_EXTENSIONS,
    MISSING,
    SUFFIXES,
    exclusion,
    filter_scans,
    list_images,
    make_table,
    open_dataset,
    scan_rows,
)

#: Columns of the pairing table.
PAIRING_COLUMNS = ("scan", "suffix", "t1w_scan", "t1w_visit", "rule", "days", "reason")
MAX_DAYS = 365


@dataclass(frozen=True)
class Index:
    """What a study analyses.

    Attributes
    ----------
    scans : pandas.DataFrame
        Scan table without the excluded scans; a multi-echo run is one row (see `join_echoes`).
    pairing : pandas.DataFrame
        One row per PET and BOLD scan of `scans`, and per one excluded for want of a T1w (``rule`` is ``excluded``).
    exclusions : pandas.DataFrame
        One row per scan left out, with ``rule`` and ``reason``.
    preprocessing : pandas.DataFrame, optional
        Who preprocesses each T1w and BOLD scan: see `neurobraid.bids.fmriprep.decide`.
    fieldmaps : pandas.DataFrame
        One row per BOLD scan of `scans`: how its distortion is corrected, from which files, and why
        (see `neurobraid.bids.fieldmaps.choose_fieldmaps`).
    """

    scans: pd.DataFrame
    pairing: pd.DataFrame
    exclusions: pd.DataFrame
    fieldmaps: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(FIELDMAP_COLUMNS), dtype=str)
    )

    preprocessing: pd.DataFrame | None = None

    def tables(self):
        """The tables as TSV text, by name: what the rule that writes them depends on."""
        tables = {
            "scans": self.scans,
            "pairing": self.pairing,
            "exclusions": self.exclusions,
            "fieldmaps": self.fieldmaps,
        }
        if self.preprocessing is not None:
            tables["preprocessing"] = self.preprocessing
        return {name: table.to_csv(sep="\t", index=False) for name, table in tables.items()}

    def files(self, root):
        """Every raw file the study reads, images first, below `root` (text)."""
        # the path of a scan that has tables only is its sidecar's, which need not be there
        found = dict.fromkeys(
            name for path in self.scans["path"] for name in path.split(";") if name.endswith(IMAGE_EXTENSIONS)
        )
        for table, column in (
            (self.scans, "sidecars"),
            (self.scans, "events"),
            (self.fieldmaps, "paths"),
            (self.fieldmaps, "sidecars"),
        ):
            for value in table[column]:
                found.update(dict.fromkeys(name for name in value.split(";") if name != MISSING))
        return [f"{root}/{path}" for path in found]


def _day(text):
    """Date of an ``acq_time`` such as ``2009-06-15T13:45:30`` or ``1877-06-15``; None when it is none."""
    try:
        return datetime.fromisoformat(str(text).strip()[:10]).date()
    except ValueError:
        return None


def _rows(path):
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            return list(csv.DictReader(handle, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def read_dates(bids_root, scans):
    """Day of acquisition of every scan, as far as the dataset says.

    Parameters
    ----------
    bids_root : path-like
    scans : pandas.DataFrame
        Scan table.

    Returns
    -------
    dict of str to datetime.date
        Keyed by ``path`` of the scan table. The scans file counts before the sessions file.
    """
    root = Path(bids_root)
    dates = {}
    for (participant, session, visit), group in scans.groupby(["participant_id", "session_id", "visit"]):
        stem = visit.replace("/", "_")
        own = {}
        for row in _rows(root / visit / f"{stem}_scans.tsv"):
            if row.get("filename") and (day := _day(row.get("acq_time"))):
                own[f"{visit}/{row['filename']}"] = day
        of_session = None
        for row in _rows(root / participant / f"{participant}_sessions.tsv"):
            if row.get("session_id") == session:
                of_session = _day(row.get("acq_time"))
        for path in group["path"]:
            if day := own.get(path) or of_session:
                dates[path] = day
    return dates


def _first(row):
    """Path of the image that names the scan."""
    return row["path"].partition(";")[0]


def _preference(row):
    """Sort key of the T1w images of one visit: plain name first, then the lowest run."""
    entities = parse(_first(row).rpartition("/")[2]).entities
    labels = [entities.get(key, "") for key in ("acq", "ce", "rec")]
    return labels, natural(entities.get("run", "")), natural(row["path"])


def _choose(scan, candidates, sessions, dates, max_days):
    """T1w row, rule, days and reason for one scan; the row is None when there is none."""
    same = [t for t in candidates if t["visit"] == scan["visit"]]
    day = dates.get(scan["path"])
    if same:
        other = dates.get(_first(same[0]))
        days = abs((day - other).days) if day and other else MISSING
        what = "participant" if scan["session_id"] == MISSING else "session"
        return same[0], "same-session", days, f"T1w of the same {what}"
    if not candidates:
        return None, "excluded", MISSING, f"{scan['participant_id']} has no usable T1w"
    dated = [(abs((day - dates[_first(t)]).days), t) for t in candidates if day and _first(t) in dates]
    if dated:
        # sorted candidates: min() keeps the earlier session on a tie
        days, nearest = min(dated, key=lambda pair: pair[0])
        if days > max_days:
            reason = (
                f"the nearest T1w ({nearest['scan']}) is {days} days away; index.max_days allows {max_days}"
            )
            return None, "excluded", days, reason
        reason = f"no T1w in {scan['session_id']}; nearest in time of {len(candidates)}"
        return nearest, "nearest-date", days, reason
    place = {session: rank for rank, session in enumerate(sessions)}
    here = place[scan["session_id"]]
    nearest = min(candidates, key=lambda t: (abs(place[t["session_id"]] - here), place[t["session_id"]]))
    reason = f"no T1w in {scan['session_id']} and no dates known (acq_time): nearest session by name"
    return nearest, "nearest-name", MISSING, reason


def pair(scans, dates=None, max_days=MAX_DAYS, without_t1w=()):
    """Pair every PET and BOLD scan with a T1w.

    Parameters
    ----------
    scans : pandas.DataFrame
        Scan table, already filtered.
    dates : dict of str to datetime.date, optional
        See `read_dates`.
    max_days : int
        Greatest distance in days to a T1w of another session.
    without_t1w : collection of str
        PET scans that are kept without a T1w, because their curves are taken over.

    Returns
    -------
    pairing : pandas.DataFrame
        Columns `PAIRING_COLUMNS`, all text.
    excluded : list of dict
        Rows for the table of exclusions: scans without T1w, T1w images that serve nothing.
    """
    dates = dates or {}
    assert all(isinstance(day, date) for day in dates.values())
    pairs, excluded = [], []
    for participant, group in scans.groupby("participant_id", sort=False):
        rows = group.to_dict("records")
        sessions = sorted({r["session_id"] for r in rows}, key=lambda s: "" if s == MISSING else s)
        by_visit = {}
        for row in sorted((r for r in rows if r["suffix"] == "T1w"), key=_preference):
            by_visit.setdefault(row["visit"], []).append(row)
        candidates = [by_visit[v][0] for v in sorted(by_visit, key=natural)]
        for images in by_visit.values():
            for row in images[1:]:
                reason = f"a visit uses one T1w, and {_first(images[0]).rpartition('/')[2]} was taken"
                excluded.append(exclusion(row, "second-t1w", reason))
        used = set()
        functional = [r for r in rows if r["suffix"] != "T1w"]
        for scan in functional:
            t1w, rule, days, reason = _choose(scan, candidates, sessions, dates, max_days)
            if t1w is None and scan["suffix"] == "pet" and scan["scan"] in without_t1w:
                rule, reason = "not-needed", f"{reason}; the curves are taken over"
            elif t1w is None:
                excluded.append(exclusion(scan, "no-t1w", reason))
            else:
                used.add(t1w["path"])
            pairs.append(
                {
                    "scan": scan["scan"],
                    "suffix": scan["suffix"],
                    "t1w_scan": t1w["scan"] if t1w else MISSING,
                    "t1w_visit": t1w["visit"] if t1w else MISSING,
                    "rule": rule,
                    "days": str(days),
                    "reason": reason,
                }
            )
        # a participant with T1w only is still worth its anatomy; a T1w beside scans that use another one is not
        if used:
            for row in candidates:
                if row["path"] not in used:
                    excluded.append(
                        exclusion(
                            row, "unused-t1w", f"no PET or BOLD scan of {participant} is paired with it"
                        )
                    )
    return pd.DataFrame(pairs, columns=list(PAIRING_COLUMNS), dtype=str), excluded


def _average_runs(scans):
    """Scan table in which the T1w runs of one visit and one protocol are one scan, named after the first."""
    joined, gone = {}, set()
    by_visit = {}
    for row in sorted(scans[scans["suffix"] == "T1w"].to_dict("records"), key=_preference):
        by_visit.setdefault(row["visit"], []).append(row)
    for first, *others in by_visit.values():
        same = [row["path"] for row in others if _preference(row)[0] == _preference(first)[0]]
        joined[first["path"]] = ";".join([first["path"], *same])
        gone.update(same)
    scans = scans[~scans["path"].isin(gone)].reset_index(drop=True)
    return scans.assign(path=[joined.get(path, path) for path in scans["path"]])


def _special(scans):
    """Exclusions of BOLD files that are no series of their own: phase parts, double extensions, echoes beside their sum."""
    excluded, seen = [], {}
    names = {row.scan for row in scans.itertuples() if row.suffix == "bold"}
    for row in scans.to_dict("records"):
        entities = parse(row["path"].rpartition("/")[2]).entities
        key = (row["suffix"], row["scan"])
        run = without_echo(row["scan"])
        if key in seen:
            reason = f"the same scan is there twice: {seen[key]} was taken"
            excluded.append(exclusion(row, "duplicate", reason))
            continue
        seen[key] = row["path"]
        if entities.get("part", "mag") != "mag":
            excluded.append(
                exclusion(row, "part", f"part-{entities['part']} is not analysed; only magnitude is")
            )
        elif row["suffix"] == "bold" and run != row["scan"] and run in names:
            reason = f"{run}_bold, which is no single echo, is there too and stands for the run"
            excluded.append(exclusion(row, "echo", reason))
    return excluded


def join_echoes(scans):
    """One row for all echoes of a BOLD run.

    Parameters
    ----------
    scans : pandas.DataFrame
        Scan table with one row per image.

    Returns
    -------
    pandas.DataFrame
        The echoes of a run stand where the first of them stood. Their ``scan`` has no ``echo``; ``path`` joins the images
        with ``;`` in order of their number, which is the order of echo time in BIDS; ``sidecars`` joins what applies to
        any of them (`neurobraid.bids.sidecars.applying` tells which to which). A run with one echo left is like any
        other scan and keeps its name.
    """
    runs = {}
    for row in scans.to_dict("records"):
        bold = row["suffix"] == "bold"
        runs.setdefault((row["suffix"], without_echo(row["scan"]) if bold else row["scan"]), []).append(row)
    joined = []
    for (_, name), rows in runs.items():
        if len(rows) > 1:
            rows.sort(key=lambda r: int(parse(r["path"].rpartition("/")[2]).entities["echo"]))
            sidecars = dict.fromkeys(s for r in rows for s in r["sidecars"].split(";") if s != MISSING)
            paths = ";".join(row["path"] for row in rows)
            rows = [{**rows[0], "scan": name, "path": paths, "sidecars": ";".join(sidecars) or MISSING}]
        joined += rows
    return pd.DataFrame(joined, columns=list(scans.columns), dtype=str)


def index_from_table(
    table, options=None, dates=None, others=(), fieldmaps=(), distortion="auto", injections=(), without_t1w=()
):
    """Filter, pair and account for every scan.

    Parameters
    ----------
    table : pandas.DataFrame
        Whole scan table.
    options : mapping, optional
        The ``index`` section of the config (filters, ``exclude``, ``max_days``), and ``average`` (``anat.average``):
        whether several T1w runs of a visit are averaged.
    dates : dict, optional
        See `read_dates`.
    others : iterable of dict
        Further rows for the table of exclusions. A field map that a run uses is taken out of them.
    fieldmaps : iterable of dict
        See `neurobraid.bids.fieldmaps.find_fieldmaps`.
    distortion : str
        ``bold.distortion`` of the config.
    injections : iterable of list of str
        See `neurobraid.bids.injections.find_injections`.
    without_t1w : collection of str
        See `pair`.

    Returns
    -------
    Index
    """
    options = options or {}
    excluded = [dict(row) for row in others]

    def drop(scans, rows):
        paths = {row["path"] for row in rows}
        excluded.extend(rows)
        return scans.loc[[path not in paths for path in scans["path"]]].reset_index(drop=True)

    scans, rows = filter_scans(table, options)
    excluded.extend(rows)
    scans = drop(scans, _special(scans))
    if options.get("average", True):
        scans = _average_runs(scans)
    scans = join_injections(join_echoes(scans), injections)
    dates = dict(dates or {})
    for path in scans["path"]:
        if (first := path.partition(";")[0]) in dates:
            dates[path] = dates[first]
    pairing, rows = pair(scans, dates, options.get("max_days", MAX_DAYS), without_t1w)
    scans = drop(scans, rows)
    # a T1w kept only for pairing across sessions, with the participant's own scans all filtered away
    functional = table.loc[table["suffix"] != "T1w", "participant_id"]
    wanted = set(scans.loc[scans["suffix"] != "T1w", "participant_id"])
    t1w_only = set(table["participant_id"]) - set(functional)
    idle = scans[(scans["suffix"] == "T1w") & ~scans["participant_id"].isin(wanted | t1w_only)]
    rows = [
        exclusion(row, "unused-t1w", f"no PET or BOLD scan of {row['participant_id']} is analysed")
        for row in idle.to_dict("records")
    ]
    scans = drop(scans, rows)
    chosen = choose_fieldmaps(fieldmaps, scans, distortion)
    used = {path for paths in chosen["paths"] for path in paths.split(";")} - {MISSING}
    excluded = [row for row in excluded if row["path"] not in used]
    for row in excluded:
        if row["suffix"] in FIELDMAP_SUFFIXES and "/fmap/" in row["path"]:
            row["reason"] = unused_reason(row["path"], chosen, fieldmaps, scans, distortion)
    excluded.sort(key=lambda r: (natural(r["participant_id"]), natural(r["path"]), r["rule"]))
    exclusions = pd.DataFrame(excluded, columns=list(EXCLUSION_COLUMNS), dtype=str)
    return Index(scans, pairing, exclusions, chosen)


def unanalysed(tree, used):
    """Account for raw images that no stage reads, and for listed participants without data.

    Parameters
    ----------
    tree : Tree
    used : set of str
        Paths of the scan table.

    Returns
    -------
    list of dict
        Rows for the table of exclusions.
    """
    rows = []
    for path, datatype, name in list_images(tree):
        if path in used:
            continue
        row = {
            "scan": name.scan,
            "suffix": name.suffix,
            "participant_id": f"sub-{name.entities['sub']}",
            "session_id": f"ses-{name.entities['ses']}" if "ses" in name.entities else MISSING,
            "path": path,
        }
        if name.suffix in SUFFIXES and SUFFIXES[name.suffix] != datatype:
            reason = f"a {name.suffix} image belongs in the folder {SUFFIXES[name.suffix]}, not {datatype}"
        elif name.suffix in SUFFIXES:
            other = sorted(set(name.entities) - set(SCAN_KEYS))
            reason = f"images with {other[0]}- in their name are not read"
        else:
            reason = f"no stage reads {name.suffix} images"
        rows.append(exclusion(row, "not-analysed", reason))
    present = {f"sub-{label}" for label in tree.folders}
    with_images = {path.partition("/")[0] for path in used}
    listed = [r.get("participant_id") or "" for r in _rows(tree.root / "participants.tsv")]
    for participant in dict.fromkeys([*listed, *sorted(present, key=natural)]):
        if not participant.startswith("sub-"):
            continue
        if participant not in present:
            reason = "listed in participants.tsv, but the dataset has no folder of that name"
        elif participant not in with_images:
            reason = "the folder holds no T1w, BOLD or PET image"
        else:
            continue
        row = dict.fromkeys(("scan", "suffix", "session_id", "path"), MISSING)
        rows.append(exclusion({**row, "participant_id": participant}, "no-data", reason))
    return rows


def build_index(bids_root, options=None, distortion="auto", pet=None):
    """Index a raw dataset: scan table, pairing and exclusions.

    Parameters
    ----------
    bids_root : path-like
    options : mapping, optional
        The ``index`` section of the config: ``participants``, ``sessions``, ``tasks``, ``runs``, ``tracers``,
        ``exclude``, ``max_days``.
    distortion : str
        ``bold.distortion`` of the config.
    pet : dict, optional
        From `neurobraid.bids.pet_tables.read_derivatives`.

    Returns
    -------
    Index

    Raises
    ------
    InputError
        When the folder is no raw BIDS dataset or a filter names something that is not there.
    """
    tree = open_dataset(bids_root)
    table = make_table(scan_rows(tree))
    others = unanalysed(tree, set(table["path"]))
    fieldmaps = find_fieldmaps(tree, table)
    injections = find_injections(tree, table)
    free = {record["scan"] for record in (pet or {}).get("scans", ())}
    table = make_table([*table.to_dict("records"), *(pet or {}).get("rows", ())])
    dates = read_dates(bids_root, table)
    return index_from_table(table, options, dates, others, fieldmaps, distortion, injections, free)
