"""Volumes survive the way into the template."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from neurobraid.anat.morphometry import jacobian, modulated, write_morphometry
from neurobraid.files import read_tsv
from neurobraid.images.io import data, load, save
from neurobraid.images.resample import grid_points, resample_image
from neurobraid.images.templates import grid, template
from neurobraid.images.transforms import write_warp
from neurobraid.synth.geometry import random_deformation

SHAPE = (80, 96, 84)
AFFINE = np.diag([-2.4, 2.3, 2.5, 1.0])
AFFINE[:3, 3] = [96, -128, -100]


@pytest.fixture(scope="module")
def person():
    """Grey matter of a person of another size and shape, and the warps."""
    to_template, to_person = random_deformation(np.random.default_rng(4))
    grey = resample_image(template("GM", 2.0), SHAPE, AFFINE, to_template, order=1)
    return grey, to_person


def test_modulated_sum_is_the_persons_volume(person):
    grey, forward = person
    native = grey.sum(dtype=float) * abs(np.linalg.det(AFFINE)) / 1000
    for resolution in (2.0, 3.0):
        shape, target = grid(resolution)
        found = modulated(grey, AFFINE, forward, shape, target)
        assert found.sum(dtype=float) * resolution**3 / 1000 == pytest.approx(native, rel=0.02)
    plain = resample_image((grey, AFFINE), shape, target, forward, order=1).sum(dtype=float) * 27 / 1000
    assert abs(plain / native - 1) > 0.02, "the planted shape changes no volume: the test cannot fail"


def test_jacobian_of_a_stretch():
    affine = np.array([[0, -2.0, 0, 5], [3.0, 0, 0, 1], [0, 0, 1.5, 2], [0, 0, 0, 1.0]])
    points = grid_points((6, 7, 8), affine) * [1.1, 0.9, 1.2]
    np.testing.assert_allclose(jacobian(points, (6, 7, 8), affine), 1.1 * 0.9 * 1.2, rtol=1e-9)


def test_files(person, tmp_path):
    grey, forward = person
    mask = ndimage.binary_fill_holes(ndimage.binary_dilation(grey > 0.1, iterations=2))
    maps = [grey, np.where(mask, 1 - grey, 0) * 0.7, np.where(mask, 1 - grey, 0) * 0.3]
    paths = [tmp_path / f"{n}.nii.gz" for n in range(3)]
    for values, path in zip(maps, paths, strict=True):
        save(values.astype(np.float32), AFFINE, path)
    save(mask, AFFINE, tmp_path / "mask.nii.gz", dtype=np.uint8)
    write_warp(forward, tmp_path / "x.h5")
    names = {"modulated": "m.nii.gz", "modulated_json": "m.json", "table": "t.tsv", "table_json": "t.json"}
    output = SimpleNamespace(**{key: tmp_path / name for key, name in names.items()})
    write_morphometry(tmp_path / "mask.nii.gz", paths, tmp_path / "x.h5", output, resolution=3.0)
    table = read_tsv(output.table).set_index("name")["volume_ml"]
    voxel = abs(np.linalg.det(AFFINE)) / 1000
    assert table["brain"] == pytest.approx(mask.sum() * voxel)
    assert table["GM"] == pytest.approx(grey.sum(dtype=float) * voxel, rel=1e-4)
    assert data(load(output.modulated)).sum(dtype=float) * 0.027 == pytest.approx(table["GM"], rel=0.02)
