"""Tests of neurobraid.pet.motion."""

import numpy as np
import pytest

from neurobraid.images.rigid import compose, displacement
from neurobraid.images.transforms import apply_affine
from neurobraid.pet import motion
from neurobraid.pet.frames import Frames

from . import phantom


@pytest.fixture(scope="module")
def moving():
    """Scan with known poses, and brain points."""
    poses = phantom.poses()
    *_, brain, affine = phantom.tissues()
    return phantom.scan(poses, np.eye(4), noise=0.05), poses, apply_affine(affine, np.argwhere(brain)[::97])


def test_known_motion_is_recovered(moving):
    series, truth, points = moving
    timing = phantom.frames()
    found, reference, estimated = motion.estimate(series, phantom.AFFINE, timing)
    assert estimated.tolist() == (timing.end > 120).tolist()

    def against_last(matrices):
        return np.array([m @ np.linalg.inv(matrices[-1]) for m in matrices])

    error, _ = displacement(against_last(found), against_last(truth), apply_affine(truth[-1], points))
    still, _ = displacement(
        against_last(np.tile(np.eye(4), (len(truth), 1, 1))),
        against_last(truth),
        apply_affine(truth[-1], points),
    )
    # uptake that moves from the back of the brain to the front looks like a shift to least squares with one gain
    naive, *_ = motion.estimate(series, phantom.AFFINE, timing, passes=1)
    shifted, _ = displacement(against_last(naive), against_last(truth), apply_affine(truth[-1], points))
    assert still[estimated].mean() > 1.0
    assert shifted[estimated].mean() > 1.0
    assert error[estimated].mean() < 0.4
    assert error[estimated].max() < 0.7
    # frames too early to estimate take the first estimate
    first = np.argmax(estimated)
    np.testing.assert_array_equal(found[:first], np.repeat(found[first : first + 1], first, axis=0))
    assert reference.shape == phantom.SHAPE


def test_data_are_not_changed_and_nan_is_no_obstacle(moving):
    series, _, _ = moving
    with_nan = series.copy()
    with_nan[:2] = np.nan
    before = with_nan.copy()
    found, reference, _ = motion.estimate(with_nan, phantom.AFFINE, phantom.frames(), passes=1)
    np.testing.assert_array_equal(with_nan, before)
    assert np.isfinite(found).all()
    assert np.isfinite(reference).all()


def test_one_frame_does_not_move():
    timing = Frames(np.array([3600.0]), np.array([4800.0]), np.ones(1), 1.0, 109.77)
    series = np.random.default_rng(0).random((7, 8, 9, 1), dtype=np.float32)
    found, reference, estimated = motion.estimate(series, np.diag([2.0, 3.0, 4.0, 1.0]), timing)
    np.testing.assert_array_equal(found, np.eye(4)[None])
    np.testing.assert_allclose(reference, series[..., 0])
    assert estimated.tolist() == [True]


def test_frames_that_end_before_the_start_are_not_estimated():
    timing = Frames(np.array([0.0, 60.0, 120.0]), np.array([60.0, 120.0, 240.0]), np.ones(3), 1.0, 20.364)
    assert motion.estimable(timing, 2.0).tolist() == [False, False, True]
    assert motion.estimable(timing, 1.5).tolist() == [False, True, True]
    assert motion.estimable(timing, 60.0).tolist() == [True, True, True]


def test_framewise_displacement_is_the_sum_of_absolute_steps():
    center = np.array([5.0, -20.0, 10.0])
    values = np.array([[0.0] * 6, [1.0, -0.5, 0, 0, 0, 0.01], [1.0, -0.5, 0, 0.02, 0, 0.01]])
    table = motion.confounds(compose(values, center), center)
    assert np.isnan(table["framewise_displacement"][0])
    np.testing.assert_allclose(table["framewise_displacement"][1:], [1.5 + 50 * 0.01, 50 * 0.02], rtol=1e-6)
    np.testing.assert_allclose(table["rot_z"], [0, 0.01, 0.01], atol=1e-9)


def test_weighted_mean_weighs_by_duration():
    data = np.stack([np.full((2, 3, 4), 1.0), np.full((2, 3, 4), 4.0)], axis=-1).astype(np.float32)
    np.testing.assert_allclose(motion.weighted_mean(data, np.array([60.0, 30.0])), 2.0)


def test_local_gain_takes_the_pattern_and_leaves_the_edges():
    rng = np.random.default_rng(0)
    reference = np.zeros((24, 26, 28), np.float32)
    reference[4:20, 4:22, 4:24] = 1 + 0.3 * rng.random((16, 18, 20), dtype=np.float32)
    pattern = np.linspace(0.5, 2.0, 26, dtype=np.float32)[None, :, None]
    got = motion.local_gain(reference * pattern, reference, reference > 0, np.diag([4.0, 4.0, 4.0, 1.0]))
    inside = np.s_[6:18, 8:18, 6:22]
    np.testing.assert_allclose(got[inside], (reference * pattern)[inside], rtol=0.03)
    assert (got[reference == 0] == 0).all()
