"""Confounds against numbers worked out by hand and against nilearn."""

import itertools
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from neurobraid.bold import confounds as c
from neurobraid.files import read_json
from neurobraid.images.rigid import compose

from .head import VOLUMES


def test_framewise_displacement_and_rms():
    motion = np.zeros((4, 6))
    motion[1] = [1, -2, 0.5, 0.01, 0, -0.02]
    motion[2:] = motion[1]
    fd = c.framewise_displacement(motion)
    assert np.isnan(fd[0])
    assert fd[1] == pytest.approx(3.5 + 50 * 0.03)
    assert fd[2] == 0
    center = np.array([5.0, 6, 7])
    shift = compose(np.array([[0.0] * 6, [3, 4, 0, 0, 0, 0]]), center)
    assert c.relative_rms(shift, center)[1] == pytest.approx(5.0)
    # a turn by a about the centre of a sphere: sqrt(2/5) R * 2 sin(a/2)
    turn = compose(np.array([[0.0] * 6, [0, 0, 0, 0, 0, 0.02]]), center)
    assert c.relative_rms(turn, center)[1] == pytest.approx(80 * np.sqrt(0.4) * 2 * np.sin(0.01))


@pytest.mark.parametrize("lag", [0.0, 0.5])
def test_standardized_dvars_is_one_for_stationary_noise(lag):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 10, (300, 800))
    for t in range(1, 300):
        noise[t] += lag * noise[t - 1]
    series = (1000 + noise).astype(np.float32)
    plain, standard, voxelwise = c.dvars(series)
    assert np.isnan([plain[0], standard[0], voxelwise[0]]).all()
    assert standard[1:].mean() == pytest.approx(1.0, abs=0.03)
    assert voxelwise[1:].mean() == pytest.approx(1.0, abs=0.03)
    series[150] += 40
    assert c.dvars(series)[1][150] > 2.0
    # scaled to a median of 1000, whatever the scanner's units
    assert np.allclose(c.dvars(series * 7)[0][1:], c.dvars(series)[0][1:], rtol=1e-4)


def same(found, expected):
    """Correlated above 0.999 and of one scale, as issue and docs promise."""
    found, expected = np.ravel(found), np.ravel(expected)
    assert np.corrcoef(found, expected)[0, 1] > 0.999
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(expected), rel=1e-3)


@pytest.fixture(scope="module")
def run():
    """A run of uneven voxels with drift, autocorrelation, a jump and voxels without variance."""
    rng = np.random.default_rng(8)
    noise = rng.normal(0, 1, (120, 500)) * rng.uniform(3, 25, 500)
    for t in range(1, 120):
        noise[t] += rng.uniform(0.0, 0.6, 500) * noise[t - 1]
    noise += np.linspace(-1, 1, 120)[:, None] * rng.normal(0, 30, 500)
    noise += np.sin(np.arange(120) * 0.7)[:, None] * rng.normal(0, 12, 500)
    noise[60:] += 15
    series = (rng.uniform(300, 900, 500) + noise).astype(np.float32)
    series[:, [3, 77]] = 400.0
    return series


def test_framewise_displacement_equals_its_definition():
    rng = np.random.default_rng(5)
    motion = np.cumsum(rng.normal(0, [0.1] * 3 + [0.002] * 3, (150, 6)), axis=0)
    expected = []
    for before, after in itertools.pairwise(motion):
        dx, dy, dz, alpha, beta, gamma = after - before
        expected.append(abs(dx) + abs(dy) + abs(dz) + 50 * (abs(alpha) + abs(beta) + abs(gamma)))
    same(c.framewise_displacement(motion)[1:], expected)


def test_dvars_equal_their_definition(run):
    # voxel by voxel from Nichols' notes, in double precision
    data = run.astype(np.float64) * 1000.0 / np.median(run)
    predicted, changes = [], []
    for voxel in data.T:
        ordered = np.sort(voxel)
        spread = (ordered[int(0.75 * 119)] - ordered[int(0.25 * 119)]) / 1.349
        if spread == 0:
            continue
        centred = voxel - voxel.mean()
        correlation = np.sum(centred[1:] * centred[:-1]) / np.sum(centred**2)
        predicted.append(np.sqrt(2 * (1 - correlation)) * spread)
        changes.append(voxel[1:] - voxel[:-1])
    predicted, changes = np.array(predicted), np.array(changes)
    assert len(predicted) == 498
    plain, standard, voxelwise = c.dvars(run)
    same(plain[1:], np.sqrt(np.mean(changes**2, axis=0)))
    same(standard[1:], np.sqrt(np.mean(changes**2, axis=0)) / predicted.mean())
    same(voxelwise[1:], np.sqrt(np.mean((changes / predicted[:, None]) ** 2, axis=0)))


def test_dvars_of_a_run_without_variance():
    assert all(np.isnan(values).all() for values in c.dvars(np.full((20, 30), 5.0, np.float32)))


def test_cosines_equal_those_of_nilearn():
    from nilearn.glm.first_level.design_matrix import create_cosine_drift

    for total, tr, skip in ((200, 2.0, 0), (231, 0.8, 3), (90, 3.0, 1)):
        found = c.cosines(total, tr, skip)[skip:]
        theirs = create_cosine_drift(1 / 128.0, np.arange(total - skip) * tr)[:, :-1]
        assert found.shape == theirs.shape
        same(found, theirs)


def test_components_equal_a_singular_value_decomposition(run):
    from nilearn.signal import clean

    drift = c.cosines(120, 2.0)
    # nilearn takes the drift out, then the definition: columns of unit variance, singular vectors
    detrended = clean(run.astype(np.float64), detrend=False, standardize=None, confounds=drift)
    detrended -= detrended.mean(axis=0)
    alive = run.std(axis=0) > 0
    left, singular, _ = np.linalg.svd(
        detrended[:, alive] / detrended[:, alive].std(axis=0), full_matrices=False
    )
    explained = singular**2 / np.sum(singular**2)
    found, values, shares, kept = c.components(run, drift)
    same(values, singular[: len(values)])
    same(shares, explained[: len(shares)])
    assert kept == np.flatnonzero(np.cumsum(explained) >= 0.5)[0] + 1
    signs = np.sign(np.sum(found * left[:, :kept], axis=0))
    same(found, left[:, :kept] * signs)
    assert c.components(run, drift, count=24)[0].shape == (120, 24)


def test_temporal_mask_equals_its_definition(run):
    x = np.linspace(-1, 1, 120)
    rest = run - np.polynomial.legendre.legval(x, np.polynomial.legendre.legfit(x, run, 2)).T
    spread = rest.std(axis=0)
    assert np.array_equal(c.temporal_mask(run), spread >= np.percentile(spread, 98))
    assert c.temporal_mask(run).sum() == 10
    assert not c.temporal_mask(np.full((20, 30), 5.0, np.float32)).any()


def test_crown_is_two_voxels_thick():
    brain = np.zeros((11, 12, 13), bool)
    brain[4:7, 5:7, 6] = True
    edge = c.crown(brain)
    assert not (edge & brain).any()
    away = np.min(
        [[np.linalg.norm(np.subtract(v, b)) for b in np.argwhere(brain)] for v in np.ndindex(brain.shape)],
        axis=1,
    )
    assert np.array_equal(edge.ravel(), (away > 0) & (away <= 2))


def test_cosines():
    basis = c.cosines(200, 2.0, skip=3)
    assert basis.shape == (200, 6)  # floor(2 * 197 * 2 / 128)
    assert (basis[:3] == 0).all()
    assert np.allclose(basis.T @ basis, np.eye(6), atol=1e-10)
    assert np.allclose(basis.sum(axis=0), 0, atol=1e-10)
    assert c.cosines(20, 2.0).shape == (20, 0)


def test_components_find_planted_courses_but_not_drift():
    rng = np.random.default_rng(1)
    times = np.arange(150) * 2.0
    planted = np.stack([np.sin(2 * np.pi * 0.05 * times), np.sin(2 * np.pi * 0.11 * times + 1)], axis=1)
    drift = c.cosines(150, 2.0)
    values = planted @ rng.normal(0, 1, (2, 300)) + rng.normal(0, 0.3, (150, 300))
    values += 8 * drift[:, :1] + 500
    courses, singular, explained, kept = c.components(values, drift)
    assert kept == courses.shape[1] <= 2
    assert np.abs(drift.T @ courses).max() < 1e-8
    both, _, explained, kept = c.components(values, drift, share=0.8)
    assert kept == 2
    fit = both @ (both.T @ planted)
    assert np.linalg.norm(fit - planted) < 0.1 * np.linalg.norm(planted)
    assert explained.sum() == pytest.approx(1.0)
    assert (np.diff(singular) <= 1e-9).all()


def test_components_of_a_mask_without_variance():
    courses, singular, _, kept = c.components(np.full((30, 5), 7.0), np.empty((30, 0)))
    assert courses.shape == (30, 0)
    assert kept == 0
    assert len(singular) == 0


def test_noise_masks_lower_the_threshold():
    rng = np.random.default_rng(0)
    wm = rng.uniform(0, 1, 1000)
    csf = np.full(1000, 0.1)
    csf[:25] = 0.72
    brain = np.ones(1000, bool)
    brain[0] = False
    masks, thresholds = c.noise_masks({"WM": wm, "CSF": csf}, brain)
    assert thresholds["WM"] == 0.95
    assert np.array_equal(masks["CSF"], (csf > 0.5) & brain)
    assert thresholds["CSF"] == pytest.approx(0.7)
    # hardly any pure voxel: the purest are taken, never none
    masks, _ = c.noise_masks({"WM": wm, "CSF": np.linspace(0, 0.3, 1000)}, brain)
    assert masks["CSF"].sum() == 20
    assert masks["CSF"][-1]


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(4)
    series = (1000 + rng.normal(0, 10, (90, 400))).astype(np.float32)
    masks = {"CSF": np.arange(400) < 40, "WM": (np.arange(400) >= 40) & (np.arange(400) < 150)}
    values = np.cumsum(rng.normal(0, 0.02, (90, 6)) * [1, 1, 1, 0.01, 0.01, 0.01], axis=0)
    values[50:, 1] += 0.9
    center = np.array([1.0, -10, 5])
    made = c.confound_table(
        series,
        masks,
        compose(values, center),
        center,
        2.0,
        edge=rng.normal(300, 20, (90, 60)).astype(np.float32),
        non_steady=2,
        fd_threshold=0.5,
        dvars_threshold=9.0,
    )
    return series, masks, values, *made


def test_names_and_first_row(table):
    _, _, _, frame, description = table
    for base in ("global_signal", "csf", "white_matter", "csf_wm", "trans_x", "rot_z"):
        for end in ("", "_derivative1", "_power2", "_derivative1_power2"):
            assert base + end in frame
    first = frame.iloc[0]
    assert first.filter(like="derivative1").isna().all()
    assert np.isnan(first["framewise_displacement"])
    assert np.isnan(first["rmsd"])
    assert frame["framewise_displacement"].iloc[1:].notna().all()
    assert len(frame) == 90
    assert not frame.columns.duplicated().any()
    assert set(frame) <= set(description)


def test_values(table):
    series, _, values, frame, _ = table
    assert np.allclose(frame["csf"], series[:, :40].mean(axis=1), rtol=1e-5)
    assert np.allclose(frame["csf_wm"], series[:, :150].mean(axis=1), rtol=1e-5)
    assert np.allclose(frame[["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]], values, atol=1e-9)
    assert np.allclose(frame["rot_x_power2"], values[:, 3] ** 2)
    assert np.allclose(frame["trans_y_derivative1"][1:], np.diff(values[:, 1]))
    assert list(frame.filter(like="motion_outlier")) == ["motion_outlier00"]
    assert frame["motion_outlier00"].to_numpy().nonzero()[0].tolist() == [50]
    assert list(frame.filter(like="non_steady")) == [
        "non_steady_state_outlier00",
        "non_steady_state_outlier01",
    ]
    assert frame["non_steady_state_outlier01"].to_numpy().nonzero()[0].tolist() == [1]
    assert frame.filter(like="cosine").shape[1] == 2


def test_component_metadata(table):
    series, _, _, frame, description = table
    for prefix, method, label in (
        ("t_comp_cor", "tCompCor", None),
        ("a_comp_cor", "aCompCor", "combined"),
        ("c_comp_cor", "aCompCor", "CSF"),
        ("w_comp_cor", "aCompCor", "WM"),
        ("edge_comp", "EdgeRegressor", "Edge"),
    ):
        kept = [k for k in frame if k.startswith(f"{prefix}_")]
        assert kept[0] == f"{prefix}_00"
        entries = [v for v in description.values() if v.get("Mask") == label and v.get("Method") == method]
        assert sum(v["Retained"] for v in entries) == len(kept)
        assert sum(v["VarianceExplained"] for v in entries) == pytest.approx(1.0, abs=1e-4)
        if prefix == "edge_comp":
            assert len(kept) == 24
        else:
            assert description[kept[-1]]["CumulativeVarianceExplained"] >= 0.5
            assert len(kept) == 1 or description[kept[-2]]["CumulativeVarianceExplained"] < 0.5
        assert (frame[kept].iloc[:2] == 0).all(axis=None), "volumes before steady state have no part in it"
        assert np.allclose((frame[kept] ** 2).sum(), 1)
    left = [k for k in description if k.startswith("dropped_")]
    assert left == [f"dropped_{n}" for n in range(len(left))]
    assert not any(description[k]["Retained"] for k in left)
    assert np.allclose(frame["tcompcor"], series[:, c.temporal_mask(series[2:])].mean(axis=1), rtol=1e-5)


@pytest.fixture(scope="module")
def reference():
    """A brain in air, its mask, and an affine whose first array axis is the world's second."""
    rng = np.random.default_rng(9)
    mask = np.zeros((24, 22, 18), bool)
    mask[6:16, 4:18, 4:14] = True
    image = np.hypot(
        np.where(mask, 800.0, 0.0) + rng.normal(0, 20, mask.shape), rng.normal(0, 20, mask.shape)
    )
    image[14:] += 100 * np.roll(mask, 12, axis=0)[14:]  # a ghost along the first axis
    affine = np.array([[0, 3.0, 0, 0], [2.5, 0, 0, 0], [0, 0, 4.0, 0], [0, 0, 0, 1]])
    return image.astype(np.float32), mask, affine


def test_quality_numbers(table, reference):
    series, _, _, frame, _ = table
    numbers = c.quality(series[2:], frame, *reference, fd_threshold=0.5)
    assert numbers["tsnr"] == pytest.approx(100, rel=0.05)
    assert numbers["gcor"] == pytest.approx(0.0, abs=0.01)
    assert numbers["fd_num"] == 1
    assert numbers["fd_perc"] == pytest.approx(100 / 90), "of all volumes, as MRIQC counts"
    assert numbers["dvars_vstd"] == pytest.approx(1.0, abs=0.05)
    assert numbers["snr"] == pytest.approx(40, rel=0.05)
    assert numbers["aor"] < 0.002  # the false alarms of 88 volumes: see test_quality.py
    assert numbers["gsr_y"] > 0.05
    assert numbers["gsr_x"] < 0.02
    assert 0 < numbers["efc"] < 1
    assert numbers["fber"] > 100
    common = series + 10 * np.sin(np.arange(90) * 0.9)[:, None].astype(np.float32)
    assert c.quality(common[2:], frame, *reference, fd_threshold=0.5)["gcor"] == pytest.approx(
        1 / 3, abs=0.05
    )
    spiky = series.copy()
    spiky[40, :200] += 200
    more = c.quality(spiky[2:], frame, *reference, fd_threshold=0.5)["aor"] - numbers["aor"]
    assert more == pytest.approx(0.5 / 88, rel=0.05)


def test_axes_of_the_quality_numbers_are_the_worlds(table, reference):
    series, _, _, frame, _ = table
    _, mask, affine = reference
    smooth = ndimage.gaussian_filter1d(np.random.default_rng(1).normal(0, 50, mask.shape), 1.3, axis=0) + 500
    smooth = ndimage.gaussian_filter(smooth, [0, 0.8, 0.8])
    numbers = c.quality(series[2:], frame, smooth, mask, affine, fd_threshold=0.5)
    assert numbers["fwhm_y"] > 1.3 * numbers["fwhm_x"]


@pytest.fixture(scope="module")
def as_fmriprep(fitted, tmp_path_factory):
    """What the stage wrote, under the names and in the folder that fMRIPrep would give."""
    folder = tmp_path_factory.mktemp("fmriprep")
    for key in ("confounds", "confounds_json"):
        shutil.copy(fitted[key], folder)
    image = folder / "sub-01_task-rest_desc-preproc_bold.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2, VOLUMES), np.float32), np.eye(4)), image)
    return str(image)


@pytest.mark.parametrize("how", ["basic", "power2", "derivatives", "full"])
@pytest.mark.parametrize("strategy", ["motion", "wm_csf", "global_signal"])
def test_nilearn_loads_every_expansion(as_fmriprep, strategy, how):
    from nilearn.interfaces.fmriprep import load_confounds

    table, _ = load_confounds(as_fmriprep, strategy=(strategy,), demean=False, **{strategy: how})
    bases = {"motion": 6, "wm_csf": 2, "global_signal": 1}
    sizes = {"basic": 1, "power2": 2, "derivatives": 2, "full": 4}
    assert table.shape == (VOLUMES, bases[strategy] * sizes[how])
    assert np.isfinite(table.to_numpy()[1:]).all()


@pytest.mark.parametrize(
    ("compcor", "prefixes"),
    [
        ("anat_combined", {"a_comp_cor"}),
        ("anat_separated", {"w_comp_cor", "c_comp_cor"}),
        ("temporal", {"t_comp_cor"}),
        ("temporal_anat_combined", {"t_comp_cor", "a_comp_cor"}),
        ("temporal_anat_separated", {"t_comp_cor", "w_comp_cor", "c_comp_cor"}),
    ],
)
@pytest.mark.parametrize("count", ["all", 1])
def test_nilearn_loads_every_compcor(as_fmriprep, compcor, prefixes, count):
    from nilearn.interfaces.fmriprep import load_confounds

    table, _ = load_confounds(
        as_fmriprep, strategy=("high_pass", "compcor"), compcor=compcor, n_compcor=count
    )
    found = [name for name in table if "comp_cor" in name]
    assert {name[:-3] for name in found} == prefixes
    assert "cosine00" in table
    if count == 1:
        assert len(found) == len(prefixes)
    else:
        written = pd.read_csv(
            as_fmriprep.replace("desc-preproc_bold.nii.gz", "desc-confounds_timeseries.tsv"), sep="\t"
        )
        assert len(found) == sum(name[:-3] in prefixes for name in written)


def test_nilearn_scrubs_and_leaves_out_what_is_not_steady(as_fmriprep):
    from nilearn.interfaces.fmriprep import load_confounds

    table, kept = load_confounds(
        as_fmriprep, strategy=("motion", "high_pass", "scrub", "non_steady_state"), scrub=0,
        fd_threshold=0.5, std_dvars_threshold=5.0,
    )  # fmt: skip
    assert len(table) == VOLUMES
    # two volumes planted too bright, one jump of the head planted before volume 25
    assert not {0, 1, 25} & set(kept)
    assert len(kept) > 30


@pytest.mark.parametrize("preset", ["simple", "scrubbing", "compcor"])
def test_nilearn_presets(as_fmriprep, preset):
    from nilearn.interfaces.fmriprep import load_confounds_strategy

    options = {"fd_threshold": 0.5, "std_dvars_threshold": 5.0} if preset == "scrubbing" else {}
    table, _ = load_confounds_strategy(as_fmriprep, denoise_strategy=preset, **options)
    assert len(table) == VOLUMES
    assert {"trans_x", "rot_z_derivative1", "cosine00"} <= set(table)
    assert any("a_comp_cor" in name for name in table) == (preset == "compcor")


def test_quality_of_the_run_is_written(fitted):
    numbers = read_json(fitted["qc"])
    for name in (
        "aor",
        "aqi",
        "dvars_vstd",
        "efc",
        "fber",
        "fwhm_avg",
        "gcor",
        "gsr_y",
        "snr",
        "tsnr",
        "fd_mean",
    ):
        assert isinstance(numbers[name], float), name
    # 6 units of noise on grey matter of 850, waves of 2 % and what motion leaves
    assert 30 < numbers["tsnr"] < 200
    assert 0 < numbers["aqi"] < 0.2


def test_crown_of_the_run_is_written(fitted):
    table = pd.read_csv(fitted["confounds"], sep="\t")
    assert table.filter(regex="^edge_comp_").shape[1] == 24
    assert np.isfinite(table.filter(regex="^(edge_comp|t_comp_cor|tcompcor)").to_numpy()).all()
