"""Find the way in what other stages wrote: inputs by kind and scan, quality numbers with names, participants' data.

The reports never compose a file name: a rule hands over lists of files, and the names say what each one is.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path

from neurobraid.bids.entities import RAW_KEYS, natural, parse
from neurobraid.files import read_json, read_tsv
from neurobraid.reports.measures import FOLDED, GROUPS, MEASURES, ORDER, OTHER
from neurobraid.reports.pages import Cell, number

#: Columns of participants.tsv that are never shown, whatever they hold.
PRIVATE_COLUMN = re.compile(
    r"name|initial|birth|dob|date|phone|mail|address|zip|postal|mrn|ssn|serial|physician", re.I
)
_DATE = re.compile(
    r"\b(?:19|20)\d\d-?[01]\d-?[0-3]\d(?:T[\d:.]+)?\b|\b[0-3]?\d[./][01]?\d[./](?:19|20)\d\d\b"
)

#: How the keys of the quality files are called on a page: label, decimals.
LABELS = {key: (measure.label, measure.digits) for key, measure in MEASURES.items()}


def listed(value) -> list[str]:
    """One path, many or none, as a list without repeats (a file asked for by two runs is one file)."""
    if value is None:
        return []
    if isinstance(value, str | Path):
        return [str(value)]
    return list(dict.fromkeys(str(v) for v in value))


def scan_of(path) -> str:
    """Raw entities of a file's name: ``sub-01_task-rest_space-T1w_boldref.nii.gz`` -> ``sub-01_task-rest``.

    Examples
    --------
    >>> scan_of("x/sub-01_ses-1_task-rest_space-T1w_desc-preproc_bold.nii.gz")
    'sub-01_ses-1_task-rest'
    """
    return "_".join(f"{k}-{v}" for k, v in entities_of(path).items() if k in RAW_KEYS)


def entities_of(path) -> dict[str, str]:
    """Entities of a file's name; empty for a name that is not BIDS."""
    try:
        return parse(Path(path).name).entities
    except ValueError:
        return {}


class Inputs:
    """The files a rule hands to a page, by kind.

    Parameters
    ----------
    files : mapping of str to path or list of paths
    """

    def __init__(self, files: Mapping):
        self._files = {kind: listed(value) for kind, value in files.items()}

    def all(self, kind: str) -> list[str]:
        """Every file of a kind, in the order given; none for an unknown kind."""
        return self._files.get(kind, [])

    def find(self, kind: str, scan: str | None = None, **entities) -> str | None:
        """First file of a kind for a scan and with the entities given, or None."""
        for path in self.all(kind):
            if scan is not None and scan_of(path) != scan:
                continue
            here = entities_of(path)
            if all(here.get(key.rstrip("_")) == value for key, value in entities.items()):
                return path
        return None

    def middle_echo(self, kind: str, scan: str) -> tuple[str | None, str | None]:
        """File and number of the middle echo (of two, the first) of a multi-echo scan; None, None without any.

        The middle echo lies nearest to the T2* of grey matter at 3 T: by itself it looks most like the combined series.
        """
        echoes = {}
        for path in self.all(kind):
            entities = entities_of(path)
            name = "_".join(f"{k}-{v}" for k, v in entities.items() if k in RAW_KEYS and k != "echo")
            if "echo" in entities and name == scan:
                echoes[entities["echo"]] = path
        if not echoes:
            return None, None
        order = sorted(echoes, key=natural)
        echo = order[(len(order) - 1) // 2]
        return echoes[echo], echo

    def scans(self, kind: str) -> list[str]:
        """Scans that have a file of a kind, in natural order."""
        return sorted({scan_of(path) for path in self.all(kind)}, key=natural)

    def values(self, kind: str, key: str) -> list[str]:
        """Labels of an entity among the files of a kind, in the order of the files."""
        return list(dict.fromkeys(v for path in self.all(kind) if (v := entities_of(path).get(key))))

    def everything(self) -> list[str]:
        """All files, sorted, without repeats."""
        return sorted({path for paths in self._files.values() for path in paths})


def table(path):
    """Read a table, or return None where there is no file; a table of a header alone is an empty table."""
    return read_tsv(path) if path else None


def plain_table(path):
    """Read a table with every value as text (``n/a`` stays ``n/a``); None without a file."""
    import pandas as pd

    return (
        pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig") if path else None
    )


def json_of(path) -> dict:
    """Content of a JSON file; empty without a file."""
    return read_json(path) if path else {}


def sidecar_of(inputs: Inputs, kind: str, scan: str | None = None, **entities) -> dict:
    """JSON beside a file of a kind (same name), if there is one."""
    path = inputs.find(kind, scan, **entities)
    if path is None:
        return {}
    beside = Path(re.sub(r"\.(nii\.gz|nii|tsv)$", ".json", path))
    return read_json(beside) if beside.suffix == ".json" and beside.exists() else {}


def flat(content: Mapping, prefix: str = "") -> dict[str, object]:
    """Numbers and short words of a JSON object, nested keys joined by a space; lists and long texts are left out."""
    found = {}
    for key, value in content.items():
        name = f"{prefix} {key}".strip()
        if isinstance(value, Mapping):
            found.update(flat(value, name))
        elif isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 24):
            found[name] = value
    return found


#: Keys of a quality file that are not measurements.
NOT_QUALITY = ("description", "sources", "version", "generated", "spatialreference", "warnings", "caveat")


def quality_rows(files: Mapping[str, dict]) -> dict[str, list[list[Cell]]]:
    """Rows of the tables of quality numbers by group, one row per measure and one column per scan.

    Parameters
    ----------
    files : mapping of str to dict
        Content of the quality file of each column.

    Returns
    -------
    dict of str to list of list of Cell
        In the order of `neurobraid.reports.measures`: label with key and meaning below, and one value per scan. Groups without a measure are
        left out; keys that are not known there are spelt out under "Other measures", text among them under the settings.
    """
    columns = {name: flat(content) for name, content in files.items()}
    keys = list(dict.fromkeys(key for column in columns.values() for key in column))
    keys = [key for key in keys if not any(word in key.lower() for word in NOT_QUALITY)]
    groups = {group: [] for group in GROUPS}
    for key in sorted(keys, key=lambda k: ORDER.get(k, len(ORDER))):
        known = MEASURES.get(key)
        about = f"{key}: {known.meaning}" if known and known.meaning else key
        cells = [Cell(known.label if known else spell(key), note=about)]
        words = False
        for column in columns.values():
            value = column.get(key)
            words = words or isinstance(value, str | bool)
            shown = known.digits if known else _digits(value)
            tone = "mute" if value is None else "warn" if key == "mask_plausible" and not value else ""
            cells.append(Cell(number(value, shown), tone=tone))
        groups[known.group if known else FOLDED if words else OTHER].append(cells)
    return {group: rows for group, rows in groups.items() if rows}


def quality_warnings(content: Mapping) -> list[str]:
    """Warnings that a stage wrote into its quality file, as text."""
    for key, value in content.items():
        if key.lower() == "warnings":
            return [str(v) for v in value] if isinstance(value, list) else [str(value)] if value else []
    return []


def _digits(value) -> int:
    try:
        size = abs(float(value))
    except (TypeError, ValueError):
        return 2
    return 1 if size >= 100 else 2 if size >= 1 else 3


_UNITS = {
    "mm": "mm",
    "mm3": "mm³",
    "ml": "mL",
    "mL": "mL",
    "s": "s",
    "min": "min",
    "deg": "degrees",
    "pct": "%",
    "percent": "%",
    "perc": "%",
    "hz": "Hz",
    "kBq": "kBq",
    "MBq": "MBq",
    "cm3": "cm³",
}
_WORDS = {
    "fd": "FD",
    "dvars": "DVARS",
    "tsnr": "temporal SNR",
    "gm": "GM",
    "wm": "WM",
    "csf": "CSF",
    "mni": "MNI",
    "t1w": "T1w",
    "bold": "BOLD",
    "pet": "PET",
    "snr": "SNR",
    "cnr": "CNR",
    "n": "number of",
    "std": "standardised",
    "bpnd": "BPND",
    "mi": "mutual information",
    "ncc": "correlation",
    "num": "number of",
    "r1": "R1",
}


def spell(key: str) -> str:
    """Turn a key into words with its unit in brackets.

    Examples
    --------
    >>> spell("mean_fd_mm"), spell("BrainVolume_ml")
    ('Mean FD (mm)', 'Brain volume (mL)')
    """
    parts = [p for p in re.split(r"[_\s]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", key)) if p]
    unit = _UNITS.get(parts[-1]) if len(parts) > 1 else None
    if unit:
        parts = parts[:-1]
    words = [_WORDS.get(p.lower(), p if p.isupper() else p.lower()) for p in parts]
    text = " ".join(words)
    return text[:1].upper() + text[1:] + (f" ({unit})" if unit else "")


def preprocessed_by(row: Mapping | None) -> str:
    """Who preprocessed a scan, in words, from its row of the preprocessing table.

    Examples
    --------
    >>> preprocessed_by({"source": "fmriprep", "version": "23.2.1"}), preprocessed_by({"source": "neurobraid"})
    ('fMRIPrep 23.2.1', 'neurobraid')
    """
    if not row:
        return "–"
    names = {
        "fmriprep": "fMRIPrep",
        "petprep": "PETPrep",
        "petfit": "PETFit",
        "tacs": "another program (curves)",
    }
    if row["source"] not in names:
        return row["source"]
    version = row.get("version", "n/a")
    return names[row["source"]] + ("" if version == "n/a" else f" {version}")


def participant_facts(people, participant: str, descriptions: Mapping | None = None) -> list[tuple[str, str]]:
    """What participants.tsv says about one person, without anything that could name her.

    Parameters
    ----------
    people : pandas.DataFrame or None
        ``participants.tsv`` as text.
    participant : str
        ``sub-…``.
    descriptions : mapping, optional
        ``participants.json``; used for units.

    Returns
    -------
    list of (str, str)
        Heading and value. Ages above 89 are shown as ``> 89``, dates and identifying columns not at all.
    """
    if people is None or "participant_id" not in people:
        return []
    mine = people[people["participant_id"] == participant]
    if not len(mine):
        return []
    facts = []
    for column in people.columns:
        value = str(mine.iloc[0][column])
        if column == "participant_id" or PRIVATE_COLUMN.search(column) or _DATE.search(value):
            continue
        unit = (descriptions or {}).get(column, {})
        unit = unit.get("Units", "") if isinstance(unit, Mapping) else ""
        if "age" in re.split(r"[_\W]+", column.lower()):
            with contextlib.suppress(ValueError):
                value = "> 89" if float(value) > 89 else value
        shown = value if value in ("", "n/a") or not unit else f"{value} {unit}"
        facts.append((spell(column), shown or "n/a"))
    return facts


def without_dates(text: str) -> str:
    """Replace calendar dates in a text by a remark."""
    return _DATE.sub("[date]", text)
