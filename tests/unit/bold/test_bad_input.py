"""Awkward BOLD files: each is either repaired without changing the result, or refused by one error that names the fix."""

import gzip
import itertools
import json

import nibabel as nib
import numpy as np
import pytest

from neurobraid.bids.check import image_errors, scan_errors
from neurobraid.bids.headers import form_gap
from neurobraid.bold.fit import slice_timing
from neurobraid.bold.motion import head_motion
from neurobraid.bold.reference import make_reference
from neurobraid.bold.series import read_series
from neurobraid.errors import InputError
from neurobraid.images import rigid

from .head import CENTER, TR, bold_signal, grid, world

SHAPE, ZOOMS = (25, 29, 22), (6.5, 6.5, 7.0)
VOLUMES = 12
META = {"RepetitionTime": TR}


def motion():
    """Planted motion, reference points to points of every volume; the middle volume is the reference."""
    values = np.cumsum(np.random.default_rng(8).normal(0, [0.3] * 3 + [0.004] * 3, (VOLUMES, 6)), axis=0)
    return rigid.compose(values - values[VOLUMES // 2], CENTER)


def head(affine, shape=SHAPE):
    """A moving head seen on a grid, int16; every voxel is the mean of eight points, as a scanner's is of its volume."""
    points, rng = world(shape, affine), np.random.default_rng(2)
    corners = np.array(list(itertools.product((-0.25, 0.25), repeat=3))) @ affine[:3, :3].T
    data = np.empty((*shape, VOLUMES), np.int16)
    for t, matrix in enumerate(motion()):
        back = np.linalg.inv(matrix)
        seen = np.mean([bold_signal((points + c) @ back[:3, :3].T + back[:3, 3]) for c in corners], axis=0)
        data[..., t] = np.rint(seen + rng.normal(0, 3.0, len(points))).reshape(shape)
    return data


def write(path, data, affine, **fields):
    """Write a run; `fields` are put into the header."""
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*image.header.get_zooms()[:3], TR)[: data.ndim])
    for key, value in fields.items():
        image.header[key] = value
    nib.save(image, path)
    return path


@pytest.fixture(scope="module")
def upright():
    affine = grid(ZOOMS, SHAPE)
    return head(affine), affine


@pytest.fixture
def run(tmp_path, upright):
    return write(tmp_path / "sub-01_task-rest_bold.nii.gz", *upright)


def refused(path, metadata=META):
    with pytest.raises(InputError) as caught:
        read_series(path, metadata)
    problem = caught.value.problem
    assert problem.file == str(path)
    assert all((problem.field, problem.found, problem.allowed, problem.fix))
    return problem


def checked(path, metadata=META):
    """Problems that the validation finds in the header and in the voxels of one run in a dataset of its own."""
    path.with_suffix("").with_suffix(".json").write_text(json.dumps(metadata))
    name = path.name.removesuffix(".nii.gz")
    row = {
        "path": path.name, "suffix": "bold", "sidecars": f"{name}.json", "events": "n/a", "task": "rest",
    }  # fmt: skip
    return [*scan_errors(path.parent, row).problems, *image_errors(path.parent, row).problems]


def estimated(path, metadata=META):
    """Reference and motion of a run, relative to the middle volume."""
    series = read_series(path, metadata)
    reference, _, mask = make_reference(series, 0)
    found = head_motion(series.data, series.affine, reference, mask)
    return reference, found @ np.linalg.inv(found[VOLUMES // 2]), series.affine


def worst(found, truth):
    """Largest distance between two motions over the brain, mm."""
    rim = CENTER + 60.0 * np.vstack([np.eye(3), -np.eye(3)])
    rim = np.c_[rim, np.ones(6)].T
    return np.abs((found @ rim - truth @ rim)[:, :3]).max()


def test_flipped_and_turned_axes_give_the_result_of_the_upright_file(tmp_path, run, upright):
    data, affine = upright
    image, truth, _ = estimated(run)
    assert worst(truth, motion()) < 0.15
    # a file may store any axis in any direction: the same voxels lie at the same points of the world
    for codes in ("LAS", "RPI", "PSR"):
        turn = nib.orientations.ornt_transform(
            nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(codes)
        )
        stored = np.ascontiguousarray(nib.orientations.apply_orientation(data, turn))
        other = affine @ nib.orientations.inv_ornt_aff(turn, SHAPE)
        reference, found, used = estimated(write(tmp_path / f"{codes}_bold.nii.gz", stored, other))
        assert nib.aff2axcodes(used) == tuple(codes)
        assert worst(found, truth) < 0.02, codes
        home = nib.orientations.apply_orientation(
            reference,
            nib.orientations.ornt_transform(
                nib.orientations.axcodes2ornt(codes), nib.orientations.io_orientation(affine)
            ),
        )
        inside = image > 400
        assert np.corrcoef(home[inside], image[inside])[0, 1] > 0.999, codes


def test_oblique_grid_gives_the_same_motion(tmp_path):
    oblique = grid(ZOOMS, SHAPE, turn=0.35, flip=True)
    _, found, used = estimated(write(tmp_path / "oblique_bold.nii.gz", head(oblique), oblique))
    assert not np.allclose(used, np.diag(np.diag(used)), atol=1)
    assert worst(found, motion()) < 0.15


def test_slice_times_follow_a_flipped_slice_axis(tmp_path, run, upright):
    data, affine = upright
    times = np.linspace(0, TR * 0.95, SHAPE[2])
    flip = np.diag([1.0, 1, -1, 1])
    flip[2, 3] = SHAPE[2] - 1
    other = write(tmp_path / "flip_bold.nii.gz", np.ascontiguousarray(data[:, :, ::-1]), affine @ flip)
    one = read_series(run, META | {"SliceTiming": list(times)})
    two = read_series(other, META | {"SliceTiming": list(times[::-1])})
    three = read_series(other, META | {"SliceTiming": list(times), "SliceEncodingDirection": "k-"})
    for series in (one, two, three):
        slice_timing(series, 0, enabled=True, reference=0.5)
    assert np.abs(one.data - read_series(run, META).data).max() > 1, "the correction must do something"
    assert np.allclose(one.data, two.data[:, :, ::-1], atol=1e-3)
    assert np.array_equal(two.data, three.data)


def test_disagreeing_forms_are_reported_in_mm(tmp_path, upright):
    data, affine = upright
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*ZOOMS, TR))
    moved = affine.copy()
    moved[:3, 3] += [3.0, 0, 4.0]
    image.set_sform(affine, 1)
    image.set_qform(moved, 1)
    path = tmp_path / "sub-01_task-rest_bold.nii.gz"
    nib.save(image, path)
    series = read_series(path, META)
    assert np.allclose(series.affine, affine, atol=1e-4), "the sform is used"
    assert series.notes == ["sform and qform differ by up to 5.0 mm; the sform is used"]
    (warning,) = checked(path)
    assert (warning.level, warning.field) == ("warning", "sform and qform")
    assert "5.0 mm" in warning.found
    # one form alone, or two that agree, are nothing to report
    image.set_qform(affine, 1)
    assert form_gap(image.header) < 1e-3
    image.set_qform(moved, 0)
    assert form_gap(image.header) is None


def test_slab_with_partial_coverage_is_analysed_and_a_thin_one_refused(tmp_path, upright):
    data, affine = upright
    slab = affine.copy()
    slab[:3, 3] += affine[:3, 2] * 9
    _, found, _ = estimated(
        write(tmp_path / "slab_bold.nii.gz", np.ascontiguousarray(data[:, :, 9:16]), slab)
    )
    assert worst(found, motion()) < 0.4, "seven slices of 7 mm still say how the head moved"
    for axis, shape in ((2, "25 x 29 x 2"), (0, "2 x 29 x 22")):
        thin = np.take(data, [9, 10], axis=axis)
        problem = refused(write(tmp_path / f"thin{axis}_bold.nii.gz", thin, affine))
        assert (problem.field, problem.found) == ("dimensions", shape)


def test_one_volume_is_refused_before_and_during_the_run(tmp_path, upright):
    data, affine = upright
    for name, one in {"three": data[..., 0], "four": data[..., :1]}.items():
        path = write(tmp_path / f"sub-01_task-{name}_bold.nii.gz", one, affine)
        assert refused(path).field in ("dimensions", "volumes")
        (problem,) = checked(path)
        assert problem.field == "dimensions"
        assert "_sbref" in problem.fix


@pytest.mark.parametrize("value", [2000, 2000.0, "2000", 0, -2, None])
def test_repetition_time_in_ms_or_no_number(run, value):
    assert refused(run, {"RepetitionTime": value}).field == "RepetitionTime"
    problem = checked(run, {"RepetitionTime": value})[0]
    assert problem.field == "RepetitionTime"
    assert "seconds" in problem.allowed
    if value == 2000:
        assert problem.fix == "write 2: the unit is seconds"


def test_slice_times_outside_the_repetition(run):
    inside = np.linspace(0, TR, SHAPE[2], endpoint=False)
    for times, word in (
        (inside * 1000, "milliseconds"),
        (inside + 0.5, "remove SliceTiming"),
        (inside - 0.1, "remove SliceTiming"),
        ([float("nan"), *inside[1:]], "remove SliceTiming"),
    ):
        problem = refused(run, META | {"SliceTiming": list(times)})
        assert problem.field == "SliceTiming"
        assert word in problem.fix
        assert "SliceTiming" in {found.field for found in checked(run, META | {"SliceTiming": list(times)})}


def test_multiband_slice_times_repeat_and_are_fine(run):
    times = list(np.tile(np.linspace(0, TR, SHAPE[2] // 2, endpoint=False), 2))
    series = read_series(run, META | {"SliceTiming": times})
    before = series.data.copy()
    start, corrected, _ = slice_timing(series, 0, enabled=True, reference=0.5)
    assert corrected
    assert start == pytest.approx(TR / 2)
    half = SHAPE[2] // 2
    assert np.isfinite(series.data).all()
    assert not np.array_equal(series.data, before)
    # slices of one time get one shift: a packet holds the first and the twelfth
    twice = before.copy()
    twice[:, :, half:] = twice[:, :, :half]
    series.data = np.asfortranarray(twice)
    slice_timing(series, 0, enabled=True, reference=0.5)
    assert np.array_equal(series.data[:, :, half:], series.data[:, :, :half])
    assert not checked(run, META | {"SliceTiming": times})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_volumes_that_are_no_numbers(tmp_path, upright, value):
    data, affine = upright
    broken = data.astype(np.float32)
    broken[..., 4] = value
    path = write(tmp_path / "sub-01_task-rest_bold.nii.gz", broken, affine)
    problem = refused(path)
    assert problem.field == "voxels"
    assert "volume 4 (counted from 0)" in problem.found
    assert [found.field for found in checked(path)] == ["voxel values"]


def test_constant_volumes(tmp_path, upright):
    data, affine = upright
    aborted = data.copy()
    aborted[..., -3:] = 0
    path = write(tmp_path / "sub-01_task-rest_bold.nii.gz", aborted, affine)
    assert "volume 9, 10, 11" in refused(path).found
    (problem,) = checked(path)
    assert "10-12" in problem.found


def test_scale_factor_that_overflows(tmp_path, upright):
    data, affine = upright
    for slope in (1e36, 1e11, -1e20):
        path = tmp_path / "sub-01_task-rest_bold.nii.gz"
        write(path, data, affine)
        raw = bytearray(gzip.decompress(path.read_bytes()))
        raw[112:116] = np.float32(slope).tobytes()
        path.write_bytes(gzip.compress(bytes(raw)))
        problem = refused(path)
        assert (problem.field, problem.found) == ("scl_slope", f"{slope:g}")
        (found,) = checked(path)
        assert "scl_slope" in found.found
    # a usual scale factor is applied
    raw[112:120] = np.array([0.5, 100.0], np.float32).tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))
    assert np.allclose(read_series(path, META).data, 0.5 * data + 100)
    assert not checked(path)


def test_big_endian_file_is_read_alike(tmp_path, run, upright):
    data, affine = upright
    image = nib.Nifti1Image(data.astype(">i2"), affine, nib.Nifti1Header(endianness=">"))
    image.header.set_data_dtype(">i2")
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*ZOOMS, TR))
    path = tmp_path / "big_bold.nii.gz"
    nib.save(image, path)
    assert gzip.decompress(path.read_bytes())[:4] == b"\x00\x00\x01\x5c"
    series = read_series(path, META)
    assert series.data.dtype.isnative
    assert np.array_equal(series.data, read_series(run, META).data)
    assert not checked(path)


def test_archive_cut_at_ninety_percent(run):
    whole = run.read_bytes()
    run.write_bytes(whole[: int(0.9 * len(whole))])
    problem = refused(run)
    assert "truncated" in problem.found
    assert problem.fix == "copy the file again"
    (found,) = checked(run)
    assert found.field == "voxel data"
    assert "of 12 volumes" in found.found
