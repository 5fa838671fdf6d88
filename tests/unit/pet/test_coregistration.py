"""Tests of neurobraid.pet.coregistration."""

import numpy as np
import pytest

from neurobraid.images.rigid import compose
from neurobraid.images.transforms import apply_affine
from neurobraid.pet import coregistration, motion

from . import phantom

SHIFTS = [
    np.array([4.0, -6.0, 5.0, 0.06, -0.04, 0.08]),
    np.array([-3.0, 8.0, -4.0, -0.12, 0.05, -0.06]),
]


@pytest.mark.parametrize("values", SHIFTS)
def test_known_position_is_recovered(values):
    truth = compose(values, phantom.CENTER)
    classes, t1w, brain, affine = phantom.tissues()
    timing = phantom.frames()
    late = timing.end > 120
    still = np.tile(np.eye(4), (len(timing), 1, 1))
    series = phantom.scan(still, truth, noise=0.1)
    petref = motion.weighted_mean(series[..., late], timing.duration[late])
    points = apply_affine(affine, np.argwhere(brain)[::97])

    def error(matrix):
        return np.linalg.norm(apply_affine(matrix, points) - apply_affine(truth, points), axis=1).mean()

    first, score = coregistration.to_anatomy(petref, phantom.AFFINE, t1w, affine, brain)
    refined = coregistration.refine(petref, phantom.AFFINE, first, classes, affine)
    assert error(np.eye(4)) > 8
    assert score > 0
    assert error(first) < 1.5
    assert error(refined) < 0.5
