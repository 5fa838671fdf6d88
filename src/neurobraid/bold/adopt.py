"""A BOLD run taken over from fMRIPrep: the same outputs as our own, in every requested space.

fMRIPrep's series is already interpolated once. It is taken from T1w space where that is there, else from the run's own
grid, else from MNI152NLin2009cAsym. A space in which it is there already costs no interpolation, any other one more; the
sidecar says which.
"""

from __future__ import annotations

import gzip
import logging
import shutil
import zlib
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from neurobraid.bids.entities import parse
from neurobraid.bids.fmriprep import TEMPLATE, read_version
from neurobraid.bold.confounds import quality
from neurobraid.bold.fit import task_name
from neurobraid.bold.resample import T1W, make_target, t1w_grid
from neurobraid.bold.sampling import Sampler
from neurobraid.bold.series import merge_sidecars
from neurobraid.bold.writing import series_writer
from neurobraid.errors import InputError
from neurobraid.files import atomic, read_json, read_tsv, write_json
from neurobraid.images import templates
from neurobraid.images.compose import follow
from neurobraid.images.io import data, load, save
from neurobraid.images.resample import grid_points, sample
from neurobraid.images.transforms import apply_affine, read_affines, read_warp, write_affines
from neurobraid.provenance import bids_uri, sidecar

log = logging.getLogger("neurobraid")

NATIVE = "native"
#: Brain voxels that quality numbers are computed from, at most.
VOXELS = 60_000


def volumes(path):
    """Read a 4D image one volume after the other, in one pass over the file.

    Parameters
    ----------
    path : path-like

    Yields
    ------
    (X, Y, Z) float32 array, Fortran order

    Raises
    ------
    InputError
        The file ends early or is damaged.
    """
    from nibabel.openers import ImageOpener

    proxy = load(path).dataobj
    size = int(np.prod(proxy.shape[:3])) * proxy.dtype.itemsize
    try:
        with ImageOpener(str(path)) as stream:
            stream.seek(proxy.offset)
            for number in range(proxy.shape[3]):
                block = stream.read(size)
                if len(block) != size:
                    raise EOFError(f"ends in volume {number}")
                values = np.frombuffer(block, proxy.dtype).reshape(proxy.shape[:3], order="F")
                yield np.asarray(values * proxy.slope + proxy.inter, np.float32, order="F")
    except (EOFError, OSError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            path, "voxel data", f"truncated ({error})", "a complete file", "copy the file again"
        ) from None


def space_of(path):
    """Space of a file of fMRIPrep by its name: ``T1w``, ``native`` or a template.

    Examples
    --------
    >>> space_of("sub-1_task-rest_space-T1w_desc-preproc_bold.nii.gz"), space_of("sub-1_desc-preproc_bold.nii.gz")
    ('T1w', 'native')
    """
    space = parse(Path(path).name).entities.get("space")
    return NATIVE if space in (None, "run") else space


def timing(raw_metadata, metadata, header_tr, path):
    """Repetition time, and what time after the start of a volume its values stand for.

    Parameters
    ----------
    raw_metadata : dict
        Merged sidecars of the raw run.
    metadata : dict
        Sidecar of fMRIPrep's series.
    header_tr : float
        s.
    path : path-like
        For the message.

    Returns
    -------
    tr : float
        s.
    start : float
        ``StartTime``, s.
    corrected : bool
    note : str

    Raises
    ------
    InputError
        fMRIPrep and the raw run disagree on the repetition time.
    """
    tr = float(metadata.get("RepetitionTime") or raw_metadata.get("RepetitionTime") or header_tr)
    raw_tr = float(raw_metadata.get("RepetitionTime") or tr)
    if abs(tr - raw_tr) > 1e-3 * raw_tr:
        raise InputError(
            path, "RepetitionTime", f"{tr:g} s", f"{raw_tr:g} s, as in the raw run", "run fMRIPrep again"
        )
    slices = np.sort(np.asarray(raw_metadata.get("SliceTiming") or [0.0], float))
    if not metadata.get("SliceTimingCorrected", False):
        told = "SliceTimingCorrected" in metadata
        return tr, 0.0, False, "fMRIPrep did not correct slice timing" if told else "fMRIPrep does not say"
    if "StartTime" in metadata:
        start = float(metadata["StartTime"])
        return tr, start, True, f"fMRIPrep brought slices to {start:g} s of each repetition"
    # its default reference lies half way between the first and the last slice
    start = float(slices[0] + 0.5 * (slices[-1] - slices[0]))
    return (
        tr,
        start,
        True,
        f"StartTime is missing; {start:g} s, the middle of the slice times, is fMRIPrep's default",
    )


class _Route:
    """Ways from points of any space to points of fMRIPrep's series."""

    def __init__(self, files, space):
        self.files, self.space = files, space
        self.coreg = read_affines(files["coreg"])[0]  # T1w points to points of the run

    def from_t1w(self):
        """Steps from T1w points."""
        if self.space == T1W:
            return []
        return [self.coreg] if self.space == NATIVE else [read_warp(self.files["to_t1w"])]

    def from_native(self):
        """Steps from points of the run's own reference."""
        return [] if self.space == NATIVE else [np.linalg.inv(self.coreg), *self.from_t1w()]

    def from_template(self):
        """Steps from points of our template."""
        if self.space == TEMPLATE:
            return [read_warp(self.files["correction"])]
        return [read_warp(self.files["warp"]), *self.from_t1w()]


def _first_pass(path, mask, wanted):
    """Mean volume, largest value in the mask, and some brain voxels over time."""
    spots = np.flatnonzero(mask.ravel(order="F"))
    spots = spots[:: max(1, -(-len(spots) // wanted))]
    total, peak, series = np.zeros(mask.shape), 0.0, []
    for volume in volumes(path):
        np.nan_to_num(volume, copy=False, posinf=0.0, neginf=0.0)
        total += volume
        peak = max(peak, float(volume[mask].max()))
        series.append(volume.ravel(order="F")[spots])
    return (total / len(series)).astype(np.float32), peak, np.array(series)


def _native(files, raw, route, mask, reference):
    """Reference and mask on the raw grid: fMRIPrep's own, or carried there.

    Parameters
    ----------
    files : mapping
    raw : nibabel image
        Raw series, for its grid.
    route : _Route
    mask, reference : tuple of (X, Y, Z) array and (4, 4) array
        In the space of fMRIPrep's series.

    Returns
    -------
    reference : (X, Y, Z) float32 array
    mask : (X, Y, Z) bool array
    affine : (4, 4) array
    carried : bool
    """
    if files.get("native_ref") and files.get("native_mask"):
        images = [load(files[name]) for name in ("native_ref", "native_mask")]
        if all(image.shape[:3] == raw.shape[:3] for image in images):
            return (
                data(images[0]).reshape(raw.shape[:3]),
                data(images[1]).reshape(raw.shape[:3]) > 0.5,
                images[0].affine,
                False,
            )
    points = follow(grid_points(raw.shape, raw.affine), route.from_native())
    values = [
        sample(values, apply_affine(np.linalg.inv(affine), points), 1).reshape(raw.shape[:3])
        for values, affine in (reference, (mask[0].astype(np.float32), mask[1]))
    ]
    return values[0], values[1] > 0.5, raw.affine, True


def _dice(mask, affine, t1w_mask, coreg):
    """Overlap of the run's mask with the T1w brain mask, on the grid of the run."""
    points = apply_affine(np.linalg.inv(coreg), grid_points(mask.shape, affine))
    brain = sample(data(t1w_mask), apply_affine(np.linalg.inv(t1w_mask.affine), points), 1) > 0.5
    both = np.count_nonzero(brain.reshape(mask.shape) & mask)
    return 2.0 * both / max(np.count_nonzero(brain) + np.count_nonzero(mask), 1)


def _targets(spaces, route, image, mask, files, resolution):
    """Grids to write, with their brain voxels and where these lie in fMRIPrep's series."""
    for space in spaces:
        if space == T1W and route.space == T1W:
            shape, affine, chain = image.shape[:3], image.affine, []
        elif space == T1W:
            zooms = np.sqrt((image.affine[:3, :3] ** 2).sum(axis=0))
            (shape, affine), chain = t1w_grid(load(files["t1w"]), zooms, image.affine), route.from_t1w()
        elif space == templates.SPACE:
            (shape, affine), chain = templates.grid(resolution), route.from_template()
        else:
            raise InputError(
                "config", "bold.spaces", space, f"{T1W}, {templates.SPACE}", "correct the config"
            )
        yield make_target(space, shape, affine, chain, mask, image.affine)


def adopt_run(files, outputs, *, spaces, resolution, interpolation, fd_threshold):
    """Write fMRIPrep's version of a BOLD run under our names.

    Parameters
    ----------
    files : mapping of str to path-like
        Of fMRIPrep: ``bold``, ``mask``, ``coreg``, ``confounds``, ``description``, ``to_t1w`` (its
        ``from-MNI152NLin2009cAsym_to-T1w`` transform), and, possibly empty, ``bold_json``, ``boldref``, ``native_ref``,
        ``native_mask``, ``confounds_json``. Of the raw dataset: ``raw`` (list of one), ``sidecars``. Of our anatomy: ``t1w``,
        ``t1w_mask``, ``warp``, ``correction``.
    outputs : mapping of str to path-like or list of path-like
        ``native_ref``, ``native_mask`` with ``_json``, ``coreg``, ``confounds``, ``confounds_json``, ``qc``; in the order
        of `spaces`: ``bold``, ``boldref``, ``mask`` with ``_json``.
    spaces : list of str
        ``T1w`` and/or our template space.
    resolution : float
        Voxel edge in the template space, mm.
    interpolation : {'cubic', 'linear'}
    fd_threshold : float
        mm.

    Raises
    ------
    InputError
        Number of volumes, grid, repetition time or confounds do not fit together, a file is damaged, or a space is unknown.
    """
    version = read_version(Path(files["description"]).parent)
    maker = f"fMRIPrep {version}"
    raw_path = files["raw"] if isinstance(files["raw"], str | Path) else files["raw"][0]
    image, raw, mask_image = load(files["bold"]), load(raw_path), load(files["mask"])
    if image.ndim != 4 or raw.ndim != 4 or image.shape[3] != raw.shape[3]:
        raise InputError(
            files["bold"],
            "volumes",
            image.shape[3:],
            f"{raw.shape[3:]}, as in the raw run",
            "run fMRIPrep again",
        )
    if mask_image.shape[:3] != image.shape[:3] or not np.allclose(mask_image.affine, image.affine, atol=1e-3):
        raise InputError(
            files["mask"], "grid", mask_image.shape[:3], f"{image.shape[:3]}, as the series",
            "take both from one run of fMRIPrep",
        )  # fmt: skip
    total = image.shape[3]
    confounds = read_tsv(files["confounds"])
    if len(confounds) != total:
        raise InputError(files["confounds"], "rows", len(confounds), f"{total} volumes", "run fMRIPrep again")
    raw_metadata = merge_sidecars(files["sidecars"])
    metadata = read_json(files["bold_json"]) if files.get("bold_json") else {}
    tr, start, corrected, note = timing(
        raw_metadata, metadata, float(image.header.get_zooms()[3]), files["bold"]
    )
    space = space_of(files["bold"])
    route = _Route(files, space)
    mask = data(mask_image).reshape(image.shape[:3]) > 0.5
    if not mask.any():
        raise InputError(files["mask"], "voxels", "all 0", "a brain", "run fMRIPrep again")
    mean, peak, brain = _first_pass(files["bold"], mask, VOXELS)
    reference = data(load(files["boldref"])).reshape(mask.shape) if files.get("boldref") else mean
    made = {"PreprocessedBy": maker}

    native_ref, native_mask, native_affine, carried = _native(
        files, raw, route, (mask, image.affine), (reference, image.affine)
    )
    how = f"carried from {space} space to the raw grid, one linear interpolation" if carried else "as it is"
    source = "boldref" if files.get("boldref") else "bold"
    save(native_ref, native_affine, outputs["native_ref"])
    write_json(
        sidecar(f"Reference of the run by fMRIPrep, {how}", [files[source if carried else "native_ref"]],
                SkullStripped=False, **made),
        outputs["native_ref_json"],
    )  # fmt: skip
    save(native_mask, native_affine, outputs["native_mask"], dtype=np.uint8)
    write_json(
        sidecar(f"Brain mask of the run by fMRIPrep, {how}", [files["mask" if carried else "native_mask"]],
                Type="Brain", **made),
        outputs["native_mask_json"],
    )  # fmt: skip
    write_affines(route.coreg, outputs["coreg"])
    with atomic(outputs["confounds"]) as temporary:
        shutil.copyfile(files["confounds"], temporary)
    write_json(
        read_json(files["confounds_json"]) if files.get("confounds_json") else {}, outputs["confounds_json"]
    )

    non_steady = sum(c.startswith("non_steady_state_outlier") for c in confounds)
    targets = list(_targets(spaces, route, image, mask, files, resolution))
    _write_series(files["bold"], space, targets, outputs["bold"], tr, peak, interpolation)
    picture = Sampler(np.asfortranarray(reference[..., None]), image.affine, interpolation)
    for n, target in enumerate(targets):
        kept = target.space == space
        steps = [] if kept else [files["coreg"]] if target.space == T1W and space == NATIVE else []
        if target.space == T1W and space == TEMPLATE:
            steps = [files["to_t1w"]]
        elif target.space != T1W:
            steps = [files["correction"]] if space == TEMPLATE else [files["warp"]]
            steps += [files["coreg"]] if space == NATIVE else []
        facts = {
            **made,
            "SpatialReference": bids_uri(files["t1w"]) if target.space == T1W else target.space,
            "SkullStripped": True,
        }
        text = (
            f"{space} space, voxels outside the mask set to 0"
            if kept
            else f"{space} space, interpolated once more than in fMRIPrep ({interpolation})"
        )
        write_json(
            sidecar(
                f"Preprocessed BOLD series of fMRIPrep, from its {text}",
                [files["bold"], *steps],
                RepetitionTime=tr,
                StartTime=start,
                SliceTimingCorrected=corrected,
                SliceTimingNote=note,
                TaskName=task_name(raw_path, raw_metadata),
                Interpolation=None if kept else interpolation,
                Interpolations=1 if kept else 2,
                NonSteadyStateVolumes=non_steady,
                **{
                    k: raw_metadata[k]
                    for k in ("EchoTime", "FlipAngle", "MagneticFieldStrength")
                    if k in raw_metadata
                },
                **facts,
            ),
            outputs["bold_json"][n],
        )
        volume = np.zeros(target.shape, np.float32)
        volume[target.mask] = (
            reference[target.mask] if kept else np.maximum(picture.volume(0, target.points), 0)
        )
        save(volume, target.affine, outputs["boldref"][n])
        write_json(
            sidecar(f"Reference of the run, from {text}", [files[source], *steps], **facts),
            outputs["boldref_json"][n],
        )
        save(target.mask, target.affine, outputs["mask"][n], dtype=np.uint8)
        write_json(
            sidecar(f"Brain mask of the run by fMRIPrep, from its {space} space", [files["mask"], *steps],
                    Type="Brain", SpatialReference=facts["SpatialReference"], **made),
            outputs["mask_json"][n],
        )  # fmt: skip

    numbers = quality(
        brain[non_steady:], confounds, native_ref, native_mask > 0, native_affine, fd_threshold=fd_threshold
    )
    numbers |= {
        "coreg_method": "fMRIPrep",
        "coreg_dice": _dice(native_mask, native_affine, load(files["t1w_mask"]), route.coreg),
        "fd_threshold_mm": fd_threshold,
        "mask_volume_ml": float(mask.sum() * abs(np.linalg.det(image.affine[:3, :3])) / 1000.0),
        "non_steady_state_volumes": non_steady,
        "notes": [note, f"preprocessed by {maker}, taken from {space} space"],
        "repetition_time": tr,
        "slice_timing_corrected": corrected,
        "voxel_size_mm": [float(z) for z in np.sqrt((raw.affine[:3, :3] ** 2).sum(axis=0))],
        "volumes": total,
        "voxels_for_quality": brain.shape[1],
        **made,
    }
    if not files.get("confounds_json"):
        numbers["notes"].append("fMRIPrep's confounds have no JSON: CompCor cannot be chosen by variance")
    used = [files["bold"], files["mask"], files["coreg"], files["confounds"]]
    write_json(sidecar("Quality of one BOLD run", used, **numbers), outputs["qc"])


def _write_series(path, space, targets, paths, tr, peak, interpolation):
    """Second pass over the file: every volume to every target; as it is where the space is its own."""
    image, sampler = load(path), None
    total = image.shape[3]
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                series_writer(where, (*target.shape, total), target.affine, tr, 1.05 * peak,
                              space_code=1 if target.space == T1W else 4)
            )
            for target, where in zip(targets, paths, strict=True)
        ]  # fmt: skip
        outs = [np.zeros(target.shape, np.float32) for target in targets]
        for values in volumes(path):
            np.nan_to_num(values, copy=False, posinf=0.0, neginf=0.0)
            if sampler is None:
                sampler = Sampler(values[..., None], image.affine, interpolation)
            sampler.data, sampler.current = values[..., None], None
            for target, out, write in zip(targets, outs, writers, strict=True):
                kept = target.space == space
                out[target.mask] = values[target.mask] if kept else sampler.volume(0, target.points)
                write(out)
