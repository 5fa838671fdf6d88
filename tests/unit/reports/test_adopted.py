"""Pages of a study with fMRIPrep derivatives: who was preprocessed by whom, on every page and in the methods."""

from pathlib import Path

from neurobraid.files import write_tsv
from neurobraid.reports import methods

from .test_pages import Reader, person_page
from .test_texts import told

MADE = [
    {"scan": "sub-01", "suffix": "T1w", "source": "fmriprep", "version": "23.2.1", "reason": "whole", "files": "t1w=x"},
    {"scan": "sub-01_task-motor", "suffix": "bold", "source": "fmriprep", "version": "23.2.1", "reason": "whole", "files": "bold=x"},
    {"scan": "sub-01_task-rest", "suffix": "bold", "source": "neurobraid", "version": "n/a",
     "reason": "fMRIPrep lacks the confounds table", "files": "n/a"},
    {"scan": "sub-02", "suffix": "T1w", "source": "neurobraid", "version": "n/a",
     "reason": "fMRIPrep has nothing of this participant", "files": "n/a"},
]  # fmt: skip


def table(rows):
    import pandas as pd

    path = Path("results/index/preprocessing.tsv")
    write_tsv(pd.DataFrame(rows), path)
    return str(path)


def cells(html, heading):
    """Rows of the table with a heading, as lists of texts."""
    import re

    found = next(t for t in re.findall(r"<table.*?</table>", html, re.DOTALL) if f">{heading}<" in t)
    rows = [
        re.findall(r"<t[dh].*?>(.*?)</t[dh]>", r, re.DOTALL)
        for r in re.findall(r"<tr>.*?</tr>", found, re.DOTALL)
    ]
    return [[re.sub("<.*?>", "", c).strip() for c in r] for r in rows]


def test_participant_page_says_who(study, config):
    person, _ = study
    html = person_page({**person, "preprocessing": table(MADE)}, config).read_text()
    rows = {r[0]: r[-1] for r in cells(html, "Preprocessed by")}
    assert rows["sub-01"] == rows["sub-01_task-motor"] == "fMRIPrep 23.2.1"
    assert rows["sub-01_task-rest"] == rows["sub-01_trc-RAC"] == "neurobraid"
    text = Reader(html).text
    assert "sub-01_task-rest was preprocessed here: fMRIPrep lacks the confounds table." in text


def test_study_page_says_for_whom(study, config):
    from neurobraid.reports.study import write_study

    _, inputs = study
    page = Path("results/reports/index.html")
    write_study(
        {**inputs, "preprocessing": table(MADE)}, page=page, figures_dir="results/reports/figures/study",
        record="results/reports/provenance.json", config=config,
    )  # fmt: skip
    html = page.read_text()
    rows = cells(html, "Why not adopted")[1:]
    assert ["sub-01", "fMRIPrep 23.2.1", "1 T1w scan", "1 BOLD scan", "–"] in rows
    assert [
        "sub-01",
        "neurobraid",
        "0 T1w scans",
        "1 BOLD scan",
        "fMRIPrep lacks the confounds table",
    ] in rows
    assert [
        "sub-02",
        "neurobraid",
        "1 T1w scan",
        "0 BOLD scans",
        "fMRIPrep has nothing of this participant",
    ] in rows
    assert "Derivatives taken over" in html


def test_study_that_adopts_nothing_does_not_mention_fmriprep(study, config):
    from neurobraid.reports.study import write_study

    _, inputs = study
    own = [
        {**r, "source": "neurobraid", "version": "n/a", "reason": "adopt.fmriprep is not set"} for r in MADE
    ]
    page = Path("results/reports/index.html")
    write_study(
        {**inputs, "preprocessing": table(own)}, page=page, figures_dir="results/reports/figures/study",
        record="results/reports/provenance.json", config=config,
    )  # fmt: skip
    assert "fMRIPrep" not in page.read_text()


def test_methods_of_a_mixed_study():
    texts, references = told(counts={"T1w": 2, "bold": 2}, preprocessing=MADE)
    first = texts["Derivatives taken over"]
    assert (
        "1 T1-weighted and 1 BOLD scans of sub-01 were preprocessed with fMRIPrep" in first
        and "23.2.1" in first
    )
    assert "The other 2 T1-weighted and BOLD scans (sub-01 and sub-02)" in first
    assert "once more to 2.5 mm" in first and any("Esteban" in r for r in references)
    for heading in ("Anatomy", "BOLD preprocessing"):
        assert texts[heading].startswith("This holds for the scans that were not taken over")


def test_methods_when_all_is_adopted():
    whole = [{**r, "source": "fmriprep", "version": "24.0.0"} for r in MADE]
    texts, _ = methods.paragraphs(
        {}, {"counts": {"T1w": 2, "bold": 2}, "participants": 2, "preprocessing": whole}
    )
    assert [heading for heading, _ in texts] == ["Data and software", "Derivatives taken over"]
    assert "The other" not in texts[1][1]
