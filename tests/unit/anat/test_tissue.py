"""Tissue classes of a brain whose tissues are known."""

import numpy as np
import pytest
from scipy import ndimage

from neurobraid.anat import normalize
from neurobraid.anat.brain import dice
from neurobraid.anat.tissue import TISSUES, priors, segment


@pytest.fixture(scope="module")
def layers():
    """WM in GM in CSF, wavy, with bias and noise, and blurred priors of the right tissues."""
    shape = (46, 52, 40)
    rng = np.random.default_rng(2)
    axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    radius = np.sqrt(sum(a**2 for a in axes))
    wavy = radius + 0.6 * ndimage.gaussian_filter(rng.standard_normal(shape), 3)
    truth = np.zeros(shape, int)
    truth[radius < 0.95] = 3
    truth[wavy < 0.80] = 1
    truth[wavy < 0.55] = 2
    truth[radius >= 0.95] = 0
    bias = np.exp(0.25 * axes[0] - 0.2 * axes[1] * axes[2])
    values = np.array([0, 600, 900, 250])[truth] * bias + rng.normal(0, 70, shape)
    gm, wm = (ndimage.gaussian_filter((truth == k).astype(np.float32), 2) for k in (1, 2))
    return np.maximum(values, 0).astype(np.float32), truth, gm, wm


def test_segment_finds_the_tissues(layers):
    values, truth, gm, wm = layers
    mask = truth > 0
    post = segment(values, mask, priors(gm, wm, mask))
    assert np.allclose(post.sum(1), 1, atol=1e-5)
    hard = np.zeros(truth.shape, int)
    hard[mask] = post.argmax(1) + 1
    for k, tissue in enumerate(TISSUES, 1):
        assert dice(hard == k, truth == k) > 0.93, tissue


def test_bias_is_modelled(layers):
    values, truth, gm, wm = layers
    mask = truth > 0
    values = values * np.exp(np.linspace(-0.35, 0.35, truth.shape[1]))[:, None].astype(np.float32)

    def overlap(order):
        post = segment(values, mask, priors(gm, wm, mask), bias_order=order)
        hard = np.zeros(truth.shape, int)
        hard[mask] = post.argmax(1) + 1
        return dice(hard == 1, truth == 1)

    assert overlap(3) > max(overlap(0) + 0.01, 0.95)


def test_priors_are_probabilities(layers):
    _, truth, gm, wm = layers
    prior = priors(gm, wm, truth > 0)
    assert prior.shape == ((truth > 0).sum(), 3)
    assert np.allclose(prior.sum(1), 1, atol=1e-5)
    assert prior.min() > 0.04


def test_no_contrast_is_refused():
    mask = np.ones((10, 11, 12), bool)
    with pytest.raises(ValueError, match="without contrast"):
        segment(np.ones(mask.shape, np.float32), mask, np.full((mask.sum(), 3), 1 / 3))


def test_measures_are_in_millilitres(layers):
    values, truth, *_ = layers
    posteriors = np.stack([truth == k for k in (1, 2, 3)]).astype(np.float32)
    found = normalize.measures(values, np.diag([2.0, 2.5, 3.0, 1]), truth.astype(np.uint8), posteriors)
    assert found["volume_gm_ml"] == pytest.approx((truth == 1).sum() * 15 / 1000)
    assert found["volume_csf_ml"] == pytest.approx((truth == 3).sum() * 15 / 1000)
    assert 0 < found["cjv"] < 1
    assert sum(found[f"icvs_{t}"] for t in ("gm", "wm", "csf")) == pytest.approx(1.0)
    assert found["icvs_gm"] == pytest.approx((truth == 1).sum() / (truth > 0).sum())
    assert found["snr_wm"] > found["snr_csf"]


def test_labels_follow_the_order_of_tissues():
    posteriors = np.zeros((3, 4, 5, 6), np.float32)
    posteriors[1, 1] = 1
    posteriors[2, 2] = 1
    mask = np.ones((4, 5, 6), bool)
    mask[0] = False
    found = normalize.labels(posteriors, mask)
    assert [int(found[i, 0, 0]) for i in range(3)] == [0, 2, 3]
    assert found.dtype == np.uint8


def test_warnings_name_what_is_odd():
    fine = {"mask_plausible": True, "mask_agreement_dice": 0.97, "registration_correlation": 0.8}
    assert normalize.warnings_of(fine) == []
    odd = {
        "mask_plausible": False,
        "volume_brain_mask_ml": 2500.0,
        "mask_agreement_dice": 0.5,
        "registration_correlation": float("nan"),
        "rotation_to_template_deg": 178.3,
    }
    notes = normalize.warnings_of(odd)
    assert len(notes) == 4
    assert "2500 mL" in notes[0]
    assert "178 degrees" in notes[1]
    assert normalize.warnings_of(fine | {"rotation_to_template_deg": 30.0}) == []
    # a user's mask has nothing to agree with
    assert normalize.warnings_of(fine | {"mask_agreement_dice": "n/a"}) == []
