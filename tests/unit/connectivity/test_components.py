"""Components of a group against planted sources."""

import numpy as np
import pytest

from neurobraid.connectivity import components
from neurobraid.errors import InputError


@pytest.fixture(scope="module")
def group():
    rng = np.random.default_rng(0)
    mask = np.ones((12, 11, 6), bool)
    truth = np.zeros((3, *mask.shape))
    truth[0, 1:5, 1:5, 1:4], truth[1, 7:11, 1:5, 1:4], truth[2, 3:8, 6:10, 2:5] = 1, 1, 1
    truth = truth.reshape(3, -1)
    scans = []
    for k in range(5):
        times = rng.standard_normal((60, 3))
        own = truth.copy()
        own[0] *= 1 + 0.5 * k
        scans.append((times, own, times @ own + 0.3 * rng.standard_normal((60, truth.shape[1]))))
    return mask, truth, scans


@pytest.mark.parametrize("method", ["ica", "dictionary"])
def test_planted_sources_come_back_in_group_and_person(group, method):
    mask, truth, scans = group
    reduced = [components.reduce(series, 6) for *_, series in scans]
    maps = components.decompose(reduced, mask, np.eye(4), 3, method, seed=1)
    similar = np.abs(np.corrcoef(maps, truth)[:3, 3:])
    match = similar.argmax(0)
    assert sorted(match) == [0, 1, 2] and similar.max(0).min() > 0.85
    np.testing.assert_allclose(maps.std(1), 1)
    again = components.decompose(reduced, mask, np.eye(4), 3, method, seed=1)
    np.testing.assert_array_equal(maps, again)
    strengths = []
    for times, _, series in scans:
        found, own = components.dual_regression(series, maps)
        for k in range(3):
            assert abs(np.corrcoef(found[:, match[k]], times[:, k])[0, 1]) > 0.95
        strengths.append(own[match[0]][truth[0] > 0].mean())
    assert np.corrcoef(strengths, [1, 1.5, 2, 2.5, 3])[0, 1] > 0.97


def test_dual_regression_with_the_true_maps_is_least_squares(group):
    _, truth, scans = group
    times, own, series = scans[2]
    found, maps = components.dual_regression(series, truth)
    for k in range(3):
        assert np.corrcoef(found[:, k], times[:, k])[0, 1] > 0.99
        assert np.corrcoef(maps[k], own[k])[0, 1] > 0.97


def test_unknown_method(group):
    mask, _, scans = group
    with pytest.raises(InputError, match="ica, dictionary"):
        components.decompose([scans[0][2]], mask, np.eye(4), 2, "nmf")
