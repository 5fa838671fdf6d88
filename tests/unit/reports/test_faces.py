"""Pictures end near the brain, whatever space the image lives in."""

import numpy as np

from neurobraid.reports.faces import near_brain
from neurobraid.reports.planes import Volume


def test_nothing_far_from_the_brain_is_drawn():
    affine = np.diag([2.0, -2.5, 3.0, 1.0])
    shape = (40, 36, 30)
    mask = np.zeros(shape, np.float32)
    mask[15:25, 12:22, 10:20] = 1
    head = Volume(np.ones(shape, np.float32), affine)
    found = near_brain(head, Volume(mask, affine)).data
    assert found[mask > 0].all()
    assert found[15 - 4, 15, 15] == 1, "8 mm away"
    assert found[15 - 6, 15, 15] == 0, "12 mm away"
    assert found[0, 0, 0] == 0


def test_an_image_of_another_space_is_cut_in_the_shown_space():
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    mask = np.zeros((30, 31, 32), np.float32)
    mask[10:20, 10:20, 10:20] = 1
    shift = np.eye(4)
    shift[:3, 3] = [30, 0, -15]
    # a shown point p is seen at p + shift: voxel 10 to 19 of the mask lies at 20 to 29 along x, 5 to 14 along z
    moving = Volume(np.ones((45, 31, 32), np.float32), affine, shift)
    found = near_brain(moving, Volume(mask, affine))
    assert found.matrix is shift
    assert found.data[20:30, 10:20, 5:15].all()
    assert found.data[34:, :, :].sum() == 0
    assert found.data[:16].sum() == 0
