"""The part on reference maps: numbers come from the tables, what was not possible is said, sources are named."""

from types import SimpleNamespace

import numpy as np
import pytest

from neurobraid.files import write_json, write_tsv
from neurobraid.fusion import reference_maps as science
from neurobraid.reports.gather import Inputs
from neurobraid.reports.map_association import add_maps
from neurobraid.reports.pages import Gallery, Note, Page, Section, render


@pytest.fixture
def shown(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.normal(0, 40, (40, 3))
    maps = {"D1": rng.normal(size=40), "<b>x": rng.normal(size=40)}
    targets = {"pet BPND": maps["D1"] + 0.2 * rng.normal(size=40), "anat density": np.full(40, np.nan)}
    found, dominance, fits, reasons = science.associate(targets, maps, points, surrogates=99)
    stem = tmp_path / "results/derivatives/group/atlas-x_desc-"
    about = {
        "Maps": {n: {"Units": "BPND", "Source": "Kaller et al. 2017 <i>"} for n in maps}, "Surrogates": 99, "Method": "pearson",
        "NotPossible": reasons,
    }  # fmt: skip
    paths = {
        "map_association": f"{stem}mapassociation_table.tsv",
        "map_dominance": f"{stem}mapdominance_table.tsv",
    }
    write_tsv(found, paths["map_association"])
    write_json(about, f"{stem}mapassociation_table.json")
    write_tsv(dominance, paths["map_dominance"])
    write_json({"Fits": fits}, f"{stem}mapdominance_table.json")
    paths["react"] = tmp_path / "results/sub-01_task-rest_space-M_stat-react_boldmap.json"
    maps = {"D1": {"Units": "BPND", "Source": "s", "VarianceInflation": 7.25, "Voxels": 1234}}
    write_json({"Maps": maps, "Collinear": ["D1"]}, paths["react"])
    section, gallery = Section("coupling", "Coupling"), Gallery(tmp_path / "figures", tmp_path / "index.html")
    add_maps(SimpleNamespace(inputs=Inputs(paths), gallery=gallery), section)
    return tmp_path, found, fits, section


def test_figures_and_numbers_are_those_of_the_tables(shown):
    home, found, fits, section = shown
    text = render(Page("t", "s", "study", [section]))
    row = found.set_index("map").loc["D1"]
    assert f"{row['r']:.2f}" in text and "p(FDR) ≤ 0.05" in text
    assert "Kaller et al. 2017 &lt;i&gt;" in text and "<b>x</td>" not in text
    for name in ("maps", "mapdominance"):
        assert (home / f"figures/study_atlas-x_{name}.svg").stat().st_size > 5000
    assert fits["pet BPND"]["p"] == 0.01
    assert "1,234" in text and "7.25" in text


def test_what_was_not_possible_is_said(shown):
    notes = [b.text for b in shown[3].blocks if isinstance(b, Note)]
    assert any("sub-01_task-rest (D1)" in text and "no single receptor" in text for text in notes)
    assert any("anat density: fewer than 8 regions" in text for text in notes)
