"""Everything that is wrong with the models of a study is said at once, before an image is processed."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.activation import modelcheck, statsmodel
from neurobraid.errors import InputErrors
from neurobraid.files import read_json, read_tsv
from tests.unit.activation.test_first_level import Paths
from tests.unit.activation.test_glm import events

BASE = {
    "hrf": "spm", "noise_model": "auto", "smoothing_mm": 0, "confounds": ["motion6", "csfwm", "compcor"],
    "high_pass_hz": 0.01, "model": "",
}  # fmt: skip
TASKS = [{"task": "motor", "contrasts": [{"name": "leftVsRight", "weights": {"left": 1, "right": -1}}]}]


def study(tmp_path, changes=None, volumes=None, trs=None):
    """Four runs; `changes` of their events, by number."""
    runs = []
    for n in range(4):
        stem = tmp_path / f"sub-{n:02d}_task-motor"
        image = nib.Nifti1Image(np.zeros((2, 2, 2, (volumes or {}).get(n, 120)), np.uint8), np.eye(4))
        image.header.set_zooms((3, 3, 3, (trs or {}).get(n, 2.0)))
        nib.save(image, f"{stem}_bold.nii.gz")
        table = (changes or {}).get(n, lambda e: e)(events())
        if table is not None:
            table.to_csv(f"{stem}_events.tsv", sep="\t", index=False, na_rep="n/a")
        runs.append(
            {
                "scan": stem.name, "task": "motor", "participant_id": f"sub-{n:02d}", "bold": f"{stem}_bold.nii.gz",
                "events": f"{stem}_events.tsv" if table is not None else "",
            }
        )  # fmt: skip
    return runs


def check(runs, participants=None, **settings):
    plans = statsmodel.plans_of_config(BASE | {"tasks": TASKS} | settings)
    return modelcheck.check_study(plans, runs, participants)


def test_a_sound_study_has_no_problem(tmp_path):
    table, problems = check(study(tmp_path), confounds=["simple", "scrubbing", "global_signal4"])
    assert problems.problems == [] and (table["status"] == "ok").all() and (table["regressors"] > 20).all()


def test_all_problems_of_all_runs_come_at_once(tmp_path):
    changes = {
        0: lambda e: e[e["trial_type"] != "right"],
        1: lambda e: e.drop(columns="duration"),
        2: lambda e: pd.concat(
            [e, pd.DataFrame({"onset": [239.5], "duration": [0], "trial_type": ["last"]})]
        ),
        3: lambda e: None,
    }
    table, problems = check(study(tmp_path, changes))
    text = [str(p) for p in problems.errors]
    assert len(text) == 4
    for found, wanted in zip(
        text, ("no trial_type right", "duration", "all zero", "no events file"), strict=True
    ):
        assert wanted in found
    assert (table["status"] != "ok").all()


def test_a_run_shorter_than_its_model(tmp_path):
    first = {3: lambda e: e[e["onset"] < 30].assign(onset=lambda x: x["onset"] / 2)}
    _, problems = check(study(tmp_path, first, {3: 24}), confounds=["simple"])
    (error,) = problems.errors
    assert "volumes" in error.field or "trial_type" in error.field
    assert "24" in str(error) or "told apart" in str(error)


def test_a_column_of_a_model_that_events_lack(tmp_path):
    runs = study(tmp_path)
    plan = statsmodel.plans_of_config(BASE | {"tasks": TASKS})["motor"]
    steps = plan.model["Nodes"][0]["Transformations"]["Instructions"]
    steps.insert(1, {"Name": "Product", "Input": ["trial_type.left", "rating"], "Output": ["rated"]})
    _, problems = modelcheck.check_study({"motor": plan}, runs)
    assert len(problems.errors) == 4 and "no rating" in str(problems.errors[0])


def test_mixed_repetition_times_are_a_warning(tmp_path):
    _, problems = check(study(tmp_path, trs={2: 2.2}))
    (warning,) = problems.problems
    assert warning.level == "warning" and "2, 2.2" in warning.found


def design(**changes):
    return [
        {"name": "ages", "covariates": ["age"], "tests": [{"name": "age", "weights": {"age": 1}}]} | changes
    ]


def participants(tmp_path, ages):
    path = tmp_path / "participants.tsv"
    table = pd.DataFrame({"participant_id": [f"sub-{n:02d}" for n in range(4)], "age": ages})
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    return path


def test_covariates_of_the_group(tmp_path):
    runs = study(tmp_path)
    _, problems = check(runs, participants(tmp_path, [20, 30, 40, None]), designs=design())
    (warning,) = problems.problems
    assert warning.level == "warning" and "sub-03" in warning.field
    _, problems = check(runs, participants(tmp_path, [30] * 4), designs=design())
    assert "every participant" in str(problems.errors[0])
    _, problems = check(runs[:2], participants(tmp_path, [20, 30, 40, 50]), designs=design())
    assert "2 participant(s) with task motor" in str(problems.errors[0])
    _, problems = check(runs, None, designs=design())
    assert "participants.tsv" in str(problems.errors[0])


def test_sessions_that_nobody_or_somebody_lacks(tmp_path):
    runs = study(tmp_path)
    between = [{"name": "postVsPre", "weights": {"post": 1, "pre": -1}}]
    _, problems = check(runs, between_sessions=between)
    assert "nobody" in str(problems.errors[0])
    both = [
        {**r, "scan": r["scan"].replace("_task", f"_ses-{s}_task")} for r in runs for s in ("pre", "post")
    ]
    _, problems = check(both[:-1], between_sessions=between)
    assert [p.level for p in problems.problems] == ["warning"] and "sub-03" in problems.problems[0].field


def test_files(tmp_path):
    runs = study(tmp_path, {1: lambda e: e.drop(columns="onset")})
    model = statsmodel.plans_of_config(BASE | {"tasks": TASKS})["motor"].model
    outputs = Paths(models=[tmp_path / "model_smdl.json"], table=tmp_path / "models.tsv")
    with pytest.raises(InputErrors):
        modelcheck.run({"motor": model}, runs, [], outputs)
    assert not outputs.table.exists()
    runs.pop(1)
    modelcheck.run({"motor": model}, runs, [], outputs)
    assert len(read_tsv(outputs.table)) == 3
    assert statsmodel.read_model(outputs.models[0]) == read_json(outputs.models[0])
