"""Which field map belongs to which BOLD run, and why a run has none.

The rule, in this order:

1. ``B0FieldSource`` of the run names a ``B0FieldIdentifier`` of the field map;
2. otherwise ``IntendedFor`` of the field map names the run: a path relative to the participant, or a BIDS URI;
3. of several, the one of the run's own session, then of the lowest run, then phase difference before two phase images
   before a direct map.

Read are phase-difference maps (``phasediff``), two phase images (``phase1``, ``phase2``) and direct maps (``fieldmap``), with
their magnitude images where there are some. Maps by opposite phase encoding (``epi``) are not read, and the reason says so.
"""

import pandas as pd

from neurobraid.bids.entities import natural, parse
from neurobraid.bids.sidecars import read_sidecar
from neurobraid.bids.table import MISSING, list_images
from neurobraid.errors import InputError

#: Columns of the table of field maps. Missing is ``n/a``.
FIELDMAP_COLUMNS = ("scan", "method", "paths", "sidecars", "reason")
#: Suffixes a kind of field map must have, in order of preference of the kinds.
KINDS = {"phasediff": ("phasediff",), "phase1phase2": ("phase1", "phase2"), "direct": ("fieldmap",)}
#: Magnitude images a kind may have.
MAGNITUDES = {
    "phasediff": ("magnitude1", "magnitude2"),
    "phase1phase2": ("magnitude1", "magnitude2"),
    "direct": ("magnitude",),
}
#: Every suffix of the folder ``fmap`` that can be part of a field map.
FIELDMAP_SUFFIXES = (
    "phasediff",
    "phase1",
    "phase2",
    "fieldmap",
    "magnitude1",
    "magnitude2",
    "magnitude",
    "epi",
)
#: Values of the config's ``bold.distortion``.
MODES = ("auto", "fieldmap", "fieldmapless", "none")
NO_FIELDMAP = "no field map names this run (B0FieldIdentifier, IntendedFor)"
NO_SIDECAR = "the made-up runs of the built-in study have no distortion"
_DIRECTIONS = {"i", "j", "k", "i-", "j-", "k-"}


def as_list(value):
    """A value of a sidecar that may be one text or a list of them, as list."""
    if value in (None, "", MISSING):
        return []
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]


def read_quietly(root, sidecars):
    """Merged content of sidecars; those that cannot be read count as empty (`neurobraid.bids.check` reports them)."""
    merged = {}
    for relative in sidecars:
        try:
            merged.update(read_sidecar(root, relative))
        except InputError:
            continue
    return merged


def intended_path(text, participant):
    """Path below the dataset that an entry of ``IntendedFor`` means.

    Parameters
    ----------
    text : str
        ``ses-1/func/…`` (relative to the participant) or ``bids::sub-01/…``.
    participant : str
        ``sub-01``.

    Returns
    -------
    str or None
        None for a URI of another dataset.

    Examples
    --------
    >>> intended_path("func/sub-01_task-rest_bold.nii.gz", "sub-01")
    'sub-01/func/sub-01_task-rest_bold.nii.gz'
    >>> intended_path("bids::sub-01/func/sub-01_task-rest_bold.nii.gz", "sub-01")
    'sub-01/func/sub-01_task-rest_bold.nii.gz'
    """
    if text.startswith("bids:"):
        dataset, _, path = text[len("bids:") :].partition(":")
        return path.lstrip("/") if not dataset else None
    path = text.removeprefix("./").lstrip("/")
    # seen in the wild, though BIDS wants paths relative to the participant
    return path if path.startswith(f"{participant}/") else f"{participant}/{path}"


def _run(path):
    """The name of an image without folder, echo, part and extension: every file of one acquisition agrees in it."""
    try:
        name = parse(path.rpartition("/")[2])
    except ValueError:
        return None
    kept = tuple((k, v) for k, v in name.entities.items() if k not in ("echo", "part"))
    return kept, name.suffix


def field_groups(tree):
    """Images of the ``fmap`` folders that belong together: same folder, same entities.

    Parameters
    ----------
    tree : neurobraid.bids.sidecars.Tree

    Returns
    -------
    list of dict
        ``participant``, ``session``, ``run``, ``name``, ``kind`` (a key of `KINDS`, else None), ``images`` (suffix to path),
        ``sidecars`` (suffix to list of paths), ``identifiers`` and ``intended`` (sets of text; the latter paths below the dataset).
    """
    groups = {}
    for path, datatype, name in list_images(tree):
        if datatype != "fmap" or name.suffix not in FIELDMAP_SUFFIXES:
            continue
        entities = name.entities
        group = groups.setdefault(
            (path.rpartition("/")[0], name.scan, name.suffix == "epi"),
            {
                "participant": f"sub-{entities['sub']}",
                "session": f"ses-{entities['ses']}" if "ses" in entities else MISSING,
                "run": entities.get("run", ""),
                "name": name.scan,
                "images": {},
                "sidecars": {},
                "identifiers": set(),
                "intended": set(),
            },
        )
        if name.suffix in group["images"]:  # .nii beside .nii.gz
            continue
        group["images"][name.suffix] = path
        group["sidecars"][name.suffix] = tree.applicable(path)
        meta = read_quietly(tree.root, group["sidecars"][name.suffix])
        group["identifiers"].update(as_list(meta.get("B0FieldIdentifier")))
        named = (intended_path(text, group["participant"]) for text in as_list(meta.get("IntendedFor")))
        group["intended"].update(path for path in named if path)
    for group in groups.values():
        complete = [kind for kind, parts in KINDS.items() if set(parts) <= set(group["images"])]
        group["kind"] = complete[0] if complete else None
    return list(groups.values())


def _files(group):
    """Images of a usable group in order of their role, and their sidecars, least specific first."""
    roles = [*KINDS[group["kind"]], *(m for m in MAGNITUDES[group["kind"]] if m in group["images"])]
    sidecars = dict.fromkeys(path for role in roles for path in group["sidecars"][role])
    return [group["images"][role] for role in roles], list(sidecars)


def obstacle(meta):
    """Why the distortion of a run cannot be corrected by any method; empty when it can.

    Parameters
    ----------
    meta : mapping
        Merged sidecars of the BOLD run.

    Returns
    -------
    str
    """
    if str(meta.get("PhaseEncodingDirection")) not in _DIRECTIONS:
        found = repr(meta["PhaseEncodingDirection"]) if "PhaseEncodingDirection" in meta else "missing"
        return f"PhaseEncodingDirection of the run is {found}"
    for key, longest in (("TotalReadoutTime", 1.0), ("EffectiveEchoSpacing", 0.02)):
        if key in meta:
            value = meta[key]
            number = isinstance(value, int | float) and not isinstance(value, bool)
            good = number and 0 < value < longest
            return "" if good else f"{key} of the run is {value!r}, not seconds between 0 and {longest:g}"
    return "neither TotalReadoutTime nor EffectiveEchoSpacing of the run is known"


def find_fieldmaps(tree, table):
    """Find the field map of every BOLD run of a dataset, whatever the config asks for.

    Parameters
    ----------
    tree : neurobraid.bids.sidecars.Tree
    table : pandas.DataFrame
        Scan table.

    Returns
    -------
    list of dict
        Text only, so that it can be stored as JSON. ``path`` of the BOLD run, ``method`` (a key of `KINDS` or ``none``),
        ``paths`` and ``sidecars`` (joined with ``;``, order of role), ``reason``, ``obstacle`` (see `obstacle`) and
        ``linked``: every image of the field maps that name the run, joined with ``;``.
    """
    groups = field_groups(tree)
    records = []
    for row in table[table["suffix"] == "bold"].to_dict("records"):
        sidecars = [] if row["sidecars"] == MISSING else row["sidecars"].split(";")
        meta = read_quietly(tree.root, sidecars)
        own = [g for g in groups if g["participant"] == row["participant_id"]]
        source = set(as_list(meta.get("B0FieldSource")))
        how, linked = "B0FieldSource", [g for g in own if source & g["identifiers"]]
        if not linked:
            how = "IntendedFor"
            linked = [g for g in own if _run(row["path"]) in {_run(path) for path in g["intended"]}]
        usable = [g for g in linked if g["kind"]]
        order = list(KINDS)
        usable.sort(
            key=lambda g, r=row: (
                g["session"] != r["session_id"],
                natural(g["run"]),
                order.index(g["kind"]),
                natural(g["name"]),
            )
        )
        paths, jsons, method = [], [], "none"
        if usable:
            method = usable[0]["kind"]
            paths, jsons = _files(usable[0])
            reason = f"{how} leads to {usable[0]['name']}"
            reason += f", taken of {len(usable)}" if len(usable) > 1 else ""
        elif any("epi" in g["images"] for g in linked):
            reason = "its field map is of opposite phase encoding (epi), which is not read"
        elif linked:
            found = ", ".join(sorted(linked[0]["images"]))
            reason = f"its field map {linked[0]['name']} is incomplete: only {found}"
        else:
            reason = NO_FIELDMAP
        records.append(
            {
                "path": row["path"],
                "method": method,
                "paths": ";".join(paths) or MISSING,
                "sidecars": ";".join(jsons) or MISSING,
                "reason": reason,
                "obstacle": obstacle(meta),
                "linked": ";".join(sorted({path for g in linked for path in g["images"].values()}))
                or MISSING,
            }
        )
    return records


def choose_fieldmaps(records, scans, mode="auto"):
    """What is done about the distortion of every analysed BOLD run.

    Parameters
    ----------
    records : iterable of dict
        From `find_fieldmaps`; runs without a record have no field map.
    scans : pandas.DataFrame
        Analysed scans.
    mode : {'auto', 'fieldmap', 'fieldmapless', 'none'}
        ``auto`` and ``fieldmap``: the field map where there is one, else nothing (that ``fieldmap`` demands one is checked by
        `missing_fieldmaps`); ``fieldmapless``: the field map where there is one, else constrained registration; ``none``.

    Returns
    -------
    pandas.DataFrame
        Columns `FIELDMAP_COLUMNS`, all text, one row per BOLD scan. ``method`` is ``phasediff``, ``phase1phase2``, ``direct``,
        ``fieldmapless`` or ``none``.
    """
    found = {record["path"]: record for record in records}
    rows = []
    for row in scans[scans["suffix"] == "bold"].to_dict("records"):
        # a run of several echoes may be one row; any echo's field map is the run's
        own = [found[path] for path in row["path"].split(";") if path in found]
        own.sort(key=lambda record: record["method"] == "none")
        record = own[0] if own else {"method": "none", "reason": NO_SIDECAR, "obstacle": NO_SIDECAR}
        method, reason = record["method"], record["reason"]
        if mode == "none":
            method, reason = "none", "bold.distortion is none"
        elif record["obstacle"] and method != "none":
            method, reason = "none", f"its field map cannot be used: {record['obstacle']}"
        elif own and method == "none" and mode == "fieldmapless":
            method = "none" if record["obstacle"] else "fieldmapless"
            then = record["obstacle"] or "constrained registration to the T1w image"
            reason = f"{reason}; {then}"
        used = method in KINDS
        rows.append(
            {
                "scan": row["scan"],
                "method": method,
                "paths": record["paths"] if used else MISSING,
                "sidecars": record["sidecars"] if used else MISSING,
                "reason": reason,
            }
        )
    return pd.DataFrame(rows, columns=list(FIELDMAP_COLUMNS), dtype=str)


def missing_fieldmaps(fieldmaps):
    """One `InputError` for the runs without field map, for ``bold.distortion: fieldmap``; None when every run has one.

    Parameters
    ----------
    fieldmaps : pandas.DataFrame
        From `choose_fieldmaps`.

    Returns
    -------
    InputError or None
    """
    lost = fieldmaps[fieldmaps["method"] == "none"]
    if lost.empty:
        return None
    first = lost.iloc[0]
    more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
    fix = (
        "mend the sidecars, exclude the runs (index.exclude), or set bold.distortion to auto or fieldmapless"
    )
    found = f"fieldmap, but {first['scan']}{more} has none: {first['reason']}"
    return InputError("config", "bold.distortion", found, "a field map for every BOLD run", fix)


def unused_reason(path, fieldmaps, records, scans, mode):
    """Why an image of a ``fmap`` folder is not read.

    Parameters
    ----------
    path : str
        Below the dataset.
    fieldmaps : pandas.DataFrame
        From `choose_fieldmaps`.
    records : iterable of dict
        From `find_fieldmaps`.
    scans : pandas.DataFrame
        Analysed scans.
    mode : str
        ``bold.distortion``.

    Returns
    -------
    str
    """
    if mode == "none":
        return "bold.distortion is none: field maps are not used"
    if path.rpartition("/")[2].partition(".")[0].endswith("_epi"):
        return "field maps of opposite phase encoding (epi) are not read"
    names = {
        one: scan
        for paths, scan in zip(scans["path"], scans["scan"], strict=True)
        for one in paths.split(";")
    }
    chosen = fieldmaps.set_index("scan")
    for record in records:
        if path in record["linked"].split(";") and record["path"] in names:
            scan = names[record["path"]]
            if chosen.loc[scan, "method"] == "none":
                return f"not used for {scan}: {chosen.loc[scan, 'reason']}"
            return f"another field map was taken for {scan}: {chosen.loc[scan, 'reason']}"
    return "it names no analysed BOLD run (B0FieldIdentifier, IntendedFor)"
