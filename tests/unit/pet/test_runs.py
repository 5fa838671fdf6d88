"""Two runs of one injection: one clock, one position, one decay; and what does not go together."""

import numpy as np
import pytest

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json
from neurobraid.images.io import save
from neurobraid.images.rigid import compose
from neurobraid.images.transforms import apply_affine, read_affines
from neurobraid.pet import fit, frames, resample, srtm, tacs
from neurobraid.pet.inputfunction import sidecars_of

from . import phantom
from .test_steps import anatomy, sidecar  # noqa: F401

FIRST, SECOND = slice(0, 20), slice(22, 26)
"""Frames of the runs: two frames of 5 min are lost to the coffee."""


def fields(timing, zero, *, injection=None, **changes):
    """Sidecar of frames on a clock that starts `zero` s after the injection."""
    start = (timing.start - zero).tolist()
    base = {
        "TracerName": "test", "FrameTimesStart": start, "FrameDuration": timing.duration.tolist(), "ScanStart": start[0],
        "InjectionStart": -zero, "ImageDecayCorrectionTime": start[0],
    }  # fmt: skip
    return sidecar(timing, **{**base, **changes})


def analyse(folder, pets, a):
    """Frames, motion, curves and binding of a scan: the paths of the first step, its curves and SRTM of them."""
    names = ("frames", "petref", "hmc", "coreg", "confounds", "pet")
    out = {n: folder / f"{n}.nii.gz" if n in ("petref", "pet") else folder / f"{n}.out" for n in names}
    out |= {f"{n}_json": folder / f"{n}.json" for n in names} | {"qc": folder / "qc.json"}
    sides = [str(p).replace(".nii.gz", ".json") for p in pets]
    fit.fit(
        pets, sides, a["t1w"], a["brain"], [a["grey"], a["white"], a["csf"]], out, participant="sub-01",
        participants=[a["participants"]],
    )  # fmt: skip
    common = (out["frames"], out["frames_json"])
    resample.resample(pets, *common, out["hmc"], out["coreg"], a["t1w"], out)
    curves = {n: folder / f"{n}.tsv" for n in ("reference", "reference_json", "weights")}
    curves |= {n: [folder / f"{n}.tsv"] for n in ("tacs", "tacs_json", "morph")}
    tacs.extract(
        out["pet"], *common, a["brain"], a["grey"], a["warp"], [(a["atlas"], a["table"])], curves, names=["three"],
        reference_regions=["cerebellum"],
    )  # fmt: skip
    table, (timing, _) = read_tsv(curves["tacs"][0])[["front", "back"]], resample.read_frame_table(*common)
    shared = srtm.basis(timing, table["back"].to_numpy(), read_tsv(curves["weights"])["weight"].to_numpy())
    return out, table, srtm.fit_regions(table[["front"]].to_numpy().T, shared).loc[0]


def part(timing, own):
    return type(timing)(timing.start[own], timing.end[own], timing.decay[own], 1.0, timing.half_life_min)


def stored(series, timing):
    """kBq/mL at injection as Bq/mL at the start of the run."""
    return 1000 * series * np.float32(2 ** (-timing.start[0] / (60 * timing.half_life_min)))


@pytest.fixture(scope="module")
def both(tmp_path_factory, anatomy):  # noqa: F811
    """The same frames as one image with a gap, and as two runs with clocks, grids and positions of their own."""
    folder = tmp_path_factory.mktemp("runs")
    timing = phantom.frames()
    poses = phantom.poses(mm=0.8, degrees=0.8)
    kept = np.r_[FIRST, SECOND]
    series = phantom.scan(poses, np.eye(4), noise=0.02)
    whole = folder / "whole"
    whole.mkdir()
    save(stored(series[..., kept], part(timing, kept)), phantom.AFFINE, whole / "sub-01_pet.nii.gz")
    write_json(fields(part(timing, kept), 0.0), whole / "sub-01_pet.json")

    # after the pause the head lies 25 mm further in and turned by 9 degrees, and the bed has another place
    again = compose(np.array([[4.0, -6.0, 25.0, 0.1, -0.03, 0.157]]), phantom.CENTER)[0]
    moved = phantom.scan([again @ pose for pose in poses], np.eye(4), noise=0.02)
    split = folder / "split"
    split.mkdir()
    one, two = part(timing, FIRST), part(timing, SECOND)
    grid = phantom.AFFINE.copy()
    grid[2, 3] -= 2 * phantom.VOXEL_MM
    lifted = np.zeros((*phantom.SHAPE[:2], phantom.SHAPE[2] + 4, len(two)), np.float32)
    lifted[:, :, 2:-2] = moved[..., SECOND]
    paths = [split / f"sub-01_run-{n}_pet" for n in (1, 2)]
    save(stored(series[..., FIRST], one), phantom.AFFINE, f"{paths[0]}.nii.gz")
    save(stored(lifted, two), grid, f"{paths[1]}.nii.gz")
    write_json(fields(one, 0.0), f"{paths[0]}.json")
    write_json(fields(two, two.start[0]), f"{paths[1]}.json")
    results = (
        analyse(whole, [whole / "sub-01_pet.nii.gz"], anatomy),
        analyse(split, [f"{p}.nii.gz" for p in paths], anatomy),
    )
    return *results, part(timing, kept), again


def test_frames_of_both_runs_are_on_the_clock_of_the_injection(both):
    whole, split, timing, _ = both
    for out, *_ in (whole, split):
        table = read_tsv(out["frames"])
        np.testing.assert_allclose(table["frame_start_s"], timing.start)
        np.testing.assert_allclose(table["frame_end_s"], timing.end)
    # every run refers its own decay to the injection
    one, two = (read_tsv(out["frames"])["decay_factor"].to_numpy() for out, *_ in (whole, split))
    np.testing.assert_allclose(one, one[0])
    np.testing.assert_allclose(two[20:] / two[0], 2 ** ((timing.start[20] - timing.start[0]) / (60 * 20.364)))
    qc = read_json(split[0]["qc"])
    assert qc["frames"] == 24 and qc["gap_min"] == pytest.approx(10)


def test_curves_and_binding_are_those_of_the_uninterrupted_scan(both):
    whole, split, _, _ = both
    assert np.abs(split[1] / whole[1] - 1).iloc[5:].max().max() < 0.03
    one, two = whole[2], split[2]
    assert one["flag"] == two["flag"] == "ok"
    assert two["BPND"] == pytest.approx(one["BPND"], rel=0.02)
    assert two["R1"] == pytest.approx(one["R1"], rel=0.02)


def test_the_head_is_found_where_it_lies_after_the_pause(both):
    _, split, _, again = both
    found = read_affines(split[0]["hmc"])
    planted = phantom.poses(mm=0.8, degrees=0.8)
    points = apply_affine(phantom.AFFINE, np.argwhere(np.ones(phantom.SHAPE))[::501])
    points = points[np.linalg.norm(points - phantom.CENTER, axis=1) < 70]
    true = again @ planted[22] @ np.linalg.inv(planted[19])
    got = found[20] @ np.linalg.inv(found[19])
    apart = np.linalg.norm(apply_affine(true, points) - apply_affine(got, points), axis=1)
    assert np.linalg.norm(apply_affine(true, points) - points, axis=1).mean() > 20
    assert apart.mean() < 0.7


def two_runs(**changes):
    timing = phantom.frames()
    runs = []
    for n, (own, zero) in enumerate(((FIRST, 0.0), (SECOND, 3000.0))):
        at = part(timing, own)
        content = fields(at, zero, **(changes if n else {}))
        runs.append((frames.read_frames(content, len(at), f"run-{n + 1}"), content, f"run-{n + 1}"))
    return runs


def test_runs_join_whatever_their_clocks():
    joined = frames.join_runs(two_runs())
    timing = phantom.frames()
    np.testing.assert_allclose(joined.start, timing.start[np.r_[FIRST, SECOND]])
    assert ";" in joined.correction
    assert len(frames.join_runs(two_runs()[:1])) == 20


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"TracerName": "other"}, "TracerName", "other"),
        ({"TracerRadionuclide": "F18"}, "TracerRadionuclide", "109.77"),
        ({"InjectedRadioactivity": 8.0}, "InjectedRadioactivity", "MBq"),
        ({"Units": "kBq/mL"}, "Units", "0.001"),
        # counted from the start of its own run, but on the clock of the injection
        ({"InjectionStart": 0.0}, "FrameTimesStart[0]", "the run before it"),
    ],
)
def test_runs_that_do_not_go_together_are_refused(changes, field, words):
    with pytest.raises(InputError) as error:
        frames.join_runs(two_runs(**changes))
    problem = error.value.problem
    assert problem.field == field and problem.file == "run-2"
    assert words in problem.found and "TimeZero" in problem.fix


def test_a_dose_that_one_run_does_not_tell_is_that_of_the_other():
    joined = frames.join_runs(two_runs(InjectedRadioactivity="n/a"))
    assert len(joined) == 24


def test_blood_counts_on_the_clock_of_its_run():
    sides = ["x/pet.json", "x/sub-1_run-1_pet.json", "x/sub-1_run-2_pet.json"]
    assert sidecars_of("x/sub-1_run-2_recording-manual_blood.tsv", sides) == [sides[0], sides[2]]
    assert sidecars_of("x/sub-1_recording-manual_blood.tsv", sides) == sides[:2]
    assert sidecars_of("x/sub-1_run-1_recording-manual_blood.tsv", sides[:2]) == sides[:2]
