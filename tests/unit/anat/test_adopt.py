"""fMRIPrep's anatomy under our names: values pass through, and the step between the templates is undone."""

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from neurobraid.anat.adopt import adopt
from neurobraid.anat.brain import dice
from neurobraid.errors import InputError
from neurobraid.files import read_json
from neurobraid.images.compose import compose, compose_inverse, follow
from neurobraid.images.resample import resample_image
from neurobraid.images.templates import grid, template
from neurobraid.images.transforms import Warp, apply_affine, read_warp, write_warp

from .test_steps import outputs, values_of

SHAPE = (80, 96, 82)


def bend(shape, affine, seed, amplitude):
    """A smooth displacement of at most `amplitude` mm, fading at the edge of the grid."""
    rng = np.random.default_rng(seed)
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), 10) for _ in range(3)], -1)
    return (field * amplitude / np.linalg.norm(field, axis=-1).max()).astype(np.float32)


def undo(warp):
    """Inverse of ``y -> y + displacement(y)`` by fixed-point iteration, as a field on the same grid."""
    from neurobraid.images.resample import grid_points

    points = grid_points(warp.displacement.shape, warp.affine)
    back = np.zeros_like(points)
    for _ in range(30):
        back = points + back - Warp(np.eye(4), warp.displacement, warp.affine).apply(points + back)
    return back.reshape(warp.displacement.shape).astype(np.float32)


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """Our template seen through an affine as the T1w; fMRIPrep's template is ours, bent by up to 4 mm."""
    folder = tmp_path_factory.mktemp("fmriprep")
    affine = np.diag([-2.4, 2.4, 2.4, 1.0])
    affine[:3, 3] = [95, -130, -92]
    c, s = np.cos(0.1), np.sin(0.1)
    to_mni = np.array([[1.05, 0, 0, 2], [0, c * 0.97, -s, -5], [0, s, c * 1.03, 7], [0, 0, 0, 1.0]])
    gm, wm, inside, t1w = (
        resample_image(template(k, 2.0), SHAPE, affine, to_mni, order=1) for k in ("GM", "WM", "brain", "T1w")
    )
    mask = inside > 0.5
    csf = np.where(mask, np.clip(1 - gm - wm, 0, 1), 0)
    t1w = np.abs(t1w * 1000 + np.random.default_rng(5).normal(0, 15, SHAPE) + 20)
    files = {}
    images = {"t1w": t1w, "mask": mask, "gm": gm * mask, "wm": wm * mask, "csf": csf}
    for name, values in images.items():
        files[name] = folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(values.astype(np.float32), affine), files[name])
    shape, target = grid(2.0)
    bent = Warp(np.linalg.inv(to_mni), bend(shape, target, 3, 4.0), target)
    files["forward"], files["inverse"] = folder / "forward.h5", folder / "inverse.h5"
    write_warp(bent, files["forward"])
    write_warp(Warp(to_mni, undo(bent), target, affine_first=True), files["inverse"])
    files["description"] = folder / "dataset_description.json"
    about = {"DatasetType": "derivative", "GeneratedBy": [{"Name": "fMRIPrep", "Version": "23.2.1"}]}
    files["description"].write_text(json.dumps(about))
    output = outputs(folder)
    output.correction = folder / "correction.h5"
    for name in ("forward", "inverse"):
        setattr(output, name, folder / f"ours_{name}.h5")
    adopt(files, output, resolution=3.0, quality="fast")
    return files, output, images, affine, to_mni


def test_values_pass_through_with_axes_turned(person):
    _, output, images, affine, _ = person
    written = nib.load(output.t1w)
    assert nib.aff2axcodes(written.affine) == ("R", "A", "S")
    np.testing.assert_array_equal(values_of(output.t1w), images["t1w"][::-1].astype(np.float32))
    np.testing.assert_array_equal(values_of(output.mask), images["mask"][::-1])
    for n, name in enumerate(("gm", "wm", "csf")):
        np.testing.assert_array_equal(values_of(output.probseg[n]), images[name][::-1].astype(np.float32))
    # the same voxel lies at the same place
    spot = apply_affine(affine, [10, 20, 30])
    np.testing.assert_allclose(apply_affine(written.affine, [SHAPE[0] - 11, 20, 30]), spot, atol=1e-4)


def test_labels_follow_the_probabilities(person):
    _, output, images, _, _ = person
    labels = values_of(output.dseg)[::-1]
    stack = np.stack([images[n] for n in ("gm", "wm", "csf")])
    sure = (stack.max(0) > 0.6) & images["mask"]
    np.testing.assert_array_equal(labels[sure], stack.argmax(0)[sure] + 1)
    assert not labels[~images["mask"]].any()
    assert read_json(output.dseg_json)["LabelMap"] == {"1": "GM", "2": "WM", "3": "CSF"}


def test_the_step_between_the_templates_is_undone(person):
    files, output, _, _, to_mni = person
    _, target = grid(2.0)
    points = apply_affine(target, np.argwhere(np.asarray(template("brain", 2.0).dataobj) > 0.5)[::11])
    truth = apply_affine(np.linalg.inv(to_mni), points)

    def distance(warp):
        return np.linalg.norm(warp.apply(points) - truth, axis=1).mean()

    before, after = distance(read_warp(files["forward"])), distance(read_warp(output.forward))
    assert before > 0.8 and after < 0.45 * before, (before, after)
    back = read_warp(output.inverse).apply(read_warp(output.forward).apply(points))
    assert np.linalg.norm(back - points, axis=1).mean() < 0.15
    found = read_json(output.qc)
    assert 0.3 < found["template_correction_mean_mm"] < 3 and found["composition_error_mm"] < 0.02
    assert found["inverse_error_mm"] < 0.15 and found["registration_correlation"] > 0.9


def test_images_in_template_space_fit_the_template(person):
    _, output, *_ = person
    for n, tissue in enumerate(("GM", "WM")):
        there = values_of(output.mni_probseg[n])
        assert dice(there > 0.5, np.asarray(template(tissue, 3.0).dataobj) > 0.5) > 0.9, tissue
    assert nib.load(output.mni_t1w).shape == grid(3.0)[0]


def test_sidecars_name_fmriprep(person):
    _, output, *_ = person
    for path in (output.t1w_json, output.mask_json, output.dseg_json, *output.mni_probseg_json):
        assert read_json(path)["PreprocessedBy"] == "fMRIPrep 23.2.1"
    assert "MNI152NLin2009cAsym" in read_json(output.mni_t1w_json)["Normalisation"]
    assert read_json(output.qc)["mask_source"] == "fMRIPrep 23.2.1"


def test_maps_of_another_grid_are_refused(person, tmp_path):
    files, output, *_ = person
    other = tmp_path / "gm.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)), other)
    with pytest.raises(InputError, match="from one run of fMRIPrep"):
        adopt({**files, "gm": other}, output)


def test_transform_of_someone_else_is_refused(person, tmp_path):
    files, output, *_ = person
    far = np.eye(4)
    far[:3, 3] = 900
    write_warp(Warp(far, np.zeros((2, 2, 2, 3), np.float32), np.eye(4)), tmp_path / "far.h5")
    with pytest.raises(InputError, match="belongs to this T1w"):
        adopt({**files, "forward": tmp_path / "far.h5"}, output)


def test_composed_chain_equals_its_parts():
    shape, affine = (24, 28, 22), np.diag([8.0, 8, 8, 1])
    affine[:3, 3] = [-92, -108, -84]
    first = Warp(np.eye(4), bend(shape, affine, 1, 3.0), affine)
    turn = np.array([[1.0, 0.05, 0, 3], [-0.05, 1, 0, 1], [0, 0, 1.02, -2], [0, 0, 0, 1]])
    second = Warp(turn, bend(shape, affine, 2, 3.0), affine)
    points = np.random.default_rng(0).uniform(-60, 60, (500, 3))
    forward = compose([first, second], shape, affine, turn)
    assert np.abs(forward.apply(points) - follow(points, [first, second])).max() < 0.15
    on_grid = apply_affine(affine, np.argwhere(np.ones(shape))[::97])
    assert np.abs(forward.apply(on_grid) - follow(on_grid, [first, second])).max() < 1e-4
    inverse = compose_inverse([np.linalg.inv(turn)], shape, affine, np.linalg.inv(turn))
    np.testing.assert_allclose(inverse.apply(points), apply_affine(np.linalg.inv(turn), points), atol=1e-4)


def test_composites_as_ants_writes_them_are_read(tmp_path):
    import SimpleITK as sitk

    rng = np.random.default_rng(1)
    field = sitk.GetImageFromArray(rng.normal(0, 1, (9, 10, 11, 3)), isVector=True)
    field.SetSpacing((12, 12, 12))
    field.SetOrigin((-60, -55, -50))
    first, second = (sitk.AffineTransform(3) for _ in range(2))
    first.SetMatrix((1.1, 0.02, 0, 0, 0.95, 0.1, 0, -0.1, 1))
    first.SetCenter((3.0, -4, 5))
    second.SetTranslation((4.0, -6, 2))
    composite = sitk.CompositeTransform([first, second, sitk.DisplacementFieldTransform(field)])
    sitk.WriteTransform(composite, str(tmp_path / "x.h5"))
    points = rng.uniform(-40, 40, (50, 3))
    lps = points * [-1, -1, 1]
    composite = sitk.ReadTransform(str(tmp_path / "x.h5"))
    truth = np.array([composite.TransformPoint(p.tolist()) for p in lps]) * [-1, -1, 1]
    np.testing.assert_allclose(read_warp(tmp_path / "x.h5").apply(points), truth, atol=1e-4)
