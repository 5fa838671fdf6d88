"""The audit of a model on a page: what was found is named, what was not is there to be opened."""

import pytest

from neurobraid.files import read_json, write_json
from neurobraid.prediction.model import complete, fit_model
from neurobraid.reports.audit import add
from neurobraid.reports.pages import Page, Section, render
from neurobraid.synth.cohort import make_cohort


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    cohort = make_cohort(0, effect=0.0, association=0.6, site_shift=0.5)
    features = [{"name": "fmri", "modality": ["fmri-rest"]}, {"name": "pet", "modality": ["pet"]}]
    settings = complete(
        {
            "name": "m",
            "table": "cohort",
            "target": "diagnosis",
            "permutations": 3,
            "repeats": 1,
            "features": features,
        }
    )
    path = tmp_path_factory.mktemp("model") / "summary.json"
    write_json(fit_model(cohort.features, cohort.participants, settings).summary, path)
    return read_json(path)


def page(summary):
    section = Section("prediction", "Prediction")
    add(section, summary, lambda name: {"fused": "all modalities"}.get(name, name), "AUC")
    return render(Page("Study", "", "study", [section]))


def test_what_the_audit_found_stands_in_words(summary):
    html = page(summary)
    for text in (
        "Leakage audit",
        "association of site and target",
        "site only",
        "with every site left out once",
        "What does each kind of data add",
        "Unique to the prediction",
        "Scores of subgroups",
        "Fitted steps that saw test rows",
    ):
        assert text in html, text
    assert "nan" not in html.lower().replace("finance", "")


def test_a_summary_of_an_older_version_and_a_clean_one(summary):
    assert "Leakage audit" not in page({"name": "m", "metrics": {}})
    clean = {"checks": [{**c, "status": "ok"} for c in summary["audit"]["checks"]], "schemes": {}}
    assert "none of which found anything" in page({"audit": clean})
