"""Several echoes with planted T2*: the map, the weights, and what the combination gains."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from neurobraid.bold.echoes import (
    LIMITS,
    Relaxation,
    echo_times,
    echo_weights,
    echoes_run,
    fit_t2star,
    good_echoes,
    open_echoes,
)
from neurobraid.bold.fit import fit_run
from neurobraid.bold.motion import motion_run
from neurobraid.bold.resample import resample_run
from neurobraid.errors import InputError
from neurobraid.images.rigid import displacement
from neurobraid.images.transforms import apply_affine, read_affines

from .head import (
    CENTER,
    RADII,
    TR,
    bold_signal,
    motion_names,
    output_names,
    radius,
    space_names,
    tissues,
    world,
)

TIMES = np.array([0.013, 0.028, 0.043])
TOTAL = 24
NOISE = 12.0
OPTIONS = {"slice_timing_enabled": False, "slice_time_ref": 0.5}
LIMITS_OF_MOTION = {"fd_threshold": 0.5, "dvars_threshold": 1.5}


def t2star(points):
    """Planted T2* in s: tissues, and a patch above the sinuses where the signal dies early."""
    csf, wm, gm = tissues(points)
    far = (points - CENTER - [0.0, 50.0, -20.0]) / 16.0
    rate = (csf / 0.09 + wm / 0.042 + gm / 0.05) / np.maximum(csf + wm + gm, 1e-3)
    return 1.0 / (rate + 30.0 * np.exp(-0.5 * (far**2).sum(axis=-1)))


def signal(points, time):
    """Noiseless signal at T1w points; the same as one echo of the made-up person at 28 ms."""
    return bold_signal(points) * np.exp(-(time - 0.028) / t2star(points))


@pytest.fixture(scope="module")
def multi(person, tmp_path_factory):
    """A moving run of three echoes with its reference, T2* map and derivatives."""
    root = tmp_path_factory.mktemp("echoes")
    rng = np.random.default_rng(8)
    shape, affine, motion = person["shape"], person["affine"], person["motion"][:TOTAL]
    points = world(shape, affine)
    bold, sidecars = [], [root / "task-rest_bold.json"]
    sidecars[0].write_text(json.dumps({"TaskName": "rest", "RepetitionTime": TR}))
    for number, time in enumerate(TIMES, 1):
        data = np.empty((*shape, TOTAL), np.float32)
        for t in range(TOTAL):
            home = apply_affine(np.linalg.inv(motion[t] @ person["coreg"]), points)
            data[..., t] = (signal(home, time) + rng.normal(0, NOISE, len(points))).reshape(shape)
        image = nib.Nifti1Image(np.rint(np.maximum(data, 0)).astype(np.int16), affine)
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_zooms((*image.header.get_zooms()[:3], TR))
        bold.append(root / f"sub-01_task-rest_echo-{number}_bold.nii.gz")
        sidecars.append(root / f"sub-01_task-rest_echo-{number}_bold.json")
        nib.save(image, bold[-1])
        sidecars[-1].write_text(json.dumps({"EchoTime": float(time)}))
    estimated = motion_names(root)
    motion_run(bold, sidecars, estimated)
    base = f"{root}/sub-01_task-rest"
    maps = {
        "t2star": f"{base}_T2starmap.nii.gz", "t2star_json": f"{base}_T2starmap.json",
        "boldref": f"{base}_desc-optcom_boldref.nii.gz", "boldref_json": f"{base}_desc-optcom_boldref.json",
    }  # fmt: skip
    echoes_run(bold, sidecars, estimated, maps)
    outputs, spaces = output_names(root), space_names(root, ["T1w"])
    combined = [maps["t2star"], maps["boldref"]]
    fit_run(
        bold,
        sidecars,
        estimated,
        person["anatomy"],
        outputs,
        combined=combined,
        **OPTIONS,
        **LIMITS_OF_MOTION,
    )
    fitted = outputs | {"hmc": estimated["hmc"], "hmc_json": estimated["boldref_json"]}
    run = {
        "bold": bold,
        "sidecars": sidecars,
        "estimated": estimated,
        "maps": maps,
        "fitted": fitted,
        "root": root,
    }
    resample_run(
        bold, sidecars, fitted, person["anatomy"]["t1w"], person["warp"], spaces, spaces=["T1w"], resolution=5.0,
        interpolation="cubic", combined=combined[:1], **OPTIONS,
    )  # fmt: skip
    index = json.loads(Path(estimated["boldref_json"]).read_text())["ReferenceVolume"]
    return run | {"spaces": spaces, "truth": motion[index] @ person["coreg"]}


def home_of(person, multi):
    return apply_affine(np.linalg.inv(multi["truth"]), world(person["shape"], person["affine"]))


def test_map_is_the_planted_one(person, multi):
    home = home_of(person, multi)
    found = np.asarray(nib.load(multi["maps"]["t2star"]).dataobj).ravel()
    inside = radius(home) < 0.9
    relative = (found / t2star(home) - 1)[inside]
    assert np.median(np.abs(relative)) < 0.02
    assert abs(relative.mean()) < 0.02
    assert np.percentile(np.abs(relative), 90) < 0.05
    patch = inside & (t2star(home) < 0.03)
    assert patch.sum() > 100 and np.abs(found / t2star(home) - 1)[patch].mean() < 0.05
    content = json.loads(Path(multi["maps"]["t2star_json"]).read_text())
    assert content["EchoTimes"] == TIMES.tolist() and content["Units"] == "s"
    assert (found[radius(home) > 1.4] == 0).all()


def ratio(series):
    """Temporal signal-to-noise ratio of voxels, (T, N)."""
    return np.median(series.mean(axis=0) / series.std(axis=0))


def test_combination_is_better_than_every_echo(person, multi, tmp_path):
    mask = np.asarray(nib.load(multi["spaces"]["mask"][0]).dataobj) > 0
    together = np.asarray(nib.load(multi["spaces"]["bold"][0]).dataobj)[mask].T
    single = []
    for number, echo in enumerate(multi["bold"]):
        spaces = space_names(tmp_path / str(number), ["T1w"])
        resample_run(
            [echo], multi["sidecars"], multi["fitted"], person["anatomy"]["t1w"], person["warp"], spaces,
            spaces=["T1w"], resolution=5.0, interpolation="cubic", **OPTIONS,
        )  # fmt: skip
        single.append(ratio(np.asarray(nib.load(spaces["bold"][0]).dataobj)[mask].T))
    assert ratio(together) > 1.1 * max(single), (ratio(together), single)


def test_values_are_the_weighted_sum(person, multi):
    image = nib.load(multi["spaces"]["bold"][0])
    home = world(image.shape[:3], image.affine)
    weights = echo_weights(t2star(home), TIMES)
    truth = sum(w * signal(home, time) for w, time in zip(weights, TIMES, strict=True))
    deep = (radius(home) < 0.9) & (np.asarray(nib.load(multi["spaces"]["mask"][0]).dataobj) > 0).ravel()
    mean = np.asarray(image.dataobj).mean(axis=-1).ravel()
    assert np.abs(mean - truth)[deep].mean() < 0.015 * truth[deep].mean()
    content = json.loads(Path(multi["spaces"]["bold_json"][0]).read_text())
    assert content["EchoTimes"] == TIMES.tolist() and "Posse" in content["Combination"]
    assert "combination of echoes" in content["Description"] and "EchoTime" not in content


def test_head_is_found_from_all_echoes(person, multi):
    brain = CENTER + RADII * np.random.default_rng(0).uniform(-0.55, 0.55, (300, 3))
    found = read_affines(multi["fitted"]["coreg"])
    distance, _ = displacement(found, multi["truth"][None], brain)
    assert distance[0] < 0.6
    content = json.loads(Path(multi["fitted"]["qc"]).read_text())
    assert content["echoes"] == 3 and content["volumes"] == TOTAL
    reference = np.asarray(nib.load(multi["fitted"]["boldref"]).dataobj)
    assert np.array_equal(reference, np.asarray(nib.load(multi["maps"]["boldref"]).dataobj))


def test_a_run_that_lost_its_first_echo(multi, tmp_path):
    maps = {key: f"{tmp_path}/{Path(path).name}" for key, path in multi["maps"].items()}
    echoes_run(multi["bold"][1:], multi["sidecars"], multi["estimated"], maps)
    both, three = (np.asarray(nib.load(m["t2star"]).dataobj) for m in (maps, multi["maps"]))
    inside = (both > 0) & (three > 0.035) & (three < 0.1)
    assert np.median(np.abs(both[inside] / three[inside] - 1)) < 0.05


def test_map_gives_the_same_bytes_again(multi, tmp_path):
    maps = {key: f"{tmp_path}/{Path(path).name}" for key, path in multi["maps"].items()}
    echoes_run(multi["bold"], multi["sidecars"], multi["estimated"], maps)
    for key, path in maps.items():
        assert Path(path).read_bytes() == Path(multi["maps"][key]).read_bytes(), key


# --- the fit and the weights on numbers ---------------------------------------------------------------------------


def test_fit_is_exact_without_noise():
    truth = np.array([0.008, 0.02, 0.05, 0.12])
    means = 900 * np.exp(-TIMES[:, None] / truth)
    for count in (2, 3):
        assert np.allclose(fit_t2star(means, TIMES, np.full(4, count)), truth)


def test_only_good_echoes_count():
    truth = 0.012
    means = 900 * np.exp(-TIMES / truth)[:, None]
    floor = np.array([[0.0], [0.0], [60.0]])  # rectified noise in the last echo
    assert abs(fit_t2star(means + floor, TIMES, np.array([2]))[0] - truth) < 1e-9
    assert fit_t2star(means + floor, TIMES, np.array([3]))[0] > 1.003 * truth
    assert fit_t2star(means, TIMES, np.array([1]))[0] == fit_t2star(means, TIMES, np.array([2]))[0]


def test_implausible_decay_stays_inside_the_limits():
    means = np.array([[500.0, 500.0, 500.0], [520.0, 0.0, 1e-9], [540.0, 0.0, 0.0]])
    found = fit_t2star(means, TIMES, np.array([3, 1, 1]))
    assert found[0] == LIMITS[1] and found[1] == LIMITS[0] and LIMITS[0] <= found[2] < 0.002


def test_good_echoes_are_counted_from_the_first():
    means = np.tile(np.array([[900.0], [600.0], [400.0]]), (1, 50))
    means[1:, 0] = 10.0
    means[1, 1] = 10.0
    means[2, 2] = 10.0
    means[:, 3] = 5.0
    assert good_echoes(means, np.ones(50, bool))[:5].tolist() == [1, 1, 2, 0, 3]


@pytest.mark.parametrize("value", [0.001, 0.015, 0.04, 0.5])
def test_weights(value):
    weights = echo_weights(np.array([value]), TIMES)
    assert np.isclose(weights.sum(), 1.0, atol=1e-6)
    expected = TIMES * np.exp(-TIMES / value)
    assert np.allclose(weights[:, 0], expected / expected.sum(), atol=1e-6)


def test_weights_beside_the_map_are_those_of_its_border():
    grid = np.zeros((6, 7, 8), np.float32)
    grid[2:, :, :] = 0.05
    grid[3, 3, 3] = 0.02
    relaxation = Relaxation(grid, np.eye(4), TIMES)
    weights = relaxation.weights(np.array([[1.5, 3.0, 3.0], [0.0, 3.0, 3.0], [3.0, 3.0, 3.0]]))
    middle = echo_weights(np.array([0.05, 0.05, 0.02]), TIMES)
    assert np.allclose(weights, middle, atol=1e-6)


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ((0.013, None), "missing"),
        ((13, 28), "seconds"),
        ((0.028, 0.013), "0.013 s after 0.028 s"),
        (("x", 1), "seconds"),
    ],
)
def test_echo_times_that_cannot_be(tmp_path, times, message):
    bold = [tmp_path / f"sub-01_task-rest_echo-{n}_bold.nii.gz" for n in (1, 2)]
    sidecars = [tmp_path / f"sub-01_task-rest_echo-{n}_bold.json" for n in (1, 2)]
    for path, time in zip(sidecars, times, strict=True):
        path.write_text(json.dumps({} if time is None else {"EchoTime": time}))
    with pytest.raises(InputError, match=message):
        echo_times(bold, sidecars)


def test_an_echo_on_another_grid(multi, tmp_path):
    image = nib.load(multi["bold"][1])
    moved = image.affine.copy()
    moved[0, 3] += 2.0
    other = tmp_path / multi["bold"][1].name
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved, image.header), other)
    with pytest.raises(InputError, match="first echo"):
        list(open_echoes([multi["bold"][0], other], multi["sidecars"]))


def test_one_echo_has_no_map(multi, tmp_path):
    with pytest.raises(InputError, match="two or more"):
        echoes_run(multi["bold"][:1], multi["sidecars"], multi["estimated"], {})
