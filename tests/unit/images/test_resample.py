"""Interpolation and transforms against scipy, SimpleITK and closed forms."""

import time

import numpy as np
import pytest
from scipy import ndimage

from neurobraid.images.resample import resample_image, sample, spline_coefficients
from neurobraid.images.transforms import (
    Warp,
    apply_affine,
    read_affines,
    read_warp,
    write_affines,
    write_warp,
)

RNG = np.random.default_rng(0)
VOLUME = ndimage.gaussian_filter(RNG.standard_normal((17, 31, 13)), 1.5).astype(np.float32)
INSIDE = RNG.uniform(0, 1, (500, 3)) * (np.array(VOLUME.shape) - 1)


@pytest.mark.parametrize("order", [1, 3])
def test_sample_equals_scipy(order):
    expected = ndimage.map_coordinates(VOLUME, INSIDE.T, order=order, mode="mirror")
    assert np.abs(sample(VOLUME, INSIDE, order) - expected).max() < 2e-6


def test_coefficients_equal_scipy():
    assert np.allclose(
        spline_coefficients(VOLUME), ndimage.spline_filter(VOLUME, 3, mode="mirror"), atol=2e-6
    )


def test_outside_is_fill_and_labels_survive():
    labels = np.zeros((5, 6, 7), np.int32)
    labels[2, 3, 4] = 30001
    assert sample(labels, [[2.4, 2.6, 4.3]], 0)[0] == 30001
    assert sample(labels, [[-0.6, 0, 0]], 0, fill=-1)[0] == -1
    assert np.isnan(sample(VOLUME, [[0, 0, 12.6]], 1, fill=np.nan)[0])


def random_affine(rng):
    matrix = np.eye(4)
    matrix[:3, :3] += rng.normal(0, 0.1, (3, 3))
    matrix[:3, 3] = rng.normal(0, 10, 3)
    return matrix


def test_affines_round_trip_and_agree_with_itk(tmp_path):
    import SimpleITK as sitk

    rng = np.random.default_rng(1)
    matrices = np.array([random_affine(rng) for _ in range(3)])
    write_affines(matrices, tmp_path / "x_xfm.txt")
    assert np.array_equal(read_affines(tmp_path / "x_xfm.txt"), matrices)
    write_affines(matrices[0], tmp_path / "one_xfm.txt")
    point = np.array([3.0, -20.0, 41.0])
    itk = np.array(
        sitk.ReadTransform(str(tmp_path / "one_xfm.txt")).TransformPoint(tuple(point * [-1, -1, 1]))
    )
    assert np.allclose(itk * [-1, -1, 1], apply_affine(matrices[0], point), atol=1e-9)


@pytest.mark.parametrize("affine_first", [False, True])
def test_warp_round_trip_and_agrees_with_itk(tmp_path, affine_first):
    import SimpleITK as sitk

    rng = np.random.default_rng(2)
    grid = np.diag([3.0, 3.0, 3.0, 1.0])
    grid[:3, 3] = [-30, -40, -20]
    field = ndimage.gaussian_filter(rng.standard_normal((20, 28, 15, 3)) * 30, (3, 3, 3, 0)).astype(
        np.float32
    )
    warp = Warp(random_affine(rng), field, grid, affine_first)
    write_warp(warp, tmp_path / "w_xfm.h5")
    first = (tmp_path / "w_xfm.h5").read_bytes()
    time.sleep(1.1)  # HDF5 stamps whole seconds
    write_warp(warp, tmp_path / "w_xfm.h5")
    assert (tmp_path / "w_xfm.h5").read_bytes() == first
    again = read_warp(tmp_path / "w_xfm.h5")
    points = rng.uniform([-10, -20, -8], [10, 20, 8], (50, 3))
    assert np.allclose(again.apply(points), warp.apply(points), atol=1e-4)
    itk = sitk.ReadTransform(str(tmp_path / "w_xfm.h5"))
    expected = np.array([itk.TransformPoint(tuple(p * [-1, -1, 1])) for p in points]) * [-1, -1, 1]
    assert np.abs(warp.apply(points) - points).max() > 1
    assert np.allclose(warp.apply(points), expected, atol=1e-3)


def test_resample_image_moves_a_blob_where_the_matrix_says():
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    values = np.zeros((12, 11, 10), np.float32)
    values[5, 6, 7] = 1
    shift = np.eye(4)
    shift[:3, 3] = [2, -3, 4]  # target point + shift = source point
    out = resample_image((values, affine), values.shape, affine, shift, order=1)
    assert np.argwhere(out > 0.99).tolist() == [[4, 7, 6]]
