"""Parts of the pages for PET with arterial blood, and for curves that another program made."""

from __future__ import annotations

from pathlib import Path

from neurobraid.reports import figures
from neurobraid.reports.gather import entities_of, json_of, scan_of, table
from neurobraid.reports.pages import Fold, Note, Table, number

#: Value of ``source`` in the table of who preprocesses what, to the program's name.
PROGRAMS = {"petprep": "PETPrep", "petfit": "PETFit", "tacs": "another program"}

#: Main parameter of a model with plasma: label and unit.
PARAMETERS = {"VT": "VT (mL/cm³)", "Ki": "Ki (mL/cm³/min)"}

_COLUMNS = ("name", "VT", "VT_se", "Ki", "Ki_se", "CMRglc", "K1", "k2", "k3", "k4", "vB", "flag")


def _kinetics(inputs, scan=None):
    """Model, segmentation, path and table of every fit with plasma, of one scan or of all."""
    for path in inputs.all("plasma"):
        if str(path).endswith(".tsv") and (scan is None or scan_of(path) == scan):
            entities = entities_of(path)
            yield entities["model"], entities["seg"], path, table(path)


def _main(kinetics):
    return next((name for name in PARAMETERS if name in kinetics), None)


def scan_results(section, gallery, inputs, scan):
    """Add what models with plasma found in one scan, or why they found nothing.

    Parameters
    ----------
    section : neurobraid.reports.pages.Section
    gallery : neurobraid.reports.pages.Gallery
    inputs : neurobraid.reports.gather.Inputs
        Kind ``plasma``: tables of parameters and sidecars.
    scan : str
    """
    for model, seg, path, kinetics in _kinetics(inputs, scan):
        name = _main(kinetics)
        if name is None:
            continue
        side = json_of(inputs.find("plasma", scan, seg=seg, model=model) and path.replace(".tsv", ".json"))
        good = kinetics["flag"].isin(("ok", "reference")) & kinetics[name].notna()
        if not good.any():
            reasons = side.get("Doubt") or ", ".join(list(dict.fromkeys(kinetics["flag"].astype(str)))[:3])
            text = f"{scan}: {name} by {model} is not shown: {reasons}. The values are in {Path(path).name}."
            section.add(Note(text, "warn"))
            continue
        indexed = kinetics[good].drop_duplicates("name").set_index("name")
        label = PARAMETERS[name]
        section.add(
            gallery.show(
                figures.regional_bars(indexed[name], indexed.get(f"{name}_se"), label=label),
                f"{scan}_seg-{seg}_model-{model}_pet_{name.lower()}.svg",
                f"Bars of regional {name} of {scan}, highest thirty regions, with standard errors.",
                f"{scan}, {seg}: {name} by {model} with the arterial input function, the thirty highest regions; bars are one "
                "standard error of the fit. Flagged values are left out.",
            ),
            Fold(f"All regional estimates of {model}, {seg}", [_table(kinetics)]),
        )


def _table(kinetics):
    columns = [c for c in _COLUMNS if c in kinetics]
    rows = [
        [str(v) if c in ("name", "flag") else number(v, 3) for c, v in row.items()]
        for row in kinetics[columns].to_dict("records")
    ]
    heads = [{"name": "Region", "flag": "Flag"}.get(c, c.replace("_se", " SE")) for c in columns]
    return Table(heads, rows, numeric=tuple(h for h in heads if h not in ("Region", "Flag")), compact=True)


def study_results(section, gallery, inputs, scans, name, added=()):
    """Add the spread of VT and Ki over scans, and their values in the regions that the study added.

    Parameters
    ----------
    section, gallery, inputs
        See `scan_results`.
    scans : set of str
        Scans of the tracer.
    name : str
        The tracer, in words.
    added : list of str
        Regions that the study adds to curves of another program (``adopt.regions``).
    """
    import pandas as pd

    found = {}
    for model, seg, path, kinetics in _kinetics(inputs):
        if scan_of(path) in scans and (parameter := _main(kinetics)):
            good = kinetics[kinetics["flag"].isin(("ok", "reference"))].drop_duplicates("name")
            found.setdefault((model, seg, parameter), {})[scan_of(path)] = good.set_index("name")[parameter]
    for (model, seg, parameter), values in found.items():
        frame = pd.DataFrame(values).T.astype(float)
        lost = [scan for scan in frame.index if not frame.loc[scan].notna().any()]
        if lost:
            section.add(Note(f"{model}, {seg}: no believable {parameter} in {', '.join(lost)}.", "warn"))
        if not frame.notna().any(axis=None):
            continue
        label = "trc-" + name.split()[-1] + "_" if " " in name else ""
        section.add(
            gallery.show(
                figures.regional_box(frame, label=PARAMETERS[parameter]),
                f"study_{label}seg-{seg}_model-{model}_{parameter.lower()}.svg",
                f"Boxes of {parameter} over {len(frame)} scans for the regions with the highest medians.",
                f"Regional {parameter} over {len(frame) - len(lost)} scans ({name}, {model}, {seg}), the thirty regions with the "
                "highest medians: boxes to the quartiles, whiskers to the extremes, one point per scan. Flagged values are left out.",
            )
        )
        regions = [region for region in added if region in frame]
        if regions:
            rows = [[scan, *(number(v, 3) for v in row)] for scan, row in frame[regions].iterrows()]
            block = Table(["Scan", *regions], rows, numeric=tuple(regions), compact=True)
            section.add(Fold(f"{parameter} of the added regions, {model}", [block]))


def adopted_words(made, people):
    """Sentences of the methods text about curves that another program made; empty where there are none.

    Parameters
    ----------
    made : list of mapping
        Rows of the table of who preprocesses what.
    people : callable
        Scans to their participants, in words.

    Returns
    -------
    str
    """
    told = []
    rows = [r for r in made if r["suffix"] == "pet" and r["source"] in PROGRAMS]
    for source, version in dict.fromkeys((r["source"], r["version"]) for r in rows):
        mine = [r["scan"] for r in rows if (r["source"], r["version"]) == (source, version)]
        name = PROGRAMS[source] + ("" if version == "n/a" else f", version {version}")
        scans = "scan" if len(mine) == 1 else "scans"
        told.append(
            f"Regional time-activity curves of {len(mine)} PET {scans} ({people(mine)}) were taken over from {name}: motion "
            "correction, registration and regions are that program's."
        )
    return " ".join(told)


def plasma_words(models, facts):
    """Sentence of the methods text about models with plasma; empty where no scan has blood.

    Parameters
    ----------
    models : list of str
        ``pet.models`` of the config.
    facts : mapping
        ``plasma_scans``: number of scans with arterial blood or an input function.

    Returns
    -------
    str
    """
    known = {"1TCM": "VT", "2TCM": "VT", "2TCMirr": "Ki", "Logan": "VT", "MA1": "VT", "Patlak": "Ki"}
    used = [model for model in models if model in known]
    count = facts.get("plasma_scans", 0)
    if not used or not count:
        return ""
    parts = [f"{known[model]} by {model}" for model in used]
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f" With the arterial input function of {count} {'scan' if count == 1 else 'scans'}, {listed} was estimated."
