"""A raw run is checked before any work: each fault gives one error that names file, field and fix."""

import nibabel as nib
import numpy as np
import pytest

from neurobraid.bold.series import read_series
from neurobraid.errors import InputError

GOOD = {"RepetitionTime": 1.5}


def make(path, data, tr=1.5, unit="sec"):
    image = nib.Nifti1Image(np.asarray(data, np.float32), np.diag([3.0, 3.5, 4.0, 1.0]))
    image.header.set_xyzt_units("mm", unit)
    if np.ndim(data) == 4:
        image.header.set_zooms((3.0, 3.5, 4.0, tr))
    nib.save(image, path)
    return path


@pytest.fixture
def data():
    return np.random.default_rng(0).uniform(50, 100, (6, 7, 8, 12)).astype(np.float32)


def problem(path, metadata):
    with pytest.raises(InputError) as caught:
        read_series(path, metadata)
    return caught.value.problem


def test_good_run(tmp_path, data):
    series = read_series(make(tmp_path / "x_bold.nii.gz", data), GOOD)
    assert np.array_equal(series.data, data)
    assert series.data.flags.f_contiguous
    assert series.tr == 1.5
    assert series.slice_times is None
    assert np.allclose(series.zooms, [3.0, 3.5, 4.0])


def test_three_dimensions_and_one_volume(tmp_path, data):
    assert problem(make(tmp_path / "a.nii.gz", data[..., 0]), GOOD).field == "dimensions"
    assert problem(make(tmp_path / "b.nii.gz", data[..., :1]), GOOD).field in ("volumes", "dimensions")


def test_repetition_time(tmp_path, data):
    path = make(tmp_path / "a.nii.gz", data, tr=2.0)
    found = problem(path, GOOD)
    assert found.field == "RepetitionTime"
    assert "1.5 s in the sidecar, 2 s in the header" in found.found
    assert problem(path, {}).found == "missing in the sidecar"
    assert problem(path, {"RepetitionTime": 1500}).allowed == "0.05 to 30 seconds"
    assert problem(path, {"RepetitionTime": "two"}).found == "two"
    # milliseconds in the header agree with seconds in the sidecar
    assert read_series(make(tmp_path / "b.nii.gz", data, tr=1500.0, unit="msec"), GOOD).tr == 1.5


def test_nan_volume_is_refused_and_nan_background_is_zero(tmp_path, data):
    broken = data.copy()
    broken[..., 3] = np.nan
    found = problem(make(tmp_path / "a.nii.gz", broken), GOOD)
    assert found.field == "voxels"
    assert "volume 3" in found.found
    background = data.copy()
    background[0] = np.nan
    series = read_series(make(tmp_path / "b.nii.gz", background), GOOD)
    assert np.isfinite(series.data).all()
    assert (series.data[0] == 0).all()
    assert np.array_equal(series.data[1:], data[1:])
    assert "56 voxels" in series.notes[0]


def test_volume_without_signal(tmp_path, data):
    data[..., 11] = 0
    assert "volume 11" in problem(make(tmp_path / "a.nii.gz", data), GOOD).found


def test_truncated_file(tmp_path, data):
    path = make(tmp_path / "a.nii.gz", data)
    path.write_bytes(path.read_bytes()[:4000])
    assert "truncated" in problem(path, GOOD).found


def test_slice_times(tmp_path, data):
    path = make(tmp_path / "a.nii.gz", data)
    times = list(np.linspace(0, 1.4, 8))
    series = read_series(path, GOOD | {"SliceTiming": times})
    assert np.allclose(series.slice_times, times)
    assert series.slice_axis == 2
    reverse = read_series(path, GOOD | {"SliceTiming": times, "SliceEncodingDirection": "k-"})
    assert np.allclose(reverse.slice_times, times[::-1])
    side = read_series(path, GOOD | {"SliceTiming": times[:6], "SliceEncodingDirection": "i"})
    assert side.slice_axis == 0
    assert problem(path, GOOD | {"SliceTiming": times[:7]}).allowed.startswith("8 ")
    milliseconds = problem(path, GOOD | {"SliceTiming": [1000 * t for t in times]})
    assert milliseconds.field == "SliceTiming"
    assert "milliseconds" in milliseconds.fix
    assert problem(path, GOOD | {"SliceTiming": [-0.1, *times[1:]]}).field == "SliceTiming"
    wrong = problem(path, GOOD | {"SliceTiming": times, "SliceEncodingDirection": "up"})
    assert wrong.field == "SliceEncodingDirection"
