"""Voxelwise models from files: paired by participant, on one grid, with a planted place."""

import numpy as np
import pandas as pd

from neurobraid.files import read_json, write_tsv
from neurobraid.fusion.maps import first_of_each, write_voxelwise
from neurobraid.images.io import data, load, save

RECORD = {
    "name": "m",
    "task": "motor",
    "contrast": "left",
    "covariates": ["age"],
    "permutations": 99,
    "within": "",
    "seed": 1,
}


def study(folder, people):
    rng = np.random.default_rng(0)
    affine = np.diag([4.0, 4, 4, 1])
    fine = np.diag([2.0, 2, 2, 1])
    fine[:3, 3] = -1.0
    tasks, pets = [], []
    for n in range(people):
        binding = 2 + rng.standard_normal((5, 6, 7))
        effect = 1 + rng.standard_normal((5, 6, 7))
        effect[2, 3, 4] = 1 + 2 * binding[2, 3, 4]
        effect[0] = 0
        stem = folder / f"sub-{people - n:02d}"
        tasks.append(f"{stem}_task-motor_space-m_contrast-left_stat-effect_statmap.nii.gz")
        pets.append(f"{stem}_ses-1_space-m_model-SRTM_meas-BPND_mimap.nii.gz")
        save(effect, affine, tasks[-1])
        save(np.kron(binding, np.ones((2, 2, 2))), fine, pets[-1])
    ids = [f"sub-{n:02d}" for n in range(1, people + 1)]
    write_tsv(
        pd.DataFrame({"participant_id": ids, "age": rng.uniform(20, 70, people)}), folder / "participants.tsv"
    )
    out = {
        "effect": folder / "effect.nii.gz",
        "t": folder / "t.nii.gz",
        "logp": folder / "logp.nii.gz",
        "sidecar": folder / "m.json",
    }
    return tasks, pets, folder / "participants.tsv", out


def test_the_planted_voxel_is_found_whatever_the_order_and_grid(tmp_path):
    tasks, pets, participants, out = study(tmp_path, 20)
    write_voxelwise(tasks, pets[::-1][:-1], participants, RECORD, out)
    about = read_json(out["sidecar"])
    assert (
        len(about["Participants"]) == 19
        and about["DegreesOfFreedom"] == 16
        and about["Covariates"] == ["age"]
    )
    logp, t, slope = (data(load(out[k])) for k in ("logp", "t", "effect"))
    assert np.unravel_index(logp.argmax(), logp.shape) == (2, 3, 4) and about["VoxelsFWE05"] == 1
    assert abs(slope[2, 3, 4] - 2) < 0.3 and t[2, 3, 4] > about["ThresholdT"] > 2
    # voxels without a contrast have no result
    assert (t[0] == 0).all() and about["Voxels"] <= 4 * 6 * 7


def test_too_few_participants_get_empty_maps_and_a_reason(tmp_path):
    tasks, pets, participants, out = study(tmp_path, 4)
    write_voxelwise(tasks, pets, participants, RECORD, out)
    assert "at least 6" in read_json(out["sidecar"])["Reason"] and not data(load(out["t"])).any()


def test_first_session_of_each():
    names = ["sub-02_ses-2_x.nii", "sub-02_ses-1_x.nii", "sub-01_x.nii"]
    assert first_of_each(names) == {"sub-01": "sub-01_x.nii", "sub-02": "sub-02_ses-1_x.nii"}
