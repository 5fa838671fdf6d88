"""Parcellation, user atlases and region means."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputErrors
from neurobraid.images.atlas import default_parcellation, load_atlas, region_means


@pytest.fixture(scope="module")
def parcellation():
    return default_parcellation(2.0)


def test_parcellation_is_complete_unique_and_symmetric(parcellation):
    labels, _, table = parcellation
    assert len(table) == 100 and table["name"].is_unique and table["index"].tolist() == list(range(1, 101))
    sizes = np.bincount(labels.ravel(), minlength=101)[1:] * 8
    assert sizes.min() > 1000, "a region below 1 mL is noise at PET resolution"
    assert sizes[:41].max() / sizes[:41].min() < 8
    left, right = table[:50], table[50:]
    assert np.allclose(left["x"].to_numpy(), -right["x"].to_numpy(), atol=0.2)
    assert left["structure"].tolist() == right["structure"].tolist()
    assert set(table["hemisphere"][:50]) == {"L"}


def test_parcellation_structures_are_where_they_should_be(parcellation):
    _, _, table = parcellation
    cerebellum = table[table["structure"] == "cerebellum"]
    assert (cerebellum["z"] < -25).all() and (cerebellum["y"] < -40).all()
    deep = table[(table["structure"] == "subcortex") & (table["hemisphere"] == "L")]
    # a region within 10 mm of the caudate head and of the putamen, where dopamine tracers bind
    for spot in ([-12, 12, 8], [-26, 4, 2]):
        assert np.sqrt(((deep[["x", "y", "z"]] - spot) ** 2).sum(axis=1)).min() < 11


def test_parcellation_is_deterministic(parcellation):
    again = default_parcellation(2.0)
    assert np.array_equal(again[0], parcellation[0]) and again[2].equals(parcellation[2])


def write_atlas(folder, labels, rows):
    nib.save(nib.Nifti1Image(labels.astype(np.int32), np.eye(4)), folder / "a.nii.gz")
    pd.DataFrame(rows, columns=["index", "name"]).to_csv(folder / "a.tsv", sep="\t", index=False)
    return folder / "a.nii.gz", folder / "a.tsv"


def test_user_atlas_with_large_labels_and_gaps(tmp_path):
    labels = np.zeros((7, 8, 9))
    labels[1, 2, 3], labels[4, 5, 6] = 300, 70001
    read, _, table = load_atlas(*write_atlas(tmp_path, labels, [(70001, "01"), (300, "b")]))
    assert table["name"].tolist() == ["01", "b"], "order of the table, names are text"
    assert read[4, 5, 6] == 70001 and table.loc[0, ["x", "y", "z"]].tolist() == [4, 5, 6]


def test_label_missing_from_the_image_is_named(tmp_path):
    labels = np.zeros((7, 8, 9))
    labels[1, 2, 3] = 1
    with pytest.raises(InputErrors) as caught:
        load_atlas(*write_atlas(tmp_path, labels, [(1, "a"), (2, "gone"), (9, "too")]))
    assert "label 2 (gone)" in str(caught.value) and "label 9 (too)" in str(caught.value)


def test_region_lost_by_resampling_stays_in_the_table(tmp_path):
    labels = np.zeros((7, 8, 9))
    labels[1, 2, 3] = 1
    image, table = write_atlas(tmp_path, labels, [(1, "a"), (2, "small")])
    listed = pd.read_csv(table, sep="\t").assign(voxels=[1, 0], x=0.0, y=0.0, z=0.0)
    listed.to_csv(table, sep="\t", index=False)
    assert load_atlas(image, table)[2]["name"].tolist() == ["a", "small"]


def test_region_means_keep_order_and_missing_regions():
    labels = np.zeros((7, 8, 9), np.int32)
    labels[0], labels[1], labels[2] = 500, 3, 128
    table = pd.DataFrame({"index": [128, 500, 77, 3], "name": list("abcd")})
    data = np.arange(7)[:, None, None, None] * np.ones((7, 8, 9, 2)) + [0, 10]
    data[1, 0, 0, 1] = np.nan
    mask = np.ones((7, 8, 9), bool)
    mask[0, :4] = False
    means, coverage = region_means(data, labels, table, mask=mask)
    assert np.array_equal(means, [[2, 0, np.nan, 1], [12, 10, np.nan, 11]], equal_nan=True)
    assert np.allclose(coverage, [1, 0.5, 0, 71 / 72])
