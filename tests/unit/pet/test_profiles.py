"""Profiles through a head that moves: edges jump before the correction and are straight after it."""

import numpy as np
import pytest

from neurobraid.images.transforms import apply_affine
from neurobraid.pet import profiles

SHAPE = (30, 36, 28)
AFFINE = np.array([[4.0, 0, 0, -60], [0, 4.0, 0, -72], [0, 0, 4.0, -56], [0, 0, 0, 1]])
SHIFT = 8.0


@pytest.fixture(scope="module")
def moved():
    """A block of activity 10 that is 8 mm further to the right and 8 mm higher in the second frame, and its profiles."""
    block = np.zeros(SHAPE, np.float32)
    block[8:22, 8:28, 8:20] = 10.0
    points = apply_affine(AFFINE, np.argwhere(block > 0))
    series = np.stack([block, 2 * np.roll(block, (2, 2), axis=(0, 2))], axis=-1)
    matrices = np.tile(np.eye(4), (2, 1, 1))
    matrices[1, :3, 3] = [SHIFT, 0, SHIFT]
    return profiles.profiles(series, AFFINE, matrices, np.eye(4), points)


def edge(table, kind, axis, frame):
    """Position where a profile falls to half at its upper end, mm."""
    part = table[(table["correction"] == kind) & (table["axis"] == axis)]
    values = part[f"frame_{frame}"].to_numpy()
    return part["position_mm"].to_numpy()[values > 0.5 * values.max()].max()


def test_motion_is_seen_before_and_gone_after(moved):
    for axis, far in (("x", SHIFT), ("y", 0.0), ("z", SHIFT)):
        before = edge(moved, "before", axis, 1) - edge(moved, "before", axis, 0)
        after = edge(moved, "after", axis, 1) - edge(moved, "after", axis, 0)
        assert before == pytest.approx(far, abs=profiles.STEP_MM), axis
        assert after == 0, axis


def test_values_are_activity_and_lines_reach_beyond_the_brain(moved):
    assert list(moved.columns) == ["correction", "axis", "position_mm", "frame_0", "frame_1"]
    assert moved["frame_0"].max() == pytest.approx(10)
    assert moved["frame_1"].max() == pytest.approx(20)
    assert moved["frame_0"].min() == 0
    for _, part in moved.groupby(["correction", "axis"]):
        steps = np.diff(part["position_mm"])
        assert steps == pytest.approx(profiles.STEP_MM)


def test_four_digits_are_kept():
    assert profiles._digits([1234.56, 0.00123456, 0.0]).tolist() == pytest.approx([1235.0, 0.001235, 0.0])
