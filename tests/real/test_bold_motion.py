"""Head motion, mask and steady state of a real recording."""

import json

import numpy as np
import pytest

from neurobraid.bold.motion import head_motion
from neurobraid.bold.reference import count_non_steady, make_reference
from neurobraid.bold.series import read_series
from neurobraid.images.rigid import parameters

pytestmark = pytest.mark.real


def test_localizer_run(real_data):
    base = real_data / "studyforrest-localizer-small/sub-02/func/sub-02_task-objectcategories_run-1_bold"
    series = read_series(f"{base}.nii.gz", json.loads(base.with_suffix(".json").read_text()))
    assert series.tr == 2.0
    assert series.slice_times is None
    assert count_non_steady(series.data) == 0
    reference, index, mask = make_reference(series, 0)
    # a man's brain, without the part below the field of view
    assert 1.3 < mask.sum() * np.prod(series.zooms) / 1e6 < 1.8
    motion = head_motion(series.data, series.affine, reference, mask)
    center = series.affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + series.affine[:3, 3]
    values = parameters(motion, center)
    # the participant hardly moved; the slow drift to the left is 0.3 to 0.4 mm
    assert np.abs(values[:, :3]).max() < 0.6
    assert np.degrees(np.abs(values[:, 3:])).max() < 0.6
    assert 0.25 < abs(values[-1, 0] - values[0, 0]) < 0.55
    assert np.abs(values[index]).max() < 0.02
    # no jitter that a resting head does not have
    assert np.median(np.abs(np.diff(values[:, :3], axis=0))) < 0.06
