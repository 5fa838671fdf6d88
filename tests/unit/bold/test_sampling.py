"""Samplers against SciPy, and the 4D writer."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from neurobraid.bold.sampling import Sampler
from neurobraid.bold.writing import series_writer

AFFINE = np.array([[0, -3.0, 0, 40], [2.5, 0, 0, -30], [0, 0, 4.0, 5], [0, 0, 0, 1.0]])


@pytest.fixture
def data():
    rng = np.random.default_rng(2)
    return np.asfortranarray(
        ndimage.gaussian_filter(rng.normal(0, 50, (13, 17, 11, 3)), [1, 1, 1, 0]), np.float32
    )


def inner_points(rng, shape, n=500):
    ijk = rng.uniform(0, 1, (n, 3)) * (np.array(shape) - 1)
    return ijk, ijk @ AFFINE[:3, :3].T + AFFINE[:3, 3]


@pytest.mark.parametrize(("interpolation", "order"), [("cubic", 3), ("linear", 1)])
def test_same_as_scipy(data, interpolation, order):
    ijk, points = inner_points(np.random.default_rng(0), data.shape[:3])
    sampler = Sampler(data, AFFINE, interpolation)
    for t in (0, 2):
        truth = ndimage.map_coordinates(data[..., t].astype(float), ijk.T, order=order, mode="mirror")
        assert np.allclose(sampler.volume(t, points), truth, atol=2e-3)


def test_motion_matrix_moves_the_points(data):
    _, points = inner_points(np.random.default_rng(1), data.shape[:3])
    shift = np.eye(4)
    shift[:3, 3] = [0.4, -0.3, 0.7]
    sampler = Sampler(data, AFFINE)
    assert np.allclose(sampler.volume(1, points, shift), sampler.volume(1, points + shift[:3, 3]), atol=1e-3)


def test_outside_the_border_value_goes_on(data):
    sampler = Sampler(data, AFFINE, "linear")
    corner = AFFINE[:3, 3]
    far = corner - AFFINE[:3, :3] @ np.array([9.0, 9.0, 9.0])
    assert np.allclose(sampler.volume(0, np.array([corner, far])), data[0, 0, 0, 0])


def test_unknown_interpolation(data):
    with pytest.raises(ValueError, match="cubic, linear"):
        Sampler(data, AFFINE, "sinc")


def write(path, data, tr=2.2):
    with series_writer(path, data.shape, AFFINE, tr, np.abs(data).max()) as put:
        for t in range(data.shape[3]):
            put(data[..., t])


def test_writer_round_trip(tmp_path, data):
    path = tmp_path / "x_bold.nii.gz"
    write(path, data)
    image = nib.load(path)
    assert np.allclose(image.affine, AFFINE)
    assert image.header.get_zooms()[3] == pytest.approx(2.2)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    peak = np.abs(data).max()
    assert np.abs(image.get_fdata() - data).max() <= 0.51 * peak / 32000
    assert gzip.decompress(path.read_bytes())[:4] == (348).to_bytes(4, "little")


def test_writer_same_bytes_and_no_half_files(tmp_path, data):
    write(tmp_path / "a.nii.gz", data)
    write(tmp_path / "b.nii.gz", data)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    with pytest.raises(ValueError, match="1 volumes written, 3 announced"):  # noqa: SIM117
        with series_writer(tmp_path / "c.nii.gz", data.shape, AFFINE, 2.0, 1.0) as put:
            put(data[..., 0])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz"]
