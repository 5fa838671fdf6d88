"""Stats Models: translation of the short form, checks, transformations, and that both forms give the same bytes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from neurobraid.activation import design as designs
from neurobraid.activation import first_level, statsmodel, transforms
from neurobraid.bold import nuisance
from neurobraid.errors import InputError, InputErrors
from tests.unit.activation.test_first_level import CONTRASTS, out, study  # noqa: F401
from tests.unit.activation.test_glm import TR, events

SETTINGS = {
    "hrf": "spm", "noise_model": "ar1", "smoothing_mm": 0, "confounds": ["motion6", "csfwm"], "high_pass_hz": 0.01,
    "tasks": [{"task": "motor", "contrasts": CONTRASTS}],
}  # fmt: skip
TIMES = np.arange(120) * TR


def model_of(**changes):
    settings = SETTINGS | changes
    return statsmodel.translate(settings, settings["tasks"][0])


def node_of(steps, x, **more):
    steps = {"Transformer": statsmodel.TRANSFORMER, "Instructions": steps}
    return {"Level": "Run", "Name": "run", "Transformations": steps, "Model": {"Type": "glm", "X": x}, **more}


def confounds(n=120):
    rng = np.random.default_rng(3)
    table = pd.DataFrame(rng.standard_normal((n, 6)), columns=nuisance.MOTION)
    return table.assign(csf=rng.standard_normal(n), framewise_displacement=np.abs(rng.standard_normal(n)))


def write(tmp_path, table):
    path = tmp_path / "sub-01_task-x_events.tsv"
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    return path


def test_known_transformations_are_those_of_pybids():
    from bids.modeling import transformations

    known = {name.rstrip("_") for name in transformations.__all__} - {"TransformerManager"}
    assert known == set(statsmodel.TRANSFORMATIONS)


def test_the_translation_is_a_valid_model_for_pybids_and_for_us():
    from bids.modeling.statsmodels import BIDSStatsModelsGraph, validate_model
    from bids.utils import convert_JSON

    model = model_of(between_sessions=[{"name": "postVsPre", "weights": {"post": 1, "pre": -1}}])
    assert statsmodel.check_model(model).problems == []
    assert validate_model(convert_JSON(json.loads(json.dumps(model))))
    names = [n.name for n in BIDSStatsModelsGraph._load_nodes(convert_JSON(model)).values()]
    assert names == ["run", "subject", "dataset"]
    (plan,) = statsmodel.plans(model)
    assert plan.person_names == ["left", "leftvsright", "leftPostVsPre", "leftvsrightPostVsPre"]
    assert plan.sessions_needed("leftPostVsPre") == {"post": 1.0, "pre": -1.0}


def test_model_as_json_and_as_yaml_give_the_same_bytes(study, tmp_path):  # noqa: F811
    """Show: the short form, and its model written by hand with other order of keys and fractions as text."""
    _, inputs, _ = study
    short = statsmodel.plans_of_config(SETTINGS | {"model": ""})["motor"].model
    by_hand = {
        "Input": {"task": ["motor"]},
        "Nodes": [
            {
                "Name": "first", "Level": "Run", "GroupBy": ["run", "subject"],
                "Model": {"X": ["trial_type.*", *nuisance.MOTION, "csf", "white_matter", "non_steady_state_outlier*", 1],
                          "Type": "glm", "Options": {"HighPassFilterCutoffHz": 0.01}},
                "Transformations": {"Transformer": "pybids-transforms-v1", "Instructions": [
                    {"Name": "Factor", "Input": "trial_type"},
                    {"Name": "Convolve", "Input": "trial_type.*", "Model": "SPM", "Derivative": "False"}]},
                "DummyContrasts": {"Test": "t", "Contrasts": ["trial_type.left"]},
                "Contrasts": [{"Name": "left vs right", "ConditionList": ["trial_type.left", "trial_type.right"],
                               "Weights": ["1/1", -1], "Test": "t"}],
            },
            {"Level": "Subject", "Name": "second", "GroupBy": ["subject", "contrast"], "Model": {"Type": "meta", "X": [1]},
             "DummyContrasts": {"Test": "t"}},
        ],
        "BIDSModelVersion": "1.0.0", "Name": "by hand",
    }  # fmt: skip
    path = tmp_path / "model-hand_smdl.json"
    path.write_text(json.dumps(by_hand))
    (plan,) = statsmodel.plans(statsmodel.read_model(path))
    assert sorted(plan.person_names) == ["left", "leftVsRight"]
    written = {}
    for name, model in (("yaml", short), ("json", plan.model)):
        outputs = out(tmp_path / name, "run")
        order = [c["name"].lower() for c in statsmodel.plans(model)[0].contrasts]
        first_level.run(inputs, outputs, model, ["a"], smoothing_mm=0, noise_model="ar1")
        written[name] = {
            (contrast, stat): Path(outputs.maps[4 * row + k]).read_bytes()
            for row, contrast in enumerate(order)
            for k, stat in enumerate(("effect", "variance", "t", "z"))
        }
    assert len(written["yaml"]) == 8 and written["yaml"] == written["json"]


def test_pybids_and_the_short_cut_agree(tmp_path):
    path = write(tmp_path, events())
    node = statsmodel.node_at(model_of(), "run")
    short = transforms.run_model(node, path, confounds().assign(white_matter=0.5), TIMES)
    steps = node["Transformations"]["Instructions"]
    long = json.loads(json.dumps(node))
    long["Transformations"]["Instructions"] = [
        steps[0],
        {"Name": "Copy", "Input": ["trial_type.left"], "Output": ["unused"]},
        steps[1],
    ]
    through = transforms.run_model(long, path, confounds().assign(white_matter=0.5), TIMES)
    pd.testing.assert_frame_equal(short.task.columns, through.task.columns, check_exact=True)
    assert short.task.peaks == through.task.peaks and short.task.members == through.task.members
    pd.testing.assert_frame_equal(short.confounds, through.confounds)


def test_parametric_modulator(tmp_path):
    """A modulator is convolved with its height, and its estimate is percent per unit at the peak of the response."""
    table = events().assign(reward=np.linspace(1, 4, 30))
    steps = [
        {"Name": "Factor", "Input": ["trial_type"]},
        {"Name": "Scale", "Input": ["reward"], "Demean": True, "Rescale": False, "Output": ["centred"]},
        {"Name": "Product", "Input": ["trial_type.left", "centred"], "Output": ["left_reward"]},
        {"Name": "Convolve", "Input": ["trial_type.left", "trial_type.right", "left_reward"], "Model": "spm"},
    ]
    node = node_of(steps, ["trial_type.left", "trial_type.right", "left_reward", "trans_x", 1])
    made = transforms.run_model(node, write(tmp_path, table), confounds(), TIMES)
    assert list(made.task.members) == ["left", "right", "left_reward"]
    table = table.sort_values("onset", kind="stable")
    left = table[table["trial_type"] == "left"]
    height = left["reward"] - table["reward"].mean()
    wanted = designs.regressor(
        TIMES, left["onset"].to_numpy(), left["duration"].to_numpy(), amplitudes=height.to_numpy()
    )
    np.testing.assert_allclose(made.task.columns["left_reward"], wanted, atol=1e-12)
    assert made.task.peaks["left_reward"] == pytest.approx(made.task.peaks["left"])
    assert list(made.confounds) == ["trans_x"] and made.intercept
    # the planted slope comes back in percent
    design, _ = designs.assemble(TIMES, made.task, confounds=made.confounds)
    percent = 0.7 / made.task.peaks["left_reward"] * wanted[:, None] + 0.3
    vectors, _, _ = first_level.contrast_rows(
        design, made.task, [{"name": "m", "test": "t", "rows": [{"left_reward": 1.0}]}]
    )
    beta = np.linalg.lstsq(design.to_numpy(), percent, rcond=None)[0]
    assert (vectors @ beta).item() == pytest.approx(0.7, rel=1e-6)


def test_transformations_of_confounds_and_after_the_convolution(tmp_path):
    steps = [
        {"Name": "Factor", "Input": ["trial_type"]},
        {"Name": "Convolve", "Input": ["trial_type.*"], "Model": "glover", "Derivative": True},
        {"Name": "Orthogonalize", "Input": ["trial_type.right"], "Other": ["trial_type.left"]},
        {
            "Name": "Threshold",
            "Input": ["framewise_displacement"],
            "Threshold": 1.5,
            "Binarize": True,
            "Output": ["jump"],
        },
    ]
    node = node_of(steps, ["trial_type.*", "jump", "trans_x_derivative1", 1])
    made = transforms.run_model(node, write(tmp_path, events()), confounds(), TIMES)
    columns = made.task.columns
    names = [f"{c}{end}" for c in ("left", "odd", "right") for end in ("", "_derivative")]
    assert {*names, "jump"} == set(columns)
    centred = columns - columns.mean()
    assert abs(centred["left"] @ centred["right"]) < 1e-8
    assert made.task.peaks["right"] == 1.0 != made.task.peaks["left"], "another unit after orthogonalisation"
    np.testing.assert_array_equal(columns["jump"], confounds()["framewise_displacement"] >= 1.5)
    np.testing.assert_allclose(
        made.confounds["trans_x_derivative1"].iloc[1:], np.diff(confounds()["trans_x"])
    )


def test_fir_in_a_model(tmp_path):
    steps = [
        {"Name": "Factor", "Input": ["trial_type"]},
        {"Name": "Convolve", "Input": ["trial_type.*"], "Model": "fir", "FirDelays": [0, 1, 2, 3]},
    ]
    made = transforms.run_model(
        node_of(steps, ["trial_type.*", 1]), write(tmp_path, events()), confounds(), TIMES
    )
    assert made.task.members["left"] == [f"left_delay_{d}" for d in range(4)]
    design, _ = designs.assemble(TIMES, made.task)
    assert designs.joint_matrix(design, [{"left": 1}], conditions=made.task.members).shape == (
        4,
        design.shape[1],
    )
    vector = designs.contrast_vector(design, {"left_delay_2": 1}, conditions=made.task.members)
    assert vector.sum() == 1 == vector[list(design).index("left_delay_2")]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: m.pop("Input"), "Input.task is missing"),
        (lambda m: m["Input"].update(acquisition=["fast"]), "Input.acquisition is not supported"),
        (lambda m: m["Nodes"][0].update(Level="Scan"), "run.Level is scan"),
        (lambda m: m["Edges"][0].update(Source="nowhere"), "Edges.Source is nowhere"),
        (lambda m: m["Nodes"][0]["Contrasts"][1].update(Weights=[1, -0.5]), "sum 0.5"),
        (lambda m: m["Nodes"][0]["Contrasts"][1].update(Weights=[1]), "2 weight"),
        (lambda m: m["Nodes"][0]["Contrasts"][0].update(Test="z"), "Test is z"),
        (lambda m: m["Nodes"][0]["Contrasts"][0].update(ConditionList=["rating"]), "ConditionList is rating"),
        (lambda m: m["Nodes"][0]["Contrasts"][1].update(Name="left"), "left twice"),
        (lambda m: m["Nodes"][0]["Transformations"]["Instructions"][1].update(Name="Convolv"), "Convolv"),
        (lambda m: m["Nodes"][1]["Model"].update(Type="mixed"), "Model.Type is mixed"),
        (lambda m: m["Nodes"].append(m["Nodes"][0]), "run twice"),
        (lambda m: m["Nodes"][0].update(Contrasts=[], DummyContrasts={"Test": "t"}), "DummyContrasts.Contrasts is trial_type.*"),
    ],
)  # fmt: skip
def test_wrong_models_say_what_is_wrong(change, text):
    model = model_of()
    change(model)
    with pytest.raises(InputErrors) as error:
        statsmodel.check_model(model, "m_smdl.json").raise_errors()
    assert text in str(error.value) and "m_smdl.json" in str(error.value)


def test_all_problems_of_the_short_form_come_at_once():
    tasks = [
        {"task": "a", "contrasts": [{"name": "x", "weights": {"l": 1, "r": -0.2}}]},
        {"task": "b", "contrasts": [{"name": "y", "weights": {"l": 0}}]},
    ]
    with pytest.raises(InputErrors) as error:
        statsmodel.plans_of_config(SETTINGS | {"tasks": tasks})
    assert len(error.value.problems) == 2
    unusual = model_of(tasks=[{"task": "a", "contrasts": [{"name": "x", "weights": {"l": 1, "r": 1}}]}])
    (warning,) = statsmodel.check_model(unusual).warnings
    assert "divide by 2" in warning.fix


def test_unknown_columns_of_a_run_are_named(tmp_path):
    path = write(tmp_path, events())
    factor, convolve = (
        {"Name": "Factor", "Input": ["trial_type"]},
        {"Name": "Convolve", "Input": ["trial_type.*"]},
    )
    cases = [
        ([factor, convolve], ["trial_type.middle", 1], "trial_type.middle"),
        ([factor, convolve], ["trial_type.*", "edge_comp_00", 1], "edge_comp_00"),
        ([factor, convolve], ["trial_type.*", "a_comp_cor_*", 1], "none called a_comp_cor_"),
        ([factor, {"Name": "Convolve", "Input": ["rt"]}], ["rt", 1], "no rt"),
        (
            [factor, {"Name": "Demean", "Input": ["trial_type.up"]}, convolve],
            ["trial_type.*"],
            "transformation 2",
        ),
    ]
    for steps, x, text in cases:
        with pytest.raises(InputError) as error:
            transforms.run_model(node_of(steps, x), path, confounds(), TIMES)
        assert text in str(error.value), text


def test_edges_filter_contrasts_and_a_session_node_is_seen():
    model = model_of(
        designs=[{"name": "ages", "covariates": ["age"], "contrasts": ["left"],
                  "tests": [{"name": "age", "weights": {"age": 1}}]}]
    )  # fmt: skip
    model["Nodes"].insert(1, {"Level": "Session", "Name": "ses", "Model": {"Type": "meta", "X": [1]}})
    model["Edges"][0] = {"Source": "run", "Destination": "ses"}
    model["Edges"].append({"Source": "ses", "Destination": "subject"})
    (plan,) = statsmodel.plans(model)
    part = plan.run_part
    assert [n["Name"] for n in part["Nodes"]] == ["run", "ses", "subject"] and "ages" not in json.dumps(part)
    assert statsmodel.check_model(part).problems == []
    assert statsmodel.plans(part)[0].contrasts == plan.contrasts
    assert plan.sessions and [n["Name"] for n in plan.designs] == ["ages"]
    assert plan.tests(plan.designs[0]) == [("left", "leftAge", "t")]


def test_strategies_name_the_columns_of_fmriprep():
    simple = statsmodel.confound_columns(["simple"])
    assert len(simple) == 26 and "rot_z_derivative1_power2" in simple
    assert "motion_outlier*" in statsmodel.confound_columns(["scrubbing"])
    assert statsmodel.confound_columns(["compcor6"])[-1] == "a_comp_cor_0[0-5]"


def runs_of(*labels):
    """Rows of the table of scans: participant, session, run."""
    from types import SimpleNamespace

    return [
        SimpleNamespace(
            scan=f"{p}_{s}_run-{r}", participant_id=p, session_id=s, run=r
        )
        for p, s, r in labels
    ]  # fmt: skip


RUNS = runs_of(
    ("sub-01", "ses-a", "1"), ("sub-01", "ses-a", "2"), ("sub-01", "ses-b", "01"), ("sub-1", "ses-a", "10"),
    ("sub-02", "ses-b", "n/a"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("inputs", "kept"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"subject": "sub-01"}, [0, 1, 2]),
        ({"subject": ["01", "02"], "session": ["b"]}, [2, 4]),
        ({"subject": ["1"]}, [3]),
        ({"run": [1]}, [0, 2]),
        ({"run": ["01"]}, [2]),
        ({"session": ["ses-a"], "run": 10}, [3]),
    ],
)
def test_input_chooses_runs_by_label(inputs, kept):
    model = model_of()
    model["Input"] |= inputs
    assert not statsmodel.check_model(model).errors
    (plan,) = statsmodel.plans(model)
    assert statsmodel.chosen_runs(plan, RUNS) == [RUNS[k] for k in kept]
    assert "subject" not in json.dumps(plan.run_part["Input"]), (
        "another choice must not re-run the first level"
    )


def test_labels_of_input_that_no_run_has_are_all_named():
    model = model_of()
    model["Input"] |= {"subject": ["03", "01"], "session": ["pre"], "run": [7]}
    (plan,) = statsmodel.plans(model)
    with pytest.raises(InputErrors) as error:
        statsmodel.chosen_runs(plan, RUNS, "m_smdl.json")
    for text in ("Input.subject is 03", "Input.session is pre", "Input.run is 7", "m_smdl.json"):
        assert text in str(error.value), text
    assert "01, 02, 1" in str(error.value) and "Input.subject is 01" not in str(error.value)
    model["Input"] |= {"subject": ["02"], "session": ["a"], "run": []}
    with pytest.raises(InputErrors, match="no run of task motor left"):
        statsmodel.chosen_runs(statsmodel.plans(model)[0], RUNS)


def test_wildcards_of_dummy_contrasts_become_conditions_of_the_events(tmp_path):
    model = model_of()
    node = model["Nodes"][0]
    del node["Contrasts"]
    node["DummyContrasts"] = {"Test": "t"}
    path = tmp_path / "m_smdl.json"

    def names(asked=None, found=("left", "right hand", "rest")):
        if asked:
            node["DummyContrasts"] = {"Test": "t", "Contrasts": asked}
        path.write_text(json.dumps(model))
        read = statsmodel.read_model(path, lambda task: found)
        return [(c["name"], c["rows"]) for c in statsmodel.plans(read)[0].contrasts]

    assert names() == [
        ("left", [{"left": 1.0}]), ("rightHand", [{"right hand": 1.0}]), ("rest", [{"rest": 1.0}]),
    ]  # fmt: skip
    assert [n for n, _ in names(["trial_type.r*"])] == ["rightHand", "rest"]
    assert [n for n, _ in names(["trial_type.rest", "trial_type.*"])] == ["rest", "left", "rightHand"]
    with pytest.raises(InputErrors, match=r"DummyContrasts.Contrasts is trial_type.x\*"):
        names(["trial_type.x*"])
    with pytest.raises(InputErrors, match="twice"):
        names(["trial_type.*"], found=("a b", "aB"))
    with pytest.raises(InputErrors, match="wildcards"):
        statsmodel.read_model(path)
    node["Model"]["Formula"] = "a ~ b"
    with pytest.raises(InputErrors, match="Formula is not supported"):
        names()
