"""Pages of a study that is nothing but region series of another program: what was read, matrices, coverage, motion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from neurobraid import __version__
from neurobraid.bids.entities import natural, parse
from neurobraid.connectivity.matrix import NOTES as MEASURES
from neurobraid.files import read_json, write_json
from neurobraid.reports import methods, networks, run_record
from neurobraid.reports.gather import Inputs, scan_of, table
from neurobraid.reports.pages import (
    Cell,
    Fold,
    Gallery,
    Heading,
    Note,
    Numbers,
    Page,
    Prose,
    Section,
    Table,
    number,
    write,
)
from neurobraid.reports.participant import _provenance, matrix_picture
from neurobraid.reports.study import _Study, plural

#: More rows than this stand in a fold.
LONG = 20
_COLUMNS = {
    "volumes": ("Volumes", 0), "kept_volumes": ("Kept", 0), "clean_minutes": ("Clean data (min)", 1),
    "mean_fd_mm": ("Mean FD (mm)", 2), "regions": ("Regions", 0), "regions_without_data": ("Without data", 0),
}  # fmt: skip


def series_table(frame, caption: str, *, link: bool = False) -> Table:
    """What became of every series.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows of ``*_desc-series_table.tsv``. Columns without any value are left out.
    caption : str
    link : bool
        Scans lead to the pages of their participants.
    """
    have = {c: v for c, v in _COLUMNS.items() if c in frame and frame[c].notna().any()}
    refused = frame["used"] != "yes"
    rows = []
    for line, out in zip(frame.to_dict("records"), refused, strict=True):
        row = [Cell(line["scan"], href=f"{line['participant_id']}.html" if link else "")]
        row += [
            number(round(float(line[c]), digits), digits) if line[c] == line[c] else ""
            for c, (_, digits) in have.items()
        ]
        rows.append([*row, Cell(f"no ({line['reason']})", tone="warn") if out else "yes"])
    heads = ["Series", *(v[0] for v in have.values()), "Used"]
    return Table(heads, rows, caption, numeric=tuple(heads[1:-1]), compact=len(rows) > LONG)


def _coverage(covers) -> Table:
    rows = []
    for path in covers:
        values = table(path)["coverage"].to_numpy(float)
        rows.append([scan_of(path), number(len(values)), number(int((values <= 0).sum())), number(100 * values.mean(), 1)])  # fmt: skip
    heads = ["Series", "Regions", "Without data", "Mean coverage (%)"]
    return Table(heads, rows, "Coverage of the atlas. Regions without data are grey in the matrices.", numeric=tuple(heads[1:]))  # fmt: skip


def participant_page(person: str, inputs: Inputs, frame, *, page, figures_dir, config: Mapping) -> None:
    """Write the page of one participant.

    Parameters
    ----------
    person : str
        ``sub-…``.
    inputs : Inputs
        Kinds ``relmat`` and ``coverage`` of this participant.
    frame : pandas.DataFrame
        The participant's rows of the table of series.
    page, figures_dir : path-like
    config : mapping
    """
    gallery = Gallery(figures_dir, page)
    summary = Section("summary", "Summary").add(series_table(frame, "Region series of this participant."))
    connectivity = Section("connectivity", "Functional connectivity")
    used = set(frame.loc[frame["used"] == "yes", "scan"])
    for path in inputs.all("relmat"):
        if Path(path).name.split("_atlas-")[0] in used:
            connectivity.add(matrix_picture(inputs, gallery, path, scan_of(path), scan_of(path)))
    if not connectivity.blocks:
        connectivity.add(
            Note("No series of this participant could be used; the reasons are above.", "missing")
        )
    connectivity.add(_coverage(inputs.all("coverage")))
    provenance = Section("provenance", "Provenance")
    _provenance(provenance, run_record.checksums(inputs.everything()), gallery.bytes)
    write(
        Page(
            title=person,
            subtitle=f"Participant report · {config.get('title', 'study')}",
            kind="participant",
            sections=[summary, connectivity, provenance],
            links=[("← Study report", "index.html")],
            footer=f"neurobraid {__version__}.",
        ),
        page,
    )


def _overview(frame, atlas: str) -> Section:
    used = frame[frame["used"] == "yes"]
    people = used["participant_id"].nunique()
    minutes, motion = used["clean_minutes"].astype(float), used["mean_fd_mm"].astype(float)
    items = [
        (number(people), "participants", f"of {number(frame['participant_id'].nunique())} with a series"),
        (number(len(used)), "series used", f"of {number(len(frame))}"),
        (number(int(frame["regions"].max())), "regions", f"atlas {atlas}"),
    ]
    if minutes.notna().any():
        items.append((number(float(minutes.median()), 1), "minutes of clean data", "median over series"))
    if motion.notna().any():
        items.append((number(float(motion.median()), 2), "mm framewise displacement", "median over series"))
    return Section("summary", "Summary").add(
        Note(
            "This study adopts region series that another program preprocessed and denoised; neurobraid estimated the matrices. "
            "No image was read, so there is nothing here on anatomy, activation or PET."
        ),
        Numbers(items),
    )


def _lost_regions(path, people: int) -> list:
    found = table(path)
    lost = found[found["participants"] < people].sort_values("participants", kind="stable")
    if not len(lost):
        return [Note(f"Every region has data in all {plural(people, 'participant')}.")]
    rows = [[str(r["Node"]), number(int(r["participants"]))] for r in lost.to_dict("records")]
    caption = f"Regions that some of the {plural(people, 'participant')} lack, and how many have them."
    block = Table(["Region", "Participants"], rows, caption, numeric=("Participants",), compact=True)
    few = len(rows) <= LONG
    return [block if few else Fold(f"{plural(len(rows), 'region')} that some participants lack", [block])]


def methods_section(
    frame, notes, settings: Mapping, software: Mapping, atlas: str, models: Sequence = ()
) -> Section:
    """What was done to the series of another program, in words for a manuscript.

    Parameters
    ----------
    frame : pandas.DataFrame
        ``*_desc-series_table.tsv``.
    notes : list of mapping
        Sidecars of the group's matrices, one per measure.
    settings : mapping
        Config as used.
    software : mapping
        Versions, from the run record.
    atlas : str
    models : sequence of mapping
        Summaries of predictive models.

    Returns
    -------
    Section
    """
    used: list[str] = []

    def cite(key, text):
        if key not in used:
            used.append(key)
        return f"{text} [{used.index(key) + 1}]"

    kept = frame[frame["used"] == "yes"]
    times = sorted({float(v) for v in kept["repetition_time_s"].astype(float) if v == v})
    repetition = f", repetition time {methods.span(times)} s" if times else ""
    text = (
        f"Series of the regions of atlas {atlas} of {plural(frame['participant_id'].nunique(), 'participant')} "
        f"({len(frame)} series{repetition}) had been preprocessed, denoised and averaged by another program and were taken over as they are; "
        f"nothing was filtered or regressed again. They were processed with neurobraid {software.get('neurobraid', '')} (Python "
        f"{software.get('python', '')}), a {cite('snakemake', 'Snakemake')} {software.get('snakemake', '')} workflow."
    )
    censored = kept["kept_volumes"].astype(float) < kept["volumes"].astype(float)
    if censored.any():
        text += (
            f" Volumes that the program had marked as outliers did not count ({int(censored.sum())} series)."
        )
    floor = 100 * float(methods.get(settings, "connectivity.min_coverage", 0.5))
    text += f" Regions that the program left out, that were constant, or that were covered to less than {floor:.0f} % had no value."
    out = len(frame) - len(kept)
    if out:
        text += f" {out} of {len(frame)} series could not be used; the reason for each is in the table of participants."
    measures = "; ".join(MEASURES.get(n["Measure"], n["Measure"]) for n in notes)
    fisher = " after Fisher's z transformation for correlations" if notes else ""
    edges = (
        f"Every pair of regions was related by {measures}. Group matrices are means over participants{fisher} "
        f"({notes[0]['Weighting']}); an edge counts the participants who have both regions."
        if notes
        else ""
    )
    section = Section(
        "methods",
        "Methods",
        "Written from the settings and sidecars of this run; ready to be adapted for a manuscript.",
    )
    section.add(Heading("Data and software"), Prose([text]))
    if edges:
        section.add(Heading("Connectivity"), Prose([edges]))
    if models:
        section.add(Heading("Prediction"), Prose([methods.prediction({"models": models}, cite)]))
    return section.add(Heading("References"), Prose([methods.REFERENCES[key] for key in used], numbered=True))


def write_pages(inputs: Mapping, *, pages, figures, config: Mapping) -> None:
    """Write the pages of some participants.

    Parameters
    ----------
    inputs : mapping of str to path or list of paths
        Kinds ``series_table``, and ``relmat`` and ``coverage`` of these participants.
    pages, figures : list of path-like
        ``sub-….html`` of every participant, and the folder of its figures.
    config : mapping
    """
    files = Inputs(inputs)
    frame = table(files.all("series_table")[0])
    mine = {}
    for kind in ("relmat", "coverage"):
        for path in files.all(kind):
            mine.setdefault(Path(path).name.split("_")[0], {}).setdefault(kind, []).append(path)
    for place, folder in zip(pages, figures, strict=True):
        person = Path(place).stem
        participant_page(
            person, Inputs(mine.get(person, {})), frame[frame["participant_id"] == person], page=place,
            figures_dir=folder, config=config,
        )  # fmt: skip


def write_study(inputs: Mapping, *, page, figures_dir, record, config: Mapping) -> None:
    """Write the study page.

    Parameters
    ----------
    inputs : mapping of str to path or list of paths
        Kinds ``series_table``, ``group_relmat``, ``group_coverage``, ``group_sidecars``, ``graph``, ``gradients``, ``edges`` (see
        `networks.blocks`), ``summaries``, ``predictions``, ``model_pages`` and ``cards`` of models, and ``relmat`` and ``coverage`` of
        everybody, whose checksums are recorded.
    page, figures_dir, record : path-like
    config : mapping
    """
    files = Inputs(inputs)
    frame = table(files.all("series_table")[0])
    atlas = parse(Path(files.all("series_table")[0]).name).entities.get("atlas", "")
    frame = frame.loc[sorted(frame.index, key=lambda k: natural(frame.at[k, "scan"]))]
    gallery = Gallery(figures_dir, page)
    listed = series_table(
        frame, f"Region series of {plural(frame['participant_id'].nunique(), 'participant')}.", link=True
    )
    participants = Section(
        "participants", "Participants", "Every series, what it holds, and why it was not used."
    )
    participants.add(listed if len(frame) <= LONG else Fold(f"All {len(frame)} series", [listed]))
    refused = frame[frame["used"] != "yes"]
    if len(refused) and len(frame) > LONG:
        participants.add(series_table(refused, "Series that could not be used.", link=True))
    connectivity = Section("connectivity", "Group connectivity")
    people = int(frame.loc[frame["used"] == "yes", "participant_id"].nunique())
    for path, note in zip(files.all("group_relmat"), files.all("group_sidecars"), strict=True):
        low, high = read_json(note)["ParticipantsPerEdge"]
        edges = "" if low == high else f" ({low} to {high} by edge)"
        what = f"Mean over {plural(people, 'participant')}{edges}"
        connectivity.add(matrix_picture(files, gallery, path, "study", what))
    connectivity.add(*networks.blocks(files, gallery))
    connectivity.add(*_lost_regions(files.all("group_coverage")[0], people))
    if not np.isfinite(frame["mean_fd_mm"].astype(float)).any():
        connectivity.add(Note("The program that made the series wrote no head motion: relations with age or diagnosis may be those of motion.", "warn"))  # fmt: skip
    job = _Study(files, gallery, config)
    pages = {*files.all("model_pages"), *files.all("cards")}
    checked = run_record.checksums(path for path in files.everything() if path not in pages)
    job.record = run_record.record(config, checked)
    prediction = Section(
        "prediction", "Prediction", "What these matrices say about people that the models never saw."
    )
    if job.models:
        job.prediction(prediction)
    provenance = Section("provenance", "Provenance", "What was run, with what, on what.")
    job.provenance(provenance)
    notes = [read_json(path) for path in files.all("group_sidecars")]
    told = methods_section(frame, notes, config, job.record.get("software", {}), atlas, job.models)
    write_json(job.record, record)
    write(
        Page(
            title=str(config.get("title") or "Study report"),
            subtitle=f"{plural(people, 'participant')} · region series of atlas {atlas}",
            kind="study",
            sections=[
                _overview(frame, atlas),
                participants,
                connectivity,
                *([prediction] if job.models else []),
                told,
                provenance,
            ],
            footer=f"neurobraid {__version__}.",
        ),
        page,
    )
