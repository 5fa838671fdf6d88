"""What is usual for a tracer: the window of its SUVR and its reference region, from a table that a study can extend."""

import difflib
import math
import re
from pathlib import Path

from neurobraid.errors import InputError
from neurobraid.files import read_tsv

TABLE = Path(__file__).with_name("tracers.tsv")
"""Columns tracer, aliases, radionuclide, suvr_start_min, suvr_end_min, reference, checked, source. ``checked``: yes where
the window was read in the source itself, no where it is as commonly quoted."""

AUTO = "auto"


def _key(name):
    """Spelling without mass numbers, brackets and hyphens: ``[18F]AV-1451`` and ``av1451`` are one tracer."""
    text = re.sub(r"[\[\(]?\^?(11|18|15|13|68|64)\^?-?(C|F|O|N|Ga|Cu)[\]\)]?[- ]*", "", str(name))
    return re.sub(r"[^a-z0-9]", "", text.lower())


def shipped():
    """The table of the package, as records.

    Returns
    -------
    list of dict
        ``tracer``, ``aliases`` (list), ``radionuclide``, ``suvr_window_min`` (two floats or None), ``reference`` (list or
        None), ``source``, ``checked``.
    """
    table = read_tsv(TABLE, text=["tracer", "aliases", "radionuclide", "reference", "checked", "source"])
    return [
        {
            "tracer": row.tracer,
            "aliases": row.aliases.split(";") if isinstance(row.aliases, str) else [],
            "radionuclide": row.radionuclide if isinstance(row.radionuclide, str) else None,
            "suvr_window_min": None
            if math.isnan(row.suvr_start_min)
            else [row.suvr_start_min, row.suvr_end_min],
            "reference": [row.reference] if isinstance(row.reference, str) else None,
            "source": row.source,
            "checked": row.checked == "yes",
        }
        for row in table.itertuples()
    ]


def find(tracer, records=(), file="PET sidecar"):
    """Preset of a tracer.

    Parameters
    ----------
    tracer : str or None
        ``TracerName`` of the sidecar, in any spelling.
    records : list of dict
        The study's own, with the keys of `shipped`; they come first, and only what they give replaces the table.
    file : path-like
        Named in errors.

    Returns
    -------
    dict
        See `shipped`.

    Raises
    ------
    InputError
        Neither the study nor the table knows the tracer; the nearest names are given.
    """
    wanted = _key(tracer) if tracer else ""
    found = {}
    for record in [*shipped(), *records]:
        if wanted and wanted in {_key(name) for name in (record["tracer"], *record.get("aliases", []))}:
            # a study's record without a source of its own is the study's
            own = record if "source" in record else {**record, "source": "pet.presets of the study's config"}
            found.update({key: value for key, value in own.items() if value is not None})
    if found:
        return {"suvr_window_min": None, "reference": None, **found}
    names = {
        _key(name): name for r in [*shipped(), *records] for name in (r["tracer"], *r.get("aliases", []))
    }
    near = [names[key] for key in difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)]
    raise InputError(
        file, "TracerName", repr(tracer), "a tracer of the preset table or of pet.presets, where a setting is auto",
        (f"did you mean {', '.join(near)}? Otherwise " if near else "")
        + "give pet.suvr_window_min and pet.reference, or add a record to pet.presets",
    )  # fmt: skip


def window(wanted, tracer, records=(), file="PET sidecar"):
    """SUVR window in min after injection.

    Parameters
    ----------
    wanted : 'auto' or (float, float)
    tracer, records, file
        See `find`.

    Returns
    -------
    start, end : float
        NaN where no window is established for the tracer.
    source : str
    """
    if wanted != AUTO:
        return (float(wanted[0]), float(wanted[1])), "config"
    preset = find(tracer, records, file)
    if preset["suvr_window_min"] is None:
        return (math.nan, math.nan), f"none is established for {preset['tracer']}"
    return tuple(float(v) for v in preset["suvr_window_min"]), f"{preset['tracer']}: {preset['source']}"


def reference(wanted, tracer, records=(), file="PET sidecar"):
    """Reference region, see `reference.locate`; ``["auto"]`` is the tracer's.

    Raises
    ------
    InputError
        No reference region is established for the tracer.
    """
    if list(wanted) != [AUTO]:
        return list(wanted)
    preset = find(tracer, records, file)
    if not preset["reference"]:
        raise InputError(
            "config", "pet.reference", f"auto, but none is established for {preset['tracer']}",
            "names of regions, a mask, cerebellum, wholecerebellum, pons or whitematter", preset["source"],
        )  # fmt: skip
    return list(preset["reference"])
