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


def test_score_in_place_beats_every_wrong_orientation_and_a_wrong_place_does_not():
    truth = compose(SHIFTS[0], phantom.CENTER)
    _, t1w, brain, affine = phantom.tissues()
    timing = phantom.frames()
    late = timing.end > 120
    series = phantom.scan(np.tile(np.eye(4), (len(timing), 1, 1)), truth, noise=0.1)
    petref = motion.weighted_mean(series[..., late], timing.duration[late])
    score, null = coregistration.against_chance(petref, phantom.AFFINE, truth, t1w, affine, brain)
    assert null.shape == (23,)
    assert score > null.max() + 0.1
    assert (score - null.mean()) / null.std(ddof=1) > 5
    # turned by 90 degrees it is one of its own null
    turn = np.eye(4)
    turn[:3, :3] = coregistration.orientations()[5]
    middle = apply_affine(affine, np.argwhere(brain)).mean(axis=0)
    turn[:3, 3] = middle - turn[:3, :3] @ middle
    wrong, _ = coregistration.against_chance(petref, phantom.AFFINE, truth @ turn, t1w, affine, brain)
    assert np.abs(null - wrong).min() < 1e-3
    assert wrong < score - 0.1


def test_orientations_are_the_turns_of_a_cube():
    turns = coregistration.orientations()
    assert len(turns) == 23
    assert np.allclose(np.linalg.det(turns), 1)
    assert len({turn.tobytes() for turn in turns}) == 23
    assert not any(np.array_equal(turn, np.eye(3)) for turn in turns)


def test_mutual_information_of_independent_and_of_equal_samples():
    rng = np.random.default_rng(2)
    first, second = rng.standard_normal((2, 20000))
    assert coregistration.mutual_information(first, second) < 0.04
    # a monotone change of grey levels keeps it near its largest value
    assert coregistration.mutual_information(first, np.exp(first)) > 1.5
