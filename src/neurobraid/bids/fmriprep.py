"""fMRIPrep derivatives: which scans of a study are there whole, and what the others lack.

One reader for the layouts of fMRIPrep 20.2 to 25.2 (and the names announced for 26): entities are compared as a set,
so their order does not matter; with and without sessions; anatomy of the participant or of a session. Only names,
sidecars, headers and the confounds table are read here.
"""

import csv
import itertools
import os
from pathlib import Path

import pandas as pd

from neurobraid.bids.check import read_header
from neurobraid.bids.entities import SCAN_KEYS, natural, parse
from neurobraid.bids.sidecars import read_sidecar
from neurobraid.bids.table import MISSING, exclusion
from neurobraid.errors import InputError, Problem

#: Where the derivatives are reached inside a study.
LINK = "derivatives/fmriprep"
#: Template space of fMRIPrep that is carried over to ours.
TEMPLATE = "MNI152NLin2009cAsym"
#: Columns of the table that says who preprocessed what.
COLUMNS = ("scan", "suffix", "source", "version", "reason", "files")
#: Confounds that later stages cannot do without.
CONFOUNDS = (
    *(f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"),
    "framewise_displacement",
    "dvars",
    "std_dvars",
    "csf",
    "white_matter",
)

_OWN = "neurobraid"
# fMRIPrep joins echoes and drops the part; both may be in the raw name
_DROPPED = ("echo", "part")
_NATIVE = (None, "run")
_ANAT = {
    "t1w": ("T1w", ".nii.gz", {"desc": "preproc"}),
    "t1w_json": ("T1w", ".json", {"desc": "preproc"}),
    "mask": ("mask", ".nii.gz", {"desc": "brain"}),
    "gm": ("probseg", ".nii.gz", {"label": "GM"}),
    "wm": ("probseg", ".nii.gz", {"label": "WM"}),
    "csf": ("probseg", ".nii.gz", {"label": "CSF"}),
    "forward": ("xfm", ".h5", {"from": "T1w", "to": TEMPLATE, "mode": "image"}),
    "inverse": ("xfm", ".h5", {"from": TEMPLATE, "to": "T1w", "mode": "image"}),
}
_WORDS = {
    "t1w": "desc-preproc_T1w",
    "mask": "desc-brain_mask",
    "gm": "label-GM_probseg",
    "wm": "label-WM_probseg",
    "csf": "label-CSF_probseg",
    "forward": f"from-T1w_to-{TEMPLATE}_mode-image_xfm.h5",
    "inverse": f"from-{TEMPLATE}_to-T1w_mode-image_xfm.h5",
}


def read_version(root):
    """Check that a folder holds fMRIPrep's derivatives and read the version.

    Parameters
    ----------
    root : path-like

    Returns
    -------
    str
        ``n/a`` where the description does not say.

    Raises
    ------
    InputError
        No ``dataset_description.json``, a raw dataset, or the derivatives of another program.
    """
    root = Path(root)
    name = f"{LINK}/dataset_description.json"
    if not (root / "dataset_description.json").is_file():
        below = sorted(p.parent.name for p in root.glob("*/dataset_description.json"))
        fix = (
            f"set adopt.fmriprep to the folder {below[0]} inside it"
            if below
            else "set adopt.fmriprep to the folder of fMRIPrep that holds dataset_description.json and sub-*"
        )
        raise InputError(name, "file", "missing (no derivative)", "a file", fix)
    content = read_sidecar(root, "dataset_description.json")
    kind = content.get("DatasetType", "derivative")
    if kind != "derivative":
        raise InputError(
            name, "DatasetType", kind, "derivative", "give fMRIPrep's output, not the raw dataset"
        )
    makers = content.get("GeneratedBy") or content.get("PipelineDescription") or []
    makers = [m for m in (makers if isinstance(makers, list) else [makers]) if isinstance(m, dict)]
    for maker in makers:
        if str(maker.get("Name", "")).lower() == "fmriprep":
            return str(maker.get("Version") or MISSING)
    names = ", ".join(str(m.get("Name")) for m in makers) or "not stated"
    raise InputError(name, "GeneratedBy", names, "fMRIPrep", "give the folder that fMRIPrep wrote")


def _key(entities, dropped=()):
    """Raw entities of a name as a set; ``run-01`` is ``run-1``."""
    return frozenset(
        (k, v.lstrip("0") or "0" if k == "run" else v)
        for k, v in entities.items()
        if k in SCAN_KEYS and k not in dropped
    )


def _label(key):
    return "_".join(f"{k}-{v}" for k, v in sorted(key, key=lambda kv: SCAN_KEYS.index(kv[0])))


def _walk(root, participant):
    """Parsed names of one participant by data type: path below `root`, Name."""
    found = {"anat": [], "func": []}
    base = Path(root) / participant
    visits = [base, *sorted(p for p in base.glob("ses-*") if p.is_dir())]
    for visit, datatype in itertools.product(visits, found):
        folder = visit / datatype
        for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
            try:
                found[datatype].append(((folder / name).relative_to(root).as_posix(), parse(name)))
            except ValueError:
                continue
    return found


def _rest(name):
    """Entities of a derivative's name that are not those of the raw scan."""
    return {k: v for k, v in name.entities.items() if k not in SCAN_KEYS}


def _anatomies(files):
    """Anatomical results of one participant: set of raw entities to role to path."""
    groups = {}
    for path, name in files:
        for role, (suffix, extension, entities) in _ANAT.items():
            if (name.suffix, name.extension, _rest(name)) == (suffix, extension, entities):
                groups.setdefault(_key(name.entities), {})[role] = path
    return {key: roles for key, roles in groups.items() if set(roles) - {"t1w_json"}}


def _raw_names(root, path):
    """Names of the raw T1w images that a preprocessed T1w says it was made from; empty where it does not."""
    content = read_sidecar(root, path) if path else {}
    listed = [s for k in ("Sources", "RawSources") for s in content.get(k) or [] if isinstance(s, str)]
    names = {source.replace(":", "/").rpartition("/")[2] for source in listed}
    return {n for n in names if n.partition(".")[0].endswith("_T1w") and "_desc-" not in n}


def _anatomy_of(root, row, groups):
    """Key of the anatomy that was made from a raw T1w, or None."""
    name = row["path"].partition(";")[0].rpartition("/")[2]
    mine, matches = _key(parse(name).entities), []
    for key, roles in groups.items():
        sources = _raw_names(root, roles.get("t1w_json"))
        if name in sources if sources else key <= mine:
            matches.append(key)
    return max(matches, key=lambda k: (len(k), _label(k)), default=None)


def _anatomy_of_bold(row, groups):
    """Key of the anatomy a BOLD run was aligned to, or None where that cannot be told."""
    session = row["session_id"].partition("-")[2] if row["session_id"] != MISSING else None
    fitting = [k for k in groups if dict(k).get("ses") in (None, session)] or list(groups)
    return fitting[0] if len(fitting) == 1 else None


def _broken(root, path):
    """Why a file cannot be used, or None."""
    full = Path(root) / path
    if not full.exists():
        return f"{path} is a broken link (datalad: get it)"
    return f"{path} is empty" if full.stat().st_size == 0 else None


def _resolution(path):
    """Order of preference among resolutions: as acquired, then 2 mm, then the others."""
    label = parse(path.rpartition("/")[2]).entities.get("res")
    return ([None, "native", "2", "02"].index(label) if label in (None, "native", "2", "02") else 9, path)


def _bold_roles(files):
    """Roles of the files of one run: shared ones, and by space those of the series.

    Returns
    -------
    shared : dict of str to str
        ``confounds``, ``confounds_json``, ``coreg``, ``native_ref``, ``native_mask``.
    series : dict of str to dict
        Space (``native`` for the raw grid) to ``bold``, ``bold_json``, ``mask``, ``boldref``.
    """
    shared, series, seen = {}, {}, {}
    for path, name in files:
        rest = _rest(name)
        space, resolution = rest.pop("space", None), rest.pop("res", None)
        desc, kind = rest.pop("desc", None), name.suffix
        native = space in _NATIVE
        if kind in ("timeseries", "regressors") and desc == "confounds" and not rest and native:
            role = {".tsv": "confounds", ".json": "confounds_json"}.get(name.extension)
            if role:
                # the newer name wins where both are there
                shared[role] = path if kind == "timeseries" else shared.get(role, path)
        elif kind == "xfm" and name.extension == ".txt" and rest.get("to") == "T1w":
            if rest.get("from") in ("scanner", "boldref", "run") and desc in (None, "coreg"):
                shared["coreg"] = path
        elif not rest and kind in ("bold", "mask", "boldref"):
            wanted = {"bold": ("preproc", "optcom"), "mask": ("brain",), "boldref": (None, "coreg")}[kind]
            role = {"bold.json": "bold_json"}.get(f"{kind}{name.extension}", kind)
            if desc not in wanted or (name.extension != ".nii.gz" and role != "bold_json"):
                continue
            if native and kind == "boldref":
                # the one that the alignment was estimated on comes first
                if desc == "coreg" or "native_ref" not in shared:
                    shared["native_ref"] = path
            elif native and kind == "mask":
                shared["native_mask"] = path
            seen.setdefault("native" if native else space, {}).setdefault(resolution, {})[role] = path
    for space, by_resolution in seen.items():
        usable = [roles for roles in by_resolution.values() if {"bold", "mask"} <= set(roles)]
        if usable:
            series[space] = min(usable, key=lambda roles: _resolution(roles["bold"]))
    return shared, series, sorted(seen)


def _confound_problem(root, path, volumes):
    """What is wrong with a table of confounds, or None."""
    with open(Path(root) / path, encoding="utf-8-sig", newline="") as handle:
        reader = csv.reader(handle, delimiter="\t")
        header = next(reader, [])
        rows = sum(1 for row in reader if row)
    lacking = [c for c in CONFOUNDS if c not in header]
    if lacking:
        return f"{path} has no column {', '.join(lacking)}"
    return f"{path} has {rows} rows for {volumes} volumes" if rows != volumes else None


def _bold_record(root, raw_root, row, files, groups):
    """What fMRIPrep holds for one raw BOLD run."""
    # the echoes of a run are one scan
    first = row["path"].partition(";")[0]
    key = _key(parse(first.rpartition("/")[2]).entities, _DROPPED)
    mine = [(path, name) for path, name in files if _key(name.entities, ("part",)) == key]
    if not mine:
        return {"reason": "fMRIPrep has nothing of this run"}
    shared, series, spaces = _bold_roles(mine)
    space = next((s for s in ("T1w", "native", TEMPLATE) if s in series), None)
    if space is None:
        others = [s for s in spaces if s not in ("T1w", "native", TEMPLATE)]
        found = f"only in {', '.join(others)}" if others else "not at all, or without its mask"
        return {
            "reason": f"fMRIPrep has the series {found}; it is taken from T1w, native or {TEMPLATE} space"
        }
    lacking = [
        word
        for role, word in (("confounds", "the confounds table"), ("coreg", "the transform of the BOLD reference to T1w"))
        if role not in shared
    ]  # fmt: skip
    if lacking:
        return {"reason": f"fMRIPrep lacks {' and '.join(lacking)}"}
    found = {**shared, **series[space]}
    for path in found.values():
        if problem := _broken(root, path):
            return {"reason": problem}
    try:
        shape = read_header(Path(root) / found["bold"], found["bold"])["shape"]
        raw = read_header(Path(raw_root) / first, first)["shape"]
    except InputError as error:
        return {"reason": str(error.problem.file) + f" is {error.problem.found}"}
    if len(shape) != 4 or len(raw) != 4 or shape[3] != raw[3]:
        counts = [n[3] if len(n) == 4 else 1 for n in (shape, raw)]
        return {
            "reason": f"{found['bold']} has {counts[0]} volumes, the raw run {counts[1]}",
            "level": "warning",
        }
    if problem := _confound_problem(root, found["confounds"], shape[3]):
        return {"reason": problem}
    anatomy = _anatomy_of_bold(row, groups)
    if anatomy is None:
        return {"reason": "fMRIPrep has several anatomies of the participant, none of the run's own session"}
    return {"reason": "", "space": space, "anatomy": _label(anatomy), "files": found}


def _t1w_record(root, row, groups):
    """What fMRIPrep holds for one raw T1w."""
    key = _anatomy_of(root, row, groups)
    if key is None:
        return {"reason": "fMRIPrep has no anatomy made from this T1w"}
    lacking = [word for role, word in _WORDS.items() if role not in groups[key]]
    if lacking:
        return {"reason": f"fMRIPrep lacks {', '.join(lacking)}"}
    for path in groups[key].values():
        if problem := _broken(root, path):
            return {"reason": problem}
    return {"reason": "", "anatomy": _label(key), "files": groups[key]}


def _without_raw(person, rows, files):
    """Rows for the table of exclusions: runs that fMRIPrep has and the raw dataset has not."""
    known = {
        _key(parse(r["path"].partition(";")[0].rpartition("/")[2]).entities, _DROPPED)
        for r in rows
        if r["suffix"] == "bold"
    }
    reason = "fMRIPrep has it, the raw dataset has not; events and sidecars are read from there"
    runs = {}
    for path, name in files:
        key = _key(name.entities, _DROPPED)
        if (name.suffix, name.extension) == ("bold", ".nii.gz") and key not in known:
            runs.setdefault(key, (path, name))
    found = []
    for key in sorted(runs, key=_label):
        session = f"ses-{dict(key)['ses']}" if "ses" in dict(key) else MISSING
        row = {"scan": _label(key), "suffix": "bold", "participant_id": person, "session_id": session}
        found.append(exclusion({**row, "path": f"{LINK}/{runs[key][0]}"}, "no-raw", reason))
    return found


def read_derivatives(root, raw_root, table):
    """Look up every T1w and BOLD scan of a raw dataset in fMRIPrep's derivatives.

    Parameters
    ----------
    root : path-like
        Folder of the derivatives.
    raw_root : path-like
    table : pandas.DataFrame
        Scan table of the raw dataset, all scans.

    Returns
    -------
    dict
        To be stored as JSON: ``version``; ``scans``, a list with ``scan``, ``suffix``, ``reason`` (empty where the scan is
        whole) and for whole scans ``anatomy`` (which anatomical results it belongs to) and ``files`` (role to path below
        `root`); ``warnings``; ``without_raw``, rows for the table of exclusions.

    Raises
    ------
    InputError
        See `read_version`; also when no participant of the dataset is there.
    """
    version = read_version(root)
    wanted = table[table["suffix"].isin(("T1w", "bold"))]
    people = sorted(set(wanted["participant_id"]), key=natural)
    there = {p.name for p in Path(root).glob("sub-*") if p.is_dir()}
    if not there & set(people):
        raise InputError(
            LINK, "participants", ", ".join(sorted(there, key=natural)[:6]) or "none",
            "at least one participant of the raw dataset", "set adopt.fmriprep to the derivatives of this dataset",
        )  # fmt: skip
    records, warnings, without_raw = [], [], []
    for person in sorted(there - set(people), key=natural):
        without_raw += _without_raw(person, [], _walk(root, person)["func"])
    for person in people:
        files = _walk(root, person) if person in there else {"anat": [], "func": []}
        groups = _anatomies(files["anat"])
        mine = wanted[wanted["participant_id"] == person].to_dict("records")
        without_raw += _without_raw(person, mine, files["func"])
        for row in mine:
            if person not in there:
                found = {"reason": "fMRIPrep has nothing of this participant"}
            elif row["suffix"] == "T1w":
                found = _t1w_record(root, row, groups)
            else:
                found = _bold_record(root, raw_root, row, files["func"], groups)
            if found.pop("level", None):
                warnings.append(
                    vars(Problem(f"{LINK}/{person}", row["scan"], found["reason"], "the same run as the raw one",
                                 "the run is preprocessed here; run fMRIPrep again on this raw file", "warning"))
                )  # fmt: skip
            records.append({"scan": row["scan"], "suffix": row["suffix"], **found})
    return {"version": version, "scans": records, "warnings": warnings, "without_raw": without_raw}


def decide(scans, pairing, found=None):
    """Say for every T1w and BOLD scan of a study who preprocesses it.

    A BOLD run is adopted only with the T1w it is paired with, because fMRIPrep's transforms lead to that image.

    Parameters
    ----------
    scans, pairing : pandas.DataFrame
        Of the index: analysed scans only.
    found : dict, optional
        From `read_derivatives`; None adopts nothing.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`, all text: ``source`` is ``neurobraid`` or ``fmriprep``; ``files`` joins ``role=path`` with
        ``;``; ``reason`` says why a scan is not adopted.
    """
    known = {(r["suffix"], r["scan"]): r for r in (found or {}).get("scans", ())}
    t1w_of = {(r.suffix, r.scan): r.t1w_scan for r in pairing.itertuples(index=False)}
    rows = []
    for row in scans.itertuples(index=False):
        if row.suffix not in ("T1w", "bold"):
            continue
        # the folder was read image by image; here the echoes of a run are one scan
        image = parse(row.path.partition(";")[0].rpartition("/")[2]).scan
        record = known.get((row.suffix, image), {"reason": "not known when fMRIPrep's folder was read"})
        reason = record["reason"]
        if found is None:
            reason = "adopt.fmriprep is not set"
        elif not reason and row.suffix == "bold":
            t1w = t1w_of.get((row.suffix, row.scan))
            paired = known.get(("T1w", t1w), {"reason": "unknown"})
            if paired["reason"]:
                reason = f"its T1w {t1w} cannot be adopted: {paired['reason']}"
            elif paired["anatomy"] != record["anatomy"]:
                reason = (
                    f"fMRIPrep aligned it to {record['anatomy']}, the study pairs it with {t1w} "
                    f"({paired['anatomy']})"
                )
        whole = found is not None and not reason
        rows.append(
            {
                "scan": row.scan,
                "suffix": row.suffix,
                "source": "fmriprep" if whole else _OWN,
                "version": found["version"] if whole else MISSING,
                "reason": reason or "whole",
                "files": ";".join(f"{k}={v}" for k, v in sorted(record["files"].items()))
                if whole
                else MISSING,
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=str)


def files_of(text):
    """Files column of the table as a dict: role to path below the derivatives.

    Examples
    --------
    >>> files_of("mask=sub-1/a_mask.nii.gz;t1w=sub-1/a_T1w.nii.gz")
    {'mask': 'sub-1/a_mask.nii.gz', 't1w': 'sub-1/a_T1w.nii.gz'}
    """
    return dict(part.split("=", 1) for part in text.split(";")) if text != MISSING else {}
