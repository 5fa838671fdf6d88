"""Activation on real recordings, against the numbers that stand in their READMEs."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.activation import design as designs
from neurobraid.activation import first_level, glm, group
from neurobraid.images.smooth import smooth_in_mask

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def emotion(real_data):
    folder = real_data / "wager2008-emotion-regulation"
    if not folder.is_dir():
        pytest.skip("wager2008-emotion-regulation is not there")
    return group.estimate(
        sorted(folder.glob("sub-*/*stat-effect_statmap.nii.gz")), height_control="fpr", alpha=0.001
    )


def test_group_peaks_and_voxel_counts(emotion):
    """30 people: 75,919 voxels, t 7.25 at (-7, 24, 54) and 7.13 at (-45, 7, 45), 4,582 voxels > 2.756, 1,685 > 3.659."""
    maps, affine, table, summary = emotion
    t = maps["t"]
    assert summary["NumberOfParticipants"] == 30
    assert summary["VoxelCount"] == 75919
    assert t.max() == pytest.approx(7.25, abs=0.005)
    assert (t > 2.756).sum() == 4582
    assert (t > 3.659).sum() == 1685
    top = nib.affines.apply_affine(affine, np.unravel_index(t.argmax(), t.shape))
    np.testing.assert_allclose(top, [-7, 24, 54], atol=2)
    peaks = table[["x", "y", "z"]].to_numpy(float)
    assert np.linalg.norm(peaks - [-45, 7, 45], axis=1).min() < 3


def test_group_equals_nilearn(emotion, real_data):
    from nilearn.glm.second_level import SecondLevelModel

    maps, affine, _, _ = emotion
    paths = sorted((real_data / "wager2008-emotion-regulation").glob("sub-*/*stat-effect_statmap.nii.gz"))
    mask = maps["effect"] != 0
    images = [nib.Nifti1Image(np.nan_to_num(nib.load(p).get_fdata()), affine) for p in paths]
    model = SecondLevelModel(mask_img=nib.Nifti1Image(mask.astype(np.uint8), affine))
    z = model.fit(images, design_matrix=pd.DataFrame({"intercept": np.ones(30)})).compute_contrast(
        output_type="z_score"
    )
    np.testing.assert_allclose(maps["z"][mask], z.get_fdata()[mask], atol=2e-3)


@pytest.fixture(scope="module")
def localizer(real_data):
    """Native space, no motion correction, as the README's numbers were made."""
    folder = real_data / "studyforrest-localizer-small" / "sub-02" / "func"
    if not folder.is_dir():
        pytest.skip("studyforrest-localizer-small is not there")
    image = nib.load(folder / "sub-02_task-objectcategories_run-1_bold.nii.gz")
    values = np.asarray(image.dataobj, dtype=np.float32)
    mean = values.mean(-1)
    mask = mean > 0.3 * np.percentile(mean, 98)
    smoothed = smooth_in_mask(np.ascontiguousarray(values[mask].T), mask, 8.0, image.header.get_zooms()[:3])
    events = designs.read_events(folder / "sub-02_task-objectcategories_run-1_events.tsv", 156, 2.0)
    design, info = designs.make_design(np.arange(156) * 2.0, events, hrf="glover", high_pass_hz=1 / 128)
    weights = {
        "face": {"face": 1, "house": -1 / 3, "scene": -1 / 3, "object": -1 / 3},
        "scene": {"scene": 1, "face": -1 / 3, "body": -1 / 3, "object": -1 / 3},
    }
    vectors = [designs.contrast_vector(design, w) for w in weights.values()]
    fitted = glm.fit(first_level.percent(smoothed), design.to_numpy(), np.array(vectors))
    maps = {}
    for row, name in enumerate(weights):
        maps[name] = np.zeros(mask.shape)
        maps[name][mask] = fitted.z[row]
    return maps, image.affine, info


@pytest.mark.parametrize(("name", "expected"), [("face", 5.9), ("scene", 8.3)])
def test_localizer_z_is_within_a_quarter(localizer, name, expected):
    assert localizer[0][name].max() == pytest.approx(expected, rel=0.25)


def test_localizer_sides(localizer):
    """Face peaks on the right, scene in the parahippocampal region near scanner (-22, -21, -8) on the left."""
    maps, affine, info = localizer
    low = maps["face"].copy()
    heights = nib.affines.apply_affine(affine, np.argwhere(np.ones(low.shape, bool))).reshape(*low.shape, 3)
    low[heights[..., 2] > 0] = 0
    face = heights[np.unravel_index(low.argmax(), low.shape)]
    assert face[0] > 20
    scene = heights[np.unravel_index(maps["scene"].argmax(), low.shape)]
    other = heights[(maps["scene"] > 0.8 * maps["scene"].max())]
    assert (
        min(np.linalg.norm(scene - [-22, -21, -8]), np.linalg.norm(other - [-22, -21, -8], axis=1).min()) < 12
    )
    # a block of 16 pictures of 0.9 s counts as a block: Glover's response overshoots its plateau of 0.89
    assert 0.8 < info["ResponsePeak"]["face"] < 1.5


@pytest.mark.parametrize("noise_model", ["ar1", "ols"])
def test_first_level_agrees_with_plain_nilearn_to_six_digits(real_data, noise_model):
    """The same design through ``FirstLevelModel``: effect, t and z of every voxel of a real run."""
    from nilearn.glm.first_level import FirstLevelModel

    folder = real_data / "studyforrest-localizer-small" / "sub-02" / "func"
    if not folder.is_dir():
        pytest.skip("studyforrest-localizer-small is not there")
    image = nib.load(folder / "sub-02_task-objectcategories_run-1_bold.nii.gz")
    values = np.asarray(image.dataobj, dtype=np.float32)
    mask = values.mean(-1) > 0.5 * np.percentile(values.mean(-1), 98)
    events = designs.read_events(folder / "sub-02_task-objectcategories_run-1_events.tsv", 156, 2.0)
    design, _ = designs.make_design(np.arange(156) * 2.0, events, hrf="glover", high_pass_hz=1 / 128)
    vector = designs.contrast_vector(design, {"scene": 1, "face": -1})
    series = first_level.percent(np.ascontiguousarray(values[mask].T))
    ours = glm.fit(series, design.to_numpy(), vector[None], noise_model, correct_bias=False)
    model = FirstLevelModel(
        t_r=2.0,
        mask_img=nib.Nifti1Image(mask.astype(np.uint8), image.affine),
        noise_model=noise_model,
        signal_scaling=0,
    )
    theirs = model.fit(image, design_matrices=[design]).compute_contrast(vector, output_type="all")
    for key, mine in (("effect_size", ours.effect[0]), ("stat", ours.t[0]), ("z_score", ours.z[0])):
        r = np.corrcoef(mine, theirs[key].get_fdata()[mask])[0, 1]
        assert round(r, 6) == 1.0, (key, r)
