"""Dry runs of models whose features are region series or maps: what the job of the model waits for."""

import re

import pytest
import yaml

from tests.workflow.helpers import ROOT, snakemake


def plan(home, models, check=True):
    """Input files of the model's job in a dry run of the built-in study."""
    config = yaml.safe_load((ROOT / "config/examples/tiny/config.yaml").read_text())
    config["prediction"]["models"] = models
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config/config.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(
        "--dry-run", "--quiet", "host", "--cores", 2, "--directory", home, "prediction", check=check
    )
    if not check:
        return done.stdout + done.stderr
    block = done.stdout.split("rule prediction_model:")[1]
    return re.search(r"input: (.*)", block).group(1).split(", ")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("study")


def test_job_of_a_model_waits_for_its_series_and_maps_and_not_for_the_table(home):
    atlas = yaml.safe_load((ROOT / "config/config.yaml").read_text())["atlases"][0]["name"]
    features = [
        {"name": "fc", "series": atlas, "task": "rest", "measure": "tangent"},
        {"name": "left", "maps": "contrast", "task": "motor", "contrast": "left"},
        {"name": "grey", "maps": "GM", "edge": 16, "spacing_mm": 12},
        {"name": "binding", "maps": "BPND"},
    ]
    files = plan(home, [{"name": "m", "target": "diagnosis", "features": features}])
    assert not [f for f in files if f.endswith("_features.tsv")]

    def some(text):
        return [f for f in files if text in f]

    people = {f.split("/")[2] for f in some("label-GM_desc-modulated")}
    assert len(people) >= 5
    series, coverage = some("_stat-mean_timeseries.tsv"), some("_stat-coverage_bold.tsv")
    assert len(series) == len(coverage) >= 5 and all("_task-rest_" in f for f in series)
    assert {f.split("/")[2] for f in series} == people
    assert some("contrast-left_") and not some("contrast-leftVsRight")
    assert some("_meas-BPND_mimap.nii.gz")


def test_features_the_study_does_not_have_are_refused_before_any_job(home):
    features = [
        {"name": "fc", "series": "nowhere"},
        {"name": "both", "modality": ["pet"], "maps": "GM"},
        {"name": "left", "maps": "contrast", "task": "motor", "contrast": "elbow"},
    ]
    text = plan(home, [{"name": "m", "target": "diagnosis", "features": features}], check=False)
    assert "series is nowhere" in text and "modality and maps" in text
    assert "contrast is elbow" in text and "leftVsRight" in text
