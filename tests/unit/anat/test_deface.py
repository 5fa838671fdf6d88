"""The face goes, the brain stays."""

import numpy as np
import pytest

from neurobraid.anat.deface import write_defaced
from neurobraid.files import read_json
from neurobraid.images.io import data, load, save
from neurobraid.images.transforms import write_warp
from neurobraid.synth.anatomy import _T1_INSIDE, _T1_OUTSIDE, AIR, head, head_grid
from neurobraid.synth.geometry import random_deformation


@pytest.mark.parametrize("seed", [1, 7])
def test_face_goes_and_brain_stays(tmp_path, seed):
    to_template, to_person = random_deformation(np.random.default_rng(seed))
    shape, affine = head_grid(3.0, low=(-92.0, -126.0, -140.0), high=(92.0, 120.0, 100.0))
    person = head(to_template, shape, affine, resolution=3.0)
    values = 100 + 700 * person.image(_T1_INSIDE, _T1_OUTSIDE)
    brain = (person.fractions.sum(0) > 0.5).reshape(shape)
    # eyes, nose, mouth and chin: what a neighbour would recognise
    y, z = person.mni[:, 1], person.mni[:, 2]
    face = ((person.material != AIR) & (y > 66) & (z < -25) & (z > -130)).reshape(shape) & ~brain
    paths = {
        name: tmp_path / name for name in ("t1w.nii.gz", "mask.nii.gz", "x.h5", "out.nii.gz", "out.json")
    }
    save(values.astype(np.float32), affine, paths["t1w.nii.gz"])
    save(brain, affine, paths["mask.nii.gz"], dtype=np.uint8)
    write_warp(to_person, paths["x.h5"])
    write_defaced(*paths.values())
    found, before = data(load(paths["out.nii.gz"])), data(load(paths["t1w.nii.gz"]))
    assert np.array_equal(found[brain], before[brain])
    assert face.sum() > 2000
    assert (found[face] == 0).mean() > 0.9
    # back of the head, ears and neck stay
    behind = ((person.material != AIR) & (y < -10)).reshape(shape)
    assert (found[behind] == before[behind]).mean() > 0.99
    assert read_json(paths["out.json"])["Defaced"] is True
