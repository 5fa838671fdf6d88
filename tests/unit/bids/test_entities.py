"""File names: what is composed can be parsed, and every mistake is named."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurobraid.bids.entities import (
    ENTITIES,
    ORDER,
    SCAN_KEYS,
    SCAN_PATTERN,
    VISIT_PATTERN,
    compose,
    name_problems,
    natural,
    parse,
    suggest,
)

LABEL = st.text("abcXYZ0189", min_size=1, max_size=6)
INDEX = st.integers(0, 120).map(str)


@st.composite
def entities(draw, keys=ORDER):
    chosen = draw(st.lists(st.sampled_from([k for k in keys if k != "sub"]), unique=True))
    return {"sub": draw(LABEL)} | {
        key: draw(INDEX if ENTITIES[key]["format"] == "index" else LABEL) for key in chosen
    }


@given(entities(), LABEL, st.sampled_from(["", ".nii.gz", ".tsv", ".json", ".surf.gii"]))
def test_parse_undoes_compose(given_entities, suffix, extension):
    name = compose(given_entities, suffix, extension)
    parsed = parse(name)
    assert parsed.entities == given_entities
    assert (parsed.suffix, parsed.extension) == (suffix, extension)
    assert name_problems(name) == []


@given(entities(), st.randoms(use_true_random=False))
def test_compose_ignores_the_order_given(given_entities, random):
    keys = list(given_entities)
    random.shuffle(keys)
    assert compose({k: given_entities[k] for k in keys}, "bold") == compose(given_entities, "bold")


@given(entities(SCAN_KEYS))
def test_scan_pattern_takes_a_whole_raw_name_and_no_derivative(given_entities):
    name = parse(compose(given_entities, "bold"))
    assert re.fullmatch(SCAN_PATTERN, name.scan)
    assert re.fullmatch(VISIT_PATTERN, name.visit)
    assert not re.fullmatch(SCAN_PATTERN, f"{name.scan}_space-T1w")
    assert not re.fullmatch(SCAN_PATTERN, f"{name.scan}_desc-preproc")
    assert not re.fullmatch(SCAN_PATTERN, f"{name.scan}_bold")


def test_order_is_that_of_the_bids_schema():
    schema = pytest.importorskip("bidsschematools.schema").load_schema()
    official = [schema.objects.entities[key].name for key in schema.rules.entities]
    ours = [key for key in ORDER if ENTITIES[key]["origin"] == "bids"]
    assert ours == official
    formats = {e.name: e.format for e in schema.objects.entities.values()}
    assert {key: ENTITIES[key]["format"] for key in ours} == {key: formats[key] for key in ours}
    assert ORDER[-1] == "desc"


@pytest.mark.parametrize(
    "name",
    [
        "sub-01_ses-1_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
        "sub-01_task-motor_space-MNI152NLin2009aSym_contrast-left_stat-effect_statmap.nii.gz",
        "sub-01_space-T1w_model-SRTM_meas-BPND_mimap.nii.gz",
        "sub-01_trc-RAC_seg-braid100_model-SRTM_kinpar.tsv",
        "sub-01_task-rest_atlas-braid100_stat-pearsoncorrelation_relmat.tsv",
        "sub-01_space-MNI152NLin2009aSym_label-GM_probseg.nii.gz",
        "tpl-MNI152NLin2009aSym_atlas-braid100_dseg.tsv",
    ],
)
def test_project_names_are_in_order(name):
    assert name_problems(name) == []


@pytest.mark.parametrize(
    ("name", "found", "fix"),
    [
        ("sub-01_run-1_task-x_bold.nii.gz", "out of order", "rename to sub-01_task-x_run-1_bold.nii.gz"),
        ("sub-01_tsk-x_bold.nii.gz", "unknown entity 'tsk'", "did you mean 'task'?"),
        ("sub-01_run-a_bold.nii.gz", "run-a", "rename with a number"),
        ("sub-01_space-T1w_bold.nii.gz", "'space' of a derivative", "derivatives/"),
        ("sub-01_task_bold.nii.gz", "'task'", "rename"),
        ("sub-01_sub-01_bold.nii.gz", "occurs twice", "rename"),
        ("sub-0_1_bold.nii.gz", "'1'", "rename"),
    ],
)
def test_every_mistake_in_a_name_is_said(name, found, fix):
    problems = name_problems(name, raw=True)
    assert len(problems) == 1
    assert found in problems[0][0]
    assert fix in problems[0][2]


@pytest.mark.parametrize("label", ["0 1", "a_b", "ä", "1-2"])
def test_compose_refuses_bad_labels(label):
    with pytest.raises(ValueError, match="letters and digits"):
        compose({"sub": label}, "bold")


def test_compose_refuses_unknown_keys():
    with pytest.raises(ValueError, match="unknown BIDS entity 'subject'"):
        compose({"subject": "01"}, "bold")


@pytest.mark.parametrize(
    ("label", "labels", "meant"),
    [
        ("1", ["02", "01", "11"], "01"),
        ("sub-1", ["01", "10"], "01"),
        ("01", ["1", "10"], "1"),
        ("Rest", ["motor", "rest"], "rest"),
        ("sub-01_task-rst", ["sub-01_task-rest", "sub-02_task-motor"], "sub-01_task-rest"),
        ("xyz", ["01", "02"], None),
    ],
)
def test_suggest(label, labels, meant):
    assert suggest(label, labels) == meant


def test_natural_order():
    assert sorted(["run-10", "run-2", "run-1", ""], key=natural) == ["", "run-1", "run-2", "run-10"]
