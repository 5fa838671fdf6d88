"""Heads: tissue where the stored correspondence says, and a head around it."""

import numpy as np

from neurobraid.images.io import data, load
from neurobraid.images.resample import grid_points, sample
from neurobraid.images.templates import grid, template
from neurobraid.images.transforms import apply_affine, read_warp
from neurobraid.synth.anatomy import AIR, BONE, EYE, FAT, MARROW, SKIN, head, head_grid
from neurobraid.synth.geometry import random_deformation


def test_tissue_is_where_the_stored_warp_says(tiny):
    for person in ("sub-01", "sub-04"):
        out = tiny.files(person, "T1w")
        labels = load(out["dseg"])
        points = read_warp(out["to_t1w"]).apply(grid_points(labels.shape, labels.affine))
        ijk = apply_affine(np.linalg.inv(grid(2.0)[1]), points)
        grey, white = (sample(np.asarray(template(k, 2.0).dataobj), ijk, 1) for k in ("GM", "WM"))
        found = data(labels, np.int16).ravel()
        assert (found[(grey > 0.7)] == 1).mean() > 0.98
        assert (found[(white > 0.7)] == 2).mean() > 0.98
        back = read_warp(out["to_mni"]).apply(points)
        inside = found > 0
        gap = np.linalg.norm(back - grid_points(labels.shape, labels.affine), axis=1)[inside]
        assert gap.mean() < 0.1


def test_contrast_is_that_of_a_t1w_image(tiny):
    for person in ("sub-01", "sub-03_ses-1"):
        out = tiny.files(person, "T1w")
        image, labels = data(out["image"]), data(out["dseg"], np.int16)
        means = [image[labels == k].mean() for k in (1, 2, 3)]
        assert means[1] > 1.15 * means[0] > 1.5 * means[2]
        corner = image[:4, :4, -4:]
        assert corner.mean() < 0.06 * means[1]
        assert corner.std() > 0


def test_sites_differ_in_orientation(tiny):
    import nibabel as nib

    codes = {}
    for row in tiny.design.participants.to_dict("records"):
        scan = row["participant_id"] + ("_ses-1" if row["participant_id"] == "sub-03" else "")
        codes.setdefault(row["site"], set()).add(
            "".join(nib.aff2axcodes(load(tiny.files(scan, "T1w")["image"]).affine))
        )
    assert codes == {"A": {"RAS"}, "B": {"PSR"}}


def test_brain_is_wrapped_in_bone_and_fat():
    forward, backward = random_deformation(np.random.default_rng(2))
    shape, affine = head_grid(4.0, high=(92.0, 98.0, 112.0))
    anatomy = head(forward, shape, affine, resolution=2.0)
    brain = anatomy.fractions.sum(0)
    assert brain.max() <= 1.0001
    assert anatomy.fractions.min() >= 0
    # outward from the vertex: brain, bone, fat, air, in this order
    line = backward.apply(np.column_stack([np.full(60, 10.0), np.full(60, -20.0), np.linspace(40, 105, 60)]))
    ijk = np.rint(apply_affine(np.linalg.inv(affine), line)).astype(int)
    ijk = ijk[(ijk < shape).all(1)]
    flat = np.ravel_multi_index(ijk.T, shape)
    kinds = [("brain",) if brain[n] > 0.5 else (int(anatomy.material[n]),) for n in flat]
    layers = [("brain",), (BONE, MARROW), (FAT, SKIN), (AIR,)]
    first = [next(i for i, kind in enumerate(kinds) if kind[0] in layer) for layer in layers]
    assert first == sorted(set(first))
    assert (anatomy.material == EYE).sum() * 64 > 3000  # two eyes of about 7 mL, partly at this grid
