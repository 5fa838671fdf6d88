"""The tiny study end to end, in a copy of the clone: files, re-runs, and the second run that does nothing."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from neurobraid.files import read_json, read_tsv
from tests.workflow.helpers import ROOT, clone, planned, snakemake

pytestmark = pytest.mark.slow
EXPECTED = Path(__file__).with_name("tiny_files.txt")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A copy of the clone in which the tiny study has run."""
    home = clone(tmp_path_factory.mktemp("run") / "clone")
    shutil.copy(home / "config/examples/tiny/config.yaml", home / "config/config.yaml")
    done = snakemake("--cores", 2, snakefile=home / "Snakefile", cwd=home)
    return home, done


def dry(home):
    return planned(home, snakefile=home / "Snakefile", cwd=home)


def test_files_are_the_ones_listed(tiny):
    home, _ = tiny
    found = sorted(
        p.relative_to(home).as_posix()
        for r in ("bids", "results")
        for p in (home / r).rglob("*")
        if p.is_file()
    )
    if not EXPECTED.exists():
        EXPECTED.write_text("\n".join(found) + "\n")
        pytest.fail(f"{EXPECTED.name} was missing and has been written: review and commit it")
    expected = EXPECTED.read_text().split()
    assert sorted(set(found) - set(expected)) == [] and sorted(set(expected) - set(found)) == []


def test_nilearn_models_the_derivatives_as_if_fmriprep_had_written_them(tiny):
    """A participant with sessions: nilearn looks for either form, not for both in one dataset."""
    from nilearn.glm.first_level import first_level_from_bids

    home, _ = tiny
    models, images, events, confounds = first_level_from_bids(
        home / "bids", "motor", space_label="MNI152NLin2009aSym", derivatives_folder="../results/derivatives",
        sub_labels=["03"], img_filters=[("desc", "preproc")], confounds_strategy=("motion", "wm_csf"),
        confounds_motion="basic", confounds_wm_csf="basic", slice_time_ref=None,
    )  # fmt: skip
    assert [len(part[0]) for part in (images, events, confounds)] == [2, 2, 2]
    sidecar = read_json(Path(str(images[0][0]).replace(".nii.gz", ".json")))
    assert models[0].t_r == sidecar["RepetitionTime"]
    assert models[0].slice_time_ref == pytest.approx(sidecar["StartTime"] / sidecar["RepetitionTime"])
    assert confounds[0][0].shape == (80, 8)


def test_derivatives_pass_the_bids_validator(tiny):
    home, _ = tiny
    tool = Path(sys.executable).with_name("bids-validator-deno")
    if not tool.exists():
        pytest.skip("bids-validator-deno is not installed")
    done = subprocess.run(
        [tool, home / "results/derivatives", "--ignoreNiftiHeaders", "--json"], capture_output=True, text=True, check=False
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [(i["code"], i.get("location")) for i in issues if i.get("severity") == "error"] == []


def test_terminal_shows_progress(tiny):
    _, done = tiny
    lines = [line for line in done.stderr.splitlines() if line.startswith("[") and " of " in line]
    assert len(lines) > 50 and "left]" in lines[10]
    assert any("bold_fit sub-03_ses-1_task-motor" in line for line in lines)


def test_second_run_does_nothing(tiny):
    home, _ = tiny
    done = snakemake("--cores", 2, snakefile=home / "Snakefile", cwd=home)
    assert "Nothing to be done" in done.stdout + done.stderr
    assert dry(home) == {}


def test_a_changed_model_and_what_follows_are_planned_at_once(tiny):
    """The check of the models runs again too; behind its ancient output Snakemake by itself would look no further."""
    home, _ = tiny
    path = home / "config/config.yaml"
    before = path.read_text()
    config = yaml.safe_load(before)
    config["activation"]["noise_model"] = "ols"
    config["index"] = {**config.get("index", {}), "max_days": 100}
    path.write_text(yaml.safe_dump(config))
    try:
        jobs = dry(home)
    finally:
        path.write_text(before)
    assert jobs["index_validate"] == jobs["activation_model"] == 1
    assert jobs["activation_first_level_motor"] == 7 and jobs["activation_fixed_effects_motor"] == 5
    assert jobs["activation_group"] == 2 and jobs["report_study"] == 1
    assert not {"anat_brain", "bold_motion", "bold_fit", "pet_fit", "connectivity_timeseries"} & set(jobs)


def test_moved_study_does_nothing(tiny, tmp_path):
    home, _ = tiny
    moved = tmp_path / "elsewhere"
    shutil.move(home, moved)
    try:
        assert dry(moved) == {}
    finally:
        shutil.move(moved, home)


@pytest.mark.parametrize(
    ("module", "expected", "untouched"),
    [
        (
            "connectivity",
            {"connectivity", "fusion", "prediction", "report"},
            {"synth", "anat", "bold", "pet", "activation"},
        ),
        (
            "pet",
            {"pet", "fusion", "prediction", "report"},
            {"synth", "anat", "bold", "activation", "connectivity"},
        ),
        (
            "prediction",
            {"prediction", "report"},
            {"synth", "anat", "bold", "pet", "activation", "connectivity", "fusion"},
        ),
        (
            "reports",
            {"report"},
            {"synth", "anat", "bold", "pet", "activation", "connectivity", "fusion", "prediction"},
        ),
    ],
)
def test_edited_module_reruns_its_stage_and_what_follows(tiny, module, expected, untouched):
    home, _ = tiny
    path = home / "src/neurobraid" / module / "__init__.py"
    before = path.read_bytes()
    path.write_bytes(before + b"# edited\n")
    try:
        stages = {rule.split("_")[0] for rule in dry(home) if "_" in rule}
    finally:
        path.write_bytes(before)
    assert expected <= stages and not untouched & stages


def test_deleted_output_is_the_only_one_made_again(tiny):
    home, _ = tiny
    page = home / "results/reports/sub-02.html"
    page.unlink()
    jobs = dry(home)
    # the study page links to it and carries its checksums
    assert jobs.pop("report_participant") == 1 and set(jobs) <= {"all", "report_study"}
    snakemake("--cores", 2, snakefile=home / "Snakefile", cwd=home)
    assert page.exists()


def test_changed_key_reruns_what_uses_it(tiny):
    home, _ = tiny
    config = home / "config/config.yaml"
    before = config.read_text()
    config.write_text(before + "\nconnectivity:\n  strategy: baseline\n")
    try:
        stages = {rule.split("_")[0] for rule in dry(home) if "_" in rule}
    finally:
        config.write_text(before)
    assert "connectivity" in stages and not stages & {"synth", "anat", "bold", "pet", "activation"}


def test_every_job_left_a_log_and_a_benchmark(tiny):
    home, _ = tiny
    logs = {p.relative_to(home / "logs").with_suffix("") for p in (home / "logs").rglob("*.log")}
    marks = {
        p.relative_to(home / "logs/benchmarks").with_suffix("")
        for p in (home / "logs/benchmarks").rglob("*.tsv")
    }
    assert logs == marks and len(logs) > 50


def test_participant_without_pet_and_two_sessions_are_accounted_for(tiny):
    home, _ = tiny
    pairing = read_tsv(home / "results/index/pairing.tsv")
    other = pairing[pairing["scan"].str.contains("_ses-2_")]
    assert len(other) and (other["t1w_visit"] == "sub-03/ses-1").all()
    participants = read_tsv(home / "bids/participants.tsv")["participant_id"].tolist()
    with_pet = {p.parts[-3] for p in (home / "bids").glob("sub-*/**/pet") if p.is_dir()} | {
        p.parent.name for p in (home / "bids").glob("sub-*/pet")
    }
    assert len(participants) == 5 and any(p not in with_pet for p in participants)


def test_pages_hold_no_path_date_or_outside_address(tiny):
    home, _ = tiny
    pages = sorted((home / "results/reports").glob("*.html"))
    kinds = [page.name.split("-")[0] for page in pages]
    assert [kinds.count(kind) for kind in ("sub", "model", "card", "index.html")] == [5, 2, 2, 1]
    for page in pages:
        text = page.read_text()
        assert str(home) not in text and str(ROOT) not in text
        assert 'src="http' not in text and 'href="http' not in text.replace('href="https://doi.org', "")


def test_derivatives_say_what_made_them(tiny):
    home, _ = tiny
    description = read_json(home / "results/derivatives/dataset_description.json")
    assert (
        description["DatasetType"] == "derivative" and description["GeneratedBy"][0]["Name"] == "neurobraid"
    )
    sidecars = list((home / "results/derivatives").rglob("*_mimap.json"))
    assert sidecars and all("Units" in read_json(p) or "Description" in read_json(p) for p in sidecars)


def test_planted_truth_is_recovered(tiny):
    """The benchmark's figures, with bounds for five people on coarse grids."""
    home, _ = tiny
    command = [sys.executable, ROOT / "benchmarks/recovery.py", home, "--seeds", "0"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    values = {line.split("\t")[0]: float(line.split("\t")[1]) for line in done.stdout.splitlines()}
    assert values["BOLD head motion error"] < 0.15 and values["BOLD head rotation error"] < 0.15
    assert values["BOLD-to-T1w error"] < 1 and values["PET-to-T1w error"] < 1.5
    assert values["GM Dice after normalisation"] > 0.84 and values["WM Dice after normalisation"] > 0.84
    assert values["group activation voxel AUC, leftVsRight"] > 0.9
    assert values["edge r of connectivity with the planted matrix"] > 0.5
    assert values["regional BPND error of the participants' mean, truth seen through the scanner's PSF"] < 10
