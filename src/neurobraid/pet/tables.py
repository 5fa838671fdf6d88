"""Time-activity curves made elsewhere: PETPrep (old and new names), PETFit, bare tables.

Entities are taken in any order, columns and suffixes by their synonyms, units from the sidecars, volumes from ``_morph.tsv``. What
leaves is in our terms: kBq/mL decay-corrected to injection, times after injection.
"""

import fnmatch
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from neurobraid.bids.pet_tables import (
    COMBINED,
    ENDS,
    NO_REGION,
    SCAN,
    STARTS,
    find_tables,
    find_volumes,
    scan_entities,
    segmentation_of,
)
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv
from neurobraid.pet.frames import Frames, read_frames
from neurobraid.pet.units import concentration_factor

__all__ = ["COMBINED", "Curves", "find_tables", "read_combined", "read_table", "scan_entities"]

VOLUMES = ("volume_mm3", "volume-mm3", "volume")
NOT_BRAIN = re.compile(
    r"csf|ventricle|vent$|choroid|vessel|skull|air|optic|head|bone|background|unknown|soft|eye|chiasm",
    re.IGNORECASE,
)
"""Regions that are left out of the whole-brain curve."""


@dataclass(frozen=True)
class Curves:
    """Curves of one scan.

    Attributes
    ----------
    entities : dict
        Of `SCAN`.
    segmentation : str
        Label of ``seg-`` (``custom`` where there is none) with ``Pvc<method>`` when they are corrected.
    names : list of str
    values : numpy.ndarray, (R, F)
        kBq/mL decay-corrected to injection.
    frames : Frames
    volumes : numpy.ndarray, (R,)
        mm3, NaN where unknown.
    sources : list of pathlib.Path
    messages : list of str
    """

    entities: dict
    segmentation: str
    names: list
    values: np.ndarray
    frames: Frames
    volumes: np.ndarray
    sources: list
    messages: list = field(default_factory=list)

    @property
    def scan(self):
        """``sub-01_ses-baseline``."""
        return "_".join(f"{key}-{self.entities[key]}" for key in SCAN if key in self.entities)

    @property
    def visit(self):
        """``sub-01/ses-baseline``, or ``sub-01``."""
        return "/".join(f"{key}-{self.entities[key]}" for key in ("sub", "ses") if key in self.entities)


def _column(table, synonyms, path):
    for name in synonyms:
        if name in table:
            return name
    raise InputError(
        path, "columns", ", ".join(list(table.columns)[:6]), " or ".join(synonyms[:2]), "add frame times in s"
    )


def _side(path, raw, sidecars=()):
    """Sidecar of a table over those of its raw scan: given, or that of the same entities."""
    fields, sources = {}, []
    if raw and not sidecars:
        sidecars = [raw_sidecar(path, raw)]
    for candidate in (*map(Path, filter(None, sidecars)), Path(path).with_suffix(".json")):
        if candidate.exists():
            fields.update({k: v for k, v in read_json(candidate).items() if v is not None})
            sources.append(candidate)
    return fields, sources


def raw_sidecar(path, raw):
    """``_pet.json`` of the raw dataset that has the entities of a table, or None."""
    wanted = scan_entities(path)
    folder = Path(raw).joinpath(*[f"{k}-{wanted[k]}" for k in ("sub", "ses") if k in wanted], "pet")
    for candidate in sorted(folder.glob("*_pet.json")):
        if scan_entities(candidate) == wanted:
            return candidate
    return None


def read_table(path, raw=None, *, sidecars=(), unit=None, defaults=None):
    """Read a wide table of curves, one column per region.

    Parameters
    ----------
    path : path-like
    raw : path-like, optional
        Raw dataset, for what the table's sidecar does not say.
    sidecars : list of path-like
        Sidecars of the raw scan where they are known, the least specific first.
    unit : str, optional
        Unit of the values where neither says it.
    defaults : dict, optional
        Fields of a PET-BIDS sidecar for a bare table, e.g. ``TracerRadionuclide``.

    Returns
    -------
    Curves

    Raises
    ------
    InputError
        No frame times; a unit that is missing or unknown; frame times that differ from those of the sidecar; what
        `frames.read_frames` refuses.
    """
    path = Path(path)
    table = read_tsv(path)
    start_name, end_name = _column(table, STARTS, path), _column(table, ENDS, path)
    start, end = table[start_name].to_numpy(float), table[end_name].to_numpy(float)
    fields, sources = _side(path, raw, sidecars)
    fields = {**(defaults or {}), **fields}
    if "Units" not in fields and unit:
        fields["Units"] = unit
    if "Units" not in fields:
        raise InputError(
            path,
            "Units",
            "missing",
            "Bq/mL, kBq/mL, …",
            "write Units into the JSON beside the table, or give --unit",
        )
    told = fields.get("FrameTimesStart")
    if isinstance(told, list) and (len(told) != len(start) or not np.allclose(told, start, atol=0.5)):
        raise InputError(
            path, start_name, f"{len(start)} frames, first {start[0]:g} s", f"{len(told)} frames, first {told[0]:g} s as in the sidecar",
            "table and sidecar belong to different scans, or the table counts in minutes",
        )  # fmt: skip
    fields.update(FrameTimesStart=start.tolist(), FrameDuration=(end - start).tolist())
    for key, value in (("InjectionStart", 0), ("ImageDecayCorrected", True), ("ImageDecayCorrectionTime", 0)):
        fields.setdefault(key, value)
    fields.pop("ScanStart", None)
    timing = read_frames(fields, len(start), sources[-1] if sources else path)
    names = [c for c in table.columns if c not in NO_REGION]
    values = table[names].to_numpy(float).T * timing.scale
    messages = [f"curves are in {fields['Units']}: {concentration_factor(fields['Units']):g} to kBq/mL"]
    if timing.correction != "to 0 s after injection":
        messages.append(f"curves are decay-corrected {timing.correction}; referred to injection")
    volumes, more = read_volumes(path, names)
    return Curves(
        scan_entities(path),
        segmentation_of(path),
        names,
        values,
        timing,
        volumes,
        [path, *sources, *more],
        messages,
    )


def read_volumes(path, names):
    """Volumes (mm3) of regions from the ``_morph.tsv`` of the same participant and segmentation.

    Returns
    -------
    volumes : numpy.ndarray, (R,)
        NaN where unknown.
    sources : list of pathlib.Path
    """
    found = find_volumes(path)
    if found is None:
        return np.full(len(names), np.nan), []
    table = read_tsv(found)
    column = _column(table, VOLUMES, found)
    known = dict(zip(table["name"], table[column].astype(float), strict=True))
    return np.array([known.get(name, np.nan) for name in names]), [found]


def read_combined(path, *, half_life_min=None):
    """Read PETFit's long table of combined regions.

    Its activity is in kBq/mL and its times are in s, as PETFit writes them.

    Parameters
    ----------
    path : path-like
        ``desc-combinedregions_tacs.tsv``.
    half_life_min : float, optional
        For weights by counts.

    Returns
    -------
    list of Curves
        One per scan (column ``pet``) and segmentation.

    Raises
    ------
    InputError
        A column is missing, or regions of a scan differ in their frames.
    """
    table = read_tsv(path, text=("sub", "ses", "trc", "rec", "run", "pet", "segmentation"))
    for column in ("sub", "pet", "region", "frame_start", "frame_end", "TAC"):
        if column not in table:
            raise InputError(
                path, "columns", ", ".join(table.columns), "PETFit's", f"add the column {column}"
            )
    found = []
    groups = ["pet", *(["segmentation"] if "segmentation" in table else [])]
    for _, rows in table.groupby(groups, sort=False, dropna=False):
        wide = rows.pivot_table(
            index=["frame_start", "frame_end"], columns="region", values="TAC", sort=False
        )
        names = list(dict.fromkeys(rows["region"]))
        if len(wide) * len(names) != len(rows) or wide.isna().to_numpy().any():
            raise InputError(
                path,
                f"frames of {rows['pet'].iloc[0]}",
                "not the same for all regions",
                "one table per scan",
                "mend the rows",
            )
        start = wide.index.get_level_values(0).to_numpy(float)
        end = wide.index.get_level_values(1).to_numpy(float)
        entities = {}
        for key in SCAN:
            value = str(rows[key].iloc[0]) if key in rows else "nan"
            if value not in ("nan", "n/a", ""):
                entities[key] = value.removeprefix(f"{key}-")
        volumes = rows.groupby("region")["volume_mm3"].first() if "volume_mm3" in rows else {}
        label = str(rows["segmentation"].iloc[0]) if "segmentation" in rows else "combined"
        found.append(
            Curves(
                entities, re.sub(r"[^0-9a-zA-Z]", "", label.removeprefix("seg-")) or "combined", names,
                wide[names].to_numpy(float).T,
                Frames(start, end, np.ones(len(start)), 1.0, np.nan if half_life_min is None else half_life_min),
                np.array([float(volumes.get(n, np.nan)) for n in names]), [Path(path)],
                ["PETFit's combined regions: kBq/mL, s"],
            )
        )  # fmt: skip
    return found


def until(curves, end_min):
    """`Curves` without the frames that end later than `end_min` (min after injection).

    Raises
    ------
    InputError
        No frame is left.
    """
    timing = curves.frames
    keep = timing.end / 60.0 <= end_min + 1e-6
    if not keep.any():
        raise InputError(
            curves.sources[0], "frames", "all later", f"frames until {end_min:g} min", "raise the limit"
        )
    left = replace(timing, start=timing.start[keep], end=timing.end[keep], decay=timing.decay[keep])
    note = [] if keep.all() else [f"{int((~keep).sum())} frames after {end_min:g} min left out"]
    return replace(curves, frames=left, values=curves.values[:, keep], messages=[*curves.messages, *note])


def combine(curves, volumes, names, groups):
    """Add volume-weighted means of regions.

    Parameters
    ----------
    curves : numpy.ndarray, (R, F)
    volumes : numpy.ndarray, (R,)
        mm3; equal weights where a region of a group has none.
    names : list of str
    groups : dict
        Name to list of patterns, e.g. ``{"cortex": ["ctx-*"]}``.

    Returns
    -------
    curves, volumes, names
        With the groups after the regions.

    Raises
    ------
    InputError
        A pattern fits no region, or a group is called like a region.
    """
    out, sizes, labels = [curves], list(volumes), list(names)
    for group, patterns in groups.items():
        rows = sorted({i for p in patterns for i, n in enumerate(names) if fnmatch.fnmatchcase(n, p)})
        if not rows or group in names:
            found = "already a region" if rows else ", ".join(patterns)
            raise InputError(
                "command",
                f"combine {group}",
                found,
                "patterns of region names",
                "see the columns of the table",
            )
        weights = volumes[rows] if np.isfinite(volumes[rows]).all() else np.ones(len(rows))
        out.append((weights @ curves[rows] / weights.sum())[None])
        sizes.append(float(volumes[rows].sum()))
        labels.append(group)
    return np.concatenate(out), np.array(sizes), labels


def brain_curve(curves, volumes, names):
    """Volume-weighted mean (F,) of the regions that are brain, see `NOT_BRAIN`."""
    rows = [i for i, n in enumerate(names) if not NOT_BRAIN.search(n) and np.isfinite(curves[i]).all()]
    rows = rows or list(range(len(names)))
    weights = volumes[rows] if np.isfinite(volumes[rows]).all() else np.ones(len(rows))
    return weights @ curves[rows] / weights.sum()
