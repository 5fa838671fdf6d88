"""Validation of a raw dataset, in two depths, that reports everything wrong at once.

`check_structure` reads names, tables, sidecars and image headers: milliseconds per scan, before any work.
`check_content` reads every voxel once: damaged archives, missing volumes, NaN.

What is an error and what a warning follows one rule: an error is what would make a later stage fail or a number wrong.
Everything else that BIDS asks for is at most a warning. In particular a participant listed in ``participants.tsv`` without
data is a warning (the table of exclusions lists it), and so is data without a row there, unless group models or
predictions take their covariates from that table.
"""

import csv
import math
import os
from pathlib import Path

from neurobraid.bids.entities import name_problems, natural, parse, suggest
from neurobraid.bids.fieldmaps import FIELDMAP_SUFFIXES, KINDS, NO_FIELDMAP, as_list, intended_path
from neurobraid.bids.headers import FORM_GAP_MM, LARGEST_VALUE, form_gap
from neurobraid.bids.sidecars import applying, metadata, read_sidecar
from neurobraid.bids.table import (
    IMAGE_EXTENSIONS,
    MISSING,
    SUFFIXES,
    list_images,
    open_dataset,
)
from neurobraid.errors import InputError, ProblemList

#: Largest disagreement of the repetition time between header and sidecar, s.
TR_TOLERANCE_S = 0.001
#: Scanners round frame times to milliseconds; that is no overlap.
FRAME_TOLERANCE_S = 0.01
#: A repetition time above this is milliseconds written as seconds.
LONGEST_TR_S = 60.0

#: No echo time is longer; above this it is milliseconds written as seconds.
LONGEST_ECHO_S = 1.0
#: Units of a direct field map that the BOLD stage converts (a test keeps this in step with `neurobraid.bold.fieldmap`).
FIELDMAP_UNITS = ("Hz", "rad/s", "T")
#: Units of activity concentration that the PET stage converts (a test keeps this in step with `neurobraid.pet.units`).
ACTIVITY_UNITS = (
    "Bq/mL", "Bq/cc", "Bq/cm3", "BQML", "kBq/mL", "kBq/cc", "kBq/cm3", "kBqml", "nCi/mL", "nCi/cc", "uCi/mL", "uCi/cc",
)  # fmt: skip
#: PET-BIDS fields that the specification demands and no stage reads: one warning for all.
PET_ONLY_FOR_BIDS = (
    "Manufacturer", "ManufacturersModelName", "TracerName", "InjectedRadioactivity", "InjectedRadioactivityUnits",
    "InjectedMass", "InjectedMassUnits", "SpecificRadioactivity", "SpecificRadioactivityUnits", "ModeOfAdministration",
    "TimeZero", "ScanStart", "AcquisitionMode", "ReconMethodName", "ReconMethodParameterLabels", "ReconFilterType",
    "AttenuationCorrection",
)  # fmt: skip


def check_structure(
    bids_root,
    options=None,
    *,
    scans=None,
    fieldmaps=None,
    event_tasks=(),
    need_participants=False,
    distortion="auto",
    pet=None,
):
    """Check names, tables, sidecars and headers of a dataset.

    Parameters
    ----------
    bids_root : path-like
    options : mapping, optional
        The ``index`` section of the config: filters, and ``tr_tolerance_s``. Only the analysed scans are opened, so that an
        excluded scan may be broken.
    scans : pandas.DataFrame, optional
        Analysed scans, when they are known already; else they follow from `options`.
    fieldmaps : pandas.DataFrame, optional
        Their field maps (see `neurobraid.bids.fieldmaps.choose_fieldmaps`), when `scans` are given.
    event_tasks : iterable of str
        Tasks whose activation is modelled: their runs need events with a ``trial_type``.
    need_participants : bool
        Whether covariates are read from ``participants.tsv``: a participant without a row is an error then.
    distortion : str
        ``bold.distortion`` of the config.
    pet : dict, optional
        PET results that are taken over (see `neurobraid.bids.pet_tables.read_derivatives`), when `scans` are not given.

    Returns
    -------
    ProblemList
        Errors and warnings, ordered by participant. Nothing is raised for a wrong input, so that all problems are seen:
        call ``raise_errors()``.
    """
    from neurobraid.bids.pairing import build_index

    problems = ProblemList()
    if (options or {}).get("tables_only"):
        # no image and no folder of a participant; tables are checked where the plan is made
        return problems
    try:
        tree = open_dataset(bids_root)
    except InputError as error:
        problems.extend([error.problem])
        return problems
    tolerance = (options or {}).get("tr_tolerance_s", TR_TOLERANCE_S)
    problems.extend(name_errors(tree))
    if scans is None:
        try:
            index = build_index(bids_root, options, distortion, pet)
        except InputError as error:
            problems.extend([error.problem])
            index = build_index(bids_root, None, distortion, pet)
        scans, fieldmaps = index.scans, index.fieldmaps
        problems.extend(anatomy_errors(index))
    problems.extend(participants_errors(tree, scans, needed=need_participants))
    for row in scans.to_dict("records"):
        if not row["path"].endswith(IMAGE_EXTENSIONS):
            continue  # tables only: `neurobraid.bids.pet_tables.table_problems` reads them
        wanted = row["task"] in set(event_tasks)
        problems.extend(scan_errors(tree.root, row, needs_events=wanted, tr_tolerance=tolerance))
    if fieldmaps is not None:
        if distortion != "none":
            problems.extend(fieldmap_links(tree, set(scans["participant_id"])))
        for row in fieldmaps.to_dict("records"):
            problems.extend(fieldmap_errors(tree.root, row))
    if scans.empty and not problems.errors:
        found = "no T1w, BOLD or PET image to analyse"
        fix = (
            "check the names: sub-<label>/anat/sub-<label>_T1w.nii.gz, .../func/..._task-<label>_bold.nii.gz"
        )
        problems.add(tree.root.name, "images", found, "at least one", fix)
    return problems


def anatomy_errors(index):
    """Say who has PET or BOLD scans but no T1w to go with them.

    A warning each, because the study goes on without those scans; errors when nothing is left.

    Parameters
    ----------
    index : neurobraid.bids.pairing.Index

    Returns
    -------
    ProblemList
    """
    problems = ProblemList()
    lost = index.exclusions[index.exclusions["rule"] == "no-t1w"]
    level = "warning" if (index.scans["suffix"] != "T1w").any() else "error"
    for participant, group in lost.groupby("participant_id", sort=False):
        scans = ", ".join(group["scan"] + "_" + group["suffix"])
        found = f"{group['reason'].iloc[0]}; left out: {scans}"
        fix = f"add {participant}/[ses-<label>/]anat/{participant}_[ses-<label>_]T1w.nii.gz, or raise index.max_days"
        problems.add(participant, "T1w", found, "one T1w per participant", fix, level)
    return problems


def fieldmap_links(tree, participants):
    """Warn about field maps whose sidecar cannot be read or is meant for a run that is not there.

    Parameters
    ----------
    tree : Tree
    participants : set of str
        Only theirs.

    Returns
    -------
    ProblemList
    """
    problems = ProblemList()
    present = {path for path, _, _ in list_images(tree)}
    stems = {path.removesuffix(".gz") for path in present}
    for path, datatype, name in list_images(tree):
        participant = f"sub-{name.entities['sub']}"
        if datatype != "fmap" or name.suffix not in FIELDMAP_SUFFIXES or participant not in participants:
            continue
        for sidecar in tree.applicable(path):
            try:
                content = read_sidecar(tree.root, sidecar)
            except InputError as error:
                p = error.problem
                problems.add(p.file, p.field, p.found, p.allowed, p.fix, level="warning")
                continue
            for text in as_list(content.get("IntendedFor")):
                target = intended_path(text, participant)
                if target is None or target.removesuffix(".gz") in stems:
                    continue
                guess = suggest(target, sorted(p for p in present if p.startswith(f"{participant}/")))
                fix = f"did you mean {guess}?" if guess else "name the run, relative to the participant"
                found = f"{text}, which is not there"
                problems.add(
                    sidecar, "IntendedFor", found, "an image of the participant", fix, level="warning"
                )
    return problems


def fieldmap_errors(root, row):
    """Problems of the field map of one BOLD run.

    Parameters
    ----------
    root : path-like
        BIDS root.
    row : mapping
        Row of the table of field maps.

    Returns
    -------
    ProblemList
        Errors: what would make the correction fail or wrong. A warning: a run that has a field map which cannot be used.
    """
    problems = ProblemList()
    if row["method"] == "none":
        if row["reason"] not in (NO_FIELDMAP, "bold.distortion is none"):
            fix = "mend what the reason names, or accept the distortion"
            problems.add(row["scan"], "field map", row["reason"], "a usable one", fix, level="warning")
        return problems
    if row["method"] not in KINDS:
        return problems
    paths = row["paths"].split(";")
    sidecars = [] if row["sidecars"] == MISSING else row["sidecars"].split(";")
    meta = {}
    for path in paths:
        suffix = parse(path.rpartition("/")[2]).suffix
        meta[suffix] = {}
        for sidecar in sidecars:
            if parse(sidecar.rpartition("/")[2]).suffix == suffix:
                try:
                    meta[suffix].update(read_sidecar(root, sidecar))
                except InputError as error:
                    problems.extend([error.problem])
    headers = {}
    for path in paths:
        try:
            headers[path] = read_header(Path(root) / path, path)
        except InputError as error:
            problems.extend([error.problem])
    shapes = {path: header["shape"] for path, header in headers.items()}
    for path, shape in shapes.items():
        text = " x ".join(map(str, shape))
        if len([n for n in shape if n > 1]) != 3:
            problems.add(path, "dimensions", text, "3D", "give one 3D image per file")
        elif paths[0] in shapes and shape[:3] != shapes[paths[0]][:3]:
            wanted = " x ".join(map(str, shapes[paths[0]][:3]))
            fix = f"give the magnitude image of the same acquisition as {paths[0].rpartition('/')[2]}"
            problems.add(path, "dimensions", text, wanted, fix)
    if row["method"] == "direct":
        units = meta["fieldmap"].get("Units")
        if units not in FIELDMAP_UNITS:
            found = "missing" if units is None else repr(units)
            fix = "write the unit the map really has; it is never guessed"
            problems.add(_own_sidecar(paths[0]), "Units", found, ", ".join(FIELDMAP_UNITS), fix)
        return problems
    if row["method"] == "phasediff":
        own = meta["phasediff"]
        wanted = [("phasediff", "EchoTime1"), ("phasediff", "EchoTime2")]
        magnitudes = [meta.get(name, {}) for name in ("magnitude1", "magnitude2")]
        values = [
            own.get(key, magnitude.get("EchoTime"))
            for (_, key), magnitude in zip(wanted, magnitudes, strict=True)
        ]
    else:
        wanted = [("phase1", "EchoTime"), ("phase2", "EchoTime")]
        values = [meta[suffix].get(key) for suffix, key in wanted]
    times = [_number(value) for value in values]
    by_suffix = {parse(path.rpartition("/")[2]).suffix: _own_sidecar(path) for path in paths}
    for (suffix, key), value, seconds in zip(wanted, values, times, strict=True):
        if value is None:
            problems.add(
                by_suffix[suffix], key, "missing", "seconds", "add the echo time of the scan protocol"
            )
        elif seconds is None or not 0 < seconds < LONGEST_ECHO_S:
            fix = "divide by 1000: the unit is seconds" if seconds and seconds >= 1 else "correct it"
            problems.add(by_suffix[suffix], key, repr(value), f"seconds, below {LONGEST_ECHO_S:g}", fix)
    if None not in times and times[0] == times[1]:
        suffix, key = wanted[1]
        found = f"{values[1]!r}, the same as the first echo"
        problems.add(by_suffix[suffix], key, found, "two different echo times", "correct the sidecar")
    return problems


def name_errors(tree):
    """Problems with the names of images, sidecars and events, and with images in the wrong folder."""
    problems = ProblemList()
    for folder, names in tree.files.items():
        parts = folder.split("/")
        if len(parts) < 2 or parts[-1].startswith("ses-"):
            continue
        visit = "/".join(parts[:-1])
        for name in names:
            image = name.endswith(IMAGE_EXTENSIONS)
            # other files (physiology, DICOM leftovers) do not stop a study that never reads them
            if not image and parts[-1] not in SUFFIXES.values():
                continue
            if not image and not name.endswith(("_events.tsv", "_bold.json", "_pet.json", "_T1w.json")):
                continue
            path = f"{folder}/{name}"
            wrong = name_problems(name, raw=True)
            for found, allowed, fix in wrong:
                problems.add(path, "file name", found, allowed, fix)
            if wrong:
                continue
            parsed = parse(name)
            if parsed.visit != visit:
                start = visit.replace("/", "_")
                rest = [f"{k}-{v}" for k, v in parsed.entities.items() if k not in ("sub", "ses")]
                right = "_".join([start, *rest, parsed.suffix]) + parsed.extension
                fix = f"move the file to its folder or rename it to {right}"
                problems.add(
                    path, "file name", parsed.visit or "no participant", f"{visit} (its folder)", fix
                )
            elif image and parsed.suffix in SUFFIXES and SUFFIXES[parsed.suffix] != parts[-1]:
                right = SUFFIXES[parsed.suffix]
                fix = f"move it to {visit}/{right}/"
                problems.add(path, "folder", parts[-1], right, fix, level="warning")
            elif parsed.suffix == "bold" and "task" not in parsed.entities:
                fix = "add the task, for example task-rest"
                problems.add(path, "file name", "no task entity", "task-<label> in every BOLD name", fix)
    numbers = {}
    for participant in tree.folders:
        folder = f"sub-{participant}"
        if not participant.replace("+", "").isalnum():
            problems.add(folder, "folder name", folder, "sub- and letters or digits", "rename the folder")
        twin = numbers.setdefault(participant.lstrip("0"), folder)
        if twin != folder:
            fix = "rename one, unless they are two people"
            problems.add(
                folder, "folder name", f"{folder} beside {twin}", "names that differ", fix, level="warning"
            )
    return problems


def _read_rows(path):
    """Header and rows of a TSV as text; tolerant about the byte order mark and the line ends."""
    with open(path, encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.reader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    header = [cell.strip() for cell in rows[0]] if rows else []
    return header, [[cell.strip() for cell in row] for row in rows[1:]]


def participants_errors(tree, scans, *, needed=False):
    """Compare ``participants.tsv`` with the folders, both ways.

    Parameters
    ----------
    tree : Tree
    scans : pandas.DataFrame
        Analysed scans: only their participants need a row.
    needed : bool
        See `check_structure`.

    Returns
    -------
    ProblemList
    """
    problems = ProblemList()
    file = "participants.tsv"
    level = "error" if needed else "warning"
    path = tree.root / file
    if not path.is_file():
        problems.add(
            file,
            "file",
            "missing",
            "a table with column participant_id",
            "write it: one row per participant",
            level,
        )
        return problems
    try:
        header, rows = _read_rows(path)
    except (UnicodeDecodeError, OSError) as error:
        problems.add(file, "content", f"not readable ({error})", "UTF-8 text", "save it as UTF-8 text")
        return problems
    if "participant_id" not in header:
        separator = "commas" if len(header) == 1 and "," in header[0] else "columns " + ", ".join(header)
        problems.add(
            file,
            "columns",
            separator,
            "participant_id, tab-separated",
            "name the first column participant_id",
        )
        return problems
    column = header.index("participant_id")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            found = f"{len(row)} cells"
            problems.add(
                file,
                f"line {number}",
                found,
                f"{len(header)} cells, as the header",
                "write n/a for missing values",
            )
    listed = [row[column] for row in rows if len(row) > column]
    folders = [f"sub-{label}" for label in tree.folders]
    analysed = set(scans["participant_id"]) if len(scans) else set(folders)
    for label in sorted({p for p in listed if listed.count(p) > 1}, key=natural):
        problems.add(
            file, "participant_id", f"{label} twice", "every participant once", "keep one row", level
        )
    used = set()
    for label in dict.fromkeys(listed):
        if label in folders:
            continue
        guess = suggest(label, [f for f in folders if f not in listed])
        # one typing mistake shows in both directions; say it once
        if guess and label.removeprefix("sub-").lstrip("0") == guess.removeprefix("sub-").lstrip("0"):
            used.add(guess)
            fix = f"did you mean {guess}? Identifiers are text: keep their zeros and the sub-"
            problems.add(file, "participant_id", label, f"a folder of the dataset, like {guess}", fix, level)
        else:
            fix = f"did you mean {guess}? " if guess else ""
            fix += "Restore the data or accept: the participant is listed among the exclusions"
            found = f"{label}, which has no data"
            problems.add(file, "participant_id", found, "participants with a folder", fix, level="warning")
    for folder in folders:
        if folder not in listed and folder not in used and folder in analysed:
            fix = f"add a row {folder}"
            problems.add(
                file,
                "participant_id",
                f"no row for the folder {folder}",
                "a row for every folder",
                fix,
                level,
            )
    return problems


def scan_errors(root, row, *, needs_events=False, tr_tolerance=TR_TOLERANCE_S):
    """Problems of one scan: sidecars, header, events, frames.

    Parameters
    ----------
    root : path-like
        BIDS root.
    row : mapping
        Row of the scan table.
    needs_events : bool
        Whether events of this BOLD run are analysed.
    tr_tolerance : float
        Largest disagreement of the repetition time between header and sidecar, s.

    Returns
    -------
    ProblemList
    """
    images = image_rows(row)
    if len(images) > 1:
        problems = ProblemList()
        for number, image in enumerate(images):
            # the echoes share one table of events
            own = image if number == 0 else {**image, "events": MISSING}
            wanted = needs_events and number == 0
            problems.extend(scan_errors(root, own, needs_events=wanted, tr_tolerance=tr_tolerance))
        if row["suffix"] == "bold":
            problems.extend(_echo_errors(root, images))
        return problems
    problems = ProblemList()
    path = row["path"]
    meta, seen = {}, {}
    for sidecar in [] if row["sidecars"] == MISSING else row["sidecars"].split(";"):
        try:
            content = read_sidecar(root, sidecar)
        except InputError as error:
            problems.extend([error.problem])
            continue
        for key in sorted(set(content) & set(meta)):
            same_folder = seen[key].rpartition("/")[0] == sidecar.rpartition("/")[0]
            if same_folder and content[key] != meta[key]:
                found = f"{content[key]!r} here and {meta[key]!r} in {seen[key]}"
                fix = "keep the key in one of them; the file with more entities was taken"
                problems.add(sidecar, key, found, "one value per folder", fix, level="warning")
        meta.update(content)
        seen.update(dict.fromkeys(content, sidecar))
    try:
        header = read_header(Path(root) / path, path)
    except InputError as error:
        problems.extend([error.problem])
        header = None
    source = row["sidecars"].rpartition(";")[2] if row["sidecars"] != MISSING else _own_sidecar(path)

    def where(key):
        return seen.get(key, source)

    if header:
        for axis, size in zip("ijk", header["zooms"], strict=False):
            if not 0 < size < 100:
                problems.add(
                    path, f"voxel size along {axis}", f"{size:g} mm", "above 0", "correct the header (pixdim)"
                )
        if header["form_gap"] is not None and header["form_gap"] > FORM_GAP_MM:
            found = f"up to {header['form_gap']:.1f} mm apart"
            fix = "look at the alignment in the report; the sform is used. Remove the wrong one (code 0) when it is known"
            problems.add(path, "sform and qform", found, f"within {FORM_GAP_MM:g} mm", fix, level="warning")
    if row["suffix"] == "bold":
        problems.extend(_bold_errors(path, header, meta, where, tr_tolerance))
        problems.extend(_events_errors(root, row, header, meta, needed=needs_events))
    elif row["suffix"] == "pet":
        problems.extend(_pet_errors(path, header, meta, where))
    elif header and len([n for n in header["shape"] if n > 1]) != 3:
        shape = " x ".join(map(str, header["shape"]))
        problems.add(path, "dimensions", shape, "3D", "give one 3D T1w image")
    return problems


def image_rows(row):
    """One row per image of a scan: several for a multi-echo run and for averaged T1w runs.

    Parameters
    ----------
    row : mapping
        Row of the scan table.

    Returns
    -------
    list of dict
        Each with its own ``path`` and ``sidecars``.
    """
    paths = row["path"].split(";")
    if len(paths) == 1:
        return [dict(row)]
    sidecars = [] if row["sidecars"] == MISSING else row["sidecars"].split(";")
    return [{**row, "path": p, "sidecars": ";".join(applying(sidecars, p)) or MISSING} for p in paths]


def _echo_errors(root, images):
    """What the echoes of one run must have in common, and their times."""
    problems = ProblemList()
    shapes, last = {}, None
    for image in images:
        path = image["path"]
        try:
            shapes[path] = read_header(Path(root) / path, path)["shape"]
            meta = metadata(root, image["sidecars"])
        except InputError:
            continue  # reported with the image itself
        file = image["sidecars"].rpartition(";")[2] if image["sidecars"] != MISSING else _own_sidecar(path)
        key, allowed = "EchoTime", "seconds, above 0 and below 1"
        time = _number(meta.get(key))
        if time is None or not 0 < time < 1:
            found = "missing" if key not in meta else repr(meta[key])
            fix = f"add the time of echo {parse(path.rpartition('/')[2]).entities['echo']}"
            if time and time >= 1:
                fix = f"write {time / 1000:g}: the unit is seconds"
            problems.add(file, key, found, allowed, fix)
            continue
        if last is not None and time <= last[0]:
            found = f"{time:g} s, after {last[0]:g} s in {last[1].rpartition('/')[2]}"
            fix = "number the echoes by their time, each with the time in its own sidecar"
            problems.add(file, key, found, "a longer time in every further echo", fix)
        last = time, path
    first = next(iter(shapes.items()), None)
    for path, shape in shapes.items():
        if shape != first[1]:
            found, other = (" x ".join(map(str, s)) for s in (shape, first[1]))
            fix = "convert the run again, or exclude the echo (index.exclude)"
            problems.add(path, "dimensions", found, f"{other}, as {first[0].rpartition('/')[2]}", fix)
    return problems


def _own_sidecar(path):
    for extension in IMAGE_EXTENSIONS:
        path = path.removesuffix(extension)
    return path + ".json"


def read_header(path, name=None):
    """Shape, voxel size and timing of a NIfTI file, without its voxels.

    Parameters
    ----------
    path : path-like
    name : str, optional
        How messages call the file.

    Returns
    -------
    dict
        ``shape`` (tuple), ``zooms`` (mm), ``tr`` (s, or None when the header does not say), ``unit`` (of time, as the
        header says), ``dtype``, ``offset`` (of the voxels, bytes), ``slope`` and ``inter`` (of stored values),
        ``form_gap`` (mm, see `neurobraid.bids.headers.form_gap`).

    Raises
    ------
    InputError
        Missing, empty, a broken link, damaged, or no NIfTI file.
    """
    import gzip
    import zlib

    import nibabel as nib

    path = Path(path)
    name = name or path.name
    fetch = "restore the file; in a datalad dataset: `datalad get " + name + "`"
    if not path.exists():
        found = "a broken link" if path.is_symlink() else "missing"
        raise InputError(name, "file", found, "an existing image", fetch)
    if path.stat().st_size == 0:
        raise InputError(name, "file", "empty (0 bytes)", "a NIfTI image", fetch)
    copy = "copy or convert the file again"
    try:
        with gzip.open(path, "rb") if name.endswith(".gz") else open(path, "rb") as stream:
            block = stream.read(540)
        # nibabel's own loading would mend a header silently (voxel size 0 becomes 1 mm) and log it to the terminal
        second = block[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")
        kind = nib.Nifti2Header if second else nib.Nifti1Header
        header = kind(block[: kind.template_dtype.itemsize], check=False)
        if not bytes(header["magic"]).startswith((b"n+1", b"n+2")):
            raise ValueError("no NIfTI header")
        shape, dtype = tuple(int(n) for n in header.get_data_shape()), header.get_data_dtype()
        unit = header.get_xyzt_units()[1]
        gap = form_gap(header)
        slope, inter = (float(header[key]) for key in ("scl_slope", "scl_inter"))
        # NIfTI: a slope of 0, or none, means stored values as they are
        slope, inter = (
            (slope, inter) if math.isfinite(slope) and slope and math.isfinite(inter) else (1.0, 0.0)
        )
    except (EOFError, OSError, zlib.error) as error:
        text = str(error).replace(str(path), name)
        raise InputError(name, "file", f"damaged at its beginning ({text})", "a NIfTI image", copy) from error
    except (ValueError, KeyError, nib.spatialimages.HeaderDataError, nib.wrapstruct.WrapStructError) as error:
        raise InputError(name, "file", f"not a NIfTI image ({error})", "a NIfTI image", copy) from error
    if not shape or min(shape) < 1:
        raise InputError(
            name, "dimensions", " x ".join(map(str, shape)) or "none", "1 or more along every axis", copy
        )
    factor = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}.get(unit, 1.0)
    zooms = [float(z) for z in header["pixdim"][1:5]]
    # float32 in the header: 1.1 is 1.10000002, which no user wrote
    tr = round(zooms[3] * factor, 6) if len(shape) > 3 else None
    return {
        "shape": shape,
        "zooms": tuple(zooms[:3]),
        "tr": tr or None,
        "unit": unit,
        "dtype": dtype,
        "offset": int(header["vox_offset"]),
        "slope": slope,
        "inter": inter,
        "form_gap": gap,
    }


def _number(value):
    """A finite float, or None; never true for booleans or text such as ``n/a``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _bold_errors(path, header, meta, where, tolerance):
    problems = ProblemList()
    if header and (len(header["shape"]) < 4 or header["shape"][3] < 2):
        shape = " x ".join(map(str, header["shape"]))
        kind = "3D" if len(header["shape"]) < 4 else "one volume"
        fix = "give the series; rename a single volume to _sbref"
        problems.add(path, "dimensions", f"{kind} ({shape})", "4D with two or more volumes", fix)
    key, allowed = "RepetitionTime", f"seconds, above 0 and below {LONGEST_TR_S:g}"
    in_header = header["tr"] if header else None
    if key not in meta:
        if "VolumeTiming" in meta:
            fix = "exclude the run (index.exclude): sparse sampling is not supported"
            problems.add(where("VolumeTiming"), key, "missing, VolumeTiming instead", allowed, fix)
        else:
            hint = f' (the header says {in_header:g} s: add "{key}": {in_header:g})' if in_header else ""
            problems.add(where(key), key, "missing", allowed, f"add it to the sidecar{hint}")
        return problems
    tr = _number(meta[key])
    if tr is None or not 0 < tr < LONGEST_TR_S:
        fix = (
            f"write {tr / 1000:g}: the unit is seconds"
            if tr and tr >= LONGEST_TR_S
            else "write a number in seconds"
        )
        problems.add(where(key), key, repr(meta[key]), allowed, fix)
        return problems
    if in_header and abs(in_header - tr) > tolerance:
        found = f"{tr:g} s in the sidecar and {in_header:g} s in the header of {path.rpartition('/')[2]}"
        if header["unit"] == "unknown":
            found += " (whose time unit is not set)"
        fix = "find the true repetition time in the scanner protocol and correct the wrong one"
        problems.add(where(key), key, found, f"the same within {tolerance * 1000:g} ms", fix)
    timing = meta.get("SliceTiming")
    if timing is not None:
        problems.extend(_slice_errors(timing, tr, header, meta, where))
    return problems


def _slice_errors(timing, tr, header, meta, where):
    problems = ProblemList()
    file = where("SliceTiming")
    values = [_number(t) for t in timing] if isinstance(timing, list) else [None]
    direction = str(meta.get("SliceEncodingDirection", "k"))
    axis = {"i": 0, "j": 1, "k": 2}.get(direction[:1])
    if axis is None:
        problems.add(file, "SliceEncodingDirection", direction, "i, j, k, i-, j-, k-", "correct the sidecar")
    elif None in values:
        problems.add(
            file, "SliceTiming", "not a list of numbers", "one time in s per slice", "correct the sidecar"
        )
    elif header and len(header["shape"]) > 3 and len(values) != header["shape"][axis]:
        found = f"{len(values)} times for {header['shape'][axis]} slices"
        problems.add(file, "SliceTiming", found, "one time per slice", "correct or remove the field")
    elif min(values) < 0 or max(values) >= tr + TR_TOLERANCE_S:
        found = f"{min(values):g} to {max(values):g}"
        fix = "divide by 1000: the unit is seconds" if max(values) > 2 * tr else "correct or remove the field"
        problems.add(file, "SliceTiming", found, f"0 to below RepetitionTime ({tr:g} s)", fix)
    return problems


def _lines(numbers):
    """``5, 7, 9, ... (12 lines)`` for messages."""
    text = ", ".join(map(str, numbers[:5]))
    return (
        f"line {text}"
        if len(numbers) == 1
        else f"lines {text}" + (f", ... ({len(numbers)} lines)" if len(numbers) > 5 else "")
    )


def _events_errors(root, row, header, meta, *, needed):
    problems = ProblemList()
    file = row["events"]
    if file == MISSING:
        if needed:
            right = row["path"].rpartition("_")[0] + "_events.tsv"
            fix = f"add it, or take task {row['task']} out of activation.tasks"
            problems.add(right, "file", "missing", "a table of onset, duration and trial_type", fix)
        return problems
    try:
        columns, rows = _read_rows(Path(root) / file)
    except (UnicodeDecodeError, OSError) as error:
        problems.add(file, "content", f"not readable ({error})", "UTF-8 text", "save it as UTF-8 text")
        return problems
    wanted = ["onset", "duration"] + (["trial_type"] if needed else [])
    missing = [column for column in wanted if column not in columns]
    if missing:
        fix = "separate the columns by tabs" if len(columns) == 1 else f"add the column {missing[0]}"
        guess = suggest(missing[0], columns)
        fix = f"rename the column {guess}" if guess and len(columns) > 1 else fix
        problems.add(file, "columns", f"{', '.join(columns) or 'none'} (missing {', '.join(missing)})",
                     ", ".join(wanted), fix)  # fmt: skip
        return problems
    if not rows and needed:
        problems.add(file, "rows", "no event", "one row per event", "add the events of the run")
    tr, length = _number(meta.get("RepetitionTime")), None
    if header and len(header["shape"]) > 3 and tr:
        length = header["shape"][3] * tr
    bad = {"onset": [], "duration": [], "negative": [], "short": [], "beyond": [], "over": [], "cells": []}
    latest = 0.0
    for number, cells in enumerate(rows, 2):
        if len(cells) != len(columns):
            bad["cells"].append(number)
            continue
        values = {}
        for column in ("onset", "duration"):
            try:
                values[column] = float(cells[columns.index(column)])
            except ValueError:
                values[column] = math.nan
            if not math.isfinite(values[column]):
                bad[column].append(number)
        onset, duration = values["onset"], values["duration"]
        if onset < 0:
            bad["negative"].append((number, onset))
        if duration < 0:
            bad["short"].append((number, duration))
        if length and onset >= length:
            bad["beyond"].append((number, onset))
        elif length and duration > 0 and onset + duration > length + tr:
            bad["over"].append(number)
            latest = max(latest, onset + duration)
    if bad["cells"]:
        found = f"another number of cells in {_lines(bad['cells'])}"
        problems.add(
            file, "rows", found, f"{len(columns)} cells, as the header", "write n/a for missing values"
        )
    for column in ("onset", "duration"):
        if bad[column]:
            found = f"not a number in {_lines(bad[column])}"
            problems.add(
                file, column, found, "seconds from the first volume", "write a number (0 for an impulse)"
            )
    for kind, column, allowed, fix in (
        (
            "negative",
            "onset",
            ">= 0 s (start of the first volume)",
            "remove the event, or count from the first volume",
        ),
        ("short", "duration", ">= 0 s", "correct the duration"),
    ):
        if bad[kind]:
            number, value = bad[kind][0]
            found = f"{value:g} s in {_lines([n for n, _ in bad[kind]])}"
            problems.add(file, column, found, allowed, fix)
    if bad["beyond"]:
        value = max(v for _, v in bad["beyond"])
        found = f"up to {value:g} s in {_lines([n for n, _ in bad['beyond']])}"
        fix = "remove the events, or check that events and run belong together"
        if value > 100 * length:
            fix = "divide by 1000: the unit is seconds"
        allowed = f"below {length:g} s, the end of the scan ({header['shape'][3]} volumes x {tr:g} s)"
        problems.add(file, "onset", found, allowed, fix)
    if bad["over"]:
        found = f"an event until {latest:g} s in {_lines(bad['over'])}"
        fix = "shorten the event, unless the scan was stopped early"
        problems.add(file, "duration", found, f"events that end by {length:g} s", fix, level="warning")
    return problems


def _insensitive(meta, key):
    """Name under which a sidecar holds a key, whatever its capitals; None when it is absent."""
    if key in meta:
        return key
    # the specification's own example writes InjectedRadioActivityUnits
    return next((k for k in meta if k.lower() == key.lower()), None)


def _unit_key(text):
    key = str(text).strip().replace("µ", "u").replace("μ", "u").replace("³", "3")  # micro sign and Greek mu
    for power in ("^-1", "-1"):
        key = (
            key.removesuffix(power) if key.lower().removesuffix(power).endswith(("ml", "cc", "cm3")) else key
        )
    return "".join(c for c in key.lower() if c not in " ^/.*·")


def known_unit(text):
    """Whether a unit of activity concentration is one the PET stage converts.

    Examples
    --------
    >>> known_unit("BQML"), known_unit("kBq/cc"), known_unit("counts"), known_unit("mBq/mL")
    (True, True, False, False)
    """
    return _unit_key(text) in {_unit_key(unit) for unit in ACTIVITY_UNITS}


def _pet_errors(path, header, meta, where):
    problems = ProblemList()

    def get(key):
        name = _insensitive(meta, key)
        return None if name is None else meta[name]

    required = {
        "Units": (", ".join(ACTIVITY_UNITS), "add the unit of the voxel values"),
        "TracerRadionuclide": ("for example C11 or F18", "add the radionuclide"),
        "FrameTimesStart": ("start of each frame, s after TimeZero", "add one number per frame"),
        "FrameDuration": ("duration of each frame, s", "add one number per frame"),
        "InjectionStart": ("seconds after TimeZero", "add it; 0 when TimeZero is the injection"),
        "ImageDecayCorrected": ("true or false", "add whether the reconstruction corrected for decay"),
    }
    if get("ImageDecayCorrected") is True:
        required["ImageDecayCorrectionTime"] = (
            "seconds after TimeZero",
            "add the time that activity was corrected to",
        )
    for key, (allowed, fix) in required.items():
        if get(key) in (None, "", "n/a", []):
            problems.add(where(key), key, "missing", allowed, fix)
    unused = [key for key in PET_ONLY_FOR_BIDS if get(key) is None]
    if unused:
        fix = "add them before sharing the dataset; nothing here reads them"
        problems.add(
            where(""), "fields that BIDS demands", "missing " + ", ".join(unused), "present", fix, "warning"
        )
    unit = get("Units")
    if unit not in (None, "", "n/a") and not known_unit(unit):
        fix = "write the unit the voxel values really have; it is never guessed"
        problems.add(where("Units"), "Units", repr(unit), ", ".join(ACTIVITY_UNITS), fix)
    corrected = get("ImageDecayCorrected")
    if corrected is not None and not isinstance(corrected, bool):
        found = repr(corrected)
        problems.add(
            where("ImageDecayCorrected"),
            "ImageDecayCorrected",
            found,
            "true or false",
            "write a JSON boolean",
        )
    for key in ("InjectionStart", "ImageDecayCorrectionTime"):
        if get(key) not in (None, "", "n/a") and _number(get(key)) is None:
            problems.add(
                where(key), key, repr(get(key)), "a number of seconds", "write seconds after TimeZero"
            )
    problems.extend(_frame_errors(path, header, get("FrameTimesStart"), get("FrameDuration"), where))
    return problems


def _frame_errors(path, header, starts, durations, where):
    problems = ProblemList()
    if starts in (None, "", "n/a", []) or durations in (None, "", "n/a", []):
        return problems
    lists = {}
    for key, value in (("FrameTimesStart", starts), ("FrameDuration", durations)):
        # a 3D image is one frame: a scalar and a list of one are both common
        values = value if isinstance(value, list) else [value]
        numbers = [_number(v) for v in values]
        if None in numbers:
            wrong = next(v for v, n in zip(values, numbers, strict=True) if n is None)
            problems.add(where(key), key, f"{wrong!r}", "numbers, in seconds", "correct the sidecar")
        else:
            lists[key] = numbers
    if len(lists) < 2:
        return problems
    starts, durations = lists.values()
    if header:
        volumes = header["shape"][3] if len(header["shape"]) > 3 else 1
        for key, values in lists.items():
            if len(values) != volumes:
                found = f"{len(values)} frames for {volumes} volume{'s' if volumes != 1 else ''} of {path.rpartition('/')[2]}"
                problems.add(
                    where(key), key, found, "one entry per volume", "correct the sidecar or the image"
                )
    if len(starts) != len(durations):
        if not header:
            found = f"{len(durations)} durations for {len(starts)} starts"
            problems.add(
                where("FrameDuration"), "FrameDuration", found, "as many as FrameTimesStart", "correct it"
            )
        return problems
    short = [n for n, d in enumerate(durations, 1) if d <= 0]
    if short:
        found = f"{durations[short[0] - 1]:g} s for frame {short[0]}"
        problems.add(where("FrameDuration"), "FrameDuration", found, "above 0 s", "correct the durations")
    for n in range(len(starts) - 1):
        end = starts[n] + durations[n]
        if end > starts[n + 1] + FRAME_TOLERANCE_S:
            found = f"frame {n + 1} until {end:g} s overlapping frame {n + 2} from {starts[n + 1]:g} s"
            fix = "correct the frame times"
            if len(set(durations)) > 1 and starts == sorted(starts) and max(durations) < 60 < max(starts):
                fix += "; are durations in minutes?"
            allowed = "frames that follow each other (gaps are allowed)"
            problems.add(where("FrameTimesStart"), "FrameTimesStart", found, allowed, fix)
            break
    return problems


def _ranges(numbers):
    """``1, 4-6`` of a sorted list of volume numbers."""
    parts, start = [], None
    for n, value in enumerate(numbers):
        start = value if start is None else start
        if n + 1 == len(numbers) or numbers[n + 1] != value + 1:
            parts.append(f"{start}" if start == value else f"{start}-{value}")
            start = None
    return ", ".join(parts[:8]) + (", ..." if len(parts) > 8 else "")


def image_errors(root, row):
    """Read every voxel of one image and say what is wrong with them.

    Parameters
    ----------
    root : path-like
        BIDS root.
    row : mapping
        Row of the scan table (``path`` and ``suffix`` are read).

    Returns
    -------
    ProblemList
        Errors: a damaged or truncated file, values beyond all reason (a damaged scale factor), a volume without variation (all PET frames at once only), NaN or infinite
        voxels in T1w or BOLD, volumes of PET wholly so. Warnings: single empty PET frames, some NaN voxels in PET or in a
        field map (suffix ``fieldmap`` stands for each of its images).
    """
    import gzip
    import zlib

    import numpy as np

    problems = ProblemList()
    path, suffix = row["path"], row["suffix"]
    copy = "copy or convert the file again"
    try:
        header = read_header(Path(root) / path, path)
    except InputError as error:
        problems.extend([error.problem])
        return problems
    spatial = header["shape"][:3]
    volumes = math.prod(header["shape"][3:])
    size = math.prod(spatial) * header["dtype"].itemsize
    real = header["dtype"].kind in "iuf"
    constant, infinite, worst, largest = [], [], 0, 0.0
    complete = 0
    full = Path(root) / path
    opened = gzip.open(full, "rb") if path.endswith(".gz") else open(full, "rb")  # noqa: SIM115
    try:
        with opened as stream:
            stream.read(header["offset"])
            for volume in range(1, volumes + 1):
                block = stream.read(size)
                if len(block) < size:
                    break
                complete += 1
                if not real:
                    continue
                values = np.frombuffer(block, header["dtype"])
                low, high = values.min(), values.max()
                for end in (float(low), float(high)):
                    if math.isfinite(end):
                        largest = max(largest, abs(end * header["slope"] + header["inter"]))
                if low == high:
                    constant.append(volume)
                # min and max are NaN when any voxel is, so finite volumes cost no further pass
                elif not (np.isfinite(low) and np.isfinite(high)):
                    finite = np.isfinite(values)
                    count = int(values.size - finite.sum())
                    worst = max(worst, count)
                    (infinite if finite.any() else constant).append(volume)
            # the checksum of an archive stands at its very end
            while stream.read(1 << 20):
                pass
    except EOFError:
        found = f"truncated after {complete} of {volumes} volume{'s' if volumes != 1 else ''}"
        problems.add(path, "voxel data", found, "a complete gzip file", copy)
        return problems
    except (gzip.BadGzipFile, zlib.error, OSError) as error:
        found = f"damaged ({error}) after {complete} of {volumes} volume{'s' if volumes != 1 else ''}"
        problems.add(path, "voxel data", found, "a gzip file with the right checksum", copy)
        return problems
    if complete < volumes:
        found = f"truncated: {complete} of {volumes} volume{'s' if volumes != 1 else ''}"
        shape = " x ".join(map(str, header["shape"]))
        problems.add(path, "voxel data", found, f"the {shape} voxels of the header", copy)
        return problems
    if largest > LARGEST_VALUE:
        found = f"up to {largest:.2g} (scl_slope {header['slope']:g})"
        fix = "convert the image again: its scale factor is damaged"
        problems.add(path, "voxel values", found, f"below {LARGEST_VALUE:g}", fix)
    which = f" in volume{'s' if volumes > 1 else ''} " if volumes > 1 else ""
    if constant:
        everything = len(constant) == volumes
        # frames before the tracer arrives may be empty; a later one was lost, and models would take it for zero
        soft = suffix == "pet" and not everything and constant == list(range(1, len(constant) + 1))
        found = "the same value, or NaN, in every voxel" + (
            f"{which}{_ranges(constant)}" if volumes > 1 else ""
        )
        fix = "exclude the scan (index.exclude) or restore the image"
        if soft:
            fix = "nothing, when the frame is before the tracer arrives"
        problems.add(path, "voxel values", found, "an image", fix, level="warning" if soft else "error")
    if infinite:
        found = f"NaN or infinite in up to {worst} of {math.prod(spatial)} voxels"
        found += f"{which}{_ranges(infinite)}" if volumes > 1 else ""
        fix = "replace them (0 outside the field of view) and note it in the sidecar"
        level = "warning" if suffix in ("pet", "fieldmap") else "error"
        problems.add(path, "voxel values", found, "finite numbers", fix, level)
    return problems


def check_content(bids_root, scans, *, workers=1, progress=None):
    """Read every image of the scan table whole.

    Parameters
    ----------
    bids_root : path-like
    scans : pandas.DataFrame
        Scan table.
    workers : int
        Images read at the same time (threads: decompression releases the interpreter).
    progress : callable, optional
        Called with (number done, number of images, path, problems) after each image.

    Returns
    -------
    list of ProblemList
        One per image, in the order of `scans`.
    """
    from concurrent.futures import ThreadPoolExecutor

    rows = [image for row in scans.to_dict("records") for image in image_rows(row)]
    results = []
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for row, problems in zip(rows, pool.map(lambda r: image_errors(bids_root, r), rows), strict=True):
            results.append(problems)
            if progress:
                progress(len(results), len(rows), row["path"], problems)
    return results


def validate(
    bids_root,
    scans,
    *,
    fieldmaps=None,
    options=None,
    event_tasks=(),
    need_participants=False,
    workers=1,
    progress=None,
    further=(),
):
    """Both depths of the validation, as a table.

    Parameters
    ----------
    bids_root, scans, fieldmaps, options, event_tasks, need_participants
        See `check_structure`. The images of the field maps are read, too.
    workers, progress
        See `check_content`.
    further : iterable of Problem
        What other checks found, to be told in the same table.

    Returns
    -------
    table : pandas.DataFrame
        One row per problem: file, level, field, found, allowed, fix; and one row of level ``ok`` per image without.
    problems : ProblemList
    """
    import pandas as pd

    problems = check_structure(
        bids_root,
        options,
        scans=scans,
        fieldmaps=fieldmaps,
        event_tasks=event_tasks,
        need_participants=need_participants,
    )
    # every image of a scan: echoes and averaged T1w runs are joined
    problems.extend(further)
    pieces = [
        (path, row.suffix)
        for row in scans.itertuples()
        for path in row.path.split(";")
        if path.endswith(IMAGE_EXTENSIONS)
    ]
    images = pd.DataFrame(pieces, columns=["path", "suffix"], dtype=str)
    if fieldmaps is not None:
        used = dict.fromkeys(path for paths in fieldmaps["paths"] for path in paths.split(";"))
        maps = [{"path": path, "suffix": "fieldmap"} for path in used if path != MISSING]
        images = pd.concat([images, pd.DataFrame(maps, columns=images.columns)], ignore_index=True)
    damaged = {(p.file, p.found) for p in problems.problems}
    for found in check_content(bids_root, images, workers=workers, progress=progress):
        # a file that cannot be opened was already reported from its header
        problems.extend([p for p in found.problems if (p.file, p.found) not in damaged])
    columns = ["file", "level", "field", "found", "allowed", "fix"]
    rows = [
        {c: getattr(p, c).replace("\t", " ").replace("\n", " ") for c in columns} for p in problems.problems
    ]
    touched = {p.file for p in problems.problems}
    for path in images["path"]:
        if path not in touched:
            size = os.path.getsize(Path(bids_root) / path)
            rows.append(
                {
                    "file": path,
                    "level": "ok",
                    "field": "whole file",
                    "found": f"{size} bytes",
                    "allowed": MISSING,
                    "fix": MISSING,
                }
            )
    rank = {"error": 0, "warning": 1, "ok": 2}
    rows.sort(key=lambda r: (rank[r["level"]], natural(r["file"])))
    return pd.DataFrame(rows, columns=columns), problems


def report_progress(log):
    """Return a callback for `check_content` that logs each image with the time left.

    Parameters
    ----------
    log : logging.Logger

    Returns
    -------
    callable
    """
    import time

    start = time.monotonic()

    def report(done, count, path, problems):
        left = (time.monotonic() - start) / done * (count - done)
        state = f"{len(problems.errors)} errors" if problems.errors else "ok"
        log.info("%d of %d checked, about %.0f s left: %s %s", done, count, left, path, state)

    return report
