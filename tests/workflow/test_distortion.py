"""A participant with two sessions, a multi-echo run with a field map and a run without one, from raw data to T1w space."""

import nibabel as nib
import numpy as np
import pytest

from benchmarks.reproducibility import ECHOES_S, T2STAR_S, build
from neurobraid.files import read_json
from neurobraid.images.resample import grid_points
from neurobraid.images.transforms import apply_affine, read_affines
from tests.workflow.helpers import snakemake

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    home = tmp_path_factory.mktemp("distortion")
    person = build(home, 12, voxel=2.0)
    snakemake("--cores", 2, "--directory", home, "anat", "bold")
    return home / "results/derivatives/sub-01", person


def test_field_map_of_the_multi_echo_run(study):
    folder, person = study
    base = folder / "ses-1/func/sub-01_ses-1_task-rest"
    image = nib.load(f"{base}_desc-sdc_fieldmap.nii.gz")
    inside = nib.load(f"{base}_desc-hmc_mask.nii.gz").get_fdata() > 0
    about = read_json(f"{base}_desc-sdc_fieldmap.json")
    assert about["Method"] == "phase difference" and about["Units"] == "Hz"
    # true field at the points of the reference, carried to the T1w the run was registered to
    to_t1w = read_affines(f"{base}_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt")[0]
    points = apply_affine(np.linalg.inv(to_t1w), grid_points(inside.shape, image.affine, inside))
    truth = person.field_hz(points)
    found = image.get_fdata()[inside]
    assert np.corrcoef(found, truth)[0, 1] > 0.97
    assert np.median(np.abs(found - truth)) < 2.0


def test_run_without_field_map_is_registered_instead(study):
    base = study[0] / "ses-2/func/sub-01_ses-2_task-rest"
    assert read_json(f"{base}_desc-sdc_fieldmap.json")["Method"].startswith("fieldmap-less")
    assert read_json(f"{base}_desc-bold_qc.json")["sdc_method"].startswith("fieldmap-less")


def test_echoes_are_combined_by_their_decay(study):
    base = study[0] / "ses-1/func/sub-01_ses-1_task-rest"
    decay = nib.load(f"{base}_T2starmap.nii.gz").get_fdata()
    inside = nib.load(f"{base}_desc-hmc_mask.nii.gz").get_fdata() > 0
    assert np.median(decay[inside]) == pytest.approx(T2STAR_S, rel=0.03)
    assert len(ECHOES_S) == 3


def test_sessions_meet_in_their_mean(study):
    folder, _ = study
    assert (folder / "anat/sub-01_from-T1w_to-mean_mode-image_xfm.json").exists()
    for session in ("ses-1", "ses-2"):
        quality = read_json(folder / f"{session}/anat/sub-01_{session}_desc-anat_qc.json")
        assert quality["registration_through"] == "mean of the sessions"
