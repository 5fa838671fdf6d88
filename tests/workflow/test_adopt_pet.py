"""Dry runs of studies whose PET curves or input functions another program made: who makes what, and what stops a study."""

import json

import pytest
import yaml

from neurobraid.bids.entities import name_problems
from neurobraid.files import read_tsv
from tests.unit.bids.test_blood_check import PET, SIDE, table
from tests.unit.bids.test_pet_tables import TABLE
from tests.unit.bids.trees import tree, write_tree
from tests.unit.pet import test_tables as curves
from tests.workflow.helpers import ROOT, outputs, planned, snakemake

OWN = {"pet_fit", "pet_resample", "pet_tacs", "pet_maps", "pet_qc"}


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def study(home, adopt, **pet):
    config = yaml.safe_load((ROOT / "config/examples/petprep-tables/config.yaml").read_text())
    config |= {"bids": "../raw", "adopt": adopt}
    config["pet"] |= pet
    put(home / "study/config/config.yaml", yaml.safe_dump(config))
    return home / "study"


def tables_only(tmp_path, people=("01", "02")):
    """A dataset without any image: sidecars, blood, curves."""
    put(tmp_path / "raw/dataset_description.json", '{"Name": "x", "BIDSVersion": "1.8.0"}')
    put(tmp_path / "raw/participants.tsv", "participant_id\n" + "".join(f"sub-{p}\n" for p in people))
    for person in people:
        stem = f"sub-{person}/pet/sub-{person}"
        put(tmp_path / f"raw/{stem}_pet.json", json.dumps(PET))
        blood = f"raw/{stem}_recording-manual_blood"
        put(tmp_path / f"{blood}.tsv", table().to_csv(sep="\t", index=False))
        put(tmp_path / f"{blood}.json", json.dumps(SIDE))
        put(tmp_path / f"petprep/{stem}_desc-preproc_seg-gtm_tacs.tsv", TABLE)
    return tmp_path


def test_tables_only_go_to_kinetics_features_and_report(tmp_path):
    home = study(tables_only(tmp_path), {"petprep": "../petprep"})
    files = outputs(home)
    made = set(files.values())
    assert not made & (OWN | {"anat_brain", "bold_fit", "pet_plasma_maps"})
    pet = "results/derivatives/sub-01/pet/sub-01"
    assert files[f"{pet}_desc-frames_timeseries.tsv"] == files[f"{pet}_desc-curves_qc.json"] == "pet_adopt"
    assert files[f"{pet}_seg-gtm_model-Logan_kinpar.tsv"] == "pet_plasma"
    assert files[f"{pet}_seg-gtm_model-SRTM_kinpar.tsv"] == "pet_model"
    assert files["results/derivatives/group/atlas-gtm_desc-fusion_features.tsv"] == "fusion_table"
    assert files["results/reports/sub-02.html"] == "report_participant" and "results/reports/index.html" in files
    assert not [p for p in files if "/pet/" in p and name_problems(p.rpartition("/")[2])]
    assert planned(home)["pet_adopt"] == 2


def test_both_kinds_in_one_study(tmp_path):
    write_tree(tree("no_sessions"), tmp_path / "raw")
    put(tmp_path / "petprep/sub-01/pet/sub-01_seg-gtm_desc-preproc_timeseries.tsv", TABLE)
    home = study(tmp_path, {"petprep": "../petprep"}, models=["SRTM", "SUVR"])
    files = outputs(home)
    made = {person: {r for p, r in files.items() if f"derivatives/sub-{person}/" in p} for person in ("01", "02")}
    assert "pet_adopt" in made["01"] and not made["01"] & OWN
    assert made["02"] >= OWN and "pet_adopt" not in made["02"]
    group = "results/derivatives/group/atlas-{}_desc-fusion_features.tsv"
    assert group.format("gtm") in files and group.format("braid100") in files
    # without the folder all are made here again, and the link is gone
    study(tmp_path, {}, models=["SRTM", "SUVR"])
    assert "pet_adopt" not in planned(home) and not (home / "derivatives/petprep").exists()


def test_bloodstream_comes_before_raw_blood_and_needs_no_curves(tmp_path):
    tables_only(tmp_path)
    put(tmp_path / "blood/sub-01/pet/sub-01_inputfunction.tsv", "time\tAIF\n")
    put(tmp_path / "blood/sub-01/pet/sub-01_inputfunction.json", "{}")
    home = study(tmp_path, {"tacs": "../petprep", "segmentation": "gtm", "bloodstream": "../blood"})
    done = snakemake(
        "--dry-run", "--quiet", "host", "--cores", 1, "--directory", home, "--",
        *(f"results/derivatives/sub-{p}/pet/sub-{p}_inputfunction.tsv" for p in ("01", "02")),
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if "input:" in line and "_weights.tsv" in line]
    lines = [line for line in lines if "frames_timeseries.tsv" in line]
    assert sum("derivatives/bloodstream/sub-01/pet/sub-01_inputfunction.tsv" in line for line in lines) == 1
    assert sum("bloodstream" in line and "sub-02" in line for line in lines) == 0


def test_what_cannot_be_stops_before_any_work(tmp_path):
    tables_only(tmp_path)
    home = study(tmp_path, {"petprep": "../petprep"}, pvc="gtm", psf_fwhm_mm=[6])
    done = snakemake("--dry-run", "--cores", 1, "--directory", home, check=False)
    assert done.returncode and "curves cannot be corrected without the image" in done.stdout + done.stderr
    home = study(tmp_path, {"petprep": "../petprep", "segmentation": "dkt"})
    done = snakemake("--dry-run", "--cores", 1, "--directory", home, check=False)
    assert done.returncode and "adopt.segmentation" in done.stdout + done.stderr
    home = study(tmp_path, {"petprep": "../nothing"})
    done = snakemake("--dry-run", "--cores", 1, "--directory", home, check=False)
    assert done.returncode and "adopt.petprep" in done.stdout + done.stderr


def test_all_problems_of_blood_and_curves_are_listed_before_any_work(tmp_path):
    tables_only(tmp_path)
    put(tmp_path / "petprep/sub-01/pet/sub-01_desc-preproc_seg-gtm_tacs.tsv", TABLE.replace("60\t300", "50\t300"))
    rows = table()
    rows.loc[3, "time"], rows.loc[5, "metabolite_parent_fraction"] = 1.0, 80.0
    put(tmp_path / "raw/sub-02/pet/sub-02_recording-manual_blood.tsv", rows.to_csv(sep="\t", index=False))
    home = study(tmp_path, {"petprep": "../petprep"})
    done = snakemake("--cores", 1, "--directory", home, "--", "results/index/validation.tsv", check=False)
    text = "".join(p.read_text() for p in (home / "logs/index_validate").glob("*.log"))
    assert done.returncode and "3 problems" in text
    for part in ("frame 2", "strictly increasing", "divide by 100"):
        assert part in text


@pytest.mark.slow
def test_planted_volume_comes_back_from_bare_tables_and_a_ready_made_input(tmp_path):
    """No sidecar, no blood, no image of the raw dataset: a bare table, its unit in the config, bloodstream's input."""
    put(tmp_path / "raw/dataset_description.json", '{"Name": "x", "BIDSVersion": "1.8.0"}')
    put(tmp_path / "raw/participants.tsv", "participant_id\nsub-01\n")
    (tmp_path / "raw/sub-01").mkdir()
    curves.put(tmp_path / "tables", "sub-01_tacs.tsv", curves.wide(1000.0))
    curves.bloodstream(tmp_path / "blood/sub-01/pet")
    adopt = {
        "tacs": "../tables", "bloodstream": "../blood", "units": "Bq/mL", "nuclide": "C11",
        "regions": [{"name": "cortex", "regions": ["ctx-*"]}],
    }  # fmt: skip
    home = study(tmp_path, adopt, models=["SRTM", "2TCM", "Logan"], plasma={"vb": 0.0})
    stem = "results/derivatives/sub-01/pet/sub-01_seg-custom_model"
    features = "results/derivatives/group/atlas-custom_desc-fusion_features.tsv"
    snakemake("--cores", 1, "--directory", home, "--", f"{stem}-Logan_kinpar.tsv", features)
    for model, within in (("2TCM", 1e-3), ("Logan", 5e-3)):
        found = read_tsv(home / f"{stem}-{model}_kinpar.tsv").set_index("name")["VT"]
        assert found["cortex"] == pytest.approx(curves.VT, rel=within)
        assert found["Left-Cerebellum-Cortex"] == pytest.approx(1.0, rel=5e-3)
    table_ = read_tsv(home / features)
    joined = table_[table_["region"].eq("cortex")].set_index("measure")["value"]
    # the first model that gives VT stands for it
    assert joined["VT"] == pytest.approx(curves.VT, rel=1e-3) and joined["BPND"] == pytest.approx(0.3, abs=0.05)
