"""The whole workflow on real curves and blood without any image: PETPrep's tables to kinetics, features and report."""

import pytest
import yaml

from neurobraid.files import read_json, read_tsv
from tests.workflow.helpers import ROOT, snakemake

pytestmark = [pytest.mark.real, pytest.mark.slow]

PEOPLE = ("01", "02", "13")


def study(real_data, home, **index):
    """Three people of the recording, with the example's settings."""
    source = real_data / "ds004869-pet-mc1"
    config = yaml.safe_load((ROOT / "config/examples/petprep-tables/config.yaml").read_text())
    config["bids"] = str(source)
    config["adopt"]["petprep"] = str(source / "derivatives/petprep")
    config["index"] = {"participants": list(PEOPLE), **index}
    (home / "config").mkdir(parents=True)
    (home / "config/config.yaml").write_text(yaml.safe_dump(config))
    return home


@pytest.fixture(scope="module")
def mc1(real_data, tmp_path_factory):
    """The study without the scan whose blood runs backwards."""
    home = study(real_data, tmp_path_factory.mktemp("mc1") / "study", exclude=["sub-13_ses-retest"])
    snakemake("--cores", 2, "--directory", home)
    return home


def test_blood_that_runs_backwards_stops_the_study_before_any_work(real_data, tmp_path):
    home = study(real_data, tmp_path / "study")
    done = snakemake("--cores", 1, "--directory", home, "--", "results/index/validation.tsv", check=False)
    text = "".join(p.read_text() for p in (home / "logs/index_validate").glob("*.log"))
    assert done.returncode and "1 problem found" in text
    assert "sub-13_ses-retest_recording-manual_blood.tsv: time of row 9 is 133.8 s after 178.2 s" in text


def test_traps_are_told_before_any_work_and_not_swallowed(mc1):
    told = read_tsv(mc1 / "results/index/validation.tsv")
    assert not told["level"].eq("error").any()
    dose = told[told["field"].eq("InjectedRadioactivity")]
    assert len(dose) == 5 and dose["fix"].str.contains("likely kBq").all()
    units = told[told["field"].eq("plasma_radioactivity.Units")]
    assert len(units) == 4 and units["allowed"].str.contains("Bq/mL, as the image").all()
    level = told[told["field"].eq("plasma_radioactivity") & told["fix"].str.contains("likely kBq/mL")]
    assert level["file"].str.contains("sub-01_ses-blocked").tolist() == [True]
    short = told[told["field"].eq("plasma samples")]
    assert short["file"].str.contains("sub-13_ses-test").tolist() == [True]


def test_ratios_of_people_with_sound_blood(mc1):
    table = read_tsv(mc1 / "results/derivatives/group/atlas-gtm_desc-fusion_features.tsv")
    rows = table[table["measure"].eq("VT") & table["region"].isin(["cortex", "cerebellum"])]
    wide = rows.pivot(index=["participant_id", "session_id"], columns="region", values="value")
    ratio = wide["cortex"] / wide["cerebellum"]
    # of a plain Logan plot over 90 min: straight lines between samples, no delay, no blood volume
    assert ratio["sub-01", "ses-baseline"] == pytest.approx(1.28, abs=0.03)
    assert ratio["sub-02", "ses-baseline"] == pytest.approx(1.317, abs=0.03)
    assert ratio["sub-02", "ses-blocked"] == pytest.approx(0.82, abs=0.03)
    # a wrong unit and blood that is too short give no number at all
    assert ratio[[("sub-01", "ses-blocked"), ("sub-13", "ses-test")]].isna().all()
    assert table.loc[table["measure"].eq("SUVR"), "value"].notna().any()
    volume = table[table["measure"].eq("regionvolume") & table["region"].eq("Left-Putamen")]["value"]
    assert volume.between(3, 8).all() and len(volume) == 5


def test_no_suv_from_a_dose_that_cannot_be_right(mc1):
    home = mc1 / "results/derivatives/sub-02/ses-baseline/pet"
    table = read_tsv(home / "sub-02_ses-baseline_seg-gtm_model-SUVR_kinpar.tsv")
    assert table["SUV"].isna().all() and table["SUVR"].notna().any()
    qc = read_json(home / "sub-02_ses-baseline_desc-pet_qc.json")
    assert qc["preprocessed_by"] == "PETPrep 0.0.3" and qc["fd_max_mm"] > 0


def test_report_says_who_made_what(mc1):
    page = (mc1 / "results/reports/sub-01.html").read_text()
    assert "PETPrep 0.0.3" in page and "as estimated by PETPrep 0.0.3" in page
    assert "VT by Logan (Logan plot)" in page and "blood is likely in kBq/mL" in page
    study_page = (mc1 / "results/reports/index.html").read_text()
    assert "were taken over from PETPrep, version 0.0.3" in study_page
    assert "corrected for motion between frames" not in study_page, "nothing of that was done here"
    assert "no believable VT in sub-01_ses-blocked, sub-13_ses-test" in study_page


def test_a_second_run_does_nothing(mc1):
    done = snakemake("--dry-run", "--cores", 1, "--directory", mc1)
    assert "Nothing to be done" in done.stdout + done.stderr
