"""From raw voxels to every requested space: one interpolation through motion, coregistration and normalisation."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass

import numpy as np

from neurobraid.bold.echoes import COMBINATION, open_echoes, read_relaxation
from neurobraid.bold.fit import slice_timing, task_name
from neurobraid.bold.motion import check_volumes
from neurobraid.bold.route import make_route, read_distortion
from neurobraid.bold.sampling import Sampler
from neurobraid.bold.writing import series_writer
from neurobraid.errors import InputError
from neurobraid.files import read_json, write_json
from neurobraid.images import templates
from neurobraid.images.io import data, load, save
from neurobraid.images.resample import grid_points, sample
from neurobraid.images.transforms import apply_affine, read_affines, read_warp
from neurobraid.provenance import bids_uri, sidecar

log = logging.getLogger("neurobraid")

T1W = "T1w"


@dataclass
class Target:
    """One space to write to: its grid, its brain voxels, and where these lie in the (undistorted) BOLD reference."""

    space: str
    shape: tuple
    affine: np.ndarray
    mask: np.ndarray
    points: np.ndarray  # (N, 3), world of the BOLD reference


def t1w_grid(t1w, zooms_bold, affine_bold):
    """Grid with the T1w image's axes and field of view and the BOLD image's voxel size.

    Parameters
    ----------
    t1w : nibabel image
    zooms_bold : (3,) array
        mm.
    affine_bold : (4, 4) array
        Tells which BOLD axis lies along which T1w axis.

    Returns
    -------
    shape : tuple of int
    affine : (4, 4) float64 array
    """
    edges = np.sqrt((t1w.affine[:3, :3] ** 2).sum(axis=0))
    axes = t1w.affine[:3, :3] / edges
    along = np.abs(axes.T @ (affine_bold[:3, :3] / zooms_bold)).argmax(axis=1)
    if len(set(along)) < 3:  # 45 degrees oblique: no axis belongs to another
        along = np.arange(3)
    zooms = np.asarray(zooms_bold)[along]
    extent = np.array(t1w.shape[:3]) * edges
    shape = tuple(int(n) for n in np.maximum(np.ceil(extent / zooms - 1e-3), 1))
    affine = np.eye(4)
    affine[:3, :3] = axes * zooms
    middle = apply_affine(t1w.affine, (np.array(t1w.shape[:3]) - 1) / 2.0)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2.0)
    return shape, affine


def make_target(space, shape, affine, chain, mask, mask_affine):
    """Find the brain voxels of a space.

    Parameters
    ----------
    space : str
    shape, affine
        Grid.
    chain : list
        4 x 4 matrices or warps from points of the space to points of the BOLD reference, in order.
    mask : (X, Y, Z) array
        Brain mask of the BOLD reference.
    mask_affine : (4, 4) array

    Returns
    -------
    Target
    """
    points = grid_points(shape, affine)
    for step in chain:
        points = step.apply(points) if hasattr(step, "apply") else apply_affine(step, points)
    inside = sample(mask.astype(np.float32), apply_affine(np.linalg.inv(mask_affine), points), 1) > 0.5
    return Target(space, tuple(shape), affine, inside.reshape(shape), np.ascontiguousarray(points[inside]))


def resample_run(
    bold, sidecars, fitted, t1w, warp, outputs, *, spaces, resolution, interpolation, slice_timing_enabled,
    slice_time_ref, fieldmap=(), combined=(),
):  # fmt: skip
    """Write a BOLD run, its reference and its mask in every requested space.

    Parameters
    ----------
    bold : list of path-like
        Raw ``*_bold.nii.gz``, one per echo in order of echo time.
    sidecars : list of path-like
    fitted : dict of str to path-like
        ``hmc`` and ``hmc_json`` (the sidecar of its reference) as written by `neurobraid.bold.motion.motion_run`;
        ``boldref``, ``mask``, ``coreg`` as written by `neurobraid.bold.fit.fit_run`.
    t1w : path-like
        Preprocessed T1w image.
    warp : path-like
        ``from-T1w_to-MNI152NLin2009aSym`` transform.
    outputs : dict of str to list of path-like
        ``bold``, ``bold_json``, ``boldref``, ``boldref_json``, ``mask``, ``mask_json``, in the order of `spaces`.
    spaces : list of str
        ``T1w`` and/or the template space.
    resolution : float
        Voxel edge in the template space, mm.
    interpolation : {'cubic', 'linear'}
    slice_timing_enabled : bool
    slice_time_ref : float
        Fraction of the repetition time.
    fieldmap : sequence of path-like
        Field map in Hz and its sidecar (see `neurobraid.bold.route.read_distortion`), or nothing.
    combined : sequence of path-like
        T2* map of a multi-echo run (`neurobraid.bold.echoes.echoes_run`), or nothing.

    Raises
    ------
    InputError
        The number of head-motion transforms is not that of the volumes, or a space is unknown.
    """
    echoes = list(open_echoes(bold, sidecars))
    series = echoes[0]
    metadata, total = series.metadata, series.data.shape[3]
    motion, coreg = read_affines(fitted["hmc"]), read_affines(fitted["coreg"])[0]
    check_volumes(fitted["hmc"], motion, total)
    non_steady = int(read_json(fitted["hmc_json"])["NonSteadyStateVolumes"])
    for echo in echoes:
        start, corrected, note = slice_timing(
            echo, non_steady, enabled=slice_timing_enabled, reference=slice_time_ref
        )
    log.info(note)

    reference, mask = load(fitted["boldref"]), load(fitted["mask"])
    distortion = read_distortion(fieldmap, reference)
    relaxation = read_relaxation(combined, bold, sidecars)
    brain = data(mask)
    targets = []
    for space in spaces:
        if space == T1W:
            shape, affine = t1w_grid(load(t1w), series.zooms, series.affine)
            chain = [coreg]
        elif space == templates.SPACE:
            shape, affine = templates.grid(resolution)
            chain = [read_warp(warp), coreg]
        else:
            raise InputError(
                "config", "bold.spaces", space, f"{T1W}, {templates.SPACE}", "correct the config"
            )
        targets.append(make_target(space, shape, affine, chain, brain, mask.affine))
        log.info("%s: %d of %d voxels are brain", space, len(targets[-1].points), np.prod(shape))

    samplers = [Sampler(echo.data, echo.affine, interpolation) for echo in echoes]
    routes = [make_route(target.points, distortion, relaxation) for target in targets]
    peak = 1.05 * max(float(echo.data.max()) for echo in echoes)
    # undistorted signal may be brighter than any raw voxel where the distortion had spread it
    peak *= max([1.0, *(float(r.gain.max(initial=1.0)) for r in routes if r.gain is not None)])
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(
                series_writer(path, (*target.shape, total), target.affine, series.tr, peak,
                              space_code=1 if target.space == T1W else 4)
            )
            for target, path in zip(targets, outputs["bold"], strict=True)
        ]  # fmt: skip
        volumes = [np.zeros(target.shape, np.float32) for target in targets]
        for t in range(total):
            values = [np.zeros(len(target.points), np.float32) for target in targets]
            for echo, sampler in enumerate(samplers):
                for route, out in zip(routes, values, strict=True):
                    route.add(out, echo, sampler, t, motion[t])
            for target, out, volume, write in zip(targets, values, volumes, writers, strict=True):
                volume[target.mask] = out
                write(volume)

    picture = Sampler(np.asfortranarray(data(reference)[..., None]), reference.affine, interpolation)
    made_from = [*bold, fitted["hmc"], *fieldmap, *combined, fitted["coreg"]]
    for n, target in enumerate(targets):
        sources = made_from + ([warp] if target.space != T1W else [])
        steps = [*(["slice timing"] if corrected else []), "head motion"]
        steps += [distortion.step] if distortion else []
        steps += ["combination of echoes"] if relaxation else []
        steps += ["coregistration"]
        steps += ["normalisation"] if target.space != T1W else []
        facts = {"SpatialReference": str(t1w) if target.space == T1W else target.space, "SkullStripped": True}
        if target.space == T1W:
            facts["SpatialReference"] = bids_uri(t1w)
        write_json(
            sidecar(
                f"Preprocessed BOLD series: {', '.join(steps)}, in one spatial interpolation",
                sources,
                RepetitionTime=series.tr,
                StartTime=start,
                SliceTimingCorrected=corrected,
                SliceTimingNote=note,
                TaskName=task_name(bold[0], metadata),
                Interpolation=interpolation,
                NonSteadyStateVolumes=non_steady,
                SusceptibilityDistortionCorrection=distortion.method if distortion else "none",
                EchoTimes=relaxation.times if relaxation else None,
                Combination=COMBINATION if relaxation else None,
                **{
                    k: metadata[k]
                    for k in ("EchoTime", "FlipAngle", "MagneticFieldStrength")
                    if k in metadata and not (k == "EchoTime" and relaxation)
                },
                **facts,
            ),
            outputs["bold_json"][n],
        )
        volume = np.zeros(target.shape, np.float32)
        volume[target.mask] = np.maximum(picture.volume(0, target.points), 0.0)
        save(volume, target.affine, outputs["boldref"][n])
        write_json(sidecar("Reference of the run", [fitted["boldref"], *sources[1:]], **facts),
                   outputs["boldref_json"][n])  # fmt: skip
        save(target.mask, target.affine, outputs["mask"][n], dtype=np.uint8)
        write_json(
            sidecar("Brain mask of the run: voxels with BOLD signal", [fitted["mask"], *sources[2:]],
                    Type="Brain", SpatialReference=facts["SpatialReference"]),
            outputs["mask_json"][n],
        )  # fmt: skip
