"""Dry runs: every example on awkward datasets. Which targets appear, and how every output is called."""

import json
import re
from pathlib import Path

import pytest
import yaml

from neurobraid.bids.entities import name_problems
from tests.unit.bids.trees import PET_SIDECAR, TREES, tree, write_tree
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
    assert stages(jobs) == {"index", "anat", "bold", "pet", "fusion", "report"}
    assert {rule for rule in jobs if rule.startswith("bold_")} == {"bold_quality"}, "the T1w scans have quality too"


def test_echoes_of_a_run_are_one_scan(tmp_path):
    home = study(tmp_path, tree("multi_echo"), "rest-only")
    jobs = planned(home)
    # three runs at rest and the motor task; two of them have more than one echo
    assert jobs["bold_motion"] == jobs["bold_fit"] == jobs["bold_resample"] == 4 and jobs["bold_echoes"] == 2
    files = outputs(home)
    func = "results/derivatives/sub-01/func/sub-01_task-rest"
    assert files[f"{func}_T2starmap.nii.gz"] == files[f"{func}_desc-optcom_boldref.nii.gz"] == "bold_echoes"
    assert f"{func}_space-T1w_desc-preproc_bold.nii.gz" in files
    assert "results/derivatives/sub-02/func/sub-02_task-rest_run-2_echo-2_desc-coreg_boldref.nii.gz" in files
    assert not [path for path in files if "echo-1" in path or "run-2_T2starmap" in path]
    assert all(name_problems(Path(path).name) == [] for path in files if "/func/" in path)


@pytest.mark.parametrize("mode", ["auto", "fieldmapless"])
def test_a_field_map_needs_no_anatomy_and_a_run_without_one_does(tmp_path, mode):
    home = study(tmp_path, tree("phasediff"), "rest-only", bold={"distortion": mode})
    names = [("sub-01/ses-1", "sub-01_ses-1_task-rest"), ("sub-02", "sub-02_task-rest")]
    targets = []
    for visit, scan in names[: 1 if mode == "auto" else 2]:
        folder = home / f"results/derivatives/{visit}/func"
        folder.mkdir(parents=True)
        # what the run's own motion estimation leaves behind
        for ending in ("desc-hmc_boldref.nii.gz", "desc-hmc_mask.nii.gz"):
            (folder / f"{scan}_{ending}").touch()
        targets.append(f"results/derivatives/{visit}/func/{scan}_desc-sdc_fieldmap.nii.gz")
    done = snakemake(
        "--dry-run", "--quiet", "host", "--cores", 1, "--directory", home, "--", *targets
    )  # fmt: skip
    inputs = [line for line in done.stdout.splitlines() if line.strip().startswith("input:") and "desc-hmc_mask" in line]
    assert len(inputs) == len(targets)
    mapped = next(line for line in inputs if "ses-1_task-rest" in line)
    assert "bids/sub-01/ses-1/fmap/sub-01_ses-1_run-2_phasediff.nii.gz" in mapped
    assert "fmap/sub-01_ses-1_run-2_phasediff.json" in mapped and "T1w" not in mapped
    if mode == "fieldmapless":
        bare = next(line for line in inputs if "sub-02_task-rest" in line)
        assert "fmap" not in bare and "sub-02_desc-preproc_T1w.nii.gz" in bare and "label-CSF_probseg" in bare


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
        if model not in ("1TCM", "2TCM", "2TCMirr"):
            assert any(f"_model-{model}_desc-validity_mask.nii.gz" in path for path in files), model
    assert any(path.endswith("_model-refLogan_desc-plot_table.tsv") for path in files)
    assert any(path.endswith("_model-refPatlak_meas-Kref_mimap.nii.gz") for path in files)
    for path in files:
        if path.startswith("results/derivatives/sub-"):
            assert name_problems(Path(path).name) == [], path
    jobs = planned(home)
    assert jobs["pet_constants"] == jobs["pet_plasma"] == jobs["pet_fit"]
    assert "pet_input" not in jobs, "no blood: the tables say so"


def test_a_scan_with_blood_gets_an_input_function(tmp_path):
    home = study(tmp_path, tree("pet_only"), "pet-only", pet={"models": ["SUVR", "2TCM", "Logan"]})
    scan = sorted((tmp_path / "raw").rglob("*_pet.nii*"))[0]
    for ending in ("tsv", "json"):
        (scan.parent / f"{scan.name.split('_pet')[0]}_recording-manual_blood.{ending}").write_text("{}")
    jobs = planned(home)
    assert jobs["pet_input"] == 1 and jobs["pet_plasma"] == jobs["pet_plasma_maps"] == jobs["pet_fit"]


def rich_models(config):
    """An F test, single trials, the surface, contrasts between sessions and a group design."""
    config["activation"]["tasks"][0]["contrasts"].append({"name": "any", "rows": [{"left": 1}, {"right": 1}]})
    config["activation"] |= {
        "trials": "lss", "surface": True, "scrub": {"fd_mm": 0.5}, "noise_model": "ar2", "hrf": "glover + derivative",
        "between_sessions": [{"name": "secondVsFirst", "weights": {"2": 1, "1": -1}}],
        "designs": [{"name": "ages", "covariates": ["age"], "contrasts": ["left"], "estimator": "mixed",
                     "tests": [{"name": "age", "weights": {"age": 1}}, {"name": "both", "rows": [{"mean": 1}, {"age": 1}]}]}],
    }  # fmt: skip
    return config


def test_models_of_every_kind_plan_and_follow_bids(tmp_path):
    config = rich_models(yaml.safe_load((EXAMPLES / "tiny/config.yaml").read_text()))
    (tmp_path / "rich.yaml").write_text(yaml.safe_dump(config))
    files = outputs(tmp_path / "study", "--configfile", tmp_path / "rich.yaml")
    for path in files:
        if path.startswith("results/derivatives/") and Path(path).name.startswith(("sub-", "task-")):
            assert name_problems(Path(path).name) == [], path
    names = {Path(path).name for path in files}
    space = "space-MNI152NLin2009aSym"
    assert {
        "task-motor_smdl.json",
        f"sub-03_task-motor_{space}_contrast-leftSecondVsFirst_stat-z_statmap.nii.gz",
        f"sub-01_task-motor_{space}_contrast-any_stat-F_statmap.nii.gz",
        f"sub-01_task-motor_{space}_stat-effect_desc-trials_statmap.nii.gz",
        f"sub-01_task-motor_{space}_contrast-left_stat-amplitude_statmap.nii.gz",
        "sub-01_task-motor_hemi-L_space-fsaverage5_contrast-left_stat-z_statmap.func.gii",
        "task-motor_hemi-R_space-fsaverage5_contrast-left_stat-t_statmap.func.gii",
        "task-motor_space-fsaverage5_contrast-left_statmap.json",
        f"task-motor_{space}_model-ages_contrast-leftAge_stat-t_statmap.nii.gz",
        f"task-motor_{space}_model-ages_contrast-leftBoth_stat-F_statmap.nii.gz",
    } <= names
    assert not any("contrast-leftVsRightAge" in name for name in names), "the edge passes left alone"
    assert not any("_model-ages" in name and "inference" in name for name in names), "no permutations, no job"
    config["activation"]["inference"] = {"permutations": 20, "permutations_per_job": 8}
    (tmp_path / "rich.yaml").write_text(yaml.safe_dump(config))
    files = outputs(tmp_path / "study", "--configfile", tmp_path / "rich.yaml")
    names = {Path(path).name for path in files if path.startswith("results/derivatives/group/")}
    assert {
        f"task-motor_{space}_model-ages_contrast-leftBoth_stat-logptfce_desc-inference_statmap.nii.gz",
        "task-motor_model-ages_contrast-leftAge_desc-inference_methods.tsv",
        "task-motor_hemi-L_space-fsaverage5_contrast-left_stat-logptfce_desc-inference_statmap.func.gii",
    } <= names
    assert sum("model-ages" in name and "_desc-null" in name and name.endswith(".tsv") for name in names) == 6
    for name in names:
        assert name_problems(name) == [] or not name.startswith("task-"), name


def test_a_stats_model_with_sessions_and_input_plans_its_runs_alone(tmp_path):
    from neurobraid.activation.statsmodel import translate
    from neurobraid.files import write_json
    from neurobraid.study import check_config

    plain = yaml.safe_load((EXAMPLES / "tiny/config.yaml").read_text())
    filled = check_config(plain, ROOT / "workflow/schemas/config.schema.yaml")["activation"]
    model = translate(filled, filled["tasks"][0])
    model["Input"] |= {"subject": ["03"]}
    model["Nodes"].insert(1, {"Level": "Session", "Name": "session", "Model": {"Type": "meta", "X": [1]}})
    model["Edges"] = [
        {"Source": a, "Destination": b}
        for a, b in (("run", "session"), ("session", "subject"), ("subject", "dataset"))
    ]
    plain["activation"] = {"model": "model-motor_smdl.json"}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(plain))
    write_json(model, tmp_path / "study/model-motor_smdl.json")
    files = outputs(tmp_path / "study", "--configfile", tmp_path / "model.yaml")
    made = {Path(path).name for path in files if "/derivatives/" in path and "_statmap" in path}
    space = "space-MNI152NLin2009aSym"
    assert {
        f"sub-03_{ses}_task-motor_{space}_contrast-left_stat-z_statmap.nii.gz" for ses in ("ses-1", "ses-2")
    } <= made
    assert f"sub-03_task-motor_{space}_contrast-left_stat-z_statmap.nii.gz" in made
    others = {name for name in made if not name.startswith("sub-03") and not re.search("_desc-(psc|pattern)_", name)}
    assert others == set(), "others, and a group of one, are not modelled"
    for name in made:
        assert name_problems(name) == [], name
    assert any("sub-01_task-motor" in path and "preproc_bold" in path for path in files), "still preprocessed"


def test_a_stats_model_plans_as_its_short_form(tmp_path):
    from neurobraid.activation.statsmodel import translate
    from neurobraid.files import write_json
    from neurobraid.study import check_config

    plain = yaml.safe_load((EXAMPLES / "tiny/config.yaml").read_text())
    filled = check_config(plain, ROOT / "workflow/schemas/config.schema.yaml")["activation"]
    write_json(translate(filled, filled["tasks"][0]), tmp_path / "study/model-motor_smdl.json")
    plain["activation"] = {"model": "model-motor_smdl.json"}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(plain))
    short = planned(tmp_path / "short", "--configfile", EXAMPLES / "tiny/config.yaml")
    assert planned(tmp_path / "study", "--configfile", tmp_path / "model.yaml") == short
    wrong = {"model": "model-motor_smdl.json", "tasks": filled["tasks"]}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(plain | {"activation": wrong}))
    done = snakemake("-n", "--cores", 1, "--directory", tmp_path / "study", "--configfile", tmp_path / "model.yaml", check=False)
    assert done.returncode and "activation.tasks" in done.stdout + done.stderr


def test_a_contrast_that_misses_zero_stops_before_work(tmp_path):
    config = yaml.safe_load((EXAMPLES / "tiny/config.yaml").read_text())
    config["activation"]["tasks"][0]["contrasts"][1]["weights"] = {"left": 1, "right": -0.4}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(config))
    done = snakemake("-n", "--cores", 1, "--directory", tmp_path / "study", "--configfile", tmp_path / "wrong.yaml", check=False)
    text = done.stdout + done.stderr
    assert done.returncode and "sum 0.6" in text and "balance the weights" in text and "Traceback" not in text


def test_builtin_study_plans_at_both_sizes(tmp_path):
    tiny = planned(tmp_path / "t", "--configfile", EXAMPLES / "tiny/config.yaml")
    assert tiny["synth_anat"] == 5 and tiny["synth_pet"] == 4
    demo = planned(tmp_path / "d", "--configfile", ROOT / "config/config.yaml")
    assert demo["synth_anat"] == 13 and demo["synth_pet"] == 12
    assert demo["synth_task"] == 15 and demo["prediction_model"] == demo["report_model"] == 3
    assert demo["prediction_map"] == 2, "the table-only cohort has no place in the brain"


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


def test_pet_runs_of_one_injection_are_one_scan(tmp_path):
    spec = tree("pet_only")
    second = PET_SIDECAR | {"TimeZero": "14:00:00", "InjectionStart": -3600}
    again = PET_SIDECAR | {"TimeZero": "16:00:00"}
    for n, label in enumerate(("01", "02")):
        spec["participants"][label] = ["T1w", "trc-RAC_run-1_pet", "trc-RAC_run-2_pet"]
        name = f"sub-{label}/pet/sub-{label}_trc-RAC_run-2_pet.json"
        spec.setdefault("files", {})[name] = again if n else second
    home = study(tmp_path, spec, "pet-only")
    assert planned(home)["pet_fit"] == 3
    files = outputs(home)
    fitted = sorted(Path(path).name for path in files if re.search(r"(RAC|run-.)_petref.nii.gz$", path))
    assert fitted == [f"sub-{scan}_petref.nii.gz" for scan in ("01_trc-RAC", "02_trc-RAC_run-1", "02_trc-RAC_run-2")]
    assert all(name_problems(Path(path).name) == [] for path in files if "/pet/" in path)


def test_partial_volume_correction_needs_a_point_spread(tmp_path):
    home = study(tmp_path, tree("pet_only"), "pet-only", pet={"pvc": "gtm"})
    done = snakemake("--dry-run", "--directory", home, check=False)
    text = done.stdout + done.stderr
    assert done.returncode and "pet.psf_fwhm_mm is missing" in text and "never guessed" in text


def test_connectivity_options_have_their_files(tmp_path):
    """Comparison of strategies, maps, seeds, networks, components and edge tests: names follow BIDS, jobs stay coarse."""
    connectivity = {
        "compare_strategies": ["baseline", "mine"], "strategies": [{"name": "mine", "confounds": ["motion6"], "fd_threshold_mm": 0.4}],
        "maps": ["reho", "vmhc"], "seeds": [{"name": "pcc", "mm": [0, -52, 26]}], "networks": ["graph", "gradients", "dynamic"],
        "components": {"number": 5}, "edges": [{"name": "sexes", "variable": "sex"}],
    }  # fmt: skip
    home = study(tmp_path, tree("no_sessions"), "rest-only", connectivity=connectivity)
    (tmp_path / "raw/participants.tsv").write_text("participant_id\tsex\nsub-01\tF\nsub-02\tM\nsub-03\tF\n")
    files = outputs(home)
    for ending in (
        "_stat-reho_boldmap.nii.gz", "_stat-z_desc-pccSeed_boldmap.json", "_stat-mean_desc-raw_timeseries.tsv",
        "group/task-rest_atlas-braid100_desc-strategies_table.tsv", "_desc-graphnodes_table.tsv", "_desc-gradients_table.tsv",
        "_desc-dynamicstates_table.tsv", "_desc-components_boldmap.nii.gz", "_contrast-sexes_desc-edges_table.tsv",
    ):  # fmt: skip
        assert any(path.endswith(ending) for path in files), ending
    for path in files:
        if Path(path).name.startswith(("sub-", "task-")) and path.startswith("results/derivatives"):
            assert name_problems(Path(path).name) == [] or path.endswith("_components"), path
    jobs = planned(home)
    assert jobs["connectivity_strategies"] == jobs["connectivity_graph"] == jobs["connectivity_components"] == 1
    assert jobs["connectivity_maps"] == jobs["connectivity_timeseries"]


def test_series_of_other_programs_need_no_raw_data(tmp_path):
    for k in range(70):
        path = tmp_path / f"series/sub-{k:02d}/func/sub-{k:02d}_task-rest_space-MNI_atlas-4S156Parcels_stat-mean_timeseries.tsv"
        path.parent.mkdir(parents=True)
        path.write_text("a\tb\n0.1\t0.2\n")
    (tmp_path / "study").mkdir()
    options = ("--configfile", EXAMPLES / "series-only/config.yaml", "--config", "adopt={series: ../series}")
    jobs = planned(tmp_path / "study", *options)
    batches = {f"{rule}_{n}": 1 for rule in ("connectivity_adopt", "report_pages") for n in ("001", "002")}
    assert jobs == {**batches, "connectivity_adopted": 1, "report_series": 1, "all": 1}
    files = outputs(tmp_path / "study", *options)
    assert len([path for path in files if path.endswith("_stat-partialcorrelation_relmat.tsv")]) == 71
    for path in files:
        if "/func/" in path:
            assert name_problems(Path(path).name) == [], path


def test_people_of_adopted_series_are_compared(tmp_path):
    for k in range(6):
        # the last has a matrix of the other program and no series
        kind = "stat-mean_timeseries" if k < 5 else "stat-pearsoncorrelation_relmat"
        path = tmp_path / f"series/sub-{k:02d}/func/sub-{k:02d}_task-rest_space-MNI_atlas-4S156Parcels_{kind}.tsv"
        path.parent.mkdir(parents=True)
        path.write_text("a\tb\n0.1\t0.2\n")
    (tmp_path / "study").mkdir()
    (tmp_path / "study/people.tsv").write_text("participant_id\tgroup\n")
    (tmp_path / "edges.yaml").write_text(
        "adopt: {series: ../series, participants: people.tsv}\n"
        "connectivity: {networks: [graph, gradients], edges: [{name: groups, variable: group}]}\n"
    )
    options = ("--configfile", EXAMPLES / "series-only/config.yaml", tmp_path / "edges.yaml")
    jobs = planned(tmp_path / "study", *options)
    for rule in ("connectivity_graph", "connectivity_gradients", "connectivity_edges"):
        assert jobs[rule] == 1, rule
    assert jobs["connectivity_adopt_001"] == 1
    files = outputs(tmp_path / "study", *options)
    assert "results/derivatives/group/atlas-4S156Parcels_contrast-groups_desc-edges_table.tsv" in files
    # models of the series, with their pages
    series = "{name: fc, series: 4S156Parcels}"
    record = "prediction: {models: [{name: m, target: group, features: [%s]}]}"
    (tmp_path / "model.yaml").write_text(record % series)
    jobs = planned(tmp_path / "study", *options, tmp_path / "model.yaml")
    assert jobs["prediction_model"] == jobs["report_model"] == jobs["report_card"] == jobs["report_series"] == 1
    assert not {"fusion_table", "atlas_resample", "prediction_map"} & set(jobs)
    for wrong, match in (
        (record % "{name: b, modality: [pet]}", "features (b)"),
        (f"adopt: {{participants: ''}}\n{record % series}", "connectivity.edges and prediction.models"),
        ("prediction: {brain_age: [{name: a, features: [{name: fc, modality: [anat]}]}]}", "prediction.brain_age"),
        ("adopt: {participants: ''}", "adopt.participants"), ("adopt: {participants: none.tsv}", "below the study folder"),
        ("connectivity: {networks: [dynamic]}", "dynamic"),
    ):  # fmt: skip
        (tmp_path / "wrong.yaml").write_text(wrong)
        done = snakemake("-n", "--directory", tmp_path / "study", *options, tmp_path / "wrong.yaml", check=False)
        assert done.returncode != 0 and match in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("connectivity", "parts"),
    [
        ({"strategy": "simpel"}, ["connectivity.strategy is simpel", "did you mean simple?"]),
        ({"compare_strategies": ["scrubbing"]}, ["connectivity.compare_strategies is scrubbing", "scrubbing.5"]),
        ({"seeds": [{"name": "a"}]}, ["connectivity.seeds.0", "region or mm"]),
        ({"networks": ["graph"], "measures": ["covariance"]}, ["pearsoncorrelation among them", "graph read"]),
        ({"strategies": [{"name": "simple", "confounds": ["motion6"]}]}, ["simple twice", "rename the strategy"]),
    ],
)
def test_unknown_strategies_stop_before_any_work(tmp_path, connectivity, parts):
    home = study(tmp_path, tree("one_participant"), "rest-only", connectivity=connectivity)
    done = snakemake("--cores", 1, "--directory", home, check=False)
    text = done.stdout + done.stderr
    assert done.returncode and all(part in text for part in parts), text[-3000:]


def test_reference_maps_bring_their_jobs_and_their_problems_come_first(tmp_path):
    import nibabel as nib
    import numpy as np

    config = yaml.safe_load((EXAMPLES / "tiny/config.yaml").read_text())
    record = {"name": "D1", "path": "D1.nii.gz", "unit": "BPND", "source": "Kaller et al. 2017"}
    config["fusion"] = {"maps": [record], "react": {"maps": ["D1"], "own": True}}
    home = tmp_path / "study"
    (home / "config").mkdir(parents=True)
    (home / "config/config.yaml").write_text(yaml.safe_dump(config))
    done = snakemake("--dry-run", "--quiet", "all", "--cores", 1, "--directory", home, check=False)
    assert done.returncode and "D1.nii.gz: file is missing" in done.stdout + done.stderr
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4)), home / "D1.nii.gz")
    jobs = planned(home)
    assert jobs["fusion_maps"] == 1 and jobs["fusion_react"] >= 4
def tables_study(tmp_path, **changes):
    """A study of tables only: participants.tsv and two tables, no image."""
    home = tmp_path / "study"
    (home / "data").mkdir(parents=True)
    description = home / "data/dataset_description.json"
    description.write_text('{"Name": "tables", "BIDSVersion": "1.10.0"}')
    people = [f"sub-{k:02d}\t{20 + k}\tF\tsite{k % 3}" for k in range(40)]
    (home / "data/participants.tsv").write_text("\n".join(["participant_id\tage\tsex\tsite", *people]) + "\n")
    for name, unit in (("thickness", "mm"), ("volume", "mL")):
        rows = [f"sub-{k:02d}\t{k / 7:.2f}" for k in range(40)]
        (home / f"data/{name}.tsv").write_text("\n".join(["participant_id\tfrontal", *rows]) + "\n")
        about = {"Regions": ["frontal"], "Measures": {name: {"Units": unit}}}
        (home / f"data/{name}.json").write_text(json.dumps(about))
    config = yaml.safe_load((EXAMPLES / "tables-only/config.yaml").read_text())
    config.update(changes)
    (home / "config").mkdir()
    (home / "config/config.yaml").write_text(yaml.safe_dump(config))
    return home


def test_tables_alone_are_a_study(tmp_path):
    home = tables_study(tmp_path)
    jobs = planned(home)
    assert jobs == dict.fromkeys(["fusion_table", "index_pair", "index_validate", "prediction_brainage", "report_study", "all"], 1)
    model = {"name": "sex", "target": "sex", "features": [{"name": "t", "modality": ["thickness"]}]}
    jobs = planned(tables_study(tmp_path / "b", prediction={"models": [model]}))
    assert jobs["prediction_model"] == 1 and "prediction_brainage" not in jobs


def test_problems_of_a_study_of_tables_stop_before_any_work(tmp_path):
    home = tables_study(tmp_path)
    table = home / "data/participants.tsv"
    good = table.read_text()
    cases = [
        (good.replace("sub-03", "3"), "sub-<label> in every row"),
        (good.replace("sub-03", "sub-04"), "sub-04 twice"),
    ]
    for text, words in cases:
        table.write_text(text)
        done = snakemake("--cores", 1, "--directory", home, check=False)
        assert done.returncode and words in done.stdout + done.stderr and not (home / "results").exists()
    table.write_text(good)
    (home / "data/sub-01").mkdir()
    done = snakemake("--cores", 1, "--directory", home, check=False)
    assert done.returncode and "index.tables_only: false" in done.stdout + done.stderr
    (home / "data/sub-01").rmdir()
    (home / "data/dataset_description.json").unlink()
    table.unlink()
    done = snakemake("--cores", 1, "--directory", home, check=False)
    text = done.stdout + done.stderr
    assert done.returncode and "dataset_description.json" in text and "write one row per participant" in text
    home = tables_study(tmp_path / "none", fusion={"features": []})
    done = snakemake("--cores", 1, "--directory", home, check=False)
    assert done.returncode and "fusion.features is empty" in done.stdout + done.stderr


DECODING = {"name": "hand", "task": "motor", "conditions": ["left", "right"], "searchlight_mm": 8}


def test_decoding_reads_the_trials_of_every_run(tmp_path):
    across = {**DECODING, "name": "across", "cv": "leave-one-person-out", "source": "regions", "searchlight_mm": 0}
    task = {"task": "motor", "contrasts": [{"name": "left", "weights": {"left": 1}}]}
    changes = {
        "activation": {"tasks": [task], "trials": "lss"},
        "prediction": {"models": [], "decoding": [DECODING, across]},
    }
    home = study(tmp_path, tree("multi_echo"), "rest-only", **changes)
    jobs = planned(home)
    people = jobs["prediction_decoding"]
    assert jobs["prediction_searchlight"] == people >= 1
    assert jobs["prediction_decodinggroup"] == 2 and jobs["prediction_searchlightgroup"] == 1
    files = [path for path, rule in outputs(home).items() if rule.startswith(("prediction_decod", "prediction_search"))]
    assert len(files) == 7 * people + 7 * 2 + 2
    assert all(name_problems(Path(path).name) == [] for path in files if "/func/" in path), files
    # by default nothing is decoded
    assert not {r for r in planned(study(tmp_path / "b", tree("multi_echo"), "rest-only")) if "decod" in r}


@pytest.mark.parametrize(
    ("record", "trials", "words"),
    [
        ({}, "none", "activation.trials is none"),
        ({"task": "rest"}, "lss", "prediction.decoding.0.task is rest"),
        ({"source": "regions"}, "lss", "set searchlight_mm: 0"),
        ({"atlas": "none"}, "lss", "name an atlas of the config"),
        ({"conditions": ["left"]}, "lss", "prediction.decoding.0.conditions"),
    ],
)
def test_decoding_that_cannot_be_done_stops_before_any_work(tmp_path, record, trials, words):
    task = {"task": "motor", "contrasts": [{"name": "left", "weights": {"left": 1}}]}
    changes = {"activation": {"tasks": [task], "trials": trials}, "prediction": {"decoding": [{**DECODING, **record}]}}
    home = study(tmp_path, tree("one_participant"), "rest-only", **changes)
    done = snakemake("--cores", 1, "--directory", home, check=False)
    assert done.returncode and words in done.stdout + done.stderr and not (home / "results").exists()
