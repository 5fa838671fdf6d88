"""Figures: geometry against known volumes, labels on axes, equal bytes."""

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import distance_transform_edt

from neurobraid.reports import figures, pet_figures, style
from neurobraid.reports.carpet import pick_voxels, scaled, signals, spread, temporal_snr
from neurobraid.reports.planes import Cut, Volume, bounding_box, distance_from, even_cuts, sample, sheet

SHAPE = (7, 8, 9)


@pytest.fixture
def ramp():
    """Volume whose value is 1000 x + 100 y + z of the world point (mm / 10), on a turned grid."""
    affine = np.array([[-10.0, 0, 0, 30], [0, 10, 0, -40], [0, 0, 10, -20], [0, 0, 0, 1]])
    ijk = np.indices(SHAPE).reshape(3, -1)
    world = (affine[:3, :3] @ ijk + affine[:3, 3:]) / 10
    return Volume((np.array([1000, 100, 1]) @ world).reshape(SHAPE).astype(np.float32), affine)


@pytest.mark.parametrize(
    ("cut", "across", "down"),
    [(Cut("z", 10.0), 1000, -100), (Cut("y", 0.0), 1000, -1), (Cut("x", 10.0), 100, -1)],
)
def test_left_is_left_and_top_is_up(ramp, cut, across, down):
    box = np.array([[-20.0, -30, -10], [20, 20, 40]])
    picture = sheet([[cut]], box, spacing=10.0).read(ramp)
    assert np.allclose(np.diff(picture, axis=1), across)
    assert np.allclose(np.diff(picture, axis=0), down)
    row = {"x": (2, 40), "y": (2, 40), "z": (1, 20)}[cut.axis]
    value = {"x": 0.0, "y": 0.0, "z": 0.0}
    value[cut.axis] = cut.at
    value["xyz"[row[0]]] = row[1]
    value["y" if cut.axis == "x" else "x"] = -30 if cut.axis == "x" else -20
    assert picture[0, 0] == pytest.approx(100 * value["x"] + 10 * value["y"] + 0.1 * value["z"])


def test_matrix_maps_shown_points_to_the_volume(ramp):
    shift = np.eye(4)
    shift[:3, 3] = [10, 0, -10]
    moved = Volume(ramp.data, ramp.affine, shift)
    point = np.array([[0.0, 0.0, 0.0]])
    assert sample(moved, point)[0] == pytest.approx(1000 * 1 + 0 - 1)
    drawn = sheet([[Cut("z", 0.0)]], np.array([[-10.0, -10, -10], [10, 10, 10]]), spacing=10.0)
    assert drawn.read(moved)[1, 1] == pytest.approx(1000 * 1 + 0 - 1)


def test_outside_is_filled_and_gaps_too(ramp):
    drawn = sheet(
        [[Cut("z", 0.0), Cut("z", 500.0)]], np.array([[-20.0, -20, -20], [20, 20, 20]]), spacing=10.0, gap=2
    )
    picture = drawn.read(ramp, fill=-7.0)
    assert picture.shape == (4, 10)
    assert (picture[:, 4:] == -7).all()
    assert (picture[:, :4] != -7).all()


def test_box_of_a_mask_in_the_shown_space(ramp):
    mask = np.zeros(SHAPE)
    mask[2:4, 3, 5:7] = 1
    assert np.allclose(bounding_box(ramp.with_data(mask), 0), [[0, -10, 30], [10, -10, 40]])
    shift = np.eye(4)
    shift[0, 3] = 5
    assert np.allclose(bounding_box(Volume(mask, ramp.affine, shift), 0)[:, 0], [-5, 5])
    assert np.allclose(bounding_box(ramp.with_data(mask * 0), 0)[:, 1], [-40, 30])


def test_even_cuts_stay_inside():
    cuts = even_cuts(np.array([[0.0, 0, -50], [0, 0, 50]]), "z", 5, (0.1, 0.2))
    assert [c.at for c in cuts] == [-40, -22, -5, 12, 30]
    assert cuts[0].label == "z = −40"
    assert Cut("x", -0.3).label == "x = 0"


def test_carpet_sorts_by_tissue_and_scales(ramp):
    tissue = np.zeros(SHAPE, int)
    tissue[1:4], tissue[4:6], tissue[6] = 1, 2, 3
    time = np.linspace(-1, 1, 20)
    wave = np.sin(9 * time)
    wave -= (wave @ time) / (time @ time) * time
    series = 100.0 + 30 * time + tissue[..., None] * wave
    voxels, names = pick_voxels(ramp.with_data(tissue > 0), ramp.with_data(tissue), rows=60)
    assert (np.diff(names) >= 0).all()
    assert set(names) == {1, 2, 3}
    assert len(names) <= 63
    assert (tissue[tuple(voxels.T)] == names).all()
    keep = np.ones(20, bool)
    values = signals(series, voxels)
    unit = spread(values, keep)
    expected = (wave - wave.mean()) / wave.std()
    assert np.allclose(scaled(values, unit, keep), expected, atol=1e-4)
    assert pick_voxels(ramp.with_data(tissue * 0), ramp.with_data(tissue)) is None
    assert pick_voxels(ramp.with_data(tissue > 0), ramp.with_data(tissue * 0)) is None


def test_carpet_survives_nan_and_constant_voxels(ramp):
    series = np.full((*SHAPE, 6), 5.0)
    series[2, 2, 2] = np.nan
    voxels, _ = pick_voxels(ramp.with_data(np.ones(SHAPE)), ramp.with_data(np.ones(SHAPE)), rows=1000)
    values, keep = signals(series, voxels), np.ones(6, bool)
    assert (scaled(values, spread(values, keep), keep) == 0).all()


def test_carpet_after_regression_keeps_what_confounds_do_not_explain():
    rng = np.random.default_rng(4)
    time = np.arange(80)
    wave, nuisance = np.sin(time / 3.0), rng.standard_normal((80, 2))
    own = np.array([[1.0], [2.0], [0.5]]) * wave
    values = 500 + 0.3 * time + own + np.array([[4.0, -2], [1, 5], [3, 3]]) @ nuisance.T
    values[:, 0] += 400.0
    keep = time > 0
    unit = spread(values, keep)
    before = scaled(values, unit, keep)
    after = scaled(values, unit, keep, np.column_stack([nuisance, np.ones(80)]))
    assert np.allclose(before[:, keep].std(axis=1), 1, atol=1e-5)
    left = (own / unit)[:, keep]
    assert all(np.corrcoef(a, b)[0, 1] > 0.99 for a, b in zip(after[:, keep], left, strict=True))
    assert np.allclose(after[:, keep].std(axis=1), left.std(axis=1), rtol=0.05)


def test_carpet_follows_the_head(ramp):
    rng = np.random.default_rng(1)
    start = rng.uniform(50, 100, SHAPE)
    # the second volume shows everything one voxel further along the first axis
    series = np.stack([start, np.roll(start, 1, axis=0)], axis=-1)
    step = np.eye(4)
    step[:3, 3] = ramp.affine[:3, 0]
    voxels = np.array([[2, 3, 4], [4, 1, 2]])
    moved = signals(series, voxels, ramp.affine, np.array([np.eye(4), step]))
    assert np.allclose(moved[:, 0], moved[:, 1])
    assert not np.allclose(*signals(series, voxels).T)


def test_temporal_snr_is_that_of_the_file_and_ignores_drift():
    rng = np.random.default_rng(2)
    noise = np.array([5.0, 10.0, 20.0, 40.0])
    stored = np.rint(1000 + noise[:, None, None, None] * rng.standard_normal((4, 5, 6, 400))).astype(np.int16)
    stored = stored + np.arange(400, dtype=np.int16) // 4
    stored[..., 0] = 3000
    keep = np.arange(400) > 0
    mask = np.ones((4, 5, 6), bool)
    mask[0, 0, 0] = False
    found = temporal_snr(stored, mask, keep)
    assert np.isnan(found[0, 0, 0])
    assert np.allclose(np.nanmedian(found, axis=(1, 2)) * noise, 1050, rtol=0.06)
    # a file of slope 0.5 and intercept 100 holds 0.5 (stored + 200)
    shifted = temporal_snr(stored, mask, keep, offset=200.0)
    assert np.allclose(np.nanmedian(shifted, axis=(1, 2)) * noise, 1250, rtol=0.06)


def head_with_a_face():
    """A head of 2 mm voxels: a brain, scalp around it, and a very bright face in front and below."""
    shape = (90, 110, 100)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = [-90, -120, -110]
    where = np.moveaxis(np.indices(shape), 0, -1) * 2.0 + affine[:3, 3]
    brain = (where**2 / np.array([62.0, 80.0, 60.0]) ** 2).sum(-1) < 1
    distance = distance_transform_edt(~brain, sampling=2.0)
    head = np.where(brain, 100.0, np.where(distance < 10, 60.0, 0.0))
    # eyes to chin: everything in front of and below the brain that is farther than the scalp over it
    face = (distance > 14) & (where[..., 1] > 0) & (where[..., 2] < 20) & (np.abs(where[..., 0]) < 60)
    head = np.where(face, 1000.0, head).astype(np.float32)
    tissue = np.where(brain, 1 + (where[..., 2] > 0), 0).astype(np.float32)
    return Volume(head, affine), Volume(brain.astype(np.float32), affine), Volume(tissue, affine)


def test_no_figure_shows_a_face():
    head, brain, tissue = head_with_a_face()
    assert (head.data == 1000).sum() > 10_000
    near = distance_from(brain)
    shift = np.eye(4)
    shift[:3, 3] = [6, -4, 8]
    moving = Volume(head.data, shift @ head.affine, shift)
    lines = [("edge", style.ORANGE, brain)]
    drawn = {
        "mask": [figures.brain_outline(head, brain, near)],
        "tissue": [figures.tissue_outlines(head, brain, tissue, near)],
        "normalised": figures.normalisation(head, brain, brain, near),
        "registration": figures.registration(moving, head, ("a", "b"), lines, brain, near),
        "z": [figures.statistic_map(brain, head, near, threshold=3.0, cuts=[Cut("z", -30.0), Cut("x", 6.0)])],
        "map": [figures.intensity_map(brain, head, near, label="x", limits=(0, 2), show_from=1.5)],
    }
    for name, each in drawn.items():
        for number, figure in enumerate(each):
            values = figure.axes[0].images[0].get_array()
            assert values.max() > 0, name
            assert values.max() < 150, f"{name} {number} shows the face"
    # and the test can fail: the same cuts without the limit do show it
    box = bounding_box(brain, margin=13.0)
    assert sheet([even_cuts(box, "x", 3)], box).read(head, fill=0.0).max() == 1000


def test_distance_from_the_brain_is_in_mm_of_the_shown_space():
    _, brain, _ = head_with_a_face()
    near = distance_from(brain)
    points = np.array([[0.0, 0, 0], [70, 0, 0], [0, 0, 66], [0, -88, 0], [0, 0, 500]])
    found = sample(near, points, fill=np.inf)
    assert np.allclose(found[:4], [0, 8, 6, 8], atol=2.1)
    assert found[4] == np.inf
    assert np.isinf(distance_from(brain.with_data(brain.data * 0)).data).all()


def test_regions_are_ordered_by_structure_side_and_position():
    regions = pd.DataFrame(
        {
            "name": ["e", "d", "c", "b", "a"],
            "hemisphere": ["L", "R", "L", "L", "R"],
            "structure": ["cerebellum", "cortex", "cortex", "cortex", "cortex"],
            "y": [0.0, 10, -50, 40, 20],
        }
    )
    order, blocks = figures.region_order(regions)
    assert [regions["name"][i] for i in order] == ["b", "c", "a", "d", "e"]
    assert blocks == [("L cortex", 2), ("R cortex", 2), ("L cerebellum", 1)]


def test_statistic_map_hides_what_is_below_the_threshold(ramp):
    values = np.zeros(SHAPE, np.float32)
    values[2, 3, 2], values[4, 5, 2] = 5.0, 2.0
    box = np.array([[-40.0, -45, -25], [40, 45, 70]])
    near = ramp.with_data(np.zeros(SHAPE))
    figure = figures.statistic_map(
        ramp.with_data(values), ramp, near, threshold=3.0, box=box, cuts=[Cut("z", 0.0)]
    )
    overlay = figure.axes[0].images[1].get_array()
    shown = np.isfinite(np.ma.filled(overlay, np.nan))
    assert shown.any()
    assert np.ma.filled(overlay, np.nan)[shown].min() >= 0.5, "positive values use the warm half"
    ticks = [t.get_text() for t in figure.axes[1].get_yticklabels()]
    assert "3" in ticks
    assert "−3" in ticks


def fake_confounds(count=30):
    values = np.linspace(0, 1, count)
    columns = {f"{kind}_{axis}": values for kind in ("trans", "rot") for axis in "xyz"}
    return pd.DataFrame({**columns, "framewise_displacement": [np.nan, *values[1:]], "std_dvars": 1 + values})


def charts():
    frames = pd.DataFrame(
        {
            "frame_start": [0.0, 60, 120],
            "frame_end": [60.0, 120, 600],
            "a": [1.0, 3, 2],
            "reference": [1.0, 2, 1],
        }
    )
    table = pd.DataFrame({"a": [1.0, 2, np.nan], "b": [3.0, 2, 1]})
    score = {"name": "fmri", "value": 0.7, "low": 0.5, "high": 0.9}
    return {
        "motion": figures.motion(
            fake_confounds(), seconds=np.arange(30) * 2.0, fd_threshold=0.5, dvars_threshold=1.5
        ),
        "motion with carpets": figures.motion(
            fake_confounds(),
            seconds=np.arange(30) * 2.0,
            fd_threshold=0.5,
            carpets=[("before", np.zeros((6, 30))), ("after", np.ones((6, 30)))],
            tissue=np.array([1, 1, 2, 2, 2, 3]),
        ),
        "pet_motion": figures.pet_motion(frames, fake_confounds(3)),
        "fits": pet_figures.tac_fits(
            np.array([1.0, 5.0, 20.0]),
            [("a", np.array([1.0, 2.0, 3.0]), {"SRTM": np.array([1.0, 2.5, 2.0])})],
            models=["SRTM"],
        ),
        "fd": figures.fd_distribution([("sub-1", "motor", np.array([0.1, np.nan, 4.0, 0.2]))], 0.5),
        "quality": figures.quality_strips(
            [
                (
                    "mean FD (mm)",
                    [
                        ("rest", np.array([0.1, 0.2, 0.9, np.nan]), ["", "", "03", ""]),
                        ("motor", np.full(3, 0.2), [""] * 3),
                    ],
                )
            ]
        ),
        "box": figures.regional_box(table, label="BPND (unitless)"),
        "bars": figures.regional_bars(pd.Series({"a": 1.0, "b": np.nan}), None, label="BPND (unitless)"),
        "scores": figures.scores(
            [score, {**score, "kind": "baseline", "low": np.nan}], label="AUC", chance=0.5
        ),
        "calibration": figures.calibration(
            np.arange(12) % 2 == 0, np.linspace(0, 1, 12), positive="patient", negative="control"
        ),
        "predicted": figures.predicted_against_true(np.arange(5.0), np.arange(5.0) + 1, label="age (years)"),
    }


def test_every_chart_has_labelled_axes():
    for name, figure in charts().items():
        labels = [text for a in figure.axes for text in (a.get_xlabel(), a.get_ylabel(), a.get_title("left"))]
        assert any(labels), name
        assert figure.axes[-1].get_xlabel() or name in (
            "box",
            "bars",
            "fd",
            "quality",
            "motion with carpets",
        ), name


def test_scans_that_stand_out_carry_their_name():
    values = np.array([0.1, 0.2, 0.9, 0.89, np.nan])
    figure = figures.quality_strips([("mean FD (mm)", [("rest", values, ["", "", "03", "04", "05"])])])
    # 04 lies on 03, 05 has no value
    assert [t.get_text() for t in figure.axes[0].texts] == ["03"]
    assert [len(line.get_xdata()) for line in figure.axes[0].lines[-2:]] == [3, 2]


def test_files_are_the_same_bytes_each_time(tmp_path):
    for kind in ("svg", "png"):
        # drawn from scratch each time: a layout settles a little when one figure is drawn twice
        first, again = (
            {
                name: style.save(figure, tmp_path / f"{name}.{kind}").read_bytes()
                for name, figure in charts().items()
            }
            for _ in range(2)
        )
        assert first == again
        assert not any(b"Matplotlib v" in content or b"<dc:date>" in content for content in first.values())
    with pytest.raises(ValueError, match="gif"):
        style.save(charts()["scores"], tmp_path / "x.gif")


def test_palette_keeps_white_black_and_colours(tmp_path):
    from PIL import Image

    figure = style.new_figure(4, 2)
    figure.add_axes([0, 0, 0.5, 1]).imshow(
        np.random.default_rng(0).random((80, 80)), cmap="gray", aspect="auto"
    )
    figure.add_axes([0.5, 0, 0.4, 1]).imshow(np.linspace(0, 1, 256)[:, None], cmap="viridis", aspect="auto")
    picture = np.asarray(Image.open(style.save(figure, tmp_path / "x.png")).convert("RGB")).astype(int)
    assert (picture[:, -5:] == 255).all()
    bar = picture[5:-5, 400]
    assert len(np.unique(bar, axis=0)) > 60, "the colour bar must stay smooth"


def test_look_does_not_leak():
    import matplotlib

    before = matplotlib.rcParams["font.size"]
    with style.look():
        assert matplotlib.rcParams["svg.hashsalt"] == "neurobraid"
    assert matplotlib.rcParams["font.size"] == before
