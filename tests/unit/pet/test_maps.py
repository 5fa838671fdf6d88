"""Tests of neurobraid.pet.maps on arrays."""

import numpy as np
import pytest

from neurobraid.pet import maps

from .curves import pair
from .test_linear_models import long_frames, noisy

SHARED = {"K2Prime1PerMin": 0.1, "TStarMin": {"refLogan": 30.0, "refmlLogan": 30.0, "refPatlak": 30.0}}
MODELS = list(maps.MEASURES)


@pytest.fixture(scope="module")
def found():
    """A small image: binding in one half, one voxel each of NaN, of nothing, never washing out and turning negative."""
    at = long_frames()
    reference, target = pair(at.start, at.end, 1.0, 0.1, 1.5)
    curves, w = noisy(target, at, 0.05, 5 * 6 * 7, seed=2)
    series = curves.astype(np.float32).reshape(5, 6, 7, -1)
    series[0, 0, 0, 9] = np.nan
    series[0, 0, 1] = 0
    series[0, 0, 2] = np.cumsum(reference * at.duration)
    series[0, 0, 3, -4:] = -1
    mask = np.ones((5, 6, 7), bool)
    mask[4] = False
    return maps.voxel_maps(
        series, mask, at, reference, w, models=MODELS, window_min=(40, 60), shared=SHARED
    ), mask  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_values_masks_and_notes(found, name):
    (images, fitted, valid, notes), mask = found
    first = images[name, maps.MEASURES[name][0]]
    assert set(images) >= {(name, m) for m in (*maps.MEASURES[name], *maps.DETAILS[name])}
    assert (first[4] == 0).all() and not valid[name][4].any()
    assert (valid[name] <= fitted[name]).all()
    assert np.isfinite(first).all()
    assert not fitted[name][0, 0, 1]
    assert not fitted[name][0, 0, 0] or name == "SUVR", "its lost frame is outside the window"
    assert (
        notes[name]["VoxelsInside"] == mask.sum() - 1
    )  # activity 0 in every frame is outside the field of view
    assert notes[name]["VoxelsFitted"] == fitted[name].sum()
    assert notes[name]["VoxelsValid"] == valid[name].sum() > 0.95 * mask.sum()
    if name in ("SRTM", "SRTM2", "MRTM1", "MRTM2"):
        assert not valid[name][0, 0, 2], "k2a at a bound"
    if name == "refLogan":
        assert not fitted[name][0, 0, 3], "activity not positive"
    if "BPND" in maps.MEASURES[name]:
        assert np.median(first[valid[name]]) == pytest.approx(1.5, rel=0.03)


def test_no_map_without_what_the_model_needs():
    at = long_frames()
    reference, target = pair(at.start, at.end, 1.0, 0.1, 1.5)
    series = np.tile(np.float32(target), (2, 3, 4, 1))
    images, fitted, _, notes = maps.voxel_maps(
        series, np.ones((2, 3, 4), bool), at, reference, None,
        models=["MRTM2", "refPatlak"], window_min=(40, 60), shared={"TStarMin": {"refPatlak": "n/a"}},
    )  # fmt: skip
    assert "k2'" in notes["MRTM2"]["Missing"]
    assert "t*" in notes["refPatlak"]["Missing"]
    assert not images["MRTM2", "BPND"].any() and not fitted["MRTM2"].any()
