"""The command `neurobraid`: BIDS-App form and the comparison of two runs."""

import subprocess
import sys

import pytest
import yaml

from neurobraid.cli import main
from tests.unit.bids.trees import tree, write_tree
from tests.workflow.helpers import ROOT


def test_bids_app_form_plans_the_participants(tmp_path):
    write_tree(tree("no_sessions"), tmp_path / "raw")
    command = [sys.executable, "-m", "neurobraid.cli", tmp_path / "raw", tmp_path / "out", "participant"]
    command += ["--config", ROOT / "config/examples/rest-only/config.yaml", "--participant-label", "01", "02"]
    command += ["--", "--dry-run", "--quiet", "rules"]
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT / "src", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["report_participant", "2"] in lines and ["participants", "1"] in lines
    written = yaml.safe_load((tmp_path / "out/config/config.yaml").read_text())
    assert written["index"]["participants"] == ["01", "02"] and written["title"] == "Resting-state connectivity"


def test_missing_dataset_is_one_clear_error(tmp_path):
    command = [sys.executable, "-m", "neurobraid.cli", tmp_path / "none", tmp_path / "out", "group"]
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT / "src", capture_output=True, text=True, check=False
    )
    assert done.returncode and "an existing BIDS folder" in done.stderr + done.stdout


@pytest.mark.parametrize(("content", "code", "words"), [("1", 0, "1 same, 0 different"), ("2", 1, "different\tx.tsv")])
def test_verify(tmp_path, capsys, content, code, words):
    for folder, text in (("a", "1"), ("b", content)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.tsv").write_text(text)
    assert main(["verify", str(tmp_path / "a"), str(tmp_path / "b")]) == code
    assert words in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("neurobraid 0.")
