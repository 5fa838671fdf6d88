"""Atlases from the user's files and from a stand-in for nilearn's fetchers."""

import sys
from types import ModuleType, SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError, InputErrors
from neurobraid.images.atlas import COLUMNS
from neurobraid.images.atlas_sources import fetch, prepare_atlas, to_grid
from neurobraid.images.templates import grid, template

VALUES = {3: "front", 300: "back", 70000: "top"}


@pytest.fixture(scope="module")
def labelled():
    """Labels with gaps, above 255 and above 16 bits, in the template's brain at 4 mm."""
    shape, affine = grid(4)
    brain = np.asarray(template("brain", 4).dataobj) > 0
    y, z = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
    labels = np.where(y > shape[1] // 2, 3, 300)
    labels = np.where(z > 0.65 * shape[2], 70000, labels)
    return np.where(brain, labels[None], 0).astype(np.int32), affine


def write(folder, labels, affine, names=VALUES, dtype=np.int32):
    nib.Nifti1Image(labels.astype(dtype), affine).to_filename(folder / "a.nii.gz")
    rows = pd.DataFrame({"index": list(names), "name": list(names.values())})
    rows.to_csv(folder / "a.tsv", sep="\t", index=False)
    return {"image": folder / "a.nii.gz", "table": folder / "a.tsv"}


@pytest.mark.parametrize("dtype", [np.int32, np.float64])
def test_user_atlas_keeps_large_labels_and_gaps(tmp_path, labelled, dtype):
    labels, affine = labelled
    record = {"name": "mine", "kind": "files"}
    out, target, table, notes = prepare_atlas(
        record, resolution=4, **write(tmp_path, labels, affine, dtype=dtype)
    )
    assert out.dtype == np.int32
    assert np.array_equal(out, labels)
    assert np.allclose(target, affine)
    assert list(table["index"]) == list(VALUES)
    assert list(table.columns) == [*COLUMNS, "voxels"]
    assert list(table["voxels"]) == [(labels == value).sum() for value in VALUES]
    # centres lie where the regions are: y of the front above y of the back, top above both
    assert table["y"][0] > table["y"][1]
    assert table["z"][2] > table["z"][:2].max()
    assert notes["SourceFiles"] == ["a.nii.gz", "a.tsv"]


def test_label_missing_from_the_image_is_named(tmp_path, labelled):
    files = write(tmp_path, *labelled, names={**VALUES, 41: "amygdala"})
    with pytest.raises(InputErrors) as error:
        prepare_atlas({"name": "mine", "kind": "files"}, resolution=4, **files)
    assert "label 41 (amygdala)" in str(error.value)
    assert "not in the image" in str(error.value)
    assert str(error.value).startswith("1 problem ")


def test_labels_without_a_name_are_no_region(tmp_path, labelled):
    files = write(tmp_path, *labelled, names={3: "front"})
    out, _, table, _ = prepare_atlas({"name": "mine", "kind": "files"}, resolution=4, **files)
    assert set(np.unique(out)) == {0, 3}
    assert len(table) == 1


def test_atlas_in_another_place_is_refused(tmp_path, labelled):
    labels, affine = labelled
    moved = affine.copy()
    moved[1, 3] += 150
    with pytest.raises(
        InputError, match=r"position is \d+% of its voxels inside the brain of MNI152NLin2009aSym"
    ):
        prepare_atlas({"name": "mine", "kind": "files"}, resolution=4, **write(tmp_path, labels, moved))


def test_other_grid_and_orientation_give_the_same_regions(tmp_path, labelled):
    labels, affine = labelled
    flipped = affine @ np.array([[-1, 0, 0, labels.shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    files = write(tmp_path, labels[::-1], flipped)
    out = prepare_atlas({"name": "mine", "kind": "files"}, resolution=4, **files)[0]
    assert np.array_equal(out, labels)


def test_region_too_small_for_the_grid_stays_in_the_table(tmp_path):
    _, affine = grid(2)
    labels = np.where(np.asarray(template("brain", 2).dataobj) > 0, 1, 0).astype(np.int32)
    # one voxel of 2 mm between the centres of the 4 mm grid
    labels[41, 51, 41] = 9
    files = write(tmp_path, labels, affine, {1: "brain", 9: "speck"})
    out, _, table, notes = prepare_atlas({"name": "mine", "kind": "files"}, resolution=4, **files)
    assert list(table["name"]) == ["brain", "speck"]
    assert list(table["voxels"] > 0) == [True, False]
    assert notes["RegionsLostByResampling"] == ["speck"]
    assert 9 not in out


def test_nearest_neighbour_against_world_coordinates():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 1000, (7, 8, 9)).astype(np.int32)
    affine = np.diag([2.0, 3.0, 2.5, 1.0])
    affine[:3, 3] = -5, -9, -8
    target = np.diag([1.5, 1.5, 1.5, 1.0])
    target[:3, 3] = -7, -8, -9
    out = to_grid(labels, affine, (9, 10, 11), target)
    for ijk in np.ndindex(9, 10, 11):
        world = target @ [*ijk, 1.0]
        source = np.linalg.solve(affine, world)[:3]
        nearest = np.floor(source + 0.5 - 1e-6).astype(int)
        inside = ((nearest >= 0) & (nearest < labels.shape)).all()
        assert out[ijk] == (labels[tuple(nearest)] if inside else 0)


def test_builtin(tmp_path):
    labels, _, table, notes = prepare_atlas({"name": "braid100", "kind": "builtin"}, resolution=4)
    assert labels.shape == grid(4)[0]
    assert 90 <= len(table) <= 110
    assert set(np.unique(labels)) - {0} <= set(table["index"])
    assert notes["Kind"] == "builtin"


def stand_in(monkeypatch, function, result):
    calls = []

    def call(**arguments):
        calls.append(arguments)
        if isinstance(result, Exception):
            raise result
        return result

    module = ModuleType("nilearn.datasets")
    setattr(module, function, call)
    package = sys.modules.get("nilearn") or ModuleType("nilearn")
    monkeypatch.setitem(sys.modules, "nilearn", package)
    monkeypatch.setitem(sys.modules, "nilearn.datasets", module)
    return calls


def test_fetched_atlas(monkeypatch, tmp_path, labelled):
    labels, affine = labelled
    nib.Nifti1Image(labels, affine).to_filename(tmp_path / "s.nii.gz")
    lut = pd.DataFrame({"index": [0, *VALUES, 12], "name": ["Background", *VALUES.values(), "nowhere"]})
    atlas = SimpleNamespace(maps=str(tmp_path / "s.nii.gz"), lut=lut, template="MNI152NLin6Asym")
    calls = stand_in(monkeypatch, "fetch_atlas_schaefer_2018", atlas)
    record = {"name": "s", "kind": "fetch", "fetcher": "schaefer_2018", "parameters": {"n_rois": 200}}
    out, _, table, notes = prepare_atlas(record, resolution=4)
    assert calls == [{"n_rois": 200, "yeo_networks": 7, "resolution_mm": 2}]
    assert np.array_equal(out, labels)
    assert list(table["name"]) == list(VALUES.values())
    assert notes["LabelsWithoutVoxels"] == ["nowhere"]
    assert notes["SourceSpace"] == "MNI152NLin6Asym"


def test_fetched_image_in_memory(monkeypatch, labelled):
    labels, affine = labelled
    lut = pd.DataFrame({"index": list(VALUES), "name": list(VALUES.values())})
    stand_in(
        monkeypatch,
        "fetch_atlas_harvard_oxford",
        SimpleNamespace(maps=nib.Nifti1Image(labels, affine), lut=lut),
    )
    out, _, table, arguments, space = fetch("harvard_oxford")
    assert np.array_equal(out, labels)
    assert arguments["symmetric_split"] is True
    assert (len(table), space) == (3, "n/a")


def test_no_network(monkeypatch):
    stand_in(monkeypatch, "fetch_atlas_aal", ConnectionError("name resolution failed"))
    with pytest.raises(InputError, match=r"atlases\.fetcher aal is not available") as error:
        fetch("aal")
    assert "kind: files" in str(error.value)


def test_refused_argument_and_unknown_name(monkeypatch):
    stand_in(monkeypatch, "fetch_atlas_schaefer_2018", ValueError("n_rois must be one of 100, 200"))
    with pytest.raises(InputError, match="n_rois must be one of 100, 200"):
        fetch("schaefer_2018", {"n_rois": 150})
    with pytest.raises(InputError, match="schaefer_2018, harvard_oxford"):
        fetch("gordon")


def test_defaults_fit_the_installed_nilearn():
    import inspect

    from nilearn import datasets

    from neurobraid.images.atlas_sources import FETCHERS

    for function, arguments in FETCHERS.values():
        assert set(arguments) <= set(inspect.signature(getattr(datasets, function)).parameters)
