"""The page of a model: everything its summary says, with figures; what is missing is left out or said."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from neurobraid.files import read_json, write_json, write_tsv
from neurobraid.images.io import save
from neurobraid.prediction.maps import write_map
from neurobraid.prediction.model import write_model
from neurobraid.reports.model import _by_band, write_model_page
from neurobraid.synth.cohort import make_cohort

NASTY = "<script>alert('x')</script>"
SETS = [{"name": "fmri", "modality": ["fmri-rest"]}, {"name": "pet", "modality": ["pet"]}]


def fitted(folder, **changes):
    """Tables of a small model."""
    folder.mkdir(parents=True, exist_ok=True)
    cohort = make_cohort(1, people=80, missing_pet=0.1, association=0.6, site_shift=0.5)
    write_tsv(cohort.features, folder / "features.tsv")
    write_tsv(cohort.participants, folder / "participants.tsv")
    stem = folder / "model-m"
    paths = {
        k: Path(f"{stem}_desc-{k}_table.tsv")
        for k in ("predictions", "scores", "folds", "importance", "pattern")
    }
    outputs = {**paths, **{f"{k}_json": v.with_suffix(".json") for k, v in paths.items()}}
    outputs["summary"] = Path(f"{stem}_summary.json")
    record = {
        "name": "m", "table": "study", "target": "diagnosis", "features": SETS, "permutations": 5, "repeats": 1,
        "folds": {"outer": 3, "inner": 2}, "importance": {"repeats": 2, "nulls": 5, "conditional": True},
        "learning_curve": True, **changes,
    }  # fmt: skip
    write_model(folder / "features.tsv", folder / "participants.tsv", record, outputs)
    return {k: outputs[k] for k in ("summary", "predictions", "importance", "pattern")}


def page(folder, inputs, title="Study"):
    out = {"page": folder / "reports/model-m.html", "record": folder / "reports/m.json"}
    (folder / "reports").mkdir(parents=True, exist_ok=True)
    write_model_page(inputs, **out, figures_dir=folder / "reports/figures/model-m", config={"title": title})
    return out["page"].read_text(encoding="utf-8"), sorted(
        p.name for p in (folder / "reports/figures/model-m").iterdir()
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return folder, fitted(folder)


def test_a_classification_shows_everything(made, monkeypatch):
    folder, inputs = made
    monkeypatch.chdir(folder)
    html, figures = page(folder, inputs, title=NASTY)
    for section in ("People and splits", "Performance", "Predictions", "What each kind of data adds", "How many people it needs",
                    "For whom it works", "What it rests on", "Leakage audit", "Settings"):  # fmt: skip
        assert f">{section}</h2>" in html, section
    wanted = ("flow", "scores", "permutation", "roc", "calibration", "decision", "added", "learning", "groups", "importance",
              "patterns", "set-fmri_pairs")  # fmt: skip
    assert figures == sorted(f"model-m_{name}.svg" for name in wanted)
    assert all(html.count(f"figures/model-m/{name}") == 2 for name in figures), "a picture and its link"
    words = re.sub(r"<[^>]+>", "", html).lower()
    for text in ("Brier score", "Permutation p", "Fewer than 500 people", "site only", "conditional loss"):
        assert text.lower() in words, text
    assert NASTY not in html and "&lt;script&gt;" in html
    assert "http://" not in html and "https://" not in html
    assert not re.search(r"\bnan\b", html, re.IGNORECASE)
    assert read_json(folder / "reports/m.json")["files"]
    # the same bytes again
    before = [(folder / "reports/figures/model-m" / name).read_bytes() for name in figures]
    assert page(folder, inputs, title=NASTY)[0] == html
    assert before == [(folder / "reports/figures/model-m" / name).read_bytes() for name in figures]


def test_an_older_summary_a_regression_and_a_model_that_could_not_be_fitted(made, tmp_path, monkeypatch):
    inputs = made[1]
    monkeypatch.chdir(tmp_path)
    summary = read_json(inputs["summary"])
    for key in ("importance", "curves", "learning_curve", "added_value", "slices", "audit", "patterns"):
        summary.pop(key, None)
    summary["permutation"].pop("null")
    write_json(summary, tmp_path / "old.json")
    html, figures = page(tmp_path / "old", {**inputs, "summary": tmp_path / "old.json"})
    assert "Leakage audit" not in html and "model-m_scores.svg" in figures
    html, figures = page(
        tmp_path / "age",
        fitted(tmp_path / "age", kind="regression", target="age", demographics=["sex"], permutations=0),
    )
    assert "model-m_predicted.svg" in figures and "model-m_roc.svg" not in figures
    assert "mean absolute error" in html and "R²" in html
    few = fitted(tmp_path / "few", min_participants=500)
    html, figures = page(tmp_path / "few", few)
    assert "Not fitted" in html and "min_participants is 500" in html
    assert figures == ["model-m_flow.svg"]


def test_classes_in_order_that_are_numbers_are_drawn_as_ranks(tmp_path, monkeypatch):
    """Class 0 has rank 1: against the class as a number every perfect prediction would be one too high."""
    monkeypatch.chdir(tmp_path)
    metric = {"mean": 0.5, "low": 0.3, "high": 0.7, "folds": 3}
    summary = {
        "name": "m", "status": "OK", "reason": "", "primary_metric": "spearman", "classes": ["0", "1", "2"],
        "class_counts": {"0": 4, "1": 4, "2": 4}, "participants": 12, "rows": 12, "main_set": "snf", "features": {"b": 2, "a": 2},
        "settings": {"kind": "ordinal", "target": "stage", "features": [{"name": "b"}, {"name": "a"}]},
        "folds": {"outer": 3, "inner": 2, "repeats": 1, "sha256": "0" * 64}, "interval": "by Bates, 95 %",
        "metrics": {name: {"spearman": metric} for name in ("a", "b", "snf")},
        "stacking_weights": {name: {"mean": 0.5, "low": 0.4, "high": 0.6} for name in "ab"},
        "not_for_this_kind": {"calibration": "it needs two classes"},
    }  # fmt: skip
    write_json(summary, "s.json")
    rows = pd.DataFrame(
        {
            "participant_id": [f"sub-{k}" for k in range(12)], "session_id": np.nan, "feature_set": "snf", "repeat": 1,
            "fold": 1, "target": ["0", "1", "2"] * 4, "score": 0.0, "prediction": [1.2, 2.0, 2.7] * 4,
        }
    )  # fmt: skip
    write_tsv(rows, "p.tsv")
    html, figures = page(tmp_path, {"summary": tmp_path / "s.json", "predictions": tmp_path / "p.tsv"})
    assert figures == ["model-m_ranks.svg", "model-m_scores.svg"]
    for text in ("by Bates, 95 %", "Not for this kind of target", "similarity network fusion", "Largest"):
        assert text in html, text
    assert "Nadeau" not in html and "AUC" not in html


def test_maps_and_connectomes_where_regions_have_a_place(made, tmp_path, monkeypatch):
    inputs = made[1]
    monkeypatch.chdir(tmp_path)
    names = ["A", "B", "C", "D"]
    regions = pd.DataFrame(
        {"index": [1, 2, 3, 4], "name": names, "x": [-30.0, 30, -20, 20], "y": [0.0, 0, 40, 40], "z": 20.0}
    )
    labels = np.zeros((16, 19, 14), np.int32)
    affine = np.array([[10.0, 0, 0, -75], [0, 10, 0, -105], [0, 0, 10, -60], [0, 0, 0, 1]])
    for k, (x, y, z) in enumerate(regions[["x", "y", "z"]].to_numpy()):
        at = np.rint((np.array([x, y, z]) - affine[:3, 3]) / 10).astype(int)
        labels[at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2, at[2]] = k + 1
    edges = [f"{a}--{b}" for i, a in enumerate(names) for b in names[i + 1 :]]
    pattern = pd.DataFrame(
        {
            "feature_set": ["pet"] * 4 + ["fmri"] * 6, "modality": ["pet"] * 4 + ["fmri-rest"] * 6,
            "measure": ["BPND"] * 4 + ["c"] * 6, "region": names + edges, "pattern": np.linspace(-0.5, 0.6, 10),
            "sign": 1.0, "folds": 3, "z": 2.0, "p": 0.1, "p_fdr": 0.2, "p_fwe": [0.01] + [0.4] * 9,
        }
    )  # fmt: skip
    importance = pd.DataFrame(
        {
            "level": "region", "feature_set": "pet", "name": names, "features": 1, "drop": [0.1, 0.02, 0.0, -0.01],
            "low": np.nan, "high": np.nan, "conditional_drop": np.nan, "conditional_low": np.nan,
            "conditional_high": np.nan, "folds": 3,
        }
    )  # fmt: skip
    for name, table in (("pattern", pattern), ("importance", importance), ("regions", regions)):
        write_tsv(table, f"{name}.tsv")
    save(labels, affine, "atlas.nii.gz", dtype=np.int32)
    out = {"map": "space-x_desc-pattern_statmap.nii.gz", "sidecar": "space-x_desc-pattern_statmap.json",
           "table": "t.tsv", "table_json": "t.json"}  # fmt: skip
    write_map("pattern.tsv", "importance.tsv", "atlas.nii.gz", "regions.tsv", out)
    shown = {**inputs, "pattern": "pattern.tsv", "importance": "importance.tsv", "maps": [out["map"]]}
    html, figures = page(tmp_path, {**shown, "atlas_tables": ["regions.tsv"]})
    drawn = {name for name in figures if name.endswith(".png")}
    assert drawn == {
        "model-m_set-fmri_connectome.png", "model-m_set-fmri_c_pattern.png", "model-m_set-pet_BPND_pattern.png",
        "model-m_set-pet_drop.png",
    }  # fmt: skip
    assert "a threshold for the eye" in html


def test_bands_of_age_stand_from_low_to_high():
    found = [
        {"column": c, "level": v}
        for c, v in (("site", "b"), ("age", "20 to 30"), ("age", "above 30"), ("age", "below 20"))
    ]
    assert [s["level"] for s in _by_band(found)] == ["b", "below 20", "20 to 30", "above 30"]
