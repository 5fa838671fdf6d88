"""Regional means of maps without a mask."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.images.atlas import parcellate_map

from .receptors import compare

TABLE = pd.DataFrame({"index": [900, 3, 5], "name": ["a", "b", "gone"]})


def image(values, affine):
    return nib.Nifti1Image(values, affine)


@pytest.fixture
def atlas():
    labels = np.zeros((24, 27, 30), np.int32)
    labels[3:12, 3:24, 6:24] = 900
    labels[12:21, 3:24, 6:24] = 3
    return image(labels, np.diag([1.0, 1, 1, 1]))


def a_map(outside):
    """Values on a grid of 3 mm: 1 in the left half, 2 in the right, `outside` around them and in a corner of the left."""
    values = np.full((8, 9, 10), outside, np.float32)
    values[1:4, 1:8, 2:8] = 1.0
    values[4:7, 1:8, 2:8] = 2.0
    values[1, 1, 2] = outside
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = 1
    return image(values, affine)


@pytest.mark.parametrize("outside", [0.0, -0.003, 7.0])
def test_the_most_frequent_value_is_no_data(atlas, outside):
    found = parcellate_map(a_map(outside), atlas, TABLE)
    assert list(found["name"]) == ["a", "b", "gone"]
    np.testing.assert_allclose(found["value"], [1.0, 2.0, np.nan])
    assert list(found["voxels"]) == [125, 126, 0]
    np.testing.assert_allclose(found["coverage"], [125 / 126, 1, 0])


def test_other_backgrounds(atlas):
    shifted = a_map(-0.25)
    assert parcellate_map(shifted, atlas, TABLE, background="zero")["value"][0] < 1
    assert parcellate_map(shifted, atlas, TABLE, background=-0.25)["value"][0] == 1
    assert parcellate_map(a_map(np.nan), atlas, TABLE, background="none")["value"][0] == 1
    with pytest.raises(ValueError, match="mode, zero, none"):
        parcellate_map(shifted, atlas, TABLE, background="median")


def test_a_map_without_background_loses_nothing(atlas):
    values = np.random.default_rng(0).normal(size=(8, 9, 10)).astype(np.float32)
    found = parcellate_map(image(values, a_map(0.0).affine), atlas, TABLE)
    assert list(found["voxels"]) == [126, 126, 0]
    assert found["value"][0] == pytest.approx(values[1:4, 1:8, 2:8].mean(), rel=1e-5)


@pytest.mark.parametrize(("parcels", "empty"), [(200, 1), (400, 3)])
def test_published_values_of_receptor_maps(real_data, parcels, empty):
    table = compare(real_data, parcels)
    assert len(table) == 8
    assert (table["r"].round(5) == 1).all(), table
    assert (table["largest"] < 1e-6).all(), table
    assert table["empty"].max() == empty
    # both odd backgrounds matter: exact zeros alone do not do
    zero = compare(real_data, parcels, "zero").set_index("map")["r"]
    assert zero["D1_SCH23390_hc13_kaller"] < 0.99
    assert zero["MU_carfentanil_hc204_kantonen"] < 0.99
