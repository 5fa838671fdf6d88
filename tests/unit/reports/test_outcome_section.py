"""Outcomes on the study page: response and prognosis are called what they are, figures have units."""

import re
import types
from pathlib import Path

import pytest

from neurobraid.files import read_json, write_json, write_tsv
from neurobraid.prediction.outcome import complete_outcome, fit_outcome
from neurobraid.reports.gather import Inputs
from neurobraid.reports.outcome import add_outcomes, visits_in_words
from neurobraid.reports.pages import Gallery, Page, Section, render
from neurobraid.reports.study import write_study
from neurobraid.synth.trial import UNITS, make_trial

FEATURES = [{"name": "pet", "modality": ["pet"]}, {"name": "trap", "modality": ["blood"]}]


def written(folder, name, trial, **changes):
    record = complete_outcome(
        {"name": name, "table": "trial", "outcome": "score", "time": "days", "features": FEATURES, "repeats": 1,
         "permutations": 9, **changes}
    )  # fmt: skip
    _, table, summary = fit_outcome(trial.features, trial.participants, trial.sessions, UNITS, record)
    paths = (
        folder / f"model-{name}_desc-outcome_summary.json",
        folder / f"model-{name}_desc-contrasts_table.tsv",
    )
    write_json(summary, paths[0])
    write_tsv(table, paths[1])
    return paths


def page(folder, files):
    summaries, tables = zip(*files, strict=True)
    job = types.SimpleNamespace(
        inputs=Inputs({"outcomes": summaries, "contrasts": tables}),
        gallery=Gallery(folder / "figures", folder / "p.html"),
    )
    section = Section("prediction", "Prediction")
    add_outcomes(job, section)
    return render(Page("Study", "", "study", [section]))


@pytest.fixture(scope="module")
def response(tmp_path_factory):
    folder = tmp_path_factory.mktemp("response")
    arms = {"arm": "arm", "treated": "drug", "control": "placebo"}
    return folder, written(folder, "drug", make_trial(2, people=100, interaction=5.0), treatment=arms)


def test_response_has_its_numbers_and_figures(response):
    folder, files = response
    html = page(folder, [files])
    for text in (
        "Response to treatment drug: change of score",
        "invented people",
        "Mean effect of treatment",
        "adjusted for baseline",
        "as it stands",
        "Does a marker tell whom treatment helps?",
        "p of gain",
        "Every marker by itself",
        "time travel",
    ):
        assert text in html, text
    assert not re.search(r"\bnan\b", html.lower())
    assert sorted(p.name for p in (folder / "figures").iterdir()) == [
        "study_model-drug_contrasts.svg",
        "study_model-drug_uplift.svg",
    ]
    figure = (folder / "figures/study_model-drug_uplift.svg").read_bytes()
    page(folder, [files])
    assert figure == (folder / "figures/study_model-drug_uplift.svg").read_bytes()


def test_rows_keep_their_order_whatever_the_order_of_keys(response):
    folder, files = response
    html = page(folder, [files])
    table = html[html.index("Does a marker tell whom") :]
    order = re.findall(
        r"<t[dh][^>]*>\s*(?:<[^>]+>)?(pet|trap|all markers|as it stands|adjusted for baseline)\b", table
    )
    assert order[:12] == [
        w
        for name in ("pet", "trap", "all markers")
        for way in ("as it stands", "adjusted for baseline")
        for w in (name, way)
    ]


def test_prognosis_is_never_called_response(tmp_path):
    files = written(tmp_path, "course", make_trial(3, people=60, treated=1.0))
    html = page(tmp_path, [files])
    assert "Prognosis course: change of score" in html and "no untreated arm" in html
    assert "response" not in html.lower().replace("responsive", "")
    assert "whom treatment helps" not in html
    short = written(tmp_path, "few", make_trial(3, people=60), min_participants=80)
    html = page(tmp_path, [short])
    assert "Not analysed: 60 participants" in html


def test_visits_in_words():
    found = {
        "use": "slope",
        "people": 80,
        "visits_per_person": 3.2,
        "fitted_in_fold": True,
        "time": "days",
        "unit": "day",
    }
    text = visits_in_words(found)
    assert "slope over all visits" in text and "3.2 visits each" in text and "Times: days, in days." in text
    ordered = {
        "use": "change",
        "people": 9,
        "fitted_in_fold": False,
        "time": "order",
        "unit": "order of sessions",
    }
    assert "Times: the order of sessions." in visits_in_words(ordered)


def test_a_summary_survives_json(response):
    _, (summary, _) = response
    assert read_json(summary)["response"]["all"]["adjusted"]["curve"][0]["share"] == 0


@pytest.mark.parametrize("models", ["with models", "outcomes alone"])
def test_outcomes_stand_on_the_study_page(response, study, config, models):
    """`study` moves into a folder of its own; see conftest."""
    files = [p.resolve() for p in response[1]]
    kept = {
        k: v for k, v in study[1].items() if models == "with models" or k not in ("summaries", "predictions")
    }
    reports = Path("results/reports")
    write_study(
        {**kept, "outcomes": [files[0]], "contrasts": [files[1]]},
        page=reports / "index.html",
        figures_dir=reports / "figures/study",
        record=reports / "provenance.json",
        config=config,
    )
    html = (reports / "index.html").read_text()
    assert (
        "Response to treatment drug" in html
        and (reports / "figures/study/study_model-drug_uplift.svg").exists()
    )
    assert "declares no predictive model" not in html
