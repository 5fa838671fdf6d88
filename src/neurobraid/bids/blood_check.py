"""Arterial blood and input functions of a raw dataset, checked before any work; everything wrong is told at once.

The rule is that of `neurobraid.bids.check`: an error is what would stop the plasma models or make a number wrong without a
word; what is converted, left out or flagged later is a warning. Where no model asks for plasma, nothing here is an error.
`neurobraid.pet.blood` reads the same files by the same rules (a test keeps the two in step).
"""

import csv
import math
from pathlib import Path

from neurobraid.bids.check import ACTIVITY_UNITS, known_unit
from neurobraid.bids.pet_tables import table_problems
from neurobraid.bids.sidecars import metadata, read_sidecar
from neurobraid.bids.table import IMAGE_EXTENSIONS, MISSING
from neurobraid.errors import InputError, ProblemList

#: Units of time that are converted, in s.
SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "min": 60.0, "minute": 60.0, "minutes": 60.0}
#: Columns of activity and the flag of the sidecar that promises each.
ACTIVITY = {"plasma_radioactivity": "PlasmaAvail", "whole_blood_radioactivity": "WholeBloodAvail"}
PARENT, PARENT_FLAG = "metabolite_parent_fraction", "MetaboliteAvail"
PERCENT = ("%", "percent", "per cent")
#: Activity below minus this share of the maximum is no counting noise.
SCATTER = 0.02
#: Share of the scan that blood has to last for a plasma model.
MIN_SHARE = 0.75

#: kBq/mL of each unit of activity concentration.
_KBQ = {"bq": 1e-3, "kbq": 1.0, "mbq": 1e3, "nci": 0.037, "uci": 37.0}
#: MBq of each unit of a dose.
_MBQ = {"bq": 1e-6, "kbq": 1e-3, "mbq": 1.0, "gbq": 1e3, "mci": 37.0, "uci": 0.037}
#: Injected activity of human brain PET, generously.
DOSE_MBQ = (5.0, 2500.0)
#: Highest activity of blood over the injected dose (1/L), generously: full mixing in 5 L of blood is 0.2.
PEAK_PER_L = (0.003, 5.0)


def blood_problems(bids_root, scans, *, given=(), needed=True):
    """Check the blood of every PET scan.

    Parameters
    ----------
    bids_root : path-like
    scans : pandas.DataFrame
        Analysed scans.
    given : collection of str
        Scans whose input function is ready made: their raw blood is not read.
    needed : bool
        Whether any model needs plasma; else every problem is a warning.

    Returns
    -------
    ProblemList
        Errors: no sidecar, no or an unknown unit, a column that the sidecar promises, times that are missing or do not
        increase, activity far below zero, a parent fraction above 1 (or in percent without a unit that says so) or below
        0, a column without a value. Warnings: another unit than the image's, a level that no injection explains, blood
        shorter than the scan, samples left out, a table that is not read because its name has no ``recording-``.
    """
    problems = ProblemList()
    for row in scans[scans["suffix"] == "pet"].to_dict("records"):
        if row["scan"] in given:
            continue
        folder = Path(bids_root, row["path"]).parent
        try:
            fields = _lower(metadata(bids_root, row["sidecars"]))
        except InputError:
            fields = {}  # reported with the scan itself
        stem = f"{row['path'].rpartition('/')[0]}/{row['scan']}"
        if (folder / f"{row['scan']}_blood.tsv").exists():
            problems.add(
                f"{stem}_blood.tsv", "file name", "no recording-", f"{row['scan']}_recording-manual_blood.tsv",
                "rename table and sidecar: a table without recording- is not read", "warning",
            )  # fmt: skip
        ends = []
        tables = sorted(folder.glob(f"{row['scan']}_recording-*_blood.tsv"))
        # of a scan with an image, `neurobraid.bids.check` says what its sidecar lacks
        if tables and not row["path"].endswith(IMAGE_EXTENSIONS) and fields.get("injectionstart") is None:
            fix = "write it; 0 when TimeZero is the injection: samples are counted from it"
            problems.add(row["path"], "InjectionStart", "missing", "seconds after TimeZero", fix)
        for path in tables:
            name = f"{row['path'].rpartition('/')[0]}/{path.name}"
            found, end = recording_problems(bids_root, name, fields)
            problems.extend(found)
            if end is not None:
                ends.append((end, name))
        problems.extend(_length(fields, ends))
    return problems if needed else _softened(problems)


def input_problems(given, *, needed=True):
    """Check input functions that bloodstream made.

    Parameters
    ----------
    given : dict of str to list of str
        Scan to table and, where there is one, sidecar, relative to the study.
    needed : bool
        See `blood_problems`.

    Returns
    -------
    ProblemList
    """
    problems = ProblemList()
    for paths in given.values():
        table = paths[0]
        if len(paths) < 2:
            fix = "write the JSON with the units of the columns (bloodstream writes it)"
            problems.add(table, "sidecar", "missing", Path(table).with_suffix(".json").name, fix)
            continue
        try:
            fields = read_sidecar(".", paths[1])
        except InputError as error:
            problems.extend([error.problem])
            continue
        columns = _read(table, problems)
        if columns is None:
            continue
        wanted = ["time", "whole_blood_radioactivity"]
        if not {"plasma_radioactivity", PARENT} <= set(columns):
            wanted.append("AIF")
        lacking = [name for name in wanted if name not in columns]
        if lacking:
            found = ", ".join(columns)
            problems.add(table, "columns", found, ", ".join(wanted), f"add {', '.join(lacking)}")
        _times(table, paths[1], columns, _lower(fields), problems)
    return problems if needed else _softened(problems)


def pet_problems(bids_root, scans, preprocessing, *, inputs, plasma, adopt):
    """Everything about PET that is checked beside images and sidecars: doses, blood, input functions, adopted curves.

    Parameters
    ----------
    bids_root : path-like
    scans, preprocessing : pandas.DataFrame
        Of the index.
    inputs : dict of str to list of str
        See `input_problems`.
    plasma : list of str
        Models that need plasma.
    adopt : mapping
        Section of the config: ``units`` and ``nuclide`` of tables whose sidecars do not say.

    Returns
    -------
    list of Problem
    """
    needed = bool(plasma)
    return [
        *dose_problems(bids_root, scans).problems,
        *blood_problems(bids_root, scans, given=inputs, needed=needed).problems,
        *input_problems(inputs, needed=needed).problems,
        *table_problems(
            bids_root, scans, preprocessing, units=adopt["units"], nuclide=adopt["nuclide"]
        ).problems,
    ]


def recording_problems(bids_root, path, fields):
    """Check one table of blood.

    Parameters
    ----------
    bids_root : path-like
    path : str
        Relative to it.
    fields : dict
        PET sidecar of the scan, keys in small letters.

    Returns
    -------
    problems : ProblemList
    end : float or None
        Time of the last plasma sample, s after TimeZero; None where there is none.
    """
    problems = ProblemList()
    sidecar = path.removesuffix(".tsv") + ".json"
    if not Path(bids_root, sidecar).exists():
        fix = "write the JSON with the units of the columns"
        problems.add(path, "sidecar", "missing", sidecar.rpartition("/")[2], fix)
        return problems, None
    try:
        side = _lower(read_sidecar(bids_root, sidecar))
    except InputError as error:
        problems.extend([error.problem])
        return problems, None
    columns = _read(Path(bids_root, path), problems, path)
    if columns is None:
        return problems, None
    time = _times(path, sidecar, columns, side, problems)
    end = None
    for column, flag in ACTIVITY.items():
        if _promised(path, sidecar, columns, side, column, flag, problems):
            kept = _activity(path, sidecar, columns, side, column, fields, problems)
            if column == "plasma_radioactivity" and time is not None and kept:
                end = max((t for t, k in zip(time, kept, strict=True) if k), default=None)
    if _promised(path, sidecar, columns, side, PARENT, PARENT_FLAG, problems):
        _parent(path, columns, side, problems)
    free = side.get("plasmafreefraction")
    if isinstance(free, int | float) and not isinstance(free, bool) and not 1 < free <= 100:
        fix = "write percent: 0.05 is 5"
        problems.add(sidecar, "PlasmaFreeFraction", free, "percent, 1 to 100", fix, "warning")
    continuous = "_recording-autosampler_" in path
    if continuous and side.get("dispersioncorrected") is False and not side.get("dispersionconstant"):
        fix = "give DispersionConstant, or correct the recording and say so"
        found = "false without DispersionConstant"
        problems.add(sidecar, "DispersionCorrected", found, "true, or a constant in s", fix, "warning")
    return problems, end


def _lower(fields):
    return {key.lower(): value for key, value in fields.items()}


def _softened(problems):
    soft = ProblemList()
    for p in problems.problems:
        soft.add(p.file, p.field, p.found, p.allowed, p.fix, "warning")
    return soft


def _read(path, problems, name=None):
    """Columns of a table as lists of text; None where it cannot be read."""
    name = name or str(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            rows = [row for row in csv.reader(handle, delimiter="\t") if any(c.strip() for c in row)]
    except (OSError, UnicodeDecodeError) as error:
        problems.add(
            name,
            "content",
            f"not readable ({type(error).__name__})",
            "a tab-separated table",
            "write it again",
        )
        return None
    if len(rows) < 2:
        problems.add(name, "rows", "none", "a row per sample", "add the samples, or remove the table")
        return None
    header = [cell.strip() for cell in rows[0]]
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            found, allowed = f"{len(row)} cells", f"{len(header)} cells, as the header"
            problems.add(name, f"line {number}", found, allowed, "write n/a for missing values")
            return None
    return {column: [row[i].strip() for row in rows[1:]] for i, column in enumerate(header)}


def _numbers(path, column, texts, problems):
    """Values of a column, NaN where missing; None where one is no number."""
    values = []
    for number, text in enumerate(texts, 1):
        try:
            values.append(math.nan if text.lower() in ("", "n/a", "na", "nan") else float(text))
        except ValueError:
            problems.add(
                path, f"{column} of row {number}", repr(text), "a number or n/a", "correct the value"
            )
            return None
    return values


def _unit(side, column):
    entry = side.get(column)
    unit = entry.get("Units") if isinstance(entry, dict) else None
    return None if unit in (None, "", MISSING) else str(unit)


def _times(path, sidecar, columns, side, problems):
    """Times in s; None where they cannot be used."""
    if "time" not in columns:
        problems.add(path, "columns", ", ".join(columns), "a column time", "name the column of times time")
        return None
    unit = _unit(side, "time")
    if unit is None or unit.strip().lower() not in SECONDS:
        found = "missing" if unit is None else repr(unit)
        problems.add(sidecar, "time.Units", found, "s", "state the unit; PET-BIDS counts in seconds")
    time = _numbers(path, "time", columns["time"], problems)
    if time is None:
        return None
    factor = SECONDS.get((unit or "s").strip().lower(), 1.0)
    if factor != 1:
        problems.add(sidecar, "time.Units", unit, "s", "accept: the times are converted", "warning")
    missing = [n for n, t in enumerate(time, 1) if math.isnan(t)]
    if missing:
        problems.add(path, f"time of row {missing[0]}", "missing", "a number", "every sample needs its time")
        return None
    time = [t * factor for t in time]
    back = [n for n in range(1, len(time)) if time[n] <= time[n - 1]]
    if back:
        n = back[0]
        found = f"{time[n]:g} s after {time[n - 1]:g} s"
        found += f" (and {len(back) - 1} more)" if len(back) > 1 else ""
        fix = "order the samples by time and remove repeated ones, or leave the scan out (index.exclude)"
        problems.add(path, f"time of row {n + 1}", found, "strictly increasing times", fix)
        return None
    return time


def _promised(path, sidecar, columns, side, column, flag, problems):
    """Whether a column is to be read, by its flag in the sidecar."""
    told = side.get(flag.lower())
    if told is None:
        if column in columns:
            fix = f"write {flag}: true"
            problems.add(sidecar, flag, f"missing, and {column} is there", "true or false", fix, "warning")
        return column in columns
    if not isinstance(told, bool):
        problems.add(sidecar, flag, repr(told), "true or false (no quotes)", "write a boolean")
        return False
    if told and column not in columns:
        allowed = f"a column {column}, because {flag} is true"
        fix = f"add the column, or set {flag} to false"
        problems.add(path, "columns", ", ".join(columns), allowed, fix)
        return False
    if not told and any(t.lower() not in ("", MISSING, "nan") for t in columns.get(column, ())):
        fix = f"set {flag} to true if {column} is to be used"
        problems.add(sidecar, flag, f"false, and {column} has values", "true, or no column", fix, "warning")
    return told


def _activity(path, sidecar, columns, side, column, fields, problems):
    """Check a column of activity; returns which samples have a value."""
    unit = _unit(side, column)
    if unit is None or not known_unit(unit):
        found = "missing" if unit is None else repr(unit)
        fix = "state the unit; it is never guessed"
        problems.add(sidecar, f"{column}.Units", found, ", ".join(ACTIVITY_UNITS), fix)
        unit = None
    values = _numbers(path, column, columns[column], problems)
    if values is None:
        return None
    known = [v for v in values if not math.isnan(v)]
    if not known:
        problems.add(path, column, "no value", "at least one sample", f"or set {ACTIVITY[column]} to false")
        return None
    lowest, highest = min(known), max(known)
    if highest <= 0 or lowest < -SCATTER * highest:
        fix = "a background was subtracted twice, or the sign is wrong"
        where = f"{column} of row {values.index(lowest) + 1}"
        problems.add(path, where, f"{lowest:g} {unit or ''}".strip(), "activity of at least 0", fix)
    elif lowest < 0:
        count = sum(v < 0 for v in known)
        found = f"below 0 by counting noise in {count} samples"
        problems.add(path, column, found, "at least 0", "accept: they are kept as they are", "warning")
    if len(known) < len(values):
        found = f"missing in {len(values) - len(known)} of {len(values)} samples"
        problems.add(path, column, found, "a value per sample", "accept: they are left out", "warning")
    if unit:
        _level(path, sidecar, column, unit, highest, fields, problems)
    return [not math.isnan(v) for v in values]


def _level(path, sidecar, column, unit, highest, fields, problems):
    """Unit against that of the image, and peak against the dose."""
    image = fields.get("units")
    mine = _factor(unit)
    if isinstance(image, str) and known_unit(image) and _factor(image) != mine:
        fix = "nothing if both are true: each is converted to kBq/mL. Check that they are"
        problems.add(sidecar, f"{column}.Units", unit, f"{image}, as the image", fix, "warning")
    dose, _ = _dose_mbq(fields)
    if dose is None or highest <= 0:
        return
    level = highest * mine / dose
    low, high = PEAK_PER_L
    if low <= level <= high:
        return
    fits = [(f, u) for f, u in ((_factor(u) / mine, u) for u in ("Bq/mL", "kBq/mL", "nCi/mL")) if u != unit]
    likely = [u for factor, u in fits if 2 * low <= level * factor <= high]
    found = f"a highest value of {highest:g} {unit}, {level:.2g} of the injected {dose:.4g} MBq per litre"
    fix = (
        f"the unit is likely {' or '.join(likely)}: correct {sidecar.rpartition('/')[2]}"
        if likely
        else "check unit and dose"
    )
    fix += "; until then it is read as it is written"
    problems.add(path, column, found, f"{low:g} to {high:g} of the dose per litre", fix, "warning")


def _factor(unit):
    """A known unit of activity concentration in kBq/mL."""
    key = str(unit).strip().replace("µ", "u").replace("μ", "u").lower()
    return next(
        value for name, value in sorted(_KBQ.items(), key=lambda kv: -len(kv[0])) if key.startswith(name)
    )


def _dose_mbq(fields):
    """Injected activity in MBq: what the scanner stored, else the sidecar's, else that with its prefix mended.

    Returns
    -------
    dose : float or None
        None where nothing is plausible.
    told : float or None
        What the sidecar says, in MBq.
    """
    total = fields.get("radionuclidetotaldose")
    dose, unit = fields.get("injectedradioactivity"), str(fields.get("injectedradioactivityunits") or "")
    scale = _MBQ.get(unit.strip().lower())
    told = dose * scale if _is_number(dose) and scale else None
    found = [total * 1e-6] if _is_number(total) else []
    found += [told * factor for factor in (1, 1e3, 1e-3, 1e6, 1e-6)] if told else []
    return next((value for value in found if DOSE_MBQ[0] <= value <= DOSE_MBQ[1]), None), told


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def dose_problems(bids_root, scans):
    """Warn about an injected activity that no person gets, or that contradicts what the scanner stored.

    Parameters
    ----------
    bids_root : path-like
    scans : pandas.DataFrame
        Analysed scans.

    Returns
    -------
    ProblemList
        SUV is wrong with such a dose; ratios and models with blood are not.
    """
    problems = ProblemList()
    for row in scans[scans["suffix"] == "pet"].to_dict("records"):
        try:
            fields = _lower(metadata(bids_root, row["sidecars"]))
        except InputError:
            continue
        meant, told = _dose_mbq(fields)
        if told is None or (meant is not None and abs(math.log(told / meant)) < math.log(1.15)):
            continue
        unit = fields["injectedradioactivityunits"]
        found = f"{fields['injectedradioactivity']:.10g} {unit}, which is {told:g} MBq"
        if _is_number(total := fields.get("radionuclidetotaldose")):
            found += f"; RadionuclideTotalDose is {total * 1e-6:.4g} MBq"
        likely = [
            u
            for u, f in _MBQ.items()
            if meant and abs(told / _MBQ[unit.strip().lower()] * f / meant - 1) < 0.15
        ]
        names = {"kbq": "kBq", "mbq": "MBq", "gbq": "GBq", "bq": "Bq", "mci": "mCi", "uci": "uCi"}
        fix = f"the unit is likely {names[likely[0]]}" if likely else "check dose and unit"
        file = row["sidecars"].rpartition(";")[2]
        allowed = f"{DOSE_MBQ[0]:g} to {DOSE_MBQ[1]:g} MBq, as the scanner stored it"
        fix += "; until it is corrected SUV is not to be used"
        problems.add(file, "InjectedRadioactivity", found, allowed, fix, "warning")
    return problems


def _parent(path, columns, side, problems):
    values = _numbers(path, PARENT, columns[PARENT], problems)
    if values is None:
        return
    unit = (_unit(side, PARENT) or "").strip().lower()
    known = [v for v in values if not math.isnan(v)]
    if not known:
        problems.add(path, PARENT, "no value", "at least one sample", f"or set {PARENT_FLAG} to false")
        return
    scale = 100.0 if unit in PERCENT else 1.0
    if scale != 1:
        problems.add(path, PARENT, "in percent", "0 to 1", "accept: it is divided by 100", "warning")
    lowest, highest = min(known), max(known)
    if highest / scale > 1.0 + 1e-6:
        if highest / scale > 1.5:
            fix = "it looks like percent: divide by 100, or give the column the unit % in the sidecar"
        else:
            fix = "more parent than total activity: check recovery correction and background"
        problems.add(path, f"{PARENT} of row {values.index(highest) + 1}", f"{highest:g}", "0 to 1", fix)
    if lowest < 0:
        where = f"{PARENT} of row {values.index(lowest) + 1}"
        problems.add(path, where, f"{lowest:g}", "0 to 1", "correct the value")
    if len(known) < len(values):
        found = f"missing in {len(values) - len(known)} of {len(values)} samples"
        problems.add(path, PARENT, found, "a value per sample", "accept: they are interpolated", "warning")


def _length(fields, ends):
    """Blood against the end of the scan."""
    problems = ProblemList()
    starts, durations = fields.get("frametimesstart"), fields.get("frameduration")
    try:
        last = (starts[-1] if isinstance(starts, list) else starts) + (
            durations[-1] if isinstance(durations, list) else durations
        )
        injection = float(fields.get("injectionstart") or 0)
        last, end = float(last) - injection, max(end for end, _ in ends) - injection
    except (TypeError, ValueError, IndexError):
        return problems  # reported with the scan itself, or no plasma
    if not last > 0 or end >= last - 60:
        return problems
    name = max(ends)[1]
    found = f"until {end / 60:.1f} min, {100 * end / last:.0f} % of the scan ({last / 60:.1f} min)"
    if end < MIN_SHARE * last:
        fix = "add the late samples; with less than 75 % of the scan no plasma model is fitted"
    else:
        fix = "accept: what is later is extrapolated"
    problems.add(name, "plasma samples", found, "as long as the scan", fix, "warning")
    return problems
