"""Models of ordered classes and of times to an event on the study page, with what they lack said in words."""

import numpy as np
import pytest

from neurobraid.files import write_tsv
from neurobraid.prediction import nested
from neurobraid.prediction.model import write_model
from neurobraid.prediction.survival import encode, risk_groups
from neurobraid.reports import targets
from neurobraid.reports.gather import Inputs
from neurobraid.reports.pages import Gallery, Page, Section, render
from neurobraid.reports.study import _Study
from neurobraid.synth.cohort import make_cohort

STAGES = ["none", "mild", "severe <3>"]
FEATURES = [{"name": "fmri", "modality": ["fmri-rest"]}, {"name": "pet", "modality": ["pet"]}]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("targets")
    cohort = make_cohort(1, people=100)
    people, rng = cohort.participants, np.random.default_rng(2)
    score = people["score"].to_numpy()
    z = (score - score.mean()) / score.std()
    people["stage"] = np.array(STAGES, dtype=object)[np.searchsorted([-0.3, 0.8], z)]
    times, end = rng.exponential(20 / np.exp(1.2 * z)), rng.uniform(5, 60, 100)
    people["months"] = np.maximum(np.minimum(times, end), 0.1).round(1)
    people["converted"] = (times <= end).astype(int)
    write_tsv(people, folder / "participants.tsv")
    write_tsv(cohort.features, folder / "features.tsv")
    records = [
        {"name": "stages", "kind": "ordinal", "target": "stage", "classes": STAGES, "estimator": "ridge-logistic",
         "fusion": ["late", "stacking"]},
        {"name": "conversion", "kind": "survival", "target": "months", "event": "converted", "intervals": "bates"},
        {"name": "flexible", "kind": "regression", "target": "score", "estimator": "kernel-sum",
         "kernels": ["linear", "rbf"], "confounds": ["age"], "fusion": ["early"]},
    ]  # fmt: skip
    usual = nested.nested_intervals.__kwdefaults__
    nested.nested_intervals.__kwdefaults__ = {**usual, "divisions": 2}
    made = {"summaries": [], "predictions": []}
    for record in records:
        stem = f"{folder}/model-{record['name']}"
        tables = ("scores", "folds", "importance", "pattern")
        out = {f"{n}{end}": f"{stem}_{n}{end}" for n in tables for end in ("", "_json")}
        out |= {
            "predictions": f"{stem}_desc-predictions_predictions.tsv",
            "predictions_json": f"{stem}_p.json",
        }
        out["summary"] = f"{stem}_summary.json"
        base = {
            "features": FEATURES,
            "demographics": ["sex"],
            "folds": {"outer": 4, "inner": 3},
            "permutations": 4,
        }
        write_model(folder / "features.tsv", folder / "participants.tsv", {**base, **record}, out, repeats=1)
        made["summaries"].append(out["summary"])
        made["predictions"].append(out["predictions"])
    nested.nested_intervals.__kwdefaults__ = usual
    page = folder / "page.html"
    section = Section("prediction", "Prediction")
    job = _Study(Inputs(made), Gallery(folder / "figures", page), {})
    job.people = list(people["participant_id"])
    job.prediction(section)
    page.write_text(render(Page("Study", "", "study", [section])))
    return folder, page.read_text()


def test_names_of_scores_and_what_a_kind_lacks(built):
    _, html = built
    for text in (
        "Spearman correlation", "weighted kappa", "mean absolute error (ranks)", "Harrell", "integrated Brier score",
        "all modalities (stacking)", "Weight of each modality", "Not for this kind of target: calibration",
        "nested cross-validation", "Participants by class, lowest first: none", "severe &lt;3&gt;",
        "had the event", "Difference in Harrell", "corrected resampled ones",
    ):  # fmt: skip
        assert text in html, text
    assert "severe <3>" not in html
    for absent in ("nan", "AUC"):
        assert absent not in html.lower().replace("finance", "") if absent == "nan" else absent not in html, (
            absent
        )


def test_the_control_of_a_flexible_learner_is_told_even_when_nothing_was_found(built):
    _, html = built
    assert "read back what the removal of confounds writes" in html
    assert "pet, kernel-sum: Features of other people reach" in html
    assert "Mean absolute error" in html


def test_methods_name_the_interval_that_was_used(built):
    from neurobraid.files import read_json
    from neurobraid.reports import methods

    folder, _ = built
    models = [read_json(folder / f"model-{name}_summary.json") for name in ("stages", "conversion")]
    text = methods.prediction({"models": models}, lambda key, words: f"{words} [{key}]")
    assert "The interval of the main score of conversion is that of nested cross-validation [bates]" in text
    assert "months (survival)" in text
    assert "bates" not in methods.prediction({"models": models[:1]}, lambda key, words: f"{words} [{key}]")


def test_pictures_are_there(built):
    folder, _ = built
    names = {p.name for p in (folder / "figures").iterdir()}
    for name in (
        "stages_ranks",
        "conversion_risk",
        "flexible_predicted",
        "stages_scores",
        "conversion_scores",
    ):
        assert f"study_model-{name}.svg" in names


def test_curves_of_thirds_are_steps_that_begin_with_everybody():
    rng = np.random.default_rng(0)
    risk = rng.normal(size=90)
    times = rng.exponential(10 / np.exp(risk))
    groups = risk_groups(encode(times, times < 15), risk)
    assert [g["people"] for g in groups] == [30, 30, 30]
    assert all(g["times"][0] == 0 and g["survival"][0] == 1 for g in groups)
    figure = targets.risk_curves(groups, label="months")
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("months", "share without the event")
    assert len(axes.get_legend().get_texts()) == 3
    ranks = targets.expected_ranks(
        ["a", "b", "b"], np.array([1.1, 1.9, 2.2]), classes=["a", "b", "c"], label="grade"
    )
    assert ranks.axes[0].get_xlabel() == "true grade"
