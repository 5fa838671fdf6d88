"""Grey-matter volumes against volumes known by construction."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.files import read_json, read_tsv, write_tsv
from neurobraid.fusion import structure
from neurobraid.fusion.structure import labels_in_person, region_structure, write_structure
from neurobraid.images.io import save
from neurobraid.images.transforms import Warp, apply_affine, write_warp

SCALE = np.diag([1.2, 0.9, 1.1, 1.0])
NOTHING = np.zeros((3, 4, 5, 3), np.float32)
TO_PERSON = Warp(SCALE, NOTHING, np.eye(4))
TO_TEMPLATE = Warp(np.linalg.inv(SCALE), NOTHING, np.eye(4))


def atlas():
    labels = np.zeros((7, 8, 9), np.int32)
    labels[1:3, 2:4, 3:5] = 700
    labels[4:6, 2:6, 3:5] = 12
    labels[6, 7, 8] = 301
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    # the table's order is not the order of the labels
    table = pd.DataFrame({"index": [700, 12, 301], "name": ["big", "other", "corner"]})
    return labels, affine, table


def person(shape=(90, 80, 96), voxel=0.203):
    return np.ones(shape, np.float32), np.diag([voxel, voxel, voxel, 1.0])


def measure(grey, affine, **options):
    labels, labels_affine, table = atlas()
    placed = labels_in_person(grey.shape, affine, TO_PERSON, TO_TEMPLATE, labels, labels_affine)
    return region_structure(grey, affine, TO_PERSON, placed, labels, labels_affine, table, **options)


def test_volume_is_the_persons_not_the_templates(monkeypatch):
    monkeypatch.setattr(structure, "CHUNK", 100_003)
    grey, own = person()
    found = measure(0.5 * grey, own).set_index("name")
    change = 1.2 * 0.9 * 1.1
    assert list(found.index) == ["big", "other", "corner"]
    # voxels of 0.2 mm count a region's borders to within a few per cent
    assert found.loc["big", "volume_ml"] == pytest.approx(0.5 * 8 * 8 * change / 1000, rel=0.06)
    assert found.loc["other", "volume_ml"] == pytest.approx(0.5 * 16 * 8 * change / 1000, rel=0.06)
    assert found.loc["other", "region_ml"] == pytest.approx(16 * 8 * change / 1000, rel=0.06)
    np.testing.assert_allclose(found["density"], 0.5, rtol=1e-6)


def test_grey_matter_is_summed_where_it_is():
    labels, labels_affine, _ = atlas()
    rng = np.random.default_rng(0)
    grey, own = person()
    grey = rng.random(grey.shape).astype(np.float32)
    grey[3, 4, 5] = np.nan
    found = measure(grey, own).set_index("name")
    centers = apply_affine(
        np.linalg.inv(labels_affine),
        apply_affine(np.linalg.inv(SCALE), apply_affine(own, np.argwhere(grey > -1))),
    )
    near = np.rint(centers).astype(int)
    within = (near >= 0).all(1) & (near < labels.shape).all(1)
    label = np.zeros(len(near), int)
    label[within] = labels[tuple(near[within].T)]
    values = grey[grey > -1]
    assert found.loc["big", "volume_ml"] == pytest.approx(
        values[label == 700].sum() * 0.203**3 / 1000, rel=1e-4
    )


def test_region_outside_the_field_of_view_is_missing_not_zero():
    grey, own = person((90, 80, 50))
    found = measure(grey, own).set_index("name")
    assert found.loc["corner", "coverage"] == 0
    assert found.loc["corner", ["volume_ml", "density", "region_ml"]].isna().all()
    assert found.loc["big", "coverage"] == 1


def test_file_to_file(tmp_path):
    labels, affine, table = atlas()
    grey, own = person()
    save(grey, own, tmp_path / "gm.nii.gz")
    save(labels, affine, tmp_path / "atlas.nii.gz", dtype=np.int32)
    write_tsv(table, tmp_path / "atlas.tsv")
    write_warp(TO_PERSON, tmp_path / "a.h5")
    write_warp(TO_TEMPLATE, tmp_path / "b.h5")
    out = tmp_path / "sub-1_seg-a_desc-structure_morph.tsv"
    arguments = [tmp_path / n for n in ("gm.nii.gz", "a.h5", "b.h5", "atlas.nii.gz", "atlas.tsv")]
    names = {"table": out, "sidecar": out.with_suffix(".json"), "dseg": tmp_path / "dseg.nii.gz"}
    names |= {f"dseg_{kind}": tmp_path / f"dseg.{kind}" for kind in ("json", "tsv")}
    write_structure(*arguments, names)
    found = read_tsv(out)
    direct = measure(grey, own)
    np.testing.assert_allclose(found["volume_ml"], direct["volume_ml"], rtol=1e-3)
    described = read_json(out.with_suffix(".json"))["Columns"]
    assert set(described) == set(found.columns)
    image = nib.load(names["dseg"])
    assert image.shape == grey.shape
    placed = np.asarray(image.dataobj)
    # a voxel of the person whose centre lies in region 700 of the template
    point = apply_affine(SCALE, apply_affine(affine, [[1, 2, 3]]))
    assert placed[tuple(np.rint(apply_affine(np.linalg.inv(own), point)).astype(int)[0])] == 700
    assert set(np.unique(placed)) == {0, 12, 301, 700}
    assert list(read_tsv(names["dseg_tsv"])["name"]) == list(table["name"])
