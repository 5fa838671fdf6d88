"""Quality numbers against images whose answer is known."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import norm, spearmanr

from neurobraid.images import quality as q


def test_efc_between_its_bounds():
    assert q.efc(np.full((7, 8, 9), 42.0)) == pytest.approx(1.0, abs=1e-5)
    one = np.zeros((7, 8, 9))
    one[3, 4, 5] = 10
    assert q.efc(one) == pytest.approx(0.0, abs=1e-6)
    assert np.isnan(q.efc(np.zeros((7, 8, 9))))
    # from the formula, with a frame of zeros that was never measured
    rng = np.random.default_rng(0)
    image = rng.gamma(2.0, 100.0, (7, 8, 9))
    share = image / np.sqrt((image**2).sum())
    n = image.size
    expected = -(share * np.log(share)).sum() / (np.sqrt(n) * np.log(np.sqrt(n)))
    assert q.efc(image) == pytest.approx(expected, rel=1e-5)
    framed = np.pad(image, 2)
    assert q.efc(framed, framed > 0) == pytest.approx(expected, rel=1e-5)
    assert q.efc(framed) < expected
    # a ghost spreads the energy
    head = np.zeros((20, 21, 22))
    head[5:12, 5:12, 5:12] = 100
    assert q.efc(head + 0.2 * np.roll(head, 10, axis=1)) > q.efc(head)


def test_fber_is_a_ratio_of_energies():
    values = np.full((7, 8, 9), 5.0)
    head = np.zeros(values.shape, bool)
    head[2:5, 2:5, 2:5] = True
    values[head] = 50
    assert q.fber(values, head) == pytest.approx(100.0)
    values[~head] = 0
    assert np.isnan(q.fber(values, head))


@pytest.mark.parametrize("planted", [(2.5, 2.5, 2.5), (3.0, 4.0, 5.0)])
def test_smoothness_of_smoothed_noise(planted):
    noise = np.random.default_rng(1).normal(0, 1, (60, 64, 68))
    sigma = np.array(planted) / np.sqrt(8 * np.log(2))
    image = 500 + 30 * ndimage.gaussian_filter(noise, sigma, mode="wrap")
    mask = np.zeros(image.shape, bool)
    mask[5:55, 5:60, 5:60] = True
    assert q.fwhm(image, mask) == pytest.approx(planted, rel=0.05)


def test_smoothness_without_an_answer():
    mask = np.ones((7, 8, 9), bool)
    assert np.isnan(q.fwhm(np.full(mask.shape, 3.0), mask)).all()
    assert np.isnan(q.fwhm(np.indices(mask.shape).sum(axis=0) % 2, mask)).all()


def test_signal_and_contrast_of_planted_tissues():
    rng = np.random.default_rng(2)
    shape = (40, 44, 48)
    white = np.zeros(shape)
    white[4:24, 4:40, 4:44] = 1
    grey = np.zeros(shape)
    grey[26:38, 4:40, 4:44] = 1
    values = 1000 * white + 600 * grey + rng.normal(0, 40, shape)
    values[
        (ndimage.binary_dilation(white > 0) & (white == 0))
        | ((white > 0) & ~ndimage.binary_erosion(white > 0))
    ] = 100
    summary = {name: q.tissue_summary(values, share) for name, share in (("wm", white), ("gm", grey))}
    assert summary["wm"]["median"] == pytest.approx(1000, rel=0.005), "the border of the tissue is left out"
    assert summary["wm"]["std"] == pytest.approx(40, rel=0.03)
    assert summary["wm"]["mad"] == pytest.approx(40, rel=0.03)
    assert q.snr(1000.0, 40.0, 101) == pytest.approx(25.0 * np.sqrt(100 / 101))
    assert q.cnr(summary["wm"], summary["gm"], 30.0) == pytest.approx(
        400 / np.sqrt(900 + 1600 + 1600), rel=0.03
    )
    assert q.cjv(summary["wm"], summary["gm"]) == pytest.approx(80 / 400, rel=0.03)
    assert np.isnan(q.cjv(summary["wm"], summary["wm"]))


def test_few_voxels_are_not_eroded_away():
    share = np.zeros((9, 10, 11))
    share[4] = 0.9
    values = np.arange(share.size, dtype=float).reshape(share.shape)
    assert q.tissue_summary(values, share, least=50)["n"] == 110
    assert q.tissue_summary(values, share * 0.8, least=50)["n"] == 110
    assert q.tissue_summary(values, 0 * share)["n"] == 0


def test_snr_against_rayleigh_noise():
    rng = np.random.default_rng(3)
    sigma = 12.0
    air = np.hypot(rng.normal(0, sigma, 200000), rng.normal(0, sigma, 200000))
    # the standard deviation of a Rayleigh variable is sigma sqrt(2 - pi / 2)
    assert q.snr_dietrich(600.0, air.std()) == pytest.approx(600 / sigma, rel=0.02)
    assert np.isnan(q.snr_dietrich(600.0, 0.0))


@pytest.mark.parametrize("zooms", [(1.0, 1.1, 1.2), (3.0, 3.0, 4.0)])
def test_head_and_air(zooms):
    rng = np.random.default_rng(4)
    shape = tuple(int(n / z) for n, z in zip((210, 240, 230), zooms, strict=True))
    at = [np.arange(n) * z - n * z / 2 for n, z in zip(shape, zooms, strict=True)]
    r = np.sqrt((at[0][:, None, None] / 80) ** 2 + (at[1][:, None] / 95) ** 2 + (at[2] / 90) ** 2)
    truth = r < 1
    values = np.where(truth, 600.0, 0.0)
    values[(r > 0.8) & (r < 0.87)] = 0  # skull: the scalp is a piece of its own
    values = np.hypot(values + rng.normal(0, 10, shape), rng.normal(0, 10, shape))
    values[:, -int(24 / zooms[1]) :] = 0  # defaced
    head, air = q.head_and_air(values.astype(np.float32), zooms)
    assert head[truth & (values > 0)].mean() > 0.99
    assert (head & (r > 1.2)).sum() == 0
    assert not air[truth].any()
    assert not air[:, -int(20 / zooms[1]) :].any()
    # air is Rayleigh noise of the planted spread
    assert values[air].std() == pytest.approx(10 * np.sqrt(2 - np.pi / 2), rel=0.03)


def test_no_air_where_the_background_was_removed():
    rng = np.random.default_rng(4)
    r = np.linalg.norm((np.indices((60, 64, 68)).T - [30, 32, 34]) / 24, axis=-1).T
    values = np.where(r < 1, 600.0 + rng.normal(0, 10, r.shape), 0)
    values[(r > 0.8) & (r < 1)] *= 0.15  # a dim scalp is head, too
    values[r > 1.05] = 0
    head, air = q.head_and_air(values.astype(np.float32), (3.0, 3.0, 3.0))
    assert head[r < 1].all()
    assert not air.any()
    assert np.isnan(q.fber(values, head, air))


def test_ghost_of_a_known_height():
    mask = np.zeros((20, 24, 9), bool)
    mask[6:12, 3:9, 2:7] = True
    values = np.where(mask, 1000.0, 10.0)
    assert q.gsr(values, mask, 1) == pytest.approx(0.0)
    ghost = values + 50 * np.roll(mask, 12, axis=1)
    assert q.gsr(ghost, mask, 1) == pytest.approx(0.05)
    assert q.gsr(ghost, mask, 0) < 0, "it lies in the other background of another axis"


def test_temporal_snr_and_global_correlation():
    rng = np.random.default_rng(5)
    shared = rng.normal(0, 1, (400, 1))
    series = (1000 + 8 * shared + 6 * rng.normal(0, 1, (400, 300))).astype(np.float32)
    series[:, 7] = 3
    snr = q.temporal_snr(series)
    assert np.median(snr) == pytest.approx(100, rel=0.05)
    assert snr[7] == 0
    alive = np.delete(series, 7, axis=1)
    assert q.global_correlation(series) == pytest.approx(np.corrcoef(alive.T).mean(), rel=1e-4)
    assert q.global_correlation(series) == pytest.approx(0.64, abs=0.05)


def test_share_of_planted_outliers():
    rng = np.random.default_rng(6)
    series = 500 + rng.normal(0, 10, (200, 4000))
    # the limit is 3.7 standard deviations of Gaussian noise, on a median absolute deviation that varies itself
    expected = 2 * norm.sf(norm.isf(0.001 / 200) * np.sqrt(np.pi / 2) * norm.isf(0.25))
    assert expected < q.outlier_fraction(series).mean() < 2 * expected
    series[50, :1000] += 120
    found = q.outlier_fraction(series)
    assert found[50] == pytest.approx(0.25, abs=0.002)
    assert np.delete(found, 50).max() < 0.002
    # AFNI's limit, voxel by voxel
    voxel = series[:, 11]
    away = np.abs(voxel - np.median(voxel))
    limit = norm.ppf(1 - 0.001 / 200) * np.sqrt(np.pi / 2) * np.median(away)
    assert np.array_equal(q.outlier_fraction(series[:, 11:12]) == 1, away > limit)
    # some of the voxels stand for all
    assert q.outlier_fraction(series, voxels=1000)[50] == pytest.approx(0.25, abs=0.02)


def test_quality_index():
    rng = np.random.default_rng(7)
    base = rng.permutation(3000).astype(np.float32)
    assert q.quality_index(np.tile(base, (12, 1))) == pytest.approx(np.zeros(12), abs=1e-12)
    series = base + rng.normal(0, 200, (30, 3000)).astype(np.float32)
    series[9] = rng.permutation(base)
    found = q.quality_index(series)
    middle = np.median(series, axis=0)
    assert found == pytest.approx([1 - spearmanr(v, middle).statistic for v in series], abs=1e-9)
    assert found[9] == pytest.approx(1.0, abs=0.1)
    assert np.delete(found, 9).max() < 0.1
