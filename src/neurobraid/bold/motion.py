"""Reference and head motion of a raw BOLD run: what needs no anatomy and is estimated first."""

from __future__ import annotations

import logging

import numpy as np

from neurobraid.bids.sidecars import applying
from neurobraid.bold.reference import count_non_steady, make_reference
from neurobraid.bold.series import open_series
from neurobraid.errors import InputError
from neurobraid.files import read_json, write_json
from neurobraid.images.io import data, load, save
from neurobraid.images.rigid import realign
from neurobraid.images.transforms import read_affines, write_affines
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")


def head_motion(data4d, affine, reference, mask):
    """Rigid motion of a BOLD run against its reference.

    The mask is widened by about 6 mm, because the brain's edge says most about its position; the gain per
    volume absorbs drift and the bright volumes before steady state.

    Parameters
    ----------
    data4d : (X, Y, Z, T) array
    affine : (4, 4) array
    reference : (X, Y, Z) array
    mask : (X, Y, Z) bool array

    Returns
    -------
    (T, 4, 4) float64 array
        Reference points to points of each volume.
    """
    from scipy import ndimage

    zooms = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    wide = ndimage.binary_dilation(mask, iterations=max(1, round(6.0 / zooms.min())))
    return realign(data4d, affine, reference=reference, mask=wide, fwhm=3.0, scale_intensity=True)


def motion_run(bold, sidecars, outputs):
    """Estimate the reference and the head motion of one BOLD run and write both.

    A multi-echo run is represented by its first echo, which has the most signal near the edges of the brain and of
    the field of view; all echoes of a volume are taken within tens of milliseconds and share one position.

    Parameters
    ----------
    bold : list of path-like
        Raw ``*_bold.nii.gz``, one per echo in order of echo time.
    sidecars : list of path-like
        Their JSON files in inheritance order.
    outputs : dict of str to path-like
        ``boldref``, ``mask`` (by intensity alone), their sidecars ``boldref_json`` and ``mask_json``, and ``hmc``.

    Raises
    ------
    neurobraid.errors.InputError
        See `neurobraid.bold.series.read_series`.
    """
    first = bold[0]
    series = open_series(first, sidecars)
    for note in series.notes:
        log.warning("%s: %s", first, note)
    non_steady = count_non_steady(series.data)
    reference, index, mask = make_reference(series, non_steady)
    total = series.data.shape[3]
    log.info("%s volumes, %s not in steady state, reference %s", total, non_steady, index)
    motion = head_motion(series.data, series.affine, reference, mask)

    used = [first, *applying(sidecars, first)]
    save(reference, series.affine, outputs["boldref"])
    write_json(
        sidecar(
            "Reference of head motion: trimmed mean of realigned volumes", used, SkullStripped=False,
            ReferenceVolume=index, NonSteadyStateVolumes=non_steady, Volumes=total, Notes=series.notes,
        ),
        outputs["boldref_json"],
    )  # fmt: skip
    save(mask, series.affine, outputs["mask"], dtype=np.uint8)
    write_json(
        sidecar("Brain of the reference by intensity alone", [outputs["boldref"]], Type="Brain"),
        outputs["mask_json"],
    )
    write_affines(motion, outputs["hmc"])


def check_volumes(path, motion, total):
    """Refuse head motion of another run.

    Parameters
    ----------
    path : path-like
        Where the transforms were read from.
    motion : (T, 4, 4) array
    total : int
        Volumes of the run.

    Raises
    ------
    InputError
        The numbers differ.
    """
    if len(motion) != total:
        allowed = f"{total} (volumes of the run)"
        raise InputError(path, "transforms", len(motion), allowed, "remove it and run again")


def read_motion(estimated):
    """Read what `motion_run` wrote.

    Parameters
    ----------
    estimated : dict of str to path-like
        ``boldref``, ``boldref_json``, ``mask``, ``hmc``.

    Returns
    -------
    reference : (X, Y, Z) float32 array
    mask : (X, Y, Z) bool array
    motion : (T, 4, 4) float64 array
        Reference points to points of each volume.
    facts : dict
        ``ReferenceVolume``, ``NonSteadyStateVolumes``, ``Notes``.
    """
    return (
        data(load(estimated["boldref"])),
        data(load(estimated["mask"])) > 0,
        read_affines(estimated["hmc"]),
        read_json(estimated["boldref_json"]),
    )
