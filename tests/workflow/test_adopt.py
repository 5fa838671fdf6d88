"""Dry runs of studies with fMRIPrep derivatives: who is preprocessed by whom, and that no file has two makers."""

import yaml

from neurobraid.bids.table import read_scan_table
from tests.unit.bids.derivatives import forget, write_names
from tests.unit.bids.trees import tree, write_tree
from tests.workflow.helpers import ROOT, outputs, planned, snakemake

OWN = ("anat_brain", "anat_normalize", "bold_fit", "bold_resample")


def study(tmp_path, name="no_sessions", example="rest-only", **options):
    """A study that adopts, beside its raw dataset and derivatives."""
    raw = write_tree(tree(name), tmp_path / "raw")
    write_names(raw, tmp_path / "fmriprep", **options)
    config = yaml.safe_load((ROOT / f"config/examples/{example}/config.yaml").read_text())
    config |= {"bids": "../raw", "adopt": {"fmriprep": "../fmriprep"}}
    (tmp_path / "study/config").mkdir(parents=True)
    (tmp_path / "study/config/config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path / "study"


def test_adopted_participant_skips_our_preprocessing(tmp_path):
    home = study(tmp_path, people=["01", "03"])
    makers = outputs(home)
    of = {"01": set(), "02": set()}
    for path, rule in makers.items():
        for person, rules in of.items():
            if f"results/derivatives/sub-{person}/" in path:
                rules.add(rule)
    assert {"anat_adopt", "bold_adopt"} <= of["01"] and not of["01"] & set(OWN)
    assert set(OWN) <= of["02"] and not of["02"] & {"anat_adopt", "bold_adopt"}
    jobs = planned(home)
    assert jobs["anat_adopt"] == 2 and jobs["anat_brain"] == jobs["anat_normalize"] == 1
    assert jobs["bold_adopt"] == 4 and jobs["bold_fit"] == jobs["bold_resample"] == 2
    assert jobs["pet_fit"] == 3 and jobs["report_study"] == 1
    assert (home / "derivatives/fmriprep").is_symlink()


def test_session_by_session(tmp_path):
    home = study(tmp_path, "sessions")
    forget(tmp_path / "fmriprep", "sub-01/ses-2")
    jobs = planned(home)
    assert jobs["anat_adopt"] == 3 and jobs["anat_brain"] == 1 and jobs["bold_fit"] == 1


def test_everything_adopted_and_nothing_adopted(tmp_path):
    jobs = planned(study(tmp_path, "fmri_only", "task-localizer", version="20.0.7"))
    assert not set(jobs) & set(OWN) and jobs["bold_adopt"] == 1
    assert jobs["activation_first_level_objectcategories"] == 1
    home = tmp_path / "study"
    config = home / "config/config.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"adopt": {"fmriprep": ""}}))
    jobs = planned(home)
    assert set(OWN) <= set(jobs) and not {"anat_adopt", "bold_adopt"} & set(jobs)
    assert not (home / "derivatives/fmriprep").is_symlink()


def test_a_file_that_went_after_indexing_stops_the_study(tmp_path):
    home = study(tmp_path)
    planned(home)
    scans = read_scan_table(home / "config/scans.tsv")
    assert len(scans) == 12
    forget(tmp_path / "fmriprep", "sub-02/func/*rest*confounds_timeseries.tsv")
    done = snakemake("--dry-run", "--cores", 1, "--directory", home, check=False)
    text = done.stdout + done.stderr
    assert done.returncode and "the file adopted before" in text and "Traceback" not in text


def test_bad_folders_stop_before_any_work(tmp_path):
    home = study(tmp_path)
    for folder, words in (("../raw", "DatasetType is raw"), ("../none", "an existing fMRIPrep folder"), ("..", "folder fmriprep")):
        config = yaml.safe_load((home / "config/config.yaml").read_text()) | {"adopt": {"fmriprep": folder}}
        (home / "config/config.yaml").write_text(yaml.safe_dump(config))
        done = snakemake("--cores", 1, "--directory", home, check=False)
        text = done.stdout + done.stderr
        assert done.returncode and words in text and "Traceback" not in text, text[-2000:]
        assert not (home / "results").exists()
