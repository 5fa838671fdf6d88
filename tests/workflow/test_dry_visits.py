"""Dry runs of models of several visits and of outcomes over time."""

from pathlib import Path

import yaml

from neurobraid.bids.entities import name_problems
from tests.unit.bids.trees import tree, write_tree
from tests.workflow.helpers import ROOT, outputs, planned, snakemake

EXAMPLE = ROOT / "config/examples/longitudinal/config.yaml"


def test_the_example_plans_and_a_study_without_visits_draws_no_trial(tmp_path):
    jobs = planned(tmp_path / "a", "--configfile", EXAMPLE, "--", "prediction")
    assert jobs == {"prediction": 1, "prediction_model": 2, "prediction_outcome": 2, "synth_trial": 1}
    files = outputs(tmp_path / "a", "--configfile", EXAMPLE)
    assert files["results/derivatives/group/model-drug_desc-outcome_summary.json"] == "prediction_outcome"
    assert files["results/derivatives/trial/sessions.tsv"] == "synth_trial"
    assert all(name_problems(Path(p).name) == [] for p in files if "/group/model-drug" in p)
    tiny = planned(tmp_path / "b", "--configfile", ROOT / "config/examples/tiny/config.yaml")
    assert "synth_trial" not in tiny and "prediction_outcome" not in tiny


def test_sessions_tables_of_a_dataset_go_to_what_asks_for_visits(tmp_path):
    write_tree(tree("mixed_sessions"), tmp_path / "raw")
    people = sorted(p.name for p in (tmp_path / "raw").glob("sub-*"))
    for person in people[:2]:
        (tmp_path / f"raw/{person}/{person}_sessions.tsv").write_text(
            "session_id\tdays\tscore\nses-1\t0\t3\n"
        )
    (tmp_path / "raw/sessions.json").write_text('{"days": {"Units": "day"}}')
    lines = "".join(f"{p}\tA\t3{k}\n" for k, p in enumerate(people))
    (tmp_path / "raw/participants.tsv").write_text("participant_id\tgroup\tage\n" + lines)
    config = yaml.safe_load((ROOT / "config/examples/rest-only/config.yaml").read_text())
    features = [{"name": "anat", "modality": ["anat"]}]
    config |= {
        "bids": "../raw",
        "prediction": {
            "models": [
                {"name": "plain", "target": "group", "features": features},
                {
                    "name": "change",
                    "target": "group",
                    "features": features,
                    "visits": {"use": "change", "time": "days"},
                },
            ],
            "outcomes": [{"name": "course", "outcome": "score", "time": "days", "features": features}],
        },
    }
    home = tmp_path / "study"
    (home / "config").mkdir(parents=True)
    (home / "config/config.yaml").write_text(yaml.safe_dump(config))
    done = snakemake("--dry-run", "--quiet", "host", "--cores", 1, "--directory", home, "--", "prediction")
    blocks = done.stdout.split("rule prediction_")[1:]
    seen = {}
    for block in blocks:
        if block.startswith("map:"):  # drawn from what the model wrote
            continue
        name = next(line.split("model=")[1] for line in block.splitlines() if "wildcards: model=" in line)
        seen[name] = next(line for line in block.splitlines() if line.strip().startswith("input:"))
    assert set(seen) == {"plain", "change", "course"}
    assert "sessions" not in seen["plain"]
    for name in ("change", "course"):
        for person in people[:2]:
            assert f"bids/{person}/{person}_sessions.tsv" in seen[name]
        assert "bids/sessions.json" in seen[name]


def test_an_outcome_called_like_a_model_and_an_unknown_use_stop_before_work(tmp_path):
    config = yaml.safe_load(EXAMPLE.read_text())
    config["prediction"]["outcomes"][0]["name"] = "slopes"
    config["prediction"]["models"][1]["visits"]["use"] = "trend"
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(
        "-n",
        "--cores",
        1,
        "--directory",
        tmp_path / "s",
        "--configfile",
        tmp_path / "wrong.yaml",
        check=False,
    )
    text = done.stdout + done.stderr
    assert done.returncode and "prediction.models.1.visits.use" in text and "Traceback" not in text
    config["prediction"]["models"][1]["visits"]["use"] = "change"
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(
        "-n",
        "--cores",
        1,
        "--directory",
        tmp_path / "s",
        "--configfile",
        tmp_path / "wrong.yaml",
        check=False,
    )
    assert done.returncode and "slopes, also a model" in done.stdout + done.stderr
