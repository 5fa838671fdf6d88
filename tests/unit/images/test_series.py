"""Series as matrices, smoothing and labels on another grid."""

import nibabel as nib
import numpy as np
import pytest

from neurobraid.errors import InputError
from neurobraid.images.series import labels_on_grid, read_masked, with_signal
from neurobraid.images.smooth import smooth_in_mask

SHAPE = (7, 8, 9)


@pytest.fixture
def mask():
    return np.random.default_rng(0).random(SHAPE) > 0.4


def test_read_masked_is_boolean_indexing(tmp_path, mask):
    values = np.random.default_rng(1).standard_normal((*SHAPE, 5)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    series, image = read_masked(tmp_path / "a.nii.gz", mask)
    np.testing.assert_array_equal(series, values[mask].T)
    assert image.shape == (*SHAPE, 5)


def test_read_masked_refuses_what_does_not_fit(tmp_path, mask):
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.float32), np.eye(4)), tmp_path / "three.nii.gz")
    with pytest.raises(InputError, match="time series"):
        read_masked(tmp_path / "three.nii.gz", mask)
    nib.save(nib.Nifti1Image(np.zeros((*SHAPE, 4), np.float32), np.eye(4)), tmp_path / "four.nii")
    with pytest.raises(InputError, match="same grid"):
        read_masked(tmp_path / "four.nii", mask[:, :, :-1])
    whole = (tmp_path / "four.nii").read_bytes()
    (tmp_path / "cut.nii").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="complete file"):
        read_masked(tmp_path / "cut.nii", mask)


def test_signal_needs_brightness_change_and_numbers():
    series = np.random.default_rng(2).normal(1000, 5, (20, 6)).astype(np.float32)
    series[:, 1] = 1000
    series[:, 2] = 0
    series[3, 3] = np.nan
    series[:, 4] *= 0.001
    np.testing.assert_array_equal(with_signal(series), [True, False, False, False, False, True])


def test_smoothing_equals_scipy_and_keeps_a_constant_at_the_edge(mask):
    from scipy import ndimage

    voxel = (2.0, 2.5, 3.0)
    values = np.random.default_rng(3).standard_normal((3, mask.sum())).astype(np.float32)
    sigma = [6.0 / v / np.sqrt(8 * np.log(2)) for v in voxel]
    weight = ndimage.gaussian_filter(mask.astype(float), sigma, mode="constant")
    for before, after in zip(values, smooth_in_mask(values, mask, 6.0, voxel), strict=True):
        volume = np.zeros(SHAPE)
        volume[mask] = before
        expected = (ndimage.gaussian_filter(volume, sigma, mode="constant") / np.where(mask, weight, 1))[mask]
        np.testing.assert_allclose(after, expected, atol=2e-6)
    np.testing.assert_allclose(
        smooth_in_mask(np.full((2, mask.sum()), 7, np.float32), mask, 6.0, voxel), 7, rtol=1e-5
    )


def test_labels_above_255_survive_a_change_of_grid():
    labels = np.zeros(SHAPE, np.int32)
    labels[2:5, 3:6, 4:8] = 70001
    coarse = labels_on_grid(labels, np.diag([2.0, 2, 2, 1]), (4, 5, 6), np.diag([4.0, 4, 4, 1]))
    expected = labels[::2, ::2, ::2]
    np.testing.assert_array_equal(coarse[:4, :4, :5], expected[:4, :4, :5])
    assert coarse[:, 4].max() == 0
