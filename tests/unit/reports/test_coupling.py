"""The section on coupling: every number comes from a file, nothing is claimed where nothing was estimated."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError
from neurobraid.files import write_tsv
from neurobraid.fusion import analysis
from neurobraid.fusion import coupling as science
from neurobraid.reports import coupling, methods
from neurobraid.reports.gather import Inputs
from neurobraid.reports.pages import Gallery, Note, Page, Section, render

NAMES = [f"r{n}" for n in range(20)]


def study(folder, people, *, enabled=True):
    rng = np.random.default_rng(0)
    group = folder / "results/derivatives/group"
    atlas = pd.DataFrame({"index": range(1, 21), "name": NAMES, "hemisphere": "L", "structure": "cortex"})
    atlas[["x", "y", "z"]] = rng.normal(0, 40, (20, 3))
    rows = [
        (f"sub-{n:02d}", np.nan, name, modality, measure, rng.normal(), unit, 1.0, "x")
        for n in range(people)
        for modality, measure, unit in (
            ("fmri-rest", "strengthpositive", "z"),
            ("pet", "BPND", "1"),
            ("pet", "SUVR", "1"),
        )
        for name in NAMES
    ]
    columns = [
        "participant_id",
        "session_id",
        "region",
        "modality",
        "measure",
        "value",
        "unit",
        "coverage",
        "source",
    ]
    write_tsv(pd.DataFrame(rows, columns=columns), folder / "features.tsv")
    write_tsv(atlas, folder / "tpl-m_atlas-x_dseg.tsv")
    stem = group / "atlas-x_desc-"
    out = {
        "regional": f"{stem}coupling_table.tsv",
        "regional_json": f"{stem}coupling_table.json",
        "personal": f"{stem}personcoupling_table.tsv",
        "personal_json": f"{stem}personcoupling_table.json",
        "network": f"{stem}petcovariance_relmat.tsv",
        "network_json": f"{stem}petcovariance_relmat.json",
        "summary": f"{stem}coupling_summary.json",
    }
    settings = {
        "pairs": [],
        "covariates": [],
        "permutations": 49,
        "surrogates": 49,
        "min_coverage": 0.5,
        "seed": 1,
    }
    science.write_coupling(folder / "features.tsv", folder / "tpl-m_atlas-x_dseg.tsv", None, out, **settings)
    files = {"atlas_tables": [folder / "tpl-m_atlas-x_dseg.tsv"]}
    if enabled:
        files |= {
            "coupling": out["summary"],
            "coupling_table": out["regional"],
            "person_coupling": out["personal"],
        }
        files |= {"pet_covariance": out["network"]}
    gallery = Gallery(folder / "figures", folder / "index.html")
    return SimpleNamespace(inputs=Inputs(files), gallery=gallery), out


def shown(section):
    return render(Page("t", "s", "study", [section]))


@pytest.mark.parametrize("people", [12, 4, 1])
def test_section_with_many_few_and_one_participant(tmp_path, people):
    made, out = study(tmp_path, people)
    section = Section("coupling", "Coupling")
    coupling.add_coupling(made, section)
    page = shown(section)
    assert "positive connectivity strength" in page and "BPND" in page and "SUVR" not in page
    assert (tmp_path / "figures/study_atlas-x_coupling1.svg").stat().st_size > 5000
    assert ("no statistic across people" in page.lower()) == (people < 5)
    regional = pd.read_csv(out["regional"], sep="\t")
    if people == 12:
        smallest = regional.sort_values("p")["region"].iloc[0]
        assert f">{smallest}<" in page.split("smallest p")[1]
        assert "covariance network of bpnd over 12" in page.lower()


def test_where_nothing_was_estimated_it_says_so(tmp_path):
    made, _ = study(tmp_path, 5, enabled=False)
    section = Section("coupling", "Coupling")
    coupling.add_coupling(made, section)
    [note] = section.blocks
    assert isinstance(note, Note) and note.tone == "missing"


def test_methods_say_what_was_done_and_no_more():
    settings = {"fusion": {"coupling": {"surrogates": 499, "permutations": 199}}}
    pairs = [{"Participants": 9, "Covariates": ["age", "sex"], "AcrossPeople": {"RegionsFWE05": 0}}]
    texts, references = methods.paragraphs(settings, {"coupling": pairs})
    text = dict(texts)["Coupling of function and molecules"]
    assert "499 surrogates" in text and "without age and sex" in text and "199" in text
    assert any("Moran" in r for r in references)
    settings["fusion"]["coupling"]["spatial_null"] = "spin"
    texts, references = methods.paragraphs(settings, {"coupling": pairs})
    assert "spins on fsaverage5" in dict(texts)["Coupling of function and molecules"]
    assert any("Alexander-Bloch" in r for r in references) and not any("Moran" in r for r in references)
    few = dict(methods.paragraphs(settings, {"coupling": [{"Participants": 2}]})[0])
    assert "Across participants" not in few["Coupling of function and molecules"]
    assert "Coupling of function and molecules" not in dict(methods.paragraphs(settings, {})[0])


def test_latent_fusion_is_never_shown_by_its_fit_alone(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for n in range(24):
        shared = rng.normal()
        for modality, measure in (("fmri-rest", "strengthpositive"), ("pet", "BPND")):
            for name in NAMES:
                value = rng.normal() + 1.5 * shared * (name < "r14")
                rows.append((f"sub-{n:02d}", np.nan, name, modality, measure, value, "1", 1.0, "x"))
    columns = [
        "participant_id",
        "session_id",
        "region",
        "modality",
        "measure",
        "value",
        "unit",
        "coverage",
        "source",
    ]
    write_tsv(pd.DataFrame(rows, columns=columns), tmp_path / "features.tsv")
    blocks = [{"name": "function", "modality": ["fmri-rest"]}, {"name": "binding", "modality": ["pet"]}]
    record = {
        "name": "both",
        "method": "pls",
        "blocks": blocks,
        "components": 1,
        "permutations": 19,
        "bootstraps": 20,
    }
    record |= {"groups": "", "within": "", "seed": 1}
    stem = tmp_path / "model-both_desc-latent"
    out = {"components": f"{stem}_table.tsv", "components_json": f"{stem}_table.json"}
    out |= {"weights": f"{stem}weights_table.tsv", "weights_json": f"{stem}weights_table.json"}
    analysis.write_latent(tmp_path / "features.tsv", None, record, out)
    weights = pd.read_csv(out["weights"], sep="\t")
    assert len(weights) == 40 and set(weights["block"]) == {"function", "binding"}
    strong = weights[weights["bootstrap_ratio"].abs() > 3]["feature"].str.split().str[-1]
    assert (strong < "r14").mean() > 0.8
    section = Section("coupling", "Coupling")
    coupling.add_coupling(
        SimpleNamespace(inputs=Inputs({"latent": out["components"]}), gallery=None), section
    )
    page = shown(section)
    assert (
        "r held out" in page and "PLS correlation" in page and "24 participants" in page and "0.050" in page
    )

    few = pd.DataFrame(rows, columns=columns).query("participant_id < 'sub-08'")
    write_tsv(few, tmp_path / "features.tsv")
    analysis.write_latent(tmp_path / "features.tsv", None, record, out)
    section = Section("coupling", "Coupling")
    coupling.add_coupling(
        SimpleNamespace(inputs=Inputs({"latent": out["components"]}), gallery=None), section
    )
    assert "8 participants have all blocks" in shown(section)
    with pytest.raises(InputError, match="no features"):
        analysis.blocks_of(few, [{"name": "eeg", "modality": ["eeg"]}])
