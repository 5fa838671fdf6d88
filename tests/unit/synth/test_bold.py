"""BOLD scans: timing, motion and planted activity as the truth files say."""

import numpy as np
import pytest
from scipy.stats import gamma

from neurobraid.files import read_json, read_tsv
from neurobraid.images.io import data, load
from neurobraid.images.resample import grid_points, sample
from neurobraid.images.rigid import parameters
from neurobraid.images.transforms import apply_affine, read_affines, read_warp
from neurobraid.synth import plants
from neurobraid.synth.bold import BAND, events_table, hrf_integral, response, resting_series, slice_times


def test_response_is_the_integral_of_the_double_gamma():
    t = np.linspace(0, 40, 40001)
    density = (gamma.pdf(t, 6) - gamma.pdf(t, 16) / 6) / (1 - 1 / 6)
    cumulated = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2) * 0.001])
    np.testing.assert_allclose(hrf_integral(t), cumulated, atol=1e-6)
    assert t[np.argmax(density)] == pytest.approx(5.0, abs=0.05)
    assert hrf_integral(np.array([-1.0, 1e3])).tolist() == [0.0, pytest.approx(1.0)]


def test_event_response_equals_convolution():
    times = np.array([3.0, 8.0, 14.0, 30.0])
    fine = np.arange(0, 60, 0.001)
    density = (gamma.pdf(fine, 6) - gamma.pdf(fine, 16) / 6) / (1 - 1 / 6)
    box = ((fine >= 2) & (fine < 7)).astype(float)
    convolved = np.convolve(box, density)[: len(fine)] * 0.001
    found = response(times, np.array([2.0]), np.array([5.0]))
    np.testing.assert_allclose(found, np.interp(times, fine, convolved), atol=2e-3)


@pytest.mark.parametrize(
    ("slices", "site", "shots"), [(27, "A", 27), (27, "B", 9), (40, "B", 20), (29, "B", 29)]
)
def test_slice_times(slices, site, shots):
    times = slice_times(slices, 2.0, site)
    assert len(times) == slices
    assert times.min() == 0
    assert times.max() < 2.0
    assert len(set(times)) == shots
    assert (np.diff(times[:shots]) < 0).any()


def test_events_do_not_overlap_and_end_before_the_run():
    table = events_table(np.random.default_rng(1), 11, 240.0)
    ends = table["onset"] + table["duration"]
    assert (table["onset"].to_numpy()[1:] >= ends.to_numpy()[:-1]).all()
    assert table["onset"].min() >= 0
    assert ends.max() < 240 - 14
    assert table["trial_type"].value_counts().to_dict() == {"left": 11, "right": 11}


def test_resting_courses_have_band_and_covariance():
    covariance = np.array([[1, 0.6, -0.3], [0.6, 1, 0], [-0.3, 0, 1]])
    times = np.arange(4000) * 1.0
    courses = resting_series(np.random.default_rng(2), covariance, times)
    np.testing.assert_allclose(np.cov(courses.T), covariance, atol=0.15)
    power = np.abs(np.fft.rfft(courses * np.hanning(len(times))[:, None], axis=0)) ** 2
    frequency = np.fft.rfftfreq(len(times), 1.0)
    inside = (frequency >= BAND[0] - 0.002) & (frequency <= BAND[1] + 0.002)
    assert power[inside].sum() / power.sum() > 0.999


def test_headers_and_sidecars(tiny):
    for row in tiny.design.scans[tiny.design.scans["suffix"] == "bold"].to_dict("records"):
        out = tiny.files(row["scan"], "bold")
        image = load(out["image"])
        assert image.shape[3] == row["n_volumes"]
        assert image.header.get_zooms()[3] == row["tr"]
        assert image.get_data_dtype() == np.int16
        assert image.dataobj.slope not in (1.0, None)
        timing = read_json(out["sidecar"])["SliceTiming"]
        assert len(timing) == image.shape[2]
        assert max(timing) < row["tr"]
    assert read_json(tiny.root / "task-rest_bold.json")["RepetitionTime"] == 2.0


def test_motion_table_and_matrices_agree(tiny):
    out = tiny.files("sub-02_task-motor_run-2", "bold")
    table, truth = read_tsv(out["motion"]), read_json(out["truth"])
    matrices = read_affines(out["hmc"])
    np.testing.assert_allclose(
        parameters(matrices, np.array(truth["RotationCenter"])), table.iloc[:, :6].to_numpy(), atol=1e-6
    )
    assert not table.iloc[0, :6].any()


def test_head_is_where_the_matrices_say(tiny):
    """Undoing the true pose of a moved volume makes it like the first; the pose itself or none does not."""
    out = tiny.files("sub-01_task-motor", "bold")
    image, poses = load(out["image"]), read_affines(out["hmc"])
    series = data(image)
    shift = np.linalg.norm(poses[:, :3, 3] + poses[:, :3, :3] @ [0, -20, 10] - [0, -20, 10], axis=1)
    moved = np.argsort(shift)[-6:]
    inside = np.zeros(series.shape[:3], bool)
    inside[4:-4, 4:-4, 4:-4] = True
    inside &= series.mean(-1) > 300
    points = grid_points(series.shape[:3], image.affine, inside)
    still = series[..., :4].mean(-1)[inside]

    def likeness(matrices):
        inverse = np.linalg.inv(image.affine)
        volumes = [
            sample(series[..., t], apply_affine(inverse @ m, points), 3)
            for t, m in zip(moved, matrices, strict=True)
        ]
        return np.corrcoef(np.mean(volumes, 0), still)[0, 1]

    right = likeness(poses[moved])
    assert right > 0.99
    assert right > likeness([np.eye(4)] * len(moved)) > likeness(np.linalg.inv(poses[moved]))


def test_t1w_and_bold_agree_through_the_stored_transform(tiny):
    """Fluid is bright and white matter darker than grey where the T1w truth says they are."""
    for participant in ("sub-01", "sub-04"):
        bold, t1w = tiny.files(f"{participant}_task-rest", "bold"), tiny.files(participant, "T1w")
        image, labels = load(bold["image"]), load(t1w["dseg"])
        mean = data(image)[..., :5].mean(-1)
        points = grid_points(labels.shape, labels.affine)
        ijk = apply_affine(np.linalg.inv(image.affine) @ read_affines(bold["coreg"])[0], points)
        value = sample(mean, ijk, 1, np.nan)
        found = data(labels, np.int16).ravel()
        grey, white, fluid = (np.nanmedian(value[found == k]) for k in (1, 2, 3))
        assert white < 0.95 * grey
        assert np.nanmedian(value[found == 0]) < 0.4 * grey < fluid


def test_planted_activation_has_its_size(tiny):
    """Regression on the true courses gives the planted percent at the centre of the strongest blobs."""
    found, planted = [], []
    for scan in (
        "sub-01_task-motor",
        "sub-02_task-motor_run-1",
        "sub-02_task-motor_run-2",
        "sub-04_task-motor",
    ):
        person = scan.split("_")[0]
        out = tiny.files(scan, "bold")
        image, events = load(out["image"]), read_tsv(out["events"])
        series = data(image)
        times = np.arange(series.shape[3]) * 2.0 + 1.0
        courses = [
            response(times, events.loc[rows, "onset"].to_numpy(), events.loc[rows, "duration"].to_numpy())
            for rows in (events["trial_type"] == c for c in ("left", "right"))
        ]
        drift = [np.cos(np.pi * k * (np.arange(len(times)) + 0.5) / len(times)) for k in range(4)]
        nuisance = read_tsv(out["motion"]).iloc[:, :6].to_numpy().T
        design = np.stack([*courses, *drift, *nuisance], 1)
        to_t1w = read_warp(tiny.files(person, "T1w")["to_mni"])
        factors = read_json(out["truth"])["BlobFactors"]
        for number, condition in ((0, 0), (1, 1)):
            _, x, y, z, *_ = plants.BLOBS[number]
            near = np.array([x, y, z]) + np.stack(np.meshgrid(*[[-3, 0, 3]] * 3), -1).reshape(-1, 3)
            world = apply_affine(read_affines(out["coreg"])[0], to_t1w.apply(near))
            ijk = apply_affine(np.linalg.inv(image.affine), world)
            course = np.mean([sample(series[..., t], ijk, 1) for t in range(len(times))], 1)
            weights = np.linalg.lstsq(design, course, rcond=None)[0]
            found.append(100 * weights[condition] / course.mean())
            planted.append(plants.activation(near, condition, factors).mean())
    # linear interpolation of 6 mm voxels takes a fifth off a blob of 11 mm radius; the rest is the noise of a run
    ratio = np.sum(found) / np.sum(planted)
    assert 0.62 < ratio < 1.0
    assert np.abs(np.array(found) - 0.8 * np.array(planted)).max() < 0.9


def test_networks_are_in_the_scan(tiny):
    out = tiny.files("sub-01_task-rest", "bold")
    planted, realised = (read_tsv(out[k], index="Node").to_numpy(float) for k in ("planted", "realised"))
    upper = np.triu_indices(len(planted), 1)
    assert np.corrcoef(planted[upper], realised[upper])[0, 1] > 0.75
    np.testing.assert_allclose(np.diag(planted), 1)
    assert np.linalg.eigvalsh(planted).min() > 0
    # the courses seen in two strongly coupled and two uncoupled regions of the image
    atlas, table = load(tiny.shared["atlas"]), read_tsv(tiny.shared["atlas_table"])
    image = load(out["image"])
    series = data(image)
    points = grid_points(atlas.shape, atlas.affine, data(atlas, np.int32) > 0)
    labels = data(atlas, np.int32)[data(atlas, np.int32) > 0]
    world = apply_affine(
        read_affines(out["coreg"])[0], read_warp(tiny.files("sub-01", "T1w")["to_mni"]).apply(points)
    )
    ijk = apply_affine(np.linalg.inv(image.affine), world)
    values = np.stack([sample(series[..., t], ijk, 1) for t in range(series.shape[3])])
    regions = np.stack([np.bincount(labels, v, 101)[1:] for v in values])
    clean = np.column_stack(
        [np.ones(80), np.arange(80), regions.mean(1), read_tsv(out["motion"]).iloc[:, :6]]
    )
    left = regions - clean @ np.linalg.lstsq(clean, regions, rcond=None)[0]
    measured = np.corrcoef(left.T)[upper]
    strong, none = realised[upper] > 0.6, np.abs(realised[upper]) < 0.1
    assert measured[strong].mean() > measured[none].mean() + 0.25
    assert len(table) == 100


def test_same_seed_same_bytes(tiny, tmp_path):
    row = tiny.design.scan("sub-05_task-motor", "bold")
    again = tiny.make(row, tmp_path, tiny.shared)
    before = tiny.files("sub-05_task-motor", "bold")
    for name in ("image", "sidecar", "events", "motion", "hmc", "coreg"):
        with open(again[name], "rb") as a, open(before[name], "rb") as b:
            assert a.read() == b.read(), name
