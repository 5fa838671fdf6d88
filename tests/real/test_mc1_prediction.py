"""PET and MRI of real people before and after a drug: kinetics, table, model of the session and its page, by the workflow."""

import pytest
import yaml

from neurobraid.files import read_json, read_tsv
from tests.workflow.helpers import ROOT, snakemake

pytestmark = [pytest.mark.real, pytest.mark.slow]
EXAMPLE = ROOT / "config/examples/petprep-tables"


@pytest.fixture(scope="module")
def drug(real_data, tmp_path_factory):
    """The six people scanned before and after the drug, with the example's settings."""
    source = real_data / "ds004869-pet-mc1"
    if not source.is_dir():
        pytest.skip("ds004869-pet-mc1 is not there")
    home = tmp_path_factory.mktemp("mc1drug") / "study"
    config = yaml.safe_load((EXAMPLE / "config.yaml").read_text())
    config |= yaml.safe_load((EXAMPLE / "prediction.yaml").read_text())
    config["prediction"]["models"] = [m for m in config["prediction"]["models"] if m["name"] == "drug"]
    config["bids"] = str(source)
    config["adopt"]["petprep"] = str(source / "derivatives/petprep")
    config["index"] = {"participants": [f"{n:02d}" for n in range(1, 7)]}
    config["pet"]["models"] = ["SUVR", "Logan"]
    (home / "config").mkdir(parents=True)
    (home / "config/config.yaml").write_text(yaml.safe_dump(config))
    snakemake("--cores", 1, "--directory", home)
    return home


@pytest.fixture(scope="module")
def summary(drug):
    return read_json(drug / "results/derivatives/group/model-drug_summary.json")


def test_cortex_over_cerebellum_falls_in_everybody(summary):
    # published: binding in neocortex, blocked almost completely; the ratio is down in all six
    assert summary["participants"] == 6 and summary["rows"] == 12
    assert summary["metrics"]["cortex"]["auc"]["mean"] == 1.0
    # 64 arrangements, of which the reverse of all is as good: 1/32 is the floor
    assert 0.02 < summary["permutation"]["p"]["cortex"] < 0.06


def test_what_is_measured_once_per_person_is_exactly_chance(summary):
    for name in ("volumes", "demographics", "dummy"):
        assert summary["metrics"][name]["auc"]["mean"] == 0.5, name
    assert summary["permutation"]["p"]["volumes"] == 1.0


def test_pairs_never_straddle_and_labels_move_within_a_person(drug, summary):
    folds = read_tsv(drug / "results/derivatives/group/model-drug_folds.tsv")
    sides = folds.groupby(["repeat", "fold", "participant_id"])["role"].nunique()
    assert sides.eq(1).all()
    train = folds[folds["role"].eq("train")]
    assert train.groupby(["repeat", "fold", "participant_id"])["inner_fold"].nunique().eq(1).all()
    assert summary["permutation"]["units"] == "visit"
    assert summary["permutation"]["blocks"] == "participant_id"
    assert not summary["audit"]["flags"]


def test_the_page_calls_it_a_demonstration(drug, summary):
    assert summary["status"] == "DEMONSTRATION"
    page = (drug / "results/reports/index.html").read_text()
    assert "Its numbers have no inferential value" in page
    assert "With the labels of each person’s visits permuted" in page.replace("&#39;", "’").replace("'", "’")
    assert "Labels can be arranged in only 64 ways" in page


def test_groups_that_would_split_a_person_stop_the_model(drug):
    config = yaml.safe_load((drug / "config/config.yaml").read_text())
    config["prediction"]["models"][0] |= {"name": "torn", "groups": "session_id"}
    (drug / "config/torn.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(
        "--cores", 1, "--directory", drug, "--configfile", drug / "config/torn.yaml", "--",
        "results/derivatives/group/model-torn_summary.json", check=False,
    )  # fmt: skip
    text = (drug / "logs/prediction_model/torn.log").read_text()
    assert done.returncode and "one group per participant" in text
