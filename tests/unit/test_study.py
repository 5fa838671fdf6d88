"""What the workflow asks a study about a scan."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from neurobraid.bids.pairing import build_index
from neurobraid.errors import InputError
from neurobraid.study import Study
from tests.unit.bids.trees import TREES, write_tree


def test_echoes(tmp_path):
    study = Study(build_index(write_tree(TREES["multi_echo"], tmp_path)))
    assert study.has_echoes("sub-01_task-rest")
    assert not study.has_echoes("sub-02_task-rest_run-2_echo-2")
    with pytest.raises(InputError, match="did you mean sub-01_task-rest"):
        study.has_echoes("sub-01_task-rest_echo-1")


def test_field_maps(tmp_path):
    index = build_index(write_tree(TREES["no_sessions"], tmp_path))
    scans = ["sub-01_task-rest", "sub-02_task-rest"]
    table = pd.DataFrame({"scan": scans, "method": ["phase difference", "none"]})
    known = SimpleNamespace(scans=index.scans, pairing=index.pairing, fieldmaps=table)
    assert [Study(known).has_fieldmap(scan) for scan in (*scans, "sub-03_task-rest")] == [True, False, False]
    bare = SimpleNamespace(scans=index.scans, pairing=index.pairing)
    assert not Study(bare).has_fieldmap(scans[0])


def test_a_stats_model_chooses_its_runs_and_finds_its_conditions(tmp_path, monkeypatch):
    import json

    from neurobraid import study

    monkeypatch.chdir(tmp_path)
    rows = []
    for person in ("01", "02"):
        for run in ("1", "2"):
            name = f"sub-{person}_task-go_run-{run}"
            events = Path("bids", f"{name}_events.tsv")
            events.parent.mkdir(exist_ok=True)
            kinds = ["face", "n/a", "tool" if run == "2" else "face"]
            events.write_text("onset\tduration\ttrial_type\n" + "".join(f"{k}\t1\t{kind}\n" for k, kind in enumerate(kinds)))  # fmt: skip
            rows.append(
                SimpleNamespace(
                    scan=name, participant_id=f"sub-{person}", session_id="n/a", run=run, events=events.name, task="go"
                )
            )  # fmt: skip
    model = {
        "Name": "m", "BIDSModelVersion": "1.0.0", "Input": {"task": ["go"], "subject": ["02"], "run": [2]},
        "Nodes": [{
            "Level": "Run", "Name": "run", "GroupBy": ["run", "subject"],
            "Transformations": {"Transformer": "pybids-transforms-v1", "Instructions": [
                {"Name": "Factor", "Input": ["trial_type"]}, {"Name": "Convolve", "Input": ["trial_type.*"], "Model": "spm"}]},
            "Model": {"Type": "glm", "X": ["trial_type.*", 1]}, "DummyContrasts": {"Test": "t"},
        }],
    }  # fmt: skip
    Path("model.json").write_text(json.dumps(model))
    fake = SimpleNamespace(
        modelled={},
        scans_of=lambda suffix, task: [r for r in rows if r.task == task],
    )
    config = {
        "bids": "raw",
        "activation": {"model": "model.json", "tasks": []},
        "prediction": {"decoding": []},
    }
    plans = study.stats_models(config, fake)
    assert fake.modelled == {"go": {"sub-02_task-go_run-2"}}
    assert plans["go"].t_names == ["face", "tool"]
    assert [c["name"] for c in config["activation"]["tasks"][0]["contrasts"]] == ["face", "tool"]
    model["Input"]["session"] = ["pre"]
    Path("model.json").write_text(json.dumps(model))
    with pytest.raises(study.InputErrors, match="no session at all"):
        study.stats_models({**config, "activation": {"model": "model.json", "tasks": []}}, fake)
