"""The whole tree is valid BIDS and its tables say what was planted."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neurobraid.files import read_json, read_tsv
from neurobraid.images.io import data, load
from neurobraid.synth import plants
from neurobraid.synth.design import scan_table


def test_scan_table_lists_exactly_the_raw_images(tiny):
    table = scan_table(tiny.design.size, tiny.design.seed)
    found = {p.relative_to(tiny.root).as_posix() for p in tiny.root.glob("sub-*/**/*.nii.gz")}
    assert found == set(table["path"])
    named = {s for cell in table["sidecars"] for s in cell.split(";")} | set(table["events"]) - {"n/a"}
    assert all((tiny.root / name).is_file() for name in named)


def test_bids_validator_finds_no_error(tiny):
    beside = Path(sys.executable).with_name("bids-validator-deno")
    validator = str(beside) if beside.exists() else shutil.which("bids-validator-deno")
    if not validator:
        pytest.skip("bids-validator-deno is not installed")
    done = subprocess.run(
        [validator, "--json", str(tiny.root)], capture_output=True, text=True, check=False, timeout=120
    )
    report = json.loads(done.stdout)
    assert report["summary"]["totalFiles"] > 40
    assert set(report["summary"]["modalities"]) >= {"MRI", "PET"}
    errors = [issue for issue in report["issues"]["issues"] if issue.get("severity") == "error"]
    assert errors == []
    assert done.returncode == 0


def test_participants_are_described(tiny):
    table, levels = read_tsv(tiny.shared["participants"]), read_json(tiny.shared["participants_json"])
    assert set(table.columns) == set(levels)
    for column in ("sex", "site", "diagnosis"):
        assert set(table[column]) <= set(levels[column]["Levels"])
    assert levels["body_weight"]["Units"] == "kg"


def test_maps_and_table_of_activation_agree(tiny):
    table = read_tsv(tiny.shared["activation"])
    labels = data(tiny.shared["atlas"], np.int32)
    for contrast in plants.CONTRASTS:
        planted = data(tiny.shared[f"map_{contrast}"])
        means = [planted[labels == n].mean() for n in table["index"]]
        np.testing.assert_allclose(table[contrast], means, atol=1e-5)
    left, right, both = (data(tiny.shared[f"map_{c}"]) for c in ("left", "right", "leftVsRight"))
    np.testing.assert_allclose(left - right, both, atol=1e-5)
    assert 1.2 < left.max() < 1.6
    affine = load(tiny.shared["map_left"]).affine
    peak = affine[:3, :3] @ np.unravel_index(both.argmax(), both.shape) + affine[:3, 3]
    assert np.linalg.norm(peak - plants.BLOBS[0][1:4]) < 8


def test_group_differs_in_binding_and_networks(tiny):
    table = read_tsv(tiny.shared["atlas_table"])
    binding = read_tsv(tiny.shared["kinetics"])
    ratio = binding["BPND_patient"] / binding["BPND_control"].where(binding["BPND_control"] > 0)
    assert ratio.min() == pytest.approx(0.85)
    assert ratio.max() == pytest.approx(1.0)
    matrix = read_tsv(tiny.shared["networks"], index="Node")
    assert list(matrix.index) == list(matrix.columns) == list(table["name"])
    same = np.array(plants.networks(table))[:, None] == np.array(plants.networks(table))
    values = matrix.to_numpy(float)
    off = ~np.eye(len(values), dtype=bool)
    assert values[same & off].mean() > 0.6 > 0.2 > values[~same].mean()
