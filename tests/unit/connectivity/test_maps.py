"""Maps of resting activity against direct computation."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from neurobraid.connectivity import maps
from neurobraid.errors import InputError
from neurobraid.files import read_json

SHAPE, T, TR = (7, 6, 5), 90, 2.0


def test_reho_equals_kendalls_w():
    rng = np.random.default_rng(0)
    mask = np.ones(SHAPE, bool)
    mask[0, 0, 0] = False
    common = rng.standard_normal((T, 1))
    series = rng.standard_normal((T, mask.sum())) + common
    found = maps.reho(series, mask)
    volume = np.full((*SHAPE, T), np.nan)
    volume[mask] = series.T
    for place in ((3, 3, 2), (1, 1, 1), (6, 5, 4)):
        box = tuple(slice(max(p - 1, 0), p + 2) for p in place)
        block = volume[box].reshape(-1, T)
        block = block[np.isfinite(block).all(1)]
        ranks = stats.rankdata(block, axis=1)
        w = 12 * ((ranks.sum(0) - ranks.sum(0).mean()) ** 2).sum() / (len(block) ** 2 * (T**3 - T))
        full = np.full(SHAPE, np.nan)
        full[mask] = found
        assert full[place] == pytest.approx(w, rel=1e-6)
    lonely = np.zeros(SHAPE, bool)
    lonely[3, 3, 2] = True
    assert np.isnan(maps.reho(series[:, :1], lonely)).all()


def test_amplitude_is_that_of_the_wave_with_and_without_gaps():
    times = np.arange(T) * TR
    span = T * TR
    series = (
        np.column_stack(
            [3 * np.cos(2 * np.pi * 9 / span * times + 0.4), 0.5 * np.sin(2 * np.pi * 30 / span * times)]
        )
        + 7
    )
    frequency, amplitude = maps.amplitudes(series, times)
    assert frequency[8] == pytest.approx(9 / span) and len(frequency) == T // 2
    spectrum = np.abs(np.fft.rfft(series - series.mean(0), axis=0))[1:] * 2 / T
    np.testing.assert_allclose(amplitude[:-1], spectrum[:-1], atol=1e-9)
    keep = np.random.default_rng(1).random(T) > 0.15
    keep[[0, -1]] = True
    _, gappy = maps.amplitudes(series[keep], times[keep])
    assert gappy[8, 0] == pytest.approx(3, rel=0.05)
    alff, falff = maps.fluctuations(series, times, (0.01, 0.08))
    inside = ((frequency >= 0.01) & (frequency <= 0.08)).sum()
    assert alff[0] == pytest.approx(3 / inside, rel=1e-6) and falff[0] == pytest.approx(1) and falff[1] < 1e-6
    with pytest.raises(InputError, match="band_hz"):
        maps.fluctuations(series, times, (0.3, 0.4))


@pytest.mark.parametrize("offset", [0.0, 0.7])
def test_mirror_finds_the_other_side(offset):
    """With the middle on a voxel, between two, or anywhere: a linear signal along x is mirrored exactly."""
    affine = np.diag([3.0, 3, 3, 1])
    affine[0, 3] = -9 + offset
    mask = np.ones(SHAPE, bool)
    mask[1, 2, 2] = False
    x = affine[0, 0] * np.argwhere(mask)[:, 0] + affine[0, 3]
    other = maps.mirrored(np.stack([x, 2 * x + 1]), mask, affine)
    ok = np.isfinite(other[0])
    np.testing.assert_allclose(other[0, ok], -x[ok], atol=1e-9)
    assert not ok.all() and ok.sum() > 150 - 60
    tilted = affine.copy()
    tilted[0, 1] = 0.3
    with pytest.raises(InputError, match="oblique"):
        maps.mirrored(np.stack([x, x]), mask, tilted)


def scan(folder, rng):
    """A scan with two mirrored spots that go together and a lone one."""
    shape, volumes = (13, 10, 8), 260
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = [-24, -20, -16]
    spectrum = np.fft.rfft(rng.standard_normal((volumes, 2)), axis=0)
    frequency = np.fft.rfftfreq(volumes, TR)
    spectrum[(frequency < 0.015) | (frequency > 0.07)] = 0
    wave = np.fft.irfft(spectrum, volumes, axis=0)
    wave /= wave.std(0)
    bold = 1000 + 4 * rng.standard_normal((*shape, volumes))
    labels = np.zeros(shape, np.int32)
    for value, x in ((300, 2), (7, 10)):
        bold[x - 1 : x + 2, 3:6, 3:6] += 12 * wave[:, 0]
        labels[x - 1 : x + 2, 3:6, 3:6] = value
    bold[5:8, 7:9, 2:5] += 25 * wave[:, 1]
    labels[5:8, 7:9, 2:5] = 65000
    mask = np.ones(shape, np.uint8)
    mask[:, :1] = 0
    for name, values in (("bold", bold.astype(np.float32)), ("mask", mask), ("atlas", labels)):
        nib.save(nib.Nifti1Image(values, affine), folder / f"{name}.nii.gz")
    (folder / "bold.json").write_text('{"RepetitionTime": 2.0}')
    (folder / "c.json").write_text("{}")
    table = {f"{k}_{a}": rng.standard_normal(volumes) * 0.01 for k in ("trans", "rot") for a in "xyz"}
    pd.DataFrame({**table, "csf": rng.standard_normal(volumes), "white_matter": rng.standard_normal(volumes), "framewise_displacement": 0.1}).to_csv(
        folder / "c.tsv", sep="\t", index=False
    )  # fmt: skip
    pd.DataFrame({"index": [65000, 300, 7], "name": ["Lone", "Left", "Right"]}).to_csv(
        folder / "atlas.tsv", sep="\t", index=False
    )
    return labels


def test_strength_is_the_mean_positive_z_with_all_other_voxels():
    rng = np.random.default_rng(0)
    mask = np.zeros((8, 8, 8), bool)
    mask[1:7, 1:7, 1:7] = True
    series = rng.standard_normal((60, mask.sum()))
    wave = rng.standard_normal(60)
    together = np.sort(rng.permutation(mask.sum() - 1)[:80])
    series[:, together] += wave[:, None]
    series[:, -1] = 3.0
    found = maps.strength(series, mask)
    r = np.corrcoef(series[:, :-1].T)
    np.fill_diagonal(r, 0)
    expected = np.arctanh(np.maximum(r, 0)).sum(1) / (len(r) - 1)
    assert np.allclose(found[:-1], expected, atol=1e-5) and np.isnan(found[-1])
    # with many voxels, every second of each direction is a partner
    coarse = maps.strength(series, mask, most=100)
    partner = (np.argwhere(mask) % 2 == 0).all(1)[:-1]
    z = np.arctanh(np.maximum(r, 0))[:, partner]
    assert np.allclose(coarse[:-1], z.sum(1) / (partner.sum() - partner), atol=1e-5)
    assert np.corrcoef(coarse[:-1], expected)[0, 1] > 0.9


def test_whole_job(tmp_path):
    labels = scan(tmp_path, np.random.default_rng(2))
    inputs = SimpleNamespace(
        bold=tmp_path / "bold.nii.gz", metadata=tmp_path / "bold.json", mask=tmp_path / "mask.nii.gz", confounds=tmp_path / "c.tsv",
        confounds_json=tmp_path / "c.json", atlas_image=tmp_path / "atlas.nii.gz", atlas_table=tmp_path / "atlas.tsv",
    )  # fmt: skip
    kinds = ["reho", "alff", "falff", "strength", "vmhc"]
    seeds = [{"name": "left", "region": "Left"}, {"name": "spot", "mm": [16, -4, 0], "radius_mm": 5}]
    names = [*kinds, "left", "spot"]
    outputs = SimpleNamespace(
        maps=[tmp_path / f"{n}.nii.gz" for n in names], sidecars=[tmp_path / f"{n}.json" for n in names]
    )
    settings = {
        "kinds": kinds,
        "seeds": seeds,
        "strategy_name": "simple",
        "band_hz": [0.01, 0.08],
        "smoothing_mm": 0,
    }
    maps.run(inputs, outputs, **settings)
    found = {n: nib.load(p).get_fdata() for n, p in zip(names, outputs.maps, strict=True)}
    active, rest = labels > 0, (labels == 0) & np.isfinite(found["alff"])
    assert found["reho"][6, 7, 3] > 1.5 * np.nanmean(found["reho"][rest])
    assert found["alff"][active].min() > 1.2 * np.mean(found["alff"][rest])
    assert found["falff"][active].mean() > 1.3 * found["falff"][rest].mean()
    # the lone spot lies on the midline and is its own mirror; the pair is homotopic
    assert (
        found["vmhc"][labels == 300].mean() > 0.8
        and abs(np.nanmean(found["vmhc"][rest & (np.indices(rest.shape)[0] != 6)])) < 0.1
    )
    for seed in ("left", "spot"):
        assert found[seed][labels == 7].mean() > 0.8 and abs(found[seed][labels == 65000].mean()) < 0.4
    assert np.isnan(found["alff"][:, 0]).all()
    note = read_json(outputs.sidecars[len(kinds)])
    assert note["Seed"] == {"name": "left", "region": "Left"} and note["SmoothingFWHMmm"] == 0
    smoothed = {**settings, "kinds": ["alff"], "seeds": [], "smoothing_mm": 8}
    outputs.maps, outputs.sidecars = outputs.maps[:1], outputs.sidecars[:1]
    maps.run(inputs, outputs, **smoothed)
    wide = nib.load(outputs.maps[0]).get_fdata()
    assert np.nanmax(wide) < np.nanmax(found["alff"]) and np.isfinite(wide[6, 1, 4])
    with pytest.raises(InputError, match="Nowhere"):
        maps.run(inputs, outputs, **{**smoothed, "seeds": [{"name": "n", "region": "Nowhere"}], "kinds": []})
    with pytest.raises(InputError, match="no voxel inside"):
        maps.run(inputs, outputs, **{**smoothed, "seeds": [{"name": "n", "mm": [300, 0, 0]}], "kinds": []})
