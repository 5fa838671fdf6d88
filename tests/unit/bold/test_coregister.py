"""Grey-white boundary and the refinement on it."""

import numpy as np
import pytest

from neurobraid.bold.coregister import BoundaryCost, refine, white_boundary
from neurobraid.images.rigid import compose, displacement

from .head import CENTER, bold_signal, grid, tissues, world


@pytest.fixture(scope="module")
def boundary():
    shape, affine = (66, 78, 60), grid((2.2, 2.2, 2.2), (66, 78, 60), turn=0.1)
    _, wm, gm = (v.reshape(shape) for v in tissues(world(shape, affine)))
    return white_boundary(wm, gm, affine, limit=6000)


def test_points_lie_on_the_boundary_and_normals_point_outwards(boundary):
    points, normals = boundary
    assert 2000 < len(points) <= 6000
    csf, wm, _ = tissues(points)
    assert np.abs(wm - 0.5).mean() < 0.05
    assert np.allclose(np.linalg.norm(normals, axis=1), 1.0)
    assert (tissues(points + 3 * normals)[2] > tissues(points - 3 * normals)[2]).mean() > 0.99
    assert csf.max() < 0.3  # none at the ventricles


def make_bold(position, zooms=(3.4, 3.4, 3.8), invert=False):
    shape = (44, 50, 36)
    affine = grid(zooms, shape, turn=-0.1)
    back = np.linalg.inv(position)
    home = world(shape, affine) @ back[:3, :3].T + back[:3, 3]
    values = bold_signal(home)
    if invert:
        csf, wm, gm = tissues(home)
        values = 700 * gm + 850 * wm + 500 * csf
    values = values + np.random.default_rng(0).normal(0, 10, len(values))
    return values.reshape(shape).astype(np.float32), affine


@pytest.mark.parametrize("invert", [False, True])
def test_refinement_finds_the_position(boundary, invert):
    points, normals = boundary
    truth = compose([1.0, 2.0, -1.0, 0.02, 0.03, -0.02], CENTER)
    image, affine = make_bold(truth, invert=invert)
    start = truth @ compose([1.5, -1.5, 1.2, 0.02, -0.02, 0.015], CENTER)
    found, before, after, sign = refine(image, affine, points, normals, start, floor=200.0)
    assert sign == (-1.0 if invert else 1.0)
    assert after < before
    distance, angle = displacement(found[None], truth[None], points)
    assert displacement(start[None], truth[None], points)[0][0] > 2.0
    assert distance[0] < 0.35
    assert angle[0] < 0.3


def test_a_refinement_that_runs_away_is_refused(boundary):
    points, normals = boundary
    image, affine = make_bold(np.eye(4))
    noise = np.random.default_rng(3).normal(500, 1, image.shape).astype(np.float32)
    found, before, after, _ = refine(noise, affine, points, normals, np.eye(4), floor=10.0)
    assert after <= before
    if after == before:
        assert np.array_equal(found, np.eye(4))
    assert displacement(found[None], np.eye(4)[None], points)[0][0] < 20.0


def test_contrast_is_percent_and_lost_points_count_one(boundary):
    points, normals = boundary
    image, affine = make_bold(np.eye(4))
    # far outside the image there is nothing to see
    away = np.eye(4)
    away[0, 3] = 1000.0
    cost = BoundaryCost(image, affine, points, normals, 200.0)
    assert np.isnan(cost.contrast(away)).all()
    assert cost(away, 1.0, 0.5) == 1.0
    grey, white = bold_signal(points + 2 * normals), bold_signal(points - 2 * normals)
    truth = np.median(200 * (grey - white) / (grey + white))
    assert truth > 8
    assert np.nanmedian(cost.contrast(np.eye(4))) == pytest.approx(truth, abs=1.0)
    assert cost(np.eye(4), 1.0, 0.5) < 0.1
