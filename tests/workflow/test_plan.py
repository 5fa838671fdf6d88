"""A planned study of tables alone, from the lock of its plan to the lockbox, as a user would run it."""

import shutil

import pytest
import yaml

from neurobraid.cli import main
from neurobraid.files import read_json, read_tsv
from tests.workflow.helpers import ROOT, planned, snakemake

GROUP = "results/derivatives/group"
TARGETS = [f"{GROUP}/model-cohortdiagnosis_lockbox.json", "results/reports/card-cohortdiagnosis.html"]


def settings(home, **changes):
    config = yaml.safe_load((ROOT / "config/examples/tiny/config.yaml").read_text())
    (model,) = [m for m in config["prediction"]["models"] if m["name"] == "cohortdiagnosis"]
    model |= {
        "profile": "confirmatory", "lockbox": 0.2, "open_lockbox": True, "save": True, "repeats": 1, "permutations": 3,
        "folds": {"outer": 3, "inner": 2}, "features": model["features"][:2], **changes,
    }  # fmt: skip
    config["prediction"]["models"] = [model]
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config/config.yaml").write_text(yaml.safe_dump(config))


def run(home, *arguments, check=True):
    return snakemake("--cores", 1, "--directory", home, *arguments, "--", *TARGETS, check=check)


@pytest.mark.slow
def test_from_the_plan_to_the_lockbox(tmp_path, capfd):
    home = tmp_path / "study"
    settings(home)
    done = run(home, check=False)
    assert done.returncode and "a locked plan for a confirmatory model" in done.stdout + done.stderr
    assert not (home / GROUP / "model-cohortdiagnosis_summary.json").exists()

    assert main(["plan", str(home), "--cores", "1"]) == 0
    assert "in the lockbox" in capfd.readouterr().out
    locked = (home / "config/plan.yaml").read_bytes()
    run(home)
    box = read_json(home / TARGETS[0])
    record = (home / "config/openings.tsv").read_text()
    assert box["Opening"] == {"Number": 1, "Reasons": []} and len(record.splitlines()) == 2
    people = yaml.safe_load(locked)["models"][0]["lockbox"]["people"]
    page = (home / TARGETS[1]).read_text()
    card = (home / GROUP / "model-cohortdiagnosis_card.json").read_text()
    assert "Plan and lockbox" in page and "not for clinical use" in page
    assert not [person for person in people if person in page or person in card]
    assert "Nothing to be done" in run(home).stdout + run(home).stderr

    # the same job again is no opening, with the same bytes
    before = {path: path.read_bytes() for path in sorted((home / GROUP).glob("model-*"))}
    run(home, "--forcerun", "prediction_model", "prediction_final", "prediction_lockbox", "report_card")
    assert {path: path.read_bytes() for path in before} == before
    assert (home / "config/openings.tsv").read_text() == record

    # keys that shape no result run nothing of the model again
    settings(home, reopen="not needed", save=False)
    jobs = planned(home, "--", *TARGETS)
    assert "prediction_model" not in jobs and "prediction_final" not in jobs

    # another plan: refused, locked anew with a reason, and then the second opening is refused
    settings(home, permutations=4)
    done = run(home, check=False)
    assert done.returncode and "permutations: was 3, is 4" in done.stdout + done.stderr
    assert main(["plan", str(home), "--cores", "1"]) == 1
    assert "permutations: was 3, is 4" in capfd.readouterr().err
    assert (home / "config/plan.yaml").read_bytes() == locked
    assert main(["plan", str(home), "--cores", "1", "--replace", "a typing error"]) == 0
    done = run(home, check=False)
    assert done.returncode and "opened already (1x" in done.stdout + done.stderr
    settings(home, permutations=4, reopen="the reviewers wish it")
    run(home)
    assert read_json(home / TARGETS[0])["Opening"] == {"Number": 2, "Reasons": ["the reviewers wish it"]}
    page = (home / TARGETS[1]).read_text()
    assert "Opened 2 times" in page and "the reviewers wish it" in page and "a typing error" in page

    # the stored model goes to another study as two files
    away = tmp_path / "elsewhere"
    away.mkdir()
    for ending in ("zip", "json"):
        shutil.copy(home / GROUP / f"model-cohortdiagnosis_model.{ending}", away)
    cohort = home / "results/derivatives/cohort"
    call = ["predict", "--model", str(away / "model-cohortdiagnosis_model.zip"), "--output", str(away / "out.tsv")]
    assert main([*call, "--features", str(cohort / "desc-cohort_features.tsv")]) == 0
    assert read_tsv(away / "out.tsv")["prediction"].notna().all()


def test_only_planned_and_kept_models_have_the_further_jobs(tmp_path):
    settings(tmp_path)
    jobs = planned(tmp_path)
    assert jobs["prediction_final"] == jobs["prediction_lockbox"] == jobs["report_card"] == 1
    assert "prediction_plan" not in jobs
    settings(tmp_path, profile="exploratory", lockbox=0, open_lockbox=False, save=False)
    jobs = planned(tmp_path)
    assert jobs["report_card"] == 1 and not {"prediction_final", "prediction_lockbox"} & set(jobs)
