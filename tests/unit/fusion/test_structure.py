"""Grey-matter volumes against volumes known by construction."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.files import read_json, read_tsv, write_tsv
from neurobraid.fusion.structure import region_structure, volume_change, write_structure
from neurobraid.images.io import save
from neurobraid.images.transforms import Warp, write_warp

SCALE = np.diag([1.2, 0.9, 1.1, 1.0])
STILL = Warp(SCALE, np.zeros((3, 4, 5, 3), np.float32), np.eye(4))


def atlas():
    labels = np.zeros((7, 8, 9), np.int32)
    labels[1:3, 2:4, 3:5] = 700
    labels[4:6, 2:6, 3:5] = 12
    labels[6, 7, 8] = 301
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    # the table's order is not the order of the labels
    table = pd.DataFrame({"index": [700, 12, 301], "name": ["big", "other", "corner"]})
    return labels, affine, table


def person(shape=(21, 17, 23)):
    return np.ones(shape, np.float32), np.diag([1.0, 1.0, 1.0, 1.0])


def test_volume_is_the_persons_not_the_templates():
    labels, affine, table = atlas()
    grey, own = person()
    found = region_structure(0.5 * grey, own, STILL, labels, affine, table).set_index("name")
    change = 1.2 * 0.9 * 1.1
    assert list(found.index) == ["big", "other", "corner"]
    assert found.loc["big", "volume_ml"] == pytest.approx(0.5 * 8 * 8 * change / 1000, rel=1e-5)
    assert found.loc["other", "volume_ml"] == pytest.approx(0.5 * 16 * 8 * change / 1000, rel=1e-5)
    assert found.loc["other", "region_ml"] == pytest.approx(16 * 8 * change / 1000, rel=1e-5)
    assert found.loc["big", "density"] == pytest.approx(0.5, rel=1e-5)


def test_region_outside_the_field_of_view_is_missing_not_zero():
    labels, affine, table = atlas()
    grey, own = person((21, 17, 10))
    found = region_structure(grey, own, STILL, labels, affine, table).set_index("name")
    assert found.loc["corner", "coverage"] == 0
    assert found.loc["corner", ["volume_ml", "density", "region_ml"]].isna().all()
    assert found.loc["big", "coverage"] == 1


def test_volume_change_of_a_bend():
    rng = np.random.default_rng(0)
    points = rng.uniform(4, 12, (50, 3))
    grid = np.stack(np.meshgrid(*[np.arange(18.0)] * 3, indexing="ij"), -1)
    field = np.zeros_like(grid, dtype=np.float32)
    field[..., 0] = 0.05 * grid[..., 0]
    warp = Warp(np.eye(4), field, np.eye(4))
    np.testing.assert_allclose(volume_change(warp, points), 1.05, rtol=1e-4)


def test_file_to_file(tmp_path):
    labels, affine, table = atlas()
    grey, own = person()
    save(grey, own, tmp_path / "gm.nii.gz")
    save(labels, affine, tmp_path / "atlas.nii.gz", dtype=np.int32)
    write_tsv(table, tmp_path / "atlas.tsv")
    write_warp(STILL, tmp_path / "xfm.h5")
    out = tmp_path / "sub-1_seg-a_desc-structure_morph.tsv"
    arguments = [tmp_path / n for n in ("gm.nii.gz", "xfm.h5", "atlas.nii.gz", "atlas.tsv")]
    write_structure(*arguments, out, out.with_suffix(".json"))
    found = read_tsv(out)
    direct = region_structure(grey, own, STILL, labels, affine, table)
    np.testing.assert_allclose(found["volume_ml"], direct["volume_ml"], rtol=1e-4)
    described = read_json(out.with_suffix(".json"))["Columns"]
    assert set(described) == set(found.columns)
