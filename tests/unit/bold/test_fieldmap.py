"""A planted field, seen through wrapped phase, scanner units and a moved head, and found again."""

import json

import nibabel as nib
import numpy as np
import pytest

from neurobraid.bold.distortion import phase_axis
from neurobraid.bold.fieldmap import (
    GAMMA_HZ_PER_T,
    echo_times,
    measured_field,
    readout_time,
    smooth_field,
    to_radians,
    unwrap,
    write_fieldmap,
)
from neurobraid.errors import InputError
from neurobraid.images.rigid import compose

from .head import CENTER, RADII, bold_signal, grid, radius, world

READOUT, DIRECTION = 0.045, "j-"
TIMES = (0.00492, 0.00738)
BOLD_SHAPE = (46, 54, 34)
BOLD_AFFINE = grid((3.4, 3.4, 3.9), BOLD_SHAPE, turn=0.12, flip=True)
MAP_SHAPE = (58, 66, 44)
MAP_AFFINE = grid((3.0, 3.0, 3.4), MAP_SHAPE, turn=-0.05)


def planted_hz(points):
    """A broad gradient and two dipole-like spots above sinus and ears; up to about 85 Hz, that is 3.8 voxels."""
    x, y, z = ((points - CENTER) / RADII).T
    front = 95.0 * np.exp(-(((x - 0.05) / 0.45) ** 2) - ((y - 0.75) / 0.4) ** 2 - ((z + 0.45) / 0.45) ** 2)
    ear = -55.0 * np.exp(-(((x - 0.7) / 0.35) ** 2) - ((y + 0.1) / 0.4) ** 2 - ((z + 0.4) / 0.4) ** 2)
    return front + ear + 8.0 * x - 6.0 * y + 5.0


def distorted(shape, affine, signal, hz, direction=DIRECTION, readout=READOUT, back=None):
    """What an echo-planar scan shows: every point moves along the axis, and its brightness follows the Jacobian.

    The inverse of ``u = x + shift(x)`` is found by fixed-point iteration on the formulas themselves.
    """
    axis, sign = phase_axis(direction)
    seen = np.indices(shape).reshape(3, -1).T.astype(float)
    place = seen.copy()

    def shift(ijk):
        return sign * readout * hz(home(ijk))

    def home(ijk):
        points = ijk @ affine[:3, :3].T + affine[:3, 3]
        return points if back is None else points @ back[:3, :3].T + back[:3, 3]

    for _ in range(30):
        place[:, axis] = 0.5 * place[:, axis] + 0.5 * (seen[:, axis] - shift(place))
    step = np.zeros(3)
    step[axis] = 0.05
    stretch = 1.0 + (shift(place + step) - shift(place - step)) / 0.1
    return (signal(home(place)) / np.maximum(stretch, 0.2)).reshape(shape)


@pytest.fixture(scope="module")
def scene():
    """Distorted reference with its mask, magnitude image and true field on both grids."""
    rng = np.random.default_rng(5)
    reference = distorted(BOLD_SHAPE, BOLD_AFFINE, bold_signal, planted_hz)
    mask = distorted(BOLD_SHAPE, BOLD_AFFINE, lambda p: (radius(p) < 1.0) * 1.0, planted_hz) > 0.4
    points = world(MAP_SHAPE, MAP_AFFINE)
    skin = np.exp(-(((radius(points) - 1.25) / 0.06) ** 2))
    magnitude = (0.8 * bold_signal(points) + 500 * skin).reshape(MAP_SHAPE)
    brain = (radius(points) < 0.97).reshape(MAP_SHAPE)
    return {
        "reference": (reference + rng.normal(0, 6, BOLD_SHAPE)).astype(np.float32), "mask": mask,
        "magnitude": (magnitude + rng.normal(0, 10, MAP_SHAPE)).astype(np.float32),
        "hz": planted_hz(points).reshape(MAP_SHAPE), "brain": brain,
        "truth": planted_hz(world(BOLD_SHAPE, BOLD_AFFINE)).reshape(BOLD_SHAPE),
        "inside": (radius(world(BOLD_SHAPE, BOLD_AFFINE)) < 0.97).reshape(BOLD_SHAPE),
    }  # fmt: skip


def phase_image(scene, seconds, offset=0.0, seed=1):
    """Wrapped phase with the noise its magnitude implies; nothing but noise in air."""
    rng = np.random.default_rng(seed)
    signal = scene["magnitude"] * np.exp(1j * (2 * np.pi * scene["hz"] * seconds + offset))
    noise = rng.normal(0, 25, (2, *MAP_SHAPE))
    return np.angle(signal + noise[0] + 1j * noise[1])


def write(folder, name, values, sidecar=None, dtype=np.float32, affine=MAP_AFFINE):
    path = folder / f"sub-01_{name}.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(values).astype(dtype), affine), path)
    (folder / f"sub-01_{name}.json").write_text(json.dumps(sidecar or {}))
    return path


def make(scene, folder, kind, **changes):
    """Images and sidecars of a field map of one kind."""
    paths = []
    if kind == "phasediff":
        stored = np.rint((phase_image(scene, 0.010) + np.pi) / (2 * np.pi) * 4096).clip(0, 4095)
        meta = {"EchoTime1": TIMES[0], "EchoTime2": TIMES[0] + 0.010, "Manufacturer": "Siemens", **changes}
        paths.append(write(folder, "phasediff", stored, meta, np.int16))
    elif kind == "phase1phase2":
        for n, te in enumerate((0.005, 0.0145), 1):
            stored = np.rint(phase_image(scene, te, offset=0.9, seed=n) / np.pi * 4096)
            paths.append(write(folder, f"phase{n}", stored, {"EchoTime": te, **changes}, np.int16))
    else:
        units = changes.get("Units", "Hz")
        factor = {"Hz": 1.0, "rad/s": 2 * np.pi, "T": 1 / GAMMA_HZ_PER_T}.get(units, 1.0)
        # as noisy as the phase-difference map is inside the brain
        noisy = scene["hz"] + np.random.default_rng(3).normal(0, 1, MAP_SHAPE)
        paths.append(write(folder, "fieldmap", noisy * factor, {"Units": units} if units else {}))
    names = ["magnitude"] if kind == "direct" else ["magnitude1", "magnitude2"]
    paths += [write(folder, name, scene["magnitude"]) for name in names]
    return paths, [folder / f"{path.name[:-7]}.json" for path in paths]


def found_field(scene, paths, sidecars):
    return measured_field(
        str(paths[0]).rpartition("_")[2].partition(".")[0].replace("phase1", "phase1phase2").replace("fieldmap", "direct"),
        paths, sidecars, scene["reference"], BOLD_AFFINE, scene["mask"], READOUT, DIRECTION,
    )  # fmt: skip


def errors(scene, hz):
    """Error in Hz (mean, 99th percentile) and of the shift in voxels (same) inside the brain."""
    off = np.abs(hz - scene["truth"])[scene["inside"]]
    return off.mean(), np.percentile(off, 99), off.mean() * READOUT, np.percentile(off, 99) * READOUT


# --- unwrapping ---------------------------------------------------------------------------------------------------


def test_unwrapping_is_exact_on_planted_wraps():
    i, j, k = np.indices((30, 34, 21)) / 10.0
    truth = 3.0 * i + 9.0 * np.sin(j) * np.cos(0.7 * k) + 4.0 * k
    assert np.ptp(truth) > 6 * np.pi
    wrapped = np.angle(np.exp(1j * truth))
    found = unwrap(wrapped, np.ones(truth.shape, bool))
    off = found - truth
    assert np.allclose(off, 2 * np.pi * np.rint(off.mean() / (2 * np.pi)), atol=1e-9)


def test_noise_does_not_spread_and_nothing_but_whole_turns_is_added():
    rng = np.random.default_rng(8)
    i, j, k = np.indices((32, 30, 20)) / 8.0
    truth = 5.0 * i + 3.0 * np.sin(2 * j) + 2.0 * k
    noisy = truth.copy()
    noisy[10:16, 12:18, 6:12] += rng.uniform(-np.pi, np.pi, (6, 6, 6))  # no signal there at all
    mask = np.ones(truth.shape, bool)
    mask[:, 20:22, :15] = False
    wrapped = np.angle(np.exp(1j * noisy))
    found = unwrap(wrapped, mask)
    turns = (found - wrapped)[mask] / (2 * np.pi)
    assert np.allclose(turns, np.rint(turns), atol=1e-9)
    off = (found - truth)[mask & (np.abs(noisy - truth) == 0)] / (2 * np.pi)
    assert (np.rint(off) == np.rint(np.median(off))).mean() > 0.9999
    assert np.all(found[~mask] == 0)


def test_separate_pieces_are_unwrapped_each_by_itself():
    truth = np.broadcast_to(np.linspace(0, 40, 60)[:, None, None], (60, 5, 4)).copy()
    mask = np.ones(truth.shape, bool)
    mask[30] = False
    off = unwrap(np.angle(np.exp(1j * truth)), mask) - truth
    for piece in (off[:30], off[31:]):
        assert np.ptp(piece) < 1e-9


# --- units of phase -----------------------------------------------------------------------------------------------


def test_every_known_way_to_write_a_phase():
    truth = np.linspace(-np.pi, np.pi * 0.999, 5000).reshape(10, 20, 25)
    ways = {
        "radians": truth,
        "siemens": np.rint((truth + np.pi) / (2 * np.pi) * 4096).clip(0, 4095),
        "rescaled": np.rint(truth / np.pi * 4096).clip(-4096, 4094),
        "signed": np.rint(truth / np.pi * 2048).clip(-2048, 2047),
        "thousandths": np.rint(truth * 1000),
    }
    for name, values in ways.items():
        off = np.angle(np.exp(1j * (to_radians(values, name) - truth)))
        assert np.abs(off).max() < 0.004, name
    positive = to_radians(truth + np.pi, "0 to one turn")
    assert np.allclose(positive, truth + np.pi, atol=1e-6)


def test_siemens_need_not_fill_its_range():
    half = np.linspace(1500, 3000, 60).reshape(3, 4, 5)
    with pytest.raises(InputError):
        to_radians(half, "x")
    assert np.allclose(to_radians(half, "x", manufacturer="SIEMENS"), (half - 2048) / 2048 * np.pi, atol=1e-5)


@pytest.mark.parametrize("low_high", [(-1, 1), (0, 255), (0, 65535), (-20, 31), (7, 7), (0, 1e-3)])
def test_a_phase_that_is_not_in_radians_names_units(low_high):
    values = np.linspace(*low_high, 60).reshape(3, 4, 5)
    with pytest.raises(InputError, match="sub-01_phasediff: Units is missing, and the values run from"):
        to_radians(values, "sub-01_phasediff")


def test_units_rad_are_believed_unless_the_range_says_scanner(caplog):
    values = np.linspace(-9, 14, 60).reshape(3, 4, 5)  # unwrapped already
    assert np.array_equal(to_radians(values, "x", units="rad"), values.astype(np.float32))
    small = np.linspace(-0.2, 0.3, 60).reshape(3, 4, 5)
    assert np.array_equal(to_radians(small, "x", units="rad"), small.astype(np.float32))
    integers = np.linspace(0, 4095, 60).reshape(3, 4, 5)
    assert np.abs(to_radians(integers, "x", units="rad")).max() < 3.15
    assert "Units is rad" in caplog.text
    with pytest.raises(InputError, match="Units is rad"):
        to_radians(np.linspace(0, 900, 60).reshape(3, 4, 5), "x", units="rad")


# --- whole fields -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["phasediff", "phase1phase2", "direct"])
def test_every_kind_recovers_the_planted_field(scene, tmp_path, kind):
    assert np.abs(scene["truth"][scene["inside"]]).max() * READOUT > 3
    hz, facts = found_field(scene, *make(scene, tmp_path, kind))
    mean, most, shift, shift_most = errors(scene, hz)
    print(
        f"{kind}: error {mean:.2f} Hz, 99 % below {most:.2f} Hz; {shift:.3f} voxel, 99 % below {shift_most:.3f}"
    )
    assert mean < 1.0 and most < 3.0
    assert shift_most < 0.3
    assert hz.dtype == np.float32 and hz.shape == BOLD_SHAPE and np.isfinite(hz).all()
    if kind != "direct":
        wraps = np.ptp(scene["hz"][scene["brain"]]) * (
            facts["FieldmapEchoTimes"][1] - facts["FieldmapEchoTimes"][0]
        )
        assert wraps > 1  # there was something to unwrap


@pytest.mark.parametrize("units", ["rad/s", "T"])
def test_units_of_direct_maps(scene, tmp_path, units):
    hz, _ = found_field(scene, *make(scene, tmp_path, "direct", Units=units))
    assert errors(scene, hz)[1] < 3.0


def test_a_head_that_moved_between_field_map_and_run(scene, tmp_path):
    moved = compose([3.0, -2.0, 2.5, 0.04, 0.03, -0.03], CENTER)
    shifted = dict(scene)
    back = np.linalg.inv(moved)
    points = world(MAP_SHAPE, MAP_AFFINE) @ back[:3, :3].T + back[:3, 3]
    shifted["magnitude"] = (0.8 * bold_signal(points)).reshape(MAP_SHAPE).astype(np.float32)
    shifted["hz"] = planted_hz(points).reshape(MAP_SHAPE)
    hz, facts = found_field(scene, *make(shifted, tmp_path, "direct"))
    mean, most, *_ = errors(scene, hz)
    print(f"moved head: error {mean:.2f} Hz, 99 % below {most:.2f} Hz, moved {facts['FieldmapMoved']}")
    assert mean < 1.5 and most < 5.0
    assert 3.0 < facts["FieldmapMoved"]["mm"] < 8.0


def test_a_registration_that_runs_away_is_refused(scene, tmp_path, caplog):
    far = MAP_AFFINE.copy()
    far[:3, 3] += [0, 40, 0]
    paths, sidecars = make(scene, tmp_path, "direct")
    for path in paths:
        nib.save(nib.Nifti1Image(nib.load(path).get_fdata().astype(np.float32), far), path)
    _, facts = found_field(scene, paths, sidecars)
    assert facts["FieldmapMoved"]["mm"] == 0 and np.isnan(facts["RegistrationScore"])
    assert "its header is trusted" in caplog.text


def test_without_magnitude_the_header_is_trusted(scene, tmp_path):
    paths, sidecars = make(scene, tmp_path, "phasediff")
    hz, _ = found_field(scene, paths[:1], sidecars[:1])
    mean, most, *_ = errors(scene, hz)
    assert mean < 1.5 and most < 8.0


def test_zeros_and_nan_outside_a_masked_map_do_not_count(scene, tmp_path):
    masked = dict(scene, hz=np.where(scene["brain"], scene["hz"], np.nan))
    paths, sidecars = make(masked, tmp_path, "direct")
    hz, _ = found_field(scene, paths, sidecars)
    mean, most, *_ = errors(scene, hz)
    assert mean < 1.0 and most < 5.0


def test_smoothing_keeps_constants_and_continues_without_a_jump():
    shape = (20, 24, 18)
    i, j, k = np.indices(shape)
    weight = ((i - 10) ** 2 + (j - 12) ** 2 + (k - 9) ** 2 < 36).astype(float)
    assert np.allclose(smooth_field(np.full(shape, 17.0), weight, (3, 3, 3)), 17.0, atol=1e-3)
    ramp = smooth_field(2.0 * i, weight, (3, 3, 3))
    assert np.abs(ramp - 2.0 * i)[weight > 0].mean() < 0.4
    assert np.abs(np.diff(ramp, axis=0)).max() < 3.0


def test_written_files_say_everything(scene, tmp_path):
    paths, sidecars = make(scene, tmp_path, "phasediff")
    nib.save(nib.Nifti1Image(scene["reference"], BOLD_AFFINE), tmp_path / "boldref.nii.gz")
    nib.save(nib.Nifti1Image(scene["mask"].astype(np.uint8), BOLD_AFFINE), tmp_path / "mask.nii.gz")
    bold = tmp_path / "sub-01_task-rest_bold.json"
    bold.write_text(json.dumps({"PhaseEncodingDirection": DIRECTION, "EffectiveEchoSpacing": READOUT / 53}))
    written = []
    for n in (1, 2):
        out = {"fieldmap": tmp_path / f"{n}.nii.gz", "fieldmap_json": tmp_path / f"{n}.json"}
        write_fieldmap(
            "phasediff", tmp_path / "boldref.nii.gz", tmp_path / "mask.nii.gz", [bold], out,
            paths=paths, fieldmap_sidecars=sidecars, modulate=False,
        )  # fmt: skip
        written.append([path.read_bytes() for path in out.values()])
    assert written[0] == written[1], "the same bytes again"
    facts = json.loads(written[0][1])
    assert facts["Method"] == "phase difference" and facts["Units"] == "Hz" and facts["Modulated"] is False
    assert (
        facts["TotalReadoutTime"] == pytest.approx(READOUT) and facts["PhaseEncodingDirection"] == DIRECTION
    )
    assert 3.0 < facts["MaximumShiftVoxels"] < 4.5 and 0 < facts["MedianAbsoluteShiftMm"] < 5
    assert facts["RegistrationScore"] > 0
    image = nib.load(tmp_path / "1.nii.gz")
    assert (
        image.shape == BOLD_SHAPE
        and np.allclose(image.affine, BOLD_AFFINE)
        and image.get_data_dtype() == np.float32
    )


# --- bad input ----------------------------------------------------------------------------------------------------


def test_magnitude_of_another_shape_is_an_error_another_grid_than_bold_is_not(scene, tmp_path):
    paths, sidecars = make(scene, tmp_path, "phasediff")
    write(tmp_path, "magnitude1", scene["magnitude"][:-1])
    with pytest.raises(InputError, match="dimensions is 57 x 66 x 44; allowed: 58 x 66 x 44"):
        found_field(scene, paths, sidecars)
    other = MAP_AFFINE.copy()
    other[:3, 3] += 5
    write(tmp_path, "magnitude1", scene["magnitude"], affine=other)
    with pytest.raises(InputError, match="one grid for all images"):
        found_field(scene, paths, sidecars)


def test_direct_map_without_a_known_unit(scene, tmp_path):
    for units in (None, "ppm"):
        with pytest.raises(InputError, match="Units is"):
            found_field(scene, *make(scene, tmp_path, "direct", Units=units))


@pytest.mark.parametrize(
    ("meta", "match"),
    [
        ({"phasediff": {"EchoTime1": 0.005}}, "EchoTime2 is missing"),
        ({"phasediff": {"EchoTime1": 0.005, "EchoTime2": 0.005}}, "the same as the first echo"),
        ({"phasediff": {"EchoTime1": 4.92, "EchoTime2": 7.38}}, "EchoTime1 is 4.92"),
        ({"phasediff": {"EchoTime1": True, "EchoTime2": 0.005}}, "EchoTime1 is True"),
    ],
)
def test_echo_times_that_cannot_be(meta, match):
    with pytest.raises(InputError, match=match):
        echo_times(meta, "phasediff")


def test_echo_times_come_from_the_right_sidecars():
    assert echo_times(
        {"phasediff": {"EchoTime1": 0.007, "EchoTime2": 0.005, "EchoTime": 0.1}}, "phasediff"
    ) == (0.005, 0.007)
    beside = {"phasediff": {}, "magnitude1": {"EchoTime": 0.004}, "magnitude2": {"EchoTime": 0.006}}
    assert echo_times(beside, "phasediff") == (0.004, 0.006)
    assert echo_times({"phase1": {"EchoTime": 0.007}, "phase2": {"EchoTime": 0.005}}, "phase1phase2") == (
        0.007,
        0.005,
    )


def test_readout_time():
    base = {"PhaseEncodingDirection": "i"}
    assert readout_time({**base, "TotalReadoutTime": 0.03, "EffectiveEchoSpacing": 9}, (64, 70, 30)) == 0.03
    assert readout_time({**base, "EffectiveEchoSpacing": 0.0005}, (64, 70, 30)) == pytest.approx(0.0315)
    assert readout_time(
        {**base, "EffectiveEchoSpacing": 0.0005, "ReconMatrixPE": 101}, (64, 70, 30)
    ) == pytest.approx(0.05)
    with pytest.raises(InputError, match="TotalReadoutTime is missing"):
        readout_time(base, (4, 5, 6))
    with pytest.raises(InputError, match="PhaseEncodingDirection is None"):
        readout_time({"TotalReadoutTime": 0.03}, (4, 5, 6))
