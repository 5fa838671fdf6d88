"""Both jobs on a head in a known shape: files, overlap with the truth, units."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from neurobraid.anat import steps
from neurobraid.anat.brain import dice
from neurobraid.errors import InputError
from neurobraid.files import read_json
from neurobraid.images.resample import resample_image
from neurobraid.images.templates import grid, template
from neurobraid.images.transforms import read_warp

MNI = "MNI152NLin2009aSym"
TISSUES = ("GM", "WM", "CSF")


def outputs(folder):
    """The outputs of both rules."""

    def several(pattern):
        return [folder / pattern.format(t) for t in TISSUES]

    return SimpleNamespace(
        t1w=folder / "desc-preproc_T1w.nii.gz",
        t1w_json=folder / "desc-preproc_T1w.json",
        mask=folder / "desc-brain_mask.nii.gz",
        mask_json=folder / "desc-brain_mask.json",
        forward=folder / "forward_xfm.h5",
        inverse=folder / "inverse_xfm.h5",
        dseg=folder / "dseg.nii.gz",
        dseg_json=folder / "dseg.json",
        probseg=several("label-{}_probseg.nii.gz"),
        probseg_json=several("label-{}_probseg.json"),
        mni_t1w=folder / "mni_T1w.nii.gz",
        mni_t1w_json=folder / "mni_T1w.json",
        mni_mask=folder / "mni_mask.nii.gz",
        mni_mask_json=folder / "mni_mask.json",
        mni_probseg=several("mni_label-{}_probseg.nii.gz"),
        mni_probseg_json=several("mni_label-{}_probseg.json"),
        qc=folder / "desc-anat_qc.json",
    )


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """A stretched and turned template in skull and scalp, voxels 2.5 x 2.4 x 2.6 mm, axes L, A, S."""
    folder = tmp_path_factory.mktemp("anat")
    shape = (76, 96, 82)
    affine = np.diag([-2.5, 2.4, 2.6, 1.0])
    affine[:3, 3] = [95, -130, -95]
    c, s = np.cos(0.12), np.sin(0.12)
    to_mni = np.array([[1.06, 0, 0, 2], [0, c * 0.97, -s, -6], [0, s, c * 1.03, 9], [0, 0, 0, 1.0]])
    gm, wm, inside, t1w = (
        resample_image(template(k, 2.0), shape, affine, to_mni, order=1) for k in ("GM", "WM", "brain", "T1w")
    )
    inside = inside > 0.5
    away = ndimage.distance_transform_edt(~inside, sampling=(2.5, 2.4, 2.6))
    values = np.where(inside, t1w, 0) * 1000
    values[(away > 0) & (away <= 2.5)] = 150
    values[(away > 7) & (away <= 13)] = 900
    i, j, k = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    values = values * np.exp(0.2 * i - 0.15 * j * k) + np.random.default_rng(4).normal(0, 15, shape)
    source = folder / "raw_T1w.nii.gz"
    nib.save(nib.Nifti1Image(np.abs(values).astype(np.float32), affine), source)
    output = outputs(folder)
    steps.extract([source], output)
    steps.to_template(output.t1w, output.mask, output.mask_json, output, quality="fast", resolution=3.0)
    return output, {"GM": gm, "WM": wm, "brain": inside}, affine, to_mni


def values_of(path):
    return np.asarray(nib.load(path).dataobj)


def test_every_file_is_written(person):
    output, *_ = person
    for entry in vars(output).values():
        for path in entry if isinstance(entry, list) else [entry]:
            assert path.stat().st_size > 0


def test_brain_mask_is_the_brain(person):
    output, truth, _, _ = person
    assert dice(values_of(output.mask) > 0, truth["brain"][::-1]) > 0.97
    assert values_of(output.mask).dtype == np.uint8
    assert read_json(output.mask_json)["Quality"]["mask_agreement_dice"] > 0.95


def test_normalised_tissues_overlap_the_template(person):
    output, truth, affine, _ = person
    warp = read_warp(output.forward)
    shape, target = grid(3.0)
    for tissue in ("GM", "WM"):
        there = resample_image((truth[tissue], affine), shape, target, warp, order=1)
        assert dice(there > 0.5, np.asarray(template(tissue, 3.0).dataobj) > 0.5) > 0.88, tissue


def test_segmentation_overlaps_the_truth(person):
    output, truth, _, _ = person
    found = values_of(output.dseg)
    assert dice(found == 1, truth["GM"][::-1] > 0.5) > 0.80
    assert dice(found == 2, truth["WM"][::-1] > 0.5) > 0.85
    total = sum(values_of(p) for p in output.probseg)
    assert np.allclose(total, values_of(output.mask), atol=1e-4)


def test_transforms_are_inverse_and_near_the_planted_one(person):
    output, _, _, to_mni = person
    forward, inverse = read_warp(output.forward), read_warp(output.inverse)
    points = np.array([[0, 0, 0], [40, -60, 20], [-45, 20, 10], [10, -50, -30.0]])
    there = forward.apply(points)
    assert np.allclose(inverse.apply(there), points, atol=0.3)
    true = (np.linalg.inv(to_mni) @ np.c_[points, np.ones(4)].T).T[:, :3]
    assert np.linalg.norm(there - true, axis=1).max() < 4


def test_template_images_share_the_grid_asked_for(person):
    output, *_ = person
    shape, affine = grid(3.0)
    for path in (output.mni_t1w, output.mni_mask, *output.mni_probseg):
        image = nib.load(path)
        assert image.shape == shape
        assert np.allclose(image.affine, affine)
    inside = np.asarray(template("brain", 3.0).dataobj) > 0.5
    assert dice(values_of(output.mni_mask) > 0, inside) > 0.95


def test_quality_has_units_and_sense(person):
    output, truth, affine, _ = person
    found = read_json(output.qc)
    volume = truth["brain"].sum() * abs(np.linalg.det(affine[:3, :3])) / 1000
    # the outer rim of the template's brain is CSF as dark as bone
    assert found["volume_brain_mask_ml"] == pytest.approx(volume, rel=0.08)
    tissues = sum(found[f"volume_{t.lower()}_ml"] for t in TISSUES)
    assert tissues == pytest.approx(found["volume_brain_mask_ml"], rel=0.02)
    assert found["registration_correlation"] > 0.8
    names = (
        "cjv",
        "cnr",
        "efc",
        "fber",
        "fwhm_avg",
        "icvs_gm",
        "snr_total",
        "snr_wm",
        "snrd_total",
        "wm2max",
    )
    assert all(isinstance(found[name], float) for name in names), found
    assert 0 < found["efc"] < 1
    assert 0 < found["cjv"] < 1
    assert found["snrd_wm"] > found["snr_wm"], "air is darker than white matter is uneven"
    assert found["fber"] > 100
    assert found["registration_quality"] == "fast"


def test_nothing_is_written_of_a_bad_image(tmp_path):
    source = tmp_path / "in" / "T1w.nii.gz"
    source.parent.mkdir()
    nib.save(nib.Nifti1Image(np.full((9, 8, 7), np.nan, np.float32), np.eye(4)), source)
    with pytest.raises(InputError, match="NaN"):
        steps.extract([source], outputs(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
