"""A made-up person: T1w, tissue maps and a moving BOLD run with slice timing."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from neurobraid.images import rigid
from neurobraid.images.transforms import Warp, write_warp

from .head import (
    CENTER,
    TR,
    VOLUMES,
    bold_signal,
    grid,
    motion_names,
    output_names,
    radius,
    space_names,
    t1w_signal,
    tissues,
    world,
)


@pytest.fixture(scope="session")
def person(tmp_path_factory):
    """Files of one person and the truth about them."""
    root = tmp_path_factory.mktemp("person")
    rng = np.random.default_rng(11)

    t1w_shape, t1w_affine = (50, 56, 46), grid((3.0, 3.2, 3.0), (50, 56, 46))
    points = world(t1w_shape, t1w_affine)
    csf, wm, gm = tissues(points)
    anatomy = {}
    for name, values in {
        "t1w": t1w_signal(points), "mask": radius(points) < 1.0, "gm": gm, "wm": wm, "csf": csf,
    }.items():  # fmt: skip
        anatomy[name] = root / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(values.reshape(t1w_shape).astype(np.float32), t1w_affine), anatomy[name])

    # T1w points to BOLD reference points: the head lies elsewhere in the second scan
    coreg = rigid.compose([4.0, -3.0, 5.0, 0.05, -0.03, 0.06], CENTER)
    shape, affine = (34, 40, 26), grid((4.5, 4.4, 5.0), (34, 40, 26), turn=0.15, flip=True)
    values = np.cumsum(rng.normal(0, [0.05] * 3 + [0.0006] * 3, (VOLUMES, 6)), axis=0)
    values[25:] += [0.8, -0.6, 0.5, 0.01, -0.008, 0.006]
    motion = rigid.compose(values, CENTER)
    order = [k for start in (0, 1) for k in range(start, shape[2], 2)]
    times = np.empty(shape[2])
    times[order] = np.arange(shape[2]) * TR / shape[2]
    points = world(shape, affine)
    data = np.empty((*shape, VOLUMES), np.float32)
    frequency = 0.05
    for t in range(VOLUMES):
        back = np.linalg.inv(motion[t] @ coreg)  # volume to T1w
        home = points @ back[:3, :3].T + back[:3, 3]
        when = t * TR + np.tile(times, shape[0] * shape[1])
        csf, wm, gm = tissues(home)
        wave = 1.0 + 0.02 * np.sin(2 * np.pi * frequency * when) * gm
        noise = rng.normal(0, 6.0, len(points))
        data[..., t] = (bold_signal(home) * wave + noise).reshape(shape)
    data[..., 0] *= 1.35
    data[..., 1] *= 1.12
    image = nib.Nifti1Image(np.rint(data).astype(np.int16), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*image.header.get_zooms()[:3], TR))
    bold = root / "sub-01_task-rest_bold.nii.gz"
    nib.save(image, bold)
    general, own = root / "task-rest_bold.json", root / "sub-01_task-rest_bold.json"
    general.write_text(json.dumps({"TaskName": "rest", "RepetitionTime": TR, "EchoTime": 0.03}))
    own.write_text(json.dumps({"SliceTiming": times.tolist(), "SliceEncodingDirection": "k"}))

    # the template is where the T1w image is, but for a shift of 2 mm: a warp with a known answer
    warp = root / "from-T1w_to-MNI_xfm.h5"
    shift = np.eye(4)
    shift[:3, 3] = [2.0, 0.0, -1.0]
    write_warp(Warp(shift, np.zeros((3, 3, 3, 3), np.float32), np.diag([90.0, 90, 90, 1])), warp)
    return {
        "bold": bold, "sidecars": [general, own], "anatomy": anatomy, "warp": warp, "shift": shift,
        "motion": motion, "coreg": coreg, "affine": affine, "shape": shape, "frequency": frequency,
        "times": times, "root": root,
    }  # fmt: skip


@pytest.fixture(scope="session")
def estimated(person, tmp_path_factory):
    """Reference and head motion: the files of `motion_run`."""
    from neurobraid.bold.motion import motion_run

    outputs = motion_names(tmp_path_factory.mktemp("fit"))
    motion_run([person["bold"]], person["sidecars"], outputs)
    return outputs


@pytest.fixture(scope="session")
def fitted(person, estimated):
    """The files of `fit_run`, and the head motion as `resample_run` wants it."""
    from neurobraid.bold.fit import fit_run

    outputs = output_names(Path(estimated["hmc"]).parent)
    fit_run(
        [person["bold"]], person["sidecars"], estimated, person["anatomy"], outputs,
        slice_timing_enabled=True, slice_time_ref=0.5, fd_threshold=0.5, dvars_threshold=1.5,
    )  # fmt: skip
    return outputs | {"hmc": estimated["hmc"], "hmc_json": estimated["boldref_json"]}


@pytest.fixture(scope="session")
def resampled(person, fitted):
    from neurobraid.bold.resample import resample_run

    spaces = ["MNI152NLin2009aSym", "T1w"]
    outputs = space_names(Path(fitted["qc"]).parent, spaces)
    resample_run(
        [person["bold"]], person["sidecars"], fitted, person["anatomy"]["t1w"], person["warp"], outputs,
        spaces=spaces, resolution=5.0, interpolation="cubic", slice_timing_enabled=True, slice_time_ref=0.5,
    )  # fmt: skip
    return outputs
