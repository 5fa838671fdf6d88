"""Dry runs: every example on awkward datasets. Which targets appear, and how every output is called."""

from pathlib import Path

import pytest
import yaml

from neurobraid.bids.entities import name_problems
from tests.unit.bids.trees import TREES, tree, write_tree
from tests.workflow.helpers import ROOT, outputs, planned, snakemake

EXAMPLES = ROOT / "config/examples"


def study(tmp_path, spec, example, **changes):
    """A study folder beside a small dataset."""
    write_tree(spec, tmp_path / "raw")
    config = yaml.safe_load((EXAMPLES / example / "config.yaml").read_text())
    config.update(bids="../raw", **changes)
    (tmp_path / "study/config").mkdir(parents=True)
    (tmp_path / "study/config/config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path / "study"


def stages(jobs):
    return {rule.split("_")[0] for rule in jobs if "_" in rule}


@pytest.mark.parametrize("name", sorted(TREES))
def test_every_awkward_dataset_plans(tmp_path, name):
    jobs = planned(study(tmp_path, tree(name), "rest-only"))
    scans = [s for labels in TREES[name]["participants"].values() for s in (labels if isinstance(labels, list) else [])]
    assert jobs["report_study"] == 1 and jobs["anat_normalize"] >= 1, scans
    assert "synth_dataset" not in jobs


def test_missing_pet_gives_pet_jobs_for_the_others_only(tmp_path):
    jobs = planned(study(tmp_path, tree("missing_pet"), "rest-only"))
    assert jobs["pet_fit"] == 2 and jobs["anat_brain"] == 3


def test_no_pet_at_all_leaves_the_stage_out(tmp_path):
    jobs = planned(study(tmp_path, tree("fmri_only"), "task-localizer"))
    assert "pet" not in stages(jobs) and jobs["activation_first_level_objectcategories"] == 1
    assert "activation_group" not in jobs, "one participant: no group statistic"


def test_no_fmri_at_all_leaves_its_stages_out(tmp_path):
    jobs = planned(study(tmp_path, tree("pet_only"), "pet-only"))
    assert stages(jobs) == {"index", "anat", "pet", "fusion", "report"}


def test_exclusion_takes_a_scan_out(tmp_path):
    spec = tree("no_sessions")
    before = planned(study(tmp_path / "a", spec, "rest-only"))
    after = planned(study(tmp_path / "b", spec, "rest-only", index={"participants": ["01", "03"]}))
    assert before["anat_brain"] == 3 and after["anat_brain"] == 2


@pytest.mark.parametrize(("example", "name"), [("rest-only", "mixed_sessions"), ("pet-only", "two_tracers")])
def test_output_names_follow_bids(tmp_path, example, name):
    files = outputs(study(tmp_path, tree(name), example))
    assert len(files) > 40
    checked = 0
    for path in files:
        parts = Path(path).parts
        assert not Path(path).is_absolute()
        if parts[:2] == ("results", "derivatives") and parts[-1].startswith(("sub-", "task-", "atlas-", "tpl-")):
            assert name_problems(parts[-1]) == [], path
            checked += 1
    assert checked > 30


def test_every_kinetic_model_has_its_files(tmp_path):
    """All models of the config at once: names follow BIDS, k2' is estimated once per scan, binding is fused once."""
    models = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    models = models["properties"]["pet"]["properties"]["models"]["items"]["enum"]
    home = study(tmp_path, tree("pet_only"), "pet-only", pet={"models": models, "k2prime": 0.1, "tstar_min": 30})
    files = outputs(home)
    for model in models:
        assert any(f"_model-{model}_kinpar.tsv" in path for path in files), model
        assert any(f"_model-{model}_desc-validity_mask.nii.gz" in path for path in files), model
    assert any(path.endswith("_model-refLogan_desc-plot_table.tsv") for path in files)
    assert any(path.endswith("_model-refPatlak_meas-Kref_mimap.nii.gz") for path in files)
    for path in files:
        if path.startswith("results/derivatives/sub-"):
            assert name_problems(Path(path).name) == [], path
    assert planned(home)["pet_constants"] == planned(home)["pet_fit"]


def test_builtin_study_plans_at_both_sizes(tmp_path):
    tiny = planned(tmp_path / "t", "--configfile", EXAMPLES / "tiny/config.yaml")
    assert tiny["synth_anat"] == 5 and tiny["synth_pet"] == 4
    demo = planned(tmp_path / "d", "--configfile", ROOT / "config/config.yaml")
    assert demo["synth_anat"] == 13 and demo["synth_pet"] == 12
    assert demo["synth_task"] == 15 and demo["prediction_model"] == 3


def test_from_the_catalogue_entry_point(tmp_path):
    jobs = planned(tmp_path, "--configfile", EXAMPLES / "tiny/config.yaml", snakefile=ROOT / "workflow/Snakefile")
    assert jobs["report_study"] == 1


def test_slurm_profile_plans(tmp_path):
    done = snakemake(
        "--dry-run", "--workflow-profile", ROOT / "profiles/slurm", "--directory", tmp_path,
        "--configfile", EXAMPLES / "tiny/config.yaml",
    )  # fmt: skip
    assert "profiles/slurm" in done.stdout + done.stderr and "bold_fit" in done.stdout


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"bids": "../nowhere"}, ["config: bids is ../nowhere", "existing BIDS folder"]),
        ({"connectivity": {"measurs": []}}, ["connectivity.measurs is not a known key", "did you mean connectivity.measures?"]),
        ({"index": {"participants": ["99"]}}, ["99", "Fix:"]),
    ],
)
def test_bad_config_stops_before_any_work(tmp_path, change, parts):
    home = study(tmp_path, tree("one_participant"), "rest-only")
    config = yaml.safe_load((home / "config/config.yaml").read_text()) | change
    (home / "config/config.yaml").write_text(yaml.safe_dump(config))
    done = snakemake("--cores", 1, "--directory", home, check=False)
    text = done.stdout + done.stderr
    assert done.returncode and all(part in text for part in parts), text[-3000:]
    assert "Traceback" not in text and not (home / "results").exists()


def test_all_problems_of_a_dataset_are_listed_before_any_work(tmp_path):
    home = study(tmp_path, tree("no_sessions"), "rest-only")
    raw = tmp_path / "raw"
    (raw / "sub-01/func").rename(raw / "sub-01/func_")
    (raw / "sub-01/func_").rename(raw / "sub-01/func")
    for path in raw.glob("sub-02/pet/*_pet.json"):
        path.write_text("{}")
    for path in raw.glob("sub-03/func/*_bold.nii.gz"):
        path.write_bytes(b"not an image")
    done = snakemake("--cores", 1, "--directory", home, check=False)
    text = done.stdout + done.stderr
    assert done.returncode and "problems found in the input" in text
    assert "FrameTimesStart" in text and "sub-03" in text and "Traceback" not in text
    assert not (home / "results").exists() and not (home / "config/scans.tsv").exists()


@pytest.mark.parametrize(("method", "voxels"), [("gtm", False), ("rbv", True)])
def test_partial_volume_correction_changes_what_models_read(tmp_path, method, voxels):
    pet = {"models": ["SRTM", "MRTM2", "SUVR"], "pvc": method, "psf_fwhm_mm": [6]}
    home = study(tmp_path, tree("pet_only"), "pet-only", pet=pet)
    files = outputs(home)
    for path in files:
        if path.startswith("results/derivatives/sub-"):
            assert name_problems(Path(path).name) == [], path
    label = method.upper()
    assert any(path.endswith(f"_label-reference_pvc-{label}_desc-preproc_tacs.tsv") for path in files)
    assert any(f"_pvc-{label}_desc-preproc_tacs.tsv" in path and "_seg-" in path for path in files)
    assert any("_seg-" in path and path.endswith("_desc-preproc_tacs.tsv") and "pvc" not in path for path in files)
    assert any(path.endswith(f"_space-T1w_pvc-{label}_desc-preproc_pet.nii.gz") for path in files) is voxels
    assert planned(home)["pet_pvc"] == planned(home)["pet_fit"]


def test_partial_volume_correction_needs_a_point_spread(tmp_path):
    home = study(tmp_path, tree("pet_only"), "pet-only", pet={"pvc": "gtm"})
    done = snakemake("--dry-run", "--directory", home, check=False)
    text = done.stdout + done.stderr
    assert done.returncode and "pet.psf_fwhm_mm is missing" in text and "never guessed" in text
