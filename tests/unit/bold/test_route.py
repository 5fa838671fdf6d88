"""A run with a planted field: what the correction leaves, and the exactness of the chain to the raw voxels."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.bold.distortion import jacobian, phase_axis
from neurobraid.bold.echoes import Relaxation, echo_weights
from neurobraid.bold.fit import fit_run
from neurobraid.bold.motion import motion_run
from neurobraid.bold.resample import resample_run
from neurobraid.bold.route import Distortion, make_route, read_distortion
from neurobraid.bold.sampling import Sampler
from neurobraid.errors import InputError
from neurobraid.images.resample import grid_points
from neurobraid.images.rigid import displacement
from neurobraid.images.transforms import apply_affine, read_affines

from .head import CENTER, RADII, TR, bold_signal, motion_names, output_names, radius, space_names, world

SPACES = ["MNI152NLin2009aSym", "T1w"]
READOUT, DIRECTION = 0.06, "j-"
TOTAL = 14
OPTIONS = {"slice_timing_enabled": True, "slice_time_ref": 0.5}
LIMITS = {"fd_threshold": 0.5, "dvars_threshold": 1.5}


def field(points):
    """Off-resonance in Hz above the frontal sinuses: three voxels at its peak."""
    far = (points - CENTER - [0.0, 55.0, -15.0]) / [30.0, 26.0, 24.0]
    return 3.0 / READOUT * np.exp(-0.5 * (far**2).sum(axis=-1))


def scan(place, shape, affine):
    """What an echo-planar sequence shows of a signal at world points."""
    axis, sign = phase_axis(DIRECTION)
    fine = 8
    lines = np.delete(np.array(shape), axis)
    out = np.empty((*lines, shape[axis]))
    true = np.arange(-4, shape[axis] + 4, 1.0 / fine)
    for line in np.ndindex(*lines):
        ijk = np.insert(np.tile(np.array(line, float), (len(true), 1)), axis, true, axis=1)
        points = apply_affine(affine, ijk)
        shift = sign * READOUT * field(points)
        density = place(points) / (1.0 + np.gradient(shift, 1.0 / fine))
        out[line] = np.interp(np.arange(shape[axis]), true + shift, density)
    return np.moveaxis(out, -1, axis)


@pytest.fixture(scope="module")
def distorted(person, tmp_path_factory):
    """A run of the made-up person as a scanner with an uneven field shows it, and the field map."""
    root = tmp_path_factory.mktemp("distorted")
    rng = np.random.default_rng(5)
    shape, affine = (34, 40, 26), person["affine"]
    motion = person["motion"][:TOTAL]

    def place(points):
        back = np.linalg.inv(person["coreg"])
        home = points @ back[:3, :3].T + back[:3, 3]
        return bold_signal(home)

    still = scan(place, shape, affine)
    # the field goes with the head, so that a moved volume is the distorted image moved
    sampler = Sampler(np.asfortranarray(still[..., None].astype(np.float32)), affine)
    data = np.empty((*shape, TOTAL), np.float32)
    for t in range(TOTAL):
        values = sampler.volume(0, world(shape, affine), np.linalg.inv(motion[t]))
        data[..., t] = (values + rng.normal(0, 6.0, len(values))).reshape(shape)
    image = nib.Nifti1Image(np.rint(np.maximum(data, 0)).astype(np.int16), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*image.header.get_zooms()[:3], TR))
    bold, side = root / "sub-01_task-rest_bold.nii.gz", root / "sub-01_task-rest_bold.json"
    nib.save(image, bold)
    side.write_text(json.dumps({"TaskName": "rest", "RepetitionTime": TR, "EchoTime": 0.03}))
    estimated = motion_names(root)
    motion_run([bold], [side], estimated)
    # the reference stands where one of the volumes does
    index = json.loads(Path(estimated["boldref_json"]).read_text())["ReferenceVolume"]
    at = apply_affine(np.linalg.inv(motion[index]), grid_points(shape, affine))
    fieldmap = [
        root / "sub-01_task-rest_desc-sdc_fieldmap.nii.gz",
        root / "sub-01_task-rest_desc-sdc_fieldmap.json",
    ]
    nib.save(nib.Nifti1Image(field(at).reshape(shape).astype(np.float32), affine), fieldmap[0])
    fieldmap[1].write_text(
        json.dumps({"TotalReadoutTime": READOUT, "PhaseEncodingDirection": DIRECTION,
                    "Method": "phase difference", "Modulated": True})
    )  # fmt: skip
    truth = motion[index] @ person["coreg"]
    return {"bold": [bold], "sidecars": [side], "estimated": estimated, "fieldmap": fieldmap, "truth": truth}


@pytest.fixture(scope="module")
def runs(person, distorted, tmp_path_factory):
    """Files of `fit_run` and `resample_run` with and without the field map."""
    found = {}
    for kind, fieldmap in {"corrected": distorted["fieldmap"], "left": ()}.items():
        folder = tmp_path_factory.mktemp(kind)
        outputs, spaces = output_names(folder), space_names(folder, SPACES)
        fit_run(
            distorted["bold"], distorted["sidecars"], distorted["estimated"], person["anatomy"], outputs,
            fieldmap=fieldmap, **OPTIONS, **LIMITS,
        )  # fmt: skip
        fitted = outputs | {
            "hmc": distorted["estimated"]["hmc"], "hmc_json": distorted["estimated"]["boldref_json"]
        }  # fmt: skip
        resample_run(
            distorted["bold"], distorted["sidecars"], fitted, person["anatomy"]["t1w"], person["warp"], spaces,
            spaces=SPACES, resolution=5.0, interpolation="cubic", fieldmap=fieldmap, **OPTIONS,
        )  # fmt: skip
        found[kind] = outputs | {f"space_{key}": paths for key, paths in spaces.items()}
    return found


def error(person, files, number):
    """Mean absolute difference of the series' mean from the truth, where the field is strong."""
    shift = person["shift"] if number == 0 else np.eye(4)
    image = nib.load(files["space_bold"][number])
    home = world(image.shape[:3], image.affine) + shift[:3, 3]
    strong = (field(apply_affine(person["coreg"], home)) * READOUT > 0.7) & (radius(home) < 0.9)
    mean = np.asarray(image.dataobj).mean(axis=-1).ravel()
    return np.abs(mean - bold_signal(home))[strong].mean()


@pytest.mark.parametrize("number", [0, 1])
def test_the_undistorted_truth_comes_back(person, runs, number):
    with_map, without = (error(person, runs[kind], number) for kind in ("corrected", "left"))
    assert without > 60
    assert with_map < 0.3 * without, (with_map, without)


def test_coregistration_is_that_of_the_undistorted_head(person, distorted, runs):
    brain = CENTER + RADII * np.random.default_rng(0).uniform(-0.55, 0.55, (300, 3))
    off = {
        kind: displacement(read_affines(files["coreg"]), distorted["truth"][None], brain)[0][0]
        for kind, files in runs.items()
    }
    assert off["corrected"] < 0.6, off
    assert off["corrected"] < off["left"], off


def test_mask_and_reference_are_undistorted(person, distorted, runs):
    shape, affine = person["shape"], person["affine"]
    home = apply_affine(np.linalg.inv(distorted["truth"]), world(shape, affine))
    inside = (radius(home) < 1).reshape(shape)
    strong = (radius(home) < 0.9).reshape(shape)
    strong &= (field(apply_affine(person["coreg"], home)) * READOUT > 0.7).reshape(shape)
    truth = bold_signal(home).reshape(shape)
    away, dice = {}, {}
    for kind, files in runs.items():
        mask = np.asarray(nib.load(files["mask"]).dataobj) > 0
        dice[kind] = 2 * (mask & inside).sum() / (mask.sum() + inside.sum())
        away[kind] = np.abs(np.asarray(nib.load(files["boldref"]).dataobj) - truth)[strong].mean()
    assert dice["corrected"] > 0.97 and dice["corrected"] > dice["left"], dice
    assert away["corrected"] < 0.3 * away["left"], away


def test_confounds_keep_their_shape_and_the_files_name_the_step(runs):
    tables = {kind: pd.read_csv(files["confounds"], sep="\t") for kind, files in runs.items()}
    usual = [c for c in tables["left"] if not c.startswith(("a_", "c_", "w_", "motion_outlier"))]
    assert set(usual) <= set(tables["corrected"])
    assert len(tables["left"]) == len(tables["corrected"]) == TOTAL
    # the head moved as it did before (about a centre that is a little elsewhere); what is sampled changes
    moved = [table["framewise_displacement"].to_numpy()[1:] for table in tables.values()]
    assert np.allclose(*moved, atol=0.01)
    assert not tables["left"]["global_signal"].equals(tables["corrected"]["global_signal"])
    methods = {kind: json.loads(Path(files["qc"]).read_text())["sdc_method"] for kind, files in runs.items()}
    assert methods == {"corrected": "phase difference", "left": "none"}
    for path in runs["corrected"]["space_bold_json"]:
        content = json.loads(Path(path).read_text())
        assert "head motion, susceptibility distortion (phase difference), coreg" in content["Description"]
        assert any(source.endswith("desc-sdc_fieldmap.nii.gz") for source in content["Sources"])
    for path in runs["left"]["space_bold_json"]:
        assert "distortion" not in json.loads(Path(path).read_text())["Description"]


def test_chain_is_exact(person):
    """Whole voxels of shift, head motion of a whole voxel: the very numbers of the raw file."""
    rng = np.random.default_rng(3)
    shape, affine = (12, 14, 11), person["affine"]
    raw = rng.uniform(100, 900, (*shape, 2)).astype(np.float32)
    hz = np.full(shape, 2.0 / READOUT, np.float32)
    distortion = Distortion(hz, affine, READOUT, "j", "direct", True)
    inner = np.argwhere(np.ones((8, 8, 7), bool)) + 2
    route = make_route(apply_affine(affine, inner), distortion)
    assert np.allclose(route.gain, 1.0)
    moved = np.eye(4)
    moved[:3, 3] = affine[:3, 0]
    out = np.zeros(len(inner), np.float32)
    route.add(out, 0, Sampler(np.asfortranarray(raw), affine), 1, moved)
    i, j, k = inner.T
    assert np.allclose(out, raw[i + 1, j + 2, k, 1], atol=0.05)


def test_brightness_is_taken_at_the_undistorted_point(person):
    affine = person["affine"]
    rise = np.tile(np.linspace(0, 30, 16)[:, None] ** 2 / 30, (12, 1, 11)).astype(np.float32)
    points = apply_affine(affine, np.array([[5.0, 6.0, 5.0], [3.0, 9.5, 2.0]]))
    gain = Distortion(rise, affine, READOUT, "j", "direct", True).gain(points)
    factor = jacobian(rise, READOUT, "j")
    assert np.allclose(gain, [factor[5, 6, 5], 0.5 * (factor[3, 9, 2] + factor[3, 10, 2])], atol=1e-5)
    assert Distortion(rise, affine, READOUT, "j", "direct", False).gain(points) is None


def test_echoes_are_weighted_where_the_distorted_image_shows_the_point(person):
    shape, affine = (12, 16, 11), person["affine"]
    times = np.array([0.013, 0.03])
    t2star = np.tile(np.linspace(0.01, 0.085, 16)[:, None], (12, 1, 11)).astype(np.float32)
    distortion = Distortion(np.full(shape, 3.0 / READOUT, np.float32), affine, READOUT, "j", "direct", False)
    ijk = np.array([[5, 6, 5], [3, 9, 2]])
    route = make_route(apply_affine(affine, ijk), distortion, Relaxation(t2star, affine, times))
    assert route.gain is None
    assert np.allclose(route.weights, echo_weights(t2star[5, [9, 12], 5], times), atol=1e-5)
    raw = np.random.default_rng(1).uniform(100, 900, (2, *shape, 1)).astype(np.float32)
    out = np.zeros(2, np.float32)
    for echo in range(2):
        route.add(out, echo, Sampler(np.asfortranarray(raw[echo]), affine), 0, np.eye(4))
    shown = raw[:, [5, 3], [9, 12], [5, 2], 0]
    assert np.allclose(out, (route.weights * shown).sum(axis=0), atol=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"PhaseEncodingDirection": "y"}, "allowed: i, j, k"),
        ({"TotalReadoutTime": None}, "TotalReadoutTime"),
        ("grid", "grid"),
        ("nan", "NaN"),
    ],
)
def test_wrong_field_maps_are_refused(distorted, tmp_path, change, message):
    reference = nib.load(distorted["estimated"]["boldref"])
    image, content = nib.load(distorted["fieldmap"][0]), json.loads(distorted["fieldmap"][1].read_text())
    values = np.asarray(image.dataobj).copy()
    if change == "grid":
        values = values[:-1]
    elif change == "nan":
        values[3, 3, 3] = np.nan
    else:
        content = {k: v for k, v in (content | change).items() if v is not None}
    files = tmp_path / "f.nii.gz", tmp_path / "f.json"
    nib.save(nib.Nifti1Image(values, image.affine), files[0])
    files[1].write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_distortion(files, reference)


def test_no_field_map_is_no_distortion(distorted):
    assert read_distortion((), nib.load(distorted["estimated"]["boldref"])) is None
