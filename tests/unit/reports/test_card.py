"""The card of a model: everything is on it, nobody is, and its limits follow from its numbers."""

import json
import re

import pytest

from neurobraid.files import read_json, write_json
from neurobraid.prediction.model import complete, fit_model
from neurobraid.reports.card import card, limits, write_card
from neurobraid.synth.cohort import make_cohort

FEATURES = [{"name": "fmri", "modality": ["fmri-rest"]}, {"name": "pet", "modality": ["pet"]}]


def fitted(folder, cohort, **changes):
    record = {
        "name": "m",
        "table": "cohort",
        "target": "diagnosis",
        "permutations": 9,
        "repeats": 1,
        **changes,
    }
    settings = complete({**record, "features": FEATURES, "folds": {"outer": 3, "inner": 3}})
    write_json(fit_model(cohort.features, cohort.participants, settings).summary, folder / "summary.json")
    return folder / "summary.json"


@pytest.fixture(scope="module")
def cohort():
    found = make_cohort(0, people=120, association=0.5, site_shift=0.5)
    twins = found.participants["participant_id"].iloc[:2].tolist()
    values = found.features["participant_id"].eq(twins[0]).to_numpy()
    # the audit finds two people with one brain, and names them
    found.features.loc[found.features["participant_id"].eq(twins[1]), "value"] = found.features.loc[
        values, "value"
    ].to_numpy()
    return found


@pytest.fixture(scope="module")
def summary(tmp_path_factory, cohort):
    harmonize = {"unseen": "unlabelled", "covariates": ["age"]}
    return fitted(tmp_path_factory.mktemp("card"), cohort, harmonize=harmonize, confounds=["age"])


BOX = {
    "People": 40, "Rows": 40, "ClassCounts": {"control": 20, "patient": 20}, "P": 0.01, "UnlikeTraining": 2,
    "Metrics": {"auc": {"value": 0.71, "low": 0.55, "high": 0.83}},
    "CrossValidation": {"mean": 0.7, "low": 0.6, "high": 0.8},
    "Opening": {"Number": 2, "Reasons": ["asked by a reviewer"]},
}  # fmt: skip
PLAN = {
    "digest": "a" * 64, "code": "b" * 16, "data": {"features": "c" * 64}, "lockbox": {"people": 40, "sha256": "d" * 64},
    "replaced": [{"name": "m", "reason": "a typing error", "digest": "e" * 64, "changes": "seed: was 1, is 2"}],
}  # fmt: skip


def made(folder, summary, **more):
    paths = [
        folder / name for name in ("reports/card-m.html", "group/model-m_card.json", "reports/figures/card-m")
    ]
    write_card(summary, *paths, **more)
    return paths[0].read_text(), read_json(paths[1])


def test_everything_is_on_the_card_and_nobody_is(summary, cohort, tmp_path):
    content = read_json(summary)
    assert "sub-001" in json.dumps(content["audit"]), "the audit of the study page names the twins"
    write_json(
        {**content, "plan": PLAN, "settings": {**content["settings"], "profile": "confirmatory"}},
        tmp_path / "s.json",
    )
    write_json(BOX, tmp_path / "box.json")
    page, data = made(tmp_path, tmp_path / "s.json", lockbox=tmp_path / "box.json")
    for words in (
        "not for clinical use", "Limits", "Data and exclusions", content["folds"]["sha256"][:16], "Features and learner", "Grid",
        "AUC", "Calibration", "Subgroups", "site: site1", "Leakage audit", "Near-duplicate rows", "look\N{NO-BREAK SPACE}at", "Unseen sites",
        "People unlike the training people", "The plan was locked", "Opened 2 times", "asked by a reviewer", "a typing error",
        "scikit-learn", "demographics only", "What each kind of data adds",
    ):  # fmt: skip
        assert words in page, words
    both = page + json.dumps(data)
    assert not [p for p in cohort.participants["participant_id"] if p in both]
    assert str(tmp_path) not in both and "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", both.lower())
    assert data["folds"] if "folds" in data else data["data"]["folds"]["sha256"] == content["folds"]["sha256"]
    assert data["harmonisation"]["transductive"] and data["lockbox"]["Opening"]["Number"] == 2
    # the page links to the study page and to the card's data, and shows its picture without a network
    assert 'href="../group/model-m_card.json"' in page and 'href="index.html#prediction"' in page
    assert (tmp_path / "reports/figures/card-m/card_scores.svg").exists() and "http" not in page


def test_same_input_same_bytes(summary, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert made(tmp_path / "a", summary) == made(tmp_path / "b", summary)


def test_limits_follow_from_the_numbers(summary):
    content = card(read_json(summary))
    found = " ".join(limits(content))
    for words in (
        "near-duplicate rows",
        "transductive",
        "no plan was locked",
        "invented",
        "below about 500 people",
    ):
        assert words in found, words
    clean = {
        **content, "audit": [{**c, "status": "ok"} for c in content["audit"]], "harmonisation": None,
        "profile": "confirmatory", "lockbox": {**BOX, "Opening": {"Number": 1, "Reasons": []}},
        "settings": {**content["settings"], "table": "study"}, "calibration": {"slope": 1.0},
        "metrics": {"fused": {"auc": {"mean": 0.7, "low": 0.6, "high": 0.8}}},
        "data": {**content["data"], "participants": 900},
    }  # fmt: skip
    assert len(limits(clean)) == 1 and "people like those of the study" in limits(clean)[0]
    extreme = {**clean, "calibration": {"slope": 0.3}}
    assert "too extreme" in limits(extreme)[0]
    few = {**clean, "data": {**content["data"], "participants": 13}}
    assert "off by ten points" in limits(few)[0]
    nothing = {**clean, "metrics": {"fused": {"auc": {"mean": 0.52, "low": 0.4, "high": 0.6}}}}
    assert "no information at all" in limits(nothing)[0]


def test_a_regression_and_a_model_that_was_not_fitted_have_cards(cohort, tmp_path):
    page, data = made(tmp_path, fitted(tmp_path, cohort, target="score", kind="regression"))
    assert "R²" in page and "mean absolute error" in page and "calibration" not in data
    few = make_cohort(0, people=120)
    few.participants = few.participants.head(5)
    page, data = made(tmp_path, fitted(tmp_path, few))
    assert "Not fitted" in page and data["limits"] == [] and (tmp_path / "reports/figures/card-m").is_dir()


def test_feature_sets_that_are_no_table_and_the_score_of_subgroups_have_their_names(summary, tmp_path):
    content = read_json(summary)
    content["settings"]["features"] = [
        {"name": "fmri", "modality": [], "series": "braid100", "measure": "tangent", "maps": ""},
        {"name": "pet", "modality": [], "series": "", "measure": [], "maps": "BPND"},
    ]
    content["slices"] = [{**content["slices"][0], "metric": "mae"}]
    write_json(content, tmp_path / "s.json")
    page, _ = made(tmp_path, tmp_path / "s.json")
    for words in ("series of braid100", ">tangent<", "maps (BPND)"):
        assert words in page, words
    groups = page[page.index('id="subgroups"') : page.index('id="audit"')]
    assert "mean absolute error" in groups and "AUC" not in groups
