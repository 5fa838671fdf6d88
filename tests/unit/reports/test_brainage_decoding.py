"""Sections of brain age and decoding: raw accuracy only, chance beside every accuracy, text from data escaped."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd

from neurobraid.files import read_json
from neurobraid.prediction.brain_age_model import write_brain_age
from neurobraid.reports.brainage import add_brain_age, headline, paragraph
from neurobraid.reports.decoding import accuracy_figure, add_decoding, confusion_figure
from neurobraid.reports.gather import Inputs
from neurobraid.reports.pages import Gallery, Page, Section, write


def noise_study(folder, n=240):
    rng = np.random.default_rng(0)
    names = [f"sub-{k:03d}" for k in range(n)]
    people = pd.DataFrame(
        {
            "participant_id": names,
            "age": rng.uniform(20, 80, n),
            "sex": rng.choice(["F", "M"], n),
            "site": rng.choice(["a", "b", "c"], n),
            "group": np.where(np.arange(n) % 4, "control", "<b>ill</b>"),
        }
    )
    parts = [
        pd.DataFrame(
            {
                "participant_id": names, "session_id": "n/a", "region": f"r{k}", "modality": "thickness", "measure": "thickness",
                "value": rng.normal(size=n), "unit": "mm", "coverage": "n/a", "source": "x",
            }
        )
        for k in range(8)
    ]  # fmt: skip
    people.to_csv(folder / "participants.tsv", sep="\t", index=False)
    pd.concat(parts).to_csv(folder / "features.tsv", sep="\t", index=False)
    record = {
        "name": "noise", "features": [{"name": "t", "modality": ["thickness"]}], "permutations": 19,
        "controls": {"column": "group", "value": "control"},
    }  # fmt: skip
    stem = folder / "model-noise_desc-brainage"
    out = {
        k: f"{stem}_{e}"
        for k, e in (("table", "predictions.tsv"), ("folds", "folds.tsv"), ("patterns", "patterns.tsv"))
    }
    out |= {f"{k}_json": v.replace(".tsv", ".json") for k, v in out.items()} | {
        "summary": f"{stem}_summary.json"
    }
    write_brain_age(folder / "features.tsv", folder / "participants.tsv", record, out)
    return out


def page_of(tmp_path, add, files):
    page = tmp_path / "index.html"
    section = Section("x", "X")
    add(SimpleNamespace(inputs=Inputs(files), gallery=Gallery(tmp_path / "figures", page)), section)
    write(Page(title="t", subtitle="", kind="study", sections=[section], footer=""), page)
    return page.read_text()


def test_the_page_has_no_accuracy_after_correction(tmp_path):
    out = noise_study(tmp_path)
    files = {
        "brainage": [out["summary"]],
        "brainage_table": [out["table"]],
        "brainage_patterns": [out["patterns"]],
    }
    text = page_of(tmp_path, add_brain_age, files)
    table = pd.read_csv(out["table"], sep="\t")
    fixed = table["age_years"] + table["gap_delange_years"]
    r2 = 1 - np.sum((table["age_years"] - fixed) ** 2) / np.sum(
        (table["age_years"] - table["age_years"].mean()) ** 2
    )
    error = np.mean(np.abs(table["gap_delange_years"]))
    assert r2 > 0.9
    for forbidden in (r2, np.corrcoef(table["age_years"], fixed)[0, 1], error):
        assert f"{forbidden:.2f}" not in text
    assert "no better than guessing the mean age" in text and "No accuracy of corrected predictions" in text
    assert "<b>ill</b>" not in text and "&lt;b&gt;ill&lt;/b&gt; against controls" in text
    assert "It is not defined where predictions hardly rise" in text
    assert headline(out["summary"])[2].startswith("raw")
    assert "raw held-out" in paragraph([read_json(out["summary"])])


def test_decoding_stands_beside_chance(tmp_path):
    stem = tmp_path / "task-view_model-faces_desc-decoding"
    found = {
        "name": "faces", "status": "OK", "reason": "", "conditions": ["<i>face</i>", "house"], "accuracy": 0.75,
        "balanced_accuracy": 0.75, "auc": 0.8, "chance": 0.5, "samples": 24, "people": 3, "left_out": 1, "notes": ["Mind the gap."],
        "settings": {
            "task": "view", "cv": "leave-one-run-out", "block_average": True, "source": "maps", "selection": "anova",
            "estimator": "svm", "searchlight_mm": 0,
        },
        "test": {"mean": 0.75, "low": 0.6, "high": 0.9, "dof": 2, "t": 7.2, "p_t": 0.02, "p_flip": 0.25},
    }  # fmt: skip
    (tmp_path / f"{stem.name}_summary.json").write_text(json.dumps(found))
    pd.DataFrame({"true": found["conditions"], "<i>face</i>": [9, 3], "house": [3, 9]}).to_csv(
        f"{stem}_confusion.tsv", sep="\t", index=False
    )
    people = pd.DataFrame(
        {
            "participant_id": ["sub-1", "sub-2", "sub-3", "sub-4"], "status": ["OK"] * 3 + ["UNAVAILABLE"],
            "runs": [4, 4, 4, np.nan], "samples": [8, 8, 8, np.nan], "accuracy": [0.7, 0.75, 0.8, np.nan],
            "balanced_accuracy": [0.7, 0.75, 0.8, np.nan], "auc": [0.8] * 3 + [np.nan], "chance": 0.5, "p": [0.02, 0.1, 0.0005, np.nan],
        }
    )  # fmt: skip
    people.to_csv(f"{stem}_people.tsv", sep="\t", index=False, na_rep="n/a")
    files = {
        f"decoding_{k}": [f"{stem}_{k}.{e}"]
        for k, e in (("summary", "json"), ("confusion", "tsv"), ("people", "tsv"))
    }
    text = page_of(tmp_path, add_decoding, files)
    for words in (
        "(a guess: 0.50)",
        "sign flips p = 0.250",
        "Mind the gap.",
        "1 of 4 participants",
        "&lt; 0.001",
        "by inner folds",
    ):
        assert words in text, words
    assert "<i>face</i>" not in text
    axes = accuracy_figure(people, 0.5, "participants").axes[0]
    assert [line.get_label() for line in axes.lines[1:]] == ["mean 0.75", "chance 0.50"] and axes.get_ylabel()
    shown = confusion_figure(pd.read_csv(f"{stem}_confusion.tsv", sep="\t")).axes[0]
    np.testing.assert_allclose(shown.images[0].get_array(), [[0.75, 0.25], [0.25, 0.75]])
    found.update(status="UNAVAILABLE", reason="one run")
    (tmp_path / f"{stem.name}_summary.json").write_text(json.dumps(found))
    assert "Not possible: one run." in page_of(tmp_path, add_decoding, files)
