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
from neurobraid.reports.pages import Cell, number

#: Columns of participants.tsv that are never shown, whatever they hold.
PRIVATE_COLUMN = re.compile(
    r"name|initial|birth|dob|date|phone|mail|address|zip|postal|mrn|ssn|serial|physician", re.I
)
_DATE = re.compile(
    r"\b(?:19|20)\d\d-?[01]\d-?[0-3]\d(?:T[\d:.]+)?\b|\b[0-3]?\d[./][01]?\d[./](?:19|20)\d\d\b"
)

#: How the keys of the quality files are called on a page: label, decimals.
LABELS = {
    "mean_fd": ("Mean FD (mm)", 3),
    "median_fd": ("Median FD (mm)", 3),
    "max_fd": ("Largest FD (mm)", 2),
    "fd_mean": ("Mean FD (mm)", 3),
    "fd_perc": ("Volumes above the FD threshold (%)", 1),
    "fd_max": ("Largest FD (mm)", 2),
    "fd_mean_mm": ("Mean FD between frames (mm)", 3),
    "fd_max_mm": ("Largest FD between frames (mm)", 2),
    "dvars_nstd": ("DVARS, not standardised (mean)", 1),
    "dvars_vstd": ("DVARS, standardised by voxel (mean)", 2),
    "aor": ("Outliers per volume, share of voxels", 4),
    "aqi": ("Volumes against the median volume (1 - rank correlation)", 4),
    "gcor": ("Global correlation", 3),
    "gsr_x": ("Ghost to signal, left to right", 3),
    "gsr_y": ("Ghost to signal, back to front", 3),
    "snr": ("Spatial SNR", 1),
    "cjv": ("Coefficient of joint variation, GM and WM", 3),
    "cnr": ("Contrast to noise, GM and WM", 2),
    "efc": ("Entropy focus criterion", 3),
    "fber": ("Energy of foreground to background", 0),
    "fwhm_avg": ("Smoothness, FWHM (voxels)", 2),
    "fwhm_x": ("Smoothness left to right, FWHM (voxels)", 2),
    "fwhm_y": ("Smoothness back to front, FWHM (voxels)", 2),
    "fwhm_z": ("Smoothness foot to head, FWHM (voxels)", 2),
    "icvs_gm": ("Grey matter, share of the intracranial volume", 3),
    "icvs_wm": ("White matter, share of the intracranial volume", 3),
    "icvs_csf": ("Cerebrospinal fluid, share of the intracranial volume", 3),
    "snr_gm": ("SNR of grey matter", 1),
    "snr_wm": ("SNR of white matter", 1),
    "snr_csf": ("SNR of cerebrospinal fluid", 1),
    "snr_total": ("SNR, mean of the tissues", 1),
    "snrd_gm": ("SNR against air, grey matter", 1),
    "snrd_wm": ("SNR against air, white matter", 1),
    "snrd_csf": ("SNR against air, cerebrospinal fluid", 1),
    "snrd_total": ("SNR against air, mean of the tissues", 1),
    "wm2max": ("White matter to brightest voxels", 2),
    "mask_agreement_dice": ("Agreement of two brain masks (Dice)", 3),
    "mask_plausible": ("Brain mask plausible", 0),
    "mask_source": ("Source of the brain mask", 0),
    "registration_correlation": ("Correlation with the template", 3),
    "registration_quality": ("Normalisation preset", 0),
    "PreprocessedBy": ("Preprocessed by", 0),
    "template_correction_mean_mm": ("Shift between fMRIPrep's template and ours, mean (mm)", 2),
    "template_correction_max_mm": ("Shift between fMRIPrep's template and ours, largest (mm)", 2),
    "composition_error_mm": ("Loss by joining two transforms, 99th percentile (mm)", 3),
    "inverse_error_mm": ("There and back through the transforms (mm)", 3),
    "volume_brain_mask_ml": ("Brain mask (mL)", 0),
    "volume_brain_rough_ml": ("Brain mask before refinement (mL)", 0),
    "volume_gm_ml": ("Grey matter (mL)", 0),
    "volume_wm_ml": ("White matter (mL)", 0),
    "volume_csf_ml": ("Cerebrospinal fluid (mL)", 0),
    "coreg_dice": ("Overlap of brain masks, BOLD and T1w (Dice)", 3),
    "coreg_mi": ("Mutual information with the T1w", 3),
    "coreg_method": ("Registration to the T1w", 0),
    "bbr_contrast_percent": ("Contrast across the WM edge (%)", 1),
    "bbr_cost": ("Boundary cost", 3),
    "bbr_cost_initial": ("Boundary cost before refinement", 3),
    "bbr_points": ("Points of the boundary", 0),
    "fd_threshold_mm": ("FD threshold (mm)", 2),
    "non_steady_state_volumes": ("Volumes not in steady state", 0),
    "max_displacement_mm": ("Largest displacement (mm)", 2),
    "units_found": ("Unit in the file", 0),
    "brain_in_fov": ("Share of the brain in the field of view", 3),
    "brain_suv_mean": ("Mean SUV of the brain", 2),
    "coreg_mutual_information": ("Mutual information with the T1w", 3),
    "fd_num": ("Volumes above the FD threshold", 0),
    "tsnr": ("Temporal SNR (median)", 1),
    "tsnr_median": ("Temporal SNR (median)", 1),
    "dvars_std": ("Standardised DVARS (mean)", 2),
}


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


def quality_rows(files: Mapping[str, dict], labels: Mapping | None = None) -> list[list[Cell]]:
    """Rows of a table of quality numbers, one row per measure and one column per scan.

    Parameters
    ----------
    files : mapping of str to dict
        Content of the quality file of each column.
    labels : mapping, optional
        Key to (label, decimals); other keys are spelt out.

    Returns
    -------
    list of list of Cell
    """
    labels = {**LABELS, **(labels or {})}
    columns = {name: flat(content) for name, content in files.items()}
    keys = list(dict.fromkeys(key for column in columns.values() for key in column))
    rows = []
    for key in keys:
        if any(word in key.lower() for word in NOT_QUALITY):
            continue
        label, digits = labels.get(key, (spell(key), None))
        cells = [Cell(label)]
        for column in columns.values():
            value = column.get(key)
            shown = digits if digits is not None else _digits(value)
            cells.append(Cell(number(value, shown), tone="mute" if value is None else ""))
        rows.append(cells)
    return rows


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
    if row["source"] != "fmriprep":
        return row["source"]
    version = row.get("version", "n/a")
    return "fMRIPrep" if version == "n/a" else f"fMRIPrep {version}"


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
