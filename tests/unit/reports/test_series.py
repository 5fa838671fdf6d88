"""Pages of a study of region series: written from the files of the real step, for scans good, gappy and unusable."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from neurobraid.connectivity import adopted
from neurobraid.files import read_json, write_json
from neurobraid.reports.series import write_pages, write_study

REGIONS, MEASURES = [f"R{k}" for k in range(6)], ["pearsoncorrelation", "partialcorrelation"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    rng = np.random.default_rng(5)
    rows, stems = [], []
    for k, volumes in enumerate((80, 80, 1)):
        person = f"sub-{k:02d}"
        values = pd.DataFrame(rng.standard_normal((volumes, 6)), columns=REGIONS)
        if k == 1:
            values["R4"] = 7.0
        name = f"{person}_task-rest_atlas-mini_stat-mean_timeseries.tsv"
        values.to_csv(folder / name, sep="\t", index=False)
        write_json({"RepetitionTime": 1.5}, folder / name.replace(".tsv", ".json"))
        rows.append({
            "path": name, "scan": f"{person}_task-rest", "participant_id": person, "session_id": "n/a", "task": "rest",
            "atlas": "mini", "coverage": "n/a", "outliers": "n/a", "sidecar": name.replace(".tsv", ".json"),
        })  # fmt: skip
        stems.append(folder / f"{person}_task-rest_atlas-mini")
    group = folder / "atlas-mini"
    batch = SimpleNamespace(
        matrices=[f"{s}_stat-{m}_relmat.tsv" for s in stems for m in MEASURES],
        sidecars=[f"{s}_stat-{m}_relmat.json" for s in stems for m in MEASURES],
        coverage=[f"{s}_stat-coverage_bold.tsv" for s in stems], table=folder / "batch.tsv",
    )  # fmt: skip
    adopted.run_batch(batch, root=folder, rows=rows, paths=[r["path"] for r in rows], measures=MEASURES, min_coverage=0.5)  # fmt: skip
    mean = SimpleNamespace(
        matrices=[f"{group}_stat-{m}_relmat.tsv" for m in MEASURES],
        sidecars=[f"{group}_stat-{m}_relmat.json" for m in MEASURES],
        table=f"{group}_desc-series_table.tsv", coverage=f"{group}_stat-coverage_bold.tsv",
    )  # fmt: skip
    ordered = [f"{s}_stat-{m}_relmat.tsv" for m in MEASURES for s in stems]
    adopted.run_group(SimpleNamespace(tables=[batch.table], matrices=ordered), mean, MEASURES)
    reports = folder / "reports"
    reports.mkdir()
    everybody = {"series_table": mean.table, "relmat": batch.matrices, "coverage": batch.coverage}
    people = [f"sub-{k:02d}" for k in range(3)]
    write_pages(
        everybody, pages=[reports / f"{p}.html" for p in people], figures=[reports / "figures" / p for p in people],
        config={"title": "Only series"},
    )  # fmt: skip
    write_study(
        {**everybody, "group_relmat": mean.matrices, "group_sidecars": mean.sidecars, "group_coverage": mean.coverage},
        page=reports / "index.html", figures_dir=reports / "figures/study", record=reports / "provenance.json",
        config={"title": "Only series"},
    )  # fmt: skip
    return reports


def words(page):
    text = re.sub(r"<(script|style).*?</\1>", " ", page.read_text(), flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_study_page_shows_what_there_is(study):
    text, page = words(study / "index.html"), (study / "index.html").read_text()
    for part in ("2 participants", "Mean over 2 participants (1 to 2 by edge)", "partial correlation between 6 regions", "R4 1", "wrote no head motion"):  # fmt: skip
        assert part in text, part
    for part in (
        "Series of the regions of atlas mini of 3 participants (3 series, repetition time 1.5 s)", "nothing was filtered or regressed again",
        "1 of 3 series could not be used", "covered to less than 50 %", "Pearson correlation, no shrinkage; partial correlation given",
        "participants equally", "sustainable data analysis",
    ):  # fmt: skip
        assert part.lower() in text.lower(), part
    assert "outliers did not count" not in text, "none was marked"
    for absent in ("Anatomy", "Group PET", "Prediction", "No run of task", "n/a"):
        assert absent not in text, absent
    assert re.search(r"sub-02_task-rest .*? no \(", text)
    for picture in re.findall(r'src="(figures/[^"]+)"', page):
        assert (study / picture).stat().st_size > 1000
    assert {"sub-00.html", "sub-01.html", "sub-02.html"} <= set(re.findall(r'href="([^"#]+)"', page))
    files = [f["file"] for f in read_json(study / "provenance.json")["files"]]
    assert len(files) == 1 + 2 + 2 + 1 + 6 + 3


def test_participants_pages_show_their_own_matrices(study):
    assert len(re.findall('src="figures/sub-01/', (study / "sub-01.html").read_text())) == 2
    assert "1 region without a value is grey" in words(study / "sub-01.html")
    assert "sub-00" not in words(study / "sub-01.html")
    text = words(study / "sub-02.html")
    assert (
        "No series of this participant could be used" in text
        and "<img" not in (study / "sub-02.html").read_text()
    )
