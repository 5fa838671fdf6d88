"""PET results of other programs: which scans of a study have curves or an input function ready made.

One reader for PETPrep (names old and new), PETFit's table of combined regions, and bare tables named after their scan.
Entities are compared as a set, so their order does not matter. Here only names and the columns that name scans are
read; `table_problems` reads the tables themselves, before any work, and `neurobraid.pet.tables` when they are used.
"""

import csv
import math
import re
from pathlib import Path

from neurobraid.bids.check import ACTIVITY_UNITS, FRAME_TOLERANCE_S, known_unit
from neurobraid.bids.entities import SCAN_KEYS, compose, parse
from neurobraid.bids.fmriprep import COLUMNS, files_of
from neurobraid.bids.sidecars import metadata, read_sidecar
from neurobraid.bids.table import IMAGE_EXTENSIONS, MISSING, exclusion, make_table
from neurobraid.errors import InputError, ProblemList

#: Key of the config's section ``adopt`` to where its folder is reached inside a study.
LINKS = {key: f"derivatives/{key}" for key in ("petprep", "petfit", "tacs", "bloodstream")}
#: Programs that give curves, with their names; where two have a scan, the later one is taken.
PROGRAMS = {"petprep": "PETPrep", "petfit": "PETFit", "tacs": "table of curves"}

STARTS = ("frame_start", "FrameTimesStart", "frame_times_start", "start")
ENDS = ("frame_end", "FrameTimesEnd", "frame_times_end", "end")
#: Columns of a table of curves that are no region.
NO_REGION = (*STARTS, *ENDS, "frame_dur", "frame_mid", "FrameDuration")
SUFFIXES = ("tacs", "timeseries")
SCAN = ("sub", "ses", "task", "trc", "rec", "run")
"""Entities that tell scans apart."""

COMBINED = "desc-combinedregions_tacs.tsv"
CUSTOM = "custom"
"""Segmentation of a table whose name has none."""

NEGATIVE = 0.05
"""Activity below minus this share of a region's maximum is no noise."""

EARLY_S = 120.0
"""Before this time after the start a frame may be empty: the tracer has not arrived."""


def scan_entities(path):
    """Entities of `SCAN` of a file, those that its name leaves out from its folders.

    Examples
    --------
    >>> scan_entities("sub-01/ses-2/pet/sub-01_desc-combinedregions_tacs.tsv")
    {'sub': '01', 'ses': '2'}
    """
    path = Path(path)
    found = {key: label for key, label in parse(path.name).entities.items() if key in SCAN}
    for part in path.parent.parts:
        key, dash, label = part.partition("-")
        if dash and key in ("sub", "ses"):
            found.setdefault(key, label)
    return {key: found[key] for key in SCAN if key in found}


def segmentation_of(path):
    """Segmentation of a table by its name: label of ``seg-`` with ``Pvc<method>`` when the curves are corrected.

    Examples
    --------
    >>> segmentation_of("sub-01_pvc-AGTM_desc-preproc_seg-gtm_tacs.tsv"), segmentation_of("sub-01_tacs.tsv")
    ('gtmPvcAGTM', 'custom')
    """
    entities = parse(Path(path).name).entities
    label = entities.get("seg", CUSTOM)
    return f"{label}Pvc{entities['pvc']}" if entities.get("pvc") else label


def find_tables(root, segmentation=""):
    """Tables of curves below a folder, in order of their names.

    Parameters
    ----------
    root : path-like
        Derivatives of PETPrep or PETFit, or any folder with such names.
    segmentation : str
        Only this ``seg-``; empty: all.

    Returns
    -------
    list of pathlib.Path
        ``_tacs.tsv`` and, of older versions, ``_timeseries.tsv`` with ``seg-``; no tables of a single reference region
        (``label-`` or ``ref-``).
    """
    found = []
    for path in sorted(Path(root).rglob("*.tsv")):
        try:
            name = parse(path.name)
        except ValueError:
            continue
        if name.suffix not in SUFFIXES or "label" in name.entities or "ref" in name.entities:
            continue
        if name.suffix == "timeseries" and "seg" not in name.entities:
            continue
        if segmentation and name.entities.get("seg") != segmentation:
            continue
        if "model" not in name.entities and name.entities.get("desc") != "fit":
            found.append(path)
    return found


def find_volumes(path):
    """``_morph.tsv`` of the participant and segmentation of a table of curves, or None."""
    path = Path(path)
    own = parse(path.name).entities
    top = path.parent
    while top.parent != top and not top.name.startswith("sub-"):
        top = top.parent
    if not top.name.startswith("sub-"):
        return None
    for candidate in sorted(top.rglob("*_morph.tsv")):
        other = parse(candidate.name).entities
        shared = {"sub", "ses", "seg"} & set(own) & set(other)
        if "label" not in other and "seg" in shared and all(own[k] == other[k] for k in shared):
            return candidate
    return None


def read_combined_scans(path):
    """Entities and segmentation of every scan of PETFit's table of combined regions.

    Parameters
    ----------
    path : path-like
        ``desc-combinedregions_tacs.tsv``.

    Returns
    -------
    list of (dict, str)
        Entities of `SCAN`, and the segmentation as letters and digits.

    Raises
    ------
    InputError
        The table has no column ``sub``.
    """
    found = {}
    with open(path, encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle, delimiter="\t")
        if "sub" not in (reader.fieldnames or ()):
            raise InputError(
                path,
                "columns",
                ", ".join(reader.fieldnames or ()) or "none",
                "PETFit's",
                "add the column sub",
            )
        for row in reader:
            entities = {}
            for key in SCAN:
                value = (row.get(key) or "").strip()
                if value not in ("", "NA", "nan", MISSING):
                    entities[key] = value.removeprefix(f"{key}-")
            label = re.sub(r"[^0-9a-zA-Z]", "", (row.get("segmentation") or "").removeprefix("seg-"))
            found[tuple(entities.items()), label or "combined"] = None
    return [(dict(entities), label) for entities, label in found]


def _key(entities):
    """Entities as a set; ``run-01`` is ``run-1``."""
    return frozenset(
        (k, v.lstrip("0") or "0" if k == "run" else v) for k, v in entities.items() if k in SCAN_KEYS
    )


def _match(entities, candidates, file):
    """The one scan of a raw dataset that entities of a derivative mean, or None.

    Raises
    ------
    InputError
        Several scans fit: tracers or runs cannot be told apart.
    """
    wanted = _key(entities)
    exact = [c for c in candidates if _key(c["entities"]) == wanted]
    # the names of PETPrep may leave out what tells nothing apart, such as the tracer of an only scan
    fitting = exact or [
        c for c in candidates if wanted < _key(c["entities"]) and c["visit"] == _visit(entities)
    ]
    if len(fitting) > 1:
        raise InputError(
            file, "scan", f"fits {' and '.join(sorted(c['scan'] for c in fitting))}", "one scan of the dataset",
            "put the entities that tell them apart (trc, rec, task, run) into the name of the table",
        )  # fmt: skip
    return fitting[0] if fitting else None


def _visit(entities):
    return "/".join(f"{key}-{entities[key]}" for key in ("sub", "ses") if key in entities)


def _candidates(tree, table):
    """PET scans of a raw dataset: those with images, and sidecars that stand alone."""
    found = []
    for row in table[table["suffix"] == "pet"].to_dict("records"):
        found.append({"entities": parse(row["path"].rpartition("/")[2]).entities, "row": row})
    known = {c["row"]["scan"] for c in found}
    for folder, names in tree.files.items():
        if not folder.endswith("/pet"):
            continue
        for name in names:
            if name.endswith("_pet.json") and name.removesuffix("_pet.json") not in known:
                found.append({"entities": parse(name).entities, "row": None})
    for candidate in found:
        entities = candidate["entities"]
        candidate["scan"] = compose({k: v for k, v in entities.items() if k in SCAN_KEYS}, "pet")[:-4]
        candidate["visit"] = _visit(entities)
    return found


def _new_row(tree, entities):
    """Row of the scan table for a scan that has tables only: its path is its sidecar's, there or not."""
    scan = compose({k: v for k, v in entities.items() if k in SCAN_KEYS}, "pet")[:-4]
    path = f"{_visit(entities)}/pet/{scan}_pet.json"
    return {
        "scan": scan,
        "participant_id": f"sub-{entities['sub']}",
        "session_id": f"ses-{entities['ses']}" if "ses" in entities else MISSING,
        "visit": _visit(entities),
        "datatype": "pet",
        "suffix": "pet",
        "task": entities.get("task", MISSING),
        "trc": entities.get("trc", MISSING),
        "run": entities.get("run", MISSING),
        "path": path,
        "sidecars": ";".join(tree.applicable(path.replace(".json", IMAGE_EXTENSIONS[0]))) or MISSING,
        "events": MISSING,
    }


def read_version(root, key):
    """Version of the program that wrote a folder; ``n/a`` where the folder does not say.

    Raises
    ------
    InputError
        The folder is a raw dataset.
    """
    if not (Path(root) / "dataset_description.json").is_file():
        return MISSING
    content = read_sidecar(root, "dataset_description.json")
    if content.get("DatasetType", "derivative") == "raw":
        raise InputError(
            f"{LINKS[key]}/dataset_description.json", "DatasetType", "raw", "derivative",
            f"set adopt.{key} to the folder with the tables, often derivatives/{key} inside it",
        )  # fmt: skip
    makers = content.get("GeneratedBy") or []
    for maker in makers if isinstance(makers, list) else [makers]:
        if isinstance(maker, dict) and str(maker.get("Name", "")).lower() == PROGRAMS.get(key, key).lower():
            return str(maker.get("Version") or MISSING)
    return MISSING


def _tables_of(key, root):
    """Every table of one folder: path, entities of the scan, segmentation."""
    for path in find_tables(root):
        name = path.relative_to(root).as_posix()
        if path.name.endswith(COMBINED):
            yield from ((path, name, entities, label) for entities, label in read_combined_scans(path))
            continue
        entities = scan_entities(name)
        if "sub" not in entities:
            raise InputError(
                f"{LINKS[key]}/{name}", "file name", path.name, "sub-<label>_…_tacs.tsv",
                "name the table after its scan, for example sub-01_ses-1_tacs.tsv",
            )  # fmt: skip
        yield path, name, entities, segmentation_of(path)


def _choose_segmentation(found, asked):
    """The segmentation that the study takes."""
    labels = list(dict.fromkeys(record["segmentation"] for record in found))
    bare = {record["segmentation"] for record in found if record["source"] == "tacs"}
    if asked:
        # a bare table names no segmentation: it is taken for the one that is asked for
        if asked in labels or CUSTOM in bare:
            return asked
        raise InputError(
            "config", "adopt.segmentation", asked, ", ".join(labels), "take one that the tables have"
        )
    if len(labels) > 1:
        raise InputError(
            "config", "adopt.segmentation", f"empty, and the tables have {', '.join(labels)}", "one of them",
            "name the segmentation to analyse; gtmPvcAGTM stands for tables with seg-gtm and pvc-AGTM",
        )  # fmt: skip
    return labels[0]


def read_derivatives(folders, tree, table, segmentation=""):
    """Look for the curves and input functions of every PET scan in the folders of other programs.

    Parameters
    ----------
    folders : dict of str to path-like
        Of the keys of `LINKS`, those that are set.
    tree : neurobraid.bids.sidecars.Tree
        Raw dataset.
    table : pandas.DataFrame
        Its scan table, images only.
    segmentation : str
        The segmentation to take; empty where there is only one.

    Returns
    -------
    dict
        To be stored as JSON: ``segmentation`` (empty without curves); ``scans``, one dict per scan with ``scan``,
        ``source``, ``version``, ``files`` (``table``, ``table_json``, ``morph``, ``confounds``, ``confounds_json``, as far
        as they are there) relative to the study; ``rows``, rows of the scan table for scans without image; ``inputs``,
        scan to its ``_inputfunction.tsv`` and sidecar; ``left``, rows for the table of exclusions.

    Raises
    ------
    InputError
        A folder without tables, a raw dataset, a table that fits several scans, two tables of one scan, a segmentation
        that is not there or not chosen.
    """
    candidates = _candidates(tree, table)
    found = []
    for key in PROGRAMS:
        if key not in folders:
            continue
        version, mine = read_version(folders[key], key), []
        for path, name, entities, label in _tables_of(key, folders[key]):
            match = _match(entities, candidates, f"{LINKS[key]}/{name}")
            mine.append(
                {
                    "source": key, "version": version, "segmentation": label, "path": str(path), "name": name,
                    "entities": match["entities"] if match else entities, "row": match["row"] if match else None,
                }
            )  # fmt: skip
        if not mine:
            raise InputError(
                LINKS[key], "tables", "none", "_tacs.tsv or seg-…_timeseries.tsv", f"correct adopt.{key}"
            )
        found += mine
    chosen = _choose_segmentation(found, segmentation) if found else ""
    scans, rows, left = {}, {}, {}
    for record in found:
        row = record["row"] or _new_row(tree, record["entities"])
        fits = record["segmentation"] in (chosen, CUSTOM if record["source"] == "tacs" else chosen)
        if not fits:
            left.setdefault(row["scan"], (row, record))
            continue
        other = scans.get(row["scan"])
        if other and other["source"] == record["source"] and other["name"] != record["name"]:
            older = [r for r in (other, record) if r["name"].endswith("_timeseries.tsv")]
            if len(older) != 1:
                raise InputError(
                    f"{LINKS[record['source']]}/{record['name']}", "scan", f"{row['scan']} has {other['name']}, too",
                    "one table per scan and segmentation", "keep one of them",
                )  # fmt: skip
            if record is older[0]:
                continue
        scans[row["scan"]] = {**record, "scan": row["scan"], "files": _files(record)}
        if record["row"] is None:
            rows[row["scan"]] = row
    reason = "the folders of other programs have tables of other segmentations only, the raw dataset no image"
    return {
        "segmentation": chosen,
        "scans": [{k: r[k] for k in ("scan", "source", "version", "files")} for r in scans.values()],
        "rows": list(rows.values()),
        "inputs": _inputs(folders, [*candidates, *_as_candidates(rows)]),
        "left": [
            exclusion(row, "no-table", reason)
            for scan, (row, record) in left.items()
            if scan not in scans and record["row"] is None
        ],
    }


def _as_candidates(rows):
    return [
        {"entities": parse(r["path"].rpartition("/")[2]).entities, "scan": r["scan"], "visit": r["visit"]}
        for r in rows.values()
    ]


def _files(record):
    """Files that belong to a table of curves, by role, relative to the study."""
    path = Path(record["path"])
    root = Path(str(path)[: -len(record["name"])])
    found = {"table": path, "table_json": path.with_suffix(".json")}
    if not path.name.endswith(COMBINED):
        found["morph"] = find_volumes(path)
        wanted = scan_entities(record["name"])
        for other in sorted(path.parent.glob("*_desc-confounds*_timeseries.*")):
            role = {".tsv": "confounds", ".json": "confounds_json"}.get(other.suffix)
            if role and scan_entities(other.relative_to(root)) == wanted:
                found[role] = other
    return {
        role: f"{LINKS[record['source']]}/{file.relative_to(root).as_posix()}"
        for role, file in found.items()
        if file is not None and file.exists()
    }


def _inputs(folders, candidates):
    """Input functions of bloodstream by scan: table and, where there is one, sidecar."""
    found = {}
    if "bloodstream" not in folders:
        return found
    root, unique = Path(folders["bloodstream"]), {c["scan"]: c for c in candidates}
    for path in sorted(root.rglob("*_inputfunction.tsv")):
        name = path.relative_to(root).as_posix()
        match = _match(scan_entities(name), list(unique.values()), f"{LINKS['bloodstream']}/{name}")
        if match is None:
            continue
        if match["scan"] in found:
            raise InputError(
                f"{LINKS['bloodstream']}/{name}", "scan", f"{match['scan']} has two input functions", "one",
                f"keep this or {found[match['scan']][0]}",
            )  # fmt: skip
        side = path.with_suffix(".json")
        files = [name, side.relative_to(root).as_posix()] if side.exists() else [name]
        found[match["scan"]] = [f"{LINKS['bloodstream']}/{file}" for file in files]
    if not found:
        raise InputError(
            LINKS["bloodstream"], "input functions", "none of a scan of this study", "…_inputfunction.tsv",
            "set adopt.bloodstream to the folder that bloodstream wrote for this dataset",
        )  # fmt: skip
    return found


def with_scans(table, found):
    """The scan table and, after the rows of images, those of scans that have tables only."""
    if not found or not found["rows"]:
        return table
    return make_table([*table.to_dict("records"), *found["rows"]])


def adopted(found):
    """Names of the PET scans whose curves are taken over: they need no T1w."""
    return {record["scan"] for record in (found or {}).get("scans", ())}


def others_left(others, found):
    """Rows for the table of exclusions, without people who have tables, and with scans whose tables are not taken."""
    if not found:
        return list(others)
    people = {row["participant_id"] for row in found["rows"]}
    kept = [r for r in others if not (r["rule"] == "no-data" and r["participant_id"] in people)]
    return [*kept, *found["left"]]


def decide(preprocessing, scans, found):
    """Add to the table of who preprocesses what a row for every PET scan.

    Parameters
    ----------
    preprocessing : pandas.DataFrame
        From `neurobraid.bids.fmriprep.decide`.
    scans : pandas.DataFrame
        Analysed scans.
    found : dict or None
        From `read_derivatives`; None adds nothing.

    Returns
    -------
    pandas.DataFrame
        ``source`` is ``petprep``, ``petfit``, ``tacs`` or ``neurobraid``; ``files`` are relative to the study.
    """
    import pandas as pd

    if not found or not found["scans"]:
        return preprocessing
    known = {record["scan"]: record for record in found["scans"]}
    rows = []
    for scan in scans.loc[scans["suffix"] == "pet", "scan"]:
        record = known.get(scan)
        files = record and ";".join(f"{k}={v}" for k, v in sorted(record["files"].items()))
        rows.append(
            {
                "scan": scan,
                "suffix": "pet",
                "source": record["source"] if record else "neurobraid",
                "version": record["version"] if record else MISSING,
                "reason": "whole" if record else "no table of its curves in the folders that are adopted",
                "files": files or MISSING,
            }
        )
    return pd.concat([preprocessing, pd.DataFrame(rows, columns=list(COLUMNS), dtype=str)], ignore_index=True)


def table_problems(raw_root, scans, preprocessing, *, units="", nuclide=""):
    """Read every adopted table of curves; say everything that is wrong before any work.

    Parameters
    ----------
    raw_root : path-like
    scans, preprocessing : pandas.DataFrame
        Of the index.
    units, nuclide : str
        Of the config, for tables whose sidecars do not say.

    Returns
    -------
    ProblemList
        Errors: no frame times, frames that overlap or run backwards, a unit that is missing or unknown, no nuclide, a
        frame without activity in any region after the first two minutes, activity that is not a number or far below
        zero, no region. A region without values is a warning.
    """
    problems, seen = ProblemList(), set()
    rows = {row["scan"]: row for row in scans[scans["suffix"] == "pet"].to_dict("records")}
    for record in preprocessing[preprocessing["suffix"] == "pet"].to_dict("records"):
        if record["source"] not in PROGRAMS:
            continue
        files = files_of(record["files"])
        if files["table"].endswith(COMBINED):
            # kBq/mL and seconds by PETFit's own rule; the reader checks the rest
            continue
        if files["table"] in seen:
            continue
        seen.add(files["table"])
        sidecars = rows[record["scan"]]["sidecars"]
        try:
            fields = metadata(raw_root, sidecars) if sidecars != MISSING else {}
            if "table_json" in files:
                own = read_sidecar(".", files["table_json"])
                fields = {**fields, **{k: v for k, v in own.items() if v is not None}}
        except InputError as error:
            problems.extend([error.problem])
            continue
        fields.setdefault("Units", units or None)
        fields.setdefault("TracerRadionuclide", nuclide or None)
        problems.extend(_one_table(files["table"], fields))
    return problems


def _one_table(path, fields):
    problems = ProblemList()
    if not fields.get("Units"):
        fix = "write Units into the JSON beside the table, or set adopt.units"
        problems.add(path, "Units", "missing", ", ".join(ACTIVITY_UNITS), fix)
    elif not known_unit(fields["Units"]):
        fix = "write the unit the curves really have; it is never guessed"
        problems.add(path, "Units", repr(fields["Units"]), ", ".join(ACTIVITY_UNITS), fix)
    if not fields.get("TracerRadionuclide"):
        fix = "write it into the PET sidecar or the JSON beside the table, or set adopt.nuclide"
        problems.add(path, "TracerRadionuclide", "missing", "for example C11 or F18", fix)
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            rows = [row for row in csv.reader(handle, delimiter="\t") if row]
    except (OSError, UnicodeDecodeError) as error:
        problems.add(path, "content", f"not readable ({error})", "a tab-separated table", "write it again")
        return problems
    header, rows = (rows[0], rows[1:]) if rows else ([], [])
    start, end = (next((header.index(n) for n in names if n in header), None) for names in (STARTS, ENDS))
    if start is None or end is None or not rows:
        found = ", ".join(header[:6]) or "none"
        problems.add(
            path, "columns", found, "frame_start, frame_end and a row per frame", "add frame times in s"
        )
        return problems
    values = [[_value(row[i]) if i < len(row) else None for i in range(len(header))] for row in rows]
    bad = [(n, i) for n, row in enumerate(values) for i, value in enumerate(row) if value is None]
    if bad:
        n, i = bad[0]
        found = repr(rows[n][i]) if i < len(rows[n]) else "missing"
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        problems.add(
            path, f"{header[i]} of row {n + 1}", found + more, "a number or n/a", "correct the table"
        )
        return problems
    for n, row in enumerate(values):
        if not row[end] > row[start]:
            found = f"{row[start]:g} to {row[end]:g} s"
            problems.add(path, f"frame {n + 1}", found, "an end after the start", "correct the frame times")
        elif n and row[start] < values[n - 1][end] - FRAME_TOLERANCE_S:
            found = f"from {row[start]:g} s, before frame {n} ends at {values[n - 1][end]:g} s"
            problems.add(
                path, f"frame {n + 1}", found, "frames that follow each other", "correct the frame times"
            )
    regions = [i for i, name in enumerate(header) if name not in NO_REGION]
    if not regions:
        problems.add(path, "columns", ", ".join(header), "a column per region", "add the curves")
        return problems
    for n, row in enumerate(values):
        activity = [row[i] for i in regions]
        if row[start] - values[0][start] >= EARLY_S and not any(v == v and v != 0 for v in activity):
            found = "0 or n/a in every region"
            problems.add(
                path, f"frame {n + 1}", found, "activity", "restore the frame, or leave it out of the table"
            )
    empty = []
    for i in regions:
        curve = [row[i] for row in values if row[i] == row[i]]
        if not curve:
            empty.append(header[i])
        elif min(curve) < -NEGATIVE * max(max(curve), 0.0) and min(curve) < 0:
            worst = min(
                range(len(values)), key=lambda n: values[n][i] if values[n][i] == values[n][i] else math.inf
            )
            if values[worst][start] - values[0][start] >= EARLY_S:
                fix = "a background was subtracted twice, or the region is wrong; remove the column if it is not needed"
                found = f"{values[worst][i]:g} in frame {worst + 1}"
                problems.add(path, header[i], found, "activity of at least 0", fix, "warning")
    if len(empty) == len(regions):
        problems.add(path, "regions", "n/a in every frame", "values", "write the table again")
    elif empty:
        found = f"no value of {', '.join(empty[:6])}" + (
            f" and {len(empty) - 6} more" if len(empty) > 6 else ""
        )
        fix = "a region without a voxel gets no estimate; accept it, or take a coarser segmentation"
        problems.add(path, "regions", found, "a value per frame", fix, "warning")
    return problems


def _value(text):
    if text.strip().lower() in ("", "n/a", "na", "nan"):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
