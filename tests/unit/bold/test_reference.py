"""Steady state and the intensity mask."""

import numpy as np
import pytest

from neurobraid.bold.reference import brain_mask, count_non_steady


def run(rng, excess=()):
    data = rng.normal(1000, 5, (6, 7, 8, 70)).astype(np.float32)
    data *= 1 + 0.002 * np.linspace(-1, 1, 70, dtype=np.float32)
    for t, value in enumerate(excess):
        data[..., t] *= 1 + value
    return data


@pytest.mark.parametrize(("excess", "count"), [((), 0), ((0.4, 0.12, 0.04), 3), ((0.0, 0.3), 0)])
def test_non_steady_volumes(excess, count):
    assert count_non_steady(run(np.random.default_rng(0), excess)) == count


def test_never_more_than_a_quarter():
    data = run(np.random.default_rng(0), [0.5] * 9)[..., :12]
    assert count_non_steady(data) <= 3


def test_darker_start_and_spike_do_not_count():
    data = run(np.random.default_rng(1))
    data[..., 0] *= 0.9
    data[..., 20] *= 1.3
    assert count_non_steady(data) == 0


def test_brain_mask_with_shading_and_scalp():
    zooms = np.array([3.0, 3.5, 4.0])
    shape = (60, 62, 40)
    x, y, z = (np.indices(shape).T * zooms).T
    x, y, z = x - 88, y - 105, z - 76
    r = np.sqrt((x / 64) ** 2 + (y / 80) ** 2 + (z / 58) ** 2)
    truth = r < 1
    image = np.where(truth, 800.0, 0.0)
    image[(r > 1.08) & (r < 1.13)] = 300.0  # scalp
    image *= 1 + 0.5 * x / 64  # one coil is three times as near
    image += np.abs(np.random.default_rng(0).normal(0, 25, shape))
    mask = brain_mask(image, zooms)
    dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
    assert dice > 0.96
