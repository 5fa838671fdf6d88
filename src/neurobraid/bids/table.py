"""The scan table: one row per raw image that the workflow can use, all values text.

Two readers make it. `build_scan_table` walks the folders itself, because a workflow reads the dataset before every run
and pybids takes seconds; `build_scan_table_pybids` is the reader of record, and a test holds the two equal.
"""

from pathlib import Path

import pandas as pd

from neurobraid.bids.entities import SCAN_KEYS, natural, parse, suggest
from neurobraid.bids.sidecars import Tree
from neurobraid.errors import InputError

#: Columns of the scan table. Missing is ``n/a``.
COLUMNS = (
    "scan",
    "participant_id",
    "session_id",
    "visit",
    "datatype",
    "suffix",
    "task",
    "trc",
    "run",
    "path",
    "sidecars",
    "events",
)
#: Columns of the table of exclusions.
EXCLUSION_COLUMNS = ("scan", "suffix", "participant_id", "session_id", "path", "rule", "reason")
#: Suffixes the workflow analyses, with the folder they live in.
SUFFIXES = {"T1w": "anat", "bold": "func", "pet": "pet"}
IMAGE_EXTENSIONS = (".nii.gz", ".nii")
MISSING = "n/a"
CONFIG = "config/config.yaml"


def image_rows(scans):
    """One row per image: a scan averaged from several T1w runs has their paths joined by ``;``.

    Parameters
    ----------
    scans : pandas.DataFrame

    Returns
    -------
    list of dict
        The sidecars of the table belong to the first image; those of the others are not read.
    """
    rows = []
    for row in scans.to_dict("records"):
        first, *others = row["path"].split(";")
        rows.append({**row, "path": first})
        rows += [{**row, "path": path, "sidecars": MISSING} for path in others]
    return rows


def open_dataset(bids_root):
    """Walk a dataset, or say why it is none.

    Parameters
    ----------
    bids_root : path-like

    Returns
    -------
    Tree

    Raises
    ------
    InputError
        When the folder is missing, is no BIDS dataset, holds no participant, or is a derivative.
    """
    import json

    root = Path(bids_root)
    name = root.name or str(root)
    if not root.is_dir():
        found = "a file" if root.exists() else "missing"
        fix = "give the folder of a BIDS dataset, or link it: ln -s /path/to/dataset " + name
        raise InputError(name, "dataset", found, "a folder with dataset_description.json and sub-*", fix)
    description = root / "dataset_description.json"
    if not description.is_file():
        below = sorted(p.parent.name for p in root.glob("*/dataset_description.json"))
        fix = (
            f"point at the folder {name}/{below[0]}, which has one"
            if below
            else 'make the folder a BIDS dataset; the least is {"Name": "...", "BIDSVersion": "1.8.0"}'
        )
        raise InputError(
            f"{name}/dataset_description.json", "file", "missing (not a BIDS dataset)", "a file", fix
        )
    try:
        kind = json.loads(description.read_text(encoding="utf-8-sig")).get("DatasetType", "raw")
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{name}/dataset_description.json", "content", "not valid JSON", "a JSON object", "correct it"
        ) from error
    if kind not in ("raw", "study"):
        raise InputError(
            f"{name}/dataset_description.json",
            "DatasetType",
            kind,
            "raw",
            "point at the raw dataset this derivative was made from",
        )
    tree = Tree(root)
    if not tree.folders:
        fix = "check that this is the root of the dataset and that its folders are called sub-<label>"
        raise InputError(name, "participants", "no folder sub-*", "at least one folder sub-<label>", fix)
    return tree


def list_images(tree):
    """Every NIfTI image below the participants' data-type folders whose name fits its folder.

    Parameters
    ----------
    tree : Tree

    Returns
    -------
    list of (str, str, Name)
        Relative path, data type, parsed name. Names that cannot be read, or that name another participant or session
        than their folder, are left out: `neurobraid.bids.check` reports them.
    """
    images = []
    for folder, names in tree.files.items():
        parts = folder.split("/")
        if len(parts) < 2 or parts[-1].startswith("ses-"):
            continue
        for name in names:
            if not name.endswith(IMAGE_EXTENSIONS):
                continue
            try:
                parsed = parse(name)
            except ValueError:
                continue
            if parsed.visit == "/".join(parts[:-1]):
                images.append((f"{folder}/{name}", parts[-1], parsed))
    return images


def _row(path, datatype, name, sidecars, events):
    entities = name.entities
    return {
        "scan": name.scan,
        "participant_id": f"sub-{entities['sub']}",
        "session_id": f"ses-{entities['ses']}" if "ses" in entities else MISSING,
        "visit": name.visit,
        "datatype": datatype,
        "suffix": name.suffix,
        "task": entities.get("task", MISSING),
        "trc": entities.get("trc", MISSING),
        "run": entities.get("run", MISSING),
        "path": path,
        "sidecars": ";".join(sidecars) or MISSING,
        "events": events,
    }


def make_table(rows):
    """Scan table of `scan_rows`, ordered by participant (``2`` before ``10``) and path."""
    rows = sorted(rows, key=lambda r: (natural(r["participant_id"]), natural(r["path"])))
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=str).reset_index(drop=True)


def _usable(datatype, name):
    return SUFFIXES.get(name.suffix) == datatype and set(name.entities) <= set(SCAN_KEYS)


def scan_rows(tree):
    """Rows of the scan table of a walked dataset (see `build_scan_table`)."""
    rows = []
    for path, datatype, name in list_images(tree):
        if not _usable(datatype, name):
            continue
        events = tree.applicable(path, ".tsv", "events") if name.suffix != "T1w" else []
        rows.append(_row(path, datatype, name, tree.applicable(path), events[-1] if events else MISSING))
    return rows


def build_scan_table(bids_root, filters=None):
    """List the T1w, BOLD and PET images of a raw BIDS dataset.

    Parameters
    ----------
    bids_root : path-like
    filters : mapping, optional
        The ``index`` section of the config; see `filter_scans`.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`, all text, missing as ``n/a``, ordered by participant (``2`` before ``10``) and path. ``scan``
        is unique only together with ``suffix``. ``sidecars`` joins relative paths with ``;``, least specific first.

    Raises
    ------
    InputError
        See `open_dataset` and `filter_scans`.
    """
    table = make_table(scan_rows(open_dataset(bids_root)))
    return filter_scans(table, filters)[0] if filters else table


def build_scan_table_pybids(bids_root, filters=None):
    """The same table as `build_scan_table`, from pybids' index (slow; reader of record)."""
    from bids import BIDSLayout, BIDSLayoutIndexer

    root = Path(bids_root).resolve()
    indexer = BIDSLayoutIndexer(
        validate=False, index_metadata=False, ignore=["derivatives", "sourcedata", "code", "stimuli"]
    )
    layout = BIDSLayout(root, validate=False, derivatives=False, indexer=indexer)
    plain = {"datatype", "extension", "suffix"}

    def applies(other, image):
        # pybids' own associations also run from a sidecar to its sisters, so the entities are compared here
        names, mine = other.get_entities(metadata=False), image.get_entities(metadata=False)
        inside = Path(other.path).parent in Path(image.path).parents
        return inside and all(mine.get(k) == v for k, v in names.items() if k not in plain)

    def relative(file):
        return Path(file.path).relative_to(root).as_posix()

    def specificity(path):
        return path.count("/"), path.rpartition("/")[2].count("_"), path

    events = layout.get(suffix="events", extension=".tsv")
    jsons = {suffix: layout.get(suffix=suffix, extension=".json") for suffix in SUFFIXES}
    rows = []
    for file in layout.get(suffix=list(SUFFIXES), extension=list(IMAGE_EXTENSIONS)):
        entities = file.get_entities(metadata=False)
        path = relative(file)
        if entities.get("datatype") != SUFFIXES[entities["suffix"]]:
            continue
        sidecars = sorted(
            (relative(j) for j in jsons[entities["suffix"]] if applies(j, file)), key=specificity
        )
        of_scan = [] if entities["suffix"] == "T1w" else [relative(e) for e in events if applies(e, file)]
        rows.append(
            {
                "scan": path.rpartition("/")[2].rpartition("_")[0],
                "participant_id": f"sub-{entities['subject']}",
                "session_id": f"ses-{entities['session']}" if "session" in entities else MISSING,
                "visit": path.rpartition("/")[0].rpartition("/")[0],
                "datatype": entities["datatype"],
                "suffix": entities["suffix"],
                "task": entities.get("task", MISSING),
                "trc": entities.get("tracer", MISSING),
                "run": str(entities.get("run", MISSING)),
                "path": path,
                "sidecars": ";".join(sidecars) or MISSING,
                "events": max(of_scan, key=specificity) if of_scan else MISSING,
            }
        )
    table = make_table(rows)
    return filter_scans(table, filters)[0] if filters else table


def read_scan_table(path):
    """Read a stored table of the index with every value as text (``01`` never becomes 1, ``n/a`` stays ``n/a``)."""
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")


def exclusion(row, rule, reason):
    """One row of the table of exclusions, from a row of the scan table."""
    kept = ("scan", "suffix", "participant_id", "session_id", "path")
    return {**{column: row[column] for column in kept}, "rule": rule, "reason": reason}


def _short(labels, limit=12):
    labels = list(labels)
    return ", ".join(labels[:limit]) + (f", ... ({len(labels)} in all)" if len(labels) > limit else "")


def _wanted(filters, key, present, prefix):
    """Labels a filter asks for, as they are spelled in the dataset."""
    wanted = set()
    for value in filters.get(key) or ():
        text = str(value).removeprefix(prefix)
        # runs are numbers in BIDS: run-01 is run 1; every other label is text
        match = [p for p in present if p == text or (key == "runs" and p.lstrip("0") == text.lstrip("0"))]
        if not match:
            guess = suggest(text, present)
            fix = f"did you mean '{guess}'? (write it in quotes)" if guess else "choose from the allowed ones"
            raise InputError(CONFIG, f"index.{key}", repr(value), _short(present) or "none", fix)
        wanted.update(match)
    return wanted


def filter_scans(table, filters):
    """Keep the scans a study asks for; give a reason for each of the others.

    Parameters
    ----------
    table : pandas.DataFrame
        Scan table.
    filters : mapping
        ``participants``, ``sessions``, ``tasks``, ``runs``, ``tracers``: labels to keep, empty keeps all. ``tasks`` and
        ``runs`` select BOLD runs only, ``tracers`` PET only. ``sessions`` selects BOLD and PET; a T1w of another session
        stays available for pairing. ``exclude``: scans to leave out, written like the file name without extension
        (``sub-01_task-rest_bold``); without suffix all images of that scan name are left out.

    Returns
    -------
    kept : pandas.DataFrame
        Rows of `table`, index from 0.
    excluded : list of dict
        Rows for the table of exclusions (`EXCLUSION_COLUMNS`).

    Raises
    ------
    InputError
        When a label or an excluded scan does not occur in the dataset, with the one probably meant.
    """

    def present(column, rows=slice(None)):
        values = set(table.loc[rows, column]) - {MISSING}
        return sorted((v.partition("-")[2] if column.endswith("_id") else v for v in values), key=natural)

    bold, pet = table["suffix"] == "bold", table["suffix"] == "pet"
    participants = _wanted(filters, "participants", present("participant_id"), "sub-")
    sessions = _wanted(filters, "sessions", present("session_id"), "ses-")
    tasks = _wanted(filters, "tasks", present("task", bold), "task-")
    runs = _wanted(filters, "runs", present("run", bold), "run-")
    tracers = _wanted(filters, "tracers", present("trc", pet), "trc-")

    names = set(table["scan"]) | set(table["scan"] + "_" + table["suffix"])
    exclude = set()
    for value in filters.get("exclude") or ():
        text = str(value)
        for extension in IMAGE_EXTENSIONS:
            text = text.removesuffix(extension)
        if text not in names:
            guess = suggest(text, sorted(names))
            fix = f"did you mean {guess}?" if guess else "write the file name without extension"
            raise InputError(CONFIG, "index.exclude", repr(value), "the name of a scan of the dataset", fix)
        exclude.add(text)

    keep, excluded = [], []
    for row in table.to_dict("records"):
        suffix = row["suffix"]
        rule = reason = None
        if participants and row["participant_id"].removeprefix("sub-") not in participants:
            rule, reason = "filter", f"index.participants does not list {row['participant_id']}"
        elif sessions and suffix != "T1w" and row["session_id"].removeprefix("ses-") not in sessions:
            rule, reason = "filter", f"index.sessions does not list the session ({row['session_id']})"
        elif tasks and suffix == "bold" and row["task"] not in tasks:
            rule, reason = "filter", f"index.tasks does not list task {row['task']}"
        elif runs and suffix == "bold" and row["run"] not in runs:
            rule, reason = "filter", f"index.runs does not list run {row['run']}"
        elif tracers and suffix == "pet" and row["trc"] not in tracers:
            rule, reason = "filter", f"index.tracers does not list tracer {row['trc']}"
        elif row["scan"] in exclude or f"{row['scan']}_{suffix}" in exclude:
            rule, reason = "user", "listed in index.exclude"
        keep.append(rule is None)
        if rule:
            excluded.append(exclusion(row, rule, reason))
    return table.loc[pd.Series(keep, index=table.index, dtype=bool)].reset_index(drop=True), excluded
