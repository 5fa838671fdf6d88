"""Parts of the pages for PET curves that another program made."""

from __future__ import annotations

from neurobraid.reports.gather import entities_of, scan_of, table
from neurobraid.reports.pages import Fold, Table
from neurobraid.reports.pet_pages import in_order, outcome, significant

#: Value of ``source`` in the table of who preprocesses what, to the program's name.
PROGRAMS = {"petprep": "PETPrep", "petfit": "PETFit", "tacs": "another program"}


def added_regions(section, inputs, scans, added):
    """Add the outcomes of every model in the regions that the study adds to the curves of another program.

    Parameters
    ----------
    section : neurobraid.reports.pages.Section
    inputs : neurobraid.reports.gather.Inputs
        Kind ``kinpar``: tables of parameters.
    scans : set of str
        Scans of the tracer.
    added : list of str
        Names of the regions (``adopt.regions``).
    """
    found = {}
    for path in inputs.all("kinpar"):
        if scan_of(path) not in scans:
            continue
        kinetics = table(path)
        if main := outcome(kinetics):
            good = kinetics[kinetics["flag"].isin(["ok"])].drop_duplicates("name").set_index("name")[main]
            found.setdefault(entities_of(path)["model"], (main, {}))[1][scan_of(path)] = good
    for model in in_order(found):
        main, values = found[model]
        regions = [region for region in added if any(region in column.index for column in values.values())]
        if not regions:
            continue
        rows = [
            [scan, *(significant(column.get(region)) for region in regions)]
            for scan, column in values.items()
        ]
        block = Table(["Scan", *regions], rows, numeric=tuple(regions), compact=True)
        section.add(Fold(f"{main} of the added regions, {model}", [block]))


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
